"""An answer is judged once and a program's tests run once for a completion, whatever is asked of it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stages.core.rows import Prompt
from stages.core.sampling import Completion, Finish
from stages.core.text import format_fault, spans
from stages.rewards import accuracy, registry, scoring
from stages.rewards.cache import Cache
from stages.rewards.grading import Grader
from stages.rewards.programs.sandbox import Job, Limits, Sandbox
from stages.rewards.verdict import Verdict
from tests.rewards.contracts import ROWS, contract, row

TESTS = [{"input": "3 4\n", "output": "7\n"}, {"input": "1 1\n", "output": "2\n"}, {"input": "0 0\n", "output": "0\n"}]
CASES = row("", "code", id="cases", meta={"tests": TESTS})
ASSERTS = row("", "code", id="asserts", meta={"tests": ["assert add(3, 4) == 7", "assert add(1, 1) == 2"]})
EVERY = ("code", "accuracy", "strict", "format", "cosine", "length_penalty", "language")


def program(code: str) -> str:
    return f"<think>so</think> <answer>\n```python\n{code}\n```\n</answer>"


SUM = program("print(sum(map(int, input().split())))")
FIRST = program("input(); print(7)")
SECOND = program("a, b = map(int, input().split())\nprint(a + b)\n1 / (a - 1)")


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Job, Limits]]:
    """What real sandboxes are asked to run, with a memory of verdicts that is empty at first."""
    seen: list[tuple[Job, Limits]] = []
    begin = Sandbox.__init__

    def noted(self: Sandbox, job: Job, limits: Limits, isolation: str = "bwrap") -> None:
        seen.append((job, limits))
        begin(self, job, limits, isolation)

    monkeypatch.setattr(Sandbox, "__init__", noted)
    monkeypatch.setattr(scoring, "VERDICTS", Cache())
    return seen


def asked(texts: list[str], problem: Prompt, names: tuple[str, ...], **options: Any) -> list[dict[str, float | None]]:
    found = scoring.score(texts, [problem] * len(texts), contract(), dict.fromkeys(names, 1.0), options=options)
    return [{name: verdict.value for name, verdict in one.items()} for one in found]


def counted(runs: list[tuple[Job, Limits]]) -> list[int]:
    """How often each case of each program was begun."""
    return [*Counter((*job.files.values(), case) for job, _ in runs for case in job.cases).values()]


def test_a_program_meets_each_test_once_whatever_is_asked(runs: list[tuple[Job, Limits]]) -> None:
    found = asked([SUM, FIRST], CASES, EVERY)
    assert counted(runs) == [1] * 6
    assert [[one[name] for name in ("code", "accuracy", "strict", "format")] for one in found] == [
        [1.0, 1.0, 1.0, 1.0],
        [pytest.approx(1 / 3), 0.0, 0.0, 1.0],
    ]


@pytest.mark.parametrize("names", [("accuracy", "strict"), ("strict",), ("cosine", "strict", "accuracy")])
def test_so_it_does_where_code_is_not_asked_and_stops_at_the_first_failure(
    runs: list[tuple[Job, Limits]], names: tuple[str, ...]
) -> None:
    found = asked([SUM, FIRST], CASES, names)
    assert len(runs) == 2 and {job.stop_after for job, _ in runs} == {1}
    assert [one[names[-1]] for one in found] == [1.0, 0.0]


def test_assert_lines_meet_a_program_once(runs: list[tuple[Job, Limits]]) -> None:
    (found,) = asked([program("def add(a, b):\n    return 7")], ASSERTS, EVERY)
    assert len(runs) == 2, "the program in one sandbox, its tests in another"
    assert (found["code"], found["accuracy"], found["strict"]) == (0.5, 0.0, 0.0)


def test_all_or_nothing_is_the_same_verdict_from_either_mode(runs: list[tuple[Job, Limits]]) -> None:
    for text in (SUM, FIRST, SECOND, "no program", program("while True: pass")):
        said = [
            asked([text], CASES, EVERY, code={"limits": [0.3, 128], "mode": mode})[0] for mode in ("fraction", "all")
        ]
        assert said[0]["accuracy"] == said[1]["accuracy"] == said[1]["code"] is not None
        assert said[0]["strict"] == said[1]["strict"] is not None


@pytest.mark.parametrize("names", [EVERY, registry.MEASURED])
def test_every_run_has_the_limits_of_the_recipe(runs: list[tuple[Job, Limits]], names: tuple[str, ...]) -> None:
    options = {"code": {"limits": [1.5, 300]}}
    registry.outside_sources({}, options)  # and may be given where only measuring asks for them
    asked([SUM, FIRST], CASES, names, **options)
    assert {(limits.cpu_s, limits.memory_mb) for _, limits in runs} == {(1.5, 300)} and len(runs) == 2


def test_a_run_s_grader_meets_each_test_once_with_the_recipe_s_limits(runs: list[tuple[Job, Limits]]) -> None:
    """As RL, its validation, sample and eval judge: what the recipe asks and what is always measured, in one call."""
    grader = Grader(contract=contract(), rewards=("code", "cosine"), options={"code": {"limits": [1.5, 300]}})
    said = [Completion(text=text, finish=Finish.END) for text in (SUM, SECOND)]
    found = grader.grade(said, [CASES] * 2, None)
    assert counted(runs) == [1] * 6 and {limits.memory_mb for _, limits in runs} == {300}
    assert [(one.value("code"), one.value("accuracy"), one.value("strict")) for one in found] == [
        (1.0, 1.0, 1.0),
        (pytest.approx(2 / 3), 0.0, 0.0),
    ]


def test_a_failed_strict_format_runs_no_program(runs: list[tuple[Job, Limits]]) -> None:
    assert asked(["```python\nprint(7)\n```"], CASES, ("strict",)) == [{"strict": 0.0}] and not runs


def test_a_problem_that_merely_brings_tests_is_run_for_code_alone(runs: list[tuple[Job, Limits]]) -> None:
    brings = row("17", meta={"tests": TESTS})
    assert asked(["<think>a</think><answer>17</answer>"], brings, ("accuracy", "strict")) == [
        {"accuracy": 1.0, "strict": 1.0}
    ]
    assert not runs


def test_an_answer_is_judged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    judge, seen = accuracy._judged, []
    monkeypatch.setattr(accuracy, "_judged", lambda *given: seen.append(given) or judge(*given))
    texts = ["<think>a</think><answer>17</answer>", "<answer>18</answer>"]
    found = asked(texts, row(), ("strict", "cosine", "accuracy", "length_penalty"))
    assert len(seen) == 2
    assert [(one["strict"], one["accuracy"]) for one in found] == [(1.0, 1.0), (0.0, 0.0)]


TAGS = ["<think>", "</think>", "<answer>", "</answer>", "\\boxed{17}"]
WORDS = ["17", "18", "B", "dbl", "north", "east", "\n", ".", "the", "answer", "is"]
PIECES = st.sampled_from(TAGS + WORDS)


@settings(max_examples=400, deadline=None)
@given(st.lists(PIECES, max_size=4), st.lists(PIECES, min_size=1, max_size=5), st.sampled_from(ROWS))
@example(["so"], [" " * 3, "17"], ROWS[0])
def test_strict_is_what_the_rules_say_of_the_text_in_the_answer_tags(
    thought: list[str], answer: list[str], problem: Prompt
) -> None:
    text = f"<think>{' '.join(thought)}</think><answer>{' '.join(answer)}</answer>"
    tags = contract().think_tags, contract().answer_tags
    fault = format_fault(text, *tags)
    span = None if fault else spans(text, tags[1])[0]
    alone = Verdict(0.0, fault) if span is None else accuracy.judge(text[span.start : span.end], problem)
    assert accuracy.strict(text, problem, contract()).value == alone.value
    (scored,) = scoring.score([text], [problem], contract(), {"strict": 1.0, "accuracy": 1.0})
    assert scored["strict"].value == alone.value
    assert fault or scored["accuracy"] == scored["strict"]
