"""Decontamination by n-grams: problems to measure with enter, and for any other problem the run of words it shares.

DeepSeek-R1 left out training data that shares a 10-gram with an evaluation problem (arXiv 2501.12948v2, D.1). Words
are case-folded, a CJK character is one.
"""

from __future__ import annotations

from collections.abc import Iterable

from stages.core import text

Grams = set[tuple[str, ...]]


def grams_of(problems: Iterable[str], size: int) -> Grams:
    """Return every run of `size` words in the problems; a shorter problem is one run of its own length."""
    return {gram for problem in problems for gram in text.ngrams(text.words(problem), size)}


def shared_gram(problem: str, grams: Grams, size: int) -> str:
    """Return the first (in sorted order) of `grams` that a problem holds, as text; "" for none."""
    if not grams:
        return ""
    words = text.words(problem)
    runs = zip(*(words[at:] for at in range(size)), strict=False)  # no set of them is made where none is shared
    if len(words) >= size and grams.isdisjoint(runs):
        return ""
    return " ".join(min(text.ngrams(words, size) & grams, default=()))
