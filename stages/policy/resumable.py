"""Whole checkpoints: a mixin that enters a class before one of TRL's trainers leaves a trainer that resumes exactly.

TRL's trainers write their checkpoints in place, file by file, and forget what is theirs alone. With this in front of
them a checkpoint is a draft that is sealed when whole (see `checkpoint`), carries the trainer's own figures, and is
refused when it lacks weights. TRL's telemetry and model cards are left out. What else every trainer of the house does
alike is here too: it is told of the ends of its steps, refuses a gradient that is no number, and goes on where it was.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader, SequentialSampler
from transformers import Trainer, TrainerCallback

from stages.core.errors import StageError
from stages.policy.checkpoint import Checkpoints

if TYPE_CHECKING:
    from stages.core.runner import Work

CARRIED_FILE = "carried.json"


class WholeCheckpoints:
    """Mixin: `checkpoints` says where, and `carried`, a plain dict, is what a checkpoint holds besides the trainer's
    files. Both are set before the trainer's own `__init__`; `args.output_dir` is `checkpoints.fresh_draft()`.
    """

    checkpoints: Checkpoints
    carried: dict[str, Any]
    args: Any
    state: Any
    model: Any

    def _send_telemetry(self) -> None:
        """Send nothing: TRL reports each run to a hub by default."""

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Let transformers write its files into a draft, add what it forgets, and seal the whole."""
        # Past TRL's own version, which writes a model card first.
        Trainer._save_checkpoint(self, model, trial)
        draft = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        self._save_carried(draft)
        self.checkpoints.seal(draft, self.state.global_step)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Load what `_save_checkpoint` added too."""
        super()._load_optimizer_and_scheduler(checkpoint)  # type: ignore[misc]
        if checkpoint is not None:
            self._load_carried(Path(checkpoint))

    def _numbers(self, count: int) -> DataLoader:
        """Serve 0, 1, 2 … below `count` in order, the way transformers serves rows: what each trains on is made from
        its number, so a resumed run just starts further on."""
        make: Any = self._get_dataloader  # type: ignore[attr-defined]
        return make(range(count), "Training", 1, sampler_fn=SequentialSampler, is_training=True)

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """Refuse a checkpoint that lacks weights or holds strange ones; tied weights are stored once."""
        missing = set(load_result.missing_keys) - set(self.model.all_tied_weights_keys)
        strange = set(load_result.unexpected_keys)
        if missing or strange:
            raise StageError(
                f"the checkpoint does not fit the model: {', '.join(sorted(missing | strange))}",
                hint="remove the unfinished work and start afresh: `r1 artifacts prune`",
            )

    def _save_carried(self, folder: Path) -> None:
        (folder / CARRIED_FILE).write_text(json.dumps(self.carried), encoding="utf-8")

    def _load_carried(self, folder: Path) -> None:
        self.carried = json.loads((folder / CARRIED_FILE).read_text(encoding="utf-8"))

    # ---- the ends of a step: a trainer says what it does there ----

    def begin_step(self) -> None:
        """The first pass of a step is next."""

    def close_step(self, logs: dict[str, float]) -> None:
        """An update just ended, and its checkpoint is not written yet; `logs` are the trainer's own."""
        raise NotImplementedError


class StepEnds(TrainerCallback):  # type: ignore[misc]
    """Tells a trainer of the ends of its steps; `on_log` comes after the update and before its checkpoint."""

    def __init__(self, trainer: WholeCheckpoints) -> None:
        self.trainer = trainer

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.trainer.begin_step()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        if logs and "grad_norm" in logs:  # the summary at the end has none
            self.trainer.close_step(logs)


def refuse_no_number(step: int, *values: float) -> None:
    """Raise StageError when a gradient's norm, or another figure of the update `step`, is not finite."""
    if not all(map(math.isfinite, values)):
        raise StageError(
            f"the gradient of step {step} is not a number", hint="lower the learning rate: `recipe.learning_rate=…`"
        )


def train(trainer: Any, work: Work) -> None:
    """Train from the newest whole checkpoint of `trainer.checkpoints`, or from the start, and say which."""
    resumed = trainer.checkpoints.latest(lambda said: work.emit("warning", text=said))
    if resumed is not None:
        work.emit("note", text=f"resumed from {resumed.name}")
    trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
