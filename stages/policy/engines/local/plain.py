"""transformers' own `generate`, for models that the fast path cannot run: right for all of them, and slower.

Requests enter, completions leave. `generate` keeps the loop, the cache and the masks of the model; a logits processor
draws each row's token from its request's own seed, as the fast path does, and leaves `generate` no choice but to take
it. Rows run together only where their prompts are equally long: layers that carry a state see padding. Where a cache is
not known to be right (`families.caches`) every token reads the whole row again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from stages.core.contract import Contract
from stages.core.sampling import Completion, Finish, Request
from stages.policy.engines.local.choosing import Draws, choose
from stages.policy.models import families


def generated(model: Any, requests: Sequence[Request], contract: Contract, weights: int) -> list[Completion]:
    """Return the completions of requests that share one sampling, in order."""
    by_length: dict[int, list[int]] = {}
    for place, request in enumerate(requests):
        by_length.setdefault(len(request.prompt_ids), []).append(place)
    found: dict[int, Completion] = {}
    for places in by_length.values():
        said = _same_length(model, [requests[place] for place in places], contract, weights)
        found |= dict(zip(places, said, strict=True))
    return [found[place] for place in range(len(requests))]


def _same_length(model: Any, requests: Sequence[Request], contract: Contract, weights: int) -> list[Completion]:
    sampling = requests[0].sampling
    ids = torch.tensor([list(one.prompt_ids) for one in requests], device=model.get_input_embeddings().weight.device)
    drawn = _Drawn(requests, ids.device)
    settings = GenerationConfig(
        do_sample=False,
        max_new_tokens=sampling.max_tokens,
        eos_token_id=list(contract.eos_ids),
        pad_token_id=contract.pad_id,
        bos_token_id=None,
        use_cache=families.caches(model.config),
    )
    # Left in the model, a checkpoint's own settings (top_k, repetition_penalty) would join those that are passed.
    kept, model.generation_config = model.generation_config, settings
    try:
        model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            generation_config=settings,
            logits_processor=LogitsProcessorList([drawn]),
        )
    finally:
        model.generation_config = kept
    return drawn.completions(contract.eos_ids, weights)


class _Drawn(LogitsProcessor):  # type: ignore[misc]
    """Draws the next token of every row, and lets nothing else be taken."""

    def __init__(self, requests: Sequence[Request], device: torch.device) -> None:
        self.sampling = requests[0].sampling
        self.draws = Draws([one.seed for one in requests], device)
        self.rows = torch.arange(len(requests), device=device)
        self.tokens: list[Tensor] = []
        self.logprobs: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        draws = self.draws.at(self.rows, len(self.tokens))
        tokens, logprobs = choose(scores, draws, self.sampling.temperature, self.sampling.top_p)
        self.tokens.append(tokens)
        self.logprobs.append(logprobs)
        return torch.full_like(scores, float("-inf")).scatter(1, tokens[:, None], 0.0)

    def completions(self, eos_ids: Sequence[int], weights: int) -> list[Completion]:
        """What was drawn, each row up to its end."""
        found = []
        for ids, logprobs in zip(
            torch.stack(self.tokens, 1).tolist(), torch.stack(self.logprobs, 1).tolist(), strict=True
        ):
            end = next((place + 1 for place, token in enumerate(ids) if token in eos_ids), 0)
            finish = Finish.END if end else Finish.LENGTH
            size = end or len(ids)
            found.append(Completion(ids=ids[:size], logprobs=logprobs[:size], finish=finish, weights=weights))
        return found
