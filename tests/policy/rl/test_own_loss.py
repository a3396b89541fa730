"""A user's loss is found by name, tried before anything is spent, and trained with."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from stages import rl
from stages.core.artifact import Model, Prompts
from stages.core.errors import RecipeError, StageError
from stages.core.recipe import parts
from stages.core.recipe.parts import Objective
from stages.core.run import events
from stages.policy.rl import losses
from stages.policy.rl.losses import LOSSES, LossInputs, grpo, policy_loss
from stages.policy.rl.own_loss import _example, identity, load_loss
from tests.policy import tiny

Returned = tuple[Tensor, dict[str, Tensor]]


def reinforce(inputs: LossInputs, objective: Objective) -> Returned:
    per_token_BT = -inputs.advantages.unsqueeze(1) * inputs.logprobs_BT * inputs.mask_BT
    return per_token_BT.sum() / inputs.normaliser.tokens, {"spread": inputs.logprobs_BT.std()}


def per_token(inputs: LossInputs, objective: Objective) -> object:
    return inputs.logprobs_BT, {}


def loss_alone(inputs: LossInputs, objective: Objective) -> object:
    return inputs.logprobs_BT.sum()


def a_number(inputs: LossInputs, objective: Objective) -> object:
    return inputs.logprobs_BT.sum().item(), {}


def no_number(inputs: LossInputs, objective: Objective) -> Returned:
    return (inputs.logprobs_BT.sum() - inputs.logprobs_BT.sum()) / 0, {}


def no_gradient(inputs: LossInputs, objective: Objective) -> Returned:
    return inputs.logprobs_BT.detach().sum(), {}


def gradient_of_nothing(inputs: LossInputs, objective: Objective) -> Returned:
    return (inputs.logprobs_BT - inputs.old_logprobs_BT * 1.1).square().sum().sqrt(), {}


def says_rows(inputs: LossInputs, objective: Objective) -> Returned:
    return inputs.logprobs_BT.sum(), {"rows": inputs.advantages}


def needs_a_sampler(inputs: LossInputs, objective: Objective) -> Returned:
    return (inputs.logprobs_BT - inputs.sampler_logprobs_BT).sum(), {}


def narrow(inputs: LossInputs, objective: Objective) -> Returned:
    """It knows completions of three tokens, and no longer ones."""
    return (inputs.logprobs_BT * torch.ones(3)).sum(), {}


class Callable:
    def __call__(self, inputs: LossInputs, objective: Objective) -> Returned:
        return reinforce(inputs, objective)


an_object, a_partial = Callable(), partial(reinforce)


def named(name: str) -> str:
    return f"{__name__}:{name}"


def test_the_house_s_losses_and_a_user_s_are_found_by_name() -> None:
    assert load_loss("grpo") is grpo and all(load_loss(name) is one for name, one in LOSSES.items())
    assert load_loss(named("reinforce")).__name__ == "reinforce"


@pytest.mark.parametrize("exact", [True, False])
def test_what_a_user_s_loss_returns_is_trained_on_and_reported_beside_the_ratio(exact: bool) -> None:
    inputs = _example(Objective(kl_weight=0.0), exact=exact)
    loss, sums = policy_loss(load_loss(named("reinforce")), inputs, Objective(kl_weight=0.0))
    # Row 0, A = 1: 1.1 * 3.1 over 6 tokens; row 1, A = -1: -1.1 * 3.
    torch.testing.assert_close(loss.detach(), torch.tensor(1.1 * 0.1 / 6))
    assert {"ratio", "ratio_min", "ratio_max", "spread"} <= set(sums)
    assert ("importance" in sums) != exact
    assert not any(one.requires_grad for one in sums.values())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("per_token", r"returned a tensor of shape \(3, 3\) as the loss, not a tensor of one number"),
        ("loss_alone", r"returned a tensor of shape \(\), not a loss and a dict"),
        ("a_number", "returned float as the loss"),
        ("no_number", "returned nan"),
        ("no_gradient", "returned a loss without a gradient"),
        ("gradient_of_nothing", "has no finite gradient"),
        ("says_rows", r"reports a tensor of shape \(3,\) as `rows`, not one number"),
        ("needs_a_sampler", "raised TypeError"),
    ],
)
def test_a_loss_that_cannot_be_trained_with_is_refused_in_a_sentence(name: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        identity(named(name), Objective())


@pytest.mark.parametrize("name", [*LOSSES, named("reinforce")])
@pytest.mark.parametrize("kl_weight", [0.0, 0.1])
def test_a_loss_that_can_is_known_by_its_file(name: str, kl_weight: float) -> None:
    file = Path(losses.__file__ if name in LOSSES else __file__)
    assert identity(name, Objective(loss=name, kl_weight=kl_weight)) == hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> rl.Inputs:
    folder = tmp_path_factory.mktemp("own_loss")
    tiny.model(folder / "model")
    tiny.prompts(folder / "prompts", 8)
    return rl.Inputs(
        model=Model(path=folder / "model", record=tiny.record("model", "tiny")),
        prompts=Prompts(path=folder / "prompts", record=tiny.record("prompts", "tiny")),
    )


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_run_trains_with_each_loss_of_the_house(tmp_path: Path, inputs: rl.Inputs, name: str, dtype: str) -> None:
    made = tiny.run(tmp_path, inputs, {"loss": name, "dtype": dtype, "kl_weight": 0.1, "steps": 2})
    steps = events.curve(tmp_path / "events.jsonl", "step")
    assert made.metrics["largest_weight_change"] > 0
    assert steps[0]["kl"] == 0 < steps[1]["kl"]
    assert ("overflow" in steps[0]) == (name == "grpo_sequence")
    assert ("importance" in steps[0]) == (dtype == "bfloat16")


def test_a_run_trains_with_it_and_its_file_is_in_the_fingerprint(tmp_path: Path, inputs: rl.Inputs) -> None:
    recipe = rl.Recipe(**{**tiny.SETTINGS, "loss": named("reinforce")})
    assert rl.identity(recipe)[named("reinforce")] == hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    tiny.run(tmp_path / "run", inputs, {"loss": named("reinforce"), "steps": 2})
    steps = events.curve(tmp_path / "run" / "events.jsonl", "step")
    assert all("spread" in line and line["ratio_mean"] > 0 for line in steps)


def test_a_recipe_names_a_loss_that_there_is_and_that_its_algorithm_can_use() -> None:
    with pytest.raises(RecipeError, match="`loss` must be grpo, dr_grpo") as caught:
        rl.Recipe(loss="gpso")
    assert caught.value.hint == "did you mean `gspo`?"
    with pytest.raises(RecipeError, match="`loss` must be grpo, dr_grpo, dapo under `ppo`, not gspo"):
        rl.Recipe(algorithm="ppo", loss="gspo")
    with pytest.raises(RecipeError, match="`importance_cap` must be 1 or more"):
        rl.Recipe(importance_cap=0.5)
    with pytest.raises(RecipeError, match="returned float as the loss"):
        rl.identity(rl.Recipe(loss=named("a_number")))


def test_a_misspelt_loss_is_told_its_nearest_name() -> None:
    with pytest.raises(RecipeError, match="unknown loss `gpso`") as caught:
        load_loss("gpso")
    assert "gspo" in str(caught.value.hint)
    with pytest.raises(RecipeError, match=f"`{__name__}` has no function `reinforced`") as caught:
        load_loss(named("reinforced"))
    assert "reinforce" in str(caught.value.hint)


def test_the_folder_one_works_in_holds_losses_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_losses_here.py").write_text(
        "def plain(inputs, objective):\n    return -inputs.logprobs_BT.sum(), {}"
    )
    assert load_loss("my_losses_here:plain").__name__ == "plain"


def test_a_recipe_may_name_the_losses_that_there_are() -> None:
    assert set(parts.LOSSES) == set(LOSSES)


def test_a_sampler_far_from_the_trainer_is_warned_of_once(tmp_path: Path, inputs: rl.Inputs) -> None:
    tiny.run(tmp_path, inputs, {"dtype": "bfloat16", "temperature": 0.5, "max_completion_tokens": 24})
    rolled = [line["sampler_mismatch"] for line in events.curve(tmp_path / "events.jsonl", "step")]
    said = [line["text"] for line in events.read(tmp_path / "events.jsonl", "alarm")]
    assert min(rolled) > 0.01
    assert sum("sampler_mismatch is" in text and "one number type" in text for text in said) == 1


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("narrow", "raised RuntimeError: The size of tensor a"),
        ("per_token", r"returned a tensor of shape \(3, 4\) as the loss"),
        ("a_number", "returned float as the loss"),
        ("says_rows", r"reports a tensor of shape \(3,\) as `rows`, not one number"),
        ("no_gradient", "returned a loss without a gradient"),
        ("no_number", "returned nan"),
    ],
)
def test_a_loss_that_goes_wrong_in_training_is_named_in_a_sentence(name: str, said: str) -> None:
    with pytest.raises(StageError, match=f"^the loss `{named(name)}` {said}") as caught:
        policy_loss(load_loss(named(name)), wider(), Objective())
    assert "\n" not in caught.value.told


def test_so_is_one_whose_gradient_is_no_number() -> None:
    inputs = wider()
    loss, _ = policy_loss(load_loss(named("gradient_of_nothing")), inputs, Objective())
    with pytest.raises(StageError, match=r"`.*:gradient_of_nothing` has no finite gradient"):
        loss.backward()


def test_a_policy_that_has_diverged_is_not_the_loss_s_fault() -> None:
    inputs = wider()
    broken = replace(inputs, logprobs_BT=(inputs.logprobs_BT * float("nan")).detach().requires_grad_())
    assert policy_loss(load_loss(named("reinforce")), broken, Objective())[0].isnan()


def test_a_run_whose_loss_fails_later_ends_in_its_sentence(tmp_path: Path, inputs: rl.Inputs) -> None:
    with pytest.raises(StageError, match=f"the loss `{named('narrow')}` raised RuntimeError"):
        tiny.run(tmp_path, inputs, {"loss": named("narrow"), "steps": 1})


@pytest.mark.parametrize(("name", "kind"), [("an_object", "Callable"), ("a_partial", "partial")])
def test_a_loss_without_a_file_is_refused(name: str, kind: str) -> None:
    with pytest.raises(RecipeError, match=f"`{named(name)}` is no function but {kind}"):
        identity(named(name), Objective())


@pytest.mark.parametrize(
    ("module", "text", "said"),
    [
        ("loss_misspelt", "def loss(:", "SyntaxError: invalid syntax"),
        ("loss_raises", "raise KeyError('a\\nb')", "KeyError: 'a"),
        ("loss_two_lines", "raise RuntimeError('one\\n  two')", r"RuntimeError: one two\)"),
        ("loss_leaves", "import sys; sys.exit(3)", "SystemExit: 3"),
    ],
)
def test_a_module_that_cannot_be_imported_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, text: str, said: str
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / f"{module}.py").write_text(text)
    with pytest.raises(RecipeError, match=rf"the loss `{module}:loss` cannot be imported \({said}") as caught:
        load_loss(f"{module}:loss")
    assert "\n" not in caught.value.told


def wider() -> LossInputs:
    """The trial's completions in a batch of four tokens."""
    inputs = _example(Objective(), exact=True)
    padded = {
        name: torch.nn.functional.pad(getattr(inputs, name).detach(), (0, 1))
        for name in ("logprobs_BT", "old_logprobs_BT", "mask_BT", "ref_logprobs_BT")
    }
    padded["logprobs_BT"].requires_grad_()
    return replace(inputs, **padded)
