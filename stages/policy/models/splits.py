"""How a byte-level BPE splits a text before its merges, and the names that llama.cpp's files give to these ways.

A name enters and the tokenizers' parts leave, or a tokenizer and its name. Other names there are many; what is not
listed here is left to transformers, which reads none of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers

_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
WAYS: Mapping[str, tuple[tuple[str, Any], ...]] = {
    "qwen2": (("Split", _WORDS % ""), ("ByteLevel", False)),
    "llama-bpe": (("Split", _WORDS % "{1,3}"), ("ByteLevel", False)),
    "smollm": (("Digits", True), ("ByteLevel", True)),
    "gpt-2": (("ByteLevel", True),),
}
"""llama.cpp's name -> its steps: a kind, and what it is told."""
SAME = {"deepseek-r1-qwen": "qwen2", "llama3": "llama-bpe", "llama-v3": "llama-bpe"}
"""Other names for these."""
_BUILT = {
    "Split": lambda regex: pre_tokenizers.Split(Regex(regex), "isolated"),
    "Digits": lambda alone: pre_tokenizers.Digits(individual_digits=alone),
    "ByteLevel": lambda regex: pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=regex),
}


def name_of(backend: Tokenizer) -> str | None:
    """llama.cpp's name for the way a tokenizer splits; None where it has none, or is no BPE."""
    parts = json.loads(backend.to_str())
    if parts["model"]["type"] != "BPE" or not parts["pre_tokenizer"]:
        return None
    given = parts["pre_tokenizer"].get("pretokenizers") or [parts["pre_tokenizer"]]
    steps = tuple(_step(step) for step in given)
    return next((name for name, way in WAYS.items() if way == steps), None)


def split_as(backend: Tokenizer, name: str) -> bool:
    """Let a tokenizer split as a file's name for it says, in place; returns whether that name is known."""
    way = WAYS.get(SAME.get(name, name))
    if way is None:
        return False
    if name_of(backend) != SAME.get(name, name):
        built = [_BUILT[kind](told) for kind, told in way]
        backend.pre_tokenizer = built[0] if len(built) == 1 else pre_tokenizers.Sequence(built)
        if way == WAYS["qwen2"]:
            backend.normalizer = normalizers.NFC()
    return True


def _step(step: Mapping[str, Any]) -> tuple[str, Any]:
    kind = str(step["type"])
    told = {
        "Split": step.get("pattern", {}).get("Regex") if step.get("behavior") == "Isolated" else None,
        "Digits": step.get("individual_digits"),
        "ByteLevel": None if step.get("add_prefix_space") else step.get("use_regex"),
    }
    return kind, told.get(kind)
