r"""The place of a parser in its tokens, and what it reads between brackets: Tokens enter one by one, Nodes are made.

Brackets are (…), […], ]a, b[, {…}, \\{…\\}, |…|, ⌊…⌋; so are the letters after ∠ and △, matrices and cases. Depth and
number of nodes are limited.
"""

from __future__ import annotations

from stages.rewards.mathematics.expression_node import Kind, Node, listed
from stages.rewards.mathematics.expression_tokens import Token, Unreadable

MATRICES = frozenset(("matrix", "pmatrix", "bmatrix", "Bmatrix", "array", "smallmatrix"))
CASES = frozenset(("cases", "dcases"))
MAX_DEPTH, MAX_NODES = 90, 600
LEVELS: tuple[str, ...] = (
    "-> <- <-> mapsto",
    "or xor",
    "and",
    "= < > <= >= != in ~ subset subseteq supset supseteq ni notin perp parallel cong propto << >> equiv",
    ":",
    "cup cap minus",
    "+ - pm mp",
)
"""The signs between two sides, the loosest first; arrows, relations and ratios have any number of sides."""
ARROWS, OR, AND, RELATIONS, RATIO, UNIONS, SUMS = range(len(LEVELS))
_CONDITIONED = frozenset(("if", "for", "when", "where", ",", ";"))
_CLOSERS = {"(": ")]", "[": ")]["}


class Brackets:
    """A place in a list of tokens; `kind` and `value` are those of the token in front. `answer` and `statement` read
    what brackets hold."""

    def __init__(self, found: list[Token]) -> None:
        self.tokens = [*found, Token("end", ""), Token("end", "")]  # one is always behind the token in front
        self.at = self.depth = self.nodes = self.bars = 0
        self.kind, self.value = self.tokens[0]

    def advance(self) -> str:
        value = self.value
        self.at += 1
        self.kind, self.value = self.tokens[self.at]
        return value

    def sign(self, *values: str) -> bool:
        return self.kind == "sign" and self.value in values

    def take(self, value: str) -> bool:
        if self.kind == "sign" and self.value == value:
            self.advance()
            return True
        return False

    def expect(self, value: str) -> None:
        if not self.take(value):
            raise Unreadable(value)

    def node(self, kind: Kind, *parts: Node, text: str = "") -> Node:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise Unreadable("too long")
        return Node(kind, parts, text)

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Unreadable("too deep")

    def answer(self) -> Node:
        raise NotImplementedError

    def statement(self, level: int = 0) -> Node:
        raise NotImplementedError

    def bracket(self, opening: str) -> Node:
        if opening == "|":
            self.bars += 1
            inside = self.answer()
            self.bars -= 1
            self.expect("|")
            return self.node(Kind.CALL, inside, text="abs")
        if opening in ("lfloor", "lceil"):
            inside = self.statement(SUMS)
            self.expect("r" + opening[1:])
            return self.node(Kind.CALL, inside, text=opening[1:])
        if opening in ("angle", "triangle"):
            letters, before = "", self.tokens[max(0, self.at - 2)]
            while self.kind == "symbol":
                letters += self.advance()
            if not letters:
                raise Unreadable(opening)
            similar = {("sign", "~"), ("sign", "cong")} & {before, (self.kind, self.value)}
            if opening == "angle":
                letters = min(letters, letters[::-1])
            elif not similar:
                letters = "".join(sorted(letters))
            return self.node(Kind.SYMBOL, text=f"{letters}\\{opening}")
        if opening in ("{", "\\{"):
            return self.braces(opening, "}" if opening == "{" else "\\}")
        if opening not in ("(", "[", "]"):
            raise Unreadable(opening)
        bars, self.bars = self.bars, int(opening == "]" or self.odd_bars())  # no "[" opens inside ]a, b[
        items = listed(self.answer())
        if opening == "(" and self.take("|"):  # P(A | B)
            items = (self.node(Kind.CALL, *items, text="|"), *listed(self.answer()))  # never one item alone
        self.bars = bars
        if self.kind != "sign" or self.value not in _CLOSERS.get(opening, "[]"):
            raise Unreadable(self.value)
        closing = self.advance()
        if len(items) == 1 and (opening, closing) in (("(", ")"), ("[", "]")):
            whole = opening == "[" and items[0].kind == Kind.SYMBOL and len(items[0].text) == 1
            return self.node(Kind.CALL, items[0], text="[]") if whole else items[0]
        if "[" in closing or opening == "]":  # ]a, b[ is the French (a, b)
            opening, closing = ("(" if opening == "]" else opening), (")" if closing == "[" else closing)
        return self.node(Kind.GROUP, *items, text=opening + closing)

    def odd_bars(self) -> bool:
        """Say whether an odd number of bars stands before the bracket in front closes: P(A | B)."""
        depth = count = 0
        for kind, value in self.tokens[self.at :]:
            depth += kind == "sign" and value in "([{"
            depth -= kind == "sign" and value in ")]}"
            if depth < 0:
                break
            count += kind == "sign" and value == "|"
        return count % 2 == 1

    def braces(self, opening: str, closing: str) -> Node:
        r"""A LaTeX group {…}, which shows nothing, or a set \{…\}; { x | x > 5 } is its condition."""
        if self.take(closing):
            return self.node(Kind.SYMBOL, text="∅")
        builder = opening == "\\{" or self.odd_bars()  # {2|x|} holds no bar that parts
        bars, self.bars = self.bars, int(builder)
        place = self.at + (3 if self.tokens[self.at + 1] == ("sign", "in") else 1)
        if opening == "\\{" and self.tokens[place : place + 1] == [("sign", ":")]:
            self.tokens[place] = Token("sign", "|")  # { x : x > 5 }
        inside = self.answer()
        if builder and self.take("|"):
            domain = inside.parts[1] if inside.kind == Kind.RELATION and inside.text == "in" else inside
            inside = self.answer()
            self.bars = bars
            self.expect(closing)
            return self.node(Kind.DOMAIN, inside, domain) if domain.text in ("ℤ", "ℕ", "ℚ", "Z", "N", "Q") else inside
        self.bars = bars
        self.expect(closing)
        if opening == "{" and inside.kind != Kind.LIST:
            return inside
        return self.node(Kind.GROUP, *listed(inside), text="{}")

    def matrix(self, environment: str) -> Node:
        rows: list[list[Node]] = [[]]
        while not (self.kind == "command" and self.value == f"end {environment}"):
            if self.take("row"):
                rows.append([])
            elif self.kind in ("word", "joint") and environment in CASES and self.value in _CONDITIONED:
                self.advance()
            elif not self.take("&"):
                rows[-1].append(self.statement(RELATIONS))
        self.advance()
        rows = [row for row in rows if row]
        if not rows or len({len(row) for row in rows}) != 1 or (environment in CASES and len(rows[0]) != 2):
            raise Unreadable("matrix")
        if environment in CASES:  # values and their conditions, in any order
            return self.node(Kind.LIST, *(self.node(Kind.GROUP, *row, text="()") for row in rows), text="cases")
        return self.node(Kind.MATRIX, *(self.node(Kind.GROUP, *row, text="[]") for row in rows))
