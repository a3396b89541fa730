"""The same rows are the same from a file, from a folder and from what `datasets` saved."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from stages.core.data import outside
from stages.core.errors import InputError

ANSWERS: list[Any] = ["007", "1.50", "true", "[1, 2]", "null", "2024-05-01", 42]


def read(source: Path, split: str = "train", tmp: Path | None = None) -> list[Any]:
    found = outside.Source(str(source), "", split, (tmp or source.parent) / "scratch")
    pieces = found.pieces(lambda name: name == "answer")
    return [raw.row["answer"] for piece in pieces for raw in piece({}, lambda name: name == "answer")]


def write(path: Path, answers: list[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"problem": "q", "answer": answer}) + "\n" for answer in answers))


def test_texts_stay_as_they_are_written_wherever_they_lie(tmp_path: Path) -> None:
    write(tmp_path / "rows.jsonl", ANSWERS)
    write(tmp_path / "set" / "train.jsonl", ANSWERS)
    write(tmp_path / "set" / "test.jsonl", ["8"])
    assert read(tmp_path / "rows.jsonl") == read(tmp_path / "set") == ANSWERS
    assert read(tmp_path / "set", "test") == ["8"]
    with pytest.raises(InputError, match="cannot read split `nope`") as caught:
        read(tmp_path / "set", "nope")
    assert "train, test" in caught.value.hint


def test_what_datasets_saved_is_read_by_its_schema(tmp_path: Path) -> None:
    import datasets

    texts = ["007", "1.50", "2024-05-01"]
    datasets.disable_progress_bars()
    table = datasets.Dataset.from_dict({"answer": texts, "image": [b"\x89PNG"] * 3})
    table.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict(train=table, test=table.select([0])).save_to_disk(str(tmp_path / "two"))
    assert read(tmp_path / "one") == read(tmp_path / "two") == texts and read(tmp_path / "two", "test") == ["007"]
    with pytest.raises(InputError, match="cannot read split `dev`"):
        read(tmp_path / "two", "dev")
    state = json.loads((tmp_path / "one" / "state.json").read_text())
    (tmp_path / "one" / "state.json").write_text(json.dumps({**state, "_split": "test"}))
    with pytest.raises(InputError, match="holds `test`") as caught:
        read(tmp_path / "one")
    assert "source_split=test" in caught.value.hint


def test_pictures_of_a_folder_are_not_looked_at(tmp_path: Path) -> None:
    import datasets

    picture = datasets.Features({"answer": datasets.Value("string"), "image": datasets.Image()})
    rows = {"answer": ["7"], "image": [{"bytes": b"no picture at all", "path": None}]}
    (tmp_path / "set").mkdir()
    datasets.Dataset.from_dict(rows, features=picture).to_parquet(str(tmp_path / "set" / "train.parquet"))
    assert read(tmp_path / "set") == ["7"]


def test_a_folder_without_rows_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="cannot read this dataset") as caught:
        read(tmp_path / "empty")
    assert caught.value.hint
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "train.txt").write_text("hello\n")
    with pytest.raises(InputError, match=r"holds no file that is read, but train\.txt"):
        read(tmp_path / "notes")


def test_a_name_has_neither_folders_nor_formats() -> None:
    names = ("data/rows.jsonl", "rows.jsonl.gz", "hf:owner/rows")
    assert {outside.name_of(name) for name in names} == {"rows"}


def test_a_hub_file_keeps_its_commit_and_its_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The hub's own client is asked for exactly the file that `datasets` names; there is no network in tests."""
    import huggingface_hub

    write(tmp_path / "kept.jsonl", ANSWERS)
    asked: list[Any] = []

    def download(name: str, path: str, **told: Any) -> str:
        asked.append((name, path, told))
        return shutil.copy(tmp_path / "kept.jsonl", tmp_path / "copy.jsonl")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    found = outside._fetched("hf://datasets/owner/name@0123abc/main/train-00000.jsonl")
    assert read(found) == ANSWERS
    assert asked == [("owner/name", "main/train-00000.jsonl", {"repo_type": "dataset", "revision": "0123abc"})]
