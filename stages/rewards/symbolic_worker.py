"""The worker behind `symbolic.py`: JSON lines {gold, answer} enter on stdin, [value, reason] lines leave on stdout.

Run by path and importing nothing from this project, so it starts fast and works from any folder. It limits its own
memory, and an alarm ends it even when its parent died before it could.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
from typing import TextIO

MEMORY_BYTES = 2 * 2**30


def main() -> None:
    """Answer questions until stdin closes."""
    reply = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # a library that prints must not break the protocol
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    try:
        from math_verify import parse, verify
    except ImportError:
        _say(reply, "missing")
        return
    logging.disable(logging.CRITICAL)
    _say(reply, "ready")
    verdict: tuple[float | None, str]
    for line in sys.stdin:
        question = json.loads(line)
        with contextlib.suppress(AttributeError):
            signal.setitimer(signal.ITIMER_REAL, 2 * question["limit_s"])  # its default action ends the process
        try:
            gold = parse(f"${question['gold']}$", parsing_timeout=None)
            if not gold or all(isinstance(item, str) for item in gold):
                verdict = (None, "gold cannot be read as a formula")
            else:
                answer = parse(f"${question['answer']}$", parsing_timeout=None)
                same = bool(answer) and verify(gold, answer, timeout_seconds=None)
                verdict = (1.0, "symbolically equal") if same else (0.0, "symbolically different")
        except Exception as error:  # noqa: BLE001  any failure of sympy is the verdict "cannot judge"
            verdict = (None, f"symbolic check failed: {type(error).__name__}")
        with contextlib.suppress(AttributeError):
            signal.setitimer(signal.ITIMER_REAL, 0)
        _say(reply, json.dumps(verdict))


def _say(reply: TextIO, line: str) -> None:
    reply.write(line + "\n")
    reply.flush()


if __name__ == "__main__":
    main()
