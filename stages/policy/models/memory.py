"""How many rows fit into one forward and backward pass: a model and the tokens of a row enter, a number of rows leaves.

It goes by the memory the machine has, never by what happens to be free, so that a resumed run cuts its micro-batches
where the killed one did. What a row takes is the forecast's own figure (`stages.core.scale.memory`).
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch

from stages.core.errors import StageError
from stages.core.run.runtime import Runtime
from stages.core.scale import devices, shapes
from stages.core.scale.memory import SHARE, Training, budget, cpu_rows, kept
from stages.policy.models import device, families
from stages.policy.models.attending import compute_twice
from stages.policy.ranks.world import world

REAL_MODEL = 64 * 2**20
"""Bytes of weights from which on a CPU's memory is handed back when a tensor is freed (`hand_back`)."""


def rows_that_fit(model: Any, tokens: int, *, beside: int = 0) -> int:
    """Return how many rows of `tokens` tokens can be trained on at once; at least 1. `beside`: bytes that are taken by
    what else a training holds. The output layer is bounded on its own, in `selected_logprobs`.
    """
    fit = max(1, int(_rows(model, tokens, beside)))
    return min(fit, cpu_rows(_parameters(model))) if model.device.type == "cpu" else fit


def row_fits(model: Any, tokens: int, *, beside: int = 0) -> bool:
    """Say whether one row of `tokens` tokens can be trained on without computing its activations twice."""
    return _rows(model, tokens, beside) >= 1


def trained_bytes(model: Any) -> int:
    """Return the bytes that a model takes in training besides activations: weights, gradients and AdamW's moments; of
    several processes that hold them together, in each."""
    size, parts = next(model.parameters()).element_size(), world().size if world().shards else 1
    return sum(one.numel() * (2 * size + 8 if one.requires_grad else size) for one in model.parameters()) // parts


def compute_twice_if_asked(model: Any, runtime: Runtime, tokens: int, *, beside: int = 0) -> str:
    """Let a model compute its layers twice where the runtime says so, or where it says nothing and not one row of
    `tokens` tokens fits otherwise; returns a phrase for the run's notes, "" where each layer is computed once.

    Raises StageError where not even one row will find room beside what others have taken of the device.
    """
    refuse_full(model, tokens, beside, free_bytes(model.device))
    asked = runtime.gradient_checkpointing
    if asked is False or (asked is None and row_fits(model, tokens, beside=beside)):
        return ""
    if asked is None and not model.supports_gradient_checkpointing:
        return ""
    compute_twice(model)
    return ", layers computed twice" + ("" if asked else " for lack of memory")


def free_bytes(place: torch.device) -> int | None:
    """Return the bytes of a device that nobody has taken, what this process holds unused among them; None where nobody
    says."""
    if place.type == "cuda":
        kept_back = torch.cuda.memory_reserved(place) - torch.cuda.memory_allocated(place)
        return int(torch.cuda.mem_get_info(place)[0]) + kept_back
    return devices.available()


def refuse_full(model: Any, tokens: int, beside: int, free: int | None) -> None:
    """Raise StageError where `free` bytes of a device do not hold what a training adds to its model: the rest of
    `beside`, and one row of `tokens` tokens whose layers are computed twice."""
    held = sum(one.numel() * one.element_size() for one in model.parameters())
    needed = max(0, beside - held) + _row_bytes(model, tokens, checkpointing=True)
    if free is None or needed <= free:
        return
    kind = model.device.type
    raise StageError(
        f"{'the GPU' if kind == 'cuda' else 'the machine'} has {free / 1e9:.1f} GB free, and training takes "
        f"{needed / 1e9:.1f} GB more, of one row at a time: other programs have the rest",
        hint=f"end them, or {'use another device (`runtime.device=cuda:1`), or ' if kind == 'cuda' else ''}"
        "take less: `adapter.rank=16`, `optimizer=adafactor`, a shorter longest row",
    )


def rows_sampled_at_once(model: Any, tokens: int) -> int:
    """Return how many rows of `tokens` tokens can be sampled at once; at least 1.

    A row keeps a key and a value per token, layer and key-value head. The cache grows by copying, so it is counted
    twice.
    """
    config = model.config.get_text_config()
    # A layer that keeps a state instead of keys and values is counted as if it kept them: it keeps less.
    all_heads = families.value(config, "num_attention_heads") or 1
    heads = families.value(config, "num_key_value_heads") or all_heads
    width = families.value(config, "head_dim") or config.hidden_size // all_heads
    size = next(model.parameters()).element_size()
    per_token = 2 * 2 * config.num_hidden_layers * heads * width * size
    kind = model.device.type
    return max(1, int(SHARE.get(kind, SHARE["cuda"]) * memory(kind) / (per_token * max(tokens, 1))))


def hand_back(model: Any) -> None:
    """Let a CPU's memory go back as soon as a tensor of 1 MiB or more is freed, where the model is a real one.

    Otherwise glibc raises its threshold to 32 MiB, kept small tensors come to lie in the holes of freed large ones, and
    a peak is up to 3.5 times its tensors. The price is page faults: a sixth more CPU time on SmolLM2's widths, but half
    as much again on the embedded models, which therefore keep what they freed (`device.place`). See docs/scale.md.
    """
    weights = sum(one.numel() * one.element_size() for one in model.parameters())
    if model.device.type != "cpu":
        return
    if weights < REAL_MODEL:
        device.keep_freed_memory()
        return
    trim_threshold, top_pad, mmap_threshold = -1, -2, -3  # names of malloc.h
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    for name, value in ((mmap_threshold, 2**20), (trim_threshold, 2**20), (top_pad, 2**17)):
        mallopt(name, value)


def memory(device: str) -> int:
    """Return the bytes of memory of a device; on a CPU what this process may use of it, beside those it trains with."""
    if device == "cuda":
        return int(torch.cuda.get_device_properties(0).total_memory)
    return devices.ram() // world().local_size


def _rows(model: Any, tokens: int, beside: int) -> float:
    kind = "cpu" if model.device.type == "cpu" else "cuda"
    total = memory(model.device.type)
    room = budget(kind, total, beside) if beside else SHARE[kind] * total
    return room / (_row_bytes(model, tokens))


def _parameters(model: Any) -> int:
    return sum(one.numel() for one in model.parameters())


def _row_bytes(model: Any, tokens: int, *, checkpointing: bool = False) -> int:
    """Bytes that a row keeps for the backward pass."""
    config = model.config.get_text_config()
    found = shapes.of_config(config.to_dict())
    if found is not None:
        return kept(Training(shapes=found, rows=1, tokens=max(tokens, 1), predicted=1, checkpointing=checkpointing))
    wide = families.value(config, "intermediate_size") or 4 * config.hidden_size
    return int(config.num_hidden_layers * (12 * config.hidden_size + 4 * wide) * 6 * max(tokens, 1))
