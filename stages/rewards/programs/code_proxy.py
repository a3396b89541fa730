"""What the tests hold in place of the program's objects: operations on it go over the pipe, data comes back.

An operation is relayed only where its answer must be found without knowing what is expected. So a proxy equals no
plain value, whatever the program's `__eq__` says, and is not compared, added or searched with one: `f(x) == 3`,
`abs(f(x) - 3) < 1e-6`, `3 in f(x)` and `f(x).startswith("3")` are decided here, from data, or not at all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# Predicates about an argument: an object that answers yes to everything would pass.
_DATA_ONLY = frozenset({"startswith", "endswith", "issubset", "issuperset", "isdisjoint"})

Relay = Callable[..., Any]
"""`relay(operation, proxy, *args, **named)`: do it in the program and return the result, or raise what it raised."""


def _relayed(operation: str) -> Callable[..., Any]:
    def method(self: Proxy, *args: Any) -> Any:
        return self._relay(operation, self, *args)

    return method


def _among_proxies(operation: str) -> Callable[..., Any]:
    """An operation between two of the program's objects; with plain data it is none."""

    def method(self: Proxy, other: Any) -> Any:
        return self._relay(operation, self, other) if type(other) is Proxy else NotImplemented

    return method


class Proxy:
    """One object of the program."""

    __slots__ = ("_number", "_relay")

    def __init__(self, relay: Relay, number: int) -> None:
        object.__setattr__(self, "_relay", relay)
        object.__setattr__(self, "_number", number)

    def __getattr__(self, name: str) -> Any:
        if name in _DATA_ONLY:
            raise TypeError(f"`{name}` is asked of plain data only")
        if name.startswith("__") and name not in ("__name__", "__doc__", "__dict__"):
            raise AttributeError(name)
        return self._relay("attr", self, name)

    def __call__(self, *args: Any, **named: Any) -> Any:
        return self._relay("call", self, *args, **named)

    def __eq__(self, other: object) -> Any:
        if type(other) is not Proxy:
            return NotImplemented
        return other is self or self._relay("eq", self, other) is True

    def __hash__(self) -> int:
        return int(self._number)

    def __contains__(self, value: Any) -> bool:
        return any(value is item or value == item for item in self)

    def __exit__(self, *_: object) -> None:
        self._relay("exit", self)

    __setattr__ = _relayed("set")
    __getitem__ = _relayed("item")
    __setitem__ = _relayed("set item")
    __delitem__ = _relayed("delete item")
    __enter__ = _relayed("enter")
    __instancecheck__ = _relayed("isinstance")
    __subclasscheck__ = _relayed("issubclass")
    __iter__, __next__, __len__ = _relayed("iter"), _relayed("next"), _relayed("len")
    __bool__, __int__, __float__, __complex__ = (_relayed(kind) for kind in ("bool", "int", "float", "complex"))
    __str__, __repr__, __index__ = _relayed("str"), _relayed("repr"), _relayed("index")
    __abs__, __neg__, __pos__, __invert__ = (_relayed(kind) for kind in ("abs", "neg", "pos", "invert"))
    __lt__, __le__, __gt__, __ge__ = (_among_proxies(kind) for kind in ("lt", "le", "gt", "ge"))
    __add__, __sub__, __mul__ = (_among_proxies(kind) for kind in ("add", "sub", "mul"))
    __truediv__, __floordiv__, __mod__ = (_among_proxies(kind) for kind in ("truediv", "floordiv", "mod"))
    __pow__, __matmul__ = _among_proxies("pow"), _among_proxies("matmul")
    __and__, __or__, __xor__ = (_among_proxies(kind) for kind in ("and_", "or_", "xor"))
