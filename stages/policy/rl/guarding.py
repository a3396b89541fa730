"""The watch over a policy in training: its steps' figures enter, alarms and, where asked, the end of the run leave.

What is healthy is said in `stages/core/guard/watch.py`, without a trainer; here it is remembered in checkpoints, told,
and acted on. A run that shall stop at an alarm keeps its weights every so many steps, so that those of before the
trouble are still there when it shows.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from stages.core.errors import StageError
from stages.core.guard.watch import Alarm, Asked, Memory
from stages.policy.rl.validation import BestWeights
from stages.policy.training.checkpoint import step_of


class Guard:
    """Watches one run; a `trainer` is a `PolicyTrainer`."""

    def __init__(self, recipe: Any, folder: Path) -> None:
        self.asked = Asked.of(recipe)
        self.good = BestWeights(folder) if recipe.stop_on_alarm else None
        """Weights of before an alarm, where the run stops at one."""

    def begin(self, trainer: Any) -> None:
        """Keep the weights that a run starts with; of a resumed one let go of those it has yet to reach."""
        step = trainer.state.global_step
        if self.good is not None and trainer.world.first:
            self.good.drop_after(step)
        if step == 0:
            self._keep(trainer, 0)

    def look(self, trainer: Any) -> None:
        """Take in the figures of the step that just ended, tell its alarms, and end the run where it shall."""
        state, step = trainer.run_state, trainer.state.global_step
        memory, fresh = Memory(**state.watch).after(step, state.last, self.asked)
        state.watch = asdict(memory)
        for alarm in fresh:
            trainer.callback.on_alarm(step, alarm)
        if fresh and self.good is not None and step < trainer.args.max_steps:
            self._stop(trainer, step, fresh[0])
        elif step % self.asked.window == 0 and not memory.active:
            self._keep(trainer, step)

    def _stop(self, trainer: Any, step: int, alarm: Alarm) -> None:
        state = trainer.run_state
        state.stopped_by = alarm.kind
        state.good_step = trainer.world.gather(self._good_step(step))[0]
        trainer.control.should_training_stop = trainer.control.should_save = True
        plan = trainer.validation
        best = state.best_step if plan is not None and plan.best is not None else None
        if state.good_step == 0 and best in (None, 0):
            raise StageError(
                f"stopped at step {step}, before any step that was healthy: {alarm.cause}",
                hint=f"{alarm.change}; `stop_on_alarm=false` only tells",
            )

    def _good_step(self, step: int) -> int:
        """The newest step whose weights are kept and that lies before the steps that raised an alarm."""
        kept = [step_of(path) for path in self.good.folders.whole()] if self.good else []
        return next((one for one in kept if one <= step - self.asked.window), 0)

    def _keep(self, trainer: Any, step: int) -> None:
        if self.good is not None:
            self.good.keep(trainer.policy, step)
