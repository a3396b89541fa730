"""Labelled situations that people who grade models report, by kind: JSONL rows enter from this folder, rows leave.

A row is a completion, its gold answer and the reward it deserves (1 right, 0 wrong). One file is one kind of situation.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent


class Situation(NamedTuple):
    """A completion and a gold answer, and what the accuracy reward should say."""

    id: str
    completion: str
    answer: str
    expected: float


def kinds() -> list[str]:
    """Return the names of the kinds there are."""
    return sorted(path.stem for path in FOLDER.glob("*.jsonl"))


def read(kind: str) -> list[Situation]:
    """Return the situations of one kind."""
    lines = (FOLDER / f"{kind}.jsonl").read_text(encoding="utf-8").splitlines()
    rows = map(json.loads, filter(None, lines))
    return [Situation(row["id"], row["completion"], row["answer"], float(row["expected"])) for row in rows]
