"""What a training run tells: figures enter as they are made; events and kept completions leave.

The trainer knows nothing of files and events, and the stage nothing of steps; this stands between them.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

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
ALARMS = (
    ("truncated", 0.3, "completions are cut before their answer: raise `max_completion_tokens`"),
    ("flat_groups", 0.999, "no group holds better and worse answers, so nothing is learned: take other prompts"),
    ("failed", 0.0, "the engine failed some completions: no reward judges them, and they teach nothing"),
    ("unjudged", 0.1, "the rewards could not judge so many completions: the reasons are in completions/"),
    ("sampler_mismatch", 0.01, "nats a token between sampler and trainer: use one number type for both"),
)
"""Figures of a rollout, the value above which they are worth a warning, and what to do."""
QUIET = 2.0
"""Seconds between signs of life while a rollout is sampled."""


class MetricsLogger(StepLogger):
    """What training tells, as events and files."""

    def __init__(self, recipe: Reinforcement, work: Work, engine: Engine) -> None:
        super().__init__(work, LIVE)
        self.recipe, self.engine = recipe, engine
        self._told = 0.0
        self._warned: set[str] = set()

    def on_sampling(self, step: int, done: int, asked: int) -> None:
        """Show that a long rollout moves, at most every two seconds."""
        if time.monotonic() - self._told > QUIET:
            self._told = time.monotonic()
            shown = {"completions": float(done), "of": float(asked)}
            self.work.emit("progress", done=step, total=self.recipe.steps, unit="steps", figures=shown)

    def on_rollout(self, rollout: Rollout, kept: list[LoggedCompletion]) -> None:
        """Keep some answers to look at, and warn once of each thing that makes learning impossible."""
        folder = self.work.path / "completions"
        folder.mkdir(exist_ok=True)
        lines = [json.dumps(one.row(self.recipe.rewards), ensure_ascii=False) + "\n" for one in kept]
        (folder / f"rollout-{rollout.number + 1:05d}.jsonl").write_text("".join(lines), encoding="utf-8")
        for text in self.engine.notes:
            self.work.emit("warning", text=text)
        self.engine.notes.clear()
        for name, limit, advice in ALARMS:
            if rollout.facts.get(name, 0.0) > limit and name not in self._warned:
                self._warned.add(name)
                self.work.emit(
                    "warning", text=f"rollout {rollout.number + 1}: {name} is {rollout.facts[name]:.3g}: {advice}"
                )

    def on_validation(self, step: int, figures: dict[str, float]) -> None:
        """Report a validation."""
        self.work.emit("eval", step=step, **figures)
