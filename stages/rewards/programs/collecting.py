"""The tests of a file as unittest and pytest have it: parsed sources enter, with one more for every test they define.

Sets store whole test files: functions `test…`, classes `Test…`, `unittest.TestCase`. Each function and method is a test
of its own here, run by `pytest_standin.run_test`; what surrounds them prepares. A runner that the file starts itself at
its end is left out. What needs the program in one process with the tests (mocks, files) is named: no verdict.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

RUN = "_run_test_"
"""The name under which the lines that are added call `run_test`."""
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_CASES = ("TestCase", "IsolatedAsyncioTestCase")
_RUNNERS = ("unittest.main", "pytest.main", "unittest.TextTestRunner")
_GIVEN, _PRINTED = ("sys.stdin", "builtins.input", "builtins.print"), ("sys.stdout", "sys.stderr")
_HEARD = ("logging", "warnings")
_REDIRECTS = {"redirect_stdout": "sys.stdout", "redirect_stderr": "sys.stderr"}
_REDIRECTS |= {
    "assertLogs": "logging",
    "assertNoLogs": "logging",
    "assertWarns": "warnings",
    "assertWarnsRegex": "warnings",
}
_ONCE, _UNKNOWN = ("setUpModule", "setup_module"), ("setup_function", "teardown_function", "load_tests")
_FILES = re.compile(r"open|io\.open|tempfile\.\w+|NamedTemporaryFile|TemporaryDirectory|mkdtemp|mkstemp")


class Test(NamedTuple):
    """A source that is run as a test, or that prepares, and what to call it where it fails."""

    tree: ast.Module
    name: str


def collected(trees: list[ast.Module]) -> list[Test]:
    """Return all sources in their order, each followed by one for every test that it defines and nothing calls."""
    for tree in trees:
        tree.body = [node for node in tree.body if not _starts_a_runner(node)]
    called = {node.func.id for node in _nodes(trees) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    classes = {node.name: node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)}
    functions = [node for tree in trees for node in tree.body if isinstance(node, _FUNCTIONS)]
    fixtures = [node.name for node in functions if _is_fixture(node)]
    found: list[Test] = []
    for place, tree in enumerate(trees, start=1):
        found.append(Test(tree, f"test {place}"))
        names = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
        found += [Test(ast.parse(f"{name}()"), name) for name in _ONCE if name in names and not names[name].args.args]
        for node in tree.body:
            if not isinstance(node, (*_FUNCTIONS, ast.ClassDef)) or node.name in called or _is_fixture(node):
                continue
            for method in _methods(node, classes) if isinstance(node, ast.ClassDef) else _itself(node):
                line = f"{RUN}({node.name}, {method!r}, [{', '.join(fixtures)}])"
                found.append(Test(ast.parse(line), f"{node.name}.{method}" if method else node.name))
    return found


def runner(trees: Iterable[ast.Module]) -> str:
    """Return the test runner that the tests start themselves (`unittest.main()`) other than at their end, or ""."""
    calls = (node for node in _nodes(trees) if isinstance(node, ast.Call))
    return next((f"{name}()" for call in calls if (name := ast.unparse(call.func)) in _RUNNERS), "")


def replaced(trees: list[ast.Module]) -> str:
    """Return what the tests put in the place of something (`sys.stdin`; `sys.stdout` that they read; whatever a mock
    patches) to meet a program in the same process, or ""."""
    nodes = list(_nodes(trees))
    reads = any(isinstance(node, ast.Attribute) and node.attr in ("getvalue", "read") for node in nodes)
    mocks = any(isinstance(node, ast.alias) and node.name in ("unittest.mock", "mock", "patch") for node in nodes)
    found = {name for node in nodes if (name := _replaces(node))}
    given = {*_GIVEN, *_HEARD, *(_PRINTED if reads else ())}
    return min((name for name in found if name in given or mocks), default="")


def unknown(trees: list[ast.Module]) -> str:
    """Return a function by which a file of tests arranges more than is done for it here, or ""."""
    return next((node.name for node in _nodes(trees) if isinstance(node, _FUNCTIONS) and node.name in _UNKNOWN), "")


def files(trees: list[ast.Module]) -> str:
    """Return the call by which the tests make or read a file, which the program would not find, or ""."""
    calls = (ast.unparse(node.func) for node in _nodes(trees) if isinstance(node, ast.Call))
    return next((call for call in calls if _FILES.fullmatch(call)), "")


def _methods(node: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> list[str]:
    """The tests of a class, those of its bases among them; none of a class that is no class of tests."""
    line = list(_bases(node, classes))
    names = {base.rpartition(".")[2] for each in line for base in map(ast.unparse, each.bases)}
    if not names & set(_CASES) and not node.name.startswith("Test"):
        return []
    tests = [each for kind in line for each in kind.body if isinstance(each, _FUNCTIONS)]
    if not names & set(_CASES) and any(each.name == "__init__" for each in tests):
        return []
    return list(dict.fromkeys(each.name for each in tests if each.name.startswith("test") and not _is_skipped(each)))


def _bases(node: ast.ClassDef, classes: dict[str, ast.ClassDef], depth: int = 0) -> Iterator[ast.ClassDef]:
    """A class and those of its bases that the tests define."""
    yield node
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id in classes and depth < 20:
            yield from _bases(classes[base.id], classes, depth + 1)


def _itself(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """A function that is a test has no method."""
    return [""] if node.name.startswith("test") and not _is_skipped(node) else []


def _is_fixture(node: ast.AST) -> bool:
    return isinstance(node, _FUNCTIONS) and any(name.endswith("fixture") for name in _decorators(node))


def _is_skipped(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(name.split(".")[-1] == "skip" for name in _decorators(node))


def _decorators(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    return [ast.unparse(each.func if isinstance(each, ast.Call) else each) for each in node.decorator_list]


def _starts_a_runner(node: ast.stmt) -> bool:
    """Whether a statement at the top level does nothing but start a runner, under `if __name__ == …` or not."""
    if isinstance(node, ast.If):
        guard = "__name__" in {each.id for each in ast.walk(node.test) if isinstance(each, ast.Name)}
        return guard and bool(runner([ast.Module(node.body, [])]))
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and bool(runner([ast.Module([node], [])]))


def _replaces(node: ast.AST) -> str:
    """The name of what a node sets, patches or redirects; "" for anything else."""
    if (
        isinstance(node, ast.Call)
        and ast.unparse(node.func).endswith(("patch", "setattr", "patch.object"))
        and node.args
    ):
        target = node.args[0]
        return str(target.value) if isinstance(target, ast.Constant) else ast.unparse(target)
    if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
        return ast.unparse(node)
    if isinstance(node, ast.alias):
        return _REDIRECTS.get(node.name, "")
    name = node.attr if isinstance(node, ast.Attribute) else ""
    return _REDIRECTS.get(name, "")


def _nodes(trees: Iterable[ast.Module]) -> Iterator[ast.AST]:
    return (node for tree in trees for node in ast.walk(tree))
