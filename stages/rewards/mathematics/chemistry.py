r"""Chemical formulas and reactions: two texts enter, the same or not leaves, None where the gold is no chemistry.

H2O, H₂O, \ce{H2O} and \text{H}_2\text{O} are one formula. Case and order count (Co is not CO, HO
not OH); the terms of a side of a reaction may stand in any order, its direction counts.
"""

from __future__ import annotations

import re

from stages.rewards.mathematics.lexicon import WORDS

_ELEMENTS = frozenset(WORDS["chemistry"]["elements"].split())
_WRAPPER = re.compile(
    r"\\(?:ce|mathrm|text|textrm|mathsf|mathbf|rm|operatorname|,|;|!|left|right)(?![A-Za-z])|[\s${}~]|\((?:aq|s|l|g)\)"
)
_ARROW = re.compile(
    r"\\(?:to|rightarrow|longrightarrow|Rightarrow|rightleftharpoons|leftrightarrow)(?![A-Za-z])|->|[→⟶⇌]"
)
_CHARGED = re.compile(r"(?<=[A-Za-z\d)\]])([+-])(?=[\s})]|$)")
"""A charge in \\ce{NH4+}; a plus between species has blanks around it."""
_TURNED = re.compile(r"\^([+-])(\d+)")
_NUCLIDE = re.compile(
    r"(?:_(?P<left>\d{1,3}))?\^(?P<mass>\d{1,3})(?:_(?P<right>\d{1,3}))?(?P<symbol>[A-Z][a-z]?)|(?P<name>[A-Za-z]{1,13})-(?P<number>\d{1,3})"
)
_ORDER = {symbol: place for place, symbol in enumerate(WORDS["chemistry"]["elements"].split(), 1)}
_NAMES = dict(zip(WORDS["chemistry"]["names"].split(), _ORDER, strict=True))
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_SPECIES = re.compile(r"(\d*)((?:\^\d+_?\d*|_\d+\^\d+)?(?:[A-Z][a-z]?(?:_?\d+)?|[()\[\]](?:_?\d+)?)+)(\^\d*[+-])?")
_CERTAIN = re.compile(r"[A-Z][a-z]|[A-Z)]_?(?:[2-9]|\d\d)|\^\d*[+-]$|^\^\d+")


def same(given: str, wanted: str) -> bool | None:
    """Compare an answer with a gold that is a chemical formula or a reaction; None where it is none."""
    if len(wanted) > 200:
        return None
    isotopes = [_isotope(text) for text in (wanted, given)]
    if isotopes[0] and isotopes[1]:
        return isotopes[0] == isotopes[1]
    if not any(letter.isupper() for letter in wanted):
        return None
    gold, theirs = _sides(wanted), _sides(given, certain=True)
    return None if gold is None else gold == theirs


def _isotope(text: str) -> str:
    """Return carbon-14, C-14, ^{14}C and ^{14}_{6}C as C-14, "" for what is no isotope of an element."""
    match = _NUCLIDE.fullmatch(_WRAPPER.sub("", text.translate(_SUBSCRIPTS)))
    if match is None:
        return ""
    mass, number = int(match["mass"] or match["number"]), match["left"] or match["right"]
    symbol = match["symbol"] or match["name"]
    symbol = _NAMES.get(symbol.lower(), symbol)
    if symbol not in _ORDER or not _ORDER[symbol] <= mass <= 3 * _ORDER[symbol]:
        return ""
    return f"{symbol}-{mass}" if number is None or int(number) == _ORDER[symbol] else ""


def _sides(text: str, *, certain: bool = False) -> list[list[str]] | None:
    """Return the species of each side of a reaction, None for what is none; `certain` where CO need be no product."""
    if "\\ce" in text:
        text, certain = _CHARGED.sub(r"^\1", text), True
    plain = _WRAPPER.sub("", _ARROW.sub(">", text.translate(_SUBSCRIPTS)))
    plain = _TURNED.sub(r"^\2\1", plain) if certain else plain
    sides = [re.split(r"(?<!\^)(?<!\^\d)\+", side) for side in plain.split(">")]
    found = [[_species(one) for one in side] for side in sides]
    if len(sides) > 2 or any("" in side for side in found):
        return None
    if len(sides) == 1 and not certain and not any(_CERTAIN.search(one) for one in found[0]):
        return None
    return [sorted(side) for side in found]


def _species(text: str) -> str:
    """Return one species in plain spelling, "" for what is none."""
    match = _SPECIES.fullmatch(text)
    if match is None or not set(re.findall(r"[A-Z][a-z]?", match[2])) <= _ELEMENTS:
        return ""
    body = match[2] if match[2][0] in "^_" else match[2].replace("_", "")
    return f"{match[1]}{body}{match[3] or ''}"
