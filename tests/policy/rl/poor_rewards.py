"""Rewards that a user might write, each with a fault."""

from __future__ import annotations

from typing import Any


def raises(completion: str, row: Any, contract: Any) -> float:
    """It knows one answer only."""
    return {"": 1.0}[completion]


def returns_nan(completion: str, row: Any, contract: Any) -> float:
    """Nothing over nothing."""
    return float("inf") - float("inf")


def returns_text(completion: str, row: Any, contract: Any) -> str:
    """A word for a number."""
    return "good"


def two_at_once(completion: str, row: Any, contract: Any) -> list[float]:
    """A value for each of two completions, of which there is one."""
    return [1.0, 0.0]


def judges_letters(completion: str, row: Any, contract: Any) -> float | None:
    """It judges no completion with a sign of the second half of ASCII."""
    return None if max(completion, default=" ") >= "@" else 1.0
