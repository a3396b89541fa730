"""A contract and rows for the reward tests: R1-Zero's tags, with or without a prefilled <think>."""

from __future__ import annotations

from typing import Any

from stages.core.contract import Contract
from stages.core.rows import Prompt
from stages.rewards.files import lines
from stages.rewards.hacks.trial import tower as tower


def contract(prefill: str = "") -> Contract:
    return lines.contract(prefill)


def row(answer: str = "17", verifier: str = "math", **other: Any) -> Prompt:
    return Prompt(**{"id": "p1", "problem": "12 + 5?", "answer": answer, "verifier": verifier, **other})


PROGRAM = row("dbl", "program", meta={"prefix": "set 7; add 5", "target": "24"})
ROWS = (row(), row("B", "choice"), PROGRAM, row("north east", "exact"))
