"""What an endpoint says, against a real server on loopback: asking, reasoning, counts, who answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stages.core.errors import EngineError
from stages.core.sampling import Completion, Finish
from tests.policy.engines import fake_server as fake
from tests.policy.engines.asking import Opened, answers, asking, only
from tests.policy.engines.fake_server import FakeServer

# What is asked, and what comes of it


def test_a_request_is_asked_with_its_sampling_and_its_own_seed(server: FakeServer, opened: Opened) -> None:
    only(opened(), "how?", max_tokens=7, seed=2**62)
    assert server.bodies == [
        {
            "model": "tiny",
            "messages": [{"role": "user", "content": "how?"}],
            "temperature": 0.6,
            "top_p": 0.95,
            "max_tokens": 7,
            "seed": 2**62,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ]


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_is_the_same_as_a_stream_and_whole(server: FakeServer, opened: Opened, stream: bool) -> None:
    said = only(opened(stream=stream))
    assert said == Completion(finish=Finish.END, text="yes", tokens=4, prompt_tokens=5)
    assert ("stream" in server.bodies[0]) is stream


@pytest.mark.parametrize(
    ("word", "finish", "fault"),
    [
        ("stop", Finish.END, ""),
        ("length", Finish.LENGTH, ""),
        ("content_filter", Finish.REFUSED, "the server ended it with `content_filter`"),
        ("tool_calls", Finish.REFUSED, "the server ended it with `tool_calls`"),
        (None, Finish.CUT, "the answer ended midway"),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_how_it_finished_is_the_servers_word_for_it(
    server: FakeServer, opened: Opened, stream: bool, word: str | None, finish: Finish, fault: str
) -> None:
    server.script = lambda number, body: fake.say("yes", finish=word)
    said = only(opened(stream=stream, retries=0))
    assert (said.finish, said.fault) == (finish, fault)


THOUGHT = "<think>two and two</think>4"


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("content", "fields"),
    [
        ("\n\n4", {"reasoning": "two and two\n"}),
        ("4", {"reasoning_content": "two and two"}),
        ("4", {"reasoning": "two and two", "reasoning_content": "two and two"}),
        ("4", {"reasoning": "<think>two and two</think>"}),
        ("<think>\ntwo and two\n</think>\n\n4", {}),
        ("two and two</think>4", {}),
        ("<think>two and two</think>4", {"reasoning": "two and two"}),
    ],
)
def test_reasoning_stands_in_one_pair_of_marks_however_it_came(
    server: FakeServer, opened: Opened, stream: bool, content: str, fields: dict[str, str]
) -> None:
    server.script = lambda number, body: fake.say(content, **fields)
    assert only(opened(stream=stream)).text == THOUGHT


def test_reasoning_that_never_ended_stays_open(server: FakeServer, opened: Opened) -> None:
    texts = []
    for content, fields in (("", {"reasoning": "two and"}), ("<think>two and", {})):
        server.script = lambda number, body, c=content, f=fields: fake.say(c, finish="length", **f)
        texts.append(only(opened()).text)
    assert texts == ["<think>two and"] * 2


def test_an_answer_that_speaks_of_the_marks_keeps_its_words(server: FakeServer, opened: Opened) -> None:
    server.script = lambda number, body: fake.say("it ends at </think>", reasoning="where?")
    assert only(opened()).text == "<think>where?</think>it ends at </think>"


def test_a_character_split_between_two_events_is_whole_and_half_a_one_is_replaced(
    server: FakeServer, opened: Opened
) -> None:
    def halves(handler: Any, _: Any) -> None:
        events = [{"choices": [{"delta": {"content": part}}]} for part in ("\ud83d", "\ude00", "\ud83d!")]
        events.append({"choices": [{"delta": {}, "finish_reason": "stop"}]})
        body = b"".join(b"data: " + json.dumps(event).encode() + b"\r\n\r\n" for event in events)
        handler.whole(200, "text/event-stream", body)

    server.script = lambda number, body: halves
    assert only(opened()).text == "😀\ufffd!"


# Counts


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        "none",
        {"prompt_tokens": -1, "completion_tokens": 4},
        {"prompt_tokens": 5, "completion_tokens": 10**9},
        {"prompt_tokens": "5", "completion_tokens": "4"},
        {"prompt_tokens": 5, "completion_tokens": 0},
        {"prompt_tokens": True, "completion_tokens": 4.0},
    ],
)
def test_counts_that_cannot_be_true_are_estimated_and_said_once(server: FakeServer, opened: Opened, usage: Any) -> None:
    server.script = lambda number, body: fake.say("yes, it is.", usage=usage)
    engine = opened()
    said = answers(engine, asking("what is it?", "and that?"))
    assert said["what is it?"].tokens in (4, 12)  # 11 bytes, 3 a token; or the server's own where that can be true
    assert said["what is it?"].prompt_tokens in (4, 5)
    assert engine.spent.estimated == 2
    assert len(engine.notes) == 1 and "counts tokens wrongly" in engine.notes[0]


# Who answers


def test_a_check_says_what_the_server_says_of_itself(server: FakeServer, opened: Opened) -> None:
    server.listing = fake.lists("tiny", "big", root="org/tiny", max_model_len=512)
    said = opened().check()
    assert said["listed"]["root"] == "org/tiny" and said["listed"]["max_model_len"] == 512
    assert (said["model"], said["system_fingerprint"]) == ("tiny", "fp_1")


def test_a_dated_version_is_the_model_until_another_one_answers(server: FakeServer, opened: Opened) -> None:
    dated = iter(["tiny-2024-08-06", "tiny-2024-08-06", "tiny-2024-11-20"])
    server.script = lambda number, body: fake.say(model=next(dated))
    with pytest.raises(EngineError, match="was `tiny-2024-08-06` and is `tiny-2024-11-20` now") as raised:
        answers(opened(concurrency=1), asking("a", "b", "c"))
    assert ": openai:http://" in raised.value.hint and raised.value.hint.endswith("#tiny@REVISION")


def test_another_model_than_the_one_recorded_ends_the_run(server: FakeServer, opened: Opened) -> None:
    with pytest.raises(EngineError, match="was `tiny-1` and is `tiny` now"):
        only(opened(said={"model": "tiny-1"}))
    server.listing = fake.lists("tiny", root="org/new")
    with pytest.raises(EngineError, match="was `org/old` and is `org/new` now"):
        only(opened(said={"listed": {"root": "org/old"}}))


def test_figures_tell_who_answered_and_what_it_cost(server: FakeServer, opened: Opened) -> None:
    server.script = lambda number, body: fake.say(version=f"fp_{number % 2}")
    engine = opened(price_in=2.0, price_out=10.0, concurrency=1)
    answers(engine, asking("a", "b"))
    assert engine.figures() == {
        "requests": 2,
        "prompt_tokens": 10,
        "tokens": 8,
        "estimated": 0,
        "retries": 0,
        "money": pytest.approx((10 * 2 + 8 * 10) / 1e6),
        "models": {"tiny": 2},
        "system_fingerprints": {"fp_0": 1, "fp_1": 1},
    }


# What it cannot do


def test_an_endpoint_only_speaks(opened: Opened) -> None:
    engine = opened()
    with pytest.raises(EngineError, match="cannot take new weights: it only speaks") as raised:
        engine.renew([], 1)
    assert "hf:tiny" in raised.value.hint
    with pytest.raises(EngineError, match="cannot tell the log-probabilities"):
        engine.read([])


def test_closing_twice_does_nothing(opened: Opened) -> None:
    engine = opened()
    only(engine)
    engine.close()
    engine.close()
