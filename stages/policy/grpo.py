"""GRPO as R1-Zero ran it, on TRL's trainer.

A policy and an `Asker` (prompts, judges, template) enter; updated weights leave, and figures for every step. TRL and
transformers keep the loop, the optimizer, the schedule and the file formats; this subclass replaces what the recipe
does differently or what cannot be resumed: several minibatches a rollout with log-probabilities of their own, a
reference policy that is replaced whole, rollouts that depend on their number alone, checkpoints that hold everything. A
test pins the methods overridden here.
"""

from __future__ import annotations

import json
import math
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, Protocol

import torch
from datasets import Dataset
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import PrinterCallback
from trl import GRPOConfig, GRPOTrainer

from stages.core.errors import StageError
from stages.policy import costs
from stages.policy.checkpoint import Checkpoints
from stages.policy.losses import Objective, Share, Tokens, grpo_loss
from stages.policy.policy_weights import Policy
from stages.policy.prefix import selected_logprobs
from stages.policy.resumable import CARRIED_FILE, StepEnds, WholeCheckpoints, refuse_no_number
from stages.policy.rollout import Asker, Kept, Rollout
from stages.policy.settings import Sizes

REFERENCE_FILE = "reference.safetensors"
ROLLOUT_FILE = "rollout.pt"


class Watch(Protocol):
    """Who is told what while training runs, in the trainer's own thread."""

    def begun(self, trainer: PolicyTrainer) -> None:
        """The first step of this process is next, and everything is loaded."""

    def sampling(self, step: int, done: int, asked: int) -> None:
        """After `step` updates, `done` of the `asked` completions of a rollout are there."""

    def rolled(self, rollout: Rollout, kept: list[Kept]) -> None:
        """A rollout is complete; some of its answers as text."""

    def stepped(self, trainer: PolicyTrainer, step: int, figures: dict[str, Any]) -> None:
        """Update `step` (from 1) is done; what this changes in `trainer.carried` is in the step's checkpoint."""


class Tally:
    """Sums over the micro-batches of one step, and the seconds it spent on what."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Forget the last step; its seconds count from now."""
        self.began = time.perf_counter()
        self.seconds: dict[str, float] = {"rollout": 0.0, "reward": 0.0, "logprobs": 0.0}
        self.sums: dict[str, float] = defaultdict(float)
        self.low, self.high = math.inf, -math.inf

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Count the seconds of a block under `name`."""
        start = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - start

    def add(self, sums: dict[str, Tensor]) -> None:
        """Add one micro-batch's detached sums, as `grpo_loss` returns them."""
        values = {name: value.item() for name, value in sums.items()}
        self.low = min(self.low, values.pop("ratio_min"))
        self.high = max(self.high, values.pop("ratio_max"))
        for name, value in values.items():
            self.sums[name] += value

    def figures(self, tokens: int) -> dict[str, float]:
        """Return the step's means over its `tokens` trained tokens, the extremes of the ratio, and the seconds."""
        named = {"ratio": "ratio_mean", "clipped": "clip_fraction", "gap": "logprob_gap"}
        means = {named.get(name, name): value / max(tokens, 1) for name, value in self.sums.items()}
        update = time.perf_counter() - self.began - sum(self.seconds.values())
        seconds = {f"seconds_{name}": round(value, 4) for name, value in (self.seconds | {"update": update}).items()}
        return means | {"ratio_min": self.low, "ratio_max": self.high} | seconds


class PolicyTrainer(WholeCheckpoints, GRPOTrainer):  # type: ignore[misc]
    """TRL's trainer with R1-Zero's rollouts, reference and loss; `carried` is a plain dict that its checkpoints also
    hold.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        asker: Asker,
        objective: Objective,
        config: GRPOConfig,
        checkpoints: Checkpoints,
        watch: Watch,
    ) -> None:
        if config.world_size > 1:
            raise StageError(f"RL runs in one process, not in {config.world_size}", hint="start it without a launcher")
        self.policy = policy
        # Before TRL takes hold of the policy's module: see `Policy.copy`.
        self.reference = policy.reference() if objective.kl_weight else None
        self.reference_step = 0
        self.asker = asker
        self.objective = objective
        self.checkpoints = checkpoints
        self.watch = watch
        self.tally = Tally()
        self.rollout: Rollout | None = None
        self.carried: dict[str, Any] = {}
        super().__init__(
            model=policy.module,
            reward_funcs=[_judged],
            args=config,
            processing_class=asker.tokenizer,
            # TRL wants a dataset; which prompts a rollout asks is decided by its number (see `get_train_dataloader`).
            train_dataset=Dataset.from_dict({"prompt": [row.id for row in asker.rows]}),
            callbacks=[_Report(self)],
        )
        self.remove_callback(PrinterCallback)
        costs.restart_peak(self.accelerator.device)
        step = config.per_device_train_batch_size * config.gradient_accumulation_steps
        self.sizes = Sizes(step, config.per_device_train_batch_size, asker.recipe.minibatches)
        if self.reference is not None:
            self.reference.module.to(self.accelerator.device)

    # ---- overridden: TRL and transformers call these ----

    def get_train_dataloader(self) -> DataLoader:
        """Serve the numbers of the micro-batches, 0, 1, 2 …: one pass is the whole run, so a resumed one just starts
        further on.

        TRL would read all rows of a rollout again for every micro-batch (8,192 rows 2,048 times in R1's sizes).
        """
        return self._numbers(self.args.max_steps * self.sizes.accumulation)

    def _prepare_inputs(self, generation_batch: list[int]) -> dict[str, Any]:
        """Turn a micro-batch's number into its rows; the first one of a rollout makes the rollout."""
        step, part = divmod(generation_batch[0], self.sizes.accumulation)
        number, minibatch = divmod(step, self.sizes.minibatches)
        if self.rollout is None or self.rollout.number != number:
            self.rollout = self._roll_out(number, step)
        whole = range(minibatch * self.sizes.step, (minibatch + 1) * self.sizes.step)
        rows = whole[part * self.sizes.micro : (part + 1) * self.sizes.micro]
        share = Share(rows=len(whole), tokens=self.rollout.tokens(whole), max_tokens=self.rollout.max_tokens)
        return {**self._batch(self.rollout, rows), "share": share, "fresh": minibatch == 0 and not self._rounds}

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        """Return the loss of a micro-batch as its part of the minibatch's; nothing downstream divides it again."""
        logprobs_BT, entropy_BT = self._token_logprobs(model, inputs, with_entropy=True)
        old_BT, drawn_BT = inputs["old_logprobs"], inputs["old_logprobs"]
        if inputs.get("fresh"):
            old_BT = logprobs_BT.detach()  # the weights have not moved since: the ratio is exactly 1
            self.tally.sums["gap"] += (old_BT - drawn_BT).abs().masked_fill(~inputs["completion_mask"], 0).sum().item()
        tokens = Tokens(
            logprobs_BT=logprobs_BT,
            old_logprobs_BT=old_BT,
            ref_logprobs_BT=inputs.get("ref_logprobs"),
            advantages_B=inputs["advantages"],
            mask_BT=inputs["completion_mask"],
        )
        loss, sums = grpo_loss(tokens, self.objective, inputs["share"])
        if self.reference is None:
            del sums["kl"]  # not taken, which is not the same as zero
        self.tally.add(sums | {"entropy": entropy_BT.sum()})
        return loss

    # ---- rollouts ----

    def _roll_out(self, number: int, step: int) -> Rollout:
        self._renew_reference(step)
        with self.tally.timed("rollout"), self.accelerator.autocast():
            completions = self.asker.ask(
                self.model, number, step, lambda done, asked: self.watch.sampling(step, done, asked)
            )
        with self.tally.timed("reward"):
            answers = self.asker.judge(number, completions)
            rollout, kept = self.asker.lay_out(answers, number, step, reference_name(self.reference_step))
        with self.tally.timed("logprobs"):
            self._measure(rollout)
            kept = self._weigh(rollout, kept)
        self.watch.rolled(rollout, kept)
        return rollout

    @torch.no_grad()
    def _measure(self, rollout: Rollout) -> None:
        """Add the reference's log-probabilities, and replace the sampler's by the trainer's where they may differ.

        In float32 they are the same to rounding, which the first minibatch shows (`logprob_gap`): its rows meet the
        weights they were drawn with, so its ratios are 1. In bfloat16 they are taken again, in the very micro-batches
        that will be trained on, for the last bits of a matrix product depend on its shape.
        """
        old: list[Tensor] = [] if self._rounds else rollout.old_logprobs
        ref: list[Tensor] = []
        for start in range(0, self.sizes.rollout, self.sizes.micro):
            rows = range(start, start + self.sizes.micro)
            batch = self._batch(rollout, rows)
            lengths = [len(rollout.completion_ids[row]) for row in rows]
            if self._rounds:
                old += _unpadded(self._token_logprobs(self.model, batch)[0], lengths)
            if self.reference is not None:
                ref += _unpadded(self._token_logprobs(self.reference.module, batch)[0], lengths)
        if self._rounds:
            gaps = [(mine - drawn).abs() for mine, drawn in zip(old, rollout.old_logprobs, strict=True)]
            rollout.facts["logprob_gap"] = torch.cat(gaps).mean().item()
        rollout.old_logprobs, rollout.ref_logprobs = old, ref

    @property
    def _rounds(self) -> bool:
        """Whether the trainer's log-probabilities differ from the sampler's by more than float32's last bits."""
        return self.asker.recipe.dtype != "float32"

    def _weigh(self, rollout: Rollout, kept: list[Kept]) -> list[Kept]:
        """Return the answers to keep with their advantages: here those of their groups, which the rollout has."""
        return kept

    def _batch(self, rollout: Rollout, rows: range) -> dict[str, Any]:
        batch = rollout.batch(rows, self.asker.contract.pad_id, self.accelerator.device)
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
                temperature=self.asker.recipe.temperature,
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
        every = self.asker.recipe.reference_steps
        if self.reference is None or not every or step - step % every <= self.reference_step:
            return
        self.reference.renew(self.policy)
        self.reference_step = step

    # ---- steps and checkpoints ----

    def begin_step(self) -> None:
        """The tally is of one step."""
        self.tally.restart()

    def close_step(self, logs: dict[str, float]) -> None:
        """Tell the watch what the update that just ended came to. Raises StageError when it is no number any more."""
        if self.rollout is None:
            raise StageError("a step ended before its rollout began")
        step = self.state.global_step
        first = (step - 1) % self.sizes.minibatches * self.sizes.step
        figures: dict[str, Any] = self.rollout.facts | self.tally.figures(
            self.rollout.tokens(range(first, first + self.sizes.step))
        )
        self.rollout.facts["logprob_gap"] = figures["logprob_gap"]  # of its first minibatch, for the others too
        figures |= {"learning_rate": logs["learning_rate"], "grad_norm": logs["grad_norm"]}
        if self.reference is not None:
            age = step - 1 - reference_step(self.rollout.reference)
            figures |= {"reference": self.rollout.reference, "reference_age": age}
        refuse_no_number(step, logs["grad_norm"])
        costs.note(self.carried, figures, self.accelerator.device)
        self.state.log_history.clear()  # it would grow with every step, and is written into every checkpoint
        self.watch.stepped(self, step, figures)

    def _save_carried(self, folder: Path) -> None:
        carried = {"reference_step": self.reference_step, "carried": self.carried}
        (folder / CARRIED_FILE).write_text(json.dumps(carried), encoding="utf-8")
        if self.reference is not None and self.reference_step:
            self.reference.snapshot(folder / REFERENCE_FILE)
        # Between rollouts there is nothing to keep; inside one, its log-probabilities are of weights that are gone.
        if self.rollout is not None and self.state.global_step % self.sizes.minibatches:
            torch.save({part.name: getattr(self.rollout, part.name) for part in fields(Rollout)}, folder / ROLLOUT_FILE)

    def _load_carried(self, folder: Path) -> None:
        carried = json.loads((folder / CARRIED_FILE).read_text(encoding="utf-8"))
        self.reference_step, self.carried = carried["reference_step"], carried["carried"]
        if self.reference is not None and self.reference_step:
            self.reference.restore(folder / REFERENCE_FILE)
        if (folder / ROLLOUT_FILE).exists():
            self.rollout = Rollout(**torch.load(folder / ROLLOUT_FILE, weights_only=True))


class _Report(StepEnds):
    """The ends of the steps, and the beginning of the run."""

    trainer: PolicyTrainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.trainer.watch.begun(self.trainer)


def _judged(**_: Any) -> list[float]:
    """Stand where TRL insists on a reward function; `Asker.judge` judges completions, and this is never called."""
    raise StageError("TRL tried to judge completions itself")


def reference_name(step: int) -> str:
    """Name the reference policy that was the policy after `step` updates."""
    return f"step-{step}" if step else "init"


def reference_step(name: str) -> int:
    """Return the number of updates that a reference's name states."""
    return 0 if name == "init" else int(name.removeprefix("step-"))


def _unpadded(logprobs_BT: Tensor, lengths: list[int]) -> list[Tensor]:
    return [row[:length].cpu().clone() for row, length in zip(logprobs_BT, lengths, strict=True)]
