"""What `world:NAME` means as an input: bundled bases, generated prompts and the shipped slice of GSM8K.

A source text enters; its identity (cheap, no torch) or its files in a folder leave. `world:heldout?count=600&seed=3`
changes how many prompts are drawn, and which.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from stages.core.errors import MissingError, RecipeError
from stages.core.rows import Prompt, read_rows, write_rows
from stages.world import problems, stories

VERSION = 2
"""Raised when the same source text gives other prompts."""

HOME = Path(__file__).parent
BASES = {"base": "bases/base", "base-flat": "bases/base-flat"}
GSM8K = HOME / "data" / "gsm8k_500.jsonl"


def _gsm8k(split: str, count: int, seed: int) -> list[Prompt]:
    return [row for row in read_rows(GSM8K) if row.split == split][:count]


_COUNTS = {"train": 12_000, "validation": 96, "heldout": 300, "harder": 300}
PROMPTS: dict[str, tuple[Callable[[int, int], list[Prompt]], int]] = {
    **{split: (partial(problems.prompts, split), _COUNTS[split]) for split in problems.SPLITS},
    **{f"stories-{split}": (partial(stories.prompts, split), 200) for split in ("train", "validation", "heldout")},
    **{f"gsm8k-{split}": (partial(_gsm8k, split), rows) for split, rows in (("train", 407), ("heldout", 93))},
}
"""Name -> (rows of (count, seed), default count)."""


def names() -> list[str]:
    """Every source text, models first."""
    return [f"world:{name}" for name in (*BASES, *PROMPTS)]


def key(text: str) -> dict[str, Any]:
    """The identity of a source: what its artifact's fingerprint is made of. Raises MissingError for an unknown name."""
    name, count, seed = _parse(text)
    if name in BASES:
        return {"source": f"world:{name}", "sha256": _sha256(HOME / BASES[name] / "model.safetensors")}
    identity: dict[str, Any] = {"source": f"world:{name}", "version": VERSION, "count": count, "seed": seed}
    return identity | ({"sha256": _sha256(GSM8K)} if name.startswith("gsm8k") else {})


def fetch(text: str, kind: str, folder: Path) -> dict[str, Any]:
    """Write the source's files into `folder` (a model's, or prompts.jsonl) and return its figures."""
    name, count, seed = _parse(text)
    found = "model" if name in BASES else "prompts"
    if kind != found:
        what = f"`{text}` is a source of {found}, and a {kind} is wanted"
        raise RecipeError(what, hint=f"use one of: {_known(kind)}")
    if name in BASES:
        from stages.policy.importing import import_model

        return import_model(str(HOME / BASES[name]), folder)
    rows = PROMPTS[name][0](count, seed)
    write_rows(folder / "prompts.jsonl", rows)
    families: dict[str, int] = {}
    for row in rows:
        families[row.family] = families.get(row.family, 0) + 1
    return {"rows": len(rows), "families": families}


def _parse(text: str) -> tuple[str, int, int]:
    name, _, query = text.removeprefix("world:").partition("?")
    if name not in BASES and name not in PROMPTS:
        raise MissingError(f"no source `{text}`", hint=f"use one of: {', '.join(names())}")
    given = dict(parse_qsl(query, keep_blank_values=True))
    wrong = [option for option, value in given.items() if option not in ("count", "seed") or not value.isdigit()]
    if wrong or (given and name in BASES):
        raise RecipeError(f"`{text}` cannot be read", hint=f"write world:{name}?count=600&seed=1 (prompts only)")
    default = PROMPTS[name][1] if name in PROMPTS else 0
    return name, int(given.get("count", default)), int(given.get("seed", 0))


def _known(kind: str) -> str:
    return ", ".join(f"world:{name}" for name in (BASES if kind == "model" else PROMPTS))


def _sha256(path: Path) -> str:
    if not path.is_file():
        raise MissingError(f"`{path}` is not there", hint="install r1 again, or build it: `r1 world build --help`")
    return hashlib.sha256(path.read_bytes()).hexdigest()
