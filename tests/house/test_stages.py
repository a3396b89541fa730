"""The floor plan holds: stage files = STAGES = commands, and each room has the same furniture."""

from __future__ import annotations

import importlib
import inspect
import typing
from dataclasses import fields, is_dataclass

import pytest

from r1cli.main import build
from stages import STAGES
from stages.core.artifact import Artifact
from tests.house.rooms import ROOT


def test_stage_files_are_the_stages() -> None:
    files = {f"stages.{path.stem}" for path in (ROOT / "stages").glob("*.py")} - {"stages.__init__"}
    assert files == set(STAGES.values())


def test_every_stage_is_a_command() -> None:
    commands = {each.name for each in build().registered_commands}
    assert set(STAGES) <= commands


@pytest.mark.parametrize("stage", STAGES)
def test_a_room_has_version_recipe_inputs_and_run(stage: str) -> None:
    module = importlib.import_module(STAGES[stage])
    assert module.__doc__ and isinstance(module.VERSION, int)
    assert is_dataclass(module.Recipe) and is_dataclass(module.Inputs)
    assert list(inspect.signature(module.run).parameters) == ["recipe", "inputs", "work"]
    for name, hint in typing.get_type_hints(module.Inputs).items():
        kinds = [kind for kind in typing.get_args(hint) or (hint,) if kind is not type(None)]
        assert all(issubclass(kind, Artifact) for kind in kinds), f"{stage}: input {name} is no artifact kind"
    assert list(inspect.signature(module.kind_of).parameters), f"{stage}: a plan must know what it makes"
    assert all(each.kw_only for each in fields(module.Recipe)), f"{stage}: a recipe is written by key"
