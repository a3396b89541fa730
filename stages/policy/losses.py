"""The formulas of group relative policy optimisation, as pure functions of tensors.

Rewards and log-probabilities enter; advantages, KL estimates and one scalar loss leave. They stand apart from the
trainer so that each can be checked by hand: no model, no device and no state is needed to read or to test a line of
this file.

Sources: DeepSeekMath, arXiv 2402.03300, eq. 3 and 4 (the token-level objective that R1's recipe names); Schulman 2020,
"Approximating KL Divergence" (k1, k2, k3); Dr. GRPO, arXiv 2503.20783; DAPO, arXiv 2503.14476; DeepSeek-V3.2,
arXiv 2512.02556 (the importance-corrected KL); GDPO, arXiv 2601.05242 (rewards normalised one by one).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from stages.core.parts import Objective

ADVANTAGE_EPSILON = 1e-4
"""Added to the standard deviation of a group, as TRL does: R1 states no value, and a flat group must not divide by
zero.
"""


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """One micro-batch as the loss sees it. `mask_BT`: True = trained on. `ref_logprobs_BT` is None when no KL is taken.
    `advantages_B` is [B], or [B, T] where each token has its own (PPO).
    """

    logprobs_BT: Tensor
    old_logprobs_BT: Tensor
    ref_logprobs_BT: Tensor | None
    advantages_B: Tensor
    mask_BT: Tensor


@dataclass(frozen=True, kw_only=True)
class Share:
    """The whole minibatch that a micro-batch is part of: its rows, its trained tokens and the token limit of its
    rollout.

    Dividing by these, and not by the micro-batch's own counts, makes the sum over micro-batches equal one big batch.
    """

    rows: int
    tokens: int
    max_tokens: int


def group_spread(rewards_PG: Tensor) -> Tensor:
    """Standard deviation of each group with Bessel's correction: shape P. NaN where fewer than two rewards could be
    judged.
    """
    known_PG = ~rewards_PG.isnan()
    count_P = known_PG.sum(dim=1)
    deviation_PG = rewards_PG - rewards_PG.nanmean(dim=1, keepdim=True)
    variance_P = deviation_PG.square().nansum(dim=1) / (count_P - 1)
    return torch.where(count_P > 1, variance_P, float("nan")).sqrt()


def group_advantages(rewards_PG: Tensor, *, scale: bool = True) -> Tensor:
    """Judge each reward against its own group: (r - mean) / (std + 1e-4), shape P x G (DeepSeekMath §4.1.2).

    The deviation is Bessel's, as in TRL; R1 does not state which. `scale=False` leaves the division out (Dr. GRPO). A
    NaN reward counts neither in the mean nor in the deviation, and its advantage is 0: what cannot be judged moves
    nothing.
    """
    advantages_PG = rewards_PG - rewards_PG.nanmean(dim=1, keepdim=True)
    if scale:
        advantages_PG = advantages_PG / (group_spread(rewards_PG).unsqueeze(1) + ADVANTAGE_EPSILON)
    return advantages_PG.nan_to_num(nan=0.0)


def normalised_advantages(rewards_PGK: Tensor, weights_K: Tensor, *, scale: bool = True) -> Tensor:
    """Judge each reward against its own group before they are summed: shape P x G (GDPO, arXiv 2601.05242; TRL's
    normalize_then_sum).

    A = Σ_k w_k (r_k - mean_k) / (std_k + 1e-4), and Â = (A - mean A) / (std A + 1e-4) over all rows; `scale=False`
    leaves this second step out. NaN = the reward does not apply, which adds 0; a row that is NaN in every reward could
    not be judged: it counts nowhere, and its advantage is 0.
    """
    judged_PG = ~rewards_PGK.isnan().all(dim=2)
    parts_PGK = torch.stack([group_advantages(rewards_PG) for rewards_PG in rewards_PGK.unbind(dim=2)], dim=2)
    sums_PG = (parts_PGK * weights_K).sum(dim=2)
    if not scale:
        return sums_PG
    sums_N = sums_PG[judged_PG]
    if sums_N.numel() < 2:
        return torch.zeros_like(sums_PG)
    normal_PG = (sums_PG - sums_N.mean()) / (sums_N.std() + ADVANTAGE_EPSILON)
    return torch.where(judged_PG, normal_PG, torch.zeros_like(normal_PG))


def flat_groups(rewards_PG: Tensor) -> Tensor:
    """Say which groups teach nothing: shape P, True where all judged rewards are equal or fewer than two are judged."""
    spread_P = group_spread(rewards_PG)
    return spread_P.isnan() | torch.isclose(spread_P, torch.zeros_like(spread_P))


def kl_k1(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """k1 = -log(p/q), q the policy and p the reference: unbiased, high variance. As a loss its expected gradient is
    zero.
    """
    return logprobs - ref_logprobs


def kl_k2(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """k2 = (log p/q)² / 2: low variance, slightly biased in value; as a loss, on policy, its gradient is the reverse
    KL's.
    """
    return 0.5 * (ref_logprobs - logprobs).square()


def kl_k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """k3 = p/q - 1 - log(p/q): unbiased and never negative; the estimator of DeepSeekMath eq. 4 and so of R1."""
    log_ratio = ref_logprobs - logprobs
    return log_ratio.exp() - log_ratio - 1.0


KL_ESTIMATORS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"k1": kl_k1, "k2": kl_k2, "k3": kl_k3}


def clipped_objective(ratio_BT: Tensor, advantages: Tensor, low: float, high: float) -> Tensor:
    """min(ρ A, clip(ρ, 1 - low, 1 + high) A) for each token, shape B x T (DeepSeekMath eq. 3; PPO, arXiv 1707.06347 eq.
    7). Advantages are [B], one a row, or [B, T].
    """
    advantages_BT = _per_token(advantages)
    return torch.min(ratio_BT * advantages_BT, ratio_BT.clamp(1.0 - low, 1.0 + high) * advantages_BT)


def clipped_tokens(ratio_BT: Tensor, advantages: Tensor, low: float, high: float) -> Tensor:
    """Say which tokens the clip silences: True where ρ has left the range on the side that its advantage pushes to."""
    advantages_BT = _per_token(advantages)
    return ((ratio_BT < 1.0 - low) & (advantages_BT < 0)) | ((ratio_BT > 1.0 + high) & (advantages_BT > 0))


def _per_token(advantages: Tensor) -> Tensor:
    return advantages if advantages.dim() == 2 else advantages.unsqueeze(1)


def _mean_over(per_token_BT: Tensor, mask_BT: Tensor, loss: str, share: Share) -> Tensor:
    per_row_B = (per_token_BT * mask_BT).sum(dim=1)
    if loss == "grpo":
        return (per_row_B / mask_BT.sum(dim=1).clamp(min=1)).sum() / share.rows
    if loss == "dr_grpo":
        return per_row_B.sum() / (share.rows * share.max_tokens)
    return per_row_B.sum() / max(share.tokens, 1)


LOSSES = ("grpo", "dr_grpo", "dapo")
"""How token losses are averaged: grpo 1/|o| within a completion, then over rows (DeepSeekMath eq. 3); dr_grpo over rows
times the token limit; dapo over all tokens of the minibatch."""


def grpo_loss(tokens: Tokens, objective: Objective, share: Share) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss of one micro-batch as its part of the minibatch's loss, and detached sums over its tokens to
    report.

    -J of DeepSeekMath eq. 3: the mean of min[ρ A, clip(ρ) A] - β KL, with ρ the ratio of each token to the sampling
    policy. With `kl_correction` the KL is multiplied by ρ (DeepSeek-V3.2); R1 does without. The sums (`ratio`, `kl`,
    `clipped`) are over tokens trained on, `ratio_min` and `ratio_max` are extremes; divide by `share.tokens` after
    adding the micro-batches.
    """
    high = objective.clip_epsilon if objective.clip_epsilon_high is None else objective.clip_epsilon_high
    mask_BT = tokens.mask_BT.bool()
    # Padding may hold any number, and an infinite ratio there would turn 0 * inf into NaN: silenced before the exp.
    logprobs_BT = tokens.logprobs_BT.masked_fill(~mask_BT, 0.0)
    ratio_BT = (logprobs_BT - tokens.old_logprobs_BT.masked_fill(~mask_BT, 0.0)).exp()
    per_token_BT = -clipped_objective(ratio_BT, tokens.advantages_B, objective.clip_epsilon, high)
    kl_BT = torch.zeros_like(ratio_BT)
    if tokens.ref_logprobs_BT is not None:
        kl_BT = KL_ESTIMATORS[objective.kl_estimator](logprobs_BT, tokens.ref_logprobs_BT.masked_fill(~mask_BT, 0.0))
        kl_BT = kl_BT * ratio_BT if objective.kl_correction else kl_BT
        per_token_BT = per_token_BT + objective.kl_weight * kl_BT
    loss = _mean_over(per_token_BT, mask_BT, objective.loss, share)
    with torch.no_grad():
        clipped_BT = clipped_tokens(ratio_BT, tokens.advantages_B, objective.clip_epsilon, high)
        sums = {
            "ratio": ratio_BT[mask_BT].sum(),
            "ratio_min": ratio_BT.masked_fill(~mask_BT, float("inf")).amin(),
            "ratio_max": ratio_BT.masked_fill(~mask_BT, float("-inf")).amax(),
            "kl": kl_BT[mask_BT].sum(),
            "clipped": clipped_BT[mask_BT].sum(),
        }
    return loss, sums
