"""The exact side of a formula's value: Nodes enter, Fractions leave. What holds roots, functions or names has none.

Here stand the rules that need exactness: which rounded decimal may stand for a number, and what is arithmetic left
unworked.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache

from stages.rewards.mathematics.expression_node import ARITHMETIC, Kind, Node, walk

MIN_DIGITS = 6
"""Significant digits that a rounded decimal must show: 0.333333 is 1/3, 0.333 is not (math-verify's precision)."""

_MAX_BITS = 50_000  # of an exact number
_SPELLED = 10_000  # … of one that is written out in digits


NOWHERE: Mapping[str, Fraction] = {}
"""A point of no letters."""


class NoValue(ValueError):
    """The formula has no value that can be computed here."""


def rational(node: Node, point: Mapping[str, Fraction] = NOWHERE) -> Fraction | None:
    """Return the exact value of arithmetic on numbers and on the letters of a point, None where the formula holds more;
    raises NoValue for x/0."""
    if node.kind == Kind.NUMBER:
        return node.number
    if node.kind == Kind.SYMBOL:
        return point.get(node.text)
    if node.kind not in ARITHMETIC or (node.text == ":" and len(node.parts) > 2):
        return None
    values = []
    for part in node.parts:
        value = rational(part, point)
        if value is None:
            return None
        values.append(value)
    value = _arithmetic(node.kind, values)
    return value if value is not None and value.numerator.bit_length() <= 2 * _MAX_BITS else None


def exact(node: Node, point: Mapping[str, Fraction] = NOWHERE) -> Fraction | None:
    """Return what `rational` does, and None for x/0 too."""
    try:
        return rational(node, point)
    except NoValue:
        return None


def _arithmetic(kind: str, values: list[Fraction]) -> Fraction | None:
    first, last = values[0], values[-1]
    if kind == Kind.SUM:
        return first + last
    if kind == Kind.PRODUCT:
        return first * last
    if kind == Kind.QUOTIENT:
        if last == 0:
            raise NoValue("division by zero")
        return first / last
    if kind == Kind.POWER:
        return _power(first, last)
    if kind == Kind.NEGATIVE:
        return -first
    return first / 100 if kind == Kind.PERCENT else first


def _power(base: Fraction, exponent: Fraction) -> Fraction | None:
    if exponent.denominator != 1:
        return None
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if abs(exponent) * bits > _MAX_BITS and abs(base) not in (0, 1):
        return None
    if base == 0 and exponent <= 0:
        raise NoValue("zero to no power")
    return base ** int(exponent)


def is_worked(node: Node) -> bool:
    """Say whether a formula is more than arithmetic left unworked: one number or fraction in any clothes, or one that
    holds roots, functions or names."""
    if node.kind in (Kind.NEGATIVE, Kind.PERCENT, Kind.DEGREE):
        return is_worked(node.parts[0])
    if node.kind == Kind.NUMBER or node.text == "mixed":
        return True
    if node.kind == Kind.QUOTIENT and all(_literal(part) for part in node.parts):
        return True
    if node.kind == Kind.PRODUCT and _literal(node.parts[0]) and node.parts[1].kind == Kind.POWER:
        return node.parts[1].parts[0].number == 10  # 2.5 * 10^3
    try:
        return rational(node) is None
    except NoValue:
        return False


def worked_out(node: Node) -> Node:
    """Return a formula with the arithmetic on plain numbers that is left in it carried out, where it can be."""
    value = None if is_worked(node) else exact(node)
    if value is not None and max(value.numerator.bit_length(), value.denominator.bit_length()) <= _SPELLED:
        return fraction(value)
    return node._replace(parts=tuple(map(worked_out, node.parts)))


def rounds(decimal: Node, value: Fraction) -> bool:
    """Say whether a decimal of at least six digits is `value` cut or rounded where the decimal ends.

    False where `value` could have been written out as short as the decimal: 0.4999999 is not 1/2.
    """
    unit = last_place(decimal)
    if unit is None or (value / unit).denominator == 1:
        return False
    rounded = rational(decimal)
    return rounded is not None and abs(rounded - value) < unit


def same_fraction(wanted: Node, given: Node, names: list[str]) -> bool | None:
    """Compare two formulas of nothing but arithmetic, exactly, at two points; None for other formulas."""
    try:
        for index in (0, 1) if names else (0,):
            point = {name: coordinate(name, index) for name in names}
            first, second = rational(wanted, point), rational(given, point)
            if first is None or second is None:
                return None
            if first != second:
                decimal = not names and (rounds(wanted, second) or rounds(given, first))
                return decimal if not names or not _is_decimal(wanted, given) else None
    except NoValue:
        return None
    return True


def _is_decimal(*nodes: Node) -> bool:
    return any("." in one.text for node in nodes for one in walk(node) if one.kind == Kind.NUMBER)


@lru_cache(maxsize=4096)
def coordinate(name: str, index: int) -> Fraction:
    """Return a symbol's value at a fixed point: between 1/2 and 3, and at point 2 of either sign."""
    mixed = zlib.crc32(f"{name}/{index}".encode("utf-8", "surrogatepass"))
    value = Fraction(1, 2) + Fraction(mixed % 100_003, 40_001)
    return -value if index == 2 and (mixed >> 8) % 3 else value


def affine(node: Node, name: str) -> tuple[Node, Node] | None:
    """Return (a, b) where the formula is a * name + b with rational a and b; None where it is not."""
    start, one, two, five = (exact(node, {name: Fraction(number)}) for number in (0, 1, 2, 5))
    if start is None or one is None or two is None or five is None:
        return None
    slope = one - start
    if two != start + 2 * slope or five != start + 5 * slope:
        return None
    return fraction(slope), fraction(start)


def fraction(value: Fraction) -> Node:
    return Node(Kind.NUMBER, text=str(value), number=value)


def _literal(node: Node) -> bool:
    return node.kind == Kind.NUMBER or (node.kind == Kind.NEGATIVE and node.parts[0].kind == Kind.NUMBER)


def last_place(node: Node) -> Fraction | None:
    """Return the unit of a decimal's last place, None for what is no decimal of six digits or more."""
    if node.kind == Kind.NEGATIVE:
        return last_place(node.parts[0])
    if node.kind == Kind.PRODUCT and node.parts[1].kind == Kind.POWER:  # 2.5 * 10^3
        unit, scale = last_place(node.parts[0]), rational(node.parts[1])
        return None if unit is None or scale is None else unit * scale
    text, _, power = node.text.lower().partition("e")
    if node.kind != Kind.NUMBER or "." not in text or not text.replace(".", "").replace(",", "").isdecimal():
        return None
    digits = text.replace(",", "")
    places = len(digits.partition(".")[2])
    if places == 0 or len(digits.replace(".", "").lstrip("0")) < MIN_DIGITS:
        return None
    return Fraction(10) ** (int(power or 0) - places)
