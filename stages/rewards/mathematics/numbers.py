r"""Read the one plain number that an answer states: a short text enters, a Number or the reason for none leaves.

Nearly every answer is a number: integers, decimals, fractions, mixed numbers, percentages, currency, thousands
separators, LaTeX and a unit or a sentence around one number are read here, exactly, as Fractions, without the reader of
formulas (`expression.py`). Two numbers ("3 or 4") and arithmetic left unworked ("48+24") are no number.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from stages.core.text import boxed
from stages.rewards.mathematics import kept
from stages.rewards.mathematics.expression_tokens import FUNCTIONS, OPERATORS
from stages.rewards.mathematics.lexicon import EITHER, HEDGES, WORDS
from stages.rewards.mathematics.numerals import TABLES, chinese
from stages.rewards.steps import evaluate

MAX_CHARACTERS = 1000
_MAX_DIGITS = 100

Rules = tuple[tuple[frozenset[str], re.Pattern[str], str | Callable[[re.Match[str]], str]], ...]


def rules(*spellings: tuple[str, str, str | Callable[[re.Match[str]], str]]) -> Rules:
    """Return spellings for `respelled`: the signs of which a text must hold one to be worth a look, a pattern, and what
    is written instead."""
    return tuple((frozenset(signs), re.compile(pattern), new) for signs, pattern, new in spellings)


def respelled(text: str, spellings: Rules) -> str:
    """Return a text with one spelling for each thing."""
    held = set(text)
    for signs, pattern, new in spellings:
        if not held.isdisjoint(signs):
            before, text = text, pattern.sub(new, text)
            held = held if text == before else set(text)
    return text


_FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {
    0x3000: " ",
    0x3002: ".",
    0x3001: ",",
    0x60C: ",",
}
_FULL_WIDTH |= {ord(dash): "-" for dash in "−–—‐‑‒"} | {ord(times): "*" for times in "×·⋅∗"} | {ord("÷"): "/"}
_VULGAR = {ord(sign): " " + unicodedata.normalize("NFKC", sign).replace("\u2044", "/") for sign in "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"}
_FULL_WIDTH |= _VULGAR | {0x2044: "/", ord("∃"): "\\exists ", ord("∀"): "\\forall "}
_COMMANDS = (
    {f"\\{name}": "" for name in ("left", "right", "displaystyle", "Big", "big", "quad", *",!;:")}
    | {f"\\{name}": " " for name in "()[]$ "}
    | {f"\\{name}": "\\frac" for name in ("dfrac", "tfrac", "cfrac")}
    | {"\\times": "*", "\\cdot": "*", "\\div": "/", "\\%": "%", "\\degree": " degrees "}
)
_REWRITES = rules(
    ("\\", r"(?<=\d)\s?\\[,;:]\s?(?=\d)", " "),
    ("\\", r"\\(?:[A-Za-z]+|[^A-Za-z])", lambda m: _COMMANDS.get(m.group(), m.group())),
    ("td", r"(?<=\d)\s?\^?\s?\{?\s?(?:\\text\s?\{|\\mathrm\s?\{)?(?:st|nd|rd|th)\}?\}?(?![A-Za-z])", ""),
    ("\\", r"\\(?:text|mathrm|textbf|textit|textrm|textnormal|mathbf|mbox|operatorname)\s?\{([^{}]*)\}", r" \1 "),
    ("^°", r"(?:\{\s?\})?\^\s?\{?\s?\\circ\s?\}?|°", " degrees "),
    ("\\≈", r"^\s?(?:\\approx(?![A-Za-z])|≈)", ""),
    ("p", r"\bpercent(?:age)?\b|\bper cent\b|\bpct\b", "%"),
    ("$€£¥￥₹₽₩₺₫₴₱฿₪¢`", r"[$€£¥￥₹₽₩₺₫₴₱฿₪¢`]", " "),
    ("℃℉", r"[℃℉]", " degrees "),
    ("uv", r"\b(?:minus|negative)\s+(?=[\d.])", "-"),
    ("oi", r"^(\d+)\s(?:out of|in)\s(\d+)$", r"\1/\2"),
    ("{", r"\{,\}", ","),
    ("\\", r"\\frac\s?(\d)\s?(?=[\d{])", r"\\frac{\1}"),
    ("\\", r"(\\frac\{[^{}]*\})\s?(\d)", r"\1{\2}"),
    ("/", r"\{(\d+)\}\s?/\s?\{(\d+)\}", r"\1/\2"),
    ("~", r"~", " "),
)

_GROUPED = re.compile(r"(?<![\d,}])\d{1,3}(?:(?:\{,\}|,\s?\\!\s?)\d{3})+(?![\d{])|(?<![\d,}])\d+\{,\}\d+(?![\d{])")
_LINE = r"(?:\\(?:overline|bar|dot)\s?)"
_FORMS = rules(  # how numbers are written, in one spelling: 1234.5, 0.(3), 10^{-7}
    ("^", r"\^\s?\{?\s?((?:\\prime\s?){1,3})\}?", lambda m: "'" * m[1].count("p")),
    ("'’_", r"(?<![\d.,])(\d{1,3}(?:['’]\d{3})+|\d{1,3}(?:_\d{3})+)(?![\d'’_{])", lambda m: re.sub(r"\D", "", m[1])),
    (",", r"(?<![\d.,])(\d{1,2}(?:,\d{2})+,\d{3})(?![\d,])", lambda m: m[1].replace(",", "")),
    ("0", r"(?<![\d.,(\[{])0,(?=\d{3,}(?![\d,])\s?[^\s$})\]])", "0."),  # with its unit
    (",", r"(?<![\d.,])\d{1,3}(?:(?:\.\d{3})+|(?: \d{3})+),\d+(?![\d,.])", lambda m: _comma(m.group())),
    (".", r"(?<![\d.,])\d{1,3}(?:\.\d{3}){2,}(?![\d,.])", lambda m: m.group().replace(".", "")),
    ("xX×\\·⋅*", r"(?<=\d)\s?(?:[xX×]|\\times|\\cdot|[·⋅*])\s?(?=10\s?(?:\^|\*\*))", r" \\times "),
    ("*", r"(?<=\d)\s?\*\*\s?(-?\d+)", r"^{\1}"),
    ("b", r"(?<![\w.])0b([01]+)(?!\w)", r"\1_{2}"),
    ("x", r"(?<![\w.])0x([\dA-Fa-f]+)(?!\w)", lambda m: f"{m[1].upper()}_{{16}}"),
    ("o", r"(?<![\w.])0o([0-7]+)(?!\w)", r"\1_{8}"),
    ("\\", rf"(?<![\d.,])(\d+),(?=\d*\s?\{{?{_LINE})", r"\1."),
    ("\\", rf"(\d*\.\d*)\s?\{{?{_LINE}\s?\{{?\s?(\d+)\s?\}}?\}}?(?:(\d*){_LINE}\s?\{{?(\d)\}}?)?", r"\1(\2\3\4)"),
    ("\u0305", "((?:\\d\u0305)+)", lambda m: f"({m[1].replace(chr(0x305), '')})"),
    ("r循", r"(?<!\d)(\d{0,30}\.\d{0,30}?)(\d+)\s?\(?\s?(?:repeating|recurring|循环)\)?", r"\1(\2)"),
    ("….\\", r"(?<!\d)(\d{0,30}\.\d{0,30}?)(\d{1,6}?)\2+\s?(?:\.{3}|…|\\[lc]?dots)", r"\1(\2)"),
    ("….\\", r"(?<![\d.])(\d*\.\d+)\s?(?:\.{3}|…|\\[lc]?dots)(?!\s?[,\d])", r"\1"),
    ("n", r"(?<![\d/.])(\d+)\s(?:\\text\s?\{\s?)?and(?:\s?\})?\s(?:a\s)?(?=\d+/\d|\\[dt]?frac\s?\{?\d)", r"\1 "),
    (
        ",",
        r"(?<![\d.,(\[{])(\d+),(\d{1,2}|\d{4,})(?=\s?(?:[€£¥₹°℃℉]|\\\$|\\?%|\\text|\\mathrm|\\,|\^\s?\{?\s?\\circ)|\s[^\W\d_])",
        r"\1.\2",
    ),
)
_SUPERSCRIPT = re.compile(r"[⁻⁺]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+[⁻⁺]?|(?<=\w)[⁻⁺]")
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_OTHER_DIGIT = re.compile(r"(?![0-9])\d")
_ESCAPED_TWICE = re.compile(r"\\\\(?=[A-Za-z]{2})")
_CHINESE_RATIO = re.compile(
    r"(\d{1,9}|[一二三四五六七八九十百两]{1,3})分之(\d{1,9}(?:\.\d{1,9})?|[一二三四五六七八九十两]{1,3})"
)
_BASES = {word: str(value) for word, (value, _) in TABLES["en"].items() if value <= 36}
_BASE_NAME = rf"(\d+|{'|'.join(_BASES)})"
_BASE = re.compile(
    r"(?<=[\dA-F])\s{0,3}"
    rf"(?:_\s*\{{?\s*(?:\\text\s*\{{)?\s*(?!\d){_BASE_NAME}\s*\}}?\s*\}}?|\(?\s*(?:in )?base[\s-]+{_BASE_NAME}\s*\)?)"
)
_TRANSPOSE = re.compile(r"\^\s?\{?\s?(?:\\(?:mathsf|mathrm|text)\s?\{?\s?T\s?\}?|\\top|\\intercal|T)\s?\}?(?![A-Za-z])")
_ROW = re.compile(r"(\([^()]*,[^()]*\)|\[[^\[\]]*,[^\[\]]*\])\s?\^\{T\}")  # a vector, written in a line
_APPLIED = re.compile(r"(?<![A-Za-z])[A-Za-z]['′]*\(\s?-?\d")
_PHANTOM = re.compile(r"\\[hv]?phantom\s*(?:\{[^{}]*\}|\S)")
_PAIR = re.compile(r"\(-?\d{1,3},\d{3}\)", re.ASCII)  # (12,345) is two numbers
_SPACED = re.compile(r"\d{1,3}(?: \d{3})+(?:\.\d+)?", re.ASCII)
_AMBIGUOUS = re.compile(r"(?<![\d.,])\d{1,3}(?:\.\d{3})+(?![\d.,]\d?)|(?<![\d.,])\d{1,3},\d{3}(?![\d,.]\d?)", re.ASCII)
COMMA_LANGUAGES = frozenset("de fr es pt it ru nl pl tr sv da nb fi cs uk id vi el ro hu".split())  # noqa: SIM905
_DECIMAL_COMMA = re.compile(r"(-?\d{1,20}),(\d{1,20})", re.ASCII)
_STARTS = frozenset("0123456789.(\\")  # of a bare number
_DIGITS = r"(?:(?!0)\d{1,3}(?:,\d{3})+(?![\d])|\d+)(?:\.\d*)?|\.\d+"
_FRACTION = rf"\\frac\s?\{{\s?(-?(?:{_DIGITS}))\s?\}}\s?\{{\s?(-?(?:{_DIGITS}))\s?\}}"
_PLAIN = re.compile(rf"({_DIGITS})(?:\s?\*\s?10\s?\^\s?\{{?(-?\d{{1,3}})\}}?|[eE]([-+]?\d{{1,3}}))?", re.ASCII)
_RATIO = re.compile(rf"({_DIGITS})\s?/\s?({_DIGITS})", re.ASCII)
_LATEX_FRACTION = re.compile(_FRACTION, re.ASCII)
_MIXED = re.compile(rf"(\d+)(?:\s?{_FRACTION}|\s(\d+)\s?/\s?(\d+))", re.ASCII)
_PERIODIC = re.compile(r"(\d{0,30})\.(\d{0,30})\((\d{1,30})\)", re.ASCII)
_POWER = re.compile(r"(\d{1,6})\s?\^\s?\{?\s?(-?\d{1,3})\s?\}?", re.ASCII)
_POWER_OF_TEN = r"(?:\s?\*\s?10\s?\^\s?(?:\{\s?-?\d{1,3}\s?\}|-?\d{1,3})|[eE][-+]?\d{1,3}(?![\w.]))"
IN_TEXT = re.compile(
    rf"(?<![\w)}}])-?(?:{_FRACTION}|10\s?\^\s?(?:\{{\s?-?\d{{1,3}}\s?\}}|-?\d{{1,3}})|\d+\s\d+/\d+|(?:{_DIGITS})(?:{_POWER_OF_TEN}|\s?/\s?(?:{_DIGITS}))?)(?:\s?%)?"
    rf"|(?:{_DIGITS}){_POWER_OF_TEN}?",
    re.ASCII,
)

_UNEQUAL = re.compile(r"[<>≤≥≠]|!=")
_OPERATED = re.compile(r"[+*^]|(?<![A-Za-z])\\?[A-Za-z]['′]*\}?\s?-")
_NEGATED = re.compile(r"\s*-[A-Za-z]")
_GLUED = re.compile(r"[A-Za-z]\d")
HEDGE, UNCLEAR = "two answers or a hedge", "two numbers or an unclear one"
_BASED = re.compile(r"\d\)?_\{?\d")
_LEFTOVER = re.compile(
    r"[^\W\d_](?:[^\W\d_]|[\u0300-\u036f\u064b-\u0652\u0900-\u0dff\u0e00-\u0eff]|['’-](?=[^\W\d_]))*|[\s.,:;!?'\"()*=_]|/\s?(?=[^\W\d_])"
)
_WORD = re.compile(r"[A-Za-zΩμ]+")
OPERATION_WORDS = frozenset(WORDS["prose"]["operations"].split())
_FUNCTION_WORDS = {name.lower() for name in FUNCTIONS | OPERATORS} - {"min", "max", "sec"}
_ADDRESS = re.compile(r"[/?&@]|\bwww\b")
_LOOSE_DIGIT = re.compile(r"(?<![\^_{\d])\d")
SCALES = {word: value for word, (value, _) in TABLES["scales"].items()}
_IN_PAIR = re.compile(r"\([^()]*,[^()]*\)|\[[^\[\]]*,[^\[\]]*\]")
_SCALE = re.compile(rf"(?:{'|'.join(sorted(SCALES, key=len, reverse=True))})(?![A-Za-z])")
_UNIT_LETTERS = frozenset("aAIsmghLlJNWVKCFSUbMTG")
_SYMBOLIC = re.compile(
    r"\\(?:sqrt|pi|frac|d?binom|log|ln|sin|cos|tan|exp|infty|cup|cap|begin|pm|in|le|ge)(?![A-Za-z])"
    r"|√|π|\^|\bsqrt\b|\bpi\b"
)
_SQUARE_UNIT = re.compile(
    r"(?<=[\d\s/])(mm|cm|dm|km|m|ft|in|yd|mi|units?|inch(?:es)?|feet|met(?:er|re)s?)\s?(?:\^\s?\{?[23]\}?|[²³])(?!\d)"
)
_POWER_OF_UNIT = re.compile(
    r"((?<![A-Za-z])[msKLNg]|[A-Za-z]{2}|Ω)\s?\^\s?\{?\s?-?[1-4]\s?\}?(?!\d)|(?<=[a-z]{3})\s(?:squared|cubed)\b()"
)
_UNIT_COMMAND = re.compile(r"\\(?:Omega|mu)(?![A-Za-z])")


class Number(NamedTuple):
    """A number as it was written: its value, whether a percent sign stood by it, and its form (plain, fraction or
    power)."""

    value: Fraction
    percent: bool
    form: str


@lru_cache(maxsize=16)  # one judgement asks for the same two texts again and again
def plain(text: str) -> str:
    r"""Return an answer as LaTeX: full-width and Chinese spellings unified, its one box taken off, 1{,}234 as 1234."""
    text = text[: 4 * MAX_CHARACTERS]
    if not text.isascii():
        text = _SUPERSCRIPT.sub(lambda match: f"^{{{match.group().translate(_RAISED)}}}", text)
        text = _CHINESE_RATIO.sub(_ratio, _OTHER_DIGIT.sub(_ascii_digit, text).translate(_FULL_WIDTH))
    if "boxed" in text or "fbox" in text:
        text = _unboxed(text)
    text = _ROW.sub(r"\1", _TRANSPOSE.sub("^{T}", text)) if "^" in text else text
    text = _BASE.sub(_based, _PHANTOM.sub("", text)) if "base" in text or "_" in text or "phantom" in text else text
    if "\\\\" in text and "\\begin" not in text:
        text = _ESCAPED_TWICE.sub(r"\\", text)
    text = _GROUPED.sub(_ungrouped, text) if "{,}" in text or "\\!" in text else text
    return respelled(text, _FORMS) if len(text) < MAX_CHARACTERS else text


@lru_cache(maxsize=16)
def normal(text: str) -> str:
    """Return an answer in the plainest form: `plain`, and LaTeX spellings and markdown frames taken off."""
    text = respelled(plain(text), _REWRITES)
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
    if HEDGES.search(text) or EITHER.search(text):
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
    if text[:1] not in _STARTS or (text[0] == "\\" and not text.startswith("\\frac")):
        return None
    percent = text.endswith("%")
    text = text.rstrip("% ") if percent else text
    if text.startswith("(") and text.endswith(")") and text.count("(") == 1 and not _PAIR.fullmatch(text):
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


def in_points(text: str) -> str:
    """Return an answer with its one ambiguous number as it is read where a comma is the decimal sign: 1.234 as 1234,
    1,234 as 1.234; "" where there is none."""
    found = [*_AMBIGUOUS.finditer(text)]
    if len(found) != 1:
        return ""
    number = found[0].group()
    spelled = number.replace(".", "") if "." in number else number.replace(",", ".")
    return text[: found[0].start()] + spelled + text[found[0].end() :]


def _unsigned(text: str) -> tuple[Fraction | None, str]:
    """Read the forms of an unsigned number."""
    if text.endswith(")") and (match := _PERIODIC.fullmatch(text)):
        period = Fraction(int(match[3]), (10 ** len(match[3]) - 1) * 10 ** len(match[2]))
        return Fraction(f"{match[1] or 0}.{match[2] or 0}") + period, "plain"
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
    if (match := _POWER.fullmatch(text)) and len(match[1]) * abs(int(match[2])) <= 2 * _MAX_DIGITS and int(match[1]):
        return Fraction(int(match[1])) ** int(match[2]), "plain" if match[1] == "10" else "power"
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
    return named and not _OPERATED.search(side) and not _NEGATED.match(side) and not _ADDRESS.search(side)


def _number_in_words(text: str) -> Number | str:
    """Read words around exactly one number: `17 apples`, `The total is 1,200 dollars`, `3 million`."""
    text = _POWER_OF_UNIT.sub(lambda match: match[1] or "", _SQUARE_UNIT.sub(r"\1", text))
    if "\\" in text:
        text = _UNIT_COMMAND.sub(" Ω", text)
    found = list(IN_TEXT.finditer(text))
    if not found:
        return "no number"
    if (
        text[: found[0].start()].endswith("_")
        or text[: found[0].start()].strip() == ","
        or _IN_PAIR.fullmatch(text)
        or _PAIR.search(text)
    ):  # a name such as id_17, and (t, 2)
        return "not one plain number"
    if (
        _BASED.search(text)
        or _APPLIED.search(text)
        or (found[0].start() and text[found[0].start() - 1].isascii() and _GLUED.search(text))
    ):
        return "not one plain number"
    numbers = [literal(match.group()) for match in found]
    first = numbers[0]
    if first is None or any(number is None or number.value != first.value for number in numbers):
        return UNCLEAR
    before, after = text[: found[0].start()], text[found[-1].end() :]
    between = "".join(text[a.end() : b.start()] for a, b in pairwise(found))
    changed = any(kept.changes(text[: one.start()], text[one.end() :]) for one in found)
    if changed or ("(" in before and "," in between):
        return UNCLEAR
    if after.startswith("!") or _LEFTOVER.sub("", before + " " + between + " " + after).strip():
        return "no number" if _SYMBOLIC.search(text) else "not one plain number"
    words_after = _WORD.findall(after)
    words_before = {word.lower() for word in _WORD.findall(before + " " + between)}
    known = words_before.union(word.lower() for word in words_after)
    stray = any(len(word) == 1 and word not in _UNIT_LETTERS for word in words_after)
    if stray or OPERATION_WORDS & known or _FUNCTION_WORDS & words_before:  # twice 17, sgn(-3)
        return "not one plain number"
    scale = _SCALE.match(after.strip())
    return first._replace(value=first.value * SCALES[scale.group()]) if scale else first


def _ascii_digit(match: re.Match[str]) -> str:
    return str(unicodedata.decimal(match.group()))


def _comma(number: str) -> str:
    """1.234,5 and 1 234,5 with a decimal point."""
    return number.replace(".", "").replace(" ", "").replace(",", ".")


def _ungrouped(match: re.Match[str]) -> str:
    r"""1{,}234 as 1234, 3{,}5 as 3.5, 0{,}045 as 0.045."""
    groups = re.split(r"\{,\}|,\s?\\!\s?", match.group())
    thousands = groups[0] != "0" and all(len(group) == 3 for group in groups[1:])
    return "".join(groups) if thousands else ".".join(groups)


def _based(match: re.Match[str]) -> str:
    """Spell `1011 base two` as 1011_{2}."""
    base = match[1] or match[2]
    return f"_{{{_BASES.get(base, base)}}}"


def _ratio(match: re.Match[str]) -> str:
    """Spell 三分之二 as 2/3 and 百分之五 as 5%."""
    below, above = (part if part[0].isdigit() else chinese(part) for part in match.groups())
    return f"{above}%" if below == "100" else f"{above}/{below}"


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
