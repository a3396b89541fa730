"""What `world:NAME` means as an input: bundled bases, prompts, conversations and the shipped slice of GSM8K.

A source text enters; its identity (cheap, no torch) or its files in a folder leave. `world:heldout?count=600&seed=3`
changes how many prompts are drawn, and which.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from stages.core.errors import MissingError, RecipeError
from stages.core.rows import Conversation, Prompt, read_rows, write_rows
from stages.world import general, problems, stories

VERSION = 3
"""Raised when the same source text gives other rows."""

HOME = Path(__file__).parent
BASES = {
    name: f"bases/{name}"
    for name in ("base", "base-flat", "base-unmixed", "base-unrepaired", "qwen-nano", "llama-nano")
}
GSM8K = HOME / "data" / "gsm8k_500.jsonl"
SEEDS = HOME / "data" / "seeds.jsonl"
COLD_START = HOME / "data" / "cold_start.jsonl"


def _gsm8k(split: str, count: int, seed: int) -> list[Prompt]:
    return [row for row in read_rows(GSM8K) if row.split == split][:count]


_COUNTS = {"train": 12_000, "validation": 96, "heldout": 300, "harder": 300}
PROMPTS: dict[str, tuple[Callable[[int, int], list[Prompt]], int]] = {
    **{split: (partial(problems.prompts, split), _COUNTS[split]) for split in problems.SPLITS},
    **{f"stories-{split}": (partial(stories.prompts, split), 200) for split in ("train", "validation", "heldout")},
    **{f"gsm8k-{split}": (partial(_gsm8k, split), rows) for split, rows in (("train", 407), ("heldout", 93))},
    **{
        f"{name}-{split}": (partial(general.prompts, families, split), rows)
        for name, families in (("general", general.HELPFUL), ("safety", general.SAFETY))
        for split, rows in (("train", 600), ("heldout", 150))
    },
}
"""Name -> (rows of (count, seed), default count)."""


def _shipped(path: Path, count: int, seed: int) -> list[Conversation]:
    return read_rows(path, Conversation)[:count]


CONVERSATIONS: dict[str, tuple[Callable[[int, int], list[Conversation]], int]] = {
    "seeds": (partial(_shipped, SEEDS), 1_000_000),
    "cold-start": (partial(_shipped, COLD_START), 1_000_000),
    "general-data": (general.conversations, 2000),
}
"""The same for conversations: hand-written seeds, the default of a cold start, good answers to general prompts."""
_FILES = {"seeds": SEEDS, "cold-start": COLD_START, "gsm8k-train": GSM8K, "gsm8k-heldout": GSM8K}
"""Sources that are shipped as files: their bytes are part of their identity."""


def names() -> list[str]:
    """Every source text, models first."""
    return [f"world:{name}" for name in (*BASES, *PROMPTS, *CONVERSATIONS)]


def folder(text: str) -> Path | None:
    """The folder of a bundled base, None for anything else."""
    name = text.removeprefix("world:").partition("?")[0]
    return HOME / BASES[name] if name in BASES else None


def rows(text: str) -> int | None:
    """How many rows a source gives at its own size, or at most, None where it gives none."""
    name, count, _ = _parse(text)
    if name in _FILES:
        shipped = len(_FILES[name].read_bytes().split(b"\n")) - 1
        return min(shipped, count) if count else shipped
    return count if name in PROMPTS or name in CONVERSATIONS else None


def key(text: str) -> dict[str, Any]:
    """The identity of a source: what its artifact's fingerprint is made of. Raises MissingError for an unknown name."""
    name, count, seed = _parse(text)
    if name in BASES:
        return {"source": f"world:{name}", "sha256": _sha256(HOME / BASES[name] / "model.safetensors")}
    identity: dict[str, Any] = {"source": f"world:{name}", "version": VERSION, "count": count, "seed": seed}
    return identity | ({"sha256": _sha256(_FILES[name])} if name in _FILES else {})


def refuse(text: str, kind: str) -> None:
    """Raise RecipeError for a source that makes another kind of thing than is wanted, MissingError for an unknown
    name."""
    name, _, _ = _parse(text)
    found = next(each for each in _KINDS if name in _KINDS[each])
    if kind != found:
        what = f"`{text}` is a source of {_PLURAL[found]}, and {_PLURAL.get(kind, kind)} are wanted"
        known = ", ".join(f"world:{one}" for one in _KINDS.get(kind, {})) or "an artifact's name or a path"
        raise RecipeError(what, hint=f"use one of: {known}")


def fetch(text: str, kind: str, folder: Path) -> dict[str, Any]:
    """Write the source's files into `folder` (a model's, prompts.jsonl, conversations.jsonl) and return its figures."""
    refuse(text, kind)
    name, count, seed = _parse(text)
    if kind == "model":
        from stages.policy.models.importing import import_model

        return import_model(str(HOME / BASES[name]), folder)
    rows: list[Any] = _KINDS[kind][name][0](count, seed)
    write_rows(folder / f"{kind}.jsonl", rows)
    return {"rows": len(rows), "families": dict(Counter(row.family for row in rows))}


def _parse(text: str) -> tuple[str, int, int]:
    name, _, query = text.removeprefix("world:").partition("?")
    if f"world:{name}" not in names():
        raise MissingError(f"no source `{text}`", hint=f"use one of: {', '.join(names())}")
    given = dict(parse_qsl(query, keep_blank_values=True))
    wrong = [option for option, value in given.items() if option not in ("count", "seed") or not value.isdigit()]
    if wrong or (given and name in BASES):
        raise RecipeError(f"`{text}` cannot be read", hint=f"write world:{name}?count=600&seed=1 (not for models)")
    default = 0 if name in BASES else (PROMPTS | CONVERSATIONS)[name][1]  # type: ignore[operator]
    return name, int(given.get("count", default)), int(given.get("seed", 0))


_KINDS: dict[str, dict[str, Any]] = {"model": dict(BASES), "prompts": PROMPTS, "conversations": CONVERSATIONS}
_PLURAL = {"model": "models", "prompts": "prompts", "conversations": "conversations"}


def _sha256(path: Path) -> str:
    if not path.is_file():
        raise MissingError(f"`{path}` is not there", hint="install r1 again, or build it: `r1 world build --help`")
    return hashlib.sha256(path.read_bytes()).hexdigest()
