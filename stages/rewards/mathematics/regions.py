r"""Compare sets of real numbers however they are written: two Nodes enter, True, False or None leaves.

Intervals, unions, inequalities, `x \in …`, `x \ne 3`, |x| < 2 and "x < 1 or x > 2" all say which numbers belong. Both
sides become conditions on the ends they name; two sets are equal when they agree at every end and in every gap between.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

from stages.rewards.mathematics.expression_exact import affine
from stages.rewards.mathematics.expression_node import OF_SETS, Kind, Node, integer
from stages.rewards.mathematics.expression_value import constant, same, symbols

_INTERVALS = frozenset(("()", "[]", "(]", "[)"))
_FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "!=": "!=", "=": "="}
_ORDERED = frozenset(("<", ">", "<=", ">="))
_MAX_ENDS = 60


class _NoRegion(ValueError):
    """The formula is no set of real numbers with constant ends."""


class _Set(NamedTuple):
    """A condition on a number: between (low and high are numbers of ends, None for infinity), points, or, and, not."""

    kind: str
    parts: tuple[_Set, ...] = ()
    low: int | None = None
    high: int | None = None
    closed: tuple[bool, bool] = (False, False)
    points: tuple[int, ...] = ()


def is_region(node: Node) -> bool:
    """Say whether a formula can only mean a set of real numbers: an inequality, a union, a half-open or endless
    interval."""
    if node.kind == Kind.RELATION:
        return any(sign in _ORDERED or sign in ("in", "!=") for sign in node.text.split()) or is_region(node.parts[-1])
    if node.kind == Kind.GROUP:
        endless = any(abs(constant(part) or 0) == math.inf for part in node.parts)
        return node.text in ("(]", "[)") or (len(node.parts) == 2 and node.text in _INTERVALS and endless)
    if node.kind in OF_SETS and any(part.text in _INTERVALS for part in node.parts):
        return True
    if node.kind in OF_SETS or node.kind == Kind.LIST:
        return any(map(is_region, node.parts))
    return node == Node(Kind.SYMBOL, text="ℝ")


def agree(wanted: Node, given: Node) -> bool | None:
    """Say whether two formulas describe the same set of numbers; None where one describes none."""
    first, second = _Reader(), _Reader()
    try:
        sets = (first.read(wanted), second.read(given))
    except _NoRegion:
        return None
    if first.variable and second.variable and first.variable != second.variable:
        return False
    places, count = _ranked([first.ends, second.ends])
    positions = range(-1, 2 * count)
    return all(_holds(sets[0], at, places[0]) == _holds(sets[1], at, places[1]) for at in positions)


def _ranked(sides: list[list[tuple[float, Node]]]) -> tuple[list[list[int]], int]:
    """Return for each side the rank of each of its ends among all, equal ends sharing one, and the number of ranks."""
    order = sorted((value, side, number) for side, ends in enumerate(sides) for number, (value, _) in enumerate(ends))
    ranks = [[0] * len(ends) for ends in sides]
    rank, before = -1, None
    for value, side, number in order:
        node = sides[side][number][1]
        near = before is not None and abs(value - before[0]) <= 1e-5 * max(1e-9, abs(value))
        if not (near and before is not None and same(before[1], node)):
            rank, before = rank + 1, (value, node)
        ranks[side][number] = rank
    return ranks, rank + 1


def _holds(region: _Set, at: int, ranks: list[int]) -> bool:
    """Say whether a set holds at a place: 2 * rank is an end, the odd numbers are the gaps around it."""
    if region.kind == "points":
        return any(2 * ranks[point] == at for point in region.points)
    if region.kind == "between":
        low = -2 if region.low is None else 2 * ranks[region.low]
        high = 2 * len(ranks) ** 2 + 4 * _MAX_ENDS if region.high is None else 2 * ranks[region.high]
        return low < at < high or (at == low and region.closed[0]) or (at == high and region.closed[1])
    held = [_holds(part, at, ranks) for part in region.parts]
    if region.kind == "not":
        return not held[0]
    return any(held) if region.kind == "or" else all(held)


class _Reader:
    """Turns a formula into a condition, and keeps the ends it names and the variable it is about."""

    def __init__(self) -> None:
        self.ends: list[tuple[float, Node]] = []
        self.variable = ""

    def read(self, node: Node) -> _Set:
        if node.kind == Kind.GROUP and node.text in _INTERVALS and len(node.parts) == 2:
            if constant(node.parts[0]) == math.inf or constant(node.parts[1]) == -math.inf:
                raise _NoRegion("ends")
            low, high = (self.end(part) for part in node.parts)
            if low is not None and high is not None and self.ends[low][0] > self.ends[high][0]:
                raise _NoRegion("ends")
            return _Set("between", (), low, high, (node.text[0] == "[", node.text[1] == "]"))
        if node.kind == Kind.GROUP and node.text == "{}":
            return self.points(node.parts)
        if node.kind == Kind.SYMBOL and node.text in ("ℝ", "∅"):
            return _Set("between") if node.text == "ℝ" else _Set("points")
        if node.kind in (Kind.UNION, Kind.INTERSECTION, Kind.DIFFERENCE):
            left, right = (self.read(part) for part in node.parts)
            if node.kind == Kind.DIFFERENCE:
                return _Set("and", (left, _Set("not", (right,))))
            return _Set("or" if node.kind == Kind.UNION else "and", (left, right))
        if node.kind == Kind.RELATION:
            return self.relation(node)
        if node.kind == Kind.LIST:
            return self.several(node)
        raise _NoRegion(node.kind)

    def end(self, node: Node) -> int | None:
        value = constant(node)
        if value is None or len(self.ends) >= _MAX_ENDS:
            raise _NoRegion("end")
        if abs(value) == math.inf:
            return None
        self.ends.append((value, node))
        return len(self.ends) - 1

    def points(self, nodes: tuple[Node, ...]) -> _Set:
        ends = [self.end(node) for node in nodes]
        return _Set("points", points=tuple(end for end in ends if end is not None))

    def several(self, node: Node) -> _Set:
        """Conditions side by side: all of them where that leaves anything, else any of them; "or" means any."""
        parts = tuple(self.read(part) for part in node.parts)
        ranks, count = _ranked([self.ends])
        together = _Set("and", parts)
        possible = any(_holds(together, at, ranks[0]) for at in range(-1, 2 * count))
        plain = all(part.kind == Kind.GROUP for part in node.parts)  # "(1,2), (3,4)" lists intervals
        return _Set("or", parts) if node.text == "or" or plain or (not possible and node.text != "and") else together

    def relation(self, node: Node) -> _Set:
        signs = node.text.split()
        if signs == ["in"] or (signs == ["="] and constant(node.parts[0]) is None):
            self.about(node.parts[0])
            right = node.parts[1]
            return self.points((right,)) if signs == ["="] and constant(right) is not None else self.read(right)
        unknown = [side for side in node.parts if constant(side) is None]
        if len(unknown) != 1 or not all(sign in _FLIPPED for sign in signs):
            raise _NoRegion("relation")
        parts = []
        for (left, right), sign in zip(pairwise(node.parts), signs, strict=True):
            if left is unknown[0]:
                parts.append(self.bound(left, sign, right))
            elif right is unknown[0]:
                parts.append(self.bound(right, _FLIPPED[sign], left))
            else:
                raise _NoRegion("chain")
        return parts[0] if len(parts) == 1 else _Set("and", tuple(parts))

    def about(self, node: Node) -> None:
        """Note what is spoken of; raises where a formula speaks of two things."""
        name = node.text + ",".join(part.text for part in node.parts)
        if self.variable and name != self.variable:
            raise _NoRegion("variables")
        self.variable = name

    def bound(self, node: Node, sign: str, limit: Node) -> _Set:
        """The condition `node sign limit`, solved for the variable where node is a*x + b or |a*x + b|."""
        if node.kind == Kind.CALL and node.text == "abs":
            inside, below = node.parts[0], Node(Kind.NEGATIVE, (limit,))
            if (constant(limit) or 0) < 0:
                raise _NoRegion("absolute value")
            low, high = self.bound(inside, _FLIPPED[sign], below), self.bound(inside, sign, limit)
            return _Set("and" if sign in ("<", "<=", "!=") else "or", (low, high))
        names = symbols(node)
        line = affine(node, next(iter(names))) if len(names) == 1 else None
        if line is not None and line[0].number:
            name = next(iter(names))
            self.about(Node(Kind.SYMBOL, text=name))
            if line != (integer(1), integer(0)):
                limit = Node(Kind.QUOTIENT, (Node(Kind.SUM, (limit, Node(Kind.NEGATIVE, (line[1],)))), line[0]))
            sign = _FLIPPED[sign] if line[0].number < 0 else sign
        elif node.kind == Kind.CALL:
            self.about(node)
        else:
            raise _NoRegion("not linear")
        if sign in ("!=", "="):
            points = self.points((limit,))
            return points if sign == "=" else _Set("not", (points,))
        end = self.end(limit)
        if end is None:
            return _Set("between") if (constant(limit) == math.inf) == (sign[0] == "<") else _Set("points")
        closed = (sign == ">=", sign == "<=")
        return _Set("between", (), None if sign[0] == "<" else end, end if sign[0] == "<" else None, closed)
