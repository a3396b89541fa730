"""Judge a program by checks without the two ever meeting: program and tests enter, a result per test leaves.

Two sandboxes joined by a pair of pipes: in one the program (`subject.py`), in the other the author's lines
(`judge.py`). Verdicts come from the second alone. A test in which the program or the tests come to an end, over a limit
or by themselves, fails alone: the others are begun again without it.
"""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from dataclasses import replace
from typing import NamedTuple

from stages.rewards.programs.forms import Tests
from stages.rewards.programs.sandbox import OVER, Job, Limits, Outcome, Sandbox
from stages.rewards.programs.wire import GONE, TOO_MUCH

JUDGE_CPU_S = 10.0  # of the tests themselves, at least
PATIENCE_S = 20.0  # for word of how the program's side ended, which comes at once


class Results(NamedTuple):
    """`passed`: per test, with the first failure in words; `fault`: why nothing could be judged, else ""."""

    passed: list[bool]
    first: str
    fault: str = ""


class _Said(NamedTuple):
    """What one run told: the places of the tests that test something, what all are called, per place passed or not and
    why; `ended`: the test in which one of the two sides came to an end; `fault` as in Results."""

    places: list[int]
    names: list[str]
    heard: dict[int, tuple[bool, str]]
    ended: int | None
    fault: str = ""


def judge(program: str, tests: Tests, limits: Limits, isolation: str, *, stop_after: int) -> Results:
    """Run the tests against a Python program; each run of them may use `limits`.

    `stop_after`: tests that end it all, after which the rest count as failed. Raises StageError as `Sandbox`.
    """
    heard: dict[int, tuple[bool, str]] = {}
    skip: list[int] = []
    while True:
        said = _run(program, tests, skip, limits, isolation)
        if said.fault:
            return Results([], "", said.fault)
        heard = {**said.heard, **heard}  # what was heard of a test once stays
        if said.ended is None or len(skip) + 1 >= stop_after:
            break
        skip.append(said.ended)
    left = (False, "not run, after others that ended it all")
    results = [heard.get(place, left) for place in said.places]
    failed = (place for place in sorted({*heard, *said.places}) if not heard.get(place, left)[0])  # what prepares, too
    first = next((f"{said.names[place]}: {heard.get(place, left)[1]}" for place in failed), "")
    return Results([ok for ok, _ in results], first)


def _run(program: str, tests: Tests, skip: list[int], limits: Limits, isolation: str) -> _Said:
    """Run program and tests once, without those that are skipped."""
    with ExitStack() as stack:
        ends = [stack.enter_context(open(fd, mode, buffering=0)) for _ in "ab" for fd, mode in _pipe()]
        to_program, from_program = ends[:2], ends[2:]
        checks = {"tests": tests.checks, "skip": skip, "tolerance": tests.tolerance}
        asked = {"program": program, "prompt": tests.prompt, "entry": tests.entry, "prelude": tests.prelude}
        given = {"main.json": json.dumps(asked).encode(), "tests.json": json.dumps(checks).encode()}
        subject = _job("subject", "main.json", given, (to_program[0].fileno(), from_program[1].fileno()))
        author = _job("judge", "tests.json", given, (from_program[0].fileno(), to_program[1].fileno()))
        lenient = replace(
            limits, idle_s=0.0, cpu_s=max(JUDGE_CPU_S, 2 * limits.cpu_s), memory_mb=max(1024, limits.memory_mb)
        )
        programs = stack.enter_context(Sandbox(subject, limits, isolation))
        judges = stack.enter_context(Sandbox(author, lenient, isolation))
        for end in ends:
            end.close()  # or neither side would see the other one end
        said = next(judges.outcomes(), Outcome("lost"))
        return _read(said, _ended(programs, said), skip)


def _pipe() -> zip[tuple[int, str]]:
    return zip(os.pipe(), ("rb", "wb"), strict=True)


def _ended(programs: Sandbox, said: Outcome) -> Outcome | None:
    """Return how the program's side ended, where the tests found it gone; None where it was still serving."""
    if GONE.encode() not in said.stdout and said.judged:
        return None
    ended = next(programs.outcomes(PATIENCE_S), Outcome("lost"))
    return Outcome("exit") if ended.status == "late" else ended  # it closed the pipe and lives on


def _read(said: Outcome, ended: Outcome | None, skip: list[int]) -> _Said:
    """Read what the judge wrote, up to the test in which a side ended."""
    over = f"over the limit of {OVER[ended.status]}" if ended and ended.status in OVER else ""
    for outcome, whose in ((ended, "the program's"), (said, "the tests'")):
        if outcome is not None and not outcome.judged and not over:
            fault = f"{whose} side: {'wall clock' if outcome.status == 'wall' else 'the sandbox died'}"
            return _Said([], [], {}, None, fault)
    lines = [json.loads(line) for line in said.stdout.split(b"\n")[:-1]]  # a line cut off is none
    if not lines or lines[0][0] != "tests":
        return _Said([], [], {}, None, lines[0][1] if lines else "the tests do not start")
    ending = over or (f"the program ended (exit code {ended.code})" if ended else "it is gone")
    _, places, names = lines[0]
    heard = dict[int, tuple[bool, str]]()
    if len(lines) > 1 and lines[1][0] == "unloaded":
        return _Said(places, names, dict.fromkeys(places, (False, lines[1][1].replace(GONE, ending))), None)
    for place, passed, reason in lines[1:]:
        if passed is None:
            return _Said([], [], {}, None, reason)
        heard[place] = (passed, reason.replace(GONE, ending))
        if GONE in reason or TOO_MUCH in reason:
            return _Said(places, names, heard, place if place in places else None)
    lost = [place for place in places if place not in heard and place not in skip]
    if not lost:
        return _Said(places, names, heard, None)
    heard[lost[0]] = (False, f"the tests went over the limit of {OVER.get(said.status, 'what they may use')}")
    return _Said(places, names, heard, lost[0])


def _job(side: str, file: str, given: dict[str, bytes], fds: tuple[int, int]) -> Job:
    """Return the job of one side: it gets its own file alone."""
    return Job(command=(side, file), files={file: given[file]}, fds=fds)
