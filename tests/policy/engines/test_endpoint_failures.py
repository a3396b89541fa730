"""An endpoint that fails in every way that such servers were seen to: one attempt, one request, the whole engine."""

from __future__ import annotations

import gc
import time
from typing import Any

import pytest

from stages.core.errors import EngineError
from stages.core.sampling import Completion, Finish
from tests.policy.engines import fake_server as fake
from tests.policy.engines.asking import Opened, answers, asking, only
from tests.policy.engines.fake_server import FakeServer

# One attempt fails


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504, 408])
def test_a_status_that_passes_is_asked_again(server: FakeServer, opened: Opened, code: int) -> None:
    server.script = lambda number, body: fake.status(code) if number == 0 else fake.say()
    engine = opened()
    assert only(engine).finish is Finish.END
    assert (len(server.bodies), engine.spent.retries) == (2, 1)


def test_retry_after_is_waited_by_all(server: FakeServer, opened: Opened) -> None:
    times: list[float] = []

    def script(number: int, body: Any) -> fake.Behaviour:
        times.append(time.monotonic())
        return fake.status(429, Retry_After="0.2") if number == 0 else fake.say()

    server.script = script
    assert len(answers(opened(concurrency=1), asking("a", "b"))) == 2
    assert times[1] - times[0] >= 0.2


def test_a_server_that_wants_to_be_left_alone_for_hours_ends_the_run(server: FakeServer, opened: Opened) -> None:
    server.script = lambda number, body: fake.status(429, "come back", Retry_After="7200")
    with pytest.raises(EngineError, match="left alone for 7200 s") as raised:
        only(opened())
    assert "run the same command then" in raised.value.hint


@pytest.mark.parametrize("ends", [True, False])
def test_half_a_stream_is_found_and_asked_again(server: FakeServer, opened: Opened, ends: bool) -> None:
    server.script = lambda number, body: fake.half_a_stream(ends=ends) if number == 0 else fake.say()
    engine = opened()
    assert only(engine) == Completion(finish=Finish.END, text="yes", tokens=4, prompt_tokens=5)
    assert engine.spent.requests == 2  # the half was paid for too


def test_half_a_stream_that_stays_half_is_cut_and_no_end(server: FakeServer, opened: Opened) -> None:
    server.script = lambda number, body: fake.half_a_stream("ye")
    said = only(opened(retries=1))
    assert (said.finish, said.text, said.failed) == (Finish.CUT, "ye", True)


@pytest.mark.parametrize(
    ("behaviour", "settings", "fault"),
    [
        (fake.never, {"first_s": 0.1}, "without a first byte for 0.1 s"),
        (fake.stalls, {"idle_s": 0.1}, "without another byte for 0.1 s"),
        (fake.slowly, {"deadline_s": 0.2}, "not whole within 0.2 s"),
    ],
)
def test_every_wait_has_an_end(
    server: FakeServer, opened: Opened, behaviour: fake.Behaviour, settings: dict[str, float], fault: str
) -> None:
    server.script = lambda number, body: behaviour
    began = time.monotonic()
    said = only(opened(retries=1, **settings))
    assert (said.finish, said.fault) == (Finish.TIMED_OUT, fault)
    assert len(server.bodies) == 2 and time.monotonic() - began < 5


@pytest.mark.parametrize("stream", [True, False])
def test_an_endless_body_is_dropped(server: FakeServer, opened: Opened, stream: bool) -> None:
    server.script = lambda number, body: fake.endless
    said = only(opened(retries=0, stream=stream))
    assert said.finish is Finish.LOST
    assert len(said.text or "") < 200_000 and "than" in said.fault


@pytest.mark.parametrize(
    ("behaviour", "fault"),
    [
        (fake.raw("application/json", b'{"choices": [{"mess'), "no JSON but application/json"),
        (fake.raw("application/json", b"[" * 100_000), "no JSON"),
        (fake.raw("application/json", b'"yes"'), "not a map"),
        (fake.raw("text/html", b"<html><body>Welcome</body></html>"), "no JSON but text/html: <html>"),
        (fake.raw("text/event-stream", b"data: {nope\n\n"), "no JSON"),
        (fake.raw("text/event-stream", b"data: " + b"x" * (3 << 20)), "longer than"),
        (fake.raw("application/json", b'{"error": {"message": "engine \x1b[31mdied"}}'), "engine"),
        (fake.another_protocol, "illegal status line"),
    ],
)
def test_what_is_no_answer_is_lost_after_the_retries(
    server: FakeServer, opened: Opened, behaviour: fake.Behaviour, fault: str
) -> None:
    server.script = lambda number, body: behaviour
    said = only(opened(retries=1))
    assert said.finish is Finish.LOST and fault in said.fault
    assert said.fault.isprintable() and len(said.fault) < 300
    assert len(server.bodies) == 2


def test_a_packed_body_is_never_unpacked(server: FakeServer, opened: Opened) -> None:
    def packed(handler: Any, _: Any) -> None:
        handler.whole(200, "application/json", b"\x1f\x8b" + b"0" * 100, {"Content-Encoding": "gzip"})

    server.script = lambda number, body: packed
    assert "compressed" in only(opened(retries=0)).fault


# One request fails


@pytest.mark.parametrize("code", [400, 413, 422])
def test_a_request_that_is_wrong_is_refused_at_once_and_the_others_go_on(
    server: FakeServer, opened: Opened, code: int
) -> None:
    def script(number: int, body: Any) -> fake.Behaviour:
        long = body["messages"][0]["content"] == "long"
        return fake.status(code, "too long") if long else fake.say()

    server.script = script
    said = answers(opened(), asking("long", "short"))
    assert (said["long"].finish, said["long"].fault) == (Finish.REFUSED, f"{code} too long")
    assert said["short"].finish is Finish.END
    assert len(server.bodies) == 2


def test_a_model_that_wants_another_name_for_the_limit_gets_it(server: FakeServer, opened: Opened) -> None:
    def script(number: int, body: Any) -> fake.Behaviour:
        old = "max_tokens" in body
        return fake.status(400, "'max_tokens' is not supported, use 'max_completion_tokens'") if old else fake.say()

    server.script = script
    said = answers(opened(), asking("a", "b", "c"))
    assert [one.finish for one in said.values()] == [Finish.END] * 3
    assert server.bodies[-1]["max_completion_tokens"] == 32


# The engine fails


@pytest.mark.parametrize(
    ("behaviour", "what", "way_out"),
    [
        (fake.status(401, "bad key"), "does not let us in (401 bad key)", "variable OPENAI_API_KEY"),
        (fake.status(403), "does not let us in", "variable OPENAI_API_KEY"),
        (fake.status(402, "pay"), "no credit left", "top it up"),
        (fake.raw("application/json", b'{"error": {"code": "insufficient_quota"}}', 429), "no credit", "top it up"),
        (fake.status(404, "no such model"), "has no model `tiny`", "/models"),
        (fake.status(307, Location="http://elsewhere/v1?token=1"), "sends us on to `http://elsewhere/v1`", "address"),
        (fake.say(model="other"), "answers as `other`, and `tiny` was asked", "#other"),
    ],
)
def test_what_would_meet_every_request_ends_the_run_at_once(
    server: FakeServer, opened: Opened, behaviour: fake.Behaviour, what: str, way_out: str
) -> None:
    server.script = lambda number, body: behaviour
    with pytest.raises(EngineError) as raised:
        answers(opened(concurrency=1), asking(*"abcdefgh"))
    assert what in raised.value.what and way_out in raised.value.hint
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    ("listing", "what"),
    [
        (fake.raw("text/html", b"<html>hi</html>"), "not as an OpenAI-compatible server (text/html)"),
        (fake.raw("application/json", b"[]"), "not as an OpenAI-compatible server"),
        (fake.status(401), "does not let us in"),
        (fake.another_protocol, "no OpenAI-compatible server answers at"),
    ],
)
def test_a_wrong_server_is_found_before_anything_is_asked(
    server: FakeServer, opened: Opened, listing: fake.Behaviour, what: str
) -> None:
    server.listing = listing
    with pytest.raises(EngineError) as raised:
        answers(opened(), asking(*"abc"))
    assert what in raised.value.what and raised.value.hint
    assert not server.bodies


def test_a_server_that_lists_no_models_is_asked_all_the_same(server: FakeServer, opened: Opened) -> None:
    server.listing = fake.status(404)
    assert only(opened()).finish is Finish.END


def test_a_server_that_is_not_there_is_one_sentence(server: FakeServer, opened: Opened) -> None:
    engine = opened()
    fake.stop(server)
    with pytest.raises(EngineError, match="no OpenAI-compatible server answers at") as raised:
        only(engine)
    assert "start it" in raised.value.hint


def test_a_server_that_dies_midway_ends_the_run_and_what_was_finished_is_yielded(
    server: FakeServer, opened: Opened
) -> None:
    found = []
    with pytest.raises(EngineError, match="does not answer any more") as raised:
        for request, completion in opened(concurrency=1, retries=1).sample(asking(*"abcdef")):
            found.append((request.key, completion.finish))
            if len(found) == 2:
                fake.stop(server)
    assert found[:2] == [("a", Finish.END), ("b", Finish.END)]
    assert "run the same command when it is back" in raised.value.hint


def test_a_server_that_fails_every_request_is_given_up(server: FakeServer, opened: Opened) -> None:
    server.script = lambda number, body: fake.say() if number == 0 else fake.status(500)
    with pytest.raises(EngineError, match="does not answer any more"):
        answers(opened(concurrency=1, retries=0), asking(*"abcdefghij"))
    assert len(server.bodies) == 5


def test_a_run_that_ends_on_an_error_leaves_asyncio_nothing_to_say(
    server: FakeServer, opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    """Bodies that were being read when it ended are generators, whose closing is a task that nobody would wait for."""
    server.script = lambda number, body: fake.raw("text/event-stream", b"data: {bad\n\n" * 20)
    for _ in range(8):
        engine = opened(concurrency=8, retries=0)
        with pytest.raises(EngineError, match="does not answer any more"):
            answers(engine, asking(*(f"{number}" for number in range(24))))
        engine.close()
        gc.collect()
    assert [record.message for record in caplog.records if record.name == "asyncio"] == []
