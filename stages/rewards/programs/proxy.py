"""What the tests hold in place of the program's objects: operations on it go over the pipe, data comes back.

An operation is relayed only where its answer must be found without knowing what is expected. So a proxy equals no
plain value, whatever the program's `__eq__` says, and is not compared or searched with one: `f(x) == 3`, `3 in f(x)`
and `f(x).startswith("3")` are decided here, from data, or not at all. It can be added to a number, for a vector or an
amount of money can, but what comes of that is an object that tells nothing but its text, attributes and items, and so
is whatever comes of that one, for ever: the program might have learned the number from it, so `abs(f(x) - 3) < 1e-6`
and `d = f(x) - 3; d * d < 1e-6` cannot be passed by an object.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

from stages.rewards.programs.wire import MUTABLE

# Predicates about an argument or about plain data: an object that answers yes to everything would pass.
_DATA_ONLY = frozenset({"startswith", "endswith", "issubset", "issuperset", "isdisjoint", "symmetric_difference"})
_DATA_ONLY |= {name for kind in (str, float) for name in dir(kind) if name.startswith("is")}
_SHOWN = ("__name__", "__qualname__", "__doc__", "__dict__")
_NUMBERS = (int, float, complex, Fraction, Decimal)

Relay = Callable[..., Any]
"""`relay(operation, proxy, *args, **named)`: do it in the program and return the result, or raise what it raised."""


def _relayed(name: str) -> Callable[..., Any]:
    def method(self: Proxy, *args: Any) -> Any:
        return self._relay(name, self, *args)

    return method


def _asked(name: str) -> Callable[..., Any]:
    """An operation that makes plain data of an object."""

    def method(self: Proxy, *args: Any) -> Any:
        if self._computed:
            raise TypeError(f"`{name}` of what was computed with a number of the test's is asked of plain data only")
        return self._relay(name, self, *args)

    return method


def _compared(name: str) -> Callable[..., Any]:
    """An order between two of the program's objects; with plain data there is none."""

    def method(self: Proxy, other: Any) -> Any:
        if isinstance(other, Proxy):
            return self._relay(name, self, other)
        raise TypeError(f"an object of the program is not compared with a {type(other).__name__}")

    return method


def _worked_out(name: str) -> Callable[..., Any]:
    """Arithmetic with another of the program's objects, or with a number; that makes another object, or nothing."""

    def method(self: Proxy, other: Any) -> Any:
        if not isinstance(other, (Proxy, *_NUMBERS)):
            return NotImplemented
        result = self._relay(name, self, other)
        known = isinstance(other, Proxy) and not self._computed and not other._computed
        return result if known else _still_computed(self, result)

    return method


def _made(name: str) -> Callable[..., Any]:
    """An operation that makes another object of one; of a computed one a computed one, or nothing."""

    def method(self: Proxy, *_: Any) -> Any:
        result = self._relay(name, self)
        return _still_computed(self, result) if self._computed else result

    return method


def _taken(name: str) -> Callable[..., Any]:
    """An operation that takes something out of an object: data, or an object that is computed where that one is."""

    def method(self: Proxy, *args: Any, **named: Any) -> Any:
        result = self._relay(name, self, *args, **named)
        return _still_computed(self, result) if self._computed and type(result) is Proxy else result

    return method


_ATTRIBUTE, _AWAITED = _taken("attr"), _taken("await")


def _still_computed(of: Proxy, result: Any) -> Proxy:
    if type(result) is not Proxy:
        raise TypeError("an object of the program makes no plain data with a number of the test's")
    return Proxy(of._relay, result._number, computed=True)


class Proxy:
    """One object of the program; `computed`: out of one and a number that the tests gave, by however many steps."""

    __slots__ = ("_computed", "_number", "_relay")

    def __init__(self, relay: Relay, number: int, *, computed: bool = False) -> None:
        object.__setattr__(self, "_relay", relay)
        object.__setattr__(self, "_number", number)
        object.__setattr__(self, "_computed", computed)

    def __getattr__(self, name: str) -> Any:
        if name in _DATA_ONLY:
            raise TypeError(f"`{name}` is asked of plain data only")
        if name.startswith("__") and name not in _SHOWN:
            raise AttributeError(name)
        return _ATTRIBUTE(self, name)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Proxy):
            return False
        return other._number == self._number or self._relay("eq", self, other) is True

    def __await__(self) -> Any:
        yield from ()  # nothing of the tests' runs meanwhile
        return _AWAITED(self)

    def __contains__(self, value: Any) -> bool:
        return value in list(self)  # to its end: an object that never ends would name every value

    def __exit__(self, *_: object) -> None:
        self._relay("exit", self)

    __setattr__, __delattr__ = _relayed("set"), _relayed("delete")
    __getitem__, __call__, __enter__ = _taken("item"), _taken("call"), _taken("enter")
    __setitem__ = _relayed("set item")
    __delitem__ = _relayed("delete item")
    __instancecheck__ = _relayed("isinstance")
    __subclasscheck__ = _relayed("issubclass")
    __hash__, __str__, __repr__ = _relayed("hash"), _relayed("str"), _relayed("repr")  # type: ignore[assignment]
    __copy__, __deepcopy__, __reversed__ = _made("copy"), _made("deepcopy"), _asked("reversed")
    __iter__, __next__, __len__, __round__ = _asked("iter"), _asked("next"), _asked("len"), _asked("round")
    __bool__, __int__, __float__, __complex__ = (_asked(kind) for kind in ("bool", "int", "float", "complex"))
    __index__, __abs__ = _asked("index"), _asked("abs")
    __neg__, __pos__, __invert__ = (_made(kind) for kind in ("neg", "pos", "invert"))
    __lt__, __le__, __gt__, __ge__ = (_compared(kind) for kind in ("lt", "le", "gt", "ge"))
    __add__, __sub__, __mul__ = (_worked_out(kind) for kind in ("add", "sub", "mul"))
    __truediv__, __floordiv__, __mod__ = (_worked_out(kind) for kind in ("truediv", "floordiv", "mod"))
    __pow__, __matmul__ = _worked_out("pow"), _worked_out("matmul")
    __and__, __or__, __xor__ = (_worked_out(kind) for kind in ("and_", "or_", "xor"))
    __radd__, __rsub__, __rmul__ = (_worked_out(f"r{kind}") for kind in ("add", "sub", "mul"))
    __rtruediv__, __rfloordiv__ = _worked_out("rtruediv"), _worked_out("rfloordiv")


def _of_data(name: str) -> Callable[..., Any]:
    """An operation on what the object is as plain data; on the other side, where both are the program's."""

    def method(self: DataProxy, *others: Any) -> Any:
        if name in _ARITHMETIC and others and isinstance(others[0], Proxy):
            return _BETWEEN[name](self, others[0])
        function: Callable[..., Any] = getattr(operator, name, None) or _FUNCTIONS[name]
        return function(self._plain(), *(other._plain() if type(other) is DataProxy else other for other in others))

    return method


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    kind.__name__: kind for kind in (bool, int, float, complex, len, hash, iter, round, reversed)
}
_ARITHMETIC = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow")
_BETWEEN = {name: _worked_out(name) for name in _ARITHMETIC}


def _turned(name: str) -> Callable[..., Any]:
    """Arithmetic on what the object is as plain data, which stands on the right."""
    function = getattr(operator, name)
    return lambda self, other: function(other, self._plain())


class DataProxy(Proxy):
    """An object of the program that is data as well: a list that is an attribute, an instance of a subclass of tuple.

    As data it is compared, searched, walked through and computed with, here; its methods and items are the program's.
    """

    __slots__ = ("_kind", "_known")

    def __init__(self, relay: Relay, number: int, kind: type) -> None:
        Proxy.__init__(self, relay, number)
        object.__setattr__(self, "_kind", kind)
        object.__setattr__(self, "_known", None)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:  # type: ignore[override]
        return self._kind

    def _plain(self) -> Any:
        """What it is as plain data, now."""
        if self._known is not None:
            return self._known
        value = self._relay("data", self)
        if type(value) is not self._kind:
            raise TypeError("an object of the program is not what it was")
        if self._kind not in MUTABLE:
            object.__setattr__(self, "_known", value)
        return value

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plain(), name) if name in _DATA_ONLY else Proxy.__getattr__(self, name)

    __eq__, __ne__ = _of_data("eq"), _of_data("ne")  # type: ignore[assignment]
    __lt__, __le__, __gt__, __ge__ = (_of_data(kind) for kind in ("lt", "le", "gt", "ge"))
    __hash__, __len__, __bool__ = _of_data("hash"), _of_data("len"), _of_data("bool")  # type: ignore[assignment]
    __int__, __float__, __complex__, __index__ = (_of_data(kind) for kind in ("int", "float", "complex", "index"))
    __abs__, __neg__, __round__, __reversed__ = (_of_data(kind) for kind in ("abs", "neg", "round", "reversed"))
    __iter__, __contains__ = _of_data("iter"), _of_data("contains")
    __add__, __sub__, __mul__, __truediv__, __floordiv__, __mod__, __pow__ = map(_of_data, _ARITHMETIC)
    __radd__, __rsub__, __rmul__ = map(_turned, ("add", "sub", "mul"))
    __and__, __or__, __xor__ = (_of_data(kind) for kind in ("and_", "or_", "xor"))
