"""The accuracy reward against math-verify called row by row, on the same rows in one run; part of `make bench`.

Labelled pairs of tests/rewards/corpus enter, half of them wrong, half of the right ones written differently from the
gold; rows a second, the path that decided each row, the slowest rows, and the time to recover from a hang leave. No
cache is on either side; both work in one thread, ours with its warm symbolic workers.
"""

from __future__ import annotations

import random
import statistics
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from stages.rewards import accuracy
from stages.rewards.mathematics import answers, symbolic
from stages.rewards.mathematics.numbers import normal
from tests.bench.corpus import theirs
from tests.rewards.contracts import contract, row
from tests.rewards.corpus import Pair, read

ROWS = 600
HANGS = (r"\int_0^1 x^2 dx", r"\int_0^1 (x^2+x+1)^{20} dx")  # its cost at math-verify grows with the exponent
HANG_CPU_S = 0.5


def rows(count: int = ROWS) -> list[Pair]:
    """Return `count` pairs: half wrong, a quarter right as the gold is written, a quarter right in other words."""
    bare = [pair for pair in read() if pair.answer and not pair.completion]
    wrong = [pair for pair in bare if not pair.right]
    other = [pair for pair in bare if pair.right and normal(pair.answer) != normal(pair.gold)]
    same = [Pair(pair.gold, right=True, source=pair.source, answer=pair.gold) for pair in other]
    draw = random.Random(0)
    chosen = [*draw.sample(wrong, count // 2), *draw.sample(same, count // 4), *draw.sample(other, count // 4)]
    draw.shuffle(chosen)
    return chosen


def judge(pair: Pair) -> float | None:
    """Judge a pair by our reward, as a whole completion."""
    return accuracy.reward(f"<think>a</think> <answer>{pair.answer}</answer>", row(pair.gold), contract()).value


def timed(pairs: list[Pair], judged: Callable[[Pair], Any]) -> list[float]:
    """Return the seconds of each pair."""
    seconds = []
    for pair in pairs:
        began = time.perf_counter()
        judged(pair)
        seconds.append(time.perf_counter() - began)
    return seconds


def paths(pairs: list[Pair]) -> Counter[str]:
    """Count which reader decided each row: numbers and text, formulas, or math-verify."""
    asked: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        for module, name, path in ((answers, "agree", "formulas"), (symbolic, "equal", "math-verify")):
            patch.setattr(module, name, _noting(getattr(module, name), asked, path))
        found: Counter[str] = Counter()
        for pair in pairs:
            asked.clear()
            judge(pair)
            found["math-verify" if "math-verify" in asked else asked[0] if asked else "numbers and text"] += 1
    return found


def recovery() -> tuple[float, float]:
    """Return the seconds that a hang took, its limit being HANG_CPU_S, and those until the next answer."""
    symbolic.equal("x", "x+0")
    began = time.perf_counter()
    fault = symbolic.equal(*HANGS, limit_s=HANG_CPU_S / symbolic.CPU_SHARE)
    hung = time.perf_counter() - began
    if fault.value is not None:
        raise RuntimeError(f"math-verify does not hang any more on {HANGS[1]}: {fault.reason}")
    began = time.perf_counter()
    symbolic.equal("x", "x+0")
    return hung, time.perf_counter() - began


def report(repeats: int) -> list[str]:
    """Return the lines that `make bench` prints."""
    pairs = rows()
    symbolic.equal("x", "x+0")
    ratios, ours, plain = [], [], []
    for repeat in range(repeats):
        order = ((ours, judge), (plain, theirs)) if repeat % 2 else ((plain, theirs), (ours, judge))
        for kept, judged in order:
            kept.append(timed(pairs, judged))
        ratios.append(sum(plain[-1]) / sum(ours[-1]))
    mine, other = (statistics.median(map(sum, runs)) for runs in (ours, plain))
    slow = sorted(second for run in ours for second in run)
    hung, back = recovery()
    decided = ", ".join(f"{path} {100 * n / len(pairs):.1f} %" for path, n in paths(pairs).most_common())
    return [
        f"accuracy, {len(pairs)} rows: {len(pairs) / mine:,.0f} rows/s, math-verify {len(pairs) / other:,.0f} rows/s, "
        f"ratio {statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})",
        f"  decided by: {decided}",
        f"  a row: p50 {1e3 * slow[len(slow) // 2]:.2f} ms, p99 {1e3 * slow[int(0.99 * len(slow))]:.2f} ms, "
        f"worst {1e3 * slow[-1]:.0f} ms",
        f"  a hang with a limit of {HANG_CPU_S} s of CPU time: {hung:.2f} s; the next answer after {back:.2f} s",
    ]


def _noting(function: Callable[..., Any], asked: list[str], path: str) -> Callable[..., Any]:
    def noted(*args: Any, **options: Any) -> Any:
        asked.append(path)
        return function(*args, **options)

    return noted
