"""The worker behind `symbolic.py`: {gold, answer} enter, [value, reason] leaves, by math-verify."""

from __future__ import annotations

import logging
from typing import Any

from stages.rewards.processes.serving import Answer, serve

MEMORY_BYTES = 2 * 2**30
UNREAD = "gold cannot be read as a formula"
_FIRST = {"gold": "\\frac{\\sqrt{2}}{2} + x^2", "answer": "\\left(x\\right)^{2} + \\frac{1}{\\sqrt{2}}"}


def start() -> Answer | str:
    """Import math-verify, which takes seconds, and return `compare`."""
    try:
        import math_verify  # noqa: F401
    except ImportError:
        return "is not installed: pip install math-verify"
    logging.disable(logging.CRITICAL)
    compare(_FIRST)  # its parser fills its tables with the first formulas
    return compare


def compare(question: dict[str, Any]) -> tuple[float | None, str]:
    """Say whether the two formulas are equal: 1 or 0 and the reason, or None for a gold that cannot be read."""
    from math_verify import parse, verify

    try:
        gold = parse(f"${question['gold']}$", parsing_timeout=None)
        if not gold or all(isinstance(item, str) for item in gold):
            return None, UNREAD
        answer = parse(f"${question['answer']}$", parsing_timeout=None)
        same = bool(answer) and verify(gold, answer, timeout_seconds=None)
        return (1.0, "symbolically equal") if same else (0.0, "symbolically different")
    except Exception as error:  # noqa: BLE001  any failure of sympy is the verdict "cannot judge"
        return None, f"symbolic check failed: {type(error).__name__}"


if __name__ == "__main__":
    serve(start, memory_bytes=MEMORY_BYTES, in_children=True)
