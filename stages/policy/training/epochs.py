"""Training in epochs over examples: a batch schedule enters, steps with means and the last epoch's means leave.

What supervised fine-tuning and judges share: which examples a micro-batch holds is a function of its number alone
(`feed`), its loss is its part of the step's mean, and a run is reported by the means over its last epoch.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor
from transformers import TrainingArguments

from stages.core.recipe.parts import JudgeTuning, Passes, Tuning
from stages.policy.models import memory
from stages.policy.models.weights import Policy
from stages.policy.ranks.world import world
from stages.policy.training import settings
from stages.policy.training.checkpoint import Checkpoints
from stages.policy.training.feed import BatchSchedule, TokenBudget
from stages.policy.training.resumable import ResumableTrainer
from stages.policy.training.steps import RunState, StepCallback

if TYPE_CHECKING:
    from stages.core.run.runner import Work


@dataclass(kw_only=True)
class EpochState(RunState):
    """Sums over the steps of the last epoch so far."""

    weight: int = 0
    """What they are divided by: tokens or rows."""
    sums: dict[str, float] = field(default_factory=dict)

    def means(self) -> dict[str, float]:
        """The sums, each divided by the weight."""
        return {name: value / self.weight for name, value in self.sums.items()}


class EpochTrainer(ResumableTrainer[EpochState]):
    """Mixin: steps and micro-batches are those of `schedule`."""

    accelerator: Any

    def __init__(
        self,
        policy: Policy,
        *,
        schedule: BatchSchedule,
        args: TrainingArguments,
        checkpoints: Checkpoints,
        callback: StepCallback,
    ) -> None:
        self.schedule = schedule
        self.sums: dict[str, float] = defaultdict(float)
        self.idle = False
        """Whether the micro-batch at hand counts nothing."""
        self.began = time.perf_counter()
        super().__init__(policy, run_state=EpochState(), checkpoints=checkpoints, callback=callback, args=args)

    # ---- what a trainer says ----

    @abstractmethod
    def batch(self, rows: list[int]) -> Any:
        """Make the examples with these numbers into what `losses` takes."""

    @abstractmethod
    def compare(self, batch: Any) -> None:
        """Raise StageError where a row of the first micro-batch is not computed as it is alone (`agreement`)."""

    @abstractmethod
    def losses(self, model: Any, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the SUM of a micro-batch's losses, with its gradient, and other sums to report by name."""

    @abstractmethod
    def weight(self, step: int) -> int:
        """Return what the sums of step `step` (from 0) are divided by."""

    @abstractmethod
    def counts(self, step: int) -> dict[str, int]:
        """Return what else is told of step `step` (from 0): how much it trained on."""

    # ---- overridden: TRL and transformers call these ----

    def _prepare_inputs(self, inputs: list[int]) -> Any:
        """Turn a micro-batch's number into its examples."""
        ranks = self.world.size
        step, number = divmod(inputs[0], self.schedule.accumulation // ranks)
        rows = self.schedule.micro_batches(step)[number * ranks + self.world.rank]
        self.idle = not rows
        return self.batch(rows or self.schedule.rows(step)[:1])

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Tensor:
        """Return the loss of a micro-batch as its part of the step's mean."""
        with self.accelerator.autocast():
            loss, sums = self.losses(model, inputs)
        if self.idle:  # no row was left for this process: it computes one, as the others do, and counts none
            loss, sums = loss * 0, {name: value * 0 for name, value in sums.items()}
        for name, value in {"loss": loss, **sums}.items():
            self.sums[name] += value.detach().item()
        return loss / self.weight(self.state.global_step)

    # ---- steps ----

    def begin_run(self) -> None:
        """Compare the micro-batch that holds the longest row of the next step, once."""
        step = self.state.global_step
        if step < self.schedule.steps:
            with self.accelerator.autocast():
                self.compare(self.batch(self.schedule.micro_batches(step)[0]))

    def total_micro_batches(self) -> int:
        """Those of the schedule: the last step may have fewer than the others."""
        return self.schedule.total_micro_batches() // self.world.size

    def begin_step(self) -> None:
        """Forget the last step; its seconds count from now."""
        self.sums.clear()
        self.began = time.perf_counter()

    def step_figures(self, step: int, logs: dict[str, float]) -> dict[str, Any]:
        """Return the step's means, counts, rates and seconds; those of the last epoch are added up."""
        weight = self.weight(step - 1)
        self.sums = added(self.world.gather(dict(self.sums)))
        if step > self.schedule.steps - self.schedule.steps_an_epoch:
            state = self.run_state
            state.weight += weight
            state.sums = {name: state.sums.get(name, 0.0) + value for name, value in self.sums.items()}
        means = {name: value / weight for name, value in self.sums.items()}
        rates = {name: logs[name] for name in ("learning_rate", "grad_norm")}
        return means | self.counts(step - 1) | rates | {"seconds_update": round(time.perf_counter() - self.began, 4)}


def added(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Sums by name, each added up over the processes in their order."""
    found: dict[str, float] = defaultdict(float)
    for part in parts:
        for name, value in part.items():
            found[name] += value
    return found


def schedule_of(lengths: Sequence[int], passes: Passes, policy: Policy, work: Work, *, each: int = 1) -> BatchSchedule:
    """Cut a run over examples of these lengths in tokens, `each` texts long, into steps and micro-batches; say how."""
    asked, longest = work.runtime.micro_batch, max(lengths)
    beside = memory.trained_bytes(policy.module)
    twice = memory.compute_twice_if_asked(policy.module, work.runtime, each * longest, beside=beside)
    rows = asked or max(1, memory.rows_that_fit(policy.module, longest, beside=beside) // each)
    budget = TokenBudget(rows, 10**12 if asked else rows * longest)
    if work.runtime.micro_tokens:
        budget = TokenBudget(asked or passes.batch_size, work.runtime.micro_tokens // each)
    made = BatchSchedule(
        lengths, work.seed, epochs=passes.epochs, batch=passes.batch_size, budget=budget, ranks=world().size
    )
    said = f"{len(lengths)} rows, {passes.epochs} times, in {made.steps} steps of {passes.batch_size} rows, each in "
    work.emit("note", text=f"{said}{made.accumulation} micro-batches{twice}")
    return made


def configuration(
    recipe: Tuning | JudgeTuning, schedule: BatchSchedule, policy: Policy, work: Work
) -> TrainingArguments:
    """Translate what is asked for into transformers' own words."""
    return TrainingArguments(
        **settings.common_arguments(
            recipe,
            folder=Checkpoints(work.scratch / "checkpoints").fresh_draft(),
            seed=work.seed,
            save_steps=settings.save_steps(schedule.steps, work),
            cpu=policy.device.type == "cpu",
        ),
        max_steps=schedule.steps,
        per_device_train_batch_size=1,  # of numbers: each stands for a whole micro-batch
        gradient_accumulation_steps=schedule.accumulation // schedule.ranks,
    )
