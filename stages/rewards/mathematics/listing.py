"""What an answer lists and what it names: a Node enters, its items, or its name and its value, leave."""

from __future__ import annotations

from stages.rewards.mathematics import regions
from stages.rewards.mathematics.expression_exact import exact
from stages.rewards.mathematics.expression_node import OF_SETS, Kind, Node, walk
from stages.rewards.mathematics.expression_value import constant, same, symbols

_EMPTY = Node(Kind.SYMBOL, text="∅")


def items(node: Node) -> list[Node]:
    """Return the answers that a formula lists: between commas, in a set, and both signs of ±."""
    if node.kind == Kind.LIST or (is_set(node) and _EMPTY not in node.parts):
        # the members of a set may be sets: {{1, 2}, {3}} is not {1, 2, 3}
        return [item for part in node.parts for item in ([part] if is_set(part) else items(part))]
    if node.kind == Kind.RELATION and node.text in ("=", "in") and node.parts[1].kind in (Kind.GROUP, Kind.LIST):
        right = node.parts[1]
        if right.kind == Kind.LIST or right.text == "{}":
            return [node._replace(parts=(node.parts[0], item)) for item in items(right)]
    if (
        node.kind == Kind.RELATION
        and node.text == "="
        and node.parts[0].text == "abs"
        and _is_unknown(node.parts[0].parts[0])
    ):
        inside = node.parts[0].parts[0]  # |x| = 2
        return [node._replace(parts=(inside, one)) for one in (node.parts[1], Node(Kind.NEGATIVE, (node.parts[1],)))]
    if node.kind == Kind.UNION and not regions.is_region(node):
        return [item for part in node.parts for item in items(part)]
    if _has_sign(node):
        return [_signed(node, plus=True), _signed(node, plus=False)]
    return [node]


def named(node: Node) -> tuple[Node | None, Node]:
    """Part `x = 5`, `f(x) = …`, `x \\in …` into the name and the value; (None, node) where nothing is named."""
    if node.kind != Kind.RELATION:
        return None, node
    signs = node.text.split()
    if not all(sign in ("=", "~", "in") for sign in signs):
        return None, node
    name, sides = None, list(node.parts)
    if signs == ["="] and is_name(sides[1]) and not is_name(sides[0]):
        sides.reverse()  # 2 = x
    while len(sides) > 1 and is_name(sides[0]) and (signs[0] != "~" or constant(sides[1]) is not None):
        name, sides, signs = name or sides[0], sides[1:], signs[1:]
    while len(sides) > 1 and signs[-1] == "~" and _rounded(sides[-2], sides[-1]):  # an exact value, then a rounded one
        sides, signs = sides[:-1], signs[:-1]
    if len(sides) == 1:
        return name, sides[0]
    values = [exact(side) for side in sides]
    if None not in values:  # 12 + 5 = 17
        shown = next((side for side in sides if "_" in side.text), sides[-1])  # 2014_5 = 259
        return name, shown if len(set(values)) == 1 else node
    if not any(symbols(side) for side in sides):
        return name, sides[-1] if all(same(side, sides[-1]) for side in sides) else node
    return None, node


def _is_unknown(node: Node) -> bool:
    return node.kind == Kind.SYMBOL and node.text.islower() and len(node.text) == 1


def _rounded(value: Node, decimal: Node) -> bool:
    """Say whether a decimal is what it rounds, to its last place: 2/3 \\approx 0.67, and not 1.67."""
    values = [constant(node) for node in (value, decimal)]
    places = [len(one.text.partition(".")[2]) for one in walk(decimal) if one.kind == Kind.NUMBER]
    if values[0] is None or values[1] is None or not places:
        return False
    unit = 10.0 ** -max(places)
    return abs(values[0] - values[1]) <= 1.001 * unit and (unit < 1 or abs(values[0] - values[1]) <= 0.501)


def is_rational(node: Node) -> bool:
    return exact(node) is not None


def is_name(node: Node) -> bool:
    """Say whether a side of an equation only names something: x, x_1, f(2), AB, |AB|, A:B, (p, q), Area."""
    if node.kind in (Kind.SYMBOL, Kind.WORD):
        return node.text not in ("∅", "ℝ", "∞", "pi", "e", "i")
    if node.kind == Kind.CALL:
        named_parts = node.text in ("abs", "max", "min") and all(map(is_name, node.parts))
        return named_parts or node.text[0] in "fghFGHPQW"
    if node.kind == Kind.POWER:  # f^{-1}(x), y'
        return node.parts[0].kind == Kind.SYMBOL and node.parts[0].text[0] in "fghFGH"
    grouped = {Kind.PRODUCT, Kind.QUOTIENT, Kind.GROUP, Kind.DEGREE, Kind.RATIO} | OF_SETS
    return node.kind in grouped and all(map(is_name, node.parts))


def is_set(node: Node) -> bool:
    return node.kind == Kind.GROUP and node.text == "{}"


def _has_sign(node: Node) -> bool:
    return any(one.kind in (Kind.PLUS_MINUS, Kind.MINUS_PLUS) for one in walk(node))


def _signed(node: Node, *, plus: bool) -> Node:
    """Return a formula with every ± read as + (or as -), and every ∓ the other way."""
    parts = tuple(_signed(part, plus=plus) for part in node.parts)
    if node.kind not in (Kind.PLUS_MINUS, Kind.MINUS_PLUS):
        return node._replace(parts=parts)
    positive = plus == (node.kind == Kind.PLUS_MINUS)
    last = parts[-1] if positive else Node(Kind.NEGATIVE, (parts[-1],))
    return last if len(parts) == 1 else Node(Kind.SUM, (parts[0], last), "mixed")
