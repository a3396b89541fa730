"""How far the sampler's probabilities are from the trainer's, and what that costs a token: ratios in, weights out.

A rollout comes from a sampler that may compute in another number type or with other kernels than the trainer, so it is
drawn from another distribution than the one that is trained, even where the weights are the same. Both are measured
here on tensors alone: the weight that corrects for it in the loss, and the figures that a step reports.

Sources: Yao et al. 2025, "Your Efficient RL Framework Secretly Brings You Off-Policy RL Training" (truncated importance
sampling); IcePop, Ring-1T, arXiv 2510.18855 (masking on both sides).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from stages.policy.models.agreement import Row, likely, refuse_apart

NEAR = (0.9, 1.1)
"""A token whose ratio of trainer to sampler lies in this range is sampled as well as it is trained."""

MISMATCH = ("sampler_mismatch", "sampler_mismatch_p95", "sampler_ratio_outside")
"""The figures of `mismatch`."""


def importance_weights(log_ratio: Tensor, mode: str, cap: float) -> Tensor:
    """Return what each token counts, any shape, without a gradient; `log_ratio` is log π_old - log π_sampler.

    With k = π_old/π_sampler: `truncate` min(k, cap) (Yao et al. 2025); `mask` k within [1/cap, cap] and 0 outside
    (IcePop); `none` 1. Exactly 1 where the two agree.
    """
    if mode == "none":
        return torch.ones_like(log_ratio)
    ratio = log_ratio.detach().exp()
    if mode == "truncate":
        return ratio.clamp(max=cap)
    return ratio.masked_fill(beyond_cap(log_ratio, mode, cap), 0.0)


def beyond_cap(log_ratio: Tensor, mode: str, cap: float) -> Tensor:
    """Say which tokens are truncated or masked: True there; shape of `log_ratio`."""
    if mode == "none":
        return torch.zeros_like(log_ratio, dtype=torch.bool)
    above = log_ratio > math.log(cap)
    return above | (log_ratio < -math.log(cap)) if mode == "mask" else above


def mismatch(log_ratio_N: Tensor) -> dict[str, float]:
    """Return how far sampler and trainer are apart over N tokens; nothing for none.

    `log_ratio_N` is log π_trainer - log π_sampler of each sampled token, at the same weights. `sampler_mismatch` is its
    mean absolute value in nats, `sampler_mismatch_p95` the value that 95 % stay within, `sampler_ratio_outside` the
    share of tokens whose ratio lies outside 0.9 to 1.1.
    """
    count = log_ratio_N.numel()
    if not count:
        return {}
    gap_N, ratio_N = log_ratio_N.abs(), log_ratio_N.exp()
    p95 = gap_N.kthvalue(math.ceil(0.95 * count)).values
    outside = ((ratio_N < NEAR[0]) | (ratio_N > NEAR[1])).float().mean()
    return dict(zip(MISMATCH, (gap_N.mean().item(), p95.item(), outside.item()), strict=True))


def refuse_far_sampler(
    trainer: Any, rollout: Any, rows: range, sampler: Sequence[Tensor], own: Sequence[Tensor]
) -> None:
    """Raise StageError where some rows of a `Rollout` were sampled further from a `PolicyTrainer` than rounding takes
    them.

    `sampler` and `own`: what sampler and trainer say of each row's tokens, [T] each, at the same weights. An exact
    engine is asked before every first update by its rollout; another where a run starts or goes on: what it costs later
    is reported, and can be weighted.
    """
    engine, dtype = trainer.engine, trainer.collector.recipe.dtype
    longest = max(len(rollout.prompt_ids[row]) + len(rollout.completion_ids[row]) for row in rows)
    mine = engine.name == "transformers"
    named = (f"row {row + 1} of rollout {rollout.number + 1}" for row in rows)
    refuse_apart(
        [Row(*one) for one in zip(named, sampler, own, strict=True)],
        dtype,
        places=(f"the sampler (engine {engine.name})", "the trainer"),
        reasons=likely(trainer.model, longest, dtype),
        hint="lower `max_completion_tokens`, or set `dtype=float32`" if mine else "use `runtime.engine=transformers`",
    )
