"""What each node of a plan asks of a device: steps of a plan enter; steps, tokens, memory, time, disk and money leave,
and for what does not fit the keys that would make it.

A model's shapes come from the artifact, the folder or the bundled base; a published one is planned for unfetched, and
an earlier node's model has the shapes of what it starts from. Whatever had to be assumed is said.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

from stages.core.artifact import Model
from stages.core.errors import R1Error
from stages.core.recipe.loading import Loaded
from stages.core.run import sources, timing
from stages.core.run.plan import Step
from stages.core.scale import devices, load, memory, published, shapes
from stages.core.scale.devices import Device
from stages.core.scale.load import PROMPT, Load
from stages.core.scale.memory import Parts, Training
from stages.core.scale.shapes import Shapes
from stages.core.storage.store import Store

MODELS = ("student", "model", "policy", "rewriter", "judge", "teacher")
"""Inputs that are models, the one that a node works with first."""
TRAINED = ("rl", "sft", "distill", "reward-model")
ROWS = 1000
"""Rows that an input has where nobody can say."""
CHECKPOINTS = 3
"""Checkpoints that lie on the disk at a time: two whole ones and a draft."""


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What one node asks for."""

    node: str
    load: Load = field(default_factory=Load)
    micro: int = 0
    """Rows of a micro-batch; 0 = nothing is trained."""
    twice: bool = False
    """Whether layers are computed twice for lack of memory."""
    device: Device
    parts: Parts | None = None
    """Memory of one device; None = no model, or one whose shapes nobody knows."""
    seconds: float = 0.0
    source: str = ""
    """The artifact whose seconds these are, `planned`, or `computed`; empty for what is reused."""
    disk: int = 0
    """Bytes, checkpoints included."""
    cost: float | None = None
    """Dollars; None without a price."""
    ways: tuple[str, ...] = ()
    """Keys that would make it fit, where it does not."""
    assumed: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether its peak is within the device's memory."""
        return self.parts is None or self.parts.peak <= memory.FULL * self.device.memory


def outlook(
    steps: Sequence[Step],
    store: Store,
    *,
    device: Device | None = None,
    length: int | None = None,
    rows: Mapping[str, int] | None = None,
) -> list[Outlook]:
    """One outlook for each node of a plan, on `device` or on this machine's own.

    `length`: mean tokens of a completion. `rows`: how many rows an input has, by its text, where nobody could know.
    """
    view = _View(steps, store, device, length, dict(rows or {}))
    return [view.of(step) for step in steps]


class _View:
    """One look at a plan."""

    def __init__(
        self, steps: Sequence[Step], store: Store, device: Device | None, length: int | None, rows: dict[str, int]
    ) -> None:
        self.nodes = {step.node.name: step.node for step in steps}
        self.steps, self.store, self.asked, self.length, self.rows = steps, store, device, length, rows
        self._known: dict[str, Shapes | None] = {}

    @cached_property
    def times(self) -> dict[str, timing.Expected]:
        """What each step took before, or on the embedded models."""
        return timing.expected(self.steps, self.store)

    def of(self, step: Step) -> Outlook:
        node = step.node
        device = self.asked or devices.present(node.runtime)
        if step.action == "reuse":
            return Outlook(node=node.name, device=device)
        shapes_ = self._shapes(node)
        before = self.times[node.name]
        if shapes_ is None:
            return self._priced(
                Outlook(node=node.name, device=device, seconds=before.seconds, source=before.source), node
            )
        assumed: list[str] = []
        work = self._load(node, assumed)
        trains = node.stage in TRAINED
        plan = self._fitted(node, shapes_, device) if trains else None
        parts = memory.training(plan) if plan else self._asked(node, shapes_, device)
        drawn = plan.sampled_rows if plan else 512
        took, source = before.seconds, before.source
        if self.asked or (before.planned and not self._embedded(node)):
            took = load.seconds(
                work,
                shapes_,
                device,
                twice=bool(plan and plan.checkpointing),
                adapter=bool(plan and plan.rank),
                at_once=drawn or 512,
            )
            source = "computed"
        found = Outlook(
            node=node.name,
            load=work,
            micro=plan.rows if plan else 0,
            twice=bool(plan and plan.checkpointing),
            device=device,
            parts=parts,
            seconds=took,
            source=source,
            disk=self._disk(node, shapes_, work, plan),
            assumed=tuple(assumed),
        )
        if plan and not found.fits:
            found = replace(found, ways=ways(plan, device))
        return self._priced(found, node)

    def _priced(self, found: Outlook, node: Loaded) -> Outlook:
        price = node.runtime.price
        cost = None if price is None else price * found.seconds / 3600 * found.device.count
        return replace(found, cost=cost)

    # ---- which model ----

    def _embedded(self, node: Loaded) -> bool:
        return self._origin(node).startswith("world:")

    def _origin(self, node: Loaded) -> str:
        """The input's text where the node's model comes from in the end."""
        text = _model(node)
        return self._origin(self.nodes[text]) if text in self.nodes and text != node.name else text

    def _shapes(self, node: Loaded, key: str | None = None) -> Shapes | None:
        text = node.inputs.get(key, "") if key else _model(node)
        if text in self.nodes and text != node.name:
            return self._shapes(self.nodes[text])
        if text not in self._known:
            self._known[text] = shapes_of(text, self.store)
        return self._known[text]

    # ---- how much work ----

    def _load(self, node: Loaded, assumed: list[str]) -> Load:
        recipe, stage = node.recipe, node.stage
        if stage == "rl" or (stage == "distill" and recipe.mode == "on-policy"):
            exact = recipe.dtype == "float32" and (self.asked or devices.present(node.runtime)).cpu
            return load.reinforcement(recipe, self.length, exact=exact) if stage == "rl" else self._on_policy(recipe)
        if stage in TRAINED:
            key = {"sft": "conversations", "reward-model": "preferences"}.get(stage) or (
                "conversations" if recipe.mode == "traces" else "logprobs"
            )
            rows = self._rows(node.inputs.get(key, ""), assumed)
            longest = self._limit(node, recipe.max_tokens)
            return load.imitation(rows, recipe, min(longest, PROMPT + load.mean_length(longest, self.length)))
        if stage in ("sample", "eval"):
            rows = min(self._rows(node.inputs.get("prompts", ""), assumed), recipe.problems or 10**12)
            times = recipe.samples * (len(recipe.samplings) if stage == "eval" else 1)
            return load.asking(rows * times, self._limit(node, recipe.max_tokens), self.length)
        rows = self._rows(_read(node), assumed)
        queries = 2 * recipe.queries if stage == "prefer" and recipe.kind == "pairs" else 1
        return load.asking(rows * queries, getattr(recipe, "max_tokens", None) or 2048, self.length)

    def _limit(self, node: Loaded, asked: int | None) -> int:
        """Tokens that a row may have: as asked, and never more than the model's positions."""
        one = self._shapes(node)
        positions = getattr(node.recipe, "positions", None) or (one.positions if one else 0)
        return min(asked or load.LONGEST_ROW, positions or load.LONGEST_ROW)

    def _on_policy(self, recipe: Any) -> Load:
        drawn = recipe.steps * recipe.batch_size
        mean = load.mean_length(recipe.max_completion_tokens, self.length)
        tokens = drawn * (PROMPT + mean)
        return Load(steps=recipe.steps, trained=tokens, read=tokens, drawn=drawn, length=mean, batch=recipe.batch_size)

    def _rows(self, text: str, assumed: list[str]) -> int:
        """How many rows an input has or will have."""
        if text in self.rows:
            return self.rows[text]
        node = self.nodes.get(text)
        if node is not None and node.stage == "sample":
            asked = min(self._rows(node.inputs.get("prompts", ""), assumed), node.recipe.problems or 10**12)
            return asked * int(node.recipe.samples)
        if node is not None and node.stage in ("curate", "prefer", "logprobs"):
            source = _read(node)
            drawn = self.nodes.get(source)
            found = self._rows(source, assumed)  # what is dropped nobody knows: all of it, rather than too little
            kept = getattr(node.recipe, "keep_per_prompt", 0)
            return found // drawn.recipe.samples * kept if kept and drawn and drawn.stage == "sample" else found
        counted = None if node is not None else counted_rows(text, self.store)
        if counted is None:
            assumed.append(f"`{text or 'its rows'}` is taken to have {ROWS:,} rows: say `--rows {text or 'NAME'}=N`")
        return ROWS if counted is None else counted

    # ---- how much memory ----

    def _fitted(self, node: Loaded, one: Shapes, device: Device) -> Training:
        """The way of training that the run would take: rows and, where not one fits, layers computed twice."""
        way = self._way(node, one, device)
        rows = max(1, _step_rows(node) // way.processes)
        runtime = node.runtime
        by_tokens = max(1, runtime.micro_tokens // way.tokens) if runtime.micro_tokens else None
        return memory.fitted(way, device.memory, runtime.micro_batch or by_tokens, rows)

    def _way(self, node: Loaded, one: Shapes, device: Device) -> Training:
        recipe, runtime, rl = node.recipe, node.runtime, node.stage == "rl"
        draws = rl or (node.stage == "distill" and recipe.mode == "on-policy")
        limit = recipe.max_completion_tokens if draws else self._limit(node, recipe.max_tokens)
        if rl and recipe.length_switch:
            limit = max(limit, recipe.length_switch.tokens)
        kind = device.kind
        engine = draws and kind == "cuda" and runtime.engine in ("auto", "vllm") and not runtime.vllm_server
        adapter = getattr(recipe, "adapter", None)
        others = [self._shapes(node, key) for key in ("helpful", "safe") if rl and key in node.inputs]
        others += [self._shapes(node, "teacher")] if node.stage == "distill" and draws else []
        size = 4 if recipe.dtype == "float32" else 2
        return Training(
            shapes=one,
            rows=1,
            tokens=PROMPT + limit if draws else limit,
            predicted=1 if node.stage == "reward-model" else limit,
            kind=kind,
            dtype=recipe.dtype,
            weights=recipe.weights,
            optimizer=recipe.optimizer,
            rank=adapter.rank if adapter else 0,
            targets=adapter.targets if adapter else "all-linear",
            quantized=bool(adapter and adapter.quantize == "4bit"),
            checkpointing=bool(runtime.gradient_checkpointing),
            reference=rl and bool(recipe.kl_weight),
            entropy=rl,
            sampled_rows=0 if engine or not draws else min(512, _step_rows(node)),
            beside=sum(other.parameters * size for other in others if other),
            reserved=int((runtime.vllm_memory or 0.4) * device.memory) if engine else 0,
            processes=max(device.count, runtime.world_size),
            sharded=runtime.shard or sharding(runtime.launcher),
        )

    def _asked(self, node: Loaded, one: Shapes, device: Device) -> Parts:
        kind = device.kind
        tokens = self._limit(node, PROMPT + (getattr(node.recipe, "max_tokens", None) or load.LONGEST_ROW))
        manner = next((getattr(node.recipe, f"{key}_manner", None) for key in MODELS if key in node.inputs), None)
        dtype = getattr(manner or node.recipe, "dtype", "float32")
        share = 0 if device.cpu else int((node.runtime.vllm_memory or 0.9) * device.memory)
        size = 4 if dtype == "float32" else 2
        if share and one.parameters * size > share:  # it is told as not fitting, and by how much
            share = 0
        rows = memory.rows_sampled(one, tokens, size, memory.SHARE[kind] * device.memory)
        return memory.sampling(one, rows=min(512, rows), tokens=tokens, dtype=dtype, kind=kind, reserved=share)

    def _disk(self, node: Loaded, one: Shapes, work: Load, plan: Training | None) -> int:
        text = 8 * work.drawn * work.length if node.stage in ("rl", "sample", "eval") else 0
        if plan is None:
            return text
        sealed = one.parameters * (2 if node.recipe.dtype == "bfloat16" else 4)
        trained = memory.training(plan)
        moved = trained.gradients if plan.rank else trained.weights  # of an adapter, the adapter alone
        states = (trained.optimizer + moved) * (plan.processes if plan.sharded else 1) + trained.reference
        return sealed + CHECKPOINTS * states + text


def ways(way: Training, device: Device) -> tuple[str, ...]:
    """The keys that would make a training fit: those that change nothing but time first, then one at a time."""

    def fits(**changes: Any) -> bool:
        return memory.training(replace(way, **changes)).peak <= memory.FULL * device.memory

    found = []
    changes: dict[str, Any] = {}
    said: list[str] = []
    for key, words, value in (
        ("rows", "runtime.micro_batch=1", 1),
        ("checkpointing", "runtime.gradient_checkpointing=true", True),
        ("optimizer", "optimizer=paged_adamw_8bit", "paged_adamw_8bit"),
    ):
        if getattr(way, key) == value or (key == "optimizer" and device.cpu):
            continue
        changes[key], said = value, [*said, words]
        if fits(**changes):
            found.append(" ".join(said))
            break
    slim = {"rows": 1, "checkpointing": True}
    if not way.rank and fits(**slim, rank=16):
        found.append("adapter.rank=16" if fits(rank=16) else "adapter.rank=16 runtime.gradient_checkpointing=true")
    if way.processes > 1 and not way.sharded and fits(**slim, sharded=True):
        words = f"runtime.processes={way.processes} runtime.shard=true"
        found.append(words if fits(sharded=True) else f"{words} runtime.gradient_checkpointing=true")
    if way.reserved and fits(**slim, reserved=int(0.3 * device.memory)):
        found.append("runtime.micro_batch=1 runtime.gradient_checkpointing=true runtime.vllm_memory=0.3")
    if way.rank and not way.quantized and not device.cpu and fits(**slim, quantized=True):
        found.append("adapter.quantize=4bit")
    if not found and way.sampled_rows:
        share = next((part for part in (2, 4, 8, 16) if fits(**slim, sampled_rows=way.sampled_rows // part)), 0)
        if share:
            found.append(f"1/{share} of the completions a rollout: group_size, prompts_per_step or minibatches")
    return tuple(found)


def shapes_of(text: str, store: Store) -> Shapes | None:
    """The shapes of what an input's text means, where that can be told without fetching it."""
    if not text or text.startswith("openai:"):
        return None
    if text.startswith("world:"):
        folder = import_module(sources.OWNERS["world"]).folder(text)
        return shapes.of_folder(folder) if folder else None
    try:
        artifact = sources.identity(text, Model, store).artifact
    except R1Error:
        artifact = None
    if artifact is not None:
        return shapes.of_folder(artifact.path)
    if text.startswith("hf:"):
        return published.shapes(text)
    path = Path(text).expanduser()
    return shapes.of_folder(path) if path.is_dir() else None


def counted_rows(text: str, store: Store) -> int | None:
    """How many rows an input's text means, where that can be told; None where not."""
    if text.startswith("world:"):
        found: int | None = import_module(sources.OWNERS["world"]).rows(text)
        return found
    path = Path(text).expanduser()
    if text.endswith(".jsonl") and path.is_file():
        with path.open("rb") as file:
            return sum(1 for line in file if line.strip())
    artifact = store.newest(text.partition("@")[0]) if text and ":" not in text and "/" not in text else None
    rows = artifact.metrics.get("rows") if artifact else None
    return int(rows) if isinstance(rows, int) else None


def _model(node: Loaded) -> str:
    return next((node.inputs[key] for key in MODELS if key in node.inputs), "")


def _read(node: Loaded) -> str:
    """The input that a node without training goes through."""
    return next((node.inputs[key] for key in ("rollouts", "conversations", "prompts") if key in node.inputs), "")


def _step_rows(node: Loaded) -> int:
    return int(node.recipe.step_rows if node.stage == "rl" else node.recipe.batch_size)


def sharding(launcher: str | None) -> bool:
    """Whether a launcher's words say that weights are split among the processes."""
    return bool(re.search(r"fsdp|zero-?[123]|deepspeed", launcher or "", re.IGNORECASE))
