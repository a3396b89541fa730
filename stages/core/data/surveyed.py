"""Conversations that are tokenised when they are asked for; what a run has to know of all of them is looked up once.

Which rows can be trained on, how long each is and what all prompts begin with decide the order of the rows and what
fits into memory, so every row is tokenised and checked once before the first step, on all cores. A few numbers of each
stay; its ids are made again when a step asks for them, which costs a thousandth of the step.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple, Protocol, overload

from stages.core.contract import Contract
from stages.core.data import imitation
from stages.core.data.imitation import Example, LeftOut
from stages.core.encoding import Reader
from stages.core.rowfile import RowFile
from stages.core.rows import Conversation
from stages.core.run import beside
from stages.core.run.runtime import Runtime

STRETCH = 2048
"""Rows that a process looks at together."""
ENOUGH = 20_000
"""Rows for which processes are worth starting."""


class Found(NamedTuple):
    """A row that can be trained on."""

    place: int
    """Among all rows."""
    prompt: int
    """Tokens of its context."""
    trained: int
    """Tokens of its completion."""

    @property
    def tokens(self) -> int:
        """Tokens of context and completion together."""
        return self.prompt + self.trained


class Fit(Protocol):
    """Takes rows in order and returns those that are short enough, and how many are not: `imitation.fitting`."""

    def __call__(self, made: Iterable[Found], /) -> tuple[list[Found], int]: ...


class Surveyed(Sequence[Example]):
    """Examples whose lengths are known, each made when it is asked for."""

    def __init__(
        self, get: Callable[[int], Example], tokens: array[int], trained: array[int], ends: list[list[int]]
    ) -> None:
        self._get = get
        self.tokens, self.trained = tokens, trained
        """Of each example: tokens of context and completion, and of the completion alone."""
        self.ends = ends
        """Contexts that begin with the same tokens as all do."""

    @classmethod
    def of(cls, examples: Sequence[Example]) -> Surveyed:
        """Examples that are held."""
        tokens = array("Q", (one.tokens for one in examples))
        trained = array("Q", (len(one.completion_ids) for one in examples))
        return cls(examples.__getitem__, tokens, trained, _ends(one.prompt_ids for one in examples))

    def __len__(self) -> int:
        return len(self.tokens)

    @overload
    def __getitem__(self, place: int) -> Example: ...
    @overload
    def __getitem__(self, place: slice) -> list[Example]: ...
    def __getitem__(self, place: int | slice) -> Example | list[Example]:
        if isinstance(place, slice):
            return [self._get(one) for one in range(*place.indices(len(self)))]
        return self._get(place)


def surveyed(
    rows: RowFile[Conversation], contract: Contract, folder: Path, fit: Fit, *, limit: int, runtime: Runtime
) -> tuple[Surveyed, int, list[LeftOut]]:
    """Return the rows that can be trained on, how many are too long, and those that cannot be trained on at all.

    `folder` holds tokenizer.json; `fit` leaves rows of more than `limit` tokens out. Raises as `imitation.examples` and
    as `fit` do.
    """
    contract.check(needs_tags=False)
    left, ends = list[LeftOut](), list[list[int]]()
    count = 1 if runtime.world_size > 1 else beside.processes(runtime, len(rows), ENOUGH)
    stretches = ((first, rows[first : first + STRETCH]) for first in range(0, len(rows), STRETCH))

    def found() -> Iterator[Found]:
        nothing = True
        for one in beside.in_order(partial(_Looker, contract, folder, limit), stretches, count):
            left.extend(one.left)
            ends[:] = _ends([*ends, *one.ends])
            nothing = nothing and not one.found
            yield from one.found
        if left and nothing:
            raise imitation.none_left(left)

    kept, dropped = fit(found())
    own = rows.picked(one.place for one in kept)
    tokens, trained = array("Q", (one.tokens for one in kept)), array("Q", (one.trained for one in kept))
    return Surveyed(_Again(own, contract, folder), tokens, trained, ends), dropped, left


class _Looked(NamedTuple):
    """What was seen in a stretch."""

    found: list[Found]
    left: list[LeftOut]
    ends: list[list[int]]


class _Looker:
    """Looks at stretches of rows, in any process."""

    def __init__(self, contract: Contract, folder: Path, limit: int) -> None:
        self.reader, self.limit = Reader(imitation.read_tokenizer(folder), contract), limit

    def __call__(self, stretch: tuple[int, RowFile[Conversation]]) -> _Looked:
        first, rows = stretch
        found, left, ends = list[Found](), list[LeftOut](), list[list[int]]()
        for place, one in imitation.placed(rows, self.reader, left):
            found.append(Found(first + place, len(one.prompt_ids), len(one.completion_ids)))
            if one.tokens <= self.limit:
                ends = _ends([*ends, one.prompt_ids])
        return _Looked(found, left, ends)


class _Again:
    """Makes the example of a row anew."""

    def __init__(self, rows: RowFile[Conversation], contract: Contract, folder: Path) -> None:
        self.rows, self.contract, self.folder = rows, contract, folder

    def __call__(self, place: int) -> Example:
        return imitation.again(self.rows[place], self._reader)

    @cached_property
    def _reader(self) -> Reader:
        return Reader(imitation.read_tokenizer(self.folder), self.contract)


def _ends(contexts: Iterable[Sequence[int]]) -> list[list[int]]:
    """The first and the last in dictionary order, and the shortest: what these begin with, all do."""
    held = [list(one) for one in contexts]
    return [min(held), max(held), min(held, key=len)] if held else []
