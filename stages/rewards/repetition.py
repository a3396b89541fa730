"""The repetition reward: a completion enters; the share of its word runs that it does not repeat leaves.

Length rewards are earned by saying the same again, so "Demystifying Long Chain-of-Thought Reasoning" (arXiv 2502.03373)
sets a punishment for repeated n-grams beside its cosine reward. This is its mirror: 1 for text that repeats nothing.
Marks count as words, and so does each piece of a very long word, so that dots or one endless word do not pass.
"""

from __future__ import annotations

import re
from itertools import islice

from stages.core.contract import Contract
from stages.core.rows import Prompt
from stages.core.text import CJK
from stages.rewards.declared import Reward
from stages.rewards.verdict import Example, Verdict

MAX_CHARACTERS = 2**18
"""More than any completion limit leaves room for, and quick to read."""

_UNSPACED = f"{CJK}\u3040-\u30ff"  # each character is a piece: Chinese and Japanese write no spaces
_PIECE = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]{{1,20}}|[^\w\s]")


@Reward("repetition", pays="share of word runs that are not repeated", values="0 to 1", trials=("hacks.form:LOOPS",))
def reward(completion: str, row: Prompt, contract: Contract, *, n: int = 6) -> Verdict:
    """Return distinct n-grams / n-grams of the completion, in (0, 1]; 1 where it has fewer than two of them.

    `n` counts words, CJK characters and marks; 6 by default. MAX_CHARACTERS are read; `row` and `contract` are not
    looked at. Raises ValueError for `n` below 1.
    """
    if n < 1:
        raise ValueError("`n` must be 1 or more")
    pieces = _PIECE.findall(completion[:MAX_CHARACTERS].casefold())
    total = len(pieces) - n + 1
    if total < 2:
        return Verdict(1.0, f"too short to repeat {n} words")
    distinct = len(set(zip(*(islice(pieces, at, None) for at in range(n)), strict=False)))
    return Verdict(distinct / total, f"{total - distinct} of {total} runs of {n} words are repeated")


EXAMPLES = (
    Example("one two three four five six seven eight", {}, 1.0, "nothing twice"),
    Example("a b c d a b c d", {}, 0.8, "one run of five is the second of its kind", options={"n": 4}),
    Example("Wait. Wait. Wait.", {}, 0.4, "two runs of five are new, marks counted, case not", options={"n": 2}),
    Example("先算再加先算再加", {}, 0.8, "Chinese by characters", options={"n": 4}),
    Example("." * 12, {}, 1 / 7, "a row of dots is a loop"),
    Example("ha" * 120, {}, 1 / 7, "and so is an endless word"),
    Example("", {}, 1.0, "nothing at all repeats nothing"),
)
