"""A value of an outside table is written as a person writes the answer, and kept whole where facts are kept."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pytest

from stages.core.data.values import Unreadable, Unusable, as_json, as_object, as_text, parsed


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("007", "007"),
        ("1.50", "1.50"),
        (7, "7"),
        (2**70, "1180591620717411303424"),
        (42.0, "42"),
        (-0.0, "0"),
        (0.1, "0.1"),
        (1e21, "1000000000000000000000"),
        (1e-7, "0.0000001"),
        (float("inf"), "\\infty"),
        (float("nan"), None),
        (None, None),
        (Decimal("12.00"), "12"),
        (Decimal("12.50"), "12.5"),
        (Decimal("1234567890123456789.123456789"), "1234567890123456789.123456789"),
        (Decimal("-1E+999999"), "-1 \\cdot 10^{999999}"),
        (Decimal("NaN"), None),
        (True, "yes"),
        (False, "no"),
        (date(2024, 5, 1), "2024-05-01"),
        (datetime(2024, 5, 1), "2024-05-01"),
        (datetime(2024, 5, 1, 9, 30, tzinfo=UTC), "2024-05-01T09:30:00+00:00"),
        (time(9, 30), "09:30:00"),
        ("π".encode(), "π"),
        (["12"], "12"),
    ],
)
def test_every_kind_of_value_has_one_text(value: Any, text: str | None) -> None:
    assert as_text(value) == text


@pytest.mark.parametrize("value", [["3", "-3"], [], {"a": 1}, b"\x89PNG\x00", b"\x00", Unreadable("year 20000")])
def test_what_is_no_text_says_why(value: Any) -> None:
    with pytest.raises(Unusable) as caught:
        as_text(value)
    assert caught.value.reason and caught.value.detail


def test_facts_are_kept_as_json_keeps_them() -> None:
    given = {
        "when": datetime(2024, 5, 1, 9),
        "raw": b"\x00\xff",
        "said": b"pi",
        "map": [("a", 1), ("b", 2)],
        "hole": float("nan"),
        "exact": Decimal("0.1"),
        "long": Decimal("1234567890.12345678901234567890"),
        "whole": Decimal("12"),
        "float": Decimal("2.0"),
        "big": 2**70,
        "deep": [{"x": (1, 2)}],
    }
    kept = as_json(given)
    assert json.loads(json.dumps(kept)) == {
        "when": "2024-05-01T09:00:00",
        "raw": "AP8=",
        "said": "pi",
        "map": {"a": 1, "b": 2},
        "hole": None,
        "exact": 0.1,
        "long": "1234567890.12345678901234567890",
        "whole": 12,
        "float": 2.0,
        "big": 2**70,
        "deep": [{"x": [1, 2]}],
    }
    assert type(kept["float"]) is float and type(kept["whole"]) is int


def test_facts_that_are_no_object_are_not_lost() -> None:
    assert as_object('{"a": 1}') == {"a": 1} and as_object([("a", 1)]) == {"a": 1}
    assert as_object("geometry") == {"value": "geometry"} and as_object([1, 2]) == {"value": [1, 2]}
    assert as_object(None) == as_object("") == {}


def test_a_text_of_json_in_which_a_name_stands_twice_cannot_be_used() -> None:
    assert parsed('{"a": 1}') == {"a": 1} and parsed('{"a": 1, "a": 2} is') == '{"a": 1, "a": 2} is'
    for text in ('{"a": 1, "a": 2}', '[{"b": [{"a": 1, "a": 1}]}]'):
        with pytest.raises(Unusable, match="a name stands twice"):
            parsed(text)
