r"""Compare two answers of any shape: the Nodes of the gold and of the given answer enter, True, False or None leaves.

An answer may be one value, a list in which order is free, a tuple or matrix in which it is not, an interval or an
inequality (`regions.py`), an equation up to a constant factor. What only names the answer (`x =`, `f(x) =`,
`AB =`) is read over, unless both sides name several things: then names must match.
"""

from __future__ import annotations

from collections.abc import Sequence

from stages.rewards.mathematics import notation, regions, statements
from stages.rewards.mathematics.expression_exact import is_worked, worked_out
from stages.rewards.mathematics.expression_node import Kind, Node, integer, substituted, walk
from stages.rewards.mathematics.expression_value import proportional, same, symbols
from stages.rewards.mathematics.listing import is_name, is_rational, is_set, items, named

_MAX_ITEMS = 40
_PI = Node(Kind.SYMBOL, text="pi")
_INTERVALS = frozenset(("()", "[]", "(]", "[)"))
_ORDERS = frozenset(("<", ">", "<=", ">="))
_FLIPPED = {
    "<": ">",
    ">": "<",
    "<=": ">=",
    ">=": "<=",
    "subset": "supset",
    "subseteq": "supseteq",
    "in": "ni",
    "->": "<-",
}
_FLIPPED |= {"<<": ">>"} | {other: sign for sign, other in _FLIPPED.items()} | {">>": "<<"}
_FLIPPED |= {sign: sign for sign in ("=", "!=", "~", "equiv", "perp", "parallel", "cong", "<->")}


def agree(wanted: Node, given: Node) -> bool | None:
    """Say whether an answer is the gold one in other words; None where that cannot be computed."""
    wanted, given = notation.alike(_distributed(wanted), _distributed(given))
    if wanted == given:
        return True
    if statements.is_statement(wanted) or statements.is_statement(given):
        same_table = statements.same_statement(wanted, given)
        return _structure(wanted, given) if same_table is None else same_table
    (condition, domain), (other, theirs) = statements.parted(wanted), statements.parted(given)
    if domain or theirs:
        return _in_domains(condition, domain, other, theirs)
    if _set_and_tuple(named(wanted)[1], named(given)[1]):
        return False
    offered = given.parts if given.kind == Kind.LIST and given.text == "or" and wanted.kind != Kind.LIST else ()
    if any(map(is_set, offered)) or any(agree(wanted, one) for one in offered):
        return False  # {1} or {2} is a hedge, for {1, 2} too; so is [3, 5) or (3, 5) for one of them
    if regions.is_region(wanted) or regions.is_region(given):
        verdict = regions.agree(wanted, given)
        if verdict is not None:
            return verdict
    wanted_items, given_items = items(wanted), items(given)
    if max(len(wanted_items), len(given_items)) > _MAX_ITEMS:
        return None
    if len(wanted_items) == len(given_items) == 1:
        return _one(wanted_items[0], given_items[0])
    return _several(wanted_items, given_items)


def _structure(wanted: Node, given: Node) -> bool:
    """Compare two statements piece by piece; what stands beside "and" and "or" in any order."""
    if (wanted.kind, wanted.text, len(wanted.parts)) != (given.kind, given.text, len(given.parts)):
        return False
    if wanted.text in ("and", "or", "xor"):
        return all(any(agree(one, two) for two in given.parts) for one in wanted.parts)
    return _ordered(wanted.parts, given.parts)


def _in_domains(wanted: Node, domain: str, given: Node, other: str) -> bool | None:
    """Compare sets of which at least one says what its members are: the integers in [1, 3] are {1, 2, 3}."""
    if domain == other:
        return agree(wanted, given)
    first = statements.integers(wanted, domain) if domain else wanted
    second = statements.integers(given, other) if other else given
    if first is None or second is None or regions.is_region(first) or regions.is_region(second):
        return False
    return agree(first, second)


def is_unworked(node: Node) -> bool:
    """Say whether a sum of plain numbers is left standing anywhere in a formula, as in √((12 + 5)²)."""
    return any(one.kind == Kind.SUM and one.text != "mixed" and is_rational(one) for one in walk(node))


def _set_and_tuple(first: Node, second: Node) -> bool:
    """Say whether one is a set and the other a pair or an interval: {1, 2} is neither (1, 2) nor [1, 2]."""
    kinds = [node.kind == Kind.GROUP and len(node.parts) > 1 and node.text for node in (first, second)]
    return all(kinds) and (kinds[0] == "{}") != (kinds[1] == "{}")


def _distributed(node: Node) -> Node:
    """Return a number times a matrix, or a matrix over a number, as the matrix."""
    if node.kind not in (Kind.PRODUCT, Kind.QUOTIENT) or len(node.parts) != 2:
        return node
    left, right = map(_distributed, node.parts)
    if right.kind == Kind.MATRIX and left.kind != Kind.MATRIX and node.kind == Kind.PRODUCT:
        left, right = right, left
    if left.kind != Kind.MATRIX or right.kind == Kind.MATRIX:
        return node
    rows = [
        row._replace(parts=tuple(worked_out(Node(node.kind, (cell, right))) for cell in row.parts))
        for row in left.parts
    ]
    return left._replace(parts=tuple(rows))


def scalar(wanted: Node, given: Node) -> bool | None:
    """Compare two values: equal, and no arithmetic left unworked where the gold is a plain number."""
    based = [part for part in (wanted, given) if part.kind == Kind.NUMBER and "_" in part.text]
    if based:
        (digits, base), (written, other) = (_digits(node) for node in (wanted, given))
        if len(based) == 2 or digits != written:
            return len(based) == 2 and base == other and digits == written
        return (base or other) == "10" or ((base or other) == "2" and set(digits) <= set("01"))
    if given.kind != wanted.kind and Kind.PERCENT in (wanted.kind, given.kind):
        stripped = [node.parts[0] if node.kind == Kind.PERCENT else node for node in (wanted, given)]
        if scalar(*stripped):
            return True
    verdict = same(wanted, given)
    if verdict is None and ":" in (wanted.text, given.text):
        return False  # a time such as 12:00 is no quotient
    if verdict and not statements.same_order(wanted, given):
        return False
    return False if verdict and is_worked(wanted) and not is_worked(given) and is_rational(wanted) else verdict


def _digits(node: Node) -> tuple[str, str]:
    """Return the digits of a number and the base it is marked with."""
    digits, _, base = node.text.partition("_")
    return digits.lstrip("0").upper(), base


def _one(wanted: Node, given: Node) -> bool | None:
    """Compare two single answers, with or without a name."""
    if wanted == given:
        return True
    if given.text == "->" != wanted.text and given.parts[1].kind == Kind.RELATION:
        given = given.parts[1]  # 3x = 6 \\implies x = 2
    for one, two in ((wanted, given), (given, wanted)):
        if one.kind == Kind.RELATION and one.text == "equiv" and two.kind != Kind.RELATION and is_name(one.parts[0]):
            return _one(one.parts[1], given) if one is wanted else _one(wanted, one.parts[1])
    wanted_name, wanted_value = named(wanted)
    given_name, given_value = named(given)
    if _same_function(wanted_name, given_name):
        arguments = zip(given_name.parts, wanted_name.parts, strict=True)  # type: ignore[union-attr]
        given_value = substituted(given_value, {one.text: other for one, other in arguments})
        given_name = wanted_name
    if wanted_name is not None and given_name is not None and wanted_name != given_name:
        if _is_equation(wanted) and _is_equation(given) and _relations(wanted, given):
            return True
        if _clash(wanted_name, given_name):
            return False
        if {wanted_name.text, given_name.text} & (symbols(wanted_value) | symbols(given_value)):
            return False
    elif given_name is not None and wanted.kind == given_name.kind == Kind.SYMBOL and given_name.text.islower():
        return False  # y = x relates two unknowns, where the gold is one
    elif wanted.kind != Kind.RELATION and given_value.kind == Kind.RELATION and _only_names(given_value, wanted):
        return _one(wanted, given_value.parts[1])
    elif (wanted_name is None) != (given_name is None) and Kind.RELATION in (wanted_value.kind, given_value.kind):
        return _relations(wanted, given)
    return _values(wanted_value, given_value)


def _same_function(first: Node | None, second: Node | None) -> bool:
    """Say whether two names are of one function of other letters: f(x) and f(t)."""
    return (
        first is not None and second is not None and first != second
        and first.kind == second.kind == Kind.CALL
        and first.text == second.text and len(first.parts) == len(second.parts)
        and all(part.kind == Kind.SYMBOL and part.text.islower() for part in (*first.parts, *second.parts))
    )  # fmt: skip


def _only_names(equation: Node, wanted: Node) -> bool:
    """Say whether an equation's left side speaks of what the gold does not, as in `cos A = 1/2` and `a + bi = 2 + i`:
    then it only names its right side."""
    left, right = equation.parts[0], equation.parts[-1]
    spoken = set() if left.kind == Kind.NEGATIVE else symbols(left)
    return (
        equation.text == "="
        and bool(spoken)
        and not spoken & (symbols(right) | symbols(wanted))
        and not any(one.kind == Kind.NUMBER for one in walk(left))
    )


def _dots(name: Node) -> int:
    r"""How often a name is derived by time: \\dot{q} once, \\ddot{q} twice."""
    return (
        ("\\dot", "\\ddot", "\\dddot").index(accent) + 1
        if (accent := name.text[name.text.find("\\") :]).endswith("dot")
        else 0
    )


def _clash(first: Node, second: Node) -> bool:
    """Say whether two names are of different things: x and y, A and B, a_n and a_{n+1}, f(x) and g(x), f(4) and f(5),
    f(x) and f(f(x)), P(A) and P(B)."""
    if first.text == second.text == ":":  # H_0: \\mu = 12
        return repr(first).lower() != repr(second).lower()
    if first.kind == second.kind == Kind.SYMBOL:
        if len({_dots(first), _dots(second)}) > 1:
            return True
        return len({node.text.partition("\\")[0].lower() for node in (first, second)}) > 1
    one, other = _function(first), _function(second)
    if not one or not other:
        return False
    return one != other or (first.parts != second.parts and not _same_function(first, second))


def _function(name: Node) -> str:
    r"""Return the function that a name speaks of, with its mark: f, g', f^{-1}; "" for other names."""
    base = name.parts[0] if name.kind == Kind.PRODUCT else name
    if base.kind == Kind.POWER and base.parts[0].text[:1] in tuple("fghFGH"):
        return f"{base.parts[0].text}^{base.parts[1]}"
    return name.text if name.kind == Kind.CALL else ""


def _in_degrees(node: Node, other: Node) -> Node:
    """Return 60° as π/3 where the other side speaks of π."""
    if node.kind != Kind.DEGREE or other.kind == Kind.DEGREE or _PI not in walk(other):
        return node
    return Node(Kind.QUOTIENT, (Node(Kind.PRODUCT, (node.parts[0], _PI)), integer(180)))


def _values(wanted: Node, given: Node) -> bool | None:
    """Compare two values without names by their shape."""
    wanted, given = _in_degrees(wanted, given), _in_degrees(given, wanted)
    if Kind.MODULO in (wanted.kind, given.kind):
        return statements.congruent(wanted, given)
    if (
        wanted != given
        and given.kind == Kind.SUM
        and given.parts[1] == Node(Kind.SYMBOL, text="C")
        and "C" not in symbols(wanted)
    ):
        given = given.parts[0]  # a constant of integration
    if wanted.kind == Kind.RELATION or given.kind == Kind.RELATION:
        return _relations(wanted, given)
    if is_set(wanted) and is_set(given):
        return _several(items(wanted), items(given))
    if wanted.kind in (Kind.MATRIX, Kind.GROUP) or given.kind in (Kind.MATRIX, Kind.GROUP):
        return _sequences(wanted, given)
    if wanted.text == given.text == ":":
        return _ordered(wanted.parts, given.parts) or _ordered(_reduced(wanted), _reduced(given))
    if wanted.kind in (Kind.UNION, Kind.INTERSECTION, Kind.DIFFERENCE, Kind.RATIO):
        return wanted.kind == given.kind and _ordered(wanted.parts, given.parts)
    if given.kind in (Kind.UNION, Kind.INTERSECTION, Kind.DIFFERENCE, Kind.RATIO):
        return False
    return scalar(wanted, given)


def _reduced(ratio: Node) -> list[Node]:
    """Return the parts of a : b : c, each over the last; a time such as 12:00 keeps its own."""
    last = ratio.parts[-1]
    return list(ratio.parts) if not last.number else [Node(Kind.QUOTIENT, (part, last)) for part in ratio.parts]


def _several(wanted: list[Node], given: list[Node]) -> bool:
    """Compare lists: by name where the gold names several things, else in any order; a tuple stands for a list in its
    order."""
    wanted_pairs, given_pairs = [named(item) for item in wanted], [named(item) for item in given]
    wanted_names, given_names = (_distinct(pairs) for pairs in (wanted_pairs, given_pairs))
    values = [value for _, value in wanted_pairs]
    for pairs in (wanted_pairs, given_pairs):
        if grouped := _grouped(pairs):
            return _several(grouped, given) if pairs is wanted_pairs else _several(wanted, grouped)
    if wanted_names and given_names and set(wanted_names) == set(given_names):
        found = dict(zip(given_names, (value for _, value in given_pairs), strict=True))
        return all(_values(value, found[name]) for name, value in zip(wanted_names, values, strict=True))
    if wanted_names and given_names and any(map(_clash, wanted_names, given_names)) and not _are_roots(wanted_names):
        return False
    if given_names and not wanted_names:
        given_pairs = _alphabetical(given_pairs)
    if wanted_names and not given_names:
        values = [value for _, value in _alphabetical(wanted_pairs)]
    if len(given) == 1 and _is_tuple(given_pairs[0][1]):
        return not any(_is_tuple(value) for value in values) and _ordered(values, given_pairs[0][1].parts)
    if len(wanted) == 1 and _is_tuple(values[0]):
        theirs = [value for _, value in given_pairs]
        return not any(map(_is_tuple, theirs)) and _ordered(values[0].parts, theirs)
    if wanted_names and not _are_roots(wanted_names):
        return _ordered(values, [value for _, value in given_pairs])
    forward = all(any(_one(item, other) for other in given) for item in wanted)
    return forward and all(any(_one(item, other) for item in wanted) for other in given)


def _alphabetical(pairs: list[tuple[Node | None, Node]]) -> list[tuple[Node | None, Node]]:
    """Return y = 1, x = 2 in the order in which a tuple (x, y) has them, where the names are neighbours."""
    names = "".join(sorted(name.text for name, _ in pairs if name is not None))
    if len(names) != len(pairs) or names not in "abcdefghijklmnopqrstuvwxyz":
        return pairs
    return sorted(pairs, key=lambda pair: pair[0].text if pair[0] is not None else "")


def _distinct(pairs: Sequence[tuple[Node | None, Node]]) -> list[Node]:
    """Return the names, if every item has one and no two the same."""
    names = [name for name, _ in pairs if name is not None]
    return names if len(names) == len(pairs) == len(set(names)) and len(names) > 1 else []


def _grouped(pairs: Sequence[tuple[Node | None, Node]]) -> list[Node]:
    """Return p=5, q=2, p=7, q=2 as the tuples (5, 2), (7, 2); [] where no names recur in turn."""
    names = [name for name, _ in pairs]
    size = len(dict.fromkeys(names))
    if None in names or not 1 < size < len(names) or names != names[:size] * (len(names) // size):
        return []
    values = [value for _, value in pairs]
    return [Node(Kind.GROUP, tuple(values[at : at + size]), "()") for at in range(0, len(values), size)]


def _are_roots(names: list[Node]) -> bool:
    """Say whether names only number the roots of one unknown: x_1, x_2, …"""
    numbered = [f"{names[0].text.partition('_')[0]}_{place}" for place in range(1, len(names) + 1)]
    return sorted(name.text for name in names) == sorted(numbered)


def _is_tuple(node: Node) -> bool:
    return node.kind == Kind.GROUP and node.text != "{}" and len(node.parts) > 1


def _ordered(wanted: Sequence[Node], given: Sequence[Node]) -> bool:
    return len(wanted) == len(given) and all(agree(*pair) for pair in zip(wanted, given, strict=True))


def _sequences(wanted: Node, given: Node) -> bool:
    """Compare tuples, vectors and matrices, piece by piece; (1, 2) and [1, 2] differ, as intervals do."""
    if wanted.kind != given.kind and Kind.MATRIX in (wanted.kind, given.kind):
        wanted, given = _unlined(wanted), _unlined(given)
    if wanted.kind != given.kind:
        return False
    pairs = wanted.kind == Kind.GROUP and (len(wanted.parts) == 2 or given.text in ("(]", "[)"))
    if pairs and wanted.text != given.text:
        both = wanted.text in _INTERVALS and given.text in _INTERVALS
        if both and not any(_is_tuple(part) for part in (*wanted.parts, *given.parts)):
            return False
    return _ordered(wanted.parts, given.parts)


def _unlined(node: Node) -> Node:
    """Return a matrix of one column or row as a tuple, a larger one as a list of its rows."""
    if node.kind != Kind.MATRIX:
        return node._replace(text="()")
    if len(node.parts) == 1:
        return node.parts[0]._replace(text="()")
    if all(len(row.parts) == 1 for row in node.parts):
        return Node(Kind.GROUP, tuple(row.parts[0] for row in node.parts), "()")
    return Node(Kind.GROUP, node.parts, "()")


def _is_equation(node: Node) -> bool:
    return node.kind == Kind.RELATION and node.text == "="


def _relations(wanted: Node, given: Node) -> bool | None:
    """Compare equations and inequalities: the same up to a constant factor, or side by side."""
    if wanted.kind != given.kind:
        return False
    wanted_signs, given_signs = wanted.text.split(), given.text.split()
    if len(wanted_signs) != len(given_signs):
        return False
    if len(wanted_signs) == 1:
        return _two_sided(wanted, given)
    for sides, signs in ((given.parts, given_signs), (given.parts[::-1], _turned(given_signs))):
        if signs == wanted_signs and _ordered(wanted.parts, sides):
            return True
    return False


def _turned(signs: list[str]) -> list[str]:
    return [_FLIPPED.get(sign, "") for sign in reversed(signs)]


def _two_sided(wanted: Node, given: Node) -> bool | None:
    if wanted.text == given.text and _ordered(wanted.parts, given.parts):
        return True
    if wanted.text in ("=", "!="):
        return wanted.text == given.text and proportional(_difference(wanted), _difference(given))
    if _FLIPPED.get(given.text) == wanted.text and _ordered(wanted.parts, given.parts[::-1]):
        return True
    if wanted.text not in _ORDERS or wanted.text.strip("<>") != given.text.strip("<>"):
        return False
    first, second = _difference(wanted), _difference(given)
    if wanted.text[0] != given.text[0]:
        second = Node(Kind.NEGATIVE, (second,))
    return proportional(first, second, positive=True)


def _difference(relation: Node) -> Node:
    return Node(Kind.SUM, (relation.parts[0], Node(Kind.NEGATIVE, (relation.parts[1],))))
