"""Words of reflection are counted as the paper lists them, and a spike is what leaves the usual."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.core.reflection import CHINESE, ENGLISH, first_spike, reflective_words


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("", 0),
        ("Wait, that is wrong. Check: 3+4=7", 3),
        ("WAIT wait Wait", 3),
        ("waiting checks butter recheck wrongly", 0),
        ("but however retry error verify evaluate mistake", 7),
        ("等等, 不对。检查: 3+4=7", 3),
        ("错误! 错了, 出错", 3),
        ("不错, 很好", 0),
        ("等等等等", 2),
        ("但是, wait", 2),
    ],
)
def test_words_of_reflection_are_counted_in_both_languages(source: str, count: int) -> None:
    assert reflective_words(source) == count


def test_the_paper_s_ten_words_are_all_there() -> None:
    assert len(ENGLISH) == len(set(ENGLISH)) == 10 and len(CHINESE) == len(set(CHINESE))
    assert all(reflective_words(word) == 1 for word in (*ENGLISH, *CHINESE))


@given(st.lists(st.sampled_from((*ENGLISH, *CHINESE, "so", "then", "好"))))
def test_counts_add_up(pieces: list[str]) -> None:
    expected = sum(word in (*ENGLISH, *CHINESE) for word in pieces)
    assert reflective_words(" ".join(pieces)) == expected


USUAL = [0.9, 1.1, 1.0, 1.0]  # mean 1, standard deviation 0.0816: unusual above 1.245


def curve(*counts: float) -> list[tuple[int, float]]:
    return [(1 + 4 * at, count) for at, count in enumerate((*USUAL, *counts))]


def test_a_spike_is_the_first_step_whose_smoothed_count_leaves_the_usual() -> None:
    # means of three: 1.033, 1.167, 1.367: the third point after the usual four, rollout 7, step 25
    assert first_spike(curve(1.1, 1.4, 1.6, 5.0), baseline=4, window=3) == 25
    assert first_spike(curve(1.1, 1.2, 1.24), baseline=4, window=1) is None
    assert first_spike(curve(1.1, 1.25), baseline=4, window=1) == 21


def test_one_high_point_is_smoothed_away_and_a_short_curve_has_no_spike() -> None:
    assert first_spike(curve(1.0, 1.6, 1.0, 1.0), baseline=4, window=3) is None
    assert first_spike(curve(), baseline=4) is None
    assert first_spike([(1, 9.0)], baseline=1) is None


@given(st.lists(st.floats(0, 9), min_size=9, max_size=30), st.floats(0.5, 3))
@settings(max_examples=60)
def test_a_flat_curve_never_spikes_and_units_do_not_matter(counts: list[float], unit: float) -> None:
    assert first_spike([(step, 1.5) for step in range(len(counts))]) is None
    step = first_spike(list(enumerate(counts)))
    assert step is None or step >= 8
