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

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple, Required, TypedDict, Unpack

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import AttentionInterface, DynamicCache, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from stages.policy.models import families

ATTENTION = "r1_shared_prefix"
LOGITS_AT_ONCE = 1 << 26
"""Logits that may exist at a time in selected_logprobs: 2^26 float32 values are 256 MiB."""


_Pass = tuple[dict[str, Any], Tensor, AbstractContextManager[None]]
"""What a forward pass takes, which of its last T columns are real completion tokens, and the attention to run it in."""


class Prefix(NamedTuple):
    """Keys and values of a prefix of `length` tokens: a pair of [1, key heads, P, head width] tensors per layer."""

    layers: list[tuple[Tensor, Tensor]]
    length: int


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


def why_not_shared(model: Any, tokens: int) -> str:
    """Say why `model` cannot share a prefix in rows of `tokens` tokens (prefix included), or "" when it can."""
    if getattr(model, "is_gradient_checkpointing", False) and model.training and torch.is_grad_enabled():
        return "gradient checkpointing runs layers again without the prefix's keys and values"
    return families.why_not_fast(_config(model), tokens)


def shared_prefix_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """Attend to a shared prefix and to each row's own tokens, as transformers' attention interface asks.

    query [B, H, T, D]; key and value [B, K, S, D] of the row's own tokens; `attention_mask` [B, 1, T, S], True = may
    look, None only when T is 1 and every own key is real; `shared_prefix` among the keywords. Returns [B, T, H, D].
    The prefix is always visible.
    """
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
    config = _config(model)
    before = config._attn_implementation
    config._attn_implementation = ATTENTION
    try:
        yield
    finally:
        config._attn_implementation = before


def run_prefix(model: Any, prefix_ids_P: Tensor) -> Prefix:
    """Run [P] token ids (P >= 1) once, with batch 1, and return each layer's keys and values, with gradients where
    they are on."""
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
    time, so [B, T, V] never exists whole; a wrapped model (DDP, PEFT) is called through its own forward and has no
    such bound.
    """
    temperature, with_entropy = scoring["temperature"], scoring.get("with_entropy", False)
    rows = (prompt_ids_BP, prompt_mask_BP.bool(), completion_ids_BT, completion_mask_BT.bool())
    parts = []
    for inputs, mask, attention in _passes(model, *rows, shared_prefix=scoring.get("shared_prefix", 0)):
        with attention:
            parts.append(_token_logprobs(model, inputs, mask, temperature, with_entropy))
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
    return torch.cat(found)


def _mapped(
    model: Any, inputs: dict[str, Any], mask_BT: Tensor, value: Callable[[Tensor, int], Tensor], before: int
) -> Tensor:
    """`value` of one pass, whose first token has the number `before`."""
    if not _head_is_plain(model):
        return value(_logits(model, inputs, mask_BT), before)
    head, hidden = model.get_output_embeddings(), _hidden(model, inputs, mask_BT)
    step = max(1, LOGITS_AT_ONCE // head.weight.shape[0])
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
    if pads and not min(lengths) <= border < max(lengths):
        return [_laid_out(model, prompt_ids, real_P, completion_ids, real_T, shared_prefix=shared_prefix)]
    alone: list[_Pass] = []
    for row in range(len(prompt_ids)):
        sides = (side[row : row + 1] for side in (prompt_ids, real_P, completion_ids, real_T))
        inputs, mask, attention = _laid_out(model, *sides, shared_prefix=0)
        # Nothing is padded now: positions are the model's own affair.
        few = inputs if pads else {"input_ids": inputs["input_ids"], "use_cache": False}
        alone.append((few, mask, attention))
    return alone


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
    if shared and why_not_shared(model, longest + tokens):
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
        logits: Tensor = model.get_output_embeddings()(_hidden(model, inputs, mask_BT))
        return logits
    kept = mask_BT.shape[1] + 1
    few = {"logits_to_keep": kept} if families.pads(_config(model)) else {}
    logits = model(**inputs, **few).logits[:, -kept:-1][mask_BT]
    return logits


def _hidden(model: Any, inputs: dict[str, Any], mask_BT: Tensor) -> Tensor:
    tokens = mask_BT.shape[1]
    hidden: Tensor = model.get_decoder()(**inputs).last_hidden_state[:, -tokens - 1 : -1][mask_BT]
    return hidden


def _token_logprobs(
    model: Any, inputs: dict[str, Any], mask_BT: Tensor, temperature: float, with_entropy: bool
) -> tuple[Tensor, Tensor | None]:
    """Values of the tokens that mask_BT keeps among the last T columns, in row-major order."""
    tokens = mask_BT.shape[1]
    targets = inputs["input_ids"][:, -tokens:][mask_BT]
    if not _head_is_plain(model):
        return _select(_logits(model, inputs, mask_BT), targets, temperature, with_entropy)
    head, hidden = model.get_output_embeddings(), _hidden(model, inputs, mask_BT)

    def part(hidden_NH: Tensor, targets_N: Tensor) -> tuple[Tensor, Tensor | None]:
        return _select(head(hidden_NH), targets_N, temperature, with_entropy)

    step = max(1, LOGITS_AT_ONCE // head.weight.shape[0])
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


def _head_is_plain(model: Any) -> bool:
    """Whether logits are just the output layer of the decoder's last hidden state; a wrapped model's own forward must
    run."""
    if not isinstance(model, PreTrainedModel) or model.get_output_embeddings() is None:
        return False
    decoder = model.get_decoder()
    return decoder is not model and isinstance(decoder, PreTrainedModel) and families.plain_head(model.config)
