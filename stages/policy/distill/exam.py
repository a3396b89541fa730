"""How far a student is from a cached teacher: traces it never trained on, and the few positions kept whole.

A cache and a student enter; KL(teacher || student) in nats per token leaves, and what the tail bucket hides of it. The
same closure that measures also trains: `cached_loss` is a loss for `sft.train`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from stages.policy.distill.cache import Cache, Whole, batch_of
from stages.policy.distill.losses import Top, bucketed_kl, full_kl
from stages.policy.models import memory
from stages.policy.models.prefix import mapped_logits, selected_logits
from stages.policy.sft import Batch, Loss

FLATTENED = 2.0
"""Temperature at which a teacher stands in for a student that was not given."""


def cached_loss(cache: Cache, rows: Sequence[int], vocabulary: int) -> Loss:
    """The forward KL of the cached teacher to the student, bucketed, as `sft.train` takes it.

    `rows`: number in the cache of each example that is trained on. Over the first `vocabulary` ids of the student.
    """

    def loss(model: Any, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        kl_N = _kl(model, cache.top([rows[one] for one in batch.rows], model.device), batch, vocabulary)
        return kl_N.sum(), {}

    return loss


class HeldoutTraces:
    """Traces of a cache that a student is measured on, never trained on."""

    def __init__(self, cache: Cache, rows: Sequence[int], vocabulary: int, at_once: int | None) -> None:
        self.cache, self.rows, self.vocabulary, self.at_once = cache, sorted(rows), vocabulary, at_once

    @torch.no_grad()
    def kl(self, model: Any) -> float:
        """Mean bucketed KL(teacher || student) over the completion tokens of the traces, in nats."""
        total = tokens = 0.0
        for rows in self._passes(model, self.rows):
            batch = batch_of(self.cache.examples, rows, model.device)
            kl_N = _kl(model, self.cache.top(rows, model.device), batch, self.vocabulary)
            total, tokens = total + kl_N.sum(dtype=torch.float64).item(), tokens + len(kl_N)
        return total / tokens

    @torch.no_grad()
    def hidden(self, model: Any) -> dict[str, float]:
        """At the positions kept whole: mean `full_kl`, mean `bucketed_kl`, and `tail_error`, the first less the second.

        Empty when the cache keeps none.
        """
        whole = self.cache.whole()
        by_row: dict[int, list[Whole]] = {}
        for one in whole:
            by_row.setdefault(one.row, []).append(one)
        students: dict[tuple[int, int], Tensor] = {}
        for rows in self._passes(model, list(by_row)):
            for row in rows:  # one by one: [tokens, V] of a long trace is large enough
                batch = batch_of(self.cache.examples, [row], model.device)
                logits_NV = selected_logits(model, *batch.sides)
                students |= {(row, one.place): logits_NV[one.place].float().cpu() for one in by_row[row]}
        if not whole:
            return {}
        logits_NV = torch.stack([students[one.row, one.place] for one in whole])
        return tail_error(whole, logits_NV, self.cache.facts["top_k"])

    def _passes(self, model: Any, rows: Sequence[int]) -> Iterator[list[int]]:
        waiting = sorted(rows, key=lambda row: self.cache.examples[row].tokens, reverse=True)
        while waiting:
            fit = self.at_once or memory.rows_that_fit(model, self.cache.examples[waiting[0]].tokens)
            yield waiting[:fit]
            waiting = waiting[fit:]


def tail_error(whole: Sequence[Whole], logits_NV: Tensor, k: int) -> dict[str, float]:
    """What one bucket for all but the k likeliest tokens hides of KL(teacher || student), at positions kept whole.

    `logits_NV`: the student's there. Means in nats: `full_kl`, `bucketed_kl`, and `tail_error` = the first less the
    second, never negative but for rounding.
    """
    teacher_NV = torch.stack([one.logprobs_V for one in whole]).double()
    vocabulary = teacher_NV.shape[1]
    values, ids = teacher_NV.topk(min(k, vocabulary), dim=-1)
    tail_N = teacher_NV.scatter(1, ids, -torch.inf).logsumexp(-1)
    full = full_kl(teacher_NV, logits_NV.double()).mean().item()
    bucketed = bucketed_kl(Top(ids, values, tail_N), logits_NV.double(), vocabulary).mean().item()
    return {"full_kl": full, "bucketed_kl": bucketed, "tail_error": full - bucketed}


def flattened(whole: Sequence[Whole]) -> Tensor:
    """Logits [N, V] of the teacher itself at temperature FLATTENED: a second distribution where there is no student."""
    return torch.stack([one.logprobs_V for one in whole]) / FLATTENED


def held_out(ids: Sequence[str], share: float, seed: int) -> set[int]:
    """The places of about `share` of the ids, at least one and never all, by a hash of seed and id: whoever else is in
    the list decides how many, not which come first. Share 0 holds out none."""
    if not share or len(ids) < 2:
        return set()
    count = min(max(1, round(share * len(ids))), len(ids) - 1)
    order = sorted(range(len(ids)), key=lambda place: hashlib.sha256(f"{seed}/{ids[place]}".encode()).digest())
    return set(order[:count])


def _kl(model: Any, top: Top, batch: Batch, vocabulary: int) -> Tensor:
    def value(logits_NV: Tensor, first: int) -> Tensor:
        return bucketed_kl(top.part(first, first + len(logits_NV)), logits_NV, vocabulary)

    return mapped_logits(model, batch.sides, value, batch.shared_prefix)
