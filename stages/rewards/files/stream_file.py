"""Score a file of rows into a file: two paths enter, and the output is whole or not there at all.

Answers are written beside the output under another name, which is the output's only when the last row is answered. A
killed run leaves that file, and the same command goes on where it was.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from stages.core.errors import LockedError
from stages.core.fingerprint import fingerprint
from stages.core.storage.disk import write_atomically
from stages.rewards import registry
from stages.rewards.files import stream
from stages.rewards.files.lines import Answer
from stages.rewards.files.stream import Job, Summary


def score(job: Job, source: Path, target: Path, tell: Callable[[Summary], None]) -> Summary:
    """Answer every line of the file `source` in the file `target`; `tell` hears how far it is.

    What an earlier run of the same job on the same file left is kept, unless a reward needs groups. Raises as
    `stream.score`, LockedError while another process writes the same target, and OSError.
    """
    job.check()
    mark = _mark(job, source)
    partial, note = target.with_name(f".{target.name}.partial"), target.with_name(f".{target.name}.partial.json")
    with source.open("rb") as rows, partial.open("ab+") as answers:
        _lock(answers, partial, target)
        done = Summary()
        if _read(note) == mark and not job.grouped:
            done = _resume(rows, answers)
        else:
            answers.truncate(0)
            write_atomically(note, json.dumps(mark))
        summary = stream.score(job, rows, _writer(answers), tell, done)
        os.fsync(answers.fileno())
        os.replace(partial, target)
        note.unlink(missing_ok=True)
    return summary


def _mark(job: Job, source: Path) -> str:
    """What must be the same for a run to go on: the rewards, their code, and the file."""
    stat = source.stat()
    versions = {name: registry.version(name) for name in job.rewards}
    file = [str(source.resolve()), stat.st_size, stat.st_mtime_ns, stat.st_ino]
    options = {name: dict(one) for name, one in job.options.items()}
    return fingerprint({"rewards": versions, "options": options, "timeout_s": job.timeout_s, "file": file})


def _lock(answers: BinaryIO, partial: Path, target: Path) -> None:
    try:
        fcntl.flock(answers, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not partial.exists() or os.fstat(answers.fileno()).st_ino != partial.stat().st_ino:
            raise BlockingIOError  # renamed by the other process before the lock was ours
    except BlockingIOError as error:
        raise LockedError(f"another process is writing `{target}`", hint="wait until it ends") from error


def _writer(answers: BinaryIO) -> Callable[[bytes], None]:
    def write(data: bytes) -> None:
        answers.write(data)
        answers.flush()

    return write


def _read(note: Path) -> Any:
    try:
        return json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _resume(rows: BinaryIO, answers: BinaryIO) -> Summary:
    """Return the summary of the answers that are whole, cut off the rest, and go to the first row without an answer."""
    summary, end = Summary(), 0
    answers.seek(0)
    for _, line in zip(stream.split(rows), answers, strict=False):
        try:
            told = json.loads(line) if line.endswith(b"\n") else {}
            summary.add(Answer(told["id"], told["reward"], told["reason"], told["seconds"], {}), 0)
        except (ValueError, KeyError, TypeError):  # the power went while it was written
            break
        end += len(line)
    rows.seek(0)
    for _, _ in zip(range(summary.rows), stream.split(rows), strict=False):
        pass
    summary.bytes = rows.tell()
    answers.truncate(end)
    return summary
