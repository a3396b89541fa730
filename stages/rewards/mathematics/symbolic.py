"""Symbolic equality by math-verify, in worker processes that can be killed: two texts enter, a verdict leaves.

sympy can hang or eat memory on a short formula, so it never runs in this process. A hang costs its own sample, and
nothing else: the verdict is None with the reason, never a silent 0.
"""

from __future__ import annotations

import sys

from stages.rewards.mathematics import symbolic_worker
from stages.rewards.processes.workers import Workers, cores
from stages.rewards.verdict import Verdict

UNREAD = symbolic_worker.UNREAD
LIMIT_S = 60.0
"""Wall clock for one question: the last net, far beyond what a busy machine makes of the CPU time."""
CPU_SHARE = 1 / 24
"""Part of it that may be spent as CPU time, which is what sympy spends: a hang costs 2.5 s, and the same everywhere."""
IDLE_S = 5.0
"""How long a worker may wait for what never comes, neither computing nor kept from it by a busy machine."""
# -P: the folder it is called from must not hide a library
COMMAND = [sys.executable, "-P", "-m", symbolic_worker.__name__]
WORKERS = Workers(COMMAND, count=cores(), cpu_share=CPU_SHARE, idle_s=IDLE_S)


def equal(gold: str, answer: str, limit_s: float = LIMIT_S) -> Verdict:
    """Ask whether two formulas are equal: 1 or 0, or None (hang, crash, math-verify missing, unreadable gold) with
    the reason. Any thread may ask; `limit_s` is the wall clock, of which CPU_SHARE may be spent as CPU time."""
    reply = WORKERS.ask({"gold": gold, "answer": answer}, limit_s)
    if reply.kind == "start":
        return Verdict(None, f"math-verify {reply.fault}")
    if reply.fault:
        return Verdict(None, f"symbolic check {reply.fault}")
    value, reason = reply.value
    return Verdict(value, reason)


def close() -> None:
    """End this process's workers, if any run."""
    WORKERS.close()
