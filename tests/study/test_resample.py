"""Differences over problems and seeds: values by hand, then laws that hold for every input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.study import resample
from stages.study.figures import WHOLE
from stages.study.resample import Pairing

SHARES = st.lists(st.floats(0, 1), min_size=2, max_size=12)
QUICK = settings(max_examples=30, deadline=None)


def column(values: list[float]) -> dict[str, tuple[float, float]]:
    return {f"p{place}": (value, 1.0) for place, value in enumerate(values)}


def pairing(after: list[float], before: list[float]) -> Pairing:
    return Pairing(column(after), column(before))


def effect(seeds: list[Pairing]) -> resample.Effect:
    return resample.effect(seeds, resample.draws([seeds])[0])


def test_the_difference_is_the_mean_over_seeds_of_the_differences() -> None:
    found = effect([pairing([1.0, 0.0], [0.0, 0.0]), pairing([1.0, 1.0], [0.0, 0.0])])
    assert (found.after, found.before, found.value) == (0.75, 0.0, 0.75)
    assert found.by_seed == (0.5, 1.0)
    assert found.problems == 2


def test_one_seed_resamples_problems_alone() -> None:
    # Means of two problems with differences 0 and 1 are 0, 1/2, 1 with chances 1/4, 1/2, 1/4.
    found = effect([pairing([1.0, 0.0], [0.0, 0.0])])
    assert (found.low, found.high) == (0.0, 1.0)


def test_three_seeds_that_differ_give_an_interval_from_the_least_to_the_largest() -> None:
    # Every problem agrees, so only seeds vary: one of them comes three times in 3.7 % of the draws, more than 2.5 %.
    found = effect([pairing([share] * 4, [0.0] * 4) for share in (0.2, 0.3, 0.7)])
    assert (found.low, found.high) == (pytest.approx(0.2), pytest.approx(0.7))


def test_a_figure_without_problems_has_an_interval_over_seeds_only() -> None:
    one, other = Pairing({WHOLE: (7.0, 1.0)}, {WHOLE: (5.0, 1.0)}), Pairing({WHOLE: (8.0, 1.0)}, {WHOLE: (5.0, 1.0)})
    alone = effect([one])
    assert (alone.value, alone.low, alone.high, alone.problems) == (2.0, None, None, 0)
    both = effect([one, other])
    assert (both.value, both.low, both.high) == (2.5, 2.0, 3.0)


def test_a_figure_without_problems_stays_whole_beside_problems() -> None:
    whole = [Pairing({WHOLE: (7.0, 1.0)}, {WHOLE: (5.0, 1.0)})]
    drawn = resample.draws([whole, [pairing([1.0, 0.0, 0.5], [0.0, 0.0, 0.0])]])[0]
    assert set(drawn.tolist()) == {2.0}


def test_groups_share_the_draws_of_problems() -> None:
    same = [pairing([1.0, 0.0, 0.3, 0.8], [0.0, 0.2, 0.0, 0.1])]
    first, second = resample.draws([same, same])
    assert np.array_equal(first, second)


def test_the_ratio_is_of_sums_and_nothing_divides_by_zero() -> None:
    assert resample.ratio({"a": (30.0, 3.0), "b": (100.0, 1.0)}) == 32.5
    assert resample.ratio({"a": (0.0, 0.0)}) is None
    nothing = Pairing({"a": (0.0, 0.0)}, {"a": (0.0, 0.0)})
    assert effect([nothing]).value is None


def test_sides_with_other_problems_are_refused() -> None:
    with pytest.raises(ValueError, match="different problems"):
        Pairing(column([1.0]), column([1.0, 0.0]))


@QUICK
@given(SHARES, st.integers(1, 3))
def test_equal_sides_differ_by_nothing_at_all(values: list[float], seeds: int) -> None:
    found = effect([pairing(values, values)] * seeds)
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


@QUICK
@given(SHARES)
def test_the_interval_holds_the_value_and_lies_within_what_problems_show(values: list[float]) -> None:
    found = effect([pairing(values, [0.0] * len(values))])
    assert found.value is not None and found.low is not None and found.high is not None
    slack = 1e-9
    assert min(values) - slack <= found.low <= found.high <= max(values) + slack
    spread = max(values) - min(values)
    assert found.low - spread / 2 - slack <= found.value <= found.high + spread / 2 + slack


@QUICK
@given(SHARES, SHARES)
def test_swapping_the_sides_turns_the_interval_round(one: list[float], other: list[float]) -> None:
    size = min(len(one), len(other))
    forth, back = effect([pairing(one[:size], other[:size])]), effect([pairing(other[:size], one[:size])])
    assert forth.value == pytest.approx(-(back.value or 0.0))
    assert forth.low == pytest.approx(-(back.high or 0.0)) and forth.high == pytest.approx(-(back.low or 0.0))


@QUICK
@given(SHARES, st.floats(-3, 3))
def test_a_constant_added_to_one_side_moves_the_interval_by_it(values: list[float], shift: float) -> None:
    zero = [0.0] * len(values)
    plain, moved = effect([pairing(values, zero)]), effect([pairing([value + shift for value in values], zero)])
    assert moved.low == pytest.approx((plain.low or 0.0) + shift) and moved.high == pytest.approx(
        (plain.high or 0.0) + shift
    )


@QUICK
@given(SHARES)
def test_more_seeds_of_the_same_make_no_interval_wider(values: list[float]) -> None:
    one = pairing(values, [0.0] * len(values))
    single, triple = effect([one]), effect([one, one, one])
    assert triple.low == pytest.approx(single.low) and triple.high == pytest.approx(single.high)
