"""Claims on the command line, on a pipeline of preparations: three seeds, a control, and a node nobody builds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from r1cli import main

ROWS = [{"id": str(n), "problem": f"What is {n} + {n}?", "answer": str(2 * n)} for n in range(1, 8)]
PIPELINE = """# Preparations that are compared.
claims: claims.yaml
seeds: [1, 2]
nodes:
  few: {stage: prepare, recipe: {source: rows.jsonl, max_rows: 2}}
  many: {stage: prepare, recipe: {source: rows.jsonl}}
  many-seed{seed}: {stage: prepare, recipe: {source: rows.jsonl, seed: "{seed}"}}
  limited-seed{seed}: {stage: prepare, recipe: {source: rows.jsonl, max_rows: 2, seed: "{seed}"}}
"""
CLAIMS = """# What preparations claim.
seeds: ["", -seed1, -seed2]
claims:
  more-rows:
    text: Without a limit there are more rows, whatever order the problems of the file happen to be in
    paper: 80,000 → 208,000 (v2 table 4 and its own arithmetic, which nobody has explained)
    metric: rows
    of: many{seed}
    against: few
    control: {of: "limited{seed}", against: few}
  unlimited:
    text: Rows that nobody made are many
    paper: not measured
    metric: rows
    of: none{seed}
    against: few
    no_control: nothing is trained
stages:
  few: {scores: few-scores, paper: {AIME 2024: 15.6, MATH-500: 95.9}}
"""


class Shell:
    """Runs `r1` in this process; keeps what the last command said."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.out = self.err = ""

    def __call__(self, *argv: str) -> int:
        code = main.run(argv)
        self.out, self.err = self._capsys.readouterr()
        return code

    def json(self, *argv: str) -> Any:
        assert self(*argv, "--json") == 0, self.err
        return json.loads(self.out)


@pytest.fixture
def r1(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A folder with problems, a pipeline and its claims, and a shell standing there."""
    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    Path("pipeline.yaml").write_text(PIPELINE, encoding="utf-8")
    Path("claims.yaml").write_text(CLAIMS, encoding="utf-8")
    return Shell(capsys)


def test_a_pipeline_ends_in_its_claims(r1: Shell) -> None:
    assert r1("pipeline", "--recipe", "pipeline.yaml") == 0, r1.err
    assert max(map(len, r1.out.splitlines())) <= 80
    said = " ".join(r1.out.split())
    assert "2 claims: 1 holds, 1 not run" in said and "2 → 7" in said
    assert "not run, for want of their nodes: unlimited" in said


def test_nothing_of_a_claim_is_cut_at_80_columns(r1: Shell) -> None:
    assert r1("pipeline", "--recipe", "pipeline.yaml") == 0, r1.err
    table = r1.out[r1.out.index("Claims:") :]
    cells = "".join(table.split())
    for word in ("Without", "limit", "whatever", "problems", "happen", "80,000", "208,000", "explained)"):
        assert word in cells
    assert "…" not in table and max(map(len, table.splitlines())) <= 80


def test_claims_are_told_again_without_building(r1: Shell) -> None:
    before = r1.json("claims", "--recipe", "pipeline.yaml")
    assert [one["verdict"] for one in before["claims"]] == ["not run", "not run"]
    built = r1.json("pipeline", "--recipe", "pipeline.yaml")
    after = r1.json("claims", "--recipe", "pipeline.yaml")
    assert after["claims"] == built["claims"] and after["stages"] == built["stages"]
    first = after["claims"][0]
    assert (first["id"], first["seeds"], first["effect"]["value"]) == ("more-rows", 3, 5.0)
    assert first["addresses"]["of"] == ["many@1", "many-seed1@1", "many-seed2@1"]
    assert after["stages"][0]["paper"] == {"AIME 2024": 15.6, "MATH-500": 95.9}


def test_a_node_that_would_be_built_again_speaks_to_no_claim(r1: Shell) -> None:
    r1.json("pipeline", "--recipe", "pipeline.yaml")
    changed = r1.json("claims", "--recipe", "pipeline.yaml", "few.max_rows=3")
    assert [one["verdict"] for one in changed["claims"]] == ["not run", "not run"]


def test_the_second_run_builds_nothing_and_says_how_long_the_first_took(r1: Shell) -> None:
    first = r1.json("pipeline", "--recipe", "pipeline.yaml", "--dry-run")
    assert {step["action"] for step in first["plan"]} == {"build"}
    assert {step["seconds_from"] for step in first["plan"]} == {"planned"}
    assert first["artifacts"] == []
    assert r1("pipeline", "--recipe", "pipeline.yaml") == 0
    again = r1.json("pipeline", "--recipe", "pipeline.yaml", "--dry-run")
    assert {step["action"] for step in again["plan"]} == {"reuse"}
    assert {step["seconds"] for step in again["plan"]} == {0.0}


def test_a_dry_run_tells_its_time(r1: Shell) -> None:
    assert r1("pipeline", "--recipe", "pipeline.yaml", "--dry-run") == 0
    assert "6 to build, about 0:30, 6 of them planned without a measurement" in r1.out
    assert r1("pipeline", "--recipe", "pipeline.yaml") == 0
    assert r1("pipeline", "--recipe", "pipeline.yaml", "few.max_rows=3", "--dry-run") == 0
    assert "1 to build" in r1.out and "by what was measured before" in r1.out


def test_a_claim_that_cannot_be_read_stops_before_anything_is_spent(r1: Shell) -> None:
    Path("claims.yaml").write_text(CLAIMS.replace("metric: rows", "metrik: rows", 1), encoding="utf-8")
    assert r1("pipeline", "--recipe", "pipeline.yaml") == 2
    assert "claims.yaml:7" in r1.err and "metric" in r1.err
    assert r1.json("artifacts", "list")["artifacts"] == []
    assert r1("recipes", "check", "pipeline.yaml") == 2 and "claims.yaml:7" in r1.err


def test_claims_of_a_pipeline_without_any(r1: Shell) -> None:
    Path("pipeline.yaml").write_text(PIPELINE.replace("claims: claims.yaml\n", ""), encoding="utf-8")
    assert r1("claims", "--recipe", "pipeline.yaml") == 2
    assert "names no claims" in r1.err
    Path("pipeline.yaml").write_text(PIPELINE.replace("claims.yaml", "none.yaml"), encoding="utf-8")
    assert r1("pipeline", "--recipe", "pipeline.yaml") == 2
    assert "pipeline.yaml:2" in r1.err


def test_a_file_of_claims_is_checked_and_listed_as_such(r1: Shell) -> None:
    assert r1("recipes", "check", "claims.yaml") == 0 and "ok  claims.yaml" in r1.out
    assert r1("recipes", "show", "claims.yaml") == 0 and "r1 claims" in r1.out
    listed = {row["name"]: row["stage"] for row in r1.json("recipes", "list")}
    assert listed["claims"] == "claims"


def test_a_report_of_a_pipeline_has_its_claims_and_every_node(r1: Shell) -> None:
    assert r1("report", "--pipeline", "pipeline.yaml") == 2
    assert "nothing of `pipeline.yaml` is built" in r1.err
    assert r1("pipeline", "--recipe", "pipeline.yaml") == 0
    assert r1("report", "--pipeline", "pipeline.yaml", "-o", "page.html") == 0, r1.err
    html = Path("page.html").read_text(encoding="utf-8")
    assert "2 claims: 1 holds, 1 not run" in html and "many-seed2@1" in html and "Without a limit" in html
    assert r1("report", "few", "--pipeline", "pipeline.yaml", "-o", "page.html") == 0
    assert "<h1>few@1</h1>" in Path("page.html").read_text(encoding="utf-8")
    assert r1("report") == 2 and "nothing to report on" in r1.err
