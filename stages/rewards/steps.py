"""Find the first wrong step of a chain of reasoning: a text enters, the span of its first false statement leaves.

Two kinds of statement are read. Equations between numbers, `3 + 4 = 7` or chains `2*3+1 = 6+1 = 7`, and moves of the
cup game, `A-C:C>A` (cups A and C change places, the ball under C goes to A; two swaps may share a statement). What
cannot be read with certainty (algebra, powers, percentages) makes no claim: the report marks a step as wrong only when
it is.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

_TOKEN = re.compile(
    r"(?P<number>[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
    r"|(?P<operator>\\times|\\cdot|\\div|[-+*/×·⋅∗÷−－–]|(?<![A-Za-z])[xX](?=[ \t$]*[0-9.(]))"
    r"|(?P<bracket>[()])|(?P<equals>[=＝])|(?P<skip>[ \t$]+)"
)
_OPERATORS = dict.fromkeys(("x", "X", "×", "·", "⋅", "∗", "\\times", "\\cdot"), "*") | {"\\div": "/", "÷": "/"}
_OPERATORS |= {"−": "-", "－": "-", "–": "-"}
_RANK = {"+": 1, "-": 1, "*": 2, "/": 2, "negate": 3}
_APPLY = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
# Words and signs that tie a run to what stands before or after it.
_BEFORE = re.compile(r"(?:[\^%!√_{}|°\\]|\bof|[0-9] ?and|[.][.])$")
_AFTER = re.compile(r"[A-Za-z^%!_{\\°²³:/]|\.\.|…|,[0-9]| and \(?[0-9]|[ ]+[0-9]+/[0-9]")
_MIXED = re.compile(r"[0-9]+/[0-9]")
_SWAPS = re.compile(r"(?<![A-Za-z])([A-H])-([A-H])(?:,([A-H])-([A-H]))?:([A-H])>([A-H])(?![A-Za-z])")
_MAX_TOKENS, _MAX_DIGITS, _MAX_VALUE = 200, 18, 10**40


class _Token(NamedTuple):
    kind: str
    text: str
    start: int
    end: int


def first_wrong_step(text: str) -> tuple[int, int] | None:
    """Return (start, end) of the first false statement in `text`, or None when all that can be read are true."""
    wrong = next(_false_equations(text), None)
    for match in _SWAPS.finditer(text):
        if wrong is not None and match.start() >= wrong[0]:
            break
        first, second, third, fourth, at, to = match.groups()
        for a, b in ((first, second), (third, fourth)):
            at = {a: b, b: a}.get(at, at)
        if at != to:
            return match.span()
    return wrong


def evaluate(expression: str) -> Fraction | None:
    """Return the value of plain arithmetic (numbers, + - * / and brackets, also × x · ÷ and LaTeX), else None.

    Division by zero, numbers beyond 18 digits, more than 200 tokens and values beyond 10**40 give None.
    """
    tokens: list[_Token] = []
    cursor = 0
    expression = expression.strip()
    while cursor < len(expression):
        match = _TOKEN.match(expression, cursor)
        if match is None or len(tokens) > _MAX_TOKENS:
            return None
        if match.lastgroup != "skip":
            tokens.append(_token(match))
        cursor = match.end()
    return _value(tokens)


def _false_equations(text: str) -> Iterator[tuple[int, int]]:
    """Yield the spans of false equations in reading order."""
    for run in _runs(text):
        sides: list[list[_Token]] = [[]]
        for token in run:
            if token.kind == "equals":
                sides.append([])
            else:
                sides[-1].append(token)
        if len(run) == 2 * len(sides) - 1 or len(run) > _MAX_TOKENS:
            continue  # nothing was computed: `x = 5`
        values = [_value(side) for side in sides]
        if _hangs_on_the_left(text, run[0]):
            values[0] = None
        if _hangs_on_the_right(text, run[-1]):
            values[-1] = None
        for (left, a), (right, b) in pairwise(zip(sides, values, strict=True)):
            if a is not None and b is not None and a != b:
                yield left[0].start, right[-1].end


def _runs(text: str) -> Iterator[list[_Token]]:
    """Yield maximal runs of arithmetic tokens with nothing but blanks between them, where they hold an equals sign."""
    run: list[_Token] = []
    cursor = 0
    for match in _TOKEN.finditer(text):
        two_numbers = run and run[-1].kind == match.lastgroup == "number"  # `3+4=7 7*2=14`: a new statement
        if match.start() != cursor or two_numbers:
            if any(token.kind == "equals" for token in run):
                yield run
            run = []
        if match.lastgroup != "skip":
            run.append(_token(match))
        cursor = match.end()
    if any(token.kind == "equals" for token in run):
        yield run


def _hangs_on_the_left(text: str, first: _Token) -> bool:
    """Say whether something before the run belongs to its first number: `2^3 + 1`, `y - 3`, `x3`, `50% * 2`, `10% of
    6 + 2`."""
    start = first.start
    touching = text[start - 1 : start]
    if (touching.isascii() and touching.isalnum()) or (touching == ":" and text[start - 2 : start - 1].isdigit()):
        return True  # `x3 + 1`, or a time: `6:00 + 48`
    before = text[max(0, start - 20) : start].rstrip(" \t$")
    if before[-1:].isdigit() and _MIXED.match(text, start):
        return True  # `1 1/2 + 1`
    return bool(_BEFORE.search(before)) or (first.kind == "operator" and before[-1:].isalnum())


def _hangs_on_the_right(text: str, last: _Token) -> bool:
    """Say whether something after the run belongs to its last number: `7x`, `50%`, `2^3`, `5!`, `0.33...`, `5 and
    2/3`."""
    return bool(_AFTER.match(text, last.end))


def _token(match: re.Match[str]) -> _Token:
    return _Token(match.lastgroup or "", match.group(), match.start(), match.end())


def _value(tokens: list[_Token]) -> Fraction | None:
    """Evaluate one side by the shunting-yard method; None when it is no complete expression."""
    numbers: list[Fraction] = []
    waiting: list[str] = []
    before = "start"
    for token in tokens:
        if token.kind == "number":
            if before in ("number", ")") or len(token.text) > _MAX_DIGITS:
                return None
            numbers.append(Fraction(token.text.replace(",", "")))
            before = "number"
        elif token.text == "(":
            if before in ("number", ")"):
                return None
            waiting.append("(")
            before = "("
        elif token.text == ")":
            if before not in ("number", ")") or not _reduce(numbers, waiting, 0) or not waiting:
                return None
            waiting.pop()
            before = ")"
        else:
            sign = _OPERATORS.get(token.text, token.text)
            if before not in ("number", ")"):
                if sign != "-":
                    return None
                sign = "negate"
            elif not _reduce(numbers, waiting, _RANK[sign]):
                return None
            waiting.append(sign)
            before = "operator"
    if before not in ("number", ")") or not _reduce(numbers, waiting, 0) or waiting:
        return None
    return numbers[0]


def _reduce(numbers: list[Fraction], waiting: list[str], rank: int) -> bool:
    """Apply the waiting operators of at least this rank, up to an open bracket; False on division by zero or a huge
    value."""
    while waiting and waiting[-1] != "(" and _RANK[waiting[-1]] >= rank:
        sign = waiting.pop()
        right = numbers.pop()
        if sign == "negate":
            numbers.append(-right)
            continue
        left = numbers.pop()
        if sign == "/" and right == 0:
            return False
        numbers.append(_APPLY[sign](left, right))
        if abs(numbers[-1].numerator) > _MAX_VALUE or numbers[-1].denominator > _MAX_VALUE:
            return False
    return True
