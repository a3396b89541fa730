"""JSON is read out of whatever a model says, in bounded time, and never raises."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.core.data.replies import MAX_CHARACTERS, json_object


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ('{"correctness": "correct"}', "correct"),
        ('Well.\n```json\n{"analysis": "a {b} c", "correctness": "incorrect"}\n```\nThat is all.', "incorrect"),
        ('{"correctness": "correct"} no, {"correctness": "incorrect"}', "incorrect"),
        ('{"correctness": "correct"} {"other": 1}', "correct"),
        ('{"analysis": "{\\"correctness\\": \\"correct\\"}", "correctness": "incorrect"}', "incorrect"),
        ("{{{{ " + '{"correctness": "correct"}', "correct"),
    ],
)
def test_the_last_object_with_the_key_counts(reply: str, found: str) -> None:
    assert (json_object(reply, "correctness") or {}).get("correctness") == found


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "correct",
        '"correctness"',
        "['correctness']",
        "{'correctness': 'correct'}",
        '{"correctness": "correct"',
        '{"analysis": {"correctness": "correct"}}',
        '[{"a": 1}, 2]',
    ],
)
def test_a_reply_without_such_an_object_gives_none(reply: str) -> None:
    assert json_object(reply, "correctness") is None


@pytest.mark.parametrize(
    "reply",
    ["{" * 10**6, '{"a":' * 10**5, '{"correctness":[' * 5000, '{"correctness":' + "9" * 10_000 + "}", "\0{" * 10**5],
)
def test_hostile_replies_cost_little_and_raise_nothing(reply: str) -> None:
    start = time.process_time()
    json_object(reply, "correctness")
    assert time.process_time() - start < 1


def test_only_the_end_of_a_long_reply_is_read() -> None:
    said = '{"correctness": "correct"}'
    assert json_object(said + " " * MAX_CHARACTERS, "correctness") is None
    assert json_object(" " * MAX_CHARACTERS + said, "correctness") == {"correctness": "correct"}


@given(
    st.dictionaries(st.text(max_size=5), st.one_of(st.integers(), st.text(max_size=9)), max_size=4),
    st.text(max_size=40),
)
def test_any_object_is_found_after_any_prose_without_braces(value: dict[str, object], prose: str) -> None:
    prose = prose.replace("{", "")
    assert json_object(prose + json.dumps({**value, "key": 1}), "key") == {**value, "key": 1}
