"""The code reward: does the program in the answer pass the row's tests? 1 or a fraction, 0, or None leaves.

Tests are cases of stdin and stdout, assert lines or calls, in the form of this project or of a public set
(`programs/forms.py`). Programs run in the sandbox; what they should print or return never enters it. Output is compared
whole (`programs/comparing.py`). A limit of CPU time, memory, processes, output or idleness is a failed test; the wall
clock is no verdict.
"""

from __future__ import annotations

from typing import Literal, get_args

from stages.core.contract import Contract
from stages.core.errors import StageError
from stages.core.rows import Prompt
from stages.rewards.declared import Reward
from stages.rewards.programs import asserts, extraction, forms
from stages.rewards.programs.comparing import same_output
from stages.rewards.programs.extraction import Source
from stages.rewards.programs.forms import Tests
from stages.rewards.programs.sandbox import ISOLATIONS, OVER, Limits, Outcome, Sandbox
from stages.rewards.verdict import Example, Verdict, shorten

Mode = Literal["fraction", "all"]
Isolation = Literal["bwrap", "rlimits"]
STOP_AFTER = 3
"""Tests over a limit after which the rest count as failed without being run."""
_ERRORS = 1000  # bytes at the end of stderr that are searched for what the program died of


@Reward(
    "code",
    pays="the program passes the row's tests",
    values="0 to 1; mode=all: 0 or 1",
    needs=("tests",),
    waits=True,
    remembers=True,
    aside={"mode": "all"},
    trials=("hacks.code:TRIALS", "hacks.tests:FORMS"),
)
def reward(
    completion: str,
    row: Prompt,
    contract: Contract,
    *,
    mode: Mode = "fraction",
    limits: tuple[float, int] = (4.0, 512),
    isolation: Isolation = "bwrap",
    tolerance: float | None = None,
) -> Verdict:
    """Return the share of the row's tests that the completion's program passes, or 1 for all and else 0 (`mode`).

    `limits`: seconds of CPU for each case (for all asserts together) and MiB of memory. `isolation`: `rlimits` is
    weaker and never taken by itself. `tolerance`, from 0 to 1: how far a decimal may be off; a row's own goes first.
    None: no tests, unreadable ones, no compiler, no sandbox, or a kill by the wall clock. Raises ValueError for an
    option out of its range.
    """
    bounds = _limits(mode, limits, isolation)
    if tolerance is not None and not 0 <= tolerance <= 1:
        raise ValueError("`tolerance` is a number from 0 to 1")
    tests = forms.read(row)
    if tests.fault:
        return Verdict(None, shorten(tests.fault, 190))
    tests = tests if tests.tolerance is not None else tests._replace(tolerance=tolerance)
    try:
        source = extraction.find(completion, row, contract, called=bool(tests.checks))
        if source.fault:
            return Verdict(0.0, source.fault)
        if tests.cases:
            return _cases(source, tests, bounds, isolation, mode)
        return _asserts(source, tests, bounds, isolation, mode)
    except ValueError as error:
        return Verdict(None, str(error))
    except StageError as error:
        return Verdict(None, shorten(error.told, 190))


def every(verdict: Verdict) -> Verdict:
    """Return what a verdict on tests, of either mode, says of all of them: 1, else 0, or None."""
    return verdict if verdict.value in (None, 0.0, 1.0) else Verdict(0.0, verdict.reason)


def _limits(mode: str, limits: tuple[float, int], isolation: str) -> Limits:
    cpu_s, memory_mb = limits
    if mode not in get_args(Mode):
        raise ValueError(f"`mode` is {' or '.join(get_args(Mode))}, not `{mode}`")
    if isolation not in ISOLATIONS:
        raise ValueError(f"`isolation` is {' or '.join(ISOLATIONS)}, not `{isolation}`")
    if not 0.05 <= cpu_s <= 600 or not 64 <= memory_mb <= 2**16:
        raise ValueError("`limits` are 0.05 to 600 seconds of CPU and 64 to 65536 MiB of memory")
    return Limits(cpu_s=cpu_s, memory_mb=int(memory_mb), idle_s=2 * cpu_s, wall_s=30 + 30 * cpu_s)


def _cases(source: Source, tests: Tests, limits: Limits, isolation: str, mode: str) -> Verdict:
    """Run the program once for each input and compare what it prints here."""
    given = [each.encode("utf-8", "surrogatepass") for each, _ in tests.cases]
    job = extraction.job(source, given, stop_after=1 if mode == "all" else STOP_AFTER)
    if job is None:
        return Verdict(None, extraction.NO_COMPILER)
    faults: list[str] = []
    with Sandbox(job, limits, isolation) as sandbox:
        outcomes = sandbox.outcomes()
        if job.build:
            built = next(outcomes, Outcome("lost"))
            if not built.judged or built.status != "exit" or built.code:
                return _unbuilt(built)
        for outcome, (_, wanted) in zip(outcomes, tests.cases, strict=False):
            if not outcome.judged:
                return Verdict(None, unjudged(outcome))
            faults.append(_fault(outcome, wanted.encode("utf-8", "surrogatepass"), tests.tolerance))
            if mode == "all" and faults[-1]:
                break
    faults += ["not run, after others over a limit"] * (len(tests.cases) - len(faults))
    first = next((f"test {place}: {fault}" for place, fault in enumerate(faults, start=1) if fault), "")
    return _verdict([not fault for fault in faults], first, mode)


def _asserts(source: Source, tests: Tests, limits: Limits, isolation: str, mode: str) -> Verdict:
    if source.language != "python":
        return Verdict(None, "assert lines and calls test Python programs only")
    stop_after = 1 if mode == "all" else STOP_AFTER
    results = asserts.judge(source.text, tests, limits, isolation, stop_after=stop_after)
    if results.fault:
        return Verdict(None, shorten(f"cannot judge: {results.fault}", 190))
    return _verdict(results.passed, results.first, mode)


def _verdict(passed: list[bool], first: str, mode: str) -> Verdict:
    right, total = sum(passed), len(passed)
    if right == total:
        return Verdict(1.0, f"{total} of {total} tests pass")
    if mode == "all":
        return Verdict(0.0, shorten(f"first failure: {first}", 190))
    return Verdict(right / total, shorten(f"{right} of {total} tests pass; first failure: {first}", 190))


def _fault(outcome: Outcome, wanted: bytes, tolerance: float | None) -> str:
    """Say why a case fails, "" when it passes."""
    if outcome.status in OVER:
        return f"over the limit of {OVER[outcome.status]}"
    if outcome.code:
        return ended(outcome)
    line = same_output(outcome.stdout, wanted, tolerance)
    return f"wrong output line {line}" if line else ""


def ended(outcome: Outcome) -> str:
    """Say how a program that failed by itself ended: `exit code 1 (NameError: …)`."""
    if outcome.code < 0:
        return f"killed by signal {-outcome.code}"
    lines = outcome.stderr[-_ERRORS:].decode("utf-8", "replace").strip().split("\n")
    said = next((line for line in reversed(lines) if "rror" in line), lines[-1])
    return f"exit code {outcome.code}" + (f" ({shorten(said, 100)})" if said else "")


def unjudged(outcome: Outcome) -> str:
    """Say why an outcome is no verdict."""
    if outcome.status == "lost":
        return f"cannot judge: the sandbox died: {shorten(outcome.stderr.decode('utf-8', 'replace')[-200:], 100)}"
    return "cannot judge: wall clock"


def _unbuilt(built: Outcome) -> Verdict:
    if not built.judged:
        return Verdict(None, unjudged(built))
    if built.status in OVER:
        return Verdict(0.0, f"compiling goes over the limit of {OVER[built.status]}")
    lines = built.stderr.decode("utf-8", "replace").split("\n")
    said = next((line.partition("error: ")[2] for line in lines if "error: " in line), "")
    return Verdict(0.0, "the program does not compile" + (f": {shorten(said, 100)}" if said else ""))


def _answer(code: str, language: str = "python") -> str:
    return f"<think>so</think> <answer>\n```{language}\n{code}\n```\n</answer>"


_ECHO = {"verifier": "code", "meta": {"tests": [{"input": "3 4\n", "output": "7\n"}, {"input": "-1 1", "output": "0"}]}}
_ADD = {"verifier": "code", "meta": {"tests": ["assert add(3, 4) == 7", "assert add(-1, 1) == 0"]}}
_CPP = "#include <iostream>\nint main() { int a, b; std::cin >> a >> b; std::cout << a + b; }"

EXAMPLES = (
    Example(_answer("print(sum(map(int, input().split())))"), _ECHO, 1.0, "both cases"),
    Example(_answer("print(7)"), _ECHO, 0.5, "one of two"),
    Example(_answer("print(7)"), _ECHO, 0.0, "all or nothing", options={"mode": "all"}),
    Example(_answer(_CPP, "cpp"), _ECHO, 1.0, "C++"),
    Example(_answer("def add(a, b):\n    return a + b"), _ADD, 1.0, "asserts"),
    Example(_answer("def add(a, b):\n    return 7"), _ADD, 0.5, "one of two asserts"),
    Example(_answer("import sys\nsys.exit(0)"), _ADD, 0.0, "an early exit"),
    Example(_answer("print('7\\n0')"), _ECHO, 0.0, "more than the output"),
    Example("<think>```python\nprint(7)\n```</think> done", _ECHO, 0.0, "a program only inside the thinking"),
    Example(_answer(""), _ECHO, 0.0, "an empty program"),
    Example("", _ECHO, 0.0, "nothing at all"),
    Example(_answer("print(7)"), {"verifier": "code"}, None, "no tests, no verdict"),
)
