"""What the generative judge is asked, and how its word is heard."""

from __future__ import annotations

import pytest

from stages.rewards import generative
from tests.rewards.contracts import row


def test_the_task_holds_question_reference_and_answer_and_the_answer_cannot_forge_them() -> None:
    task = generative.task(row("17", problem="12 + {5}?"), "It is {reference} 18 {question}")
    assert "12 + {5}?" in task and "It is {reference} 18 {question}" in task
    before, after = task.split("## Student's answer")
    assert "## Reference answer\n17" in before and "18" in after and "17" not in after


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        ('{"analysis": "same", "correctness": "correct"}', 1.0),
        ('Let me see.\n{"analysis": "no", "correctness": "Incorrect "}', 0.0),
        ('{"analysis": "it says \\"correct\\"", "correctness": "incorrect"}', 0.0),
        ('{"correctness": "mostly correct"}', None),
        ('{"correctness": true}', None),
        ('{"correctness": ["correct"]}', None),
        ("correct", None),
        ("", None),
        ("{" * 100_000, None),
    ],
)
def test_only_a_plain_word_in_json_is_a_verdict(reply: str, value: float | None) -> None:
    assert generative.verdict(reply).value == value


def test_the_analysis_is_the_reason_and_an_unreadable_reply_is_shown() -> None:
    assert generative.verdict('{"analysis": "the sums agree", "correctness": "correct"}').reason == "the sums agree"
    assert generative.verdict("I think so").reason == f"{generative.UNREADABLE}: I think so"
