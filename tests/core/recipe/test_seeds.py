"""`seeds:` in a pipeline: what is written out, and what is refused with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.core.errors import MissingError, RecipeError
from stages.core.recipe.loading import claims_file, load_pipeline
from stages.core.recipe.seeds import for_each_seed
from stages.core.recipe.yamlfile import Entry, parse

PIPELINE = """seeds: [1, 20]
nodes:
  one: {stage: make, recipe: {rows: 2}}
  made-{seed}: {stage: make, recipe: {seed: "{seed}", label: "add {seed}"}}
  score-{seed}: {stage: score, inputs: {prompts: "made-{seed}"}}
  last: {stage: score, inputs: {prompts: made-20}}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "pipeline.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_node_with_seed_in_its_name_is_there_once_for_each_seed(toys: None, tmp_path: Path) -> None:
    nodes = load_pipeline(written(tmp_path, PIPELINE))
    assert [node.name for node in nodes] == ["one", "made-1", "made-20", "score-1", "score-20", "last"]
    by_name = {node.name: node for node in nodes}
    assert [by_name[name].recipe.seed for name in ("one", "made-1", "made-20")] == [0, 1, 20]
    assert by_name["made-20"].recipe.label == "add 20"
    assert by_name["score-20"].inputs == {"prompts": "made-20"}
    assert by_name["made-1"].origins["recipe.seed"].endswith("pipeline.yaml:4")


def test_one_of_the_seeds_can_be_overridden(toys: None, tmp_path: Path) -> None:
    nodes = load_pipeline(written(tmp_path, PIPELINE), ["made-20.rows=7"])
    assert {node.name: getattr(node.recipe, "rows", None) for node in nodes}["made-20"] == 7


def test_a_child_says_the_seeds_of_its_parents_nodes(toys: None, tmp_path: Path) -> None:
    written(tmp_path, PIPELINE)
    child = tmp_path / "child.yaml"
    child.write_text("extends: pipeline.yaml\nseeds: [3, 20]\n", encoding="utf-8")
    assert "made-3" in [node.name for node in load_pipeline(child)]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("seeds: [1, 20]", "seeds: [1, 1]", ":1: `seeds` should be a list of different whole numbers"),
        ("seeds: [1, 20]", "seeds: [a]", ":1: `seeds` should be"),
        ("seeds: [1, 20]", "seeds: []", ":1: `seeds` should be"),
        ("seeds: [1, 20]\n", "", "`made-{seed}` asks for seeds"),
        ('"made-{seed}"', "made-1", ""),
        ("score-{seed}:", "score:", ":5: `score` holds {seed}, but its name does not"),
        ("one:", "made-1:", ":4: two nodes are called `made-1`"),
    ],
)
def test_seeds_that_cannot_be_are_refused(toys: None, tmp_path: Path, old: str, new: str, said: str) -> None:
    path = written(tmp_path, PIPELINE.replace(old, new, 1))
    if not said:
        assert len(load_pipeline(path)) == 6
        return
    with pytest.raises(RecipeError) as raised:
        load_pipeline(path)
    assert said in str(raised.value) and "pipeline.yaml" in str(raised.value)


def test_nothing_but_the_mark_is_replaced() -> None:
    entry = parse('{recipe: {label: "{seeds} {{seed}}", rows: [1, "{seed}"]}}', "p.yaml")
    filled = for_each_seed({"n-{seed}": entry}, Entry([Entry("5")]))["n-5"]
    assert isinstance(filled.value, dict) and isinstance(filled.value["recipe"].value, dict)
    recipe = filled.value["recipe"].value
    assert recipe["label"].value == "{seeds} {5}"
    assert [item.value for item in recipe["rows"].value] == ["1", "5"]  # type: ignore[union-attr]


def test_a_pipeline_may_name_claims_relative_to_itself(toys: None, tmp_path: Path) -> None:
    path = written(tmp_path, "claims: mine.yaml\n" + PIPELINE)
    with pytest.raises(MissingError, match=r"pipeline\.yaml:1"):
        claims_file(path)
    (tmp_path / "mine.yaml").write_text("claims: {}\n", encoding="utf-8")
    assert claims_file(path) == tmp_path / "mine.yaml"
    assert len(load_pipeline(path)) == 6
    assert claims_file(written(tmp_path, PIPELINE)) is None
