"""From entries to typed dataclasses: strict keys, conversion by field type, and the documentation of fields.

What enters: an `Entry` tree and a frozen dataclass. What leaves: an instance, or one sentence that names the file, the
line, the key and the way out. The dataclass is the only description of a recipe there is.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
import types
from functools import lru_cache
from itertools import pairwise
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from stages.core.errors import RecipeError, nearest
from stages.core.fingerprint import default_of, plain
from stages.core.recipe.yamlfile import Entry, as_bool, as_float, as_int, untyped

REQUIRED = "required"
"""The default of a key that has none."""


class Key(NamedTuple):
    """One key a recipe may hold."""

    key: str
    """Dotted; `[]` marks the items of a list."""
    type: str
    default: Any
    """Plain value, or REQUIRED."""
    doc: str
    """The string beneath the field: unit, range, meaning of 0 and None."""


def build(cls: type, entry: Entry, key: str, base: Any, ask: str) -> Any:
    """An instance of a dataclass from a map; keys not given come from `base` (an instance or None) or the defaults.

    `key` is the dotted path of this map, empty at the top; `ask` names the command that lists all keys. Raises
    RecipeError with file and line for unknown or missing keys, wrong types, and whatever __post_init__ refuses.
    """
    given = _map(entry, key or cls.__name__.lower(), ask)
    known = {field.name: field for field in dataclasses.fields(cls)}
    for name, item in given.items():
        if name not in known:
            raise unknown_key(_dotted(key, name), cls, item.where, ask)
    values: dict[str, Any] = {}
    for name, field in known.items():
        default = getattr(base, name) if base is not None else default_of(field)
        if name in given:
            values[name] = convert(given[name], _hints(cls)[name], _dotted(key, name), default, ask)
        elif default is dataclasses.MISSING:
            raise RecipeError(f"{_label(cls)} needs `{_dotted(key, name)}`", where=entry.where, hint=ask)
        else:
            values[name] = default
    try:
        return cls(**values)
    except RecipeError as error:
        named = next((item for name, item in given.items() if f"`{name}`" in error.what), entry)
        raise RecipeError(error.what, hint=error.hint or ask, where=error.where or named.where) from error


def convert(entry: Entry, hint: Any, key: str, default: Any, ask: str) -> Any:
    """One value by its field's type; `default` is what a nested map is laid over (MISSING = nothing)."""
    origin, arguments = get_origin(hint), get_args(hint)
    base = None if default is dataclasses.MISSING else default
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return build(hint, entry, key, base, ask)
    if origin in (Union, types.UnionType):
        return _union(entry, arguments, key, default, ask)
    if origin is dict or hint is dict:
        inner = arguments[1] if arguments else Any
        old = base if isinstance(base, dict) else {}
        items = _map(entry, key, ask).items()
        fresh = {k: convert(v, inner, f"{key}.{k}", old.get(k, dataclasses.MISSING), ask) for k, v in items}
        return {**old, **fresh}
    if origin in (list, tuple) or hint in (list, tuple):
        return _sequence(entry, hint, key, ask)
    if origin is Literal:
        for choice in arguments:
            if isinstance(entry.value, str) and entry.value == str(choice):
                return choice
        raise _wrong(entry, key, "one of " + ", ".join(f"`{choice}`" for choice in arguments), ask)
    return _scalar(entry, hint, key, ask)


def unknown_key(key: str, cls: type, where: str, ask: str) -> RecipeError:
    """The error for a key that `cls` does not have, with the nearest name it does have."""
    head, _, last = key.rpartition(".")
    names = [_dotted(head, field.name) for field in dataclasses.fields(cls)]
    close = nearest(key, names) or nearest(last, names)
    return RecipeError(f"unknown key `{key}` in {_label(cls)}", where=where, hint=close + ask)


def nest(hint: Any, key: str, leaf: Entry) -> Entry:
    """A dotted key as nested maps. A map of plain values takes the whole rest as its key, so that a reward named
    `my_pkg.my_module:reward` can be written on the command line."""
    cls = dataclass_in(hint)
    head, _, rest = key.partition(".")
    if cls is None and _scalar_map(hint):
        head, rest = key, ""
    inner = _hints(cls).get(head) if cls is not None else (get_args(hint) or (None, None))[-1]
    return dataclasses.replace(leaf, value={head: nest(inner, rest, leaf) if rest else leaf})


AS_BELOW = "as below"
"""Shown as the default of a key whose own keys follow it with theirs."""


def describe(cls: type, prefix: str = "", *, nested: bool = True) -> list[Key]:
    """All keys of a dataclass, its own before its parts'; with `nested`, each dataclass's own follow it, dotted."""
    found: list[Key] = []
    notes = docs(cls)
    for field in _in_order(cls):
        hint, key = _hints(cls)[field.name], _dotted(prefix, field.name)
        default = default_of(field)
        shown = REQUIRED if default is dataclasses.MISSING else plain(default)
        written = field.type if isinstance(field.type, str) else _type_name(hint)
        found.append(Key(key, written, shown, notes.get(field.name, "")))
        inner = dataclass_in(hint) if nested else None
        if inner is not None and dataclasses.is_dataclass(default):
            found[-1] = found[-1]._replace(default=AS_BELOW)
        if inner is not None:
            many = get_origin(hint) in (list, tuple)
            found += describe(inner, key + "[]" * many)
    return found


def values(recipe: Any) -> dict[str, Any]:
    """The plain values of a dataclass in the order of `describe`."""
    found = plain(recipe)
    return {field.name: found[field.name] for field in _in_order(type(recipe))}


@lru_cache
def docs(cls: type) -> dict[str, str]:
    """Field name -> the string literal beneath it, read from the module's source; empty when there is no source."""
    import ast
    from pathlib import Path

    found: dict[str, str] = {}
    for parent in reversed(cls.__mro__[:-1]):
        file = getattr(sys.modules.get(parent.__module__), "__file__", None)
        tree = ast.parse(Path(file).read_text(encoding="utf-8")) if file else ast.Module([], [])
        classes = {node.name: node.body for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
        body = classes.get(parent.__name__, [])
        for field, below in pairwise(body):
            if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
                continue
            if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
                found[field.target.id] = " ".join(str(below.value.value).split())
    return found


def dataclass_in(hint: Any) -> type | None:
    """The dataclass a type is about: itself, or inside `X | None`, list[X] or dict[str, X]; None when there is none."""
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return hint
    return next((found for part in get_args(hint) if (found := dataclass_in(part)) is not None), None)


def _in_order(cls: type) -> list[dataclasses.Field[Any]]:
    """The fields of a dataclass as they are read: its own, then its parts' in the order of its bases; a field that is
    declared again stands where it was first declared."""
    place = {name: level for level, part in enumerate(cls.__mro__) for name in inspect.get_annotations(part)}
    return sorted(dataclasses.fields(cls), key=lambda field: place[field.name])


def _union(entry: Entry, choices: tuple[Any, ...], key: str, default: Any, ask: str) -> Any:
    if types.NoneType in choices and entry.is_null:
        return None
    rest = [choice for choice in choices if choice is not types.NoneType]
    for choice in rest[:-1]:
        try:
            return convert(entry, choice, key, default, ask)
        except RecipeError:
            continue
    try:
        return convert(entry, rest[-1], key, default, ask)
    except RecipeError as error:
        if len(rest) == 1:
            raise
        raise _wrong(entry, key, " or ".join(_type_name(choice) for choice in rest), ask) from error


def _sequence(entry: Entry, hint: Any, key: str, ask: str) -> Any:
    kind, arguments = get_origin(hint) or hint, get_args(hint)
    if not isinstance(entry.value, list):
        raise _wrong(entry, key, "a list", ask)
    items = entry.value
    if kind is list or not arguments or arguments[-1] is Ellipsis:
        hints = [arguments[0] if arguments else Any] * len(items)
    else:
        hints = list(arguments)
    if len(hints) != len(items):
        raise _wrong(entry, key, f"a list of {len(hints)}", ask)
    pairs = enumerate(zip(items, hints, strict=True))
    return kind(convert(item, inner, f"{key}[{n}]", dataclasses.MISSING, ask) for n, (item, inner) in pairs)


def _scalar(entry: Entry, hint: Any, key: str, ask: str) -> Any:
    if hint is Any:
        return untyped(entry)
    if hint is types.NoneType:
        expected, value = "null", None
    elif isinstance(entry.value, str) and not entry.is_null and hint in _CONVERTERS:
        value = _CONVERTERS[hint](entry.value)
        expected = _type_name(hint)
    else:
        expected, value = _type_name(hint), None
    if value is None and not (hint is types.NoneType and entry.is_null):
        raise _wrong(entry, key, expected, ask)
    return value


_CONVERTERS: dict[Any, Any] = {int: as_int, float: as_float, bool: as_bool, str: str}
_WORDS = {int: "a whole number", float: "a finite number", bool: "true or false", str: "text", dict: "a map"}


def _wrong(entry: Entry, key: str, expected: str, ask: str) -> RecipeError:
    before, _, after = key.partition(":")
    if entry.is_null and before and after:  # YAML reads `a:b` as one word
        name = before.rpartition(".")[2]
        what = f"`{name}:{after}` is one word in YAML: a blank is missing after the colon"
        return RecipeError(what, where=entry.where, hint=f"write `{name}: {after}`")
    return RecipeError(f"`{key}` should be {expected}, not {entry.shown}", where=entry.where, hint=ask)


def _map(entry: Entry, key: str, ask: str) -> dict[str, Entry]:
    if entry.is_null:
        return {}  # `recipe:` with nothing beneath
    if not isinstance(entry.value, dict):
        raise _wrong(entry, key, "a map of keys and values", ask)
    return entry.value


def _scalar_map(hint: Any) -> bool:
    parts = get_args(hint)
    if get_origin(hint) in (Union, types.UnionType):
        return any(_scalar_map(part) for part in parts)
    return get_origin(hint) is dict and get_origin(parts[1]) is None and parts[1] is not Any


@lru_cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _label(cls: type) -> str:
    return f"{cls.__module__.rpartition('.')[2]}.{cls.__qualname__}"


def _dotted(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _type_name(hint: Any) -> str:
    return _WORDS.get(hint) or getattr(hint, "__name__", "") or str(hint)
