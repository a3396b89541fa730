"""The words of `lexicon.toml`: units and what pint calls them, words that mean the same or the opposite, numerals."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

WORDS: dict[str, Any] = tomllib.loads(Path(__file__).with_name("lexicon.toml").read_text(encoding="utf-8"))
WORDS["units"] = {name: unit for unit, names in WORDS["units"].items() for name in names.split("|")}
WORDS["own"] |= {name: f"{name.lower()} 1" for name in WORDS["own"].pop("currencies").split()}
