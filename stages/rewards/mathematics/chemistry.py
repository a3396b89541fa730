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
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_SPECIES = re.compile(r"(\d*)((?:\^\d+_?\d*|_\d+\^\d+)?(?:[A-Z][a-z]?(?:_?\d+)?|[()\[\]](?:_?\d+)?)+)(\^\d*[+-])?")
_CERTAIN = re.compile(r"[A-Z][a-z]|[A-Z)]_?(?:[2-9]|\d\d)|\^\d*[+-]$|^\^\d+")


def same(given: str, wanted: str) -> bool | None:
    """Compare an answer with a gold that is a chemical formula or a reaction; None where it is none."""
    if len(wanted) > 200 or not any(letter.isupper() for letter in wanted):
        return None
    gold, theirs = _sides(wanted), _sides(given)
    return None if gold is None else gold == theirs


def _sides(text: str) -> list[list[str]] | None:
    plain = _WRAPPER.sub("", _ARROW.sub(">", text.translate(_SUBSCRIPTS)))
    sides = [re.split(r"(?<!\^)(?<!\^\d)\+", side) for side in plain.split(">")]
    found = [[_species(one) for one in side] for side in sides]
    if len(sides) > 2 or any("" in side for side in found):
        return None
    if len(sides) == 1 and not any(_CERTAIN.search(one) for one in found[0]):
        return None
    return [sorted(side) for side in found]


def _species(text: str) -> str:
    """Return one species in plain spelling, "" for what is none."""
    match = _SPECIES.fullmatch(text)
    if match is None or not set(re.findall(r"[A-Z][a-z]?", match[2])) <= _ELEMENTS:
        return ""
    body = match[2] if match[2][0] in "^_" else match[2].replace("_", "")
    return f"{match[1]}{body}{match[3] or ''}"
