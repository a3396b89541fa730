r"""Bring two formulas into one notation: the Nodes of the gold and of the answer enter, two Nodes leave.

Fonts and arrows (\\mathbf{v}, \\vec{v}), unit vectors and tuples, C(n, k) and binomials, ħ and h/2π, (x, y) =
(1, 2) and x = 1, y = 2 are one thing; what only one side writes is brought to the other side's way.
"""

from __future__ import annotations

from stages.rewards.mathematics import sets
from stages.rewards.mathematics.expression_exact import worked_out
from stages.rewards.mathematics.expression_node import Kind, Node, integer, substituted, walk
from stages.rewards.mathematics.expression_value import symbols

_PI = Node(Kind.SYMBOL, text="pi")
_BASES = tuple(
    tuple(f"{letter}\\{accent}" for letter in letters) for letters in ("ijk", "xyz") for accent in ("bf", "hat", "vec")
)

_CONSTANTS = frozenset(("c", "K", "k", "C_1", "c_1", "C_0"))


def alike(wanted: Node, given: Node) -> tuple[Node, Node]:
    """Bring two formulas into the same notation where both notations are at hand: fonts, unit vectors, choices, ħ."""
    wanted, given = sets.settled(_paired(wanted), _paired(given))
    given = _with_constant(wanted, _plain_order(wanted, given))
    names, others = symbols(wanted), symbols(given)
    if any("\\" in name for name in names | others):
        wanted, given = _plain_font(wanted, others), _plain_font(given, names)
        if (names | others) & {base for bases in _BASES for base in bases}:
            wanted, given = _components(wanted), _components(given)
        bars = {name.partition("\\")[0] for name in names | others if name.endswith("\\bar")}
        wanted, given = _complement(wanted, bars), _complement(given, bars)
    if ("hbar" in names) != ("hbar" in others):
        planck = Node(Kind.QUOTIENT, (Node(Kind.SYMBOL, text="h"), Node(Kind.PRODUCT, (integer(2), _PI))))
        wanted, given = (substituted(node, {"hbar": planck}) for node in (wanted, given))
    if names == set() and others == {"j"}:
        given = substituted(given, {"j": Node(Kind.SYMBOL, text="i")})
    if wanted.kind == Kind.MATRIX and given == Node(Kind.SYMBOL, text="I"):
        size = len(wanted.parts)
        rows = (tuple(integer(int(row == column)) for column in range(size)) for row in range(size))
        given = Node(Kind.MATRIX, tuple(Node(Kind.GROUP, row, "[]") for row in rows))
    calls = [{one.text for one in walk(node) if one.kind == Kind.CALL} & {"C", "P"} for node in (wanted, given)]
    return (_chosen(wanted), _chosen(given)) if calls[0] != calls[1] else (wanted, given)


def _plain_order(wanted: Node, given: Node) -> Node:
    r"""Return \mathcal{O}(n), the order of growth, as O(n), where the gold writes the one and the answer the other."""
    names, others = symbols(wanted), symbols(given)
    for one, other in (("O", "O\\cal"), ("O\\cal", "O")):
        if one in names - others and other in others - names:
            return substituted(given, {other: Node(Kind.SYMBOL, text=one)})
    return given


def _with_constant(wanted: Node, given: Node) -> Node:
    """Return F(x) + K as F(x) + C, where the gold ends in a constant of integration."""
    pair = [node.parts[-1] if node.kind == Kind.RELATION and node.text == "=" else node for node in (wanted, given)]
    if any(node.kind != Kind.SUM or node.parts[1].kind != Kind.SYMBOL for node in pair):
        return given
    ours, theirs = (node.parts[1].text for node in pair)
    rest = [symbols(node.parts[0]) for node in pair]
    known = ours == "C" and theirs in _CONSTANTS and rest[0] and all(name.islower() for name in rest[0])
    free = not {ours, theirs} & (rest[0] | rest[1])
    return substituted(given, {theirs: Node(Kind.SYMBOL, text=ours)}) if known and free else given


def _complement(node: Node, barred: set[str]) -> Node:
    r"""Return A^c and A' as \bar{A}, for the letters of which one side writes a bar."""
    base = node.parts[0].text if node.kind == Kind.POWER and node.parts[1].text in ("c", "C") else node.text[:-1]
    if base in barred and (node.kind == Kind.POWER or (node.kind == Kind.SYMBOL and node.text[-1] == "'")):
        return Node(Kind.SYMBOL, text=f"{base}\\bar")
    return node._replace(parts=tuple(_complement(part, barred) for part in node.parts))


def _paired(node: Node) -> Node:
    """Return (y, x) = (1, 2) as the list y = 1, x = 2."""
    if node.kind != Kind.RELATION or node.text != "=" or any(part.kind != Kind.GROUP for part in node.parts):
        return node
    names, values = (part.parts for part in node.parts)
    if len(names) != len(values) or any(name.kind != Kind.SYMBOL for name in names):
        return node
    return Node(Kind.LIST, tuple(node._replace(parts=pair) for pair in zip(names, values, strict=True)), ",")


def _plain_font(node: Node, others: set[str]) -> Node:
    """Return a formula with bold letters as the other side writes them: with arrows, or plain."""
    bold = [name for name in symbols(node) if "\\bf" in name and name not in others]
    arrows = {name: name.replace("\\bf", "\\vec") for name in bold}
    plain = {name: other if other in others else name.replace("\\bf", "") for name, other in arrows.items()}
    if any(name[0] in "ijk" for name in bold) or not bold:
        return node
    return substituted(node, {name: Node(Kind.SYMBOL, text=other) for name, other in plain.items()})


def _components(node: Node) -> Node:
    """Return 2i - 3j in unit vectors as the tuple (2, -3)."""
    found = next((bases for bases in _BASES if set(bases) & symbols(node)), None)
    if found is None or node.kind in (Kind.RELATION, Kind.LIST, Kind.GROUP):
        return node
    used = found if found[2] in symbols(node) else found[:2]
    parts = (substituted(node, {base: integer(int(base == one)) for base in found}) for one in used)
    return Node(Kind.GROUP, tuple(worked_out(part) for part in parts), "()")


def _chosen(node: Node) -> Node:
    """Return a formula with C(n, k) and P(n, k) as a binomial and as n!/(n-k)!."""
    parts = tuple(map(_chosen, node.parts))
    if node.kind != Kind.CALL or node.text not in ("C", "P") or len(parts) != 2:
        return node._replace(parts=parts)
    if node.text == "C":
        return Node(Kind.CALL, parts, "binom")
    below = Node(Kind.CALL, (Node(Kind.SUM, (parts[0], Node(Kind.NEGATIVE, (parts[1],)))),), "factorial")
    return Node(Kind.QUOTIENT, (Node(Kind.CALL, parts[:1], "factorial"), below))
