"""One verifiable problem per row, and the JSONL files such rows live in.

What enters: a path. What leaves: checked `Prompt` rows, or an error that names the file and the line. Rows are checked
where they are read, so a training run never meets half a problem in its third hour.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from stages.core.errors import InputError, MissingError

VERIFIERS = ("math", "choice", "program", "exact")


@dataclass(frozen=True)
class Prompt:
    """A problem with a gold answer a program can judge."""

    id: str
    """Unique within its file; groups, pass@k and paired differences are counted by it."""
    problem: str
    """The bare problem, before any template."""
    answer: str
    """The gold solution."""
    verifier: str
    """Who judges the answer: math, choice, program or exact."""
    family: str = ""
    """Task family for tables; empty = none."""
    split: str = ""
    """train, validation, heldout, …; empty = unassigned."""
    level: int = 0
    """Difficulty, 0 = unknown; larger is harder within a family."""
    language: str = "en"
    """Language the problem is written in, as an ISO 639-1 code."""
    meta: dict[str, Any] = field(default_factory=dict)
    """Whatever the verifier needs besides the answer, e.g. a program's prefix and target."""


_TYPES: dict[str, type] = {f.name: {"int": int, "str": str}.get(str(f.type), dict) for f in fields(Prompt)}
_REQUIRED = ("id", "problem", "answer", "verifier")


def parse_row(line: str, where: str) -> Prompt:
    """One JSON line -> Prompt; raises InputError at `where` for non-JSON, a missing, unknown or mistyped field."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"this line is not JSON ({error})", where=where, hint=_HINT) from error
    if not isinstance(row, dict):
        raise InputError("this line is JSON but not an object", where=where, hint=_HINT)
    for name in _REQUIRED:
        if name not in row:
            raise InputError(f"the row lacks `{name}`", where=where, hint=_HINT)
    for name, value in row.items():
        if name not in _TYPES:
            raise InputError(f"the row has an unknown field `{name}`", where=where, hint="put extra facts in `meta`")
        if not isinstance(value, _TYPES[name]) or isinstance(value, bool):
            expected = {str: "text", int: "a whole number", dict: "an object"}[_TYPES[name]]
            raise InputError(f"`{name}` should be {expected}, not {json.dumps(value)[:60]}", where=where, hint=_HINT)
    if row["verifier"] not in VERIFIERS:
        known = ", ".join(VERIFIERS)
        raise InputError(f"unknown verifier `{row['verifier']}`", where=where, hint=f"use one of: {known}")
    return Prompt(**row)


def read_rows(path: Path) -> list[Prompt]:
    """All rows of a JSONL file in file order (blank lines are skipped).

    Raises MissingError when the file is absent and InputError (where = file:line) for a bad row, a repeated id or a
    file without rows.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingError(f"no file `{path}`", hint="check the path; `r1 prepare --help` tells what rows look like")
    rows: list[Prompt] = []
    seen: dict[str, int] = {}
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            if not raw.strip():
                continue
            row = parse_row(_text(raw, f"{path}:{number}"), f"{path}:{number}")
            if row.id in seen:
                what = f"the id `{row.id}` was already used on line {seen[row.id]}"
                raise InputError(what, where=f"{path}:{number}", hint="give every row its own id")
            seen[row.id] = number
            rows.append(row)
    if not rows:
        raise InputError("the file holds no rows", where=str(path), hint=_HINT)
    return rows


def write_rows(path: Path, rows: Iterable[Prompt]) -> None:
    """Writes one JSON object per line, keys in field order, so that equal rows give equal bytes."""
    with Path(path).open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(asdict(row), ensure_ascii=False) + "\n")


_HINT = "`r1 prepare` turns other layouts into prompts; see `r1 prepare --help`"


def _text(raw: bytes, where: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError("this line is not UTF-8 text", where=where, hint=_HINT) from error
