"""Files of tests as unittest and pytest have them: each function and method counts, what needs one process is null."""

from __future__ import annotations

import ast

import pytest

from stages.rewards.programs.collecting import collected
from stages.rewards.verdict import Verdict
from tests.rewards.programs.test_asserts import judge

PROGRAM = """
def add(a, b):
    if a is None:
        raise ValueError("none")
    return a + b

class Stack:
    def __init__(self): self.items = []
    def push(self, x): self.items.append(x)
    def pop(self): return self.items.pop()

async def slow(x): return x
"""
UNITTEST = """
import unittest
from solution import add, Stack

class TestAdd(unittest.TestCase):
    def setUp(self): self.stack = Stack()
    def test_add(self): self.assertEqual(add(3, 4), 7)
    def test_none(self):
        with self.assertRaises(ValueError): add(None, 1)
    def test_stack(self):
        self.stack.push(5)
        self.assertEqual(self.stack.pop(), 5)
        for i in range(3):
            with self.subTest(i=i): self.assertAlmostEqual(add(i, 0.1), i + 0.1)
    @unittest.skip("not here")
    def test_skipped(self): self.fail()

class More(TestAdd):
    def test_more(self): self.assertIn(add(1, 1), [2])

if __name__ == "__main__":
    unittest.main()
"""
PYTEST = """
import pytest
from solution import *

@pytest.fixture
def stack():
    one = Stack()
    one.push(1)
    yield one

@pytest.fixture
def pair(stack): return stack, 2

def test_plain(): assert add(3, 4) == 7

@pytest.mark.parametrize("a, b, want", [(1, 2, 3), pytest.param(0, 1, 1, id="x")])
def test_many(a, b, want): assert add(a, b) == want

@pytest.mark.parametrize("a", [1, 2])
@pytest.mark.parametrize("b", [5])
def test_grid(a, b): assert add(a, b) == a + b

def test_fixture(pair, stack): assert pair[0] is stack and stack.pop() == 1

class TestMore:
    def setup_method(self): self.n = 2
    @pytest.fixture
    def own(self): return 5
    def test_n(self, own): assert add(self.n, own) == 7
    def test_raises(self):
        with pytest.raises(ValueError, match="none"): add(None, 1)

@pytest.mark.asyncio
async def test_slow(): assert await slow(3) == 3
"""


@pytest.mark.parametrize(("tests", "count", "passed"), [(UNITTEST, 7, 2), (PYTEST, 7, 3)], ids=["unittest", "pytest"])
def test_each_test_of_a_file_counts(tests: str, count: int, passed: int) -> None:
    assert judge(PROGRAM, tests) == Verdict(1.0, f"{count} of {count} tests pass")
    wrong = judge(PROGRAM.replace("a + b", "a - b"), tests)
    assert wrong.value == pytest.approx(passed / count) and "the assertion fails" in wrong.reason, wrong
    assert judge("import os, unittest, pytest\nos._exit(0)", tests).value == 0.0


def test_the_reason_names_the_test_or_what_could_not_be_prepared() -> None:
    assert "TestAdd.test_add: the assertion fails" in judge(PROGRAM.replace("+", "-"), UNITTEST).reason
    assert judge("x = 1", "from solution import add\ndef test_it(): assert add(1, 2) == 3").reason.endswith(
        "test 1: name 'add' is not defined"
    )


def test_a_test_of_a_file_that_never_ends_fails_alone() -> None:
    file = "def test_a(): assert f(1) == 1\ndef test_b(): assert f(2) == 2\ndef test_c(): assert f(3) == 3"
    assert judge("def f(x):\n  while x == 2: pass\n  return x", file).value == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("tests", "why"),
    [
        ("def test_x(capsys):\n  f(1)\n  assert capsys.readouterr().out == ''", "the fixture `capsys`"),
        ("def test_x(tmp_path): assert f(1) == 1", "the fixture `tmp_path`"),
        ("import pytest\n@pytest.mark.skipif(True, reason='')\ndef test_x(): assert f(1) == 1", "pytest.mark.skipif"),
        ("import pytest\ndef test_x():\n  f(1)\n  pytest.skip('no')", "pytest.skip"),
        ("import unittest\nclass T(unittest.TestCase):\n  def test_x(self): self.skipTest(f(1))", "skipped"),
        (
            "import unittest\nclass T(unittest.TestCase):\n  def test_x(self):\n    with self.assertLogs(): f(1)",
            "logging",
        ),
        ("from unittest.mock import patch\n@patch('time.time', abs)\ndef test_x(): assert f(1) == 1", "time.time"),
        ("def test_x():\n  open('/tmp/x', 'w').write('1')\n  assert f(1) == 1", "files (open)"),
        ("def setup_function(): f(1)\ndef test_x(): assert f(1) == 1", "setup_function"),
        ("import pytest\n@pytest.mark.skip\ndef test_x(): assert f(1) == 1", "no test tests the program"),
    ],
)
def test_what_needs_plug_ins_or_one_process_is_no_verdict(tests: str, why: str) -> None:
    verdict = judge("def f(x): return 1", tests)
    assert verdict.value is None and why in verdict.reason, verdict


def test_what_is_called_by_the_file_itself_is_not_called_again() -> None:
    file = "def test_a(): assert f(1) == 1\nclass TestB:\n  def test_b(self): assert f(2)\ntest_a()\nTestB().test_b()"
    assert [each.name for each in collected([ast.parse(file)])] == ["test 1"]
    assert judge("def f(x): return x", file) == Verdict(1.0, "1 of 1 tests pass")
