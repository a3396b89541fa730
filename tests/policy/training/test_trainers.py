"""What all trainers have in common: methods that were read beneath, one process, and a memory of typed values."""

from __future__ import annotations

import hashlib
import inspect
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import transformers
import trl
from transformers import Trainer, TrainingArguments
from trl import DistillationTrainer

from stages.core.errors import StageError
from stages.core.run import events
from stages.policy import sft
from stages.policy.distill import onpolicy
from stages.policy.judges import judge_training
from stages.policy.rl import grpo, ppo
from stages.policy.training import resumable
from stages.policy.training.checkpoint import Checkpoints
from stages.policy.training.steps import RunState, StepLogger, StepReport
from tests.policy import tiny

TRANSFORMERS_VERSION = "5.17.0"
TRL_VERSION = "1.16.0"
CHECKPOINTS = {
    "_issue_warnings_after_load": "7ccdd73aac16aecb",
    "_load_from_checkpoint": "4711d0506786db15",
    "_load_optimizer_and_scheduler": "bdcb956f06c459ab",
    "_save_checkpoint": "a9111e30faa99339",
}
NUMBERS = {"_prepare_inputs": "8f8c4e430d2f96d6", "get_train_dataloader": "205a99685f8facd9"}
LOSS = {"compute_loss": "784a390428b9dabb"}
SHARDS = {
    "_get_grad_norm": "913ba6f52f074d10",
    "_save_optimizer_and_scheduler": "c5ef974db69ab993",
    "create_optimizer": "daff86cde6ccc56d",
    "save_model": "ca8d2be9f60f9878",
}
RANKS = {"_wrap_model": "317173a8bd8960fc", "training_step": "a95f8c94253a5148", **SHARDS}
VALUES = {"_clip_grad_norm": "ebfa9dc91d3088ab"}
OWN: dict[type, dict[str, str]] = {
    grpo.PolicyTrainer: CHECKPOINTS | NUMBERS | LOSS | RANKS,
    ppo.PPOTrainer: CHECKPOINTS | NUMBERS | LOSS | RANKS | VALUES,
    sft.SupervisedTrainer: CHECKPOINTS | NUMBERS | LOSS | RANKS,
    judge_training.JudgeTrainer: CHECKPOINTS | NUMBERS | LOSS | RANKS,
}
"""Trainer -> what it replaces of transformers' methods, by the hash of their source: a new one must be read first."""
ON_TRL = {
    "_generate_single_turn": "b2cc5048ef74151f",
    "_get_last_hidden_state": "12dc17e4ad4b1999",
    "_issue_warnings_after_load": "7ccdd73aac16aecb",
    "_load_from_checkpoint": "4711d0506786db15",
    "_load_optimizer_and_scheduler": "bdcb956f06c459ab",
    "_prepare_inputs": "a0b5e05b3647e889",
    "_save_checkpoint": "b6ee0a370c266b6f",
    "_send_telemetry": "3e012069065d03d1",
    "_tokenize_prompts": "30568810007eb3f7",
    "_wrap_model": "317173a8bd8960fc",
    "compute_loss": "e5082879a7183040",
    "get_train_dataloader": "d3c7c32e51540880",
    "training_step": "9e18632f7dd8e8d8",
    **SHARDS,
}
"""The same of TRL's DistillationTrainer."""


def replaced(ours: type, theirs: type) -> dict[str, str]:
    """The methods of `theirs` that `ours` replaces, and the hash of the source of each."""
    classes = inspect.getmro(ours)
    before = classes[: classes.index(theirs)]
    own = {name for each in before for name, part in vars(each).items() if inspect.isfunction(part)}
    methods = {name: inspect.unwrap(getattr(theirs, name)) for name in own if hasattr(theirs, name)}
    del methods["__init__"]
    return {
        name: hashlib.sha256(inspect.getsource(method).encode()).hexdigest()[:16] for name, method in methods.items()
    }


def test_the_libraries_are_those_that_this_was_written_for() -> None:
    assert (transformers.__version__, trl.__version__) == (TRANSFORMERS_VERSION, TRL_VERSION)


@pytest.mark.parametrize("trainer", OWN)
def test_the_methods_of_transformers_that_are_overridden_are_those_that_were_read(trainer: type) -> None:
    assert replaced(trainer, Trainer) == OWN[trainer]
    assert not set(OWN[trainer]) & {"train", "_inner_training_loop", "_run_epoch"}


def test_the_methods_of_trl_that_are_overridden_are_those_that_were_read() -> None:
    assert replaced(onpolicy.OnPolicyTrainer, DistillationTrainer) == ON_TRL


def test_every_trainer_is_built_on_the_same_scaffold_and_no_launcher_starts_one_that_knows_of_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert all(issubclass(one, resumable.ResumableTrainer) for one in (*OWN, onpolicy.OnPolicyTrainer))
    args = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none")
    monkeypatch.setattr(TrainingArguments, "world_size", 2)
    place = tiny.work(tmp_path)
    place.events.close()
    with pytest.raises(StageError, match="2 processes were started, and this run is one of 1"):
        resumable.ResumableTrainer(
            tiny.policy(tiny.model(tmp_path / "model").path),
            run_state=RunState(),
            checkpoints=Checkpoints(tmp_path),
            callback=StepLogger(place),
            args=args,
        )


# ---- what is remembered and told ----


@dataclass(kw_only=True)
class Counted(RunState):
    tokens: int = 0
    last: dict[str, Any] = field(default_factory=dict)


@pytest.mark.parametrize(
    "state",
    [
        Counted(tokens=3, last={"loss": 0.1 + 0.2, "reference": "step-4"}),
        grpo.PolicyState(
            seconds=1 / 3, reflective=[(1, 0.5), (5, 2 / 3)], best_step=4, best_validation={"strict": 0.5}
        ),
        onpolicy.OnPolicyState(read_tokens=9, loss=1e-300),
    ],
)
def test_a_state_comes_back_as_it_was(tmp_path: Path, state: RunState) -> None:
    state.write(tmp_path / "state.json")
    assert type(state).read(tmp_path / "state.json") == state


@pytest.mark.parametrize("written", [{"tokens": 3}, {"tokens": 3, "last": {}, "carried": 1}])
def test_the_state_of_another_version_is_refused(tmp_path: Path, written: dict[str, Any]) -> None:
    (tmp_path / "state.json").write_text(json.dumps(written))
    with pytest.raises(StageError, match=r"written by another version \(it differs in (last|carried)\)"):
        Counted.read(tmp_path / "state.json")


def test_steps_are_told_now_and_then_the_last_always_and_progress_at_each(tmp_path: Path) -> None:
    after: list[int] = []
    place = tiny.work(tmp_path, log_every=3)
    logger = StepLogger(place, live=("loss", "tokens"), then=lambda report: after.append(report.step))
    for step in range(1, 5):
        logger.on_step(StepReport(step=step, steps=4, figures={"loss": step / 2, "tokens": 7, "rows": 2}))
    place.events.close()
    steps = events.read(tmp_path / "events.jsonl", "step")
    assert [(line["step"], line["loss"], line["rows"]) for line in steps] == [(3, 1.5, 2), (4, 2.0, 2)]
    progress = events.read(tmp_path / "events.jsonl", "progress")
    assert [line["done"] for line in progress] == after == [1, 2, 3, 4]
    assert progress[0]["figures"] == {"loss": 0.5, "tokens": 7.0} and progress[0]["total"] == 4
