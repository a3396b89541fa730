"""A new engine is one file and one line: the walk of CONTRIBUTING.md, done in a copy of the project."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stages.core.artifact import Artifact, Rollouts
from stages.core.rows import Sample
from stages.core.run import events
from stages.core.storage.store import Store
from tests.house.rooms import ROOT

PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Add an engine")[2]
FILE, LINE = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)[:2]
TABLE = "ENGINES: dict[str, str] = {\n"


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with one engine more."""
    copy = tmp_path_factory.mktemp("project")
    for folder in ("stages", "r1cli", "recipes"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    (copy / FILE.split()[1]).write_text(FILE, encoding="utf-8")
    words = copy / "stages/core/sampling.py"
    text = words.read_text(encoding="utf-8")
    assert text.count(TABLE) == 1
    words.write_text(text.replace(TABLE, TABLE + LINE), encoding="utf-8")
    return copy


def made(copy: Path, stage: str, engine: str, *changes: str) -> Artifact:
    """What a stage makes of the embedded base in the copy, with that engine."""
    asked = ["inputs.model=world:base", f"runtime.engine={engine}", "runtime.device=cpu", "--name", f"{stage}-{engine}"]
    command = ["-m", "r1cli", stage, *asked, *changes]
    place = {"PYTHONPATH": os.fspath(copy), "PYTHONDONTWRITEBYTECODE": "1", "R1_HOME": os.fspath(copy / "home")}
    done = subprocess.run(
        [sys.executable, "-P", *command], cwd=copy, env={**os.environ, **place}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return Store(copy / "home").open(f"{stage}-{engine}")


def drawn(copy: Path, engine: str, *changes: str) -> list[Sample]:
    found = made(copy, "sample", engine, "inputs.prompts=world:heldout?count=3", "max_tokens=24", *changes)
    assert isinstance(found, Rollouts)
    return found.samples()


def test_it_draws_the_likeliest_words_that_the_transformers_engine_draws(copy: Path) -> None:
    greedy = ("samples=1", "temperature=1e-6")
    ours, theirs = drawn(copy, "loop", *greedy, "seed=1"), drawn(copy, "transformers", *greedy, "seed=2")
    assert [one.completion for one in ours] == [one.completion for one in theirs]
    assert len(ours) == 3 and all(one.tokens > 1 for one in ours)


def test_rl_trains_on_what_it_draws_at_the_trainer_s_own_log_probabilities(copy: Path) -> None:
    small = ("steps=2", "prompts_per_step=2", "group_size=4", "minibatches=1", "max_completion_tokens=16")
    trained = made(copy, "rl", "loop", "inputs.prompts=world:train?count=8", "reference_steps=null", *small)
    steps = events.curve(trained.path / "events.jsonl", "step")
    assert len(steps) == 2 and all(0 < line["sampler_mismatch"] < 1e-4 for line in steps)
