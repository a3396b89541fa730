"""Each mark of the contract stands once in prompt and response together, whatever the text carries already."""

from __future__ import annotations

import pytest

from stages.core.data import imitation
from stages.core.data.imitation import LeftOut
from stages.core.errors import InputError
from stages.core.rows import Conversation
from tests.core.data.test_imitation import contract, words


def trained(reasoning: str, summary: str, prefill: str = "") -> str:
    """The response that trains, as text, or why the row is left out."""
    left: list[LeftOut] = []
    rows = [Conversation("r", "1", reasoning, summary), Conversation("good", "1", "ok", "2")]
    made = list(imitation.examples(rows, contract(prefill=prefill), words(), left))
    if left:
        return left[0].reason
    return words().decode(list(made[0].completion_ids), skip_special_tokens=False).removesuffix("<eos>")


@pytest.mark.parametrize(
    ("reasoning", "summary"),
    [
        ("2+4=6", "6"),
        ("<think>2+4=6</think>", "6"),
        ("2+4=6", "<answer>6</answer>"),
        (" <think>2+4=6</think>\n", "\n<answer>6</answer> "),
        ("", "<think>2+4=6</think><answer>6</answer>"),
        ("", "<think>2+4=6</think>6"),
    ],
)
@pytest.mark.parametrize("prefill", ["", "<think>", "<think>\n"])
def test_one_outer_pair_is_the_contracts_own(reasoning: str, summary: str, prefill: str) -> None:
    opened = "" if prefill else "<think>"
    assert trained(reasoning, summary, prefill) == f"{opened}2+4=6</think><answer>6</answer>"


def test_a_trace_that_begins_with_a_line_break_keeps_it_unless_the_prompt_has_it() -> None:
    assert trained("<think>\nab\n</think>", "2") == "<think>\nab\n</think><answer>2</answer>"
    assert trained("<think>\nab\n</think>", "2", "<think>\n") == "ab\n</think><answer>2</answer>"


@pytest.mark.parametrize(
    ("reasoning", "summary", "why"),
    [
        ("2+2=4 </think> wait", "4", "its reasoning holds the mark </think>"),
        ("<think>2+2", "4", "its reasoning holds the mark <think>"),
        ("<think>a</think> no <think>b</think>", "4", "its reasoning holds the mark <think>"),
        ("I say <answer>8</answer>", "4", "its reasoning holds the mark <answer>"),
        ("a", "So <answer>5</answer>", "its summary holds the mark <answer>"),
        ("a", "<answer>5</answer> or <answer>6</answer>", "its summary holds the mark <answer>"),
        ("a", "<think>b</think>5", "its summary holds the mark <think>"),
        ("", "", "its summary is empty"),
        ("a", " \n", "its summary is empty"),
        ("a", "<answer></answer>", "its summary is empty"),
        ("a<eos>b", "5", "its text holds the end token '<eos>'"),
    ],
)
def test_every_other_mark_leaves_the_row_out_with_its_reason(reasoning: str, summary: str, why: str) -> None:
    assert trained(reasoning, summary) == why


def test_the_rows_left_out_are_counted_by_reason_and_only_none_at_all_is_the_end() -> None:
    rows = [Conversation(f"r{n}", "1", "a </think>", "2") for n in range(2)] + [Conversation("e", "1", "a", "")]
    left: list[LeftOut] = []
    assert len(list(imitation.examples([*rows, Conversation("good", "1", "a", "2")], contract(), words(), left))) == 1
    said = "2 because its reasoning holds the mark </think> (row r0); 1 because its summary is empty (row e)"
    assert imitation.told(left, 4) == f"3 of 4 rows are left out: {said}"
    assert imitation.counted(left) == {
        "dropped": {"its reasoning holds the mark </think>": 2, "its summary is empty": 1}
    }
    assert imitation.counted([]) == {}
    with pytest.raises(InputError, match="no row is left to train on: 3 of 3 rows"):
        list(imitation.examples(rows, contract(), words(), []))
