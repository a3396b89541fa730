"""The support desk: what its reward pays by hand, that no text breaks it, and one step of `r1 rl` with it."""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r1cli import main
from stages.core.recipe.loading import load
from stages.core.rows import Prompt, read_rows
from stages.core.storage.store import Store
from stages.rewards.verdict import Verdict
from tests.house.rooms import ROOT
from tests.rewards.contracts import contract, row

EXAMPLES = ROOT / "examples"
FOLDER = EXAMPLES / "support_desk"
MEGABYTE = 10**6


def module(name: str) -> Any:
    """A module of an example, found as a user's PYTHONPATH finds it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))
        return importlib.import_module(name)


desk = module("support_desk.reward")
TICKETS = [*read_rows(FOLDER / "prompts.jsonl"), *read_rows(FOLDER / "heldout.jsonl")]
LAMP = next(each for each in TICKETS if each.meta["product"] == "Lumo lamp" and each.family == "repair")


def judged(answer: str, ticket: Prompt = LAMP) -> Verdict:
    verdict = desk.reward(contract().respond("The lamp is broken.", answer), ticket, contract())
    assert isinstance(verdict, Verdict)
    return verdict


@pytest.mark.parametrize("example", desk.EXAMPLES, ids=lambda example: example.note)
def test_an_example_gets_the_value_written_beside_it(example: Any) -> None:
    verdict = desk.reward(example.completion, row(**example.row), contract(example.prefill))
    assert verdict.value == example.value, verdict


def test_every_ticket_s_own_answer_earns_everything() -> None:
    assert len(TICKETS) == 32
    for ticket in TICKETS:
        assert judged(ticket.answer, ticket) == (1.0, "all right"), ticket.id


def test_the_two_files_share_no_ticket_and_hold_every_category() -> None:
    practised, held = (read_rows(FOLDER / name) for name in ("prompts.jsonl", "heldout.jsonl"))
    assert not {each.problem for each in practised} & {each.problem for each in held}
    assert {each.family for each in practised} == {each.family for each in held} == set(desk.CATEGORIES)
    assert {each.split for each in practised} == {"train"} and {each.split for each in held} == {"heldout"}


def test_an_answer_that_reads_no_ticket_earns_a_third() -> None:
    """The best of all constant answers: what a policy gets for the form alone, and the figure to beat."""
    best = 0.0
    for category in desk.CATEGORIES:
        for priority in desk.PRIORITIES:
            for product in desk.PRODUCTS:
                reply = f"We are sorry about your {product}."
                answer = json.dumps({"category": category, "priority": priority, "reply": reply})
                earned = [judged(answer, ticket).value for ticket in TICKETS]
                best = max(best, sum(earned) / len(earned))
    assert 0.25 < best < 0.35


def test_what_is_missing_is_said_in_words() -> None:
    answer = json.dumps({"category": "advice", "priority": 3, "reply": "Please buy another lamp."})
    assert judged(answer) == (
        0.1,
        "category advice, expected repair; priority 3, expected 2; a reply of 4 words, wanted 5 to 40",
    )


HOSTILE = {
    "a megabyte of brackets": "[" * MEGABYTE,
    "a megabyte of objects": '{"a":' * (MEGABYTE // 5),
    "a megabyte of answers": "<answer>{}</answer>" * (MEGABYTE // 19),
    "a number of a megabyte": '{"priority": ' + "9" * MEGABYTE + "}",
    "brackets as deep as is read": "[" * 999,
    "digits as long as are read": '{"category": "repair", "reply": "", "priority": ' + "9" * 900 + "}",
    "a call": '{"category": __import__("os").system("true"), "priority": 2, "reply": ""}',
    "NUL": '{"category": "repair\0", "priority": 2, "reply": "\0"}',
    "surrogates": '{"category": "repair", "priority": 2, "reply": "\\ud800 \\udfff"}',
    "bidi": '{"category": "\u202eriaper", "priority": 2, "reply": ""}',
    "another set of tags": '</answer><answer>{"category": "repair"}',
}


@pytest.mark.parametrize("noise", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_earns_no_more_than_its_shape_and_costs_no_time(noise: str) -> None:
    start = time.process_time()
    for completion in (noise, contract().respond("a", noise)):
        verdict = desk.reward(completion, LAMP, contract())
        assert verdict.value is not None and verdict.value < 0.8
        assert verdict.reason and len(verdict.reason) < 300 and verdict.reason.isprintable()
    assert time.process_time() - start < 5  # quadratic would take hours


PIECES = st.sampled_from(
    [
        "{",
        "}",
        '"category": ',
        '"priority": ',
        '"reply": ',
        '"repair"',
        "2",
        ",",
        '"Lumo lamp"',
        "null",
        "[",
        "<answer>",
    ]
)


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(), st.lists(PIECES, max_size=20).map("".join)), st.sampled_from(TICKETS))
def test_any_text_gets_a_verdict_in_range(answer: str, ticket: Prompt) -> None:
    value = judged(answer, ticket).value
    assert value is not None and 0.0 <= value <= 1.0


Run = Callable[..., str]


@pytest.fixture
def r1(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """`r1` in this process, with the examples on Python's path."""
    monkeypatch.syspath_prepend(str(EXAMPLES))

    def run(*argv: str) -> str:
        code = main.run(argv)
        said = capsys.readouterr()
        assert code == 0, said.err
        return said.out + said.err

    return run


def test_one_step_of_practice_runs_on_the_embedded_base(r1: Run) -> None:
    small = ("steps=1", "minibatches=1", "prompts_per_step=2", "group_size=2", "max_completion_tokens=12")
    r1("rl", "--recipe", str(FOLDER / "recipe.yaml"), *small, "runtime.device=cpu")
    made = Store().open("support-desk@1")
    assert made.kind == "model" and made.record.metrics["steps"] == 1
    written = (made.path / "completions" / "rollout-00001.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in written.splitlines()]
    assert len(rows) == 4
    for each in rows:
        assert {"support_desk.reward:reward", "format"} <= set(each["rewards"])
        assert each["reasons"]["support_desk.reward:reward"]


def test_the_recipe_maximises_this_reward_and_the_format_alone() -> None:
    weights = load(FOLDER / "recipe.yaml").recipe.rewards
    assert {name: weight for name, weight in weights.items() if weight} == {
        "support_desk.reward:reward": 1,
        "format": 1,
    }


def test_the_recipe_finds_its_tickets_from_any_folder(r1: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "support-desk@1" in r1("rl", "--recipe", str(FOLDER / "recipe.yaml"), "--dry-run")
