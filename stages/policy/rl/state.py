"""What a run of reinforcement learning remembers besides its policy: plain values, which its checkpoints hold."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from stages.policy.training.steps import RunState


@dataclass(kw_only=True)
class PolicyState(RunState):
    """What a run remembers besides its policy."""

    reference_step: int = 0
    """Updates after which the reference was the policy."""
    seconds: float = 0.0
    """Of all steps so far."""
    useful: int = 0
    """Completions with an advantage that all steps so far were trained on."""
    peak_memory_mb: float = 0.0
    sampling_flops: int = 0
    """2 N D (arXiv 2001.08361, §2.1): N parameters, D tokens that were read."""
    update_flops: int = 0
    """6 N D. Taking log-probabilities again, the reference's and validation are not in it."""
    reflective: list[tuple[int, float]] = field(default_factory=list)
    """(first step, reflective words a completion) of each rollout."""
    last: dict[str, Any] = field(default_factory=dict)
    """Figures of the last step."""
    base_validation: dict[str, float] = field(default_factory=dict)
    """Of the policy before its first step."""
    best_validation: dict[str, float] = field(default_factory=dict)
    best_step: int | None = None
    watch: dict[str, Any] = field(default_factory=dict)
    """What the guard remembers: a `Memory` as plain values."""
    stopped_by: str | None = None
    """The alarm that ended the run before its last step."""
    good_step: int | None = None
    """Updates after which that run was last known to be healthy."""

    def __post_init__(self) -> None:
        self.reflective = [(step, count) for step, count in self.reflective]  # JSON knows no tuples
