"""How long a plan should take: what was measured, scaled by the recipes, and what was never measured, marked."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.core.recipe.loading import load_pipeline
from stages.core.run import timing
from stages.core.run.plan import plan
from stages.core.storage.store import Store
from tests.core.in_order import run_nodes

PIPELINE = """nodes:
  made: {stage: make, recipe: {rows: 4}}
  other: {stage: make, recipe: {rows: 8, seed: 1}}
  score: {stage: score, inputs: {prompts: made}}
"""


@pytest.fixture
def pipeline(tmp_path: Path, toys: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(timing.PACES, "make", (2.0, ("rows", "lengths")))
    path = tmp_path / "pipeline.yaml"
    path.write_text(PIPELINE, encoding="utf-8")
    return path


def test_work_is_the_product_of_the_counting_keys() -> None:
    recipe = {"samplings": [{}, {}], "samples": 16, "problems": None}
    assert timing.units("eval", recipe) == 2 * 16 * 300
    assert timing.units("rl", {"steps": 240, "prompts_per_step": 8, "group_size": 16}) == 30_720
    assert timing.units("curate", {"anything": 5}) == 1
    assert timing.units("nobody", {}) == 1


def test_what_was_never_measured_is_planned_by_its_pace(pipeline: Path, store: Store) -> None:
    steps = plan(load_pipeline(pipeline, ["other.lengths=[3,4,5]"]), store)
    found = timing.expected(steps, store)
    assert found["made"] == timing.Expected(8.0, "planned")  # four rows at two seconds; no lengths count as one
    assert found["other"].seconds == 8 * 3 * 2.0
    assert found["score"] == timing.Expected(0.0, "planned") and found["score"].planned


def test_what_was_built_before_is_scaled_by_the_recipes_and_what_is_there_costs_nothing(
    pipeline: Path, store: Store
) -> None:
    built = run_nodes(load_pipeline(pipeline), store)
    assert not timing.expected(plan(load_pipeline(pipeline), store), store)["made"].source
    steps = plan(load_pipeline(pipeline, ["other.rows=24", "other.seed=2"]), store)
    found = timing.expected(steps, store)
    seconds = built["other"].record.provenance["seconds"]
    assert found["other"].source == "other@1" and not found["other"].planned
    assert found["other"].seconds == pytest.approx(3 * seconds)
    assert found["made"] == found["score"] == timing.Expected(0.0, "")


def test_another_of_the_same_stage_is_better_than_a_guess(pipeline: Path, store: Store) -> None:
    run_nodes(load_pipeline(pipeline)[:1], store)
    found = timing.expected(plan(load_pipeline(pipeline), store), store)
    assert found["other"].source == "made@1" and found["score"].planned
