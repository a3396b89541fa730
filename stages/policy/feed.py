"""Which examples a step trains on, and in which forward passes: pure functions of (seed, epoch) and of lengths.

Lengths and a seed enter; places of examples leave. Nothing is remembered between calls, so a resumed run, in whatever
epoch, trains on what an uninterrupted one would have. Rows that form a step are chosen blind to their lengths; inside
it they are sorted by length and cut into passes that fit into memory, which changes sums by rounding alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from stages.policy.sampler import derive, permutation


@dataclass(frozen=True)
class Room:
    """What one forward and backward pass may hold."""

    rows: int
    """Most rows, at least 1."""
    tokens: int
    """Most tokens, padding included; one row may always pass."""


class Feed:
    """The steps of a run: epochs one after the other, each a permutation of its own, cut into batches of equal size.

    A batch may reach across the end of an epoch; only the last may be smaller. Steps and passes count from 0.
    """

    def __init__(self, lengths: Sequence[int], seed: int, *, epochs: int, batch: int, room: Room) -> None:
        count = len(lengths)
        orders = (permutation(count, seed=derive(seed, "epoch", epoch)) for epoch in range(epochs))
        self._lengths = lengths
        self._order = [place for order in orders for place in order]
        self._batch = batch
        self.steps = math.ceil(len(self._order) / batch)
        self.steps_an_epoch = math.ceil(count / batch)
        self._room = room
        self.passes = max(len(fewest_passes(self._sorted(step), room)) for step in range(self.steps))
        """Passes of every step but the last, which may have fewer: transformers accumulates a fixed number."""

    def rows(self, step: int) -> list[int]:
        """The examples of one step, in their random order; an example may come twice where two epochs meet."""
        return self._order[step * self._batch : (step + 1) * self._batch]

    def cut(self, step: int) -> list[list[int]]:
        """The same examples as passes: `passes` of them, or as many as there are rows."""
        rows = sorted(self.rows(step), key=lambda row: self._lengths[row], reverse=True)
        sizes = fewest_passes([self._lengths[row] for row in rows], self._room)
        while len(sizes) < min(self.passes, len(rows)):
            largest = sizes.index(max(sizes))
            sizes[largest : largest + 1] = [math.ceil(sizes[largest] / 2), sizes[largest] // 2]
        starts = [sum(sizes[:number]) for number in range(len(sizes))]
        return [rows[start : start + size] for start, size in zip(starts, sizes, strict=True)]

    def tickets(self) -> int:
        """Passes in the whole run; pass number n belongs to step n // `passes`."""
        return (self.steps - 1) * self.passes + len(self.cut(self.steps - 1))

    def _sorted(self, step: int) -> list[int]:
        return sorted((self._lengths[row] for row in self.rows(step)), reverse=True)


def fewest_passes(lengths: Sequence[int], room: Room) -> list[int]:
    """Cut rows, longest first, into consecutive passes; returns the number of rows of each, longest rows first."""
    sizes: list[int] = []
    done = 0
    while done < len(lengths):
        sizes.append(min(len(lengths) - done, room.rows, max(1, room.tokens // lengths[done])))
        done += sizes[-1]
    return sizes
