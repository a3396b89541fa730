"""A loss by the name that a recipe gives it: one of the house's, or a user's own `package.module:function`.

A user's loss needs no flag and no edit to this project, only a function on Python's path:

    # my_project/losses.py
    def reinforce(inputs, objective):
        per_token_BT = -inputs.advantages.unsqueeze(1) * inputs.logprobs_BT * inputs.mask_BT
        return per_token_BT.sum() / inputs.normaliser.tokens, {}

    # in the recipe
    loss: my_project.losses:reinforce

It is tried on three short completions before anything is spent, and what it does later that no training survives is
said in a sentence that names it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from stages.core.errors import R1Error, RecipeError, StageError, nearest
from stages.core.recipe import functions
from stages.core.recipe.parts import Objective
from stages.policy.rl.losses import LOSSES, Loss, LossInputs, LossNormaliser, policy_loss

SHAPE = "a loss is `def loss(inputs: LossInputs, objective: Objective) -> tuple[Tensor, dict[str, Tensor]]`"


def load_loss(name: str) -> Loss:
    """Return the loss of a name. Raises RecipeError for one that there is not, with the nearest name.

    A user's raises StageError where it raises or returns what cannot be trained on.
    """
    return LOSSES[name] if name in LOSSES else _guarded(name, _found(name))


def _found(name: str) -> Loss:
    if name in LOSSES:
        return LOSSES[name]
    if ":" not in name:
        hint = f"{nearest(name, LOSSES)}known: {', '.join(LOSSES)}; your own is written `package.module:function`"
        raise RecipeError(f"unknown loss `{name}`", hint=hint)
    return functions.load(name, f"loss `{name}`", SHAPE)


def identity(name: str, objective: Objective) -> str:
    """Return the hash of the file that holds a user's loss, after trying it.

    It is computed once with its gradient on small numbers, for an exact sampler and for another. Raises RecipeError for
    one that there is not, that raises, that returns anything but one finite number with a gradient and a dict of
    numbers, or whose gradient is not finite.
    """
    loss = _found(name)
    source = functions.source_sha256(loss, name)
    for exact in (True, False):
        inputs = _example(objective, exact=exact)
        try:
            fault = _fault(loss, inputs, objective)
        except Exception as error:  # noqa: BLE001  whatever a user's function raises is the answer
            fault = f"raised {functions.in_a_line(error)}"
        if fault:
            raise RecipeError(f"the loss `{name}`, tried on three short completions, {fault}", hint=SHAPE)
    return source


def _guarded(name: str, loss: Loss) -> Loss:
    """Return a user's loss with what it does wrong as a StageError; a lack of memory and the like stay as they are."""
    hint = f"mend the function and run the same command; {SHAPE}"

    @functools.wraps(loss)
    def guarded(inputs: LossInputs, objective: Objective) -> tuple[Tensor, dict[str, Tensor]]:
        try:
            returned = loss(inputs, objective)
            fault = _unusable(returned, inputs)
        except Exception as error:
            if isinstance(error, R1Error | MemoryError) or "out of memory" in str(error).lower():
                raise
            raise StageError(f"the loss `{name}` raised {functions.in_a_line(error)}", hint=hint) from error
        if fault:
            raise StageError(f"the loss `{name}` {fault}", hint=hint)

        def look(gradient_BT: Tensor) -> None:
            if not gradient_BT[inputs.mask_BT].isfinite().all():
                raise StageError(f"the loss `{name}` has no finite gradient for `inputs.logprobs_BT`", hint=hint)

        if inputs.logprobs_BT.requires_grad:
            inputs.logprobs_BT.register_hook(look)  # type: ignore[no-untyped-call]
        return returned

    return guarded


def _fault(loss: Loss, inputs: LossInputs, objective: Objective) -> str:
    """Say in a few words what is wrong with a loss and its gradient, or nothing."""
    fault = _unusable(loss(inputs.silenced(), objective), inputs)
    if fault:
        return fault
    policy_loss(loss, inputs, objective)[0].backward()  # type: ignore[no-untyped-call]
    gradient = inputs.logprobs_BT.grad
    if gradient is None or not gradient.isfinite().all():
        return "has no finite gradient for `inputs.logprobs_BT`"
    return ""


def _unusable(returned: Any, inputs: LossInputs) -> str:
    """Say in a few words why what a loss returned cannot be trained on, or nothing."""
    if not (isinstance(returned, tuple) and len(returned) == 2):
        return f"returned {_kind(returned)}, not a loss and a dict"
    value, sums = returned
    if not isinstance(value, Tensor) or value.dim() or not value.is_floating_point():
        return f"returned {_kind(value)} as the loss, not a tensor of one number"
    if not isinstance(sums, Mapping):
        return f"returned {_kind(sums)} as what to report, not a dict of numbers"
    for key, one in sums.items():
        if not isinstance(key, str) or not isinstance(one, Tensor | float | int) or torch.as_tensor(one).numel() != 1:
            return f"reports {_kind(one)} as `{key}`, not one number"
    if not value.isfinite() and inputs.logprobs_BT.isfinite().all():  # else it is the model that has diverged
        return f"returned {value.item()}"
    if inputs.logprobs_BT.requires_grad and not value.requires_grad:
        return "returned a loss without a gradient"
    return ""


def _example(objective: Objective, *, exact: bool) -> LossInputs:
    """Return three completions of 3, 1 and 2 tokens, right, wrong and in between, as a recipe's first loss sees them:
    a policy that has moved a little, and a reference where the objective takes a KL.
    """
    old_BT = torch.tensor([[-0.1, -1.0, -2.0], [-3.0, 0.0, 0.0], [-0.5, -0.7, 0.0]])
    return LossInputs(
        logprobs_BT=(old_BT * 1.1).requires_grad_(),
        old_logprobs_BT=old_BT,
        sampler_logprobs_BT=None if exact else old_BT * 0.98,
        ref_logprobs_BT=old_BT * 0.9 if objective.kl_weight else None,
        advantages=torch.tensor([1.0, -1.0, 0.0]),
        mask_BT=torch.tensor([[True, True, True], [True, False, False], [True, True, False]]),
        normaliser=LossNormaliser(rows=3, tokens=6, max_tokens=3),
    )


def _kind(value: object) -> str:
    return f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
