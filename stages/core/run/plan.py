"""What a run would do and why, in words, before anything is spent.

What enters: nodes in reading order and the store. What leaves: one `Step` per node. Fingerprints are pure functions of
payloads, so the plan computes the fingerprint of a node whose inputs do not exist yet, and is exact wherever nothing
has to be fetched first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from stages.core.artifact import Artifact
from stages.core.errors import MissingError, UnreachableError
from stages.core.fingerprint import completed
from stages.core.recipe.loading import Loaded, input_kinds
from stages.core.run import sources
from stages.core.run.runner import Resolved, output_kind, resolve
from stages.core.run.sources import Identity
from stages.core.storage.store import Store, flatten, parse_address

_SHOWN_CHANGES = 3


@dataclass(frozen=True)
class Step:
    """What will happen to one node."""

    node: Loaded
    action: Literal["build", "resume", "reuse"]
    address: str
    """The artifact's address; for build and resume, the next free one."""
    reason: str
    """Why, in words; empty for reuse under its own name."""
    fingerprint: str | None
    """None = unknown until an input is fetched."""
    unreached: UnreachableError | None = None
    """Why something of the recipe itself could not be looked at."""

    @property
    def text(self) -> str:
        """`build @4  (learning_rate 1e-05 → 2e-05)`; the name is left to the reader, who has it before this."""
        same = self.address.startswith(f"{self.node.name}@")
        shown = f"@{parse_address(self.address)[1]}" if same else self.address
        return f"{self.action} {shown}" + (f"  ({self.reason})" if self.reason else "")


def plan(nodes: Sequence[Loaded], store: Store, *, ahead: bool = False) -> list[Step]:
    """One step per node. Raises for inputs nobody knows or of the wrong kind, before anything is built; with `ahead`
    inputs that nobody gave or knows are planned with all the same, and told in the reason.
    """
    steps: dict[str, Step] = {}
    for node in nodes:
        steps[node.name] = _step(node, store, steps, ahead)
    return list(steps.values())


def _step(node: Loaded, store: Store, earlier: dict[str, Step], ahead: bool) -> Step:
    before = {
        name: Identity(step.address, step.fingerprint, made=output_kind(step.node)) for name, step in earlier.items()
    }
    if ahead:
        lacking = [key for key, kind in input_kinds(node.stage).items() if kind.required and key not in node.inputs]
        unknown = [text for text in node.inputs.values() if text not in before and not _known(text, node, store)]
        missing = {key: f"({key} not given)" for key in lacking}
        node = replace(node, inputs=node.inputs | missing)
        before |= {text: Identity(text, None) for text in (*unknown, *missing.values())}
    known = resolve(node, store, before)
    print_ = known.fingerprint
    twin = next((step for step in earlier.values() if print_ and step.fingerprint == print_), None)
    if twin is not None:
        return Step(node, "reuse", twin.address, f"the same as {twin.node.name}", print_)
    found = store.find(print_, node.name) if print_ else None
    if found is not None:
        reason = "" if found.name == node.name else f"sealed as {found.address}"
        return Step(node, "reuse", found.address, reason, print_)
    address = store.next_address(node.name)
    if print_ and (store.workspace_path(node.name, print_) / "recipe.yaml").is_file():
        return Step(node, "resume", address, "unsealed work found", print_)
    unknown = [node.inputs[key] for key, each in known.inputs.items() if each.fingerprint is None]
    fetched = [text for text in unknown if text not in earlier]
    waits = "not here yet" if ahead else "unknown until fetched"
    reason = f"{', '.join(fetched)} {waits}" if fetched else ""
    reason = reason or (known.unreached.what if known.unreached else _reason(node, known, store.newest(node.name)))
    return Step(node, "build", address, reason, print_, known.unreached)


def _known(text: str, node: Loaded, store: Store) -> bool:
    """Whether anybody knows what an input's text means."""
    kinds = next(input_kinds(node.stage)[key].kinds for key, value in node.inputs.items() if value == text)
    try:
        sources.identity(text, kinds, store)
    except MissingError:
        return False
    return True


def _reason(node: Loaded, known: Resolved, newest: Artifact | None) -> str:
    if newest is None:
        return "new"
    old, payload, inputs = newest.record, known.payload, known.inputs
    changes: list[str] = []
    if old.stage != node.stage:
        changes.append(f"stage {old.stage} → {node.stage}")
    elif old.version != payload["version"]:
        changes.append(f"code version {old.version} → {payload['version']}")
    same = old.stage == node.stage
    before, after = (_values(each, node.recipe if same else None) for each in (old.payload, payload))
    for key in [*after, *(key for key in before if key not in after)]:
        if before.get(key) != after.get(key):
            changes.append(f"{key} {_short(before.get(key))} → {_short(after.get(key))}")
    for key in [*inputs, *(key for key in old.inputs if key not in inputs)]:
        if key not in inputs or old.payload.get("inputs", {}).get(key) != (inputs[key].fingerprint or ""):
            changes.append(_moved(key, old.inputs.get(key), inputs[key].shown if key in inputs else None))
    if not changes:
        return f"{newest.address} is another artifact"
    more = len(changes) - _SHOWN_CHANGES
    return ", ".join(changes[:_SHOWN_CHANGES]) + (f" and {more} more" if more > 0 else "")


def _values(payload: dict[str, Any], recipe: Any) -> dict[str, Any]:
    """A payload's values by dotted key; with a recipe of its stage, those too that came later and are not in it."""
    values = payload.get("recipe") or {}
    values = completed(values, recipe) if recipe is not None else values
    return flatten({**values, **payload.get("outside", {})})


def _moved(key: str, before: str | None, after: str | None) -> str:
    if before and after and before.partition("@")[0] == after.partition("@")[0] and "@" in after:
        return f"{key} {before} → @{after.partition('@')[2]}"
    return f"{key} {before or 'none'} → {after or 'none'}"


def _short(value: Any) -> str:
    text = "none" if value is None else value if isinstance(value, str) else repr(value)
    return text if len(text) <= 40 else text[:37] + "…"
