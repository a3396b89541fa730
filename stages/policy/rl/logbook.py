"""What a training run tells: figures enter as they are made; events and kept completions leave.

The trainer knows nothing of files and events, and the stage nothing of steps; this stands between them.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

from stages.core.guard.watch import Alarm
from stages.core.sampling import Engine
from stages.policy.rl.rollout import LoggedCompletion, Rollout
from stages.policy.training.steps import StepLogger

if TYPE_CHECKING:
    from stages.core.recipe.parts import Reinforcement
    from stages.core.run.runner import Work

LIVE = ("reward", "accuracy", "format", "length", "kl", "entropy")
"""Figures of a step that its progress event repeats."""
RECORDED = (
    *("reward", "accuracy", "format", "length", "truncated", "flat_groups", "mixed", "explained_variance"),
    *("language", "reflective", "judges"),
)
"""Figures of the last step that go into the artifact's record, where it has them."""
QUIET = 2.0
"""Seconds between signs of life while a rollout is sampled."""


class MetricsLogger(StepLogger):
    """What training tells, as events and files."""

    def __init__(self, recipe: Reinforcement, work: Work, engine: Engine) -> None:
        super().__init__(work, LIVE)
        self.recipe, self.engine = recipe, engine
        self._told = 0.0

    def on_sampling(self, step: int, done: int, asked: int) -> None:
        """Show that a long rollout moves, at most every two seconds."""
        if time.monotonic() - self._told > QUIET:
            self._told = time.monotonic()
            shown = {"completions": float(done), "of": float(asked)}
            self.work.emit("progress", done=step, total=self.recipe.steps, unit="steps", figures=shown)

    def on_rollout(self, rollout: Rollout, kept: list[LoggedCompletion]) -> None:
        """Keep some answers to look at, and tell what the engine has to say."""
        folder = self.work.path / "completions"
        folder.mkdir(exist_ok=True)
        lines = [json.dumps(one.row(self.recipe.rewards), ensure_ascii=False) + "\n" for one in kept]
        (folder / f"rollout-{rollout.number + 1:05d}.jsonl").write_text("".join(lines), encoding="utf-8")
        for text in self.engine.notes:
            self.work.emit("warning", text=text)
        self.engine.notes.clear()

    def on_validation(self, step: int, figures: dict[str, float]) -> None:
        """Report a validation."""
        self.work.emit("eval", step=step, **figures)

    def on_alarm(self, step: int, alarm: Alarm) -> None:
        """Report an alarm."""
        self.work.emit("alarm", step=step, text=f"step {step}: {alarm.said()}", **asdict(alarm))
