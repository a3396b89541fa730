"""A judge learns: examples as token ids enter, the model with other weights and figures leave.

One path for both judges of DeepSeek-R1 (arXiv 2501.12948v2 §3.1): the helpful one learns from pairs, the safe one from
labelled responses. TRL's reward trainer knows pairs alone, so this subclasses transformers' own trainer: loop,
optimizer, schedule and file formats stay; replaced are the order of the data, which must not depend on what a resumed
run remembers, and the loss. A test pins the methods overridden here.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader
from transformers import PrinterCallback, Trainer, TrainingArguments

from stages.core.errors import StageError
from stages.policy import judge, memory, resumable, settings
from stages.policy.checkpoint import Checkpoints
from stages.policy.feed import Feed, Room, as_it_is
from stages.policy.policy_weights import Policy
from stages.policy.resumable import WholeCheckpoints, refuse_no_number

if TYPE_CHECKING:
    from stages.core.parts import JudgeTuning
    from stages.core.runner import Work


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


@dataclass(frozen=True)
class Lesson:
    """What is learned and in which order."""

    examples: Sequence[Example]
    feed: Feed


Outcome = tuple[Tensor, Tensor]
"""The sum of the losses over rows, with its gradient, and how many rows came out right (a tie counts half)."""


def pairwise_loss(scores_B2: Tensor, labels_B: Tensor) -> Outcome:
    """-log sigmoid(s_chosen - s_rejected), summed: the chance that the chosen one wins (InstructGPT 2203.02155, eq. 1).

    `scores_B2` holds chosen and rejected; pairs have no labels.
    """
    margin_B = scores_B2[:, 0] - scores_B2[:, 1]
    return -functional.logsigmoid(margin_B).sum(), 0.5 * ((margin_B > 0).sum() + (margin_B >= 0).sum())


def pointwise_loss(scores_B1: Tensor, labels_B: Tensor) -> Outcome:
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
    lengths = [max(map(len, example.texts)) for example in examples]
    each = len(examples[0].texts)
    rows = work.runtime.micro_batch or max(1, memory.rows_that_fit(scorer.module, max(lengths)) // each)
    room = Room(rows, 10**12 if work.runtime.micro_batch else rows * max(lengths))
    feed = Feed(lengths, work.seed, epochs=recipe.epochs, batch=recipe.batch_size, room=room)
    said = f"{len(examples)} rows, {recipe.epochs} times, in {feed.steps} steps of {recipe.batch_size} rows, each in "
    work.emit("note", text=f"{said}{feed.passes} passes")
    checkpoints = Checkpoints(work.scratch / "checkpoints")
    config = configuration(recipe, feed, folder=checkpoints.fresh_draft(), work=work, device=scorer.device)
    config.gradient_checkpointing = not memory.row_fits(scorer.module, each * max(lengths))
    trainer = JudgeTrainer(scorer, Lesson(examples, feed), config=config, checkpoints=checkpoints, work=work)
    resumable.train(trainer, work)
    tail, tokens = trainer.carried["tail"], sum(example.tokens for example in examples) * recipe.epochs
    return {
        "steps": feed.steps,
        "loss": tail["loss"] / tail["rows"],
        "train_accuracy": tail["right"] / tail["rows"],
        "trained_tokens": tokens,
        "flops": {"update": 6 * scorer.parameters * tokens},
    }


def configuration(
    recipe: JudgeTuning, feed: Feed, *, folder: Path, work: Work, device: torch.device
) -> TrainingArguments:
    """Translate a judge's recipe into transformers' own words."""
    return TrainingArguments(
        **settings.unattended(
            recipe,
            folder=folder,
            seed=work.seed,
            save_steps=settings.save_steps(feed.steps, work),
            cpu=device.type == "cpu",
        ),
        max_steps=feed.steps,
        per_device_train_batch_size=1,  # of tickets: each stands for a whole pass
        gradient_accumulation_steps=feed.passes,
        logging_nan_inf_filter=False,
    )


class JudgeTrainer(WholeCheckpoints, Trainer):  # type: ignore[misc]
    """transformers' trainer on pairs or points; `carried` holds the last epoch's sums."""

    def __init__(
        self, scorer: Policy, lesson: Lesson, *, config: TrainingArguments, checkpoints: Checkpoints, work: Work
    ) -> None:
        if config.world_size > 1:
            raise StageError(f"a judge is trained in one process, not in {config.world_size}", hint="use no launcher")
        self.lesson, self.checkpoints, self.work = lesson, checkpoints, work
        self.pad_id = scorer.contract.pad_id
        self.carried = {"tail": {"rows": 0, "loss": 0.0, "right": 0.0}}
        self.sums: dict[str, float] = defaultdict(float)
        self.began = time.perf_counter()
        loss: Callable[[Tensor, Tensor], Outcome] = (
            pairwise_loss if len(lesson.examples[0].texts) == 2 else pointwise_loss
        )
        super().__init__(
            model=scorer.module,
            args=config,
            data_collator=as_it_is,
            # Given here, nothing downstream divides the loss by the number of passes again.
            compute_loss_func=loss,
            callbacks=[resumable.StepEnds(self)],
        )
        self.remove_callback(PrinterCallback)

    # ---- overridden: transformers calls these ----

    def get_train_dataloader(self) -> DataLoader:
        """Serve the numbers of the passes, 0, 1, 2 …: one run through them is the whole run, in whatever epoch."""
        return self._numbers(self.lesson.feed.tickets())

    def _prepare_inputs(self, inputs: list[int]) -> list[Example]:
        """Turn a pass's number into its examples."""
        step, number = divmod(inputs[0], self.lesson.feed.passes)
        return [self.lesson.examples[place] for place in self.lesson.feed.cut(step)[number]]

    def compute_loss(
        self, model: Any, inputs: list[Example], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Tensor:
        """Return the loss of a pass as its part of the step's mean over rows."""
        texts = [ids for example in inputs for ids in example.texts]
        scores = judge.forward(model, texts, self.pad_id).view(len(inputs), -1)
        labels = torch.tensor([example.label for example in inputs], device=scores.device)
        loss, right = self.compute_loss_func(scores, labels)
        self.sums["loss"] += loss.detach().item()
        self.sums["right"] += right.item()
        return loss / len(self.lesson.feed.rows(self.state.global_step))

    # ---- steps ----

    def begin_step(self) -> None:
        """Forget the last step; its seconds count from now."""
        self.sums.clear()
        self.began = time.perf_counter()

    def close_step(self, logs: dict[str, float]) -> None:
        """Report the update that just ended. Raises StageError when it is no number."""
        step, feed = self.state.global_step, self.lesson.feed
        refuse_no_number(step, logs["grad_norm"], logs["loss"])
        rows = len(feed.rows(step - 1))
        if step > feed.steps - math.ceil(len(self.lesson.examples) / len(feed.rows(0))):
            tail = self.carried["tail"]
            self.carried["tail"] = {name: tail[name] + self.sums[name] for name in self.sums} | {
                "rows": tail["rows"] + rows
            }
        figures = {"loss": self.sums["loss"] / rows, "accuracy": self.sums["right"] / rows}
        if step % self.work.runtime.log_every == 0 or step == feed.steps:
            rates = {name: logs[name] for name in ("learning_rate", "grad_norm")}
            seconds = {"seconds_update": round(time.perf_counter() - self.began, 4)}
            self.work.emit("step", step=step, rows=rows, **figures, **rates, **seconds)
        self.work.emit("progress", done=step, total=feed.steps, unit="steps", figures=figures)
        self.state.log_history.clear()  # it would grow with every step, and is written into every checkpoint
