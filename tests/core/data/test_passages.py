"""A passage in pieces is one text, its pieces apart by blank lines; what is none is not guessed at."""

from __future__ import annotations

from typing import Any

import pytest

from stages.core.data import passages


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (" A is 1. ", "A is 1."),
        (None, ""),
        ([], ""),
        ({}, ""),
        (["A is 1.", "", None, "B is 2."], "A is 1.\n\nB is 2."),
        ({"title": ["A", "B"], "sentences": [["A is 1. ", " It is."], ["B is 2."]]}, "A\nA is 1. It is.\n\nB\nB is 2."),
        ([["A", ["A is 1."]], ["B", ["B is 2."]]], "A\nA is 1.\n\nB\nB is 2."),
        ([{"title": "A", "text": "A is 1."}, {"text": "B is 2."}], "A\nA is 1.\n\nB is 2."),
        ([{"idx": 0, "title": "A", "paragraph_text": "A is 1.", "is_supporting": True}], "A\nA is 1."),
        ({"contexts": ["A is 1.", "B is 2."], "labels": ["X", "Y"]}, "A is 1.\n\nB is 2."),
        ([{"role": "user", "content": "Hi"}], None),
        ({"title": ["A", "B"], "sentences": [["A is 1."]]}, None),
        ({"title": "A"}, None),
        ([1, 2], None),
        (5, None),
    ],
)
def test_a_passage_is_joined_or_is_none(value: Any, said: str | None) -> None:
    assert passages.joined(value) == said


def test_a_passage_stands_before_a_question_that_does_not_hold_it() -> None:
    unread = set[str]()
    row = {"article": 5, "context": ["A is 1.", "B is 2."]}
    assert passages.below(row, "A + B?", {}, unread) == "A is 1.\n\nB is 2.\n\nA + B?" and unread == {"article"}
    assert passages.below({"context": "A"}, "What is A?", {}, unread) == "What is A?"
