"""A verdict comes back only for the same question to the same reward; None never does; the memory is bounded."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from stages.rewards.cache import Cache, key
from stages.rewards.verdict import Verdict
from tests.rewards.contracts import contract, row

RIGHT = Verdict(1.0, "right")


def asked(**changes: Any) -> bytes | None:
    question = {
        "name": "accuracy",
        "version": "1",
        "completion": "17",
        "row": row(meta={"a": 1, "b": [2]}),
        "contract": contract(),
        "options": {"x": 1},
    }
    return key(**{**question, **changes})


def test_the_same_question_finds_its_verdict_and_is_counted() -> None:
    cache = Cache()
    assert cache.get(asked()) is None
    cache.put(asked(), RIGHT)
    assert cache.get(asked(row=row(meta={"b": [2], "a": 1}))) == RIGHT, "the order of keys is no content"
    assert (cache.hits, cache.misses, len(cache)) == (1, 1, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "strict"},
        {"version": "2"},
        {"completion": "17 "},
        {"completion": "\ud800"},
        {"row": row("18", meta={"a": 1, "b": [2]})},
        {"row": row(meta={"a": 1, "b": [3]})},
        {"row": row(meta={"a": 1, "b": [2]}, language="zh")},
        {"row": row(verifier="choice", meta={"a": 1, "b": [2]})},
        {"contract": contract("<think>")},
        {"contract": replace(contract(), answer_tags=("<a>", "</a>"))},
        {"options": {"x": 2}},
        {"options": {}},
    ],
    ids=str,
)
def test_any_other_question_is_another(change: dict[str, Any]) -> None:
    assert asked(**change) != asked()


def test_the_id_matters_only_to_a_users_own_reward() -> None:
    other = row(id="p2", meta={"a": 1, "b": [2]})
    assert asked(row=other) == asked()
    assert asked(row=other, name="mine:reward") != asked(name="mine:reward")


def test_what_could_not_be_judged_is_asked_again() -> None:
    cache = Cache()
    cache.put(asked(), Verdict(None, "took over 5 s"))
    assert cache.get(asked()) is None and len(cache) == 0


def test_what_is_no_json_has_no_key_and_is_never_kept() -> None:
    nothing = asked(row=row(meta={"object": object()}))
    cache = Cache()
    cache.put(nothing, RIGHT)
    assert nothing is None and cache.get(nothing) is None and len(cache) == 0


def test_the_one_used_longest_ago_goes_first() -> None:
    cache = Cache(count=2)
    for name in (b"a", b"b"):
        cache.put(name, RIGHT)
    assert cache.get(b"a") == RIGHT
    cache.put(b"c", RIGHT)
    assert cache.get(b"b") is None and cache.get(b"a") == cache.get(b"c") == RIGHT


def test_bytes_are_bounded_and_counted_back() -> None:
    cache = Cache(size=10_000)
    for number in range(100):
        cache.put(b"%d" % number, Verdict(1.0, "x" * 150))  # 1,000 bytes each
        cache.put(b"%d" % number, Verdict(1.0, "x" * 150))
    assert len(cache) == 10
    cache.put(b"huge", Verdict(1.0, "x" * 10_000))
    assert len(cache) == 0, "an entry larger than all is not kept"
    cache.put(b"a", RIGHT)
    assert cache.get(b"a") == RIGHT
    cache.clear()
    assert len(cache) == 0 and cache.get(b"a") is None


def test_threads_lose_and_mix_up_nothing() -> None:
    cache = Cache(count=50)

    def work(number: int) -> None:
        name = b"%d" % (number % 60)
        found = cache.get(name)
        assert found is None or found.reason == str(number % 60)
        cache.put(name, Verdict(1.0, str(number % 60)))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(3000)))
    assert len(cache) == 50 and cache.hits + cache.misses == 3000
