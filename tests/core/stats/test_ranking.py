"""How a judge is measured: accuracies, the length rule and the AUC, by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.core.stats import ranking
from stages.core.stats.ranking import RankedPair, RankedPoint


def pair(number: int, scores: tuple[float, float], lengths: tuple[int, int]) -> RankedPair:
    return RankedPair(f"p{number}", f"problem {number}", scores, lengths)


def test_accuracy_counts_a_tie_half_and_the_length_rule_likewise() -> None:
    rows = [
        pair(1, (2.0, 1.0), (30, 10)),
        pair(2, (0.0, 1.0), (10, 30)),
        pair(3, (1.0, 1.0), (20, 20)),
        pair(4, (3.0, 1.0), (20, 19)),
    ]
    found = ranking.pair_figures(rows)
    assert (found["pairs"], found["accuracy"]) == (4, 0.625)
    assert found["length_rule"] == 0.625  # longer, shorter, equal, longer
    assert (found["matched_pairs"], found["matched_accuracy"]) == (2, 0.75)


def test_without_pairs_of_one_length_there_is_no_matched_accuracy() -> None:
    found = ranking.pair_figures([pair(1, (2.0, 1.0), (30, 10))])
    assert (found["matched_pairs"], found["matched_accuracy"]) == (0, None)
    assert found["accuracy_interval"] == [1.0, 1.0]


def test_a_tenth_of_the_longer_one_is_the_same_length() -> None:
    assert ranking.same_length((100, 90)) and ranking.same_length((90, 100)) and not ranking.same_length((100, 89))


def test_the_area_under_the_curve_by_hand() -> None:
    # Of the 4 pairs of a safe and an unsafe one: 0.9 > 0.1, 0.9 > 0.5, 0.5 > 0.1, and 0.5 ties with 0.5.
    assert ranking.auc([0.9, 0.5, 0.1, 0.5], [True, True, False, False]) == 0.875
    assert ranking.auc([1.0, 2.0], [True, True]) is None


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), max_size=20))
def test_the_area_is_the_share_of_pairs_in_the_right_order(rows: list[tuple[int, bool]]) -> None:
    safe = [score for score, label in rows if label]
    other = [score for score, label in rows if not label]
    found = ranking.auc([float(score) for score, _ in rows], [label for _, label in rows])
    if safe and other:
        wins = [ranking.wins(a, b) for a in safe for b in other]
        assert found == pytest.approx(sum(wins) / len(wins))
    else:
        assert found is None


def test_points_are_judged_by_the_side_of_zero_they_lie_on() -> None:
    rows = [
        RankedPoint(f"r{n}", f"p{n}", score, safe, 9)
        for n, (score, safe) in enumerate([(2.0, True), (-1.0, False), (0.5, False), (3.0, True)])
    ]
    found = ranking.point_figures(rows)
    assert (found["accuracy"], found["auc"], found["majority_rule"]) == (0.75, 1.0, 0.5)


def test_a_prompt_is_always_on_the_same_side_and_the_share_is_kept() -> None:
    prompts = [f"prompt number {n}" for n in range(2000)]
    held = {prompt for prompt in prompts if ranking.is_held_out(prompt, 0.1)}
    assert 150 < len(held) < 250
    assert all(ranking.is_held_out(f" {prompt.upper()}", 0.1) for prompt in held)
    assert held <= {prompt for prompt in prompts if ranking.is_held_out(prompt, 0.3)}


def test_mean_and_deviation_by_hand() -> None:
    assert ranking.spread([1.0, 3.0]) == (2.0, 1.0)
    for values in ([], [1.0, math.nan], [math.inf]):
        with pytest.raises(ValueError, match="no mean"):
            ranking.spread(values)
