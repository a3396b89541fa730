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
from typing import Any, NamedTuple, Required, TypedDict, Unpack

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import DynamicCache

from stages.policy.models import families
from stages.policy.models.attending import (
    ATTENTION,
    Prefix,
    computes_twice,
    kept_whole,
    shared_attention,
    shared_prefix_attention,
)
from stages.policy.models.head import at_once, config_of, inner, plain_head, selected
from stages.policy.models.tree import Tree, grow
from stages.policy.ranks.sharding import apart, rest, sharded

MASK_AT_ONCE = 1 << 24
"""Entries of a mask [B, T, T] that may exist: beyond it rows are laid out so that causal attention needs none."""
__all__ = ["ATTENTION", "Prefix", "shared_attention", "shared_prefix_attention"]


class _Pass(NamedTuple):
    """A forward pass."""

    inputs: dict[str, Any]
    """What it takes."""
    mask_BT: Tensor
    """Which of its last T columns are real completion tokens; of no meaning for a tree."""
    attention: AbstractContextManager[None]
    """What it runs in."""
    tree: Tree | None = None
    """How its rows are laid out, where they are one row."""

    @property
    def targets_N(self) -> Tensor:
        """The real completion tokens, row after row."""
        if self.tree is not None:
            return self.tree.targets
        targets: Tensor = self.inputs["input_ids"][:, -self.mask_BT.shape[1] :][self.mask_BT]
        return targets

    def before(self, hidden_BTH: Tensor) -> Tensor:
        """What stands before each of them, [N, D], in what a layer gave."""
        if self.tree is not None:
            return hidden_BTH[0].index_select(0, self.tree.read)
        return hidden_BTH[:, -self.mask_BT.shape[1] - 1 : -1][self.mask_BT]


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
    return families.why_not_fast(config_of(model), tokens)


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
    for one in _passes(model, *rows, shared_prefix=scoring.get("shared_prefix", 0)):
        with one.attention:
            parts.append(_token_logprobs(model, one, temperature, with_entropy))
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
    for one in _passes(model, *rows, shared_prefix=shared_prefix):
        with one.attention:
            parts.append(_logits(model, one))
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
    for one in _passes(model, *sides, shared_prefix=shared_prefix):
        with one.attention:
            found.append(_mapped(model, one, value, before))
        before += len(one.targets_N)
    rest(model)
    return torch.cat(found)


def _mapped(model: Any, one: _Pass, value: Callable[[Tensor, int], Tensor], before: int) -> Tensor:
    """`value` of one pass, whose first token has the number `before`."""
    if not plain_head(model):
        return value(_logits(model, one), before)
    head, hidden = inner(model).get_output_embeddings(), _hidden(model, one)
    step = at_once(head)
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
    config = config_of(model)
    pads, border = families.pads(config), families.rope_border(config)
    lengths = (real_P.sum(1) + real_T.sum(1)).tolist() if border < float("inf") else [0]
    whole = pads and not min(lengths) <= border < max(lengths)
    longest = int((real_P.sum(1) + real_T.sum(1)).max())
    if whole and len(prompt_ids) > 1 and len(prompt_ids) * longest**2 > MASK_AT_ONCE:
        return [_behind_each_other(prompt_ids, real_P, completion_ids, real_T)]
    if whole and (tree := _tree(model, prompt_ids, real_P, completion_ids, real_T, shared_prefix=shared_prefix)):
        return [tree]
    if whole:
        return [_laid_out(model, prompt_ids, real_P, completion_ids, real_T, shared_prefix=shared_prefix)]
    alone: list[_Pass] = []
    for row in range(len(prompt_ids)):
        sides = (side[row : row + 1] for side in (prompt_ids, real_P, completion_ids, real_T))
        one = _laid_out(model, *sides, shared_prefix=0)
        # Nothing is padded now: positions are the model's own affair.
        few = one.inputs if pads else {"input_ids": one.inputs["input_ids"], "use_cache": False}
        alone.append(one._replace(inputs=few))
    return alone


def _behind_each_other(prompt_ids: Tensor, real_P: Tensor, completion_ids: Tensor, real_T: Tensor) -> _Pass:
    """Long rows with all their padding behind them: nobody looks ahead, so no mask [B, T, T] is needed."""
    ids, real = torch.cat([prompt_ids, completion_ids], 1), torch.cat([real_P, real_T], 1)
    said = torch.cat([torch.zeros_like(real_P), real_T], 1)
    order = (~real).long().sort(dim=1, stable=True).indices[:, : int(real.sum(1).max())]
    places = _positions(real.gather(1, order))
    inputs = {"input_ids": ids.gather(1, order), "position_ids": places, "use_cache": False}
    return _Pass(inputs, said.gather(1, order)[:, 1:], nullcontext())


def _tree(
    model: Any, prompt_ids: Tensor, real_P: Tensor, completion_ids: Tensor, real_T: Tensor, *, shared_prefix: int
) -> _Pass | None:
    """The rows as one row, where the model can be given them so: on a CPU, whose fused attention does it."""
    own, lengths = inner(model), real_P.sum(1)
    if own is None or prompt_ids.device.type != "cpu" or not plain_head(model) or not bool(real_T.any()):
        return None
    dropping = own.training and getattr(own.config.get_text_config(), "attention_dropout", 0)
    if dropping or why_not_shared(model, int((lengths + real_T.sum(1)).max())):
        return None
    shared = max(0, min(shared_prefix, int(lengths.min()) - 1))
    dtype = torch.promote_types(torch.float32, own.get_input_embeddings().weight.dtype)
    tree = grow(prompt_ids, real_P, completion_ids, real_T, shared, dtype)
    if tree is None:
        return None
    no_mask = torch.zeros(1, 1, 1, 1)  # of four axes, so that transformers makes none of its own
    inputs = {"input_ids": tree.ids_1N, "position_ids": tree.places_1N, "attention_mask": no_mask, "use_cache": False}
    return _Pass(inputs | {"tree": tree}, real_T, shared_attention(model), tree)


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
        return _Pass(inputs, mask[:, -tokens:], shared_attention(model))
    inputs = {"input_ids": ids, "attention_mask": mask.long(), "position_ids": _positions(mask), "use_cache": False}
    return _Pass(inputs, mask[:, -tokens:], nullcontext())


def _logits(model: Any, one: _Pass) -> Tensor:
    """Logits before the real completion tokens of a pass, in row-major order."""
    if plain_head(model):
        logits: Tensor = inner(model).get_output_embeddings()(_hidden(model, one))
        return logits
    kept = one.mask_BT.shape[1] + 1
    few = {"logits_to_keep": kept} if families.pads(config_of(model)) else {}
    logits = model(**one.inputs, **few).logits[:, -kept:-1][one.mask_BT]
    return logits


def _hidden(model: Any, one: _Pass) -> Tensor:
    own = inner(model)
    if own is model and not sharded(own):
        return one.before(model.get_decoder()(**one.inputs).last_hidden_state)
    # What a wrapper does around the forward pass must happen, and its logits of every token must not.
    heard: list[Tensor] = []
    hook = own.get_decoder().register_forward_hook(lambda _, __, output: heard.append(output.last_hidden_state))
    try:
        model(**one.inputs, logits_to_keep=1)
    finally:
        hook.remove()
    return one.before(heard[-1])


def _token_logprobs(model: Any, one: _Pass, temperature: float, with_entropy: bool) -> tuple[Tensor, Tensor | None]:
    """Values of the real completion tokens of a pass, in row-major order."""
    targets = one.targets_N
    if not plain_head(model):
        return selected(_logits(model, one), targets, temperature, with_entropy)
    head, hidden = inner(model).get_output_embeddings(), _hidden(model, one)

    def part(hidden_NH: Tensor, targets_N: Tensor) -> tuple[Tensor, Tensor | None]:
        return selected(head(hidden_NH), targets_N, temperature, with_entropy)

    step = at_once(head)
    if len(targets) <= step:
        return part(hidden, targets)
    # Checkpointing per part keeps one part's logits for the backward pass too, at the price of one more output-layer
    # product.
    pieces = zip(hidden.split(step), targets.split(step), strict=True)
    parts = [checkpoint(part, piece, wanted, use_reentrant=False) for piece, wanted in pieces]
    return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts]) if with_entropy else None


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
