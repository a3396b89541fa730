"""Every loss that a recipe may name, against numbers by hand, laws, and TRL's own on the same tensors."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stages.core.recipe.parts import Objective
from stages.policy.rl.importance import beyond_cap, importance_weights, mismatch
from stages.policy.rl.losses import (
    LOG_RATIO_CAP,
    LOSSES,
    LossInputs,
    LossNormaliser,
    clipped_objective,
    group_advantages,
    policy_loss,
)


def close(left: Tensor, right: list | Tensor | float, tolerance: float = 1e-6) -> None:
    torch.testing.assert_close(left, torch.as_tensor(right, dtype=left.dtype), rtol=tolerance, atol=tolerance)


def inputs_of(max_tokens: int = 6, **tensors: Tensor | None) -> LossInputs:
    mask_BT = tensors["mask_BT"]
    normaliser = LossNormaliser(rows=mask_BT.shape[0], tokens=int(mask_BT.sum()), max_tokens=max_tokens)
    return LossInputs(**tensors, normaliser=normaliser)


def random_inputs(seed: int, rows: int = 4, width: int = 6, max_tokens: int = 6) -> LossInputs:
    generator = torch.Generator().manual_seed(seed)
    draw = lambda: -2.0 * torch.rand((rows, width), generator=generator) - 0.1  # noqa: E731
    lengths = torch.randint(1, width + 1, (rows, 1), generator=generator)
    old = draw()
    return inputs_of(
        max_tokens,
        logprobs_BT=(old + 0.4 * torch.randn(old.shape, generator=generator)).requires_grad_(),
        old_logprobs_BT=old,
        ref_logprobs_BT=draw(),
        advantages=torch.randn(rows, generator=generator),
        mask_BT=torch.arange(width) < lengths,
    )


def loss_of(inputs: LossInputs, objective: Objective) -> tuple[Tensor, dict[str, Tensor]]:
    return policy_loss(LOSSES[objective.loss], inputs, objective)


# ---- the clipped objective and the loss ----


def test_the_clip_holds_gains_and_lets_losses_through() -> None:
    ratio = torch.tensor([[0.5, 1.0, 1.5], [0.5, 1.0, 1.5]])
    value = clipped_objective(ratio, torch.tensor([1.0, -1.0]), 0.2, 0.2)
    close(value, [[0.5, 1.0, 1.2], [-0.8, -1.0, -1.5]])


def two_rows(**more: Tensor) -> LossInputs:
    """A = 1 with two tokens of ratio 1; A = -1 with one token of ratio 2."""
    tensors = {
        "logprobs_BT": torch.tensor([[-1.0, -2.0], [math.log(0.5), -9.0]]),
        "old_logprobs_BT": torch.tensor([[-1.0, -2.0], [math.log(0.25), 0.0]]),
        "advantages": torch.tensor([1.0, -1.0]),
        "mask_BT": torch.tensor([[True, True], [True, False]]),
    }
    return inputs_of(10, **{**tensors, **more})


def test_the_loss_of_two_rows_by_hand() -> None:
    # Row 0: A = 1, two tokens of ratio 1: -(1 + 1)/2. Row 1: A = -1, one token of ratio 2: +2. Their mean: (-1 + 2)/2.
    by_form = {form: loss_of(two_rows(), Objective(loss=form))[0] for form in ("grpo", "dr_grpo", "dapo")}
    close(by_form["grpo"], 0.5)
    close(by_form["dr_grpo"], 0.0)  # (-2 + 2) / (2 rows * 10)
    close(by_form["dapo"], 0.0)  # (-2 + 2) / 3 tokens
    sums = loss_of(two_rows(), Objective())[1]
    assert (sums["ratio_min"], sums["ratio_max"]) == (1.0, 2.0)
    assert sums["ratio"] == 4.0
    assert sums["clipped"] == 0  # A < 0 and ρ > 1: the clip does not shelter it
    assert "kl" not in sums and "importance" not in sums  # not taken, which is not the same as zero


def two_long_rows(**more: Tensor) -> LossInputs:
    """A = 1 with token ratios 2 and 2; A = -1 with token ratios 1/2, 1/2 and 1."""
    two, half = math.log(2), math.log(0.5)
    return inputs_of(
        3,
        **{
            "logprobs_BT": torch.tensor([[-1.0, -2.0, 7.0], [-3.0, -1.0, -2.0]]).requires_grad_(),
            "old_logprobs_BT": torch.tensor([[-1 - two, -2 - two, 0.0], [-3 - half, -1 - half, -2.0]]),
            "advantages": torch.tensor([1.0, -1.0]),
            "mask_BT": torch.tensor([[True, True, False], [True, True, True]]),
            **more,
        },
    )


def test_gspo_by_hand_takes_the_geometric_mean_of_a_sequence() -> None:
    # s = (2 * 2)^(1/2) = 2 and (1/2 * 1/2 * 1)^(1/3) = 2^(-2/3) = 0.6299605.
    # ε = 10: -(2 - 0.6299605)/2. ε = 4e-4: s is held at 1.0004 for A = 1, at 0.9996 for A = -1: -(1.0004 - 0.9996)/2
    loss, sums = loss_of(two_long_rows(), Objective(loss="gspo", clip_epsilon=10.0))
    close(loss, -(2 - 0.6299605) / 2)
    assert sums["clipped"] == 0
    loss, sums = loss_of(two_long_rows(), Objective(loss="gspo", clip_epsilon=4e-4))
    close(loss, -0.0004)
    assert sums["clipped"] == 5  # both rows, so all their tokens


def test_gspo_gives_every_token_of_a_row_the_same_gradient() -> None:
    inputs = two_long_rows()
    loss_of(inputs, Objective(loss="gspo", clip_epsilon=10.0))[0].backward()
    # dL/dlogp = -A s / |o| / N: -2/2/2 and 0.6299605/3/2; padding 0
    close(inputs.logprobs_BT.grad, [[-0.5, -0.5, 0.0], [0.1049934] * 3])


def test_cispo_by_hand_lets_a_clipped_token_learn() -> None:
    # weights min(2, 1.5) for A = 1, and 1/2, 1/2, 1 for A = -1, held at 0.8 below or not; 5 tokens.
    # No lower bound: -(1.5 * (-1 - 2) - (0.5 * -3 + 0.5 * -1 + 1 * -2))/5 = -(-4.5 + 4)/5
    objective = Objective(loss="cispo", clip_epsilon=1.0, clip_epsilon_high=0.5)
    inputs = two_long_rows()
    loss, sums = loss_of(inputs, objective)
    close(loss, 0.1)
    assert sums["clipped"] == 2
    loss.backward()
    close(inputs.logprobs_BT.grad, [[-0.3, -0.3, 0.0], [0.1, 0.1, 0.2]])  # -weight * A / 5
    loss, sums = loss_of(two_long_rows(), Objective(loss="cispo", clip_epsilon=0.2, clip_epsilon_high=0.5))
    close(loss, -(-4.5 + 0.8 * 3 + 0.8 + 2) / 5)
    assert sums["clipped"] == 4


def test_r1_s_printed_equation_by_hand_takes_product_and_kl_over_the_sequence() -> None:
    # ρ = 2 * 2 = 4 and 1/4. log π_ref - log π is ln 2 in row 0 and -ln 4 in row 1, over the sequence:
    # k3 = 2 - ln 2 - 1 = 0.3068528 and 1/4 + ln 4 - 1 = 0.6362944.
    two = math.log(2)
    ref = torch.tensor([[-1 + two, -2.0, 0.0], [-3 - two, -1 - two, -2.0]])
    free = Objective(loss="grpo_sequence", clip_epsilon=10.0, kl_weight=0.5)
    loss, sums = loss_of(two_long_rows(ref_logprobs_BT=ref), free)
    close(loss, (-4 + 0.25 + 0.5 * (0.3068528 + 0.6362944)) / 2)
    close(sums["kl"], 0.3068528 + 0.6362944)
    assert (sums["clipped"], sums["overflow"]) == (0, 0)
    loss, sums = loss_of(two_long_rows(), Objective(loss="grpo_sequence", clip_epsilon=0.2))
    close(loss, (-1.2 + 0.8) / 2)
    assert sums["clipped"] == 5


def test_a_product_beyond_e_to_the_20_is_held_there_without_a_gradient_and_counted() -> None:
    inputs = inputs_of(
        2,
        logprobs_BT=torch.tensor([[-1.0, -1.0], [-1.0, -1.0]], requires_grad=True),
        old_logprobs_BT=torch.tensor([[-61.0, -61.0], [-1.0, -1.0]]),
        ref_logprobs_BT=torch.tensor([[-1.0, -1.0], [-1.0, 99.0]]),
        advantages=torch.tensor([-1.0, 0.0]),
        mask_BT=torch.ones((2, 2), dtype=torch.bool),
    )
    loss, sums = loss_of(inputs, Objective(loss="grpo_sequence", kl_weight=1.0))
    held = math.exp(LOG_RATIO_CAP)
    close(loss, (held + (held - LOG_RATIO_CAP - 1)) / 2)
    assert sums["overflow"] == 4
    loss.backward()
    assert inputs.logprobs_BT.grad.tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_at_the_first_minibatch_the_three_ratios_give_one_policy_gradient_but_for_the_length() -> None:
    """ρ = 1: gspo's is grpo's, and the printed equation's is grpo's times the row's length."""
    grads = {}
    for form in ("grpo", "gspo", "grpo_sequence"):
        inputs = random_inputs(5)
        fresh = replace(inputs, old_logprobs_BT=inputs.logprobs_BT.detach(), ref_logprobs_BT=None)
        loss_of(fresh, Objective(loss=form))[0].backward()
        grads[form] = inputs.logprobs_BT.grad
    lengths = inputs.mask_BT.sum(dim=1, keepdim=True)
    close(grads["gspo"], grads["grpo"])
    close(grads["grpo_sequence"], grads["grpo"] * lengths)


# ---- another sampler ----


def test_importance_weights_by_hand() -> None:
    k = torch.tensor([0.1, 0.5, 1.0, 2.0, 8.0], dtype=torch.float64)
    close(importance_weights(k.log(), "truncate", 2.0), [0.1, 0.5, 1.0, 2.0, 2.0])
    close(importance_weights(k.log(), "mask", 2.5), [0.0, 0.5, 1.0, 2.0, 0.0])
    assert importance_weights(k.log(), "none", 2.0).tolist() == [1.0] * 5
    assert beyond_cap(k.log(), "truncate", 2.5).tolist() == [False] * 4 + [True]
    assert beyond_cap(k.log(), "mask", 2.5).tolist() == [True, False, False, False, True]
    assert not beyond_cap(k.log(), "none", 2.5).any()


def test_what_the_sampler_made_too_rarely_counts_more_and_at_most_the_cap() -> None:
    # k = 1, 4 for the two tokens of row 0 and 1/2 for row 1; see two_rows: gains 1, 1 and -2.
    sampler = torch.tensor([[-1.0, -2.0 - math.log(4)], [math.log(0.5), 3.0]])
    inputs = two_rows(sampler_logprobs_BT=sampler)
    loss, sums = loss_of(inputs, Objective(importance="truncate", importance_cap=3.0))
    close(loss, (-(1 + 3) / 2 + 2 * 0.5) / 2)
    close(sums["importance"], 1 + 3 + 0.5)
    assert sums["importance_cut"] == 1
    loss, sums = loss_of(inputs, Objective(importance="mask", importance_cap=3.0))
    close(loss, (-(1 + 0) / 2 + 2 * 0.5) / 2)
    assert sums["importance_cut"] == 1
    loss, sums = loss_of(inputs, Objective(importance="none"))
    close(loss, 0.5)
    assert (sums["importance"], sums["importance_cut"]) == (3, 0)


def test_the_printed_equation_weighs_a_sequence_by_the_product_of_its_tokens() -> None:
    # ρ = 4, 1/4 (two_long_rows); k = 1.5 * 1.2 = 1.8 in row 0, 2 * 2 = 4 in row 1, held at 3.
    ks = torch.tensor([[1.5, 1.2, 1.0], [2.0, 2.0, 1.0]])
    inputs = two_long_rows()
    inputs = replace(inputs, sampler_logprobs_BT=inputs.old_logprobs_BT - ks.log())
    objective = Objective(loss="grpo_sequence", clip_epsilon=10.0, importance_cap=3.0)
    loss, sums = loss_of(inputs, objective)
    close(loss, (-4 * 1.8 + 0.25 * 3) / 2)
    close(sums["importance"], 2 * 1.8 + 3 * 3)
    assert sums["importance_cut"] == 3
    close(loss_of(inputs, replace(objective, importance="mask"))[0], -4 * 1.8 / 2)


@pytest.mark.parametrize("form", LOSSES)
@pytest.mark.parametrize("mode", ["truncate", "mask", "none"])
def test_a_sampler_that_agrees_with_the_trainer_changes_no_bit(form: str, mode: str) -> None:
    plain, same = random_inputs(7), random_inputs(7)
    same = replace(same, sampler_logprobs_BT=same.old_logprobs_BT.clone())
    objective = Objective(loss=form, kl_weight=0.1, importance=mode)
    (left, _), (right, sums) = loss_of(plain, objective), loss_of(same, objective)
    left.backward()
    right.backward()
    assert torch.equal(left, right) and torch.equal(plain.logprobs_BT.grad, same.logprobs_BT.grad)
    assert sums["importance"] == plain.normaliser.tokens and sums["importance_cut"] == 0


def test_the_mismatch_of_twenty_tokens_by_hand() -> None:
    # |Δ|: 18 tokens of 0.01, one of 0.2 (ratio 1.22) and one of 0.5 (0.61); 19 of 20 stay within 0.2.
    found = mismatch(torch.tensor([0.01] * 9 + [-0.01] * 9 + [0.2, -0.5], dtype=torch.float64))
    expected = {"sampler_mismatch": 0.044, "sampler_mismatch_p95": 0.2, "sampler_ratio_outside": 0.1}
    assert found == pytest.approx(expected)
    assert mismatch(torch.zeros(0)) == {}


@pytest.mark.parametrize("form", LOSSES)
def test_padding_may_hold_anything(form: str) -> None:
    inputs = random_inputs(3)
    inputs = replace(inputs, sampler_logprobs_BT=inputs.old_logprobs_BT + 0.1)
    objective = Objective(loss=form, kl_weight=0.1)
    clean, sums = loss_of(inputs, objective)
    mask = inputs.mask_BT
    dirty = replace(
        inputs,
        logprobs_BT=inputs.logprobs_BT.detach().masked_fill(~mask, -1e4).requires_grad_(),
        old_logprobs_BT=inputs.old_logprobs_BT.masked_fill(~mask, 3e4),
        sampler_logprobs_BT=inputs.sampler_logprobs_BT.masked_fill(~mask, float("-inf")),
        ref_logprobs_BT=inputs.ref_logprobs_BT.masked_fill(~mask, 1e4),
    )
    loss, again = loss_of(dirty, objective)
    loss.backward()
    assert loss == clean and again == sums
    assert dirty.logprobs_BT.grad[~mask].abs().sum() == 0


@pytest.mark.parametrize("form", LOSSES)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000))
def test_micro_batches_add_up_to_the_minibatch(form: str, seed: int) -> None:
    inputs = random_inputs(seed, rows=6)
    objective = Objective(loss=form, kl_weight=0.05)
    whole, sums = loss_of(inputs, objective)
    tensors = {name: value for name, value in vars(inputs).items() if isinstance(value, Tensor)}
    parts = [
        loss_of(replace(inputs, **{name: value[start : start + 2] for name, value in tensors.items()}), objective)
        for start in (0, 2, 4)
    ]
    close(sum(loss for loss, _ in parts).detach(), whole.detach(), 1e-5)
    for name in ("ratio", "kl", "clipped"):
        close(sum(one[name] for _, one in parts), sums[name], 1e-5)


def trl_loss(inputs: LossInputs, objective: Objective) -> Tensor:
    """TRL's `_compute_loss`, unbound, on given log-probabilities: everything after its forward pass."""
    from trl import GRPOTrainer

    rows, sequence = inputs.mask_BT.shape[0], objective.loss == "gspo"
    high = objective.clip_epsilon_high or objective.clip_epsilon
    high = 1 + high if objective.loss == "cispo" else high  # TRL's is the largest weight, the paper's how far above 1
    weights = None
    if inputs.sampler_logprobs_BT is not None:  # `vllm_importance_sampling_mode="token_truncate"`
        weights = (inputs.old_logprobs_BT - inputs.sampler_logprobs_BT).exp().clamp(max=objective.importance_cap)
    accelerator = SimpleNamespace(
        num_processes=1,
        gather=lambda x: x,
        reduce=lambda x, reduction: x,
        gather_for_metrics=lambda x: x,
        sync_gradients=True,
    )
    trainer = SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *_, **__: (
            inputs.logprobs_BT,
            torch.zeros_like(inputs.mask_BT).float(),
            None,
        ),
        args=SimpleNamespace(use_bias_correction_kl=objective.kl_correction, delta=None, steps_per_generation=1),
        model=SimpleNamespace(training=True),
        accelerator=accelerator,
        beta=objective.kl_weight,
        epsilon_low=objective.clip_epsilon,
        epsilon_high=high,
        loss_type="grpo" if sequence else objective.loss,
        max_completion_length=inputs.normaliser.max_tokens,
        importance_sampling_level="sequence" if sequence else "token",
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        use_vllm=weights is not None,
        vllm_importance_sampling_correction=True,
        aux_loss_enabled=False,
        use_adaptive_entropy=False,
        _entropy_bonus_enabled=False,
        current_gradient_accumulation_steps=1,
        _metrics={"train": defaultdict(list)},
    )
    batch = {
        "prompt_ids": torch.zeros((rows, 1), dtype=torch.long),
        "prompt_mask": torch.ones((rows, 1), dtype=torch.long),
        "completion_ids": torch.zeros(inputs.mask_BT.shape, dtype=torch.long),
        "completion_mask": inputs.mask_BT.long(),
        "advantages": inputs.advantages,
        "old_per_token_logps": inputs.old_logprobs_BT,
        "ref_per_token_logps": inputs.ref_logprobs_BT,
        "importance_sampling_ratio": weights,
        "num_items_in_batch": inputs.mask_BT.sum(),
    }
    return GRPOTrainer._compute_loss(trainer, None, batch)


@pytest.mark.parametrize("form", ["grpo", "dr_grpo", "dapo", "gspo", "cispo"])
@pytest.mark.parametrize("correction", [False, True])
@pytest.mark.parametrize("high", [None, 0.28])
@pytest.mark.parametrize("exact", [True, False])
def test_loss_and_gradient_equal_trl_s_own(form: str, correction: bool, high: float | None, exact: bool) -> None:
    low = 1.0 if form == "cispo" else 0.15
    objective = Objective(
        loss=form, kl_weight=0.3, kl_correction=correction, clip_epsilon=low, clip_epsilon_high=high, importance_cap=1.2
    )
    ours, theirs = random_inputs(11, max_tokens=9), random_inputs(11, max_tokens=9)
    if not exact:
        sampler = ours.old_logprobs_BT + 0.3 * torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
        ours, theirs = (replace(one, sampler_logprobs_BT=sampler) for one in (ours, theirs))
    loss, _ = loss_of(ours, objective)
    expected = trl_loss(theirs, objective)
    loss.backward()
    expected.backward()
    close(loss.detach(), expected.detach())
    close(ours.logprobs_BT.grad, theirs.logprobs_BT.grad)


def test_one_step_moves_each_choice_the_way_its_advantage_points() -> None:
    logits = torch.zeros(4, requires_grad=True)
    old = logits.detach().log_softmax(0)
    advantages = group_advantages(torch.tensor([[1.0, 0.0, 0.0, 1.0]]))[0]
    inputs = inputs_of(
        logprobs_BT=logits.log_softmax(0).unsqueeze(1),
        old_logprobs_BT=old.unsqueeze(1),
        ref_logprobs_BT=old.unsqueeze(1),
        advantages=advantages,
        mask_BT=torch.ones((4, 1), dtype=torch.bool),
    )
    loss_of(inputs, Objective())[0].backward()
    moved = (logits.detach() - 0.1 * logits.grad).log_softmax(0) - old
    assert torch.equal(moved.sign(), advantages.sign())
