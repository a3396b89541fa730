"""Where a model comes from, read off the records in its own store.

An artifact enters; the stages on its line, or a sentence about it, leave. A stage sees its inputs as folders, and each
sealed folder lies in the store that knows its parents; an artifact in no store is its own whole line.
"""

from __future__ import annotations

from stages.core.artifact import Artifact
from stages.core.errors import InputError, MissingError
from stages.core.storage.store import Store

ZERO = "R1-Zero as the teacher, a variant that the paper does not have: it distilled from R1's data"
"""What is said of a teacher that learned from rewards alone."""
_POLICY = ("model", "student")
"""Inputs through which a policy's weights come; what else a stage takes (prompts, judges, teachers) is not its line."""
_DATA = ("conversations", "rollouts", "general", "extra")
"""Inputs through which responses come."""


def line(artifact: Artifact) -> list[Artifact]:
    """The artifact and the models its weights were trained from, newest first, as far back as the store has them."""
    found = [artifact]
    while parent := next((found[-1].record.inputs[key] for key in _POLICY if key in found[-1].record.inputs), None):
        opened = _opened(artifact, parent)
        if opened is None:
            break
        found.append(opened)
    return found


def variant(teacher: Artifact) -> str:
    """ZERO for a teacher that RL made from a base with no SFT between (or that the hub calls R1-Zero), else ""."""
    found = line(teacher)
    stages = [one.record.stage for one in found]
    source = (found[-1].record.payload.get("recipe") or {}).get("source") or {}
    if "r1-zero" in str(source.get("hub", "")).lower() and stages == ["import"]:
        return ZERO
    whole = stages[-1] == "import" or not found[-1].record.inputs
    return ZERO if whole and "rl" in stages and not {"sft", "distill"} & set(stages) else ""


def author(data: Artifact) -> Artifact | None:
    """The model whose answers, or log-probabilities, data was made from; None when its records do not say.

    Conversations come from rollouts, and those from a model; log-probabilities name their teacher.
    """
    for one in _made_from(data):
        address = one.record.inputs.get("teacher" if one.record.stage == "logprobs" else "model")
        if address and one.record.stage in ("logprobs", "sample"):
            return _opened(data, address)
    return None


def data_flops(data: Artifact) -> float:
    """The operations spent on making data: sampling, judging, rewriting and reading it; what its author learned from
    is not among them."""
    costs = [one.metrics.get("flops") or {} for one in _made_from(data)]
    return float(sum(cost.get("sampling", 0) + cost.get("teacher", 0) for cost in costs))


def _made_from(data: Artifact) -> list[Artifact]:
    """Data and the data it was made from, newest first, as far back as the store has it."""
    found = {data.address: data}
    waiting = [data]
    while waiting:
        parents = [waiting[0].record.inputs.get(key) for key in _DATA]
        opened = [_opened(data, address) for address in parents if address and address not in found]
        found |= {one.address: one for one in opened if one is not None}
        waiting = [*waiting[1:], *(one for one in opened if one is not None)]
    return list(found.values())


def _opened(near: Artifact, address: str) -> Artifact | None:
    try:
        return _store(near).open(address)
    except (MissingError, InputError):
        return None


def _store(artifact: Artifact) -> Store:
    return Store(artifact.path.parent.parent)
