"""Decontamination by n-grams: problems to measure with enter, and for any other problem the run of words it shares.

DeepSeek-R1 left out training data that shares a 10-gram with an evaluation problem (arXiv 2501.12948v2, D.1). Words
are case-folded, a CJK character is one. Of each run 8 bytes are kept, in a sorted file that processes share: the runs
of a million problems are half a gigabyte, where a set of them is ten. That a million rows meet a million problems in a
number and not in words has a chance of about one in a thousand.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Sequence
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core import text

if TYPE_CHECKING:
    import numpy as np

WORDS = 1 << 16
"""Words whose numbers are remembered."""


class Grams:
    """Every run of `size` words in some problems, as sorted numbers of 64 bits; a shorter problem is one run."""

    def __init__(self, size: int, file: Path | None) -> None:
        """`file` holds the numbers (`grams_of` writes it); None: there are none."""
        self.size, self.file = size, file

    def __getstate__(self) -> dict[str, Any]:
        """Another process opens the file anew."""
        return {"size": self.size, "file": self.file}

    def shared(self, problem: str) -> str:
        """Return the first (in sorted order) of the runs that a problem holds, as text; "" for none."""
        if self.file is None:
            return ""
        import numpy as np

        words = text.words(problem)
        own = _numbers(words, self.size)
        places = np.minimum(np.searchsorted(self._known, own), len(self._known) - 1)
        found = np.flatnonzero(self._known[places] == own).tolist()
        return " ".join(min((words[at : at + self.size] for at in found), default=()))

    @cached_property
    def _known(self) -> np.ndarray[Any, Any]:
        import numpy as np

        assert self.file is not None
        return np.load(self.file, mmap_mode="r")


def grams_of(problems: Iterable[str], size: int, file: Path) -> Grams:
    """Write the runs of `size` words in the problems to `file`, 8 bytes each, and return them."""
    import numpy as np

    found = array("Q")
    for problem in problems:
        found.frombytes(_numbers(text.words(problem), size).tobytes())
    if not found:
        return Grams(size, None)
    numbers = np.frombuffer(found, np.uint64)
    numbers.sort()
    file.parent.mkdir(parents=True, exist_ok=True)
    np.save(file, numbers)
    return Grams(size, file)


def _numbers(words: Sequence[str], size: int) -> np.ndarray[Any, Any]:
    """Return the numbers of a text's runs in order: the sum of its words' numbers, each times that of its place."""
    import numpy as np

    if not words:
        return np.zeros(0, np.uint64)
    return np.convolve(np.fromiter(map(_number, words), np.uint64, len(words)), _places(min(size, len(words))), "valid")


@cache
def _places(size: int) -> np.ndarray[Any, Any]:
    """The odd numbers that the words of a run are multiplied by, the last word's first."""
    import numpy as np

    return np.array([_number(f"place {at}") | 1 for at in reversed(range(size))], np.uint64)


@lru_cache(WORDS)
def _number(word: str) -> int:
    """A word as 64 bits, the same in every process."""
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
