"""Whose is a name in assert tests, the tests' or the program's? Parsed tests enter, the answer for each name leaves.

It matters, because what is the program's sees its arguments: were `math` or `Counter` taken from the program, its own
`isclose` would compare the values. So Python's builtins, the standard library's modules and its common functions are
Python's wherever the tests name something else that must be the program's. Where they do not (a problem that asks for
`sum` or `gcd`), the one such name that every test calls and the program defines is what it was asked for.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import sys
from collections.abc import Iterable
from functools import cache
from typing import Any

_LIBRARY = ("math", "collections", "itertools", "functools", "copy", "fractions", "decimal", "datetime", "operator")
_ABSENT = {"np": "numpy", "pd": "pandas"} | {name: name for name in ("numpy", "pandas", "scipy", "torch", "sympy")}
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)


def tests_something(tree: ast.Module) -> bool:
    """Say whether a source tests: outside of definitions it asserts, raises, opens a `with`, or calls `check…` or
    `test…`. The rest are lines that prepare."""
    rest = [statement for statement in tree.body if not isinstance(statement, _DEFINITIONS)]
    if any(isinstance(node, ast.Assert | ast.Raise | ast.With) for each in rest for node in ast.walk(each)):
        return True
    calls = [each.value.func for each in rest if isinstance(each, ast.Expr) and isinstance(each.value, ast.Call)]
    return any(isinstance(called, ast.Name) and called.id.startswith(("check", "test")) for called in calls)


def missing(trees: Iterable[ast.Module]) -> str:
    """Return an outside library that the tests use without importing it, or ""."""
    return next((_ABSENT[name] for name in sorted(set().union(*map(_free, trees))) if name in _ABSENT), "")


def askable(trees: list[ast.Module]) -> frozenset[str]:
    """Return the names of which one must be the program's although Python has it too; empty where the tests name
    something that only the program can have."""
    defined = set().union(*map(_defined, trees))
    testing = [tree for tree in trees if tests_something(tree)]
    free = set().union(*map(_free, trees)) - defined
    if not testing or any(python_s(name) is None for name in free):
        return frozenset()
    return frozenset(set.intersection(*(_called(tree) for tree in testing)) - defined)


def python_s(name: str) -> tuple[Any] | None:
    """Return what Python itself means by a name (builtin, module, common function) as a tuple of one, else None;
    `pytest` is the stand-in (`code_pytest.py`) where the tests run."""
    if hasattr(builtins, name):
        return (getattr(builtins, name),)
    if name in sys.stdlib_module_names or name == "pytest":
        return (importlib.import_module(name),)
    return (_library()[name],) if name in _library() else None


@cache
def _library() -> dict[str, Any]:
    modules = [importlib.import_module(name) for name in _LIBRARY]
    return {name: value for each in modules for name, value in vars(each).items() if not name.startswith("_")}


def _free(tree: ast.Module) -> set[str]:
    """The names a source reads and does not define."""
    read = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    return read - _defined(tree)


def _called(tree: ast.Module) -> set[str]:
    called = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return {each.id for each in called if isinstance(each, ast.Name)}


def _defined(tree: ast.Module) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            found.add(node.id)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {(each.asname or each.name).split(".")[0] for each in node.names}
        elif isinstance(node, ast.ExceptHandler) and node.name:
            found.add(node.name)
    return found
