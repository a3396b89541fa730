"""How far a student is from a teacher, token by token: the formulas of distillation as pure functions of tensors.

A teacher's log-probabilities (all of them, or its k likeliest and the mass of the rest) and a student's logits enter;
KL(teacher || student) in nats leaves. Keeping k of V log-probabilities makes a teacher's view of a trace small enough
to store; lumping the rest into one bucket keeps the loss a true divergence: it is the KL of two distributions over
k + 1 outcomes. Merging outcomes never raises a KL (the data processing inequality), so what is trained on is a lower
bound of the full KL, and zero exactly where teacher and student agree on the k tokens and on the mass of the rest.

Sources: Hinton et al. 2015, arXiv 1503.02531 (soft targets); Kim and Rush 2016, arXiv 1606.07947 (sequence level);
Cover and Thomas, Elements of Information Theory, 2.8 (merging). DeepSeek-R1 itself distilled by SFT on traces alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Top:
    """A teacher's k likeliest tokens at N positions, and what is left."""

    ids_NK: Tensor
    """Token ids, int64, likeliest first."""
    logprobs_NK: Tensor
    """Their log-probabilities in nats, float32, over the shared vocabulary."""
    tail_N: Tensor
    """Log of the probability of all other tokens together, float32; -inf when there are none."""

    def part(self, start: int, end: int) -> Top:
        """Positions start to end (excluded)."""
        return Top(self.ids_NK[start:end], self.logprobs_NK[start:end], self.tail_N[start:end])


def logprobs(logits_NV: Tensor, vocabulary: int) -> Tensor:
    """A teacher's log-probabilities [N, vocabulary] over the first `vocabulary` ids, in float32 or wider.

    What it has beyond its tokenizer (Qwen pads 151,665 tokens to 151,936 or 152,064 rows) is left out: no text is
    written with it. A student's own rows of that kind are outcomes of probability 0 to the teacher, so that a student
    is drawn away from them.
    """
    return _wide(logits_NV[:, :vocabulary]).log_softmax(-1)


def likeliest(logits_NV: Tensor, k: int, vocabulary: int) -> Top:
    """The k likeliest of the first `vocabulary` tokens at each position; k above the vocabulary takes all of them."""
    logits = _wide(logits_NV[:, :vocabulary])
    whole_N1 = logits.logsumexp(-1, keepdim=True)
    values, ids = logits.topk(min(k, logits.shape[1]), dim=-1)
    return Top(ids, values - whole_N1, _rest(logits, ids) - whole_N1[:, 0])


def bucketed_kl(top: Top, logits_NV: Tensor, vocabulary: int) -> Tensor:
    """KL of the teacher's k likeliest tokens and one bucket for the rest from the student's, in nats: shape N.

    sum_i p_i (log p_i - log q_i) + p_rest (log p_rest - log q_rest), i over the teacher's k tokens. Never negative and
    never above `full_kl`. Gradients reach the logits, those beyond the vocabulary too: their probability is in no
    bucket, and missing in all. A teacher without a rest (k = vocabulary) gives the full KL.
    """
    logits, whole_N1 = _wide(logits_NV[:, :vocabulary]), _wide(logits_NV).logsumexp(-1, keepdim=True)
    student_NK = logits.gather(1, top.ids_NK) - whole_N1
    inside_N = (top.logprobs_NK.exp() * (top.logprobs_NK - student_NK)).sum(-1)
    if top.ids_NK.shape[1] == vocabulary:
        return inside_N
    rest_N = _rest(logits, top.ids_NK) - whole_N1[:, 0]
    # A teacher whose rest is empty in float32 has nothing to say about it: 0 log 0 = 0, and -inf - x must not meet it.
    some = top.tail_N > -torch.inf
    tail_N = top.tail_N.masked_fill(~some, 0.0)
    return inside_N + torch.where(some, tail_N.exp() * (tail_N - rest_N), torch.zeros_like(rest_N))


def full_kl(teacher_NV: Tensor, logits_NV: Tensor) -> Tensor:
    """KL of a teacher's log-probabilities [N, V] from the student's logits [N, V or wider], in nats: shape N."""
    student_NV = _wide(logits_NV).log_softmax(-1)[:, : teacher_NV.shape[1]]
    return (teacher_NV.exp() * (teacher_NV - student_NV)).sum(-1)


def _rest(logits_NV: Tensor, ids_NK: Tensor) -> Tensor:
    """Log of the summed exponentials of all logits but those of `ids_NK`; -inf when none is left."""
    if ids_NK.shape[1] == logits_NV.shape[1]:
        return logits_NV.new_full(logits_NV.shape[:1], -torch.inf)
    # Taken from what is left, not as 1 - the sum of what is not: that would be rounding noise where the rest is small.
    return logits_NV.scatter(1, ids_NK, -torch.inf).logsumexp(-1)


def _wide(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(torch.float32, logits.dtype))
