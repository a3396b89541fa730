"""From what a recipe asks for to what transformers is told: prompts a step and group size enter, batches and settings
leave.

Users never write a batch size, an accumulation or a divisor: they follow from the recipe and from what fits into
memory.
"""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainingArguments

from stages.core.errors import MissingError
from stages.core.recipe.parts import Optimizer, Reinforcement, Tuning
from stages.core.scale.memory import micro_rows
from stages.policy.models import memory
from stages.policy.ranks.world import world

if TYPE_CHECKING:
    from stages.core.run.runner import Work


OPTIMIZERS = {
    "adamw": "adamw_torch_fused",
    "adamw_8bit": "adamw_8bit",
    "paged_adamw": "paged_adamw_32bit",
    "paged_adamw_8bit": "paged_adamw_8bit",
    "adafactor": "adafactor",
}
"""A recipe's `optimizer` -> what transformers calls it."""
CHECKPOINTS = 10
"""Checkpoints of a run whose `runtime.checkpoint_every` is not given."""


@dataclass(frozen=True)
class BatchSizes:
    """How rows are counted: `step` rows an optimizer update, in `accumulation` micro-batches of `micro` rows."""

    step: int
    micro: int
    minibatches: int
    ranks: int = 1
    """Processes that train together: each takes every `ranks`-th micro-batch."""

    @property
    def accumulation(self) -> int:
        """Micro-batches an update, in each process."""
        return self.step // self.micro // self.ranks

    @property
    def rollout(self) -> int:
        """Rows a rollout."""
        return self.step * self.minibatches


def rows_at_once(recipe: Reinforcement, model: Any, longest: int, work: Work) -> int:
    """Return the rows of a forward pass, from the runtime or from the memory, and say how the run is cut; the longest
    prompt has `longest` tokens."""
    tokens, ranks = longest + recipe.max_completion_tokens, world().size
    runtime, beside = work.runtime, memory.trained_bytes(model) * (4 if recipe.kl_weight else 3) // 3
    twice = memory.compute_twice_if_asked(model, runtime, tokens, beside=beside)
    by_tokens = max(1, runtime.micro_tokens // tokens) if runtime.micro_tokens else None
    fit = runtime.micro_batch or by_tokens or memory.rows_that_fit(model, tokens, beside=beside)
    micro = micro_rows(recipe.step_rows // ranks, fit)
    rollout = recipe.prompts_per_step * recipe.minibatches
    each = f" in each of {ranks} processes" if ranks > 1 else ""
    work.emit(
        "note",
        text=f"a rollout asks {rollout} prompts {recipe.group_size} times and is trained on in {recipe.minibatches} "
        f"steps of {recipe.step_rows} rows, {micro} at once{each}{twice}",
    )
    return micro


def common_arguments(
    asked: Optimizer | Tuning, *, folder: Path, seed: int, save_steps: int, cpu: bool
) -> dict[str, Any]:
    """Return what all trainings tell transformers alike: AdamW as `asked`, checkpoints into `folder`, every step
    logged to nobody, and a loader that serves numbers. Raises MissingError for an optimizer that cannot work here."""
    refuse_optimizer(asked.optimizer, cpu=cpu)
    return {
        "output_dir": str(folder),
        "learning_rate": asked.learning_rate,
        **schedule(asked),
        "warmup_steps": asked.warmup_steps,
        "adam_beta1": asked.adam_betas[0],
        "adam_beta2": asked.adam_betas[1],
        "weight_decay": asked.weight_decay,
        "max_grad_norm": asked.max_grad_norm or 0.0,
        "optim": OPTIMIZERS[asked.optimizer],
        "optim_args": None if asked.weights == "float32" else asked.weights,
        "gradient_checkpointing": False,
        "bf16": asked.dtype == "bfloat16",
        "use_cpu": cpu,
        "seed": seed % 2**32,
        "save_strategy": "steps",
        "save_steps": save_steps,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "report_to": "none",
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": False,
    }


def refuse_optimizer(name: str, *, cpu: bool) -> None:
    """Raise MissingError for an optimizer of bitsandbytes where there is no GPU, or no bitsandbytes."""
    if "bit" not in name and "paged" not in name:
        return
    if cpu or importlib.util.find_spec("bitsandbytes") is None:
        what = "works on a GPU alone" if cpu else "needs the package bitsandbytes, which is not here"
        way = "use `optimizer=adamw`, or `optimizer=adafactor` for less memory"
        raise MissingError(f"the optimizer `{name}` {what}", hint=way if cpu else f"pip install bitsandbytes, or {way}")


def schedule(asked: Optimizer | Tuning) -> dict[str, Any]:
    """Return how the learning rate goes on after the warmup, in transformers' words."""
    if asked.lr_schedule == "constant":
        return {"lr_scheduler_type": "constant_with_warmup"}
    if isinstance(asked, Tuning):
        share = {"min_lr_rate": asked.min_lr_share}
        return {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": share}
    return {"lr_scheduler_type": asked.lr_schedule}


def save_steps(steps: int, work: Work) -> int:
    """Return the steps between checkpoints: the runtime's, or a tenth of the run."""
    return work.runtime.checkpoint_every or math.ceil(steps / CHECKPOINTS)


def configuration(
    recipe: Reinforcement, *, folder: Path, seed: int, micro: int, save_steps: int, cpu: bool
) -> TrainingArguments:
    """Translate what reinforcement learning asks for into transformers' words; `micro` must divide a step's rows."""
    return TrainingArguments(
        **common_arguments(recipe, folder=folder, seed=seed, save_steps=save_steps, cpu=cpu),
        max_steps=recipe.steps,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=recipe.step_rows // micro // world().size,
    )
