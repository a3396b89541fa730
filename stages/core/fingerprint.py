"""What a thing is, as one hash: canonical JSON -> sha256.

What enters: plain values (a stage's name, VERSION, recipe, and the fingerprints of its inputs). What leaves: hex
digests. Fingerprints are pure functions of payloads, so a plan can know them before anything is built.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_LATER = "later"


def later(default: Any) -> Any:
    """The default of a recipe's key that came after artifacts had been built: `loss_cap: float | None = later(None)`.

    The key is hashed only where its value is another one, so that it moves no fingerprint of what came before. Its
    default must therefore do what was done without it, for ever.
    """
    kind: dict[str, Any] = {"default": default}
    if type(default).__hash__ is None:  # a list or a map: each recipe gets its own
        kind = {"default_factory": lambda: copy.deepcopy(default)}
    return dataclasses.field(**kind, metadata={_LATER: True})


def default_of(field: dataclasses.Field[Any]) -> Any:
    """A field's default value, or dataclasses.MISSING."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def hashed(value: Any) -> Any:
    """`value` as `plain` gives it, without the later keys that have their default, however deep they lie."""
    if isinstance(value, Mapping):
        return {str(key): hashed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [hashed(item) for item in value]
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return plain(value)
    given = {field: getattr(value, field.name) for field in dataclasses.fields(value)}
    return {field.name: hashed(item) for field, item in given.items() if not _unsaid(field, item)}


def completed(payload: Mapping[str, Any], recipe: Any) -> dict[str, Any]:
    """A payload's recipe with the later keys that it leaves out, as the class of `recipe` declares them."""
    found = dict(payload)
    for field in dataclasses.fields(recipe):
        inner = getattr(recipe, field.name)
        if field.name not in found and field.metadata.get(_LATER):
            found[field.name] = plain(default_of(field))
        elif isinstance(found.get(field.name), dict) and dataclasses.is_dataclass(inner):
            found[field.name] = completed(found[field.name], inner)
    return found


def _unsaid(field: dataclasses.Field[Any], value: Any) -> bool:
    """Whether a field came later and holds its default: as text, where 1, 1.0 and true are three things."""
    return bool(field.metadata.get(_LATER)) and canonical(plain(value)) == canonical(plain(default_of(field)))


def plain(value: Any) -> Any:
    """`value` as JSON holds it: dataclasses and maps -> dict, tuples -> list, paths -> text, array scalars -> numbers.

    NaN and the infinities become None. Raises TypeError for anything else, naming its type.
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    for method in ("item", "tolist"):  # numpy and torch, without importing either
        if hasattr(value, method) and (method == "tolist" or getattr(value, "ndim", 1) == 0):
            return plain(getattr(value, method)())
    raise TypeError(f"{type(value).__name__} has no JSON form")


def canonical(value: Any) -> str:
    """The one JSON text of `value`: keys sorted, no spaces, ASCII only; 1, 1.0 and true stay three different things.

    Raises ValueError for NaN, infinity and keys that are not text: two payloads must never share a text by accident.
    """
    _check_keys(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def fingerprint(payload: Mapping[str, Any]) -> str:
    """sha256 of the canonical JSON of `payload`, 64 hex characters."""
    return hashlib.sha256(canonical(payload).encode("ascii")).hexdigest()


def node_payload(
    stage: str, version: int, recipe: Any, inputs: Mapping[str, str], outside: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The payload of a node: `inputs` maps each input's key to the fingerprint of what it holds, `outside` tells what
    the files a recipe names really are (hashes, commits); a stage that reads none has none."""
    payload = {"stage": stage, "version": version, "recipe": hashed(recipe), "inputs": dict(sorted(inputs.items()))}
    return {**payload, "outside": dict(outside)} if outside else payload


def _check_keys(value: Any) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise ValueError(f"the key {key!r} is not text")
            _check_keys(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _check_keys(item)
