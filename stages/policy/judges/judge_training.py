"""A judge learns: examples as token ids enter, the model with other weights and figures leave.

One path for both judges of DeepSeek-R1 (arXiv 2501.12948v2 §3.1): the helpful one learns from pairs, the safe one from
labelled responses. TRL's reward trainer knows pairs alone, so this subclasses transformers' own trainer: loop,
optimizer, schedule and file formats stay; replaced are the order of the data, which must not depend on what a resumed
run remembers, and the loss. A test pins the methods overridden here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import Trainer, TrainingArguments

from stages.policy.judges import judge
from stages.policy.models.agreement import Row, likely, refuse_apart
from stages.policy.models.weights import Policy
from stages.policy.training import epochs, resumable
from stages.policy.training.checkpoint import Checkpoints
from stages.policy.training.epochs import EpochTrainer
from stages.policy.training.feed import BatchSchedule
from stages.policy.training.steps import StepCallback, StepLogger

if TYPE_CHECKING:
    from stages.core.recipe.parts import JudgeTuning
    from stages.core.run.runner import Work


@dataclass(frozen=True)
class Example:
    """One row as the judge reads it."""

    texts: tuple[Sequence[int], ...]
    """Token ids with the end token: the chosen and the rejected text of a pair, or the one text of a point."""
    label: float = 1.0
    """Of a point: 1 = safe, 0 = unsafe. A pair has none."""

    @property
    def tokens(self) -> int:
        """Tokens of all its texts."""
        return sum(map(len, self.texts))


LossAndHits = tuple[Tensor, Tensor]
"""The sum of the losses over rows, with its gradient, and how many rows came out right (a tie counts half)."""


def pairwise_loss(scores_B2: Tensor, labels_B: Tensor) -> LossAndHits:
    """-log sigmoid(s_chosen - s_rejected), summed: the chance that the chosen one wins (InstructGPT 2203.02155, eq. 1).

    `scores_B2` holds chosen and rejected; pairs have no labels.
    """
    margin_B = scores_B2[:, 0] - scores_B2[:, 1]
    return -functional.logsigmoid(margin_B).sum(), 0.5 * ((margin_B > 0).sum() + (margin_B >= 0).sum())


def pointwise_loss(scores_B1: Tensor, labels_B: Tensor) -> LossAndHits:
    """Binary cross-entropy between sigmoid(s) and the label (1 = safe), summed over rows."""
    scores_B = scores_B1[:, 0]
    loss = functional.binary_cross_entropy_with_logits(scores_B, labels_B, reduction="sum")
    return loss, ((scores_B > 0) == (labels_B > 0.5)).sum()


def train(scorer: Policy, examples: Sequence[Example], recipe: JudgeTuning, *, work: Work) -> dict[str, Any]:
    """Train `scorer` (float32, with a scalar head) in place on the examples, all pairs or all points.

    A killed run goes on from `work.scratch / "checkpoints"` and ends, on a CPU, in the same bits. Returns `steps`,
    `loss` and `train_accuracy` (means over the last epoch's rows, each seen before it was trained on), and `flops`.
    Raises StageError when a gradient is no number.
    """
    each = len(examples[0].texts)
    lengths = [max(map(len, example.texts)) for example in examples]
    schedule = epochs.schedule_of(lengths, recipe, scorer, work, each=each)
    trainer = JudgeTrainer(
        scorer,
        examples,
        schedule=schedule,
        args=epochs.configuration(recipe, schedule, scorer, work),
        checkpoints=Checkpoints(work.scratch / "checkpoints"),
        callback=StepLogger(work, live=("loss", "accuracy")),
    )
    resumable.train(trainer, work)
    means, tokens = trainer.run_state.means(), sum(example.tokens for example in examples) * recipe.epochs
    return {
        "steps": schedule.steps,
        "loss": means["loss"],
        "train_accuracy": means["accuracy"],
        "trained_tokens": tokens,
        "flops": {"update": scorer.update_flops * tokens},
    }


class JudgeTrainer(EpochTrainer, Trainer):  # type: ignore[misc]
    """transformers' trainer on pairs or points; what is summed counts rows."""

    def __init__(
        self,
        scorer: Policy,
        examples: Sequence[Example],
        *,
        schedule: BatchSchedule,
        args: TrainingArguments,
        checkpoints: Checkpoints,
        callback: StepCallback,
    ) -> None:
        self.examples = examples
        self.pad_id = scorer.contract.pad_id
        self.loss = pairwise_loss if len(examples[0].texts) == 2 else pointwise_loss
        super().__init__(scorer, schedule=schedule, args=args, checkpoints=checkpoints, callback=callback)

    def batch(self, rows: list[int]) -> list[Example]:
        """The examples themselves."""
        return [self.examples[row] for row in rows]

    def compare(self, batch: list[Example]) -> None:
        """Raise StageError where the most padded text does not get the score that it gets alone."""
        texts = sorted((ids for example in batch for ids in example.texts), key=len)
        texts = [texts[0], *texts[1:][-1:]]
        training, dtype = self.model.training, "bfloat16" if self.args.bf16 else "float32"
        self.model.eval()
        with torch.no_grad():
            sides = [judge.forward(self.model, rows, self.pad_id)[:1] for rows in (texts, texts[:1])]
        self.model.train(training)
        refuse_apart(
            [Row(f"a text of {len(texts[0])} tokens", *sides)],
            dtype,
            places=("a judge's score of a text beside a longer one", "its score of the text alone"),
            reasons=likely(self.model, len(texts[-1]), dtype),
            hint="start the judge from a model of another architecture, such as Qwen or Llama",
            unit="points",
        )

    def losses(self, model: Any, batch: list[Example]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the summed loss of some rows, and how many came out right as `accuracy`."""
        texts = [ids for example in batch for ids in example.texts]
        scores = judge.forward(model, texts, self.pad_id).view(len(batch), -1)
        labels = torch.tensor([example.label for example in batch], device=scores.device)
        loss, right = self.loss(scores, labels)
        return loss, {"accuracy": right}

    def weight(self, step: int) -> int:
        """Rows."""
        return len(self.schedule.rows(step))

    def counts(self, step: int) -> dict[str, int]:
        """Rows."""
        return {"rows": len(self.schedule.rows(step))}
