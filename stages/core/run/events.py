"""Progress as data: one JSON line per event, for the live view now and the report later.

What enters: a name and plain fields. What leaves: `events.jsonl`, and the same dict for a listener. Standard events:

    progress  done, total, unit, figures     step  step and its metrics      eval  step, metrics
    note      text                           warning  text                   sample  a completion worth keeping
    alarm     step, kind, value, text        preflight  figures, findings (stages.core.guard)
    device    device: what the work really ran on, kept in the record

A killed run may leave a torn last line; the next `Events` on the file ends that line, and reading skips it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stages.core.fingerprint import plain

Listener = Callable[[dict[str, Any]], None]


class Events:
    """An append-only event file; each line is flushed, so a kill loses at most the line being written."""

    def __init__(self, path: Path, listener: Listener | None = None) -> None:
        self.path = Path(path)
        self.listener = listener
        self._file = self.path.open("ab")
        if self._file.tell() and not _ends_line(self.path):
            self._file.write(b"\n")

    def emit(self, event: str, /, **fields: Any) -> None:
        """Appends {"event", "time" (seconds since 1970), **fields} and calls the listener with the same dict.

        Scalars of numpy and torch become numbers; NaN and infinity become null, which JSON can hold.
        """
        line = {"event": event, "time": round(time.time(), 3), **plain(fields)}
        self._file.write((json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n").encode())
        self._file.flush()
        if self.listener is not None:
            self.listener(line)

    def tell(self, line: Mapping[str, Any]) -> None:
        """Emit an event that another process emitted, with this one's time."""
        self.emit(line["event"], **{key: value for key, value in line.items() if key not in ("event", "time")})

    def close(self) -> None:
        """Closes the file; emitting afterwards is an error."""
        self._file.close()

    def __enter__(self) -> Events:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def read(path: Path, name: str | None = None) -> list[dict[str, Any]]:
    """All whole events of a file in order, or those called `name`; an absent file holds none."""
    if not Path(path).is_file():
        return []
    found: list[dict[str, Any]] = []
    for raw in Path(path).read_bytes().splitlines():
        try:
            line = json.loads(raw)
        except ValueError:
            continue  # a line torn by a kill
        if isinstance(line, dict) and name in (None, line.get("event")):
            found.append(line)
    return found


def curve(path: Path, name: str, key: str = "step") -> list[dict[str, Any]]:
    """The events called `name`, one for each value of `key`, ascending: of a repeated step the last counts."""
    last = {line[key]: line for line in read(path, name) if key in line}
    return [last[value] for value in sorted(last)]


def _ends_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1) == b"\n"
