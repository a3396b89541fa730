"""Numbers compare exactly, hedges and unworked arithmetic are no answers, a symbolic hang costs only its sample."""

from __future__ import annotations

import time

import pytest

from stages.rewards import math, symbolic

RIGHT = [
    ("17", "17"), ("17.", "17"), ("= 17", "17"), ("x = 17", "17"), ("$17$", "17"), ("17 apples", "17"), ("17.0", "17"),
    ("+17", "17"), ("１７", "17"), ("17 km/h", "17"), ("17 cm^2", "17"), ("17m", "17"), ("**17**", "17"),
    ("\\boxed{17}", "17"), ("The total is 17 dollars.", "17"), ("12 + 5 = 17", "17"), ("17\\text{ apples}", "17"),
    ("一共17个苹果", "17"), ("17°", "17"), ("-3", "-3"), ("−3", "-3"), ("\\$1,234.50", "1234.5"), ("1{,}234", "1234"),
    ("1,234,567", "1234567"), ("3 million", "3000000"), ("3万", "30000"), ("2.5\\times 10^3", "2500"), ("1e3", "1000"),
    ("3/4", "0.75"), (".75", "3/4"), ("\\dfrac{3}{4}", "3/4"), ("\\frac34", "0.75"), ("1 1/2", "1.5"), ("2/4", "1/2"),
    ("1\\frac{1}{2}", "3/2"), ("75%", "3/4"), ("75\\%", "75"), ("0.75", "75%"), ("75", "75%"), ("17", "17 apples"),
    ("saturday", "\\text{Saturday}"), ("no solution", "No solution"), ("(1, 2)", "(1,2)"), ("2^{10}", "2^{10}"),
    ("1024", "2^{10}"), ("1 1/2 cups", "1.5"),
]  # fmt: skip
WRONG = [
    ("18", "17"), ("170", "17"), ("-17", "17"), ("1.7", "17"), ("17 or 18", "17"), ("17或18", "17"), ("17, 18", "17"),
    ("17 18", "17"), ("17 and 18", "17"), ("17/18", "17"), ("not 17", "17"), ("more than 17", "17"), ("12+5", "17"),
    ("34/2", "17"), ("17^1", "17"), ("17x", "17"), ("x + 17", "17"), ("16 + 2 = 17", "17"), ("17 = 18", "17"),
    ("17\\pi", "17"), ("", "17"), ("seventeen", "17"), ("17 million", "17"), ("17!", "17"), ("1,2345", "12345"),
    ("\\boxed{17} or \\boxed{18}", "17"), ("0.76", "3/4"), ("Sunday", "Saturday"), ("17-", "17"), ("1 7", "17"),
    ("2^{10}", "1024"), ("sqrt 17", "17"), ("5²", "52"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "gold"), RIGHT)
def test_the_same_number_in_other_clothes_is_right(answer: str, gold: str) -> None:
    assert math.judge(answer, gold).value == 1.0, math.judge(answer, gold)


@pytest.mark.parametrize(("answer", "gold"), WRONG)
def test_another_number_a_hedge_or_unworked_arithmetic_is_wrong(answer: str, gold: str) -> None:
    assert math.judge(answer, gold).value == 0.0, math.judge(answer, gold)


@pytest.mark.parametrize("gold", ["", "  ", "1" * 2000])
def test_without_a_usable_gold_there_is_no_verdict(gold: str) -> None:
    assert math.judge("17", gold).value is None
    assert math.check_gold(gold).value is None


def test_a_zero_says_what_was_found_and_what_was_expected() -> None:
    assert math.judge("12", "17").reason == "answer 12, expected 17"


@pytest.mark.parametrize(
    ("answer", "gold", "value"),
    [
        ("\\frac{1}{\\sqrt{2}}", "\\frac{\\sqrt{2}}{2}", 1.0),
        ("1+x", "x+1", 1.0),
        ("\\sqrt{289}", "17", 1.0),
        ("\\sqrt{288}", "17", 0.0),
        ("2\\pi, 3\\pi", "2\\pi", 0.0),
    ],
)
def test_formulas_go_to_math_verify(answer: str, gold: str, value: float) -> None:
    pytest.importorskip("math_verify")
    assert math.judge(answer, gold).value == value


def test_a_hang_costs_its_sample_and_the_next_question_is_answered() -> None:
    pytest.importorskip("math_verify")
    assert symbolic.equal("x", "x").value == 1.0
    start = time.monotonic()
    hung = symbolic.equal("17", "9^{9^{9^{9}}}", limit_s=0.2)
    assert time.monotonic() - start < 30  # the formula itself would take for ever
    assert hung.value is None and "took over" in hung.reason
    assert symbolic.equal("2x", "x+x").value == 1.0
    symbolic.close()
