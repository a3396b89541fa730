"""The prompt prefix that all rows share, computed once instead of once per row.

A model and token ids enter; log-probabilities (with exact gradients) or the prefix's keys and values leave. R1-Zero's
template opens with the same 70 to 90 tokens in every prompt, several times the length of a short problem and its
completion: run per row, that text would be most of a training step. Here it runs once with batch 1, and every layer
of every row attends to that one copy, inside the autograd graph, so that gradients are those of the plain forward
pass.

It is done in the attention function (transformers' AttentionInterface), not in a model class: it works for each decoder
of `families.PLAIN`, and keys and values of the prefix are never copied per row and step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Required, TypedDict, Unpack

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import DynamicCache, PreTrainedModel

from stages.core.scale.memory import LOGITS_AT_ONCE
from stages.policy.models import families
from stages.policy.models.attending import (
    ATTENTION,
    Prefix,
    computes_twice,
    kept_whole,
    shared_attention,
    shared_prefix_attention,
)
from stages.policy.ranks.sharding import apart, rest, sharded

MASK_AT_ONCE = 1 << 24
"""Entries of a mask [B, T, T] that may exist: beyond it rows are laid out so that causal attention needs none."""
__all__ = ["ATTENTION", "Prefix", "shared_attention", "shared_prefix_attention"]


_Pass = tuple[dict[str, Any], Tensor, AbstractContextManager[None]]
"""What a forward pass takes, which of its last T columns are real completion tokens, and the attention to run it in."""


def shared_prefix_length(ids: Sequence[Sequence[int]] | Tensor, mask: Tensor | None = None) -> int:
    """Count the tokens that all rows share at their start.

    `ids` holds lists of any length, or a [B, P] tensor with a `mask` of the same shape (True = a real token; padding
    may stand on the left). At most the shortest row's length - 1, so that every row keeps a token of its own to
    predict from; 0 for no rows.
    """
    if isinstance(ids, Tensor):
        kept = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.bool()
        ids = [row[real].tolist() for row, real in zip(ids, kept, strict=True)]
    rows = [list(row) for row in ids]
    if not rows:
        return 0
    # The smallest and the largest row (in dictionary order) differ earliest: what they share, all rows share.
    low, high = min(rows), max(rows)
    shared = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), len(low))
    return max(0, min(shared, min(map(len, rows)) - 1))


def why_not_shared(model: Any, tokens: int, rows: int = 1) -> str:
    """Say why `model` cannot share a prefix in `rows` rows of `tokens` tokens (prefix included), or "" when it can."""
    own = getattr(model, "module", model)
    again = getattr(own, "is_gradient_checkpointing", False) and own.training and torch.is_grad_enabled()
    if again and not computes_twice(own):
        return "gradient checkpointing runs layers again without the prefix's keys and values"
    if apart(own):
        return "a layer's weights are let go before the gradients of the prefix's keys and values come to it"
    if rows * tokens**2 > MASK_AT_ONCE:
        return f"the mask of {rows} rows of {tokens} tokens would be larger than what sharing saves"
    return families.why_not_fast(_config(model), tokens)


def run_prefix(model: Any, prefix_ids_P: Tensor) -> Prefix:
    """Run [P] token ids (P >= 1) once, with batch 1, and return each layer's keys and values, with gradients where
    they are on."""
    with kept_whole(model):
        output = model(input_ids=prefix_ids_P[None], use_cache=True, past_key_values=DynamicCache(), logits_to_keep=1)
    layers = [(layer.keys, layer.values) for layer in output.past_key_values.layers]
    return Prefix(layers, int(prefix_ids_P.shape[0]))


def own_mask(mask_BT: Tensor) -> Tensor:
    """Who may look at whom among the rows' own tokens: [B, 1, T, T] from [B, T], causal and without padding.

    A padding token may look at itself, for a softmax over nothing would be NaN; nobody looks at it.
    """
    length = mask_BT.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=mask_BT.device).tril()
    itself = torch.eye(length, dtype=torch.bool, device=mask_BT.device)
    return ((causal & mask_BT[:, None, :].bool()) | itself)[:, None]


def suffix_logits(
    model: Any, prefix_ids_P: Tensor, suffix_ids_BT: Tensor, suffix_mask_BT: Tensor, logits_to_keep: int = 0
) -> Tensor:
    """Logits of rows that continue one common prefix, equal to those of the full rows.

    `suffix_mask_BT`: True = a real token, padding on either side. Returns [B, T, V], or [B, logits_to_keep, V] of the
    last positions; values at padding mean nothing. Gradients reach the prefix too.
    """
    inputs = _suffix_inputs(model, prefix_ids_P, suffix_ids_BT, suffix_mask_BT)
    with shared_attention(model):
        logits: Tensor = model(**inputs, logits_to_keep=logits_to_keep).logits
    return logits


class Scoring(TypedDict, total=False):
    """How selected_logprobs looks at the rows."""

    temperature: Required[float]
    """Logits are divided by it before the softmax; > 0."""
    shared_prefix: int
    """Real tokens that all prompts share at their start, see shared_prefix_length; 0, the default, shares nothing."""
    with_entropy: bool
    """Whether entropies are wanted too; not by default."""


def selected_logprobs(
    model: Any,
    prompt_ids_BP: Tensor,
    prompt_mask_BP: Tensor,
    completion_ids_BT: Tensor,
    completion_mask_BT: Tensor,
    **scoring: Unpack[Scoring],
) -> tuple[Tensor, Tensor | None]:
    """Log-probability of each completion token under softmax(logits / temperature), and the entropy of that
    distribution in nats.

    Prompts are left-padded, completions right-padded; masks are True at real tokens. The first `shared_prefix` real
    tokens must be the same in all prompts: they run once (see why_not_shared for the cases in which they run per row
    after all; the values are the same). Both results are [B, T], float32 or wider, 0 where completion_mask_BT is
    False; entropies carry no gradient. Only real tokens meet the output layer, at most LOGITS_AT_ONCE logits at a
    time, so [B, T, V] never exists whole. A wrapped model (DDP, PEFT) is called through its own forward.
    """
    temperature, with_entropy = scoring["temperature"], scoring.get("with_entropy", False)
    rows = (prompt_ids_BP, prompt_mask_BP.bool(), completion_ids_BT, completion_mask_BT.bool())
    parts = []
    for inputs, mask, attention in _passes(model, *rows, shared_prefix=scoring.get("shared_prefix", 0)):
        with attention:
            parts.append(_token_logprobs(model, inputs, mask, temperature, with_entropy))
    rest(model)
    values = torch.cat([part[0] for part in parts])
    entropies = torch.cat([part[1] for part in parts]) if with_entropy else None
    real_T = completion_mask_BT.bool()
    where = real_T.nonzero(as_tuple=True)
    logprobs_BT = values.new_zeros(real_T.shape).index_put(where, values)
    return logprobs_BT, None if entropies is None else entropies.new_zeros(real_T.shape).index_put(where, entropies)


def selected_logits(
    model: Any,
    prompt_ids_BP: Tensor,
    prompt_mask_BP: Tensor,
    completion_ids_BT: Tensor,
    completion_mask_BT: Tensor,
    *,
    shared_prefix: int = 0,
) -> Tensor:
    """Logits [N, V] that the N real completion tokens were drawn from, row after row, with gradients where they are on.

    Rows are as in selected_logprobs. The whole [N, V] exists at once: cut the rows before, or have a small V (a value
    model's is 1).
    """
    rows = (prompt_ids_BP, prompt_mask_BP.bool(), completion_ids_BT, completion_mask_BT.bool())
    parts = []
    for inputs, mask, attention in _passes(model, *rows, shared_prefix=shared_prefix):
        with attention:
            parts.append(_logits(model, inputs, mask))
    rest(model)
    return torch.cat(parts)


def mapped_logits(
    model: Any,
    rows: tuple[Tensor, Tensor, Tensor, Tensor],
    value: Callable[[Tensor, int], Tensor],
    shared_prefix: int = 0,
) -> Tensor:
    """`value` of the logits that the N real completion tokens were drawn from, one after the other, joined: [N, …].

    `rows` are prompt ids and mask, completion ids and mask as in selected_logprobs. `value` gets the logits [n, V] of
    some tokens and the number of the first, and must be computed from nothing else that needs a gradient; it is called
    for at most LOGITS_AT_ONCE logits at a time, again in the backward pass, so [N, V] never exists whole.
    """
    prompt_ids, prompt_mask, completion_ids, completion_mask = rows
    sides = (prompt_ids, prompt_mask.bool(), completion_ids, completion_mask.bool())
    found, before = [], 0
    for inputs, mask, attention in _passes(model, *sides, shared_prefix=shared_prefix):
        with attention:
            found.append(_mapped(model, inputs, mask, value, before))
        before += int(mask.sum())
    rest(model)
    return torch.cat(found)


def _mapped(
    model: Any, inputs: dict[str, Any], mask_BT: Tensor, value: Callable[[Tensor, int], Tensor], before: int
) -> Tensor:
    """`value` of one pass, whose first token has the number `before`."""
    if not _head_is_plain(model):
        return value(_logits(model, inputs, mask_BT), before)
    head, hidden = _inner(model).get_output_embeddings(), _hidden(model, inputs, mask_BT)
    step = _at_once(head)
    if len(hidden) <= step:
        return value(head(hidden), before)

    def part(hidden_NH: Tensor, first: int) -> Tensor:
        return value(head(hidden_NH), before + first)

    starts = range(0, len(hidden), step)
    return torch.cat([checkpoint(part, hidden[at : at + step], at, use_reentrant=False) for at in starts])


def _passes(
    model: Any, prompt_ids: Tensor, real_P: Tensor, completion_ids: Tensor, real_T: Tensor, *, shared_prefix: int
) -> list[_Pass]:
    """The forward passes that the rows take, in order: one, but for models that must not see rows together.

    Those that count padding (`families.pads`), and those whose longest row decides on everybody's rotary frequencies.
    """
    config = _config(model)
    pads, border = families.pads(config), families.rope_border(config)
    lengths = (real_P.sum(1) + real_T.sum(1)).tolist() if border < float("inf") else [0]
    whole = pads and not min(lengths) <= border < max(lengths)
    longest = int((real_P.sum(1) + real_T.sum(1)).max())
    if whole and len(prompt_ids) > 1 and len(prompt_ids) * longest**2 > MASK_AT_ONCE:
        return [_behind_each_other(prompt_ids, real_P, completion_ids, real_T)]
    if whole:
        return [_laid_out(model, prompt_ids, real_P, completion_ids, real_T, shared_prefix=shared_prefix)]
    alone: list[_Pass] = []
    for row in range(len(prompt_ids)):
        sides = (side[row : row + 1] for side in (prompt_ids, real_P, completion_ids, real_T))
        inputs, mask, attention = _laid_out(model, *sides, shared_prefix=0)
        # Nothing is padded now: positions are the model's own affair.
        few = inputs if pads else {"input_ids": inputs["input_ids"], "use_cache": False}
        alone.append((few, mask, attention))
    return alone


def _behind_each_other(prompt_ids: Tensor, real_P: Tensor, completion_ids: Tensor, real_T: Tensor) -> _Pass:
    """Long rows with all their padding behind them: nobody looks ahead, so no mask [B, T, T] is needed."""
    ids, real = torch.cat([prompt_ids, completion_ids], 1), torch.cat([real_P, real_T], 1)
    said = torch.cat([torch.zeros_like(real_P), real_T], 1)
    order = (~real).long().sort(dim=1, stable=True).indices[:, : int(real.sum(1).max())]
    places = _positions(real.gather(1, order))
    inputs = {"input_ids": ids.gather(1, order), "position_ids": places, "use_cache": False}
    return inputs, said.gather(1, order)[:, 1:], nullcontext()


def _laid_out(
    model: Any, prompt_ids: Tensor, real_P: Tensor, completion_ids: Tensor, real_T: Tensor, *, shared_prefix: int
) -> _Pass:
    """What the forward pass over prompts and completions takes, which of its last T columns are real completion
    tokens, and the attention to run it in."""
    if not real_T.shape[1]:  # every completion is empty: nothing came of any request
        completion_ids, real_T = nn.functional.pad(completion_ids, (0, 1)), nn.functional.pad(real_T, (0, 1))
    lengths = real_P.sum(1)
    longest, columns = int(lengths.max()), prompt_ids.shape[1]
    tokens = int(real_T.any(0).nonzero().max()) + 1 if bool(real_T.any()) else 1
    shared = max(0, min(shared_prefix, int(lengths.min()) - 1))
    if shared and why_not_shared(model, longest + tokens, len(prompt_ids)):
        shared = 0
    kept = longest - shared
    # Left padding puts what follows the prefix in the last columns of every row: the prefix is masked there, not cut
    # out.
    place = torch.arange(columns - kept, columns, device=prompt_ids.device)
    prompt_real = place[None] >= (columns - lengths + shared)[:, None]
    ids = torch.cat([prompt_ids[:, columns - kept :], completion_ids[:, :tokens]], dim=1)
    mask = torch.cat([prompt_real, real_T[:, :tokens]], dim=1)
    if shared:
        inputs = _suffix_inputs(model, prompt_ids[0, columns - int(lengths[0]) :][:shared], ids, mask)
        return inputs, mask[:, -tokens:], shared_attention(model)
    inputs = {"input_ids": ids, "attention_mask": mask.long(), "position_ids": _positions(mask), "use_cache": False}
    return inputs, mask[:, -tokens:], nullcontext()


def _logits(model: Any, inputs: dict[str, Any], mask_BT: Tensor) -> Tensor:
    """Logits before the tokens that mask_BT keeps among the last T columns, in row-major order."""
    if _head_is_plain(model):
        logits: Tensor = _inner(model).get_output_embeddings()(_hidden(model, inputs, mask_BT))
        return logits
    kept = mask_BT.shape[1] + 1
    few = {"logits_to_keep": kept} if families.pads(_config(model)) else {}
    logits = model(**inputs, **few).logits[:, -kept:-1][mask_BT]
    return logits


def _hidden(model: Any, inputs: dict[str, Any], mask_BT: Tensor) -> Tensor:
    tokens, own = mask_BT.shape[1], _inner(model)
    if own is model and not sharded(own):
        hidden: Tensor = model.get_decoder()(**inputs).last_hidden_state
    else:  # what a wrapper does around the forward pass must happen, and its logits of every token must not
        heard: list[Tensor] = []
        hook = own.get_decoder().register_forward_hook(lambda _, __, output: heard.append(output.last_hidden_state))
        try:
            model(**inputs, logits_to_keep=1)
        finally:
            hook.remove()
        hidden = heard[-1]
    return hidden[:, -tokens - 1 : -1][mask_BT]


def _token_logprobs(
    model: Any, inputs: dict[str, Any], mask_BT: Tensor, temperature: float, with_entropy: bool
) -> tuple[Tensor, Tensor | None]:
    """Values of the tokens that mask_BT keeps among the last T columns, in row-major order."""
    tokens = mask_BT.shape[1]
    targets = inputs["input_ids"][:, -tokens:][mask_BT]
    if not _head_is_plain(model):
        return _select(_logits(model, inputs, mask_BT), targets, temperature, with_entropy)
    head, hidden = _inner(model).get_output_embeddings(), _hidden(model, inputs, mask_BT)

    def part(hidden_NH: Tensor, targets_N: Tensor) -> tuple[Tensor, Tensor | None]:
        return _select(head(hidden_NH), targets_N, temperature, with_entropy)

    step = _at_once(head)
    if len(targets) <= step:
        return part(hidden, targets)
    # Checkpointing per part keeps one part's logits for the backward pass too, at the price of one more output-layer
    # product.
    pieces = zip(hidden.split(step), targets.split(step), strict=True)
    parts = [checkpoint(part, piece, wanted, use_reentrant=False) for piece, wanted in pieces]
    return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts]) if with_entropy else None


def _select(
    logits_NV: Tensor, targets_N: Tensor, temperature: float, with_entropy: bool
) -> tuple[Tensor, Tensor | None]:
    logits = logits_NV.to(torch.promote_types(torch.float32, logits_NV.dtype)) / temperature
    logprobs = -nn.functional.cross_entropy(logits, targets_N, reduction="none")
    if not with_entropy:
        return logprobs, None
    with torch.no_grad():
        every = logits.log_softmax(-1)
        return logprobs, -(every.exp() * every).sum(-1)


def _suffix_inputs(model: Any, prefix_ids_P: Tensor, ids_BT: Tensor, mask_BT: Tensor) -> dict[str, Any]:
    """What a forward pass after the prefix takes; run inside shared_attention."""
    return {
        "input_ids": ids_BT,
        "attention_mask": own_mask(mask_BT),
        "use_cache": False,
        "position_ids": _positions(mask_BT) + len(prefix_ids_P),
        "shared_prefix": run_prefix(model, prefix_ids_P),
    }


def _positions(mask_BT: Tensor) -> Tensor:
    return (mask_BT.long().cumsum(1) - 1).clamp_min(0)


def _config(model: Any) -> Any:
    return getattr(model, "module", model).config


def _inner(model: Any) -> Any:
    """The model inside what wraps it (DDP, PEFT); None where there is no transformers model."""
    while model is not None and not isinstance(model, PreTrainedModel):
        base = getattr(model, "get_base_model", None)
        model = base() if base is not None else getattr(model, "module", None)
    return model


def _at_once(head: Any) -> int:
    """How many tokens may meet the output layer at a time."""
    return max(1, LOGITS_AT_ONCE["cpu" if head.weight.device.type == "cpu" else "cuda"] // head.weight.shape[0])


def _head_is_plain(model: Any) -> bool:
    """Whether logits are just the output layer of the decoder's last hidden state."""
    own = _inner(model)
    if own is None or own.get_output_embeddings() is None:
        return False
    decoder = own.get_decoder()
    return decoder is not own and isinstance(decoder, PreTrainedModel) and families.plain_head(own.config)
