"""Numbers compare exactly, hedges and unworked arithmetic are no answers, a symbolic hang costs only its sample."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.rewards import mathematics
from stages.rewards.mathematics import symbolic
from stages.rewards.mathematics.numbers import MAX_CHARACTERS, normal
from stages.rewards.verdict import Verdict
from tests.rewards.contracts import tower

RIGHT = [
    ("17", "17"), ("17.", "17"), ("= 17", "17"), ("x = 17", "17"), ("$17$", "17"), ("17 apples", "17"), ("17.0", "17"),
    ("+17", "17"), ("１７", "17"), ("17 km/h", "17"), ("17 cm^2", "17"), ("17m", "17"), ("**17**", "17"),
    ("\\boxed{17}", "17"), ("The total is 17 dollars.", "17"), ("12 + 5 = 17", "17"), ("17\\text{ apples}", "17"),
    ("一共17个苹果", "17"), ("17°", "17"), ("-3", "-3"), ("−3", "-3"), ("\\$1,234.50", "1234.5"), ("1{,}234", "1234"),
    ("1,234,567", "1234567"), ("3 million", "3000000"), ("3万", "30000"), ("2.5\\times 10^3", "2500"), ("1e3", "1000"),
    ("3/4", "0.75"), (".75", "3/4"), ("\\dfrac{3}{4}", "3/4"), ("\\frac34", "0.75"), ("1 1/2", "1.5"), ("2/4", "1/2"),
    ("1\\frac{1}{2}", "3/2"), ("75%", "3/4"), ("75\\%", "75"), ("0.75", "75%"), ("75", "75%"), ("17", "17 apples"),
    ("saturday", "\\text{Saturday}"), ("no solution", "No solution"), ("(1, 2)", "(1,2)"), ("2^{10}", "2^{10}"),
    ("1024", "2^{10}"), ("1 1/2 cups", "1.5"), ("1 000", "1000"), ("½", "1/2"), ("1½", "3/2"), ("2,74", "2.74"),
    ("二分之一", "1/2"), ("百分之五", "5%"), ("１２％", "12%"), ("28 pct", "28\\%"), ("10^6", "1000000"),
    ("seventeen", "17"),
    ("5000 m", "5 km"), ("5 m", "5 m"), ("12 inches", "1 ft"), ("8:34 p.m.", "20:34"), ("0.333333", "\\frac{1}{3}"),
    ("17", "\\boxed{17}"), ("17", "#### 17"), ("17", "The answer is $17$."), ("9/20", "45\\%"), ("1/3", "0.33333333"),
    ("\\zeta(2)", "\\frac{\\pi^2}{6}"), ("\\Gamma(5)", "24"), ("\\Gamma(\\frac12)", "\\sqrt{\\pi}"),
    ("\\operatorname{sgn}(-3)", "-1"), ("5 ft 6 in", "66 inches"), ("2 hours", "120 min"),
    ("\\max(a,b)", "\\frac{a+b+|a-b|}{2}"), ("2 h 30 min", "2.5 hours"),
]  # fmt: skip
WRONG = [
    ("18", "17"), ("170", "17"), ("-17", "17"), ("1.7", "17"), ("17 or 18", "17"), ("17或18", "17"), ("17, 18", "17"),
    ("17 18", "17"), ("17 and 18", "17"), ("17/18", "17"), ("not 17", "17"), ("more than 17", "17"), ("12+5", "17"),
    ("34/2", "17"), ("17^1", "17"), ("17x", "17"), ("x + 17", "17"), ("16 + 2 = 17", "17"), ("17 = 18", "17"),
    ("17\\pi", "17"), ("", "17"), ("17 million", "17"), ("17!", "17"), ("1,2345", "12345"),
    ("\\boxed{17} or \\boxed{18}", "17"), ("0.76", "3/4"), ("Sunday", "Saturday"), ("17-", "17"), ("1 7", "17"),
    ("2^{10}", "1024"), ("sqrt 17", "17"), ("5²", "52"), ("5²", "25"), ("(17, 17)", "17"), ("17 and 17.1", "17"),
    ("5 m", "5 km"), ("5 cm^2", "5 cm"), ("3:30 pm", "3:30 am"), ("0.333", "1/3"), ("0.3333", "1/3"),
    ("16.999999", "17"),
    ("0.4999999", "1/2"), ("x > 17", "17"), ("17 < x", "17"), ("-x = 17", "17"), ("17_8", "17"), ("A17B", "17"),
    ("or 17", "17"), ("4", "(4,4)"), ("3", "3a"), ("1", "x + z = 1"), ("1", "x \\le 1"), ("\\frac{34}{2}", "17"),
    ("2Saturday", "Saturday"), ("not Saturday", "Saturday"), ("-(p - q)", "p - q"), ("A5_{12}", "\\text{A5}_{11}"),
    ("sgn(-3)", "-3"), ("\\operatorname{sgn}(-3)", "-3"), ("floor(17.5)", "17.5"), ("\\zeta(3)", "\\frac{\\pi^3}{26}"),
    ("\\min(a,b)", "\\frac{a+b+|a-b|}{2}"), ("2 h 30 min", "2.3 hours"), ("2 h 90 min", "3.5 hours"),
    ("5 ft 6 in", "56 inches"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "gold"), RIGHT)
def test_the_same_number_in_other_clothes_is_right(answer: str, gold: str) -> None:
    assert mathematics.judge(answer, gold).value == 1.0, mathematics.judge(answer, gold)


@pytest.mark.parametrize(("answer", "gold"), WRONG)
def test_another_number_a_hedge_or_unworked_arithmetic_is_wrong(answer: str, gold: str) -> None:
    assert mathematics.judge(answer, gold).value == 0.0, mathematics.judge(answer, gold)


@pytest.mark.parametrize("text", ["nicht 17", "Au moins 17.", "17 이상", "不是17", "17 or 18", "17, nie 18 oder 19"])
def test_a_number_that_is_denied_bounded_or_one_of_two_is_none_in_any_language(text: str) -> None:
    assert mathematics.spelled("17") == "17" and mathematics.spelled(text) is None
    assert mathematics.judge("17", text).value == 0.0


@pytest.mark.parametrize("gold", ["", "  ", "1" * 2000])
def test_without_a_usable_gold_there_is_no_verdict(gold: str) -> None:
    assert mathematics.judge("17", gold).value is None
    assert mathematics.check_gold(gold).value is None


def test_a_zero_says_what_was_found_and_what_was_expected() -> None:
    assert mathematics.judge("12", "17").reason == "answer 12, expected 17"


@pytest.mark.parametrize(
    ("answer", "gold", "value"),
    [
        ("\\frac{1}{\\sqrt{2}}", "\\frac{\\sqrt{2}}{2}", 1.0),
        ("1+x", "x+1", 1.0),
        ("\\sqrt{289}", "17", 1.0),
        ("\\sqrt{288}", "17", 0.0),
        ("2\\pi, 3\\pi", "2\\pi", 0.0),
        ("2\\pi or 3\\pi", "2\\pi", 0.0),
        ("1+\\frac1e", "1-\\frac{1}{e}", 0.0),
        ("48+24", "72", 0.0),
        ("2\\sqrt{3}+1", "1+2\\sqrt3", 1.0),
        ("\\frac{6}{8}", "\\frac{3}{4}", 1.0),
        ("x=1 or x=2", "1,2", 1.0),
        ("x=1 or x=2", "1", 0.0),
        ("$x=1$ and $x=2$", "\\{1, 2\\}", 1.0),
        ("The solution is $x > 5$.", "(5, \\infty)", 1.0),
        ("(B)", "\\text{B}", 1.0),
        ("(B) 12", "B", 1.0),
        ("(A) or (B)", "B", 0.0),
        ("25\\pi\\text{ cm}^2", "25\\pi", 1.0),
        ("78.54", "25\\pi", 0.0),
        ("78.539816", "25\\pi", 1.0),
        ("no solution", "\\emptyset", 1.0),
        ("all real numbers", "(-\\infty, \\infty)", 1.0),
        ("Kickball, Softball", "\\text{Softball, Kickball}", 1.0),
        ("（2，3）", "(2,3)", 1.0),
        ("\\frac{1}{3} \\approx 0.33", "\\frac13", 1.0),
        (tower(4), "17", 0.0),
        ("x = 3/0 = 5", "x+1", 0.0),
        ("\\text{a ²}x", "x+1", 0.0),
        ("x", "1/0 = 5", 0.0),
        ("(y, 2)", "(t, 2)", 0.0),
        ("(True, 1)", "(Y, 1)", 0.0),
        ("|x+1001|-1001", "|x+1000|-1000", 0.0),
        ("|1000+x|-1000", "|x+1000|-1000", 1.0),
    ],
)
def test_formulas_are_judged_without_math_verify(
    answer: str, gold: str, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(symbolic, "equal", lambda *_: pytest.fail("asked the worker"))
    assert mathematics.judge(answer, gold).value == value, mathematics.judge(answer, gold)


def test_what_the_reader_does_not_know_goes_to_math_verify() -> None:
    assert mathematics.judge("6", "\\sum_{k=1}^{3} k").value == 1.0
    assert mathematics.judge("x + x^2 + x^3", "\\sum_{k=1}^{3} x^k").value == 1.0


def test_a_number_is_not_answered_by_the_question() -> None:
    for wrapped in ("\\int_0^{12+5} 1 dx", "\\sum_{i=1}^{12+5} 1", "\\sqrt{(12+5)^2}", "\\max(12+5, 0)", "12+5"):
        assert mathematics.judge(wrapped, "17").reason.startswith("arithmetic left unworked"), wrapped
    assert mathematics.judge("\\sqrt{289}", "17").value == 1.0


@settings(deadline=None)
@given(st.integers(-(10**12), 10**12), st.integers(1, 10**6), st.integers(1, 1000))
def test_a_number_is_itself_and_no_other(above: int, below: int, more: int) -> None:
    plain, latex = f"{above}/{below}", f"\\frac{{{above}}}{{{below}}}"
    other = f"{above + more * below}/{below}"
    assert mathematics.judge(plain, latex).value == 1.0 or below == 1 or above % below == 0
    assert mathematics.judge(plain, other).value == mathematics.judge(other, plain).value == 0.0
    assert mathematics.judge(str(above), f"${above}$").value == 1.0
    assert (
        mathematics.judge(str(above + more), str(above)).value
        == mathematics.judge(str(above), str(above + more)).value
        == 0.0
    )


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60), st.text(max_size=60))
def test_any_two_texts_get_a_verdict(answer: str, gold: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(symbolic, "equal", lambda *_: Verdict(None, "worker"))
        assert mathematics.judge(answer, gold).value in (0.0, 1.0, None)
        assert mathematics.judge(gold, gold).value in (1.0, None) or not normal(gold)


@pytest.mark.parametrize(
    "piece", ["{", "}", "(", "$", "\\(", "-", "^", "\\frac", "\\text{", "1,", "or ", "或", "二分之", "½"]
)
def test_a_megabyte_is_read_in_linear_time(piece: str) -> None:
    noise = piece * (10**6 // len(piece))
    start = time.process_time()
    for gold in ("17", "x+1", "Saturday"):
        for text in (noise, noise[:1000], noise[:-1] + gold):
            assert mathematics.judge(text, gold).value == 0.0
    assert mathematics.judge("17", noise).value is None
    assert len(mathematics.last_answer(noise) or "") <= 4 * MAX_CHARACTERS
    assert time.process_time() - start < 2  # quadratic would take minutes


def test_a_hang_costs_its_sample_and_the_next_question_is_answered() -> None:
    assert symbolic.equal("x", "x").value == 1.0
    start = time.monotonic()
    hung = symbolic.equal("17", tower(4), limit_s=0.2)
    assert time.monotonic() - start < 30  # the formula itself would take for ever
    assert hung.value is None and "took over" in hung.reason
    assert symbolic.equal("2x", "x+x").value == 1.0
    symbolic.close()


@pytest.mark.parametrize(
    ("answer", "gold", "language", "value"),
    [
        ("1.234", "1234", "de", 1.0),
        ("1.234 €", "1234", "es-MX", 1.0),
        ("1,234", "1.234", "fr", 1.0),
        ("1.234", "1234", "en", 0.0),
        ("1,234", "1.234", "zh", 0.0),
        ("1.234", "1.234", "de", 1.0),
        ("1.235", "1234", "de", 0.0),
        ("1.234 und 5.678", "1234", "de", 0.0),
    ],
)
def test_what_a_comma_and_a_point_mean_is_settled_by_the_rows_language(
    answer: str, gold: str, language: str, value: float
) -> None:
    assert mathematics.judge(answer, gold, language=language).value == value


def test_a_time_of_day_is_no_quotient() -> None:
    assert mathematics.judge("12:30", "0.4").value == mathematics.judge("\\text{12:30}", "0.4").value == 0.0
