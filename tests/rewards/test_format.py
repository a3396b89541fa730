"""The strict form names its first fault; the tolerant one forgives dress and never a second, hidden or open answer."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stages.rewards import format
from tests.rewards.contracts import contract, row

FORM = "<think>a</think><answer>b</answer>"


@pytest.mark.parametrize(
    ("completion", "reason"),
    [
        ("<think>a</think> It is b.", "no <answer>"),
        ("<think>a", "<think> not closed: cut off"),
        ("<think>a</think><answer>b", "<answer> not closed: cut off"),
        ("<think>a</think><answer>b</answer> or c", "text after </answer>"),
        ("<think>a</think>\\boxed{b} or \\boxed{c}", "two boxes"),
        ("<think>a</think>\\boxed{c} <answer>b</answer>", "a box beside <answer>"),
        ("<answer>b</answer><think>a</think>", "text before <think>"),
        ("<think>a</think><answer>b</answer><answer>c</answer>", "two <answer>"),
        ("b", "no <think>"),
    ],
)
def test_a_zero_of_the_tolerant_format_tells_why(completion: str, reason: str) -> None:
    assert format.tolerant(completion, row(), contract()) == (0.0, reason)


PIECES = st.sampled_from(["<think>", "</think>", "<answer>", "</answer>", "<ANSWER>", "\\boxed{b}", "a", " ", "\n"])
TEXTS = st.lists(PIECES, max_size=10).map("".join)


@example("<ANSWER></think><answer><ANSWER></answer>", "<think>\n", "math")
@settings(max_examples=300, deadline=None)
@given(TEXTS, st.sampled_from(["", "<think>\n"]), st.sampled_from(["math", "helpful"]))
def test_what_is_strict_is_tolerated_too_but_for_a_box_beside(text: str, prefill: str, verifier: str) -> None:
    asked = row(verifier=verifier)
    if format.reward(text, asked, contract(prefill)).value == 1.0:
        assert format.tolerant(text, asked, contract(prefill)).value == 1.0


@settings(max_examples=300, deadline=None)
@given(TEXTS, TEXTS)
def test_no_words_make_two_answers_one(before: str, between: str) -> None:
    text = f"{before}<think>a</think><answer>b</answer>{between}<answer>c</answer>"
    assert format.tolerant(text, row(), contract()).value == 0.0


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_nothing_is_tolerated_that_does_not_close_its_thinking(text: str) -> None:
    if "</think>" not in text:
        assert format.tolerant(text, row(), contract("<think>\n")).value == 0.0


@pytest.mark.parametrize("prefill", ["", "<think>", "<think>\n", "Sure. <think>\n"])
def test_a_prefill_belongs_to_the_completion(prefill: str) -> None:
    completion = FORM.removeprefix("<think>") if prefill else FORM
    assert format.tolerant(completion, row(), contract(prefill)).value == float("Sure" not in prefill)
    assert format.reward(completion, row(), contract(prefill)).value == float("Sure" not in prefill)
