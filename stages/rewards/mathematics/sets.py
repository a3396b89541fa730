r"""Sets and events by their laws: the Nodes of two formulas enter, and leave with each expression of sets as a symbol.

The symbol holds the expression's truth table over its letters, so that A ∪ B is B ∪ A, and \overline{A ∩ B} is
\overline{A} ∪ \overline{B}. Only capital letters are sets here; intervals are regions (`regions.py`).
"""

from __future__ import annotations

from itertools import product

from stages.rewards.mathematics.expression_node import OF_SETS, Kind, Node, walk

_MAX_LETTERS = 6


def settled(wanted: Node, given: Node) -> tuple[Node, Node]:
    r"""Return both formulas with their expressions of sets as symbols; A - B is A \setminus B, and AB is A ∩ B, where
    the gold is written so."""
    kinds = [{one.kind for one in walk(node)} & OF_SETS for node in (wanted, given)]
    if Kind.DIFFERENCE in kinds[0] and Kind.DIFFERENCE not in kinds[1]:
        given = _differences(given)
    if wanted.kind == Kind.INTERSECTION and given.kind == Kind.PRODUCT:
        given = given._replace(kind=Kind.INTERSECTION)
    return (_settled(wanted), _settled(given)) if kinds[0] or kinds[1] else (wanted, given)


def _settled(node: Node) -> Node:
    if _is_of_sets(node) and any(one.kind in OF_SETS for one in walk(node)):
        letters = sorted({_letter(one) for one in walk(node) if one.kind == Kind.SYMBOL and one.text[0].isupper()})
        if len(letters) <= _MAX_LETTERS:
            rows = product((False, True), repeat=len(letters))
            table = "".join("01"[_holds(node, dict(zip(letters, row, strict=True)))] for row in rows)
            return Node(Kind.SYMBOL, text=f"SETS {' '.join(letters)} {table}")
    return node._replace(parts=tuple(map(_settled, node.parts)))


def _differences(node: Node) -> Node:
    parts = tuple(map(_differences, node.parts))
    if node.kind == Kind.SUM and parts[1].kind == Kind.NEGATIVE:
        minus = Node(Kind.DIFFERENCE, (parts[0], parts[1].parts[0]))
        return minus if _is_of_sets(minus) else node._replace(parts=parts)
    return node._replace(parts=parts)


def _is_complement(node: Node) -> bool:
    return (node.kind == Kind.POWER and node.parts[1].text in ("c", "C")) or (
        node.kind == Kind.CALL and node.text == "bar"
    )


def _is_of_sets(node: Node) -> bool:
    if node.kind == Kind.SYMBOL:
        return _letter(node).isalpha() and _letter(node).isupper() and len(_letter(node)) == 1
    if _is_complement(node):
        return _is_of_sets(node.parts[0])
    return node.kind in OF_SETS and len(node.parts) == 2 and all(map(_is_of_sets, node.parts))


def _letter(node: Node) -> str:
    r"""Return the set that a symbol names without its complement's mark: A for A' and \bar{A}."""
    return node.text.removesuffix("\\bar").removesuffix("'")


def _holds(node: Node, table: dict[str, bool]) -> bool:
    """Say whether a member of the sets that a table marks is one of the expression's set."""
    if node.kind == Kind.SYMBOL:
        return table[_letter(node)] == (_letter(node) == node.text)
    if _is_complement(node):
        return not _holds(node.parts[0], table)
    left, right = (_holds(part, table) for part in node.parts)
    if node.kind == Kind.UNION:
        return left or right
    return left and (right if node.kind == Kind.INTERSECTION else not right)
