"""Two policies over one vocabulary: how far apart they are, exactly, and what each estimator makes of it.

Logits of a policy and of its reference at the same places enter; for each place leave the exact KL (a sum over the
whole vocabulary), the estimate at the token that was drawn, the moments of each estimator, and the gradient that each
would train with. Estimators are those of `rl/losses.py`, so that what is measured is what is trained with.

Sources: Schulman 2020, "Approximating KL Divergence"; Tang and Munos, arXiv 2506.09477; DeepSeek-V3.2, arXiv
2512.02556.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from stages.core.sampling import Completion
from stages.policy.models.prefix import selected_logits, shared_prefix_length
from stages.policy.rl.losses import KL_ESTIMATORS

GRADIENTS = ("k1_loss", "k2_loss", "k3_loss", "k3_corrected", "k1_reward", "k2_reward", "k3_reward")
"""An estimator and where it stands: a term of the loss, there times the ratio to the sampling policy, or a penalty in
the reward."""
LOGITS_AT_ONCE = 1 << 26
"""Logits that exist at a time: 2^26 in float32 are 256 MiB."""
EXACT_AT_ONCE = 1 << 20
"""Probabilities looked at together: some twenty float64 tensors of this size exist at a time."""


def score_weights(name: str, logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """Return what multiplies ∇ log π(x) when x was drawn and the estimator stands where `name` says; any one shape.

    In the reward that is its value; in the loss its derivative by log π(x), taken by autograd. `name` is one of
    GRADIENTS.
    """
    estimator, _, place = name.partition("_")
    if place == "reward":
        return KL_ESTIMATORS[estimator](logprobs, ref_logprobs)
    with torch.enable_grad():
        leaf = logprobs.detach().requires_grad_()
        value = KL_ESTIMATORS[estimator](leaf, ref_logprobs)
        if place == "corrected":
            value = value * (leaf - leaf.detach()).exp()
        (weights,) = torch.autograd.grad(value.sum(), leaf)
    return weights


def expected_gradient(weights_NV: Tensor, logprobs_NV: Tensor) -> Tensor:
    """Return E[w(x) ∇ log π(x)] by the logits, shape N x V: π (w - E[w]), as ∇ log π(x) is the one-hot of x less π."""
    probabilities_NV = logprobs_NV.exp()
    return probabilities_NV * (weights_NV - (probabilities_NV * weights_NV).sum(-1, keepdim=True))


def kl_gradient(logprobs_NV: Tensor, ref_logprobs_NV: Tensor) -> Tensor:
    """Return the gradient of the exact KL(π ‖ reference) by the logits of π, N x V, by autograd through the sum."""
    with torch.enable_grad():
        logits = logprobs_NV.detach().requires_grad_()
        policy = logits.log_softmax(-1)
        (gradient,) = torch.autograd.grad((policy.exp() * (policy - ref_logprobs_NV)).sum(), logits)
    return gradient


def moments(logprobs_NV: Tensor, ref_logprobs_NV: Tensor) -> dict[str, Tensor]:
    """Return, for each place, what is expected under the policy, [N] each, by summing over the vocabulary.

    `kl`; `kI_mean` and `kI_variance` of each estimator; `control_variance` of r - 1 and its covariance with k1,
    `k1_control`.
    """
    probabilities_NV = logprobs_NV.exp()

    def mean(values_NV: Tensor) -> Tensor:
        return (probabilities_NV * values_NV).sum(-1)

    def centred(values_NV: Tensor) -> Tensor:
        return values_NV - mean(values_NV).unsqueeze(-1)

    values = {name: estimator(logprobs_NV, ref_logprobs_NV) for name, estimator in KL_ESTIMATORS.items()}
    control_NV = centred((ref_logprobs_NV - logprobs_NV).exp() - 1.0)
    found = {"kl": mean(logprobs_NV - ref_logprobs_NV)}
    for name, values_NV in values.items():
        found |= {f"{name}_mean": mean(values_NV), f"{name}_variance": mean(centred(values_NV).square())}
    return found | {
        "control_variance": mean(control_NV.square()),
        "k1_control": mean(centred(values["k1"]) * control_NV),
    }


def gradient_errors(logprobs_NV: Tensor, ref_logprobs_NV: Tensor) -> dict[str, Tensor]:
    """Return, for each place, squared lengths that errors, cosines and noise are ratios of, [N] each.

    `grad_true` of the exact KL's gradient; for each of GRADIENTS `_error` of the difference to it, `_square` of the
    gradient itself, `_dot` of both, and `_noise`: the mean squared distance of one draw's gradient from its mean.
    """
    probabilities_NV = logprobs_NV.exp()
    true_NV = kl_gradient(logprobs_NV, ref_logprobs_NV)
    lengths_NV = 1.0 - 2.0 * probabilities_NV + probabilities_NV.square().sum(-1, keepdim=True)  # of one-hot less π
    found = {"grad_true": true_NV.square().sum(-1)}
    for name in GRADIENTS:
        weights_NV = score_weights(name, logprobs_NV, ref_logprobs_NV)
        gradient_NV = expected_gradient(weights_NV, logprobs_NV)
        square_N = gradient_NV.square().sum(-1)
        found |= {
            f"{name}_error": (gradient_NV - true_NV).square().sum(-1),
            f"{name}_square": square_N,
            f"{name}_dot": (gradient_NV * true_NV).sum(-1),
            f"{name}_noise": (probabilities_NV * weights_NV.square() * lengths_NV).sum(-1) - square_N,
        }
    return found


def drawn(logprobs_NV: Tensor, ref_logprobs_NV: Tensor, tokens_N: Tensor, kl_N: Tensor) -> dict[str, Tensor]:
    """Return, for each place, what the token that was drawn there says, [N] each.

    `kI` of each estimator, `kI_square` of its distance from the exact KL, whether it is `kI_negative`; `control` is
    r - 1, `control_square` its square and `control_k1` its product with k1's distance from the exact KL.
    """
    policy_N, ref_N = (values.gather(1, tokens_N[:, None])[:, 0] for values in (logprobs_NV, ref_logprobs_NV))
    control_N = (ref_N - policy_N).exp() - 1.0
    found = {
        "control": control_N,
        "control_square": control_N.square(),
        "control_k1": control_N * (policy_N - ref_N - kl_N),
    }
    for name, estimator in KL_ESTIMATORS.items():
        value_N = estimator(policy_N, ref_N)
        found |= {
            name: value_N,
            f"{name}_square": (value_N - kl_N).square(),
            f"{name}_negative": (value_N < 0).double(),
        }
    return found


def places(logits_NV: Tensor, ref_logits_NV: Tensor, tokens_N: Tensor, temperature: float) -> dict[str, Tensor]:
    """Return all figures of N places, [N] float64 each: those of `moments`, `gradient_errors` and `drawn`.

    Both logits are divided by the temperature. Where one vocabulary is longer (padded), its rest is left out.
    """
    shared = min(logits_NV.shape[1], ref_logits_NV.shape[1])
    parts: list[dict[str, Tensor]] = []
    for piece in torch.arange(len(tokens_N), device=logits_NV.device).split(max(1, EXACT_AT_ONCE // shared)):
        policy, reference = (
            (given[piece, :shared].double() / temperature).log_softmax(-1) for given in (logits_NV, ref_logits_NV)
        )
        found = moments(policy, reference)
        parts.append(
            found | gradient_errors(policy, reference) | drawn(policy, reference, tokens_N[piece], found["kl"])
        )
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


@torch.no_grad()
def completion_sums(
    models: tuple[Any, Any],
    prompt_ids: Sequence[Sequence[int]],
    completions: Sequence[Completion],
    pad_id: int,
    temperature: float,
) -> list[dict[str, float]]:
    """Return for each completion the sums of `places` over its tokens; `models` are the policy and its reference.

    Completions of like length run together, as many as LOGITS_AT_ONCE allows; a single one needs its tokens times the
    vocabulary, twice.
    """
    device = models[0].device
    vocabulary = models[0].get_output_embeddings().weight.shape[0]
    shared = shared_prefix_length([list(ids) for ids in prompt_ids])
    order = sorted(range(len(completions)), key=lambda row: len(completions[row].ids))
    longest = len(completions[order[-1]].ids)
    sums: dict[int, dict[str, float]] = {}
    size = max(1, LOGITS_AT_ONCE // (vocabulary * longest))
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        lengths = [len(completions[row].ids) for row in rows]
        prompts, prompt_mask = _padded([prompt_ids[row] for row in rows], pad_id, "left")
        tokens, mask = _padded([completions[row].ids for row in rows], pad_id, "right")
        batch = [part.to(device) for part in (prompts, prompt_mask, tokens, mask)]
        logits = [selected_logits(model, *batch, shared_prefix=shared) for model in models]
        found = places(logits[0], logits[1], batch[2][batch[3]], temperature)
        by_row = {name: values.cpu().split(lengths) for name, values in found.items()}
        for place, row in enumerate(rows):
            sums[row] = {name: parts[place].sum().item() for name, parts in by_row.items()}
    return [sums[row] for row in range(len(completions))]


def _padded(rows: Sequence[Sequence[int]], pad_id: int, side: str) -> tuple[Tensor, Tensor]:
    ids = [torch.tensor(row) for row in rows]
    real = [torch.ones(len(row), dtype=torch.bool) for row in rows]
    return (
        pad_sequence(ids, batch_first=True, padding_value=pad_id, padding_side=side),
        pad_sequence(real, batch_first=True, padding_value=False, padding_side=side),
    )


def gaussians(shift: float, cells: int = 40_001, reach: float = 12.0) -> tuple[Tensor, Tensor]:
    """Return log-probabilities [1, V] of N(0, 1), the policy, and N(shift, 1), the reference, cut into narrow cells.

    So that `moments` gives Schulman's table: std / KL 20, 1.42, 1.42 for a shift of 0.1. `reach` is where the cells
    end, in standard deviations from both means.
    """
    points = torch.linspace(min(0.0, shift) - reach, max(0.0, shift) + reach, cells, dtype=torch.float64)
    policy, reference = -0.5 * points.square(), -0.5 * (points - shift).square()
    return policy.log_softmax(0).unsqueeze(0), reference.log_softmax(0).unsqueeze(0)


def gaussian_table(shift: float) -> dict[str, float]:
    """Return Schulman's figures for N(0, 1) against N(shift, 1): `kl`, and of each estimator `kI_bias` and `kI_std`
    over it; `best_lambda`, the control variate's weight of least variance, and `best_std` at it, over the KL.
    """
    found = {name: value.item() for name, value in moments(*gaussians(shift)).items()}
    kl = found["kl"]
    best = -found["k1_control"] / found["control_variance"]
    least = found["k1_variance"] + best * found["k1_control"]
    table = {"kl": kl, "best_lambda": best, "best_std": least**0.5 / kl}
    for name in KL_ESTIMATORS:
        table |= {
            f"{name}_bias": found[f"{name}_mean"] / kl - 1.0,
            f"{name}_std": found[f"{name}_variance"] ** 0.5 / kl,
        }
    return table
