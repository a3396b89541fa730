"""The rows that travel between stages, and the JSONL files they live in.

What enters: a path and a kind of row. What leaves: checked rows, or an error that names the file and the line. Rows are
checked where they are read, so a training run never meets half a problem in its third hour.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

from stages.core.data.values import decoded_json, doubled
from stages.core.errors import InputError, MissingError

RULES = ("math", "choice", "program", "exact", "code")
"""Verifiers that are rules: a program judges the answer."""
JUDGES = ("helpful", "safe")
"""Verifiers that are learned judges: R1's general prompts, each of which belongs to one of the two."""
VERIFIERS = (*RULES, *JUDGES)
TEST_FIELDS = (
    *("tests", "input_output", "public_test_cases", "private_test_cases", "test_list", "test", "test_cases"),
    *("verification_info", "entry_point", "prompt", "starter_code", "metadata", "fn_name", "tolerance"),
    *("test_imports", "test_setup_code"),
)
"""Columns of public sets that say how a program is tested; a code row carries them in its `meta`."""


@dataclass(frozen=True)
class Prompt:
    """A problem with a gold answer a program can judge, or a general prompt for a learned judge."""

    id: str
    """Unique within its file; groups, pass@k and paired differences are counted by it."""
    problem: str
    """The bare problem, before any template."""
    answer: str
    """The gold solution; for a general prompt a reference answer, or empty."""
    verifier: str
    """Who judges the answer: math, choice, program, exact, code (rules), or helpful, safe (judges)."""
    family: str = ""
    """Task family for tables; empty = none."""
    split: str = ""
    """train, validation, heldout, …; empty = unassigned."""
    level: int = 0
    """Difficulty, 0 = unknown; larger is harder within a family."""
    language: str = "en"
    """Language the problem is written in, as an ISO 639-1 code."""
    meta: dict[str, Any] = field(default_factory=dict)
    """Whatever the verifier needs besides the answer, e.g. a program's prefix and target, or `tests` of code."""
    turns: list[dict[str, str]] = field(default_factory=list)
    """Messages before the problem, oldest first, each {role, content}; a system turn is one. Empty = none."""


@dataclass(frozen=True)
class Conversation:
    """A prompt with a response worth imitating, in the two parts R1 gives it."""

    id: str
    """Unique within its file."""
    problem: str
    """The bare prompt, before any template."""
    reasoning: str
    """What is written between the think tags; empty = none."""
    summary: str
    """What the user reads: the content of the answer tags."""
    language: str = "en"
    """Language of the response, as an ISO 639-1 code."""
    family: str = ""
    """Task family for tables and mixing; empty = none."""
    source: str = ""
    """Where the response comes from: `seed`, a model's address, `world`; empty = unknown."""
    meta: dict[str, Any] = field(default_factory=dict)
    """Anything else."""
    turns: list[dict[str, str]] = field(default_factory=list)
    """As `Prompt.turns`."""


@dataclass(frozen=True)
class Sample:
    """One scored completion of a prompt."""

    id: str
    """The prompt's id; with `sample` unique within its file."""
    sample: int
    """Which of the prompt's completions, from 0."""
    completion: str
    """The text after the prompt (and its prefill), without end or padding tokens."""
    tokens: int
    """Its length with the end token, if it came."""
    truncated: bool
    """Whether the limit cut it."""
    rewards: dict[str, Any] = field(default_factory=dict)
    """Reward name -> 0..1, or None where it could not judge."""
    reasons: dict[str, Any] = field(default_factory=dict)
    """Reward name -> why, in a few words."""
    failed: bool = False
    """Whether the engine failed: then this is no sample of the model, and no reward judged it."""


@dataclass(frozen=True)
class Preference:
    """Two responses to one prompt, the better first (R1's helpful judge learns from such pairs)."""

    id: str
    """Unique within its file."""
    problem: str
    """The bare prompt."""
    chosen: str
    """The better response, whole: reasoning and summary in their tags."""
    rejected: str
    """The worse response, whole."""
    margin: float = 0.0
    """Difference of the two averaged judgements, in points of the labeller's scale."""
    language: str = "en"
    """Language of the prompt."""
    family: str = ""
    """Task family for tables."""
    turns: list[dict[str, str]] = field(default_factory=list)
    """As `Prompt.turns`."""


@dataclass(frozen=True)
class Labelled:
    """One response with a label (R1's safe judge learns from such points)."""

    id: str
    """Unique within its file."""
    problem: str
    """The bare prompt."""
    response: str
    """The response, whole."""
    safe: bool
    """The label."""
    language: str = "en"
    """Language of the prompt."""
    family: str = ""
    """Task family for tables."""
    turns: list[dict[str, str]] = field(default_factory=list)
    """As `Prompt.turns`."""


Row = Prompt | Conversation | Sample | Preference | Labelled
_WORDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "an object",
    list: "a list of messages, each {role, content} in text",
}


@cache
def _fields(kind: Any) -> tuple[dict[str, type], tuple[str, ...]]:
    """Field name -> plain type, and the names without a default."""
    hints = get_type_hints(kind)
    types = {
        f.name: next(plain for plain in _WORDS if plain is getattr(hints[f.name], "__origin__", hints[f.name]))
        for f in fields(kind)
    }
    return types, tuple(f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING)


_encoded = json.JSONEncoder(ensure_ascii=False).encode  # made once: making it costs as much as a row
_HALF = re.compile(r"\\u[dD][89a-fA-F]")


def parse_row(line: str, where: str, kind: Any = Prompt) -> Any:
    """One JSON line -> a row of `kind`; raises InputError at `where` for what is no JSON or a wrong or absent field."""
    try:
        row = decoded_json(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"this line is not JSON ({error})", where=where, hint=_hint(kind)) from error
    if not isinstance(row, dict):
        raise InputError("this line is JSON but not an object", where=where, hint=_hint(kind))
    if name := doubled(row):
        raise InputError(f"the row names `{name}` twice", where=where, hint="give each value its own name")
    if _HALF.search(line):
        try:
            json.dumps(row, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            what = "the row holds half of a surrogate pair, which is no valid Unicode"
            raise InputError(what, where=where, hint=_hint(kind)) from error
    types, required = _fields(kind)
    for name in required:
        if name not in row:
            raise InputError(f"the row lacks `{name}`", where=where, hint=_hint(kind))
    row = {name: value for name, value in row.items() if value is not None or name in required or name not in types}
    for name, value in row.items():
        if name not in types:
            hint = "put extra facts in `meta`" if "meta" in types else f"known: {', '.join(types)}"
            raise InputError(f"the row has an unknown field `{name}`", where=where, hint=hint)
        if (type(value) is not types[name] or types[name] is list) and not _fits(value, types[name]):
            what = f"`{name}` should be {_WORDS[types[name]]}, not {json.dumps(value)[:60]}"
            raise InputError(what, where=where, hint=_hint(kind))
    if kind is Prompt and row["verifier"] not in VERIFIERS:
        known = ", ".join(VERIFIERS)
        raise InputError(f"unknown verifier `{row['verifier']}`", where=where, hint=f"use one of: {known}")
    return kind(**row)


def _fits(value: object, plain: type) -> bool:
    if isinstance(value, bool):
        return plain is bool
    if plain is list:
        return isinstance(value, list) and all(_is_message(one) for one in value)
    return isinstance(value, (int, float) if plain is float else plain)


def _is_message(value: object) -> bool:
    """Whether a value is one turn: a role and a content, both text."""
    return (
        isinstance(value, dict)
        and value.keys() == {"role", "content"}
        and all(isinstance(text, str) for text in value.values())
        and bool(value["role"])
    )


def read_rows(path: Path, kind: Any = Prompt) -> list[Any]:
    """All rows of a JSONL file, as `checked_rows` yields them."""
    return list(checked_rows(path, kind))


def checked_rows(path: Path, kind: Any = Prompt) -> Iterator[Any]:
    """The rows of a JSONL file, each a `kind`, in file order (blank lines are skipped), none of them kept.

    Raises MissingError when the file is absent and InputError (where = file:line) for a bad row, a repeated id (a
    repeated id and number for samples) or a file without rows.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingError(f"no file `{path}`", hint="check the path; `r1 prepare --help` tells what rows look like")
    seen: dict[int, int] = {}
    """Hash of what names a row -> its line; of 64 bits, so that no two of any file's are the same by chance."""
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            if not raw.strip():
                continue
            row = parse_row(_text(raw, f"{path}:{number}"), f"{path}:{number}", kind)
            key = hash((row.id, row.sample) if isinstance(row, Sample) else row.id)
            if key in seen:
                what = f"the id `{row.id}` was already used on line {seen[key]}"
                raise InputError(what, where=f"{path}:{number}", hint="give every row its own id")
            seen[key] = number
            yield row
    if not seen:
        raise InputError("the file holds no rows", where=str(path), hint=_hint(kind))


def write_rows(path: Path, rows: Iterable[Row]) -> int:
    """Writes one JSON object per line, keys in field order, so that equal rows give equal bytes; returns how many."""
    count = 0
    with Path(path).open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(line_of(row))
            count += 1
    return count


def line_of(row: Row) -> str:
    """A row as `write_rows` writes it, with the end of its line."""
    return _encoded(fields_of(row)) + "\n"


def in_words(row: Prompt) -> str:
    """A problem as a reader of plain text gets it: with what was said before it, each turn behind its role."""
    said = [f"{turn['role']}: {turn['content']}\n\n" for turn in row.turns]
    return "".join(said) + (f"user: {row.problem}" if said else row.problem)


def fields_of(row: Row) -> dict[str, Any]:
    """A row's fields as they are written: `turns` only where there are some, so that older files keep their bytes."""
    return {name: value for name, value in vars(row).items() if name != "turns" or value}


_HINT = "`r1 prepare` turns other layouts into prompts; see `r1 prepare --help`"


def _hint(kind: Any) -> str:
    """Say what turns other layouts into rows of a kind."""
    made = {Conversation: "conversations", Preference: "preferences"}.get(kind)
    return f"`r1 prepare kind={made} source=FILE` turns other layouts into {made}" if made else _HINT


def _text(raw: bytes, where: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError("this line is not UTF-8 text", where=where, hint=_HINT) from error
