"""How long a plan will take, before anything is spent: steps of a plan and the store enter, seconds leave.

Measured beats guessed: a node that was built before, or another of its stage, gives its recorded seconds, scaled by the
sizes of the two recipes. Only where the store knows nothing of a stage the pace below is used, which is that of the
embedded model on two cores, and the figure is called planned.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.core.fingerprint import plain
from stages.core.run.plan import Step
from stages.core.run.runtime import available_cores
from stages.core.storage.store import Store

PACES: dict[str, tuple[float, tuple[str, ...]]] = {
    "rl": (0.0075, ("steps", "prompts_per_step", "group_size")),
    "eval": (0.0025, ("samplings", "samples", "problems")),
    "sample": (0.0025, ("samples", "problems")),
    "sft": (20.0, ("epochs",)),
    "distill": (30.0, ("epochs",)),
    "reward-model": (20.0, ("epochs",)),
    "kl": (20.0, ()),
    "prefer": (5.0, ()),
    "curate": (5.0, ()),
    "prepare": (5.0, ()),
}
"""Stage -> seconds for one unit of work on two cores, and the recipe's keys whose product counts the units."""
UNSAID = {"problems": 300}
"""What a key that counts units stands for when the recipe leaves it open."""


@dataclass(frozen=True)
class Expected:
    """What a step should take."""

    seconds: float
    """0 for what is reused."""
    source: str
    """The artifact whose seconds it goes by, `planned` or `computed` where there is none; empty for what is reused."""

    @property
    def planned(self) -> bool:
        """Whether nothing was measured: the pace of the embedded models was taken, or the time computed from shapes."""
        return self.source in ("planned", "computed")


def expected(steps: Sequence[Step], store: Store, jobs: int = 1) -> dict[str, Expected]:
    """Return what each node of a plan should take on its share of the cores, by name; a resumed node counts whole."""
    cores = len(available_cores())
    share = max(1, cores // jobs)
    known = sorted(store.all(), key=lambda artifact: str(artifact.record.provenance.get("time", "")))
    found: dict[str, Expected] = {}
    for step in steps:
        if step.action == "reuse":
            found[step.node.name] = Expected(0.0, "")
            continue
        threads = step.node.runtime.threads or share
        stage, size = step.node.stage, units(step.node.stage, plain(step.node.recipe))
        kin = [one for one in known if one.record.stage == stage and "seconds" in one.record.provenance]
        kin.sort(key=lambda artifact: artifact.name == step.node.name)  # stable: the newest of its own name is last
        if kin:
            theirs = units(stage, kin[-1].record.payload.get("recipe") or {})
            proof = kin[-1].record.provenance
            seconds = proof["seconds"] * _fewer(_threads(proof), threads) * size / theirs
            found[step.node.name] = Expected(seconds, kin[-1].address)
        else:
            seconds = PACES.get(stage, (0.0, ()))[0] * size * _fewer(cores, threads)
            found[step.node.name] = Expected(seconds, "planned")
    return found


def _fewer(before: int, now: int) -> float:
    """How much longer a node takes on fewer threads: two are 1.4 times as fast as one, measured on the embedded
    model."""
    return math.sqrt(before / now) if before and now else 1.0


def _threads(provenance: Mapping[str, Any]) -> int:
    """The threads that an artifact was made with; 0 where they did not matter."""
    told = provenance.get("device") or {}
    return 0 if str(told.get("used")).startswith("cuda") else int(told.get("threads") or told.get("cores") or 0)


def units(stage: str, recipe: Mapping[str, Any]) -> float:
    """Return how much work a recipe asks for: the product of its counting keys, lists by their lengths; 1 or a
    positive number.
    """
    sizes = []
    for key in PACES.get(stage, (0.0, ()))[1]:
        value = recipe.get(key)
        value = UNSAID.get(key, 1) if value is None else (len(value) or 1) if isinstance(value, list) else value
        sizes.append(float(value))
    return math.prod(sizes) or 1.0
