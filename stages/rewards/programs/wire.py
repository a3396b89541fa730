"""Plain data over a pipe between tests and the program they test: values enter, JSON lines travel, values leave.

Used by both ends, each in a sandbox of its own. Only plain data crosses (None, numbers, text, bytes, lists, tuples,
sets, dicts and a few of the standard library's), rebuilt from its contents on the other side: a subclass arrives as
its base, so an overridden `__eq__` stays behind; one with methods of its own stays where it lives, and so does
everything else: it crosses as a number, for which the other end holds a proxy. Nothing that arrives is run.
"""

from __future__ import annotations

import builtins
import json
import os
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any

MAX_BYTES = 16 * 2**20  # of one message
MAX_MESSAGES = 200_000
MAX_DEPTH = 100
GONE = "the other end is gone"
TOO_MUCH = "too much was said"
_EXACT = 2**53
_SEQUENCES: dict[str, Callable[[list[Any]], Any]] = {
    "list": list,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "deque": deque,
}
_VIEWS: tuple[type, ...] = (type({}.keys()), type({}.values()), type({}.items()))
_SEQUENCES |= {
    "dict_keys": lambda items: dict.fromkeys(items).keys(),
    "dict_values": lambda items: dict(enumerate(items)).values(),
    "dict_items": lambda items: dict(items).items(),
}
_TEXTS: dict[type, tuple[Callable[[Any], str], Callable[[str], Any]]] = {
    Decimal: (str, Decimal),
    PurePosixPath: (str, PurePosixPath),
    **{kind: (kind.isoformat, kind.fromisoformat) for kind in (date, datetime, time)},
}
_FROM_TEXT = {kind.__name__: read for kind, (_, read) in _TEXTS.items()}
_PAIRS: dict[str, Callable[[list[Any]], Any]] = {
    "dict": dict,
    "Counter": lambda pairs: Counter(dict(pairs)),
    "OrderedDict": OrderedDict,
}
_KINDS: tuple[tuple[type, str], ...] = (
    (list, "list"),
    (tuple, "tuple"),
    (set, "set"),
    (frozenset, "frozenset"),
    (deque, "deque"),
    (Counter, "Counter"),
    (OrderedDict, "OrderedDict"),
    (dict, "dict"),
)


Keep = Callable[[Any], list[Any]]
Stays = Callable[[Any], list[Any] | None]
DATA: dict[str, type] = {
    kind.__name__: kind for kind in (list, dict, set, deque, bytearray, tuple, str, bytes, int, float)
}
"""What an object of the program may be besides being an object, by name."""


class WireError(Exception):
    """The other end said something that is no message, or too much of it, or is gone."""


def pack(value: Any, keep: Keep, stays: Stays | None = None, depth: int = 0) -> Any:
    """Return a value as JSON can carry it; `keep` gives the form of an object that stays here, and `stays` that of
    one which is data of a kind, but stays here nonetheless (None where it need not).

    Raises WireError beyond 100 levels.
    """
    if depth > MAX_DEPTH:
        raise WireError("a value nested too deep to cross")
    if value is None or value is True or value is False:
        return value
    if stays is not None and (kept := stays(value)) is not None:
        return kept
    if isinstance(value, int):
        number = int.__int__(value)
        return number if -_EXACT < number < _EXACT else ["int", hex(number)]
    if isinstance(value, float):
        return ["float", float.hex(float.__float__(value))]
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bytes | bytearray):
        return ["bytes" if isinstance(value, bytes) else "bytearray", bytes(memoryview(value)).hex()]
    for kind, name in _KINDS:
        if isinstance(value, kind):
            if name in _PAIRS:
                pairs: Any = dict.items(value)  # type: ignore[arg-type]
                return [
                    name,
                    [[pack(key, keep, stays, depth + 1), pack(each, keep, stays, depth + 1)] for key, each in pairs],
                ]
            iterate: Any = kind.__iter__  # type: ignore[attr-defined]
            return [name, [pack(item, keep, stays, depth + 1) for item in iterate(value)]]
    if isinstance(value, complex):
        return ["complex", float.hex(value.real), float.hex(value.imag)]
    if type(value) is range:
        return ["range", *(hex(number) for number in (value.start, value.stop, value.step))]
    if type(value) is Fraction:
        return ["Fraction", hex(value.numerator), hex(value.denominator)]
    if type(value) in _TEXTS:
        return [type(value).__name__, _TEXTS[type(value)][0](value)]
    if type(value) is timedelta:
        return ["timedelta", value.days, value.seconds, value.microseconds]
    if type(value) in _VIEWS:
        items = [pack(item, keep, stays, depth + 1) for item in value]
        return [type(value).__name__, items]
    if type(value) is slice:
        return ["slice", *(pack(end, keep, stays, depth + 1) for end in (value.start, value.stop, value.step))]
    return keep(value)


def unpack(packed: Any, find: Callable[[list[Any]], Any]) -> Any:
    """Return the value of a packed one; `find` gives what stands for an object that stayed there (`theirs`, `yours`,
    …). Raises WireError for anything else."""
    if packed is None or isinstance(packed, bool | int | str):
        return packed
    if not isinstance(packed, list) or len(packed) < 2 or not isinstance(packed[0], str):
        raise WireError("a message that cannot be read")
    tag, body = packed[0], packed[1]
    try:
        if tag in _SEQUENCES:
            return _SEQUENCES[tag]([unpack(item, find) for item in body])
        if tag in _PAIRS:
            return _PAIRS[tag]([(unpack(key, find), unpack(value, find)) for key, value in body])
        if tag == "int":
            return int(body, 16)
        if tag == "float":
            return float.fromhex(body)
        if tag in ("bytes", "bytearray"):
            return bytes.fromhex(body) if tag == "bytes" else bytearray.fromhex(body)
        if tag == "complex":
            return complex(float.fromhex(body), float.fromhex(packed[2]))
        if tag in ("range", "Fraction"):
            numbers = [int(number, 16) for number in packed[1:]]
            return range(*numbers) if tag == "range" else Fraction(*numbers)
        if tag in _FROM_TEXT:
            return _FROM_TEXT[tag](body)
        if tag == "timedelta":
            return timedelta(*packed[1:])
        if tag == "slice":
            return slice(*(unpack(end, find) for end in packed[1:]))
    except (TypeError, ValueError, ArithmeticError, IndexError, RecursionError) as error:
        raise WireError("a message that cannot be read") from error
    return find(packed)


class Peer:
    """One end of the pipe: asks the other end, and answers it while it waits.

    `serve` answers one request: (operation, target, arguments) -> reply. Both ends keep their own objects by number.
    """

    def __init__(self, reading: int, writing: int, serve: Callable[[list[Any]], Any]) -> None:
        self._lines = os.fdopen(reading, "rb")
        self._writing, self._serve, self._count = writing, serve, 0
        self._kept: list[Any] = []
        self._numbers: dict[int, int] = {}

    def close(self) -> None:
        """Close both ends."""
        self._lines.close()
        os.close(self._writing)

    def keep(self, value: Any) -> int:
        """Return the number under which the other end may speak of an object of ours."""
        number = self._numbers.get(id(value))
        if number is None:
            number = self._numbers[id(value)] = len(self._kept)
            self._kept.append(value)
        return number

    def kept(self, number: Any) -> Any:
        """Return our object of that number; WireError when there is none."""
        if type(number) is not int or not 0 <= number < len(self._kept):
            raise WireError("an object nobody has")
        return self._kept[number]

    def ask(self, request: list[Any]) -> Any:
        """Send a request and return the reply, answering the other end's requests until it comes.

        Raises WireError when the other end is gone or unreadable."""
        self.send(["ask", request])
        while True:
            kind, body = self.receive()
            if kind == "reply":
                return body
            self.send(["reply", self._serve(body)])

    def answer_all(self) -> None:
        """Answer requests until the other end is gone."""
        while True:
            try:
                kind, body = self.receive()
            except WireError:
                return
            if kind == "ask":
                self.send(["reply", self._serve(body)])

    def send(self, message: list[Any]) -> None:
        """Write one message; WireError when it is too long or nobody reads."""
        try:
            line = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        except (ValueError, RecursionError) as error:
            raise WireError("a value that cannot cross") from error
        if len(line) > MAX_BYTES:
            raise WireError("a value too large to cross")
        try:
            left = memoryview(line)
            while left:
                left = left[os.write(self._writing, left) :]
        except OSError as error:
            raise WireError(GONE) from error

    def receive(self) -> tuple[str, Any]:
        """Read one message: its kind (ask or reply) and body; WireError when there is none."""
        self._count += 1
        line = self._lines.readline(MAX_BYTES + 1)
        if not line.endswith(b"\n") or self._count > MAX_MESSAGES:
            raise WireError(TOO_MUCH if line else GONE)
        try:
            kind, body = json.loads(line)
        except (ValueError, TypeError, RecursionError) as error:
            raise WireError("a message that cannot be read") from error
        if kind not in ("ask", "reply"):
            raise WireError("a message that cannot be read")
        return kind, body


def put_back(value: Any, after: Any) -> None:
    """Give a list, dict, set, bytearray or deque the contents that a copy of it has now."""
    if isinstance(value, list | bytearray):
        value[:] = after
    elif isinstance(value, dict | set):
        value.clear()
        value.update(after)
    elif isinstance(value, deque):
        value.clear()
        value.extend(after)


MUTABLE = (list, dict, set, bytearray, deque)


_CROSSING = (bool, int, float, complex, str, bytes, bytearray, list, tuple, set, frozenset, dict, range, object)


def builtin_name(value: object) -> str:
    """Return the name of one of Python's own data types or exceptions, or "": no function of Python's crosses, for
    the program could hand over `eval`."""
    if not isinstance(value, type) or not (value in _CROSSING or issubclass(value, BaseException)):
        return ""
    name: str = value.__name__
    return name if getattr(builtins, name, None) is value else ""


def builtin(name: Any) -> Any:
    """Return what `builtin_name` named; WireError for anything else."""
    value = getattr(builtins, name, None) if isinstance(name, str) else None
    if not builtin_name(value):
        raise WireError("a message that cannot be read")
    return value
