"""Sealed rows are read one by one, wherever in the file they lie, and in any order."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from stages.core.errors import InputError, MissingError
from stages.core.rowfile import RowFile
from stages.core.rows import Prompt, write_rows


def prompt(number: int) -> Prompt:
    return Prompt(id=f"p{number}", problem=f"что {number}?", answer=str(number), verifier="math")


def sealed(path: Path, numbers: range) -> RowFile[Prompt]:
    write_rows(path, map(prompt, numbers))
    return RowFile(path)


def test_every_place_gives_its_row_and_slices_and_picks_keep_their_order(tmp_path: Path) -> None:
    rows = sealed(tmp_path / "a.jsonl", range(5))
    assert len(rows) == 5 and rows[3] == prompt(3) and rows[-1] == prompt(4)
    assert list(rows[1:3]) == [prompt(1), prompt(2)] and rows == [prompt(n) for n in range(5)]
    assert [row.id for row in rows.picked([4, 0, 4])] == ["p4", "p0", "p4"]
    assert [row["id"] for row in rows.picked([2])[:1].plain()] == ["p2"]
    with pytest.raises(IndexError):
        rows[5]


def test_files_are_joined_without_being_read(tmp_path: Path) -> None:
    joined = sealed(tmp_path / "a.jsonl", range(2)) + sealed(tmp_path / "b.jsonl", range(7, 9))
    joined += sealed(tmp_path / "c.jsonl", range(4, 5))
    assert [row.id for row in joined] == ["p0", "p1", "p7", "p8", "p4"]
    assert [row.id for row in joined.picked([3, 1, 4])] == ["p8", "p1", "p4"]


def test_fewer_problems_are_a_part_of_more_whatever_their_order(tmp_path: Path) -> None:
    rows = sealed(tmp_path / "a.jsonl", range(20))
    assert rows.chosen(5) == rows[::-1].chosen(None)[:5] and len(rows.chosen(50)) == 20


def test_ids_are_found_however_a_row_is_written_and_another_process_reads_the_same_rows(tmp_path: Path) -> None:
    sealed(tmp_path / "a.jsonl", range(1))
    with (tmp_path / "a.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"problem": "?", "id": "last", "answer": "1", "verifier": "math"}\n')
        file.write('{"id": "a \\"quoted\\" é", "problem": "?", "answer": "1", "verifier": "math"}\n')
    rows = RowFile[Prompt](tmp_path / "a.jsonl")
    assert list(rows.ids()) == [row.id for row in rows] == ["p0", "last", 'a "quoted" é']
    assert pickle.loads(pickle.dumps(rows[1:])) == rows[1:]


def test_blank_lines_are_no_rows_and_a_bad_row_is_named_by_its_line(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", [prompt(0)])
    text = (tmp_path / "a.jsonl").read_text(encoding="utf-8")
    (tmp_path / "a.jsonl").write_text("\n" + text + "  \n" + text.replace("problem", "problems"), encoding="utf-8")
    rows = RowFile[Prompt](tmp_path / "a.jsonl")
    assert len(rows) == 2 and rows[0] == prompt(0)
    with pytest.raises(InputError, match=r"a\.jsonl:4: the row lacks `problem`"):
        rows[1]


def test_an_absent_file_and_one_without_rows_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no file"):
        RowFile[Prompt](tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(InputError, match="holds no rows"):
        RowFile[Prompt](tmp_path / "empty.jsonl")


def test_a_file_that_is_removed_while_it_is_open_can_still_be_read(tmp_path: Path) -> None:
    rows = sealed(tmp_path / "a.jsonl", range(3))
    (tmp_path / "a.jsonl").unlink()
    assert rows[2] == prompt(2)
