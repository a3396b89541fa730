"""The formulas of group relative policy optimisation, as pure functions of tensors.

Rewards and log-probabilities enter; advantages, KL estimates and one scalar loss leave. They stand apart from the
trainer so that each can be checked by hand: no model, no device and no state is needed to read or to test a line of
this file.

A recipe names its loss: a key of `LOSSES`, or a user's own function of the same shape (own_loss.py). Each is a function
`(LossInputs, Objective) -> (loss, sums)`, and `policy_loss` is the one door to all of them.

Sources: DeepSeekMath, arXiv 2402.03300, eq. 3 and 4 (the token-level objective that R1's recipe names); DeepSeek-R1,
arXiv 2501.12948v2, eq. 1 and 2 (the same over whole sequences); Schulman 2020, "Approximating KL Divergence" (k1, k2,
k3); Dr. GRPO, arXiv 2503.20783; DAPO, arXiv 2503.14476; GSPO, arXiv 2507.18071; CISPO in MiniMax-M1, arXiv 2506.13585;
DeepSeek-V3.2, arXiv 2512.02556 (the importance-corrected KL); GDPO, arXiv 2601.05242 (rewards normalised one by one).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from stages.core.recipe.parts import Objective
from stages.policy.rl.importance import beyond_cap, importance_weights

ADVANTAGE_EPSILON = 1e-4
"""Added to the standard deviation of a group, as TRL does: R1 states no value, and a flat group must not divide by
zero.
"""


LOG_RATIO_CAP = 20.0
"""Largest log-ratio of whole sequences that is exponentiated, in nats: e^20 is 4.9e8, and float32 ends at e^88."""


@dataclass(frozen=True, kw_only=True)
class LossNormaliser:
    """The whole minibatch that a micro-batch is part of: its rows, its trained tokens and the token limit of its
    rollout.

    Dividing by these, and not by the micro-batch's own counts, makes the sum over micro-batches equal one big batch.
    """

    rows: int
    tokens: int
    max_tokens: int


@dataclass(frozen=True, kw_only=True)
class LossInputs:
    """One micro-batch as a loss sees it: B completions of up to T tokens. Log-probabilities are in nats."""

    logprobs_BT: Tensor
    """Of the policy that is trained; the only one with a gradient."""
    old_logprobs_BT: Tensor
    """Of the policy that sampled, as the trainer computes them."""
    sampler_logprobs_BT: Tensor | None = None
    """Of the policy that sampled, as the sampler computed them; None where it is exact: then they are the old ones."""
    ref_logprobs_BT: Tensor | None = None
    """Of the reference policy; None when no KL is taken."""
    advantages: Tensor
    """[B], one a completion, or [B, T] where each token has its own (PPO)."""
    mask_BT: Tensor
    """True = trained on."""
    normaliser: LossNormaliser

    def silenced(self) -> LossInputs:
        """Return them with 0 for each log-probability outside the mask: padding may hold any number, and an infinite
        ratio there would turn 0 * inf into NaN.
        """
        mask_BT = self.mask_BT.bool()
        given = {part.name: getattr(self, part.name) for part in fields(self)}
        for name, one in given.items():
            if name.endswith("logprobs_BT") and one is not None:
                given[name] = one.masked_fill(~mask_BT, 0.0)
        return LossInputs(**given | {"mask_BT": mask_BT})


Loss = Callable[[LossInputs, Objective], tuple[Tensor, dict[str, Tensor]]]
"""A micro-batch's part of the minibatch's loss, and detached sums over its trained tokens by name, which the step
reports as means a token. Padding of what enters is 0."""


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


def mean_of_rows(per_token_BT: Tensor, inputs: LossInputs) -> Tensor:
    """1/N Σ_i 1/|o_i| Σ_t: within each completion, then over completions (DeepSeekMath eq. 3)."""
    per_row_B = (per_token_BT * inputs.mask_BT).sum(dim=1)
    return (per_row_B / inputs.mask_BT.sum(dim=1).clamp(min=1)).sum() / inputs.normaliser.rows


def mean_of_tokens(per_token_BT: Tensor, inputs: LossInputs) -> Tensor:
    """1/Σ|o_i| Σ_i Σ_t: over all tokens of the minibatch (DAPO eq. 8)."""
    return (per_token_BT * inputs.mask_BT).sum(dim=1).sum() / max(inputs.normaliser.tokens, 1)


def token_kl(inputs: LossInputs, objective: Objective, ratio: Tensor) -> Tensor | None:
    """The KL from the reference at each token, shape B x T; None when no KL is taken. With `kl_correction` it is
    multiplied by the ratio to the sampling policy (DeepSeek-V3.2); R1 does without.
    """
    if inputs.ref_logprobs_BT is None:
        return None
    kl_BT = KL_ESTIMATORS[objective.kl_estimator](inputs.logprobs_BT, inputs.ref_logprobs_BT)
    return kl_BT * ratio if objective.kl_correction else kl_BT


def charged_kl(inputs: LossInputs, ref_BT: Tensor, objective: Objective, ratio: Tensor) -> tuple[Tensor, Tensor]:
    """The KL as a reward: what each token adds to the loss, and the estimate of each token, both B x T.

    A token is charged the estimates from itself on, held constant, times log π, or with `kl_correction` times the ratio
    to the sampling policy: the gradient is Σ_t (Σ_{s≥t} k_s) ∇ log π_t, which for k1 is that of the whole completion's
    reverse KL, the effect of early tokens on later ones included (arXiv 2506.09477, 2510.01555); the gradient of an
    estimate in the loss leaves that effect out.
    """
    logprobs_BT = inputs.logprobs_BT
    kl_BT = KL_ESTIMATORS[objective.kl_estimator](logprobs_BT.detach(), ref_BT) * inputs.mask_BT
    to_come_BT = kl_BT.flip(1).cumsum(1).flip(1)
    return to_come_BT * (ratio if objective.kl_correction else logprobs_BT), kl_BT


def sampler_log_ratio(inputs: LossInputs) -> Tensor:
    """log π_old - log π_sampler of each token, shape B x T: exactly 0 where the sampler is exact."""
    if inputs.sampler_logprobs_BT is None:
        return torch.zeros_like(inputs.old_logprobs_BT)
    return inputs.old_logprobs_BT - inputs.sampler_logprobs_BT


def grpo(inputs: LossInputs, objective: Objective) -> tuple[Tensor, dict[str, Tensor]]:
    """DeepSeekMath, arXiv 2402.03300 eq. 3: -1/N Σ_i 1/|o_i| Σ_t { w min[ρ A, clip(ρ, 1 - ε, 1 + ε) A] - β KL }.

    ρ is the ratio of each token to the sampling policy, w its importance weight (1 for an exact sampler), N the rows.
    """
    per_token_BT, sums = _clipped_tokens(inputs, objective, _ratio(inputs))
    return mean_of_rows(per_token_BT, inputs), sums


def dr_grpo(inputs: LossInputs, objective: Objective) -> tuple[Tensor, dict[str, Tensor]]:
    """Dr. GRPO, arXiv 2503.20783: as `grpo`, but every token divided by N times the token limit, so that a long wrong
    completion is not punished less for each token. It goes with `scale_rewards: false`.
    """
    per_token_BT, sums = _clipped_tokens(inputs, objective, _ratio(inputs))
    limit = inputs.normaliser.rows * inputs.normaliser.max_tokens
    return (per_token_BT * inputs.mask_BT).sum(dim=1).sum() / limit, sums


def dapo(inputs: LossInputs, objective: Objective) -> tuple[Tensor, dict[str, Tensor]]:
    """DAPO, arXiv 2503.14476 eq. 8: as `grpo`, but the mean is over all tokens of the minibatch. The paper's clip range
    is 0.2 below and 0.28 above.
    """
    per_token_BT, sums = _clipped_tokens(inputs, objective, _ratio(inputs))
    return mean_of_tokens(per_token_BT, inputs), sums


def gspo(inputs: LossInputs, objective: Objective) -> tuple[Tensor, dict[str, Tensor]]:
    """GSPO, arXiv 2507.18071 eq. 5 and 7: -1/N Σ_i { min[s A, clip(s, 1 - ε, 1 + ε) A] }, with the sequence's ratio
    s = (π(o)/π_old(o))^(1/|o|) = exp(1/|o| Σ_t log ρ_t), the geometric mean of its tokens'.

    s stays far closer to 1 than a token's ratio: the paper clips at 3e-4 below and 4e-4 above, and at 0.2 nothing would
    ever be clipped. The paper leaves the KL out; here it is a token's, averaged as in `grpo`. Importance weights are a
    token's too.
    """
    length_B = inputs.mask_BT.sum(dim=1, keepdim=True).clamp(min=1)
    ratio_B1 = ((inputs.logprobs_BT - inputs.old_logprobs_BT).sum(dim=1, keepdim=True) / length_B).exp()
    per_token_BT, sums = _clipped_tokens(inputs, objective, ratio_B1)
    return mean_of_rows(per_token_BT, inputs), sums


def cispo(inputs: LossInputs, objective: Objective) -> tuple[Tensor, dict[str, Tensor]]:
    """CISPO in MiniMax-M1, arXiv 2506.13585 eq. 4 and 5: -1/Σ|o_i| Σ_i Σ_t w sg(clip(ρ, 1 - ε_low, 1 + ε_high)) A log
    π, where sg passes no gradient.

    The ratio is only a weight, so a clipped token still learns. The paper sets no lower bound (`clip_epsilon: 1`),
    tunes ε_high and takes no KL; here `kl_weight` decides. `clipped` counts the tokens whose weight was clipped.
    """
    low, high = _clip_range(objective)
    ratio_BT = _ratio(inputs)
    held_BT = ratio_BT.detach().clamp(1.0 - low, 1.0 + high)
    gain_BT = held_BT * _per_token(inputs.advantages) * inputs.logprobs_BT
    loss_BT, sums = _with_kl(gain_BT, inputs, objective, ratio_BT)
    return mean_of_tokens(loss_BT, inputs), sums | {"clipped": (held_BT != ratio_BT)[inputs.mask_BT].sum()}


def grpo_sequence(inputs: LossInputs, objective: Objective) -> tuple[Tensor, dict[str, Tensor]]:
    """DeepSeek-R1, arXiv 2501.12948v2 eq. 1 and 2, as printed: -1/N Σ_i { min[ρ A, clip(ρ, 1 - ε, 1 + ε) A] - β KL },
    ρ = π(o)/π_old(o) = exp(Σ_t log ρ_t) the product over the whole completion, and the KL of π(o) and π_ref(o).

    No 1/|o|: long completions move the policy more, and their ratio leaves any range sooner (R1's first RL stage clips
    at ε = 10). A product over thousands of tokens overflows: both log-ratios, policy to old and reference to policy,
    are held at 20, beyond which they have no gradient; `overflow` counts the tokens of such rows. Importance weights
    are the product's as well. The reported KL is a token's share of its sequence's.
    """
    low, high = _clip_range(objective)
    log_ratio_B1 = (inputs.logprobs_BT - inputs.old_logprobs_BT).sum(dim=1, keepdim=True)
    ratio_B1 = log_ratio_B1.clamp(max=LOG_RATIO_CAP).exp()
    sampler_B1 = sampler_log_ratio(inputs).sum(dim=1, keepdim=True)
    how = (objective.importance, objective.importance_cap)
    weights_B1 = importance_weights(sampler_B1, *how)
    loss_B1 = -clipped_objective(ratio_B1, inputs.advantages, low, high) * weights_B1
    overflow_B1 = log_ratio_B1 > LOG_RATIO_CAP
    sums: dict[str, Tensor] = {}
    if inputs.ref_logprobs_BT is not None:
        to_reference_B1 = (inputs.ref_logprobs_BT - inputs.logprobs_BT).sum(dim=1, keepdim=True)
        held_B1 = to_reference_B1.clamp(max=LOG_RATIO_CAP)
        kl_B1 = KL_ESTIMATORS[objective.kl_estimator](torch.zeros_like(held_B1), held_B1)
        if objective.kl_placement == "reward":
            kl_B1 = kl_B1.detach()
            charge_B1 = kl_B1 * (ratio_B1 if objective.kl_correction else inputs.logprobs_BT.sum(dim=1, keepdim=True))
        else:
            charge_B1 = kl_B1 = kl_B1 * ratio_B1 if objective.kl_correction else kl_B1
        loss_B1 = loss_B1 + objective.kl_weight * charge_B1
        overflow_B1 = overflow_B1 | (to_reference_B1 > LOG_RATIO_CAP)
        sums["kl"] = kl_B1.detach().sum()
    shares = {"clipped": clipped_tokens(ratio_B1, inputs.advantages, low, high), "overflow": overflow_B1}
    if inputs.sampler_logprobs_BT is not None:
        shares |= {"importance": weights_B1, "importance_cut": beyond_cap(sampler_B1, *how)}
    length_B1 = inputs.mask_BT.sum(dim=1, keepdim=True)
    sums |= {name: (share_B1 * length_B1).sum() for name, share_B1 in shares.items()}
    return loss_B1.sum() / inputs.normaliser.rows, sums


LOSSES: dict[str, Loss] = {
    "grpo": grpo,
    "grpo_sequence": grpo_sequence,
    "dr_grpo": dr_grpo,
    "dapo": dapo,
    "gspo": gspo,
    "cispo": cispo,
}
"""The losses that a recipe may name besides a user's own."""


def policy_loss(loss: Loss, inputs: LossInputs, objective: Objective) -> tuple[Tensor, dict[str, Tensor]]:
    """Return a micro-batch's part of the minibatch's loss, and detached sums over its trained tokens to report.

    Every loss reports the tokens' ratio to the sampling policy (`ratio`, and the extremes `ratio_min`, `ratio_max`),
    and where the sampler is not exact their importance weights (`importance`) and how many were truncated or masked
    (`importance_cut`); what it returns itself is added. Divide the sums by `normaliser.tokens` after adding the
    micro-batches.
    """
    inputs = inputs.silenced()
    value, own = loss(inputs, objective)
    with torch.no_grad():
        mask_BT, ratio_BT = inputs.mask_BT, _ratio(inputs)
        sums = {
            "ratio": ratio_BT[mask_BT].sum(),
            "ratio_min": ratio_BT.masked_fill(~mask_BT, float("inf")).amin(),
            "ratio_max": ratio_BT.masked_fill(~mask_BT, float("-inf")).amax(),
        }
        if inputs.sampler_logprobs_BT is not None:
            log_ratio_BT, how = sampler_log_ratio(inputs), (objective.importance, objective.importance_cap)
            sums["importance"] = importance_weights(log_ratio_BT, *how)[mask_BT].sum()
            sums["importance_cut"] = beyond_cap(log_ratio_BT, *how)[mask_BT].sum()
    return value, sums | {name: torch.as_tensor(one).detach() for name, one in own.items()}


def _clip_range(objective: Objective) -> tuple[float, float]:
    low, high = objective.clip_epsilon, objective.clip_epsilon_high
    return low, low if high is None else high


def _ratio(inputs: LossInputs) -> Tensor:
    return (inputs.logprobs_BT - inputs.old_logprobs_BT).exp()


def _clipped_tokens(inputs: LossInputs, objective: Objective, ratio: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Return -w min[ρ A, clip(ρ) A] + β KL for each token, with a ratio for each token or each row, and its sums."""
    low, high = _clip_range(objective)
    gain_BT = clipped_objective(ratio, inputs.advantages, low, high)
    loss_BT, sums = _with_kl(gain_BT, inputs, objective, ratio)
    clipped_BT = clipped_tokens(ratio.detach(), inputs.advantages, low, high)
    return loss_BT, sums | {"clipped": clipped_BT.expand_as(loss_BT)[inputs.mask_BT].sum()}


def _with_kl(
    gain_BT: Tensor, inputs: LossInputs, objective: Objective, ratio: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return -w gain + β KL for each token, and the sum of the KL where one is taken."""
    weights_BT = importance_weights(sampler_log_ratio(inputs), objective.importance, objective.importance_cap)
    loss_BT = -gain_BT * weights_BT
    if inputs.ref_logprobs_BT is not None and objective.kl_placement == "reward":
        charge_BT, kl_BT = charged_kl(inputs, inputs.ref_logprobs_BT, objective, ratio)
        return loss_BT + objective.kl_weight * charge_BT, {"kl": kl_BT.sum()}
    kl_BT = token_kl(inputs, objective, ratio)
    if kl_BT is None:
        return loss_BT, {}
    return loss_BT + objective.kl_weight * kl_BT, {"kl": kl_BT.detach()[inputs.mask_BT].sum()}
