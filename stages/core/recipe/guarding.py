"""What a recipe of reinforcement learning asks of its guards. A part like those in `parts.py`; each key came later."""

from __future__ import annotations

from dataclasses import dataclass

from stages.core.fingerprint import later


@dataclass(frozen=True, kw_only=True)
class Guarding:
    """When a run gives up."""

    stop_on_alarm: bool = later(False)
    """Stop at the first alarm (docs/rl.md lists them) and seal the weights of before the steps that raised it, or with
    `keep` best those of the best validation; false = tell it and go on.
    """
