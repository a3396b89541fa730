"""How many rows fit into one forward and backward pass: a model and the tokens of a row enter, a number of rows leaves.

It goes by the memory the machine has, never by what happens to be free, so that a resumed run cuts its micro-batches
where the killed one did.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from stages.policy.models import families

BYTES = 4
"""Of a float32 activation; a bfloat16 run keeps about half of them at this width."""
SHARE = {"cpu": 1 / 6, "cuda": 1 / 2}
"""Part of the memory that activations may take: on a CPU others live there too."""
CPU_ROWS = 32
"""Most rows at once on a CPU: rows lie in order of their lengths, and more at once only adds padding (measured on the
embedded model: a quarter less time a step than with 128).
"""
SAFETY = 1.5
"""Buffers of the backward pass and fragments, on top of the activations it reads."""


def rows_that_fit(model: Any, tokens: int) -> int:
    """Return how many rows of `tokens` tokens can be trained on at once; at least 1.

    A layer keeps about 12 values per token and hidden unit (norms, attention's inputs and output, residuals) and 4 per
    token and unit of the feed-forward layer. The output layer is bounded on its own, in `selected_logprobs`.
    """
    fit = max(1, int(_rows(model, tokens)))
    return min(fit, CPU_ROWS) if model.device.type == "cpu" else fit


def row_fits(model: Any, tokens: int) -> bool:
    """Say whether one row of `tokens` tokens can be trained on without computing its activations twice."""
    return _rows(model, tokens) >= 1


def _rows(model: Any, tokens: int) -> float:
    config = model.config.get_text_config()
    hidden = config.hidden_size
    wide = families.value(config, "intermediate_size") or 4 * hidden
    per_token = config.num_hidden_layers * (12 * hidden + 4 * wide) * BYTES * SAFETY
    device = model.device.type
    return SHARE.get(device, SHARE["cuda"]) * memory(device) / (per_token * max(tokens, 1))


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
    device = model.device.type
    return max(1, int(SHARE.get(device, SHARE["cuda"]) * memory(device) / (per_token * max(tokens, 1))))


def memory(device: str) -> int:
    """Return the bytes of memory of a device; on a CPU what this process may use of it."""
    if device == "cuda":
        return int(torch.cuda.get_device_properties(0).total_memory)
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")  # a container's share; "max" where it has none
    allowed = limit.read_text().strip() if limit.is_file() else ""
    return min(total, int(allowed)) if allowed.isdigit() else total
