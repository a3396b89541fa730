"""PPO on GRPO's path: a value model that learns, the same samples, and a resume that is exact to the bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from stages import rl
from stages.core.artifact import Model, Prompts
from stages.core.contract import Contract
from stages.core.errors import RecipeError
from stages.core.recipe.parts import Objective
from stages.core.rows import Prompt
from stages.policy.models import folders
from stages.policy.models.prefix import selected_logits, selected_logprobs, suffix_logits
from stages.policy.rl import ppo, rollout
from stages.policy.training import settings
from stages.policy.training.checkpoint import Checkpoints
from tests.policy import tiny
from tests.policy.rl import test_grpo
from tests.policy.training import test_resume

LEARNS: dict[str, Any] = {
    "algorithm": "ppo",
    "steps": 32,
    "minibatches": 2,
    "prompts_per_step": 4,
    "group_size": 8,
    "learning_rate": 4e-3,
}


def even(completion: str, row: Prompt, contract: Contract) -> float:
    """1 for the problems that are of the family `even`, whatever the completion."""
    return float(row.family == "even")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ppo")
    tiny.model(folder / "model")
    tiny.prompts(folder / "prompts", 8)
    tiny.prompts(folder / "validation", 4, "validation")
    return folder


def train(home: Path, folder: Path, micro: int = 8, **changes: Any) -> tuple[test_grpo.Witness, ppo.PPOTrainer]:
    recipe = rl.Recipe(**{**tiny.SETTINGS, "kl_weight": 0.05, "algorithm": "ppo", **changes})
    checkpoints, witness = Checkpoints(folder / "checkpoints"), test_grpo.Witness()
    config = settings.configuration(
        recipe, folder=checkpoints.fresh_draft(), seed=3, micro=micro, save_steps=1000, cpu=True
    )
    policy = tiny.policy(home / "model")
    trainer = ppo.PPOTrainer(
        policy,
        collector=test_grpo.collector_of(home, recipe),
        engine=tiny.engine(policy, recipe),
        objective=Objective(kl_weight=recipe.kl_weight, clip_epsilon=recipe.clip_epsilon),
        config=config,
        checkpoints=checkpoints,
        callback=witness,
    )
    trainer.train()
    return witness, trainer


# ---- the value model ----


def test_a_value_model_is_the_policy_with_one_number_for_logits_and_foresees_0_at_first(home: Path) -> None:
    owner = tiny.policy(home / "model")
    policy, value = owner.module, ppo.value_model(owner).module
    assert policy.config.tie_word_embeddings and policy.get_output_embeddings().weight.shape[0] > 1
    ids = torch.tensor([[1, 2, 3]])
    assert value(input_ids=ids).logits.tolist() == [[[0.0], [0.0], [0.0]]]
    trunk = sum(part.numel() for part in policy.parameters())  # tied: the policy's output layer counts once
    assert sum(part.numel() for part in value.parameters()) == trunk + 32 + 1
    theirs = {name: part for name, part in policy.named_parameters() if "lm_head" not in name}
    mine = dict(value.named_parameters())
    assert all(torch.equal(mine[name], part) and mine[name] is not part for name, part in theirs.items())


def test_logits_before_each_token_are_those_of_the_plain_forward_pass_with_and_without_a_prefix(home: Path) -> None:
    policy = folders.load_model(home / "model")
    prompt, completion = torch.tensor([[0, 5, 6, 7], [5, 6, 7, 8]]), torch.tensor([[9, 10], [11, 0]])
    real_P, real_T = prompt > 0, completion > 0
    by_hand = [
        policy(input_ids=torch.tensor([row])).logits[0, at]
        for row, at in (([5, 6, 7, 9, 10], 2), ([5, 6, 7, 9, 10], 3), ([5, 6, 7, 8, 11], 3))
    ]
    for shared in (0, 2):
        found = selected_logits(policy, prompt, real_P, completion, real_T, shared_prefix=shared)
        torch.testing.assert_close(found, torch.stack(by_hand), rtol=0, atol=1e-5)
        logprobs = selected_logprobs(policy, prompt, real_P, completion, real_T, temperature=1.0, shared_prefix=shared)
        chosen = found.log_softmax(-1).gather(1, completion[real_T][:, None])[:, 0]
        torch.testing.assert_close(logprobs[0][real_T], chosen, rtol=0, atol=1e-5)
    tail = suffix_logits(policy, torch.tensor([5, 6]), torch.tensor([[7, 9, 10]]), torch.ones(1, 3, dtype=torch.bool))
    torch.testing.assert_close(tail[0, :2], torch.stack(by_hand[:2]), rtol=0, atol=1e-5)


def test_the_value_model_learns_to_foresee_the_reward(home: Path, tmp_path: Path) -> None:
    # The reward follows from the problem, so that it can be foreseen from the first token; the policy stays put.
    changes = {"learning_rate": 1e-9, "value_learning_rate": 1e-2, "rewards": {f"{__name__}:even": 1.0}, "steps": 24}
    steps = train(home, tmp_path, micro=32, kl_weight=0.0, **{**LEARNS, **changes})[0].steps
    assert steps[0]["explained_variance"] == pytest.approx(0, abs=1e-6)
    assert 0.2 < steps[0]["value_loss"] < 0.3  # half of the rows earn 1, and 0 is foreseen
    assert steps[-1]["explained_variance"] > 0.8
    assert steps[-1]["value_loss"] < 0.05


def test_the_first_minibatch_trains_on_the_values_that_the_advantages_were_made_of(home: Path, tmp_path: Path) -> None:
    _, trainer = train(home, tmp_path, steps=4, minibatches=1, micro=2, learning_rate=5e-3)
    made = trainer._roll_out(4, 4)
    batch = trainer._batch(made, range(2))
    assert torch.equal(trainer._values(batch).detach(), batch["values"])
    assert batch["values"].abs().sum() > 0
    assert batch["advantages"].shape == batch["completion_ids"].shape
    assert batch["advantages"][~batch["completion_mask"]].abs().sum() == 0


# ---- learning ----


@pytest.mark.parametrize("lam", [0.95, 1.0])
def test_the_policy_learns_what_is_rewarded(home: Path, tmp_path: Path, lam: float) -> None:
    steps = train(home, tmp_path, micro=32, gae_lambda=lam, **LEARNS)[0].steps
    assert steps[-1]["reward"] - steps[0]["reward"] > 0.25


def test_it_learns_nothing_when_rewards_are_shuffled(home: Path, tmp_path: Path) -> None:
    steps = train(home, tmp_path, micro=32, shuffle_rewards=True, **LEARNS)[0].steps
    assert abs(steps[-1]["reward"] - steps[0]["reward"]) < 0.125


def test_grpo_and_ppo_ask_the_same_prompts_and_draw_the_same_first_samples(home: Path, tmp_path: Path) -> None:
    mine = train(home, tmp_path / "ppo", steps=2)[0].rollouts[0]
    theirs = test_grpo.train(home, tmp_path / "grpo", steps=2).rollouts[0]
    assert mine.prompt_ids == theirs.prompt_ids and mine.completion_ids == theirs.completion_ids
    assert torch.equal(mine.rewards_B, theirs.rewards_B)
    assert theirs.traces == {} and set(mine.traces) == {"values", "returns", "advantages"}


def test_the_kl_is_in_the_reward_and_reported_but_not_in_the_loss(home: Path, tmp_path: Path) -> None:
    witness, trainer = train(home, tmp_path, steps=4, kl_weight=0.5)
    assert (trainer.kl_weight, trainer.objective.kl_weight) == (0.5, 0.0)
    assert witness.steps[0]["kl"] == 0 < witness.steps[-1]["kl"]
    made = witness.rollouts[1]  # its policy has moved, so each token carries a penalty
    row = max(range(len(made.completion_ids)), key=lambda one: len(made.completion_ids[one]))
    penalty = 0.5 * (made.old_logprobs[row] - made.ref_logprobs[row])
    to_come = made.rewards_B[row] - penalty.flip(0).cumsum(0).flip(0)
    torch.testing.assert_close(made.traces["returns"][row], to_come, rtol=1e-5, atol=1e-5)


def test_micro_batches_change_nothing_but_rounding(home: Path, tmp_path: Path) -> None:
    (whole, first), (cut, second) = (train(home, tmp_path / str(micro), steps=2, micro=micro) for micro in (8, 2))
    for left, right in zip(whole.steps, cut.steps, strict=True):
        assert left["value_loss"] == pytest.approx(right["value_loss"], rel=1e-4)
        assert left["grad_norm"] == pytest.approx(right["grad_norm"], rel=1e-3)
    for left, right in zip(first.value.module.parameters(), second.value.module.parameters(), strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=2e-3)


def test_a_completion_that_cannot_be_judged_moves_neither_model(home: Path, tmp_path: Path) -> None:
    _, trainer = train(home, tmp_path, steps=1)
    answers = trainer.collector.judge(0, trainer.collector.collect(trainer.engine, 0, 0, lambda done, asked: None))
    made, kept = trainer.collector.lay_out(answers, 0, 0, "init")
    trainer.take_logprobs(made)
    made.rewards_B[3] = float("nan")
    kept = trainer.assign_advantages(made, kept)
    assert made.traces["advantages"][3].abs().sum() == 0 and made.traces["returns"][3].isnan().all()
    everything = torch.cat([row for at, row in enumerate(made.traces["advantages"]) if at != 3])
    assert everything.mean().item() == pytest.approx(0, abs=1e-6)
    assert everything.std().item() == pytest.approx(1, abs=1e-5)
    assert len(kept) == 8 and made.advantages_B[3] == 0
    inputs = {**trainer._batch(made, range(3, 4)), "normaliser": normaliser_of(made)}
    trainer.value.module.zero_grad()
    trainer.compute_loss(trainer.model, inputs)
    assert all(part.grad is None or part.grad.abs().sum() == 0 for part in trainer.value.module.parameters())


def normaliser_of(made: rollout.Rollout) -> Any:
    from stages.policy.rl.losses import LossNormaliser

    return LossNormaliser(rows=1, tokens=made.tokens(range(3, 4)), max_tokens=made.max_tokens)


# ---- costs ----


def test_both_algorithms_record_what_they_trained_and_took(home: Path, tmp_path: Path) -> None:
    inputs = rl.Inputs(
        model=Model(path=home / "model", record=tiny.record("model", "tiny")),
        prompts=Prompts(path=home / "prompts", record=tiny.record("prompts", "tiny")),
    )
    by_name = {
        name: tiny.run(tmp_path / name, inputs, {"algorithm": name, "steps": 2}).metrics for name in ("grpo", "ppo")
    }
    policy = sum(part.numel() for part in folders.load_model(home / "model").parameters())
    assert by_name["grpo"]["trained_parameters"] == policy
    assert by_name["ppo"]["trained_parameters"] == 2 * policy + 33
    # Weights and two moments of four bytes each, and one step counter a tensor.
    assert by_name["grpo"]["trained_mb"] == pytest.approx(12 * policy / 2**20, rel=0.01)
    assert by_name["ppo"]["trained_mb"] == pytest.approx(2 * by_name["grpo"]["trained_mb"], rel=0.01)
    assert all(found["peak_memory_mb"] > 10 and found["seconds_per_step"] > 0 for found in by_name.values())
    assert "explained_variance" in by_name["ppo"] and "explained_variance" not in by_name["grpo"]
    assert json.dumps(by_name)


def test_a_value_model_has_a_learning_rate_of_its_own(home: Path, tmp_path: Path) -> None:
    _, trainer = train(home, tmp_path, steps=1, value_learning_rate=1e-2, weight_decay=0.1)
    groups = [(group["lr"], group["weight_decay"]) for group in trainer.optimizer.param_groups]
    assert groups == [(5e-3, 0.1), (5e-3, 0.0), (1e-2, 0.1), (1e-2, 0.0)]


@pytest.mark.parametrize(
    ("key", "value"), [("gae_lambda", 1.1), ("gae_lambda", -0.1), ("value_learning_rate", 0.0), ("value_clip", 0.0)]
)
def test_a_value_out_of_range_is_refused_in_words(key: str, value: Any) -> None:
    with pytest.raises(RecipeError, match=key):
        rl.Recipe(**{key: value})


# ---- resume ----


RESUMED = {
    **test_resume.SETTINGS,
    "algorithm": "ppo",
    "gae_lambda": 0.95,
    "value_clip": 0.2,
    "steps": 8,
    "eval_every": 0,
}


def test_a_run_killed_inside_a_rollout_and_between_two_micro_batches_ends_in_the_same_bits(home: Path) -> None:
    whole, killed = home / "whole", home / "killed"
    assert tiny.in_a_process(test_resume.train, whole, RESUMED, "") == 0
    for place in ("step 5", "gradient 3"):
        assert tiny.in_a_process(test_resume.train, killed, RESUMED, place) == -9, f"{place} was never reached"
    assert tiny.in_a_process(test_resume.train, killed, RESUMED, "") == 0
    assert test_resume.outcome(killed) == test_resume.outcome(whole)
    # The value model and its moments too: the newest checkpoint holds them.
    first, second = (max((folder / "scratch" / "checkpoints").glob("step-*")) for folder in (whole, killed))
    assert first.name == second.name == "step-000008"
    assert (first / ppo.VALUE_FILE).read_bytes() == (second / ppo.VALUE_FILE).read_bytes()
    states = [torch.load(folder / "optimizer.pt", weights_only=True)["state"] for folder in (first, second)]
    assert len(states[0]) == len(states[1]) > len(list(folders.load_model(home / "model").parameters()))
    for place, state in states[0].items():
        assert all(torch.equal(part, states[1][place][name]) for name, part in state.items())
