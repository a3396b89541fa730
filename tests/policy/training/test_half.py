"""Weights of 16 bits: steps too small for them are not lost, and a resumed run rounds as the whole one did."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from stages.policy.training.half import HalfAdamW, rounded_by_chance

STEP = 1e-6
"""A learning rate of R1's size: bfloat16 tells 0.02 from its neighbours by 1.2e-4."""


def moved(optimizer: Any, weight: torch.nn.Parameter, steps: int) -> torch.Tensor:
    """The weight after steps whose gradient is 1 everywhere: AdamW then moves by its learning rate each time."""
    for _ in range(steps):
        weight.grad = torch.ones_like(weight)
        optimizer.step()
    return weight.detach().float()


def parameter(dtype: torch.dtype) -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.full((4096,), 0.02, dtype=dtype))


def test_with_a_float32_copy_small_steps_add_up_to_what_float32_weights_reach() -> None:
    exact, half = parameter(torch.float32), parameter(torch.bfloat16)
    theirs = torch.optim.AdamW([exact], lr=STEP, weight_decay=0.1)
    start = half.detach().float()[0].item()
    exact.data.fill_(start)
    wanted = moved(theirs, exact, 300)
    found = moved(HalfAdamW([half], lr=STEP, weight_decay=0.1), half, 300)
    assert torch.equal(found, wanted.to(torch.bfloat16).float()) and found[0] < start


def test_without_one_the_mean_of_the_weights_moves_as_far_and_plain_rounding_would_not_move_at_all() -> None:
    half = parameter(torch.bfloat16)
    start = half.detach().float()[0].item()
    found = moved(HalfAdamW([half], lr=STEP, master=False), half, 100)
    assert found.mean().item() - start == pytest.approx(-100 * STEP, rel=0.2)
    assert torch.tensor(start - STEP).to(torch.bfloat16).item() == start


def test_rounding_by_chance_takes_one_of_the_two_neighbours_and_leaves_what_bfloat16_holds() -> None:
    wide = torch.tensor([0.02, -0.02, 3.0, 0.0]).repeat(1000, 1)
    found = rounded_by_chance(wide, 1).float()
    assert set(found[:, 0].tolist()) == {0.02001953125, 0.0198974609375} == {-one for one in found[:, 1].tolist()}
    assert found[:, 2].unique().tolist() == [3.0] and found[:, 3].unique().tolist() == [0.0]
    assert found[:, 0].mean().item() == pytest.approx(0.02, rel=1e-3)


@pytest.mark.parametrize("master", [True, False])
def test_a_resumed_run_ends_in_the_same_bits(master: bool) -> None:
    whole, resumed = parameter(torch.bfloat16), parameter(torch.bfloat16)
    expected = moved(HalfAdamW([whole], lr=1e-4, master=master), whole, 6)
    before = HalfAdamW([resumed], lr=1e-4, master=master)
    moved(before, resumed, 3)
    after = HalfAdamW([resumed], lr=1e-4, master=master)
    after.load_state_dict(before.state_dict())
    assert torch.equal(moved(after, resumed, 3), expected)
    assert all(value.dtype == torch.float32 for value in after.state[resumed].values() if torch.is_tensor(value))
