"""Claims about the statistics: values worked out by hand, then laws that hold for every input."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.core.stats import estimators

COUNTS = st.integers(1, 40).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n)))
VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=30)
QUICK = settings(max_examples=60, deadline=None)


def column(values: list[float]) -> dict[str, estimators.Pair]:
    return {f"p{index:03d}": (value, 1.0) for index, value in enumerate(values)}


def test_pass_at_1_is_the_mean_of_the_samples() -> None:
    assert estimators.pass_at_1([1, 0, 0, 1]) == 0.5
    with pytest.raises(ValueError, match="at least one"):
        estimators.pass_at_1([])


def test_pass_at_k_equals_the_hand_worked_values() -> None:
    # n=4, c=1: of the 6 pairs, 3 hold the right one.
    assert estimators.pass_at_k(4, 1, 2) == 0.5
    # n=5, c=2, k=3: only 1 of the 10 triples avoids both right ones.
    assert estimators.pass_at_k(5, 2, 3) == pytest.approx(0.9)
    # n=16, c=4, k=8: C(12,8)/C(16,8) = 495/12870.
    assert estimators.pass_at_k(16, 4, 8) == pytest.approx(1 - 495 / 12870)
    assert estimators.pass_at_k(16, 0, 16) == 0.0
    assert estimators.pass_at_k(16, 1, 16) == 1.0


@pytest.mark.parametrize(("n", "c", "k"), [(4, 5, 1), (4, -1, 1), (4, 2, 5), (4, 2, 0)])
def test_pass_at_k_refuses_counts_that_cannot_be(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError):
        estimators.pass_at_k(n, c, k)


@QUICK
@given(st.integers(1, 7).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_the_share_of_all_subsets_with_a_right_sample(counts: tuple[int, int, int]) -> None:
    n, c, k = counts
    subsets = list(itertools.combinations([1] * c + [0] * (n - c), k))
    assert estimators.pass_at_k(n, c, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))


@QUICK
@given(COUNTS)
def test_pass_at_k_is_a_chance_that_grows_with_k_and_starts_at_pass_at_1(counts: tuple[int, int, int]) -> None:
    n, c, k = counts
    value = estimators.pass_at_k(n, c, k)
    assert 0.0 <= value <= 1.0
    assert estimators.pass_at_k(n, c, 1) == pytest.approx(c / n)
    if k < n:
        assert estimators.pass_at_k(n, c, k + 1) >= value
    if c < n:
        assert estimators.pass_at_k(n, c + 1, k) >= value


def test_the_majority_wins_even_against_a_right_minority() -> None:
    assert estimators.cons_at_k([("7", 1), ("7", 1), ("8", 0)]) == 1.0
    assert estimators.cons_at_k([("7", 1), ("8", 0), ("8", 0)]) == 0.0


def test_a_tie_counts_as_its_expected_value() -> None:
    assert estimators.cons_at_k([("7", 1), ("8", 0)]) == 0.5
    assert estimators.cons_at_k([("7", 1), ("8", 0), ("9", 0)]) == pytest.approx(1 / 3)


def test_no_answer_is_no_vote_and_no_vote_is_wrong() -> None:
    assert estimators.cons_at_k([(None, 0), (None, 0), ("7", 1)]) == 1.0
    assert estimators.cons_at_k([(None, 0), (None, 0)]) == 0.0
    assert estimators.cons_at_k([]) == 0.0


@QUICK
@given(st.lists(st.tuples(st.sampled_from(["1", "2", "3", None]), st.just(0.0)), max_size=12), st.randoms())
def test_the_vote_does_not_depend_on_the_order(votes: list[tuple[str | None, float]], random: object) -> None:
    judged = [(answer, 1.0 if answer == "2" else 0.0) for answer, _ in votes]
    shuffled = list(judged)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert estimators.cons_at_k(judged) == pytest.approx(estimators.cons_at_k(shuffled))


def test_an_estimate_is_the_ratio_of_sums_not_the_mean_of_ratios() -> None:
    lengths = {"a": (30.0, 3.0), "b": (100.0, 1.0), "c": (0.0, 0.0)}  # tokens of right completions over their number
    result = estimators.intervals({"length": lengths})["length"]
    assert result.value == pytest.approx(130 / 4)
    assert result.n == 3


def test_two_problems_give_the_interval_one_can_count_by_hand() -> None:
    # Resampled means of [0, 1] are 0, 1/2, 1 with chances 1/4, 1/2, 1/4: the 2.5 % and 97.5 % points are 0 and 1.
    result = estimators.intervals({"x": column([0.0, 1.0])})["x"]
    assert (result.value, result.low, result.high) == (0.5, 0.0, 1.0)


def test_the_interval_has_the_width_that_theory_gives() -> None:
    # 400 problems, half right: standard error sqrt(.25/400) = .025, so 95 % is about .5 -+ .049.
    result = estimators.intervals({"x": column([0.0, 1.0] * 200)})["x"]
    assert result.low == pytest.approx(0.451, abs=0.006)
    assert result.high == pytest.approx(0.549, abs=0.006)


def test_a_column_with_nothing_to_divide_by_has_no_value() -> None:
    result = estimators.intervals({"x": {"a": (0.0, 0.0)}})["x"]
    assert result.as_dict() == {"value": None, "low": None, "high": None, "n": 1}


def test_columns_of_different_problems_are_refused() -> None:
    with pytest.raises(ValueError, match="other problems"):
        estimators.intervals({"x": column([1.0]), "y": column([1.0, 0.0])})


@QUICK
@given(VALUES)
def test_an_interval_lies_within_the_values_and_repeats_with_its_seed(values: list[float]) -> None:
    first = estimators.intervals({"x": column(values)}, seed=3, resamples=200)["x"]
    again = estimators.intervals({"x": dict(reversed(column(values).items()))}, seed=3, resamples=200)["x"]
    assert first == again
    assert first.low is not None and first.high is not None
    assert min(values) - 1e-9 <= first.low <= first.high <= max(values) + 1e-9


def test_the_paired_difference_is_blind_to_how_hard_the_problems_are() -> None:
    before = column([index / 100 for index in range(90)])
    after = {one: (value + 0.1, 1.0) for one, (value, _) in before.items()}
    result = estimators.differences({"x": after}, {"x": before})["x"]
    assert result.value == pytest.approx(0.1)
    assert result.low == pytest.approx(0.1) and result.high == pytest.approx(0.1)


def test_a_difference_pairs_only_the_problems_both_sides_have() -> None:
    result = estimators.differences(
        {"x": {"a": (1.0, 1.0), "b": (1.0, 1.0), "new": (1.0, 1.0)}},
        {"x": {"a": (0.0, 1.0), "b": (1.0, 1.0), "old": (0.0, 1.0)}, "y": {"a": (0, 1), "b": (0, 1), "old": (0, 1)}},
    )
    assert list(result) == ["x"]
    assert result["x"].n == 2
    assert result["x"].value == 0.5


def test_a_difference_of_strangers_has_no_value() -> None:
    result = estimators.differences({"x": column([1.0])}, {"x": {"other": (1.0, 1.0)}})["x"]
    assert (result.value, result.low, result.n) == (None, None, 0)


@QUICK
@given(VALUES, VALUES)
def test_swapping_the_sides_flips_the_sign(first: list[float], second: list[float]) -> None:
    size = min(len(first), len(second))
    one, other = {"x": column(first[:size])}, {"x": column(second[:size])}
    forth = estimators.differences(one, other, resamples=100)["x"]
    back = estimators.differences(other, one, resamples=100)["x"]
    assert forth.value is not None and back.value is not None and forth.low is not None and back.high is not None
    assert math.isclose(forth.value, -back.value, abs_tol=1e-12)
    assert math.isclose(forth.low, -back.high, abs_tol=1e-9)


def test_groups_split_the_problems_and_leave_out_the_nameless() -> None:
    groups = estimators.by_group({"x": column([1.0, 0.0, 1.0])}, {"p000": "sums", "p001": "cups", "p002": ""})
    assert groups == {"cups": {"x": {"p001": (0.0, 1.0)}}, "sums": {"x": {"p000": (1.0, 1.0)}}}
