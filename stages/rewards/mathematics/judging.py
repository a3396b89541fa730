r"""Judge a mathematical answer against the gold one: two short texts enter, a verdict leaves.

Three readers, the cheapest first. Plain numbers are compared exactly, as Fractions (`numbers.py`); formulas,
lists, intervals, matrices and equations are read into trees and compared by value (`expression.py`,
`answers.py`); only what neither reads (integrals, sums, limits, values beyond reach) goes to math-verify, in a
worker that can be killed (`symbolic.py`).

An answer must be an answer: two of them ("3 or 4") are a hedge unless the gold has several, and arithmetic left
unworked ("48+24") is the question again; both score 0, because a policy under training finds every such door.

A decimal is a number exactly, or rounded with six significant digits or more: 0.333333 is 1/3, 0.333 is not, and
nothing rounded is a whole number or a decimal that could have been written out.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from stages.core.language import codes
from stages.core.text import marked
from stages.rewards.mathematics import (
    answers,
    beside,
    chemistry,
    expression,
    identifiers,
    moments,
    prose,
    regions,
    symbolic,
    whole,
    wording,
)
from stages.rewards.mathematics.expression_exact import fraction, worked_out
from stages.rewards.mathematics.expression_node import Kind, Node
from stages.rewards.mathematics.expression_tokens import FUNCTIONS, GREEK
from stages.rewards.mathematics.expression_value import symbols
from stages.rewards.mathematics.numbers import (
    COMMA_LANGUAGES,
    HEDGE,
    MAX_CHARACTERS,
    UNCLEAR,
    Number,
    decimal_comma,
    in_points,
    literal,
    normal,
    plain,
    read_number,
)
from stages.rewards.mathematics.numerals import as_digits
from stages.rewards.mathematics.reading import qualified, read, renamed, same_numbers
from stages.rewards.verdict import Verdict, shorten

BY_TEXT = "judged by text alone: the gold is no formula, number or word that is understood"
_PROGRAM = re.compile(
    r"\b(?:print|return|yield|lambda|def|eval|exec|import|input|int|str|float|len|assert|puts|console\.log|printf"
    r"|del|raise|repr|range|sorted|sympify|println|echo)\s?[(:]"
    r"|\b(?:yield|return|lambda|await|assert|import|print|def|del|raise|async|global|echo|puts)\s+[-\w]"
)
_RATIO = re.compile(r"\d{1,9}(?:\s?:\s?\d{1,9})+")
_TO = re.compile(r"(?<=\d)\s+(?:to|zu)\s+(?=\d)|\s?比\s?(?=\d)")
_CHARGE = re.compile(r"^\s*(\d{1,2})\+\s*$")
_SAYS = re.compile(r"\w")
_DECIMAL = re.compile(r"-?\d{1,15}(?:\.\d{1,3})?", re.ASCII)
_BARE_ARITHMETIC = re.compile(r"[\d\s.,+*/^(){}-]+")
_CALCULUS = re.compile(r"\\(?:int|iint|oint|sum|prod|lim|partial|begin|det|nabla)(?![A-Za-z])|[∫∑∏]")
_LAST_WORD = re.compile(r"(?<=\d)\s[A-Za-z]{2,}$")
_MIXED_OR_TIMES = re.compile(r"(-?\d{1,9})\s?\(\s?(?:(\d{1,9})\s?/\s?(\d{1,9})|\\frac\{(\d{1,9})\}\{(\d{1,9})\})\s?\)")
_VECTOR = re.compile(r"\\(?:vec|mathbf|boldsymbol|bm|nabla|overrightarrow)(?![A-Za-z])|∇")
_MEMBERS = re.compile(
    r"\b(integer|even|odd|whole|natural|prime|rational|irrational|multiple)|(正?整数|偶数|奇数|自然数|质数|素数|有理数)"
    r"|\\(?:mathbb|mathbf|Bbb)\s?\{?\s?([ZNQ])|([ℤℕℚ])"
)
_OVERLINE = re.compile(r"\\overline(?![A-Za-z])")
_DOTS = re.compile(r"\\[lcd]?dots|\.\.\.|…")
_PAIR = re.compile(r"\d\W{0,3}[,;]\W{0,3}\d")
_MANY_DIGITS = re.compile(r"\.\d{4,}")
_NOT_A_NUMBER = re.compile(r"\d[A-Za-z](?![A-Za-z])|(?<![A-Za-z])[A-Za-z]['′]*\}?\s?[-+*]\s?[A-Za-z](?![A-Za-z])")
_NAME = re.compile(
    r"\s*(\\(?:alpha|beta|gamma|theta|phi|mu|sigma)|\\(?:bar|hat)\s?\{?[A-Za-z]\}?|(?:(?:\\angle|∠)\s?)?[A-Z]{1,3}|[A-Za-z]['′]{0,3}(?:_\{?\w{1,5}\}?)?(?:\([^()]{1,20}\))?)"
    r"\s*=((?:\\[A-Za-z]+|[^=,;A-Za-z\\]|degrees)*(?:\s[A-Za-z]{2,15})?)"
)
_BLANK = re.compile(r"\\(?:bar|hat)(?![A-Za-z])|[\s{}]")
_CORNERS = re.compile(r"[A-Z]{2,3}$")
_VARIABLE = re.compile(r"\([a-z]\)$")
_DIGIT_ARGUMENT = re.compile(r"\(-?\d+\)$")
_COMMAND = re.compile(r"\\([A-Za-z]+)")
_KEPT_SIGN = re.compile(r"[A-Za-z]['′]|!\s?!|[^\x00-\x7f∫∑∏π√∞≤≥±]")
_UNDERSTOOD = (FUNCTIONS - {"gcd", "lcm"}) | (GREEK - {"partial"}) | frozenset((
    "frac", "sqrt", "int", "iint", "oint", "sum", "prod", "lim", "begin", "end", "matrix", "pmatrix",
    "bmatrix", "vmatrix", "cases", "to", "infty", "pi", "left", "right", "le", "leq", "ge", "geq", "lt", "gt", "pm",
    "cdot", "times", "div", "limits", "binom", "lfloor", "rfloor", "lceil", "rceil", "mid", "in", "cup", "cap", "dx",
    "dy", "dt", "dz", "det", "degrees", "dots", "ldots", "cdots", "ne", "neq", "quad",
    "displaystyle", "array", "cr",
))  # fmt: skip
"""Commands and words that math-verify reads as they are meant; gcd and mod of letters are none."""
_SIGNS_ONLY = re.compile(r"\\(?:lt|gt|neq?)|[<>=≤≥≠≈]{1,2}")
_CALLED = re.compile(r"\b[a-zA-Z]{3,6}\s?\(")
_OPTION = re.compile(r"\(?([A-J])\)?\.?")
_OPTION_ANSWER = re.compile(
    r"(?:(?:option|choice|answer)\s*:?\s*)?(?:\(([A-J])\)|([A-J])(?:[.):]|$))"
    r"(?!\d|\s*[-+*/^=,;&]|\s*(?:or|and)\b|.*\([A-J]\))",
    re.IGNORECASE,
)


class _Question(NamedTuple):
    """An answer and the gold one, each as written and in plain spelling; `scale` leads from its unit to the gold's."""

    answer: str
    given: str
    gold: str
    wanted: str
    scale: beside.Scale
    worked: bool
    comma: bool  # the sign of decimals in the row's language

    @property
    def right(self) -> Verdict:
        return Verdict(1.0, f"answer {shorten(self.given)}")

    @property
    def wrong(self) -> Verdict:
        return Verdict(0.0, f"answer {shorten(self.given, 30)}, expected {shorten(self.wanted, 30)}")

    @property
    def unworked(self) -> Verdict:
        return Verdict(0.0, f"arithmetic left unworked: {shorten(self.given)}")

    def told(self, same: bool | None) -> Verdict:
        return self.right if same else self.wrong


def judge(answer: str, gold: str, *, worked: bool = True, language: str = "") -> Verdict:
    """Compare an answer with the gold answer: 1 equal, 0 not, None where the gold or the pair cannot be judged.

    With `worked`, arithmetic must have been carried out: 48+24 is not 72, because the problem may have said 48+24.
    The row's `language` settles what 1.234 may mean: 1234 too where a comma is the decimal sign.
    """
    comma = _writes_comma(language)
    if answer.strip() == gold.strip() and len(gold) <= MAX_CHARACTERS and _SAYS.search(gold):
        return Verdict(1.0, f"answer {shorten(answer)}")
    if _DECIMAL.fullmatch(answer) and _DECIMAL.fullmatch(gold):  # most rows of most sets
        verdict = Verdict(float(Fraction(answer) == Fraction(gold)), "")
        verdict = verdict._replace(reason=f"answer {answer}" + (f", expected {gold}" if not verdict.value else ""))
    else:
        verdict = _judge(answer, gold, worked, comma)
    if verdict.value == 0.0 and comma and (other := in_points(answer)):
        return _judge(other, gold, worked, comma)
    return verdict


@lru_cache(maxsize=256)
def _writes_comma(language: str) -> bool:
    return (codes.base(language) or language.lower().partition("-")[0]) in COMMA_LANGUAGES


def _judge(answer: str, gold: str, worked: bool, comma: bool) -> Verdict:
    gold = stated(gold)
    if len(gold) > MAX_CHARACTERS or not gold.strip():
        return Verdict(None, "the row has no usable gold answer")
    answer = _TO.sub(":", answer) if _RATIO.fullmatch(gold.strip()) else answer
    if len(answer) > MAX_CHARACTERS:
        return Verdict(0.0, f"answer longer than {MAX_CHARACTERS} characters")
    given, wanted = normal(answer), normal(gold)
    if not given:
        return Verdict(0.0, "empty answer")
    pieces = identifiers.parts(answer), identifiers.parts(gold)
    if pieces[1] and pieces[0].keys() == pieces[1].keys():
        verdicts = [_judge(piece, pieces[1][label], worked, comma) for label, piece in pieces[0].items()]
        return next((one for one in verdicts if one.value != 1.0), verdicts[0])
    dotted = identifiers.same(answer, gold)
    if (same := moments.same(given, wanted) if dotted is None else dotted) is not None:
        return Verdict(float(same), f"answer {shorten(given, 30)}, expected {shorten(wanted, 30)}")
    theirs, ours = wording.labelled(given), wording.labelled(wanted)
    if ours.keys() & theirs.keys():
        missing = Verdict(0.0, f"answer {shorten(given, 30)}, expected {shorten(wanted, 30)}: other parts")
        pairs = [(theirs[label], ours[label]) for label in ours if label in theirs]
        return _each([*([missing] * (ours.keys() != theirs.keys())), *(_judge(*one, worked, comma) for one in pairs)])
    if gold.strip()[0] == "+":
        answer = _CHARGE.sub(r"+\1", answer)  # an oxidation number
        given = normal(answer)
    scale = beside.compare(answer, gold)
    factor = scale if isinstance(scale, beside.Scale) else beside.SAME
    asked = _Question(answer, given, gold, wanted, factor, worked, comma)
    if scale is None:
        return asked.wrong
    if isinstance(scale, bool):
        return asked.told(scale)
    alike = wording.squeezed(given) == wording.squeezed(wanted) or (
        wording.LONG.search(wanted) and wording.lowered(given) == wording.lowered(wanted)
    )
    if alike and scale == beside.SAME and wording.same_case(given, wanted) and not _VECTOR.search(gold):
        return asked.right
    if (same := chemistry.same(plain(answer), plain(gold))) is not None:
        return asked.told(same)
    if _PROGRAM.search(given) and not _PROGRAM.search(wanted):
        return Verdict(0.0, f"a piece of a program is no answer: {shorten(given, 30)}")
    if _differently_named(given, wanted):
        return Verdict(0.0, f"answer {shorten(given, 30)}, expected {shorten(wanted, 30)}: another name")
    if _SIGNS_ONLY.fullmatch(wanted):
        return Verdict(0.0, f"answer {shorten(given, 30)}, expected {wanted}")
    target = _number(as_digits(wanted))
    if isinstance(target, Number):
        return _against_number(asked, target)
    if wording.is_words(wanted):
        same = wording.same(given, wanted)
        if same or not wording.may_be_formula(given, wanted):
            return asked.told(same)
    if _OPTION.fullmatch(wanted) and (chosen := _OPTION_ANSWER.match(given)):
        return asked.told((chosen[1] or chosen[2]).upper() == _OPTION.fullmatch(wanted)[1])  # type: ignore[index]
    return _against_formula(asked)


def _each(verdicts: list[Verdict]) -> Verdict:
    """Return the verdict on several answers: the first that is not right, else right."""
    return next((one for one in verdicts if one.value != 1.0), verdicts[0])


def _differently_named(given: str, wanted: str) -> bool:
    """Say whether both texts name a number and not by one name: x and y, A and B, P(A) and P(B), angles B and C."""
    if (other := identifiers.other_hypothesis(given, wanted)) is not None:
        return other
    found = [_NAME.fullmatch(text) for text in (given, wanted)]
    if not found[0] or not found[1]:
        return False
    first, second = (
        _CORNERS.sub(lambda m: min(m[0], m[0][::-1]), _BLANK.sub("", match[1])) for match in found if match
    )
    if _VARIABLE.search(first) and _VARIABLE.search(second):  # f(x) and f(t)
        first, second = _VARIABLE.sub("(", first), _VARIABLE.sub("(", second)
    if ("(" in first) != ("(" in second) and not _DIGIT_ARGUMENT.search(first + second):
        return False  # y and f(x)
    return first != second and (first.lower() != second.lower() or "(" in first)


def check_gold(gold: str) -> Verdict:
    """Say whether a gold answer can be judged at all: 1, or None with the reason."""
    gold = stated(gold)
    if len(gold) > MAX_CHARACTERS or not gold.strip():
        return Verdict(None, "the row has no usable gold answer")
    wanted = normal(gold)
    if isinstance(_number(wanted), Number) or wording.is_words(wanted) or read(gold) is not None:
        return Verdict(1.0, "gold can be judged")
    if moments.same(wanted, wanted) or chemistry.same(plain(gold), plain(gold)):
        return Verdict(1.0, "gold can be judged")
    verdict = symbolic.equal(wanted, wanted) if _is_calculus(wanted) else Verdict(None, symbolic.UNREAD)
    return Verdict(1.0, BY_TEXT) if verdict.reason == symbolic.UNREAD else verdict


def stated(gold: str) -> str:
    r"""Return what a gold text states: its \boxed{}, what follows "####" or "the answer is", else all of it."""
    found = marked(gold)
    return gold if found is None else found[0]


def _number(wanted: str) -> Number | str:
    """Read a gold number; 3a and x + z = 1 are formulas, though in an answer they may be a unit and a name."""
    if (measured := literal(beside.bare(wanted))) is not None:
        return measured
    if _NOT_A_NUMBER.search(wanted) or (_PAIR.search(wanted) and literal(wanted) is None):
        return "a formula"
    return read_number(wanted)


def _against_number(asked: _Question, target: Number) -> Verdict:
    """Judge an answer to a numeric gold."""
    given = prose.settled(asked.given)
    number = read_number(as_digits(given))
    if number == UNCLEAR and (only := prose.only_number(given)):
        number = read_number(only)
    if prose.hedges(prose.settled(asked.answer)) and not prose.hedges(asked.gold):
        return Verdict(0.0, f"{HEDGE}: {shorten(asked.given)}")
    if isinstance(number, str):
        number = literal(beside.bare(asked.given)) or number
    if isinstance(number, str):
        return _odd_number(asked, number, target)
    integral = number.value == target.value and target.value.denominator == 1
    left = integral and number.form == "fraction" and target.form == "plain"
    if asked.worked and (left or (number.form == "power" and target.form != "power")):
        return asked.unworked
    number = number._replace(value=number.value * asked.scale.factor + asked.scale.offset)
    accepted = {target.value}
    if number.percent != target.percent:
        # "what percentage?" is answered by 45 and by 45%, "what part?" by 0.45 and by 45%, and not by 0.45%
        small = number.percent and abs(target.value) < 1
        accepted = {target.value / 100 if target.percent else target.value * 100} | (accepted if not small else set())
    if number.value in accepted:
        return asked.right
    if _MANY_DIGITS.search(asked.given) or _MANY_DIGITS.search(asked.wanted):
        first, second = expression.read(asked.wanted), expression.read(asked.given)
        if first is not None and second is not None and answers.agree(first, second):
            return Verdict(1.0, f"answer {shorten(asked.given)}, rounded")
    return asked.wrong


def _odd_number(asked: _Question, reason: str, target: Number) -> Verdict:
    """Judge what is no plain number against a number: 1,5 for 1.5, a formula with that value, else nothing."""
    given = asked.given
    if decimal_comma(given) == target.value and target.value.denominator != 1:
        return asked.right
    bare = (
        _BARE_ARITHMETIC.fullmatch(_LAST_WORD.sub("", given)) is not None and re.search(r"[-+*/^]", given) is not None
    )
    if asked.worked and bare:
        return asked.unworked
    if prose.twists(given):
        return asked.wrong
    if match := _MIXED_OR_TIMES.fullmatch(given):  # 2 (1/3) is written for both
        count, above, below = int(match[1]), int(match[2] or match[4]), int(match[3] or match[5])
        part = Fraction(above, below) if below else Fraction(0)
        return asked.told(target.value in (count * part, count + (part if count >= 0 else -part)))
    called = "\\" in given or "≈" in given or (not asked.worked and _CALLED.search(given))
    if not bare and (reason == HEDGE or (reason == UNCLEAR and not called)):
        return Verdict(0.0, f"{reason}: {shorten(given)}")
    node = read(asked.answer)
    if _CALCULUS.search(given) or (asked.worked and node is not None and answers.is_unworked(node)):
        return asked.unworked
    if node is None or (_OVERLINE.search(given) and "." not in given):
        return Verdict(0.0, f"{reason}: {shorten(given)}")
    form = read(asked.gold) or expression.read(asked.wanted)
    value = form if form is not None else fraction(target.value)
    value = Node(Kind.PERCENT, (value,)) if target.percent and form is None else value
    return asked.told(answers.agree(value, _prepared(node, asked)))


def _against_formula(asked: _Question) -> Verdict:
    """Judge an answer to a gold that is no plain number."""
    given, wanted = asked.given, asked.wanted
    decimal = decimal_comma(wanted) if asked.comma else None
    if decimal is not None and isinstance(number := read_number(given), Number):
        return asked.told(number.value == decimal)
    first, second = _read_both(asked)
    if symbol := wording.meaning(given):
        second = read(symbol) or Node(Kind.SYMBOL, text=symbol)
    if (first is None or (second is None and _CALCULUS.search(given))) and not _DOTS.search(given + wanted):
        hedged = wording.lists(given) and not wording.lists(wanted)
        return Verdict(0.0, f"two answers: {shorten(given)}") if hedged else _by_worker(asked)
    if first is None or second is None:
        return Verdict(0.0, f"not readable as a formula: {shorten(given)}")
    if (
        (regions.is_region(first) or regions.is_region(second))
        and _members(given) != _members(wanted)
        and Kind.RELATION in (first.kind, second.kind)
    ):
        return asked.wrong  # the integers between 1 and 3 are no interval
    same = answers.agree(first, _prepared(second, asked))
    if same is None and not _DOTS.search(given + wanted):
        return asked.wrong if whole.is_of_whole(first) or whole.is_of_whole(second) else _by_worker(asked)
    return asked.told(same)


def _read_both(asked: _Question) -> tuple[Node | None, Node | None]:
    """Read the gold and the answer; where both say what letters are free, they are the same letters for both."""
    if not same_numbers(asked.gold, asked.answer):
        return read(asked.gold), read(asked.answer)
    (gold, letters), (answer, others) = qualified(asked.gold), qualified(asked.answer)
    first, second = read(gold) or read(asked.gold), read(answer) or read(asked.answer)
    if first is None or second is None:
        return first, second
    if letters and len(letters) == len(others):
        second = renamed(second, dict(zip(others, letters, strict=True)))
    if {Kind.RELATION, Kind.MATRIX} & {first.kind, second.kind} or "I" not in symbols(first) | symbols(second):
        return first, second
    return renamed(first, {"I": "i"}), renamed(second, {"I": "i"})  # as computer algebra writes it


def _prepared(node: Node, asked: _Question) -> Node:
    """Return an answer's formula in the gold's unit and, where that is allowed, with its arithmetic carried out."""
    if node.kind == Kind.PLUS_MINUS and asked.scale != beside.SAME and not asked.scale.offset:  # (124 ± 2) mm
        factor = fraction(asked.scale.factor)
        node = node._replace(parts=tuple(worked_out(Node(Kind.PRODUCT, (factor, part))) for part in node.parts))
    elif asked.scale != beside.SAME:
        node = Node(Kind.PRODUCT, (fraction(asked.scale.factor), node))
        node = Node(Kind.SUM, (node, fraction(asked.scale.offset))) if asked.scale.offset else node
    return node if asked.worked else worked_out(node)


def _by_worker(asked: _Question) -> Verdict:
    """Ask math-verify, but only about what it reads to the end: it drops marks and signs that it does not know."""
    if asked.scale != beside.SAME or not (_is_calculus(asked.wanted) and _is_calculus(asked.given)):
        return asked.wrong
    verdict = symbolic.equal(asked.wanted, asked.given)
    return asked.wrong if verdict.value == 0.0 or verdict.reason == symbolic.UNREAD else verdict


def _is_calculus(text: str) -> bool:
    """Say whether all of a formula's commands and words are ones that math-verify understands."""
    words = {*_COMMAND.findall(text), *re.findall(r"(?<![\\A-Za-z])[A-Za-z]{2,}", text)}
    return words <= _UNDERSTOOD and not _KEPT_SIGN.search(text)


def _members(text: str) -> set[str]:
    """What the members of a set are said to be, besides real numbers."""
    return {"".join(found) for found in _MEMBERS.findall(text)}
