"""The place of a parser in its tokens: Tokens enter one by one, Nodes are made, and depth and number are limited."""

from __future__ import annotations

from stages.rewards.mathematics.expression_node import Kind, Node
from stages.rewards.mathematics.expression_tokens import Token, Unreadable

MAX_DEPTH, MAX_NODES = 90, 600


class Cursor:
    """A place in a list of tokens; `kind` and `value` are those of the token in front."""

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
