"""What goes wrong costs a sample where it can, and else ends a run in one sentence with the last checkpoint whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stages import rl
from stages.core.artifact import Model
from stages.core.contract import Contract
from stages.core.errors import RecipeError, StageError
from stages.core.run import events
from stages.policy.training.checkpoint import Checkpoints, folder_fault
from tests.policy import tiny

POOR = "tests.policy.rl.poor_rewards"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> rl.Inputs:
    folder = tmp_path_factory.mktemp("bad")
    return rl.Inputs(model=tiny.model(folder / "model"), prompts=tiny.prompts(folder / "prompts", 8))


def checkpoints(folder: Path) -> list[str]:
    """The whole checkpoints of a run, newest first."""
    return [one.name for one in Checkpoints(folder / "scratch" / "checkpoints").whole() if not folder_fault(one)]


@pytest.mark.parametrize("name", ["raises", "returns_nan", "two_at_once"])
def test_a_reward_that_judges_no_completion_ends_the_run_in_its_own_words(
    tmp_path: Path, inputs: rl.Inputs, name: str
) -> None:
    asked = {"rewards": {tiny.REWARD: 1.0, f"{POOR}:{name}": 1.0}}
    with pytest.raises(RecipeError, match="could judge none of 16 completions") as caught:
        tiny.run(tmp_path, inputs, asked, preflight=False)
    words = {"raises": "KeyError", "returns_nan": "nan, outside 0 to 1", "two_at_once": "list, not a number"}
    assert words[name] in caught.value.what and f"take `{POOR}:{name}` out of `rewards`" in caught.value.hint


def test_what_it_cannot_judge_costs_its_sample_and_is_told(tmp_path: Path, inputs: rl.Inputs) -> None:
    rewards = {tiny.REWARD: 1.0, f"{POOR}:judges_letters": 1.0}
    asked = {"rewards": rewards, "max_completion_tokens": 1, "steps": 2}
    draft = tiny.run(tmp_path, inputs, asked, preflight=False)
    steps = events.curve(tmp_path / "events.jsonl", "step")
    assert 0.1 < steps[0]["unjudged"] < 1 and steps[0]["grad_norm"] >= 0
    assert draft.metrics["alarms"]["unjudged"] == 1


def test_completions_that_say_nothing_are_trained_on_without_harm(tmp_path: Path, inputs: rl.Inputs) -> None:
    """Six tokens in ten are ends, so that most completions are one end token, and their text is empty."""
    path = tiny.model(tmp_path / "model").path
    known = Contract.read(path)
    Contract(**{**vars(known), "eos_ids": [*known.eos_ids, *range(95, 256)]}).write(path)
    silent = rl.Inputs(model=Model(path=path, record=inputs.model.record), prompts=inputs.prompts)
    draft = tiny.run(tmp_path / "run", silent, {"rewards": {"format": 1.0}, "steps": 2}, preflight=False)
    kept = (tmp_path / "run" / "completions" / "rollout-00001.jsonl").read_text(encoding="utf-8").splitlines()
    assert sum(json.loads(line)["completion"] == "" for line in kept) >= 2
    assert draft.metrics["reward"] == 0.0 and draft.metrics["length"] < 4


def test_a_gradient_that_overflows_ends_the_run_and_the_last_checkpoint_is_whole(
    tmp_path: Path, inputs: rl.Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the third step on, as if a weight had become infinite: everything before is kept."""
    from stages.policy.rl import losses

    steps = iter(range(100))
    monkeypatch.setitem(
        losses.LOSSES,
        "grpo",
        lambda *given: (losses.grpo(*given)[0] * (float("inf") if next(steps) >= 2 else 1.0), {}),
    )
    with pytest.raises(StageError, match="the gradient of step 3 is not a number") as caught:
        tiny.run(tmp_path, inputs, preflight=False, micro_batch=8, checkpoint_every=1)
    assert "learning_rate" in caught.value.hint
    assert checkpoints(tmp_path) == ["step-000002", "step-000001"]


def test_weights_that_leave_all_bounds_end_in_one_sentence(tmp_path: Path, inputs: rl.Inputs) -> None:
    with pytest.raises(StageError) as caught:
        tiny.run(tmp_path, inputs, {"learning_rate": 1e38, "steps": 8}, preflight=False, checkpoint_every=1)
    assert "learning_rate" in caught.value.hint, caught.value.what
