"""Outside rows in pieces: what a row as it stands is, and how many of them are held together.

A file is cut into pieces by the process that reads it; another process may then make rows of a piece's lines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")
AT_ONCE = 1000
"""Rows of a piece, fewer where they fill a megabyte."""
MEGABYTE = 1 << 20


class Raw(NamedTuple):
    """A row as it stands: where ("file:number"), its columns, and why it cannot be read ("" = it can)."""

    where: str
    row: dict[str, Any]
    fault: str = ""
    detail: str = ""


Wanted = Callable[[str], bool]
"""Whether a column is read, by its name."""
Piece = Callable[[dict[str, None], Wanted], Iterator[Raw]]
"""Rows of a file that follow each other: gathers the names of their columns and yields them, in any process."""


def cut(rows: Iterable[T], size: Callable[[T], int]) -> Iterator[list[T]]:
    """Cut rows into lists that are small enough to be held."""
    held, total = list[T](), 0
    for row in rows:
        held.append(row)
        total += size(row)
        if len(held) == AT_ONCE or total > MEGABYTE:
            yield held
            held, total = [], 0
    if held:
        yield held


def given(rows: Iterator[Raw]) -> Iterator[Piece]:
    """Rows that have been read already."""
    return (partial(_again, held) for held in cut(rows, _size))


def _size(raw: Raw) -> int:
    try:
        return len(str(raw.row))
    except RecursionError:
        return MEGABYTE


def _again(held: list[Raw], columns: dict[str, None], wanted: Wanted) -> Iterator[Raw]:
    return iter(held)
