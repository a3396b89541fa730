"""The rl stage: what it asks of its recipe and inputs, and what it leaves behind."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stages import rl
from stages.core.artifact import Judge, Model, Prompts
from stages.core.contract import R1_ZERO_TEMPLATE
from stages.core.errors import ContractError, InputError, RecipeError
from stages.core.recipe.parts import LengthSwitch
from stages.core.rows import Prompt, write_rows
from stages.core.run import events
from tests.policy import tiny

# ---- the recipe ----


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"group_size": 1}, "a group of 1 has no advantage"),
        ({"steps": 0}, "`steps` must be 1 or more, not 0"),
        ({"minibatches": 0}, "`minibatches` must be 1 or more"),
        ({"learning_rate": 0.0}, "`learning_rate` must be above 0"),
        ({"temperature": 0.0}, "`temperature` must be above 0"),
        ({"kl_weight": -0.1}, "`kl_weight` must be 0 or more"),
        ({"reference_steps": -1}, "`reference_steps` must be 0 or more, or null"),
        ({"adam_betas": (0.9, 1.0)}, "`adam_betas` must be two numbers in [0, 1)"),
        ({"rewards": {}}, "`rewards` must be weights of 0 or more, at least one above 0"),
        ({"rewards": {"accuracy": -1.0}}, "`rewards` must be"),
        ({"length_switch": LengthSwitch(step=0, tokens=5)}, "`length_switch` must be"),
        ({"template": "r1_zeroo"}, "no `template` named r1_zeroo"),
        ({"general_share": 1.5}, "`general_share` must be in [0, 1]"),
        ({"general_from_step": -1}, "`general_from_step` must be 0 or more, or null"),
        (
            {"steps": 8, "minibatches": 4, "general_from_step": 5},
            "`general_from_step` must be null or up to 4, the last rollout, not 5",
        ),
    ],
)
def test_a_value_out_of_range_is_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        rl.Recipe(**changes)
    assert said in caught.value.what
    assert caught.value.hint


def test_the_defaults_are_r1_zero_s_published_numbers() -> None:
    recipe = rl.Recipe()
    assert (recipe.learning_rate, recipe.kl_weight, recipe.temperature) == (3e-6, 0.001, 1.0)
    assert (recipe.group_size, recipe.prompts_per_step, recipe.step_rows) == (16, 32, 512)
    assert recipe.step_rows * recipe.minibatches == 8192
    assert (recipe.reference_steps, recipe.steps, recipe.max_completion_tokens) == (400, 10400, 32768)
    assert recipe.rewards == {"accuracy": 1.0, "format": 1.0}
    assert (recipe.loss, recipe.kl_estimator, recipe.kl_correction) == ("grpo", "k3", False)


def test_every_field_says_what_it_means() -> None:
    from stages.core.recipe import schema

    assert all(key.doc for key in schema.describe(rl.Recipe))


def test_a_template_file_is_read_when_the_recipe_is_and_so_is_hashed(tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("Think. {prompt}")
    assert rl.Recipe(template=str(file)).template == "Think. {prompt}"
    file.write_text("no place for it")
    with pytest.raises(RecipeError, match=r"lacks \{prompt\}"):
        rl.Recipe(template=str(file))


PAPER = ("r1_zero", "rl_reasoning", "rl_all")


@pytest.mark.parametrize("name", [*PAPER, *(f"paper/{name}" for name in PAPER)])
def test_the_bundled_recipes_load(name: str) -> None:
    from stages.core.recipe.loading import load

    loaded = load(name)
    assert loaded.stage == "rl"
    assert isinstance(loaded.recipe, rl.Recipe)
    assert set(loaded.inputs) >= {"model", "prompts"}


def test_the_embedded_recipe_keeps_what_makes_it_r1_zero() -> None:
    from stages.core.recipe.loading import load

    recipe = load("r1_zero").recipe
    assert recipe.template == "r1_zero"
    assert recipe.minibatches >= 4
    assert recipe.steps / recipe.reference_steps > 2, "the reference is replaced at least twice"
    assert recipe.reference_steps % recipe.minibatches == 0
    assert set(recipe.rewards) == {"accuracy", "format"} and len(set(recipe.rewards.values())) == 1


@pytest.mark.parametrize("prefix", ["", "paper/"])
def test_the_later_stages_are_r1_zero_with_what_was_published_to_differ(prefix: str) -> None:
    from stages.core.recipe.loading import load

    zero, first, second = (load(prefix + name).recipe for name in PAPER)
    assert first.rewards == {**zero.rewards, "language": 1.0} and first.clip_epsilon == 10
    assert first.length_switch is None and first.general_from_step is None
    assert second.rewards == {**first.rewards, "helpful": 1.0, "safe": 1.0} and second.temperature == 0.7
    assert 0.7 < second.general_from_step / second.steps < 0.8, "the last 400 of 1,700 steps"
    same = ("group_size", "kl_weight", "reference_steps", "prompts_per_step", "minibatches")
    assert all(getattr(zero, key) == getattr(first, key) == getattr(second, key) for key in same)
    assert zero.learning_rate == first.learning_rate
    assert second.learning_rate == zero.learning_rate or not prefix, "the embedded world needs another, and says why"


@pytest.mark.parametrize(("name", "least"), zip(PAPER, (15, 5, 5), strict=True))
def test_every_number_of_the_paper_recipe_says_where_it_is_from(name: str, least: int) -> None:
    text = (Path(__file__).parents[2] / "recipes" / "paper" / f"{name}.yaml").read_text(encoding="utf-8")
    inside = text[text.index("\nrecipe:") :].splitlines()[2:]
    values = [line for line in inside if line.strip() and not line.strip().startswith("#") and not line.endswith(":")]
    assert len(values) > least
    unmarked = [line for line in values if "# published: " not in line and "# chosen: unpublished" not in line]
    assert not unmarked, "\n".join(unmarked)


# ---- the template ----


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rl")
    tiny.model(folder / "model")
    tiny.prompts(folder / "prompts", 8)
    tiny.prompts(folder / "validation", 4, "validation")
    tiny.prompts(folder / "none", 0, "none")
    for name in ("helpful", "safe"):
        (folder / name).mkdir()
        row = Prompt(id=f"{name}-1", problem="Hello", answer="", verifier=name)
        write_rows(folder / name / "prompts.jsonl", [row])
    return folder


@pytest.fixture
def inputs(home: Path) -> Callable[..., rl.Inputs]:
    def make(model: Model | None = None, prompts: str = "prompts", validation: bool = False) -> rl.Inputs:
        held_out = Prompts(path=home / "validation", record=tiny.record("prompts", "validation"))
        return rl.Inputs(
            model=model or Model(path=home / "model", record=tiny.record("model", "tiny")),
            prompts=Prompts(path=home / prompts, record=tiny.record("prompts", prompts)),
            validation=held_out if validation else None,
        )

    return make


def test_the_published_template_is_used_verbatim(home: Path) -> None:
    contract = rl.policy_contract(rl.Recipe(), Model(path=home / "model", record=tiny.record("model", "tiny")))
    assert contract.render("1+1?") == R1_ZERO_TEMPLATE.replace("{prompt}", "1+1?")
    assert contract.prefill == ""


def test_what_a_template_opens_is_the_completion_s_beginning(home: Path) -> None:
    recipe = rl.Recipe(template="Use <think> </think> <answer> </answer>. {prompt} <think>\n")
    contract = rl.policy_contract(recipe, Model(path=home / "model", record=tiny.record("model", "tiny")))
    assert contract.prefill == "<think>\n"
    assert contract.render("Q").endswith("Q <think>\n")


def test_a_format_reward_needs_the_tags_in_the_template(
    home: Path, inputs: Callable[..., rl.Inputs], tmp_path: Path
) -> None:
    asked = {"template": "Q: {prompt} A:", "rewards": {"accuracy": 1.0, "format": 1.0}}
    with pytest.raises(ContractError, match="lacks <think>"):
        tiny.run(tmp_path / "run", inputs(), asked)
    model = Model(path=home / "model", record=tiny.record("model", "tiny"))
    assert rl.policy_contract(rl.Recipe(template="Q: {prompt}", rewards={"accuracy": 1.0}), model)


def test_a_pad_token_that_ends_is_refused(tmp_path: Path, inputs: Callable[..., rl.Inputs]) -> None:
    with pytest.raises(ContractError, match="pad token"):
        tiny.run(tmp_path / "run", inputs(model=tiny.model(tmp_path / "model", pad_is_eos=True)))


def test_no_prompts_and_no_room_are_refused_before_anything_is_trained(
    tmp_path: Path, inputs: Callable[..., rl.Inputs]
) -> None:
    with pytest.raises(InputError, match="holds no rows"):
        tiny.run(tmp_path / "a", inputs(prompts="none"))
    with pytest.raises(InputError, match="leaves no 120 tokens") as caught:
        tiny.run(tmp_path / "b", inputs(), {"max_completion_tokens": 120})
    assert "max_completion_tokens=" in caught.value.hint
    assert not list((tmp_path / "b").glob("*.safetensors"))


def test_an_unknown_reward_is_refused(tmp_path: Path, inputs: Callable[..., rl.Inputs]) -> None:
    with pytest.raises(RecipeError, match="unknown reward `acuracy`"):
        tiny.run(tmp_path / "run", inputs(), {"rewards": {"acuracy": 1.0}})


# ---- general prompts and judges ----


def prompts_at(home: Path, name: str) -> Prompts:
    return Prompts(path=home / name, record=tiny.record("prompts", name))


def judge_at(home: Path, name: str) -> Judge:
    return Judge(path=home / name, record=tiny.record("judge", name))


@pytest.mark.parametrize(
    ("changes", "given", "said"),
    [
        ({"rewards": {"helpful": 1.0}}, {}, "needs the input `helpful`"),
        ({"rewards": {"safe": 1.0}}, {"helpful": "judge"}, "inputs.helpful is given, and `rewards` does not name it"),
        ({}, {"general": "helpful"}, "`general_from_step` is null: none would ever be asked"),
        ({}, {"safety": "safe"}, "`general_from_step` is null: none would ever be asked"),
        ({"general_from_step": 0}, {}, "are for general prompts, and none are given"),
        ({"rewards": {"helpful": 1.0}}, {"helpful": "judge"}, "are for general prompts, and none are given"),
    ],
)
def test_judges_and_general_prompts_that_would_do_nothing_are_refused(
    tmp_path: Path,
    home: Path,
    inputs: Callable[..., rl.Inputs],
    changes: dict[str, Any],
    given: dict[str, str],
    said: str,
) -> None:
    found = {name: judge_at(home, name) if kind == "judge" else prompts_at(home, kind) for name, kind in given.items()}
    with pytest.raises(RecipeError, match=re.escape(said)) as caught:
        tiny.run(tmp_path / "run", replace(inputs(), **found), changes)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("given", "way_out"),
    [({"prompts": "helpful", "general": "safe"}, "inputs.general"), ({"general": "prompts"}, "inputs.prompts")],
)
def test_a_prompt_among_the_wrong_ones_is_sent_to_the_others(
    tmp_path: Path, home: Path, inputs: Callable[..., rl.Inputs], given: dict[str, str], way_out: str
) -> None:
    found = {name: prompts_at(home, kind) for name, kind in given.items()}
    with pytest.raises(InputError, match="has the verifier") as caught:
        tiny.run(tmp_path / "run", replace(inputs(), **found), {"general_from_step": 0})
    assert way_out in caught.value.hint


def test_validation_that_no_rule_could_mark_is_refused(
    tmp_path: Path, home: Path, inputs: Callable[..., rl.Inputs]
) -> None:
    with pytest.raises(InputError, match="all general"):
        tiny.run(tmp_path / "run", replace(inputs(), validation=prompts_at(home, "helpful")), {"eval_every": 2})


def test_general_prompts_that_nobody_judges_are_trained_on_with_a_warning(
    tmp_path: Path, home: Path, inputs: Callable[..., rl.Inputs]
) -> None:
    changes = {"rewards": {"format": 1.0, "language": 1.0}, "general_from_step": 2, "steps": 4}
    tiny.run(tmp_path / "run", replace(inputs(), safety=prompts_at(home, "safe")), changes)
    said = [line["text"] for line in events.read(tmp_path / "run" / "events.jsonl", "warning")]
    assert said[0] == "no reward judges what `safe` prompts ask for: add inputs.safe and give `safe` a weight"
    steps = events.curve(tmp_path / "run" / "events.jsonl", "step")
    assert [step["general"] for step in steps] == [0.0, 0.0, 0.5, 0.5]


# ---- what is left behind ----


def test_operations_are_counted_from_the_tokens_that_were_read(
    tmp_path: Path, home: Path, inputs: Callable[..., rl.Inputs]
) -> None:
    from stages.policy.models import folders

    draft = tiny.run(tmp_path / "run", inputs(), {"minibatches": 1, "steps": 2})
    lines = [file.read_text(encoding="utf-8") for file in (tmp_path / "run" / "completions").iterdir()]
    rows = [json.loads(line) for text in lines for line in text.splitlines()]
    assert len(rows) == 2 * 8, "both rollouts are kept whole"
    shared = len(folders.load_tokenizer(home / "model")(tiny.TEMPLATE.removesuffix("{prompt}"))["input_ids"])
    tokens = 2 * (shared + 8 * len("3+3=")) + sum(row["tokens"] for row in rows)
    parameters = folders.load_model(home / "model").num_parameters()
    assert draft.metrics["flops"] == {"sampling": 2 * parameters * tokens, "update": 6 * parameters * tokens}
    assert draft.metrics["reflective"] == 0.0 and draft.metrics["reflective_spike"] is None


def test_the_sealed_model_loads_with_plain_transformers_and_has_moved(
    tmp_path: Path, inputs: Callable[..., rl.Inputs]
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    draft = tiny.run(tmp_path / "run", inputs())
    assert draft.kind is Model
    assert draft.metrics["largest_weight_change"] > 0
    assert draft.metrics["kept_step"] == draft.metrics["steps"] == 4
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "run")
    words = AutoTokenizer.from_pretrained(tmp_path / "run")
    text = model.generate(**words("1+1=", return_tensors="pt"), max_new_tokens=2, do_sample=False)
    assert text.shape[1] > 4
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert not [name for name in left if name.endswith((".bin", ".pt", ".pth", ".pkl"))]
    assert tiny.Contract.read(tmp_path / "run").template == tiny.TEMPLATE


def test_kept_completions_say_what_each_reward_gave_and_why(tmp_path: Path, inputs: Callable[..., rl.Inputs]) -> None:
    rewards = {tiny.REWARD: 1.0, "accuracy": 1.0, "format": 1.0}
    tiny.run(tmp_path / "run", inputs(), {"rewards": rewards})
    files = sorted((tmp_path / "run" / "completions").iterdir())
    assert [file.name for file in files] == ["rollout-00001.jsonl", "rollout-00002.jsonl"]
    rows = [json.loads(line) for line in files[0].read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 8, "two groups of four"
    assert len({row["id"] for row in rows}) == 2
    for row in rows:
        assert set(row["rewards"]) == set(rewards)
        assert row["rewards"]["format"] == 0.0 and row["reasons"]["format"]
        assert row["tokens"] <= 6
    assert sum(row["advantage"] for row in rows[:4]) == pytest.approx(0, abs=1e-5)


def test_the_base_is_validated_before_the_first_step_and_the_policy_on_time(
    tmp_path: Path, inputs: Callable[..., rl.Inputs]
) -> None:
    changes = {"eval_every": 3, "eval_samples": 2, "keep": "last"}
    draft = tiny.run(tmp_path / "run", inputs(validation=True), changes)
    curve = events.curve(tmp_path / "run" / "events.jsonl", "eval")
    assert [point["step"] for point in curve] == [0, 3, 4]
    assert {"strict", "accuracy", "format", "length", "truncated", "strict_even", "strict_odd"} <= set(curve[0])
    assert draft.metrics["strict_before"] == curve[0]["strict"]


def test_a_run_shorter_than_the_way_to_a_validation_has_none(tmp_path: Path, inputs: Callable[..., rl.Inputs]) -> None:
    draft = tiny.run(tmp_path / "run", inputs(validation=True), {"eval_every": 40})
    assert events.read(tmp_path / "run" / "events.jsonl", "eval") == []
    assert draft.metrics["kept_step"] == 4


def test_the_best_weights_are_kept_not_the_last(
    tmp_path: Path, inputs: Callable[..., rl.Inputs], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What validation finds is given here: highest after step 2."""
    from stages.policy.models.folders import load_model
    from stages.policy.rl import validation

    marks = iter([0.1, 0.7, 0.3])
    run = validation.ValidationRun.run
    monkeypatch.setattr(
        validation.ValidationRun, "run", lambda self, *given: {**run(self, *given), "strict": next(marks)}
    )
    changes = {"eval_every": 2, "eval_samples": 1}
    draft = tiny.run(tmp_path / "best", inputs(validation=True), {**changes, "keep": "best"})
    assert (draft.metrics["kept_step"], draft.metrics["strict_best"]) == (2, 0.7)
    tiny.run(tmp_path / "half", inputs(), {"steps": 2})
    left, right = load_model(tmp_path / "best").state_dict(), load_model(tmp_path / "half").state_dict()
    assert all(left[name].equal(right[name]) for name in left), "the weights kept are those of step 2"


def test_an_alarm_comes_once_and_names_the_key(tmp_path: Path, inputs: Callable[..., rl.Inputs]) -> None:
    draft = tiny.run(tmp_path / "run", inputs())
    said = events.read(tmp_path / "run" / "events.jsonl", "alarm")
    assert [(one["step"], one["kind"]) for one in said] == [(1, "truncated")]
    assert "truncated is 1" in said[0]["text"] and "`max_completion_tokens=12`" in said[0]["text"]
    assert draft.metrics["alarms"] == {"truncated": 1}


def test_a_gradient_that_is_no_number_stops_the_run(
    tmp_path: Path, inputs: Callable[..., rl.Inputs], monkeypatch: pytest.MonkeyPatch
) -> None:
    from stages.core.errors import StageError
    from stages.policy.rl import losses

    monkeypatch.setitem(losses.LOSSES, "grpo", lambda *given: (losses.grpo(*given)[0] * float("nan"), {}))
    with pytest.raises(StageError, match="step 1 is not a number"):
        tiny.run(tmp_path / "run", inputs())


def test_a_reward_that_does_not_exist_is_named_before_anything_is_spent() -> None:
    with pytest.raises(RecipeError, match="unknown reward `acuracy`") as caught:
        rl.identity(rl.Recipe(rewards={"acuracy": 1.0}))
    assert "did you mean `accuracy`" in caught.value.hint


def test_a_changed_reward_of_the_user_is_another_artifact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    module = tmp_path / "my_own_reward.py"
    recipe = rl.Recipe(rewards={"accuracy": 1.0, "my_own_reward:brief": 1.0})
    module.write_text("def brief(completion, row, contract):\n    return float(len(completion) < 9)\n")
    before = rl.identity(recipe)
    module.write_text("def brief(completion, row, contract):\n    return float(len(completion) < 8)\n")
    assert list(before) == ["my_own_reward:brief"] and before != rl.identity(recipe)
    assert rl.identity(rl.Recipe()) == {}
