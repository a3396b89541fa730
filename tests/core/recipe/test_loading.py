"""Recipes say what they mean, or say where they do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from stages.core.errors import MissingError, RecipeError
from stages.core.recipe import yamlfile
from stages.core.recipe.loading import Loaded, bundled, keys, load, load_pipeline, recipes_dir, resolved
from stages.core.recipe.schema import REQUIRED
from tests.core import toy_make

pytestmark = pytest.mark.usefixtures("toys")


def _write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def _load(folder: Path, text: str, *overrides: str) -> Loaded:
    return load(_write(folder, "r.yaml", "stage: make\n" + text), overrides=overrides)


def test_a_recipe_without_a_file_is_the_defaults() -> None:
    loaded = load(None, "make")
    assert loaded.recipe == toy_make.Recipe()
    assert loaded.name == "make"
    assert set(loaded.origins.values()) == {"default"}


def test_values_are_converted_by_the_type_of_their_field(tmp_path: Path) -> None:
    text = """recipe:
  rows: 1e1
  learning_rate: 1e-5
  label: on
  clip: ~
  shuffle: yes
  rewards: {my_pkg.my_module:reward: 1, on: .5}
  options: {a: 1e-3, b: [yes, no way], c: null, d: "7", e: 2024-01-01}
  lengths: [8, 16]
  band: [0.25, 1]
  switch: {step: 10}
  samplings: [{name: 1.0}, {temperature: 0}]
"""
    recipe = _load(tmp_path, text).recipe
    assert (recipe.rows, recipe.learning_rate, recipe.label) == (10, 1e-5, "on")
    assert (recipe.clip, recipe.shuffle) == (None, True)
    assert recipe.rewards == {"accuracy": 1.0, "format": 1.0, "my_pkg.my_module:reward": 1.0, "on": 0.5}
    assert recipe.options == {"a": 1e-3, "b": [True, "no way"], "c": None, "d": "7", "e": "2024-01-01"}
    assert (recipe.lengths, recipe.band) == ([8, 16], (0.25, 1.0))
    assert recipe.switch == toy_make.LengthSwitch(step=10, tokens=64)
    assert recipe.samplings == [toy_make.Sampling(name="1.0"), toy_make.Sampling(temperature=0.0)]


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("recipe: {rows: many}", 2, "`rows` should be a whole number, not `many`"),
        ("recipe: {rows: 1.5}", 2, "`rows` should be a whole number"),
        ("recipe: {rows: true}", 2, "`rows` should be a whole number"),
        ("recipe:\n  learning_rate: .inf", 3, "`learning_rate` should be a finite number, not `.inf`"),
        ("recipe: {shuffle: 1}", 2, "`shuffle` should be true or false, not `1`"),
        ("recipe: {label: [a]}", 2, "`label` should be text, not a list"),
        ("recipe: {label: }", 2, "`label` should be text, not nothing"),
        ("recipe: {loss: ppo}", 2, "`loss` should be one of `grpo`, `dapo`, not `ppo`"),
        ("recipe:\n  rewards:\n    accuracy: high", 4, "`rewards.accuracy` should be a finite number, not `high`"),
        ("recipe: {rewards: [accuracy]}", 2, "`rewards` should be a map"),
        ("recipe: {lengths: 8}", 2, "`lengths` should be a list, not `8`"),
        ("recipe: {lengths: [8, x]}", 2, r"`lengths\[1\]` should be a whole number"),
        ("recipe: {band: [1]}", 2, "`band` should be a list of 2"),
        ("recipe: {clip: fast}", 2, "`clip` should be a finite number"),
        ("recipe: {switch: {tokens: 8}}", 2, "toy_make.LengthSwitch needs `switch.step`"),
        ("recipe: {switch: {stpe: 8}}", 2, "unknown key `switch.stpe` in toy_make.LengthSwitch"),
        ("recipe: {rows: 0}", 2, "`rows` must be 1 or more, not 0"),
        ("recipe: [rows]", 2, "`recipe` should be a map"),
        ("runtime: {threads: 0}", 2, "`threads` must be 1 or more"),
        ("inputs: {model: base@1}", 2, "unknown input `model` of the stage `make`"),
        ("rows: 3", 2, "unknown key `rows` in a recipe"),
        ("recipe: {rows: 1}\nrecipe: {rows: 2}", 3, "`recipe` was already written at .*r.yaml:2"),
        ("recipe: &a {rows: 1}\nruntime: *a", 3, "aliases"),
        ("recipe: {rows: 1\nname: x", 3, "not valid YAML"),
        ("recipe: {[1]: 2}", 2, "a key should be a single word"),
        ("recipe: {<<: {rows: 2}}", 2, "unknown key `<<`"),
    ],
)
def test_every_mistake_is_one_sentence_with_file_and_line(tmp_path: Path, text: str, line: int, said: str) -> None:
    with pytest.raises(RecipeError, match=said) as caught:
        _load(tmp_path, text)
    assert caught.value.where.endswith(f"r.yaml:{line}")
    assert caught.value.hint
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "- " * 100_000, "[" * 2000 + "]" * 2000], ids=["flow", "block", "whole"]
)
def test_a_text_that_nests_without_end_is_no_yaml(text: str) -> None:
    """libyaml recurses in C without looking, and 30,000 brackets end the process."""
    with pytest.raises(RecipeError, match="not valid YAML"):
        yamlfile.parse(text, "r.yaml")


def test_a_misspelt_key_is_answered_with_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        _load(tmp_path, "recipe:\n  learnig_rate: 1")
    assert caught.value.what == "unknown key `learnig_rate` in toy_make.Recipe"
    assert caught.value.hint == "did you mean `learning_rate`? All keys: `r1 recipes keys make`"
    with pytest.raises(RecipeError) as caught:
        load(None, "make", ["device=cpu"])
    assert caught.value.hint == "did you mean `runtime.device`? All keys: `r1 recipes keys make`"
    assert caught.value.where == "command line"


def test_one_parent_is_extended_maps_merge_and_lists_replace(tmp_path: Path) -> None:
    base = "stage: make\nname: zero\nrecipe: {rows: 5, rewards: {format: 0.5}, lengths: [1, 2]}\n"
    _write(tmp_path, "base.yaml", base)
    more = "extends: ../base.yaml\nrecipe: {lengths: [3], rewards: {language: 0.1}}\n"
    child = _write(tmp_path, "big/child.yaml", more)
    loaded = load(child, overrides=["rewards.format=0.25", "runtime.device=cpu"])
    assert loaded.recipe.rows == 5
    assert loaded.recipe.lengths == [3]
    assert loaded.recipe.rewards == {"accuracy": 1.0, "format": 0.25, "language": 0.1}
    assert (loaded.name, loaded.stage, loaded.runtime.device) == ("zero", "make", "cpu")
    origins = {key: where.rpartition("/")[2] for key, where in loaded.origins.items()}
    assert origins["recipe.rows"] == "base.yaml:3"
    assert origins["recipe.rewards.language"] == "child.yaml:2"
    assert origins["recipe.rewards.format"] == origins["runtime.device"] == "command line"
    assert origins["recipe.rewards.accuracy"] == origins["recipe.seed"] == "default"


def test_extends_that_lead_nowhere_or_in_a_circle_are_errors(tmp_path: Path) -> None:
    with pytest.raises(MissingError) as missing:
        _load(tmp_path, "extends: nowhere.yaml")
    assert missing.value.where.endswith("r.yaml:2")
    _write(tmp_path, "a.yaml", "extends: b.yaml\n")
    with pytest.raises(RecipeError, match="circle"):
        load(_write(tmp_path, "b.yaml", "extends: a.yaml\nstage: make\n"))
    with pytest.raises(RecipeError, match="one recipe file"):
        _load(tmp_path, "extends: [a.yaml, b.yaml]")


def test_the_comment_behind_a_value_is_its_note_until_the_value_is_overridden(tmp_path: Path) -> None:
    text = """recipe:
  learning_rate: 3.0e-6  # published: Nature Methods
  label: "a # b" # chosen: readable
  rewards: {accuracy: 1, format: 1} # published
  # about nothing
  lengths:
    - 4  # first
  seed: 1
"""
    loaded = _load(tmp_path, text)
    assert loaded.comments == {
        "recipe.learning_rate": "published: Nature Methods",
        "recipe.label": "chosen: readable",
        "recipe.rewards": "published",
        "recipe.rewards.format": "published",
    }
    assert "recipe.learning_rate" not in _load(tmp_path, text, "learning_rate=1e-6").comments


def test_overrides_reach_nested_maps_and_name_their_place(tmp_path: Path) -> None:
    overrides = ["switch.step=5", "rewards.pkg.mod:reward=2", "recipe.seed=7", "band=[0, 0.5]", "options.deep=1e-2"]
    recipe = _load(tmp_path, "", *overrides).recipe
    assert recipe.switch == toy_make.LengthSwitch(step=5)
    assert recipe.rewards["pkg.mod:reward"] == 2.0
    assert (recipe.seed, recipe.band, recipe.options) == (7, (0.0, 0.5), {"deep": 0.01})
    for wrong in ("seed", "=1", "seed=[1", "rows=x", "runtime.devise=cpu", "inputs.model=base@1"):
        with pytest.raises(RecipeError) as caught:
            _load(tmp_path, "", wrong)
        assert caught.value.where == "command line"


def test_an_input_is_taken_as_it_is_written_and_paths_in_a_recipe_start_at_the_recipe(tmp_path: Path) -> None:
    path = _write(tmp_path, "s.yaml", "stage: score\ninputs: {prompts: ./rows.jsonl, parent: null}\n")
    assert load(path).inputs == {"prompts": str(tmp_path / "rows.jsonl")}
    assert load(path, overrides=["inputs.prompts=a: #b.jsonl"]).inputs == {"prompts": "a: #b.jsonl"}


def test_an_optional_input_of_a_recipe_is_unset_on_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "score.yaml"
    path.write_text("stage: score\ninputs: {prompts: held@1, parent: before@2}\n", encoding="utf-8")
    for unset in ("inputs.parent=null", "inputs.parent="):
        assert load(path, overrides=[unset]).inputs == {"prompts": "held@1"}
    assert load(path, overrides=["inputs.parent=./null"]).inputs["parent"] == "./null"
    (tmp_path / "all.yaml").write_text("nodes:\n  one: {recipe: score.yaml}\n", encoding="utf-8")
    assert load_pipeline(tmp_path / "all.yaml", ["one.inputs.parent=null"])[0].inputs == {"prompts": "held@1"}


def test_an_input_that_a_stage_needs_cannot_be_unset(tmp_path: Path) -> None:
    path = tmp_path / "score.yaml"
    path.write_text("stage: score\ninputs: {prompts: held@1}\n", encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        load(path, overrides=["inputs.prompts=null"])
    assert caught.value.what == "`score` cannot do without the input `prompts` (prompts)"
    assert caught.value.where == "command line" and "inputs.prompts" in caught.value.hint


def test_the_name_is_the_flag_else_the_recipes_else_the_files(tmp_path: Path) -> None:
    plain = _write(tmp_path, "zero.yaml", "stage: make\n")
    named = _write(tmp_path, "other.yaml", "stage: make\nname: mine\n")
    assert (load(plain).name, load(named).name, load(named, name="flag").name) == ("zero", "mine", "flag")
    with pytest.raises(ValueError, match="cannot be an artifact's name"):
        load(named, name="a/b")


def test_a_stage_is_known_and_the_right_one(tmp_path: Path) -> None:
    path = _write(tmp_path, "r.yaml", "stage: make\n")
    with pytest.raises(RecipeError, match="for the stage `make`, not `score`"):
        load(path, "score")
    with pytest.raises(RecipeError, match="does not name its `stage:`"):
        load(_write(tmp_path, "none.yaml", "recipe: {}\n"))
    with pytest.raises(RecipeError, match="unknown stage `mak`") as caught:
        load(_write(tmp_path, "odd.yaml", "stage: mak\n"))
    assert "did you mean `make`?" in caught.value.hint


def test_a_resolved_recipe_loads_to_the_same(tmp_path: Path) -> None:
    text = 'recipe: {label: "on", learning_rate: 1e-5, options: {a: "1"}, switch: {step: 3}}\nruntime: {threads: 2}\n'
    loaded = _load(tmp_path, text)
    again = load(_write(tmp_path, "again.yaml", yaml.safe_dump(resolved(loaded), sort_keys=False)))
    assert (again.recipe, again.runtime, again.name, again.stage) == (loaded.recipe, loaded.runtime, "r", "make")


def test_keys_tell_type_default_and_the_words_beneath_the_field() -> None:
    known: dict[str, Any] = {key.key: key for key in keys("make")}
    assert known["rows"] == ("rows", "int", 3, "Prompts to make, 1 or more.")
    assert known["switch.step"] == ("switch.step", "int", REQUIRED, "Optimizer step of the switch.")
    assert known["samplings[].temperature"].default == 1.0
    assert known["runtime.device"].default == "auto"
    assert [(key.key, key.default) for key in keys("score") if not key.key.startswith("runtime.")] == [
        ("samples", 4),
        ("inputs.prompts", REQUIRED),
        ("inputs.parent", None),
    ]
    assert all(key.doc for key in known.values())


def test_values_are_shown_in_the_order_of_the_keys_own_before_inherited() -> None:
    loaded = load(None, "rl")
    named = [key.key for key in keys("rl") if "." not in key.key]
    assert list(resolved(loaded)["recipe"]) == named and named[:2] == ["algorithm", "seed"]
    traced = [key.removeprefix("recipe.") for key in loaded.origins if key.startswith("recipe.")]
    assert list(dict.fromkeys(key.partition(".")[0] for key in traced)) == named


def test_unknown_and_unreadable_recipes_say_so(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no recipe `nothing-like-it`") as caught:
        load("nothing-like-it")
    assert "r1 recipes list" in caught.value.hint
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(RecipeError, match="UTF-8"):
        load(tmp_path / "bytes.yaml")
    with pytest.raises(RecipeError, match="should hold a map"):
        load(_write(tmp_path, "list.yaml", "- 1\n"))


def test_bundled_recipes_are_found_by_name() -> None:
    assert recipes_dir().is_dir()
    assert all(path.is_file() and not name.endswith(".yaml") for name, path in bundled().items())


def test_a_map_without_a_blank_after_a_colon_is_told_of_it() -> None:
    with pytest.raises(RecipeError) as caught:
        load(None, "prepare", ["source=a.jsonl", "columns={problem:question, answer:a.b}"])
    assert "`problem:question` is one word in YAML: a blank is missing after the colon" in str(caught.value)
    assert caught.value.hint == "write `problem: question`"
