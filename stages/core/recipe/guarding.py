"""What a recipe of reinforcement learning asks of its guards, and which completions it learns from.

A part like those in `parts.py`; each of its keys came later.
"""

from __future__ import annotations

from dataclasses import dataclass

from stages.core.fingerprint import later
from stages.core.recipe.ranges import Rule, at_least


@dataclass(frozen=True, kw_only=True)
class Guarding:
    """When a run gives up, and what it leaves out."""

    stop_on_alarm: bool = later(False)
    """Stop at the first alarm (docs/rl.md lists them) and seal the weights of before the steps that raised it, or with
    `keep` best those of the best validation; false = tell it and go on.
    """
    refill: int = later(0)
    """Dynamic sampling (DAPO, arXiv 2503.14476 §3.2): times that a rollout replaces its groups whose rewards are all
    equal by groups of further prompts, 0 or more; 0 = never. What is drawn and not trained on is counted.
    """
    mask_truncated: bool = later(False)
    """Leave completions that the limit cut out of the loss (DAPO §3.4, overlong filtering); they stay in their group's
    mean. Punish length softly instead with the reward `soft_overlong`.
    """
    pass_rates: tuple[float, float] = later((0.0, 1.0))
    """With inputs.difficulty: prompts whose share of paid samples lies in this range are practised on, its ends
    included; [0.1, 0.9] leaves out what is never solved and what always is.
    """

    def rules(self) -> list[Rule]:
        """Ranges of these keys."""
        low, high = self.pass_rates
        fits = 0 <= low <= high <= 1
        return [*at_least(self, 0, "refill"), Rule("pass_rates", fits, "two numbers in [0, 1], the lower first")]
