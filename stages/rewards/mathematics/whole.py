r"""Where formulas with functions of whole numbers are compared: two Nodes enter, points leave.

Between whole numbers \lfloor x \rfloor is \lceil x \rceil - 1, and gcd(a, b) has no value: such formulas agree only if
they agree at whole numbers, small and large, at multiples of the numbers that they hold and, where a letter may be any
number, at halves and other fractions of either sign.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable
from fractions import Fraction

from stages.rewards.mathematics.expression_exact import exact
from stages.rewards.mathematics.expression_node import Kind, Node, walk

DOUBLE_FACTORIAL = "!!"
_OF_INTEGERS = frozenset(("gcd", "lcm", "mod", DOUBLE_FACTORIAL))
_STEPS = frozenset(("floor", "ceil"))
_COUNTERS = frozenset("jklmnN")  # letters that stand for whole numbers wherever such a function is
_SMALL, _MULTIPLES, _POINTS = 16, 28, 40
_MAX_NUMBER, _MAX_DOUBLE = 10**12, 2000


def is_of_whole(node: Node) -> bool:
    """Say whether a formula holds a function of whole numbers: gcd, lcm, mod, a floor, a ceiling, n!!."""
    return any(one.kind == Kind.CALL and one.text in _OF_INTEGERS | _STEPS for one in walk(node))


def points(wanted: Node, given: Node, names: Iterable[str]) -> list[dict[str, Fraction]]:
    """Return the points at which two formulas must agree; [] where neither holds a function of whole numbers."""
    if not is_of_whole(wanted) and not is_of_whole(given):
        return []
    both = (*walk(wanted), *walk(given))
    strict = any(one.kind == Kind.CALL and one.text in _OF_INTEGERS for one in both)
    values = [exact(one) or Fraction(0) for one in both if one.kind in (Kind.NUMBER, Kind.POWER)]
    sizes = {size for value in values for size in (abs(value.numerator), value.denominator)}
    numbers = sorted(size for size in sizes if 2 < size <= _MAX_NUMBER)
    numbers = numbers[:4] + numbers[4:][-2:]
    names = sorted(names)
    return [
        {
            name: _whole(name, index, numbers, alone=len(names) == 1)
            if strict or name[0] in _COUNTERS
            else _fraction(name, index, numbers)
            for name in names
        }
        for index in range(_POINTS)
    ]


def _whole(name: str, index: int, numbers: list[int], *, alone: bool) -> Fraction:
    mixed = zlib.crc32(f"{name}/{index}".encode("utf-8", "surrogatepass"))
    if index < _SMALL:
        return Fraction(index + 1 if alone else mixed % 12 + 1)
    if index < _MULTIPLES and numbers:
        return Fraction(numbers[index % len(numbers)] * (mixed % 4 + 1))
    return Fraction(mixed % 5040 + 1)


def _fraction(name: str, index: int, numbers: list[int]) -> Fraction:
    mixed = zlib.crc32(f"{name}/{index}".encode("utf-8", "surrogatepass"))
    if _SMALL <= index < _MULTIPLES and numbers:
        return Fraction(numbers[index % len(numbers)] * (mixed % 9 - 4))
    parts = (1, 2, 40_001, *numbers)[index % (3 + len(numbers))]
    return Fraction(mixed % ((12 if index < _SMALL else 2000) * parts), parts) - (6 if index < _SMALL else 1000)


def double_factorial(value: Fraction) -> Fraction:
    """Return n!! = n (n - 2) (n - 4) …; raises ValueError for what is no whole number from -1 to 2,000."""
    if value.denominator != 1 or not -1 <= value <= _MAX_DOUBLE:
        raise ValueError("double factorial")
    return Fraction(math.prod(range(int(value), 0, -2)))
