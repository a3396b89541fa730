"""The formulas that PPO has and GRPO has not, as pure functions of tensors.

Rewards of whole completions, log-probabilities and a value model's estimates enter; rewards, advantages and a value
loss for every token leave. The clipped objective itself is GRPO's, in `losses.py`. Rows are padded on the right;
`mask_BT` is True at real tokens, and results are 0 elsewhere.

Sources: PPO, arXiv 1707.06347; generalised advantage estimation, arXiv 1506.02438; the KL in the reward, InstructGPT,
arXiv 2203.02155 §3.5 and DeepSeekMath, arXiv 2402.03300 eq. 2.
"""

from __future__ import annotations

import torch
from torch import Tensor

from stages.policy.rl.losses import kl_k1

WHITEN_EPSILON = 1e-8
"""Added to the standard deviation of a batch of advantages, which must not divide by zero."""


def kl_rewards(
    rewards_B: Tensor, logprobs_BT: Tensor, ref_logprobs_BT: Tensor | None, mask_BT: Tensor, kl_weight: float
) -> Tensor:
    """Give each token its reward: -β log(π_old/π_ref), and at the last one the completion's reward too; shape B x T.

    r_t = r - β log(π_old(o_t)/π_ref(o_t)) (DeepSeekMath eq. 2, with r on the last token alone): the KL as k1, in the
    reward. `ref_logprobs_BT` None leaves the KL out. A row of reward NaN keeps a NaN at its last token.
    """
    last_BT = mask_BT & ~torch.nn.functional.pad(mask_BT[:, 1:], (0, 1), value=False)
    given_BT = torch.where(last_BT, rewards_B.unsqueeze(1), 0.0)
    if ref_logprobs_BT is None:
        return given_BT
    return given_BT - kl_weight * kl_k1(logprobs_BT, ref_logprobs_BT).masked_fill(~mask_BT, 0.0)


def gae(rewards_BT: Tensor, values_BT: Tensor, mask_BT: Tensor, gamma: float, lam: float) -> Tensor:
    """Return the advantage of each token, shape B x T (arXiv 1506.02438 eq. 16), V = 0 after the last token.

    A_t = δ_t + γλ A_{t+1} with δ_t = r_t + γ V_{t+1} - V_t. `values_BT[:, t]` is the value before token t is chosen.
    λ = 1, γ = 1: the rewards still to come, less the value. Advantage + value is the target of the value model.
    """
    advantages_BT = torch.zeros_like(values_BT)
    next_value_B = next_advantage_B = torch.zeros_like(values_BT[:, 0])
    for t in reversed(range(values_BT.shape[1])):
        real_B = mask_BT[:, t]
        delta_B = rewards_BT[:, t] + gamma * next_value_B - values_BT[:, t]
        next_advantage_B = torch.where(real_B, delta_B + gamma * lam * next_advantage_B, 0.0)
        next_value_B = torch.where(real_B, values_BT[:, t], 0.0)
        advantages_BT[:, t] = next_advantage_B
    return advantages_BT


def whiten(values_BT: Tensor, mask_BT: Tensor, *, scale: bool = True) -> Tensor:
    """Shift to mean 0 over all tokens that mask_BT keeps and, with `scale`, to standard deviation 1 (Bessel's).

    Every token weighs the same, so long completions weigh more than short ones, as in the PPO of InstructGPT's
    successors. Fewer than two tokens become 0.
    """
    kept_N = values_BT[mask_BT]
    if kept_N.numel() < 2:
        return torch.zeros_like(values_BT)
    centred_BT = (values_BT - kept_N.mean()).masked_fill(~mask_BT, 0.0)
    return centred_BT / (kept_N.std() + WHITEN_EPSILON) if scale else centred_BT


def value_loss(
    values_BT: Tensor, returns_BT: Tensor, old_values_BT: Tensor, mask_BT: Tensor, clip: float | None
) -> Tensor:
    """Half the squared error of each token's value, shape B x T; the larger of two with `clip`.

    The second error is that of the value held within `clip` of the one at sampling time (OpenAI's baselines, `ppo2`):
    values then move slowly, whatever the returns. None = not clipped.
    """
    # What is left out may hold NaN, and NaN times a gradient of 0 is NaN: silenced before it is squared.
    returns_BT = returns_BT.masked_fill(~mask_BT, 0.0)
    error_BT = (values_BT - returns_BT).square()
    if clip is not None:
        held_BT = old_values_BT + (values_BT - old_values_BT).clamp(-clip, clip)
        error_BT = torch.maximum(error_BT, (held_BT - returns_BT).square())
    return torch.where(mask_BT, 0.5 * error_BT, 0.0)


def explained_variance(values_BT: Tensor, returns_BT: Tensor, mask_BT: Tensor) -> float:
    """Return 1 - Var(return - value) / Var(return) over the tokens of mask_BT: 1 = foreseen, 0 = no better than a
    constant.

    0 where the returns do not vary: there is nothing to foresee.
    """
    returns_N, values_N = returns_BT[mask_BT].double(), values_BT[mask_BT].double()
    if returns_N.numel() < 2 or returns_N.var() == 0:
        return 0.0
    return 1.0 - ((returns_N - values_N).var() / returns_N.var()).item()
