"""Words of reflection: a completion enters, how often it questions itself leaves; and a curve's first spike.

DeepSeek-R1 counts ten English words that three people agreed on (arXiv 2501.12948v2, appendix C.2); their frequency
rises five- to sevenfold while R1-Zero trains, and "wait" jumps after step 8,000. No such list is published for Chinese:
the one here is ours. Rewards never see these counts; they are for watching.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from statistics import mean, stdev

ENGLISH = ("wait", "mistake", "however", "but", "retry", "error", "verify", "wrong", "evaluate", "check")
"""The paper's ten words; whole words as they stand, in any case (`checks` is another word)."""
CHINESE = (
    *("等等", "等一下", "不对", "错", "但是", "然而", "不过", "可是"),
    *("重新", "再试", "验证", "核实", "评估", "检查", "再想"),
)
"""What a Chinese text says in their place (ours). 错 stands for 错误, 错了 and 出错 too; 不错 means good: left out."""
BASELINE, WINDOW, DEVIATIONS = 8, 3, 3.0
"""Of `first_spike`: points that say what is usual, points that are averaged, and how far above is unusual."""

_WORDS = re.compile(rf"(?<![A-Za-z])(?:{'|'.join(ENGLISH)})(?![A-Za-z])|(?<!不)(?:{'|'.join(CHINESE)})", re.IGNORECASE)


def reflective_words(text: str) -> int:
    """Return how many words of ENGLISH and CHINESE stand in a text; 0 or more, found from left to right, none twice."""
    return sum(1 for _ in _WORDS.finditer(text))


def first_spike(
    curve: Sequence[tuple[int, float]],
    *,
    baseline: int = BASELINE,
    window: int = WINDOW,
    deviations: float = DEVIATIONS,
) -> int | None:
    """Return the first step at which a count has left what was usual, or None where it never does.

    `curve` holds (step, mean count of one rollout) in order of steps, one point a rollout: steps that share a rollout
    share its count. Usual is the mean of the first `baseline` points; a step spikes when the mean of the `window`
    points up to and with it lies more than `deviations` standard deviations (Bessel's, of the first points) above
    that. None too for a curve of no more than `baseline` points. The paper only shows its curves; the rule is ours.
    """
    if baseline < 2 or len(curve) <= baseline:
        return None
    usual = [count for _, count in curve[:baseline]]  # `mean` is exact: a flat curve is no rounding above itself
    limit = mean(usual) + deviations * stdev(usual)
    for at in range(baseline, len(curve)):
        recent = [count for _, count in curve[max(0, at + 1 - window) : at + 1]]
        if mean(recent) > limit:
            return curve[at][0]
    return None
