"""Every bundled recipe resolves, and every key that a recipe may set is read by some code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from r1cli.commands.recipes import is_claims, load_any
from r1cli.main import run
from stages import STAGES, prepare
from stages.core.recipe import schema
from stages.core.recipe.loading import LAUNCH, Loaded, bundled, input_kinds, stage_module
from stages.core.run.plan import plan
from stages.core.run.runtime import Runtime
from stages.core.storage.store import Store
from tests.house import lock
from tests.house.rooms import ROOT, sources, tree

YAML = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "recipes").rglob("*.y*ml") if path.parent.name != LAUNCH)


@pytest.mark.parametrize("file", YAML)
def test_a_bundled_recipe_resolves(file: str) -> None:
    assert file.endswith(".yaml") and (load_any(str(ROOT / file), []) or is_claims(ROOT / file))


def needs(node: Loaded) -> set[str]:
    return {key for key, (_, required) in input_kinds(node.stage).items() if required}


@pytest.mark.parametrize("file", YAML)
def test_a_recipe_that_needs_no_network_can_be_planned(file: str) -> None:
    nodes = load_any(str(ROOT / file), [])
    given = {value for node in nodes for value in node.inputs.values()} - {node.name for node in nodes}
    lacking = any(value.startswith("hf:") or not re.search("[:/.]", value) for value in given)  # a name: built before
    if not lacking and all(needed <= set(node.inputs) for node, needed in zip(nodes, map(needs, nodes), strict=True)):
        assert [step.node.name for step in plan(nodes, Store())] == [node.name for node in nodes]


def test_a_bundled_recipe_is_found_by_its_name() -> None:
    assert {path.relative_to(ROOT).as_posix() for path in bundled().values()} == set(YAML)


def test_every_recipe_says_what_it_is_on_its_first_line() -> None:
    bare = [file for file in YAML if not (ROOT / file).read_text(encoding="utf-8").startswith("# ")]
    assert not bare, "\n".join(bare)


CHECKS = ("_check", "rules", "__post_init__")
"""Functions that hold a value to its range or bring it into form: to be looked at there alone is not to be used."""


def unread(recipe: type[Any], modules: Iterable[Path]) -> set[str]:
    """The keys of a recipe that no code in the modules reads, outside what only checks it."""
    read = set[str]().union(*(_attributes(tree(path)) for path in modules))
    return {field.name for cls in classes_of(recipe) if is_dataclass(cls) for field in fields(cls)} - read


def classes_of(recipe: type[Any]) -> set[type[Any]]:
    """The recipe, its parts, and the dataclasses that its keys hold."""
    found = set(recipe.__mro__) - {object}
    inner = [schema.dataclass_in(hint) for hint in schema._hints(recipe).values()]
    return found.union(*(classes_of(cls) for cls in inner if cls is not None))


def _attributes(node: ast.AST) -> set[str]:
    found: set[str] = set()
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef) and child.name in CHECKS:
            continue
        if isinstance(child, ast.Attribute) and isinstance(child.ctx, ast.Load):
            found.add(child.attr)
        found |= _attributes(child)
    return found


def closure(stage: str) -> list[Path]:
    """The files that a stage is made of, lazily imported ones included."""
    return [path for name in lock.closure([STAGES[stage]]) if (path := lock.file_of(name)) is not None]


@pytest.mark.parametrize("stage", STAGES)
def test_every_key_is_read_by_the_code_of_its_own_stage(stage: str) -> None:
    left = unread(stage_module(stage).Recipe, closure(stage))
    assert not left, f"no code of `{stage}` reads {', '.join(sorted(left))}"


def test_every_circumstance_is_read_by_some_code() -> None:
    left = unread(Runtime, sources("stages"))
    assert not left, f"no code reads {', '.join(sorted(left))} of `runtime`"


@dataclass(frozen=True, kw_only=True)
class Planted(prepare.Recipe):
    """A recipe with a key that other stages read, and its own does not."""

    learning_rate: float = 1.0


def test_a_key_that_only_other_stages_read_is_dead() -> None:
    assert unread(Planted, closure("prepare")) == {"learning_rate"}
    assert not unread(Planted, sources("stages")), "over all stages its name is read somewhere"


@pytest.mark.parametrize("stage", STAGES)
def test_every_key_says_what_it_means(stage: str) -> None:
    module = stage_module(stage)
    bare = [key.key for key in schema.describe(module.Recipe) + schema.describe(Runtime) if not key.doc]
    assert not bare, f"no words beneath {', '.join(bare)} of `{stage}`"


PLANNED = re.compile(r"```text\n\$ r1 (plan [^\n]*)\n(.*?)```", re.DOTALL)
SCALES = [path for path in sorted((ROOT / "recipes").glob("*/README.md")) if PLANNED.search(path.read_text("utf-8"))]


@pytest.mark.parametrize("readme", SCALES, ids=lambda path: path.parent.name)
def test_the_readme_of_a_scale_shows_what_r1_plan_prints(
    readme: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("R1_HOME", str(tmp_path))
    for words, shown in PLANNED.findall(readme.read_text(encoding="utf-8")):
        assert run(words.split()) == 0
        printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
        start = next(number for number, line in enumerate(printed) if line.startswith("on "))
        assert shown.splitlines() == printed[start:], f"paste what `r1 {words}` prints from `on …` on"


def test_every_scale_has_a_readme_with_a_plan_and_a_pipeline_or_is_the_paper() -> None:
    scales = {"llama3.1-8b", "qwen2.5-1.5b", "qwen2.5-7b", "qwen3-8b", "smollm2-135m"}
    assert {path.parent.name for path in SCALES} == scales | {"paper"}
    assert all((ROOT / "recipes" / name / "pipeline.yaml").is_file() for name in scales)
