r"""What stands beside the numbers of an answer: units, money, directions, the things counted. Two answers enter.

Nothing that both sides write is read over: units must measure the same and are converted, other words must be the same
words. What one side alone writes may be absent: 17 is 17 apples. Several counted things are matched by their words,
and two units in one value (2 h 30 min) become one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from functools import cache, lru_cache
from typing import NamedTuple

from stages.rewards.mathematics import units
from stages.rewards.mathematics.expression_tokens import FUNCTIONS
from stages.rewards.mathematics.lexicon import WORDS
from stages.rewards.mathematics.numbers import IN_TEXT, SCALES, Number, literal, plain, respelled, rules
from stages.rewards.mathematics.numerals import as_digits
from stages.rewards.mathematics.units import SAME, Scale

_WRAPPER = r"\\(?:text|mathrm|mbox|textbf|textit|textrm|textsf|operatorname|unit|si|rm|mathit|mathsf)"
_MATH_DOLLARS = re.compile(r"(?<!\\)\$")
_BARE_DOLLAR = re.compile(r"(?<![\\$A-Z])\$(?=\s?\d)(?![^$]*\$)")
_COUNTRY_DOLLAR = re.compile(r"(?<![$\\A-Za-z])(US|HK|A|C|R)\$(?=\s?\d)")
_LONE_DOLLAR = re.compile(r"(?s)([^$]*\d\s?)\$([^$]*)")
_CHINESE = "|".join(sorted((n for n in WORDS["units"] if "\u3400" <= n[0] <= "\u9fff"), key=len, reverse=True))
_COMMANDS = (
    {f"\\{name}": " " for name in ("left", "right", "displaystyle", "quad", "qquad", *" ,;:!")}
    | {"\\cdot": "*", "\\times": "*", "\\per": "/", "\\Omega": "Ω", "\\ohm": "Ω", "\\AA": "Å", "\\angstrom": "Å"}
    | {"\\euro": "€", "\\texteuro": "€", "\\pounds": "£", "\\textsterling": "£", "\\yen": "¥", "\\%": "%"}
    | {"\\degree": "°"}
)
_SPELLED = str.maketrans(
    {"~": " ", "Ω": "Ω", "Å": "Å", "￥": "¥", **dict.fromkeys("·⋅×", "*"), **dict.fromkeys("º˚", "°")}
)
_DRESS = rules(
    ("^", r"\^\s?\{\s?(-?\d)\s?\}", r"^\1"),
    ("\\", r"\\(?:[A-Za-z]+|[^A-Za-z])", lambda m: _COMMANDS.get(m.group(), m.group())),
    ("\\", rf"{_WRAPPER}\s?\{{([^{{}}]*)\}}", r" \1 "),
    ("\\", r"\\[dt]?frac\s?\{(-?\d+)\}\s?\{(\d+)\}", r" \1/\2 "),
    ("\\", r"\\[dt]?frac\s?\{([^{}\d]+)\}\s?\{([^{}\d]+)\}", r"\1/\2"),
    ("\\μµ", r"\\mu\s*(?=[A-Za-z])|[μµ]\s*(?=[A-Za-z])|\\(?:micro|textmu)\s*", "μ"),
    ("Ω", r"(?<![^\W\d_])([kMGTmnpμ])\s+(?=Ω)", r"\1"),
    ("\\d", r"\s?(?:\{\s?\})?\s?\^\s?\{?\s?\\circ\s?\}?|\\circ(?![A-Za-z])|\bdeg\b", "°"),
    ("drд", r"\b(?:[Dd]egrees?|Grad|degrés?|grados?|gradi|graus?)\b|градус\w*", "°"),
    ("°", r"\s?°\s*(?:C(?![A-Za-z])|[Cc]elsius|[Cc]entigrade|Цельсия)", " ℃ "),
    ("°", r"\s?°\s*(?:F(?![A-Za-z])|[Ff]ahrenheit)", " ℉ "),
    ("°", r"\s?°\s*(?:K(?![A-Za-z])|[Kk]elvin)", " K "),
    ("\\'”“", r"\^\s?\{?\s?\\prime\s?\\prime\s?\}?|''|[”“]", "″"),
    ("\\'’", r"\^\s?\{?\s?\\prime\s?\}?|(?<=\d)\s?['’]", "′"),
    ("p", r"\bpercent(?:age)?\b|\bper cent\b|\bpct\b", "%"),
    ("-", r"(?<!\d)([A-Za-z])-(\d)(?![\d.])", r"\1^-\2"),
    (".", r"\b([ap])\.\s?m\b\.?", r"\1m"),
    ("B", r"\bB\.?\s?C\.?(?:\s?E\.?)?(?![A-Za-z])", "BC"),
    (".", r"\bA\.\s?D\.", "AD"),
    ("$", r"\\\$", "$"),
)
_SIGNS = "$€£¥₹₽₩₿₫₺₴₪฿₱¢%‰°′″℃℉"
_SPEAKS = re.compile(
    rf"[{_SIGNS}'’”“º˚￥\u0080-\u00ff℃℉Å]|(?<![\\A-Za-z])[^\W\d_]|{_WRAPPER}(?![A-Za-z])|\\(?:circ|degree|mu|Omega|ohm|AA|angstrom|euro"
    r"|texteuro|pounds|textsterling|yen|micro|textmu|per|prime|%|\$)"
)
"""What may be a unit or a word, and is no command of a formula."""
_ITEM = re.compile(
    rf"(?P<number>{IN_TEXT.pattern})|(?P<power>\^-?\d)|(?P<word>(?:{_CHINESE})|(?:US|A|C|HK|R)\$"
    rf"|[^\W\d_\u3400-\u9fff]+(?:['’-][^\W\d_]+)*|[\u3400-\u9fff]+?(?={_CHINESE}|[^\u3400-\u9fff]|$))"
    rf"|(?P<sign>[{_SIGNS}*/])|(?P<separator>[,;:，；：、&])|(?P<space>[\s.。()!?{{}}~`…]|\*\*)"
)
_TAIL = re.compile(
    rf"(?:{_WRAPPER}\s?\{{[^{{}}]*\}}(?:\s?\^\s?(?:\{{\s?-?\d\s?\}}|-?\d))?|\\[ ,;:]|\\mu|\\Omega|[\s/*·⋅℃℉]"
    rf"|\\(?:cdot|times|%)|\^\s?\{{?\s?\\circ\s?\}}?(?:\s?[CF](?![A-Za-z]))?"
    r"|(?<![A-Za-z\\])(?:[kcmdMμ]?m|kg|ft|in|units?|inches|feet|met(?:er|re)s?|miles?|yd|sq)(?![A-Za-z])(?:\s?\^\s?\{?[-\d]+\}?)?)+$"
)
_LETTERED = re.compile(rf"({IN_TEXT.pattern})\s?[mlgshLNJWVAKCFTΩ]")
_NAMED = re.compile(r"\s*\\?[A-Za-z]{1,6}(?:_\{?\w{1,3}\}?)?(?:\(\w\))?\s*(?:=|≈|\\approx)")
_CURRENCIES = frozenset(name for name, one in WORDS["units"].items() if one.isupper() or one == "cent_") | frozenset(
    name for name in WORDS["own"] if name.isupper()
)
_FUNCTIONS = (FUNCTIONS | {"pi", "π", "sqrt", "√"}) - {"min", "sec", "max", "floor"}
_FREE = frozenset(WORDS["words"]["free"].split())
_ENDING = re.compile(r"(?:ies|es|s|ed|d|ing|ly|e)$")
_BEARINGS = {"N", "E", "S", "W"}
_SIDED = frozenset(("the", "to", "turn"))  # to the left, where "3 are left" is no side
_ROUNDED = Fraction(1, 10**6)  # of a converted number, as of any other: six significant digits
_JOINING = frozenset(("and", "&", "和", "与", "und", "et", "y", "e", "и", "plus"))


class Piece(NamedTuple):
    """A number of a text with the words before and behind it that belong to it."""

    number: Number
    before: tuple[str, ...]
    after: tuple[str, ...]


@lru_cache(maxsize=16)
def dressed(text: str) -> str:
    """Return an answer with its units in plain spelling: m s⁻¹ as m s^-1, ^\\circ C as ℃, \\mu m as μm."""
    if "$" in text:
        lone = _LONE_DOLLAR.fullmatch(text)
        text = f"{lone[1]}\\${lone[2]}" if lone and not lone[1].endswith("\\") else text
        text = _COUNTRY_DOLLAR.sub(r"\1\\$", text)
        text = _MATH_DOLLARS.sub(" ", _BARE_DOLLAR.sub(r"\\$", text))
    return respelled(text.translate(_SPELLED), _DRESS)


def compare(given: str, wanted: str) -> Scale | bool | None:
    """Compare what stands beside the numbers of two answers: how the given number becomes one in the gold's unit, None
    where the two say different things; True or False where the numbers themselves are settled by it."""
    if not _SPEAKS.search(given) or not _SPEAKS.search(wanted):
        return SAME
    texts = [dressed(as_digits(plain(text))) for text in (given, wanted)]
    if texts[0] == texts[1]:
        return SAME
    theirs, gold = map(pieces, texts)
    if "united" in {one.number.form for one in (*(theirs or ()), *(gold or ()))}:
        return bool(theirs and gold and len(theirs) == len(gold) == 1 and _equal(theirs[0], gold[0]))
    if gold and theirs and len(gold) == len(theirs) > 1 and all(one.after or one.before for one in gold):
        return _matched(theirs, gold)
    one, two = (
        found[0] if found is not None and len(found) == 1 else _tail(text)
        for found, text in zip((theirs, gold), (given, wanted), strict=True)
    )
    if one is None or two is None:
        return SAME
    if (
        two.number.percent
        and not _words(two.after) - {"%"}
        and set(map(_stem, (*one.before, *one.after))) & _lessening()
    ):
        return None  # a decrease of 20% is no 20%
    scale = _beside(one, two)
    measured = theirs and gold and one.after != two.after and scale is not None
    return True if measured and one.number.form == "plain" and _equal(one, two) and _has_units(one, two) else scale


def bare(text: str) -> str:
    """Return a number without the one letter behind it that may be its unit: 5V, 17 m; any other text as it is."""
    match = _LETTERED.fullmatch(text)
    return match[1] if match else text


def pieces(text: str) -> list[Piece] | None:
    """Part a dressed text into its numbers and the words beside each; None where it holds anything else."""
    text = _NAMED.sub(" ", text, count=1)
    found: list[tuple[Number, list[str], list[str]]] = []
    waiting: list[str] = []
    parted, at = True, 0
    while at < len(text):
        match = _ITEM.match(text, at)
        if match is None or len(found) > 20:
            return None
        kind, value, at = match.lastgroup, match.group(), match.end()
        if kind == "number":
            number = literal(value)
            if number is None or (waiting and waiting[-1] in "/*"):
                return None
            found.append((number, waiting, []))
            waiting, parted = [], False
        elif kind == "separator" or (kind == "word" and value in _JOINING):
            parted = True
        elif kind in ("word", "sign", "power"):
            if _formula(value, text[at : at + 1]) or (value in "/*" and text[at : at + 1].isdigit()):
                return None
            (waiting if parted or not found else found[-1][2]).append(value)
    if waiting and found:
        found[-1][2].extend(waiting)
    return _united([_piece(*one) for one in found])


def _formula(word: str, behind: str) -> bool:
    """Say whether a word belongs to a formula: a function, a constant, a name before a bracket."""
    return word in _FUNCTIONS or (word != "/" and behind in "([" and behind != "" and len(word) < 4)


def _piece(number: Number, before: list[str], after: list[str]) -> Piece:
    """Put a currency that stands before its number behind it, and leave out a scale, which is part of the number."""
    money = [word for word in before[-1:] if word in _CURRENCIES]
    after = [
        *(["%"] if number.percent else ()),
        *money,
        *(word for at, word in enumerate(after) if at or word not in SCALES),
    ]
    if before[-1:] in (["of"], ["by"]):  # a loss of 20%, as 20% loss
        before, after = [], [*after, *before[:-1]]
    return Piece(number, tuple(before[: len(before) - len(money)]), tuple(word for word in after if word != "*"))


def _matched(theirs: Sequence[Piece], gold: Sequence[Piece]) -> bool:
    """Compare several counted things: each with its own words, in any order where the words tell them apart."""
    named = [[_words((*one.before, *one.after)) for one in side] for side in (theirs, gold)]
    if not any(named[0]):
        return all(one.number.value == two.number.value for one, two in zip(theirs, gold, strict=True))
    left = list(theirs)
    for one in gold:
        match = next((two for two in left if _equal(two, one)), None)
        if match is None:
            return False
        left.remove(match)
    return True


def _has_units(one: Piece, two: Piece) -> bool:
    return all(units.read(side.after)[0] and side.number.percent == one.number.percent for side in (one, two))


def _equal(one: Piece, two: Piece) -> bool:
    scale = _beside(one, two)
    if scale is None:
        return False
    value, wanted = one.number.value * scale.factor + scale.offset, two.number.value
    return value == wanted or (scale != SAME and abs(value - wanted) < _ROUNDED * abs(wanted))


def _beside(one: Piece, two: Piece) -> Scale | None:
    """Compare the words beside two numbers; None where they say different things."""
    if one.after == two.after and one.before == two.before:
        return SAME
    measured, rest = (
        zip(*(units.read(side.after) for side in (one, two)), strict=True)
        if one.after and two.after
        else (((), ()), (one.after, two.after))
    )
    scale: Scale | None = SAME
    if measured[0] and measured[1]:
        scale = units.convert(*measured)
    elif (measured[0] or measured[1]) and all(map(_words, (one.after, two.after))):
        scale = None  # 5 kg and 5 apples
    bearings = [[word for word in (*side.before, *side.after) if word in _BEARINGS] for side in (one, two)]
    if "°" in one.after and "°" in two.after and all(bearings) and bearings[0] != bearings[1]:
        return None  # N 30° W and S 30° W
    before, after = ([_words(words) for words in sides] for sides in ((one.before, two.before), rest))
    apart = any(
        sides[0] and sides[1] and not (sides[0] <= sides[1] or sides[1] <= sides[0]) for sides in (before, after)
    )
    return None if apart or _opposed(*(a | b for a, b in zip(before, after, strict=True))) else scale


def _words(words: Sequence[str]) -> set[str]:
    """The words that count: no articles, labels and single letters."""
    pairs = zip(("", *words), words, strict=False)
    said = (word for before, word in pairs if (word.lower() not in _FREE or before in _SIDED) and word not in SCALES)
    return {_stem(word) for word in said if len(word) > 1 or not word.isascii() or word in _SIGNS}


@cache
def _stem(word: str) -> str:
    word = word.lower() if word.islower() or word.istitle() or word.isupper() else word
    word = word.replace("-", "").removesuffix("s") if "-" in word or word.endswith("wards") else word
    return _ENDING.sub("", word) if len(word) > 3 and word.isascii() else word


@cache
def _opposites() -> tuple[tuple[frozenset[str], frozenset[str]], ...]:
    lines = [line.split("|") for line in WORDS["words"]["opposites"].splitlines()]
    return tuple((*(frozenset(map(_stem, side.split())) for side in line),) for line in lines)  # type: ignore[misc]


@cache
def _lessening() -> frozenset[str]:
    return frozenset(map(_stem, WORDS["words"]["lessening"].split()))


def _opposed(first: set[str], second: set[str]) -> bool:
    for one, other in _opposites():
        for here, there in ((one, other), (other, one)):
            if first & here and second & there and not first & there:
                return True
    return False


def _tail(text: str) -> Piece | None:
    """The unit that a formula ends with, as beside a number: 15\\pi\\text{ cm}^2."""
    match = _TAIL.search(plain(text).strip().strip("$. "))
    found = pieces("1 " + dressed(match.group())) if match and match.group().strip() else None
    return found[0] if found and len(found) == 1 and (found[0].after or found[0].before) else None


@cache
def _families() -> tuple[dict[str, int], ...]:
    """Units that one value may be written with, each family's names with their sizes."""
    families = WORDS["mixed"].values()
    return tuple({name: size for names, size in family.items() for name in names.split("|")} for family in families)


def _united(found: list[Piece]) -> list[Piece]:
    """Return numbers in which two units of one value are one: 2 hours 30 minutes as 5/2 hours."""
    united: list[Piece] = []
    last = 0  # the size of the unit that may go on
    for piece in found:
        before = united[-1] if united else piece
        unit = piece.after[0] if len(piece.after) == 1 else ""
        for sizes in _families() if last and unit and not piece.before else ():
            size, first = sizes.get(unit, 0), sizes.get(before.after[0], 0)
            if 0 < size < last and first and piece.number.value * size < last:
                value = before.number.value + piece.number.value * size / first
                united[-1] = before._replace(number=before.number._replace(value=value, form="united"))
                last = size
                break
        else:
            united.append(piece)
            last = max((sizes.get(unit, 0) for sizes in _families()), default=0) if unit else 0
    return united
