"""Rows that teach nothing are read without a gradient: a micro-batch enters, log-probabilities leave.

Where no KL is taken the gradient of a row is a multiple of its advantage, which is exactly 0 in a flat group and for
what could not be judged. Such rows still count in every divisor and every figure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from stages.core.recipe.parts import Objective
from stages.policy.rl.losses import LOSSES

SIDES = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")


def taught_logprobs(
    read: Callable[..., tuple[Tensor, Any]], inputs: dict[str, Any], objective: Objective
) -> tuple[Tensor, Tensor]:
    """Log-probabilities and entropies [B, T] of a micro-batch, as `read(rows, with_entropy=True)` takes them of some
    rows; without a gradient for rows that have none under `objective`."""
    advantages = inputs["advantages"]
    taught_B = (advantages != 0).view(len(advantages), -1).any(1)
    if objective.kl_weight or objective.loss not in LOSSES or bool(taught_B.all()):
        return read(inputs, with_entropy=True)
    logprobs_BT = torch.zeros(inputs["completion_mask"].shape, device=advantages.device)
    entropy_BT = torch.zeros_like(logprobs_BT)
    for rows_B, learns in ((taught_B, True), (~taught_B, False)):
        if not bool(rows_B.any()):
            continue
        few = {name: inputs[name][rows_B] for name in SIDES} | {"shared_prefix": inputs["shared_prefix"]}
        with torch.set_grad_enabled(learns):
            found_BT, entropies_BT = read(few, with_entropy=True)
        logprobs_BT = logprobs_BT.index_put((rows_B,), found_BT.to(logprobs_BT.dtype))
        entropy_BT[rows_B] = entropies_BT.to(entropy_BT.dtype)
    return logprobs_BT, entropy_BT


def no_gradient(model: Any) -> Tensor:
    """A 0 that can be differentiated, for a micro-batch that teaches nothing; every weight has a gradient all the same,
    for an optimizer leaves alone what has none, and its moments go on."""
    trained = [one for one in model.parameters() if one.requires_grad]
    for one in trained:
        if one.grad is None:
            one.grad = torch.zeros_like(one)
    nothing: Tensor = trained[0].flatten()[0] * 0.0
    return nothing
