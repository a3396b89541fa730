r"""Judge a mathematical answer against the gold one: two short texts enter, a verdict leaves.

Nearly every answer is a number, and numbers are compared here, exactly, as Fractions: integers, decimals, fractions,
mixed numbers, percentages, currency, thousands separators, LaTeX and a unit or a sentence around one number. Only
where a side is truly symbolic (roots, variables, tuples) is math-verify asked, in a worker that can be killed
(`symbolic.py`).

An answer must be an answer: two numbers ("3 or 4") are a hedge, and arithmetic left unworked ("48+24") is the
question again; both score 0, because a policy under training finds every such door.
"""

from __future__ import annotations

import re
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

from stages.rewards import symbolic
from stages.rewards.steps import evaluate
from stages.rewards.verdict import Verdict, shorten

MAX_CHARACTERS = 1000
_MAX_DIGITS = 100

_FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: " ", 0x3002: ".", 0x3001: ","}
_FULL_WIDTH |= {ord(dash): "-" for dash in "−–—‐‑‒"} | {ord(times): "*" for times in "×·⋅∗"} | {ord("÷"): "/"}
_REWRITES = tuple(
    (re.compile(pattern), new)
    for pattern, new in (
        (r"\\(?:left|right|displaystyle|Big|big|,|!|;|:|quad)(?![A-Za-z])", ""),
        (r"\\(?:text|mathrm|textbf|textit|mathbf|mbox|operatorname)\s?\{([^{}]*)\}", r" \1 "),
        (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (r"\\(?:times|cdot)(?![A-Za-z])", "*"),
        (r"\\div(?![A-Za-z])", "/"),
        (r"\^\s?\{?\s?\\circ\s?\}?|\\degree(?![A-Za-z])|°", " degrees "),
        (r"\\%|\bpercent\b|\bper cent\b", "%"),
        (r"\\[()\[\]]|\\\$|[$€£¥￥]|`", " "),
        (r"\{,\}", ","),
        (r"\\frac\s?(\d)\s?(\d)", r"\\frac{\1}{\2}"),
        (r"\\ |~", " "),
    )
)

_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?![\d])|\d+)(?:\.\d*)?|\.\d+"
_FRACTION = rf"\\frac\s?\{{\s?(-?(?:{_DIGITS}))\s?\}}\s?\{{\s?(-?(?:{_DIGITS}))\s?\}}"
_PLAIN = re.compile(rf"({_DIGITS})(?:\s?\*\s?10\s?\^\s?\{{?(-?\d{{1,3}})\}}?|[eE]([-+]?\d{{1,3}}))?", re.ASCII)
_RATIO = re.compile(rf"({_DIGITS})\s?/\s?({_DIGITS})", re.ASCII)
_LATEX_FRACTION = re.compile(_FRACTION, re.ASCII)
_MIXED = re.compile(rf"(\d+)(?:\s?{_FRACTION}|\s(\d+)\s?/\s?(\d+))", re.ASCII)
_POWER = re.compile(r"(\d{1,6})\s?\^\s?\{?\s?(\d{1,3})\s?\}?", re.ASCII)
_IN_TEXT = re.compile(
    rf"(?<![\w)}}])-?(?:{_FRACTION}|\d+\s\d+/\d+|(?:{_DIGITS})(?:\s?/\s?(?:{_DIGITS}))?)(?:\s?%)?|(?:{_DIGITS})",
    re.ASCII,
)

_LEFTOVER = re.compile(r"[^\W\d_](?:[^\W\d_]|['’-](?=[^\W\d_]))*|[\s.,:;!?'\"()*=_>]|/(?=[A-Za-z])")
_WORD = re.compile(r"[A-Za-z]+")
_OPERATION_WORDS = {
    "pi",
    "sqrt",
    "root",
    "log",
    "ln",
    "sin",
    "cos",
    "tan",
    "exp",
    "squared",
    "cubed",
    "factorial",
    "power",
    "times",
    "plus",
    "minus",
    "over",
    "divided",
    "half",
    "third",
    "quarter",
    "dozen",
}
_HEDGES = re.compile(r"\b(?:or|either|neither|not|isn't|than|between|except|versus|vs)\b|[或不非]", re.IGNORECASE)
_SCALES = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_SCALES |= {"万": 10**4, "亿": 10**8}
_SCALE = re.compile("|".join(_SCALES))
_UNIT_LETTERS = frozenset("aAIsmghLlJNWVKCFSUb")
_SYMBOLIC = re.compile(
    r"\\(?:sqrt|pi|frac|d?binom|log|ln|sin|cos|tan|exp|infty|cup|cap|begin|pm|in|le|ge)(?![A-Za-z])"
    r"|√|π|\^|\bsqrt\b|\bpi\b"
)
_BARE_ARITHMETIC = re.compile(r"[\d\s.,+*/^(){}-]+")
_SQUARE_UNIT = re.compile(
    r"(?<=[\d\s/])(mm|cm|dm|km|m|ft|in|yd|mi|units?|inch(?:es)?|feet|met(?:er|re)s?)\s?(?:\^\s?\{?[23]\}?|[²³])(?!\d)"
)


class Number(NamedTuple):
    """A number as it was written: its value, whether a percent sign stood by it, and its form (plain, fraction or
    power)."""

    value: Fraction
    percent: bool
    form: str


def judge(answer: str, gold: str) -> Verdict:
    """Compare an answer with the gold answer: 1 equal, 0 not, None where the gold or the pair cannot be judged."""
    if len(gold) > MAX_CHARACTERS or not gold.strip():
        return Verdict(None, "the row has no usable gold answer")
    if len(answer) > MAX_CHARACTERS:
        return Verdict(0.0, f"answer longer than {MAX_CHARACTERS} characters")
    given, wanted = normal(answer), normal(gold)
    if not given:
        return Verdict(0.0, "empty answer")
    if _squeezed(given) == _squeezed(wanted):
        return Verdict(1.0, f"answer {shorten(wanted)}")
    target = read_number(wanted)
    if isinstance(target, Number):
        return _against_number(given, target, wanted)
    if is_words(wanted):
        same = _letters(given) == _letters(wanted)
        return Verdict(1.0, f"answer {shorten(wanted)}") if same else _wrong(given, wanted)
    if _hedged(given) and not _hedged(wanted):
        return Verdict(0.0, f"two answers: {shorten(given)}")
    return _by_worker(given, wanted)


def check_gold(gold: str) -> Verdict:
    """Say whether a gold answer can be judged at all: 1, or None with the reason."""
    if len(gold) > MAX_CHARACTERS or not gold.strip():
        return Verdict(None, "the row has no usable gold answer")
    wanted = normal(gold)
    if isinstance(read_number(wanted), Number) or is_words(wanted):
        return Verdict(1.0, "gold can be judged")
    return symbolic.equal(wanted, wanted)


def normal(text: str) -> str:
    r"""Return an answer in plain form: full-width and LaTeX spellings unified, its one box or markdown frame taken
    off."""
    text = text[: 4 * MAX_CHARACTERS].translate(_FULL_WIDTH)
    text = _unboxed(text)
    for pattern, new in _REWRITES:
        text = pattern.sub(new, text)
    text = " ".join(text.split()).strip("*_ ")
    return text[:-1].rstrip() if text.endswith(".") else text


def read_number(text: str) -> Number | str:
    """Read the one number that a normalised answer states, or say in words why there is none.

    Takes a bare number, `x = 17`, `12 + 5 = 17` where the left side is true, and words around exactly one number.
    """
    bare = text.strip("=: ")
    number = literal(bare)
    if number is not None:
        return number
    if _HEDGES.search(text):
        return "two answers or a hedge"
    if "=" in bare:
        sides = bare.split("=")
        last = read_number(sides[-1])
        if isinstance(last, Number) and all(_harmless(side, last) for side in sides[:-1]):
            return last
        return "an equation that does not end in one number"
    if evaluate(bare) is not None:
        return "arithmetic left unworked"
    return _number_in_words(bare)


def literal(text: str) -> Number | None:
    r"""Read a bare number: 17, -1,234.50, .5, 3/4, \frac{3}{4}, 1 1/2, 2.5\times10^3, 2^{10}, 45%; None for anything
    else."""
    text = text.strip()
    negative = text[:1] == "-"
    if text[:1] in ("-", "+"):
        text = text[1:].strip()
    percent = text.endswith("%")
    text = text.rstrip("% ") if percent else text
    if text.startswith("(") and text.endswith(")") and text.count("(") == 1:
        inner = literal(text[1:-1])
        if inner is not None and not negative:
            return Number(inner.value, inner.percent or percent, inner.form)
    if sum(letter.isdigit() for letter in text) > _MAX_DIGITS:
        return None
    value, form = _unsigned(text)
    if value is None:
        return None
    return Number(-value if negative else value, percent, form)


def last_number(text: str) -> str | None:
    """Return the last number of a text as written, with an "or" and the number before it where they are joined; else
    None."""
    tail = normal_lines(text)
    found = list(_IN_TEXT.finditer(tail))
    if not found:
        return None
    last = found[-1]
    if len(found) > 1:
        between = tail[found[-2].end() : last.start()]
        if len(between) < 12 and re.fullmatch(r"\s?(?:,?\s?or|或者?)\s?[^\W\d]{0,3}\s?", between):
            return tail[found[-2].start() : last.end()]
    return last.group()


def normal_lines(text: str) -> str:
    """Return the end of a text (4,000 characters) in normalised spelling, for a search in free prose."""
    return normal(text[-4 * MAX_CHARACTERS :])


def is_words(text: str) -> bool:
    """Say whether a gold answer is a word or phrase, to be compared letter by letter: no digits, operators or LaTeX."""
    return len(_letters(text)) > 1 and re.fullmatch(r"[^\W\d_](?:[^\W\d_]|[\s.,'’()-])*", text) is not None


def _against_number(given: str, target: Number, wanted: str) -> Verdict:
    """Judge an answer to a numeric gold."""
    number = read_number(given)
    if isinstance(number, str):
        if _BARE_ARITHMETIC.fullmatch(given) and re.search(r"[-+*/^]", given):
            return Verdict(0.0, f"arithmetic left unworked: {shorten(given)}")
        if number == "no number" and _SYMBOLIC.search(given) and not _hedged(given):
            return _by_worker(given, wanted)
        return Verdict(0.0, f"{number}: {shorten(given)}")
    unworked = number.form == "fraction" and target.form == "plain" and target.value.denominator == 1
    if unworked or (number.form == "power" and target.form != "power"):
        return Verdict(0.0, f"arithmetic left unworked: {shorten(given)}")
    accepted = {target.value}
    if number.percent != target.percent:
        # "what percentage?" is answered by 45 and by 45%, "what part?" by 0.45 and by 45%
        accepted.add(target.value / 100 if target.percent else target.value * 100)
    return Verdict(1.0, f"answer {shorten(given)}") if number.value in accepted else _wrong(given, wanted)


def _by_worker(given: str, wanted: str) -> Verdict:
    verdict = symbolic.equal(wanted, given)
    return _wrong(given, wanted) if verdict.value == 0.0 else verdict


def _wrong(given: str, wanted: str) -> Verdict:
    return Verdict(0.0, f"answer {shorten(given, 30)}, expected {shorten(wanted, 30)}")


def _unsigned(text: str) -> tuple[Fraction | None, str]:
    """Read the forms of an unsigned number."""
    if match := _PLAIN.fullmatch(text):
        exponent = int(match[2] or match[3] or 0)
        return (_decimal(match[1]) * Fraction(10) ** exponent if abs(exponent) <= 100 else None), "plain"
    if match := _RATIO.fullmatch(text) or _LATEX_FRACTION.fullmatch(text):
        return _quotient(match[1], match[2]), "fraction"
    if match := _MIXED.fullmatch(text):
        part = _quotient(match[2] or match[4], match[3] or match[5])
        return (None if part is None else int(match[1]) + part), "mixed"
    if (match := _POWER.fullmatch(text)) and len(match[1]) * int(match[2]) <= 2 * _MAX_DIGITS:
        return Fraction(int(match[1]) ** int(match[2])), "power"
    return None, ""


def _quotient(above: str, below: str) -> Fraction | None:
    return _decimal(above) / _decimal(below) if _decimal(below) else None


def _decimal(text: str) -> Fraction:
    text = text.replace(",", "")
    return Fraction(text + "0" if text.endswith(".") else text)


def _harmless(side: str, value: Number) -> bool:
    """Say whether the left side of `side = value` adds no second answer: it names something, or is arithmetic with
    that value."""
    result = evaluate(side)
    if result is not None:
        return result == value.value
    return not any(letter.isdigit() for letter in side) and not _SYMBOLIC.search(side)


def _number_in_words(text: str) -> Number | str:
    """Read words around exactly one number: `17 apples`, `The total is 1,200 dollars`, `3 million`."""
    text = _SQUARE_UNIT.sub(r"\1", text)
    found = list(_IN_TEXT.finditer(text))
    if not found:
        return "no number"
    numbers = [literal(match.group()) for match in found]
    first = numbers[0]
    if first is None or any(number is None or number.value != first.value for number in numbers):
        return "two numbers or an unclear one"
    before, after = text[: found[0].start()], text[found[-1].end() :]
    between = "".join(text[a.end() : b.start()] for a, b in pairwise(found))
    if after.startswith("!") or _LEFTOVER.sub("", before + " " + between + " " + after).strip():
        return "no number" if _SYMBOLIC.search(text) else "not one plain number"
    words_after = _WORD.findall(after)
    known = [word.lower() for word in _WORD.findall(before + " " + between) + words_after]
    stray = any(len(word) == 1 and word not in _UNIT_LETTERS for word in words_after)
    if stray or _OPERATION_WORDS.intersection(known):
        return "not one plain number"
    scale = _SCALE.match(after.strip())
    return first._replace(value=first.value * _SCALES[scale.group()]) if scale else first


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


def _unboxed(text: str) -> str:
    r"""Take off \boxed{}: one box, or several that say the same; boxes that differ stay, and read as no number."""
    from stages.core.text import boxed

    for _ in range(3):
        boxes = {content.strip() for content in boxed(text)}
        if not boxes:
            break
        text = boxes.pop() if len(boxes) == 1 else " or ".join(sorted(boxes))
    return text


def _squeezed(text: str) -> str:
    """Drop the whitespace that separates nothing: all but that between two letters or digits."""
    return re.sub(r"(?<![^\W_])\s|\s(?![^\W_])", "", text)


def _letters(text: str) -> str:
    return " ".join(re.findall(r"[^\W\d_]+", text.casefold()))
