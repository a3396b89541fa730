"""The lock on stage versions: `python -m tests.house.lock [--neutral "why"]`.

What enters: the syntax trees of each stage and of every module of ours it imports, lazily or not, and the tables that
these read from their own package. What leaves: stage_versions.lock.json beside this file, with one hash for each of
those modules. Comments and docstrings do not count. When code changes, raise the stage's VERSION (old artifacts are
then rebuilt), or declare the change neutral: the same recipe on the same inputs still gives the same artifact.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stages import STAGES
from stages.rewards import declared
from tests.house.rooms import ROOT, imports, tree

LOCK = Path(__file__).with_name("stage_versions.lock.json")
IMPORT = "stages.core.run.sources"
"""Imports of outside things have a VERSION too; what they run begins at these modules."""
IMPORT_ROOTS = ("stages.policy.models.importing", "stages.world.sources")
ORACLE = "stages.world.oracle"
"""Recipes name its functions as labeller and reward, and fingerprints hold its VERSION."""
_TABLE = re.compile(r"[\w-][\w.-]*\.(?:toml|jsonl?)")
"""Data in a package that a module names: a change of it is a change of the module."""
_RAISE = "raise VERSION in {file}, then run `python -m tests.house.lock`"
_NEUTRAL = 'or, if the result is the same: `python -m tests.house.lock --neutral "why"`'


def current() -> dict[str, dict[str, Any]]:
    """Stage -> {"version", "modules": {module: sha256}} as the code stands; a stage without a file is left out."""
    found: dict[str, dict[str, Any]] = {}
    for stage, module in {**STAGES, "import": IMPORT, "oracle": ORACLE}.items():
        path = file_of(module)
        if path is not None:
            roots = [module] if stage != "import" else [root for root in IMPORT_ROOTS if file_of(root)]
            found[stage] = {"version": version_of(path), "modules": {name: digest(name) for name in closure(roots)}}
    return found


def changes(locked: dict[str, dict[str, Any]], now: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Stage -> what must be done, in one sentence, for every stage whose code no longer fits its locked version."""
    found: dict[str, str] = {}
    for stage, state in now.items():
        old = locked.get(stage)
        if old is None:
            found[stage] = f"`{stage}` is not in the lock: run `python -m tests.house.lock`"
        elif state["version"] > old["version"]:
            found[stage] = f"VERSION of `{stage}` was raised to {state['version']}: run `python -m tests.house.lock`"
        elif state["version"] < old["version"] or state["modules"] != old["modules"]:
            modules = {**old["modules"], **state["modules"]}
            differ = [name for name in modules if old["modules"].get(name) != state["modules"].get(name)]
            advice = _RAISE.format(file=file_of({**STAGES, "oracle": ORACLE}.get(stage, IMPORT)))
            found[stage] = f"`{stage}` changed ({', '.join(differ) or 'VERSION fell'}): {advice}, {_NEUTRAL}"
    return found


def read() -> dict[str, dict[str, Any]]:
    """The lock as it was last written; empty when there is none."""
    return json.loads(LOCK.read_text(encoding="utf-8")) if LOCK.is_file() else {}


def rewrite(neutral: str = "") -> list[str]:
    """Writes the lock for new stages and raised versions; with `neutral`, for every change. Returns what still stands.

    A neutral reason is kept beside the stage until its VERSION is raised.
    """
    locked, now = read(), current()
    standing: list[str] = []
    fresh: dict[str, dict[str, Any]] = {}
    for stage, state in now.items():
        old = locked.get(stage)
        said = changes({stage: old} if old else {}, {stage: state}).get(stage)
        if said and old and state["version"] <= old["version"]:
            if not neutral or state["version"] < old["version"]:
                standing.append(said)
                state = old
            else:
                state["neutral"] = neutral
        elif old and not said and "neutral" in old:
            state["neutral"] = old["neutral"]
        fresh[stage] = state
    LOCK.write_text(json.dumps(fresh, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return standing


def closure(roots: list[str]) -> list[str]:
    """All modules of `stages` that the roots import, directly or not, and the roots themselves; sorted."""
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        module = waiting.pop()
        path = file_of(module)
        if path is not None and module not in found:
            found.add(module)
            waiting += [name for name in _named(path) if name not in found]
    return sorted(found)


def digest(module: str) -> str:
    """sha256 of a module's syntax tree without docstrings and of the tables it names, as hex; the same under every
    Python."""
    path = file_of(module)
    assert path is not None
    found = hashlib.sha256(repr(_shape(tree(path))).encode())
    for table in _tables(path):
        found.update(table.read_bytes())
    return found.hexdigest()


def _tables(path: Path) -> list[Path]:
    """The tables beside a module, or in a folder beside it, that its code names: "lexicon.toml", "data" / "a.jsonl"."""
    said = {node.value for node in ast.walk(tree(path)) if isinstance(node, ast.Constant)}
    names = {name for name in said if isinstance(name, str) and _TABLE.fullmatch(name)}
    folder = ROOT / path.parent
    found = [file for name in names for file in (*folder.glob(name), *folder.glob(f"*/{name}"))]
    return sorted(file for file in found if file.parent == folder or file.parent.name in said)


def version_of(path: Path) -> int:
    """The VERSION a module assigns at its top, read without importing it; 0 when it has none."""
    for node in tree(path).body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["VERSION"]:
            return int(ast.literal_eval(node.value))
    return 0


def file_of(module: str) -> Path | None:
    """The file of a module of ours below the package `stages`, relative to the root; None for any other name."""
    if not module.startswith("stages."):
        return None  # stages/__init__.py only lists the stages
    stem = Path(*module.split("."))
    return next((path for path in (stem.with_suffix(".py"), stem / "__init__.py") if (ROOT / path).is_file()), None)


def _named(path: Path) -> Iterator[str]:
    """The modules of ours a file imports, launches or loads by name, save what only the type checker sees;
    `from stages.core.rows import Prompt` names the module only."""
    for each in imports(path):
        parts = each.name.split(".")
        names = [".".join(parts[:count]) for count in range(len(parts), 1, -1)]
        yield from [name for name in names if not each.typing and file_of(name) is not None]
    if path == Path("stages/rewards/registry.py"):
        yield from declared.modules()  # which it imports by what they declare
    for node in ast.walk(tree(path)):
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
            continue
        named = node.value.partition(":")[0]  # "stages.policy.models.importing", or with a class behind a colon
        if node.value.endswith(".py"):
            named = ".".join((path.parent / node.value).with_suffix("").parts)  # a worker beside the file
        yield from [named] if re.fullmatch(r"stages(\.\w+)+", named) and file_of(named) is not None else []


def _shape(node: Any) -> Any:
    """A syntax tree as nested tuples, without strings that stand alone (docstrings, the words beneath fields).

    Empty fields are left out, since each Python adds some; `ast.dump` would differ between versions.
    """
    if isinstance(node, ast.Constant):
        return ("Constant", type(node.value).__name__, repr(node.value))
    if isinstance(node, ast.AST):
        pairs = [(name, value) for name, value in ast.iter_fields(node) if value not in (None, [])]
        return (type(node).__name__, *((name, _shape(value)) for name, value in pairs))
    if isinstance(node, list):
        return tuple(_shape(item) for item in node if not _stands_alone(item))
    return repr(node)


def _stands_alone(node: Any) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def main(arguments: list[str]) -> int:
    """Rewrites the lock and prints what still stands in the way; 1 when something does."""
    if arguments and (arguments[0] != "--neutral" or len(arguments) != 2 or not arguments[1].strip()):
        print('usage: python -m tests.house.lock [--neutral "why the result is the same"]')
        return 2
    standing = rewrite(arguments[1].strip() if arguments else "")
    print("\n".join(standing) or f"{LOCK.relative_to(ROOT)} is up to date")
    return 1 if standing else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
