"""Labelled situations that people who grade models report, by kind: JSONL rows enter from this folder, rows leave.

A row is a completion, its gold answer and the reward it deserves (1 right, 0 wrong). One file is one kind of situation.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).parent


class Situation(NamedTuple):
    """A completion, its gold answer or several, and what the accuracy reward should say; None: it cannot judge."""

    id: str
    completion: str
    answer: str
    expected: float | None
    verifier: str = "math"
    language: str = "en"
    golds: tuple[str, ...] = ()


def files() -> list[Path]:
    """Return the files there are, one for each kind."""
    return sorted(FOLDER.glob("*.jsonl"))


def read(path: Path) -> list[Situation]:
    """Return the situations of one kind; rows of code or without an answer are no situations of `accuracy`."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [_situation(row) for row in rows if "answer" in row and not isinstance(row["expected"], list)]


def _situation(row: dict[str, Any]) -> Situation:
    golds = tuple(row["answer"]) if isinstance(row["answer"], list) else ()
    return Situation(
        *(row["id"], row["completion"], golds[0] if golds else row["answer"], row["expected"]),
        verifier=row.get("verifier", "math"),
        language=row.get("language", "en"),
        golds=golds,
    )
