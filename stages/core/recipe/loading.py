"""Recipes and pipelines: from YAML and `key=value` to typed settings that know where each value came from.

What enters: a path or the name of a bundled recipe, and overrides. What leaves: a `Loaded`, one use of a stage with
everything decided but its inputs looked up. `extends` names one parent; maps merge, lists and values replace; nothing
else is magic. In a pipeline, `recipe: file.yaml` on a node is short for `extends: file.yaml`.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, get_args, get_type_hints

from stages.core.artifact import Artifact, InputKind
from stages.core.errors import MissingError, RecipeError, nearest
from stages.core.fingerprint import default_of, plain
from stages.core.recipe import schema
from stages.core.recipe.schema import REQUIRED, Key
from stages.core.recipe.seeds import for_each_seed
from stages.core.recipe.yamlfile import COMMAND_LINE, Entry, merge, parse, read_file
from stages.core.run.runtime import Runtime

_TOP = ("extends", "stage", "name", "inputs", "recipe", "runtime")
_SECTIONS = ("recipe", "inputs", "runtime")
LAUNCH = "launch"
"""The folder of bundled files that launchers read, and no recipe."""


@dataclass(frozen=True)
class Loaded:
    """One use of a stage: what to do, with what, and where each value was written."""

    stage: str
    """Key of STAGES."""
    name: str
    """Name of the artifact to be; in a pipeline, of the node."""
    recipe: Any
    """The stage's own Recipe."""
    inputs: dict[str, str]
    """Input key -> address, source, path or, in a pipeline, the name of an earlier node."""
    runtime: Runtime = field(default_factory=Runtime)
    origins: dict[str, str] = field(default_factory=dict)
    """`recipe.learning_rate` -> file:line, `default` or `command line`."""
    path: Path | None = None
    """The recipe file; None when there is none."""
    comments: dict[str, str] = field(default_factory=dict)
    """`recipe.learning_rate` -> the comment behind the value."""


Node = Loaded
"""A pipeline's node is a loaded recipe whose inputs may name earlier nodes."""


def load(
    source: str | Path | None, stage: str | None = None, overrides: Sequence[str] = (), name: str | None = None
) -> Loaded:
    """One recipe, from a file or a bundled recipe's name (`r1_zero`, `paper/r1_zero`).

    None stands for the bundled recipe that is named as the stage, where there is one, else for the defaults alone.

    `overrides` are `key=value`, where a bare key means `recipe.key`. The name is `name`, else the recipe's `name:`,
    else the file's stem. Raises MissingError for an unknown recipe and RecipeError, with file and line, for a wrong
    one.
    """
    source = source or bundled().get(stage or "")
    path = None if source is None else find_recipe(source)
    tree = Entry({}) if path is None else _read_chain(path, ())
    stage = _stage_of(tree, stage, path)
    for override in overrides:
        tree = merge(tree, _override(override, stage))
    return _assemble(tree, stage, path, name)


def load_pipeline(path: str | Path, overrides: Sequence[str] = ()) -> list[Loaded]:
    """The nodes of a pipeline in reading order.

    Overrides are `node.key=value`, `node.inputs.key=value`, `node.runtime.key=value`, or `runtime.key=value` for every
    node. A node whose name holds `{seed}` is there once for each of `seeds:`. Raises RecipeError when a node takes its
    input from itself or from a later node.
    """
    tree = _pipeline_tree(path)
    entries = for_each_seed(_part(tree, "nodes"), tree.value.get("seeds") if isinstance(tree.value, dict) else None)
    if not entries:
        raise RecipeError("the pipeline has no `nodes:`", where=tree.where, hint="`r1 recipes list` shows pipelines")
    by_node = _overrides_by_node(overrides, list(entries))
    nodes: list[Loaded] = []
    for name, entry in entries.items():
        node = _load_node(name, entry, by_node[name])
        for key, text in node.inputs.items():
            if text in entries and text not in [earlier.name for earlier in nodes]:
                what = f"`{name}` takes `{key}` from `{text}`, which does not come before it"
                hint = f"move `{text}` above `{name}`: nodes are built in reading order"
                raise RecipeError(what, where=node.origins[f"inputs.{key}"], hint=hint)
        nodes.append(node)
    return nodes


def claims_file(path: str | Path) -> Path | None:
    """The file of claims a pipeline names (`claims:`, relative to the pipeline's file); None when it names none.

    Raises MissingError when that file is not there.
    """
    entry = _section(_pipeline_tree(path), "claims")
    return None if entry.value == {} or entry.is_null else _relative(entry)


def resolved(loaded: Loaded) -> dict[str, Any]:
    """Everything as one plain dict {stage, name, inputs, recipe, runtime}; written as YAML it loads to the same."""
    return {
        "stage": loaded.stage,
        "name": loaded.name,
        "inputs": dict(loaded.inputs),
        "recipe": schema.values(loaded.recipe),
        "runtime": plain(loaded.runtime),
    }


def keys(stage: str) -> list[Key]:
    """Every key a recipe of this stage may set, as (key, type, default, doc); `inputs.` and `runtime.` come last."""
    module = stage_module(stage)
    inputs = [key._replace(key=f"inputs.{key.key}") for key in schema.describe(module.Inputs, nested=False)]
    runtime = [key._replace(key=f"runtime.{key.key}") for key in schema.describe(Runtime)]
    return schema.describe(module.Recipe) + inputs + runtime


def input_kinds(stage: str) -> dict[str, InputKind]:
    """Input key -> the kinds it may be and whether it is required, read from the annotations of the stage's Inputs."""
    inputs = stage_module(stage).Inputs
    hints = get_type_hints(inputs)
    found: dict[str, InputKind] = {}
    for each in dataclasses.fields(inputs):
        hint = hints[each.name]
        parts = (hint, *get_args(hint))
        kinds = tuple(part for part in parts if isinstance(part, type) and issubclass(part, Artifact))
        found[each.name] = InputKind(kinds, default_of(each) is dataclasses.MISSING)
    return found


def stage_module(stage: str) -> ModuleType:
    """The module of a stage; raises RecipeError for a stage nobody knows."""
    from stages import STAGES

    if stage not in STAGES:
        hint = f"{nearest(stage, STAGES)}All stages: {', '.join(STAGES)}"
        raise RecipeError(f"unknown stage `{stage}`", hint=hint)
    return importlib.import_module(STAGES[stage])


def recipes_dir() -> Path:
    """The folder of bundled recipes: `recipes/` of a checkout, else the package r1cli.recipes of the installation."""
    root = Path(__file__).resolve().parents[3]
    if (root / "recipes").is_dir() and any((root / mark).exists() for mark in ("pyproject.toml", ".git")):
        return root / "recipes"
    from importlib.resources import files

    try:
        return Path(str(files("r1cli.recipes")))
    except ModuleNotFoundError as error:
        hint = "install it again: `pip install --force-reinstall r1`"
        raise MissingError("the bundled recipes are missing from this installation", hint=hint) from error


def bundled() -> dict[str, Path]:
    """Name (`r1_zero`, `paper/r1_zero`) -> file of every bundled recipe and pipeline, by name."""
    root = recipes_dir()
    found = [path for path in sorted(root.rglob("*.yaml")) if path.parent.name != LAUNCH]
    return {path.relative_to(root).with_suffix("").as_posix(): path for path in found}


def find_recipe(source: str | Path) -> Path:
    """The file of a path or of a bundled recipe's name; raises MissingError with the nearest name."""
    path = Path(source).expanduser()
    if path.is_file():
        return path
    name = str(source).removeprefix("recipes/").removesuffix(".yaml")
    known = bundled()
    if name in known:
        return known[name]
    raise MissingError(f"no recipe `{source}`", hint=f"{nearest(name, known)}All recipes: `r1 recipes list`")


def _read_chain(path: Path, below: tuple[Path, ...]) -> Entry:
    here = path.resolve()
    tree = read_file(path, shown_path(path))
    mine = dict(tree.value) if isinstance(tree.value, dict) else {}
    parent = mine.pop("extends", None)
    own = dataclasses.replace(tree, value=mine)
    if parent is None:
        return own
    file = _relative(parent)
    if here == file.resolve() or file.resolve() in below:
        raise RecipeError(f"`extends` goes round in a circle through `{parent.value}`", where=parent.where)
    return merge(_read_chain(file, (*below, here)), own)


def _pipeline_tree(path: str | Path) -> Entry:
    tree = _read_chain(find_recipe(path), ())
    _check_top(tree, ("extends", "nodes", "seeds", "claims"), "a pipeline")
    return tree


def _relative(entry: Entry) -> Path:
    """The file an `extends`, a node's `recipe` or `claims` names: relative to its own file, else a bundled recipe."""
    if not isinstance(entry.value, str) or entry.is_null:
        raise RecipeError(f"this should name one recipe file, not {entry.shown}", where=entry.where)
    path = (entry.folder or Path()) / Path(entry.value).expanduser()
    if path.is_file():
        return path
    try:
        return find_recipe(entry.value)
    except MissingError as error:
        raise MissingError(error.what, hint=error.hint, where=entry.where) from error


def _stage_of(tree: Entry, asked: str | None, path: Path | None) -> str:
    _check_top(tree, _TOP, "a recipe")
    written = _part(tree, "stage", scalar=True)
    entry = tree.value.get("stage") if isinstance(tree.value, dict) else None
    where = entry.where if entry else tree.where
    if asked and written and asked != written:
        hint = f"run it as `r1 {written}`, or choose another recipe: `r1 recipes list`"
        raise RecipeError(f"this recipe is for the stage `{written}`, not `{asked}`", where=where, hint=hint)
    stage = asked or written
    if not stage:
        raise RecipeError("the recipe does not name its `stage:`", where=str(path or ""), hint="add e.g. `stage: rl`")
    try:
        stage_module(stage)
    except RecipeError as error:
        raise RecipeError(error.what, hint=error.hint, where=where) from error
    return stage


def _override(text: str, stage: str) -> Entry:
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not key:
        hint = f"e.g. learning_rate=1e-6 or inputs.model=base@1; {_ask(stage)}"
        raise RecipeError(f"`{text}` is not key=value", where=COMMAND_LINE, hint=hint)
    section, dot, rest = key.partition(".")
    if section not in _SECTIONS or not dot:
        section, rest = "recipe", key
    if section == "inputs":  # a path may hold anything, so nothing but null is read as YAML
        return _wrap("inputs", _wrap(rest, Entry(value, COMMAND_LINE, quoted=value not in ("", "null"))))
    leaf = dataclasses.replace(parse(value, COMMAND_LINE), where=COMMAND_LINE, note="")
    cls = Runtime if section == "runtime" else stage_module(stage).Recipe
    head = rest.partition(".")[0]
    if section == "recipe" and head not in {each.name for each in dataclasses.fields(cls)}:
        error = schema.unknown_key(rest, cls, COMMAND_LINE, _ask(stage))
        elsewhere = nearest(f"runtime.{rest}", [each.key for each in keys(stage)])
        error.hint = error.hint if error.hint.startswith("did") else elsewhere + error.hint
        raise error
    return _wrap(section, schema.nest(cls, rest, leaf))


def _assemble(tree: Entry, stage: str, path: Path | None, name: str | None) -> Loaded:
    from stages.core.storage.store import check_name

    module, ask = stage_module(stage), _ask(stage)
    recipe = schema.build(module.Recipe, _section(tree, "recipe"), "", None, ask)
    runtime = schema.build(Runtime, _section(tree, "runtime"), "runtime", None, ask)
    inputs = _inputs(tree, stage)
    name = name or _part(tree, "name", scalar=True) or (path.stem if path else stage)
    origins: dict[str, str] = {}
    comments: dict[str, str] = {}
    for section, value in (("inputs", inputs), ("recipe", schema.values(recipe)), ("runtime", plain(runtime))):
        _trace(value, _section(tree, section), section, (origins, comments))
    return Loaded(stage, check_name(name), recipe, inputs, runtime, origins, path, comments)


def _inputs(tree: Entry, stage: str) -> dict[str, str]:
    known = input_kinds(stage)
    found: dict[str, str] = {}
    for key, entry in _part(tree, "inputs").items():
        if key not in known:
            hint = f"{nearest(key, known)}It takes: {', '.join(known) or 'none'}"
            raise RecipeError(f"unknown input `{key}` of the stage `{stage}`", where=entry.where, hint=hint)
        if entry.is_null:
            if known[key].required and entry.where == COMMAND_LINE:
                what = f"`{stage}` cannot do without the input `{key}` ({known[key].said})"
                raise RecipeError(what, where=COMMAND_LINE, hint=f"leave inputs.{key} out, or give an address")
            continue
        if not isinstance(entry.value, str):
            what = f"`inputs.{key}` should be one address, path or source, not {entry.shown}"
            raise RecipeError(what, where=entry.where, hint="e.g. base@1, world:train or data.jsonl")
        found[key] = entry.value
        if entry.folder is not None and entry.value.startswith(("./", "../")):
            found[key] = os.path.normpath(entry.folder.absolute() / entry.value)  # as `extends` is
    return found


def _load_node(name: str, entry: Entry, overrides: list[str]) -> Loaded:
    _check_top(entry, ("extends", "stage", "recipe", "inputs", "runtime"), f"the node `{name}`")
    mine = dict(entry.value) if isinstance(entry.value, dict) else {}
    parent = mine.pop("extends", None)
    written = mine.get("recipe")
    if written is not None and isinstance(written.value, str) and not written.is_null:
        if parent is not None:
            raise RecipeError("`recipe: file` and `extends:` say the same thing", where=parent.where, hint="keep one")
        parent = mine.pop("recipe")
    path = _relative(parent) if parent is not None else None
    tree = merge(_read_chain(path, ()) if path else None, dataclasses.replace(entry, value=mine))
    stage = _stage_of(tree, None, path)
    for override in overrides:
        tree = merge(tree, _override(override, stage))
    return _assemble(tree, stage, path, name)


def _overrides_by_node(overrides: Sequence[str], names: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {name: [] for name in names}
    for text in overrides:
        key = text.partition("=")[0]
        name = max((name for name in names if key.startswith(f"{name}.")), key=len, default=None)
        if name is not None:
            found[name].append(text[len(name) + 1 :])
        elif key.startswith("runtime."):
            for each in found.values():
                each.append(text)
        else:
            hint = f"{nearest(key.partition('.')[0], names)}Write node.key=value; nodes: {', '.join(names)}"
            raise RecipeError(f"`{text}` does not say which node it is for", where=COMMAND_LINE, hint=hint)
    return found


def _check_top(tree: Entry, allowed: tuple[str, ...], what: str) -> None:
    if not isinstance(tree.value, dict):
        raise RecipeError(f"{what} should be a map, not {tree.shown}", where=tree.where)
    for key, entry in tree.value.items():
        if key not in allowed:
            hint = f"{nearest(key, allowed)}It holds {', '.join(allowed)}; a stage's own keys go under `recipe:`"
            raise RecipeError(f"unknown key `{key}` in {what}", where=entry.where, hint=hint)


def _section(tree: Entry, key: str) -> Entry:
    found = tree.value.get(key) if isinstance(tree.value, dict) else None
    return found if found is not None else Entry({}, tree.where)


def _part(tree: Entry, key: str, *, scalar: bool = False) -> Any:
    """The map (or, with `scalar`, the text) beneath a top key; empty when it is absent or null."""
    entry = _section(tree, key)
    if entry.is_null or entry.value == {}:
        return "" if scalar else {}
    if not isinstance(entry.value, str if scalar else dict):
        raise RecipeError(f"`{key}` should be {'text' if scalar else 'a map'}, not {entry.shown}", where=entry.where)
    return entry.value


def _trace(value: Any, entry: Entry | None, key: str, found: tuple[dict[str, str], dict[str, str]]) -> None:
    """Fills in (origins, comments) for a plain value and the entry it came from (None = a default)."""
    if entry is not None and entry.note:
        found[1][key] = entry.note
    if not isinstance(value, dict) or not value:
        if "." in key:  # an empty section has no origin
            found[0][key] = entry.where if entry is not None else "default"
        return
    written = entry.value if entry is not None and isinstance(entry.value, dict) else {}
    for name, item in value.items():
        _trace(item, written.get(name), f"{key}.{name}", found)


def _wrap(key: str, entry: Entry) -> Entry:
    return Entry({key: entry}, entry.where)


def _ask(stage: str) -> str:
    return f"All keys: `r1 recipes keys {stage}`"


def shown_path(path: Path) -> str:
    """A path as people know it: relative to where they are, else to the bundled recipes."""
    here = path.absolute()
    for root in (Path.cwd(), recipes_dir().parent):
        if here.is_relative_to(root):
            return here.relative_to(root).as_posix()
    return str(path)


__all__ = [
    "REQUIRED",
    "Key",
    "Loaded",
    "Node",
    "bundled",
    "claims_file",
    "find_recipe",
    "input_kinds",
    "keys",
    "load",
    "load_pipeline",
    "recipes_dir",
    "resolved",
    "shown_path",
    "stage_module",
]
