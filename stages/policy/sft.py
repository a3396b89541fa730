"""Supervised fine-tuning: a policy and examples enter; the policy leaves with other weights, and figures.

transformers keeps the loop, the optimizer, the schedule and the file formats. Examples are token ids, made when a step
asks for them (`stages.core.data.surveyed`): nothing cuts them, renders them through a chat template that may strip
reasoning, or shuffles them by a state that a resumed run does not have. Steps are a function of seed and epoch
(`feed`), the common start of all prompts is computed once (`prefix`), and checkpoints hold everything (`resumable`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import Trainer, TrainingArguments

from stages.core.data.imitation import Example
from stages.core.data.surveyed import Surveyed
from stages.core.recipe.parts import Tuning
from stages.policy.models.agreement import refuse_unlike_alone
from stages.policy.models.prefix import selected_logprobs, shared_prefix_length
from stages.policy.models.weights import Policy
from stages.policy.training import epochs, resumable
from stages.policy.training.checkpoint import Checkpoints
from stages.policy.training.epochs import EpochTrainer
from stages.policy.training.feed import BatchSchedule
from stages.policy.training.steps import StepCallback, StepLogger, StepReport

if TYPE_CHECKING:
    from stages.core.run.runner import Work


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The examples of one forward pass: prompts padded on the left, completions on the right. Masks are True at real
    tokens, and every real token of a completion is trained on.
    """

    rows: list[int]
    """Places of the examples in the list that `train` was given."""
    prompt_ids_BP: Tensor
    prompt_mask_BP: Tensor
    completion_ids_BT: Tensor
    completion_mask_BT: Tensor
    shared_prefix: int
    """Tokens that all prompts share at their start; see `prefix.selected_logprobs`."""

    @property
    def sides(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Prompt ids and mask, completion ids and mask."""
        return self.prompt_ids_BP, self.prompt_mask_BP, self.completion_ids_BT, self.completion_mask_BT


Loss = Callable[[Any, Batch], tuple[Tensor, dict[str, Tensor]]]
"""(model, batch) -> the SUM of the losses of the batch's completion tokens, with its gradient, and other sums over the
same tokens to report by name; the trainer divides each by the completion tokens of the whole step."""


def completion_loss(model: Any, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """The sum of -log p(token | what stands before it) over completion tokens, in nats: maximum likelihood."""
    logprobs_BT, _ = selected_logprobs(model, *batch.sides, temperature=1.0, shared_prefix=batch.shared_prefix)
    return -logprobs_BT.sum(), {}


def train(
    policy: Policy,
    examples: Sequence[Example],
    tuning: Tuning,
    *,
    work: Work,
    loss: Loss = completion_loss,
    after_step: Callable[[StepReport], None] | None = None,
) -> dict[str, Any]:
    """Train `policy` in place on the completions of `examples` (see `imitation.examples` and `surveyed`).

    `policy`: float32 weights on their device. `work`: seed, runtime, events, and `scratch / "checkpoints"`, from which
    a killed run goes on; on a CPU it then ends in the same bits. `after_step` is called when a step was told.

    Returns plain figures: `rows`, `steps`, `trained_tokens` (of completions, counted in every epoch), `loss` (per
    token, mean over the steps of the last epoch, as is each other name that `loss` reports) and `flops` ({"update":
    6·N·tokens}, N all parameters (4·N with an adapter), tokens those of whole rows in every epoch, as if no prefix were
    shared). Emits `note`, `step` and `progress`. Raises StageError when a gradient is no number. Saving the model is
    the caller's.
    """
    known = examples if isinstance(examples, Surveyed) else Surveyed.of(examples)
    schedule = epochs.schedule_of(known.tokens, tuning, policy, work)
    trainer = SupervisedTrainer(
        policy,
        known,
        loss=loss,
        schedule=schedule,
        args=epochs.configuration(tuning, schedule, policy, work),
        checkpoints=Checkpoints(work.scratch / "checkpoints"),
        callback=StepLogger(work, live=("loss", "tokens"), then=after_step),
    )
    resumable.train(trainer, work)
    return {
        "rows": len(examples),
        "steps": schedule.steps,
        "trained_tokens": sum(known.trained) * tuning.epochs,
        **trainer.run_state.means(),
        "flops": {"update": policy.update_flops * sum(known.tokens) * tuning.epochs},
    }


class SupervisedTrainer(EpochTrainer, Trainer):  # type: ignore[misc]
    """transformers' trainer on examples that are token ids; what is summed counts completion tokens."""

    def __init__(
        self,
        policy: Policy,
        examples: Surveyed,
        *,
        loss: Loss,
        schedule: BatchSchedule,
        args: TrainingArguments,
        checkpoints: Checkpoints,
        callback: StepCallback,
    ) -> None:
        self.examples = examples
        self.loss = loss
        self.shared_prefix = shared_prefix_length(examples.ends)
        super().__init__(policy, schedule=schedule, args=args, checkpoints=checkpoints, callback=callback)

    def batch(self, rows: list[int]) -> Batch:
        """Some examples as padded tensors on the trainer's device."""
        own = [self.examples[row] for row in rows]
        prompts = [torch.tensor(one.prompt_ids) for one in own]
        completions = [torch.tensor(one.completion_ids) for one in own]
        sides = [*padded(prompts, left=True), *padded(completions)]
        prompt_ids, prompt_mask, completion_ids, completion_mask = (side.to(self.accelerator.device) for side in sides)
        return Batch(
            rows=rows,
            prompt_ids_BP=prompt_ids,
            prompt_mask_BP=prompt_mask,
            completion_ids_BT=completion_ids,
            completion_mask_BT=completion_mask,
            shared_prefix=self.shared_prefix,
        )

    def compare(self, batch: Batch) -> None:
        """Raise StageError where a row among others is not computed as it is alone."""
        dtype = "bfloat16" if self.args.bf16 else "float32"
        refuse_unlike_alone(self.model, batch.sides, batch.shared_prefix, dtype)

    def losses(self, model: Any, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Those of the loss that was given."""
        return self.loss(model, batch)

    def weight(self, step: int) -> int:
        """Completion tokens."""
        return sum(self.examples.trained[row] for row in self.schedule.rows(step))

    def counts(self, step: int) -> dict[str, int]:
        """Completion tokens and rows."""
        return {"tokens": self.weight(step), "rows": len(self.schedule.rows(step))}


def padded(rows: list[Tensor], *, left: bool = False) -> tuple[Tensor, Tensor]:
    """Rows of ids as one [B, T] tensor of int64, and a mask that is True at real ids; padding is 0, and masked."""
    side = "left" if left else "right"
    ids = pad_sequence(rows, batch_first=True, padding_side=side).long()
    mask = pad_sequence([torch.ones_like(row, dtype=torch.bool) for row in rows], batch_first=True, padding_side=side)
    return ids, mask
