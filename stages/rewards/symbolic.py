"""Symbolic equality by math-verify, in a worker process that can be killed: two texts enter, a verdict leaves.

sympy can hang or eat memory on a short formula, so it never runs in this process. One worker per process starts at
the first symbolic question, answers line by line, and is killed when an answer takes longer than the limit; the next
question starts a fresh one. So a hang costs its own sample, and nothing else: the verdict is None with the reason,
never a silent 0.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from stages.rewards.verdict import Verdict

LIMIT_S = 5.0  # wall clock for one question
START_LIMIT_S = 60.0  # importing sympy on a busy machine
_WORKER = Path(__file__).with_name("symbolic_worker.py")
_lock = threading.Lock()
_current: _Worker | None = None


class _Worker:
    """A running worker process and the thread that reads its lines."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        # -P: this folder's math.py must not hide the standard library's
        command = [sys.executable, "-P", str(_WORKER)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
        )
        self.lines: queue.Queue[bytes] = queue.Queue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(b"")  # the process ended

    def next_line(self, limit_s: float) -> bytes | None:
        """Return the next line, b"" when the process ended, None when the limit passed."""
        try:
            return self.lines.get(timeout=limit_s)
        except queue.Empty:
            return None

    def send(self, question: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):  # a dead worker shows when its answer is awaited
            self.process.stdin.write(json.dumps(question).encode() + b"\n")
            self.process.stdin.flush()

    def kill(self) -> None:
        if self.owner == os.getpid():
            self.process.kill()
            self.process.wait()
            self.reader.join()
            for pipe in (self.process.stdin, self.process.stdout):
                with contextlib.suppress(OSError):  # what was written and never read
                    pipe.close()  # type: ignore[union-attr]


def equal(gold: str, answer: str, limit_s: float = LIMIT_S) -> Verdict:
    """Ask whether two formulas are equal: 1 or 0, or None (hang, crash, math-verify missing, unreadable gold) with
    the reason."""
    global _current
    with _lock:
        worker = _current
        if worker is None or worker.owner != os.getpid() or worker.process.poll() is not None:
            worker = _current = _Worker()
            ready = worker.next_line(START_LIMIT_S)
            if not ready or b"ready" not in ready:
                worker.kill()
                _current = None
                told = "is not installed: pip install math-verify" if ready else "did not start"
                return Verdict(None, f"math-verify {told}")
        worker.send({"gold": gold, "answer": answer, "limit_s": limit_s})
        line = worker.next_line(limit_s)
        if not line:
            worker.kill()
            _current = None
            told = f"took over {limit_s:g} s" if line is None else "crashed"
            return Verdict(None, f"symbolic check {told}")
    try:
        value, reason = json.loads(line)
        return Verdict(value, str(reason))
    except (ValueError, TypeError):
        return Verdict(None, "symbolic check gave no readable verdict")


@atexit.register
def close() -> None:
    """End this process's worker, if one runs."""
    global _current
    if _current is not None:
        _current.kill()
        _current = None
