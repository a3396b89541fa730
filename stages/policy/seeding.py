"""Which prompts a rollout asks, and in which order its completions are trained on: pure functions of (seed, rollout).

The number of prompts and a seed enter; indices leave. Nothing is remembered between calls, so a resumed run, in
whatever epoch, asks what an uninterrupted one would have asked: TRL's own sampler starts again from its first epoch.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import lru_cache

import torch


def derive(seed: int, *names: str | int) -> int:
    """Return a seed below 2^63 for one named use of chance; different names give unrelated seeds."""
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 1


def permutation(count: int, *, seed: int) -> list[int]:
    """Return 0..count-1 in an order that depends on the seed alone."""
    order: list[int] = _shuffled(count, seed).tolist()
    return order


@lru_cache(maxsize=4)
def _shuffled(count: int, seed: int) -> torch.Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))


class PromptOrder:
    """An endless order of prompts: epochs one after the other, each a permutation of its own, cut into rollouts.

    A rollout may reach across the end of an epoch, and holds a prompt twice when there are fewer prompts than it asks
    for; none is left out, as happens to the last incomplete batch of TRL's sampler.
    """

    def __init__(self, prompts: int, per_rollout: int, seed: int) -> None:
        self.prompts = prompts
        self.per_rollout = per_rollout
        self.seed = seed

    def rollout(self, number: int) -> list[int]:
        """Return the prompt indices of rollout `number` (from 0)."""
        return self.stretch(number * self.per_rollout, self.per_rollout)

    def stretch(self, start: int, count: int) -> list[int]:
        """Return `count` prompt indices of the endless order, from place `start` (from 0) on."""
        if not count:
            return []
        first, last = start // self.prompts, (start + count - 1) // self.prompts
        epochs = [_shuffled(self.prompts, derive(self.seed, "epoch", epoch)) for epoch in range(first, last + 1)]
        offset = start - first * self.prompts
        indices: list[int] = torch.cat(epochs)[offset : offset + count].tolist()
        return indices


@dataclass(frozen=True, kw_only=True)
class MixedOrder:
    """Two kinds of prompts: reasoning ones alone at first, and a share of general ones from some rollout on.

    Each kind keeps an endless order of its own, so that up to the first mixed rollout nothing differs from a run
    without general prompts.
    """

    reasoning: int
    """Reasoning prompts there are, 1 or more; their indices come first."""
    general: int
    """General prompts there are; 0 = none are ever asked."""
    per_rollout: int
    """Prompts a rollout asks, of both kinds together."""
    first: int
    """The first rollout that may ask general prompts, from 0."""
    share: float
    """Share of its prompts that are general from then on, 0..1; whole prompts a rollout, exact in the long run."""
    seed: int

    def rollout(self, number: int) -> list[int]:
        """Return the prompt indices of rollout `number` (from 0), the two kinds shuffled; general prompt i is index
        `reasoning` + i."""
        asked, count = self._general_before(number), self.general_prompts(number)
        reasoning = PromptOrder(self.reasoning, self.per_rollout, self.seed)
        chosen = reasoning.stretch(number * self.per_rollout - asked, self.per_rollout - count)
        if not count:
            return chosen
        general = PromptOrder(self.general, self.per_rollout, derive(self.seed, "general"))
        chosen += [self.reasoning + index for index in general.stretch(asked, count)]
        return [chosen[place] for place in permutation(len(chosen), seed=derive(self.seed, "kinds", number))]

    def general_prompts(self, number: int) -> int:
        """Return how many general prompts rollout `number` asks."""
        return self._general_before(number + 1) - self._general_before(number)

    def _general_before(self, number: int) -> int:
        """Return how many general prompts the rollouts before `number` asked."""
        if not self.general:
            return 0
        return math.floor(max(0, number - self.first) * self.per_rollout * self.share + 0.5)
