"""How many general rows are wanted, which are drawn, and what order and ids the mixture has."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.core.data import mixing
from stages.core.rows import Conversation


@pytest.mark.parametrize(
    ("kept", "share", "wanted"),
    [(600_000, 0.25, 200_000), (3, 0.25, 1), (10, 0.5, 10), (10, 0.0, 0), (0, 0.25, 0), (7, 0.1, 1)],
)
def test_the_share_is_of_both_together(kept: int, share: float, wanted: int) -> None:
    assert mixing.general_wanted(kept, share) == wanted


@given(st.integers(0, 30), st.integers(0, 40), st.integers(0, 5))
def test_a_draw_repeats_nothing_keeps_the_order_and_depends_on_the_seed_alone(
    have: int, wanted: int, seed: int
) -> None:
    found = mixing.drawn(have, wanted, seed)
    assert len(found) == min(have, wanted) and found == sorted(set(found)) and set(found) <= set(range(have))
    assert found == mixing.drawn(have, wanted, seed)


def test_another_seed_draws_other_rows() -> None:
    assert mixing.drawn(100, 10, 0) != mixing.drawn(100, 10, 1)


def test_rows_of_the_simplest_families_lose_their_reasoning_and_nothing_else() -> None:
    row = Conversation("a", "problem", "thought", "s", family="hello")
    assert mixing.without_reasoning(row, ["sum"]) == row
    assert mixing.without_reasoning(row, ["hello"]) == replace(row, reasoning="")


@given(st.lists(st.sampled_from(["a", "a-2", "b"]), max_size=12), st.integers(0, 3))
def test_every_row_stays_and_every_id_is_its_own(ids: list[str], seed: int) -> None:
    order, named = mixing.shuffled(ids, seed)
    assert sorted(order) == list(range(len(ids)))
    assert len({named.get(place, own) for place, own in enumerate(ids)}) == len(ids)
    assert (order, named) == mixing.shuffled(ids, seed)


def test_another_seed_gives_another_order() -> None:
    ids = [str(n) for n in range(20)]
    assert mixing.shuffled(ids, 0) != mixing.shuffled(ids, 1)
