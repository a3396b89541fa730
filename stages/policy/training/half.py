"""AdamW on weights of 16 bits: gradients in bfloat16 enter, float32 arithmetic moves weights in bfloat16.

A step of R1's size, 1e-6 on a weight of 0.02, is a hundredth of what bfloat16 can tell apart, and would be rounded away
each time. So either a float32 copy of the weights is kept and moved (`master`), or what is written back is rounded up
or down by chance, in proportion, so that the mean of many small steps is what it should be (stochastic rounding, Gupta
et al. 2015, arXiv 1502.02551). The chance follows from the step and the weight's number: a resumed run rounds alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from stages.policy.ranks.sharding import mine, part
from stages.policy.ranks.world import world
from stages.policy.seeding import derive


class HalfAdamW(torch.optim.Optimizer):
    """AdamW (arXiv 1711.05101, algorithm 2) with float32 moments for weights of any width."""

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        master: bool = True,
    ) -> None:
        self.master = master
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Move each weight that has a gradient; one weight's float32 temporaries exist at a time."""
        loss = closure() if closure is not None else None
        for number, (group, weight) in enumerate(self._weights()):
            if weight.grad is not None:
                self._move(number, group, weight)
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state as it was written: torch would bring its float32 tensors into the weights' own type."""
        super().load_state_dict(state_dict)
        for number, (_, weight) in enumerate(self._weights()):
            for name, value in state_dict["state"].get(number, {}).items():
                kept = value.to(weight.device, copy=True) if isinstance(value, Tensor) else value
                self.state[weight][name] = part(kept, weight)

    def _weights(self) -> Iterator[tuple[dict[str, Any], Tensor]]:
        for group in self.param_groups:
            for weight in group["params"]:
                yield group, weight

    def _move(self, number: int, group: dict[str, Any], weight: Tensor) -> None:
        state, gradient = self.state[weight], weight.grad.float()  # type: ignore[union-attr]
        if not state:
            state["step"] = 0
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(gradient), torch.zeros_like(gradient)
            if self.master:
                state["master"] = weight.float().clone()
        state["step"] += 1
        first, second = group["betas"]
        mean, square = state["exp_avg"], state["exp_avg_sq"]
        mean.lerp_(gradient, 1 - first)
        square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        wide = state["master"] if self.master else weight.float()
        wide.mul_(1 - group["lr"] * group["weight_decay"])
        scale = math.sqrt(1 - second ** state["step"])
        root = square.sqrt().div_(scale).add_(group["eps"])
        wide.addcdiv_(mean, root, value=-group["lr"] / (1 - first ** state["step"]))
        if self.master or weight.dtype != torch.bfloat16:
            weight.copy_(wide)
        else:
            own = [world().rank] if world().shards else []
            mine(weight).copy_(rounded_by_chance(mine(wide), derive(number, "rounding", state["step"], *own)))


def rounded_by_chance(wide: Tensor, seed: int) -> Tensor:
    """float32 values as bfloat16, each rounded to one of its two neighbours with the chance that makes the mean right.

    A bfloat16 is the upper half of a float32's bits: a random number below 2^16 is added to the lower half, which is
    then cut off. `wide` must be finite and is left as it is.
    """
    chance = torch.Generator(wide.device).manual_seed(seed % 2**63)
    noise = torch.randint(0, 1 << 16, wide.shape, generator=chance, device=wide.device, dtype=torch.int32)
    bits = (wide.view(torch.int32) + noise) & -65536
    return bits.view(torch.float32).to(torch.bfloat16)
