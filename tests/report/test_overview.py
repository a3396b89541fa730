"""A pipeline on the page: claims, stages beside the published ones, yields and nodes; hostile text stays text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stages.core.data import yields
from stages.core.storage.store import Store
from stages.report import write_report
from stages.report.overview import Overview, figure_columns, yield_tables
from tests.report.history import HOSTILE, store_with_history
from tests.report.test_page import Tags, text_of
from tests.study.shelves import row, seal

CLAIM = {
    "claim": "RL lifts pass@1",
    "paper": "15.6 → 77.9",
    "ours": "3.6 → 92.2 %, +88.6 [+86.9, +90.3]",
    "control": "−2.7 [−3.2, −2.1], turned",
    "verdict": "holds ↑",
    "why": "and not without its cause",
    "note": HOSTILE,
}
ESTIMATE = {"value": 0.922, "low": 0.905, "high": 0.937, "n": 150}
NODE = {"node": "zero", "address": "zero@1", "kind": "model", "stage": "rl", "seconds": 187.2, "figures": "steps 240"}


def overview(**changes: Any) -> Overview:
    given: dict[str, Any] = {"name": "recipes/pipeline.yaml", "claims": [CLAIM], "summary": "1 holds"}
    given["stages"] = [
        {"stage": "base", "figures": {}, "paper": {"AIME 2024": 15.6}},
        {
            "stage": "R1-Zero",
            "figures": {"strict": ESTIMATE, "length": {**ESTIMATE, "value": 46.7}, "general": None},
            "paper": {"AIME 2024": 77.9, "MATH-500": 95.9},
        },
    ]
    given |= {"nodes": [NODE], "missing": ["r1"], "yields": []}
    return Overview(**(given | changes))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return store_with_history(tmp_path_factory.mktemp("history") / "home", problems=3, samples=1, steps=2)


def page(store: Store, folder: Path, told: Overview) -> str:
    return write_report([], folder / "report.html", store, told).read_text(encoding="utf-8")


def test_claims_stages_and_nodes_come_before_the_chapters(store: Store, tmp_path: Path) -> None:
    html = write_report([store.open("zero")], tmp_path, store, overview()).read_text(encoding="utf-8")
    said = text_of(html)
    places = [
        said.index(each)
        for each in ("1 claims: 1 holds", "RL lifts pass@1", "The stages here", "as published", "Every node", "Lineage")
    ]
    assert places == sorted(places)
    for each in ("3.6 → 92.2 %, +88.6 [+86.9, +90.3]", "92.2 % [90.5, 93.7]", "46.7", "77.9", "3 min 7 s", "holds ↑"):
        assert each in said
    assert "Not built: r1." in said


def test_the_page_of_a_pipeline_is_well_formed_and_escapes_everything(store: Store, tmp_path: Path) -> None:
    html = page(store, tmp_path, overview())
    tags = Tags(html)
    assert not tags.open and "script" not in {name for name, _ in tags.found}
    assert "&lt;script&gt;alert" in html and "\u202e" not in html


def test_a_pipeline_without_claims_has_no_table_of_them(store: Store, tmp_path: Path) -> None:
    said = text_of(page(store, tmp_path, overview(claims=[], stages=[], missing=[])))
    assert "Claims" not in said and "The stages here" not in said and "as published" not in said
    assert "Every node" in said and "Not built" not in said


def test_what_a_curation_kept_is_a_table(tmp_path: Path) -> None:
    store = Store(tmp_path / "home")
    artifact = seal(store, "data", "conversations", "curate")
    counted = yields.counted([("sum", ""), ("sum", "wrong"), ("cups", "")], ["wrong", "too long"])
    (artifact.path / yields.YIELD_FILE).write_text(json.dumps(counted), encoding="utf-8")
    found = yield_tables({"sft-data": artifact, "zero": seal(store, "zero")})
    assert [(name, [line["what"] for line in lines]) for name, lines in found] == [
        ("sft-data", ["samples", "wrong", "kept"])
    ]
    said = text_of(page(store, tmp_path, overview(yields=found)))
    assert "What was kept" in said and "wrong 1 33.3 % 0 1" in said and "kept 2 66.7 % 1 1" in said


def test_columns_come_in_the_order_of_the_stages() -> None:
    assert figure_columns(overview().stages) == ["strict", "length", "general"]
    assert overview().published == ["AIME 2024", "MATH-500"]


def test_general_prompts_have_their_own_table_and_no_accuracy(tmp_path: Path) -> None:
    store = store_with_history(tmp_path / "home", problems=3, samples=1, steps=2)
    part = {"name": "T1-p1", "temperature": 1.0, "top_p": 1.0, "completions": 1, "unjudged": 0, "difference": None}
    figures = {"strict_pass@1": None, "pass@1": None, "cons@1": None, "format": 1.0, "length": 9.0, "oracle": 0.75}
    estimates = {name: {"value": value, "low": value, "high": value, "n": 1} for name, value in figures.items()}
    part |= {"overall": estimates, "families": {"facts": estimates}}
    found = {
        "samples": 1,
        "pass_k": [1],
        "problem_count": 1,
        "splits": ["heldout"],
        "samplings": [part],
        "problems": {},
    }
    inputs = {"model": "zero@1", "prompts": "general@1"}
    made = seal(store, "zero-general", "scores", "eval", inputs, rows=[row("g", None)], facts=found)
    assert made.kind == "scores"
    said = text_of(write_report([store.open("zero")], tmp_path, store).read_text(encoding="utf-8"))
    assert "general prompts, heldout" in said and "oracle 75.0" in said
    assert "Only general prompts" not in said  # the headline speaks of the problems that have answers
