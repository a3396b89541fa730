"""JSON in what a model says: a reply enters, the object it ends in leaves, or None.

A reply is hostile text: prose around the object, code fences, a megabyte of braces, nesting without end. Everything
here is bounded and raises nothing.
"""

from __future__ import annotations

import json
from typing import Any

MAX_CHARACTERS = 20_000
"""Characters at a reply's end that are read."""
MAX_TRIES = 200
"""Braces at which an object is tried to begin."""

_DECODER = json.JSONDecoder(parse_constant=lambda name: None)  # NaN and Infinity are no JSON


def json_object(reply: str, key: str) -> dict[str, Any] | None:
    """Return the last JSON object of a reply that has `key`, not looking inside objects; None where there is none."""
    text = reply[-MAX_CHARACTERS:]
    found: dict[str, Any] | None = None
    start = text.find("{")
    for _ in range(MAX_TRIES):
        if start < 0:
            break
        try:
            value, end = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError):
            end = start + 1
        else:
            found = value if key in value else found
        start = text.find("{", end)
    return found
