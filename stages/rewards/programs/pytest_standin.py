"""What tests use of pytest, which is not installed where they run, and how one of a file's tests is run.

A test function or method enters `run_test` and is called, as pytest would without plug-ins; what it raises leaves. Of
pytest there are `raises`, `approx`, `fixture`, `mark.parametrize`, `param` and `fail`; what else tests ask for is not
there, and they cannot be judged.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import itertools
import math
import re
from collections.abc import Callable, Iterable, Sequence
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


class param:
    """`param(1, 2, id="…")`: one set of values for `parametrize`."""

    def __init__(self, *values: Any, **_: Any) -> None:
        self.values = values


class _Mark:
    """`mark.parametrize(names, values)`; any other mark says nothing to a runner without plug-ins."""

    def parametrize(self, names: str | Sequence[str], values: Iterable[Any], **_: Any) -> Callable[[Any], Any]:
        listed = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
        cases = [_case(listed, value) for value in values]

        def marked(test: Any) -> Any:
            test.__dict__.setdefault("__cases__", []).append(cases)
            return test

        return marked

    def __getattr__(self, name: str) -> Any:
        if name in ("skipif", "xfail", "usefixtures"):
            raise ModuleNotFoundError(f"pytest.mark.{name}")
        return lambda *given, **_: given[0] if given and callable(given[0]) else lambda test: test


mark = _Mark()


def fixture(function: Any = None, *, autouse: bool = False, params: Iterable[Any] | None = None, **_: Any) -> Any:
    """`@fixture`: each test gets a value of its own, whatever the scope."""
    if function is None:
        return lambda named: fixture(named, autouse=autouse, params=params)
    if params is not None:
        raise ModuleNotFoundError("pytest.fixture(params=…)")
    function.__fixture__ = "autouse" if autouse else "named"
    return function


def fail(reason: str = "", **_: Any) -> None:
    """Fail the test."""
    raise AssertionError(reason)


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    raise ModuleNotFoundError(f"pytest.{name}")


def run_test(test: Any, method: str, fixtures: list[Any]) -> None:
    """Run a test function, or a method of a class of tests, once for each set of its parameters; raises what it raises.

    `fixtures`: the functions that give values by their names. ModuleNotFoundError for what is not there: a fixture of
    pytest's own, a plug-in.
    """
    if isinstance(test, type) and hasattr(test, "debug"):
        return _run_unittest_s(test, method)
    function = getattr(test, method) if method else test
    sets = [*getattr(function, "__cases__", ()), *(getattr(test, "__cases__", ()) if method else ())]
    for cases in itertools.product(*sets):
        given = {name: value for case in cases for name, value in case.items()}
        with contextlib.ExitStack() as stack:
            _run_once(test, method, given, _Fixtures(fixtures, given, stack))


def _run_unittest_s(case: Any, method: str) -> None:
    """Run a method of a TestCase by its `debug`: no result is kept, what fails is raised."""
    if hasattr(getattr(case, method), "__unittest_expecting_failure__"):
        raise ModuleNotFoundError("unittest.expectedFailure")
    case.setUpClass()
    try:
        case(method).debug()
    except importlib.import_module("unittest").SkipTest as skipped:
        raise ModuleNotFoundError(f"a test is skipped: {skipped}") from None
    finally:
        case.tearDownClass()
        case.doClassCleanups()


def _run_once(test: Any, method: str, given: dict[str, Any], fixtures: _Fixtures) -> None:
    function = test
    if method:
        own = test()
        function = getattr(own, method)
        fixtures.add(getattr(own, name) for name in dir(test) if hasattr(getattr(test, name), "__fixture__"))
        for name in ("setup_class", "setup_method"):
            _call_if_there(own, name, function)
        for name in ("teardown_class", "teardown_method"):
            fixtures.stack.callback(_call_if_there, own, name, function)
    fixtures.prepare()
    _ended(function(**fixtures.of(function)))


class _Fixtures:
    """The values that the parameters of one test get; those with a `yield` are left when the stack is."""

    def __init__(self, functions: Iterable[Any], given: dict[str, Any], stack: contextlib.ExitStack) -> None:
        self._known, self._given, self.stack = {one.__name__: one for one in functions}, dict(given), stack

    def add(self, functions: Iterable[Any]) -> None:
        self._known |= {one.__name__: one for one in functions}

    def prepare(self) -> None:
        """Make the values that every test gets."""
        for name, function in self._known.items():
            if function.__fixture__ == "autouse":
                self._value(name)

    def of(self, function: Any) -> dict[str, Any]:
        """Return the values of a function's parameters."""
        wanted = inspect.signature(function).parameters.values()
        return {
            one.name: self._value(one.name) for one in wanted if one.default is one.empty or one.name in self._given
        }

    def _value(self, name: str) -> Any:
        if name not in self._given:
            if name not in self._known:
                raise ModuleNotFoundError(f"the fixture `{name}`")
            function = self._known[name]
            made = contextlib.contextmanager(function) if inspect.isgeneratorfunction(function) else function
            value = made(**self.of(function))
            self._given[name] = self.stack.enter_context(value) if made is not function else value
        return self._given[name]


def _case(names: list[str], value: Any) -> dict[str, Any]:
    values = value.values if isinstance(value, param) else (value,) if len(names) == 1 else value
    return dict(zip(names, values, strict=True))


def _call_if_there(own: Any, name: str, function: Any) -> None:
    hook = getattr(own, name, None)
    if hook is not None:
        hook(*[function][: len(inspect.signature(hook).parameters)])


def _ended(result: Any) -> None:
    """Run a test to its end that is a coroutine."""
    if inspect.iscoroutine(result):
        importlib.import_module("asyncio").run(result)
