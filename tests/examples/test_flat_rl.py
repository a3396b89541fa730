"""The lesson in one file is the method: after its steps the weights are those of the real trainer, bit for bit."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch

from stages import rl
from stages.core.artifact import Prompts
from tests.house.rooms import ROOT
from tests.policy import tiny
from tests.policy.rl import test_grpo

FILE = ROOT / "examples" / "flat_rl.py"
SEED = 3
"""That of `test_grpo.train`."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.home(tmp_path_factory.mktemp("flat"))


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": 1, "minibatches": 1},
        {"steps": 6, "minibatches": 2, "reference_steps": 2},
        {"steps": 3, "minibatches": 2, "max_grad_norm": 0.01},
    ],
)
def test_its_weights_are_those_of_the_trainer(home: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    trainer = test_grpo.train(home, tmp_path, micro=8, **changes).trainer
    assert trainer is not None
    recipe = rl.Recipe(**{**tiny.SETTINGS, "kl_weight": 0.05, **changes})
    rows = Prompts(path=home / "prompts", record=tiny.record("prompts", "tiny")).rows()
    told: list[str] = []
    lesson = runpy.run_path(str(FILE))["train"](home / "model", rows, recipe, SEED, told.append)
    start = tiny.policy(home / "model").module
    for mine, theirs, before in zip(lesson.parameters(), trainer.model.parameters(), start.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=2e-6)  # the trainer adds rows in another order
        assert not torch.equal(mine, before)
    assert len(told) == changes["steps"]


def test_it_is_short_enough_to_be_read() -> None:
    assert len(FILE.read_text(encoding="utf-8").splitlines()) <= 150
