"""Differences with intervals over problems and seeds: columns per seed enter; draws and estimates leave.

Every seed answers the same problems, so problems and seeds are crossed, not nested. Both are resampled with
replacement, each on its own, and a draw is the mean over its seeds of the difference on its problems: the pigeonhole
bootstrap (Owen 2007, Annals of Applied Statistics 1(2)), which errs on the side of wide intervals. With three seeds the
draws where one seed comes three times are 3 in 27, so an interval off 0 asks at least that no seed contradicts it. With
one seed the interval covers problems alone. numpy is imported where numbers are drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stages.core.stats.estimators import BLOCK, LEVEL, RESAMPLES, Column
from stages.study.figures import WHOLE

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Pairing:
    """One seed: a figure's column on both sides, on the same problems."""

    after: Column
    before: Column

    def __post_init__(self) -> None:
        if self.after.keys() != self.before.keys():
            raise ValueError("the two sides of a pairing hold different problems")


@dataclass(frozen=True)
class Effect:
    """A difference over one or more seeds. Values are in the metric's unit; None: nothing to divide by."""

    after: float | None
    """Mean over seeds of the figure itself."""
    before: float | None
    """The same of what it is compared with."""
    value: float | None
    """Mean over seeds of after minus before."""
    low: float | None
    high: float | None
    """The interval that 95 % of the draws fall into; None where there is nothing to resample."""
    by_seed: tuple[float, ...]
    """after minus before, seed by seed."""
    problems: int
    """Problems of the first seed; 0 for a figure without problems."""


def ratio(column: Column) -> float | None:
    """Return the sum of numerators over the sum of denominators; None when the latter is 0."""
    denominator = math.fsum(pair[1] for pair in column.values())
    return math.fsum(pair[0] for pair in column.values()) / denominator if denominator else None


def effect(seeds: Sequence[Pairing], drawn: np.ndarray) -> Effect:
    """Return the difference over the seeds with the interval of its draws; none for one seed and one problem."""
    sides = [(ratio(one.after), ratio(one.before)) for one in seeds]
    whole = [(after, before) for after, before in sides if after is not None and before is not None]
    if len(whole) < len(seeds) or not whole:
        return Effect(None, None, None, None, None, (), 0)
    after, before = (math.fsum(side) / len(whole) for side in zip(*whole, strict=True))
    by_seed = tuple(one - other for one, other in whole)
    problems = len(seeds[0].after.keys() - {WHOLE})
    low, high = interval(drawn) if problems > 1 or len(seeds) > 1 else (None, None)
    return Effect(after, before, math.fsum(by_seed) / len(by_seed), low, high, by_seed, problems)


def draws(groups: Sequence[Sequence[Pairing]], *, seed: int = 0, resamples: int = RESAMPLES) -> list[np.ndarray]:
    """Return, for each group of seeds, the resampled mean difference, shape (resamples,).

    All groups share the draws of problems (equal ids are the same problem), so differences between groups stay paired;
    seeds are drawn for each group on its own. NaN where a draw has nothing to divide by.
    """
    import numpy as np

    problems, *chances = (np.random.default_rng([seed, place]) for place in range(1 + len(groups)))
    ids = sorted({one for group in groups for pairing in group for one in pairing.after})
    tables = [_table(group, ids) for group in groups]
    blocks: list[list[np.ndarray]] = [[] for _ in groups]
    equal = np.full(len(ids), 1.0 / max(1, len(ids)))
    for start in range(0, resamples, BLOCK):
        size = min(BLOCK, resamples - start)
        times = problems.multinomial(len(ids), equal, size=size).astype(np.float64)
        times[:, [key == WHOLE for key in ids]] = 1.0  # no problem, so it is in every draw once
        for table, chance, block in zip(tables, chances, blocks, strict=True):
            shares = chance.multinomial(len(table), np.full(len(table), 1.0 / len(table)), size=size) / len(table)
            block.append(np.where(shares > 0, _differences(times, table) * shares, 0.0).sum(axis=1))
    return [np.concatenate(block) for block in blocks]


def interval(drawn: np.ndarray) -> tuple[float | None, float | None]:
    """Return the percentiles that hold LEVEL of the finite draws; (None, None) when there are none."""
    import numpy as np

    finite = drawn[np.isfinite(drawn)]
    if not len(finite):
        return None, None
    tail = 50.0 * (1.0 - LEVEL)
    low, high = np.percentile(finite, tail), np.percentile(finite, 100.0 - tail)
    return float(low), float(high)


def _table(group: Sequence[Pairing], ids: Sequence[str]) -> np.ndarray:
    """Return seeds x 4 x problems: numerator and denominator after, then before; 0 where a seed lacks a problem."""
    import numpy as np

    nothing = (0.0, 0.0)
    rows = [[[*one.after.get(key, nothing), *one.before.get(key, nothing)] for key in ids] for one in group]
    return np.array(rows, dtype=np.float64).transpose(0, 2, 1)


def _differences(times: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Return draws x seeds: after minus before under each draw's weights, NaN where a denominator is 0."""
    import numpy as np

    sums = np.einsum("bp,skp->bsk", times, table)
    with np.errstate(divide="ignore", invalid="ignore"):
        difference: np.ndarray = sums[..., 0] / sums[..., 1] - sums[..., 2] / sums[..., 3]
    return difference
