"""Counts of right answers in; estimates with 95 % intervals out.

Every figure of an evaluation is a ratio of two sums over problems: pass@1 is right samples over samples, the mean
length of right completions is their tokens over their number. So one shape serves all: a column maps a problem's id to
a pair (numerator, denominator), an estimate is the ratio of the sums, and its interval resamples problems, never single
completions, because the completions of one problem are not independent. numpy is imported where numbers are resampled,
not at import.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

Pair = tuple[float, float]
Column = Mapping[str, Pair]
Columns = Mapping[str, Column]

RESAMPLES = 2000
LEVEL = 0.95
BLOCK = 250  # resamples drawn at once: bounds memory at BLOCK x problems x 8 bytes


@dataclass(frozen=True)
class Estimate:
    """A figure with the interval that `LEVEL` of the resampled figures fall into; `n` counts problems. None: nothing to
    divide by.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int

    def as_dict(self) -> dict[str, float | int | None]:
        """Return the four values under their names, ready for JSON."""
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n}


def pass_at_1(verdicts: Sequence[bool | float]) -> float:
    """Return the mean verdict (0..1) of one problem's samples: DeepSeek-R1's pass@1 (2501.12948, section 3).

    Raises ValueError when there is no sample.
    """
    if not verdicts:
        raise ValueError("pass@1 needs at least one sample")
    return math.fsum(float(verdict) for verdict in verdicts) / len(verdicts)


def pass_at_k(n: int, c: int, k: int) -> float:
    """Return the chance (0..1) that k of n samples, drawn without replacement, hold at least one of the c right ones.

    1 - C(n-c, k) / C(n, k), unbiased for any n >= k (Chen et al. 2021, 2107.03374, eq. 1); exact integers, so no
    cancellation. Raises ValueError unless 0 <= c <= n and 1 <= k <= n.
    """
    if not 0 <= c <= n:
        raise ValueError(f"{c} right samples of {n} cannot be")
    if not 1 <= k <= n:
        raise ValueError(f"pass@{k} cannot be estimated from {n} samples")
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)


def cons_at_k(votes: Iterable[tuple[str | None, float]]) -> float:
    """Return the majority vote's expected verdict (0..1) over one problem's (answer, verdict) pairs.

    An answer of None is no vote. Tied answers are as likely as each other, so their verdicts are averaged; an answer
    judged differently in two samples counts with its mean verdict. Without any vote the result is 0 (a wrong answer).
    """
    count: Counter[str] = Counter()
    verdict_sum: Counter[str] = Counter()
    for answer, verdict in votes:
        if answer is not None:
            count[answer] += 1
            verdict_sum[answer] += verdict  # type: ignore[assignment]  # Counter is typed for int, and adds floats as well
    if not count:
        return 0.0
    most = max(count.values())
    tied = [answer for answer, votes_for in count.items() if votes_for == most]
    return math.fsum(verdict_sum[answer] / most for answer in tied) / len(tied)


def intervals(
    columns: Columns, *, seed: int = 0, resamples: int = RESAMPLES, level: float = LEVEL
) -> dict[str, Estimate]:
    """Return each column's estimate with its percentile bootstrap interval over problems.

    All columns hold the same ids and share the resamples. A column whose every problem agrees gets an interval of zero
    width: the bootstrap cannot see what no problem showed. Raises ValueError when columns hold different ids.
    """
    if not columns:
        return {}
    ids = _shared_ids(columns)
    drawn = _resampled(columns, ids, seed, resamples)
    return {name: _estimate(_ratio(column.values()), drawn[name], level, len(ids)) for name, column in columns.items()}


def differences(
    after: Columns, before: Columns, *, seed: int = 0, resamples: int = RESAMPLES, level: float = LEVEL
) -> dict[str, Estimate]:
    """Return, for each column both sides have, after minus before on the problems both have, resampled in pairs.

    Pairing by id removes the spread between easy and hard problems from the interval. `n` counts the shared problems;
    with none of them the values are None. Raises ValueError when the columns of one side hold different ids.
    """
    names = [name for name in after if name in before]
    if not names:
        return {}
    known = set(_shared_ids(before))
    ids = [one for one in _shared_ids(after) if one in known]
    both: dict[str, Column] = {}
    for name in names:
        both[f"after {name}"] = {one: after[name][one] for one in ids}
        both[f"before {name}"] = {one: before[name][one] for one in ids}
    drawn = _resampled(both, ids, seed, resamples)
    result = {}
    for name in names:
        first, second = _ratio(both[f"after {name}"].values()), _ratio(both[f"before {name}"].values())
        value = None if first is None or second is None else first - second
        result[name] = _estimate(value, drawn[f"after {name}"] - drawn[f"before {name}"], level, len(ids))
    return result


def by_group(columns: Columns, group_of: Mapping[str, str]) -> dict[str, dict[str, dict[str, Pair]]]:
    """Return the columns of each group of problems (a family, a level), groups in alphabetical order.

    `group_of` maps a problem's id to its group; problems it does not name, or names "", are in none.
    """
    groups = sorted({group_of.get(one, "") for column in columns.values() for one in column} - {""})
    return {
        group: {
            name: {one: pair for one, pair in column.items() if group_of.get(one) == group}
            for name, column in columns.items()
        }
        for group in groups
    }


def _shared_ids(columns: Columns) -> list[str]:
    """Return the ids, sorted so that the order of rows in a file cannot move an interval."""
    first = next(iter(columns.values()))
    for name, column in columns.items():
        if column.keys() != first.keys():
            raise ValueError(f"column {name} holds other problems than the first column")
    return sorted(first)


def _ratio(pairs: Iterable[Pair]) -> float | None:
    pairs = list(pairs)
    denominator = math.fsum(pair[1] for pair in pairs)
    return math.fsum(pair[0] for pair in pairs) / denominator if denominator else None


def _resampled(columns: Columns, ids: Sequence[str], seed: int, resamples: int) -> dict[str, np.ndarray]:
    """Return per column the ratio in each resample, shape (resamples,); NaN where its denominator is 0."""
    import numpy as np

    names = list(columns)
    if not ids:
        return {name: np.full(resamples, np.nan) for name in names}
    pairs = np.array(
        [[columns[name][one] for name in names] for one in ids], dtype=np.float64
    )  # problems x columns x 2
    generator = np.random.default_rng(seed)
    equal = np.full(len(ids), 1.0 / len(ids))
    blocks = []
    for start in range(0, resamples, BLOCK):
        times = generator.multinomial(len(ids), equal, size=min(BLOCK, resamples - start)).astype(np.float64)
        numerator, denominator = times @ pairs[:, :, 0], times @ pairs[:, :, 1]
        ratio = np.full_like(numerator, np.nan)
        np.divide(numerator, denominator, out=ratio, where=denominator > 0)
        blocks.append(ratio)
    ratios = np.concatenate(blocks)
    return {name: ratios[:, index] for index, name in enumerate(names)}


def _estimate(value: float | None, drawn: np.ndarray, level: float, n: int) -> Estimate:
    import numpy as np

    finite = drawn[np.isfinite(drawn)]
    if value is None or not len(finite):
        return Estimate(value, None, None, n)
    tail = 50.0 * (1.0 - level)
    low, high = np.percentile(finite, tail), np.percentile(finite, 100.0 - tail)
    return Estimate(value, float(low), float(high), n)
