"""Tests are read in the form their data set stores them; what is not understood is no verdict, and never 0 for all."""

from __future__ import annotations

import base64
import json
import pickle
import zlib
from typing import Any

import pytest

from stages.core.rows import Prompt
from stages.rewards import code
from stages.rewards.files import lines
from stages.rewards.programs import forms
from stages.rewards.programs.forms import Call
from stages.rewards.verdict import Verdict
from tests.rewards.contracts import contract, row

DOUBLE = "class Solution:\n    def double(self, xs: List[int]) -> List[int]:\n        return [2 * x for x in xs]"
TREBLE = DOUBLE.replace("2 * x", "3 * x")
STARTER = "class Solution:\n    def double(self, xs: List[int]) -> List[int]:\n        "
FUNCTIONAL = {"input": "[1, 2]", "output": "[2, 4]", "testtype": "functional"}
STDIN = {"input": "2\n", "output": "4\n", "testtype": "stdin"}
TWICE = "print(2 * int(input()))"
HUMAN = {
    "prompt": 'from typing import List\n\n\ndef inc(xs: List[int]) -> List[int]:\n    """Add one to each."""\n',
    "test": "METADATA = {}\n\ndef check(candidate):\n    assert candidate([1]) == [2]\n    assert not candidate([])\n",
    "entry_point": "inc",
}


def judge(source: str, meta: dict[str, Any], **options: Any) -> Verdict:
    completion = f"<think>so</think>\n```python\n{source}\n```\n"
    return code.reward(completion, row("", "code", meta=meta), contract(), **options)


def read(**meta: Any) -> forms.Tests:
    return forms.read(row("", "code", meta=meta))


FORMS: dict[str, tuple[dict[str, Any], str, str]] = {
    "LiveCodeBench, on stdin": (
        {"public_test_cases": json.dumps([STDIN]), "private_test_cases": json.dumps([STDIN]), "starter_code": ""},
        TWICE,
        "print(3 * int(input()))",
    ),
    "LiveCodeBench, functional": (
        {"public_test_cases": json.dumps([FUNCTIONAL]), "metadata": '{"func_name": "double"}', "starter_code": STARTER},
        DOUBLE,
        TREBLE,
    ),
    "functional, the function named by the starter code": (
        {"tests": [FUNCTIONAL], "starter_code": STARTER},
        DOUBLE,
        TREBLE,
    ),
    "functional, each test names its function": (
        {"tests": [{**FUNCTIONAL, "fn_name": "double"}]},
        "def double(xs):\n    return tuple(x + x for x in xs)",
        "def double(xs):\n    return xs",
    ),
    "several arguments, a line each": (
        {"tests": [{"input": '3\n"ab"', "output": '"ababab"', "testtype": "functional"}], "fn_name": "rep"},
        "def rep(n, s): return n * s",
        "def rep(n, s): return s",
    ),
    "APPS, on stdin": (
        {"input_output": json.dumps({"inputs": ["1\n", ["2", "0"]], "outputs": ["2\n", ["4"]]})},
        TWICE,
        "print(2)\nprint(4)",
    ),
    "APPS, calls": (
        {"input_output": json.dumps({"fn_name": "add", "inputs": [[1, 2], [3, 4]], "outputs": [[3], [7]]})},
        "def add(a, b): return a + b",
        "def add(a, b): return a * b",
    ),
    "TACO, a list and a dict": (
        {"input_output": {"fn_name": "at", "inputs": [[{"1": "a", "2": "b"}, 2]], "outputs": [["b"]]}},
        "def at(d, k): return d[k]",
        "def at(d, k): return d[1]",
    ),
    "test_cases of two types' names": (
        {
            "verification_info": {
                "language": "python",
                "test_cases": [{"type": "stdin_stdout", "input": "2", "output": "4"}],
            }
        },
        TWICE,
        "print(5)",
    ),
    "MBPP": (
        {
            "test_imports": ["import math"],
            "test_setup_code": "big = 3",
            "test_list": ["assert math.isclose(half(big), 1.5)", "assert half(2) == 1"],
        },
        "def half(x): return x / 2",
        "def half(x): return 0",
    ),
    "LeetCode, as check": (
        {
            "prompt": "from typing import *\n",
            "test": "def check(candidate):\n    assert candidate(xs = [1]) == [2]\n",
            "entry_point": "Solution().double",
        },
        DOUBLE,
        TREBLE,
    ),
    "HumanEval, the whole program": (HUMAN, HUMAN["prompt"] + "    return [x + 1 for x in xs]", "pass"),
    "HumanEval, the function alone": (
        HUMAN,
        "def inc(xs: List[int]):\n    return [x + 1 for x in xs]",
        "def inc(xs): pass",
    ),
    "HumanEval, the body alone": (HUMAN, "    ys = list(xs)\n    return [y + 1 for y in ys]", "    pass"),
    "HumanEval, a body that lost its indent": (HUMAN, "ys = list(xs)\nreturn [y + 1 for y in ys]", "return xs"),
    "HumanEval, a body that lost its first indent": (HUMAN, "ys = list(xs)\n    return [y + 1 for y in ys]", "x = 1"),
    "HumanEval, its columns in one object": (
        {"tests": HUMAN},
        "    return [x + 1 for x in xs]",
        "    return xs",
    ),
    "MBPP, its columns as text": (
        {"tests": json.dumps({"test_list": ["assert half(2) == 1"]})},
        "def half(x): return x / 2",
        "def half(x): return x",
    ),
    "HumanEval, a lambda": (HUMAN, "inc = lambda xs: [x + 1 for x in xs]", "inc = 3"),
}


@pytest.mark.parametrize(("meta", "right", "wrong"), FORMS.values(), ids=FORMS.keys())
def test_a_form_pays_the_right_program_and_not_the_wrong_one(meta: dict[str, Any], right: str, wrong: str) -> None:
    assert judge(right, meta).value == 1.0, judge(right, meta)
    assert judge(wrong, meta, mode="all").value == 0.0


PICKLED = base64.b64encode(zlib.compress(pickle.dumps(json.dumps([STDIN])))).decode()
UNREAD: dict[str, tuple[dict[str, Any], str]] = {
    "a pickle": ({"public_test_cases": json.dumps([STDIN]), "private_test_cases": PICKLED}, "which is never opened"),
    "an unknown field": ({"tests": [{"input": "1", "output": "2", "checker": "spj"}]}, "not understood: `checker`"),
    "an unknown type": ({"tests": [{**STDIN, "testtype": "interactive"}]}, "a type that is not known: `interactive`"),
    "a function nobody names": ({"tests": [FUNCTIONAL]}, "no field names it: `fn_name`"),
    "an unknown field of a pair": ({"input_output": {"inputs": ["1"], "outputs": ["1"], "mode": "x"}}, "`mode`"),
    "unequal lists": ({"input_output": {"inputs": ["1"], "outputs": []}}, "1 inputs and 0 outputs"),
    "an output that is no JSON": ({"tests": [{**FUNCTIONAL, "output": "[2, "}], "fn_name": "f"}, "is no JSON"),
    "two types": ({"tests": [STDIN, FUNCTIONAL], "fn_name": "f"}, "several types"),
    "a name that is none": ({"tests": [FUNCTIONAL], "fn_name": "os.system('x')"}, "no name of a function"),
    "a check nobody calls": ({"tests": [HUMAN["test"]]}, "name the function in `entry_point`"),
    "a tolerance that is none": ({"tests": [STDIN], "tolerance": "1e-6"}, "`tolerance` is a number"),
    "an output beyond every float": ({"tests": [{**FUNCTIONAL, "output": "1e400"}], "fn_name": "f"}, "is no JSON"),
    "cut JSON": ({"input_output": '{"inputs": ["1"'}, "is no JSON text"),
}


@pytest.mark.parametrize(("meta", "why"), UNREAD.values(), ids=UNREAD.keys())
def test_what_is_not_understood_is_no_verdict(meta: dict[str, Any], why: str) -> None:
    verdict = judge(TWICE, meta)
    assert verdict.value is None and why in verdict.reason, verdict


def test_a_pickle_is_not_even_decompressed() -> None:
    bomb = base64.b64encode(zlib.compress(bytes(10**6))).decode()
    assert "never opened" in read(public_test_cases="[]", private_test_cases=bomb).fault


def test_calls_are_plain_data() -> None:
    assert read(tests=[FUNCTIONAL], fn_name="f").checks == (Call("f", [[1, 2]], [2, 4], wrapped=False, numbered=False),)


def test_only_in_apps_form_may_a_list_of_one_stand_for_what_is_returned() -> None:
    five = {"input": [1], "output": [5], "fn_name": "f"}
    for kind, wrapped in (({"testtype": "functional"}, False), ({"type": "function_call"}, True)):
        found = read(tests=[five | kind]).checks
        assert found == (Call("f", [1], [5], wrapped=wrapped, numbered=True),)
    assert judge("def f(x): return 5", {"tests": [five | {"testtype": "functional"}]}).value == 0.0
    assert judge("def f(x): return [5]", {"tests": [five | {"testtype": "functional"}]}).value == 1.0


def test_a_line_of_a_file_in_a_known_form_counts_as_code() -> None:
    for meta, *_ in (
        FORMS["APPS, on stdin"],
        FORMS["MBPP"],
        FORMS["HumanEval, a lambda"],
        FORMS["LiveCodeBench, functional"],
    ):
        asked = lines.read(json.dumps({"id": 1, "completion": "x", **meta}).encode())
        assert asked.row is not None and asked.row["verifier"] == "code" and not forms.read(Prompt(**asked.row)).fault


def test_usual_names_are_there_for_a_solution_class_and_are_not_the_program_s() -> None:
    source = (
        "class Solution:\n    def top(self, xs: List[int]) -> Optional[int]:\n"
        "        c = Counter(xs); heapify(xs)\n        return max(c, key=c.get) if gcd(len(xs), 1) else math.inf"
    )
    assert judge(source, {"tests": ["assert Solution().top([1, 2, 2]) == 2"]}).value == 1.0
    assert judge(source.replace("class Solution", "class S"), {"tests": ["assert S().top([2]) == 2"]}).value == 0.0
    lent = {"tests": [{"input": "4\n6", "output": "2", "testtype": "functional"}], "fn_name": "gcd"}
    assert judge("x = 1", lent).value == 0.0
