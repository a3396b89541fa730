"""Kept and discarded always add up to all, in total and in every family; the table shows what happened."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.core.data import yields

REASONS = ("wrong", "long", "twice")


@given(st.lists(st.tuples(st.sampled_from(["sum", "cups", ""]), st.sampled_from(["", *REASONS])), max_size=40))
def test_kept_and_discards_add_up_to_all(pairs: list[tuple[str, str]]) -> None:
    found = yields.counted(pairs, REASONS)
    for part in (found, *found["families"].values()):
        assert part["kept"] + sum(part["discards"].values()) == part["samples"]
        assert tuple(part["discards"]) == REASONS
    assert found["samples"] == len(pairs) == sum(part["samples"] for part in found["families"].values())


def test_a_fault_that_is_no_reason_is_a_bug() -> None:
    with pytest.raises(ValueError, match="`odd`"):
        yields.counted([("sum", "odd")], REASONS)


def test_the_table_has_a_line_for_each_reason_that_did_anything() -> None:
    found = yields.counted([("sum", ""), ("sum", "long"), ("cups", "long"), ("cups", "wrong")], REASONS)
    rows = yields.table(found)
    assert [(row["what"], row["all"], row["share"]) for row in rows] == [
        ("samples", 4, 1.0),
        ("wrong", 1, 0.25),
        ("long", 2, 0.5),
        ("kept", 1, 0.25),
    ]
    assert rows[1]["families"] == {"cups": 1, "sum": 0}


def test_a_folder_without_a_yield_has_none(tmp_path: Path) -> None:
    assert yields.read_yield(tmp_path) is None
