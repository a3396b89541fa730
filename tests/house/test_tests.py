"""The tests can fail: each holds something to its word, uses what it draws, and skips for no part of our own."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator

import pytest

from tests.house.rooms import ROOT, sources, tree

BITES = ("pytest.raises", "pytest.fail", "pytest.warns", "torch.testing.assert_close")
REQUIRED = ("stages", "r1cli", "tests")
"""Besides the dependencies of pyproject.toml: what no test may skip for, since nothing works without it."""


def asserting(function: ast.FunctionDef, helpers: dict[str, ast.FunctionDef], above: tuple[str, ...] = ()) -> bool:
    """Whether a function of a test file asserts something, itself or in a helper of the tests that it calls."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assert):
            return True
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            helper = helpers.get(name.rpartition(".")[2])
            if name in BITES or (helper and name not in above and asserting(helper, helpers, (*above, name))):
                return True
    return False


def drawn(function: ast.FunctionDef) -> Iterator[str]:
    """The arguments that `given` draws and that `parametrize` fills in."""
    names = [each.arg for each in function.args.args + function.args.kwonlyargs]
    for call in function.decorator_list:
        if isinstance(call, ast.Call) and ast.unparse(call.func).rpartition(".")[2] == "given":
            yield from (each.arg for each in call.keywords if each.arg)
            yield from names[len(names) - len(call.args) :]
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "pytest.mark.parametrize":
            given = ast.literal_eval(call.args[0])
            yield from (name.strip() for name in (given.split(",") if isinstance(given, str) else given))


def faults(module: ast.Module, beside: dict[str, ast.FunctionDef]) -> Iterator[str]:
    """What is wrong with the tests of one file, a line each; `beside` holds helpers that stand in other files."""
    functions = [node for node in ast.walk(module) if isinstance(node, ast.FunctionDef)]
    helpers = {**beside, **{each.name: each for each in functions}}
    for test in functions:
        if not test.name.startswith("test_"):
            continue
        if not asserting(test, helpers):
            yield f"{test.lineno} {test.name} asserts nothing"
        used = {node.id for line in test.body for node in ast.walk(line) if isinstance(node, ast.Name)}
        yield from (f"{test.lineno} {test.name} never uses `{name}`" for name in drawn(test) if name not in used)
        yield from (f"{line} {test.name} asserts a {what}" for line, what in empty(test))


def empty(test: ast.FunctionDef) -> Iterator[tuple[int, str]]:
    """Assertions that no code can break: of a constant, of a tuple in brackets, of a name against itself."""
    for node in ast.walk(test):
        if isinstance(node, ast.Assert) and isinstance(node.test, (ast.Constant, ast.Tuple, ast.JoinedStr)):
            yield node.lineno, "constant"
        if isinstance(node, ast.Assert) and isinstance(node.test, ast.Compare):
            sides = [node.test.left, *node.test.comparators]
            called = any(isinstance(each, ast.Call) for each in ast.walk(node.test))  # may differ from call to call
            if not called and len({ast.unparse(side) for side in sides}) == 1:
                yield node.lineno, "thing against itself"


@pytest.fixture(scope="module")
def helpers() -> dict[str, ast.FunctionDef]:
    """Functions of the tests that are no tests, by name."""
    found = [node for path in sources("tests") for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef)]
    return {each.name: each for each in found if not each.name.startswith("test_")}


def test_every_test_can_fail_and_uses_what_it_draws(helpers: dict[str, ast.FunctionDef]) -> None:
    found = [(path, fault) for path in sources("tests", "examples") for fault in faults(tree(path), helpers)]
    assert not found, "\n".join(f"{path}:{fault}" for path, fault in found)


def test_no_test_skips_for_want_of_what_is_always_there() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("[project.optional-dependencies]")[0]
    wrong = []
    for path in sources("tests", "examples"):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.importorskip":
                name = ast.literal_eval(node.args[0]).partition(".")[0]
                if name in REQUIRED or f'"{name.replace("_", "-")}>=' in project or f'"{name}==' in project:
                    wrong.append(f"{path}:{node.lineno} skips without {name}")
    assert not wrong, "\n".join(wrong)


def test_every_mark_that_is_declared_is_borne_by_a_test() -> None:
    options = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]
    borne = {ast.unparse(each) for path in sources("tests") for each in ast.walk(tree(path)) if _is_mark(each)}
    assert {f"pytest.mark.{mark.partition(':')[0]}" for mark in options["markers"]} <= borne


def _is_mark(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and ast.unparse(node.value) == "pytest.mark"


VACUOUS = """
@given(st.integers(), st.floats(0.5, 3))
def test_units(counts, unit):
    assert counts == counts

def helper():
    assert 1 + 1 == 2

def test_by_a_helper():
    helper()

@pytest.mark.parametrize(("a", "b"), [(1, 2)])
def test_nothing(a, b):
    print(a)

def test_a_tuple():
    assert (1 == 2, "never equal")
"""


def test_a_test_that_cannot_fail_is_found() -> None:
    assert list(faults(ast.parse(VACUOUS), {})) == [
        "3 test_units never uses `unit`",
        "4 test_units asserts a thing against itself",
        "13 test_nothing asserts nothing",
        "13 test_nothing never uses `b`",
        "17 test_a_tuple asserts a constant",
    ]
