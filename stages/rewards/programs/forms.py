"""The tests of a row in whatever form its data set stores them: a row enters, one form leaves, or why there is none.

Known are this project's own (`tests`: cases or assert lines), APPS's and TACO's `input_output`, LiveCodeBench's
`public_test_cases` and `private_test_cases`, `test_cases` and `verification_info`, HumanEval's `prompt`, `test` and
`entry_point`, and MBPP's `test_list`. What is not understood, one field of one test, makes the row one that cannot be
judged: a test that is half read fails every right program or passes every wrong one. Nothing here is run or unpickled.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from stages.core.rows import TEST_FIELDS, Prompt

MAX_OUTPUT = 8 * 2**20
"""Bytes that a program may write, and a test may want."""
_STDIN = ("", "stdin", "stdin_stdout", "stdio", "standard_input")
_FUNCTIONAL = ("functional", "function_call", "call_based", "function")
_SPLIT = "function_call"  # what sets that APPS was split up into call their tests
_COLUMNS = ("test", "test_list", "input_output", "public_test_cases", "private_test_cases")
_CASE = ("input", "output", "testtype", "type", "fn_name", "func_name", "metadata", "tolerance")
_TOLD = ("id", "name", "description", "explanation")  # of a test, to people
_NAME = re.compile(r"[A-Za-z_]\w*(?:\(\)\.[A-Za-z_]\w*)?", re.ASCII)
_METHOD = re.compile(r"^ +def ([A-Za-z]\w*)\(self\b", re.MULTILINE | re.ASCII)
_DEFINES_CHECK = re.compile(r"^def check\(", re.MULTILINE)
_CHECKED = re.compile(r"^check\(([A-Za-z_]\w*)\)", re.MULTILINE | re.ASCII)
_FENCED = re.compile(r"^```[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_CALLS_CHECK = re.compile(r"^[ \t]*check\(", re.MULTILINE)
_DIGITS = 4000  # of a whole number in JSON


class Call(NamedTuple):
    """A function that is called, as plain data."""

    function: str
    args: list[Any]
    wanted: Any
    wrapped: bool
    """Whether what is wanted may stand in a list of one, as APPS has it."""
    numbered: bool = False
    """Whether keys of a dict that are all written numbers, which JSON cannot have, are the numbers."""


class Tests(NamedTuple):
    """What a program is tested by: `cases` of (input, output), or `checks`: Python sources and calls."""

    cases: tuple[tuple[str, str], ...] = ()
    checks: tuple[str | Call, ...] = ()
    prompt: str = ""
    """Python that the program continues, or that stands before it."""
    entry: str = ""
    """What the tests call, where the program is a continuation of the prompt."""
    prelude: bool = False
    """Whether the usual names (`List`, `Counter`, `math`, …) are there unimported, as in LeetCode's editor."""
    tolerance: float | None = None
    """How far a decimal may be off; None for the usual (`comparing.py`)."""
    fault: str = ""
    """Why these are no tests, "" where they are."""


class Unread(ValueError):
    """Tests that are not understood; the message says which and why."""


def brings_tests(meta: Mapping[str, Any]) -> bool:
    """Say whether a row's fields hold tests in a form that nothing but a programming task has."""
    if any(meta.get(name) is not None for name in ("tests", "input_output", "public_test_cases", "test_list")):
        return True
    return isinstance(meta.get("test"), str) and isinstance(meta.get("entry_point"), str)


def read(row: Prompt) -> Tests:
    """Return the tests of a row; `fault` says why there are none that can be used."""
    try:
        return _read(row.meta, row.problem)
    except Unread as fault:
        return Tests(fault=str(fault))


def _read(meta: Mapping[str, Any], problem: str) -> Tests:
    meta = _spread(meta)
    entry = str(meta.get("entry_point") or "")
    if entry and not _NAME.fullmatch(entry):
        raise Unread(f"`entry_point` is no name of a function: {entry[:40]}")
    function = _function_of(meta) or entry
    found = _stored(meta, function)
    if not found.cases and not found.checks:
        raise Unread("the row has no tests")
    texts = [check for check in found.checks if isinstance(check, str)]
    if any(map(_DEFINES_CHECK.search, texts)) and not any(map(_CALLS_CHECK.search, texts)):
        if not entry:
            raise Unread("the tests define `check` and never call it: name the function in `entry_point`")
        texts[-1] += f"\n\ncheck({entry})\n"
        found = found._replace(checks=tuple(texts))
    checked = [name for text in texts for name in _CHECKED.findall(text)] if not entry else [entry]
    if checked and (prompt := _prompt(meta, problem, root := re.split(r"\W", checked[-1])[0])):
        found = found._replace(entry=root, prompt=prompt)
    solution = "class Solution" in str(meta.get("starter_code") or "") or any("Solution" in each for each in texts)
    tolerance = _tolerance(meta.get("tolerance"))
    tolerance = found.tolerance if tolerance is None else tolerance
    return found._replace(prelude=solution or len(texts) < len(found.checks), tolerance=tolerance)


def _spread(meta: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a row's fields; where `tests` is an object that holds a public set's columns, with those."""
    value = meta.get("tests")
    if isinstance(value, str) and value.lstrip().startswith("{"):
        value = _json(value, "tests")
    if not isinstance(value, dict) or not value.keys() & set(_COLUMNS):
        return meta
    _known(value, (*TEST_FIELDS, "task_id", "canonical_solution"), "the object of tests")
    return {name: each for name, each in meta.items() if name != "tests"} | value


def _stored(meta: Mapping[str, Any], function: str) -> Tests:
    """Return the tests of the first of the known fields that the row has."""
    if meta.get("tests") is not None:
        return _any(meta["tests"], function)
    if meta.get("public_test_cases") is not None or meta.get("private_test_cases") is not None:
        return _listed([*_opened(meta, "public_test_cases"), *_opened(meta, "private_test_cases")], function)
    for name in ("input_output", "test_cases", "verification_info"):
        if meta.get(name) is not None:
            return _any(meta[name], function)
    if meta.get("test_list") is not None:
        return Tests(
            checks=tuple(
                part for name in ("test_imports", "test_setup_code", "test_list") for part in _sources(meta, name)
            )
        )
    if isinstance(meta.get("test"), str) and meta["test"].strip():
        return Tests(checks=(meta["test"],))
    known = ", ".join(f"`{name}`" for name in TEST_FIELDS[:5])
    raise Unread(
        "the row has no tests: `tests` (in a prompt's `meta`) is a list of {input, output} or of assert lines;"
        f" known from public sets: {known}, `test`"
    )


def _opened(meta: Mapping[str, Any], name: str) -> list[Any]:
    """Return LiveCodeBench's list of tests, which is JSON text; the private ones it stores as a pickle stay closed."""
    value = meta.get(name)
    if value is None or value == "":
        return []
    if isinstance(value, str) and not value.lstrip().startswith("["):
        raise Unread(f"`{name}` is a compressed pickle, which is never opened: give the tests as JSON text")
    return _list(_json(value, name), name)


def _any(value: Any, function: str) -> Tests:
    """Read tests that stand in one field: a list, {inputs, outputs}, {test_cases}, or one of those as JSON text."""
    if isinstance(value, str):
        if _DEFINES_CHECK.search(value):
            return Tests(checks=(value,))
        value = _json(value, "tests")
    if isinstance(value, dict) and "test_cases" in value:
        _known(value, ("test_cases", "fn_name", "language"), "the tests")
        return _any(value["test_cases"], str(value.get("fn_name") or function))
    if isinstance(value, dict):
        return _paired(value, function)
    return _listed(_list(value, "tests"), function)


def _paired(value: Mapping[str, Any], function: str) -> Tests:
    """Read {inputs, outputs, fn_name}."""
    _known(value, ("inputs", "outputs", "fn_name"), "the tests")
    inputs, outputs = _list(value.get("inputs"), "inputs"), _list(value.get("outputs"), "outputs")
    if len(inputs) != len(outputs):
        raise Unread(f"the tests have {len(inputs)} inputs and {len(outputs)} outputs")
    if name := value.get("fn_name"):
        return _calls([(str(name), *pair) for pair in zip(inputs, outputs, strict=True)], wrapped=True)
    pairs = enumerate(zip(inputs, outputs, strict=True), start=1)
    return _cases([(_text(given, place, "input"), _text(said, place, "output")) for place, (given, said) in pairs])


def _listed(tests: Sequence[Any], function: str) -> Tests:
    """Read a list of tests of one kind."""
    if tests and all(isinstance(test, str) for test in tests):
        return Tests(checks=tuple(tests))
    kinds, cases, calls = set[str](), [], []
    tolerances = set[float | None]()
    for place, test in enumerate(tests, start=1):
        if not isinstance(test, dict) or not {"input", "output"} <= test.keys():
            raise Unread(f"test {place} is neither {{input, output}} nor, as all others, an assert line")
        _known(test, (*_CASE, *_TOLD), f"test {place}")
        kinds.add(kind := _kind(test, place))
        tolerances.add(_tolerance(test.get("tolerance")))
        if kind == "stdin":
            cases.append(tuple(_text(test[key], place, key, lines=False) for key in ("input", "output")))
        else:
            calls.append((_function_of(test) or function, test["input"], test["output"]))
    if len(kinds) > 1 or len(tolerances) > 1:
        raise Unread("the tests are of several types, or have several tolerances")
    split = all(isinstance(test, dict) and test.get("type") == _SPLIT for test in tests)
    found = _calls(calls, wrapped=split) if calls else _cases(cases)
    return found._replace(tolerance=next(iter(tolerances), None))


def _kind(test: Mapping[str, Any], place: int) -> str:
    said = {str(test[key]).strip().lower() for key in ("testtype", "type") if test.get(key) is not None}
    if said <= set(_STDIN):
        if _function_of(test):
            raise Unread(f"test {place} names a function and is of the type stdin")
        return "stdin"
    if said <= set(_FUNCTIONAL):
        return "functional"
    raise Unread(f"test {place} is of a type that is not known: `{' '.join(sorted(said))[:40]}`")


def _function_of(fields: Mapping[str, Any]) -> str:
    """Return the function that a row's or a test's own fields name, "" for none."""
    told = fields.get("metadata")
    if isinstance(told, str):
        with contextlib.suppress(Unread):  # it may be about anything
            told = _json(told, "metadata")
    places = (fields, told) if isinstance(told, dict) else (fields,)
    name = next((str(each[key]) for each in places for key in ("fn_name", "func_name") if each.get(key)), "")
    if not name:
        methods = set(_METHOD.findall(str(fields.get("starter_code") or ""))) - {"__init__"}
        name = methods.pop() if len(methods) == 1 else ""
    if name and not _NAME.fullmatch(name):
        raise Unread(f"`fn_name` is no name of a function: {name[:40]}")
    return name


def _cases(pairs: Sequence[Any]) -> Tests:
    for place, (_, wanted) in enumerate(pairs, start=1):
        if len(wanted.encode("utf-8", "surrogatepass")) > MAX_OUTPUT:
            raise Unread(f"test {place} expects more output than a program may write")
    return Tests(cases=tuple(pairs))


def _calls(calls: Sequence[tuple[str, Any, Any]], *, wrapped: bool) -> Tests:
    """Read calls: (function, arguments, what it returns), the last two as JSON text or as values; `wrapped`: from a
    set that may write what is returned as a list of one."""
    checks = []
    for place, (function, given, said) in enumerate(calls, start=1):
        if not function:
            raise Unread(f"test {place} calls a function, and no field names it: `fn_name`")
        if not _NAME.fullmatch(function):
            raise Unread(f"`fn_name` is no name of a function: {function[:40]}")
        wanted = _json(said, f"the output of test {place}") if isinstance(said, str) else said
        checks.append(Call(function, _arguments(given, place), wanted, wrapped=False, numbered=isinstance(given, list)))
    outputs = [said for _, _, said in calls]
    wrapped = wrapped and bool(outputs) and all(isinstance(said, list) and len(said) == 1 for said in outputs)
    return Tests(checks=tuple(check._replace(wrapped=wrapped) for check in checks))


def _arguments(given: Any, place: int) -> list[Any]:
    """Return a call's arguments: a list of them, or text with one JSON value on each line."""
    if isinstance(given, str):
        return [_json(line, f"the input of test {place}") for line in given.split("\n") if line.strip()]
    if not isinstance(given, list):
        raise Unread(f"the input of test {place} is no list of arguments")
    return given


def _text(value: Any, place: int, name: str, *, lines: bool = True) -> str:
    """Return what goes over stdin or stdout: text, or a list of lines."""
    if lines and isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "\n".join(value)
    if not isinstance(value, str):
        raise Unread(f"the {name} of test {place} is no text")
    return value


def _sources(meta: Mapping[str, Any], name: str) -> list[str]:
    value = meta.get(name) or []
    value = [value] if isinstance(value, str) else _list(value, name)
    if not all(isinstance(each, str) for each in value):
        raise Unread(f"`{name}` is no list of texts")
    return [each for each in value if each.strip()]


def _prompt(meta: Mapping[str, Any], problem: str, entry: str) -> str:
    """Return the Python that the program continues: the row's `prompt`, else its problem, or the last block of one that
    defines what is tested; "" where there is none."""
    for text in (meta.get("prompt"), problem):
        if not isinstance(text, str):
            continue
        blocks = [
            block for block in _FENCED.findall(text) if re.search(rf"^(?:def|class) {entry}\b", block, re.MULTILINE)
        ]
        if blocks or re.search(r"^\s*(?:def|class|import|from)\b", text, re.MULTILINE):
            return (blocks or [text])[-1].strip("\n") + "\n"
    return ""


def _tolerance(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1 or not math.isfinite(value):
        raise Unread("`tolerance` is a number from 0 to 1")
    return float(value)


def _known(fields: Mapping[str, Any], names: Sequence[str], what: str) -> None:
    """Raise for a field that nothing here reads."""
    for name, value in fields.items():
        if name not in names and value is not None:
            raise Unread(f"{what} has a field that is not understood: `{str(name)[:40]}`")


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise Unread(f"`{name}` is no list")
    return value


def _json(text: Any, name: str) -> Any:
    """Return the value of JSON text; what is no text is a value already."""
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text, parse_int=_whole, parse_float=_decimal)
    except (ValueError, RecursionError) as error:
        raise Unread(f"{name} is no JSON text") from error


def _whole(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise ValueError
    return int(digits)


def _decimal(text: str) -> float:
    """Return a decimal; ValueError for one that no float can hold, for which every infinity would do."""
    if math.isinf(value := float(text)):
        raise ValueError
    return value
