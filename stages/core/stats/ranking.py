"""How well a judge ranks: raw scores of held-out responses enter, accuracies with intervals leave.

A judge that had only learned "longer is better" may score well where better responses are longer. So every figure on
pairs is also taken on pairs of about the same length, beside what the bare rule "the longer one" gets.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stages.core import text
from stages.core.stats import estimators

SAME_LENGTH = 0.1
"""Two lengths count as the same when they differ by this share of the longer one at most."""


@dataclass(frozen=True)
class RankedPair:
    """A held-out pair with the judge's raw scores and the lengths (characters) of what it read."""

    id: str
    problem: str
    scores: tuple[float, float]
    """Of the chosen and of the rejected response."""
    lengths: tuple[int, int]
    """The same order."""


@dataclass(frozen=True)
class RankedPoint:
    """A held-out response with the judge's raw score (a log-odds: above 0 it says safe) and its label."""

    id: str
    problem: str
    score: float
    safe: bool
    length: int


def is_held_out(problem: str, share: float) -> bool:
    """Say whether a prompt belongs to the held-out part: by a hash of its canonical text, so always to the same."""
    digest = hashlib.sha256(f"held out {text.canonical(problem)}".encode()).digest()
    return int.from_bytes(digest[:8]) < share * 2**64


def wins(first: float, second: float) -> float:
    """Return 1 when the first is larger, 0.5 for a tie, 0 when it is smaller."""
    return 0.5 * ((first > second) + (first >= second))


def same_length(lengths: tuple[int, int]) -> bool:
    """Say whether two lengths differ by a tenth of the longer one at most."""
    return abs(lengths[0] - lengths[1]) <= SAME_LENGTH * max(lengths)


def pair_figures(rows: Sequence[RankedPair], seed: int = 0) -> dict[str, object]:
    """Return how often the chosen response scores higher, over all pairs and over those of the same length.

    `accuracy`, `matched_accuracy` and `length_rule` (the longer one is better) come with a 95 % interval that resamples
    prompts; None without such pairs.
    """
    right: Callable[[RankedPair], float] = lambda row: wins(*row.scores)  # noqa: E731
    longer: Callable[[RankedPair], float] = lambda row: wins(*row.lengths)  # noqa: E731
    matched = [row for row in rows if same_length(row.lengths)]
    sums = {"accuracy": (rows, right), "matched_accuracy": (matched, right), "length_rule": (rows, longer)}
    columns = {name: _column(rows, counted, value) for name, (counted, value) in sums.items()}
    found: dict[str, object] = {"pairs": len(rows), "matched_pairs": len(matched)}
    for name, estimate in estimators.intervals(columns, seed=seed).items():
        found |= {name: estimate.value, f"{name}_interval": [estimate.low, estimate.high]}
    return found


def point_figures(rows: Sequence[RankedPoint], seed: int = 0) -> dict[str, object]:
    """Return the share of responses on their label's side of 0 (with its interval), the AUC, and the share that always
    saying the commoner label would get; the AUC is None when all labels are alike.
    """
    column: dict[str, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
    for row in rows:
        done, asked = column[row.problem]
        column[row.problem] = (done + ((row.score > 0) == row.safe), asked + 1)
    estimate = estimators.intervals({"accuracy": column}, seed=seed)["accuracy"]
    safe = sum(row.safe for row in rows) / len(rows)
    return {
        "points": len(rows),
        "accuracy": estimate.value,
        "accuracy_interval": [estimate.low, estimate.high],
        "auc": auc([row.score for row in rows], [row.safe for row in rows]),
        "majority_rule": max(safe, 1.0 - safe),
    }


def auc(scores: Sequence[float], labels: Sequence[bool]) -> float | None:
    """Return the chance that a positive scores above a negative, ties counting half (the Mann-Whitney statistic).

    None when one of the labels is missing.
    """
    positives = sum(labels)
    negatives = len(labels) - positives
    if not positives or not negatives:
        return None
    order = sorted(range(len(scores)), key=lambda place: scores[place])
    ranks, start = 0.0, 0
    while start < len(order):
        end = start
        while end < len(order) and scores[order[end]] == scores[order[start]]:
            end += 1
        rank = (start + 1 + end) / 2  # ranks start+1 .. end, shared by those that tie
        ranks += rank * sum(labels[place] for place in order[start:end])
        start = end
    return (ranks - positives * (positives + 1) / 2) / (positives * negatives)


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Return mean and (population) standard deviation of some numbers; raises ValueError for none or one that is no
    number."""
    if not values or not all(map(math.isfinite, values)):
        raise ValueError("there is no mean of nothing, nor of what is no number")
    mean = math.fsum(values) / len(values)
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))


def _column(
    rows: Sequence[RankedPair], counted: Sequence[RankedPair], value: Callable[[RankedPair], float]
) -> dict[str, tuple[float, float]]:
    """Prompt -> (sum of the value, pairs) over the counted rows, with (0, 0) for prompts that have none of them."""
    column = {row.problem: (0.0, 0.0) for row in rows}
    for row in counted:
        done, asked = column[row.problem]
        column[row.problem] = (done + value(row), asked + 1)
    return column
