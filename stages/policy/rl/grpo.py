"""GRPO as R1-Zero ran it, on transformers' trainer.

A policy and a `Collector` (prompts, judges, template) enter; updated weights leave, and figures for every step.
transformers keeps the loop, the optimizer, the schedule and the file formats; here is what the recipe says: several
minibatches a rollout with log-probabilities of their own, a reference policy that is replaced whole, rollouts that
depend on their number alone, checkpoints that hold everything. A test pins the methods overridden here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import Trainer, TrainingArguments

from stages.core.errors import StageError
from stages.core.guard.watch import Alarm
from stages.core.judged import Judged
from stages.core.recipe.parts import Objective
from stages.core.sampling import Engine
from stages.policy.engines.renewal import Renewal
from stages.policy.models.prefix import selected_logprobs
from stages.policy.models.weights import Policy
from stages.policy.rl.guarding import Guard
from stages.policy.rl.importance import MISMATCH, mismatch, refuse_far_sampler
from stages.policy.rl.losses import LossInputs, LossNormaliser, policy_loss
from stages.policy.rl.own_loss import load_loss
from stages.policy.rl.refill import refilled
from stages.policy.rl.rollout import Collector, LoggedCompletion, Rollout, refuse_nothing_said, refuse_unjudged
from stages.policy.rl.state import PolicyState
from stages.policy.rl.taught import no_gradient, taught_logprobs
from stages.policy.rl.totals import StepTotals
from stages.policy.rl.validation import ValidationPlan
from stages.policy.training import costs
from stages.policy.training.checkpoint import Checkpoints
from stages.policy.training.resumable import ResumableTrainer, hold
from stages.policy.training.settings import BatchSizes
from stages.policy.training.steps import StepCallback

REFERENCE_FILE = "reference.safetensors"
ROLLOUT_FILE = "rollout.pt"


class RolloutCallback(StepCallback, Protocol):
    """Who is told what while a policy is trained."""

    def on_sampling(self, step: int, done: int, asked: int) -> None:
        """After `step` updates, `done` of the `asked` completions of a rollout are there."""

    def on_rollout(self, rollout: Rollout, kept: list[LoggedCompletion]) -> None:
        """A rollout is complete; some of its answers as text."""

    def on_validation(self, step: int, figures: dict[str, float]) -> None:
        """The policy was validated after `step` updates."""

    def on_alarm(self, step: int, alarm: Alarm) -> None:
        """The step `step` came to something that is not healthy."""


class PolicyTrainer(ResumableTrainer[PolicyState], Trainer):  # type: ignore[misc]
    """transformers' trainer with R1-Zero's rollouts, reference and loss."""

    callback: RolloutCallback

    def __init__(
        self,
        policy: Policy,
        *,
        collector: Collector,
        engine: Engine,
        objective: Objective,
        config: TrainingArguments,
        checkpoints: Checkpoints,
        callback: RolloutCallback,
        validation: ValidationPlan | None = None,
    ) -> None:
        self.guard = Guard(collector.recipe, checkpoints.folder.with_name("good"))
        self.policy = policy
        self.reference: Policy | None = None
        self.collector = collector
        self.engine = engine
        self.objective = objective
        self.loss = load_loss(objective.loss)
        self.validation = validation
        self.totals = StepTotals()
        self.rollout: Rollout | None = None
        self.compared = False
        """Whether this process has compared a sampler that is not exact with itself."""
        policy.disable_dropout()
        hold(policy.module, config)
        self.copy_policy()
        if self.reference is not None:
            self.reference.shard()
        super().__init__(policy, run_state=PolicyState(), checkpoints=checkpoints, callback=callback, args=config)
        dtype = collector.recipe.dtype
        self.renewal = Renewal(engine, policy, dtype=dtype, autocast=self.accelerator.autocast)
        costs.restart_peak(self.accelerator.device)
        micro, ranks = config.per_device_train_batch_size, self.world.size
        step = micro * config.gradient_accumulation_steps * ranks
        self.sizes = BatchSizes(step, micro, collector.recipe.minibatches, ranks)

    def copy_policy(self) -> None:
        """Make the models that start as the policy, before a trainer takes hold of its module (see `Policy.copy`)."""
        if self.objective.kl_weight:
            self.reference = self.policy.reference()

    # ---- overridden: transformers calls these ----

    def _prepare_inputs(self, generation_batch: list[int]) -> dict[str, Any]:
        """Turn a micro-batch's number into its rows; the first one of a rollout makes the rollout."""
        step, part = divmod(generation_batch[0], self.sizes.accumulation)
        number, minibatch = divmod(step, self.sizes.minibatches)
        if self.rollout is None or self.rollout.number != number:
            self.rollout = self._roll_out(number, step)
        whole = range(minibatch * self.sizes.step, (minibatch + 1) * self.sizes.step)
        place = part * self.sizes.ranks + self.world.rank
        rows = whole[place * self.sizes.micro : (place + 1) * self.sizes.micro]
        tokens, limit = self.rollout.trained_tokens(whole), self.rollout.max_tokens
        normaliser = LossNormaliser(rows=len(whole), tokens=tokens, max_tokens=limit)
        batch = self._batch(self.rollout, rows)
        return {**batch, "normaliser": normaliser, "fresh": minibatch == 0 and self.engine.exact, "rows": rows}

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Tensor:
        """Return the loss of a micro-batch as its part of the minibatch's; nothing downstream divides it again."""
        logprobs_BT, entropy_BT = taught_logprobs(partial(self._token_logprobs, model), inputs, self.objective)
        old_BT, drawn_BT, ref_BT = inputs["old_logprobs"], inputs["old_logprobs"], inputs.get("ref_logprobs")
        if inputs.get("fresh"):
            old_BT = logprobs_BT.detach()  # the weights have not moved since: the ratio is exactly 1
            if ref_BT is not None and self._rollout_in_progress().own_reference:
                ref_BT = old_BT
            self.totals.log_ratios.append((old_BT - drawn_BT)[inputs["completion_mask"]].cpu())
            lengths = inputs["completion_mask"].sum(1).tolist()
            sides = [_unpadded(side_BT, lengths) for side_BT in (drawn_BT, old_BT)]
            refuse_far_sampler(self, self._rollout_in_progress(), inputs["rows"], *sides)
        mask_BT = inputs.get("trained", inputs["completion_mask"])
        given = LossInputs(
            logprobs_BT=logprobs_BT,
            old_logprobs_BT=old_BT,
            sampler_logprobs_BT=inputs.get("sampler_logprobs"),
            ref_logprobs_BT=ref_BT,
            advantages=inputs["advantages"],
            mask_BT=mask_BT,
            normaliser=inputs["normaliser"],
        )
        loss, sums = policy_loss(self.loss, given, self.objective)
        self.totals.add(sums | {"entropy": (entropy_BT * mask_BT).sum()})
        return loss if loss.requires_grad else loss + no_gradient(model)

    # ---- rollouts ----

    def _roll_out(self, number: int, step: int) -> Rollout:
        self._renew_reference(step)
        engine = self.renewed_engine(step)
        answers = self._answers(engine, number, step)
        refuse_nothing_said(answers, number, engine.name)
        refuse_unjudged(answers, self.collector.recipe.rewards)
        drawn = refilled(
            self.collector,
            number,
            answers,
            ask=lambda further: self._answers(engine, number, step, further),
            processes=self.world.size,
        )
        with self.totals.timed("reward"):
            reference = reference_name(self.run_state.reference_step)
            rollout, kept = self.collector.lay_out(
                drawn.answers, number, step, reference, places=drawn.places, drawn=drawn.everything
            )
        with self.totals.timed("logprobs"):
            self.take_logprobs(rollout)
            kept = self.assign_advantages(rollout, kept)
        self.callback.on_rollout(rollout, kept)
        return rollout

    def _answers(self, engine: Engine, number: int, step: int, further: Sequence[int] = ()) -> list[Judged]:
        """The judged groups of a rollout, or of `further` rows, of all processes."""
        with self.totals.timed("rollout"), self.accelerator.autocast(), self.policy.gathered():
            completions = self.collector.collect(
                engine,
                number,
                step,
                lambda done, asked: self.callback.on_sampling(step, done, asked),
                further=further,
            )
        with self.totals.timed("reward"):
            return self.world.joined(self.collector.judge(number, completions, further=further))

    @torch.no_grad()
    def take_logprobs(self, rollout: Rollout) -> None:
        """Add the reference's log-probabilities, and replace the sampler's by the trainer's where they may differ.

        An exact engine says the same to rounding, which the first minibatch shows (`sampler_mismatch`): its rows meet
        the weights they were drawn with, so its ratios are 1. Of another (vLLM, or bfloat16) they are taken again, in
        the very micro-batches that will be trained on, for the last bits of a matrix product depend on its shape; the
        sampler's then go into the loss beside them (`importance`). Each of several processes takes those of its own
        micro-batches. No pass is made where it would say what is known: the reference that was the policy at this very
        step has the old log-probabilities, and without a weight of the KL there is none.
        """
        old: list[Tensor] = []
        ref: list[Tensor] = []
        rollout.own_reference = reference_step(rollout.reference) == self.state.global_step
        asked = None if rollout.own_reference or self.reference is None else self.reference.module
        for rows in self.micro_batches() if asked is not None or not self.engine.exact else ():
            batch = self._batch(rollout, rows)
            lengths = [len(rollout.completion_ids[row]) for row in rows]
            if not self.engine.exact:
                old += _unpadded(self._token_logprobs(self.model, batch)[0], lengths)
            if asked is not None:
                ref += _unpadded(self._token_logprobs(asked, batch)[0], lengths)
        old = rollout.old_logprobs if self.engine.exact else self.of_all_rows(old)
        ref = self.of_all_rows(ref) if asked is not None else old if self.reference is not None else []
        if not self.engine.exact:
            rollout.sampler_logprobs = rollout.old_logprobs
            if not self.compared:
                refuse_far_sampler(self, rollout, range(self.sizes.rollout), rollout.sampler_logprobs, old)
                self.compared = True
            rollout.facts |= mismatch(torch.cat(old) - torch.cat(rollout.sampler_logprobs))
        rollout.old_logprobs, rollout.ref_logprobs = old, ref

    def read(self, rollout: Rollout, rows: range) -> Tensor:
        """The policy's log-probabilities along some rows: [B, T], 0 at padding."""
        return self._token_logprobs(self.model, self._batch(rollout, rows))[0]

    def micro_batches(self) -> Iterator[range]:
        """The rows of each micro-batch of a rollout that is this process's."""
        size, ranks = self.sizes.micro, self.sizes.ranks
        for start in range(self.world.rank * size, self.sizes.rollout, ranks * size):
            yield range(start, start + size)

    def of_all_rows(self, found: list[Tensor]) -> list[Tensor]:
        """What all processes found of the rows of their micro-batches, in the order of the rows."""
        return self.world.interleaved(found, self.sizes.micro)

    def renewed_engine(self, step: int) -> Engine:
        """Return the engine with the weights that there are after `step` updates."""
        with self.totals.timed("renewal"):
            return self.renewal.follow(step, self.rollout.texts() if self.rollout else ())

    def assign_advantages(self, rollout: Rollout, kept: list[LoggedCompletion]) -> list[LoggedCompletion]:
        """Return the answers to keep with their advantages: here those of their groups, which the rollout has."""
        return kept

    def _batch(self, rollout: Rollout, rows: range) -> dict[str, Any]:
        batch = rollout.batch(rows, self.collector.contract.pad_id, self.accelerator.device)
        return {**batch, "shared_prefix": rollout.shared_prefix}

    def _token_logprobs(self, model: Any, batch: dict[str, Any], *, with_entropy: bool = False) -> tuple[Tensor, Any]:
        """The one way log-probabilities are taken, for the sampling, reference and trained policy: [B, T] each."""
        with self.accelerator.autocast():
            return selected_logprobs(
                model,
                batch["prompt_ids"],
                batch["prompt_mask"],
                batch["completion_ids"],
                batch["completion_mask"],
                temperature=self.collector.recipe.temperature,
                shared_prefix=batch["shared_prefix"],
                with_entropy=with_entropy,
            )

    # ---- the reference policy ----

    def _renew_reference(self, step: int) -> None:
        """Replace the reference by the policy, whole, when a multiple of `reference_steps` was reached since the last
        time.

        It happens where the reference is next used, at the start of a rollout; R1's 400 steps are exactly 25 of its
        rollouts.
        """
        every = self.collector.recipe.reference_steps
        if self.reference is None or not every or step - step % every <= self.run_state.reference_step:
            return
        self.reference.renew(self.policy)
        self.run_state.reference_step = step

    # ---- validation ----

    def begin_run(self) -> None:
        """Let the engine take the weights once, and validate the base; a resumed run has done the latter."""
        self.renewal.rehearse(lambda: self.collector.requests(0, 0), self.state.global_step)
        self.guard.begin(self)
        if self.state.global_step == 0:
            self._validate(0)

    def _validate(self, step: int) -> None:
        """Validate the policy when it is time, and keep its weights when none were better."""
        plan, state = self.validation, self.run_state
        if plan is None or not plan.due(step, self.args.max_steps):
            return
        engine = self.renewed_engine(step)
        with self.accelerator.autocast(), self.policy.gathered():
            figures = plan.validation.run(engine, self.collector.max_tokens(step))
        self.callback.on_validation(step, figures)
        state.base_validation = state.base_validation or figures
        if state.best_step is None or figures["strict"] >= state.best_validation["strict"]:
            state.best_step, state.best_validation = step, figures
            if plan.best is not None:
                plan.best.keep(self.policy, step)

    # ---- steps and checkpoints ----

    def begin_step(self) -> None:
        """The totals are of one step."""
        self.totals.restart()

    def close_step(self, logs: dict[str, float]) -> None:
        """Report the update that just ended, validate the policy when it is time, and see whether it is healthy."""
        super().close_step(logs)
        self._validate(self.state.global_step)
        self.guard.look(self)

    def step_figures(self, step: int, logs: dict[str, float]) -> dict[str, Any]:
        """Return figures of the step and of the rollout it is part of; what the run has come to is added up."""
        rollout, place = self._rollout_in_progress(), (step - 1) % self.sizes.minibatches
        self.totals.merge(self.world)
        rows = range(place * self.sizes.step, (place + 1) * self.sizes.step)
        figures: dict[str, Any] = rollout.facts | self.totals.figures(rollout.trained_tokens(rows))
        # Of its first minibatch, for the others too.
        rollout.facts |= {name: figures[name] for name in MISMATCH if name in figures}
        figures |= {"learning_rate": logs["learning_rate"], "grad_norm": logs["grad_norm"]}
        if self.reference is not None:
            age = step - 1 - reference_step(rollout.reference)
            figures |= {"reference": rollout.reference, "reference_age": age}
        state = self.run_state
        state.seconds += sum(value for name, value in figures.items() if name.startswith("seconds_"))
        state.useful += rollout.useful(rows)
        figures["useful_per_second"] = state.useful / max(state.seconds, 1e-9)
        state.peak_memory_mb = max(state.peak_memory_mb, costs.peak_memory_mb(self.accelerator.device))
        if place == 0:
            state.sampling_flops += 2 * self.policy.parameters * rollout.processed(range(self.sizes.rollout))
            state.reflective.append((step, figures["reflective"]))
        state.update_flops += self.update_flops() * rollout.processed(rows)
        state.last = figures
        return figures

    def update_flops(self) -> int:
        """Floating-point operations of one token of the update."""
        return self.policy.update_flops

    def _rollout_in_progress(self) -> Rollout:
        if self.rollout is None:
            raise StageError("a step ended before its rollout began")
        return self.rollout

    def policies_beside(self) -> dict[str, Policy]:
        """The reference, once it is no longer what the run began with."""
        if self.reference is None or not self.run_state.reference_step:
            return {}
        return {REFERENCE_FILE: self.reference}

    def save_state_files(self, folder: Path) -> None:
        """Write the rollout in progress, too."""
        super().save_state_files(folder)
        # Between rollouts there is nothing to keep; inside one, its log-probabilities are of weights that are gone.
        if self.rollout is not None and self.state.global_step % self.sizes.minibatches:
            torch.save({part.name: getattr(self.rollout, part.name) for part in fields(Rollout)}, folder / ROLLOUT_FILE)

    def load_state_files(self, folder: Path) -> None:
        """Read it again."""
        super().load_state_files(folder)
        if (folder / ROLLOUT_FILE).exists():
            self.rollout = Rollout(**torch.load(folder / ROLLOUT_FILE, weights_only=True))


def reference_name(step: int) -> str:
    """Name the reference policy that was the policy after `step` updates."""
    return f"step-{step}" if step else "init"


def reference_step(name: str) -> int:
    """Return the number of updates that a reference's name states."""
    return 0 if name == "init" else int(name.removeprefix("step-"))


def _unpadded(logprobs_BT: Tensor, lengths: list[int]) -> list[Tensor]:
    return [row[:length].cpu().clone() for row, length in zip(logprobs_BT, lengths, strict=True)]
