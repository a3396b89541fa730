r"""What stands between brackets: (…), […], ]a, b[, {…}, \\{…\\}, |…|, ⌊…⌋, and the letters after ∠ and △."""

from __future__ import annotations

from stages.rewards.mathematics.expression_cursor import Cursor
from stages.rewards.mathematics.expression_node import Kind, Node, listed
from stages.rewards.mathematics.expression_tokens import Token, Unreadable

_CLOSERS = {"(": ")]", "[": ")]["}


class Brackets(Cursor):
    """The part of the parser that reads brackets; what they hold is read by `answer` and `sum`."""

    def answer(self) -> Node:
        raise NotImplementedError

    def sum(self) -> Node:
        raise NotImplementedError

    def bracket(self, opening: str) -> Node:
        if opening == "|":
            self.bars += 1
            inside = self.answer()
            self.bars -= 1
            self.expect("|")
            return self.node(Kind.CALL, inside, text="abs")
        if opening in ("lfloor", "lceil"):
            inside = self.sum()
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
        bars, self.bars = self.bars, 1
        place = self.at + (3 if self.tokens[self.at + 1] == ("sign", "in") else 1)
        if opening == "\\{" and self.tokens[place : place + 1] == [("sign", ":")]:
            self.tokens[place] = Token("sign", "|")  # { x : x > 5 }
        inside = self.answer()
        if opening == "\\{" and self.take("|"):
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
