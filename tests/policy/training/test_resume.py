"""Killed by SIGKILL anywhere and run again, a training ends in the same weights, events and texts, bit for bit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stages.core.run import events
from tests.policy import tiny

SETTINGS = {
    **tiny.SETTINGS,
    "minibatches": 3,
    "steps": 12,
    "reference_steps": 6,
    "kl_weight": 0.05,
    "eval_every": 4,
    "eval_samples": 1,
    "keep": "last",
}
PROMPTS = 8  # a rollout asks 6, so the second reaches into the next epoch, and the last into the third
RUNTIME = {"micro_batch": 4, "checkpoint_every": 2}  # two micro-batches a step; checkpoints inside and between rollouts


def dies_after(owner: Any, name: str, fatal: Callable[..., bool]) -> None:
    """Let a method do its work, and kill the process right after the call for which `fatal` holds."""
    method = getattr(owner, name)

    def deadly(*args: Any, **kwargs: Any) -> Any:
        result = method(*args, **kwargs)
        if fatal(*args, **kwargs):
            tiny.die()
        return result

    setattr(owner, name, deadly)


def set_trap(place: str) -> Callable[[dict[str, Any]], None]:
    """Arrange for death at a place; what is returned listens to the run's events."""
    from stages.policy.models import folders
    from stages.policy.rl import grpo, rollout
    from stages.policy.training import checkpoint

    kind, _, number = place.partition(" ")
    if kind == "sampling":
        dies_after(rollout.Collector, "collect", lambda self, model, rollout, *_, **__: rollout == int(number))
    elif kind == "reference":
        dies_after(grpo.PolicyTrainer, "_renew_reference", lambda self, step: step == int(number))
    elif kind == "gradient":
        seen: list[None] = []
        dies_after(grpo.PolicyTrainer, "compute_loss", lambda *_, **__: seen.append(None) or len(seen) == int(number))
    elif kind == "writing":
        dies_after(grpo.PolicyTrainer, "save_state_files", lambda self, folder: self.state.global_step == int(number))
    elif kind == "flushing":
        flushed: list[Path] = []
        dies_after(checkpoint, "_flush", lambda path: flushed.append(path) or len(flushed) == int(number))
    elif kind == "renaming":
        dies_after(checkpoint, "seal_folder", lambda source, target: target.name == f"step-{int(number):06d}")
    elif kind == "finishing":
        dies_after(folders, "save_model", lambda *_: True)
    return lambda event: tiny.die() if f"{event['event']} {event.get('step')}" == place else None


def train(folder: Path, settings: dict[str, Any], place: str) -> None:
    """Run the stage in `folder`, to the end or to the place of death."""
    from stages import rl
    from stages.core.artifact import Model, Prompts

    listener = set_trap(place)
    home = folder.parent
    inputs = rl.Inputs(
        model=Model(path=home / "model", record=tiny.record("model", "tiny")),
        prompts=Prompts(path=home / "prompts", record=tiny.record("prompts", "tiny-prompts")),
        validation=Prompts(path=home / "validation", record=tiny.record("prompts", "tiny-validation")),
    )
    draft = tiny.run(folder, inputs, settings, listener, **RUNTIME)
    (folder / "metrics.json").write_text(json.dumps(draft.metrics))


TIMED = ("time", "seconds", "useful_per_second")
"""How the names of figures begin that a clock decides."""


def outcome(folder: Path) -> dict[str, Any]:
    """Everything a run leaves that must not depend on whether it was killed."""
    untimed = [
        {name: value for name, value in line.items() if not name.startswith(TIMED)}
        for line in [*events.curve(folder / "events.jsonl", "step"), *events.curve(folder / "events.jsonl", "eval")]
    ]
    metrics = json.loads((folder / "metrics.json").read_text())
    return {
        "weights": (folder / "model.safetensors").read_bytes(),
        "metrics": {name: value for name, value in metrics.items() if not name.startswith(("seconds", "peak"))},
        "completions": {path.name: path.read_text() for path in (folder / "completions").iterdir()},
        "events": untimed,
    }


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resume")
    tiny.model(folder / "model")
    tiny.prompts(folder / "prompts", PROMPTS)
    tiny.prompts(folder / "validation", 4, "validation")
    return folder


@pytest.fixture(scope="module")
def uninterrupted(home: Path) -> dict[str, Any]:
    assert tiny.in_a_process(train, home / "whole", SETTINGS, "") == 0
    return outcome(home / "whole")


def test_the_same_run_twice_is_the_same(home: Path, uninterrupted: dict[str, Any]) -> None:
    assert tiny.in_a_process(train, home / "again", SETTINGS, "") == 0
    assert outcome(home / "again") == uninterrupted


@pytest.mark.parametrize(
    "places",
    [
        pytest.param(["step 5"], id="inside a rollout block, after an update and before its checkpoint"),
        pytest.param(["gradient 14"], id="inside a step, between two micro-batches"),
        pytest.param(["sampling 2"], id="after a rollout was sampled and before it was judged"),
        pytest.param(["writing 6"], id="while a checkpoint's files are written"),
        pytest.param(["flushing 40"], id="while a checkpoint is flushed"),
        pytest.param(["renaming 8"], id="right after a checkpoint took its name"),
        pytest.param(["reference 6"], id="at a reference replacement"),
        pytest.param(["step 7"], id="just after a reference replacement"),
        pytest.param(["sampling 3"], id="two checkpoints after a reference replacement"),
        pytest.param(["step 11"], id="in a later epoch"),
        pytest.param(["eval 8"], id="at a validation"),
        pytest.param(["finishing"], id="after the last step, before sealing"),
        pytest.param(["step 1", "sampling 1", "writing 8", "step 10"], id="again and again"),
    ],
)
def test_a_killed_run_ends_as_if_it_had_not_been(
    tmp_path: Path, home: Path, uninterrupted: dict[str, Any], places: list[str]
) -> None:
    folder = home / tmp_path.name
    for place in places:
        assert tiny.in_a_process(train, folder, SETTINGS, place) == -9, f"{place} was never reached"
    assert tiny.in_a_process(train, folder, SETTINGS, "") == 0
    assert outcome(folder) == uninterrupted


def test_a_torn_checkpoint_is_ignored_and_the_weights_are_the_same(home: Path, uninterrupted: dict[str, Any]) -> None:
    folder = home / "torn"
    assert tiny.in_a_process(train, folder, SETTINGS, "step 9") == -9
    newest = max((folder / "scratch" / "checkpoints").glob("step-*"))
    weights = newest / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert tiny.in_a_process(train, folder, SETTINGS, "") == 0
    assert outcome(folder) == uninterrupted
    assert any("is torn" in line["text"] for line in events.read(folder / "events.jsonl", "warning"))


def test_the_best_weights_survive_a_kill(home: Path) -> None:
    settings = {**SETTINGS, "keep": "best", "steps": 6, "learning_rate": 1e-3}
    assert tiny.in_a_process(train, home / "best-whole", settings, "") == 0
    assert tiny.in_a_process(train, home / "best-killed", settings, "step 5") == -9
    assert tiny.in_a_process(train, home / "best-killed", settings, "") == 0
    assert outcome(home / "best-killed") == outcome(home / "best-whole")
