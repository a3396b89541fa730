"""Stages with an adapter: on a mixture of experts as on a dense model, killed or not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from stages import distill, evaluate, reward_model, rl, sft
from stages.core.artifact import Draft, Model, Preferences, Prompts
from stages.core.errors import RecipeError
from stages.core.recipe.adaptation import Adaptation
from stages.core.rows import Preference, write_rows
from stages.core.run import events
from stages.policy.models import importing
from tests.families import building
from tests.policy import tiny, tiny_sft
from tests.policy.training import test_resume as killed

EVERYWHERE = Adaptation(rank=2, targets=["all-linear", "experts"])
RL = {**tiny.SETTINGS, "minibatches": 2, "steps": 6, "reference_steps": 2, "kl_weight": 0.05, "learning_rate": 1e-2}
BIAS = "model.layers.1.mlp.gate.e_score_correction_bias"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DeepSeek-V3 of two layers, one of them with experts, as it is after an import."""
    home = tmp_path_factory.mktemp("adapted")
    building.folder("DeepSeek-V3", home / "outside")
    importing.import_model(home / "outside", home / "v3")
    tiny.prompts(home / "prompts", 4)
    tiny_sft.conversations(home / "traces", tiny_sft.rows(6))
    return home


def v3(home: Path) -> Model:
    return Model(path=home / "v3", record=tiny.record("model", "v3"))


def prompts(home: Path) -> Prompts:
    return Prompts(path=home / "prompts", record=tiny.record("prompts", "prompts"))


def changed(home: Path, sealed: Path) -> set[str]:
    """The weights that a sealed model has otherwise than the model of `home`."""
    before, after = (load_file(folder / "model.safetensors") for folder in (home / "v3", sealed))
    assert before.keys() == after.keys()
    return {name for name, weight in before.items() if not torch.equal(weight, after[name])}


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Any]:
    place = tiny.work(tmp_path / "node")
    yield place
    place.events.close()


def check(home: Path, draft: Draft, folder: Path, *, experts: bool) -> None:
    """A merged model: router, its balancing bias, embeddings and norms as they were, and figures of the adapter."""
    names = changed(home, folder)
    assert any(".self_attn." in name for name in names) and any(".shared_experts." in name for name in names)
    assert any(".mlp.experts." in name for name in names) == experts
    assert not [name for name in names if ".gate." in name or "embed" in name or "norm" in name or name == BIAS]
    assert draft.metrics["adapter"]["merge_difference"] < 1e-4 < draft.metrics["adapter"]["largest_change"]
    assert draft.metrics["adapter"]["routers"] == 0


def test_sft_of_a_mixture_of_experts(home: Path, work: Any) -> None:
    recipe = sft.Recipe(**tiny_sft.SETTINGS, adapter=EVERYWHERE)
    inputs = sft.Inputs(model=v3(home), conversations=tiny_sft.conversations(home / "traces", tiny_sft.rows(6)))
    draft = sft.run(recipe, inputs, work)
    check(home, draft, work.path, experts=True)
    said = " ".join(line["text"] for line in events.read(work.path / "events.jsonl", "note"))
    assert "an adapter of rank 2," in said and "the routed experts of 1 layer; left as they are: " in said


def test_rl_of_a_mixture_of_experts_and_what_is_evaluated_after_it(home: Path, work: Any, tmp_path: Path) -> None:
    inputs = rl.Inputs(model=v3(home), prompts=prompts(home))
    draft = rl.run(rl.Recipe(**RL, adapter=Adaptation(rank=2)), inputs, work)
    check(home, draft, work.path, experts=False)
    assert draft.metrics["trained_parameters"] == draft.metrics["adapter"]["parameters"]
    steps = events.curve(work.path / "events.jsonl", "step")
    assert [line["reference"] for line in steps] == ["init", "init", "step-2", "step-2", "step-4", "step-4"]
    assert steps[0]["kl"] == 0 < steps[1]["kl"]  # from the base at first
    assert steps[2]["kl"] == 0 < steps[3]["kl"]  # and from the adapter as it was
    place = tiny.work(tmp_path / "eval")
    quick = evaluate.Recipe(samples=1, max_tokens=4, template="plain")
    made = Model(path=work.path, record=tiny.record("model", "zero"))
    evaluate.run(quick, evaluate.Inputs(model=made, prompts=prompts(home)), place)
    place.events.close()


def test_ppo_trains_a_value_model_that_shares_the_frozen_weights(home: Path, work: Any) -> None:
    settings = {**RL, "algorithm": "ppo", "steps": 2, "minibatches": 1}
    recipe = rl.Recipe(**settings, adapter=Adaptation(rank=2))
    draft = rl.run(recipe, rl.Inputs(model=v3(home), prompts=prompts(home)), work)
    own = draft.metrics["adapter"]["parameters"]
    width = json.loads((home / "v3" / "config.json").read_text())["hidden_size"]
    assert draft.metrics["trained_parameters"] == 2 * own + width + 1  # two adapters, a head of one number, its bias
    check(home, draft, work.path, experts=False)


@pytest.mark.parametrize("mode", ["traces", "on-policy"])
def test_distillation_into_a_mixture_of_experts(home: Path, work: Any, mode: Any) -> None:
    own = {"epochs": 1} if mode == "traces" else {"steps": 2, "max_completion_tokens": 4}
    settings: dict[str, Any] = {"template": tiny.TEMPLATE, "batch_size": 2, "learning_rate": 1e-2, **own}
    recipe = distill.Recipe(mode=mode, **settings, adapter=Adaptation(rank=2))
    traces = tiny_sft.conversations(home / "traces", tiny_sft.rows(6))
    given: dict[str, Any] = {"conversations": traces}
    if mode == "on-policy":
        given = {"teacher": v3(home), "prompts": prompts(home)}
    draft = distill.run(recipe, distill.Inputs(student=v3(home), **given), work)
    if mode == "traces":
        check(home, draft, work.path, experts=False)
    assert draft.metrics["adapter"]["rank"] == 2  # its own teacher has nothing to teach it, and it stays as it is


def test_a_judge_learns_through_an_adapter_and_a_head_of_its_own(home: Path, work: Any) -> None:
    rows = [Preference(f"r{n}", f"q{n}", "<answer>abc</answer>", "<answer>xyz</answer>", 1.0) for n in range(12)]
    (home / "pairs").mkdir(exist_ok=True)
    write_rows(home / "pairs" / "preferences.jsonl", rows)
    given = Preferences(path=home / "pairs", record=tiny.record("preferences", "pairs"))
    recipe = reward_model.Recipe(
        template="plain", batch_size=4, learning_rate=1e-2, heldout_share=0.3, adapter=Adaptation(rank=2, dropout=0.1)
    )
    draft = reward_model.run(recipe, reward_model.Inputs(model=v3(home), preferences=given), work)
    assert draft.metrics["adapter"]["merge_difference"] < 1e-4
    assert "score.weight" in load_file(work.path / "model.safetensors")
    assert json.loads((work.path / "judge.json").read_text())["std"] > 0


def lora(folder: Path, place: str) -> None:
    killed.train(folder, {**RL, "eval_every": 2, "eval_samples": 1, "adapter": Adaptation(rank=2)}, place)


def test_a_killed_run_with_an_adapter_ends_in_the_same_bits(tmp_path: Path) -> None:
    tiny.model(tmp_path / "model")
    tiny.prompts(tmp_path / "prompts", 4)
    tiny.prompts(tmp_path / "validation", 2, "validation")
    assert tiny.in_a_process(lora, tmp_path / "whole", "") == 0
    assert tiny.in_a_process(lora, tmp_path / "killed", "step 5") == -9
    newest = max((tmp_path / "killed" / "scratch" / "checkpoints").glob("step-*"))
    held = {file.name for file in newest.iterdir()}
    assert {"adapter.safetensors", "reference.safetensors", "optimizer.pt"} <= held
    assert not held & {"model.safetensors", "config.json"}  # neither base nor merged weights
    assert tiny.in_a_process(lora, tmp_path / "killed", "") == 0
    assert killed.outcome(tmp_path / "killed") == killed.outcome(tmp_path / "whole")


def test_what_bfloat16_makes_of_a_merged_model_is_in_its_record(home: Path, work: Any) -> None:
    recipe = sft.Recipe(**tiny_sft.SETTINGS, adapter=Adaptation(rank=2), dtype="bfloat16")
    inputs = sft.Inputs(model=v3(home), conversations=tiny_sft.conversations(home / "traces", tiny_sft.rows(6)))
    figures = sft.run(recipe, inputs, work).metrics["adapter"]
    assert figures["merge_difference"] < 1e-4 < figures["stored_difference"]
    assert load_file(work.path / "model.safetensors")["model.norm.weight"].dtype == torch.bfloat16


def test_a_base_held_in_16_bits_is_merged_as_it_was_read(home: Path, work: Any) -> None:
    settings = {**tiny_sft.SETTINGS, "dtype": "bfloat16", "weights": "bfloat16"}
    inputs = sft.Inputs(model=v3(home), conversations=tiny_sft.conversations(home / "traces", tiny_sft.rows(6)))
    figures = sft.run(sft.Recipe(**settings, adapter=Adaptation(rank=2)), inputs, work).metrics["adapter"]
    assert figures["merge_difference"] < 1e-4 < figures["held_difference"]
    before, after = (load_file(folder / "model.safetensors") for folder in (home / "v3", work.path))
    assert torch.equal(after["model.norm.weight"], before["model.norm.weight"].bfloat16())


@pytest.mark.parametrize(
    ("stage", "given", "sentence"),
    [
        (rl, {"adapter": Adaptation(rank=2, dropout=0.1)}, "`adapter.dropout` must be 0 in rl: sampler and trainer"),
        (distill, {"mode": "on-policy", "adapter": Adaptation(rank=2, dropout=0.1)}, "must be 0 in mode on-policy"),
        (sft, {"adapter": Adaptation(alpha=16)}, "`adapter.rank` must be 1 or more where its other keys are given"),
        (sft, {"adapter": Adaptation(rank=2, alpha=0)}, "`adapter.alpha` must be above 0"),
    ],
)
def test_what_cannot_be_is_refused_by_the_recipe(stage: Any, given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RecipeError, match=sentence):
        stage.Recipe(**given)
