r"""Find the formula of a text and read it: a text that holds one answer enters, a Node leaves, or None.

The formula is all of the text, or what stands between its dollars, or after its last "is". A qualifier behind it ("for
all n", "k \in \mathbb{Z}") says what its letters are, and is read apart.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise

from stages.rewards.mathematics import expression
from stages.rewards.mathematics.expression_node import Kind, Node, has_words, substituted
from stages.rewards.mathematics.numbers import plain, respelled, rules

SEGMENT = re.compile(r"\$\$([^$]+)\$\$|\$([^$]+)\$|\\\(((?:[^\\]|\\(?!\)))+)\\\)|\\\[((?:[^\\]|\\(?!\]))+)\\\]")
VERB = re.compile(
    r"\b(?:is|are|was|were|be|it['’]s|equals?|becomes?|yields?|gives?|we (?:get|have|find|obtain)|ist|sind|beträgt"
    r"|lautet|est|sont|vaut|es|son)\s|(?<![不非])(?:[是为為]|等于|所以|因此|得到?)|(?<=[\u3400-\u9fff\u3041-\u30ff])(?<!また)(?<!いは)(?<!で)は",
    re.IGNORECASE,
)
_JOINED = re.compile(r"[\s,;.]*(?:and|or|和|或|或者|且|,|;)?[\s,;]*", re.IGNORECASE)
_SAYING = re.compile(
    r"(?:\b(?:is|are|equals?|be|get|obtain|gives?|thus|therefore|hence|so|have)|[是为:=])[\s,:]*$", re.I
)
EXCEPT = re.compile(
    r"(?:all|every)(?: real)? numbers? ?(?:x )?(?:except|apart from|but|other than)(?: for)? ([^.;]{1,80})$",
    re.IGNORECASE,
)
_SPOKEN = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}|[^\x00-\x7f]")
_IN = r"(?:\\in|∈)"
_BOLD = r"(?:\\mathbb\s?\{?|\\mathbf\s?\{?|\\bf\s?\{?)?\s?"
_INTEGERS = rf"{_BOLD}[ZNRQℤℕℝℚ]\}}?(?:\^?\{{?[+*]\}}?|_\{{?[+>]\S{{0,4}}\}}?)?"
_SETS = re.compile(rf"{_IN}\s*{_BOLD}([ZNRQℤℕℝℚ]\}}?(?:\^?\{{?[+*])?)")
_LETTER = r"(?<![A-Za-z\\])[a-zA-Z]"
_LETTERS = rf"((?:{_LETTER}\s*,\s*)*{_LETTER})\s*{_IN}"
_IS_INTEGER = r"\s*(?:is |)(?:an?|为|是)\s*(?:integer|整数)"
_QUALIFIER = re.compile(
    r"(?:(?:for|with|where)\b[^<>=]{0,30}?(?:\b(?:all|any|every|each|some|integers?|constants?|real|arbitrary)\b"
    rf"|{_IN}\s*{_INTEGERS})|(?:\\forall|∀)|{_LETTERS}\s*{_INTEGERS}|[a-zA-Z]{_IS_INTEGER})[^<>=]{{0,60}}$"
)
_FAMILY = re.compile(
    rf"\\\{{\s?([^{{}}:|]*(?:\{{[^{{}}:|]*\}}[^{{}}:|]*){{0,12}}?)\s?(?::|\||\\mid)\s?({_LETTERS}\s*{_INTEGERS})\s?\\\}}"
)
"""A family in a set's braces: \\{2k : k \\in \\mathbb{Z}\\}."""
_NAMED = re.compile(rf"{_LETTERS}|([a-zA-Z]){_IS_INTEGER}")
_BEFORE = re.compile(r"(?:\\(?:q?quad|text|mathrm)|[\s,;.，\\{$(（])\Z")


_REWRITES = rules(
    ("/", r"(?<![A-Za-z\\])d([a-z])\s?/\s?d([a-z])(?![A-Za-z])", r"\\frac{d\1}{d\2}"),
    ("sq", r"(?<![A-Za-z\\])([a-zA-Z])\s+(?:equals?|is equal to|is)\s+(?=[-\d\\$])", r"\1 = "),
    ("[", r"\[([^\[\]()]*,[^\[\]()]*)\[", r"[\1)"),  # the French [0, 1[
    ("CP", r"(?:\{\}\s?)?[_^]\s?\{?(\w)\}?\s?(?:\\mathrm)?\{?([CP])\}?_\{?(\w)\}?", r" \2(\1,\3)"),
    ("CP", r"(?<![A-Za-z\\])([CP])_\{?([a-z\d]+)\}?\^\{?([a-z\d]+)\}?", r" \1(\2,\3)"),
    ("CP", r"(?<![A-Za-z\\])([CP])\^\{?([a-z\d]+)\}?_\{?([a-z\d]+)\}?", r" \1(\3,\2)"),
    ("\\", r"\\(?:overset|underset|stackrel)\s?\{([^{}]*)\}\s?\{([^{}]*)\}", r"\2"),
)


def read(text: str) -> Node | None:
    """Read the formula of a text: all of it, or what stands between its dollars or after its last "is"."""
    text = plain(text).strip().strip("*").strip()
    text = text[:-1] if text.endswith(".") else text
    text = text.removeprefix("\\approx")
    text = respelled(text, _REWRITES)
    if "number" in text:
        text = EXCEPT.sub(lambda match: f"\\mathbb{{R}} \\setminus \\{{ {match[1].replace('$', ' ')} \\}}", text)
    pieces = list(SEGMENT.finditer(text))
    if pieces and re.search(r"[^\W\d_]{2}", SEGMENT.sub(" ", text)):
        return _read_pieces(text, pieces)
    verbs = list(VERB.finditer(text))
    after = expression.read(text[verbs[-1].end() :]) if verbs and _SPOKEN.search(text[: verbs[-1].start()]) else None
    return expression.read(text) if after is None or has_words(after) else after


def qualified(text: str) -> tuple[str, list[str]]:
    r"""Part an answer into itself and the letters that its qualifier speaks of: `k\pi, k \in \mathbb{Z}` -> (`k\pi`,
    [`k`]). A text without a qualifier is returned whole."""
    text = _FAMILY.sub(r"\1, \2", text)
    match = _QUALIFIER.search(text)
    before = text[: match.start()] if match is not None else ""
    while (joint := _BEFORE.search(before, max(0, len(before) - 9))) is not None:
        before = before[: joint.start()]
    if match is None or not before:
        return text, []
    named = _NAMED.search(match.group())
    letters = re.findall("[a-zA-Z]", named[1] or named[2]) if named else []
    return before + "$" * (before.count("$") % 2), letters


def same_numbers(first: str, second: str) -> bool:
    r"""Say whether two qualifiers do not speak of different sets: \mathbb{Z} and \mathbb{N} differ."""
    sets = [set(_SETS.findall(text)) for text in (first, second)]
    return not sets[0] or not sets[1] or sets[0] == sets[1]


def renamed(node: Node, names: Mapping[str, str]) -> Node:
    """Return a formula with some letters in place of others."""
    return substituted(node, {name: Node(Kind.SYMBOL, text=other) for name, other in names.items()})


def joint(between: str) -> bool:
    """Say whether what stands between two formulas only joins them: a comma, "and", "or"."""
    return len(between) < 20 and _JOINED.fullmatch(between) is not None


def _read_pieces(text: str, pieces: list[re.Match[str]]) -> Node | None:
    """Read the formulas in a sentence: one, several with nothing but "and" between, or the last if it is announced."""
    between = [text[a.end() : b.start()] for a, b in pairwise(pieces)]
    contents = [next(group for group in piece.groups() if group is not None) for piece in pieces]
    if all(joint(part) for part in between):
        return expression.read(" , ".join(contents))
    announced = _SAYING.search(text[: pieces[-1].start()]) and not joint(between[-1])
    return expression.read(contents[-1]) if announced else None
