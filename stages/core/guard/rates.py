"""Is a learning rate one that reinforcement learning has been seen to work with? Parameters and a rate enter, a
sentence leaves.

Published, of AdamW at a constant rate: DeepSeek-R1 3e-6 (671 billion parameters, arXiv 2501.12948v2 §2.1),
Qwen2.5-32B-Zero 1e-6 (B.4.1), DeepSeekMath 1e-6 (7 billion, arXiv 2402.03300 §4.2), DAPO 1e-6 (32 billion, arXiv
2503.14476), SimpleRL-Zoo 5e-7 to 1e-6 (0.5 to 32 billion, arXiv 2503.18892). Runs that users report as collapsed used
4e-5 and 5e-5 on billions of parameters. Of low-rank matrices the best rate is about ten times that of all weights, in
RL too (Schulman et al. 2025, "LoRA Without Regret"). Below 300 million parameters nothing is published: the embedded
model of 0.7 million learns at 2e-4, and at 3e-3 without a KL comes apart (docs/rl.md); between the two the bounds
follow the parameters.
"""

from __future__ import annotations

from typing import NamedTuple

ADAPTED = 10.0
"""What the rates of a low-rank adapter are of those of all weights."""


class Range(NamedTuple):
    """Rates between which runs were seen to learn."""

    low: float
    high: float
    source: str


_SIZES = (
    (5e9, Range(1e-7, 1e-5, "R1 3e-6, DeepSeekMath, DAPO and Qwen2.5-32B-Zero 1e-6")),
    (3e8, Range(1e-7, 2e-5, "SimpleRL-Zoo 5e-7 to 1e-6 from 0.5 billion on; 4e-5 is reported to collapse")),
    (3e7, Range(3e-7, 1e-4, "between the published ones and the embedded model's")),
    (0.0, Range(1e-6, 1e-3, "the embedded model's 2e-4")),
)
"""Parameters from which on a range holds -> the range."""


def healthy(parameters: int, *, adapter: bool) -> Range:
    """Return the range for a model with so many parameters, whole or under an adapter."""
    found = next(known for least, known in _SIZES if parameters >= least)
    if not adapter:
        return found
    return Range(found.low * ADAPTED, found.high * ADAPTED, f"{found.source}; an adapter takes ten times that")


def fault(rate: float, parameters: int, *, adapter: bool) -> str:
    """Say that a rate is out of its range, with what was published and a rate to take; "" where it is inside."""
    low, high, source = healthy(parameters, adapter=adapter)
    if low <= rate <= high:
        return ""
    side = "above" if rate > high else "below"
    whose = f"{'an adapter on ' if adapter else ''}{_size(parameters)} parameters"
    return (
        f"learning_rate {rate:g} is {side} what {whose} have been seen to learn with, {low:g} to {high:g} ({source}): "
        f"`learning_rate={high / 3 if rate > high else low * 3:.0e}`"
    )


def _size(parameters: int) -> str:
    for unit, name in ((1e9, "billion"), (1e6, "million")):
        if parameters >= unit:
            return f"{parameters / unit:.3g} {name}"
    return f"{parameters:,}"
