"""Runs that deserve an alarm get it, and a run that shall stop at one seals what was healthy."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages import rl
from stages.core.contract import Contract
from stages.core.errors import StageError
from stages.core.run import events
from tests.policy import tiny

CALM = {"minibatches": 1, "temperature": 0.4, "max_completion_tokens": 20, "kl_weight": 0.05, "steps": 24}
"""Under these the tiny model of `home`, for which a fifth of all tokens are ends, is healthy at first."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("guard")
    contract = tiny.model(folder / "model").contract
    ends = [*contract.eos_ids, *range(200, 256)]
    Contract(**{**vars(contract), "eos_ids": ends, "end_id": contract.end_id}).write(folder / "model")
    tiny.prompts(folder / "prompts", 8)
    return folder


@pytest.fixture
def inputs(home: Path) -> rl.Inputs:
    found: rl.Inputs = tiny.rl_inputs(home)
    return found


def alarms(folder: Path) -> list[tuple[int, str]]:
    return [(one["step"], one["kind"]) for one in events.read(folder / "events.jsonl", "alarm")]


def test_a_run_that_leaves_its_reference_stops_and_seals_the_weights_of_before(
    tmp_path: Path, inputs: rl.Inputs
) -> None:
    from stages.policy.models.folders import load_model

    asked = {**CALM, "learning_rate": 0.03, "warmup_steps": 200}
    draft = tiny.run(tmp_path / "run", inputs, {**asked, "stop_on_alarm": True}, checkpoint_every=100)
    ((step, kind),) = alarms(tmp_path / "run")
    kept = draft.metrics["kept_step"]
    assert (kind, draft.metrics["stopped_by"], draft.metrics["alarms"]) == ("kl", "kl", {"kl": step})
    assert draft.metrics["steps"] == step < 24
    assert kept == (step - 8) // 8 * 8 > 0, "whole windows of steps, and all of them before the alarm's"
    again = tiny.run(tmp_path / "run", inputs, {**asked, "stop_on_alarm": True}, checkpoint_every=100)
    same = ("steps", "kept_step", "stopped_by")
    assert [again.metrics[name] for name in same] == [draft.metrics[name] for name in same], "killed before its seal"
    tiny.run(tmp_path / "short", inputs, {**asked, "steps": kept}, checkpoint_every=100)
    left, right = load_model(tmp_path / "run").state_dict(), load_model(tmp_path / "short").state_dict()
    assert all(left[name].equal(right[name]) for name in left)


def test_a_run_that_was_never_healthy_is_refused_and_nothing_is_sealed(tmp_path: Path, inputs: rl.Inputs) -> None:
    with pytest.raises(StageError, match="stopped at step 1, before any step that was healthy: completions are") as e:
        tiny.run(tmp_path, inputs, {**CALM, "max_completion_tokens": 1, "stop_on_alarm": True})
    assert (
        e.value.hint
        == "raise the limit, `max_completion_tokens=2`, or `mask_truncated=true`; `stop_on_alarm=false` only tells"
    )
    assert not list(tmp_path.glob("*.safetensors"))


def test_where_nothing_is_earned_and_tokens_are_noise_each_is_said_once(tmp_path: Path, inputs: rl.Inputs) -> None:
    asked = {**CALM, "temperature": 2.0, "rewards": {"format": 1.0}, "steps": 9}
    tiny.run(tmp_path, inputs, asked, checkpoint_every=100)
    assert alarms(tmp_path) == [(8, "reward"), (8, "flat_groups"), (8, "entropy")]
