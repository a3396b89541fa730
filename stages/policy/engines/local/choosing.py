"""One token a row: logits and numbers in [0, 1) enter, token ids and their log-probabilities leave.

A draw is the inverse of the distribution function at a number that belongs to one request, so that what a row draws
depends on nothing beside it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

NUCLEUS = 64
"""Tokens tried first for top-p: a full sort of the vocabulary is the slowest part of a step, and rarely needed."""
BLOCK = 64
"""Numbers that a request's generator gives at a time; they are the same whatever `max_tokens` is."""


class Draws:
    """The numbers of B requests, one generator each: token t of row b is drawn with the t-th number of its seed."""

    def __init__(self, seeds: Sequence[int], device: torch.device) -> None:
        self.device = device
        self._chance = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._block = torch.empty(0, 0, dtype=torch.float64)
        self._number = -1

    def at(self, rows_B: Tensor, token: int) -> Tensor:
        """Numbers in [0, 1), float64, of the given rows at a token; tokens are asked in order, 0, 1, 2 …."""
        number, place = divmod(token, BLOCK)
        if number != self._number:
            self._block = torch.full((len(self._chance), BLOCK), torch.nan, dtype=torch.float64)
            for row in rows_B.tolist():
                self._block[row] = torch.rand(BLOCK, generator=self._chance[row], dtype=torch.float64)
            self._block, self._number = self._block.to(self.device), number
        return self._block[rows_B, place]


def choose(logits_BV: Tensor, draws_B: Tensor, temperature: float, top_p: float) -> tuple[Tensor, Tensor]:
    """Draw one token per row by inverting the distribution function at draws_B (in [0, 1)); returns ids [B] and
    log-probabilities [B].

    The log-probabilities are those at the temperature over the whole vocabulary (see `sampling.Completion`).
    Temperature 0 ignores the draws.
    """
    logits = logits_BV.float()
    if temperature not in (0, 1):
        logits = logits / temperature
    logprobs = logits.log_softmax(-1)
    if temperature == 0:
        ids = logprobs.argmax(-1)
    elif top_p >= 1:
        ids = _invert(logprobs.exp(), draws_B)
    else:
        ids = _choose_nucleus(logprobs.exp(), draws_B, top_p)
    return ids, logprobs.gather(1, ids[:, None])[:, 0]


def _choose_nucleus(probabilities_BV: Tensor, draws_B: Tensor, top_p: float) -> Tensor:
    values, tokens = probabilities_BV.topk(min(NUCLEUS, probabilities_BV.shape[1]), dim=-1)
    ids = _choose_sorted(values, tokens, draws_B, top_p)
    flat = (values.sum(-1) < top_p).nonzero()[:, 0]
    if len(flat) and values.shape != probabilities_BV.shape:
        values, tokens = probabilities_BV[flat].sort(dim=-1, descending=True)
        ids[flat] = _choose_sorted(values, tokens, draws_B[flat], top_p)
    return ids


def _choose_sorted(values_BK: Tensor, tokens_BK: Tensor, draws_B: Tensor, top_p: float) -> Tensor:
    """Draw from the first of the likeliest tokens that together reach top_p."""
    before = values_BK.cumsum(-1, dtype=torch.float64) - values_BK
    place = _invert(values_BK * (before < top_p), draws_B)
    return tokens_BK.gather(1, place[:, None])[:, 0]


def _invert(weights_BV: Tensor, draws_B: Tensor) -> Tensor:
    # In float64, and below the total even after rounding: the place found always carries weight, so no forbidden
    # token is drawn. torch.multinomial takes twenty times as long on a CPU, and its use of the generator depends on
    # the shape.
    cumulative = weights_BV.cumsum(-1, dtype=torch.float64)
    total = cumulative[:, -1]
    target = torch.minimum(draws_B * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cumulative, target[:, None], right=True)[:, 0]
