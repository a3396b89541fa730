"""What a text without marks commits to, units and words beside answers, and what a denial is worth."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.rewards import accuracy
from stages.rewards.mathematics import beside, closing, moments, reading, wording
from stages.rewards.mathematics.numbers import MAX_CHARACTERS
from stages.rewards.mathematics.numerals import as_digits
from stages.rewards.mathematics.units import Scale
from tests.rewards.contracts import contract, row

CASES = "f(x)=\\begin{cases} -x & x<0\\\\ x & \\text{otherwise}\\end{cases}"
RIGHT = [
    ("225*sqrt(11)", "225\\sqrt{11}"),
    ("The legs are equal. Each leg has length sqrt(2)/2.", "\\frac{\\sqrt{2}}{2}"),
    ("The fixed point is (2, 12).", "(2,12)"),
    ("The solutions are (1, 1), (3, 2) and (2, 3).", "(1,1),(2,3),(3,2)"),
    ("所以不等式的解集为 3≤x<5。", "[3, 5)"),
    ("因此 $A \\cap B = \\{3, 2, 1\\}$。", "\\{1, 2, 3\\}"),
    ("x <= -1/2 or x >= 1/2", "(-\\infty, -\\frac{1}{2}] \\cup [\\frac{1}{2}, \\infty)"),
    ("The domain is all real numbers except -4 and -2.", "(-\\infty,-4)\\cup(-4, -2)\\cup(-2,\\infty)"),
    ("Write q = (x^2 + 2)^2, at least 4. So 3 ≤ r ≤ 15.", "[3,15]"),
    ("They owe the same after twenty days.", "20\\text{ days}"),
    ("Its value is one million.", "1,\\!000,\\!000"),
    ("Each crust needs a quarter of a cup.", "\\frac14"),
    ("The month is **August**.", "\\text{August}"),
    ("The correct choices are A, B, and E.", "\\text{A,B,E}"),
    ("Sie braucht 3 Tage. Die Fläche beträgt 7π", "7\\pi"),
    ("All solutions are x = π/4 + nπ with n an integer.", "x = \\frac{\\pi}{4} + k\\pi,\\ k \\in \\mathbb{Z}"),
    ("$f(x)=\\begin{cases} -x, & \\text{if } x<0 \\\\ x, & \\text{otherwise} \\end{cases}$", CASES),
    ("$\\mathbb{R} - \\{-1, 1\\}$", "\\mathbb{R}\\setminus\\{-1,1\\}"),
    ("y³ + x²", "x^2+y^3"),
    ("3:45 p.m.", "3:45 PM"),
    ("C. 24", "C"),
    ("First 48 - 11, then we get 37 spaces.", "37"),
]
WRONG = [
    ("AZYUK2A", "2"),
    ("I don't think the answer can be 990.", "990"),
    ("It can't be 125.", "125"),
    ("I am unable to determine whether the answer is 56 without more information.", "56"),
    ("The answer lies between 2002 and 2003.", "2003"),
    ("The total is more than 42.", "42"),
    ("So we have 4x on the left side.", "4"),
    ("Step 4: simplify both sides.", "4"),
    ("It takes 40 hours.", "40\\text{ min}"),
    ("It cannot be a Friday.", "\\text{Friday}"),
    ("This is not the final answer: 42", "42"),
    ("Not \\boxed{4}, the answer is 5", "4"),
    ("November 30", "\\text{October 30}"),
    ("$\\{-2, 0\\}$", "[-2,0]"),
    ("\\boxed{y = 3}", "x = 3"),
    ("\\boxed{f(f(x)) = x}", "f(x) = x"),
    ("\\boxed{\\{\\{0,1\\},\\{2\\}\\}}", "\\{\\{0\\},\\{1,2\\}\\}"),
    ("\\boxed{2\\,3}", "23"),
    ("$f(x)=\\begin{cases} -x & x \\ge 0\\\\ x & \\text{otherwise} \\end{cases}$", CASES),
    ("$3-x$", "|x-3|"),
    ("$45'$", "45^\\circ"),
    ("17 without 3", "3"),
    ("答えは42ではありません。", "42"),
    ("So it is arcsin(1/2).", "1/2"),
    ("(D) C-shaped figure", "C"),
    ("\\boxed{eat}", "tea"),
    ("\\boxed{k\\pi, k \\in \\mathbb{N}}", "k\\pi, k \\in \\mathbb{Z}"),
]


@pytest.mark.parametrize(("text", "gold"), RIGHT)
def test_an_answer_in_plain_words_is_found_and_right(text: str, gold: str) -> None:
    verdict = accuracy.reward(text, row(gold), contract())
    assert verdict.value == 1.0, verdict


@pytest.mark.parametrize(("text", "gold"), WRONG)
def test_what_is_denied_bounded_or_another_thing_is_wrong(text: str, gold: str) -> None:
    verdict = accuracy.reward(text, row(gold), contract())
    assert verdict.value == 0.0, verdict


@pytest.mark.parametrize("answer", ["1+1", "2^1", "\\frac{4}{2}", "4/2", "\\boxed{0+0\\cdot7+2}"])
def test_arithmetic_is_an_answer_only_where_no_problem_could_be_repeated(answer: str) -> None:
    asked = row("2")
    assert asked.problem
    assert accuracy.reward(answer, asked, contract()).value == 0.0
    assert accuracy.reward(answer, replace(asked, problem=""), contract()).value == 1.0


@pytest.mark.parametrize(
    ("given", "wanted", "times"),
    [
        ("6 km", "5000 m", Scale(Fraction(1000))),
        ("73 km/h", "20 m/s", Scale(Fraction(5, 18))),
        ("61 miles per hour", "88 feet per second", Scale(Fraction(22, 15))),
        ("2 liter", "1000 cm^3", Scale(Fraction(1000))),
        ("13\\ \\mathrm{kg\\cdot m/s^2}", "12 \\text{ N}", Scale(Fraction(1))),
        ("9.9 m s^{-2}", "9.8 \\text{ m/s}^2", Scale(Fraction(1))),
        ("15001 \\text{ cents}", "\\$150", Scale(Fraction(1, 100))),
        ("61千米/时", "60 km/h", Scale(Fraction(1))),
        ("17", "17 cm", Scale(Fraction(1))),  # a unit that one side leaves out
        ("17 apples", "17 pears", None),  # what both sides write must be the same
        ("21^\\circ\\text{C}", "68^\\circ\\text{F}", Scale(Fraction(9, 5), Fraction(32))),
        ("60 min", "1 h", True),  # equal, and settled by it
        ("5 MV", "5 mV", Scale(Fraction(10**9))),  # case is kept
        ("5 lightsabres", "5 parsnips", None),
        ("5 in the box", "5", Scale(Fraction(1))),
        ("5 cm", "5 cm^2", None),
        ("45 h/km", "45 km/h", None),
        ("80 radians", "80^\\circ", None),
        ("€12.50", "\\$12.50", None),
    ],
)
def test_units_are_converted_and_those_of_other_things_refused(
    given: str, wanted: str, times: Scale | bool | None
) -> None:
    assert beside.compare(given, wanted) == times


def test_words_and_digits_say_the_same() -> None:
    assert as_digits("There are two cows") == "There are 2 cows"
    assert as_digits("minus six") == "-6"
    assert as_digits("two of the three") == "two of the three"  # two numbers: nothing is chosen
    assert wording.same("Yes. For example 3", "True") and not wording.same("yes and no", "Yes")
    assert moments.same("14 March 2025", "March 14, 2025") and moments.same("May 3", "June 3") is False


def test_a_qualifier_is_parted_from_its_answer() -> None:
    assert reading.qualified("k\\pi + \\frac{\\pi}{4}, k \\in \\mathbb{Z}") == ("k\\pi + \\frac{\\pi}{4}", ["k"])
    assert reading.qualified("f(x) = ax + b \\text{ where } a, b \\in \\mathbb{R}") == ("f(x) = ax + b", ["a", "b"])
    assert reading.qualified("x \\in \\mathbb{R}") == ("x \\in \\mathbb{R}", [])


@given(st.text(max_size=400), st.sampled_from(["17", "x+1", "yes", "(1, 2)", "B"]))
def test_any_text_has_a_piece_of_itself_or_a_number_word_as_its_answer(text: str, gold: str) -> None:
    found = closing.last_answer(text, gold)
    assert found is None or len(found) <= 4 * MAX_CHARACTERS
