"""Supervised fine-tuning on TRL's trainer: a model and examples enter, the model with other weights and figures leave.

TRL and transformers keep the loop, the optimizer, the schedule and the file formats; the subclass replaces what they
would do with the data: TRL cuts rows at 1,024 tokens, renders them through a chat template that may strip reasoning,
shuffles by a state that a resumed run does not have, and runs the template, which all rows share, once for each of
them. Here examples are token ids already (`stages.core.imitation`), steps are a function of seed and epoch (`feed`),
the common start is computed once (`prefix`), and checkpoints hold everything (`resumable`). A test pins the methods
overridden here.
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
from datasets import Dataset
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader
from transformers import PrinterCallback
from trl import SFTConfig, SFTTrainer

from stages.core.errors import StageError
from stages.core.imitation import Example
from stages.core.parts import Tuning
from stages.policy import memory, resumable, settings
from stages.policy.checkpoint import Checkpoints
from stages.policy.feed import Feed, Room, as_it_is
from stages.policy.policy_weights import Policy
from stages.policy.prefix import selected_logprobs, shared_prefix_length
from stages.policy.resumable import WholeCheckpoints, refuse_no_number

if TYPE_CHECKING:
    from stages.core.runner import Work


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


Loss = Callable[[Any, Batch], tuple[Tensor, dict[str, Tensor]]]
"""(model, batch) -> the SUM of the losses of the batch's completion tokens, with its gradient, and other sums over the
same tokens to report by name; the trainer divides each by the completion tokens of the whole step."""


def completion_loss(model: Any, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """The sum of -log p(token | what stands before it) over completion tokens, in nats: maximum likelihood."""
    logprobs_BT, _ = selected_logprobs(
        model,
        batch.prompt_ids_BP,
        batch.prompt_mask_BP,
        batch.completion_ids_BT,
        batch.completion_mask_BT,
        temperature=1.0,
        shared_prefix=batch.shared_prefix,
    )
    return -logprobs_BT.sum(), {}


def train(
    policy: Policy,
    examples: Sequence[Example],
    tuning: Tuning,
    *,
    work: Work,
    loss: Loss = completion_loss,
) -> dict[str, Any]:
    """Train `policy` in place on the completions of `examples` (see `imitation.examples` and `imitation.fitting`).

    `policy`: float32 weights on their device. `work`: seed, runtime, events, and `scratch / "checkpoints"`, from which
    a killed run goes on; on a CPU it then ends in the same bits.

    Returns plain figures: `rows`, `steps`, `trained_tokens` (of completions, counted in every epoch), `loss` (per
    token, mean over the steps of the last epoch, as is each other name that `loss` reports) and `flops` ({"update":
    6·N·tokens}, N all parameters, tokens those of whole rows in every epoch, as if no prefix were shared). Emits
    `note`, `step` and `progress`. Raises StageError when a gradient is no number. Saving the model is the caller's.
    """
    tokens = max(example.tokens for example in examples)
    rows = work.runtime.micro_batch or memory.rows_that_fit(policy.module, tokens)
    room = Room(rows, 10**12 if work.runtime.micro_batch else rows * tokens)
    lengths = [example.tokens for example in examples]
    feed = Feed(lengths, work.seed, epochs=tuning.epochs, batch=tuning.batch_size, room=room)
    narrow = not memory.row_fits(policy.module, tokens)
    work.emit(
        "note",
        text=f"{len(examples)} rows, {tuning.epochs} times, in {feed.steps} steps of {tuning.batch_size} rows, each in "
        f"{feed.passes} passes{', layers computed twice for lack of memory' if narrow else ''}",
    )
    checkpoints = Checkpoints(work.scratch / "checkpoints")
    config = configuration(tuning, feed, folder=checkpoints.fresh_draft(), work=work, device=policy.device)
    config.gradient_checkpointing = narrow
    trainer = SupervisedTrainer(policy, Lesson(examples, feed, loss), config=config, work=work)
    resumable.train(trainer, work)
    tail = trainer.carried["tail"]
    trained = sum(len(example.completion_ids) for example in examples) * tuning.epochs
    return {
        "rows": len(examples),
        "steps": feed.steps,
        "trained_tokens": trained,
        **{name: value / tail["tokens"] for name, value in tail["sums"].items()},
        "flops": {"update": 6 * policy.parameters * sum(lengths) * tuning.epochs},
    }


def configuration(tuning: Tuning, feed: Feed, *, folder: Path, work: Work, device: torch.device) -> SFTConfig:
    """Translate a `Tuning` into TRL's own words."""
    return SFTConfig(
        **settings.unattended(
            tuning,
            folder=folder,
            seed=work.seed,
            save_steps=settings.save_steps(feed.steps, work),
            cpu=device.type == "cpu",
        ),
        max_steps=feed.steps,
        per_device_train_batch_size=1,  # of tickets: each stands for a whole pass
        gradient_accumulation_steps=feed.passes,
        max_length=None,
        packing=False,
        dataset_kwargs={"skip_prepare_dataset": True},
    )


@dataclass(frozen=True)
class Lesson:
    """What is learned, in which order, and by which loss."""

    examples: Sequence[Example]
    feed: Feed
    loss: Loss


class SupervisedTrainer(WholeCheckpoints, SFTTrainer):  # type: ignore[misc]
    """TRL's trainer on examples that are token ids; `carried` holds the last epoch's sums."""

    loss_is_scaled_for_ga = True  # a pass is divided by the tokens of its whole step, and by nothing after that

    def __init__(self, policy: Policy, lesson: Lesson, *, config: SFTConfig, work: Work) -> None:
        if config.world_size > 1:
            raise StageError(f"SFT runs in one process, not in {config.world_size}", hint="start it without a launcher")
        self.lesson = lesson
        self.work = work
        self.checkpoints = Checkpoints(work.scratch / "checkpoints")
        self.carried = {"tail": {"tokens": 0, "sums": {}}}
        self.shared_prefix = shared_prefix_length([example.prompt_ids for example in lesson.examples])
        self.sums: dict[str, float] = defaultdict(float)
        self.began = time.perf_counter()
        super().__init__(
            model=policy.module,
            args=config,
            data_collator=as_it_is,
            # TRL wants a dataset; what a pass trains on is decided by its number (see `get_train_dataloader`).
            train_dataset=Dataset.from_dict({"input_ids": [[0]]}),
            processing_class=policy.tokenizer,
            callbacks=[resumable.StepEnds(self)],
        )
        self.remove_callback(PrinterCallback)

    # ---- overridden: TRL and transformers call these ----

    def get_train_dataloader(self) -> DataLoader:
        """Serve the numbers of the passes, 0, 1, 2 …: one run through them is the whole run, in whatever epoch."""
        return self._numbers(self.lesson.feed.tickets())

    def _prepare_inputs(self, inputs: list[int]) -> Batch:
        """Turn a pass's number into its rows."""
        step, number = divmod(inputs[0], self.lesson.feed.passes)
        return self.batch(self.lesson.feed.cut(step)[number])

    def compute_loss(
        self, model: Any, inputs: Batch, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Tensor:
        """Return the loss of a pass as its part of the step's mean over tokens; nothing downstream divides it again."""
        with self.accelerator.autocast():
            loss, sums = self.lesson.loss(model, inputs)
        for name, value in {"loss": loss, **sums}.items():
            self.sums[name] += value.detach().item()
        return loss / self.tokens(self.state.global_step)

    # ---- rows and steps ----

    def batch(self, rows: list[int]) -> Batch:
        """Some examples as padded tensors on the trainer's device."""
        prompts = [torch.tensor(self.lesson.examples[row].prompt_ids) for row in rows]
        completions = [torch.tensor(self.lesson.examples[row].completion_ids) for row in rows]
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

    def begin_step(self) -> None:
        """Forget the last step; its seconds count from now."""
        self.sums.clear()
        self.began = time.perf_counter()

    def tokens(self, step: int) -> int:
        """Trained tokens of step `step`, from 0."""
        return sum(len(self.lesson.examples[row].completion_ids) for row in self.lesson.feed.rows(step))

    def close_step(self, logs: dict[str, float]) -> None:
        """Report the update that just ended. Raises StageError when its gradient is no number."""
        step, steps = self.state.global_step, self.lesson.feed.steps
        refuse_no_number(step, logs["grad_norm"])
        tokens, rows = self.tokens(step - 1), len(self.lesson.feed.rows(step - 1))
        figures = {name: value / tokens for name, value in self.sums.items()} | {"tokens": tokens, "rows": rows}
        if step > steps - math.ceil(len(self.lesson.examples) / len(self.lesson.feed.rows(0))):
            tail = self.carried["tail"]
            tail["tokens"] += tokens
            tail["sums"] = {name: tail["sums"].get(name, 0.0) + value for name, value in self.sums.items()}
        if step % self.work.runtime.log_every == 0 or step == steps:
            rates = {name: logs[name] for name in ("learning_rate", "grad_norm")}
            seconds = {"seconds_update": round(time.perf_counter() - self.began, 4)}
            self.work.emit("step", step=step, **figures, **rates, **seconds)
        shown = {"loss": figures["loss"], "tokens": float(tokens)}
        self.work.emit("progress", done=step, total=steps, unit="steps", figures=shown)
        self.state.log_history.clear()  # it would grow with every step, and is written into every checkpoint


def padded(rows: list[Tensor], *, left: bool = False) -> tuple[Tensor, Tensor]:
    """Rows of ids as one [B, T] tensor of int64, and a mask that is True at real ids; padding is 0, and masked."""
    side = "left" if left else "right"
    ids = pad_sequence(rows, batch_first=True, padding_side=side).long()
    mask = pad_sequence([torch.ones_like(row, dtype=torch.bool) for row in rows], batch_first=True, padding_side=side)
    return ids, mask
