"""The program's side of assert tests, in a sandbox of its own: requests enter over a pipe, plain data leaves.

The program runs here and may change anything here, this module too: all it can do with that is to send other values,
and it never learns which ones are expected. Arguments that a call changed in place go back with the answer.
"""

from __future__ import annotations

import builtins
import copy
import importlib
import json
import operator
import sys
import types
from collections.abc import Callable
from typing import Any

from stages.rewards.programs.assembling import assembled, lend_usual_names
from stages.rewards.programs.wire import DATA, MUTABLE, Peer, WireError, builtin, builtin_name, pack, unpack

_MIXED = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and_", "or_", "xor")


def _turned(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """The operation with its sides exchanged."""
    return lambda ours, theirs: function(theirs, ours)


def _awaited(one: Any) -> Any:
    """Run a coroutine, or what else can be awaited, to its end."""
    asyncio: Any = importlib.import_module("asyncio")  # which takes a while, and few programs need

    async def ended() -> Any:
        return await one

    return asyncio.run(ended())


_OPERATIONS: dict[str, Callable[..., Any]] = {
    "call": lambda function, *args, **named: function(*args, **named),
    "attr": getattr,
    "set": setattr,
    "item": operator.getitem,
    "set item": operator.setitem,
    "delete item": operator.delitem,
    "enter": lambda manager: type(manager).__enter__(manager),
    "exit": lambda manager: type(manager).__exit__(manager, None, None, None),
    "isinstance": lambda kind, value: isinstance(value, kind),
    "issubclass": lambda kind, value: issubclass(value, kind),
    "delete": delattr,
    "await": _awaited,
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{
        kind.__name__: kind
        for kind in (bool, int, float, complex, str, repr, len, hash, iter, next, abs, round, reversed)
    },
    **{
        name: getattr(operator, name)
        for name in ("eq", "lt", "le", "gt", "ge", "neg", "pos", "invert", "index", *_MIXED)
    },
    **{f"r{name}": _turned(getattr(operator, name)) for name in _MIXED},
}


class Callback:
    """A function of the tests that the program was handed."""

    def __init__(self, subject: Subject, number: int) -> None:
        self._subject, self._number = subject, number

    def __call__(self, *args: Any, **named: Any) -> Any:
        return self._subject.call_back(self._number, args, named)


class Subject:
    """The program, loaded on request, and the objects of it that the tests hold."""

    def __init__(self, path: str, reading: int, writing: int) -> None:
        self._path = path
        self._peer = Peer(reading, writing, self.serve)
        self._module = types.ModuleType("program")

    def run(self) -> None:
        """Answer requests until the tests are over."""
        self._peer.answer_all()

    def serve(self, request: Any) -> list[Any]:
        """Answer one request: [ok, value, changed arguments], [missing], or [error, classes, what it says]."""
        try:
            operation, target, args, named = request
            if operation == "load":
                return self._load()
            if operation == "name":
                known = vars(self._module)
                return ["ok", self._pack(known[target]), []] if target in known else ["missing"]
            if operation == "data":
                whole = self._peer.kept(target)
                return ["ok", pack(whole, self._keep, lambda one: None if one is whole else self._stays(one)), []]
            values = [self._unpack(arg) for arg in args]
            by_name = {name: self._unpack(arg) for name, arg in named.items()}
            result = _OPERATIONS[operation](self._peer.kept(target), *values, **by_name)
            packed = self._live(result) if operation in ("attr", "item") else self._pack(result)
            return ["ok", packed, [*self._changed(enumerate(args), values), *self._changed(named.items(), by_name)]]
        except BaseException as error:  # noqa: BLE001  whatever the program raises, SystemExit too, crosses by its name
            return ["error", *self._failure(error)]

    def call_back(self, number: int, args: Any, named: dict[str, Any]) -> Any:
        """Call a function of the tests; what it raises is raised here by its name."""
        packed = [self._pack(arg) for arg in args], {name: self._pack(arg) for name, arg in named.items()}
        reply = self._peer.ask(["call", number, *packed])
        if reply[0] == "ok":
            return self._unpack(reply[1])
        kind = getattr(builtins, str(reply[1]), Exception)
        raise kind(reply[2])

    def _load(self) -> list[Any]:
        sys.modules["program"] = self._module
        with open(self._path, encoding="utf-8", errors="surrogatepass") as file:
            asked = json.load(file)
        if asked["prelude"]:
            lend_usual_names()
        source = assembled(asked["program"], asked["prompt"], asked["entry"])
        code = compile(source.encode("utf-8", "surrogatepass"), "main.py", "exec", dont_inherit=True)
        exec(code, vars(self._module))
        return ["ok", None, []]

    def _changed(self, packed: Any, values: Any) -> list[list[Any]]:
        """Return [place, value] of the arguments that are no longer what was sent."""
        places = [
            (place, before) for place, before in packed if isinstance(values[place], MUTABLE) and before[0] in DATA
        ]
        now = [(place, before, self._pack(values[place])) for place, before in places]
        return [[place, after] for place, before, after in now if after != before]

    def _failure(self, error: BaseException) -> list[Any]:
        try:
            args = [self._pack(arg) for arg in error.args]
        except Exception:  # noqa: BLE001  arguments that cannot cross
            args = []
        try:
            text = str(error)
        except BaseException:  # noqa: BLE001  a text of its own that cannot be made
            text = ""
        own = None if builtin_name(type(error)) else self._peer.keep(error)
        return [self._chain(type(error)), [args, text, own]]

    def _chain(self, kind: type) -> list[list[Any]]:
        """Return [name, number] of an exception class and its bases; Python's own have no number."""
        kinds = [each for each in kind.__mro__ if issubclass(each, BaseException)]
        return [[each.__name__, None if builtin_name(each) else self._peer.keep(each)] for each in kinds]

    def _pack(self, value: Any) -> Any:
        return pack(value, self._keep, self._stays)

    def _live(self, value: Any) -> Any:
        """What an attribute or item holds: a list there is the object's own, and changes with it."""
        if type(value) in MUTABLE:
            return ["mine", self._peer.keep(value), type(value).__name__]
        return self._pack(value)

    def _stays(self, value: Any) -> list[Any] | None:
        """An instance of a subclass of plain data that has attributes or methods of its own stays here."""
        kind = type(value)
        if kind.__module__ in sys.stdlib_module_names:
            return None
        base = next((each for each in kind.__mro__ if each.__module__ == "builtins"), object)
        names = [name for each in kind.__mro__ if not issubclass(base, each) for name in vars(each)]
        if DATA.get(base.__name__) is not base or all(name.startswith("_") for name in names):
            return None
        return ["mine", self._peer.keep(value), base.__name__]

    def _keep(self, value: Any) -> list[Any]:
        if type(value) is Callback:
            return ["yours", value._number]
        if name := builtin_name(value):
            return ["builtin", name]
        if isinstance(value, type) and issubclass(value, BaseException):
            return ["exception", self._chain(value)]
        return ["mine", self._peer.keep(value)]

    def _unpack(self, packed: Any) -> Any:
        return unpack(packed, self._find)

    def _find(self, packed: list[Any]) -> Any:
        kind, body = packed[:2]
        if kind == "yours":
            return self._peer.kept(body)
        if kind == "builtin":
            return builtin(body)
        if kind == "mine":
            return Callback(self, body)
        raise WireError("a message that cannot be read")


def main(path: str, reading: str, writing: str) -> None:
    """Serve the program in a file over two pipe ends."""
    Subject(path, int(reading), int(writing)).run()
