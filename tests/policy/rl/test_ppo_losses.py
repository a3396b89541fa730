"""PPO's formulas against numbers worked out by hand, and against laws."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import settings as law
from hypothesis import strategies as st
from torch import Tensor

from stages.core.recipe.parts import Objective
from stages.policy.rl.losses import LossInputs, LossNormaliser, clipped_objective, grpo, policy_loss
from stages.policy.rl.ppo_losses import explained_variance, gae, kl_rewards, value_loss, whiten

NAN = float("nan")
THREE = torch.tensor([[True, True, True]])


def close(left: Tensor, right: list | Tensor | float, tolerance: float = 1e-6) -> None:
    torch.testing.assert_close(left, torch.as_tensor(right, dtype=left.dtype), rtol=tolerance, atol=tolerance)


def random_rows(seed: int, rows: int = 3, width: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """Rewards, values and a mask of right-padded rows; padding holds numbers that must not count."""
    generator = torch.Generator().manual_seed(seed)
    rewards, values = (torch.randn((rows, width), generator=generator, dtype=torch.float64) for _ in range(2))
    return rewards, values, torch.arange(width) < torch.randint(1, width + 1, (rows, 1), generator=generator)


# ---- advantages ----


@pytest.mark.parametrize(
    ("lam", "by_hand"),
    [
        # δ = [0 + 0.5 - 0.2, 0 + 0.6 - 0.5, 1 - 0.6] = [0.3, 0.1, 0.4]
        (0.0, [0.3, 0.1, 0.4]),
        (0.95, [0.3 + 0.95 * (0.1 + 0.95 * 0.4), 0.1 + 0.95 * 0.4, 0.4]),  # 0.756, 0.48, 0.4
        (1.0, [0.8, 0.5, 0.4]),  # the reward of 1, less 0.2, 0.5 and 0.6
    ],
)
def test_the_advantages_of_one_reward_at_the_end_by_hand(lam: float, by_hand: list[float]) -> None:
    rewards, values = torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([[0.2, 0.5, 0.6]])
    close(gae(rewards, values, THREE, 1.0, lam), [by_hand])


def test_a_discount_shrinks_what_comes_later() -> None:
    # δ = [0 + 0.5 * 0.4 - 0.2, 1 - 0.4] = [0, 0.6]; A_0 = 0 + 0.5 * 0.5 * 0.6
    two = torch.tensor([[True, True]])
    close(gae(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.2, 0.4]]), two, 0.5, 0.5), [[0.15, 0.6]])


@given(seed=st.integers(0, 1000))
@law(max_examples=50, deadline=None)
def test_with_lambda_1_an_advantage_is_the_reward_to_come_less_the_value(seed: int) -> None:
    rewards, values, mask = random_rows(seed)
    rewards_to_come = (rewards * mask).flip(1).cumsum(1).flip(1)
    close(gae(rewards, values, mask, 1.0, 1.0), ((rewards_to_come - values) * mask), 1e-12)


@given(seed=st.integers(0, 1000), lam=st.floats(0, 1))
@law(max_examples=50, deadline=None)
def test_values_that_foresee_everything_leave_no_advantage_whatever_lambda(seed: int, lam: float) -> None:
    rewards, _, mask = random_rows(seed)
    foreseen = (rewards * mask).flip(1).cumsum(1).flip(1)
    assert gae(rewards, foreseen, mask, 1.0, lam).abs().max() < 1e-12


@given(seed=st.integers(0, 1000), lam=st.floats(0, 1))
@law(max_examples=50, deadline=None)
def test_padding_moves_no_advantage(seed: int, lam: float) -> None:
    rewards, values, mask = random_rows(seed)
    dirty = gae(rewards.masked_fill(~mask, 1e6), values.masked_fill(~mask, NAN), mask, 1.0, lam)
    assert torch.equal(dirty, gae(rewards * mask, values * mask, mask, 1.0, lam))


# ---- rewards ----


def test_the_reward_comes_with_the_last_token_and_the_kl_with_each() -> None:
    mask = torch.tensor([[True, True, True], [True, False, False]])
    policy = torch.tensor([[0.5, 0.5, 0.25], [0.5, 9.0, 9.0]]).log()
    reference = torch.tensor([[0.25, 0.5, 0.5], [0.5, 1.0, 1.0]]).log()
    found = kl_rewards(torch.tensor([1.0, NAN]), policy, reference, mask, 0.1)
    close(found[0], [-0.1 * math.log(2), 0.0, 1.0 + 0.1 * math.log(2)])
    assert found[1].isnan().tolist() == [True, False, False]
    close(kl_rewards(torch.tensor([1.0, 2.0]), policy, None, mask, 0.1), [[0.0, 0.0, 1.0], [2.0, 0.0, 0.0]])


def test_a_kl_in_the_reward_costs_a_long_completion_more() -> None:
    mask = torch.ones((1, 8), dtype=torch.bool)
    apart = torch.full((1, 8), 0.5)
    penalty = kl_rewards(torch.zeros(1), apart, torch.zeros(1, 8), mask, 0.1).sum()
    close(penalty, -0.1 * 8 * 0.5)


# ---- whitening ----


def test_the_advantages_of_a_batch_are_whitened_by_hand() -> None:
    # 1, 2, 3 and a padding of 100: mean 2, deviation sqrt(2 / 2) = 1
    mask = torch.tensor([[True, True], [True, False]])
    values = torch.tensor([[1.0, 2.0], [3.0, 100.0]])
    close(whiten(values, mask), [[-1.0, 0.0], [1.0, 0.0]])
    close(whiten(3 * values, mask, scale=False), [[-3.0, 0.0], [3.0, 0.0]])


def test_a_single_token_and_equal_tokens_whiten_to_nothing() -> None:
    assert whiten(torch.tensor([[5.0, 1.0]]), torch.tensor([[True, False]])).tolist() == [[0.0, 0.0]]
    assert whiten(torch.full((2, 3), 4.0), torch.ones(2, 3, dtype=torch.bool)).abs().max() == 0


# ---- the value loss ----


def test_half_the_squared_error_of_a_value_by_hand() -> None:
    mask = torch.tensor([[True, True, False]])
    values = torch.tensor([[1.0, 0.0, 7.0]], requires_grad=True)
    loss = value_loss(values, torch.tensor([[3.0, 0.0, NAN]]), torch.zeros(1, 3), mask, None)
    assert loss.tolist() == [[2.0, 0.0, 0.0]]
    loss.sum().backward()
    assert values.grad is not None and values.grad.tolist() == [[-2.0, 0.0, 0.0]]


def test_a_clipped_value_gains_nothing_by_running_ahead() -> None:
    # The value went from 0 to 1, and the return is 1: within 0.2 it would be 0.2, whose error is 0.64 / 2.
    value = torch.tensor([[1.0]], requires_grad=True)
    loss = value_loss(value, torch.tensor([[1.0]]), torch.tensor([[0.0]]), torch.tensor([[True]]), 0.2)
    close(loss.detach(), [[0.32]])
    loss.sum().backward()
    assert value.grad is not None and value.grad.item() == 0


def test_explained_variance_is_1_0_or_below_by_hand() -> None:
    returns = torch.tensor([[0.0, 1.0, 2.0]])
    assert explained_variance(returns, returns, THREE) == 1.0
    assert explained_variance(torch.full((1, 3), 9.0), returns, THREE) == 0.0
    assert explained_variance(-returns, returns, THREE) == pytest.approx(1 - 4)  # errors 0, 2, 4: four times as wide
    assert explained_variance(returns, torch.ones(1, 3), THREE) == 0.0


# ---- the policy's loss with an advantage for each token ----


def test_an_advantage_for_each_token_enters_the_clip_token_by_token() -> None:
    ratio = torch.tensor([[1.5, 1.5, 0.5]])
    close(clipped_objective(ratio, torch.tensor([[1.0, -1.0, -1.0]]), 0.2, 0.2), [[1.2, -1.5, -0.8]])


def test_equal_advantages_along_a_row_give_the_loss_of_one_for_the_row() -> None:
    old = torch.tensor([[-1.0, -2.0], [-0.5, -1.5]])
    parts = {"logprobs_BT": old + 0.1, "old_logprobs_BT": old, "ref_logprobs_BT": None}
    mask, row = torch.tensor([[True, True], [True, False]]), torch.tensor([1.0, -0.5])
    share = LossNormaliser(rows=2, tokens=3, max_tokens=2)
    one, each = (
        policy_loss(grpo, LossInputs(**parts, advantages=given, mask_BT=mask, normaliser=share), Objective())[0]
        for given in (row, row.unsqueeze(1).expand(2, 2))
    )
    assert one == each
