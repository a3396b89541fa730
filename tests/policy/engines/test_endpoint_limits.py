"""How much is asked of an endpoint at once and in all, what a kill cannot take, and where the key goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stages.core.errors import EngineError
from stages.core.sampling import Completion, Request
from tests.policy.engines import fake_server as fake
from tests.policy.engines.asking import Opened, answers, asking, only
from tests.policy.engines.fake_server import FakeServer

KEY = "sk-very-secret-0123456789"

# How much at once


def test_the_server_is_kept_full_and_the_stream_is_not_read_far_ahead(server: FakeServer, opened: Opened) -> None:
    taken: list[Any] = []

    def stream() -> Iterator[Request]:
        for request in asking(*(str(number) for number in range(40))):
            taken.append(request.key)
            yield request

    done, ahead = 0, []
    for _ in opened(concurrency=3).sample(stream()):
        done += 1
        ahead.append(len(taken) - done)
    assert done == 40 and max(ahead) < 6
    assert server.most_flying <= 3


def test_requests_a_minute_are_spread(server: FakeServer, opened: Opened) -> None:
    began = time.monotonic()
    answers(opened(requests_per_minute=1200), asking(*"abcdef"))  # one each 0.05 s
    assert time.monotonic() - began >= 0.25


def test_tokens_a_minute_are_spread(server: FakeServer, opened: Opened) -> None:
    began = time.monotonic()
    # An answer has 9 tokens: 0.06 s of 9,000 a minute.
    answers(opened(tokens_per_minute=9000, concurrency=1), asking(*"abcd", max_tokens=4))
    assert time.monotonic() - began >= 0.18


# Budget and journal


def test_a_budget_is_never_passed_and_the_run_goes_on_with_a_larger_one(
    server: FakeServer, opened: Opened, tmp_path: Path
) -> None:
    requests = asking(*"abcdefghij", max_tokens=4)  # each costs 9, and at worst 1 + 64 + 4
    found: dict[Any, Completion] = {}
    with pytest.raises(EngineError, match="the budget has no room") as raised:
        for request, completion in opened(budget_tokens=100, journal=tmp_path / "j").sample(requests):
            found[request.key] = completion
    assert len(found) == 4  # 4 x 9 + 69 is more than 100
    assert "36 of 100 tokens are spent on 4 answers" in raised.value.what
    assert "runtime.endpoint.budget_tokens=" in raised.value.hint
    more = opened(budget_tokens=1000, journal=tmp_path / "j")
    assert len(answers(more, requests)) == 10
    assert len(server.bodies) == 10 and more.spent.prompt_tokens + more.spent.tokens == 90


def test_a_budget_in_money_counts_both_prices(server: FakeServer, opened: Opened) -> None:
    # An answer costs 5 x 1 + 4 x 3 = 17 millionths, at worst 65 + 12 = 77.
    engine = opened(budget_money=100e-6, price_in=1.0, price_out=3.0)
    with pytest.raises(EngineError, match=r"of 0\.0001 are spent on 2 answers") as raised:
        answers(engine, asking(*"abcdef", max_tokens=4))
    assert "budget_money=" in raised.value.hint


def test_a_budget_works_where_the_server_does_not_count(server: FakeServer, opened: Opened) -> None:
    server.script = lambda number, body: fake.say("y" * 30, usage=None)
    with pytest.raises(EngineError, match="the budget has no room"):
        answers(opened(budget_tokens=200, concurrency=1), asking(*"abcdefghijklmnopqrst", max_tokens=16))
    assert 5 < len(server.bodies) < 15


def test_what_a_kill_interrupts_is_asked_again_and_nothing_else(
    server: FakeServer, opened: Opened, tmp_path: Path
) -> None:
    requests = asking("a", "b", "c")
    first = answers(opened(journal=tmp_path / "j"), requests[:2])
    with (tmp_path / "j").open("ab") as file:
        file.write(b'{"key": "torn by a ki')
    second = answers(opened(journal=tmp_path / "j"), requests)
    assert {key: second[key] for key in first} == first
    assert [body["messages"][0]["content"] for body in server.bodies][2:] == ["c"]
    assert len(answers(opened(journal=tmp_path / "j"), requests)) == 3 and len(server.bodies) == 3


def test_another_seed_or_another_sampling_is_another_question(
    server: FakeServer, opened: Opened, tmp_path: Path
) -> None:
    only(opened(journal=tmp_path / "j"), seed=1)
    only(opened(journal=tmp_path / "j"), seed=2)
    only(opened(journal=tmp_path / "j"), seed=2, max_tokens=5)
    assert len(server.bodies) == 3


# The key


def test_the_key_is_sent_and_written_nowhere(
    server: FakeServer, opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHER_KEY", f"{KEY}\n")

    def echo(number: int, body: Any) -> fake.Behaviour:
        return [fake.say(f"your key is {KEY}"), fake.status(400, f"wrong: {KEY}"), fake.status(401, KEY)][number]

    server.script = echo
    engine = opened(key_env="OTHER_KEY", journal=tmp_path / "j", concurrency=1)
    found: list[Any] = []
    with pytest.raises(EngineError) as raised:
        found += engine.sample(asking("a", "b", "c"))
    assert server.keys == [f"Bearer {KEY}"] * 3
    seen = repr((found, vars(engine), str(raised.value), raised.value.hint)) + (tmp_path / "j").read_text()
    assert KEY not in seen and "[the key]" in seen
    assert sum("repeats the key" in note for note in engine.notes) == 1


def test_a_key_that_cannot_be_sent_is_not_shown(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1\nsk-2")
    with pytest.raises(EngineError) as raised:
        opened()
    assert "OPENAI_API_KEY" in raised.value.what and "sk-1" not in raised.value.told
    with pytest.raises(EngineError, match="the environment variable NO_KEY holds no key"):
        opened(key_env="NO_KEY")


def test_without_a_key_none_is_sent(server: FakeServer, opened: Opened) -> None:
    engine = opened()
    only(engine)
    assert server.keys == [""] and not engine.notes
