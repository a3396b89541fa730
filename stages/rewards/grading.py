"""Judge completions as a run judges them: by its rewards, and by those that everything is measured by.

RL, its validation, `r1 sample` and `r1 eval` all judge here, in one call for a batch, so that no answer is judged twice
and no program's tests run twice.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stages.core.contract import Contract
from stages.core.rows import Prompt
from stages.rewards.registry import MEASURED
from stages.rewards.scoring import Scorer, score
from stages.rewards.verdict import Verdict


@dataclass(frozen=True, kw_only=True)
class Grader:
    """What completions of a run are judged by."""

    contract: Contract
    """How they were asked."""
    rewards: Collection[str] = ()
    """The rewards that the recipe names."""
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Reward name -> its options, as in a recipe's `reward_options`."""
    judges: Mapping[str, Scorer] = field(default_factory=dict)
    """Reward name -> the learned judge that gives it."""

    def verdicts(self, completions: Sequence[str], rows: Sequence[Prompt]) -> list[dict[str, Verdict]]:
        """Return for each completion the verdicts of the recipe's rewards, of the judges and of MEASURED, where they
        apply; `rows[i]` is the problem of `completions[i]`. Raises as `scoring.score`."""
        names = dict.fromkeys((*self.rewards, *self.judges, *MEASURED), 1.0)
        return score(completions, rows, self.contract, names, self.judges, self.options)
