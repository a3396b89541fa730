"""What stands beside the numbers of an answer: units of measure, and times of day. Two normalised texts enter.

A unit that only one side writes is no matter of right or wrong: 17 is 17 apples. Where both write a known one, 5 km is
5000 m, and neither 5 m nor 5 km^2.
"""

from __future__ import annotations

import re
from fractions import Fraction

_UNITS = {
    "length": "mm 1/1000 cm 1/100 dm 1/10 m 1 meter 1 metre 1 km 1000 kilometer 1000 kilometre 1000 centimeter 1/100"
    " centimetre 1/100 millimeter 1/1000 in 127/5000 inch 127/5000 ft 381/1250 foot 381/1250 feet 381/1250"
    " yd 1143/1250 yard 1143/1250 mi 201168/125 mile 201168/125",
    "mass": "mg 1/1000 g 1 gram 1 kg 1000 kilogram 1000 lb 45359237/100000 pound 45359237/100000"
    " oz 45359237/1600000 ounce 45359237/1600000",
    "time": "s 1 sec 1 second 1 min 60 minute 60 h 3600 hr 3600 hour 3600 day 86400 week 604800",
    "volume": "ml 1/1000 milliliter 1/1000 l 1 liter 1 litre 1",
}
_SCALES = {
    name: (kind, Fraction(scale))
    for kind, written in _UNITS.items()
    for name, scale in zip(written.split()[::2], written.split()[1::2], strict=True)
}
_NAMES = "|".join(sorted(_SCALES, key=len, reverse=True))
_UNIT = re.compile(
    rf"(?:(?<=[\d\s}}])(square|sq|cubic|cu)\.?\s)?(?<![A-Za-z])({_NAMES})(?:es|s)?(?![A-Za-z])"
    r"\s?(?:\^\s?\{?\s?([23])|([²³])|(squared|cubed))?"
)
_POWERS = {"square": 2, "sq": 2, "cubic": 3, "cu": 3, "²": 2, "³": 3, "squared": 2, "cubed": 3, "2": 2, "3": 3}
_TIME = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?(?:\s?([ap])\.?\s?m\.?)?", re.ASCII | re.IGNORECASE)


def factor(given: str, wanted: str) -> Fraction | None:
    """Return by what a given number must be multiplied to stand in the gold's unit: 1 where not both have a known
    unit; None where the units measure different things."""
    units = [_unit(text) for text in (given, wanted)]
    if units[0] is None or units[1] is None:
        return Fraction(1)
    (kind, power, scale), (wanted_kind, wanted_power, wanted_scale) = units[0], units[1]
    if (kind, power) != (wanted_kind, wanted_power):
        return None
    return (scale / wanted_scale) ** power


def same_time(given: str, wanted: str) -> bool | None:
    """Compare two times of day, 20:34 or 8:34 p.m.; None unless both are times that say whether it is morning."""
    matches = [_TIME.fullmatch(text.strip()) for text in (given, wanted)]
    if matches[0] is None or matches[1] is None:
        return None
    halves = [(match[4] or "").lower() for match in matches if match is not None]
    times = [_seconds(match) for match in matches if match is not None]
    if times[0] == times[1]:
        return True
    return False if all(halves) else None


def _unit(text: str) -> tuple[str, int, Fraction] | None:
    """Return the one unit of a text: what it measures, its power and its size; None for none, two, or a quotient."""
    found = list(_UNIT.finditer(text))
    after = text[found[0].end() :] if found else ""
    if len(found) != 1 or "/" in after or "per" in after.split():
        return None
    kind, scale = _SCALES[found[0][2]]
    word = next((found[0][group] for group in (1, 3, 4, 5) if found[0][group]), "")
    return kind, _POWERS.get(word, 1), scale


def _seconds(match: re.Match[str]) -> int:
    hours, minutes, seconds = int(match[1]), int(match[2]), int(match[3] or 0)
    if match[4]:
        hours = hours % 12 + (12 if match[4].lower() == "p" else 0)
    return (hours * 60 + minutes) * 60 + seconds
