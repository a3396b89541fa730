"""Attention in which all rows look at one copy of the keys and values of their common start.

Registered with transformers' AttentionInterface, so it works in a model's own layers: a query, its row's own keys and
values, and the shared ones enter; what attention gives leaves.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from stages.core.errors import StageError
from stages.policy.models.tree import Tree, tree_attention

ATTENTION = "r1_shared_prefix"


class Prefix(NamedTuple):
    """Keys and values of a prefix of `length` tokens: a pair of [1, key heads, P, head width] tensors per layer."""

    layers: list[tuple[Tensor, Tensor]]
    length: int


def shared_prefix_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """Attend to a shared prefix and to each row's own tokens, as transformers' attention interface asks.

    query [B, H, T, D]; key and value [B, K, S, D] of the row's own tokens; `attention_mask` [B, 1, T, S], True = may
    look, None only when T is 1 and every own key is real; `shared_prefix` among the keywords. Returns [B, T, H, D].
    The prefix is always visible. With a `tree` among the keywords the rows are one, and it says who looks at whom.
    """
    tree: Tree | None = kwargs.pop("tree", None)
    if tree is not None:
        return tree_attention(query, key, value, tree, kwargs["scaling"]), None
    prefix: Prefix | None = kwargs.pop("shared_prefix", None)
    layer = None if prefix is None else prefix.layers[module.layer_idx]
    if query.shape[2] == 1 and not torch.is_grad_enabled():
        return _decode(query * kwargs["scaling"], key, value, attention_mask, layer), None
    if layer is not None and prefix is not None:
        rows = key.shape[0]
        key = torch.cat([layer[0].expand(rows, -1, -1, -1), key], dim=2)
        value = torch.cat([layer[1].expand(rows, -1, -1, -1), value], dim=2)
        if attention_mask is not None:
            attention_mask = nn.functional.pad(attention_mask, (prefix.length, 0), value=True)
    output: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    return output


AttentionInterface.register(ATTENTION, shared_prefix_attention)


def _decode(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, prefix: tuple[Tensor, Tensor] | None
) -> Tensor:
    """One new token per row. The prefix costs one matrix product for all rows together: its keys are read once per
    step, not B times."""
    rows, heads, _, width = query.shape
    groups, own = key.shape[1], key.shape[2]
    share = heads // groups
    query = query.reshape(rows * groups, share, width)
    # flatten() of a cache slice is a view, and bmm takes its strides: nothing is copied.
    scores = torch.bmm(query, key.flatten(0, 1).transpose(1, 2)).view(rows, groups, share, own)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    exact = torch.promote_types(torch.float32, query.dtype)
    if prefix is None:
        weights = scores.softmax(-1, dtype=exact).to(query.dtype)
        return torch.bmm(weights.view(rows * groups, share, own), value.flatten(0, 1)).view(rows, 1, heads, width)
    prefix_key, prefix_value = prefix[0][0], prefix[1][0]
    by_group = query.view(rows, groups, share, width).transpose(0, 1).reshape(groups, rows * share, width)
    prefix_scores = torch.bmm(by_group, prefix_key.transpose(1, 2)).view(groups, rows, share, -1).transpose(0, 1)
    weights = torch.cat([prefix_scores, scores], dim=-1).softmax(-1, dtype=exact).to(query.dtype)
    length = prefix_key.shape[1]
    mine = torch.bmm(weights[..., length:].reshape(rows * groups, share, own), value.flatten(0, 1))
    theirs = torch.bmm(weights[..., :length].transpose(0, 1).reshape(groups, rows * share, length), prefix_value)
    theirs = theirs.view(groups, rows, share, width).transpose(0, 1)
    return (mine.view(rows, groups, share, width) + theirs).reshape(rows, 1, heads, width)


@contextmanager
def shared_attention(model: Any) -> Iterator[None]:
    """Let `model` attend through shared_prefix_attention inside the block, and as before after it."""
    config = getattr(model, "module", model).config
    before = config._attn_implementation
    config._attn_implementation = ATTENTION
    try:
        yield
    finally:
        config._attn_implementation = before


def compute_twice(model: Any) -> None:
    """Let `model` keep only what enters each layer, and compute it again in the backward pass (arXiv 1604.06174).

    The second time has the attention of the first: that of the block in which the forward pass ran is left by then.
    Raises StageError for an architecture that transformers cannot do this for.
    """
    if not model.supports_gradient_checkpointing:
        raise StageError(
            f"a {model.config.model_type} cannot compute its layers twice in transformers",
            hint="leave `runtime.gradient_checkpointing` out, and lower `runtime.micro_batch` or the longest row",
        )

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        shared = model.config._attn_implementation == ATTENTION
        return nullcontext(), shared_attention(model) if shared else nullcontext()

    model.gradient_checkpointing_enable({"use_reentrant": False, "context_fn": contexts})


def computes_twice(model: Any) -> bool:
    """Whether layers are computed twice in training, with the attention of the first time (`compute_twice`)."""
    return any("context_fn" in getattr(func, "keywords", ()) for func in _checkpointing(model).values())


@contextmanager
def kept_whole(model: Any) -> Iterator[None]:
    """Keep what the layers compute inside the block, where it is the keys and values that are wanted."""
    layers = list(_checkpointing(model))
    for layer in layers:
        layer.gradient_checkpointing = False
    try:
        yield
    finally:
        for layer in layers:
            layer.gradient_checkpointing = True


def _checkpointing(model: Any) -> dict[Any, Any]:
    """The modules that are computed twice, with the function that does it."""
    return {
        module: getattr(module, "_gradient_checkpointing_func", None)
        for module in model.modules()
        if getattr(module, "gradient_checkpointing", False)
    }
