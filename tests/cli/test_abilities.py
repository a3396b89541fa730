"""What a model cannot be used for is said when it is imported, and before anything is trained on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from r1cli import main
from stages.core.rows import Preference, write_rows
from tests.families import building


def test_an_import_says_what_a_model_is_slow_at_and_a_plan_refuses_a_judge_that_cannot_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    building.folder("Mamba", tmp_path / "source")
    write_rows(tmp_path / "pairs.jsonl", [Preference("p", "What is 1 + 1?", "2", "3")])
    assert main.run(["artifacts", "import", "source", "--name", "mamba"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "judge: no: transformers knows no scalar head for a mamba" in said and "sample: slow: " in said
    given = ["reward-model", "inputs.model=mamba", "inputs.preferences=pairs.jsonl", "--dry-run"]
    assert main.run(given) == 2
    assert "`mamba` cannot become a judge" in " ".join(capsys.readouterr().err.split())
