"""The cosine reward: a completion, its row and its length enter; accuracy's verdict, scaled by the length, leaves.

"Demystifying Long Chain-of-Thought Reasoning" (arXiv 2502.03373): of two right answers the shorter earns more,
of two wrong ones the longer loses less, along half a cosine, and a completion that reaches the limit earns the least.
The paper's values (right 2 to 1, wrong -10 to 0) are any numbers; here all lie in 0..1. Advantages within a group do
not see a shift or a scale, so only the two values at the limit are left to choose.
"""

from __future__ import annotations

from math import cos, pi

from stages.core.contract import Contract
from stages.core.rows import Prompt
from stages.rewards import accuracy
from stages.rewards.declared import Judged, Reward
from stages.rewards.verdict import Example, Verdict, length_of


@Reward(
    "cosine",
    pays="right and short, or wrong and long (Demystifying Long CoT)",
    values="0 to 1",
    needs=("gold",),
    waits=True,
    builds_on=("accuracy",),
    trials=("hacks.math:COSINE",),
)
def reward(
    completion: str,
    row: Prompt,
    contract: Contract,
    *,
    tokens: int | None = None,
    judged: Judged | None = None,
    max_length: int = 32768,
    at_limit: tuple[float, float] = (0.75, 0.25),
) -> Verdict:
    """Return, from length 0 to `max_length`, 1 falling to at_limit[0] for a right answer, and 0 rising to at_limit[1]
    for a wrong one; 0 for either at `max_length` or above; None where accuracy cannot judge.

    Lengths are in tokens, or in characters where nobody counted tokens: set `max_length` to the limit of the recipe.
    Raises ValueError unless max_length >= 1 and 1 >= at_limit[0] >= at_limit[1] >= 0, so that right beats wrong.
    """
    right_end, wrong_end = at_limit
    if max_length < 1 or not 1 >= right_end >= wrong_end >= 0:
        raise ValueError("`max_length` must be 1 or more, and `at_limit` two numbers from 1 down to 0")
    value, reason = judged("accuracy") if judged else accuracy.reward(completion, row, contract)
    if value is None:
        return Verdict(None, reason)
    length, unit = length_of(completion, tokens)
    if length >= max_length:
        return Verdict(0.0, f"{length} {unit}, the limit is {max_length}; {reason}")
    right = value == 1.0
    start, end = (1.0, right_end) if right else (0.0, wrong_end)
    share = (1 + cos(pi * length / max_length)) / 2
    return Verdict(end + (start - end) * share, f"{'right' if right else 'wrong'} in {length} {unit}; {reason}")


_SEVENTEEN = {"answer": "17", "verifier": "math"}
_RIGHT, _WRONG = "<answer>17</answer>", "<answer>18</answer>"

EXAMPLES = (
    Example(_RIGHT, _SEVENTEEN, 1.0, "right at once", options={"tokens": 0, "max_length": 100}),
    Example(_RIGHT, _SEVENTEEN, 0.875, "right, half way", options={"tokens": 50, "max_length": 100}),
    Example(_WRONG, _SEVENTEEN, 0.0, "wrong at once", options={"tokens": 0, "max_length": 100}),
    Example(_WRONG, _SEVENTEEN, 0.125, "wrong, half way", options={"tokens": 50, "max_length": 100}),
    Example(_RIGHT, _SEVENTEEN, 0.0, "right, at the limit", options={"tokens": 100, "max_length": 100}),
    Example(
        _RIGHT, _SEVENTEEN, 0.75, "values of one's own", options={"tokens": 50, "max_length": 100, "at_limit": [0.5, 0]}
    ),
    Example(_RIGHT, _SEVENTEEN, 0.875, "characters where no tokens were counted", options={"max_length": 38}),
    Example(_RIGHT, {"answer": " ", "verifier": "math"}, None, "no gold, no verdict"),
)
