"""Commands from argv to exit code, on a store of their own; prepare stands for every stage, since it needs no model."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest

from r1cli import main

ROWS = [
    {"id": "1", "problem": "What is 2 + 3?", "answer": "5"},
    {"id": "2", "problem": "What is 2 + 4?", "answer": "6"},
    {"id": "3", "problem": "What is 2 + 9?", "answer": "11"},
]


class Shell:
    """Runs `r1` in this process; keeps what the last command said."""

    def __init__(self, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
        self._capsys = capsys
        self.folder = folder
        self.out = self.err = ""

    def __call__(self, *argv: str) -> int:
        code = main.run(argv)
        self.out, self.err = self._capsys.readouterr()
        return code

    def json(self, *argv: str) -> Any:
        assert self(*argv, "--json") == 0, self.err
        return json.loads(self.out)

    def addresses(self) -> list[str]:
        return [each["address"] for each in self.json("artifacts", "list")["artifacts"]]


@pytest.fixture
def r1(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A folder with problems in it, and a shell standing there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return Shell(capsys, tmp_path)


@pytest.fixture
def mine(r1: Shell) -> Shell:
    """The shell after `mine@1` was made."""
    assert r1("prepare", "source=rows.jsonl", "--name", "mine") == 0, r1.err
    return r1


def test_the_plan_speaks_before_it_spends(r1: Shell) -> None:
    assert r1("prepare", "source=rows.jsonl", "--name", "mine", "--dry-run") == 0
    assert "mine@1" in r1.out and "build" in r1.out
    assert r1.addresses() == []


def test_the_same_command_twice_builds_once_and_says_so(mine: Shell) -> None:
    assert mine("prepare", "source=rows.jsonl", "--name", "mine") == 0
    assert "nothing to build" in mine.out
    assert mine.addresses() == ["mine@1"]


def test_a_changed_value_builds_the_next_number_and_says_why(mine: Shell) -> None:
    assert mine("prepare", "source=rows.jsonl", "--name", "mine", "max_rows=2") == 0
    assert "max_rows 0 → 2" in mine.out
    assert mine.addresses() == ["mine@1", "mine@2"]
    differs = mine.json("artifacts", "diff", "mine@1", "mine@2")["differs"]
    assert differs["recipe.max_rows"] == [0, 2] and differs["metrics.rows"] == [3, 2]


def test_json_of_a_stage_is_one_document_and_the_rest_is_on_stderr(r1: Shell) -> None:
    done = r1.json("prepare", "source=rows.jsonl", "--name", "mine")
    assert done["plan"][0]["action"] == "build"
    assert done["artifacts"][0]["address"] == "mine@1" and done["artifacts"][0]["metrics"]["rows"] == 3
    assert "mine@1" in r1.err


def test_an_artifact_travels_in_a_tar(mine: Shell) -> None:
    assert mine("artifacts", "pack", "mine", "mine.tar") == 0
    assert mine("artifacts", "rm", "mine@1") == 0
    assert mine.addresses() == []
    assert mine("artifacts", "unpack", "mine.tar") == 0
    assert mine.addresses() == ["mine@1"]
    assert mine("artifacts", "verify") == 0 and "whole  mine@1" in mine.out


def test_what_another_descends_from_is_protected(mine: Shell) -> None:
    Path("other.jsonl").write_text(json.dumps({"id": "9", "problem": "How many legs has a spider?", "answer": "8"}))
    assert mine("prepare", "source=other.jsonl", "inputs.against=mine@1", "--name", "child") == 0, mine.err
    assert mine("artifacts", "rm", "mine@1") == 2
    assert "child@1" in mine.err and mine.addresses() == ["child@1", "mine@1"]
    assert mine("artifacts", "lineage", "child") == 0
    assert mine.out.index("mine@1") < mine.out.index("child@1")


def test_show_names_recipe_figures_files_and_provenance(mine: Shell) -> None:
    assert mine("artifacts", "show", "mine") == 0
    for word in ("prompts", "r1 prepare", "rows.jsonl", "prompts.jsonl", "versions.python", "heldout_share"):
        assert word in mine.out
    shown = mine.json("artifacts", "show", "mine")
    assert set(shown["files"]) >= {"prompts.jsonl", "recipe.yaml", "events.jsonl"}


def test_prune_keeps_the_newest(mine: Shell) -> None:
    assert mine("prepare", "source=rows.jsonl", "--name", "mine", "max_rows=2") == 0
    assert mine("artifacts", "prune", "--keep", "1") == 0
    assert mine.addresses() == ["mine@2"]


def test_prompts_are_imported_once(r1: Shell) -> None:
    rows = [{**row, "verifier": "math"} for row in ROWS]
    Path("prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for _ in range(2):
        assert r1("artifacts", "import", "prompts.jsonl", "--kind", "prompts", "--name", "given") == 0, r1.err
    assert r1.addresses() == ["given@1"]
    assert r1("artifacts", "import", "prompts.jsonl", "--kind", "prompts", "--name", "other") == 0
    assert "nothing is called other: use given@1" in " ".join(r1.out.split()) and r1.addresses() == ["given@1"]


def test_a_recipe_shows_where_each_value_was_written(r1: Shell) -> None:
    Path("parent.yaml").write_text("stage: prepare\nrecipe:\n  source: rows.jsonl\n  ngram: 8  # published\n")
    Path("child.yaml").write_text("extends: parent.yaml\nrecipe: {max_rows: 2}\n")
    (shown,) = r1.json("recipes", "show", "child.yaml", "seed=7")
    assert shown["recipe"]["ngram"] == 8 and shown["recipe"]["seed"] == 7
    assert shown["origins"]["recipe.ngram"] == "parent.yaml:4"
    assert shown["origins"]["recipe.max_rows"] == "child.yaml:2"
    assert shown["origins"]["recipe.seed"] == "command line"
    assert shown["origins"]["recipe.dedupe"] == "default"
    assert r1("recipes", "show", "child.yaml") == 0
    assert "published" in r1.out and max(map(len, r1.out.splitlines())) <= 80


def test_keys_say_type_default_and_meaning(r1: Shell) -> None:
    assert r1("recipes", "keys", "prepare") == 0
    assert "heldout_share: float = 0.1\n    Share of problems" in r1.out
    assert "runtime.threads" in r1.out and "inputs.against" in r1.out


def test_check_names_every_wrong_recipe(r1: Shell) -> None:
    Path("good.yaml").write_text("stage: prepare\nrecipe: {source: rows.jsonl}\n")
    Path("bad.yaml").write_text("stage: prepare\nrecipe:\n  source: rows.jsonl\n  max_row: 2\n")
    assert r1("recipes", "check", "good.yaml", "bad.yaml") == 2
    assert "ok  good.yaml" in r1.out and "bad.yaml:4" in r1.err and "max_rows" in r1.err


def torn(path: Path) -> None:
    """Change one byte of a sealed file."""
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)


WRONG = {
    "a misspelt key": (["prepare", "sorce=rows.jsonl"], 2, "did you mean `source`?"),
    "a misspelt runtime key": (["prepare", "source=rows.jsonl", "runtime.thread=1"], 2, "`runtime.threads`"),
    "a wrong type": (["prepare", "source=rows.jsonl", "max_rows=many"], 2, "`max_rows` should be a whole number"),
    "a value out of range": (["prepare", "source=rows.jsonl", "heldout_share=2"], 2, "heldout_share is 2"),
    "no key=value": (["prepare", "rows.jsonl"], 2, "`rows.jsonl` is not key=value"),
    "a missing source": (["prepare", "source=none.jsonl"], 2, "none.jsonl"),
    "a missing recipe": (["prepare", "--recipe", "none.yaml"], 2, "no recipe `none.yaml`"),
    "a missing pipeline": (["pipeline", "--recipe", "none.yaml"], 2, "no recipe `none.yaml`"),
    "a file that is not JSON": (["prepare", "source=words.jsonl"], 2, "words.jsonl: none of 2 rows can be used"),
    "a column that no row has": (["prepare", "source=lacking.jsonl"], 2, "lacking.jsonl: no row has `answer`"),
    "prompts that are not JSON": (["artifacts", "import", "torn.jsonl", "--kind", "prompts"], 2, "torn.jsonl:"),
    "an unknown artifact": (["artifacts", "show", "mne"], 2, "did you mean `mine`?"),
    "an unknown input": (["prepare", "source=rows.jsonl", "inputs.against=mne"], 2, "mne"),
    "an unknown number": (["artifacts", "show", "mine@7"], 2, "no artifact `mine@7`"),
    "no address at all": (["artifacts", "show", "../etc"], 2, "is not an artifact's address"),
    "an unknown kind": (["artifacts", "list", "--kind", "modl"], 2, "did you mean `model`?"),
    "an unknown stage": (["recipes", "keys", "prepar"], 2, "did you mean `prepare`?"),
    "a group of one": (["rl", "group_size=1"], 2, "`group_size` must be 2 or more"),
    "a required input left out": (["rl"], 2, "`rl` needs the input `model`"),
    "an artifact of another kind": (["eval", "inputs.model=mine", "inputs.prompts=mine"], 2, "is of kind prompts"),
    "a tar that is none": (["artifacts", "unpack", "rows.jsonl"], 2, "rows.jsonl"),
    "a report on nothing": (["report", "none"], 2, "no artifact `none`"),
    "a name that is none": (["prepare", "source=rows.jsonl", "--name", "a/b"], 2, "cannot be an artifact's name"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_asked_wrongly_ends_in_a_sentence_and_harms_nothing(case: str, mine: Shell) -> None:
    Path("torn.jsonl").write_text(json.dumps(ROWS[0]) + "\n{not json\n")
    Path("words.jsonl").write_text("hello\nworld\n")
    Path("lacking.jsonl").write_text('{"id": "2", "problem": "What is 1 + 1?", "solution": "2"}\n')
    argv, code, said = WRONG[case]
    assert mine(*argv) == code, mine.err
    assert said in mine.err and "hint:" in mine.err
    assert [line.split()[0] for line in mine.err.splitlines() if line.split()[0] != "prepare"] == ["error:", "hint:"]
    assert mine.addresses() == ["mine@1"]
    assert mine("artifacts", "verify", "mine@1") == 0


def test_a_tampered_artifact_is_named_and_never_used(mine: Shell, r1_home: Path) -> None:
    torn(r1_home / "mine" / "1" / "prompts.jsonl")
    for argv in (["artifacts", "verify"], ["prepare", "source=rows.jsonl", "--name", "mine"], ["report", "mine"]):
        assert mine(*argv) == 1
        assert "`prompts.jsonl` was changed" in mine.err


def test_a_full_disk_is_said_and_the_same_command_goes_on(mine: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as broken:
        broken.setattr("stages.core.storage.disk.flush", full)
        assert mine("prepare", "source=rows.jsonl", "--name", "mine", "max_rows=2") == 1
    assert "disk" in mine.err and "hint:" in mine.err and "Traceback" not in mine.err
    assert mine.addresses() == ["mine@1"]
    assert mine("prepare", "source=rows.jsonl", "--name", "mine", "max_rows=2") == 0
    assert mine.addresses() == ["mine@1", "mine@2"]


def test_ctrl_c_in_a_stage_leaves_work_that_the_same_command_resumes(
    mine: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    argv = ["prepare", "source=rows.jsonl", "--name", "mine", "max_rows=2"]
    with monkeypatch.context() as stopped:
        stopped.setattr("stages.prepare.run", interrupted)
        assert mine(*argv) == 130
    assert mine.err.endswith("error: interrupted; run the same command again: it resumes\n")
    assert mine.addresses() == ["mine@1"]
    assert mine(*argv, "--dry-run") == 0 and "resume" in mine.out
    assert mine(*argv) == 0 and mine.addresses() == ["mine@1", "mine@2"]
