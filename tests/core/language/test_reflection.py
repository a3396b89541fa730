"""Words of reflection are counted as the paper lists them, and a spike is what leaves the usual."""

from __future__ import annotations

from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.core.language.reflection import CHINESE, ENGLISH, first_spike, reflective_words


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


@given(st.floats(0, 9), st.integers(0, 40))
def test_a_flat_curve_never_spikes(level: float, length: int) -> None:
    assert first_spike([(step, level) for step in range(length)]) is None


@given(st.lists(st.integers(0, 9), min_size=9, max_size=30), st.sampled_from((0.25, 0.5, 2.0, 8.0)))
def test_neither_the_unit_of_the_count_nor_that_of_the_steps_moves_a_spike(counts: list[int], unit: float) -> None:
    """Powers of two, so that scaling is exact."""
    spike = first_spike([(step, float(count)) for step, count in enumerate(counts)])
    assert first_spike([(step, count * unit) for step, count in enumerate(counts)]) == spike
    later = first_spike([(100 + 7 * step, float(count)) for step, count in enumerate(counts)])
    assert later == (None if spike is None else 100 + 7 * spike)


@given(st.lists(st.integers(0, 9), min_size=8, max_size=8), st.integers(0, 12))
def test_a_jump_beyond_everything_spikes_at_once_if_nothing_did_before(usual: list[int], quiet: int) -> None:
    counts = [*usual, *[fmean(usual)] * quiet, 1e4, 1e4, 1e4]
    spike = first_spike([(step, float(count)) for step, count in enumerate(counts)])
    assert spike is not None and 8 <= spike <= 8 + quiet
