"""Long work in shards: chunks of rows and a way to make them enter, all rows leave, and a kill loses nothing finished.

A shard is a JSON-lines file written whole or not at all: a unit of restart, and no barrier. Where an engine makes the
rows, the requests of all missing shards go to it as one stream, which keeps it full, and a shard is finished when its
last completion has come, whatever the order. What a shard holds depends on its chunk alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, cast

from stages.core.sampling import RETRIED, Completion, Finish, Request

Row = dict[str, Any]
Chunk = TypeVar("Chunk")


class Asked(Protocol):
    """What answers the requests of shards: a client, or an engine itself."""

    @property
    def apart(self) -> bool:
        """As `Engine.apart`."""

    @property
    def coupled(self) -> bool:
        """As `Engine.coupled`."""

    def sample(self, requests: Iterable[Request], /) -> Iterator[tuple[Request, Completion]]:
        """As `Engine.sample`."""


@dataclass(frozen=True, kw_only=True)
class Sharded(Generic[Chunk]):
    """Work that is cut into chunks, one shard each."""

    folder: Path
    chunks: Sequence[Chunk]
    requests: Callable[[Chunk], Sequence[Request]] = lambda _: ()
    """The requests of a chunk to an engine; their keys are replaced."""
    rows: Callable[[Chunk, list[Completion]], Iterable[Row]] = lambda *_: ()
    """The rows of a shard, from its chunk and the completions of its requests in order."""
    tell: Callable[[list[Row]], None] = lambda _: None
    """Hears all rows so far, in order, after each shard that `done` gets."""
    name: Callable[[int, Chunk], str] = lambda number, _: f"{number:05d}"
    """A shard's file name without its ending: let it hold a hash of the chunk where an older run may have had other
    chunks."""

    def done(self, asked: Asked) -> list[Row]:
        """Return the rows of all chunks in order, where they fit into memory; the work is done as by `finished`."""
        return self.gathered(self.finished(asked))

    def gathered(self, finished: Iterable[tuple[int, list[Row]]]) -> list[Row]:
        """Return the rows of shards as they are finished, in the order of their chunks, and tell of each."""
        found: dict[int, list[Row]] = {}
        rows: list[Row] = []
        for number, own in finished:
            found[number] = own
            rows = _joined(found)
            if own:
                self.tell(rows)
        return rows

    def finished(self, asked: Asked) -> Iterator[tuple[int, list[Row]]]:
        """Yield each shard with its rows: those that are there, in order, then the others as they are finished, by
        asking for what they lack. Nothing of it is kept.

        Rows are made beside an engine that computes elsewhere than on these cores. Completions whose last bits depend
        on no neighbour are kept as they come, so that a kill repeats none of them.
        """
        paths = self._paths()
        missing = [number for number, path in enumerate(paths) if not path.exists()]
        for number in sorted({*range(len(paths))} - {*missing}):
            yield number, _read(paths[number])
        for number in _Writing(self, paths, asked).written(missing) if missing else ():
            yield number, _read(paths[number])

    def landed(
        self, work: Callable[[list[tuple[int, Chunk]]], Iterator[tuple[int, Iterable[Row]]]]
    ) -> Iterator[tuple[int, list[Row]]]:
        """Yield each shard with its rows as `finished` does; those that are missing are made elsewhere: `work` gets
        their numbers and chunks, and gives rows as they come."""
        paths = self._paths()
        missing = [(number, chunk) for number, chunk in enumerate(self.chunks) if not paths[number].exists()]
        for number in sorted({*range(len(paths))} - {number for number, _ in missing}):
            yield number, _read(paths[number])
        for number, rows in work(missing) if missing else ():
            write_lines(paths[number], rows)
            yield number, _read(paths[number])

    def in_turn(self, finished: Iterable[tuple[int, list[Row]]]) -> Iterator[list[Row]]:
        """Yield the rows of each shard in the order of their chunks, as soon as all before it are finished too."""
        paths, there, turn = self._paths(), set[int](), 0
        for number, _ in finished:
            there.add(number)
            while turn in there:
                yield _read(paths[turn])
                turn += 1

    def in_order(self) -> Iterator[Row]:
        """Yield the rows of all finished shards in the order of their chunks."""
        for path in self._paths():
            yield from _read(path)

    def _paths(self) -> list[Path]:
        return [self.folder / f"{self.name(number, chunk)}.jsonl" for number, chunk in enumerate(self.chunks)]


class _Writing:
    """The missing shards while their completions come."""

    def __init__(self, work: Sharded[Any], paths: Sequence[Path], asked: Asked) -> None:
        self.work, self.paths, self.asked = work, paths, asked
        self.came: dict[int, dict[int, Completion]] = {}
        self.sizes: dict[int, int] = {}
        self.whole: list[int] = []
        """Shards that have all their completions and are not written yet."""

    def written(self, missing: Sequence[int]) -> Iterator[int]:
        """Write the shards `missing`, and yield the number of each that is written."""
        aside, keeping = self.asked.apart, not self.asked.coupled
        writing: list[Future[int]] = []
        with ThreadPoolExecutor(1) as beside:
            for request, completion in self.asked.sample(self._requests(missing, keeping)):
                self._take(request, completion, keeping)
                while self.whole and not aside:
                    yield self._write(self.whole.pop(0))
                writing += [beside.submit(self._write, number) for number in self.whole]
                self.whole.clear()
                while writing and writing[0].done():
                    yield writing.pop(0).result()
            yield from (one.result() for one in writing)
        yield from map(self._write, self.whole)  # shards that had nothing left to ask at the end of the stream

    def _requests(self, missing: Sequence[int], keeping: bool) -> Iterator[Request]:
        for number in missing:
            made = self.work.requests(self.work.chunks[number])
            self.sizes[number], self.came[number] = len(made), self._kept(number) if keeping else {}
            if len(self.came[number]) == len(made):
                self.whole.append(number)
            for place, request in enumerate(made):
                if place not in self.came[number]:
                    yield replace(request, key=(number, place), shard=number)

    def _take(self, request: Request, completion: Completion, keeping: bool) -> None:
        number, place = cast(tuple[int, int], request.key)
        self.came[number][place] = completion
        if keeping:
            path = self._journal(number)
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as out:
                out.write(json.dumps([place, asdict(completion)], ensure_ascii=False) + "\n")
        if len(self.came[number]) == self.sizes[number]:
            self.whole.append(number)

    def _write(self, number: int) -> int:
        completions = [completion for _, completion in sorted(self.came.pop(number).items())]
        write_lines(self.paths[number], self.work.rows(self.work.chunks[number], completions))
        self._journal(number).unlink(missing_ok=True)
        return number

    def _journal(self, number: int) -> Path:
        return self.paths[number].with_suffix(".came")

    def _kept(self, number: int) -> dict[int, Completion]:
        """What came before a kill, without failures that asking again can mend; its last line may be torn."""
        path = self._journal(number)
        if not path.exists():
            return {}
        *whole, torn = path.read_bytes().split(b"\n")  # a text may hold other ends of lines
        if torn:
            os.truncate(path, path.stat().st_size - len(torn))
        found = ((place, {**fields, "finish": Finish(fields["finish"])}) for place, fields in map(json.loads, whole))
        return {place: Completion(**fields) for place, fields in found if fields["finish"] not in RETRIED}


def in_shards(
    folder: Path,
    chunks: Sequence[Chunk],
    make: Callable[[int, Chunk], Iterable[Row]],
    tell: Callable[[list[Row]], None],
    name: Callable[[int, Chunk], str] = lambda number, _: f"{number:05d}",
) -> list[Row]:
    """Return the rows of all chunks in order, where no engine makes them: `make(number, chunk)` gives those of a shard.

    `tell` and `name` are those of `Sharded`.
    """
    done: list[Row] = []
    for number, chunk in enumerate(chunks):
        path = folder / f"{name(number, chunk)}.jsonl"
        if not path.exists():
            write_lines(path, make(number, chunk))
        done += _read(path)
        tell(done)
    return done


def _joined(found: dict[int, list[Row]]) -> list[Row]:
    return [row for number in sorted(found) for row in found[number]]


def _read(path: Path) -> list[Row]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def write_lines(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as JSON lines so that the file is whole or absent, even after a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torn = path.with_suffix(".part")
    with torn.open("w", encoding="utf-8") as out:
        for row in rows:
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
        out.flush()
        os.fsync(out.fileno())
    os.replace(torn, path)
