r"""Read the one plain number that an answer states: a short text enters, a Number or the reason for none leaves.

Nearly every answer is a number: integers, decimals, fractions, mixed numbers, percentages, currency, thousands
separators, LaTeX and a unit or a sentence around one number are read here, exactly, as Fractions, without the reader of
formulas (`expression.py`). Two numbers ("3 or 4") and arithmetic left unworked ("48+24") are no number.
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

from stages.core.text import boxed
from stages.rewards.steps import evaluate

MAX_CHARACTERS = 1000
_MAX_DIGITS = 100

_FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {
    0x3000: " ",
    0x3002: ".",
    0x3001: ",",
    0x60C: ",",
}
_FULL_WIDTH |= {ord(dash): "-" for dash in "−–—‐‑‒"} | {ord(times): "*" for times in "×·⋅∗"} | {ord("÷"): "/"}
_VULGAR = {ord(sign): " " + unicodedata.normalize("NFKC", sign).replace("\u2044", "/") for sign in "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"}
_FULL_WIDTH |= _VULGAR | {0x2044: "/"}
_REWRITES = tuple(
    (re.compile(pattern), new)
    for pattern, new in (
        (r"(?<=\d)\s?\\[,;:]\s?(?=\d{3}(?!\d))", ""),
        (r"(?<=\d)\s?\\[,;:]\s?(?=\d)", " "),
        (r"\\(?:left|right|displaystyle|Big|big|,|!|;|:|quad)(?![A-Za-z])", ""),
        (r"(?<=\d)\s?\^?\s?\{?\s?(?:\\text\s?\{|\\mathrm\s?\{)?(?:st|nd|rd|th)\}?\}?(?![A-Za-z])", ""),
        (r"\\geq?(?:slant)?(?![A-Za-z])", "≥"),
        (r"\\leq?(?:slant)?(?![A-Za-z])", "≤"),
        (r"\\(?:text|mathrm|textbf|textit|textrm|textnormal|mathbf|mbox|operatorname)\s?\{([^{}]*)\}", r" \1 "),
        (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (r"\\(?:times|cdot)(?![A-Za-z])", "*"),
        (r"\\div(?![A-Za-z])", "/"),
        (r"\^\s?\{?\s?\\circ\s?\}?|\\degree(?![A-Za-z])|°", " degrees "),
        (r"\\%|\bpercent(?:age)?\b|\bper cent\b|\bpct\b", "%"),
        (r"^\s?\\approx(?![A-Za-z])", ""),
        (r"\\[()\[\]]|\\\$|[$€£¥￥]|`", " "),
        (r"\{,\}", ","),
        (r"\\frac\s?(\d)\s?(?=[\d{])", r"\\frac{\1}"),
        (r"(\\frac\{[^{}]*\})\s?(\d)", r"\1{\2}"),
        (r"\{(\d+)\}\s?/\s?\{(\d+)\}", r"\1/\2"),
        (r"\\ |~", " "),
    )
)

_GROUPED = re.compile(r"\{,\}(?=\d)|(?<=\d),\s?\\!\s?(?=\d)")
_ESCAPED_TWICE = re.compile(r"\\\\(?=[A-Za-z]{2})")
_NUMERALS = {numeral: str(value) for value, numeral in enumerate("零一二三四五六七八九")} | {"两": "2", "百": "100"}
_CHINESE_RATIO = re.compile(
    r"(\d{1,9}|[一二三四五六七八九十百两]{1,3})分之(\d{1,9}(?:\.\d{1,9})?|[一二三四五六七八九十两]{1,3})"
)
NUMBER_WORDS = {
    word: str(value)
    for value, word in enumerate(
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
    )
}
_BASES = {**NUMBER_WORDS, "sixteen": "16"}
_BASE_NAME = rf"(\d+|{'|'.join(_BASES)})"
_BASE = re.compile(
    r"(?<=[\dA-F])\s{0,3}"
    rf"(?:_\s*\{{?\s*(?:\\text\s*\{{)?\s*(?!\d){_BASE_NAME}\s*\}}?\s*\}}?|\(?\s*(?:in )?base[\s-]+{_BASE_NAME}\s*\)?)"
)
_TRANSPOSED = re.compile(r"\)\s?\^\s?\{?\s?(?:\\(?:mathsf|mathrm|text)\s?\{?\s?T\s?\}?|\\top|\\intercal|T)\s?\}?")
_PHANTOM = re.compile(r"\\[hv]?phantom\s*(?:\{[^{}]*\}|\S)")
_SPACED = re.compile(r"\d{1,3}(?: \d{3})+(?:\.\d+)?", re.ASCII)
_DECIMAL_COMMA = re.compile(r"(-?\d{1,20}),(\d{1,20})", re.ASCII)
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

_UNEQUAL = re.compile(r"[<>≤≥≠]|!=")
_NEGATED = re.compile(r"\s*-[A-Za-z]")
_GLUED = re.compile(r"[A-Za-z]\d")
HEDGE, UNCLEAR = "two answers or a hedge", "two numbers or an unclear one"
_BASED = re.compile(r"\d\)?_\{?\d")
_AFTER_OR = re.compile(r"(?:\bor|或者?)\s?$", re.IGNORECASE)
_LEFTOVER = re.compile(r"[^\W\d_](?:[^\W\d_]|['’-](?=[^\W\d_]))*|[\s.,:;!?'\"()*=_]|/(?=[^\W\d_])")
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
_HEDGES = re.compile(
    r"\b(?:or|either|neither|nor|not|never|than|between|except|versus|vs|at (?:least|most)|(?:any|every)thing but"
    r"|all but|incorrect|wrong|false|no(?= \d))\b|n['’]t\b|[或不非]",
    re.IGNORECASE,
)
_DENIED_BEFORE = re.compile(
    r"(?:\b(?:not|never|no|except|neither|nor|(?:any|every)thing but|all but)|n['’]t|[不非][是为]?|不等于|≠|!=|\\neq?"
    r"|\b(?:more|less|fewer|greater|larger|smaller|higher|lower) than|\bat (?:least|most)|\bbetween\b[^.;]{1,30}\band)"
    r"\s*(?:(?:the|a|an|equal to) )?[$(]*$",
    re.IGNORECASE,
)
_DENIED_AFTER = re.compile(r"[)$]*\s*(?:(?:is|was)\s)?(?:not\b|n['’]t\b|incorrect\b|wrong\b|false\b)", re.IGNORECASE)
_LISTED = re.compile(r"\d、[-\d./]{1,20}[^\d、]*$")  # 16、17
_ADDRESS = re.compile(r"[/?&@]|\bwww\b")
_LOOSE_DIGIT = re.compile(r"(?<![\^_{\d])\d")
_SCALES = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_SCALES |= {"万": 10**4, "亿": 10**8}
_CODE = re.compile(r"(?<!US)[A-Za-z][A-Za-z]$(?<!USD|EUR|GBP|CNY|RMB|INR)(?<!Rs)")  # before a digit: AZYUK2A, no USD17
_IN_PAIR = re.compile(r"\([^()]*,[^()]*\)|\[[^\[\]]*,[^\[\]]*\]")
_SCALE = re.compile("|".join(_SCALES))
_UNIT_LETTERS = frozenset("aAIsmghLlJNWVKCFSUb")
_SYMBOLIC = re.compile(
    r"\\(?:sqrt|pi|frac|d?binom|log|ln|sin|cos|tan|exp|infty|cup|cap|begin|pm|in|le|ge)(?![A-Za-z])"
    r"|√|π|\^|\bsqrt\b|\bpi\b"
)
_SQUARE_UNIT = re.compile(
    r"(?<=[\d\s/])(mm|cm|dm|km|m|ft|in|yd|mi|units?|inch(?:es)?|feet|met(?:er|re)s?)\s?(?:\^\s?\{?[23]\}?|[²³])(?!\d)"
)


class Number(NamedTuple):
    """A number as it was written: its value, whether a percent sign stood by it, and its form (plain, fraction or
    power)."""

    value: Fraction
    percent: bool
    form: str


def plain(text: str) -> str:
    r"""Return an answer as LaTeX: full-width and Chinese spellings unified, its one box taken off, 1{,}234 as 1234."""
    text = text[: 4 * MAX_CHARACTERS]
    if not text.isascii():
        text = _CHINESE_RATIO.sub(_ratio, text.translate(_FULL_WIDTH))
    if "boxed" in text or "fbox" in text:
        text = _unboxed(text)
    text = _TRANSPOSED.sub(")", text) if ")" in text else text
    text = _BASE.sub(_based, _PHANTOM.sub("", text)) if "base" in text or "_" in text or "phantom" in text else text
    if "\\\\" in text and "\\begin" not in text:
        text = _ESCAPED_TWICE.sub(r"\\", text)
    return _GROUPED.sub("", text) if "{,}" in text or "\\!" in text else text


def normal(text: str) -> str:
    """Return an answer in the plainest form: `plain`, and LaTeX spellings and markdown frames taken off."""
    text = plain(text)
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
        return HEDGE
    if _UNEQUAL.search(text):
        return "not one plain number"
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


def decimal_comma(text: str) -> Fraction | None:
    """Read 3,14 as 3.14; None for anything else."""
    match = _DECIMAL_COMMA.fullmatch(text.strip())
    return Fraction(f"{match[1]}.{match[2]}") if match else None


def last_number(text: str) -> str | None:
    """Return the last number of a text as written, with an "or" and the number before it where they are joined; None
    where there is none, or where it is denied ("not 17", "17 is wrong")."""
    tail = normal_lines(text)
    found = [
        match for match in _IN_TEXT.finditer(tail) if not _CODE.search(tail, max(0, match.start() - 4), match.start())
    ]
    if not found:
        return None
    last = found[-1]
    if _DENIED_BEFORE.search(tail[max(0, last.start() - 40) : last.start()]) or _DENIED_AFTER.match(tail, last.end()):
        return None
    if _AFTER_OR.search(tail[: last.start()]) or _LISTED.search(text[-60:]):
        return f"or {last.group()}"
    if len(found) > 1:
        between = tail[found[-2].end() : last.start()]
        if len(between) < 12 and re.fullmatch(r"\s?(?:,?\s?or|或者?|、)\s?[^\W\d]{0,3}\s?", between):
            return tail[found[-2].start() : last.end()]
    return last.group()


def normal_lines(text: str) -> str:
    """Return the end of a text (4,000 characters) in normalised spelling, for a search in free prose."""
    return normal(text[-4 * MAX_CHARACTERS :])


def _unsigned(text: str) -> tuple[Fraction | None, str]:
    """Read the forms of an unsigned number."""
    if match := _PLAIN.fullmatch(text):
        exponent = int(match[2] or match[3] or 0)
        return (_decimal(match[1]) * Fraction(10) ** exponent if abs(exponent) <= 100 else None), "plain"
    if _SPACED.fullmatch(text):
        return Fraction(text.replace(" ", "")), "plain"
    if match := _RATIO.fullmatch(text) or _LATEX_FRACTION.fullmatch(text):
        return _quotient(match[1], match[2]), "fraction"
    if match := _MIXED.fullmatch(text):
        part = _quotient(match[2] or match[4], match[3] or match[5])
        return (None if part is None else int(match[1]) + part), "mixed"
    if (match := _POWER.fullmatch(text)) and len(match[1]) * int(match[2]) <= 2 * _MAX_DIGITS:
        return Fraction(int(match[1]) ** int(match[2])), "plain" if match[1] == "10" else "power"
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
    named = not any(letter.isdigit() for letter in side) and not _SYMBOLIC.search(side)
    return named and not _NEGATED.match(side) and not _ADDRESS.search(side)


def _number_in_words(text: str) -> Number | str:
    """Read words around exactly one number: `17 apples`, `The total is 1,200 dollars`, `3 million`."""
    text = _SQUARE_UNIT.sub(r"\1", text)
    found = list(_IN_TEXT.finditer(text))
    if not found:
        return "no number"
    if text[: found[0].start()].endswith("_") or _IN_PAIR.fullmatch(text):  # a name such as id_17, and (t, 2)
        return "not one plain number"
    if _BASED.search(text) or (found[0].start() and text[found[0].start() - 1].isascii() and _GLUED.search(text)):
        return "not one plain number"
    numbers = [literal(match.group()) for match in found]
    first = numbers[0]
    if first is None or any(number is None or number.value != first.value for number in numbers):
        return UNCLEAR
    before, after = text[: found[0].start()], text[found[-1].end() :]
    between = "".join(text[a.end() : b.start()] for a, b in pairwise(found))
    if "(" in before and "," in between:
        return UNCLEAR
    if after.startswith("!") or _LEFTOVER.sub("", before + " " + between + " " + after).strip():
        return "no number" if _SYMBOLIC.search(text) else "not one plain number"
    words_after = _WORD.findall(after)
    known = [word.lower() for word in _WORD.findall(before + " " + between) + words_after]
    stray = any(len(word) == 1 and word not in _UNIT_LETTERS for word in words_after)
    if stray or _OPERATION_WORDS.intersection(known):
        return "not one plain number"
    scale = _SCALE.match(after.strip())
    return first._replace(value=first.value * _SCALES[scale.group()]) if scale else first


def _based(match: re.Match[str]) -> str:
    """Spell `1011 base two` as 1011_{2}."""
    base = match[1] or match[2]
    return f"_{{{_BASES.get(base, base)}}}"


def _ratio(match: re.Match[str]) -> str:
    """Spell 三分之二 as 2/3 and 百分之五 as 5%."""
    below, above = (_numeral(part) for part in match.groups())
    return f"{above}%" if below == "100" else f"{above}/{below}"


def _numeral(text: str) -> str:
    """Return digits, or the Chinese numeral of a whole number up to 99, as digits."""
    if text[0].isdigit() or text in _NUMERALS:
        return _NUMERALS.get(text, text)
    tens, ten, ones = text.partition("十")
    digits = [_NUMERALS.get(part, "") for part in (tens or "一", ones or "零")]
    return str(int("".join(digits))) if ten and all(len(digit) == 1 for digit in digits) else text


def _unboxed(text: str) -> str:
    r"""Take off \boxed{}: one box, or several that say the same; boxes that differ, and a number after the last box or
    beside a box inside a box, are joined by "or", and read as no number."""
    for nested in range(3):
        boxes = dict.fromkeys(content.strip() for content in boxed(text))
        if not boxes:
            break
        last = [*boxes][-1]
        before, _, after = text.rpartition(last) if last else (text, "", "")
        outside = re.sub(r"\\(?:boxed|fbox)\s*\{", " ", before) + after if nested else after
        others = [outside.strip("{} ")] if len(boxes) == 1 and _LOOSE_DIGIT.search(outside) else []
        text = " or ".join([*boxes, *others])
    return text
