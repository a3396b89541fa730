"""Golds of several kinds, and answers that are none."""

from __future__ import annotations

import pytest

from stages.core.rows import Prompt
from stages.rewards import accuracy, mathematics, selftest
from stages.rewards.files import lines
from tests.rewards.contracts import contract, row

NO_ANSWERS = ["\\boxed{42", "so \\boxed{42 and", "\\boxed{print(42)}", "\\boxed{lambda: 42}", "\\boxed{yield 42}"]


@pytest.mark.parametrize("text", NO_ANSWERS)
def test_a_box_that_never_closes_and_a_piece_of_a_program_are_no_answers(text: str) -> None:
    assert accuracy.reward(text, row("42"), contract()).value == 0.0


def test_of_several_golds_any_one_is_right() -> None:
    asked = lines.read(b'{"id": "a", "completion": "", "answer": ["17", "seventeen apples", "x+1"]}')
    assert asked.row is not None and not asked.refused
    prompt = Prompt(**asked.row)
    values = [accuracy.reward(f"\\boxed{{{text}}}", prompt, contract()).value for text in ("17", "1+x", "18")]
    assert values == [1.0, 1.0, 0.0]
    assert lines.read(b'{"id": "a", "completion": "", "answer": []}').refused


def test_a_gold_that_nobody_understands_is_judged_by_its_text_and_reported() -> None:
    gold = "\\forall x \\exists y P(x, y)"
    verdicts = [mathematics.judge(text, gold).value for text in (gold, "7", "\\exists y \\forall x P(x, y)")]
    assert verdicts == [1.0, 0.0, 0.0]
    assert selftest.check_gold("accuracy", row(gold), {}) == (None, mathematics.BY_TEXT)


@pytest.mark.parametrize("gold", ["proof", "N/A", "see solution", "notfound", "NaN"])
def test_a_gold_that_is_only_a_place_holder_is_reported(gold: str) -> None:
    verdict = selftest.check_gold("accuracy", row(gold), {})
    assert verdict.value is None and "no answer" in verdict.reason
