"""Whatever JSON a server sends, a completion or a fault comes of it, fit to be written down, and without the key."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.core.errors import EngineError
from stages.core.run.endpoint import Address, EndpointSettings
from stages.policy.engines.endpoint.reading import called, judged
from stages.policy.engines.endpoint.wire import Answer, Fault, Server, _take, parsed, refusal, retry_after

KEY = "sk-very-secret-0123456789"
SERVER = Server(Address.parse("openai:http://127.0.0.1/v1#tiny"), EndpointSettings(), KEY)
BODY = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 8}
NAMES = st.sampled_from(
    [
        "choices",
        "delta",
        "message",
        "content",
        "reasoning",
        "reasoning_content",
        "finish_reason",
        "usage",
        "model",
        "system_fingerprint",
        "error",
        "code",
        "index",
        "prompt_tokens",
        "completion_tokens",
        "text",
        "detail",
    ]
)
WORDS = st.sampled_from(["", "stop", "length", "content_filter", "<think>", "</think>", "a\ud800b\x1b[31m", KEY, "yes"])
PLAIN = st.one_of(st.none(), st.booleans(), st.integers(-1, 10**20), st.floats(), WORDS)
ANYTHING = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5), max_leaves=25
)


@given(st.lists(st.dictionaries(NAMES, ANYTHING, max_size=5), max_size=3))
def test_an_answer_of_any_json_is_a_completion_or_a_fault(events: list[dict[str, Any]]) -> None:
    answer, fault = Answer(), None
    try:
        for event in events:
            _take(event, SERVER, answer)
    except Fault as error:
        fault = error
    except EngineError as error:
        assert KEY not in error.told and error.told.isprintable()
        return
    completion, cost = judged(answer, fault, BODY, SERVER, ("<think>", "</think>"))
    assert completion.text is not None and completion.text.encode() is not None
    assert KEY not in f"{completion} {cost}" and completion.fault.isprintable()
    assert cost.tokens >= 0 and cost.prompt_tokens >= 0


@given(
    st.integers(201, 599),
    ANYTHING,
    st.sampled_from(["", "1", "nan", "-5", "1e999", "soon", "Wed, 21 Oct 2015 07:28:00 GMT"]),
)
def test_a_refusal_with_any_body_is_a_fault_or_one_sentence(status: int, body: Any, wait: str) -> None:
    try:
        fault = refusal(status, SERVER, json.dumps(body).encode(), {"retry-after": wait})
    except EngineError as error:
        assert error.hint and error.told.isprintable() and KEY not in error.told
    else:
        assert fault.told.isprintable() and KEY not in fault.told


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2", 2.0), ("0.5", 0.5), ("-3", 0.0), ("nan", None), ("inf", None), ("", None), ("soon", None),
     ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0)],
)  # fmt: skip
def test_retry_after_is_read_as_seconds_or_a_date(text: str, seconds: float | None) -> None:
    assert retry_after(text) == seconds


@pytest.mark.parametrize(
    ("told", "asked", "same"),
    [
        ("tiny", "Tiny", True),
        ("tiny-2024-08-06", "tiny", True),
        ("big-20241022", "big-latest", True),
        ("org/tiny", "tiny", True),
        ("tiny", "org/tiny", True),
        ("tiny-mini", "tiny", False),
        ("tiny-mini-2024-07-18", "tiny", False),
        ("tin", "tiny", False),
    ],
)
def test_a_dated_version_or_a_makers_name_is_the_model_and_a_smaller_brother_is_not(
    told: str, asked: str, same: bool
) -> None:
    assert called(told, asked) is same


@pytest.mark.parametrize("key", ["4", "x", "none", "EMPTY", "token-abc12"])
def test_a_dummy_key_changes_no_answer(key: str) -> None:
    server = Server(SERVER.address, SERVER.settings, key)
    text = f"<think>x = 4, or none</think>4 {key}"
    assert judged(Answer([text], finish_reason="stop"), None, BODY, server, ("<think>", "</think>"))[0].text == text


def test_a_short_key_is_blotted_out_of_errors_as_a_word_and_a_shorter_one_is_a_letter() -> None:
    shown = {key: Server(SERVER.address, SERVER.settings, key).shown("key none: nonempty x4") for key in ("none", "x4")}
    assert shown == {"none": "key [the key]: nonempty x4", "x4": "key none: nonempty x4"}


@pytest.mark.parametrize(
    "text",
    [
        f"x{KEY}y",
        KEY.upper(),
        "\x00".join(KEY),
        " \n\u200b".join(KEY),
        " " * (480 - 10) + KEY,
        "<b>".join(KEY),
    ],
)
def test_an_error_lets_no_key_through_in_pieces(text: str) -> None:
    for told in (SERVER.shown(text, 60), refusal(400, SERVER, text.encode()).told):
        seen = "".join(told.split()).lower()
        assert KEY not in seen and KEY[:8] not in seen


def test_a_content_type_is_shown_without_the_key() -> None:
    with pytest.raises(Fault) as raised:
        parsed(b"no", f"text/{KEY}", SERVER)
    assert raised.value.told == "the answer is no JSON but text/[the key]: no"
