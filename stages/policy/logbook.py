"""What a training run tells: figures enter as they are made; events, kept completions and the best weights leave.

The trainer knows nothing of files and events, and the stage nothing of steps; this stands between them.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from stages.core.errors import StageError
from stages.policy.rollout import Kept, Rollout
from stages.policy.validation import Best, Examination

if TYPE_CHECKING:
    from stages.core.parts import Reinforcement, RewardPlan
    from stages.core.runner import Work
    from stages.policy.grpo import PolicyTrainer

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
    ("unjudged", 0.1, "the rewards could not judge so many completions: the reasons are in completions/"),
    ("logprob_gap", 0.01, "sampler and trainer disagree on log-probabilities: use one number type for both"),
)
"""Figures of a rollout, the value above which they are worth a warning, and what to do."""
QUIET = 2.0
"""Seconds between signs of life while a rollout is sampled."""


class Logbook:
    """What training tells, as events and files, and the examinations it stops for."""

    def __init__(self, recipe: Reinforcement, work: Work, examination: Examination | None, best: Best) -> None:
        self.recipe = recipe
        self.work = work
        self.examination = examination
        self.best = best
        self._told = 0.0
        self._warned: set[str] = set()

    def begun(self, trainer: PolicyTrainer) -> None:
        """Examine the base before its first step; a resumed run has done so."""
        if trainer.state.global_step == 0:
            self._examine(trainer, 0)

    def sampling(self, step: int, done: int, asked: int) -> None:
        """Show that a long rollout moves, at most every two seconds."""
        if time.monotonic() - self._told > QUIET:
            self._told = time.monotonic()
            self._progress(step, {"completions": float(done), "of": float(asked)})

    def rolled(self, rollout: Rollout, kept: list[Kept]) -> None:
        """Keep some answers to look at, and warn once of each thing that makes learning impossible."""
        folder = self.work.path / "completions"
        folder.mkdir(exist_ok=True)
        lines = [json.dumps(shown(one, self.recipe), ensure_ascii=False) + "\n" for one in kept]
        (folder / f"rollout-{rollout.number + 1:05d}.jsonl").write_text("".join(lines), encoding="utf-8")
        for name, limit, advice in ALARMS:
            if rollout.facts.get(name, 0.0) > limit and name not in self._warned:
                self._warned.add(name)
                self.work.emit(
                    "warning", text=f"rollout {rollout.number + 1}: {name} is {rollout.facts[name]:.3g}: {advice}"
                )

    def stepped(self, trainer: PolicyTrainer, step: int, figures: dict[str, Any]) -> None:
        """Report a step, examine when it is time, and remember for the record what the step came to."""
        if step % self.work.runtime.log_every == 0 or step == self.recipe.steps:
            self.work.emit("step", step=step, **figures)
        self._progress(step, {name: figures[name] for name in LIVE if name in figures})
        trainer.carried["last"] = {name: figures[name] for name in RECORDED if name in figures}
        self._count(trainer, step, figures)
        if self.recipe.eval_every and (step % self.recipe.eval_every == 0 or step == self.recipe.steps):
            self._examine(trainer, step)

    def _examine(self, trainer: PolicyTrainer, step: int) -> None:
        if self.examination is None:
            return
        with trainer.accelerator.autocast():
            figures = self.examination.sit(trainer.model, trainer.asker.max_tokens(step))
        self.work.emit("eval", step=step, **figures)
        carried = trainer.carried
        carried.setdefault("before", figures)
        if "best" not in carried or figures["strict"] >= carried["best"]["strict"]:
            carried["best"] = {"step": step, **figures}
            if self.recipe.keep == "best":
                self.best.keep(trainer.policy, step)

    def _count(self, trainer: PolicyTrainer, step: int, figures: dict[str, Any]) -> None:
        """Add up the floating-point operations, and note how reflective each rollout was.

        2 N D for sampling and 6 N D for updates (arXiv 2001.08361, §2.1): N parameters, D tokens that were read. Taking
        log-probabilities again, the reference's and examinations are not in it.
        """
        rollout, size, carried = trainer.rollout, trainer.sizes, trainer.carried
        if rollout is None:
            raise StageError("a step ended before its rollout began")
        flops = carried.setdefault("flops", {"sampling": 0, "update": 0})
        place = (step - 1) % size.minibatches
        if place == 0:
            flops["sampling"] += 2 * trainer.policy.parameters * rollout.processed(range(size.rollout))
            carried.setdefault("reflective", []).append([step, figures["reflective"]])
        trained = sum(one.numel() for group in trainer.optimizer.param_groups for one in group["params"])
        flops["update"] += 6 * trained * rollout.processed(range(place * size.step, (place + 1) * size.step))

    def _progress(self, step: int, figures: dict[str, float]) -> None:
        self.work.emit("progress", done=step, total=self.recipe.steps, unit="steps", figures=figures)


def shown(kept: Kept, recipe: RewardPlan) -> dict[str, Any]:
    """Return a kept answer as a row of JSON: what was asked and written, what each reward that applies said and why."""
    answer = kept.answer
    verdicts = {name: answer.scored.verdicts[name] for name in recipe.rewards if name in answer.scored.verdicts}
    return {
        "id": answer.prompt.id,
        "problem": answer.prompt.problem,
        "gold": answer.prompt.answer,
        "completion": answer.scored.text,
        "rewards": {name: verdict.value for name, verdict in verdicts.items()},
        "reasons": {name: verdict.reason for name, verdict in verdicts.items()},
        "advantage": kept.advantage,
        "tokens": len(answer.completion.ids),
        "truncated": answer.completion.truncated,
    }
