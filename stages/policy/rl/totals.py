"""What one step came to: sums of all processes' micro-batches enter; means, extremes and seconds leave."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from stages.policy.ranks.world import World
from stages.policy.rl.importance import mismatch


class StepTotals:
    """Sums over the micro-batches of one step, and the seconds it spent on what."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Forget the last step; its seconds count from now."""
        self.began = time.perf_counter()
        self.seconds: dict[str, float] = {"renewal": 0.0, "rollout": 0.0, "reward": 0.0, "logprobs": 0.0}
        self.sums: dict[str, float] = defaultdict(float)
        self.log_ratios: list[Tensor] = []
        """Trainer to sampler, of each token that met the weights it was drawn with."""
        self.low, self.high = math.inf, -math.inf

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Count the seconds of a block under `name`."""
        start = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - start

    def add(self, sums: dict[str, Tensor]) -> None:
        """Add one micro-batch's detached sums, as `policy_loss` returns them."""
        values = {name: value.item() for name, value in sums.items()}
        self.low = min(self.low, values.pop("ratio_min"))
        self.high = max(self.high, values.pop("ratio_max"))
        for name, value in values.items():
            self.sums[name] += value

    def merge(self, known: World) -> None:
        """Take in what the other processes counted of this step."""
        parts = known.gather((dict(self.sums), self.low, self.high, self.log_ratios))
        self.sums = defaultdict(float)
        for sums, _, _, _ in parts:
            for name, value in sums.items():
                self.sums[name] += value
        self.low, self.high = min(low for _, low, _, _ in parts), max(high for _, _, high, _ in parts)
        self.log_ratios = [one for _, _, _, found in parts for one in found]

    def figures(self, tokens: int) -> dict[str, float]:
        """Return the step's means over its `tokens` trained tokens, the extremes of the ratio, and the seconds."""
        named = {"ratio": "ratio_mean", "clipped": "clip_fraction"}
        means = {named.get(name, name): value / max(tokens, 1) for name, value in self.sums.items()}
        update = time.perf_counter() - self.began - sum(self.seconds.values())
        seconds = {f"seconds_{name}": round(value, 4) for name, value in (self.seconds | {"update": update}).items()}
        apart = mismatch(torch.cat(self.log_ratios)) if self.log_ratios else {}
        return means | apart | {"ratio_min": self.low, "ratio_max": self.high} | seconds
