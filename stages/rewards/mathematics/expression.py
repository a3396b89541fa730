r"""Read a formula into a tree: a short text in LaTeX or plain ASCII enters, nested Nodes leave, or None.

One bounded reader for everything an answer is written with: numbers, roots, fractions, powers, functions, implicit
products, brackets of every kind, lists, relations, unions and matrices. It only reads; `expression_value.py` computes
and `answers.py` compares. Length, depth and number of nodes are limited, so a tower of braces costs microseconds,
and what is not understood to the last character is not read at all.
"""

from __future__ import annotations

from fractions import Fraction

from stages.rewards.mathematics import whole
from stages.rewards.mathematics.expression_brackets import (
    AND,
    ARROWS,
    CASES,
    LEVELS,
    MATRICES,
    MAX_NODES,
    OR,
    RATIO,
    SUMS,
    UNIONS,
    Brackets,
)
from stages.rewards.mathematics.expression_node import (
    Kind,
    Node,
    corresponding,
    derivative,
    is_plain,
    is_unit,
    is_vector,
    lettered,
    listed,
    multiplied,
    spelled,
    unpacked,
    written,
)
from stages.rewards.mathematics.expression_tokens import FUNCTIONS, Token, Unreadable, tokens

_BINDING = {sign: level for level, signs in enumerate(LEVELS) for sign in signs.split()}
_ENDS = frozenset((*_BINDING, ")", "]", "}", "\\}", "&", "row", "rfloor", "rceil"))
_APPLIED = frozenset("fghFGHPQW")  # letters read as functions in f(x)
_STARTS_FACTOR = frozenset(("number", "symbol", "function", "command", "word", "accent"))


def read(text: str) -> Node | None:
    """Read a formula whole; None where any part of it is not understood or a limit is passed."""
    try:
        parser = _Parser(tokens(text))
        node = parser.answer()
    except Unreadable:
        return None
    return node if parser.kind == "end" else None


class _Parser(Brackets):
    """Precedence climbing over the tokens."""

    def answer(self) -> Node:
        """Items between commas, semicolons, "and" and "or"; with both , and ; the semicolons part tuples."""
        self.deeper()
        rows: list[list[Node]] = [[self.statement()]]
        joint = ""
        while self.kind == "joint":
            word = self.advance()
            while self.kind == "joint":  # "1, 2, and 3"
                word = self.advance()
            if self.kind == "end" or self.sign(")", "]", "}", "\\}"):
                break
            if word == ";":
                rows.append([])
            else:
                joint = "or" if "or" in (word, joint) else word
            rows[-1].append(self.statement())
        self.depth -= 1
        if len(rows) > 1 and all(len(row) > 1 for row in rows):
            return self.node(Kind.LIST, *(self.node(Kind.GROUP, *row, text="()") for row in rows), text=";")
        items = [item for row in rows for item in row]
        return items[0] if len(items) == 1 else self.node(Kind.LIST, *items, text=joint or ";")

    def statement(self, level: int = ARROWS) -> Node:
        """Terms with signs between that bind as close as a level, or closer."""
        left = self.term()
        while self.kind == "sign" and (bound := _BINDING.get(self.value, -1)) >= level:
            sides, signs = [left], []
            while self.kind == "sign" and _BINDING.get(self.value) == bound:
                signs.append(self.advance())
                sides.append(self.statement(bound + 1))
                if bound in (OR, AND, UNIONS, SUMS):
                    sides = [self.pair(signs.pop(), *sides)]
            left = sides[0] if len(sides) == 1 else self.chain(bound, sides, signs)
        return left

    def chain(self, level: int, sides: list[Node], signs: list[str]) -> Node:
        """Any number of sides with relations, arrows or colons between."""
        if level == RATIO:
            return self.node(Kind.QUOTIENT if len(sides) == 2 else Kind.RATIO, *sides, text=":")
        if signs in (["~"], ["cong"]) and all(side.text.endswith("\\triangle") for side in sides):
            sides = corresponding(sides)
        return self.node(Kind.RELATION, *sides, text=" ".join(signs))

    def pair(self, sign: str, left: Node, right: Node) -> Node:
        """Two sides of a sum, a union or a statement; conditions side by side are a list."""
        if sign in ("or", "xor", "and"):
            conditions = all(side.kind in (Kind.RELATION, Kind.LIST, Kind.GROUP) for side in (left, right))
            kind = Kind.LIST if conditions and sign != "xor" else Kind.LOGIC
            return self.node(kind, *(listed(left) if left.text == sign else (left,)), right, text=sign)
        if sign == "-" and right.kind == Kind.GROUP and right.text == "{}":
            sign = "minus"
        elif sign == "-":
            right, sign = self.node(Kind.NEGATIVE, right), "+"
        return self.node(Kind(sign), left, right)

    def term(self) -> Node:
        """Factors and quotients; a unit (words after a quantity, km/h, cm^2) is read over."""
        left, unit = self.unary(), False
        while self.kind != "end" and not (self.kind == "sign" and self.value in _ENDS):
            if self.sign("*", "/", "×", "·"):
                operation, right = self.advance(), self.unary()
                if is_vector(left) and not is_vector(right) and self.starts_factor():  # v × q B
                    right = self.product(right, self.factor())
                left = left if unit and is_unit(right) else self.multiplied(operation, left, right)
            elif self.take("mod"):
                left = self.node(Kind.CALL, left, self.unary(), text="mod")
            elif self.sign("pmod") or (self.sign("(") and self.tokens[self.at + 1] == ("sign", "mod")):
                closed = self.advance() == "(" and self.advance()
                left = self.node(Kind.MODULO, left, self.unary())
                if closed:
                    self.expect(")")
            elif self.take("degree"):  # f ∘ g
                left = self.node(Kind.CALL, left, self.unary(), text="∘")
            elif self.sign("angle") and left.kind == Kind.NUMBER:
                self.advance()
                left = self.node(Kind.PRODUCT, left, self.node(Kind.CALL, self.unary(), text="cis"))
            elif self.starts_factor():
                worded = self.kind == "word"
                right = self.factor()
                worded = worded or (right.kind == Kind.QUOTIENT and right.parts[0].kind == Kind.WORD)
                unit = unit or (worded and is_unit(right))
                left = left if worded and unit else self.product(left, right)
            else:
                break
        return left

    def multiplied(self, operation: str, left: Node, right: Node) -> Node:
        """Two factors with a sign between; × and · of vectors differ, and dy/dx is no quotient."""
        if operation in "×·" and is_vector(left) and (is_vector(right) or left.text == "nabla"):
            return multiplied(operation, left, right)
        return self.node(Kind.QUOTIENT if operation == "/" else Kind.PRODUCT, left, right)

    def product(self, left: Node, right: Node) -> Node:
        """Two factors side by side: a product, or a mixed number such as 1 1/2."""
        if right.kind == Kind.NUMBER and (left.kind in (Kind.NUMBER, Kind.QUOTIENT) or "_" in right.text):
            raise Unreadable("two numbers")
        plain = left.kind == Kind.NUMBER and left.number.denominator == 1 and "." not in left.text
        if plain and right.kind == Kind.QUOTIENT and right.text == "frac" and is_plain(right):
            return self.node(Kind.SUM, left, right, text="mixed")
        return self.node(Kind.PRODUCT, left, right)

    def starts_factor(self) -> bool:
        if self.kind in _STARTS_FACTOR:
            return not self.value.startswith("end ")
        return self.sign("(", "{", "\\{") or (self.bars == 0 and self.sign("|", "[", "lfloor", "lceil"))

    def unary(self) -> Node:
        self.deeper()
        if self.kind != "sign":
            node = self.factor()
        elif self.take("-"):
            node = self.node(Kind.NEGATIVE, self.unary())
        elif self.take("+"):
            node = self.unary()
        elif self.sign("pm", "mp"):
            node = self.node(Kind(self.advance()), self.unary())
        elif self.sign("not", "~"):
            self.advance()
            node = self.node(Kind.LOGIC, self.unary(), text="not")
        else:
            node = self.factor()
        self.depth -= 1
        return node

    def factor(self) -> Node:
        base = self.atom()
        while self.kind == "sign":
            if self.take("!"):
                base = self.node(Kind.CALL, base, text=whole.DOUBLE_FACTORIAL if self.take("!") else "factorial")
                if self.sign("!"):
                    raise Unreadable("!!!")
            elif self.take("percent"):
                base = self.node(Kind.PERCENT, base)
            elif self.sign("degree") and base.kind == Kind.SYMBOL and self.tokens[self.at + 1].kind == "symbol":
                return base  # f ∘ g
            elif self.take("degree"):
                base = self.node(Kind.DEGREE, base)
            elif self.take("^"):
                base = self.raised(base)
            elif self.sign("_") and base.kind == Kind.NUMBER and "_" not in base.text:
                base = self.based(base)
            else:
                break
        return base

    def raised(self, base: Node) -> Node:
        """What follows ^: an exponent, or the sign of degrees."""
        braced = self.sign("{") and self.tokens[self.at + 1] == ("sign", "degree")
        if braced:
            self.advance()
        if not self.take("degree"):
            return self.node(Kind.POWER, base, self.exponent())
        if braced:
            self.expect("}")
        return self.node(Kind.DEGREE, base)

    def exponent(self) -> Node:
        self.deeper()
        if self.take("-"):
            node = self.node(Kind.NEGATIVE, self.exponent())
        elif self.take("+"):
            node = self.exponent()
        elif self.sign("{"):
            node = self.atom()
        else:
            node = self.factor()
        self.depth -= 1
        return node

    def based(self, digits: Node) -> Node:
        """Digits in a base: 1011_2; Node number with the value, marked with its base."""
        self.expect("_")
        base = self.argument()
        written = digits.text.split("_")[0]
        if base.kind != Kind.NUMBER or not 2 <= base.number <= 36 or not written.isdecimal():
            raise Unreadable("base")
        try:
            return Node(Kind.NUMBER, text=f"{written}_{base.number}", number=Fraction(int(written, int(base.number))))
        except ValueError:
            raise Unreadable("base") from None

    def atom(self) -> Node:
        self.deeper()
        kind = self.kind
        if kind == "number":
            node = self.number()
        elif kind == "symbol":
            node = self.symbol()
        elif kind == "word":
            node = self.node(Kind.WORD, text=self.advance())
        elif kind == "function":
            node = self.function(self.advance())
        elif kind == "accent":
            node = self.accented(self.advance())
        elif kind == "command":
            node = self.command(self.advance())
        elif kind == "sign":
            node = self.bracket(self.advance())
        else:
            raise Unreadable(kind)
        self.depth -= 1
        return node

    def number(self) -> Node:
        text = self.advance()
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise Unreadable("too long")
        return Node(Kind.NUMBER, text=text, number=written(text))

    def accented(self, accent: str) -> Node:
        r"""What stands under a mark, which is kept: \dot{x} is another name than x; a font alone changes no formula."""
        inside = self.argument()
        name = lettered(inside)
        name = "".join(sorted(name)) if accent == "bar" and name.isupper() else name  # a segment
        if accent == "vec" and len(name) == 2 and name.isupper() and name[0] > name[1]:
            return self.node(Kind.NEGATIVE, self.symbol(f"{name[::-1]}\\vec"))
        if accent in ("bf", "cal", "frak") and inside.kind != Kind.SYMBOL:
            return inside
        return self.symbol(f"{name}\\{accent}") if name else self.node(Kind.CALL, inside, text=accent)

    def symbol(self, name: str = "") -> Node:
        name = name or self.advance()
        while self.sign("_", "'"):
            name += "'" if self.advance() == "'" else "_" + spelled(self.argument())
        applied = (name[0] in _APPLIED or name in ("C", "zeta", "Gamma")) and self.sign("(")
        node = self.node(Kind.SYMBOL, text=name)
        if not applied:
            return node
        argument = self.atom()
        single = (Kind.NUMBER, Kind.SYMBOL, Kind.CALL, Kind.INTERSECTION, Kind.UNION)
        pair = argument.text == "()" and (len(argument.parts) == 2 or argument.parts[0].text == "|")
        pair = pair or (argument.kind == Kind.POWER and argument.parts[1].text in ("c", "C"))  # P(A^c)
        if name[0] in "fgh" or name in ("zeta", "Gamma") or (argument.kind in single and name != "C") or pair:
            return self.node(Kind.CALL, *unpacked(argument), text=name)
        return self.node(Kind.PRODUCT, node, argument)

    def argument(self) -> Node:
        """A LaTeX argument: a braced formula, or the next letter, number or command."""
        if self.kind == "number" or self.sign("{"):
            return self.atom()
        if self.kind in (Kind.SYMBOL, Kind.WORD):
            return self.node(Kind.SYMBOL, text=self.advance())
        if self.kind == "function":
            return self.node(Kind.SYMBOL, text=self.advance())  # k_{\\max}
        if self.kind == "command":
            return self.atom()
        raise Unreadable("argument")

    def digit(self) -> Node:
        r"""An argument of \frac, which takes one digit of a number without braces: \frac12."""
        if self.kind == "number" and len(self.value) > 1 and self.value.isdecimal():
            first, rest = self.value[0], self.value[1:]
            self.value = rest
            self.tokens[self.at] = Token("number", rest)
            return Node(Kind.NUMBER, text=first, number=Fraction(int(first)))
        return self.argument()

    def command(self, name: str) -> Node:
        if name in ("frac", "binom"):
            above = self.digit()
            below = self.digit()
            if name == "frac":
                return derivative(above, below) or self.node(Kind.QUOTIENT, above, below, text="frac")
            return self.node(Kind.CALL, above, below, text="binom")
        if name == "sqrt":
            degree = None
            if self.take("["):
                degree = self.statement(SUMS)
                self.expect("]")
            inside = self.atom() if self.sign("(") else self.argument()
            return self.node(Kind.CALL, inside, *((degree,) if degree else ()), text="root")
        if name.startswith("begin ") and name.removeprefix("begin ") in MATRICES | CASES:
            return self.matrix(name.removeprefix("begin "))
        raise Unreadable(name)

    def function(self, name: str) -> Node:
        base = power = None
        while self.sign("_", "^"):
            if self.advance() == "_":
                base = self.argument()
            else:
                power = self.node(Kind.NEGATIVE, self.argument()) if self.take("-") else self.argument()
        if self.sign("(", "{", "["):
            arguments = unpacked(self.atom())
        else:
            arguments = (self.run(),)
        if base is not None:
            if name not in ("log", "lg"):
                name += "_" + spelled(base)
            else:
                arguments, name = (*arguments, base), "log"
        inverse = power is not None and power.kind == Kind.NEGATIVE and power.parts[0].number == 1
        if inverse and f"arc{name}" in FUNCTIONS:
            return self.node(Kind.CALL, *arguments, text=f"arc{name}")
        if name == "diag":
            zero = Node(Kind.NUMBER, text="0")
            rows = [
                [one if at == place else zero for at in range(len(arguments))] for place, one in enumerate(arguments)
            ]
            return self.node(Kind.MATRIX, *(self.node(Kind.GROUP, *row, text="[]") for row in rows))
        if name == "cbrt":
            return self.node(Kind.CALL, *arguments, Node(Kind.NUMBER, text="3", number=Fraction(3)), text="root")
        if name == "Eq" and len(arguments) == 2:
            return self.node(Kind.RELATION, *arguments, text="=")
        call = self.node(Kind.CALL, *arguments, text=name)
        return call if power is None else self.node(Kind.POWER, call, power)

    def run(self) -> Node:
        r"""An argument without brackets: \sin 2x, up to a sign or the next function."""
        if self.kind == "function":
            return self.function(self.advance())
        left = self.node(Kind.NEGATIVE, self.factor()) if self.take("-") else self.factor()
        while self.kind not in (Kind.WORD, "function") and not self.sign("(", "{", "\\{", "[") and self.starts_factor():
            left = self.product(left, self.factor())
        return left
