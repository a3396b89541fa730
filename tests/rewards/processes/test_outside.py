"""A user's own reward may print, raise, exit, fork, hang or crash: it costs its sample, and the next is judged."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stages.core.errors import RecipeError
from stages.rewards.processes import outside
from stages.rewards.verdict import Verdict
from tests.rewards.contracts import contract, row

MODULE = '''
import asyncio, ctypes, os, sys, time
from stages.rewards.verdict import Verdict

calls = 0

def plain(completion, row, contract, *, bonus=0.0):
    """0.5 for the answer in the completion."""
    return 0.5 * (row.answer in completion) + bonus

def told(completion, row, contract):
    assert contract.think_tags == ("<think>", "</think>") and contract.prefill == "<think>"
    return Verdict(1.0, f"{row.meta['note']} {completion}")

async def later(completion, row, contract):
    global calls
    calls += 1
    await asyncio.sleep(0.01)
    return calls / 10

def mischief(completion, row, contract):
    print("[0, [1.0, 'printed']]", flush=True)
    os.write(1, b"[0, 1.0]\\n")
    if completion == "raise":
        raise ValueError("as asked")
    if completion == "sys.exit":
        sys.exit(0)
    if completion == "os._exit":
        os._exit(0)
    if completion == "segfault":
        ctypes.string_at(0)
    if completion == "fork":
        os.fork()
    if completion == "input":
        input()
    if completion == "hang":
        time.sleep(1000)
    if completion == "surrogate":
        return Verdict(1.0, "\\ud800 \\0")
    return 1.0

number = lambda *args: 7
text = lambda *args: "yes"
'''

Judge = Callable[..., Verdict]


@pytest.fixture
def judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Judge]:
    """Asks a function of a module that only the current folder holds."""
    (tmp_path / "mine_own.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)

    def ask(function: str, completion: str = "", prefill: str = "", meta: Any = None, **options: Any) -> Verdict:
        given = row(meta={"note": "seen"} if meta is None else meta)
        return outside.call(f"mine_own:{function}", completion, given, contract(prefill), options)

    yield ask
    outside.close()
    outside._pools.clear()


def test_the_function_sees_completion_row_contract_and_options(judge: Judge) -> None:
    assert judge("plain", "it is 17").value == 0.5
    assert judge("plain", "it is 18").value == 0.0
    assert judge("plain", "it is 17", bonus=0.25).value == 0.75
    assert judge("told", "\ud800 中", "<think>") == Verdict(1.0, "seen \ud800 中")


def test_an_async_function_is_awaited_in_one_loop(judge: Judge) -> None:
    assert [judge("later").value for _ in range(3)] == [0.1, 0.2, 0.3]


@pytest.mark.parametrize(
    ("completion", "said"),
    [
        ("raise", "the reward raised ValueError: as asked"),
        ("sys.exit", "the reward left by sys.exit(0)"),
        ("os._exit", "the reward crashed (exit code 0)"),
        ("segfault", "the reward crashed (SIGSEGV)"),
        ("input", "the reward raised EOFError: EOF when reading a line"),
    ],
)
def test_a_failing_function_costs_its_sample(judge: Judge, completion: str, said: str) -> None:
    assert judge("mischief", completion) == Verdict(None, said)
    assert judge("mischief").value == 1.0


def test_prints_and_forks_change_no_verdict(judge: Judge) -> None:
    assert [judge("mischief", text).value for text in ("", "fork", "surrogate", "fork", "")] == [1.0] * 5


def test_a_hang_costs_its_sample_and_at_most_its_limit(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    assert judge("mischief").value == 1.0
    monkeypatch.setattr(outside, "LIMIT_S", 0.5)
    start = time.monotonic()
    assert judge("mischief", "hang") == Verdict(None, "the reward took over 0.5 s")
    assert time.monotonic() - start < 100
    monkeypatch.setattr(outside, "LIMIT_S", 60.0)
    assert judge("mischief").value == 1.0


def test_what_is_no_number_in_range_is_none(judge: Judge) -> None:
    assert judge("number") == Verdict(None, "the reward returned 7, outside 0 to 1")
    assert judge("text").value is None
    assert judge("plain", meta={"object": object()}).reason.startswith("the row or the options are no JSON")
    assert judge("plain", unknown=1).reason.startswith("the reward raised TypeError")


def test_what_no_fresh_process_can_import_is_refused_with_a_way_out(judge: Judge, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no function `plane`"):
        judge("plane")
    for name, said in (("__main__:f", "lives in the program itself"), ("no_such_module:f", "No module named")):
        with pytest.raises(RecipeError, match=said):
            outside.call(name, "", row(), contract(), {})
    (tmp_path / "leaves.py").write_text("raise SystemExit('not today')")
    with pytest.raises(RecipeError, match="SystemExit: not today"):
        outside.call("leaves:f", "", row(), contract(), {})


def test_a_module_beside_the_script_is_found_from_any_folder(tmp_path: Path) -> None:
    (tmp_path / "mine_own.py").write_text(MODULE)
    (tmp_path / "script.py").write_text(
        "from stages.rewards.processes import outside\n"
        "from tests.rewards.contracts import contract, row\n"
        "print(outside.call('mine_own:plain', '17', row(), contract(), {}).value)\n"
    )
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", f"import sys, runpy; sys.path.append({str(root)!r}); "]
    command[-1] += f"sys.path.insert(0, {str(tmp_path)!r}); runpy.run_path({str(tmp_path / 'script.py')!r})"
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=True)
    assert done.stdout == "0.5\n"
