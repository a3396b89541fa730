"""Long work in shards: chunks of rows and a way to make them enter, all rows leave, and a kill costs one shard.

Each shard is a JSON-lines file written whole or not at all, so a run that is started again finds what is done and
repeats none of it. Whatever draws a shard must depend on the chunk and its number alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def in_shards(
    folder: Path,
    chunks: Sequence[Any],
    draw: Callable[[int, Any], Iterable[Row]],
    tell: Callable[[list[Row]], None],
    name: Callable[[int, Any], str] = lambda number, _: f"{number:05d}",
) -> list[Row]:
    """Return the rows of all chunks in order: from the shards in `folder`, and by drawing those that are not there.

    `draw(number, chunk)` makes the rows of a shard; `tell` hears all rows so far after each. `name` is the shard's file
    name without its ending: let it hold a hash of the chunk where an older run may have had other chunks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    done: list[Row] = []
    for number, chunk in enumerate(chunks):
        path = folder / f"{name(number, chunk)}.jsonl"
        if not path.exists():
            write_lines(path, draw(number, chunk))
        with path.open(encoding="utf-8") as lines:
            done += [json.loads(line) for line in lines]
        tell(done)
    return done


def write_lines(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as JSON lines so that the file is whole or absent, even after a power cut."""
    torn = path.with_suffix(".part")
    with torn.open("w", encoding="utf-8") as out:
        for row in rows:
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
        out.flush()
        os.fsync(out.fileno())
    os.replace(torn, path)
