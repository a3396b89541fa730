"""Weights of 16 bits: steps too small for them are not lost, and a resumed run rounds as the whole one did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from stages import rl, sft
from stages.core.errors import MissingError
from stages.core.recipe.adaptation import Adaptation
from stages.policy.training.half import HalfAdamW, rounded_by_chance
from tests.policy import tiny, tiny_sft

STEP = 1e-6
"""A learning rate of R1's size: bfloat16 tells 0.02 from its neighbours by 1.2e-4."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("half")


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


SAVING: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"weights": "bfloat16", "dtype": "bfloat16"}, {"gradient_checkpointing": True}),
    ({"weights": "bfloat16_master", "dtype": "bfloat16", "adapter": Adaptation(rank=2)}, {"micro_tokens": 64}),
    ({"optimizer": "adafactor"}, {"gradient_checkpointing": True, "micro_tokens": 64}),
]


@pytest.mark.parametrize(("recipe", "runtime"), SAVING)
def test_supervised_training_works_with_every_way_of_saving_memory(
    home: Path, tmp_path: Path, recipe: dict[str, Any], runtime: dict[str, Any]
) -> None:
    heard: list[dict[str, Any]] = []
    inputs = sft.Inputs(
        model=tiny_sft.model(home), conversations=tiny_sft.conversations(tmp_path / "rows", tiny_sft.rows(8))
    )
    draft = tiny_sft.run(tmp_path / "run", inputs, recipe, heard.append, **runtime)
    assert draft.metrics["steps"] == 4
    losses = [event["loss"] for event in heard if event["event"] == "step"]
    assert losses[-1] < losses[0]
    twice = any("layers computed twice" in event.get("text", "") for event in heard)
    assert twice == bool(runtime.get("gradient_checkpointing"))


def test_reinforcement_learning_holds_policy_and_reference_in_16_bits(home: Path, tmp_path: Path) -> None:
    inputs = rl.Inputs(model=tiny_sft.model(home), prompts=tiny.prompts(tmp_path / "prompts", 8))
    changes = {"weights": "bfloat16_master", "dtype": "bfloat16", "steps": 2}
    draft = tiny.run(tmp_path / "run", inputs, changes, micro_tokens=64, gradient_checkpointing=True)
    assert draft.metrics["steps"] == 2 and draft.metrics["largest_weight_change"] > 0
    assert draft.metrics["trained_mb"] == pytest.approx(draft.metrics["trained_parameters"] * (2 + 12) / 2**20)


@pytest.mark.parametrize("name", ["adamw_8bit", "paged_adamw", "paged_adamw_8bit"])
def test_an_optimizer_of_bitsandbytes_is_refused_on_a_cpu(home: Path, tmp_path: Path, name: str) -> None:
    inputs = rl.Inputs(model=tiny_sft.model(home), prompts=tiny.prompts(tmp_path / "prompts", 8))
    with pytest.raises(MissingError, match=f"`{name}` works on a GPU alone"):
        tiny.run(tmp_path / "run", inputs, {"optimizer": name})
