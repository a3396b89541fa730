r"""Judge a mathematical answer against the gold one: two short texts enter, a verdict leaves.

Three readers, the cheapest first. Plain numbers are compared exactly, as Fractions (`math_numbers.py`); formulas,
lists, intervals, matrices and equations are read into trees and compared by value (`expression.py`,
`math_answer.py`); only what neither reads (integrals, sums, limits, values beyond reach) goes to math-verify, in a
worker that can be killed (`symbolic.py`).

An answer must be an answer: two of them ("3 or 4") are a hedge unless the gold has several, and arithmetic left
unworked ("48+24") is the question again; both score 0, because a policy under training finds every such door.

A decimal is a number exactly, or rounded with six significant digits or more: 0.333333 is 1/3, 0.333 is not, and
nothing rounded is a whole number or a decimal that could have been written out.
"""

from __future__ import annotations

import re
from itertools import pairwise

from stages.core.text import marked
from stages.rewards import expression, math_answer, math_units, symbolic
from stages.rewards.expression_node import Node
from stages.rewards.math_numbers import MAX_CHARACTERS as MAX_CHARACTERS
from stages.rewards.math_numbers import Number as Number
from stages.rewards.math_numbers import decimal_comma, literal, plain
from stages.rewards.math_numbers import last_number as last_number
from stages.rewards.math_numbers import normal as normal
from stages.rewards.math_numbers import read_number as read_number
from stages.rewards.verdict import Verdict, shorten

_BARE_ARITHMETIC = re.compile(r"[\d\s.,+*/^(){}-]+")
_CALCULUS = re.compile(r"\\(?:int|iint|oint|sum|prod|lim|partial|begin|det|nabla)(?![A-Za-z])|[∫∑∏]")
_OVERLINE = re.compile(r"\\overline(?![A-Za-z])")
_DOTS = re.compile(r"\\[lcd]?dots|\.\.\.|…")
_UNCLEAR = "two numbers or an unclear one"
_PAIR = re.compile(r"\d\W{0,3}[,;]\W{0,3}\d")
_MANY_DIGITS = re.compile(r"\.\d{4,}")
_NOT_A_NUMBER = re.compile(r"\d[A-Za-z](?![A-Za-z])|(?<![A-Za-z])[A-Za-z]\s?[-+*]\s?[A-Za-z](?![A-Za-z])")
_OPTION = re.compile(r"\(?([A-J])\)?\.?")
_OPTION_ANSWER = re.compile(
    r"(?:(?:option|choice|answer)\s*:?\s*)?(?:\(([A-J])\)|([A-J])(?:[.):]|$))"
    r"(?!\d|\s*[-+*/^=,;&]|\s*(?:or|and)\b|.*\([A-J]\))",
    re.IGNORECASE,
)
_SEGMENT = re.compile(r"\$\$([^$]+)\$\$|\$([^$]+)\$|\\\(((?:[^\\]|\\(?!\)))+)\\\)|\\\[((?:[^\\]|\\(?!\]))+)\\\]")
_JOINED = re.compile(r"[\s,;.]*(?:and|or|和|或|或者|且|,|;)?[\s,;]*", re.IGNORECASE)
_SAYING = re.compile(
    r"(?:\b(?:is|are|equals?|be|get|obtain|gives?|thus|therefore|hence|so|have)|[是为:=])[\s,:]*$", re.I
)
_WORDS = re.compile(r"(?:[^\W\d_]|[\s.,'’()]|(?<=[^\W\d_])-(?=[^\W\d_]))+")
_WORD = re.compile(r"[^\W\d_]{3}|[^\x00-\x7f]|^[^\W\d_]{2}$")
_NAMING = re.compile(r"=|\bis\b|是")
_NO_WORDS = re.compile(r"[\d+*/^<>]|^-")
_PHRASE = re.compile(r"\\?[^\W\d_](?:[^\W\d_]|[\s'’-])*")
_VERB = re.compile(r"\b(?:is|are|equals)\s|[是为]")
_MEANINGS = {
    phrase: meaning
    for meaning, phrases in {
        "∅": "no solution;no solutions;no real solution;no real solutions;there is no solution;there are no solutions"
        ";there are no real solutions;empty set;the empty set;emptyset;varnothing;无解;空集;no such number exists",
        "ℝ": "all real numbers;all reals;the real numbers;real numbers;the set of all real numbers;mathbb r;reals"
        ";全体实数;实数集",
        "dne": "does not exist;dne;doesnt exist;不存在",
        "∞": "infinity;infty;positive infinity;无穷;无穷大",
    }.items()
    for phrase in phrases.split(";")
}


def judge(answer: str, gold: str) -> Verdict:
    """Compare an answer with the gold answer: 1 equal, 0 not, None where the gold or the pair cannot be judged."""
    gold = stated(gold)
    if len(gold) > MAX_CHARACTERS or not gold.strip():
        return Verdict(None, "the row has no usable gold answer")
    if len(answer) > MAX_CHARACTERS:
        return Verdict(0.0, f"answer longer than {MAX_CHARACTERS} characters")
    given, wanted = normal(answer), normal(gold)
    if not given:
        return Verdict(0.0, "empty answer")
    if _squeezed(given) == _squeezed(wanted):
        return Verdict(1.0, f"answer {shorten(wanted)}")
    target = _number(wanted)
    if isinstance(target, Number):
        return _against_number(answer, given, target, wanted)
    if ":" in wanted and (same := math_units.same_time(given, wanted)) is not None:
        return Verdict(1.0, f"answer {shorten(given)}") if same else _wrong(given, wanted)
    if is_words(wanted):
        same = _same_words(given, wanted)
        if same or (formula := expression.read(wanted)) is None or _has_words(formula):
            return Verdict(1.0, f"answer {shorten(wanted)}") if same else _wrong(given, wanted)
    if _OPTION.fullmatch(wanted) and (chosen := _OPTION_ANSWER.match(given)):
        same = (chosen[1] or chosen[2]).upper() == _OPTION.fullmatch(wanted)[1]  # type: ignore[index]
        return Verdict(1.0, f"answer {shorten(given)}") if same else _wrong(given, wanted)
    return _against_formula(answer, given, gold, wanted)


def check_gold(gold: str) -> Verdict:
    """Say whether a gold answer can be judged at all: 1, or None with the reason."""
    gold = stated(gold)
    if len(gold) > MAX_CHARACTERS or not gold.strip():
        return Verdict(None, "the row has no usable gold answer")
    wanted = normal(gold)
    if isinstance(_number(wanted), Number) or is_words(wanted) or _read(gold) is not None:
        return Verdict(1.0, "gold can be judged")
    return symbolic.equal(wanted, wanted)


def stated(gold: str) -> str:
    r"""Return what a gold text states: its \boxed{}, what follows "####" or "the answer is", else all of it."""
    found = marked(gold)
    return gold if found is None else found[0]


def is_words(text: str) -> bool:
    """Say whether a gold answer is a word or phrase, to be compared letter by letter: no digits, operators or LaTeX."""
    return _WORDS.fullmatch(text) is not None and _WORD.search(text) is not None


def last_answer(text: str) -> str | None:
    r"""Return the last formula between $…$, \(…\) or \[…\] of a text, or the last number where that comes later; what
    "or" or "and" joins to it comes along. None where there is neither."""
    tail = text[-4 * MAX_CHARACTERS :]
    if tail.count("$") % 2:
        tail = tail.replace("$", " ", 1)  # the partner of the first stands before the tail
    if "\\" in text and len(text) <= 200 and _read(text) is not None:
        return text
    found = list(_SEGMENT.finditer(tail))
    if not found or any(letter.isdigit() for letter in tail[found[-1].end() :]):
        return last_number(text)
    first = len(found) - 1
    while first and _joint(tail[found[first - 1].end() : found[first].start()]):
        first -= 1
    return tail[found[first].start() : found[-1].end()]


def _number(wanted: str) -> Number | str:
    """Read a gold number; 3a and x + z = 1 are formulas, though in an answer they may be a unit and a name."""
    if _NOT_A_NUMBER.search(wanted) or (_PAIR.search(wanted) and literal(wanted) is None):
        return "a formula"
    return read_number(wanted)


def _against_number(answer: str, given: str, target: Number, wanted: str) -> Verdict:
    """Judge an answer to a numeric gold."""
    number = read_number(given)
    if isinstance(number, str):
        return _odd_number(answer, given, number, target, wanted)
    whole = number.value == target.value and target.value.denominator == 1
    if (whole and number.form == "fraction" and target.form == "plain") or (
        number.form == "power" and target.form != "power"
    ):
        return Verdict(0.0, f"arithmetic left unworked: {shorten(given)}")
    scale = math_units.factor(given, wanted)
    if scale is None:
        return _wrong(given, wanted)
    number = number._replace(value=number.value * scale)
    accepted = {target.value}
    if number.percent != target.percent:
        # "what percentage?" is answered by 45 and by 45%, "what part?" by 0.45 and by 45%, and not by 0.45%
        small = number.percent and abs(target.value) < 1
        accepted = {target.value / 100 if target.percent else target.value * 100} | (accepted if not small else set())
    if number.value in accepted:
        return Verdict(1.0, f"answer {shorten(given)}")
    if _MANY_DIGITS.search(given) or _MANY_DIGITS.search(wanted):
        first, second = expression.read(wanted), expression.read(given)
        if first is not None and second is not None and math_answer.agree(first, second):
            return Verdict(1.0, f"answer {shorten(given)}, rounded")
    return _wrong(given, wanted)


def _odd_number(answer: str, given: str, reason: str, target: Number, wanted: str) -> Verdict:
    """Judge what is no plain number against a number: 1,5 for 1.5, a formula with that value, else nothing."""
    if decimal_comma(given) == target.value and target.value.denominator != 1:
        return Verdict(1.0, f"answer {shorten(given)}")
    if _BARE_ARITHMETIC.fullmatch(given) and re.search(r"[-+*/^]", given):
        return Verdict(0.0, f"arithmetic left unworked: {shorten(given)}")
    if "hedge" in reason or (reason == _UNCLEAR and "\\" not in given):
        return Verdict(0.0, f"{reason}: {shorten(given)}")
    node = _read(answer)
    if _CALCULUS.search(given) or (node is not None and math_answer.is_unworked(node)):
        return Verdict(0.0, f"arithmetic left unworked: {shorten(given)}")
    if node is None or (_OVERLINE.search(given) and "." not in given):
        return Verdict(0.0, f"{reason}: {shorten(given)}")
    form = expression.read(wanted)
    value = form if form is not None else Node("number", text=str(target.value), number=target.value)
    same = math_answer.agree(Node("percent", (value,)) if target.percent and form is None else value, node)
    return Verdict(1.0, f"answer {shorten(given)}") if same else _wrong(given, wanted)


def _against_formula(answer: str, given: str, gold: str, wanted: str) -> Verdict:
    """Judge an answer to a gold that is no plain number."""
    if (comma := decimal_comma(wanted)) is not None and isinstance(number := read_number(given), Number):
        return Verdict(1.0, f"answer {shorten(given)}") if number.value == comma else _wrong(given, wanted)
    first, second = _read(gold), _read(answer)
    if _PHRASE.fullmatch(given) and (meaning := _MEANINGS.get(_letters(given))):
        second = Node("symbol", text=meaning)
    if (first is None or (second is None and _CALCULUS.search(given))) and not _DOTS.search(given + wanted):
        hedged = _hedged(given) and not _hedged(wanted)
        return Verdict(0.0, f"two answers: {shorten(given)}") if hedged else _by_worker(given, wanted)
    if first is None or second is None:
        return Verdict(0.0, f"not readable as a formula: {shorten(given)}")
    same = math_answer.agree(first, second)
    if same is None and not _DOTS.search(given + wanted):
        return _by_worker(given, wanted)
    return Verdict(1.0, f"answer {shorten(given)}") if same else _wrong(given, wanted)


def _read(text: str) -> Node | None:
    """Read the formula of a text: all of it, or what stands between its dollars or after its last "is"."""
    text = plain(text).strip().strip("*").strip()
    text = text[:-1] if text.endswith(".") else text
    text = text.removeprefix("\\approx")
    pieces = list(_SEGMENT.finditer(text))
    if pieces and re.search(r"[^\W\d_]{2}", _SEGMENT.sub(" ", text)):
        return _read_pieces(text, pieces)
    node = expression.read(text)
    if node is None or _has_words(node):
        verbs = list(_VERB.finditer(text))
        after = expression.read(text[verbs[-1].end() :]) if verbs else None
        return node if after is None else after
    return node


def _read_pieces(text: str, pieces: list[re.Match[str]]) -> Node | None:
    """Read the formulas in a sentence: one, several with nothing but "and" between, or the last if it is announced."""
    between = [text[a.end() : b.start()] for a, b in pairwise(pieces)]
    contents = [next(group for group in piece.groups() if group is not None) for piece in pieces]
    if all(_joint(part) for part in between):
        return expression.read(" , ".join(contents))
    announced = _SAYING.search(text[: pieces[-1].start()]) and not _joint(between[-1])
    return expression.read(contents[-1]) if announced else None


def _joint(between: str) -> bool:
    return len(between) < 20 and _JOINED.fullmatch(between) is not None


def _has_words(node: Node) -> bool:
    return node.kind == "word" or any(_has_words(part) for part in node.parts)


def _by_worker(given: str, wanted: str) -> Verdict:
    verdict = symbolic.equal(wanted, given)
    return _wrong(given, wanted) if verdict.value == 0.0 else verdict


def _wrong(given: str, wanted: str) -> Verdict:
    return Verdict(0.0, f"answer {shorten(given, 30)}, expected {shorten(wanted, 30)}")


def _hedged(text: str) -> bool:
    """Say whether a text offers more than one answer: "or", or a comma outside brackets that is no thousands
    separator."""
    if re.search(r"\bor\b|或|\band\b|和", text):
        return True
    depth = 0
    for at, letter in enumerate(text):
        depth += (letter in "([{") - (letter in ")]}")
        if depth == 0 and (letter == ";" or (letter == "," and not re.match(r",\d{3}(?!\d)", text[at : at + 5]))):
            return True
    return False


def _same_words(given: str, wanted: str) -> bool:
    """Compare texts by their letters; a list of names in any order; "no solution" and the like by what they mean."""
    if _NO_WORDS.search(given):
        return False
    first, second = _letters(wanted), _letters(_NAMING.split(given)[-1])
    if first == second or (first in _MEANINGS and _MEANINGS[first] == _MEANINGS.get(second)):
        return True
    names = [sorted(_letters(part) for part in re.split(r",|\band\b", text)) for text in (wanted, given)]
    return "," in wanted and names[0] == names[1]


def _squeezed(text: str) -> str:
    """Drop the whitespace that separates nothing: all but that between two letters or digits."""
    return re.sub(r"(?<![^\W_])\s|\s(?![^\W_])", "", text)


def _letters(text: str) -> str:
    return " ".join(re.findall(r"[^\W\d_]+", text.casefold()))
