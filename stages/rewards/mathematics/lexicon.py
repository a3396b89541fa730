"""The words of `lexicon.toml`: units and what pint calls them, numerals,
words that mean the same or the opposite, and what denies, bounds or doubts a number."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

WORDS: dict[str, Any] = tomllib.loads(Path(__file__).with_name("lexicon.toml").read_text(encoding="utf-8"))
WORDS["units"] = {name: unit for unit, names in WORDS["units"].items() for name in names.split("|")}
WORDS["own"] |= {name: f"{name.lower()} 1" for name in WORDS["own"].pop("currencies").split()}


def _said(names: str, signs: str, more: str) -> re.Pattern[str]:
    words = "|".join(WORDS["prose"][names])
    return re.compile(rf"(?<![^\W\d_])(?:{words})(?![^\W\d_])|{WORDS['prose'][signs]}|{more}", re.IGNORECASE)


HEDGES = _said("hedges", "hedging_signs", r"n['’]t\b|≠|!=|\\neq?\b")
"""What denies or bounds the number that it stands beside."""
EITHER = _said("either", "either_signs", r"(?<=\d)\s+(?:o|u|e|of|au)\s+(?=\d)")
