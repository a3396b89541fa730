"""Which prompts a rollout asks, and in which order its completions are trained on: pure functions of (seed, rollout).

The number of prompts and a seed enter; indices leave. Nothing is remembered between calls, so a resumed run, in
whatever epoch, asks what an uninterrupted one would have asked: TRL's own sampler starts again from its first epoch.
"""

from __future__ import annotations

import hashlib

import torch


def derive(seed: int, *names: str | int) -> int:
    """Return a seed below 2^63 for one named use of chance; different names give unrelated seeds."""
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 1


def permutation(count: int, *, seed: int) -> list[int]:
    """Return 0..count-1 in an order that depends on the seed alone."""
    order: list[int] = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
    return order


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
        start = number * self.per_rollout
        first, last = start // self.prompts, (start + self.per_rollout - 1) // self.prompts
        epochs = [permutation(self.prompts, seed=derive(self.seed, "epoch", epoch)) for epoch in range(first, last + 1)]
        indices = [index for order in epochs for index in order]
        offset = start - first * self.prompts
        return indices[offset : offset + self.per_rollout]
