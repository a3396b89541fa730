"""The trainer keeps R1-Zero's order of things."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import settings as law
from hypothesis import strategies as st

from stages import rl
from stages.core.artifact import Model, Prompts
from stages.core.guard.watch import Alarm
from stages.core.judged import Judged
from stages.core.recipe.parts import LengthSwitch, Objective
from stages.core.run import events
from stages.core.sampling import Completion, Finish
from stages.core.scale.memory import micro_rows
from stages.policy.models import folders, memory
from stages.policy.rl import grpo, rollout
from stages.policy.seeding import PromptOrder, derive
from stages.policy.training import settings
from stages.policy.training.checkpoint import Checkpoints
from stages.policy.training.steps import StepReport
from tests.policy import tiny

# ---- a run in this process, watched ----


class Witness:
    """A callback that writes down what it is told, and looks at the trainer when a rollout is complete."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Any]] = []
        self.alarms: list[tuple[int, Alarm]] = []
        self.rollouts: list[rollout.Rollout] = []
        self.reference_is_policy: list[bool] = []
        self.trainer: grpo.PolicyTrainer | None = None

    def on_sampling(self, step: int, done: int, asked: int) -> None:
        pass

    def on_rollout(self, made: rollout.Rollout, kept: list[rollout.LoggedCompletion]) -> None:
        self.rollouts.append(made)
        if self.trainer is not None and self.trainer.reference is not None:
            pairs = zip(self.trainer.model.parameters(), self.trainer.reference.module.parameters(), strict=True)
            self.reference_is_policy.append(all(torch.equal(*pair) for pair in pairs))

    def on_validation(self, step: int, figures: dict[str, float]) -> None:
        raise AssertionError("nothing was to be validated")

    def on_alarm(self, step: int, alarm: Alarm) -> None:
        self.alarms.append((step, alarm))

    def on_step(self, report: StepReport) -> None:
        self.steps.append({"step": report.step, **report.figures})


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.home(tmp_path_factory.mktemp("grpo"))


def collector_of(home: Path, recipe: rl.Recipe) -> rollout.Collector:
    sealed = Model(path=home / "model", record=tiny.record("model", "tiny"))
    contract = rl.policy_contract(recipe, sealed)
    words = folders.load_tokenizer(sealed.path)
    rows = Prompts(path=home / "prompts", record=tiny.record("prompts", "tiny")).rows()
    ids = [words(contract.render(row.problem))["input_ids"] for row in rows]
    return rollout.Collector(recipe=recipe, rows=rows, prompt_ids=ids, tokenizer=words, contract=contract, seed=3)


def train(home: Path, folder: Path, micro: int = 8, **changes: Any) -> Witness:
    recipe = rl.Recipe(**{**tiny.SETTINGS, "kl_weight": 0.05, **changes})
    checkpoints, witness = Checkpoints(folder / "checkpoints"), Witness()
    config = settings.configuration(
        recipe, folder=checkpoints.fresh_draft(), seed=3, micro=micro, save_steps=1000, cpu=True
    )
    policy = tiny.policy(home / "model")
    trainer = grpo.PolicyTrainer(
        policy,
        collector=collector_of(home, recipe),
        engine=tiny.engine(policy, recipe),
        objective=Objective(kl_weight=recipe.kl_weight, clip_epsilon=recipe.clip_epsilon),
        config=config,
        checkpoints=checkpoints,
        callback=witness,
    )
    witness.trainer = trainer
    trainer.train()
    return witness


def test_the_ratio_is_exactly_1_at_the_first_minibatch_and_not_at_later_ones(home: Path, tmp_path: Path) -> None:
    steps = train(home, tmp_path, steps=8, minibatches=4, micro=2).steps
    for step in steps:
        ratios = (step["ratio_min"], step["ratio_mean"], step["ratio_max"])
        if (step["step"] - 1) % 4 == 0:
            assert ratios == (1.0, 1.0, 1.0)
            assert step["clip_fraction"] == 0.0
        else:
            assert ratios[0] < 1.0 < ratios[2]
    assert max(step["clip_fraction"] for step in steps) > 0


def test_the_reference_is_replaced_whole_every_n_steps_and_its_age_is_told(home: Path, tmp_path: Path) -> None:
    witness = train(home, tmp_path, steps=8, minibatches=2, reference_steps=4)
    assert witness.reference_is_policy == [True, False, True, False]
    told = [(step["reference"], step["reference_age"]) for step in witness.steps]
    assert told == [("init", age) for age in range(4)] + [("step-4", age) for age in range(4)]
    assert witness.steps[0]["kl"] == 0 < witness.steps[2]["kl"]
    assert witness.steps[4]["kl"] == 0 < witness.steps[6]["kl"]


def test_a_reference_that_is_the_policy_is_not_asked(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    found = grpo.selected_logprobs

    def counted(model: Any, *rows: Any, **how: Any) -> Any:
        asked.append(model)
        return found(model, *rows, **how)

    monkeypatch.setattr(grpo, "selected_logprobs", counted)
    witness = train(home, tmp_path, steps=8, minibatches=2, reference_steps=4)
    assert witness.trainer is not None and witness.trainer.reference is not None
    assert [one.own_reference for one in witness.rollouts] == [True, False, True, False]
    passes = sum(model is witness.trainer.reference.module for model in asked)
    assert passes == 2 * 2  # of two rollouts, each of two micro-batches
    for made in witness.rollouts[::2]:
        assert made.ref_logprobs is made.old_logprobs


def test_a_reference_that_falls_due_inside_a_block_is_replaced_at_the_next_rollout(home: Path, tmp_path: Path) -> None:
    witness = train(home, tmp_path, steps=6, minibatches=2, reference_steps=3)
    assert [made.reference for made in witness.rollouts] == ["init", "init", "step-4"]


@pytest.mark.parametrize("flat", ["some", "all"])
def test_rows_without_an_advantage_are_read_without_a_gradient_and_nothing_changes(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flat: str
) -> None:
    given = rollout.group_advantages

    def flattened(rewards_PG: torch.Tensor, **how: Any) -> torch.Tensor:
        advantages_PG = given(rewards_PG + torch.arange(rewards_PG.shape[1]), **how)  # no group is flat by chance
        advantages_PG[: 1 if flat == "some" else None] = 0
        return advantages_PG

    monkeypatch.setattr(rollout, "group_advantages", flattened)
    differentiated: list[int] = []
    found = grpo.selected_logprobs

    def counted(model: Any, prompts: Any, *rows: Any, **how: Any) -> Any:
        logprobs_BT, entropy_BT = found(model, prompts, *rows, **how)
        differentiated.append(len(prompts) if logprobs_BT.requires_grad else 0)
        return logprobs_BT, entropy_BT

    monkeypatch.setattr(grpo, "selected_logprobs", counted)
    skipped = train(home, tmp_path / "skipped", steps=3, kl_weight=0.0)
    few, differentiated[:] = sum(differentiated), []
    monkeypatch.setattr(grpo, "taught_logprobs", lambda read, inputs, _: read(inputs, with_entropy=True))
    whole = train(home, tmp_path / "whole", steps=3, kl_weight=0.0)
    assert few < sum(differentiated) and bool(few) == (flat == "some")
    assert skipped.trainer is not None and whole.trainer is not None
    for left, right in zip(skipped.trainer.model.parameters(), whole.trainer.model.parameters(), strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=2e-5)
    for left, right in zip(skipped.steps, whole.steps, strict=True):
        assert left["entropy"] == pytest.approx(right["entropy"], rel=1e-5)
        assert left["grad_norm"] == pytest.approx(right["grad_norm"], rel=1e-4)


def test_without_a_kl_there_is_no_reference_and_no_kl_is_told(home: Path, tmp_path: Path) -> None:
    witness = train(home, tmp_path, steps=2, kl_weight=0.0)
    assert witness.trainer is not None and witness.trainer.reference is None
    assert not {"kl", "reference", "reference_age"} & set(witness.steps[-1])


def test_micro_batches_change_nothing_but_rounding(home: Path, tmp_path: Path) -> None:
    whole, cut = train(home, tmp_path / "8", steps=2, micro=8), train(home, tmp_path / "2", steps=2, micro=2)
    assert whole.trainer is not None and cut.trainer is not None
    for left, right in zip(whole.trainer.model.parameters(), cut.trainer.model.parameters(), strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=2e-4)
    for left, right in zip(whole.steps, cut.steps, strict=True):
        assert left["grad_norm"] == pytest.approx(right["grad_norm"], rel=1e-4)
        assert left["kl"] == pytest.approx(right["kl"], rel=1e-3, abs=1e-6)


def test_the_length_switch_acts_on_the_first_rollout_after_its_step(home: Path, tmp_path: Path) -> None:
    switch = LengthSwitch(step=3, tokens=9)
    made = train(home, tmp_path, steps=6, minibatches=2, length_switch=switch).rollouts
    longest = [max(map(len, one.completion_ids)) for one in made]
    assert [one.max_tokens for one in made] == [6, 6, 9]
    assert longest[0] <= 6 and longest[1] <= 6 < longest[2]


def test_the_policy_learns_what_is_rewarded_and_nothing_when_rewards_are_shuffled(home: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {
        "steps": 32,
        "minibatches": 2,
        "prompts_per_step": 4,
        "group_size": 8,
        "learning_rate": 4e-3,
    }
    learned = train(home, tmp_path / "learned", micro=32, **changes).steps
    shuffled = train(home, tmp_path / "shuffled", micro=32, shuffle_rewards=True, **changes).steps
    gain = learned[-1]["reward"] - learned[0]["reward"]
    assert gain > 0.25
    assert abs(shuffled[-1]["reward"] - shuffled[0]["reward"]) < gain / 2


def test_sampler_and_trainer_agree_on_log_probabilities(home: Path, tmp_path: Path) -> None:
    assert max(step["sampler_mismatch"] for step in train(home, tmp_path, steps=4).steps) < 1e-5


def test_a_sampler_of_another_number_type_weighs_each_token_in_the_loss(home: Path, tmp_path: Path) -> None:
    exact = train(home, tmp_path / "float32", steps=2).steps[0]
    witness = train(home, tmp_path / "bfloat16", steps=4, minibatches=2, dtype="bfloat16")
    assert "importance" not in exact and exact["sampler_ratio_outside"] == 0
    made, steps = witness.rollouts[0], witness.steps
    apart = [(mine - drawn).abs() for mine, drawn in zip(made.old_logprobs, made.sampler_logprobs, strict=True)]
    assert steps[0]["sampler_mismatch"] == steps[1]["sampler_mismatch"] == pytest.approx(torch.cat(apart).mean().item())
    assert 0 < steps[0]["sampler_mismatch"] <= steps[0]["sampler_mismatch_p95"]
    assert all(step["importance"] != 1 and step["importance"] == pytest.approx(1, abs=0.05) for step in steps)
    assert all(step["importance_cut"] == 0 for step in steps)


def test_a_checkpoint_without_some_weights_is_refused_and_tied_ones_are_not_missed(home: Path, tmp_path: Path) -> None:
    trainer = train(home, tmp_path, steps=1).trainer
    assert trainer is not None
    weights = trainer.model.state_dict()
    tied = {name: value for name, value in weights.items() if name != "lm_head.weight"}
    trainer._issue_warnings_after_load(trainer.model.load_state_dict(tied, strict=False))
    del tied["model.norm.weight"]
    with pytest.raises(grpo.StageError, match=r"does not fit the model: model\.norm\.weight"):
        trainer._issue_warnings_after_load(trainer.model.load_state_dict(tied, strict=False))


# ---- the order of prompts ----


@given(prompts=st.integers(1, 9), per_rollout=st.integers(1, 20))
@law(max_examples=50, deadline=None)
def test_every_epoch_asks_every_prompt_once(prompts: int, per_rollout: int) -> None:
    order = PromptOrder(prompts, per_rollout, seed=1)
    stream: Iterator[int] = itertools.chain.from_iterable(order.rollout(number) for number in itertools.count())
    for _ in range(3):
        assert sorted(itertools.islice(stream, prompts)) == list(range(prompts))


def test_epochs_have_orders_of_their_own_and_a_rollout_needs_no_memory() -> None:
    order = PromptOrder(100, 100, seed=1)
    assert order.rollout(0) != order.rollout(1) != order.rollout(2)
    assert PromptOrder(100, 100, seed=1).rollout(7) == order.rollout(7)
    assert PromptOrder(100, 100, seed=2).rollout(7) != order.rollout(7)
    assert derive(1, "a", 2) != derive(1, "a", 3) != derive(2, "a", 3)


# ---- one rollout ----


def answers_of(home: Path, recipe: rl.Recipe, texts: list[str]) -> tuple[rollout.Collector, list[Judged]]:
    collector = collector_of(home, recipe)
    completions = []
    for text in texts:
        ids = [*collector.tokenizer(text)["input_ids"], collector.contract.eos_ids[0]]
        completions.append(Completion(ids=ids, logprobs=[-1.0] * len(ids), finish=Finish.END))
    return collector, collector.judge(0, completions)


def test_groups_stay_with_their_prompts_and_advantages_with_their_completions(home: Path) -> None:
    recipe = rl.Recipe(**{**tiny.SETTINGS, "minibatches": 1})
    collector, answers = answers_of(home, recipe, ["1a", "a", "aa", "11", "1", "a", "aaa", "bb"])
    made, kept = collector.lay_out(answers, 0, 0, "init")
    assert len({answer.prompt.id for answer in answers[:4]}) == len({answer.prompt.id for answer in answers[4:]}) == 1
    by_completion = {
        tuple(ids): value for ids, value in zip(made.completion_ids, made.advantages_B.tolist(), strict=True)
    }
    for one in kept:
        if one.answer.text not in ("a",):
            assert by_completion[tuple(one.answer.completion.ids)] == one.advantage
    assert made.facts["reward"] == pytest.approx((0.5 + 0 + 0 + 1 + 1) / 8)
    assert made.facts["flat_groups"] == 0
    assert sum(kept[row].advantage for row in range(4)) == pytest.approx(0, abs=1e-6)


def test_shuffled_rewards_are_reported_as_they_were_earned(home: Path) -> None:
    texts = ["1"] * 4 + ["a"] * 4
    plain, shuffled = (
        collector.lay_out(answers, 0, 0, "init")[0]
        for collector, answers in (
            answers_of(home, rl.Recipe(**{**tiny.SETTINGS, "minibatches": 1, "shuffle_rewards": flag}), texts)
            for flag in (False, True)
        )
    )
    assert plain.facts["flat_groups"] == 1 and plain.advantages_B.abs().sum() == 0
    assert shuffled.advantages_B.abs().sum() > 0
    assert shuffled.facts["reward"] == plain.facts["reward"] == 0.5


def test_tags_that_are_special_tokens_reach_the_rewards(home: Path) -> None:
    recipe = rl.Recipe(**{**tiny.SETTINGS, "minibatches": 1, "rewards": {"accuracy": 1.0, "format": 1.0}})
    collector, answers = answers_of(home, recipe, ["<think>1</think><answer>2</answer>"] * 8)
    collector.tokenizer.add_special_tokens({"additional_special_tokens": ["<think>", "</think>"]})
    again = collector.judge(0, [answer.completion for answer in answers])
    assert [one.text for one in again] == ["<think>1</think><answer>2</answer>"] * 8
    assert {one.value("format") for one in again} == {1.0}


def test_rows_are_padded_prompts_on_the_left_and_completions_on_the_right() -> None:
    made = rollout.Rollout(
        number=0,
        reference="init",
        max_tokens=4,
        shared_prefix=0,
        prompt_ids=[[1, 2, 3], [4]],
        completion_ids=[[5], [6, 7]],
        order=[1, 0],
        rewards_B=torch.tensor([1.0, 0.0]),
        advantages_B=torch.tensor([0.5, -0.5]),
        old_logprobs=[torch.tensor([-1.0]), torch.tensor([-2.0, -3.0])],
        ref_logprobs=[],
        facts={},
    )
    batch = made.batch(range(2), pad_id=0, device="cpu")
    assert batch["prompt_ids"].tolist() == [[1, 2, 3], [0, 0, 4]]
    assert batch["prompt_mask"].tolist() == [[True, True, True], [False, False, True]]
    assert batch["completion_ids"].tolist() == [[5, 0], [6, 7]]
    assert batch["completion_mask"].tolist() == [[True, False], [True, True]]
    assert batch["old_logprobs"].tolist() == [[-1.0, 0.0], [-2.0, -3.0]]
    assert "ref_logprobs" not in batch
    assert made.tokens(range(2)) == 3


# ---- sizes ----


@given(rows=st.integers(1, 512), limit=st.integers(-1, 600))
def test_micro_batches_divide_a_step_evenly(rows: int, limit: int) -> None:
    micro = micro_rows(rows, limit)
    assert rows % micro == 0 and 1 <= micro <= max(limit, 1)


def test_a_row_fits_whatever_its_length_and_short_rows_fit_in_numbers(home: Path) -> None:
    model = folders.load_model(home / "model")
    assert memory.rows_that_fit(model, 10**12) == 1
    assert memory.rows_that_fit(model, 100) == memory.cpu_rows(model.num_parameters()) == 128


def test_nothing_is_printed_while_training(home: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    train(home, tmp_path, steps=2)
    assert capfd.readouterr() == ("", "")


def test_events_of_a_run_can_be_read_as_curves(home: Path, tmp_path: Path) -> None:
    inputs = rl.Inputs(
        model=Model(path=home / "model", record=tiny.record("model", "tiny")),
        prompts=Prompts(path=home / "prompts", record=tiny.record("prompts", "tiny")),
    )
    tiny.run(tmp_path / "run", inputs)
    steps = events.curve(tmp_path / "run" / "events.jsonl", "step")
    assert [line["step"] for line in steps] == [1, 2, 3, 4]
    promised = (
        "reward reward_std flat_groups length truncated format accuracy kl entropy ratio_mean ratio_min ratio_max "
        "clip_fraction reference reference_age learning_rate grad_norm mixed "
        "sampler_mismatch sampler_mismatch_p95 sampler_ratio_outside "
        "seconds_rollout seconds_logprobs seconds_reward seconds_update"
    )
    assert set(promised.split()) | {f"reward_{tiny.REWARD}"} <= set(steps[0])
    assert all(value is not None for line in steps for value in line.values())
