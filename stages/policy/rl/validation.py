"""A small validation during training, on problems held out, and the best weights so far.

A policy and its step enter; the means of its verdicts leave. The same seed is used at every step, so two steps are
compared under the same draws. The curve is for watching and for choosing weights; the figures to quote come from `r1
eval`, on problems that chose nothing.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.core.contract import Contract
from stages.core.rows import Prompt
from stages.core.sampling import Engine, Sampling
from stages.policy.engines.client import Prompted, answered, in_order, requests
from stages.policy.models.weights import Policy
from stages.policy.ranks.world import world
from stages.policy.rl.rollout import measured
from stages.policy.training.checkpoint import Checkpoints, folder_fault, step_of
from stages.rewards.grading import Grader
from stages.rewards.scoring import Scorer

WEIGHTS = "weights.safetensors"


@dataclass(frozen=True, kw_only=True)
class ValidationRun:
    """The problems a policy is validated on and how often each is asked, at temperature 1."""

    rows: Sequence[Prompt]
    prompt_ids: Sequence[list[int]]
    tokenizer: Any
    contract: Contract
    samples: int
    seed: int
    judges: Mapping[str, Scorer] = field(default_factory=dict)
    """Reward name -> the learned judge of the general prompts among the problems."""
    reward_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What the recipe sets of rewards that programs are measured by, such as `code`'s limits."""

    def run(
        self, engine: Engine, max_tokens: int, on_progress: Callable[[int, int], None] | None = None
    ) -> dict[str, float]:
        """Return means over problems and samples, as `rollout.measured` describes them: `strict` (pass@1 of the tagged
        answer in the strict format), `accuracy` (in any format), `format`, `length` in tokens, `language`, `reflective`
        and others, and `strict_<family>` for each family that a rule judges."""
        prompts = {row.id: Prompted.of(ids) for row, ids in zip(self.rows, self.prompt_ids, strict=True)}
        sampling = Sampling(temperature=1.0, max_tokens=max_tokens)
        asked = requests(self.rows, prompts, self.samples, sampling, self.seed)
        rows = [row for row in self.rows for _ in range(self.samples)]
        known = world()
        mine = known.share(asked)
        completions = in_order(mine, answered(engine, mine), on_progress)
        grader = Grader(contract=self.contract, judges=self.judges, options=self.reward_options)
        scored = known.joined(grader.grade(completions, known.share(rows), self.tokenizer))
        by_family: dict[str, list[float]] = defaultdict(list)
        for row, one in zip(rows, scored, strict=True):
            if row.family and "strict" in one.verdicts and not one.failed:
                by_family[row.family].append(one.value("strict"))
        families = {f"strict_{name}": sum(values) / len(values) for name, values in sorted(by_family.items())}
        return measured(scored, self.contract) | families


@dataclass(frozen=True, kw_only=True)
class ValidationPlan:
    """When a policy in training is validated, and where its best weights are kept."""

    validation: ValidationRun
    every: int
    """Steps between validations, besides the first and the last; 1 or more."""
    best: BestWeights | None
    """None: no weights but the last are wanted."""

    def due(self, step: int, steps: int) -> bool:
        """Whether a run of `steps` steps is validated after `step` of them."""
        return step % self.every == 0 or step == steps


class BestWeights:
    """The best weights so far, on disk; which they are is remembered by the trainer's checkpoints."""

    def __init__(self, folder: Path) -> None:
        self.folders = Checkpoints(folder)

    def keep(self, policy: Policy, step: int) -> None:
        """Write the weights of `step`, whole or not at all; of several processes the first does."""
        draft = self.folders.fresh_draft()
        policy.snapshot(draft / WEIGHTS)
        if world().first:
            self.folders.seal(draft, step)

    def drop_after(self, step: int) -> None:
        """Remove the weights of later steps: a run that goes on from `step` has not reached them."""
        for path in self.folders.whole():
            if step_of(path) > step:
                shutil.rmtree(path)

    def restore(self, policy: Policy, step: int) -> bool:
        """Load the weights of `step` into `policy`; False when they are not there whole, and the policy as it was."""
        folder = next((path for path in self.folders.whole() if path.name == f"step-{step:06d}"), None)
        if folder is None or folder_fault(folder):
            return False
        policy.restore(folder / WEIGHTS)
        return True
