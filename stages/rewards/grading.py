"""Judge completions as a run judges them: by its rewards, and by those that everything is measured by.

RL, its validation, `r1 sample` and `r1 eval` all judge here, in one call for a batch, so that no answer is judged twice
and no program's tests run twice.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stages.core.contract import Contract
from stages.core.judged import Judged, Verdict, decoded
from stages.core.rows import Prompt
from stages.core.sampling import Completion
from stages.rewards.registry import MEASURED
from stages.rewards.scoring import Counted, Scorer, applies, score
from stages.rewards.verdict import shorten


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

    def grade(self, completions: Sequence[Completion], rows: Sequence[Prompt], tokenizer: Any) -> list[Judged]:
        """Return each completion in words with its verdicts; `rows[i]` is the problem of `completions[i]`.

        No reward judges a completion that the engine failed: each that applies says None and the failure.
        """
        texts = [decoded(one, self.contract, tokenizer) for one in completions]
        asked = [*zip(texts, completions, rows, strict=True)]
        whole = [(Counted(text, one.length), row) for text, one, row in asked if not one.failed]
        found = iter(self.verdicts([text for text, _ in whole], [row for _, row in whole]))
        return [
            Judged(row, one, text, self._failed(one, row) if one.failed else next(found)) for text, one, row in asked
        ]

    def verdicts(self, completions: Sequence[str], rows: Sequence[Prompt]) -> list[dict[str, Verdict]]:
        """Return for each completion the verdicts of the recipe's rewards, of the judges and of MEASURED, where they
        apply; `rows[i]` is the problem of `completions[i]`. Raises as `scoring.score`."""
        return score(completions, rows, self.contract, self._names, self.judges, self.options)

    @property
    def _names(self) -> dict[str, float]:
        return dict.fromkeys((*self.rewards, *self.judges, *MEASURED), 1.0)

    def _failed(self, completion: Completion, row: Prompt) -> dict[str, Verdict]:
        said = Verdict(None, shorten(f"the engine: {completion.fault or completion.finish}", 190))
        return {name: said for name in self._names if applies(name, row)}
