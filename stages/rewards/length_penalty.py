"""The length penalty: the completions of one prompt enter; more for short right ones than for long ones leaves.

Kimi k1.5's length reward (arXiv 2501.12599, §2.3.3) compares lengths within the completions of one prompt, never
across prompts, whose problems differ in length by nature: with λ = 0.5 - (len - min) / (max - min), a right answer
gets λ, a wrong one min(0, λ), so that being short never pays by itself. Here 0.5 is added, which no advantage within a
group can see.
"""

from __future__ import annotations

from collections.abc import Sequence

from stages.core.contract import Contract
from stages.core.rows import Prompt
from stages.rewards import accuracy
from stages.rewards.declared import JudgedGroup, Reward
from stages.rewards.verdict import GroupExample, Verdict, length_of


@Reward(
    "length_penalty",
    pays="right and shorter than the rest of its group (Kimi k1.5)",
    values="0 to 1; wrong: 0 to 0.5",
    needs=("gold",),
    group=True,
    waits=True,
    builds_on=("accuracy",),
    trials=("hacks.math:SHORT",),
)
def group(
    completions: Sequence[str],
    row: Prompt,
    contract: Contract,
    *,
    tokens: Sequence[int] | None = None,
    judged: JudgedGroup | None = None,
) -> list[Verdict]:
    """Return 0.5 + λ for each right completion and 0.5 + min(0, λ) for each wrong one, 0 to 1; 0.5 where all are of one
    length.

    `tokens` are their lengths; characters are counted without. A completion that accuracy cannot judge gets None, and
    its length counts neither as longest nor as shortest.
    """
    right = judged("accuracy") if judged else [accuracy.reward(one, row, contract) for one in completions]
    counted: Sequence[int | None] = [None] * len(completions) if tokens is None else tokens
    lengths = [length_of(one, count) for one, count in zip(completions, counted, strict=True)]
    known = [length for (length, _), verdict in zip(lengths, right, strict=True) if verdict.value is not None]
    shortest, longest = min(known, default=0), max(known, default=0)
    found = []
    for (length, unit), (value, reason) in zip(lengths, right, strict=True):
        if value is None:
            found.append(Verdict(None, reason))
            continue
        late = (length - shortest) / (longest - shortest) if longest > shortest else 0.5
        said = f"{length} {unit} in a group of {shortest} to {longest}; {reason}"
        found.append(Verdict(1.0 - late if value == 1.0 else min(0.5, 1.0 - late), said))
    return found


_SEVENTEEN = {"answer": "17", "verifier": "math"}
_RIGHT, _WRONG = "<answer>17</answer>", "<answer>18</answer>"

EXAMPLES = (
    GroupExample((_RIGHT,) * 3, _SEVENTEEN, (1.0, 0.5, 0.0), "the shortest right one", {"tokens": [10, 20, 30]}),
    GroupExample((_WRONG,) * 3, _SEVENTEEN, (0.5, 0.5, 0.0), "short and wrong gains nothing", {"tokens": [10, 20, 30]}),
    GroupExample((_RIGHT, _WRONG), _SEVENTEEN, (0.0, 0.5), "a wrong one is in the group", {"tokens": [9, 3]}),
    GroupExample((_RIGHT, _WRONG), _SEVENTEEN, (0.5, 0.5), "all of one length"),
    GroupExample((_RIGHT, "17"), _SEVENTEEN, (0.0, 1.0), "characters where no tokens were counted"),
    GroupExample((_RIGHT,), {"answer": " ", "verifier": "math"}, (None,), "no gold, no verdict"),
)
