"""The length reward, for one ablation: a completion enters; how much was written leaves, from 0 to 1.

R1 has no such reward: its completions grow without (arXiv 2501.12948v2, §2.3), and this is what that is compared with.
Longer is better up to LIMIT characters, whatever they say, so it is earned by padding as well as by thought.
"""

from __future__ import annotations

from stages.core.contract import Contract
from stages.core.rows import Prompt
from stages.core.text import visible
from stages.rewards.declared import Reward
from stages.rewards.verdict import Example, Verdict

LIMIT = 400
"""Characters from which on the reward is full, blanks left out: more than the embedded models write in 96 tokens."""


@Reward("length", pays="characters written, up to a limit (an ablation)", values="0 to 1", trials=("hacks.form:LONG",))
def reward(completion: str, row: Prompt, contract: Contract, *, limit: int = LIMIT) -> Verdict:
    """Return min(1, characters / limit), what cannot be seen left out; `row` and `contract` are not looked at.

    Raises ValueError for a `limit` below 1.
    """
    if limit < 1:
        raise ValueError("`limit` must be 1 or more")
    written = visible(completion)
    return Verdict(min(1.0, written / limit), f"{written} characters, full at {limit}")


EXAMPLES = (
    Example("x" * 100, {}, 0.25, "a quarter of the limit"),
    Example("<think>" + "x" * 393, {}, 1.0, "the limit, tags counted"),
    Example("x" * 4000, {}, 1.0, "more earns no more"),
    Example(" \n\u200b\u2800" * 500, {}, 0.0, "blanks and invisible marks earn nothing"),
    Example("", {}, 0.0, "nothing at all"),
    Example("x" * 100, {}, 0.5, "another limit", options={"limit": 200}),
)
