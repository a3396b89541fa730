"""Rows of programming sets keep the columns that say how a program is tested."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stages import prepare
from stages.rewards.programs import forms
from tests.stages.test_prepare import Maker, lines

STDIN = [{"input": "2\n", "output": "4\n", "testtype": "stdin"}]
PROMPT = 'def inc(x):\n    """One more."""\n'
ROWS: dict[str, tuple[dict[str, Any], forms.Tests]] = {
    "LiveCodeBench": (
        {"question": "Print twice n.", "public_test_cases": json.dumps(STDIN), "starter_code": "", "metadata": "{}"},
        forms.Tests(cases=(("2\n", "4\n"),)),
    ),
    "APPS": (
        {"question": "Add.", "input_output": json.dumps({"fn_name": "add", "inputs": [[1, 2]], "outputs": [3]})},
        forms.Tests(checks=(forms.Call("add", [1, 2], 3, wrapped=False, numbered=True),), prelude=True),
    ),
    "HumanEval": (
        {"prompt": PROMPT, "test": "def check(f):\n    assert f(1) == 2\n", "entry_point": "inc"},
        forms.Tests(checks=("def check(f):\n    assert f(1) == 2\n\n\ncheck(inc)\n",), prompt=PROMPT, entry="inc"),
    ),
    "MBPP": ({"text": "Halve.", "test_list": ["assert half(2) == 1"]}, forms.Tests(checks=("assert half(2) == 1",))),
}


@pytest.mark.parametrize(("row", "tests"), ROWS.values(), ids=ROWS.keys())
def test_a_row_is_prepared_with_its_tests(row: dict[str, Any], tests: forms.Tests, tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_text(lines(row))
    columns = {"problem": "text"} if "text" in row else {}
    kept, dropped, _ = Maker(tmp_path)(prepare.Recipe(source=str(source), verifier="code", columns=columns))
    assert not dropped and forms.read(kept[0]) == tests


def test_a_row_whose_tests_are_not_understood_is_left_out_with_the_reason(tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl"
    good = {"question": "Print twice n.", "tests": STDIN}
    bad = {"question": "Print thrice n.", "public_test_cases": "[]", "private_test_cases": "eJxrYJmaywAA"}
    source.write_text(lines(good, bad))
    kept, dropped, _ = Maker(tmp_path)(prepare.Recipe(source=str(source), verifier="code"))
    assert len(kept) == 1 and "compressed pickle" in json.dumps(dropped)
