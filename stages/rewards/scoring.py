"""Score a batch: completions and their rows enter, one verdict per completion and reward leaves.

Inside a batch a failure is a value: a reward that raises gives None with the reason, and training goes on without
that sample.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from stages.core.contract import Contract
from stages.core.rows import Prompt
from stages.rewards.registry import Reward, load, verdict_of
from stages.rewards.verdict import Verdict


def score(
    completions: Sequence[str], rows: Sequence[Prompt], contract: Contract, rewards: Mapping[str, float]
) -> list[dict[str, Verdict]]:
    """Return one {reward name: Verdict} per completion, in order; `rows[i]` is the problem of `completions[i]`.

    `rewards` maps names to weights; the weights play no part here (see `total`). Raises RecipeError for an unknown
    reward and ValueError when the lengths differ.
    """
    functions = {name: load(name) for name in rewards}
    return [
        {name: _call(function, completion, row, contract) for name, function in functions.items()}
        for completion, row in zip(completions, rows, strict=True)
    ]


def total(verdicts: Mapping[str, Verdict], rewards: Mapping[str, float]) -> float | None:
    """Return the weighted sum of a completion's verdicts, or None when a reward with a weight could not judge it."""
    values = [(verdicts[name].value, weight) for name, weight in rewards.items() if weight]
    if any(value is None for value, _ in values):
        return None
    return math.fsum(value * weight for value, weight in values if value is not None)


def _call(function: Reward, completion: str, row: Prompt, contract: Contract) -> Verdict:
    try:
        return verdict_of(function(completion, row, contract))
    except Exception as error:  # noqa: BLE001  a user's reward may raise anything; its sample is what it costs
        return Verdict(None, f"the reward raised {type(error).__name__}: {error}"[:200])
