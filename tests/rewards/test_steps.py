"""A step is called wrong only when it is: the first false equation or cup move, and nothing that cannot be read."""

from __future__ import annotations

import time

import pytest

from stages.rewards.steps import evaluate, first_wrong_step


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("3 + 4 = 8", "3 + 4 = 8"),
        ("3+4=7, 7*2=15, 1+1=3", "7*2=15"),
        ("2*3+1 = 6+1 = 8", "6+1 = 8"),
        ("3+4=7 7*2=15 15-1=14", "7*2=15"),
        ("3 × 4 = 13", "3 × 4 = 13"),
        ("3 x 4 = 13", "3 x 4 = 13"),
        ("3x4=13", "3x4=13"),
        ("8 ÷ 2 = 5", "8 ÷ 2 = 5"),
        ("5 − 8 = 3", "5 − 8 = 3"),
        ("3 \\times 4 = 11", "3 \\times 4 = 11"),
        ("(3+4)*2=15", "(3+4)*2=15"),
        ("7/2=3", "7/2=3"),
        ("所以得3+4=8。", "3+4=8"),
        ("step 2: 3 + 4 = 8", "3 + 4 = 8"),
        ("A-B:A>A", "A-B:A>A"),
        ("A-B:C>A", "A-B:C>A"),
        ("A-B:A>B B-C:A>C 1+1=3", "B-C:A>C"),
        ("A-B,B-C:A>B", "A-B,B-C:A>B"),
        ("1+1=3 A-B:C>A", "1+1=3"),
    ],
)
def test_the_first_false_statement_is_marked(text: str, wrong: str) -> None:
    span = first_wrong_step(text)
    assert span is not None and text[span[0] : span[1]] == wrong


@pytest.mark.parametrize(
    "text",
    [
        "",
        "3 + 4 = 7",
        "5 - -4 = 9",
        "5-8=-3",
        "$12/60 = $0.2",
        "1,200+300=1,500",
        "A-B:A>B",
        "A-B:C>C",
        "A-B,B-C:A>C",
        "x = 7",
        "y - 3 = 7",
        "2x + 3 = 7",
        "2x-5=13",
        "x3+1=9",
        "2^3+1=9",
        "50% * 80 = 40",
        "10% of 150 = 75 + 15",
        "3 + 4 = 7x",
        "1/3 = 0.33...",
        "4/3 = 1 and 1/3",
        "at 6:00+48=6:48",
        "1 = 2",
        "1 1/2 + 1 = 2.5",
        "7/2 = 3 1/2",
        "3 + 4 =",
        "= 7",
        "3 + = 7",
        "(3 + 4 = 7",
        "1 + 1 = 1/0",
    ],
)
def test_true_or_unreadable_statements_are_left_alone(text: str) -> None:
    assert first_wrong_step(text) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [("2+3*4", 14), ("(2+3)*4", 20), ("-2*-3", 6), ("8/2/2", 2), ("2", 2), ("1/0", None), ("2+", None)],
)
def test_arithmetic_keeps_its_precedence(text: str, value: int | None) -> None:
    assert evaluate(text) == value


@pytest.mark.parametrize(
    "noise",
    [
        "(" * 10**5,
        "1=" * 50_000,
        "9*" * 50_000 + "9=1",
        "-" * 10**5,
        "A-B:" * 25_000,
        "1 " * 50_000,
        "\0" * 10**5,
    ],
)
def test_noise_is_read_in_linear_time(noise: str) -> None:
    start = time.process_time()
    first_wrong_step(noise)
    evaluate(noise)
    assert time.process_time() - start < 10  # quadratic would take hours
