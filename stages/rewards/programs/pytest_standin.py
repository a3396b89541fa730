"""What assert tests use of pytest, which is not installed where they run: `raises` and `approx`."""

from __future__ import annotations

import math
import re
from typing import Any


class raises:
    """`with raises(ValueError, match="…")`: the block must raise it; `raises(ValueError, f, 1)`: so must f(1)."""

    def __init__(self, kind: Any, *call: Any, match: str = "", **named: Any) -> None:
        for each in kind if isinstance(kind, tuple) else (kind,):
            if not isinstance(each, type) or not issubclass(each, BaseException):
                raise TypeError("`raises` is told an exception class, or several")
        self._kind, self._match = kind, match
        if call:
            with self:
                call[0](*call[1:], **named)

    def __enter__(self) -> raises:
        return self

    def __exit__(self, kind: Any, error: Any, _: object) -> bool:
        if kind is None:
            raise AssertionError("nothing was raised")
        self.type, self.value = kind, error
        return issubclass(kind, self._kind) and (not self._match or bool(re.search(self._match, str(error))))


class approx:
    """`value == approx(expected)`: a number, or a list, tuple or dict of them, near the expected one."""

    def __init__(self, expected: Any, rel: float = 1e-6, abs: float = 1e-12) -> None:
        self._expected, self._rel, self._abs = expected, rel, abs

    def __eq__(self, other: object) -> bool:
        given: Any = other
        expected = self._expected
        if isinstance(expected, dict):
            same = isinstance(given, dict) and given.keys() == expected.keys()
            return same and all(self._near(given[key], value) for key, value in expected.items())
        if isinstance(expected, list | tuple):
            same = type(given) is type(expected) and len(given) == len(expected)
            return same and all(self._near(a, b) for a, b in zip(given, expected, strict=True))
        return self._near(given, expected)

    __hash__ = None  # type: ignore[assignment]

    def _near(self, given: Any, expected: Any) -> bool:
        if isinstance(given, int | float) and isinstance(expected, int | float):
            return math.isclose(given, expected, rel_tol=self._rel, abs_tol=self._abs)
        return bool(given == expected)
