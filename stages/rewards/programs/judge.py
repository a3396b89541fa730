"""The tests' side of assert tests, in a sandbox of its own: the author's lines enter, a verdict on each leaves.

Names that neither the tests define nor Python has are the program's, which runs elsewhere; what comes from there is
plain data or a proxy (`proxy.py`), so nothing of the program ever runs where the expected values are.

In: `tests.json` (sources or calls, those to be left out, a tolerance). Out, on stdout: JSON lines, first ["tests",
places of those that test something, what all are called] or ["malformed", why], then ["unloaded", why] or [place,
passed, reason] for every test, passed None where it cannot be judged.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import importlib
import json
import os
import sys
import types
from typing import Any

from stages.rewards.programs import pytest_standin
from stages.rewards.programs.collecting import collected, files, replaced, runner, unknown
from stages.rewards.programs.comparing import by_number, equal, same
from stages.rewards.programs.names import MODULES, Owners
from stages.rewards.programs.proxy import DataProxy, Proxy
from stages.rewards.programs.wire import DATA, Peer, WireError, builtin, builtin_name, pack, put_back, unpack

MAX_REASON = 300
_EQUAL = "__equal__"
_NEVER_LENT = (eval, exec, compile, open, getattr, setattr, delattr, vars, globals, locals, __import__, type)


class Unjudgeable(Exception):
    """The test asks for what cannot be done across the pipe."""


class Names(dict[str, Any]):
    """The tests' own names; one they do not define is Python's or the program's (`names.py`)."""

    def __init__(self, judge: Judge, owners: Owners) -> None:
        super().__init__({"__name__": "__main__", "__builtins__": builtins})
        self._judge, self._owners = judge, owners

    def __missing__(self, name: str) -> Any:
        if name.startswith("__") or name in self._owners.bound:
            raise KeyError(name)
        known = self._owners.python_s(name)
        return self._judge.name(name) if known is None else known[0]


class Nearly(ast.NodeTransformer):
    """Lets `==` of the tests' own lines take decimals within the tolerance for equal."""

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.generic_visit(node)
        if len(node.ops) != 1 or not isinstance(node.ops[0], ast.Eq):
            return node
        call = ast.Call(ast.Name(_EQUAL, ast.Load()), [node.left, *node.comparators], [])
        return ast.copy_location(call, node)


class Mirrored:
    """What an exception class of the program's has besides its bases: the text and the attributes it has there."""

    _text = ""
    _object: Proxy | None = None

    def stands_for(self, text: str, its_object: Proxy) -> None:
        """Remember what this exception is in the program."""
        self._text, self._object = text, its_object

    def __str__(self) -> str:
        return self._text

    def __getattr__(self, name: str) -> Any:
        if self._object is None or name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._object, name)


def let_run_coroutines() -> None:
    """Let `asyncio.run` of the tests take a coroutine of the program, which is run there."""
    asyncio: Any = importlib.import_module("asyncio")
    usual = asyncio.run

    async def ended(one: Proxy) -> Any:
        return await one

    asyncio.run = lambda main, **named: usual(ended(main) if isinstance(main, Proxy) else main, **named)


class Judge:
    """The tests, and the pipe to the program."""

    def __init__(self, tests: list[Any], owners: Owners, reading: int, writing: int) -> None:
        self._peer = Peer(reading, writing, self.serve)
        self._tests, self._owners = tests, owners
        self._names = Names(self, owners)
        self.tolerance: float | None = None
        self._broken: tuple[bool | None, str] | None = None  # what went wrong between the two in the test that runs
        self._proxies: dict[int, Proxy] = {}
        self._exceptions: dict[int, type[BaseException]] = {}
        self._numbers: dict[type, int] = {}
        self._crossed: set[int] = set()
        self._alive: list[BaseException] = []  # so that no id of a crossed exception is used again

    def name(self, name: str) -> Any:
        """Return what the program calls so; NameError when it has no such name."""
        reply = self._ask(["name", name, [], {}])
        if reply == ["missing"]:
            raise self._breaks(False, NameError(f"name '{name}' is not defined"))
        return self._value(reply)

    def module(self, name: str) -> types.ModuleType:
        """Return the program as a module that tests can import from; `import *` takes nothing, for free names are found
        without it."""

        def attribute(wanted: str) -> Any:
            if wanted.startswith("__"):
                raise AttributeError(wanted)
            try:
                return self.name(wanted)
            except NameError:
                raise AttributeError(wanted) from None

        module: Any = types.ModuleType(name)
        module.__getattr__ = attribute
        return module  # type: ignore[no-any-return]

    def load(self) -> str:
        """Let the program run to its end; returns why it did not, or ""."""
        try:
            self._value(self._ask(["load", None, [], {}]))
            return self._owners.settle(lambda name: self._ask(["name", name, [], {}]) != ["missing"])
        except BaseException as error:  # noqa: BLE001  whatever the program raised
            return self.told(error)

    def test(self, place: int) -> tuple[bool | None, str]:
        """Run one test: passed, or not and why; None when it cannot be judged. What went wrong between the two, the
        program gone or a name it lacks, is no error that a test may catch and pass."""
        self._broken = None
        said: tuple[bool | None, str] = (True, "")
        test = self._tests[place]
        try:
            if isinstance(test, list):
                self._call(*test)
            else:
                exec(compile(test, "test", "exec", dont_inherit=True), self._names)
        except BaseException as error:  # noqa: BLE001  SystemExit too is no pass
            said = (False, self.told(error))
            if isinstance(error, ModuleNotFoundError) and id(error) not in self._crossed:
                said = (None, f"the tests need what is not there: {error}")
        return self._broken or said

    def lenient(self, tolerance: float) -> None:
        """Let decimals be off by as much, in the tests' own lines too."""
        self.tolerance = tolerance
        self._names[_EQUAL] = lambda given, wanted: equal(given, wanted, tolerance)
        self._tests = [
            ast.fix_missing_locations(Nearly().visit(test)) if isinstance(test, ast.AST) else test
            for test in self._tests
        ]

    def _call(self, function: str, args: list[Any], wanted: Any, wrapped: bool, numbered: bool) -> None:
        """Call what the program has under a name, of its class `Solution` where there is one, and compare."""
        args = [by_number(each) for each in args] if numbered else args
        name = function.rpartition(".")[2]
        lone = self._ask(["name", "Solution", [], {}]) == ["missing"]
        given = (self.name(name) if lone else getattr(self.name("Solution")(), name))(*args)
        given = given._plain() if type(given) is DataProxy else given
        golds = [wanted, wanted[0]] if wrapped else [wanted]
        if not any(same(given, gold, self.tolerance) for gold in golds):
            raise AssertionError

    def told(self, error: BaseException) -> str:
        """Say in words what a test or the program ended with."""
        said = type(error).__name__
        with contextlib.suppress(BaseException):  # a text that cannot be made
            said = f"{said}: {_text(error)}"[:MAX_REASON] if _text(error) else said
        if id(error) in self._crossed:
            return f"the program raised {said}"
        if isinstance(error, AssertionError):
            return "the assertion fails"
        return said.partition(": ")[2] if isinstance(error, WireError | NameError | Unjudgeable) else said

    def relay(self, operation: str, proxy: Proxy, *args: Any, **named: Any) -> Any:
        """Do an operation in the program, put changed arguments back, and return the result."""
        try:
            packed = [self._pack(arg) for arg in args]
            by_name = {name: self._pack(arg) for name, arg in named.items()}
        except Unjudgeable as error:
            raise self._breaks(None, error) from None
        reply = self._ask([operation, proxy._number, packed, by_name])
        value = self._value(reply, ends=operation == "next")
        for place, after in reply[2]:
            put_back(args[place] if isinstance(place, int) else named[place], self._unpack(after))
        return value

    def serve(self, request: Any) -> list[Any]:
        """Call a function of the tests that the program was handed: [ok, value] or [error, class, text]."""
        try:
            operation, number, args, named = request
            if operation != "call":
                raise WireError("the program asks for more than a call")
            values = [self._unpack(arg) for arg in args]
            result = self._peer.kept(number)(*values, **{name: self._unpack(arg) for name, arg in named.items()})
            return ["ok", self._pack(result)]
        except Exception as error:  # noqa: BLE001  the program may want to catch it
            return ["error", type(error).__name__, str(error)]

    def _ask(self, request: list[Any]) -> Any:
        try:
            return self._peer.ask(request)
        except WireError as error:
            raise self._breaks(False, error) from None

    def _breaks(self, passed: bool | None, error: Exception) -> Exception:
        """Remember an error that stands for the whole test, whatever the test does with it; returns it."""
        self._broken = self._broken or (passed, self.told(error))
        return error

    def _value(self, reply: Any, *, ends: bool = False) -> Any:
        """The value of a reply, or the exception it tells of; StopIteration only where it `ends` something, for it
        would end the tests' own loops."""
        if not isinstance(reply, list) or len(reply) != 3 or reply[0] not in ("ok", "error"):
            raise WireError("a message that cannot be read")
        if reply[0] == "ok":
            return self._unpack(reply[1])
        args, text, own = reply[2]
        kind, args = self._mirror(reply[1]), [self._unpack(arg) for arg in args]
        try:
            error = RuntimeError("StopIteration") if issubclass(kind, StopIteration) and not ends else kind(*args)
        except Exception:  # noqa: BLE001  some of Python's own want other arguments
            error = Exception(*args)
        if isinstance(error, Mirrored):
            error.stands_for(str(text), Proxy(self.relay, own))
        self._crossed.add(id(error))
        self._alive.append(error)
        raise error

    def _mirror(self, chain: Any) -> type[BaseException]:
        """Return the class here for an exception class there: Python's own, or one made after its name and bases."""
        kind: type[BaseException] = BaseException
        for name, number in reversed(chain):
            known = getattr(builtins, str(name), None)
            if number is None:
                if not isinstance(known, type) or not issubclass(known, BaseException):
                    raise WireError("an exception nobody knows")
                kind = known if issubclass(known, kind) else kind
            elif number in self._exceptions:
                kind = self._exceptions[number]
            else:
                own = () if issubclass(kind, Mirrored) else (Mirrored,)
                kind = self._exceptions[number] = type(str(name), (*own, kind), {})
                self._numbers[kind] = number
        return kind

    def _pack(self, value: Any) -> Any:
        return pack(value, self._keep, lambda one: ["yours", one._number] if isinstance(one, Proxy) else None)

    def _keep(self, value: Any) -> list[Any]:
        if isinstance(value, type) and value in self._numbers:
            return ["yours", self._numbers[value]]
        if name := builtin_name(value):
            return ["builtin", name]
        if callable(value) and value not in _NEVER_LENT:
            return ["mine", self._peer.keep(value)]
        raise Unjudgeable(f"the tests hand over a {type(value).__name__}, which is no plain data")

    def _unpack(self, packed: Any) -> Any:
        return unpack(packed, self._find)

    def _find(self, packed: list[Any]) -> Any:
        kind, body = packed[:2]
        if kind == "mine" and type(body) is int:
            kind = DATA.get(packed[2]) if len(packed) == 3 and isinstance(packed[2], str) else None
            known = self._proxies.get(body)
            if known is None or (kind is not None and type(known) is Proxy):
                known = Proxy(self.relay, body) if kind is None else DataProxy(self.relay, body, kind)
                self._proxies[body] = known
            return known
        if kind == "yours":
            return self._peer.kept(body)
        if kind == "exception":
            return self._mirror(body)
        if kind == "builtin":
            return builtin(body)
        raise WireError("a message that cannot be read")


def _text(error: BaseException) -> str:
    """Return the text of an error; ValueError where it would hold a number of many digits, which takes time."""
    usual = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(4300)
    try:
        return str(error)
    finally:
        sys.set_int_max_str_digits(usual)


def main(path: str, reading: str, writing: str) -> None:
    """Judge the tests in a file over two pipe ends."""
    out = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what the tests print is no verdict

    def tell(*what: Any) -> None:
        os.write(out, json.dumps(what).encode() + b"\n")

    with open(path, encoding="utf-8") as file:
        asked = json.load(file)
    os.unlink(path)  # before the program starts: in the weak isolation it could look here
    tests: list[Any] = asked["tests"]
    sources = [test for test in tests if isinstance(test, str)]
    trees: list[ast.Module] = []
    for place, test in enumerate(sources):
        try:
            trees.append(ast.parse(test))
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            return tell("malformed", f"test {place + 1} is no Python: {type(error).__name__}")
    found = collected(trees)
    if trees:
        tests = trees = [each.tree for each in found]
    owners = Owners(trees)
    if absent := owners.missing() or unknown(trees):
        return tell("malformed", f"the tests need {absent}, which is not there")
    if started := runner(trees):
        return tell("malformed", f"the tests start a runner of their own: {started}")
    if part := replaced(trees):
        return tell("malformed", f"the tests replace {part}, and the program runs elsewhere")
    if call := files(trees):
        return tell("malformed", f"the tests use files ({call}), and the program runs elsewhere")
    places = owners.places if trees else list(range(len(tests)))
    if not places:
        return tell("malformed", "no test tests the program")
    names = [each.name for each in found] or [f"test {place + 1}" for place in places]
    tell("tests", places, names)
    judge = Judge(tests, owners, int(reading), int(writing))
    if asked["tolerance"] is not None:
        judge.lenient(asked["tolerance"])
    sys.modules["pytest"] = pytest_standin
    if any("asyncio" in test for test in sources):  # it takes a while to import
        let_run_coroutines()
    if fault := judge.load():
        return tell("unloaded", fault)
    for name in MODULES:
        sys.modules[name] = judge.module(name)
    for place in range(len(tests)):
        if place not in asked["skip"]:
            tell(place, *judge.test(place))
    return None
