"""Decimals are numbers and may be a little off; whole numbers and words are the same, or not."""

from __future__ import annotations

import time

import pytest

from stages.rewards.programs.comparing import equal, near, same, same_output


@pytest.mark.parametrize(
    ("printed", "wanted", "alike"),
    [
        ("0.333333", "0.333333333333", True),
        ("0.166667", "0.166666666667", True),
        ("0.34", "0.333333333333", False),
        ("0.333", "0.333333333333", False),
        ("1e-07", "0.0000001", True),
        ("0.0", "0.0000001", False),
        ("2.50", "2.5", True),
        ("-0.000000", "0.0", True),
        ("1e-12", "0.0", True),
        ("1e-6", "0.0", False),
        ("1234567.89", "1234567.8900001", True),
        ("1234567.89", "1234568.5", False),
        ("1000001.0", "1000000.0", False),
        ("12.0", "12", False),
        ("12", "12.0", True),
        ("100000000000000000000", "100000000000000000001", False),
        ("1.10.0", "1.1.0", False),
        ("v1.10", "v1.1", False),
        ("1.5 2.5", "1.5  2.5", False),
        ("[0.1, 0.30000000000000004]", "[0.1, 0.3]", True),
        ("x=0.30000000000000004s", "x=0.3s", False),
        ("nan", "0.5", False),
        ("1e400", "0.5", False),
        ("0.5\n0.25", "0.5", False),
        ("3.14159", "3.14", False),
        ("1e400", "1e500", False),
        ("1e+400", "1e+500", False),
        ("-1e+400", "-1e+400", True),
        ("1e-400", "1e-500", False),
        ("1.5e-400", "0.0", False),
        ("0e462097431906509019562988736854", "0e830400451993494058024219903391", False),
        ("9" * 320 + ".5", "8" * 320 + ".5", False),
        ("1000", "1e3", False),
        ("1000.0", "1e3", False),
        ("1e3", "1000.0", False),
        ("1000", "1e+03", True),
        ("1e+16", "1e+16", True),
        ("1E-7", "1e-07", True),
        ("0.000000e+00", "0.0", True),
        (".5", "0.5", True),
    ],
)
def test_lines_with_decimals(printed: str, wanted: str, alike: bool) -> None:
    assert (same_output(printed.encode(), wanted.encode()) == 0) is alike


def test_a_tolerance_is_absolute_or_relative_and_zero_wants_the_text() -> None:
    assert same_output(b"0.34", b"0.333333", 0.01) == 0
    assert same_output(b"0.35", b"0.333333", 0.01) == 1
    assert same_output(b"1010.0", b"1000.0", 0.01) == 0
    assert same_output(b"12.0", b"12", 0.01) == 0
    assert same_output(b"13", b"12", 0.5) == 1, "whole numbers are not off by anything"
    assert same_output(b"2.50", b"2.5", 0.0) == 1
    assert not near(1.0, float("inf"), 0.5) and near(float("inf"), float("inf"), None)


def test_values_that_json_wrote() -> None:
    assert same((1, [2, "a"]), [1, [2, "a"]]) and same({1: (2,)}, {"1": [2]})
    assert same(0.1 + 0.2, 0.3) and same([1.0], [1]) and same(10**400, 10**400)
    for given, wanted in (
        ([1], [1, 2]),
        ("12", 12),
        ({1, 2}, [1, 2]),
        ({"a": 1}, {"b": 1}),
        (0.31, 0.3),
        ("ab", ["a", "b"]),
    ):
        assert not same(given, wanted), (given, wanted)
    assert not same(10**400, 0.5) and not same(None, 0.5) and not same(True, 1.0)


def test_values_of_several_types() -> None:
    nan = float("nan")
    assert same(nan, nan) and same([nan, True], [nan, True]) and same({True: None}, {"True": None})
    for given, wanted in ((True, 1), (1, True), (0, False), ([True], [1]), (None, False), (nan, 1.0), (1.0, nan)):
        assert not same(given, wanted) and not same({"k": [given]}, {"k": [wanted]}, 0.5), (given, wanted)


def test_equal_values_of_asserts() -> None:
    assert equal([0.1 + 0.2, {"k": (1.0,)}], [0.3, {"k": (1.0 + 1e-9,)}], 1e-6)
    assert not equal([0.1], (0.1,), 1e-6) and not equal("0.1", 0.1, 1e-6) and not equal(0.1 + 0.2, 0.3, 0)


@pytest.mark.parametrize("text", ["9" * 10**6, "1." * 500_000, "1e" * 500_000, "-" * 10**6, ". " * 500_000])
def test_much_output_is_compared_in_a_moment(text: str) -> None:
    start = time.process_time()
    assert same_output(text.encode(), f"{text}7".encode()) == 1
    assert time.process_time() - start < 2
