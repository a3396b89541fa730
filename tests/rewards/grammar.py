"""What rewards are fuzzed with: choices enter, a row's gold and a completion leave, made of meaningful pieces.

Formulas nest the pieces of tests/rewards/mathematics/test_bounds.py, so that towers, factorials of factorials and huge
arguments of everything come by themselves; around them stand numbers as people write them, units, sentences in many
languages, option letters and marks of thought. Fuzzers and property tests choose alike: `draw(n)` is a number from 0 to
n - 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from tests.rewards.mathematics.test_bounds import PIECES, SIZES

Draw = Callable[[int], int]

NUMBERS = (
    "17",
    "-3",
    "0",
    "1,000",
    "1.234,5",
    "1 000",
    "12,34,567",
    "0.5",
    ".25",
    "1e5",
    "1.5 x 10^-7",
    "6.02 × 10²³",
    "½",
    "1 1/2",
    "8 (6/19)",
    "3/4",
    "45%",
    "0.(3)",
    "0.333...",
    "0.\\overline{3}",
    "1{,}000",
    "3{,}5",
    "1101_2",
    "XIV",
    "十二",
    "三分之二",
    "百分之五",
    "١٧",
    "१७",
    "seventeen",
    "siebzehn",
    "one hundred twenty-one",
    "17th",
    "1/0",
    "3:00",
    "1e400",
    "9" * 60,
    "0." + "3" * 50,
    "2\\frac12",
    "²³",
    "∞",
    "NaN",
    "12!",
    "5 \\pm 1",
    "3 million",
    "−3",
    "+3",
)
NAMES = (
    "x",
    "y",
    "n",
    "k",
    "e",
    "i",
    "\\pi",
    "\\theta",
    "x_1",
    "A",
    "AB",
    "f(x)",
    "y'",
    "\\dot{x}",
    "\\vec a",
    "\\mathbb{R}",
)
UNITS = (
    "km",
    "m",
    "cm",
    "mm",
    "kg",
    "s",
    "h",
    "min",
    "km/h",
    "m s^{-2}",
    "ms⁻¹",
    "\\text{ m}",
    "^\\circ",
    "^\\circ C",
    "°F",
    "K",
    "%",
    "\\%",
    "$",
    "\\$",
    "€",
    "元",
    "MV",
    "mV",
    "kΩ",
    "kWh",
    "ppm",
    "apples",
    "sheep",
    "公里",
    "hours",
    "inches",
    "Å",
)
OTHERS = (
    "H2O",
    "\\ce{Fe^{2+}}",
    "SO_4^{2-}",
    "2H_2 + O_2 \\to 2H_2O",
    "March 14",
    "7:00 pm",
    "2 h 30 min",
    "45°30'",
    "5 ft 6 in",
    "north",
    "Even",
    "\\text{even}",
    "no solution",
    "proof",
    "N/A",
    "p \\to q",
    "\\forall x P(x)",
    "A, D",
    "B",
    "print(42)",
    "lambda: 42",
    "[asy]",
    "\\boxed{",
    "\\sum_{n=1}^\\infty \\frac{1}{n^2}",
    "\\int_0^1 x^2 dx",
    "\\lim_{x \\to 0} x",
    "",
)
SENTENCES = (
    "%s",
    "The answer is %s.",
    "So it is %s rather than %s.",
    "%s, not %s",
    "not %s",
    "at least %s",
    "twice %s",
    "%s or %s",
    "there are %s left after %s days",
    "%s because %s is too small",
    "x = %s and y = %s",
    "%s = %s",
    "%s \\approx %s",
    "The correct option is (%s), not (%s).",
    "I choose %s over %s.",
    "option %s: %s",
    "either %s or %s",
    "all but %s",
    "答案是%s。",
    "故选%s，%s错误。",
    "不是%s，而是%s",
    "至少%s",
    "Die Antwort ist %s, nicht %s.",
    "höchstens %s",
    "La réponse est %s.",
    "ce n'est pas %s mais %s",
    "La respuesta no es %s.",
    "A resposta é %s ou %s.",
    "La risposta è %s.",
    "Het antwoord is %s.",
    "答えは%sではない。",
    "答えは%sです。",
    "답은 %s이 아닙니다.",
    "답은 %s입니다.",
    "Ответ %s, а не %s.",
    "Не менее %s.",
    "الجواب هو %s",
    "ليس %s",
    "उत्तर %s है",
    "#### %s",
    "Answer: **%s**",
    "\\boxed{%s}",
    "\\boxed{%s} and \\boxed{%s}",
    "$%s$",
    "\\text{%s}",
    "\\{%s, %s\\}",
    "(%s, %s]",
    "[%s, %s)",
    "%s; %s; %s",
    "%s %s",
    "x \\in (%s, %s)",
    "%s + C",
)
FRAMES = (
    "%s",
    "<think>a</think> <answer>%s</answer>",
    "<think>%s</think> %s",
    "a</think> \\boxed{%s}",
    "<answer>%s</answer>",
    "<answer>%s",
    "<think>%s",
    "<think>We take the area, 然后 %s</think> %s",
    "<answer>%s</answer> <answer>%s</answer>",
    "```python\n%s\n```",
    "<|begin_of_thought|>%s<|end_of_thought|> %s",
    "[THINK]%s[/THINK]%s",
    "%s</think></answer>%s",
    "<think>Das ist really gut, also %s</think><answer>%s</answer>",
    "<think></think> %s",
)
VERIFIERS = ("math", "math", "math", "choice", "exact")
LANGUAGES = ("", "en", "zh-CN", "de", "fr", "es", "pt", "it", "ja", "ko", "ru", "ar", "nl", "hi", "jp", "English", "xx")
_DEPTH = 4


class Pair(NamedTuple):
    """A gold answer with its row's fields, and what was given: the answer alone, and a whole completion."""

    gold: str
    answer: str
    completion: str
    verifier: str = "math"
    language: str = ""


def pair(draw: Draw) -> Pair:
    """Draw a gold answer and a completion that commits to it, to something near it or to something else."""
    gold = said(draw)
    answer = (lambda: gold, lambda: _filled(_one(SENTENCES, draw), lambda: gold), lambda: said(draw))[draw(3)]()
    completion = _filled(_one(FRAMES, draw), lambda: answer if draw(4) else said(draw))
    return Pair(gold, answer, completion, _one(VERIFIERS, draw), _one(LANGUAGES, draw))


def said(draw: Draw) -> str:
    """Draw an answer: a formula, a number, a quantity, a word, a sentence about some of them, or anything at all."""
    kind = draw(8)
    if kind < 3:
        return formula(draw, draw(_DEPTH + 1))
    if kind < 5:
        return _filled(_one(SENTENCES, draw), lambda: said(draw) if draw(6) == 0 else _atom(draw))
    if kind == 5:
        return f"{_atom(draw)}{' ' * draw(2)}{_one(UNITS, draw)}"
    if kind == 6:
        return _one(OTHERS, draw)
    return "".join(_any(draw) for _ in range(draw(12)))


def formula(draw: Draw, depth: int) -> str:
    """Draw a formula of at most `depth` pieces within each other."""
    if depth == 0 or draw(6) == 0:
        return _atom(draw)
    return _filled(_one(PIECES, draw), lambda: formula(draw, depth - 1))


def _atom(draw: Draw) -> str:
    return _one((NUMBERS, SIZES, NAMES)[draw(3)], draw)


def _any(draw: Draw) -> str:
    tables = (NUMBERS, SIZES, NAMES, UNITS, OTHERS, SENTENCES, FRAMES, PIECES)
    place = draw(len(tables) + 2)
    return _one(tables[place], draw) if place < len(tables) else chr(draw((0x80, 0x3000, 0xD7FF)[draw(3)]))


def _one(table: Sequence[str], draw: Draw) -> str:
    return table[draw(len(table))]


def _filled(piece: str, fill: Callable[[], str]) -> str:
    """Return a piece with each %s filled; %% is a percent sign of formulas."""
    first, *rest = piece.split("%s")
    return first.replace("%%", "%") + "".join(fill() + part.replace("%%", "%") for part in rest)
