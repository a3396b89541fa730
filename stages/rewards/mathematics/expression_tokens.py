r"""Cut a formula into tokens: LaTeX or plain ASCII text enters, a list of Tokens leaves.

One pass with one regular expression whose branches begin differently, so a megabyte costs a megabyte; spellings of the
same sign (`\leq`, `<=`, `≤`) become one, and what only styles the formula is dropped.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from stages.rewards.mathematics import signs

MAX_CHARACTERS, MAX_TOKENS, MAX_DIGITS = 1000, 400, 400


class Unreadable(ValueError):
    """The formula holds something this reader does not understand, or passes a limit."""


class Token(NamedTuple):
    """A kind (number, symbol, word, function, command, sign, joint, end) and what it says."""

    kind: str
    value: str


_TRIGONOMETRIC = ("sin", "cos", "tan", "cot", "sec", "csc")
_HYPERBOLIC = ("sinh", "cosh", "tanh", "coth")
_INVERSE = {
    f"{prefix}{name}": f"arc{name}" for name in (*_TRIGONOMETRIC, *_HYPERBOLIC) for prefix in ("arc", "ar", "a")
}
FUNCTIONS = frozenset(
    (
        *(*_TRIGONOMETRIC, *_HYPERBOLIC, *_INVERSE.values(), "log", "ln", "lg", "exp", "max", "min", "gcd", "lcm"),
        *("abs", "floor", "ceil", "Re", "Im", "Eq", "cbrt", "diag", "cis"),
    )
)
OPERATORS = frozenset("sup inf det dim ker arg tr rank sgn Var Cov Pr erf argmax argmin".split())  # noqa: SIM905
_NAMES = (
    {name: name for name in FUNCTIONS}
    | {"nCr": "C", "nPr": "P"}
    | _INVERSE
    | {"ceiling": "ceil", "Abs": "abs", "tg": "tan", "ctg": "cot"}
)

GREEK = frozenset((
    "alpha", "beta", "gamma", "delta", "epsilon", "varepsilon", "zeta", "eta", "theta", "vartheta", "iota",
    "kappa", "lambda", "mu", "nu", "xi", "rho", "varrho", "sigma", "tau", "upsilon", "phi", "varphi", "chi",
    "psi", "omega", "Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Upsilon", "Phi", "Psi", "Omega", "ell",
    "hbar", "aleph", "nabla", "partial",
))  # fmt: skip
_SYMBOLS = {"pi": "pi", "π": "pi", "infty": "∞", "infinity": "∞", "inf": "∞", "oo": "∞", "∞": "∞", "emptyset": "∅"}
_SYMBOLS |= {"varnothing": "∅", "∅": "∅", "R": "ℝ", "reals": "ℝ", "Reals": "ℝ", "ℝ": "ℝ", "ℤ": "ℤ", "ℕ": "ℕ", "ℚ": "ℚ"}
_SIGNS = {
    "cdot": "·", "times": "×", "ast": "*", "×": "×", "·": "·", "⋅": "·", "∗": "*", "**": "^", "div": "/", "÷": "/",
    "le": "<=", "leq": "<=", "leqslant": "<=", "leqq": "<=", "≤": "<=", "⩽": "<=", "≦": "<=", "lt": "<",
    "ge": ">=", "geq": ">=", "geqslant": ">=", "geqq": ">=", "≥": ">=", "⩾": ">=", "≧": ">=", "gt": ">",
    "ne": "!=", "neq": "!=", "≠": "!=", "==": "=", "approx": "~", "≈": "~", "simeq": "~",
    "sim": "~", "in": "in", "∈": "in", "pm": "pm", "±": "pm", "mp": "mp", "∓": "mp", "cup": "cup", "∪": "cup",
    "cap": "cap", "∩": "cap",
    "bigcup": "cup",
    "setminus": "minus", "backslash": "minus", "∖": "minus", "mid": "|", "vert": "|", "lvert": "|", "rvert": "|",
    "Vert": "|", "lVert": "|", "rVert": "|", "lfloor": "lfloor", "rfloor": "rfloor", "lceil": "lceil",
    "rceil": "rceil", "⌊": "lfloor", "⌋": "rfloor", "⌈": "lceil", "⌉": "rceil", "langle": "(", "rangle": ")",
    "⟨": "(", "⟩": ")", "lbrace": "\\{", "rbrace": "\\}", "lbrack": "[", "rbrack": "]", "circ": "degree",
    "degree": "degree", "°": "degree", "percent": "percent", "%": "percent", "mod": "mod", "bmod": "mod",
    "prime": "'", "colon": ":", "−": "-", "–": "-", "≡": "equiv", "equiv": "equiv", "pmod": "pmod",
    "lor": "or", "vee": "or", "∨": "or", "land": "and", "wedge": "and", "∧": "and", "neg": "not", "lnot": "not",
    "¬": "not", "oplus": "xor", "⊕": "xor", "veebar": "xor", "angle": "angle", "∠": "angle", "triangle": "triangle",
    "△": "triangle", "measuredangle": "angle", "top": "top",
} | {
    name: sign
    for sign, names in {
        "->": "to rightarrow longrightarrow Rightarrow Longrightarrow implies xrightarrow → ⇒ ⟶ ⟹",
        "<-": "gets leftarrow longleftarrow Leftarrow impliedby ← ⇐",
        "<->": "leftrightarrow longleftrightarrow Leftrightarrow iff rightleftharpoons ↔ ⇔ ⇌",
        "subset": "subset ⊂", "subseteq": "subseteq ⊆", "supset": "supset ⊃", "supseteq": "supseteq ⊇", "ni": "ni ∋",
        "notin": "notin ∉", "perp": "perp ⊥ bot", "parallel": "parallel ∥", "cong": "cong ≅", "propto": "propto ∝",
        "<<": "ll ≪", ">>": "gg ≫", "mapsto": "mapsto ↦",
    }.items()
    for name in names.split()
}  # fmt: skip
ACCENTS = {
    "overline": "bar", "bar": "bar", "hat": "hat", "widehat": "hat", "vec": "vec", "overrightarrow": "vec",
    "dot": "dot", "overleftarrow": "left", "ddot": "ddot", "dddot": "dddot", "tilde": "tilde", "widetilde": "tilde",
    "mathbf": "bf",
    "boldsymbol": "bf", "bm": "bf", "check": "check", "breve": "breve", "mathring": "ring", "underline": "under",
    "mathcal": "cal", "mathscr": "cal", "mathfrak": "frak",
}  # fmt: skip
"""Marks over a letter, each with what it is kept as."""
_SKIPPED = frozenset((
    "left", "right", "big", "Big", "bigg", "Bigg", "bigl", "bigr", "Bigl", "Bigr", "biggl", "biggr", "mleft",
    "mright", "displaystyle", "textstyle", "limits", "quad", "qquad", "rm", "bf", "it", "mathit", "mathsf",
    "therefore", "hspace", "ensuremath", "thinspace", "scriptstyle", "kern", "mathop", "mathbin", "mathrel",
))  # fmt: skip
_WRAPPERS = frozenset(
    "text textbf textit textrm textsf texttt textnormal mbox hbox mathrm operatorname".split()  # noqa: SIM905
)
_COMMANDS = frozenset(
    (*_SIGNS, *_SYMBOLS, *_NAMES, *OPERATORS, *ACCENTS, *GREEK, *_SKIPPED, "frac", "dfrac", "tfrac", "sqrt")
)
_JOINTS = {"and": "and", "or": "or", "和": "and", "与": "and", "及": "and", "且": "and", "或": "or", "或者": "or"}
_UNITS = frozenset(
    "cm mm km dm nm ft in mi yd kg mg lb lbs oz ml hr hrs mins secs mph kph rad deg sq am pm AM PM cu".split()  # noqa: SIM905
)
_BEFORE_LETTERS = frozenset(("=", "+", "-", "(", "<", ">", "<=", ">=", "~"))  # F = mg holds no milligrams
_BLACKBOARD = {"R": "ℝ", "Z": "ℤ", "N": "ℕ", "Q": "ℚ", "C": "ℂ"}
_COMBINING = {"\u0302": "hat", "\u0303": "tilde", "\u0304": "bar", "\u0305": "bar", "\u0307": "dot", "\u0308": "ddot"}
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")

_TOKEN = re.compile(
    r"(?P<space>[\s$~`\"]+|\\[ ,;:!()\[\]>/]|\\\$|[€£¥￥])"
    r"|(?P<row>\\\\(?:\[\d[^\]]{0,9}\])?)"
    r"|(?P<environment>\\(?:begin|end)\s?\{[a-zA-Z]{1,12}\*?\}(?:\{[clr|@ ]{0,20}\})?)"
    r"|(?P<escaped>\\[{}%&|#])"
    r"|\\(?P<command>[A-Za-z]+)\*?"
    r"|(?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d{1,3}(?![\d.A-Za-z]))?)"
    r"|(?P<letters>[A-Za-z]+)"
    r"|(?P<power>[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+)"
    r"|(?P<sign>\*\*|<=|>=|!=|==|[-+*/^_=<>(){}\[\]|:!&'%]|[^\sA-Za-z0-9])",
    re.ASCII,
)
_THOUSANDS = re.compile(r"(?!0)\d{1,3}(?:,\d{3})+(?![\d,])(?:\.\d+)?", re.ASCII)
_PERIOD = re.compile(r"(\d*\.\d*)\((\d+)\)(?=\s*(?:$|[-+=,;)\]}\\<>$]))", re.ASCII)
_BRACED = re.compile(r"\s*\{([^{}]*)\}")
_OPTION = re.compile(r"\s*\(?([A-Z])\)?\.?\s*")
_WORD_RUN = re.compile(
    "(arc(?:sin|cos|tan|cot|sec|csc)h?|a(?:sin|cos|tan)h?|(?:sin|cos|tan|cot)h?|sec|csc|log|ln|lg|exp|sqrt|pi|abs)"
)


def tokens(text: str) -> list[Token]:
    r"""Cut a formula into tokens; raises Unreadable for more than 1,000 characters, 400 tokens or a 400-digit
    number."""
    if len(text) > MAX_CHARACTERS:
        raise Unreadable("too long")
    text = signs.latex(text)
    found: list[Token] = []
    depth = cursor = 0
    while cursor < len(text):
        match = _TOKEN.match(text, cursor)
        if match is None or len(found) > MAX_TOKENS:
            raise Unreadable("sign" if match is None else "too long")
        cursor = match.end()
        kind, value = match.lastgroup, match.group(match.lastgroup or 0)
        if kind == "number" and found[-1:] == [Token("command", "frac")]:
            digits = value.partition("e")[0].partition("E")[0]  # \\frac1e+1
            cursor = match.start() + len(digits)
            found.append(Token("number", digits))
        elif kind == "number":
            value, cursor = _number(text, match, depth)
            found.append(Token("number", value))
        elif kind == "letters":
            _letters(value, text, cursor, found)
        elif kind == "command":
            cursor = _command(value, text, cursor, found)
        elif kind == "environment":
            word, _, rest = value[1:].partition("{")
            found.append(Token("command", f"{word.strip()} {rest.partition('}')[0].rstrip('*')}"))
        elif kind != "space":
            depth += _sign(kind or "", value, found)
    return found


def _number(text: str, match: re.Match[str], depth: int) -> tuple[str, int]:
    """Return a literal and where it ends; a comma parts thousands only outside brackets: (1,234) is a pair."""
    longer = _PERIOD.match(text, match.start())
    if longer:
        if len(longer.group()) > MAX_DIGITS:
            raise Unreadable("digits")
        return f"{longer[1]}({longer[2]})", longer.end()
    thousands = _THOUSANDS.match(text, match.start()) if depth == 0 else None
    value = (thousands or match).group()
    if len(value) > MAX_DIGITS:
        raise Unreadable("digits")
    return value, (thousands or match).end()


def _sign(kind: str, value: str, found: list[Token]) -> int:
    """Add a sign's tokens and return by how much it changes the bracket depth."""
    if kind == "row":
        found.append(Token("sign", "row"))
    elif kind == "power":
        found += (Token("sign", "^"), Token("sign", "{"), *_signed(value.translate(_SUPERSCRIPTS)), Token("sign", "}"))
    elif kind == "escaped":
        names = {"\\%": "percent", "\\|": "|", "\\&": "&"}
        found.append(Token("sign", names.get(value, value)))
        return {"\\{": 1, "\\}": -1}.get(value, 0)
    elif value in ",;，；、":
        found.append(Token("joint", ";" if value in ";；" else ","))
    elif value in _JOINTS:
        found.append(Token("joint", _JOINTS[value]))
    elif value in "\u0302\u0303\u0304\u0305\u0307\u0308":
        found.insert(max(0, len(found) - 1), Token("accent", _COMBINING[value]))
    elif value in _SYMBOLS:
        found.append(Token("symbol", _SYMBOLS[value]))
    elif value == "√":
        found.append(Token("command", "sqrt"))
    else:
        found.append(Token("sign", _SIGNS.get(value, value)))
        return (value in "([{") - (value in ")]}")
    return 0


def _signed(digits: str) -> list[Token]:
    sign = [Token("sign", "-")] if digits.startswith("-") else []
    if not digits.lstrip("-").isdecimal():
        raise Unreadable("power")
    return [*sign, Token("number", digits.lstrip("-"))]


def _command(name: str, text: str, cursor: int, found: list[Token]) -> int:
    """Add the tokens of \\name and return where reading goes on."""
    if name in ("dfrac", "tfrac", "cfrac", "frac"):
        found.append(Token("command", "frac"))
    elif name in ("binom", "dbinom", "tbinom", "sqrt"):
        found.append(Token("command", "sqrt" if name == "sqrt" else "binom"))
    elif name in ACCENTS:
        found.append(Token("accent", ACCENTS[name]))
    elif name == "inf" or (name in OPERATORS and name not in _NAMES):
        found.append(Token("function", name))
    elif name in _WRAPPERS:
        return _wrapped(text, cursor, found)
    elif name == "mathbb" and (match := _BRACED.match(text, cursor)):
        found.append(Token("symbol", _BLACKBOARD.get(match[1], match[1] or "?")))
        return match.end()
    elif name in _SIGNS:
        sign = _SIGNS[name]
        found.append(Token("sign", sign))
    elif name in _SYMBOLS:
        found.append(Token("symbol", _SYMBOLS[name]))
    elif name in _NAMES:
        found.append(Token("function", _NAMES[name]))
    elif name in GREEK:
        found.append(Token("symbol", name.removeprefix("var")))
    elif name in _SKIPPED:
        if name in ("left", "right") and text[cursor : cursor + 1] == ".":
            return cursor + 1
    else:
        known = next((name[:end] for end in range(len(name) - 1, 1, -1) if name[:end] in _COMMANDS), None)
        if known is None:
            raise Unreadable(name)
        return _command(known, text, cursor - len(name) + len(known), found)  # \\pia for \\pi a
    return cursor


def _wrapped(text: str, cursor: int, found: list[Token]) -> int:
    r"""Add the tokens of \text{…}: an option letter, a function's or symbol's name, "and", or words."""
    match = _BRACED.match(text, cursor)
    if match is None:
        return cursor
    inside = match[1]
    option = _OPTION.fullmatch(inside)
    if inside.isalnum() and not inside.isalpha() and not inside.isdecimal():
        found.append(Token("symbol", inside))  # A5 in base 11
    elif option:
        found.append(Token("symbol", option[1]))
    elif inside.strip() in OPERATORS:
        found.append(Token("function", inside.strip()))
    elif inside.strip() in ("min", "sec"):
        found.append(Token("word", inside.strip()))
    elif inside.strip().isalpha() and inside.strip().isascii():
        _letters(inside.strip(), text, match.end(), found, wrapped=True)
    elif inside.strip():
        for part in re.findall(r"[A-Za-z]+|\d+(?:\.\d+)?|[^\sA-Za-z\d]", inside):
            if part[0].isdecimal():
                found.append(Token("number", part))
            elif part.isalpha() and part.isascii():
                _letters(part, text, match.end(), found, wrapped=True)
            elif part in "()[]-+=<>/%:":
                found.append(Token("sign", _SIGNS.get(part, part)))
            elif part in ",;":
                found.append(Token("joint", part))
            elif part not in ".'$":
                found.append(Token("word", part))
    return match.end()


def _letters(run: str, text: str, cursor: int, found: list[Token], *, wrapped: bool = False) -> None:
    """Add a run of letters: a known name, "and" or "or", a word or unit, else one symbol for each letter."""
    if run.lower() in _JOINTS:
        found.append(Token("joint", _JOINTS[run.lower()]))
    elif run in ("mod", "percent") or (run in ("cup", "cap") and not wrapped):
        found.append(Token("sign", run))
    elif run == "in" and text[cursor:].lstrip()[:1] in ("[", "(", "{", "\\"):
        found.append(Token("sign", "in"))
    elif run == "U" and found and found[-1].value in (")", "]", "}") and text[cursor:].lstrip()[:1] in ("(", "["):
        found.append(Token("sign", "cup"))
    elif run == "sqrt":
        found.append(Token("command", run))
    elif (
        len(run) > 1
        and run in _UNITS
        and not (found and found[-1].kind == "sign" and found[-1].value in _BEFORE_LETTERS)
    ):
        found.append(Token("word", run))
    elif run.lower() in _SYMBOLS and len(run) > 1:
        found.append(Token("symbol", _SYMBOLS[run.lower()]))
    elif run in _NAMES:
        found.append(Token("function", _NAMES[run]))
    elif run in GREEK:
        found.append(Token("symbol", run))
    elif len(run) > 1 and wrapped:
        found.append(Token("word", run))
    elif len(run) <= 3 and not _WORD_RUN.search(run):
        found += (Token("symbol", letter) for letter in run)
    else:
        _names_in(run, found)


def _names_in(run: str, found: list[Token]) -> None:
    """Add names written together with symbols (sinx, xcosy, pir); anything else is a word."""
    pieces = [piece for piece in _WORD_RUN.split(run) if piece]
    if len(pieces) > 6 or any(len(piece) > 2 and piece not in _NAMES and piece not in ("sqrt",) for piece in pieces):
        found.append(Token("word", run))
        return
    for piece in pieces:
        if piece == "sqrt":
            found.append(Token("command", piece))
        elif piece == "pi":
            found.append(Token("symbol", piece))
        elif piece in _NAMES:
            found.append(Token("function", _NAMES[piece]))
        else:
            found += (Token("symbol", letter) for letter in piece)
