"""Rows in the layouts of public data sets become ours without a mapping, or with the one that their columns need."""

from __future__ import annotations

from typing import Any

import pytest

from stages.core.data import makers
from stages.core.data.layouts import Layout
from stages.core.data.pieces import Raw
from stages.core.data.sifting import Candidate
from stages.core.data.values import as_text

Row = dict[str, Any]


def said(*turns: str) -> list[Row]:
    """Messages, `u: text` each."""
    roles = {"s": "system", "u": "user", "a": "assistant"}
    return [{"role": roles[turn[0]], "content": turn[3:]} for turn in turns]


def shared(*turns: str) -> list[Row]:
    """The same as ShareGPT has them."""
    roles = {"s": "system", "u": "human", "a": "gpt"}
    return [{"from": roles[turn[0]], "value": turn[3:]} for turn in turns]


def made(kind: str, row: Row, columns: dict[str, str] | None = None, verifier: str = "") -> Candidate:
    wishes = makers.Wishes(kind, "x", verifier, "", "", heldout_share=0.1, max_problem_chars=0)
    gold = lambda value, _: [as_text(value) or ""]  # noqa: E731
    return makers.candidate(Raw("x.jsonl:1", row), Layout(kind, columns or {}), wishes, gold)


TRACE = "<think>\nt\n</think>\n\na"
OPEN = "<|begin_of_thought|>\n\nt\n\n<|end_of_thought|>\n\n<|begin_of_solution|>\n\na\n\n<|end_of_solution|>"


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        ({"messages": said("u: q", f"a: {TRACE}")}, {}),
        ({"problem": "q", "solution": "s", "answer": "2", "messages": said("u: q", f"a: {TRACE}")}, {}),
        ({"conversations": shared("u: q", f"a: {TRACE}")}, {}),
        ({"conversations": [{"from": "user", "value": "q"}, {"from": "assistant", "value": OPEN}]}, {}),
        ({"messages": [*said("u: q"), {"role": "assistant", "content": "a", "reasoning_content": "t"}]}, {}),
        ({"messages": [*said("u: q"), {"role": "assistant", "content": "a", "thinking": "t"}]}, {}),
        ({"prompt": "q", "completion": TRACE}, {}),
        ({"prompt": said("u: q"), "completion": said(f"a: {TRACE}")}, {}),
        ({"instruction": "q", "input": "", "output": TRACE}, {}),
        ({"input": said("u: q"), "output": TRACE, "reasoning": "on"}, {}),
        ({"question": "q", "response": "a", "reasoning": "t"}, {}),
        ({"problem": "q", "generated_solution": "t</think>a", "expected_answer": "5"}, {}),
        ({"problem": "q", "reasoning": "t", "summary": "a"}, {}),
        ({"question": "q", "final_answer": "2", "r1_solution_1": "t</think>a"}, {"summary": "r1_solution_1"}),
        ({"question": "q", "thinking": ["t"], "attempt": "a"}, {"reasoning": "thinking", "summary": "attempt"}),
        ({"problem": "q", "r": said("u: q", f"a: {TRACE}")}, {"messages": "r"}),
        ({"q": said("u: q", f"a: {TRACE}")}, {"problem": "q[user]", "summary": "q[assistant].content"}),
    ],
)
def test_a_conversation_is_found_in_every_layout(row: Row, columns: dict[str, str]) -> None:
    found = made("conversations", row, columns)
    fields = {name: found.fields.get(name) for name in ("problem", "reasoning", "summary", "turns")}
    assert (found.fault, fields) == ("", {"problem": "q", "reasoning": "t", "summary": "a", "turns": None})


@pytest.mark.parametrize(
    "row",
    [
        {"messages": said("s: be short", "u: q0", "a: a0", "u: q", "a: a")},
        {"messages": said("u: q0", "a: a0", "u: q", "a: a"), "system": "be short"},
        {"conversations": shared("s: be short", "u: q0", "a: a0", "u: q", "a: a")},
        {"instruction": "q", "input": "", "output": "a", "system": "be short", "history": [["q0", "a0"]]},
    ],
)
def test_a_system_turn_and_earlier_turns_go_before_the_problem(row: Row) -> None:
    found = made("conversations", row)
    assert (found.fields["problem"], found.fields["summary"]) == ("q", "a")
    assert found.fields["turns"] == said("s: be short", "u: q0", "a: a0")


@pytest.mark.parametrize(
    ("row", "columns", "gold"),
    [
        ({"messages": said("s: be short", "u: q", "a: <think>t</think>\\boxed{4}")}, {}, "\\boxed{4}"),
        ({"prompt": said("s: be short", "u: q"), "reward_model": {"ground_truth": "34"}}, {}, "34"),
        ({"prompt": said("s: be short", "u: q"), "answer": 7}, {"problem": "prompt"}, "7"),
        ({"p": said("s: be short", "u: q"), "e": {"gt": ["7"]}}, {"problem": "p[user]", "answer": "e.gt[-1]"}, "7"),
        ({"system": "be short", "question": "q", "answer": "7"}, {}, "7"),
        (
            {"p": '[{"role": "system", "content": "be short"}, {"role": "user", "content": "q"}]', "answer": "7"},
            {"problem": "p"},
            "7",
        ),
    ],
)
def test_a_prompt_is_found_with_its_gold_and_its_system_turn(row: Row, columns: dict[str, str], gold: str) -> None:
    found = made("prompts", row, columns)
    assert (found.fault, found.fields["problem"], found.fields["answer"]) == ("", "q", gold)
    assert found.fields["turns"] == said("s: be short")


def test_a_message_named_by_position_is_a_question_or_its_row_goes() -> None:
    columns = {"problem": "messages.0.content", "answer": "messages.1.content"}
    assert made("prompts", {"messages": said("u: q", "a: 4")}, columns).fields["problem"] == "q"
    assert made("prompts", {"messages": said("s: s", "u: q", "a: 4")}, columns).fault == "no question before the answer"


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "q", "chosen": "good", "rejected": "bad", "margin": 2},
        {"prompt": said("u: q"), "chosen": said("a: good"), "rejected": said("a: bad"), "margin": 2},
        {
            "prompt": "q",
            "chosen": said("u: q", "a: good"),
            "rejected": said("u: q", "a: bad"),
            "score_chosen": 5,
            "score_rejected": 3,
        },
        {"chosen": said("u: q", "a: good"), "rejected": said("u: q", "a: bad"), "margin": "2"},
        {"chosen": "\n\nHuman: q\n\nAssistant: good", "rejected": "\n\nHuman: q\n\nAssistant: bad", "margin": 2},
        {
            "context": said("u: q"),
            "response1": "good",
            "response2": "bad",
            "overall_preference": -2,
            "language": "english",
        },
        {
            "context": said("u: q"),
            "response1": "bad",
            "response2": "good",
            "overall_preference": 2,
            "language": "python",
        },
    ],
)
def test_a_preference_is_found_in_every_layout(row: Row) -> None:
    found = made("preferences", row)
    fields = [found.fields.get(name) for name in ("problem", "chosen", "rejected", "margin", "language")]
    assert (found.fault, fields) == ("", ["q", "good", "bad", 2.0, "en"])


@pytest.mark.parametrize(
    ("kind", "row", "reason"),
    [
        ("preferences", {"prompt": "q", "chosen": "a", "rejected": "a"}, "equal responses"),
        ("preferences", {"prompt": "q", "chosen": "a", "rejected": ""}, "no answer"),
        (
            "preferences",
            {"prompt": "q", "chosen": "a", "rejected": "b", "margin": -1},
            "the rejected one scores higher",
        ),
        (
            "preferences",
            {"prompt": "q", "response1": "a", "response2": "b", "overall_preference": 0},
            "neither is better",
        ),
        ("preferences", {"chosen": said("u: p", "a: x"), "rejected": said("u: q", "a: y")}, "two different questions"),
        ("conversations", {"prompt": "q", "completion": "a", "label": False}, "labelled as bad"),
        ("conversations", {"messages": []}, "no problem"),
        ("conversations", {"messages": None, "prompt": None}, "empty problem"),
    ],
)
def test_what_teaches_nothing_goes_with_its_reason(kind: str, row: Row, reason: str) -> None:
    assert made(kind, row).fault == reason


TURNS = ("s: be short", "u: p", "a: x", "u: q")
BOTH = {"chosen": said(*TURNS, "a: good"), "rejected": said(*TURNS, "a: bad")}


@pytest.mark.parametrize("prompt", [{}, {"prompt": "q"}, {"prompt": " q\n"}, {"prompt": "p"}, {"prompt": said("u: q")}])
def test_the_earlier_turns_of_a_pair_are_kept_whatever_stands_beside_it(prompt: Row) -> None:
    found = made("preferences", {**prompt, **BOTH})
    assert (found.fault, found.fields["problem"], found.fields["chosen"]) == ("", "q", "good")
    assert found.fields["turns"] == said("s: be short", "u: p", "a: x")


def test_a_prompt_that_nobody_asks_in_the_conversations_is_another_question_unless_it_was_mapped() -> None:
    assert made("preferences", {"prompt": "z", **BOTH}).fault == "two different questions"
    assert made("preferences", {"mine": "z", **BOTH}, {"problem": "mine"}).fields["problem"] == "z"


def test_a_content_of_several_bare_texts_is_not_joined_by_a_guess() -> None:
    turns = [{"role": "user", "content": ["What is", "50 / 1?"]}, {"role": "assistant", "content": "50"}]
    assert made("conversations", {"messages": turns}).fault == "not a text"
    turns[0]["content"] = ["What is 50 / 1?"]
    assert made("conversations", {"messages": turns}).fields["problem"] == "What is 50 / 1?"


def test_a_prompt_for_a_judge_needs_no_gold() -> None:
    found = made("prompts", {"prompt": "Write a poem."}, verifier="helpful")
    assert (found.fault, found.fields["answer"], found.fields["verifier"]) == ("", "", "helpful")


def test_optional_fields_take_what_they_can_read() -> None:
    row = {"problem": "q", "answer": "1", "id": 7.0, "level": "Level 4", "language": None, "meta": None, "family": None}
    fields = made("prompts", row).fields
    assert [fields[name] for name in ("id", "level", "language", "meta", "family")] == ["7", 4, "en", {}, ""]
    fields = made("prompts", {**row, "level": 6.5, "language": "cn", "id": ["a", "b"], "meta": "algebra"}).fields
    assert [fields[name] for name in ("level", "language", "meta")] == [6, "zh", {"value": "algebra"}]
    assert made("prompts", {**row, "n": [1, 2]}, {"id": "n"}).fault == "not a text"
