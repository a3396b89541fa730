"""Where a value stands in an outside row: a column's path and a row enter, the value leaves.

A path is a column's own name, or leads into it: `a.b` into objects, `a.0` and `a[-1]` into lists, `messages[user]` to
the last message of a role. A text that holds JSON is opened where a path leads into it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from stages.core.data import messages
from stages.core.data.values import parsed

ABSENT: Any = type("_Absent", (), {"__repr__": lambda _: "ABSENT", "__bool__": lambda _: False})()
"""What `at` returns where there is no such column: null is another thing."""
_PART = re.compile(r"\.?([^.\[\]]+)|\[([^\]]+)\]")


def at(row: Mapping[str, Any], path: str) -> Any:
    """Return the value at a path, ABSENT where there is none; below a null it is null."""
    if path in row:
        return row[path]
    value: Any = row
    for part in _parts(path):
        if value is None:
            return None
        if isinstance(value, str):
            value = parsed(value)
        if isinstance(value, dict):
            value = value.get(part, ABSENT)
        elif isinstance(value, list) and re.fullmatch(r"-?\d{1,9}", part):
            value = value[int(part)] if -len(value) <= int(part) < len(value) else ABSENT
        elif isinstance(value, list):
            value = messages.last_of(value, part) or ABSENT
        else:
            return ABSENT
        if value is ABSENT:
            return ABSENT
    return value


def top(path: str) -> str:
    """Return the column a path begins in, as far as its own name has no dot."""
    return _parts(path)[0] if _parts(path) else path


@cache
def _parts(path: str) -> list[str]:
    return [name or index for name, index in _PART.findall(path)]
