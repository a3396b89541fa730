"""Rows as a tree: their common start, each distinct prompt and each completion stand once in one row without padding.

Padded prompts and completions enter; the ids and positions of that one row and an attention leave in which a completion
sees the start (the trunk), its own prompt and itself. Everything but attention then reads each token once: no padding,
and a group's prompt once for all its completions. The last token of a completion is left out: nothing is predicted from
it.

Attention to the trunk is one product for all rows together. Attention to what is a row's own runs over blocks of rows
of like length. torch's fused kernel for a CPU does both, and its log-sum-exps join them exactly (arXiv
2205.14135, §3.1); given the joined ones, its backward pass gives each part's share of the gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

BLOCK_ROWS = 32
"""Most rows of a block."""
MASK_AT_ONCE = 1 << 24
"""Most entries [T, S] of the mask of one row; a block has as many rows as that allows."""
_ATEN = torch.ops.aten
_forward = _ATEN._scaled_dot_product_flash_attention_for_cpu
_backward = _ATEN._scaled_dot_product_flash_attention_for_cpu_backward


@dataclass(frozen=True)
class Block:
    """Rows of like length: b rows of up to T tokens behind prompts of up to P."""

    index: Tensor
    """[b * T] -> its place among the N tokens; any at padding."""
    shape: tuple[int, int]
    """(b, T)."""
    padding: Tensor
    """[b, 1, T], True at padding."""
    prompt_B: Tensor | None
    """Each row's prompt by number; None for what stands behind no prompt."""
    bias: Tensor
    """[b, 1, T, S]: 0 where a token may look, -inf elsewhere; S = P + T."""


@dataclass(frozen=True)
class Tree:
    """N tokens in one row: the trunk, the prompts, the completions."""

    ids_1N: Tensor
    places_1N: Tensor
    """Position of each token in its own row."""
    read: Tensor
    """Where the tokens stand that the M real completion tokens are predicted from, row after row."""
    targets: Tensor
    """Those M tokens."""
    trunk: int
    """Tokens of the start that all share."""
    blocks: list[Block]
    inverse_N: Tensor
    """Token -> its place among those of all blocks, one behind the other."""
    prompts: Tensor
    """[P * Tp] -> place of each token of each prompt; any at padding."""
    real_prompts: Tensor
    """Which of these are no padding."""
    prompt_shape: tuple[int, int]


def grow(
    prompt_ids: Tensor, real_P: Tensor, completion_ids: Tensor, real_T: Tensor, shared: int, dtype: torch.dtype
) -> Tree | None:
    """Lay out B rows whose prompts share their first `shared` real tokens; every prompt has more. `dtype`: of masks.

    None where a row is so long that its mask would be larger than what is saved.
    """
    prompts = [ids[real].tolist() for ids, real in zip(prompt_ids, real_P, strict=True)]
    said = [ids[real].tolist() for ids, real in zip(completion_ids, real_T, strict=True)]
    number: dict[tuple[int, ...], int] = {}
    prompt_of = [number.setdefault(tuple(row[shared:]), len(number)) for row in prompts]
    texts = [prompts[0][:shared], *map(list, number), *(row[:-1] for row in said)]
    starts = [0]
    for text in texts:
        starts.append(starts[-1] + len(text))
    ids = [token for text in texts for token in text]
    behind = [0, *[shared] * len(number), *(len(row) for row in prompts)]
    places = [place for at, text in zip(behind, texts, strict=True) for place in range(at, at + len(text))]
    first = 1 + len(number)
    read: list[int] = []
    for row, tokens in enumerate(said):
        if tokens:
            start = starts[first + row]
            read += [starts[2 + prompt_of[row]] - 1, *range(start, start + len(tokens) - 1)]
    spans = [(starts[at], len(text)) for at, text in enumerate(texts)]
    widest = max(map(len, number))
    longest = max(len(text) for text in texts)
    if longest * (longest + widest) > MASK_AT_ONCE:
        return None
    device = prompt_ids.device
    own = _blocks(spans[first:], prompt_of, spans[1:first], dtype)
    blocks = [*_blocks(spans[:1], None, [], dtype), *_blocks(spans[1:first], None, [], dtype), *own]
    order = torch.cat([block.index[~block.padding.flatten()] for block in blocks])
    at = torch.cat([~block.padding.flatten() for block in blocks]).nonzero()[:, 0]
    inverse_N = torch.empty(len(ids), dtype=torch.long)
    inverse_N[order] = at
    prompt_index, real = _padded(spans[1:first])
    return Tree(
        ids_1N=torch.tensor([ids], device=device),
        places_1N=torch.tensor([places], device=device),
        read=torch.tensor(read, dtype=torch.long, device=device),
        targets=torch.tensor([token for row in said for token in row], dtype=torch.long, device=device),
        trunk=shared,
        blocks=blocks,
        inverse_N=inverse_N,
        prompts=prompt_index.flatten(),
        real_prompts=real.flatten().nonzero()[:, 0],
        prompt_shape=(prompt_index.shape[0], prompt_index.shape[1]),
    )


def tree_attention(query: Tensor, key: Tensor, value: Tensor, tree: Tree, scale: float) -> Tensor:
    """Attend within a tree: query [1, H, N, D], key and value [1, K, N, D] -> [1, N, H, D], with exact gradients."""
    sides = [side[0].transpose(0, 1).to(value.dtype) for side in (query, key, value)]
    found: Tensor = _Attend.apply(*sides, tree, scale)  # type: ignore[no-untyped-call]
    return found[None]


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, tree: Tree, scale: float) -> Tensor:
        share, trunk = q.shape[1] // k.shape[1], tree.trunk
        outs, sums = [], []
        prompts = [_rows(side, tree.prompts, tree.prompt_shape) for side in (k, v)]
        for block in tree.blocks:
            keys, values = (_behind(side, block, own, share) for side, own in zip((k, v), prompts, strict=True))
            out, lse = _forward(_asked(q, block), keys, values, 0.0, False, attn_mask=block.bias, scale=scale)
            outs.append(out.transpose(1, 2).flatten(0, 1))
            sums.append(lse.transpose(1, 2).flatten(0, 1))
        out, lse = torch.cat(outs).index_select(0, tree.inverse_N), torch.cat(sums).index_select(0, tree.inverse_N)
        if trunk:
            theirs, their_sum = _forward(_asked(q[trunk:]), *_trunk(k, v, trunk, share), 0.0, False, scale=scale)
            theirs, their_sum = theirs[0].transpose(0, 1), their_sum[0].transpose(0, 1)
            mine, own_sum = out[trunk:], lse[trunk:].clone()
            joined = torch.logaddexp(own_sum, their_sum)
            lse[trunk:] = joined
            mine.mul_((own_sum - joined).exp_()[..., None].to(out.dtype))
            mine.addcmul_(theirs, (their_sum - joined).exp_()[..., None].to(out.dtype))
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.tree, ctx.scale = tree, scale
        return out

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        (d_out,), (q, k, v, out, lse), tree = given, ctx.saved_tensors, ctx.tree
        share, trunk, of_prompts = q.shape[1] // k.shape[1], tree.trunk, tree.prompt_shape[1]
        prompts = [_rows(side, tree.prompts, tree.prompt_shape) for side in (k, v)]
        d_prompts = [torch.zeros_like(one) for one in prompts]
        parts: tuple[list[Tensor], list[Tensor], list[Tensor]] = ([], [], [])
        d_out = d_out.contiguous()
        for block in tree.blocks:
            keys, values = (_behind(side, block, own, share) for side, own in zip((k, v), prompts, strict=True))
            sums = _rows(lse, block.index, block.shape).transpose(1, 2)
            sums = sums.masked_fill(block.padding, float("inf"))  # no padding gives a gradient
            asked = [_asked(side, block) for side in (d_out, q, out)]
            few = {"attn_mask": block.bias, "scale": ctx.scale}
            d_q, *d_sides = _backward(asked[0], asked[1], keys, values, asked[2], sums, 0.0, False, **few)
            parts[0].append(d_q.transpose(1, 2).flatten(0, 1))
            for part, d_prompt, d_side in zip(parts[1:], d_prompts, d_sides, strict=True):
                summed = _summed(d_side, share)
                if block.prompt_B is not None:
                    d_prompt.index_add_(0, block.prompt_B, summed[:, :of_prompts])
                    summed = summed[:, of_prompts:]
                part.append(summed.flatten(0, 1))
        d_q, d_k, d_v = (torch.cat(part).index_select(0, tree.inverse_N) for part in parts)
        real = tree.real_prompts
        for d_side, d_prompt in zip((d_k, d_v), d_prompts, strict=True):
            d_side[tree.prompts[real]] += d_prompt.flatten(0, 1)[real]
        if trunk:
            asked = [_asked(side[trunk:]) for side in (d_out, q, out)]
            sums, sides = lse[trunk:].transpose(0, 1)[None], _trunk(k, v, trunk, share)
            found = _backward(asked[0], asked[1], *sides, asked[2], sums, 0.0, False, scale=ctx.scale)
            d_q[trunk:] += found[0][0].transpose(0, 1)
            d_k[:trunk] += _summed(found[1], share)[0]
            d_v[:trunk] += _summed(found[2], share)[0]
        return d_q, d_k, d_v, None, None


def _rows(side: Tensor, index: Tensor, shape: tuple[int, int]) -> Tensor:
    """[b, T, …] of the tokens at `index`."""
    return side.index_select(0, index).view(*shape, *side.shape[1:])


def _asked(side: Tensor, block: Block | None = None) -> Tensor:
    """[b, H, T, D] of a block, or [1, H, N, D] of all tokens."""
    rows = side[None] if block is None else _rows(side, block.index, block.shape)
    return rows.transpose(1, 2)


def _behind(side: Tensor, block: Block, prompts: Tensor, share: int) -> Tensor:
    """[b, H, S, D]: the keys or values of each row's prompt and of the row itself, for each head that asks."""
    own = _rows(side, block.index, block.shape)
    if block.prompt_B is not None:
        own = torch.cat([prompts.index_select(0, block.prompt_B), own], dim=1)
    return _for_heads(own, share)


def _trunk(k: Tensor, v: Tensor, trunk: int, share: int) -> tuple[Tensor, Tensor]:
    return _for_heads(k[None, :trunk], share), _for_heads(v[None, :trunk], share)


def _for_heads(side: Tensor, share: int) -> Tensor:
    """[b, H, S, D] from [b, S, K, D]: each key for all heads that share it."""
    return (side if share == 1 else side.repeat_interleave(share, dim=2)).transpose(1, 2)


def _summed(side: Tensor, share: int) -> Tensor:
    """[b, S, K, D] of what the heads that share a key give it."""
    rows, heads, length, width = side.shape
    grouped = side.view(rows, heads // share, share, length, width)
    return (grouped[:, :, 0] if share == 1 else grouped.sum(2)).transpose(1, 2)


def _padded(spans: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
    """Places [b, T] of some stretches (start, length), padded on the right, and which of them are real."""
    starts, lengths = (torch.tensor(side)[:, None] for side in zip(*spans, strict=True))
    at = torch.arange(max(1, int(lengths.max())))
    real = at < lengths
    return torch.where(real, starts + at, 0), real


def _blocks(
    spans: Sequence[tuple[int, int]],
    prompt_of: Sequence[int] | None,
    prompts: Sequence[tuple[int, int]],
    dtype: torch.dtype,
) -> list[Block]:
    """Blocks of the stretches that hold tokens, by length, longest first; behind the prompts that they are of."""
    left = sorted((row for row in range(len(spans)) if spans[row][1]), key=lambda row: spans[row][1], reverse=True)
    seen = torch.empty(0, 0, dtype=torch.bool) if prompt_of is None else _padded(prompts)[1]
    found = []
    while left:
        longest = spans[left[0]][1]
        fit = max(1, min(BLOCK_ROWS, MASK_AT_ONCE // (longest * (longest + seen.shape[1]))))
        rows, left = left[:fit], left[fit:]
        index, real = _padded([spans[row] for row in rows])
        tokens = index.shape[1]
        mask = torch.ones(tokens, tokens, dtype=torch.bool).tril().expand(len(rows), tokens, tokens)
        prompt_B = None
        if prompt_of is not None:
            prompt_B = torch.tensor([prompt_of[row] for row in rows])
            mask = torch.cat([seen[prompt_B][:, None].expand(-1, tokens, -1), mask], dim=2)
        bias = torch.zeros(mask.shape, dtype=dtype).masked_fill_(~mask, float("-inf"))[:, None]
        found.append(Block(index.flatten(), (len(rows), tokens), ~real[:, None], prompt_B, bias))
    return found
