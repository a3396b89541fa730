"""Estimator x placement x correction, by exact gradients: every outcome of a small discrete policy is enumerated,
through the loss that a run trains with. What is compared with is the gradient of the true KL.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from stages.core.recipe.parts import Objective
from stages.policy.rl.losses import LOSSES, LossInputs, LossNormaliser, policy_loss

SAMPLED = torch.tensor([0.5, 0.25, 0.25])
"""The sampling policy over three outcomes: in four rows each comes as often as it is likely."""
ROWS = torch.tensor([0, 0, 1, 2])
REFERENCE = torch.tensor([0.2, 0.3, 0.5])
MOVED = torch.tensor([0.2, -0.4, 0.1])
"""What the policy's logits have moved by since it sampled, off policy."""


def gradient(estimator: str, placement: str, corrected: bool, moved: bool, loss: str = "grpo") -> Tensor:
    """The expected gradient of the loss's KL at the policy's logits."""
    logits = (SAMPLED.log() + moved * MOVED).requires_grad_()
    asked = Objective(kl_weight=1.0, kl_estimator=estimator, kl_placement=placement, kl_correction=corrected)
    given = LossInputs(
        logprobs_BT=logits.log_softmax(0)[ROWS].unsqueeze(1),
        old_logprobs_BT=SAMPLED.log()[ROWS].unsqueeze(1),
        ref_logprobs_BT=REFERENCE.log()[ROWS].unsqueeze(1),
        advantages=torch.zeros(4),
        mask_BT=torch.ones(4, 1, dtype=torch.bool),
        normaliser=LossNormaliser(rows=4, tokens=4, max_tokens=1),
    )
    value, _ = policy_loss(LOSSES[loss], given, asked)
    return torch.autograd.grad(value, logits)[0]


def truth(moved: bool) -> dict[str, Tensor]:
    """Gradients of the reverse KL(policy || reference) and the forward KL(reference || policy)."""
    logits = (SAMPLED.log() + moved * MOVED).requires_grad_()
    logprobs = logits.log_softmax(0)
    reverse = torch.autograd.grad((logprobs.exp() * (logprobs - REFERENCE.log())).sum(), logits, retain_graph=True)[0]
    forward = torch.autograd.grad((REFERENCE * (REFERENCE.log() - logprobs)).sum(), logits)[0]
    return {"none": torch.zeros(3), "reverse": reverse, "forward": forward, "difference": reverse - forward}


TABLE = [
    # estimator, placement, corrected: on policy, off policy
    ("k1", "loss", False, "none", "biased"),
    ("k1", "loss", True, "reverse", "reverse"),
    ("k2", "loss", False, "reverse", "biased"),
    ("k2", "loss", True, "biased", "biased"),
    ("k3", "loss", False, "forward", "biased"),
    ("k3", "loss", True, "reverse", "reverse"),
    ("k1", "reward", False, "reverse", "biased"),
    ("k1", "reward", True, "reverse", "reverse"),
    ("k2", "reward", False, "biased", "biased"),
    ("k2", "reward", True, "biased", "biased"),
    ("k3", "reward", False, "difference", "biased"),
    ("k3", "reward", True, "difference", "difference"),
]


@pytest.mark.parametrize("loss", list(LOSSES))
@pytest.mark.parametrize(("estimator", "placement", "corrected", "on", "off"), TABLE)
def test_what_each_way_of_taking_the_kl_really_follows(
    estimator: str, placement: str, corrected: bool, on: str, off: str, loss: str
) -> None:
    """The same for every loss where a completion is one token; R1 takes k3, in the loss, uncorrected: on policy it is
    the gradient of the other KL."""
    for moved, expected in ((False, on), (True, off)):
        found, known = gradient(estimator, placement, corrected, moved, loss), truth(moved)
        if expected != "biased":
            torch.testing.assert_close(found, known[expected], atol=1e-6, rtol=1e-5)
        else:
            assert all((found - one).abs().max() > 5e-3 for one in known.values())


FIRST, SECOND = torch.tensor([0.25, 0.75]), torch.tensor([[0.5, 0.5], [0.25, 0.75]])
"""A policy over two letters, then two more that depend on the first: sixteen rows hold each pair as often as it is
likely."""
PAIRS = torch.tensor([[0, 0]] * 2 + [[0, 1]] * 2 + [[1, 0]] * 3 + [[1, 1]] * 9)
FIRST_REFERENCE, SECOND_REFERENCE = torch.tensor([0.6, 0.4]), torch.tensor([[0.1, 0.9], [0.3, 0.7]])


def of_pairs(first: Tensor, second: Tensor) -> Tensor:
    """log π of both tokens of each row, [16, 2]."""
    return torch.stack([first.log_softmax(0)[PAIRS[:, 0]], second.log_softmax(1)[PAIRS[:, 0], PAIRS[:, 1]]], dim=1)


@pytest.mark.parametrize(
    ("estimator", "placement", "corrected", "whole"),
    [
        ("k1", "reward", False, True),
        ("k1", "reward", True, True),
        ("k2", "loss", False, False),
        ("k3", "loss", True, False),
    ],
)
def test_only_k1_as_a_reward_follows_the_kl_of_the_whole_completion(
    estimator: str, placement: str, corrected: bool, whole: bool
) -> None:
    """The others leave out what the first token does to the KL of the second."""
    first, second = FIRST.log().requires_grad_(), SECOND.log().requires_grad_()
    ref_BT = of_pairs(FIRST_REFERENCE.log(), SECOND_REFERENCE.log())
    logprobs_BT = of_pairs(first, second)
    exact = ((logprobs_BT.sum(1) - ref_BT.sum(1)).detach() * logprobs_BT.sum(1)).mean()
    true = torch.autograd.grad(exact, (first, second), retain_graph=True)
    given = LossInputs(
        logprobs_BT=logprobs_BT,
        old_logprobs_BT=logprobs_BT.detach(),
        ref_logprobs_BT=ref_BT,
        advantages=torch.zeros(16),
        mask_BT=torch.ones(16, 2, dtype=torch.bool),
        normaliser=LossNormaliser(rows=16, tokens=32, max_tokens=2),
    )
    asked = Objective(kl_weight=1.0, kl_estimator=estimator, kl_placement=placement, kl_correction=corrected)
    value, sums = policy_loss(LOSSES["grpo"], given, asked)
    found = torch.autograd.grad(2 * value, (first, second))  # the loss averages over a completion's two tokens
    torch.testing.assert_close(found[1], true[1], atol=1e-6, rtol=1e-5)
    apart = (found[0] - true[0]).abs().max().item()
    assert apart < 1e-6 if whole else apart > 0.05
    assert sums["kl"].isfinite()
