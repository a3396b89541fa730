"""Imports flow one way: r1cli -> stages -> policy -> rewards -> core; heavy libraries stay in the machine room."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

from stages import STAGES
from tests.house.rooms import ROOT, Import, circles, dotted, imports, module_of, sources, tree

HEAVY = {"torch", "transformers", "trl", "peft", "accelerate", "vllm", "datasets"}
# What each room may import of the project's own; the longest matching room speaks for a file.
MAY_IMPORT = {
    "r1cli": ("r1cli", "stages"),
    "stages": ("stages",),
    "stages.policy": ("stages.policy", "stages.rewards", "stages.core"),
    "stages.rewards": ("stages.rewards", "stages.core"),
    "stages.core": ("stages.core",),
    "stages.world": ("stages.world", "stages.policy", "stages.rewards", "stages.core"),
    "stages.report": ("stages.report", "stages.rewards", "stages.core"),
    "stages.study": ("stages.study", "stages.rewards", "stages.core"),
}
# Inside functions only: the foundation looks up what a name stands for without depending on it.
LOOKUPS = {
    "stages.core": ("stages.STAGES", "stages.rewards"),
}


def room(module: str) -> str:
    return max((name for name in MAY_IMPORT if module == name or module.startswith(name + ".")), key=len)


def within(name: str, rooms: tuple[str, ...]) -> bool:
    return any(name == each or name.startswith(each + ".") for each in rooms)


def allowed(module: str, seen: Import) -> bool:
    if within(seen.name, MAY_IMPORT[room(module)]):
        return True
    lookups = LOOKUPS.get(room(module), ()) + LOOKUPS.get(module, ())
    return not seen.eager and within(seen.name, lookups)


def test_imports_flow_one_way() -> None:
    wrong = [
        f"{path}:{seen.line} imports {seen.name}"
        for path in sources("r1cli", "stages")
        for seen in imports(path)
        if within(seen.name, ("r1cli", "stages")) and not allowed(dotted(path), seen)
    ]
    assert not wrong, "\n".join(wrong)


def test_mathematics_has_one_door() -> None:
    """Nothing of the folder but what its __init__ names is imported, asked for by attribute, or named, outside it."""
    door = "stages.rewards.mathematics"
    named = {*importlib.import_module(door).__all__}
    wrong = []
    for path in sources("r1cli", "stages"):
        if within(dotted(path), (door,)):
            continue
        inside = [seen.name for seen in imports(path) if seen.name.startswith(door + ".")]
        asked = [
            node.attr
            for node in ast.walk(tree(path))
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "mathematics"
        ]
        wrong += [f"{path}: {name}" for name in (*(one.removeprefix(door + ".") for one in inside), *asked)]
    assert not [one for one in wrong if one.partition(": ")[2] not in named]


def test_no_stage_imports_a_stage() -> None:
    wrong = [
        f"{path}:{seen.line} imports {seen.name}"
        for path in (Path(*module.split(".")).with_suffix(".py") for module in STAGES.values())
        for seen in imports(path)
        if module_of(seen.name) in STAGES.values()
    ]
    assert not wrong, "\n".join(wrong)


def test_no_module_imports_itself_through_others() -> None:
    edges: dict[str, set[str]] = {}
    for path in sources("r1cli", "stages"):
        named = {module_of(seen.name) for seen in imports(path)} - {None, dotted(path)}
        edges[dotted(path)] = {name for name in named if name is not None}
    found = circles(edges)
    assert not found, "\n".join(" <-> ".join(each) for each in found)


def test_a_circle_is_seen_however_long_it_is() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}, "e": {"e"}}) == [["a", "b", "c"]]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_an_import_for_the_type_checker_alone_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text("if TYPE_CHECKING:\n    from stages.rl import Recipe\nelse:\n    import json\n", encoding="utf-8")
    seen = [(each.name, each.line, each.eager, each.typing) for each in imports(file)]
    assert seen == [("stages.rl.Recipe", 2, False, True), ("json", 4, True, False)]


def test_nothing_under_stages_knows_the_command_line() -> None:
    wrong = [
        f"{path}:{seen.line} imports {seen.name}"
        for path in sources("stages")
        for seen in imports(path)
        if within(seen.name, ("typer", "click", "rich", "r1cli"))
    ]
    assert not wrong, "\n".join(wrong)


def test_foundation_rewards_and_report_never_import_torch() -> None:
    wrong = [
        f"{path}:{seen.line} imports {seen.name}"
        for path in sources("stages/core", "stages/rewards", "stages/report", "stages/study")
        for seen in imports(path)
        if within(seen.name, tuple(HEAVY - {"datasets"}))
    ]
    assert not wrong, "\n".join(wrong)


def test_a_stage_imports_the_machine_room_inside_run() -> None:
    wrong = [
        f"{path}:{seen.line} imports {seen.name} when it is itself imported"
        for path in (Path("stages") / each.name for each in (ROOT / "stages").glob("*.py"))
        for seen in imports(path)
        if seen.eager and within(seen.name, ("stages.policy", *HEAVY))
    ]
    assert not wrong, "\n".join(wrong)


def test_every_stage_reward_and_foundation_module_loads_without_torch() -> None:
    rooms = ("stages/core", "stages/rewards", "stages/report", "stages/study", "r1cli")
    light = [dotted(path) for path in sources(*rooms)]
    light += [dotted(Path("stages") / each.name) for each in (ROOT / "stages").glob("*.py")]
    light = [name for name in light if name != "r1cli.__main__"]
    program = f"import importlib, sys\nfor m in {light!r}: importlib.import_module(m)\nprint(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())


LAUNCHED = (
    "stages/core/run/beside.py",
    "stages/core/run/cluster.py",
    "stages/policy/ranks/process.py",
    *(f"stages/rewards/programs/sandbox_{name}.py" for name in ("runner", "server")),
)
"""What runs in processes of its own: ranks, what ends when its parent does, and what forks inside the sandbox."""


def test_stages_print_nothing_and_never_exit() -> None:
    leaving = ("print", "sys.exit", "exit", "quit", "os._exit")
    wrong = []
    for path in sources("stages"):
        if str(path) in LAUNCHED:
            continue
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in leaving:
                wrong.append(f"{path}:{node.lineno} calls {ast.unparse(node.func)}")
    assert not wrong, "\n".join(wrong)
