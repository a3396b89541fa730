"""Whole checkpoints: a mixin that enters a class before one of TRL's trainers leaves a trainer that resumes exactly.

TRL's trainers write their checkpoints in place, file by file, and forget what is theirs alone. With this in front of
them a checkpoint is a draft that is sealed when whole (see `checkpoint`), carries the trainer's own figures, and is
refused when it lacks weights. TRL's telemetry and model cards are left out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import Trainer

from stages.core.errors import StageError
from stages.policy.checkpoint import Checkpoints

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
        (draft / CARRIED_FILE).write_text(json.dumps(self.carried), encoding="utf-8")
        self.checkpoints.seal(draft, self.state.global_step)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Load what `_save_checkpoint` added too."""
        super()._load_optimizer_and_scheduler(checkpoint)  # type: ignore[misc]
        if checkpoint is not None:
            self.carried = json.loads((Path(checkpoint) / CARRIED_FILE).read_text(encoding="utf-8"))

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """Refuse a checkpoint that lacks weights or holds strange ones; tied weights are stored once."""
        missing = set(load_result.missing_keys) - set(self.model.all_tied_weights_keys)
        strange = set(load_result.unexpected_keys)
        if missing or strange:
            raise StageError(
                f"the checkpoint does not fit the model: {', '.join(sorted(missing | strange))}",
                hint="remove the unfinished work and start afresh: `r1 artifacts prune`",
            )
