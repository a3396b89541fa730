"""One outside file, row by row: JSON Lines, JSON, CSV, Parquet or Arrow enters, plain rows leave.

What a file is, its content decides (its name tells only CSV from the rest), compressed or not. Everything is streamed,
so memory does not grow with the file. Texts stay as they are written: no value is guessed to be a number or a date, as
loaders of data frames do. Of a table with columns only those that are wanted are read, so a picture is never decoded.
A row that cannot be read leaves as a `Raw` with its fault; a file that cannot be read raises InputError.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import re
import zlib
from collections.abc import Iterator
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from stages.core.data import tables
from stages.core.data.pieces import MEGABYTE, Piece, Raw, Wanted, cut, given
from stages.core.data.values import HOLDERS, Doubled, as_object_of, doubled, twice
from stages.core.errors import InputError

_LONGEST_FIELD = 1 << 28  # characters of one CSV field: a quote that never closes must not eat the memory
_PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_PICKLE = ("a pickle, which can hold programs", "save it as JSON Lines or Parquet where it was made")
_UTF_16 = ("UTF-16 text", "save it as UTF-8: `iconv -f UTF-16 -t UTF-8 FILE > rows.jsonl`")
_OTHERS = {
    b"PK\x03\x04": ("a zip archive or a spreadsheet", "unpack it, or save the sheet as CSV"),
    b"SQLite format 3": ("an SQLite database", "export the table: `sqlite3 -csv -header FILE 'select …' > rows.csv`"),
    b"\x80\x04": _PICKLE,
    b"\x80\x05": _PICKLE,
    b"\xff\xfe": _UTF_16,
    b"\xfe\xff": _UTF_16,
    b"version https://git-lfs": ("a pointer of Git LFS, not the file itself", "fetch the file: `git lfs pull`"),
}
"""How files begin that are not read -> what they are, and the way out."""
_COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst")
_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".pq", ".arrow")
_ARRAY = re.compile(r"\s*\[\s*(?:\{|\[|\]|$)")
_GAP = re.compile(r"[\s,]*")
_WRAPPERS = ("data", "rows", "examples", "items", "records", "instances", "train")
"""Names under which a JSON file keeps its rows in one object."""


class _Broken(NamedTuple):
    """Stands for a text that is not JSON."""

    why: str


def bare_name(path: Path) -> str:
    """Return a file's name without what its format and its compression add: `rows` of `rows.jsonl.gz`."""
    return Path(path.stem).stem if path.suffix in _COMPRESSIONS else path.stem


def known(name: str) -> bool:
    """Say whether a file of a dataset is read here, by its name."""
    return (
        name.lower().removesuffix(Path(name).suffix if Path(name).suffix in _COMPRESSIONS else "").endswith(_SUFFIXES)
    )


def pieces(path: Path, label: str, columns: dict[str, None], wanted: Wanted) -> Iterator[Piece]:
    """Yield the rows of a file (as label:number, …) in pieces, of lines and tables not read yet.

    `columns` gathers the names of columns that are known so far. Raises InputError for a file in none of the formats,
    or one that breaks off.
    """
    with path.open("rb") as file:
        start = file.read(64)
    for magic, (what, hint) in _OTHERS.items():
        if start.startswith(magic):
            raise InputError(f"this file is {what}", where=label, hint=hint)
    if start.startswith(tables.STARTS) or path.suffix in (".parquet", ".pq", ".arrow"):
        yield from tables.pieces(path, label, columns, wanted)
        return
    try:
        with _unpacked(path, start) as stream:
            head = stream.read(MEGABYTE)
        if head.startswith(tables.STARTS):
            hint = f"unpack it first; Parquet is compressed inside: `gunzip {path.name}`"
            raise InputError("this file is a packed table", where=label, hint=hint)
        names = path.name.removesuffix(path.suffix) if path.suffix in _COMPRESSIONS else path.name
        with _unpacked(path, start) as stream:
            if names.lower().endswith((".csv", ".tsv")):
                yield from given(_csv_rows(stream, label, columns, wanted))
            elif _is_document(head.removeprefix(b"\xef\xbb\xbf")):
                yield from given(_document_rows(stream, label, columns, wanted))
            else:
                first = 1
                for lines in cut(stream, len):
                    yield partial(_line_rows, lines, label, first)
                    first += len(lines)
    except (EOFError, zlib.error, lzma.LZMAError, OSError) as error:
        what = f"this file cannot be read to its end ({error})"
        raise InputError(what, where=label, hint="get the file again: it may be cut off") from error


def _unpacked(path: Path, start: bytes) -> IO[bytes]:
    """Open a file, through its compression if it has one."""
    packed = next((kind for magic, kind in _PACKED.items() if start.startswith(magic)), "")
    if packed == "zstd":
        import pyarrow  # comes with datasets

        return io.BufferedReader(cast(Any, pyarrow.CompressedInputStream(pyarrow.OSFile(str(path)), "zstd")), MEGABYTE)
    opened: dict[str, Any] = {"gzip": gzip.open, "bz2": bz2.open, "xz": lzma.open}
    return cast(IO[bytes], opened[packed](path, "rb") if packed else path.open("rb", buffering=MEGABYTE))


def _plain_number(digits: str) -> int | Decimal:
    return int(digits) if len(digits) < 4000 else Decimal(digits)  # Python's own limit is 4,300 digits


_JSON = json.JSONDecoder(parse_float=Decimal, strict=False, object_pairs_hook=as_object_of)
_LONG = json.JSONDecoder(parse_float=Decimal, parse_int=_plain_number, strict=False, object_pairs_hook=as_object_of)


def _loaded(text: str) -> Any:
    """Return what a text holds as JSON, floats with all their digits, or a `_Broken`."""
    try:
        return _JSON.decode(text)
    except (ValueError, RecursionError) as error:
        if not isinstance(error, ValueError) or isinstance(error, json.JSONDecodeError):
            return _Broken(str(error))
    try:
        return _LONG.decode(text)
    except (ValueError, RecursionError) as error:
        return _Broken(str(error))


def _is_document(head: bytes) -> bool:
    """Say whether a JSON file is an array, or objects over several lines, and not one object a line."""
    text = head.decode("utf-8", "replace").lstrip()
    first, newline, rest = text.partition("\n")
    if _ARRAY.match(text):
        return not (rest.startswith("[") and isinstance(_loaded(first), list))  # else an array a line
    if not text.startswith("{") or not isinstance(_loaded(first), _Broken):
        return not rest.strip() and bool(newline or len(head) < MEGABYTE) and _is_whole(_loaded(first))
    try:
        return newline != "" and _JSON.raw_decode(text)[1] > len(first)
    except json.JSONDecodeError as error:
        return error.pos > len(first) and len(head) == MEGABYTE and error.pos > MEGABYTE // 2
    except (ValueError, RecursionError):
        return False


def _line_rows(lines: list[bytes], label: str, first: int, columns: dict[str, None], wanted: Wanted) -> Iterator[Raw]:
    for number, line in enumerate(lines, start=first):
        if line.isspace():
            continue
        where = f"{label}:{number}"
        try:
            row = _loaded(line.decode("utf-8-sig" if number == 1 else "utf-8"))
        except UnicodeDecodeError as error:
            yield Raw(where, {}, "not UTF-8 text", f"byte {error.start}: save the file as UTF-8")
            continue
        yield _raw(where, row, columns, wanted)


def _raw(where: str, row: Any, columns: dict[str, None], wanted: Wanted) -> Raw:
    if isinstance(row, list) and any(isinstance(part, dict) for part in row):  # a path names its parts by their places
        row = {str(place): value for place, value in enumerate(row)}
    if isinstance(row, dict):
        if row.keys() - columns.keys():
            columns.update(dict.fromkeys(map(str, row)))
        if name := _doubled(row, wanted):
            told = {key: value for key, value in row.items() if key not in getattr(row, "names", ())}
            return Raw(where, told, "a name stands twice", f"`{name}`")
        return Raw(where, row)
    if isinstance(row, _Broken):
        return Raw(where, {}, "not JSON", row.why)
    return Raw(where, {}, "not an object", "a row is a JSON object: names and their values")


def _doubled(row: dict[str, Any], wanted: Wanted) -> str:
    """Return a name that stands twice where it matters: among the columns that are read, or inside one of them."""
    own = [name for name in row.names if wanted(name)] if isinstance(row, Doubled) else []
    inside = (value for name, value in row.items() if isinstance(value, HOLDERS) and wanted(name))
    return own[0] if own else next(filter(None, map(doubled, inside)), "")


def _document_rows(stream: IO[bytes], label: str, columns: dict[str, None], wanted: Wanted) -> Iterator[Raw]:
    """The objects of an array, or objects that follow each other; an object that only wraps the rows is opened."""
    number = 0
    with io.TextIOWrapper(stream, "utf-8-sig", errors="surrogateescape") as file:
        for value in _values(file):
            inside = _wrapped(value) if number == 0 else None
            if number == 0 and _by_columns(value):
                hint = "turn it: `pandas.read_json(FILE).to_json('rows.jsonl', orient='records', lines=True)`"
                raise InputError("this file keeps its rows column by column", where=label, hint=hint)
            for row in [value] if inside is None else inside:
                number += 1
                yield _raw(f"{label}:{number}", row, columns, wanted)


def _values(file: IO[str]) -> Iterator[Any]:
    """Yield one JSON value after the other, of an outer array or without one, holding little more than one of them."""
    text, at, size = file.read(MEGABYTE), 0, MEGABYTE
    at = len(text) - len(text.lstrip())
    inside = text.startswith("[", at)
    at += inside
    while True:
        gap = _GAP.match(text, at)
        at = gap.end() if gap else at
        try:
            value, end = _LONG.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            more = file.read(size)
            if more:
                text, at, size = text[at:] + more, 0, size * 2  # doubled, so that one huge value is not read often
                continue
            rest = text[at:].strip()
            if rest and not (inside and rest == "]"):
                yield _Broken(str(error))
            return
        yield value
        at = end
        if at > MEGABYTE:
            text, at, size = text[at:], 0, MEGABYTE


def _is_whole(value: Any) -> bool:
    """Say whether the one object of a file is no row but all of them."""
    return _wrapped(value) is not None or _by_columns(value)


def _by_columns(value: Any) -> bool:
    """Say whether an object holds columns, {"name": {"0": …}} or {"name": [...]}, as data frames are written."""
    if not isinstance(value, dict) or len(value) < 2:
        return False
    columns = list(value.values())
    if all(isinstance(each, dict) and "0" in each for each in columns):
        return True
    lists = all(isinstance(each, list) and each and not isinstance(each[0], dict) for each in columns)
    return lists and len({len(each) for each in columns}) == 1


def _wrapped(value: Any) -> list[Any] | None:
    """Return the rows that an object keeps under a name such as `data`, None where it is a row itself."""
    if not isinstance(value, dict):
        return None
    found = [value[name] for name in _WRAPPERS if name in value]
    return (
        found[0] if len(found) == 1 and isinstance(found[0], list) and isinstance((found[0] or [0])[0], dict) else None
    )


def _csv_rows(stream: IO[bytes], label: str, columns: dict[str, None], wanted: Wanted) -> Iterator[Raw]:
    """Rows under a header; every value is the text that stands there, an empty one is none."""
    before = csv.field_size_limit(_LONGEST_FIELD)
    try:
        with io.TextIOWrapper(stream, "utf-8-sig", errors="surrogateescape", newline="") as file:
            opening = file.readline(MEGABYTE)
            marks = {mark: opening.count(mark) for mark in ("\t", ";", ",")}
            mark = "," if marks[","] else max(marks, key=lambda each: marks[each])
            header = next(csv.reader([opening], delimiter=mark), [])
            if double := next((name for name in twice(header) if name and wanted(name)), ""):
                hint = f"give each column its own name in the first line: {mark.join(header)[:120]}"
                raise InputError(f"two columns are called `{double}`", where=label, hint=hint)
            columns.update(dict.fromkeys(header))
            reader = csv.reader(file, delimiter=mark, strict=True)
            while True:
                where = f"{label}:{reader.line_num + 2}"  # where the row begins
                try:
                    values = next(reader, None)
                except csv.Error as error:  # a quote that never closes, or one in the middle of a value
                    why = "a quote that never closes" if "end of data" in str(error) else str(error)
                    yield Raw(where, {}, "not CSV", why)
                    continue
                if values is None:
                    return
                if len(values) > len(header):
                    yield Raw(where, {}, "more values than columns", f"{len(values)} for {len(header)}")
                elif values:
                    row: dict[str, Any] = dict.fromkeys(header)
                    yield Raw(where, row | {name: text or None for name, text in zip(header, values, strict=False)})
    finally:
        csv.field_size_limit(before)
