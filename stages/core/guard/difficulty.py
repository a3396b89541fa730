"""Which prompts are worth practising on, by how often samples of them were paid: samples enter, places leave.

A prompt that is never solved and one that always is give groups without an advantage. A sampling of the policy, or of
the model that it starts from, tells them apart beforehand (`r1 sample`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

RIGHT = ("accuracy", "code")
"""Rewards that say whether an answer is right, the first that judged counts; without one, the strict format's."""


def pass_rates(samples: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Return prompt id -> the mean of what its samples were paid for being right, 0 to 1. `samples` are rows of a
    sampling as plain objects; those that the engine failed, and those that nothing judged, count nowhere."""
    paid: dict[str, list[float]] = defaultdict(list)
    for sample in samples:
        rewards = sample.get("rewards") or {}
        judged = (rewards.get(name) for name in (*RIGHT, "strict"))
        value = next((one for one in judged if one is not None), None)
        if value is not None and not sample.get("failed"):
            paid[sample["id"]].append(float(value))
    return {name: sum(values) / len(values) for name, values in paid.items()}


def within(ids: Iterable[str], rates: Mapping[str, float], low: float, high: float) -> tuple[list[int], int]:
    """Return the places of the prompts whose rate lies in [low, high], and how many have no rate."""
    known = [(place, rates.get(name)) for place, name in enumerate(ids)]
    unknown = sum(rate is None for _, rate in known)
    return [place for place, rate in known if rate is not None and low <= rate <= high], unknown
