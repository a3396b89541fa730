"""One value of an outside table becomes one of ours: text where a row wants text, JSON where it keeps facts.

A value enters as JSON or Arrow gave it: a text, a number of any kind, a boolean, a date, bytes, a list, an object, a
map. `as_text` writes it as a person would write the answer, exactly: a whole float is a whole number, a decimal keeps
all its digits, a boolean is yes or no. `as_json` keeps it whole. What cannot be either raises `Unusable`, which says
why its row is left out. The table of all of them is in docs/data.md.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

_LARGEST = 400
"""Zeros that are written out; a number with more is written with a power of ten."""
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f]")
_TIMES = (date, time, timedelta)  # a datetime is a date


class Unusable(ValueError):
    """Why one row cannot be used: `reason` is counted, `detail` told beside it."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


class Unreadable:
    """Stands where a value of a table could not be read at all; the row that needs it is left out."""

    def __init__(self, why: str) -> None:
        self.why = why


def as_text(value: Any) -> str | None:
    """Return a value as text, None where there is none (null, NaN); raises Unusable for what no text is."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float | Decimal):
        return _number(value)
    if isinstance(value, _TIMES):
        return _moment(value)
    if isinstance(value, bytes):
        return _decoded(value)
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, list) and len(value) == 1:
        return as_text(value[0])
    if isinstance(value, Unreadable):
        raise Unusable("a value cannot be read", value.why)
    raise Unusable("not a text", f"{kind_of(value)}: {shown(value)}")


def as_json(value: Any) -> Any:
    """Return a value as JSON keeps it: exact, NaN as null, dates as ISO 8601, bytes as text or base64, maps as
    objects."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else (None if math.isnan(value) else str(value))
    if isinstance(value, Decimal):
        return _json_number(value)
    if isinstance(value, dict):
        return {key if isinstance(key, str) else str(as_text(key)): as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        if value and all(isinstance(item, tuple) and len(item) == 2 for item in value):  # how Arrow gives a map
            return as_json(dict(value))
        return [as_json(item) for item in value]
    if isinstance(value, bytes):
        try:
            return _decoded(value)
        except Unusable:
            return base64.b64encode(value).decode()
    if isinstance(value, Unreadable):
        return None
    return _moment(value) if isinstance(value, _TIMES) else str(value)


def as_object(value: Any) -> dict[str, Any]:
    """Return a value as the facts of a row: an object or a map as it is, a text that holds one read, any other value
    under `value`, nothing as {}."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        value = parsed(value)
    value = as_json(value)
    if isinstance(value, dict):
        return value
    return {} if value in (None, "", []) else {"value": value}


HOLDERS = (dict, list)


class Doubled(dict[str, Any]):
    """An object in which a name stands twice: which of its values is meant cannot be told."""

    names: Sequence[str] = ()
    """Those names."""


def as_object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the pairs of a JSON object as one, for `object_pairs_hook`; `doubled` finds a name that stands twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        found = Doubled(found)
        found.names = twice([name for name, _ in pairs])
    return found


decoded_json = json.JSONDecoder(object_pairs_hook=as_object_of).decode
"""JSON text -> its value, objects as by `as_object_of`; made once, since making it costs as much as a row."""


def twice(names: Sequence[str]) -> list[str]:
    """Return the names that stand twice."""
    return [name for name, count in Counter(names).items() if count > 1]


def doubled(value: Any) -> str:
    """Return a name that stands twice in an object of a value, however deep, "" for none."""
    waiting = [value] if isinstance(value, HOLDERS) else []
    while waiting:
        each = waiting.pop()
        if isinstance(each, Doubled):
            return each.names[0]
        waiting += [one for one in (each.values() if isinstance(each, dict) else each) if isinstance(one, HOLDERS)]
    return ""


def parsed(text: str) -> Any:
    """Return what a text holds as JSON, or the text itself; raises Unusable where a name stands twice in an object."""
    try:
        found = decoded_json(text)
    except (ValueError, RecursionError):
        return text
    if name := doubled(found):
        raise Unusable("a name stands twice", f"`{name}`")
    return found


def kind_of(value: Any) -> str:
    """Say in words what a value is: `a list`, `an object`."""
    words = {dict: "an object", list: "a list", bytes: "bytes", bool: "true or false", int: "a number"}
    return words.get(type(value), type(value).__name__)


def shown(value: Any, length: int = 100) -> str:
    """Return a value as JSON cut to `length` characters, for a person."""
    try:
        return json.dumps(as_json(value))[:length]
    except (ValueError, RecursionError):
        return kind_of(value)


def _number(value: int | float | Decimal) -> str | None:
    """Write a number plainly: no trailing zeros and, up to 400 zeros, no power of ten."""
    if isinstance(value, int):
        return str(value)
    exact = value if isinstance(value, Decimal) else Decimal(repr(value))
    if exact.is_nan():
        return None
    if exact.is_infinite():
        return "\\infty" if exact > 0 else "-\\infty"
    sign, digits, exponent = exact.as_tuple()
    written = "".join(map(str, digits)).lstrip("0")
    short, minus = written.rstrip("0"), "-" if sign else ""
    if not short:
        return "0"
    power = int(exponent) + len(written) - len(short)
    if abs(power) > _LARGEST:
        return f"{minus}{short} \\cdot 10^{{{power}}}"
    if power >= 0:
        return minus + short + "0" * power
    padded = short.rjust(1 - power, "0")
    return f"{minus}{padded[:power]}.{padded[power:]}"


def _json_number(value: Decimal) -> Any:
    """Return a decimal as a JSON number where that loses nothing, else as its text."""
    if not value.is_finite():
        return None if value.is_nan() else str(value)
    if value.as_tuple().exponent == 0:
        return int(value)
    near = float(value)
    return near if math.isfinite(near) and Decimal(repr(near)) == value else str(value)


def _moment(value: Any) -> str:
    """Write a date or a time as ISO 8601; a time stamp at midnight, which is a day, as its day."""
    if isinstance(value, timedelta):
        return str(value)
    return str(value.isoformat()).removesuffix("T00:00:00")


def _decoded(value: bytes) -> str:
    """Return bytes that are UTF-8 text; raises Unusable for others."""
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unusable("bytes, not text", str(error)) from error
    if _CONTROL.search(text):
        raise Unusable("bytes, not text", f"{len(value)} of them")
    return text
