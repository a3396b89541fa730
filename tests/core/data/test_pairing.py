"""Pairs, orders, averages and matched lengths: numbers by hand, and the laws that hold for any input."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.core.data import labelling, pairing

LENGTHS = st.lists(st.tuples(st.integers(0, 200), st.integers(0, 200)), max_size=60)


def test_three_responses_make_three_pairs_and_fewer_when_asked() -> None:
    assert pairing.candidates(3, None, random.Random(0)) == [(0, 1), (0, 2), (1, 2)]
    assert len(pairing.candidates(5, 2, random.Random(0))) == 2
    assert pairing.candidates(2, 7, random.Random(0)) == [(0, 1)]
    assert pairing.candidates(1, None, random.Random(0)) == []


@given(st.integers(1, 9), st.integers(0, 2**32))
def test_each_response_stands_first_as_often_as_second(queries: int, seed: int) -> None:
    shown = pairing.orders(queries, random.Random(seed))
    assert len(shown) == queries and abs(2 * sum(shown) - queries) == queries % 2


def test_the_order_is_random() -> None:
    seen = Counter(tuple(pairing.orders(4, random.Random(seed))) for seed in range(600))
    assert len(seen) == 6 and min(seen.values()) > 60  # the 6 ways to place two of four
    odd = Counter(sum(pairing.orders(1, random.Random(seed))) for seed in range(400))
    assert min(odd[0], odd[1]) > 150


def test_the_margin_is_the_mean_difference() -> None:
    assert pairing.margin([(6.0, 4.0), (5.0, 5.0), (7.0, 3.0), (4.0, 4.0)]) == 1.5
    assert pairing.margin([(3.0, 4.0)]) == -1.0
    with pytest.raises(ValueError, match="without a judgement"):
        pairing.margin([])


def test_a_bin_holds_lengths_that_differ_by_the_tolerance_at_most() -> None:
    bins: dict[int, list[int]] = {}
    for length in range(2000):
        bins.setdefault(pairing.length_bin(length, 0.1), []).append(length)
    assert all((held[-1] + 1) / (held[0] + 1) <= 1.1 for held in bins.values())


def test_what_is_kept_by_hand() -> None:
    # Two pairs whose longer response was chosen and one of the same cell whose shorter was: one of the two must go.
    lengths = [(40, 20), (40, 20), (20, 40), (7, 7), (90, 10)]
    keep = pairing.matched(lengths, 0.1, random.Random(0))
    assert sum(keep[:2]) == 1 and keep[2:] == [True, True, False]


@given(LENGTHS, st.integers(0, 99))
@settings(max_examples=60)
def test_after_matching_length_tells_nothing(lengths: list[tuple[int, int]], seed: int) -> None:
    kept = [
        pair for pair, stays in zip(lengths, pairing.matched(lengths, 0.1, random.Random(seed)), strict=True) if stays
    ]
    chosen = Counter(pairing.length_bin(pair[0], 0.1) for pair in kept)
    rejected = Counter(pairing.length_bin(pair[1], 0.1) for pair in kept)
    assert chosen == rejected
    if kept:
        means = pairing.mean_lengths(kept)
        assert means["longer_chosen"] == 0.5
        assert abs((means["chosen"] or 0) - (means["rejected"] or 0)) <= 0.1 * (1 + (means["rejected"] or 0))


def test_mean_lengths_by_hand() -> None:
    assert pairing.mean_lengths([(10, 20), (30, 20), (5, 5)]) == {"chosen": 15, "rejected": 15, "longer_chosen": 0.5}
    assert pairing.mean_lengths([])["chosen"] is None


def test_points_are_read_from_the_last_object_of_a_reply() -> None:
    assert labelling.points('I think {"a": 3, "b": 9}. No: ```{"analysis": "x", "a": 7, "b": 2.5}```', 2) == (7.0, 2.5)
    assert labelling.points('{"analysis": "fine", "safety": 10}', 1) == (10.0,)


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "A is better",
        '{"a": 7}',
        '{"a": 7, "b": 11}',
        '{"a": 7, "b": true}',
        '{"a": "7", "b": 1}',
        '{"a": NaN, "b": 1}',
        "{" * 5000,
    ],
)
def test_a_reply_without_two_numbers_is_no_judgement(reply: str) -> None:
    assert labelling.points(reply, 2) is None


def test_a_response_that_holds_a_mark_is_shown_as_it_is() -> None:
    shown = labelling.task("say {B}", ["mine is {B} and {question}", "theirs"])
    assert "## Question\nsay {B}\n" in shown and "## Answer A\nmine is {B} and {question}\n" in shown
    assert "## Answer B\ntheirs\n" in shown
    assert '"safety"' in labelling.task("q", ["one response"])
