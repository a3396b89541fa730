"""What stands beside the numbers of an answer: units of measure, money, and times of day. Two answers enter.

A unit that only one side writes is no matter of right or wrong: 17 is 17 apples. Where both write known ones, 5 km is
5000 m and 60 km/h is 1 km a minute, and neither is 5 m, 5 km^2 or 5 €.
"""

from __future__ import annotations

import re
from collections import Counter
from fractions import Fraction

_TABLE = """
length^1: mm 1/1000 millimeter 1/1000 millimetre 1/1000 毫米 1/1000
length^1: cm 1/100 centimeter 1/100 centimetre 1/100 厘米 1/100
length^1: dm 1/10 分米 1/10 m 1 meter 1 metre 1 米 1 km 1000 kilometer 1000 kilometre 1000 千米 1000 公里 1000
length^1: in 127/5000 inch 127/5000 ft 381/1250 foot 381/1250 feet 381/1250 yd 1143/1250 yard 1143/1250
length^1: mi 201168/125 mile 201168/125
length^2: acre 316160658/78125 hectare 10000 公顷 10000
length^3: ml 1/1000000 milliliter 1/1000000 millilitre 1/1000000 毫升 1/1000000
length^3: l 1/1000 liter 1/1000 litre 1/1000 升 1/1000
mass^1: mg 1/1000 milligram 1/1000 g 1 gram 1 克 1 kg 1000 kilogram 1000 千克 1000 公斤 1000 ton 1000000 tonne 1000000
mass^1: 吨 1000000 lb 45359237/100000 pound 45359237/100000 oz 45359237/1600000 ounce 45359237/1600000
time^1: ms 1/1000 millisecond 1/1000 s 1 sec 1 second 1 秒 1 min 60 minute 60 分钟 60 h 3600 hr 3600 hour 3600 小时 3600
time^1: 时 3600 day 86400 天 86400 week 604800 周 604800
length^1 time^-1: mph 1397/3125 kph 5/18
time^-1: Hz 1 hertz 1 kHz 1000
usd^1: dollar 1 USD 1 usd 1 \\$ 1 cent 1/100 ¢ 1/100
eur^1: euro 1 EUR 1 € 1
gbp^1: GBP 1 £ 1
cny^1: yuan 1 RMB 1 CNY 1 ¥ 1 ￥ 1 元 1 角 1/10
degree^1: degree 1 deg 1 ° 1
radian^1: radian 1 rad 1 弧度 1
kelvin^1: kelvin 1 K 1
celsius^1: celsius 1 ℃ 1
fahrenheit^1: fahrenheit 1 ℉ 1
mole^1: mol 1 mole 1 mmol 1/1000
length^3: L 1/1000 mL 1/1000000
mass^1 length^1 time^-2: N 1000 newton 1000 kN 1000000
mass^1 length^2 time^-2: J 1000 joule 1000 kJ 1000000 kilojoule 1000000
mass^1 length^2 time^-3: W 1000 watt 1000 kW 1000000 kilowatt 1000000
mass^1 length^2 time^-3 current^-1: V 1000 volt 1000 kV 1000000 mV 1
current^1: A 1 ampere 1 amp 1 mA 1/1000
mass^1 length^2 time^-3 current^-2: ohm 1000 Ω 1000 \\Omega 1000 Omega 1000
mass^1 length^-1 time^-2: Pa 1000 pascal 1000 kPa 1000000
"""
Unit = tuple[frozenset[tuple[str, int]], Fraction]
"""The dimensions with their powers, and the size in the unit they are counted in."""


def _read_table() -> dict[str, tuple[Counter[str], Fraction]]:
    table: dict[str, tuple[Counter[str], Fraction]] = {}
    for line in _TABLE.strip().splitlines():
        kinds, _, written = line.partition(": ")
        powers = Counter({kind.partition("^")[0]: int(kind.partition("^")[2]) for kind in kinds.split()})
        pieces = written.split()
        table |= {name: (powers, Fraction(size)) for name, size in zip(pieces[::2], pieces[1::2], strict=True)}
    return table


_UNITS = _read_table()
_NAMES = "|".join(re.escape(name) for name in sorted(_UNITS, key=len, reverse=True)).replace(
    "|in|", r"|in(?!\s+[a-z])|"
)
_UNIT = re.compile(
    rf"(?:(?<![A-Za-z])(square|sq|cubic|cu)\.?\s|(平方|立方))?(?<![A-Za-z])({_NAMES})(?:(?<=[a-z])(?:es|s))?(?![A-Za-z])\.?"
    r"\s?(?:\^\s?\{?\s?(-?\d)\s?\}?|([²³])|(squared|cubed))?"
)
_POWERS = {"square": 2, "sq": 2, "cubic": 3, "cu": 3, "平方": 2, "立方": 3, "²": 2, "³": 3, "squared": 2, "cubed": 3}
_SIGNS = ("\\$", "€", "£", "¥", "￥")
_AFTER_WORD = re.compile(r"(?:^|[^A-Za-z\\])[A-Za-z]{2,}[\s,:]*$")
_QUOTIENT = re.compile(r"\s*(?:/|\bper\b|\ban?\b|\bevery\b|每)\s*")
_PRODUCT = re.compile(r"(?:[\s*·.-]|\\cdot|\\times)*")
_BARE_DOLLAR = re.compile(r"(?<![\\$])\$(?=\s?\d)(?![^$]*\$)")
_MATH_DOLLARS = re.compile(r"(?<!\\)\$")
_TEXT = re.compile(r"\\(?:text|mathrm|mbox|textbf|operatorname)\s?\{([^{}]*)\}")
_DRESS = re.compile(r"\\(?:text|mathrm|mbox|textbf|operatorname|left|right|[,;:! ])|[{}]")
_WORD_SIGNS = re.compile(r"\^\s?\{?\s?\\circ\s?\}?|\\degree(?![A-Za-z])")
_UNIT_TAIL = re.compile(r"[\s/*·.-]*(?:per|an?)?[\s/*·.-]*")
_FRACTION = re.compile(r"\\[dt]?frac\s?\{([^{}\d]+)\}\s?\{([^{}\d]+)\}")
_DEGREES = frozenset({("degree", 1)})
_PRIME = re.compile(r"\d\s?(?:['′]|\^\s?\{?\s?\\prime)")
_TIME = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?(?:\s?([ap])\.?\s?m\.?)?", re.ASCII | re.IGNORECASE)


def factor(given: str, wanted: str) -> Fraction | None:
    """Return by what a given number must be multiplied to stand in the gold's unit: 1 where not both have a known
    unit; None where the units measure different things. Both are answers as they were written."""
    gold = _unit(wanted)
    if gold is not None and gold[0] == _DEGREES and _PRIME.search(given):
        return None  # 45' are minutes
    theirs = _unit(given) if gold is not None else None
    if gold is None or theirs is None:
        return Fraction(1)
    return theirs[1] / gold[1] if theirs[0] == gold[0] else None


def bare(text: str) -> str:
    """Return a text without the known unit that it ends with; the text itself where it ends with none."""
    found = [match for match in _UNIT.finditer(text) if _stands(match[3], text[: match.start()].rstrip())]
    if not found or _unit(text) is None or not _UNIT_TAIL.fullmatch(_UNIT.sub("", text[found[0].start() :])):
        return text
    return text[: found[0].start()].strip()


def is_time(text: str) -> bool:
    """Say whether a text is a time of day and nothing else."""
    return _TIME.fullmatch(text.strip()) is not None


def same_time(given: str, wanted: str) -> bool | None:
    """Compare two times of day, 20:34 or 8:34 p.m.; None unless both are times that say whether it is morning."""
    times_given = list(_TIME.finditer(given))
    matches = [times_given[0] if len(times_given) == 1 else None, _TIME.fullmatch(wanted.strip())]
    if matches[0] is None or matches[1] is None:
        return None
    halves = [(match[4] or "").lower() for match in matches if match is not None]
    times = [_seconds(match) for match in matches if match is not None]
    if times[0] == times[1]:
        return True
    return False if all(halves) else None


def _unit(text: str) -> Unit | None:
    """Return the one unit of a text, a product or quotient of known ones; None for none and for two quantities."""
    text = _MATH_DOLLARS.sub(" ", _WORD_SIGNS.sub("°", _BARE_DOLLAR.sub(r"\\$", text)))
    text = _DRESS.sub(" ", _FRACTION.sub(r" \1/\2", _TEXT.sub(r" \1", text)))
    powers: Counter[str] = Counter()
    size, sign, end = Fraction(1), 1, -1
    for match in _UNIT.finditer(text):
        name, before = match[3], text[: match.start()].rstrip()
        quotient = _QUOTIENT.fullmatch(text[end : match.start()]) if end >= 0 else None
        follows = end >= 0 and (quotient or _PRODUCT.fullmatch(text[end : match.start()]))
        if not follows and not _stands(name, before):
            continue
        if end >= 0 and not follows:
            return None
        sign = -1 if quotient else sign
        kinds, one = _UNITS[name]
        word = next((match[group] for group in (1, 2, 5, 6) if match[group]), "")
        power = sign * (_POWERS.get(word) or int(match[4] or 1))
        for kind, dimension in kinds.items():
            powers[kind] += power * dimension
        size *= one**power
        end = match.end()
    return (frozenset((kind, power) for kind, power in powers.items() if power), size) if end >= 0 else None


def _stands(name: str, before: str) -> bool:
    """Say whether a unit's name stands where a unit can: "in" and "second" are more often words, "m" a variable."""
    if name in _SIGNS:
        return True
    if len(name) == 1 and name.isalnum():
        return before[-1:].isdigit() or before[-1:] in ("}", ")")
    return bool(before) and not _AFTER_WORD.search(before)


def _seconds(match: re.Match[str]) -> int:
    hours, minutes, seconds = int(match[1]), int(match[2]), int(match[3] or 0)
    if match[4]:
        hours = hours % 12 + (12 if match[4].lower() == "p" else 0)
    return (hours * 60 + minutes) * 60 + seconds
