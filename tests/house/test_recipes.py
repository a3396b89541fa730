"""Every bundled recipe resolves, and every key that a recipe may set is read by some code."""

from __future__ import annotations

import ast
import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from r1cli.commands.recipes import is_claims, load_any
from stages import STAGES
from stages.core import schema
from stages.core.plan import plan
from stages.core.recipe import Loaded, bundled, input_kinds, stage_module
from stages.core.runtime import Runtime
from stages.core.store import Store
from tests.house.rooms import ROOT, dotted, sources, tree

YAML = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "recipes").rglob("*.y*ml"))


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


def reads() -> set[str]:
    """Every attribute that code under stages/ reads, outside the classes that only declare and check recipes."""
    found: set[str] = set()
    for path in sources("stages"):
        declaring = {id(each) for each in ast.walk(tree(path)) if _declares(each, path)}
        found |= _attributes(tree(path), declaring)
    return found


def _declares(node: ast.AST, path: Path) -> bool:
    declared = {("Recipe", dotted(Path(path))), ("Runtime", "stages.core.runtime")}
    parts = dotted(path) == "stages.core.parts"
    return isinstance(node, ast.ClassDef) and (parts or (node.name, dotted(path)) in declared)


def _attributes(node: ast.AST, left_out: set[int]) -> set[str]:
    found: set[str] = set()
    for child in ast.iter_child_nodes(node):
        if id(child) in left_out or (isinstance(child, ast.FunctionDef) and child.name in ("_check", "rules")):
            continue  # a range check alone does not use a value
        if isinstance(child, ast.Attribute) and isinstance(child.ctx, ast.Load):
            found.add(child.attr)
        found |= _attributes(child, left_out)
    return found


def keys_of(cls: type[Any]) -> list[str]:
    names: list[str] = []
    for field in fields(cls):
        inner = schema.dataclass_in(schema._hints(cls)[field.name])
        names.append(field.name)
        names += keys_of(inner) if inner is not None and is_dataclass(inner) else []
    return names


@pytest.mark.parametrize("stage", [*STAGES, "runtime"])
def test_every_key_is_read_by_some_code(stage: str) -> None:
    cls = Runtime if stage == "runtime" else stage_module(stage).Recipe
    unread = set(keys_of(cls)) - reads()
    assert not unread, f"no code reads {', '.join(sorted(unread))} of `{stage}`"


@pytest.mark.parametrize("stage", STAGES)
def test_every_key_says_what_it_means(stage: str) -> None:
    module = stage_module(stage)
    bare = [key.key for key in schema.describe(module.Recipe) + schema.describe(Runtime) if not key.doc]
    assert not bare, f"no words beneath {', '.join(bare)} of `{stage}`"
