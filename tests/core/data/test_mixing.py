"""How many general rows are wanted, which are drawn, and what order and ids the mixture has."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.core.data import mixing
from stages.core.rows import Conversation


def rows(count: int, family: str = "sum") -> list[Conversation]:
    return [Conversation(f"{family}-{n}", f"problem {n}", f"thought {n}", "s", family=family) for n in range(count)]


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
    all_ = rows(have)
    found = mixing.drawn(all_, wanted, seed)
    places = [all_.index(row) for row in found]
    assert len(found) == min(have, wanted) and places == sorted(set(places))
    assert found == mixing.drawn(all_, wanted, seed)


def test_another_seed_draws_other_rows() -> None:
    assert mixing.drawn(rows(100), 10, 0) != mixing.drawn(rows(100), 10, 1)


def test_rows_of_the_simplest_families_lose_their_reasoning_and_nothing_else() -> None:
    simple, other = mixing.without_reasoning([*rows(1, "hello"), *rows(1, "sum")], ["hello"])
    assert (simple.reasoning, simple.summary, other.reasoning) == ("", "s", "thought 0")


@given(st.lists(st.sampled_from(["a", "a-2", "b"]), max_size=12), st.integers(0, 3))
def test_every_row_stays_and_every_id_is_its_own(names: list[str], seed: int) -> None:
    given_ = [Conversation(name, f"{place}", "", "s") for place, name in enumerate(names)]
    found = mixing.shuffled(given_, seed)
    assert sorted(row.problem for row in found) == sorted(row.problem for row in given_)
    assert len({row.id for row in found}) == len(names)
    assert found == mixing.shuffled(given_, seed)


def test_another_seed_gives_another_order() -> None:
    assert mixing.shuffled(rows(20), 0) != mixing.shuffled(rows(20), 1)
