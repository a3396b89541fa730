"""Rooms a reader can hold in mind: functions of 80 lines, files of 400, 6 parameters by place, 8 by name, and 9 MB."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

from tests.house.rooms import ROOT, sources, tree

CODE = sources("r1cli", "stages", "tests")
FUNCTION_LINES, FILE_LINES, FILE_BYTES = 80, 400, 9_000_000
BY_PLACE, BY_NAME = 6, 8
"""Parameters of a function: those that may be given by place, and those that must be given by name."""


def functions() -> list[tuple[Path, ast.FunctionDef | ast.AsyncFunctionDef]]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [(path, node) for path in CODE for node in ast.walk(tree(path)) if isinstance(node, kinds)]


def test_no_function_is_longer_than_80_lines() -> None:
    long = [
        f"{path}:{node.lineno} {node.name} has {(node.end_lineno or 0) - node.lineno + 1} lines"
        for path, node in functions()
        if (node.end_lineno or 0) - node.lineno + 1 > FUNCTION_LINES
    ]
    assert not long, "\n".join(long)


def test_no_file_is_longer_than_400_lines() -> None:
    counts = {path: len((ROOT / path).read_text(encoding="utf-8").splitlines()) for path in CODE}
    long = [f"{path} has {count} lines" for path, count in counts.items() if count > FILE_LINES]
    assert not long, "\n".join(long)


def test_no_function_takes_more_than_6_parameters_by_place_or_8_by_name() -> None:
    many = []
    for path, node in functions():
        placed = [one for one in (*node.args.posonlyargs, *node.args.args) if one.arg not in ("self", "cls")]
        if len(placed) > BY_PLACE or len(node.args.kwonlyargs) > BY_NAME:
            many.append(f"{path}:{node.lineno} {node.name} takes {len(placed)} and {len(node.args.kwonlyargs)}")
    assert not many, "\n".join(many)


def test_every_module_opens_with_what_it_is_for() -> None:
    bare = [str(path) for path in sources("r1cli", "stages") if not ast.get_docstring(tree(path))]
    assert not bare, "\n".join(bare)


def test_no_file_is_over_9_megabytes() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    names = [name for name in listed.stdout.split("\0") if name]
    big = [name for name in names if (ROOT / name).is_file() and (ROOT / name).stat().st_size > FILE_BYTES]
    assert not big, "\n".join(big)
