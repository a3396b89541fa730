"""Two ways of doing the same, timed in turn in one process, so that both meet the same machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Pair:
    """Ours against plain: seconds of each run, and the ratio plain / ours (above 1: ours is faster)."""

    what: str
    tokens: int
    ours: list[float]
    plain: list[float]

    @property
    def ratios(self) -> list[float]:
        return [theirs / mine for mine, theirs in zip(self.ours, self.plain, strict=True)]


def paired(
    what: str,
    repeats: int,
    ours: Callable[[], int],
    plain: Callable[[], int],
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> Pair:
    """Time both `repeats` times after one warm-up each; each returns the tokens it made."""
    tokens = ours()
    plain()
    seconds: dict[Callable[[], int], list[float]] = {ours: [], plain: []}
    for repeat in range(repeats):
        for run in (ours, plain) if repeat % 2 else (plain, ours):
            began = clock()
            run()
            seconds[run].append(clock() - began)
    return Pair(what, tokens, seconds[ours], seconds[plain])
