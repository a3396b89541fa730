"""Formulas are read whole or not at all, and equal means equal to 50 digits at every point tried."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.rewards.mathematics import answers
from stages.rewards.mathematics.expression import read
from stages.rewards.mathematics.expression_exact import affine, is_worked, rational, rounds
from stages.rewards.mathematics.expression_node import Node, integer
from stages.rewards.mathematics.expression_value import proportional, same
from tests.rewards.contracts import tower


def node(text: str) -> Node:
    found = read(text)
    assert found is not None, text
    return found


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("\\frac12", "1/2"), ("\\frac34+1", "7/4"), ("1 + 2 * 3 ^ 2", "19"), ("-2^2", "-4"), ("2^{-1}", "1/2"),
        ("2^3^2", "512"), ("5\\frac{1}{2}", "11/2"), ("3 \\cdot (4 - 6)", "-6"), ("1/2/2", "1/4"), ("50\\%", "1/2"),
        ("0.(3)", "1/3"), ("0.1(6)", "1/6"), ("1011_2", "11"), ("2.5e3", "2500"), ("2²", "4"),
        ("\\left(1+\\frac{1}{2}\\right)", "3/2"), ("1,234", "1234"), ("- - 3", "3"), ("\\frac1{20}", "1/20"),
    ],
)  # fmt: skip
def test_arithmetic_has_an_exact_value(text: str, value: str) -> None:
    assert str(rational(node(text))) == value


@pytest.mark.parametrize(
    "text",
    [
        *("", "1 +", "(1", "1)", "\\frac{1}", "\\foo", "1 2", "x +* y", "{" * 500, "(" * 500, "-" * 500, "1" * 900),
        *(
            "2^" * 300 + "2",
            "\\begin{pmatrix} 1 & 2 \\\\ 3 \\end{pmatrix}",
            "\\text{",
            "1_1",
            "9_8",
            "x" * 2000,
            "\\sqrt",
        ),
    ],
)
def test_what_is_not_understood_to_the_end_is_not_read(text: str) -> None:
    assert read(text) is None


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("\\frac{1}{\\sqrt{2}}", "\\frac{\\sqrt{2}}{2}"), ("x^2-1", "(x-1)(x+1)"), ("\\tan^2 y+1", "\\sec^2(y)"),
        ("\\sqrt[3]{x}^2", "x^{2/3}"), ("e^{i\\pi}", "-1"), ("\\log_2 8", "3"), ("\\sin 30^\\circ", "1/2"),
        ("\\sin(90^\\circ-x)", "\\cos x"), ("\\binom{10}{3}", "120"), ("x!", "x(x-1)!"), ("\\sqrt{-1}", "i"),
        ("\\ln x^2", "2\\ln x"), ("\\sqrt[3]{-8}", "-2"), ("2^x", "exp(x ln 2)"), ("|x|", "\\sqrt{x^2}"),
        ("\\cos 36^\\circ", "\\frac{1+\\sqrt5}{4}"), ("sinxcosy", "\\cos y\\sin x"), ("2|x|", "|2x|"),
        ("\\sin\\pi", "0"), ("\\lfloor 2.7 \\rfloor", "2"), ("f(x+1)", "f(1+x)"), ("\\pi", "3.14159265"),
    ],
)  # fmt: skip
def test_equal_formulas_are_equal(left: str, right: str) -> None:
    assert same(node(left), node(right)) is True
    assert same(node(right), node(left)) is True


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("1-1/e", "1+1/e"), ("4", "4\\sqrt{2}"), ("10^{20}+\\sqrt2", "10^{20}+\\sqrt2+1"), ("|x|", "x"), ("x", "y"),
        ("\\frac{1}{2004!}", "\\frac{1}{2006!}"), ("\\frac{1}{2004!}", "0"), ("2^{2016}-1", "2^{2016}"),
        ("f(x)", "f(y)"),
        ("\\pi", "3.14"), ("\\frac13", "0.333"), ("\\frac12", "0.4999999"), ("\\sqrt{288}", "17"), ("x", "2x"),
        ("\\frac{1}{2^{99}}", "\\frac{1}{2^{98}}"), ("x^2+2x+1", "(x+1)^2+10^{-20}"), ("(-1)^n", "1"),
    ],
)  # fmt: skip
def test_different_formulas_differ(left: str, right: str) -> None:
    assert same(node(left), node(right)) is False
    assert same(node(right), node(left)) is False


@pytest.mark.parametrize("tower", [tower(4, power="**"), tower(4), "99999999!", "1/0", "0/0", "((99^99)^99)^99999"])
def test_what_has_no_value_is_not_equal_to_anything_and_costs_nothing(tower: str) -> None:
    start = time.process_time()
    assert not same(node("17"), node(tower))
    assert time.process_time() - start < 1


def test_a_decimal_of_six_digits_may_be_rounded_and_no_shorter_one() -> None:
    third = integer(1)._replace(number=rational(node("1/3")) or integer(0).number)
    assert rounds(node("0.333333"), third.number) and rounds(node("0.3333334"), third.number)
    assert not rounds(node("0.33333"), third.number) and not rounds(node("0.333335"), third.number)
    assert not rounds(node("0.9999999"), integer(1).number)


def test_only_arithmetic_on_plain_numbers_is_unworked() -> None:
    assert not any(is_worked(node(text)) for text in ("48+24", "2*3", "2^3", "6-1", "(1+1)/3"))
    assert all(is_worked(node(text)) for text in ("72", "-3", "3/4", "2\\sqrt3+1", "1\\frac12", "2.5*10^3", "5\\%"))


def test_equations_agree_up_to_a_constant_factor() -> None:
    assert proportional(node("2x+4y-3"), node("y+x/2-3/4")) is True
    assert proportional(node("2x+4y-3"), node("y+x/2-3")) is False
    assert proportional(node("x-1"), node("2-2x"), positive=True) is False
    assert affine(node("3(x-2)"), "x") == (integer(3), integer(-6))
    assert affine(node("x^2"), "x") is None


AGREE = [
    ("x>5", "(5,\\infty)"), ("-2 \\le x \\le 7", "x \\in [-2,7]"), ("x<1", "-x>-1"), ("x \\le 1", "-x \\ge -1"),
    ("1\\leq|z|\\leq \\frac{3}{2}", "z \\in [-3/2,-1]\\cup[1,3/2]"), ("(-\\infty,2)\\cup(2,\\infty)", "x \\ne 2"),
    ("x<1 or x>2", "(-\\infty,1)\\cup(2,\\infty)"), ("[2,3)\\cup(3,4]", "[2,4]\\setminus\\{3\\}"), ("2=x", "2"),
    ("\\{1,2\\}", "2,1"), ("\\{1,1,2\\}", "1,2"), ("1\\pm\\sqrt{19}", "1-\\sqrt{19},1+\\sqrt{19}"), ("k=1", "1"),
    ("x=1,y=2", "y=2,x=1"), ("x=1,y=2", "(1,2)"), ("x=1,x=2", "2,1"), ("p=5,q=2;p=7,q=2", "(5,2),(7,2)"),
    ("2x+4y-3=0", "y=-\\frac{1}{2}x+\\frac{3}{4}"), ("y=2x+1", "2x+1"), ("f(x)=2x+1", "y=2x+1"), ("|AB|=1", "1"),
    ("S_{ABC}:S=7:32", "7:32"), ("f(2)<f(1)<f(4)", "f(4)>f(1)>f(2)"), ("(p,q)=(3,2)", "(3,2)"), ("1:2", "2:4"),
    ("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "(1,2)"), ("\\begin{bmatrix}1&2\\\\3&4\\end{bmatrix}", "[[1,2],[3,4]]"),
    ("\\{x : 1<x<3\\}", "(1,3)"), ("]1,2[", "(1,2)"), ("x_1=1,x_2=2", "2,1"), ("y\\le 2x+1", "2x-y+1\\ge 0"),
]  # fmt: skip
DISAGREE = [
    ("[0,1)", "[0,9)"), ("(1,2)", "[1,2]"), ("(1,2)", "(2,1)"), ("1,2", "1,3"), ("1,2", "1"), ("1,2", "1,2,3"),
    ("x=1,y=2", "x=2,y=1"), ("x=1,y=2", "2,1"), ("\\pm 3", "3"), ("x+z=1", "1"), ("7=11a+c", "11a+c"),
    ("x>5", "x\\ge5"), ("204_5", "54"), ("204_5", "204"), ("y=2x", "x=2y"), ("12:00", "1:00"),
    ("(-\\infty,2)", "(\\infty,2)"),
    ("\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", "\\begin{pmatrix}1&2\\\\3&5\\end{pmatrix}"), ("x>5", "y>5"),
    ("(3,1)", "1,3"), ("(0,-6,-4)", "(0,-6,-4]"), ("\\emptyset", "\\{\\emptyset\\}"), ("x=5", "x"),
    ("(3,3)", "(1+2,3)"), ("x<2", "2"),
]  # fmt: skip


@pytest.mark.parametrize(("wanted", "answer"), AGREE)
def test_the_same_answer_in_another_shape_agrees(wanted: str, answer: str) -> None:
    assert answers.agree(node(wanted), node(answer)) is True


@pytest.mark.parametrize(("wanted", "answer"), DISAGREE)
def test_another_answer_of_the_same_shape_does_not(wanted: str, answer: str) -> None:
    assert not answers.agree(node(wanted), node(answer))


def test_letters_that_are_constants_elsewhere_are_statements_of_logic_too() -> None:
    assert answers.agree(node("e \\land i"), node("i \\land e")) is True
    assert answers.agree(node("e \\land i"), node("i \\lor e")) is False


@pytest.mark.parametrize(
    ("wanted", "answer", "same"),
    [
        ("\\vec a\\times\\vec b", "-\\vec b\\times\\vec a", True),
        ("6\\vec a\\times\\vec b", "2\\vec a\\times 3\\vec b", True),
        ("q\\vec v\\times\\vec B", "q\\vec B\\times\\vec v", False),
        ("\\overrightarrow{AB}", "-\\overrightarrow{BA}", True),
        ("(AB)^T", "B^T A^T", True),
        ("(AB)^T", "A^T B^T", False),
        ("(AB)^T", "AB", False),
        ("f \\circ g", "g \\circ f", False),
        ("\\triangle ABC \\sim \\triangle DEF", "\\triangle BCA \\sim \\triangle EFD", True),
        ("\\triangle ABC \\sim \\triangle DEF", "\\triangle ABC \\sim \\triangle DFE", False),
        ("\\dot{q}", "\\frac{dq}{dt}", True),
        ("y''", "\\frac{d^2y}{dx^2}", True),
        ("\\frac{dy}{dx}", "\\frac{dx}{dy}", False),
        ("\\frac{dy}{dx}", "\\frac{y}{x}", False),
        ("\\frac{\\partial x}{\\partial y}", "\\frac{\\partial y}{\\partial x}", False),
        ("\\overline{A}", "A^c", True),
        ("f'(3)", "f(3)", False),
        ("\\frac{2|x|}{3}", "\\frac{2}{3}|x|", True),
        ("\\{n \\in \\mathbb{Z} \\mid 0 < n < 4\\}", "{n ∈ ℤ | 0 < n < 4}", True),
    ],
)
def test_what_has_an_order_or_a_mark_keeps_it(wanted: str, answer: str, same: bool) -> None:
    assert bool(answers.agree(node(wanted), node(answer))) is same


SIGNS = [
    "+",
    "-",
    "*",
    "/",
    "^",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "\\{",
    "\\}",
    ",",
    "=",
    "<",
    "|",
    "!",
    "_",
    ":",
    "°",
    "%",
]
COMMANDS = [
    "\\frac",
    "\\sqrt",
    "\\pi",
    "\\sin",
    "\\cup",
    "\\infty",
    "\\pm",
    "\\in",
    "\\text{a}",
    "\\le",
    "\\log",
    "\\land",
    "\\to",
    "i",
    "A",
    "\\dot x",
    "\\pmod",
    " or ",
]
PIECES = st.sampled_from(["1", "2", "0.5", "x", "y", *SIGNS, *COMMANDS])


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=14), st.lists(PIECES, max_size=14))
def test_whatever_is_read_equals_itself_and_nothing_raises(left: list[str], right: list[str]) -> None:
    first, second = read(" ".join(left)), read("".join(right))
    if first is not None:
        assert answers.agree(first, first) is True
    if first is not None and second is not None:
        assert answers.agree(first, second) in (True, False, None)


@settings(max_examples=100, deadline=None)
@given(st.integers(-50, 50), st.integers(2, 60), st.integers(1, 9))
def test_adding_a_whole_number_to_a_formula_makes_it_another(whole: int, radicand: int, factor: int) -> None:
    formula = f"{factor}\\sqrt{{{radicand}}}+{whole}x"
    assert same(node(formula), node(f"{whole}x+\\sqrt{{{radicand * factor**2}}}")) is True
    assert same(node(formula), node(f"{whole}x+\\sqrt{{{radicand * factor**2}}}+{factor}")) is False
