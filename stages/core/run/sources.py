"""Where inputs come from: the store, the embedded world, the hub, a server, a folder or a file.

What enters: the text a recipe gives for an input and the kind the stage takes. What leaves: a sealed artifact. Outside
things enter once: the first use builds an artifact (stage `import`) whose record holds the commit or hashes that were
really read, and every later use finds it.
"""

from __future__ import annotations

import gc
import hashlib
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from stages.core import artifact as kinds_of
from stages.core.artifact import Adapter, Artifact, Conversations, Endpoint, Judge, Model, Preferences, Prompts, Record
from stages.core.contract import Contract
from stages.core.errors import InputError, MissingError, nearest
from stages.core.fingerprint import fingerprint, node_payload
from stages.core.rows import Conversation, Labelled, Preference, Prompt, checked_rows, write_rows
from stages.core.run import hub, opened, provenance
from stages.core.run.endpoint import SCHEME, Address, EndpointSettings, shown
from stages.core.run.events import Events
from stages.core.run.runtime import Runtime
from stages.core.storage import disk
from stages.core.storage.store import Store

VERSION = 5
"""Raise when importing the same bytes gives another artifact; guarded like a stage's VERSION."""

OWNERS = {
    "world": "stages.world.sources",
    "model": "stages.policy.models.importing",
    "endpoint": "stages.policy.engines.endpoint.first_use",
}
"""What is read -> the module that reads it: loaded by name on first use, since all lie above this one."""

_MODEL_FILES = (*hub.MODEL_FILES, ".gguf")
_ROWS: dict[type[Artifact], tuple[str, Any]] = {
    Prompts: ("prompts.jsonl", Prompt),
    Conversations: ("conversations.jsonl", Conversation),
    Preferences: ("preferences.jsonl", Preference),
}
"""Kinds that a local .jsonl file may be, the file they become and the rows it holds."""


@dataclass(frozen=True)
class Identity:
    """What an input is, as far as that can be said without fetching it."""

    text: str
    """As the recipe wrote it."""
    fingerprint: str | None
    """None = unknown until fetched."""
    artifact: Artifact | None = None
    """The sealed artifact, when it is already in the store."""
    made: type[Artifact] | None = None
    """The kind that an earlier node will make; None where that is not known."""

    @property
    def kind(self) -> str:
        """What kind of artifact it is or will be; empty where that is not known."""
        known = self.artifact or self.made
        return known.kind if known else ""

    @classmethod
    def of(cls, artifact: Artifact) -> Identity:
        """Of an artifact that is there."""
        return cls(artifact.address, artifact.fingerprint, artifact)

    @property
    def shown(self) -> str:
        """The artifact's address, else the text."""
        return self.artifact.address if self.artifact else self.text


@dataclass(frozen=True)
class _Outside:
    """Something not in the store yet: its name, what it is, how its files get into a folder; an adapter's base."""

    name: str
    payload: dict[str, Any] | Callable[[], dict[str, Any]]
    """What it is; a function where that has to be read first, which `fetch` then does on its way."""
    fetch: Callable[[Path], Mapping[str, Any]]
    base: Artifact | None = None

    def said(self) -> dict[str, Any]:
        """What it is, read where it has to be."""
        return self.payload() if callable(self.payload) else self.payload


Kinds = type[Artifact] | tuple[type[Artifact], ...]
"""A kind, or several of which any will do."""


def identity(text: str, kinds: Kinds, store: Store) -> Identity:
    """What `resolve` would give, cheaply: nothing is downloaded and nothing written, though local files are hashed.

    Raises InputError for the wrong kind and MissingError for something nobody knows.
    """
    kind, wanted = meant(text, kinds)
    here = _in_store(text, wanted, store)
    if here is not None:
        return Identity(text, here.fingerprint, here)
    if text.startswith("hf:"):
        repository, commit = hub.split_name(text)
        payload = _payload(kind, {"hub": repository, "commit": commit}, {})
        known = fingerprint(payload) if hub.is_commit(commit) else None
        return Identity(text, known, store.find(known) if known else None)
    outside = _outside(text, kind, store, {})
    print_ = fingerprint(outside.said())
    return Identity(text, print_, store.find(print_))


def resolve(
    text: str,
    kinds: Kinds,
    store: Store,
    *,
    name: str | None = None,
    pad_token: str | None = None,
    endpoint: EndpointSettings | None = None,
    base: str = "",
) -> Artifact:
    """The sealed artifact an input's text means, importing it on first use.

    `name@N` or `name` in the store; `world:…`; `hf:owner/name[@revision]`; a local folder or .gguf (Model) or
    .jsonl (Prompts, Conversations, Preferences); `openai:URL#model` (Endpoint). `name`, `pad_token`, `endpoint` and
    `base` (what an adapter's folder was trained on) are for an import only. Raises InputError for the wrong kind,
    MissingError for something nobody knows, and whatever the import finds wrong; nothing is sealed then.
    """
    kind, wanted = meant(text, kinds)
    here = _in_store(text, wanted, store) if not pad_token and not base else None
    if here is not None:
        return here
    options, adapter = {"pad_token": pad_token} if pad_token else {}, base or kind is Adapter
    outside = _adapter(text, kind, store, base) if adapter else _outside(text, kind, store, options, endpoint)
    # Big files are hashed while they are copied: until then the place they lie at has to tell two imports apart.
    print_ = fingerprint({"unread": text}) if callable(outside.payload) else fingerprint(outside.payload)
    found = store.find(print_, name)
    if found is not None:
        return store.trust(found)
    name = name or outside.name
    with store.workspace(name, print_) as folder:
        sealed = store.find(print_, name)  # by another process, before the lock was ours
        if sealed is not None:
            shutil.rmtree(folder)
            return sealed
        for leftover in folder.iterdir():  # of an import that was killed
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        return _import(text, kind, store, outside, folder=folder, name=name)


def _import(text: str, kind: type[Artifact], store: Store, outside: _Outside, *, folder: Path, name: str) -> Artifact:
    try:
        with Events(folder / "events.jsonl") as events:
            events.emit("attempt", source=text)
            metrics = dict(outside.fetch(folder))
            events.emit("done", metrics=metrics)
        if issubclass(kind, Model):
            Contract.read(folder / "contract.json").check(needs_tags=False)
        payload = outside.said()
        found = store.find(fingerprint(payload), name) if callable(outside.payload) else None
        if found is not None:  # the same bytes lay somewhere else
            shutil.rmtree(folder)
            return store.trust(found)
    except BaseException:
        shutil.rmtree(folder)  # an import is never resumed half-way
        raise
    record = Record(
        kind=kind.kind,
        name=name,
        number=0,
        fingerprint=fingerprint(payload),
        payload=payload,
        inputs={"base": outside.base.address} if outside.base else {},
        stage="import",
        version=VERSION,
        metrics=metrics,
        provenance={**provenance.collect(Runtime(), folder / "events.jsonl"), "source": text},
    )
    return store.seal(folder, record)


def meant(text: str, kinds: Kinds) -> tuple[type[Artifact], tuple[type[Artifact], ...]]:
    """The kind that something from outside would become, and all that are wanted."""
    wanted = kinds if isinstance(kinds, tuple) else (kinds,)
    if not text.startswith(SCHEME):
        return next((kind for kind in wanted if kind is not Endpoint), Endpoint), wanted
    if Endpoint not in wanted:
        what = f"`{Address.parse(text).text}` only speaks, and {kinds_of.said(wanted)} is needed here"
        raise InputError(what, hint="give a model whose weights can be read here, e.g. hf:owner/name or a folder")
    return Endpoint, wanted


def _in_store(text: str, wanted: tuple[type[Artifact], ...], store: Store) -> Artifact | None:
    """The artifact `text` already means, or None when it is something outside; raises for a kind that does not fit."""
    if text.startswith("hf:"):
        return _hub_import(text, meant(text, wanted)[0], store)
    if ":" in text or "/" in text:
        return None
    try:
        artifact = store.open(text)
    except (MissingError, InputError):
        if Path(text).expanduser().exists():
            return None
        raise
    if artifact.kind not in kinds_of.accepted(wanted):
        hint = f"choose one of kind {kinds_of.said(wanted)}: `r1 artifacts list`"
        raise InputError(
            f"`{artifact.address}` is of kind {artifact.kind}, and {kinds_of.said(wanted)} is needed here", hint=hint
        )
    return artifact


def _hub_import(text: str, kind: type[Artifact], store: Store) -> Artifact | None:
    """An earlier import of the same words: a moving branch is read once, and the record says which commit that was."""
    asked = [
        artifact
        for artifact in store.all()
        if artifact.record.stage == "import"
        and artifact.record.version == VERSION
        and artifact.record.provenance.get("source") == text
        and artifact.kind == kind.kind
        and "pad_token" not in artifact.record.payload["recipe"]
    ]
    return asked[-1] if asked else None


def _outside(
    text: str,
    kind: type[Artifact],
    store: Store,
    options: dict[str, str],
    endpoint: EndpointSettings | None = None,
) -> _Outside:
    if text.startswith("world:"):
        return _world(text, kind)
    if text.startswith("hf:"):
        return _hub(text, kind, store, options)
    if kind is Endpoint:
        return _endpoint(text, endpoint or EndpointSettings())
    return _local(text, kind, store, options)


def _world(text: str, kind: type[Artifact]) -> _Outside:
    world = import_module(OWNERS["world"])
    world.refuse(text, kind.kind)
    payload = _payload(kind, {"world": world.key(text)}, {})
    name = _slug(text.removeprefix("world:").partition("?")[0])
    return _Outside(name, payload, lambda folder: world.fetch(text, kind.kind, folder))


def _endpoint(text: str, settings: EndpointSettings) -> _Outside:
    """URL, model and declared revision are all it is: nobody here can see which weights answer."""
    address = Address.parse(text)
    payload = _payload(
        Endpoint, {"openai": {"url": address.url, "model": address.model, "revision": address.revision}}, {}
    )

    def ask(folder: Path) -> Mapping[str, Any]:
        found: Mapping[str, Any] = import_module(OWNERS["endpoint"]).import_endpoint(address, settings, folder)
        return found

    return _Outside(_slug(address.model.rpartition("/")[2]), payload, ask)


def _adapter(text: str, kind: type[Artifact], store: Store, base: str) -> _Outside:
    """An adapter's folder on its base: kept as it is, or the whole model that the two make."""
    path, below = opened.adapter_folder(text, base), resolve(base, Model, store)
    files = sorted(file for file in path.iterdir() if file.is_file())
    payload = _payload(kind, {"files": disk.hash_files(files, path)}, {}) | {"inputs": {"base": below.fingerprint}}
    fetch = partial(opened.import_adapter, path, below, store, kept=kind is Adapter)
    return _Outside(_slug(path.resolve().name), payload, fetch, below)


def _hub(text: str, kind: type[Artifact], store: Store, options: dict[str, str]) -> _Outside:
    repository, revision = hub.split_name(text)
    refuse_hub(text, kind)
    folder = hub.snapshot(repository, revision)
    payload = _payload(kind, {"hub": repository, "commit": folder.name}, options)

    def fetch(into: Path) -> Mapping[str, Any]:
        return _read_model(folder, into, store, options)[0]

    return _Outside(_slug(repository.partition("/")[2]), payload, fetch)


def refuse_hub(text: str, kind: type[Artifact]) -> None:
    """Raise InputError for what is not taken from the hub as it is."""
    if kind not in (Model, Judge):
        raise InputError(f"`{text}` cannot be {kind.kind} as it is", hint=f"prepare it: `r1 prepare source={text}`")


def _local(text: str, kind: type[Artifact], store: Store, options: dict[str, str]) -> _Outside:
    path = Path(text).expanduser()
    if not path.exists():
        hint = nearest(text, [artifact.name for artifact in store.all()])
        raise MissingError(f"no artifact, folder or file {shown(text)}", hint=f"{hint}See `r1 artifacts list`")
    cache = store.home / ".hashes" / f"outside-{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]}.json"
    files = _files_of(path, kind)
    root = path if path.is_dir() else path.parent
    name = _slug(path.resolve().name if path.is_dir() else path.stem)

    def payload() -> dict[str, Any]:
        hashes = disk.hash_files(files, root, cache)
        if path.is_file():
            hashes = {path.suffix.lower(): next(iter(hashes.values()))}  # under another name the same
        return _payload(kind, {"files": hashes}, options)

    def fetch(folder: Path) -> Mapping[str, Any]:
        figures, read = _read_model(path, folder, store, options)
        disk.remember(read, root, cache)
        return figures

    if kind in _ROWS:
        return _Outside(name, payload(), lambda folder: _copy_rows(kind, path, folder))
    return _Outside(name, payload() if disk.known_hashes(files, root, cache) else payload, fetch)


def _files_of(path: Path, kind: type[Artifact]) -> list[Path]:
    if kind in (Model, Judge):
        there = [path] if path.is_file() else [*path.iterdir(), *path.glob("additional_chat_templates/*.jinja")]
        files = sorted(file for file in there if path.is_file() or file.suffix in _MODEL_FILES)
        if not any(file.suffix in (".safetensors", ".gguf") for file in files):
            hint = "save the model with safetensors first; weights in pickles are not read"
            raise InputError(f"`{path}` holds no .safetensors or .gguf weights", hint=hint)
        return files
    if kind in _ROWS and path.suffix == ".jsonl" and path.is_file():
        return [path]
    hint = "give a .jsonl file" if kind in _ROWS else "build it first: `r1 --help`"
    if kind in (Prompts, Conversations, Preferences):
        hint = f"prepare it first: `r1 prepare source={path}{'' if kind is Prompts else f' kind={kind.kind}'}`"
    raise InputError(f"`{path}` cannot be taken as {kind.kind}", hint=hint)


def _read_model(
    path: Path, folder: Path, store: Store, options: Mapping[str, Any]
) -> tuple[Mapping[str, Any], dict[Path, str]]:
    """Write an outside model's files into a workspace; its figures, and the hashes of the files that were read whole.

    What was copied is not read again when the workspace is sealed.
    """
    read: dict[Path, str] = {}
    copied: dict[Path, str] = {}

    def told(file: Path, copy: Path | None, digest: str) -> None:
        read[file] = digest
        if copy is not None:
            copied[copy] = digest

    with _libraries() as owner:
        figures: Mapping[str, Any] = owner.import_model(str(path), folder, **options, told=told)
    store.remember(folder, copied)
    return figures, read


@contextmanager
def _libraries() -> Iterator[Any]:
    """The module that imports models, loaded without looking for garbage among what its libraries make, which stays:
    that is a sixth of the time. Afterwards it is looked at again, or they would say at the end that it leaked."""
    gc.disable()
    try:
        owner = import_module(OWNERS["model"])
        gc.freeze()
    finally:
        gc.enable()
    yield owner
    gc.unfreeze()


def _copy_rows(kind: type[Artifact], path: Path, folder: Path) -> dict[str, Any]:
    return {"rows": write_rows(folder / _ROWS[kind][0], rows_of(kind, path))}


def rows_of(kind: type[Artifact], path: Path) -> Iterator[Any]:
    """The rows of a local file, as the kind wants them; raises InputError at file:line."""
    return checked_rows(path, Labelled if kind is Preferences and _holds_points(path) else _ROWS[kind][1])


def _holds_points(path: Path) -> bool:
    """Whether the first line of a file of preferences is one labelled response, not a pair."""
    with path.open(encoding="utf-8", errors="replace") as file:
        first = next((line for line in file if line.strip()), "")
    return '"response"' in first and '"chosen"' not in first


def _payload(kind: type[Artifact], source: dict[str, Any], options: dict[str, str]) -> dict[str, Any]:
    return node_payload("import", VERSION, {"kind": kind.kind, "source": source, **options}, {})


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._") or "imported"
