"""Formulas that are no plain values: statements of logic, residues, products whose order counts, integers in a range.

Two Nodes enter, True, False or None leaves. Statements are compared by their truth tables. A product of capital letters
that are not the usual names of quantities (AB, A^{-1}B) is one of matrices, elements or points: its order counts.
"""

from __future__ import annotations

import math
import zlib
from fractions import Fraction
from itertools import pairwise, product

from stages.rewards.mathematics.expression_exact import NoValue, exact, fraction, rational
from stages.rewards.mathematics.expression_node import Kind, Node, integer, substituted, walk
from stages.rewards.mathematics.expression_value import constant, same, symbols

_ARROWS = frozenset(("->", "<-", "<->"))
_MAX_LETTERS, _MAX_INTEGERS, _MAX_POWER = 6, 200, 12
_ORDERED = frozenset("ABCDHMNOPQSUXYZ")
"""Capitals whose products keep their order; the others name quantities: V = IR is V = RI."""
_Matrix = tuple[Fraction, Fraction, Fraction, Fraction]


def is_statement(node: Node) -> bool:
    """Say whether a formula holds a sign of logic between letters: p \\land q, p \\to q."""
    return node.kind == Kind.LOGIC or (
        node.kind == Kind.RELATION and node.text in _ARROWS and all(map(_is_boolean, node.parts))
    )


def same_statement(wanted: Node, given: Node) -> bool | None:
    """Compare two formulas by their truth tables; None where one is no formula of at most six letters."""
    both = (*walk(wanted), *walk(given))
    letters = sorted({one.text for one in both if one.kind == Kind.SYMBOL})  # e and i too
    if not _is_boolean(wanted) or not _is_boolean(given) or len(letters) > _MAX_LETTERS:
        return None
    tables = (dict(zip(letters, row, strict=True)) for row in product((False, True), repeat=len(letters)))
    return all(_true(wanted, table) == _true(given, table) for table in tables)


def _is_boolean(node: Node) -> bool:
    if node.kind == Kind.SYMBOL:
        return True
    known = node.kind in (Kind.LOGIC, Kind.SUM, Kind.PRODUCT) or (node.kind == Kind.RELATION and node.text in _ARROWS)
    return known and all(map(_is_boolean, node.parts))


def _true(node: Node, table: dict[str, bool]) -> bool:
    if node.kind == Kind.SYMBOL:
        return table[node.text]
    values = [_true(part, table) for part in node.parts]
    if node.text == "not":
        return not values[0]
    if node.text == "xor":
        return sum(values) % 2 == 1
    if node.text == "->":
        return not values[0] or values[1]
    if node.text == "<-":
        return values[0] or not values[1]
    if node.text == "<->":
        return values[0] == values[1]
    return any(values) if node.text == "or" or node.kind == Kind.SUM else all(values)


def congruent(wanted: Node, given: Node) -> bool | None:
    """Compare two values of which at least one is modulo a number; the modulus of one side alone may be absent."""
    (first, modulus), (second, other) = (
        node.parts if node.kind == Kind.MODULO else (node, None) for node in (wanted, given)
    )
    values = [exact(node) if node is not None else None for node in (first, modulus, second, other)]
    if values[0] is None or values[2] is None:  # letters
        return same(first, second) and (modulus is None or other is None or same(modulus, other))
    if values[1] is None or values[3] is None or not values[1]:
        return values[0] == values[2]
    return values[1] == values[3] and ((values[0] - values[2]) / values[1]).denominator == 1


def same_order(wanted: Node, given: Node) -> bool:
    """Say whether two formulas stay equal where products of capitals do not commute; True where none is at stake."""
    names = _bases(wanted) | _bases(given)
    if len(names) < 2 or not all(name[0] in _ORDERED and name[1:2] in ("", "_") for name in names):
        return True
    try:
        return _matrix(wanted) == _matrix(given)
    except (NoValue, ZeroDivisionError, IndexError):
        return True


def _bases(node: Node) -> set[str]:
    """The letters of a formula that are no exponents, as the T of a transpose is one."""
    parts = node.parts[:1] if node.kind == Kind.POWER else node.parts
    return set[str]().union(*map(_bases, parts)) if parts else symbols(node)


def _matrix(node: Node) -> _Matrix:
    """Compute a formula with a matrix of its own for each letter."""
    if node.kind == Kind.SYMBOL:
        mixed = zlib.crc32(node.text.encode())
        return (Fraction(mixed % 97 + 1), Fraction(mixed % 89), Fraction(mixed % 83), Fraction(mixed % 79 + 2))
    if node.kind == Kind.NUMBER:
        return (node.number, Fraction(0), Fraction(0), node.number)
    values = [_matrix(part) for part in (node.parts if node.kind != Kind.POWER else node.parts[:1])]
    if node.kind == Kind.SUM:
        return tuple(a + b for a, b in zip(*values, strict=True))  # type: ignore[return-value]
    if node.kind == Kind.NEGATIVE:
        return tuple(-one for one in values[0])  # type: ignore[return-value]
    if node.kind == Kind.PRODUCT:
        return _times(values[0], values[1])
    if node.kind == Kind.POWER and node.parts[1].text == "T":
        return (values[0][0], values[0][2], values[0][1], values[0][3])
    exponent = rational(node.parts[1]) if node.kind == Kind.POWER else None
    if exponent is None or exponent.denominator != 1 or abs(exponent) > _MAX_POWER:
        raise NoValue(node.kind)
    a, b, c, d = values[0]
    base = values[0]
    if exponent < 0:
        size = a * d - b * c
        base = (d / size, -b / size, -c / size, a / size)
    result: _Matrix = (Fraction(1), Fraction(0), Fraction(0), Fraction(1))
    for _ in range(abs(int(exponent))):
        result = _times(result, base)
    return result


def _times(first: _Matrix, second: _Matrix) -> _Matrix:
    a, b, c, d = first
    e, f, g, h = second
    return (a * e + b * g, a * f + b * h, c * e + d * g, c * f + d * h)


def parted(node: Node) -> tuple[Node, str]:
    r"""Part a set of numbers into its condition and what its members are: ℤ, ℕ, ℚ, "" where nothing is said."""
    if node.kind == Kind.DOMAIN:
        return node.parts[0], node.parts[1].text
    if node.kind == Kind.LIST:
        kept = [
            part
            for part in node.parts
            if not (part.kind == Kind.RELATION and part.text == "in" and part.parts[1].text in "ℤℕℚ")
        ]
        said = [part.parts[1].text for part in node.parts if part not in kept]
        if len(said) == 1 and said[0]:
            return (kept[0] if len(kept) == 1 else node._replace(parts=tuple(kept))), said[0]
    return node, ""


def integers(condition: Node, domain: str) -> Node | None:
    """Return the set of integers between the bounds of a condition on one letter, None where it has no two bounds."""
    names = symbols(condition)
    ends = [value for one in walk(condition) if (value := constant(one)) is not None and abs(value) < 10**6]
    if domain == "ℚ" or len(names) != 1 or not ends or max(ends) - min(ends) > _MAX_INTEGERS:
        return None
    name, low, high = next(iter(names)), math.floor(min(ends)) - 1, math.ceil(max(ends)) + 1
    held = [n for n in range(low, high + 1) if _holds(substituted(condition, {name: integer(n)}))]
    if held and (held[0] == low or held[-1] == high) and domain == "ℤ":
        return None  # no bound on that side
    members = [fraction(Fraction(n)) for n in held if domain == "ℤ" or n >= 1]
    return Node(Kind.GROUP, tuple(members), "{}") if members else None


def _holds(condition: Node) -> bool:
    if condition.kind == Kind.LIST:
        return (any if condition.text == "or" else all)(map(_holds, condition.parts))
    values = [constant(part) for part in condition.parts]
    if condition.kind != Kind.RELATION or None in values:
        return False
    tests = {"<": lambda a, b: a < b, ">": lambda a, b: a > b, "<=": lambda a, b: a <= b, ">=": lambda a, b: a >= b}
    signs = condition.text.split()
    return all(sign in tests and tests[sign](a, b) for (a, b), sign in zip(pairwise(values), signs, strict=True))  # type: ignore[arg-type]
