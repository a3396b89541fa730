"""The soft overlong reward: a completion and its length enter; 1, or less near the limit, leaves.

DAPO's soft overlong punishment (arXiv 2503.14476, eq. 13) tells a completion that it is getting too long before it is
cut off, so that a sound chain of thought is not punished for its length alone. The equation gives 0 to -1; here 1 is
added, which no advantage within a group can see.
"""

from __future__ import annotations

from stages.core.contract import Contract
from stages.core.rows import Prompt
from stages.rewards.declared import Reward
from stages.rewards.verdict import Example, Verdict, length_of


@Reward(
    "soft_overlong",
    pays="stays clear of the length limit (DAPO, eq. 13)",
    values="0 to 1",
    trials=("hacks.form:BRIEF",),
)
def reward(
    completion: str,
    row: Prompt,
    contract: Contract,
    *,
    tokens: int | None = None,
    max_length: int = 20480,
    cache: int = 4096,
) -> Verdict:
    """Return 1 up to `max_length - cache` tokens, 0 above `max_length`, and a straight line between.

    Lengths are in tokens, or in characters where nobody counted tokens. The defaults are DAPO's. Set `max_length` to
    the limit of the recipe. Raises ValueError unless 1 <= cache <= max_length.
    """
    if not 1 <= cache <= max_length:
        raise ValueError("`cache` must be 1 or more and at most `max_length`")
    length, unit = length_of(completion, tokens)
    if length > max_length:
        return Verdict(0.0, f"{length} {unit}, over {max_length}")
    left = (max_length - length) / cache
    return Verdict(min(1.0, left), f"{length} {unit} of {max_length}, punished from {max_length - cache}")


_SMALL = {"max_length": 100, "cache": 20}

EXAMPLES = (
    Example("x", {}, 1.0, "short", options={**_SMALL, "tokens": 80}),
    Example("x", {}, 0.5, "half way through the cache", options={**_SMALL, "tokens": 90}),
    Example("x", {}, 0.0, "at the limit", options={**_SMALL, "tokens": 100}),
    Example("x", {}, 0.0, "over it", options={**_SMALL, "tokens": 5000}),
    Example("x" * 95, {}, 0.25, "characters where no tokens were counted", options=_SMALL),
    Example("", {}, 1.0, "nothing at all"),
)
