"""Rows where they lie: sealed JSON-lines files enter, a sequence leaves that reads a row when it is asked for.

A million prompts cost an index of line starts (13 bytes each) and one pass over the file; a run that asks 512 of them
parses 512. What is sealed was checked when it was written, row by row and id by id, and the store knows its hash, so
nothing is checked twice; a file from outside goes through `rows.read_rows`. A copy in another format would be a second
truth to keep, and would have to be made in the same pass.
"""

from __future__ import annotations

import hashlib
import json
import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from operator import eq
from pathlib import Path
from typing import Any, Generic, TypeVar, overload
from weakref import finalize

from stages.core.errors import InputError, MissingError
from stages.core.rows import Prompt, parse_row

R = TypeVar("R")
_ID = b'{"id": "'  # how a row begins that was written here


class RowFile(Sequence[R], Generic[R]):
    """The rows of sealed JSON-lines files, each a `kind`, in file order or in an order that was picked.

    Rows are equal, not the same, each time they are read. Blank lines are no rows. A file that is removed while it is
    open can still be read.
    """

    def __init__(self, path: Path, kind: Any = Prompt) -> None:
        """Find the lines of a file. Raises MissingError when it is absent and InputError when it holds no rows."""
        if not path.is_file():
            raise MissingError(f"no file `{path}`", hint="`r1 artifacts verify ADDRESS` says what is gone")
        self.kind = kind
        self._files = [_File(path)]
        self._owners, self._starts, self._lengths = array("B"), array("Q"), array("I")
        start = 0
        with path.open("rb") as lines:
            for line in lines:
                if not line.isspace():
                    self._starts.append(start)
                    self._lengths.append(len(line))
                start += len(line)
        if not self._starts:
            raise InputError("the file holds no rows", where=str(path))
        self._owners.frombytes(bytes(len(self._starts)))

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, place: int) -> R: ...
    @overload
    def __getitem__(self, place: slice) -> RowFile[R]: ...
    def __getitem__(self, place: int | slice) -> R | RowFile[R]:
        if isinstance(place, slice):
            return self._with(self._owners[place], self._starts[place], self._lengths[place])
        try:
            found: R = parse_row(self.line(place).decode(), "", self.kind)
        except InputError as error:
            error.where = self._files[self._owners[place]].place(self._starts[place])
            raise
        return found

    def __eq__(self, other: object) -> bool:
        """Whether another sequence holds equal rows in the same order."""
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(eq, self, other))

    __hash__ = None  # type: ignore[assignment]

    def __add__(self, other: RowFile[R]) -> RowFile[R]:
        """These rows and then those of other files."""
        moved = array("B", (owner + len(self._files) for owner in other._owners))
        joined = self._with(self._owners + moved, self._starts + other._starts, self._lengths + other._lengths)
        joined._files = self._files + other._files
        return joined

    def picked(self, places: Iterable[int]) -> RowFile[R]:
        """The rows at `places`, in that order."""
        order = array("Q", places)
        return self._with(*(array(own.typecode, map(own.__getitem__, order)) for own in self._index))

    def chosen(self, count: int | None) -> RowFile[R]:
        """The first `count` rows (None: all) in the order of their ids' hashes, so that a smaller choice is a part of a
        larger one."""
        keys = [hashlib.sha256(row["id"].encode()).digest() for row in self.plain()]
        return self.picked(sorted(range(len(keys)), key=keys.__getitem__)[:count])

    def plain(self) -> Iterator[dict[str, Any]]:
        """Every row as the plain object of its line: a third of the time of a row, for a look at all of them."""
        for owner, start, length in zip(*self._index, strict=True):
            found: dict[str, Any] = json.loads(self._files[owner].read(start, length))
            yield found

    def ids(self) -> Iterator[str]:
        """Every row's id; nearly always found without reading the row as JSON."""
        for owner, start, length in zip(*self._index, strict=True):
            line = self._files[owner].read(start, length)
            end = line.find(b'"', len(_ID)) if line.startswith(_ID) else -1
            plain = end > 0 and b"\\" not in line[:end]
            yield line[len(_ID) : end].decode() if plain else json.loads(line)["id"]

    def line(self, place: int) -> bytes:
        """The bytes of a row as they lie in its file."""
        return self._files[self._owners[place]].read(self._starts[place], self._lengths[place])

    def sizes(self) -> Sequence[int]:
        """The bytes of each row."""
        return self._lengths

    @property
    def _index(self) -> tuple[array[int], array[int], array[int]]:
        return self._owners, self._starts, self._lengths

    def _with(self, owners: array[int], starts: array[int], lengths: array[int]) -> RowFile[R]:
        part = object.__new__(type(self))
        part.kind, part._files = self.kind, self._files
        part._owners, part._starts, part._lengths = owners, starts, lengths
        return part


class _File:
    """A file that stays open and is read at any place, so that processes that share it do not disturb each other."""

    def __init__(self, path: Path) -> None:
        self.path, self._number = path, os.open(path, os.O_RDONLY)
        finalize(self, os.close, self._number)

    def __reduce__(self) -> tuple[type[_File], tuple[Path]]:
        """Another process opens the file anew."""
        return _File, (self.path,)

    def read(self, start: int, length: int) -> bytes:
        """The bytes of one line."""
        return os.pread(self._number, length, start)

    def place(self, start: int) -> str:
        """`FILE:LINE` of the line that begins at `start`."""
        with self.path.open("rb") as file:
            return f"{self.path}:{sum(1 for _ in iter(lambda: file.tell() < start and file.readline(), False)) + 1}"
