"""The tree that a formula is read into: what a Node is, and small questions about one. No text is read here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from fractions import Fraction
from typing import NamedTuple

_NO_UNITS = frozenset(
    "hundred thousand million billion trillion 万 亿 squared cubed half third quarter dozen plus minus times not than"  # noqa: SIM905
    " factorial power root over divided".split()
)


class Kind(StrEnum):
    """What a piece of a formula is; every kind has a bound on its value's cost (tests/rewards/…/test_bounds.py)."""

    NUMBER, SYMBOL, WORD = "number", "symbol", "word"
    SUM, PRODUCT, QUOTIENT, POWER, NEGATIVE = "+", "*", "/", "^", "negate"
    PLUS_MINUS, MINUS_PLUS = "pm", "mp"  # one part, or two
    CALL, PERCENT, DEGREE, MODULO = "call", "percent", "degree", "modulo"  # a call's text is its function
    GROUP = "group"  # its text are its brackets: "()", "[)", "{}"
    LIST, RELATION, LOGIC = "list", "relation", "logic"  # their text: "," and "or"; signs with blanks between; "and"
    UNION, INTERSECTION, DIFFERENCE, DOMAIN = "cup", "cap", "minus", "domain"
    MATRIX, RATIO = "matrix", "ratio"  # a matrix has groups as its rows


ARITHMETIC = frozenset(
    (Kind.NUMBER, Kind.SUM, Kind.PRODUCT, Kind.QUOTIENT, Kind.POWER, Kind.NEGATIVE, Kind.PERCENT, Kind.DEGREE)
)
OF_SETS = frozenset((Kind.UNION, Kind.INTERSECTION, Kind.DIFFERENCE))


class Node(NamedTuple):
    """A piece of a formula: its kind, its parts, and what it says."""

    kind: Kind
    parts: tuple[Node, ...] = ()
    text: str = ""
    number: Fraction = Fraction(0)


def integer(value: int) -> Node:
    """Return a number node."""
    return Node(Kind.NUMBER, text=str(value), number=Fraction(value))


def walk(node: Node) -> Iterator[Node]:
    """Yield a node and every node below it."""
    waiting = [node]
    while waiting:
        one = waiting.pop()
        yield one
        waiting += one.parts


def substituted(node: Node, names: Mapping[str, Node]) -> Node:
    """Return a formula with other nodes in place of some of its symbols."""
    if node.kind == Kind.SYMBOL and node.text in names:
        return names[node.text]
    return node._replace(parts=tuple(substituted(part, names) for part in node.parts))


def has_words(node: Node) -> bool:
    """Say whether any part of a formula is a word."""
    return any(one.kind == Kind.WORD for one in walk(node))


def unpacked(node: Node) -> tuple[Node, ...]:
    return node.parts if node.kind == Kind.GROUP and node.text == "()" else (node,)


def listed(node: Node) -> tuple[Node, ...]:
    return node.parts if node.kind == Kind.LIST else (node,)


def is_vector(node: Node) -> bool:
    """Say whether a factor is a vector by its marks: an arrow, bold, the sign nabla."""
    if node.kind in (Kind.PRODUCT, Kind.NEGATIVE) or node.text == "cross":
        return any(map(is_vector, node.parts))
    return node.kind == Kind.SYMBOL and ("\\vec" in node.text or "\\bf" in node.text or node.text == "nabla")


def factors(node: Node) -> tuple[Node, ...]:
    """Return the factors of a product in their order."""
    return tuple(one for part in node.parts for one in factors(part)) if node.kind == Kind.PRODUCT else (node,)


def multiplied(operation: str, left: Node, right: Node) -> Node:
    """Return the × or · of two vectors: a scalar or a sign before it, · in any order, × in one order and its sign."""
    for one, other in ((left, right), (right, left)):
        if one.kind == Kind.NEGATIVE or (one.kind == Kind.PRODUCT and not is_vector(one.parts[0])):
            pair = (one.parts[-1], other) if one is left else (other, one.parts[-1])
            return one._replace(parts=(*one.parts[:-1], multiplied(operation, *pair)))
    if left.text == "nabla":
        return Node(Kind.CALL, (left, right), "cross" if operation == "×" else "dot")
    call = Node(Kind.CALL, tuple(sorted((left, right), key=str)), "cross" if operation == "×" else "dot")
    return Node(Kind.NEGATIVE, (call,)) if operation == "×" and call.parts[0] != left else call


def derivative(above: Node, below: Node) -> Node | None:
    r"""Return dq/dt as \dot{q}, d²y/dx² as y'', any other derivative as a function of what is derived and by what; None
    for a quotient."""
    top, bottom = factors(above), factors(below)
    mark = top[0].parts[0] if top[0].kind == Kind.POWER else top[0]
    if mark.text not in ("d", "partial") or len(bottom) % 2 or any(one != mark for one in bottom[::2]):
        return None
    by = [one.parts if one.kind == Kind.POWER else (one, integer(1)) for one in bottom[1::2]]
    order = sum(int(times.number) for _, times in by)
    if mark.text == "d" and len(top) == 2 and top[1].kind == Kind.SYMBOL and len(by) == 1 and 1 <= order <= 3:
        marks = {"x": "'" * order, "t": f"\\{'d' * (order - 1)}dot"}.get(by[0][0].text)
        if marks:
            return Node(Kind.SYMBOL, text=top[1].text + marks)
    return Node(Kind.CALL, (*top[1:], *sorted(bottom[1::2], key=str)), mark.text)


def corresponding(sides: list[Node]) -> list[Node]:
    """Return similar or congruent triangles with their corners in one order, the same for both."""
    letters = sorted(side.text.partition("\\")[0] for side in sides)
    rows = zip(*sorted(zip(*letters, strict=False)), strict=True)
    return [side._replace(text="".join(row) + "\\triangle") for side, row in zip(sides, rows, strict=True)]


def lettered(node: Node) -> str:
    """Return the letters of a symbol or of a product of symbols in their order, "" for anything else."""
    if node.kind == Kind.SYMBOL:
        return node.text
    if node.kind != Kind.PRODUCT or any(not lettered(part) for part in node.parts):
        return ""
    return "".join(map(lettered, node.parts))


def is_unit(node: Node) -> bool:
    """Say whether a factor after a quantity can be its unit: words, a letter after a slash, their powers."""
    if node.kind in (Kind.POWER, Kind.QUOTIENT):
        node = node.parts[0]
    return node.kind == Kind.SYMBOL or (node.kind == Kind.WORD and node.text.lower() not in _NO_UNITS)


def is_plain(fraction: Node) -> bool:
    """Say whether a fraction is one whole number over another."""
    return all(part.kind == Kind.NUMBER and part.number.denominator == 1 for part in fraction.parts)


def written(text: str) -> Fraction:
    """Return a literal's value; a repeating part stands in round brackets: 0.1(6)."""
    digits, _, period = text.rstrip(")").partition("(")
    if not period:
        return Fraction(digits.replace(",", "") + ("0" if digits.endswith(".") else ""))
    places = len(digits.partition(".")[2])
    start = Fraction(digits + ("0" if digits.endswith(".") else ""))
    return start + Fraction(int(period), (10 ** len(period) - 1) * 10**places)


def spelled(node: Node) -> str:
    """Return a subscript as text."""
    return node.text + ",".join(spelled(part) for part in node.parts)
