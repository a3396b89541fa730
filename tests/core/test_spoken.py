"""What is thought and what is said are told apart while they come, however the text is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.core.contract import Contract
from stages.core.spoken import Spoken


def contract(prefill: str = "") -> Contract:
    return Contract(
        template="{prompt}",
        template_name="x",
        prefill=prefill,
        eos_ids=[1],
        pad_id=0,
        tokenizer_sha256="",
        max_positions=9,
    )


def parts(pieces: list[str], prefill: str = "") -> dict[str, str]:
    spoken = Spoken(contract(prefill))
    told = [one for piece in pieces for one in spoken.take(piece)] + list(spoken.take("", last=True))
    assert {kind: "".join(text for k, text in told if k == kind) for kind in spoken.parts} == spoken.parts
    return dict(spoken.parts)


@pytest.mark.parametrize(
    ("text", "prefill", "thought", "said"),
    [
        ("<think>5 + 7</think><answer>12</answer>", "", "5 + 7", "12"),
        ("5 + 7</think>It is 12.", "<think>\n", "5 + 7", "It is 12."),
        ("12, as 5 < 7", "", "", "12, as 5 < 7"),
        ("<think>for ever", "", "for ever", ""),
        ("<think>a</think>b<think>c</think>d", "", "ac", "bd"),
        ("it ends in <ans", "", "", "it ends in <ans"),
    ],
)
def test_tags_part_thought_from_answer(text: str, prefill: str, thought: str, said: str) -> None:
    assert parts([text], prefill) == {"thought": thought, "said": said}
    assert parts(list(text), prefill) == {"thought": thought, "said": said}


@given(st.lists(st.sampled_from(["<think>", "</think>", "<answer>", "</answer>", "<", "th", "ink>", "a ", "/"])))
def test_where_a_text_is_cut_changes_nothing(pieces: list[str]) -> None:
    assert parts(pieces) == parts(["".join(pieces)])


def test_a_piece_is_shown_as_soon_as_it_can_be_no_tag() -> None:
    spoken = Spoken(contract())
    assert list(spoken.take("twelve <")) == [("said", "twelve ")]
    assert list(spoken.take("b")) == [("said", "<b")]
