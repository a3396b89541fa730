"""The code reward pays for programs that pass the tests, and for nothing that merely looks so to a careless judge."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.rewards import code, compile
from stages.rewards.programs.sandbox import compiler, fault
from stages.rewards.verdict import Example, Verdict
from tests.rewards.contracts import contract, row

QUICK = (0.4, 128)
SUM = [{"input": "3 4\n", "output": "7\n"}, {"input": "10 -2\n", "output": "8"}]
ADD = ["assert add(3, 4) == 7", "assert add(10, -2) == 8"]
TABLE = [{"input": "3", "output": "1\n2\n3\n"}]


def answer(source: str, language: str = "python") -> str:
    return f"<think>so</think> <answer>\n```{language}\n{source}\n```\n</answer>"


def judge(source: str, tests: list[Any], **options: Any) -> Verdict:
    options = {"limits": QUICK, **options}
    return code.reward(answer(source), row("", "code", meta={"tests": tests}), contract(), **options)


@pytest.fixture(autouse=True)
def nothing_is_left() -> Any:
    fault()  # what waits for jobs stays
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    before = set(os.listdir(gettempdir())), len(os.listdir("/proc/self/fd")), children.read_text()
    yield
    left = {name for name in set(os.listdir(gettempdir())) - before[0] if name.startswith("r1-")}
    assert (left, len(os.listdir("/proc/self/fd")), children.read_text()) == (set(), *before[1:])


@pytest.mark.parametrize("example", code.EXAMPLES, ids=[each.note for each in code.EXAMPLES])
def test_an_example_gets_the_value_written_beside_it(example: Example) -> None:
    verdict = code.reward(example.completion, row(**example.row), contract(example.prefill), **example.options)
    assert verdict.value == example.value, verdict


@pytest.mark.parametrize("example", compile.EXAMPLES, ids=[each.note for each in compile.EXAMPLES])
def test_what_compiles_and_what_does_not(example: Example) -> None:
    assert compile.reward(example.completion, row(**example.row), contract()).value == example.value


# --- cases: stdin and stdout


@pytest.mark.parametrize(
    ("printed", "expected", "line"),
    [
        ("1\n2\n", "1\n2", 0),
        ("1\n2", "1\n2\n\n\n", 0),
        ("1 \t\n2\r\n", "1\n2\n", 0),
        ("1\n", "1\n2\n", 2),
        ("1\n2\n3\n", "1\n2\n", 3),
        (" 1\n2\n", "1\n2\n", 1),
        ("1\n\n2\n", "1\n2\n", 2),
        ("", "", 0),
        ("", "1", 1),
        ("1", "", 1),
        ("1  2", "1 2", 1),
        ("1\u00a02", "1 2", 1),
    ],
)
def test_output_is_compared_whole(printed: str, expected: str, line: int) -> None:
    assert code.same_output(printed.encode(), expected.encode()) == line


def test_whole_numbers_of_any_size_are_read_and_printed() -> None:
    huge = "7" * 6000
    assert judge("print(int(input()) + 1)", [{"input": huge, "output": f"{huge[:-1]}8"}]).value == 1.0
    assert judge("print(10 ** 5000 + 1)", [{"input": "", "output": f"1{'0' * 5000}"}]).value == 0.0


def test_the_recipe_gives_a_tolerance_and_the_row_goes_first() -> None:
    third = [{"input": "", "output": "0.3333"}]
    assert judge("print(1 / 3)", third).value == 0.0
    assert judge("print(1 / 3)", third, tolerance=1e-3).value == 1.0
    assert judge("print(1 / 3)", [{**third[0], "tolerance": 1e-9}], tolerance=1e-3).value == 0.0
    assert judge("print(1 / 3)", [{**third[0], "tolerance": 1e-3}]).value == 1.0


HACKS = {
    "only the first line": "print(1)",
    "all and more": "print(1, 2, 3, sep='\\n')\nprint(4)",
    "an early exit": "import sys; sys.exit(0)",
    "a hard exit": "import os; os._exit(0)",
    "right output, then an error": "print(1, 2, 3, sep='\\n')\nraise ValueError",
    "right output, then a signal": "import os; os.write(1, b'1\\n2\\n3\\n'); os.kill(os.getpid(), 9)",
    "right output, then a hang": "print(1, 2, 3, sep='\\n', flush=True)\nwhile True: pass",
    "right output on stderr": "import sys; print(1, 2, 3, sep='\\n', file=sys.stderr)",
    "the harness's own frames": (
        "import os\nfor fd in range(40):\n  try: os.write(fd, b'exit 0 1 1 6 0\\n1\\n2\\n3\\n')\n  except OSError: pass"
    ),
    "the harness's own input": "import os\nfor fd in range(3, 40):\n  try: os.write(1, os.read(fd, 9999))\n"
    "  except OSError: pass",
    "everything it can find": (
        "import gc, glob, sys\n"
        "for p in ['/runner.py', *glob.glob('/proc/*/cmdline'), *glob.glob('/tmp/**', recursive=True)]:\n"
        "  try: print(open(p).read())\n  except (OSError, UnicodeError): pass\nprint(gc.get_objects())"
    ),
    "monkeypatching": (
        "import builtins, json, sys, unittest\nbuiltins.print = lambda *a, **k: None\n"
        "json.loads = lambda *a: True\n"
        "sys.stdout.write = lambda *a: 0\nunittest.TestCase.assertEqual = lambda *a: None\n"
        "sys.exit = lambda *a: None"
    ),
    "more than the limit": "print(1, 2, 3, sep='\\n')\nwhile True: print()",
    "no program": "",
    "no Python": "this is (no program",
    "nested too deep": "(" * 100_000,
    "NUL": "print(1)\0",
    "a lone surrogate": "print('\ud800')",
}


@pytest.mark.parametrize("source", HACKS.values(), ids=HACKS.keys())
def test_no_hack_passes_a_case(source: str) -> None:
    verdict = judge(source, TABLE)
    assert verdict.value == 0.0, verdict
    assert verdict.reason.isprintable() and len(verdict.reason) < 200


def test_the_reason_names_the_first_failure() -> None:
    verdict = judge("a, b = map(int, input().split())\nprint(a + b if b > 0 else 0)", SUM)
    assert verdict == Verdict(0.5, "1 of 2 tests pass; first failure: test 2: wrong output line 1")
    assert "ValueError: no" in judge("raise ValueError('no')", SUM).reason
    assert "over the limit of CPU time" in judge("while True: pass", SUM[:1]).reason
    assert "over the limit of idle time" in judge("import time; time.sleep(1000)", SUM[:1]).reason


def test_all_or_nothing() -> None:
    assert judge("print(7)", SUM, mode="all").value == 0.0
    assert judge("print(sum(map(int, input().split())))", SUM, mode="all").value == 1.0


def test_hanging_cases_are_given_up_after_the_third() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    assert judge("while True: pass", SUM * 20, limits=(0.1, 128)).value == 0.0
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 2


def test_an_output_that_waits_for_a_thread_and_an_exit_handler_counts() -> None:
    source = "import atexit, threading\natexit.register(print, 3)\nthreading.Thread(target=print, args=(2,)).start()"
    assert judge(f"print(1, flush=True)\n{source}", TABLE).value == 1.0


@pytest.mark.parametrize(
    "tests", [None, [], "assert f()", [1], [{"input": "1"}], [{"input": 1, "output": "1"}], ["assert f()", {}]]
)
def test_tests_that_cannot_be_read_are_no_verdict(tests: Any) -> None:
    verdict = judge("print(1)", tests)
    assert verdict.value is None and "test" in verdict.reason


@pytest.mark.parametrize(
    "options",
    [{"tolerance": 2.0}, {"mode": "some"}, {"isolation": "none"}, {"limits": (0.0, 128)}, {"limits": (1.0, 1)}],
)
def test_an_option_out_of_range_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="|".join(options)):
        judge("", SUM, **options)


def test_the_weaker_isolation_judges_the_same_when_asked_for() -> None:
    assert judge("print(sum(map(int, input().split())))", SUM, isolation="rlimits").value == 1.0
    assert judge("def add(a, b): return a + b", ADD, isolation="rlimits").value == 1.0
    assert judge("import os; os._exit(0)", ADD, isolation="rlimits").value == 0.0


def test_without_a_sandbox_there_is_no_verdict_and_the_way_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    verdict = judge("print(1)", SUM)
    assert verdict.value is None and "bubblewrap" in verdict.reason and "isolation=rlimits" in verdict.reason


# --- C++


def test_cpp_runs_and_is_compared_as_python_is() -> None:
    assert compiler(), "no C++ compiler: apt-get install g++"
    source = (
        "#include <iostream>\nint main() { int a, b; std::cin >> a >> b; std::cout << a + b << std::endl; return %s; }"
    )
    reply = lambda end: code.reward(answer(source % end, "cpp"), row("", "code", meta={"tests": SUM}), contract())  # noqa: E731
    assert reply("0").value == 1.0
    assert reply("1") == Verdict(0.0, "0 of 2 tests pass; first failure: test 1: exit code 1")
    assert reply("nothing").value == 0.0 and "does not compile: " in reply("nothing").reason


def test_without_a_compiler_there_is_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.rewards.programs.extraction.compiler", lambda: None)
    verdict = code.reward(answer("int main() {}", "cpp"), row("", "code", meta={"tests": SUM}), contract())
    assert verdict.value is None and "g++" in verdict.reason


@pytest.mark.parametrize("source", ['#include "/dev/zero"\nint main() {}', '#include "/etc/passwd"\nint main() {}'])
def test_a_compiler_is_a_program_too(source: str) -> None:
    meta = {"code_language": "cpp"}
    assert compile.reward(answer(source, "cpp"), row("", "code", meta=meta), contract()).value == 0.0


@settings(max_examples=8, deadline=None)
@given(st.text(max_size=200))
def test_any_text_as_a_program_gets_a_number(source: str) -> None:
    verdict = judge(source, [{"input": "", "output": "no program prints this"}])
    assert verdict.value == 0.0
