"""Judge a program by assert tests without the two ever meeting: program and tests enter, a result per test leaves.

Two sandboxes joined by a pair of pipes: in one the program (`subject.py`), in the other the author's lines
(`judge.py`). Verdicts come from the second alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from stages.rewards.programs.extraction import PYTHON_FLAGS
from stages.rewards.programs.sandbox import OVER, Job, Limits, Outcome, Sandbox, interpreter
from stages.rewards.programs.wire import GONE

JUDGE_CPU_S = 10.0  # of the tests themselves, at least
PATIENCE_S = 20.0  # for word of how the program's side ended, which comes at once
_SIDES = {
    "subject.py": ("wire.py",),
    "judge.py": ("wire.py", "names.py", "proxy.py", "pytest_standin.py"),
}
"""The program of each side, and what it imports from here: files beside this one, found as such by whoever hashes the
code behind a verdict."""
_HERE = Path(__file__).parent
_START = "import sys; sys.path.insert(0, '.'); from stages.rewards.programs.{module} import main; main()"


class Results(NamedTuple):
    """`passed`: per test, with the first failure in words; `fault`: why nothing could be judged, else ""."""

    passed: list[bool]
    first: str
    fault: str = ""


def judge(program: bytes, tests: Sequence[str], limits: Limits, isolation: str) -> Results:
    """Run the tests against a Python program; all of it may use `limits`. Raises StageError as `Sandbox`."""
    with ExitStack() as stack:
        ends = [stack.enter_context(open(fd, mode, buffering=0)) for _ in "ab" for fd, mode in _pipe()]
        to_program, from_program = ends[:2], ends[2:]
        given = {"main.py": program, "tests.json": json.dumps(list(tests)).encode()}
        subject = _job("subject.py", "main.py", given, (to_program[0].fileno(), from_program[1].fileno()))
        author = _job("judge.py", "tests.json", given, (from_program[0].fileno(), to_program[1].fileno()))
        lenient = replace(
            limits, idle_s=0.0, cpu_s=max(JUDGE_CPU_S, 2 * limits.cpu_s), memory_mb=max(1024, limits.memory_mb)
        )
        programs = stack.enter_context(Sandbox(subject, limits, isolation))
        judges = stack.enter_context(Sandbox(author, lenient, isolation))
        for end in ends:
            end.close()  # or neither side would see the other one end
        said = next(judges.outcomes(), Outcome("lost"))
        return _results(said, _ended(programs, said))


def _pipe() -> zip[tuple[int, str]]:
    return zip(os.pipe(), ("rb", "wb"), strict=True)


def _ended(programs: Sandbox, said: Outcome) -> Outcome | None:
    """Return how the program's side ended, where the tests found it gone; None where it was still serving."""
    if GONE.encode() not in said.stdout and said.judged:
        return None
    ended = next(programs.outcomes(PATIENCE_S), Outcome("lost"))
    return Outcome("exit") if ended.status == "late" else ended  # it closed the pipe and lives on


def _results(said: Outcome, ended: Outcome | None) -> Results:
    """Read what the judge wrote. Whatever it did not live to say about a test is a failure."""
    over = f"over the limit of {OVER[ended.status]}" if ended and ended.status in OVER else ""
    for outcome, whose in ((ended, "the program's"), (said, "the tests'")):
        if outcome is not None and not outcome.judged and not over:
            return Results([], "", f"{whose} side: {'wall clock' if outcome.status == 'wall' else 'the sandbox died'}")
    lines = [json.loads(line) for line in said.stdout.split(b"\n")[:-1]]  # a line cut off is none
    if not lines or lines[0][0] != "tests":
        return Results([], "", lines[0][1] if lines else "the tests do not start")
    places, heard = lines[0][1], {place: (passed, reason) for place, passed, reason in lines[1:]}
    for passed, reason in heard.values():
        if passed is None:
            return Results([], "", reason)
    lost = f"the tests went over the limit of {OVER.get(said.status, 'what they may use')}"
    results = [heard.get(place, (False, lost)) for place in places]
    first = next(
        (f"test {place + 1}: {reason}" for place, (ok, reason) in zip(places, results, strict=True) if not ok), ""
    )
    ending = over or (f"the program ended (exit code {ended.code})" if ended else "")
    return Results([bool(ok) for ok, _ in results], first.replace(GONE, ending or "it is gone"))


def _job(side: str, file: str, given: dict[str, bytes], fds: tuple[int, int]) -> Job:
    """Return the job of one side: it gets the modules both speak with, and its own file alone."""
    files = {f"stages/rewards/programs/{name}": (_HERE / name).read_bytes() for name in (side, *_SIDES[side])}
    start = _START.format(module=side.removesuffix(".py"))
    command = (interpreter(), *PYTHON_FLAGS, "-c", start, file, *map(str, fds))
    return Job(command=command, files={**files, file: given[file]}, fds=fds)
