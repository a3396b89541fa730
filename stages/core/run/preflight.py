"""Outside things first: the steps of a plan enter; what was checked and what could not be leaves, before a node is
built.

A run must not find out after an hour that the hub cannot be reached, a key is missing or a tokenizer does not fit. So
all that the nodes to be built need from outside is looked at here, the cheap things first, and then imported; only
then does the first node begin. A dry run looks too, and says what it could not see.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from stages.core.artifact import Artifact, Judge, Model
from stages.core.errors import DiskError, EngineError, MissingError, StageError, UnreachableError
from stages.core.recipe.loading import Loaded, input_kinds, stage_module
from stages.core.run import hub, launch, many, sources
from stages.core.run.endpoint import SCHEME, Address
from stages.core.run.plan import Step
from stages.core.storage.store import Store

CIRCUMSTANCES = "stages.policy.preflight"
"""The module that knows engines, devices and model folders: loaded by name on use, since it lies above this one."""
_OWN_TOKENIZER = ("student", "model", "teacher")
"""Inputs whose tokenizer what a stage makes has, the first that there is."""


@dataclass(frozen=True)
class Foreseen:
    """What can be said of an input before the first node is built."""

    text: str
    """As the recipe wrote it."""
    artifact: Artifact | None = None
    """The sealed artifact, where it is one already."""
    folder: Path | None = None
    """A folder with the config and the tokenizer that it has, or will have when it is built; None = unknown."""


@dataclass
class Findings:
    """What a look at the outside found."""

    checked: list[str] = field(default_factory=list)
    """Sentences on what is as it must be."""
    unchecked: list[str] = field(default_factory=list)
    """Sentences on what could not be looked at now, and why."""


def check(steps: Sequence[Step], store: Store, *, strict: bool) -> Findings:
    """Look at all that the nodes to be built need from outside; nothing is sealed, no weights are fetched.

    Raises what is wrong (MissingError, InputError, RecipeError, DiskError …) in one sentence. What cannot be asked now
    (UnreachableError, EngineError) is raised where `strict`, else told among the findings.
    """
    return _Look(steps, store, strict).findings


def fetch(steps: Sequence[Step], store: Store, tell: Callable[[str], None]) -> bool:
    """Import every outside input of the nodes to be built that is not sealed yet, told by its text; True for any.

    Raises whatever an import finds wrong: nothing was built then, and what was imported is found by the next run.
    """
    done: set[str] = set()
    for node, text, kinds in _outside_inputs(steps):
        if text in done or text.startswith("world:") or sources.identity(text, kinds, store).artifact is not None:
            continue
        tell(text)
        sources.resolve(text, kinds, store, endpoint=node.runtime.endpoint)
        done.add(text)
    return bool(done)


def _outside_inputs(steps: Sequence[Step]) -> list[tuple[Loaded, str, sources.Kinds]]:
    """(node, text, kinds) of each input of a node to be built that no other node makes."""
    names = {step.node.name for step in steps}
    waiting = [step.node for step in steps if step.action != "reuse"]
    return [
        (node, text, input_kinds(node.stage)[key].kinds)
        for node in waiting
        for key, text in node.inputs.items()
        if text not in names
    ]


class _Look:
    """One look at the outside; each thing is looked at once."""

    def __init__(self, steps: Sequence[Step], store: Store, strict: bool) -> None:
        self._steps, self._store, self._strict = {step.node.name: step for step in steps}, store, strict
        self._folders: dict[str, Path | None] = {}
        self._seen: set[object] = set()
        self._needed: list[tuple[Path, int]] = []
        self.findings = Findings()
        waiting = [step for step in steps if step.action != "reuse"]
        for step in waiting:
            self._try(step.node.name, lambda step=step: self._circumstances(step))  # type: ignore[misc]
        for node, text, kinds in _outside_inputs(steps):
            self._try(text, lambda text=text, kinds=kinds, node=node: self._input(node, text, kinds))  # type: ignore[misc]
        self._room()
        for step in waiting:
            self._try(step.node.name, lambda node=step.node: self._foresee(node))  # type: ignore[misc]

    def _try(self, what: str, look: Callable[[], None]) -> None:
        try:
            look()
        except (UnreachableError, EngineError) as error:
            if self._strict:
                raise
            self._say(self.findings.unchecked, f"{what}: {error}")

    def _say(self, where: list[str], sentence: str) -> None:
        if sentence not in where:
            where.append(sentence)

    def _circumstances(self, step: Step) -> None:
        """Device, engine, sandbox and outside files of a node's own recipe: the plan has looked at the files."""
        node, runtime = step.node, step.node.runtime
        if step.unreached is not None:
            raise step.unreached
        launch.refuse_processes(node)
        many.refuse_ray(node)
        if runtime.ray and ("ray", runtime.ray) not in self._seen:
            self._seen.add(("ray", runtime.ray))
            self._say(self.findings.checked, many.refuse_cluster(runtime))
        asked = (runtime.device, runtime.engine, runtime.vllm_server)
        if asked not in self._seen and asked != ("auto", "auto", None):
            self._seen.add(asked)
            import_module(CIRCUMSTANCES).refuse_circumstances(runtime)
        for name, options in _sandboxed(node.recipe).items():
            fault = _sandbox_fault(options)
            if fault:
                raise StageError(f"`{node.name}` rewards `{name}`, and no program can be run here", hint=fault)

    def _input(self, node: Loaded, text: str, kinds: sources.Kinds) -> None:
        kind, _ = sources.meant(text, kinds)
        if (text, kind) in self._seen or text.startswith("world:"):
            return
        self._seen.add((text, kind))
        found = sources.identity(text, kinds, self._store).artifact
        if text.startswith(SCHEME):
            import_module(CIRCUMSTANCES).refuse_silent_endpoint(Address.parse(text), node.runtime.endpoint)
            self._say(self.findings.checked, f"{text}: the server answers and has the model")
        elif found is None and text.startswith("hf:"):
            self._hub(text, kind)
        elif found is None:
            self._local(text, kind)

    def _hub(self, text: str, kind: type[Artifact]) -> None:
        sources.refuse_hub(text, kind)
        found = hub.look(*hub.split_name(text))
        self._folders[text] = hub.small_files(found) if not found.note else hub.snapshot(found.name, found.commit)
        import_module(CIRCUMSTANCES).refuse_foreign(self._folders[text])
        whole = sum(found.sizes.values())
        self._needed += [(hub.cache_folder(), found.waiting), (self._store.home, whole)]
        size = f", {found.waiting / 1e9:.2f} GB to fetch" if found.waiting else ", in the cache here"
        aside = f" ({found.note})" if found.note else ""
        self._say(self.findings.checked, f"{text}: {kind.kind} at commit {found.commit[:12]}{size}{aside}")

    def _local(self, text: str, kind: type[Artifact]) -> None:
        path = Path(text).expanduser()
        if kind not in (Model, Judge):
            self._say(self.findings.checked, f"{text}: {sum(1 for _ in sources.rows_of(kind, path))} rows")
            return
        if path.suffix == ".gguf" or (path.is_dir() and not any(path.glob("*.safetensors"))):
            if importlib.util.find_spec("gguf") is None:
                raise MissingError(
                    f"`{text}` is a GGUF, and the package that reads it is not here", hint="pip install gguf"
                )
            self._say(self.findings.unchecked, f"{text}: a GGUF is read whole when it is imported")
            return
        import_module(CIRCUMSTANCES).refuse_foreign(path)
        self._folders[text] = path
        self._needed.append((self._store.home, sum(file.stat().st_size for file in path.glob("*.safetensors"))))
        self._say(self.findings.checked, f"{text}: {kind.kind}")

    def _room(self) -> None:
        """Raise DiskError where what is to be fetched and imported does not fit."""
        devices: dict[int, tuple[Path, int]] = {}
        for folder, size in self._needed:
            standing = next(one for one in (folder, *folder.resolve().parents) if one.exists())
            device = standing.stat().st_dev
            devices[device] = (standing, devices.get(device, (standing, 0))[1] + size)
        for folder, size in devices.values():
            free = shutil.disk_usage(folder).free
            if size > free:
                what = (
                    f"what is to be fetched and imported needs {size / 1e9:.1f} GB, and `{folder}` has {free / 1e9:.1f}"
                )
                raise DiskError(what, hint="`r1 artifacts prune`, or set R1_HOME and HF_HOME elsewhere")

    def _foresee(self, node: Loaded) -> None:
        """What the stage itself can say of its inputs before they are there."""
        module = stage_module(node.stage)
        if not hasattr(module, "foresee"):
            return
        inputs = {key: self._foreseen(node, key, text) for key, text in node.inputs.items()}
        for sentence in module.foresee(node.recipe, inputs):
            self._say(self.findings.unchecked, f"{node.name}: {sentence}")

    def _foreseen(self, node: Loaded, key: str, text: str) -> Foreseen:
        step = self._steps.get(text)
        if step is None:
            kinds = input_kinds(node.stage)[key].kinds
            artifact = sources.identity(text, kinds, self._store).artifact
            if artifact is None and self._strict and text.startswith("world:") and key in _OWN_TOKENIZER:
                artifact = sources.resolve(text, kinds, self._store)  # bundled: nothing is fetched
            return Foreseen(text, artifact, artifact.path if artifact else self._folders.get(text))
        if step.fingerprint and (artifact := self._store.find(step.fingerprint, step.node.name)) is not None:
            return Foreseen(text, artifact, artifact.path)
        own = ("teacher",) if step.node.stage == "logprobs" else _OWN_TOKENIZER
        source = next((one for one in own if one in step.node.inputs), None)
        folder = self._foreseen(step.node, source, step.node.inputs[source]).folder if source else None
        return Foreseen(text, None, folder)


def _sandboxed(recipe: Any) -> Mapping[str, dict[str, Any]]:
    """Rewards of a recipe that run programs -> their options."""
    named = getattr(recipe, "rewards", None)
    if not isinstance(named, dict):
        return {}
    from stages.rewards import registry

    own = [name for name, weight in named.items() if weight and name in registry.ENTRIES]
    options = getattr(recipe, "reward_options", None) or {}
    return {name: dict(options.get(name) or {}) for name in own if "isolation" in registry.options_of(name)}


def _sandbox_fault(options: Mapping[str, Any]) -> str:
    from stages.rewards.programs import sandbox

    return sandbox.fault(str(options.get("isolation", "bwrap")))
