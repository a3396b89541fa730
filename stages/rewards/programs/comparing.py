"""Is what a program printed or returned what was wanted? Two texts or two values and a tolerance enter, a word leaves.

Both ends of assert tests and the code reward compare with this file; it knows of nothing else here.

Whole numbers and words must be the same. A decimal is a number: `1e-07` is `0.0000001`. It has a point, or an exponent
with a sign, and is zero or in the range of a float; what else looks like one, `1e3`, `0e46209743` or `1e+400`, is a
word, and may be a part of a checksum. Without a tolerance of its own it may be off by 1e-6, but by no more than a
thousandth of what is wanted, or by a billionth of a large number: what printing six decimals, or another order of
adding up, takes away. A tolerance t allows t, or t times what is wanted, whichever is more, also where a whole number
is wanted and a decimal comes. t = 0 asks for the same text and value. Of values, true and 1 are not the same.
"""

from __future__ import annotations

import math
import re
from itertools import zip_longest
from typing import Any

_BLANKS = b" \t\r\x0b\x0c"
_NUMBER = re.compile(r"(?<![\w.])([-+]?(?:\d++(?:\.\d*+)?|\.\d++)(?:[eE][-+]?\d++)?)(?![\w.])", re.ASCII)
_DECIMAL = re.compile(r"[-+]?\d*(?:\.\d*(?:[eE][-+]?\d+)?|[eE][-+]\d+)", re.ASCII)
_NO_ZERO = re.compile(r"[-+]?[0.]*[1-9]", re.ASCII)
_LONGEST = 400  # characters of a decimal; a longer one is text
_ABSOLUTE, _RELATIVE, _OF_SMALL = 1e-6, 1e-9, 1e-3


def near(given: float, wanted: float, tolerance: float | None) -> bool:
    """Say whether a decimal is near enough to the one that is wanted."""
    if given == wanted:
        return True
    size = abs(wanted)
    if tolerance is None:
        most = max(min(_ABSOLUTE, size * _OF_SMALL), size * _RELATIVE) if size else _RELATIVE
    else:
        most = tolerance * max(1.0, size)
    return abs(given - wanted) <= most < float("inf")


def same_output(printed: bytes, wanted: bytes, tolerance: float | None = None) -> int:
    """Return 0 where the texts are the same, else the number of the first line that differs.

    Free are blanks at the end of a line and empty lines at the end of the text, and decimals within the tolerance.
    """
    for number, (ours, theirs) in enumerate(zip_longest(_lines(printed), _lines(wanted)), start=1):
        if ours != theirs and (ours is None or theirs is None or not _same_line(ours, theirs, tolerance)):
            return number
    return 0


def same(given: Any, wanted: Any, tolerance: float | None = None) -> bool:
    """Say whether a value that a program returned is one that JSON wrote: a tuple may stand for a list, and a key that
    is a number for its text. A NaN is what a NaN wants."""
    if isinstance(given, bool) != isinstance(wanted, bool):
        return False
    if isinstance(wanted, float) and math.isnan(wanted):
        return isinstance(given, float) and math.isnan(given)
    if isinstance(wanted, list):
        alike = isinstance(given, list | tuple) and len(given) == len(wanted)
        return alike and all(same(a, b, tolerance) for a, b in zip(given, wanted, strict=True))
    if isinstance(wanted, dict):
        if not isinstance(given, dict):
            return False
        named = {key if isinstance(key, str) else str(key): value for key, value in given.items()}
        return named.keys() == wanted.keys() and all(same(named[key], wanted[key], tolerance) for key in wanted)
    return equal(given, wanted, tolerance)


def equal(given: Any, wanted: Any, tolerance: float | None = None) -> bool:
    """Say whether two values are equal, decimals within the tolerance; of containers, all that is in them."""
    if isinstance(wanted, list | tuple) and isinstance(given, type(wanted)) and len(given) == len(wanted):
        return all(equal(a, b, tolerance) for a, b in zip(given, wanted, strict=True))
    if isinstance(wanted, dict) and isinstance(given, dict) and given.keys() == wanted.keys():
        return all(equal(given[key], wanted[key], tolerance) for key in wanted)
    decimals = isinstance(given, float) or isinstance(wanted, float)
    if decimals and tolerance != 0 and (isinstance(wanted, float) or tolerance is not None):
        try:
            return near(float(given), float(wanted), tolerance) if _number(given) and _number(wanted) else False
        except OverflowError:  # a whole number beyond every decimal
            return False
    return bool(given == wanted)


def by_number(value: Any) -> Any:
    """Return a dict whose keys are all written numbers with the numbers, anything else as it is."""
    if isinstance(value, dict) and value and all(key.lstrip("-").isdecimal() for key in value):
        return {int(key): each for key, each in value.items()}
    return value


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _lines(text: bytes) -> list[bytes]:
    lines = [line.rstrip(_BLANKS) for line in text.split(b"\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _same_line(printed: bytes, wanted: bytes, tolerance: float | None) -> bool:
    """Say whether two lines differ in nothing but decimals near to each other."""
    if tolerance == 0:
        return False
    ours, theirs = (_NUMBER.split(line.decode("utf-8", "surrogateescape")) for line in (printed, wanted))
    if len(ours) != len(theirs) or ours[::2] != theirs[::2]:
        return False
    return all(a == b or _near_text(a, b, tolerance) for a, b in zip(ours[1::2], theirs[1::2], strict=True))


def _near_text(printed: str, wanted: str, tolerance: float | None) -> bool:
    """Say whether two numbers as they were written are decimals near to each other, or one is and the other whole."""
    if max(len(printed), len(wanted)) > _LONGEST:
        return False
    whole = [text.lstrip("+-").isdigit() for text in (printed, wanted)]
    if all(whole) or (whole[1] and tolerance is None):
        return False
    values = [float(text) for text in (printed, wanted)]
    for text, value, is_whole in zip((printed, wanted), values, whole, strict=True):
        if not is_whole and not _DECIMAL.fullmatch(text):
            return False
        if math.isinf(value) or (value == 0 and _NO_ZERO.match(text)):  # beyond a float, as many others are
            return False
    return near(values[0], values[1], tolerance)
