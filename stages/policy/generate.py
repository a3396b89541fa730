"""Sample completions from any transformers decoder, fast on two cores as on a GPU.

A model, prompts as token ids, a sampling setting and a seed enter; one completion per prompt leaves, with the
log-probability of every token. transformers' own `generate` computes the shared template for every row, grows its
cache by copying it each step, and keeps finished rows until the longest ends; here the common prefix runs once and is
never copied, each distinct prompt runs once, keys and values go into blocks, and finished rows leave the batch.
Chance comes from a generator of its own: a row's draws depend on the seed, its place among the prompts and the
token's number alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack

import torch
from torch import Tensor, nn
from transformers import Cache
from transformers.cache_utils import DynamicLayer

from stages.core.contract import Contract
from stages.core.errors import ContractError
from stages.policy.prefix import Prefix, own_mask, run_prefix, shared_attention, shared_prefix_length, why_not_shared

BLOCK = 32
"""Cache columns taken at a time, at least; longer caches grow by a quarter."""
CHECK_EVERY = 4
"""Steps between looks at which rows have finished: a look waits for the device."""
LEAVE_SHARE = 0.25
"""Share of finished rows at which they leave the batch: below it, copying the others' cache costs more than it
saves."""
PREFILL_TOKENS = 16384
"""Prompt tokens in one prefill pass."""
NUCLEUS = 64
"""Tokens tried first for top-p: a full sort of the vocabulary is the slowest part of a step, and rarely needed."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How tokens are drawn."""

    temperature: float = 1.0
    """Logits are divided by it; 0 takes the likeliest token."""
    top_p: float = 1.0
    """Smallest set of likeliest tokens with at least this probability is kept (arXiv:1904.09751); in (0, 1], 1 keeps
    all."""
    max_tokens: int = 256
    """Longest completion in tokens, the end token included; at least 1."""

    def __post_init__(self) -> None:
        if self.temperature < 0 or not 0 < self.top_p <= 1 or self.max_tokens < 1:
            raise ValueError(f"temperature >= 0, 0 < top_p <= 1 and max_tokens >= 1 are needed, got {self}")


@dataclass(frozen=True)
class Completion:
    """What followed one prompt."""

    ids: list[int]
    """Tokens, the end token included where it was reached."""
    logprobs: list[float]
    """Log-probability of each token under softmax(logits / temperature) of the whole vocabulary, in nats: before
    top-p cuts and rescales, so that it is what training recomputes. With temperature 0, that of temperature 1."""
    truncated: bool
    """Whether max_tokens came before an end token."""


class Pace(TypedDict, total=False):
    """How sampling runs, not what it draws."""

    on_progress: Callable[[int, int], None] | None
    """Called with (rows done, rows) as rows finish."""
    batch_rows: int
    """Rows that run together; 512 when not given."""


def generate(
    model: Any,
    prompt_ids: Sequence[Sequence[int]],
    sampling: Sampling,
    *,
    contract: Contract,
    seed: int,
    **pace: Unpack[Pace],
) -> list[Completion]:
    """Sample one completion per prompt, in order; repeat a prompt in consecutive rows for several samples of it.

    `contract` gives the end ids and the longest sequence. The same model, prompts, sampling, seed and batch_rows give
    the same completions on the same machine, and neither read nor move torch's own random state; another batch_rows
    draws the same numbers and differs by rounding alone. Raises ContractError for an empty prompt, one that leaves no
    room for max_tokens, or a model whose attention window is too short.
    """
    on_progress, batch_rows = pace.get("on_progress"), pace.get("batch_rows", 512)
    _check(model, prompt_ids, sampling, contract)
    chance = torch.Generator().manual_seed(seed)
    completions: list[Completion] = []

    def on_done(rows: int) -> None:
        if on_progress is not None:
            on_progress(len(completions) + rows, len(prompt_ids))

    was_training = model.training
    if was_training:
        model.eval()
    try:
        with torch.inference_mode(), shared_attention(model):
            prefix = _common_prefix(model, prompt_ids)
            for start in range(0, len(prompt_ids), batch_rows):
                rows = prompt_ids[start : start + batch_rows]
                # Row-major: the draws of a row do not change with the rows beside it.
                draws = torch.rand(len(rows), sampling.max_tokens, generator=chance, dtype=torch.float64)
                batch = _Batch(model, prefix, contract.eos_ids, sampling, draws)
                batch.prefill(rows)
                completions += batch.run(on_done)
                on_done(0)
    finally:
        if was_training:
            model.train()
    return completions


def choose(logits_BV: Tensor, draws_B: Tensor, temperature: float, top_p: float) -> tuple[Tensor, Tensor]:
    """Draw one token per row by inverting the distribution function at draws_B (in [0, 1)); returns ids [B] and
    log-probabilities [B].

    The log-probabilities are those at the temperature over the whole vocabulary (see Completion). Temperature 0
    ignores the draws.
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


class BlockLayer(DynamicLayer):  # type: ignore[misc]
    """One layer's keys and values in a buffer that grows by blocks; transformers' own layer copies everything at
    every token."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append [B, K, T, D] keys and values; returns views of all so far."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._key_block, self._value_block, self._used = key_states[:, :, :0], value_states[:, :, :0], 0
        start, self._used = self._used, self._used + key_states.shape[2]
        if self._used > self._key_block.shape[2]:
            self._key_block = self._grown(self._key_block, start)
            self._value_block = self._grown(self._value_block, start)
        self._key_block[:, :, start : self._used] = key_states
        self._value_block[:, :, start : self._used] = value_states
        self.keys, self.values = self._key_block[:, :, : self._used], self._value_block[:, :, : self._used]
        return self.keys, self.values

    def take_rows(self, rows: Tensor) -> None:
        """Keep the given rows (int64 indices), in their order; an index may repeat."""
        self._key_block, self._value_block = self.keys.index_select(0, rows), self.values.index_select(0, rows)
        self.keys, self.values = self._key_block, self._value_block

    def _grown(self, block: Tensor, used: int) -> Tensor:
        rows, heads, _, width = block.shape
        grown = block.new_empty(rows, heads, self._used + max(BLOCK, self._used // 4), width)
        grown[:, :, :used] = block[:, :, :used]
        return grown


class _Batch:
    """Rows that run together: their keys and values, where each stands, and what each has said."""

    def __init__(
        self, model: Any, prefix: Prefix | None, eos_ids: Sequence[int], sampling: Sampling, draws: Tensor
    ) -> None:
        self.model, self.prefix, self.sampling = model, prefix, sampling
        self.device = model.get_input_embeddings().weight.device
        self.draws, self.eos = draws.to(self.device), torch.tensor(list(eos_ids), device=self.device)
        self.ids = torch.zeros(draws.shape, dtype=torch.long, device=self.device)
        self.logprobs = torch.zeros(draws.shape, dtype=torch.float32, device=self.device)
        self.lengths = torch.zeros(draws.shape[0], dtype=torch.long, device=self.device)
        # The rows still running, as indices into the tensors above; `ends` and all that follows has one entry for each.
        self.rows = torch.arange(draws.shape[0], device=self.device)
        self.ends = torch.zeros_like(self.rows)

    def prefill(self, prompts: Sequence[Sequence[int]]) -> None:
        """Run what each distinct prompt adds to the prefix once, then give every row of that prompt a copy."""
        skip = self.prefix.length if self.prefix else 0
        place: dict[tuple[int, ...], int] = {}
        rows = torch.tensor(
            [place.setdefault(tuple(prompt[skip:]), len(place)) for prompt in prompts], device=self.device
        )
        longest = max(map(len, place))
        ids = torch.tensor([[0] * (longest - len(own)) + list(own) for own in place], device=self.device)
        pads = torch.tensor([longest - len(own) for own in place], device=self.device)
        real = torch.arange(longest, device=self.device) >= pads[:, None]
        positions = (real.long().cumsum(1) - 1).clamp_min(0) + skip
        caches, logits = [], []
        for part in torch.arange(len(place), device=self.device).split(max(1, PREFILL_TOKENS // longest)):
            caches.append(Cache(layer_class_to_replicate=BlockLayer))
            logits.append(self._forward(ids[part], own_mask(real[part]), positions[part], caches[-1]))
        self.cache = caches[0] if len(caches) == 1 else _joined(caches)
        self.logits, self.positions = torch.cat(logits), positions[:, -1:] + 1
        # None where no row is padded: the mask then costs nothing.
        self.mask = real if bool(pads.any()) else None
        self._take(rows)

    def run(self, on_done: Callable[[int], None]) -> list[Completion]:
        """Sample until every row has ended or is full; `on_done` hears how many rows have finished."""
        for step in range(self.sampling.max_tokens):
            tokens = self._say(step)
            if step + 1 == self.sampling.max_tokens:
                break
            if step % CHECK_EVERY == CHECK_EVERY - 1:
                stay = self._leave(on_done)
                if stay is not None:
                    tokens = tokens[stay]
                if not len(tokens):
                    break
            self._advance(tokens)
        self.lengths[self.rows] = self.ends
        return self._completions()

    def _say(self, step: int) -> Tensor:
        """Draw and keep one token for each running row; what a finished row goes on to say is cut off at its end."""
        draws = self.draws[self.rows, step]
        tokens, logprobs = choose(self.logits, draws, self.sampling.temperature, self.sampling.top_p)
        self.ids[self.rows, step] = tokens
        self.logprobs[self.rows, step] = logprobs
        ended = (tokens[:, None] == self.eos).any(1) & (self.ends == 0)
        self.ends = torch.where(ended, step + 1, self.ends)
        return tokens

    def _leave(self, on_done: Callable[[int], None]) -> Tensor | None:
        """Let finished rows go when they are many enough; returns the places that stay, or None when all do."""
        running = self.ends == 0
        left = int(running.sum())
        on_done(len(self.lengths) - left)
        if left and left > (1 - LEAVE_SHARE) * len(running):
            return None
        self.lengths[self.rows] = self.ends
        stay = running.nonzero()[:, 0]
        self.rows, self.ends = self.rows[stay], self.ends[stay]
        self._take(stay)
        return stay

    def _take(self, places: Tensor) -> None:
        for layer in self.cache.layers:
            layer.take_rows(places)
        self.logits, self.positions = self.logits[places], self.positions[places]
        self.mask = None if self.mask is None else self.mask[places]

    def _advance(self, tokens: Tensor) -> None:
        mask = None
        if self.mask is not None:
            self.mask = nn.functional.pad(self.mask, (0, 1), value=True)
            mask = self.mask[:, None, None]
        self.logits = self._forward(tokens[:, None], mask, self.positions, self.cache)
        self.positions = self.positions + 1

    def _forward(self, ids: Tensor, mask: Tensor | None, positions: Tensor, cache: Cache) -> Tensor:
        """Logits [B, V] of the last column."""
        output = self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
            shared_prefix=self.prefix,
        )
        logits: Tensor = output.logits[:, -1]
        return logits

    def _completions(self) -> list[Completion]:
        full = self.sampling.max_tokens
        said = zip(self.ids.tolist(), self.logprobs.tolist(), self.lengths.tolist(), strict=True)
        return [Completion(ids[: end or full], logps[: end or full], truncated=not end) for ids, logps, end in said]


def _joined(caches: list[Cache]) -> Cache:
    joined = Cache(layer_class_to_replicate=BlockLayer)
    for index in range(len(caches[0].layers)):
        layers = [cache.layers[index] for cache in caches]
        joined.update(torch.cat([layer.keys for layer in layers]), torch.cat([layer.values for layer in layers]), index)
    return joined


def _common_prefix(model: Any, prompts: Sequence[Sequence[int]]) -> Prefix | None:
    length = shared_prefix_length(prompts)
    if not length:
        return None
    return run_prefix(model, torch.tensor(prompts[0][:length], device=model.get_input_embeddings().weight.device))


def _check(model: Any, prompts: Sequence[Sequence[int]], sampling: Sampling, contract: Contract) -> None:
    lengths = [len(prompt) for prompt in prompts]
    if not lengths:
        return
    if not min(lengths):
        raise ContractError(f"prompt {lengths.index(0)} holds no token", hint="give it a template or a problem")
    longest = max(lengths)
    if longest + sampling.max_tokens > contract.max_positions:
        raise ContractError(
            f"a prompt of {longest} tokens and max_tokens {sampling.max_tokens} do not fit into the model's "
            f"{contract.max_positions} positions",
            hint=f"set max_tokens to at most {max(0, contract.max_positions - longest)}, or leave long prompts out",
        )
    reason = why_not_shared(model, longest + sampling.max_tokens)
    if reason:
        raise ContractError(f"this model cannot be sampled here: {reason}", hint="lower max_tokens")
