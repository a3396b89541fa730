"""YAML as entries that remember where they were written, and how two such trees merge.

What enters: the text of a recipe. What leaves: `Entry` trees of raw text, lists and maps; nothing is converted here,
because only a field's type can say whether `1e-5` is a number and `on` a word. Duplicate keys, aliases and anything
that is not plain YAML are errors with file and line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.errors import MissingError, RecipeError

if TYPE_CHECKING:
    import yaml

COMMAND_LINE = "command line"
_HINT = "recipes are plain YAML: maps, lists and values; see `r1 recipes show r1_zero`"
_DEEPEST = 5000
"""Signs that open something in a text that libyaml reads, so that it nests no deeper."""
_NULL = ("", "~", "null")
_BOOLS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


@dataclass(frozen=True)
class Entry:
    """One value of a recipe as it was written."""

    value: str | list[Entry] | dict[str, Entry]
    """Raw text, a list or a map."""
    where: str = ""
    """file:line of the value's key, or `command line`."""
    note: str = ""
    """The comment behind the value on its line, without the #."""
    quoted: bool = False
    """True for text in quotes, which is never null."""
    folder: Path | None = None
    """Folder of the file it was written in; None for the command line."""

    @property
    def is_null(self) -> bool:
        """Whether this is YAML's null."""
        return isinstance(self.value, str) and not self.quoted and self.value.lower() in _NULL

    @property
    def shown(self) -> str:
        """The value in a few words, for an error message."""
        if isinstance(self.value, str):
            return f"`{self.value[:60]}`" if self.value else "nothing"
        return "a list" if isinstance(self.value, list) else "a map"


def merge(parent: Entry | None, child: Entry | None) -> Entry:
    """The child laid over its parent: maps merge key by key, lists and values replace."""
    if parent is None or child is None:
        return child or parent or Entry({})
    if not isinstance(parent.value, dict) or not isinstance(child.value, dict):
        return child
    merged = dict(parent.value)
    for key, entry in child.value.items():
        merged[key] = merge(parent.value.get(key), entry)
    return replace(child, value=merged)


def read_file(path: Path, shown: str) -> Entry:
    """The map a recipe file holds; raises MissingError or RecipeError (where = file:line)."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise MissingError(f"cannot read the recipe `{shown}` ({error.strerror})", hint="`r1 recipes list`") from error
    except UnicodeDecodeError as error:
        raise RecipeError("the file is not UTF-8 text", where=shown, hint=_HINT) from error
    entry = parse(text, shown, path.parent)
    if not isinstance(entry.value, dict):
        raise RecipeError("the file should hold a map of keys and values", where=shown, hint=_HINT)
    return entry


@lru_cache(maxsize=256)  # the nodes of a pipeline extend the same few files
def parse(text: str, shown: str, folder: Path | None = None) -> Entry:
    """YAML text -> Entry; `shown` is the file in messages, or COMMAND_LINE (which has no line numbers)."""
    import yaml

    # libyaml is fifteen times as fast, and recurses in C without looking how deep.
    fast = getattr(yaml, "CSafeLoader", None) if sum(map(text.count, "[{-?:")) <= _DEEPEST else None
    try:
        node = yaml.compose(text, Loader=fast or yaml.SafeLoader)
        if node is None:
            return Entry({} if shown != COMMAND_LINE else "", shown, folder=folder)
        return _Reader(text.splitlines(), shown, folder).entry(node, node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = shown if mark is None or shown == COMMAND_LINE else f"{shown}:{mark.line + 1}"
        raise RecipeError(f"not valid YAML ({error.problem or error.context})", where=where, hint=_HINT) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise RecipeError(f"not valid YAML ({type(error).__name__})", where=shown, hint=_HINT) from error


def untyped(entry: Entry) -> Any:
    """A value whose field has no type of its own: null, true, 3, 1e-5 or text, as it looks."""
    if isinstance(entry.value, dict):
        return {key: untyped(item) for key, item in entry.value.items()}
    if isinstance(entry.value, list):
        return [untyped(item) for item in entry.value]
    if entry.quoted:
        return entry.value
    if entry.is_null:
        return None
    for convert in (as_bool, as_int, as_float):
        value = convert(entry.value)
        if value is not None:
            return value
    return entry.value


def as_bool(text: str) -> bool | None:
    """true, yes, on, false, no, off -> bool; None for anything else."""
    return _BOOLS.get(text.lower())


def as_int(text: str) -> int | None:
    """`8`, `10_000`, `1e4` -> int; None for anything that is not a whole number."""
    if re.fullmatch(r"[+-]?\d[\d_]{0,99}", text):
        return int(text)
    number = as_float(text)
    exact = number is not None and number.is_integer() and abs(number) < 2**53
    return int(number) if exact and number is not None else None


def as_float(text: str) -> float | None:
    """`0.1`, `1e-5`, `.5` -> a finite float; None for anything else, NaN and infinity included."""
    if not re.fullmatch(r"[+-]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)([eE][+-]?\d+)?", text):
        return None
    number = float(text.replace("_", ""))
    return number if abs(number) != float("inf") else None


class _Reader:
    """Turns composed YAML nodes into entries; it keeps the file's lines to find comments in."""

    def __init__(self, lines: list[str], shown: str, folder: Path | None) -> None:
        self.lines = lines
        self.shown = shown
        self.folder = folder
        self.seen: set[int] = set()

    def entry(self, node: yaml.Node, key: yaml.Node) -> Entry:
        import yaml

        where = self.where(key)
        if id(node) in self.seen:
            raise RecipeError("YAML aliases are not part of recipes", where=where, hint="write the value out")
        self.seen.add(id(node))
        value: str | list[Entry] | dict[str, Entry]
        if isinstance(node, yaml.MappingNode):
            value = self.map(node)
        elif isinstance(node, yaml.SequenceNode):
            value = [self.entry(item, item) for item in node.value]
        else:
            value = str(node.value)
        quoted = isinstance(node, yaml.ScalarNode) and bool(node.style)
        return Entry(value, where, self.note(node), quoted, self.folder)

    def map(self, node: yaml.MappingNode) -> dict[str, Entry]:
        found: dict[str, Entry] = {}
        for key, value in node.value:
            if not isinstance(key.value, str):
                raise RecipeError("a key should be a single word", where=self.where(key), hint=_HINT)
            if key.value in found:
                what = f"the key `{key.value}` was already written at {found[key.value].where}"
                raise RecipeError(what, where=self.where(key), hint="keep one of the two")
            found[key.value] = self.entry(value, key)
        return found

    def where(self, node: yaml.Node) -> str:
        return self.shown if self.shown == COMMAND_LINE else f"{self.shown}:{node.start_mark.line + 1}"

    def note(self, node: yaml.Node) -> str:
        flow = getattr(node, "flow_style", None) is not False
        if not flow or getattr(node, "style", None) in ("|", ">") or node.end_mark.line >= len(self.lines):
            return ""
        behind = self.lines[node.end_mark.line][node.end_mark.column :]
        found = re.fullmatch(r"[\s\]},]*\s#\s*(.*?)\s*", behind)
        return found.group(1) if found else ""
