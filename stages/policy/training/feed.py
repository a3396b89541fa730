"""Which examples a step trains on, and in which micro-batches: pure functions of (seed, epoch) and of lengths.

Lengths and a seed enter; places of examples leave. Nothing is remembered between calls, so a resumed run, in whatever
epoch, trains on what an uninterrupted one would have. Rows that form a step are chosen blind to their lengths; inside
it they are sorted by length and cut into micro-batches that fit into memory, which changes sums by rounding alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from stages.policy.seeding import derive, permutation


@dataclass(frozen=True)
class TokenBudget:
    """What one forward and backward pass may hold."""

    rows: int
    """Most rows, at least 1."""
    tokens: int
    """Most tokens, padding included; one row may always pass."""


class BatchSchedule:
    """The steps of a run: epochs one after the other, each a permutation of its own, cut into batches of equal size.

    A batch may reach across the end of an epoch; only the last may be smaller. Steps and micro-batches count from 0.
    Each of `ranks` processes takes every so-many-th micro-batch, so a step has as many for each.
    """

    def __init__(
        self, lengths: Sequence[int], seed: int, *, epochs: int, batch: int, budget: TokenBudget, ranks: int = 1
    ) -> None:
        count = len(lengths)
        orders = (permutation(count, seed=derive(seed, "epoch", epoch)) for epoch in range(epochs))
        self._lengths = lengths
        self._order = [place for order in orders for place in order]
        self._batch = batch
        self.steps = math.ceil(len(self._order) / batch)
        self.steps_an_epoch = math.ceil(count / batch)
        self._budget, self.ranks = budget, ranks
        self.accumulation = self._for_all(
            max(len(fewest_micro_batches(self._sorted(step), budget)) for step in range(self.steps))
        )
        """Micro-batches of every step but the last, which may have fewer: transformers accumulates a fixed number."""

    def rows(self, step: int) -> list[int]:
        """The examples of one step, in their random order; an example may come twice where two epochs meet."""
        return self._order[step * self._batch : (step + 1) * self._batch]

    def micro_batches(self, step: int) -> list[list[int]]:
        """The same examples as micro-batches: `accumulation` of them, or as many as there are rows; where those do not
        go round, the last ranks' are empty."""
        rows = sorted(self.rows(step), key=lambda row: self._lengths[row], reverse=True)
        sizes = fewest_micro_batches([self._lengths[row] for row in rows], self._budget)
        while len(sizes) < min(self.accumulation, len(rows)):
            largest = sizes.index(max(sizes))
            sizes[largest : largest + 1] = [math.ceil(sizes[largest] / 2), sizes[largest] // 2]
        starts = [sum(sizes[:number]) for number in range(len(sizes))]
        found = [rows[start : start + size] for start, size in zip(starts, sizes, strict=True)]
        return found + [[] for _ in range(self._for_all(len(found)) - len(found))]

    def total_micro_batches(self) -> int:
        """Micro-batches of the whole run; number n belongs to step n // `accumulation`."""
        return (self.steps - 1) * self.accumulation + len(self.micro_batches(self.steps - 1))

    def _for_all(self, micro_batches: int) -> int:
        return math.ceil(micro_batches / self.ranks) * self.ranks

    def _sorted(self, step: int) -> list[int]:
        return sorted((self._lengths[row] for row in self.rows(step)), reverse=True)


def fewest_micro_batches(lengths: Sequence[int], budget: TokenBudget) -> list[int]:
    """Cut rows, longest first, into consecutive micro-batches; returns the number of rows of each, in order."""
    sizes: list[int] = []
    done = 0
    while done < len(lengths):
        sizes.append(min(len(lengths) - done, budget.rows, max(1, budget.tokens // lengths[done])))
        done += sizes[-1]
    return sizes
