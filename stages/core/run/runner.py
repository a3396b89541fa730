"""One node from recipe to sealed artifact: workspace, run, seal.

What enters: a node, the store, and a listener for progress. What leaves: a sealed artifact, either the one that already
has this fingerprint or a new one. A kill at any moment leaves a workspace that the same node resumes.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stages.core.artifact import Artifact, Draft, Model, Record, accepted
from stages.core.contract import Contract
from stages.core.errors import AskedWrongly, InputError, RecipeError, StageError, UnreachableError
from stages.core.fingerprint import fingerprint, node_payload, plain
from stages.core.recipe.loading import Loaded, input_kinds, resolved, shown_path, stage_module
from stages.core.run import launch, opened, provenance, sharing, sources
from stages.core.run.events import Events, Listener
from stages.core.run.runtime import Runtime
from stages.core.run.sources import Identity
from stages.core.storage import disk
from stages.core.storage.store import Store


@dataclass(frozen=True)
class Work:
    """Where a stage may work, and all the chance it may take."""

    path: Path
    """Folder of the artifact to be; what lies here at the end is sealed."""
    scratch: Path
    """Folder for checkpoints and the like: survives a kill, is removed before sealing."""
    seed: int
    """The recipe's `seed`, 0 for a stage without one."""
    runtime: Runtime
    """Where and how to run; nothing in it may change the result beyond rounding."""
    events: Events
    """Progress leaves here."""

    def note(self, text: str) -> None:
        """Tell a fact that a reader of the run should know."""
        self.emit("note", text=text)

    def emit(self, event: str, /, **fields: Any) -> None:
        """Writes one event; see `stages.core.run.events` for the standard ones."""
        self.events.emit(event, **fields)


@dataclass(frozen=True)
class Resolved:
    """What a node takes, and what it therefore is."""

    inputs: dict[str, Identity]
    payload: dict[str, Any]
    """What is hashed; of an input that must be fetched first it holds an empty fingerprint."""
    fingerprint: str | None
    """None = unknown until an input is fetched."""
    unreached: UnreachableError | None = None
    """Why something of the recipe itself cannot be told now; only a plan may go on then."""


def resolve(node: Loaded, store: Store, built: Mapping[str, Identity], *, fetch: bool = False) -> Resolved:
    """What a node takes and is: a plan looks, so far as that can be said cheaply; a run fetches what is not there.

    `built` holds earlier nodes by name. Raises RecipeError for an input that is needed and not given, InputError for
    one of the wrong kind, MissingError for one that nobody knows.
    """
    kinds = input_kinds(node.stage)
    for key, wanted in kinds.items():
        if wanted.required and key not in node.inputs:
            what = f"`{node.stage}` needs the input `{key}` ({wanted.said})"
            hint = f"add inputs.{key}=ADDRESS; what there is: `r1 artifacts list`"
            raise RecipeError(what, where=shown_path(node.path) if node.path else "", hint=hint)
    inputs: dict[str, Identity] = {}
    for key, text in node.inputs.items():
        wanted = kinds[key]
        if text in built:
            found = built[text]
        elif fetch:
            found = Identity.of(sources.resolve(text, wanted.kinds, store, endpoint=node.runtime.endpoint))
        else:
            found = sources.identity(text, wanted.kinds, store)
        inputs[key] = found
        if found.kind and found.kind not in accepted(wanted.kinds):
            what = f"`{node.name}` takes {wanted.said} as `{key}`, and `{text}` gives {found.kind}"
            raise InputError(what, where=node.origins.get(f"inputs.{key}", ""), hint="choose another node or artifact")
    module = stage_module(node.stage)
    # A stage whose recipe names outside files tells what they really are.
    outside, unreached = None, None
    try:
        outside = module.identity(node.recipe) if hasattr(module, "identity") else None
    except UnreachableError as error:
        if fetch:
            raise
        unreached = error
    prints = {key: found.fingerprint or "" for key, found in inputs.items()}
    payload = node_payload(node.stage, module.VERSION, node.recipe, prints, outside)
    known = all(prints.values()) and unreached is None
    return Resolved(inputs, payload, fingerprint(payload) if known else None, unreached)


def output_kind(node: Loaded) -> type[Artifact] | None:
    """The kind of artifact that a node makes, as its stage says before it runs; None where it does not say."""
    module = stage_module(node.stage)
    kind: type[Artifact] | None = module.kind_of(node.recipe) if hasattr(module, "kind_of") else None
    return kind


def given(resolved: Resolved) -> dict[str, Artifact]:
    """The inputs of a node that are sealed, by key: all of them once they were fetched."""
    return {key: each.artifact for key, each in resolved.inputs.items() if each.artifact is not None}


def run_node(
    node: Loaded,
    store: Store,
    listener: Listener | None = None,
    built: Mapping[str, Artifact] | None = None,
    cores: int | None = None,
) -> Artifact:
    """The artifact of one node, reused when its fingerprint is already sealed and built otherwise.

    `built` holds the artifacts of earlier nodes by name; `cores`: how many of the machine's it may use, None = all. The
    listener gets every event, and at the end `reused` or `sealed` with the address. Raises TamperedError when an
    artifact it would use is not what was sealed, DiskError when the disk is full, LockedError when another process
    builds the same; after each the same call resumes.
    """
    earlier = {name: Identity.of(artifact) for name, artifact in (built or {}).items()}
    known = resolve(node, store, earlier, fetch=True)
    print_ = fingerprint(known.payload)
    found = store.find(print_, node.name)
    if found is None:
        for artifact in given(known).values():
            store.trust(artifact)
        with store.workspace(node.name, print_) as folder:
            found = store.find(print_, node.name)  # sealed by another process before the lock was ours
            if found is None:
                node = replace(node, runtime=sharing.decided(node, given(known), cores))
                sealed = _build(node, store, known, folder=folder, listener=listener)
                _tell(listener, "sealed", sealed)
                return sealed
            shutil.rmtree(folder)
    _tell(listener, "reused", store.trust(found))
    return found


def _build(node: Loaded, store: Store, known: Resolved, *, folder: Path, listener: Listener | None) -> Artifact:
    inputs, print_ = given(known), fingerprint(known.payload)
    module = stage_module(node.stage)
    addresses = {key: artifact.address for key, artifact in inputs.items()}
    _write_recipe(folder / "recipe.yaml", {**resolved(node), "inputs": addresses})
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    try:
        with Events(folder / "events.jsonl", listener) as events:
            events.emit("attempt", node=node.name, stage=node.stage, fingerprint=print_, argv=sys.argv)
            whole = {key: opened.opened(one, store, scratch / "opened" / key) for key, one in inputs.items()}
            work = Work(folder, scratch, getattr(node.recipe, "seed", 0), node.runtime, events)
            if node.runtime.world_size > 1:
                draft = launch.build(node, folder, store.home, listener)
            else:
                draft = module.run(node.recipe, module.Inputs(**whole), work)
            _check_draft(draft, node, folder)
            events.emit("done", metrics=draft.metrics)
    except AskedWrongly:
        shutil.rmtree(scratch / "opened", ignore_errors=True)
        if not any(path.is_file() for path in scratch.rglob("*")):
            shutil.rmtree(folder)  # refused before any work was done: there is nothing to resume
        raise
    shutil.rmtree(scratch, ignore_errors=True)
    record = Record(
        kind=draft.kind.kind,
        name=node.name,
        number=0,
        fingerprint=print_,
        payload=known.payload,
        inputs=addresses,
        stage=node.stage,
        version=module.VERSION,
        metrics=plain(draft.metrics),
        provenance=provenance.collect(node.runtime, folder / "events.jsonl"),
    )
    return store.seal(folder, record)


def _check_draft(draft: object, node: Loaded, folder: Path) -> None:
    if not isinstance(draft, Draft):
        hint = "a stage returns Draft(kind, metrics)"
        raise StageError(f"the stage `{node.stage}` returned {type(draft).__name__}", hint=hint)
    promised = output_kind(node)
    if promised not in (None, draft.kind):
        what = f"the stage `{node.stage}` made {draft.kind.kind}, and its `kind_of` says {promised.kind}"
        raise StageError(what, hint="both must name one kind")
    if issubclass(draft.kind, Model):
        Contract.read(folder / "contract.json").check(needs_tags=False)


def _write_recipe(path: Path, value: dict[str, Any]) -> None:
    import yaml

    disk.write_atomically(path, yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=110))


def _tell(listener: Listener | None, event: str, artifact: Artifact) -> None:
    if listener is not None:
        listener({"event": event, "address": artifact.address, "name": artifact.name, "path": str(artifact.path)})
