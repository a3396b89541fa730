"""One set of rows in every format gives the same rows; what is no such format is named for what it is."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa  # comes with datasets
import pyarrow.parquet as parquet
import pytest

from stages.core.data import columns, files, pieces
from stages.core.errors import InputError

ROWS = [
    {"problem": "a, b", "answer": "007"},
    {"problem": 'say "π"\nplease', "answer": "1.50"},
    {"problem": "c", "answer": "2024-05-01"},
]


def read(
    path: Path, wanted: Callable[[str], bool] = lambda _: True, columns: dict[str, None] | None = None
) -> list[pieces.Raw]:
    """Every piece as another process gets it."""
    names: dict[str, None] = {} if columns is None else columns
    sent = (pickle.loads(pickle.dumps(piece)) for piece in files.pieces(path, str(path), names, wanted))
    return [raw for piece in sent for raw in piece(names, wanted)]


def as_csv(mark: str) -> bytes:
    file = io.StringIO()
    writer = csv.DictWriter(file, ["problem", "answer"], delimiter=mark)
    writer.writeheader()
    writer.writerows(ROWS)
    return file.getvalue().encode()


JSONL = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()
FORMATS = {
    "rows.jsonl": JSONL,
    "bom.jsonl": b"\xef\xbb\xbf" + JSONL,
    "crlf.jsonl": JSONL.replace(b"\n", b"\r\n"),
    "array.json": json.dumps(ROWS).encode(),
    "pretty.json": json.dumps(ROWS, indent=2).encode(),
    "objects.json": b"\n".join(json.dumps(row, indent=2).encode() for row in ROWS),
    "wrapped.json": json.dumps({"version": 1, "data": ROWS}, indent=2).encode(),
    "line.json": json.dumps({"version": 1, "data": ROWS}).encode(),
    "rows.csv": as_csv(","),
    "semicolon.csv": as_csv(";"),
    "rows.tsv": as_csv("\t"),
    "rows.jsonl.gz": gzip.compress(JSONL, mtime=0),
    "rows.json.gz": gzip.compress(json.dumps(ROWS).encode()),
    "rows.csv.gz": gzip.compress(as_csv(",")),
    "rows.jsonl.bz2": bz2.compress(JSONL),
    "rows.jsonl.xz": lzma.compress(JSONL),
    "rows.jsonl.zst": pa.compress(JSONL, codec="zstd", asbytes=True),
    "no-suffix": JSONL,
}


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_rows_are_the_same_in_every_format(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(FORMATS[name])
    assert [raw.row for raw in read(tmp_path / name)] == ROWS


@pytest.mark.parametrize("kind", ["parquet", "stream", "file"])
def test_tables_are_read_by_their_schema_and_only_what_is_wanted(tmp_path: Path, kind: str) -> None:
    table = pa.Table.from_pylist([{**row, "picture": b"\x89PNG"} for row in ROWS])
    path = tmp_path / ("rows.parquet" if kind == "parquet" else "rows.arrow")
    if kind == "parquet":
        parquet.write_table(table, path)
    else:
        with (pa.ipc.new_stream if kind == "stream" else pa.ipc.new_file)(str(path), table.schema) as writer:
            writer.write_table(table)
    columns: dict[str, None] = {}
    found = read(path, lambda name: name != "picture", columns)
    assert [raw.row for raw in found] == ROWS and list(columns) == ["problem", "answer", "picture"]


def test_numbers_keep_their_digits_and_long_ones_their_row(tmp_path: Path) -> None:
    (tmp_path / "n.jsonl").write_text('{"a": 0.10000000000000000000001, "b": ' + "9" * 5000 + "}\n")
    row = read(tmp_path / "n.jsonl")[0].row
    assert str(row["a"]) == "0.10000000000000000000001" and str(row["b"]) == "9" * 5000


def test_a_value_that_python_has_not_costs_its_row_alone(tmp_path: Path) -> None:
    day = pa.array([10**12, 19_000], pa.int64()).cast(pa.timestamp("s"))
    parquet.write_table(pa.table({"problem": ["a", "b"], "day": day}), tmp_path / "t.parquet")
    first, second = read(tmp_path / "t.parquet")
    assert first.row["problem"] == "a" and "Unreadable" in type(first.row["day"]).__name__
    assert second.row["day"].year == 1970


def test_a_short_float_has_the_digits_it_was_written_with(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"a": pa.array([0.1, 2.0, None], pa.float32())}), tmp_path / "t.parquet")
    assert [raw.row["a"] for raw in read(tmp_path / "t.parquet")] == [0.1, 2.0, None]


def test_a_row_of_fewer_values_than_columns_has_none_in_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1\n")
    assert read(tmp_path / "a.csv")[0].row == {"a": "1", "b": None}


def test_a_huge_array_is_not_held_in_memory_nor_read_twice(tmp_path: Path) -> None:
    rows = [{"n": number, "text": "x" * 1000} for number in range(3000)]  # three chunks, with rows across their borders
    (tmp_path / "big.json").write_text(json.dumps(rows))
    assert [raw.row["n"] for raw in read(tmp_path / "big.json")] == list(range(3000))
    assert read(tmp_path / "big.json")[-1].where.endswith("big.json:3000")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", b'[[{"v": "q"}, {"g": {"v": 7}}],\n [{"v": "r"}, {"g": {"v": 8}}]]'),
        ("a.json", b'[\n [\n  {"v": "q"}, {"g": {"v": 7}}], [{"v": "r"}, {"g": {"v": 8}}]\n]\n'),
        ("a.jsonl", b'[{"v": "q"}, {"g": {"v": 7}}]\n[{"v": "r"}, {"g": {"v": 8}}]\n'),
    ],
)
def test_a_row_that_is_a_list_has_its_places_as_columns(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    found = [(columns.at(raw.row, "0.v"), columns.at(raw.row, "1.g.v"), raw.fault) for raw in read(tmp_path / name)]
    assert found == [("q", 7, ""), ("r", 8, "")]


@pytest.mark.parametrize(
    ("name", "content", "faults"),
    [
        ("a.jsonl", b'{"a": 1}\n{"a": \n{"a": 3}\n', ["", "not JSON", ""]),
        ("a.jsonl", b'{"a": "\xff"}\n{"a": 2}\n', ["not UTF-8 text", ""]),
        ("a.json", b'[{"a": 1}, 5, {"a": 2}]', ["", "not an object", ""]),
        ("a.json", b'[{"a": 1}, {"a": ', ["", "not JSON"]),
        ("a.csv", b"a,b\n1,2\n1,2,3\n4,5\n", ["", "more values than columns", ""]),
        ("a.csv", b'a,b\n1,"2\n"x"y,2\n4,5\n', ["not CSV", ""]),
        ("a.csv", b'a,b\n1,2\n3,"never closed\n5,6\n', ["", "not CSV"]),
    ],
)
def test_a_broken_row_is_told_where_it_stands(tmp_path: Path, name: str, content: bytes, faults: list[str]) -> None:
    (tmp_path / name).write_bytes(content)
    assert [raw.fault for raw in read(tmp_path / name)] == faults


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"PK\x03\x04rest", "a zip archive or a spreadsheet"),
        (b"SQLite format 3\x00", "an SQLite database"),
        ("{}".encode("utf-16"), "UTF-16"),
        (b"\x80\x04\x95", "a pickle"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        (gzip.compress(JSONL, mtime=0)[:-9], "cannot be read to its end"),
        (gzip.compress(b"PAR1 and so on", mtime=0), "a packed table"),
        (b"PAR1 no", "not a Parquet file"),
        (b'{"problem": {"0": "a"}, "answer": {"0": "1"}}', "column by column"),
        (b'{"problem": ["a", "b"],\n "answer": ["1", "2"]}\n', "column by column"),
    ],
)
def test_a_file_that_is_not_read_is_named_with_a_way_out(tmp_path: Path, content: bytes, what: str) -> None:
    (tmp_path / "x.jsonl").write_bytes(content)
    with pytest.raises(InputError, match=what) as caught:
        read(tmp_path / "x.jsonl")
    assert caught.value.hint and caught.value.where


def test_one_row_of_messages_is_a_row_and_no_wrapper(tmp_path: Path) -> None:
    row: dict[str, Any] = {"messages": [{"role": "user", "content": "q"}]}
    (tmp_path / "one.jsonl").write_text(json.dumps(row) + "\n")
    assert [raw.row for raw in read(tmp_path / "one.jsonl")] == [row]


def test_a_name_that_stands_twice_is_told_and_no_value_of_it_is_chosen(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": 1, "a": 2}\n{"a": 3}\n')
    (tmp_path / "a.json").write_text('[\n{"a": 1, "b": 1, "b": 2},\n{"a": 3}]')
    for name, which in (("a.jsonl", "`a`"), ("a.json", "`b`")):
        first, second = read(tmp_path / name)
        assert (first.fault, first.detail, second.row) == ("a name stands twice", which, {"a": 3})
        assert first.row == ({"a": 1} if which == "`b`" else {})
    (tmp_path / "a.csv").write_text("a,b,a\n1,2,3\n")
    with pytest.raises(InputError, match="two columns are called `a`"):
        read(tmp_path / "a.csv")
    (tmp_path / "blank.csv").write_text("a,,\n1,,\n")  # what spreadsheets leave at the edge
    assert read(tmp_path / "blank.csv")[0].row["a"] == "1"


def test_a_name_that_stands_twice_matters_as_deep_as_it_is_read_and_no_further(tmp_path: Path) -> None:
    rows = ['{"a": {"b": {"c": 1, "c": 2}}}', '{"a": [[{"d": 1, "d": 1}]]}', '{"a": 1, "x": 1, "x": 2}']
    rows += ['{"a": 1, "x": {"y": 1, "y": 2}}', '[{"e": 1, "e": 2}]']
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    (tmp_path / "b.json").write_text(f'{{"data": [{", ".join(rows[:4])}]}}')
    for name in ("a.jsonl", "b.json"):
        found = read(tmp_path / name, lambda name: name in ("a", "0"))
        assert [raw.detail for raw in found] == ["`c`", "`d`", "", "", "`e`"][: len(found)] and len(found) >= 4
    (tmp_path / "a.csv").write_text("a,b,b\n1,2,3\n")
    assert read(tmp_path / "a.csv", lambda name: name == "a")[0].row["a"] == "1"


def test_a_row_of_several_lines_is_where_it_begins(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('a,b\n1,"x\ny"\n2,3\n4,"never\nends\n')
    found = read(tmp_path / "a.csv")
    assert [row.where.rpartition(":")[2] for row in found] == ["2", "4", "5"]
    assert found[2].detail == "a quote that never closes"
