"""The formulas against numbers worked out by hand, against laws, and against TRL's own loss on the same tensors."""

from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from stages.policy.rl.losses import (
    flat_groups,
    group_advantages,
    kl_k1,
    kl_k2,
    kl_k3,
    normalised_advantages,
)

NAN = float("nan")


def close(left: Tensor, right: list | Tensor | float, tolerance: float = 1e-6) -> None:
    torch.testing.assert_close(left, torch.as_tensor(right, dtype=left.dtype), rtol=tolerance, atol=tolerance)


# ---- advantages ----


def test_the_advantages_of_1_0_0_1_are_written_out() -> None:
    # mean 0.5, deviation sqrt(4 * 0.25 / 3) = 0.5773503: (1 - 0.5) / (0.5773503 + 0.0001) = 0.8658754
    close(group_advantages(torch.tensor([[1.0, 0.0, 0.0, 1.0]])), [[0.8658754, -0.8658754, -0.8658754, 0.8658754]])


def test_without_scaling_the_advantages_of_1_0_0_1_are_one_half() -> None:
    close(group_advantages(torch.tensor([[1.0, 0.0, 0.0, 1.0]]), scale=False), [[0.5, -0.5, -0.5, 0.5]])


def test_a_flat_group_has_no_advantage_and_is_said_to_be_flat() -> None:
    rewards = torch.tensor([[2.0, 2.0, 2.0], [0.0, 1.0, 0.0]])
    assert group_advantages(rewards)[0].tolist() == [0.0, 0.0, 0.0]
    assert flat_groups(rewards).tolist() == [True, False]


def test_what_cannot_be_judged_moves_nothing_and_shifts_nobody() -> None:
    with_gap = group_advantages(torch.tensor([[1.0, NAN, 0.0]]))
    close(with_gap[:, [0, 2]], group_advantages(torch.tensor([[1.0, 0.0]])))
    assert with_gap[0, 1] == 0.0
    assert group_advantages(torch.tensor([[NAN, 1.0, NAN]])).tolist() == [[0.0, 0.0, 0.0]]
    assert flat_groups(torch.tensor([[NAN, 1.0, NAN]])).tolist() == [True]


def test_rewards_normalised_one_by_one_are_written_out() -> None:
    """Right or wrong, 0 1, and a length of 100 or 300: each deviates by 1/√2 and 200/√2, so each is ±1/√2 in itself.

    Group 1: (1, 100), (0, 300), weights 1 and 2: 0.7071 - 2 * 0.7071 = -0.7071 and +0.7071. Group 2: (1, 300),
    (0, 300): the flat length adds 0: ±0.7071. Over the rollout -a, a, a, -a has mean 0 and deviation a √(4/3).
    """
    found = torch.tensor([[[1.0, 100.0], [0.0, 300.0]], [[1.0, 300.0], [0.0, 300.0]]])
    weights = torch.tensor([1.0, 2.0])
    a = 2**-0.5
    close(normalised_advantages(found, weights, scale=False), [[-a, a], [a, -a]], 1e-3)
    close(normalised_advantages(found, weights), [[-(0.75**0.5), 0.75**0.5], [0.75**0.5, -(0.75**0.5)]], 1e-3)
    close(group_advantages((found * weights).sum(dim=2)), [[-a, a], [a, -a]], 1e-3)  # the sum hides the right answer


def test_normalised_rewards_leave_out_what_was_not_judged_and_what_does_not_apply() -> None:
    gap = torch.tensor([[[1.0, 0.5], [NAN, NAN], [0.0, 0.5]], [[1.0, NAN], [0.0, NAN], [0.0, NAN]]])
    found = normalised_advantages(gap, torch.ones(2), scale=False)
    close(found[0], [2**-0.5, 0.0, -(2**-0.5)], 1e-3)
    close(found[1], group_advantages(torch.tensor([[1.0, 0.0, 0.0]]))[0])
    scaled = normalised_advantages(gap, torch.ones(2))
    assert scaled[0, 1] == 0.0
    judged = scaled[~gap.isnan().all(dim=2)]
    close(judged.mean(), 0.0, 1e-5)
    close(judged.std(), 1.0, 1e-3)
    assert normalised_advantages(torch.full((1, 2, 2), NAN), torch.ones(2)).tolist() == [[0.0, 0.0]]


def test_normalised_rewards_are_trl_s() -> None:
    """TRL's normalize_then_sum (grpo_trainer.py), in its own words and with its own nanstd."""
    from trl.trainer.utils import nanstd

    grouped = torch.rand((3, 4, 2), generator=torch.Generator().manual_seed(3))
    weights = torch.tensor([1.0, 0.3])
    mean, std = torch.nanmean(grouped, dim=1, keepdim=True), nanstd(grouped, dim=1, keepdim=True)
    sums = (((grouped - mean) / (std + 1e-4)).view(-1, 2) * weights.unsqueeze(0)).nansum(dim=1)
    theirs = (sums - torch.nanmean(sums)) / (nanstd(sums) + 1e-4)
    close(normalised_advantages(grouped, weights).flatten(), theirs, 1e-5)


rewards = st.lists(st.integers(0, 8).map(lambda n: n / 4), min_size=8, max_size=8).map(
    lambda values: torch.tensor(values, dtype=torch.float64).view(2, 4)
)


@given(rewards, st.integers(-4, 4))
def test_advantages_sum_to_zero_and_ignore_a_shift(values: Tensor, shift: int) -> None:
    advantages = group_advantages(values)
    close(advantages.sum(dim=1), [0.0, 0.0])
    close(group_advantages(values + shift), advantages)


# ---- KL ----


def test_the_three_estimators_by_hand() -> None:
    # q = 0.5, p = 0.25: log p/q = -ln 2
    policy, reference = torch.tensor([0.5]).log(), torch.tensor([0.25]).log()
    close(kl_k1(policy, reference), [math.log(2)])
    close(kl_k2(policy, reference), [0.5 * math.log(2) ** 2])
    close(kl_k3(policy, reference), [0.5 - 1 + math.log(2)])


@given(st.floats(-8, 0), st.floats(-8, 0))
def test_k3_is_never_negative_and_zero_between_equals(policy: float, reference: float) -> None:
    left, right = torch.tensor(policy, dtype=torch.float64), torch.tensor(reference, dtype=torch.float64)
    assert kl_k3(left, right) >= 0
    assert kl_k3(left, left) == 0


def test_k1_and_k3_average_to_the_kl_and_only_k2_points_down_the_reverse_kl() -> None:
    """Exact expectations over three outcomes: the value of k1 and k3, and the gradients that each gives as a loss."""
    logits = torch.tensor([0.3, -0.5, 0.9], dtype=torch.float64, requires_grad=True)
    reference = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64).log()
    policy = logits.log_softmax(0)
    weights = policy.detach().exp()
    true_kl = (policy.exp() * (policy - reference)).sum()
    for estimator in (kl_k1, kl_k3):
        close((weights * estimator(policy, reference)).sum().detach(), true_kl.detach(), 1e-12)
    wanted = torch.autograd.grad(true_kl, logits, retain_graph=True)[0]
    as_loss = {
        estimator: torch.autograd.grad((weights * estimator(policy, reference)).sum(), logits, retain_graph=True)[0]
        for estimator in (kl_k1, kl_k2, kl_k3)
    }
    close(as_loss[kl_k2], wanted, 1e-12)
    close(as_loss[kl_k1], torch.zeros(3), 1e-12)
    forward_kl = (reference.exp() * (reference - policy)).sum()
    close(as_loss[kl_k3], torch.autograd.grad(forward_kl, logits, retain_graph=True)[0], 1e-12)
    ratio = (policy - policy.detach()).exp()
    corrected = (weights * ratio * kl_k3(policy, reference)).sum()
    close(torch.autograd.grad(corrected, logits)[0], wanted, 1e-12)


def test_advantages_equal_trl_s_own() -> None:
    from trl.trainer.utils import nanstd

    values = torch.tensor([[1.0, 0.0, NAN, 2.0], [0.5, 0.5, 0.0, 1.0]])
    mean, std = values.nanmean(dim=1, keepdim=True), nanstd(values, dim=1, keepdim=True)
    close(group_advantages(values), torch.nan_to_num((values - mean) / (std + 1e-4), nan=0.0))
