"""The plan speaks before anything is spent, and the run does what the plan said."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from stages.core.artifact import Scores
from stages.core.errors import InputError, MissingError, RecipeError, StageError
from stages.core.fingerprint import later
from stages.core.recipe.loading import Loaded, load, load_pipeline
from stages.core.run.plan import plan
from stages.core.storage.store import Store
from tests.core import toy_make, toy_score
from tests.core.in_order import run_nodes

pytestmark = pytest.mark.usefixtures("toys")

PIPELINE = """nodes:
  train: {stage: make, recipe: {rows: 4}}
  test:
    recipe: held.yaml
    runtime: {threads: 1}
  first: {stage: score, inputs: {prompts: test}}
  second: {stage: score, inputs: {prompts: test, parent: first}, recipe: {samples: 2}}
"""


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    """A pipeline of four nodes; one takes its recipe from a file beside it."""
    (tmp_path / "held.yaml").write_text("stage: make\nname: ignored\nrecipe: {seed: 9}\n")
    (tmp_path / "all.yaml").write_text(PIPELINE)
    return tmp_path / "all.yaml"


def _words(nodes: list[Loaded], store: Store) -> list[str]:
    return [f"{step.node.name}  {step.text}" for step in plan(nodes, store)]


def test_a_pipeline_is_read_in_order_with_its_files_and_overrides(pipeline: Path) -> None:
    nodes = load_pipeline(pipeline, ["train.rows=2", "runtime.log_every=5", "second.runtime.log_every=7"])
    assert [(node.name, node.stage) for node in nodes] == [
        ("train", "make"),
        ("test", "make"),
        ("first", "score"),
        ("second", "score"),
    ]
    assert (nodes[0].recipe.rows, nodes[1].recipe.seed, nodes[1].runtime.threads) == (2, 9, 1)
    assert [node.runtime.log_every for node in nodes] == [5, 5, 5, 7]
    assert nodes[1].origins["recipe.seed"].endswith("held.yaml:3")


def test_the_second_run_of_a_pipeline_builds_nothing(pipeline: Path, store: Store) -> None:
    nodes = load_pipeline(pipeline)
    assert _words(nodes, store) == [
        "train  build @1  (new)",
        "test  build @1  (new)",
        "first  build @1  (new)",
        "second  build @1  (new)",
    ]
    planned = {step.node.name: (step.address, step.fingerprint) for step in plan(nodes, store)}
    built = run_nodes(nodes, store)
    assert {name: (each.address, each.fingerprint) for name, each in built.items()} == planned
    assert _words(nodes, store) == ["train  reuse @1", "test  reuse @1", "first  reuse @1", "second  reuse @1"]
    assert run_nodes(nodes, store) == built


def test_one_changed_value_builds_exactly_its_descendants_and_says_why(pipeline: Path, store: Store) -> None:
    run_nodes(load_pipeline(pipeline), store)
    changed = load_pipeline(pipeline, ["test.learning_rate=2e-5"])
    assert _words(changed, store) == [
        "train  reuse @1",
        "test  build @2  (learning_rate 1e-06 → 2e-05)",
        "first  build @2  (prompts test@1 → @2)",
        "second  build @2  (prompts test@1 → @2, parent first@1 → @2)",
    ]
    planned = [step.fingerprint for step in plan(changed, store)]
    assert [each.fingerprint for each in run_nodes(changed, store).values()] == planned
    assert _words(load_pipeline(pipeline), store)[1] == "test  reuse @1"


def test_a_raised_version_and_several_changes_are_said_in_words(
    pipeline: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_nodes(load_pipeline(pipeline), store)
    monkeypatch.setattr(toy_score, "VERSION", 4)
    assert _words(load_pipeline(pipeline), store)[2] == "first  build @2  (code version 3 → 4)"
    many = load_pipeline(pipeline, ["train.rows=1", "train.label=x", "train.rewards.format=0", "train.lengths=[1]"])
    words = "train  build @2  (rows 4 → 1, label add → x, rewards.format 1.0 → 0.0 and 1 more)"
    assert _words(many, store)[0] == words


def test_unsealed_work_is_resumed(pipeline: Path, store: Store) -> None:
    node = load_pipeline(pipeline)[0]

    def stop(line: dict[str, object]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_nodes([node], store, stop)
    assert _words([node], store) == ["train  resume @1  (unsealed work found)"]


def test_two_nodes_that_are_the_same_thing_are_built_once(store: Store) -> None:
    one, two = load(None, "make", name="one"), load(None, "make", name="two")
    assert _words([one, two], store) == ["one  build @1  (new)", "two  reuse one@1  (the same as one)"]
    built = run_nodes([one, two], store)
    assert built["two"].address == "one@1"
    assert _words([two], store) == ["two  reuse one@1  (sealed as one@1)"]


def test_what_must_be_fetched_first_is_unknown_and_so_is_all_that_follows(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load(None, "score", ["inputs.prompts=hf:owner/name"], name="first")
    second = load(None, "score", ["inputs.prompts=world:nowhere", "inputs.parent=first"], name="second")
    with pytest.raises(MissingError):
        plan([first, second], store)
    steps = plan([first], store)
    assert (steps[0].fingerprint, steps[0].text) == (None, "build @1  (hf:owner/name unknown until fetched)")


def test_wrong_pipelines_are_one_sentence_with_a_place(pipeline: Path) -> None:
    def wrong(text: str, *overrides: str) -> RecipeError:
        pipeline.write_text(text)
        with pytest.raises(RecipeError) as caught:
            load_pipeline(pipeline, overrides)
        return caught.value

    late = wrong("nodes:\n  a: {stage: score, inputs: {prompts: b}}\n  b: {stage: make}\n")
    assert "takes `prompts` from `b`, which does not come before it" in late.what
    assert late.where.endswith("all.yaml:2")
    assert "from `a`" in wrong("nodes:\n  a: {stage: score, inputs: {prompts: a}}\n").what
    assert "already written" in wrong("nodes:\n  a: {stage: make}\n  a: {stage: make}\n").what
    assert "did you mean `stage`?" in wrong("nodes:\n  a: {stag: make}\n").hint
    assert "no `nodes:`" in wrong("nodes:\n").what
    assert "say the same thing" in wrong("nodes:\n  a: {recipe: held.yaml, extends: held.yaml}\n").what
    assert "which node" in wrong(PIPELINE, "rows=3").what
    assert "did you mean `train`?" in wrong(PIPELINE, "trian.rows=3").hint
    assert wrong(PIPELINE, "train.rows=x").where == "command line"


def test_a_plan_names_a_missing_input_before_anything_is_built(store: Store) -> None:
    with pytest.raises(MissingError, match="no artifact `nowhere`"):
        plan([load(None, "score", ["inputs.prompts=nowhere"])], store)
    with pytest.raises(RecipeError, match="needs the input `prompts`"):
        plan([load(None, "score")], store)


def test_a_later_key_is_no_reason_until_it_changes(
    pipeline: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_nodes(load_pipeline(pipeline), store)

    @dataclass(frozen=True, kw_only=True)
    class Recipe(toy_make.Recipe):
        cap: float = later(2.0)
        """A key that came after."""

    monkeypatch.setattr(toy_make, "Recipe", Recipe)
    assert _words(load_pipeline(pipeline), store)[0] == "train  reuse @1"
    assert _words(load_pipeline(pipeline, ["train.cap=3"]), store)[0] == "train  build @2  (cap 2.0 → 3.0)"


def test_a_node_of_the_wrong_kind_is_refused_before_anything_is_built(tmp_path: Path, store: Store) -> None:
    (tmp_path / "x.jsonl").write_text('{"problem": "1+1?", "answer": "2"}\n')
    text = "nodes:\n  rows: {stage: prepare, recipe: {source: ./x.jsonl}}\n  more: {stage: prepare, recipe: {source: "
    (tmp_path / "p.yaml").write_text(
        text.replace("./", f"{tmp_path}/") + f"{tmp_path}/x.jsonl}}, inputs: {{against: rows}}}}\n"
    )
    assert [step.action for step in plan(load_pipeline(tmp_path / "p.yaml"), store)] == ["build", "build"]
    for kind in ("conversations", "preferences"):
        with pytest.raises(InputError, match=f"takes prompts as `against`, and `rows` gives {kind}") as caught:
            plan(load_pipeline(tmp_path / "p.yaml", [f"rows.kind={kind}"]), store)
        assert caught.value.where.endswith("p.yaml:3")


def test_a_stage_that_makes_another_kind_than_it_says_seals_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toy_make, "kind_of", lambda _: Scores, raising=False)
    with pytest.raises(StageError, match="made prompts, and its `kind_of` says scores"):
        run_nodes([load(None, "make")], store)
    assert store.all() == []
