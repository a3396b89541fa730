"""Two ways of computing one token's log-probability agree, or the run stops before it trains on what is wrong.

Log-probabilities of the same tokens at the same weights enter, from two places: a sampler and a trainer, or a batch
with its shared start and padding and a plain forward pass of one of its rows. Nothing leaves, or an error with both
figures, the token that is furthest off and what is likely behind it. What no list of known architectures can promise is
measured here: once for a run, before its first step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from stages.core.errors import R1Error, StageError
from stages.policy.models import families
from stages.policy.models.prefix import selected_logprobs

BOUNDS = {"float64": 1e-3, "float32": 1e-3, "float16": 2e-2, "bfloat16": 1e-1}
"""Mean gap in nats a token with the same weights, at most. Rounding: of float32 (2^-24 a step) it makes 1e-7 to 1e-6 on
two layers and, as errors of layers add up like a random walk, below 1e-5 on a hundred; of bfloat16 (2^-9) 5e-3 and
below 5e-2. Another computation is far above: of all architectures that the shared start is wrong for, the one with the
least gap has 1e-2 (docs/models.md)."""
TAIL = 10.0
"""Times that bound, 95 tokens of 100 may be apart at most."""
READ = 256
"""Tokens of a row that are compared with a plain forward pass: its last ones, which have seen the most."""

BESIDE = 4
"""Rows that such a row is computed among, itself included."""


class Row(NamedTuple):
    """Log-probabilities of the T tokens of one row, from both places."""

    name: str
    one_T: Tensor
    other_T: Tensor


def refuse_apart(
    rows: Sequence[Row],
    dtype: str,
    *,
    places: tuple[str, str],
    reasons: str,
    hint: str,
    error: type[R1Error] = StageError,
    unit: str = "nats a token",
) -> float:
    """Return the mean gap of the rows in nats a token, 0 for none; raise `error` where it is above the bound.

    `places` names whose figures `one_T` and `other_T` are; `reasons` says in a phrase what is likely behind a gap.
    """
    gaps = [(row.one_T.float().cpu() - row.other_T.float().cpu()).abs() for row in rows]
    gap_N = torch.cat(gaps) if gaps else torch.zeros(0)
    if not gap_N.numel():
        return 0.0
    mean, bound = gap_N.mean().item(), BOUNDS[dtype]
    p95 = gap_N.kthvalue(math.ceil(0.95 * gap_N.numel())).values.item()
    if mean <= bound and p95 <= TAIL * bound:
        return mean
    worst = max(range(len(rows)), key=lambda place: _most(gaps[place]))
    token = int(gaps[worst].nan_to_num(math.inf).argmax())
    one, other = (values[token].item() for values in rows[worst][1:])
    if math.isnan(one) and math.isnan(other):
        raise error(
            f"the model says no numbers of {rows[worst].name}: its weights hold NaN, or overflow in {dtype}",
            hint="import weights that are whole, or ask for `dtype=float32`",
        )
    raise error(
        f"{places[0]} and {places[1]} are {mean:.3g} {unit} apart at the same weights (95 % within {p95:.3g}), and "
        f"{dtype} rounds by less than {bound:g}: furthest at {token + 1} of {len(gaps[worst])} of {rows[worst].name}, "
        f"{one:.4g} against {other:.4g}; {reasons}",
        hint=hint,
    )


def likely(model: Any, tokens: int, dtype: str) -> str:
    """Say in a phrase what may make two computations of rows of `tokens` tokens differ."""
    config = getattr(model, "module", model).config
    dropping = any(isinstance(part, nn.Dropout) and part.p > 0 and part.training for part in model.modules())
    border, window = families.rope_border(config), families.window(config)
    known = {
        "dropout is on": dropping,
        f"its rotary frequencies change at {border:g} tokens": tokens > border,
        f"its attention window of {window:g} tokens is shorter than a row of {tokens}": tokens > window,
        f"what a {config.model_type} keeps from token to token is not known": not families.pads(config),
        f"{dtype} may be too coarse for it": dtype != "float32",
    }
    found = [reason for reason, holds in known.items() if holds]
    return "likely: " + (", or ".join(found) or "its attention or its cache is not what this version takes it for")


@torch.no_grad()
def refuse_unlike_alone(
    model: Any, sides: tuple[Tensor, Tensor, Tensor, Tensor], shared_prefix: int, dtype: str
) -> float:
    """Compare the longest row of a batch and the shortest, as they are computed among the others, with a plain forward
    pass of each alone.

    `sides` are prompt ids and mask, completion ids and mask as in `selected_logprobs`. Returns the mean gap in nats a
    token; raises StageError above the bound. Runs in evaluation mode, and moves no random state.
    """
    lengths_B = (sides[1].sum(1) + sides[3].sum(1)) * sides[3].any(1)
    order_B = lengths_B.argsort(descending=True)
    some = order_B[[0, *range(len(order_B) - 1, 0, -1)][:BESIDE]]  # the longest, and those that are padded most
    prompt_ids, prompt_mask, completion_ids, completion_mask = few = tuple(side[some] for side in sides)
    rows: list[Row] = []
    tokens = 0
    training = model.training
    model.eval()
    try:
        among_BT, _ = selected_logprobs(model, *few, temperature=1.0, shared_prefix=shared_prefix)
        for place in range(min(2, len(some))):
            real_P, real_T = prompt_mask[place].bool(), completion_mask[place].bool()
            if not real_P.any() or not real_T.any():
                continue
            alone_T = _alone(model, prompt_ids[place][real_P], completion_ids[place][real_T])
            own = int(real_P.sum() + real_T.sum())
            rows.append(Row(f"a row of {own}", among_BT[place][real_T][-len(alone_T) :], alone_T))
            tokens = max(tokens, own)
    finally:
        model.train(training)
    if not rows:
        return 0.0
    return refuse_apart(
        rows,
        dtype,
        places=("a row among others", "the same row alone"),
        reasons=likely(model, tokens, dtype),
        hint="train another architecture, or one row at a time: `runtime.micro_batch=1`",
    )


def _alone(model: Any, prompt_P: Tensor, said_T: Tensor) -> Tensor:
    """Log-probabilities of a row's last tokens, at most READ, by a forward pass that knows of nothing else."""
    kept = min(len(said_T), READ)
    few = {"logits_to_keep": kept + 1} if families.pads(getattr(model, "module", model).config) else {}
    ids_1T = torch.cat([prompt_P, said_T])[None]
    logits_TV = model(input_ids=ids_1T, use_cache=False, **few).logits[0, -kept - 1 : -1].float()
    return logits_TV.log_softmax(-1).gather(1, said_T[-kept:, None])[:, 0]


def _most(gap_T: Tensor) -> float:
    return gap_T.nan_to_num(math.inf).max().item() if gap_T.numel() else -1.0
