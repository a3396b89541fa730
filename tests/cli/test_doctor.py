"""The doctor names what does not fit and what to type."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from r1cli import main
from r1cli.commands import doctor


@pytest.mark.parametrize(
    ("found", "needed", "status", "advice"),
    [
        ("1.16.0", True, "ok", ""),
        ("1.15.9", True, "fail", "pip install 'trl>=1.16,<1.17'"),
        ("1.17.0", True, "warn", "pip install 'trl>=1.16,<1.17'"),
        (None, True, "fail", "pip install 'trl>=1.16,<1.17'"),
        (None, False, "ok", ""),
    ],
)
def test_a_version_is_judged_by_its_range(found: str | None, needed: bool, status: str, advice: str) -> None:
    judged = doctor.judge_version("trl", found, ">=1.16,<1.17", needed)
    assert judged.status == status
    assert judged.advice.endswith(advice)


def test_a_cpu_build_counts_as_its_release() -> None:
    assert doctor.judge_version("torch", "2.13.0+cpu", ">=2.11,<2.14", True).status == "ok"


def test_vllm_beside_the_wrong_transformers_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    have = {"vllm": "0.31.0", "torch": "2.13.0+cpu", "transformers": "5.23.0"}
    monkeypatch.setattr(doctor, "installed", have.get)
    wrong = [finding for finding in doctor.versions() if finding.what == "vllm 0.31.0 needs transformers"]
    assert [each.status for each in wrong] == ["fail"]
    assert wrong[0].advice == "pip install 'transformers>=5.10.4,<5.18'"


def test_a_store_that_cannot_be_written_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("R1_HOME", str(tmp_path / "new" / "deep"))
    monkeypatch.setattr(doctor.os, "access", lambda *_: False)
    assert [each.status for each in doctor.disk()] == ["fail"]
    assert not (tmp_path / "new").exists(), "asking must not create the store"


def test_the_report_is_a_table_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["doctor", "--json"]) in (0, 1)
    out, err = capsys.readouterr()
    found = {each["what"]: each["found"] for each in json.loads(out)["findings"]}
    assert {"python", "torch", "trl", "cpu", "engines", "sandbox", "R1_HOME"} <= set(found)
    assert "status" in err and max(map(len, err.splitlines())) <= 80
