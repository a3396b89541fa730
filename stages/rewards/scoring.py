"""Score a batch: completions and their rows enter, one verdict per completion and reward that applies to it leaves.

Inside a batch a failure is a value: a reward that raises gives None with the reason, and training goes on without
that sample. A reward that does not apply to a row is no failure: it says nothing there and adds nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

from stages.core.contract import Contract
from stages.core.rows import JUDGES, Prompt
from stages.rewards.registry import Reward, load, verdict_of
from stages.rewards.verdict import Verdict

GOLD = ("accuracy", "strict")
"""Rewards that compare with a gold answer, which a general prompt does not have."""


class Scorer(Protocol):
    """A learned judge in use; what of a completion it looks at is its own business."""

    def __call__(self, problems: list[str], completions: list[str], /) -> list[float]:
        """Return one score from 0 to 1 for each completion, in order; NaN where it could not judge."""


def applies(name: str, row: Prompt) -> bool:
    """Say whether a reward judges this kind of row: a learned judge the general prompts that name it (R1 v2, §3.1),
    accuracy and strict all but general prompts, any other reward every row."""
    if name in JUDGES:
        return row.verifier == name
    return name not in GOLD or row.verifier not in JUDGES


def score(
    completions: Sequence[str],
    rows: Sequence[Prompt],
    contract: Contract,
    rewards: Mapping[str, float],
    judges: Mapping[str, Scorer] | None = None,
) -> list[dict[str, Verdict]]:
    """Return one {reward name: Verdict} per completion, in order; `rows[i]` is the problem of `completions[i]`.

    A reward that does not apply to a row (see `applies`) is left out of its dict. `rewards` maps names to weights; the
    weights play no part here (see `total`). `judges` holds the learned ones by name; each is asked once, about the rows
    it applies to, and not at all where there are none. Raises RecipeError for an unknown reward and for a judge that
    is not given, ValueError when the lengths differ.
    """
    given = judges or {}
    functions = {name: load(name) for name in rewards if name not in given}
    learned = {name: iter(_ask(name, given[name], completions, rows)) for name in rewards if name in given}
    return [
        {
            name: next(learned[name]) if name in learned else _call(functions[name], completion, row, contract)
            for name in rewards
            if applies(name, row)
        }
        for completion, row in zip(completions, rows, strict=True)
    ]


def total(verdicts: Mapping[str, Verdict], rewards: Mapping[str, float]) -> float | None:
    """Return the weighted sum of a completion's verdicts, or None when a reward with a weight could not judge it.

    A reward that did not apply to it, and so has no verdict, adds 0.
    """
    values = [(verdicts[name].value, weight) for name, weight in rewards.items() if weight and name in verdicts]
    if any(value is None for value, _ in values):
        return None
    return math.fsum(value * weight for value, weight in values if value is not None)


def _call(function: Reward, completion: str, row: Prompt, contract: Contract) -> Verdict:
    try:
        return verdict_of(function(completion, row, contract))
    except Exception as error:  # noqa: BLE001  a user's reward may raise anything; its sample is what it costs
        return Verdict(None, f"the reward raised {type(error).__name__}: {error}"[:200])


def _ask(name: str, judge: Scorer, completions: Sequence[str], rows: Sequence[Prompt]) -> list[Verdict]:
    """Return a judge's verdicts on the completions it applies to, in order."""
    pairs = [(row.problem, one) for one, row in zip(completions, rows, strict=True) if applies(name, row)]
    if not pairs:
        return []
    scores = judge([problem for problem, _ in pairs], [completion for _, completion in pairs])
    return [_heard(name, value) for _, value in zip(pairs, scores, strict=True)]


def _heard(name: str, value: float) -> Verdict:
    if math.isnan(value):
        return Verdict(None, f"the {name} judge could not judge")
    return verdict_of(Verdict(value, f"the {name} judge says {value:.3f}"))
