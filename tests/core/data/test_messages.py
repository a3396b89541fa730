"""Turns are read by role; a response is told apart at the mark that closes its thought, or its row goes."""

from __future__ import annotations

from typing import Any

import pytest

from stages.core.data import messages
from stages.core.data.messages import Message
from stages.core.data.values import Unusable

ASK = {"role": "user", "content": "q"}


def refused(call: Any, *args: Any) -> str:
    with pytest.raises(Unusable) as caught:
        call(*args)
    return str(caught.value.reason)


@pytest.mark.parametrize(
    ("text", "thought", "parts"),
    [
        ("<think>\n2+2\n</think>\n\n\\boxed{4}", "", ("2+2", "\\boxed{4}")),
        ("2+2</think> 4", "", ("2+2", "4")),
        ("<think>\n\n</think>\n\n4", "", ("", "4")),
        ("4", "", ("", "4")),
        ("4", "2+2", ("2+2", "4")),
        ("4", "<think>2+2</think>", ("2+2", "4")),
        ("<think>2+2</think>4", "2+2", ("2+2", "4")),
        ("<think>2+2</think><answer> 4 </answer>", "", ("2+2", "4")),
        ("<THINK>2+2</THINK>4", "", ("2+2", "4")),
        ("[THINK]2+2[/THINK]4", "", ("2+2", "4")),
        ("<Thought>\n2+2\n</Thought>\n<Output>\n4\n</Output>", "", ("2+2", "4")),
        (
            "<|begin_of_thought|>\n\n2+2\n\n<|end_of_thought|>\n\n<|begin_of_solution|>\n\n4\n\n<|end_of_solution|>",
            "",
            ("2+2", "4"),
        ),
    ],
)
def test_a_thought_and_an_answer_are_told_apart(text: str, thought: str, parts: tuple[str, str]) -> None:
    assert messages.parts(Message("assistant", text, thought)) == parts


@pytest.mark.parametrize(
    ("text", "thought", "reason"),
    [
        ("<think>2+2", "", "thought and answer cannot be told apart"),
        ("Well. <think>2+2</think> 4", "", "thought and answer cannot be told apart"),
        ("<think>a</think> b <think>c</think> d", "", "thought and answer cannot be told apart"),
        ("<think>a <think>b</think></think> d", "", "thought and answer cannot be told apart"),
        ("<think>a</think> 4 <answer>4</answer>", "", "a mark inside the text"),
        ("4", "so <answer>4</answer>", "a mark inside the text"),
        ("4", "a </think> b", "a mark inside the text"),
        ("<think>a</think>4", "b", "two thoughts"),
        ("<think>a</think>", "", "no answer"),
        ("<|channel|>analysis<|message|>a<|end|>", "", "a mark inside the text"),
        ("", "", "no answer"),
    ],
)
def test_what_cannot_be_told_apart_goes_with_its_reason(text: str, thought: str, reason: str) -> None:
    assert refused(messages.parts, Message("assistant", text, thought)) == reason


def test_turns_are_read_by_role_in_every_layout() -> None:
    plain = [{"role": "system", "content": "s"}, ASK, {"role": "assistant", "content": "a"}]
    shared = [{"from": "system", "value": "s"}, {"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
    parts = [plain[0], {"role": "user", "content": [{"type": "text", "text": "q"}]}, plain[2]]
    assert messages.read(plain) == messages.read(shared) == messages.read(parts)
    assert messages.read([{"human": "q", "assistant": "a"}]) == messages.read(plain)[1:]
    talk = messages.talk(messages.read(plain))
    assert (talk.turns, talk.problem, talk.response) == (
        [{"role": "system", "content": "s"}],
        "q",
        Message("assistant", "a"),
    )


def test_earlier_answers_keep_no_thought() -> None:
    said = [ASK, {"role": "assistant", "content": "<think>t</think>a"}, ASK, {"role": "assistant", "content": "b"}]
    assert messages.talk(messages.read(said)).turns == [ASK, {"role": "assistant", "content": "a"}]


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([ASK], "ends without an answer"),
        ([ASK, {"role": "assistant", "content": "a"}, ASK], "ends without an answer"),
        ([{"role": "assistant", "content": "a"}], "no question before the answer"),
        (
            [ASK, {"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}],
            "no question before the answer",
        ),
        ([{"role": "user", "content": "<image>what?"}, {"role": "assistant", "content": "a"}], "needs a picture"),
    ],
)
def test_a_conversation_that_does_not_end_in_an_answer_goes(turns: list[dict[str, str]], reason: str) -> None:
    assert refused(messages.talk, messages.read(turns)) == reason


@pytest.mark.parametrize(
    ("turn", "reason"),
    [
        ({"role": "tool", "content": "x"}, "a tool's turn"),
        ({"from": "function_call", "value": "x"}, "a tool's turn"),
        ({"role": "assistant", "content": None, "tool_calls": [{"id": 1}]}, "a tool's turn"),
        ({"role": "narrator", "content": "x"}, "an unknown role"),
        ({"role": "user", "content": [{"type": "image"}]}, "needs a picture"),
        ({"role": "user", "content": {"a": 1}}, "not a text"),
        ("hello", "no messages"),
    ],
)
def test_a_turn_that_is_no_text_of_a_person_or_a_model_goes(turn: Any, reason: str) -> None:
    assert refused(messages.read, [turn]) == reason
