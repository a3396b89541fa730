"""The memory of a run before it is run: shapes and a way of training enter; bytes for each part, and the peak, leave.

What autograd keeps was counted on transformers' decoders (attention by sdpa, a gated feed-forward layer); the peak is
that of the moment at which most is there at once, so it is less than the sum of the parts. Figures are a little high
rather than low: the longest row is taken for every row. `python -m tests.bench.forecast` compares them with runs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from stages.core.scale.shapes import Shapes

STATES = {"adamw": 8, "adamw_8bit": 2, "paged_adamw": 8, "paged_adamw_8bit": 2, "adafactor": 0}
"""Optimizer -> bytes it remembers for each trained number (Adafactor's rows and columns are next to nothing)."""
LOGITS_AT_ONCE = {"cpu": 1 << 24, "cuda": 1 << 26}
"""Logits that may exist at a time while log-probabilities are taken, by kind of device: 2^24 are 64 MiB."""
SHARE = {"cpu": 1 / 6, "cuda": 1 / 2}
"""Part of the memory that activations may take: on a CPU others live there too."""
FULL = 0.95
"""Part of a device's memory that may be planned away."""
SMALL_MODEL = 2**24
"""Parameters below which a model is a small one on a CPU, whose time goes into single operations, not into products."""
CPU_ROWS = {"small": 128, "real": 32}
"""Most rows at once on a CPU: prompts and the common start are read once a pass, and a pass has its price. Beyond that
rows at once only take memory (the embedded model, 128 against 32 rows: a sixth less time a step).
"""
KERNELS = {"cpu": 70 * 10**6, "cuda": 6 * 10**8}
"""What a device's libraries take for themselves once they have computed something."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """A way of training, as far as memory depends on it."""

    shapes: Shapes
    rows: int
    """Rows of a forward and backward pass."""
    tokens: int
    """Longest row, prompt and completion."""
    predicted: int
    """Tokens of it that meet the output layer."""
    shared: int = 0
    """Tokens at the start that all rows share, computed once."""
    kind: Literal["cpu", "cuda"] = "cpu"
    dtype: str = "float32"
    """Of the forward passes."""
    weights: str = "float32"
    """`float32`, `bfloat16_master` (a float32 copy beside them) or `bfloat16`."""
    optimizer: str = "adamw"
    rank: int = 0
    """Of an adapter; 0 = all weights are trained."""
    targets: str | list[str] = "all-linear"
    quantized: bool = False
    """Whether the base under an adapter is held in 4 bits."""
    checkpointing: bool = False
    """Whether layers are computed twice instead of kept."""
    accumulated: bool = True
    """Whether a step has several micro-batches, so that gradients are there when the next begins."""
    reference: bool = False
    """Whether a frozen copy is held."""
    entropy: bool = False
    """Whether entropies are taken beside log-probabilities."""
    sampled_rows: int = 0
    """Rows sampled at once by the trainer's own process; 0 = it samples nothing, or an engine does."""
    beside: int = 0
    """Bytes of other models that stay in memory: judges, a teacher."""
    reserved: int = 0
    """Bytes that an engine takes for itself on the same device."""
    processes: int = 1
    sharded: bool = False
    """Whether weights, gradients and states are split among the processes (FSDP, ZeRO-3); else each has all."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Bytes on one device."""

    weights: int = 0
    gradients: int = 0
    optimizer: int = 0
    reference: int = 0
    activations: int = 0
    logits: int = 0
    kv_cache: int = 0
    """Keys and values while sampling, or all that an engine on the same device takes."""
    other: int = 0
    """Judges, a teacher, and what the device's libraries take."""
    peak: int = 0
    """Most at one moment."""


def training(way: Training) -> Parts:
    """The memory of one process in training."""
    shapes, share = way.shapes, way.processes if way.sharded else 1
    trained = shapes.adapted(way.rank, way.targets) if way.rank else shapes.parameters
    wide = 4 if way.weights == "float32" else 2
    held = shapes.parameters * (0.56 if way.quantized else wide) + (trained * wide if way.rank else 0)
    states = trained * (STATES[way.optimizer] + (4 if way.weights == "bfloat16_master" else 0))
    weights, gradients, optimizer = int(held / share), trained * wide // share, states // share
    # With an adapter the reference is the base itself, the adapter off, until it is replaced; then a copy of that.
    reference = (trained * wide if way.rank else int(held) // share) if way.reference else 0
    ends = (
        2 * shapes.vocabulary * shapes.hidden
    )  # embedding and output layer: whole with their gradients, as a layer is
    gathered = 2 * wide * (ends + (shapes.parameters - ends) // max(shapes.layers, 1)) if way.sharded else 0
    activations = kept(way) + gathered
    logits, head = _head(way, trained == shapes.parameters)
    cache = sampling_cache(way) if way.sampled_rows else 0
    other = way.beside + KERNELS[way.kind]
    standing = weights + optimizer + reference + other + way.reserved
    forth = activations + logits + head
    if way.checkpointing:  # a layer is computed again when what stands above it is gone
        forth = activations - again(way) + max(logits + head, again(way))
    update = max(forth + (gradients if way.accumulated else 0), gradients)
    drawing = cache + (20 * way.sampled_rows * shapes.vocabulary if cache else 0)
    if way.sharded:  # whole while a policy samples, and, with its copies, before they are split
        loading = int(held) * (2 if way.reference and not way.rank else 1) - weights - optimizer - reference
        drawing = max(drawing + (int(held) if cache else 0), loading)
    return Parts(
        weights=weights,
        gradients=gradients,
        optimizer=optimizer,
        reference=reference,
        activations=activations,
        logits=logits,
        kv_cache=cache + way.reserved,
        other=other,
        peak=standing + max(update, drawing),
    )


def kept(way: Training) -> int:
    """Bytes that the layers keep for the backward pass of one micro-batch."""
    own = way.rows * (way.tokens - way.shared) + way.shared
    size = 4 if way.dtype == "float32" else 2
    stream = way.shapes.hidden * (4 if way.weights == "float32" else 2)
    if way.checkpointing:
        whole = way.shared * way.shapes.layers * layer_bytes(replace(way, shared=0))  # the shared start is kept
        return own * (way.shapes.layers + 4) * stream + whole + again(way)
    # Under autocast each weight's bfloat16 copy is kept as well.
    copies = 2 * way.shapes.active if size == 2 and way.weights == "float32" else 0
    return own * (way.shapes.layers * layer_bytes(way) + 4 * stream) + copies  # embedding and last norm: 4 hidden


def again(way: Training) -> int:
    """Bytes of the one layer that is computed again at a time, and of its gradients."""
    own = way.rows * (way.tokens - way.shared) + way.shared
    return own * (layer_bytes(way) + 3 * (4 if way.dtype == "float32" else 2) * way.shapes.wide)


def layer_bytes(way: Training) -> int:
    """Bytes that one layer keeps for one token: what norms, attention and the feed-forward layer read.

    Full: 6 hidden + 2 query + 2 keys + 4 wide values; with an adapter frozen norms keep a third less, and each adapted
    layer keeps its inner values.
    """
    one, full = way.shapes, way.rank == 0
    size = 4 if way.dtype == "float32" else 2
    norms = (6 if full else 4) * one.hidden * size
    if size == 2 and way.weights == "float32":  # the residual stream and the norms stay in float32
        norms = (20 if full else 12) * one.hidden
    elif size == 2:  # norms compute in float32
        norms = (16 if full else 12) * one.hidden
    keys = one.keys
    if way.shared:  # a row's keys stand beside the shared ones, repeated for each query head, under a mask of its own
        keys = one.query * way.tokens // max(1, way.tokens - way.shared)
    met = sum(times for kind, _, _, times in one.linear if kind != "experts")
    inner = met * way.rank * size // max(one.layers, 1)
    mask = way.tokens * size if way.shared else 0
    return norms + size * (2 * one.query + 2 * keys + 4 * one.wide) + inner + mask


def _head(way: Training, full: bool) -> tuple[int, int]:
    """(bytes of logits and what is computed from them, bytes of the output layer's gradient on the way)."""
    shapes = way.shapes
    size = shapes.vocabulary * 4
    tokens = way.rows * way.predicted
    at_once = max(1, LOGITS_AT_ONCE[way.kind] // shapes.vocabulary)
    copies = 6 if way.entropy else 3
    pieces = tokens > at_once
    weight = 4 * shapes.vocabulary * shapes.hidden * ((2 if pieces else 1) if full else 0)
    return min(tokens, at_once) * size * copies, weight


def sampling_cache(way: Training) -> int:
    """Bytes of keys and values of the rows sampled at once, with the quarter more by which a cache grows."""
    size = 4 if way.dtype == "float32" else 2
    own = way.sampled_rows * (way.tokens - way.shared) + way.shared
    return own * way.shapes.layers * way.shapes.cached * size * 5 // 4


def sampling(shapes: Shapes, *, rows: int, tokens: int, dtype: str, kind: str, reserved: int = 0) -> Parts:
    """The memory of a model that is only asked: `rows` at once, or an engine's `reserved` bytes for all of it."""
    size = 4 if dtype == "float32" else 2
    weights, other = shapes.parameters * size, KERNELS[kind]
    if reserved:
        return Parts(weights=weights, kv_cache=max(0, reserved - weights), other=other, peak=reserved + other)
    cache = rows * tokens * shapes.layers * shapes.cached * size * 5 // 4
    logits = 20 * rows * shapes.vocabulary
    return Parts(weights=weights, kv_cache=cache, logits=logits, other=other, peak=weights + cache + logits + other)


def rows_that_fit(way: Training, budget: float) -> int:
    """How many rows of a micro-batch keep within `budget` bytes of activations; 0 = not even one."""
    return int(budget // max(1, kept(replace(way, rows=1, shared=0))))


def budget(kind: str, total: int, standing: int) -> float:
    """Bytes that activations may take on a device of `total` bytes on which `standing` are taken before."""
    return min(SHARE[kind] * total, max(0.0, FULL * total - standing))


def fitted(way: Training, total: int, asked: int | None, step_rows: int) -> Training:
    """The same with the rows of a micro-batch that a run takes on a device of `total` bytes, `asked` ones or as many
    as fit, and with layers computed twice where not one row fits otherwise."""
    bare = training(replace(way, rows=1, checkpointing=True, sampled_rows=0))
    room = budget(way.kind, total, bare.peak - bare.activations)
    if not asked and not way.checkpointing and not rows_that_fit(way, room):
        way = replace(way, checkpointing=True)
    most = asked or min(
        max(1, rows_that_fit(way, room)), cpu_rows(way.shapes.parameters) if way.kind == "cpu" else step_rows
    )
    rows = micro_rows(step_rows, most)
    return replace(way, rows=rows, accumulated=rows < step_rows)


def cpu_rows(parameters: int) -> int:
    """Most rows at once of a model of so many parameters on a CPU."""
    return CPU_ROWS["small" if parameters < SMALL_MODEL else "real"]


def micro_rows(rows: int, limit: int) -> int:
    """The most rows, at most `limit` and at least 1, that divide a step of `rows` evenly."""
    limit = max(1, min(limit, rows))
    return next(size for size in range(limit, 0, -1) if rows % size == 0)


def rows_sampled(shapes: Shapes, tokens: int, size: int, room: float) -> int:
    """How many rows of `tokens` tokens can be sampled at once with `room` bytes for keys and values of `size` bytes
    each; at least 1. The cache grows by copying, so it is counted twice."""
    return max(1, int(room // (2 * shapes.layers * shapes.cached * size * max(1, tokens))))
