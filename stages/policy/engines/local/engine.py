"""The transformers engine: completions from any transformers decoder, fast on two cores as on a GPU.

A model and a stream of requests enter; completions with the log-probability of every token leave. transformers' own
`generate` computes the shared template for every row, grows its cache by copying it each step, and keeps finished rows
until the longest ends; here the common prefix runs once and is never copied, each distinct prompt runs once, keys and
values go into blocks, and finished rows leave the batch. A row's draws come from its request's own seed. What this path
cannot run (`why_not`), plain `generate` does, slower (see `plain`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, groupby, islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache

from stages.core.contract import Contract
from stages.core.run.runtime import Runtime
from stages.core.sampling import Completion, Finish, Reading, Request, Sampling, Text
from stages.policy.engines.local.blocks import BlockLayer, joined
from stages.policy.engines.local.choosing import Draws, choose
from stages.policy.engines.local.plain import generated
from stages.policy.models import device, families, folders, memory
from stages.policy.models.prefix import (
    Prefix,
    own_mask,
    run_prefix,
    selected_logits,
    shared_attention,
    shared_prefix_length,
    why_not_shared,
)

BATCH_ROWS = 512
"""Most rows that run together."""
CHECK_EVERY = 4
"""Steps between looks at which rows have finished: a look waits for the device."""
LEAVE_SHARE = 0.25
"""Share of finished rows at which they leave the batch: below it, copying the others' cache costs more than it
saves."""
PREFILL_TOKENS = 16384
"""Prompt tokens in one prefill pass."""


class LocalEngine:
    """Samples from a module in this process: the trainer's own, or one loaded from a folder.

    The same module, requests and `batch_rows` give the same completions on the same machine, and neither read nor move
    torch's own random state; another `batch_rows` draws the same numbers and differs by rounding alone. Rows run
    together with the requests that follow them in their shard, never with those of another.
    """

    name = "transformers"
    coupled = True
    live = True

    def __init__(self, model: Any, contract: Contract, *, batch_rows: int | None = None, exact: bool = True) -> None:
        self.model, self.contract, self.exact = model, contract, exact
        self.batch_rows = batch_rows
        self.weights = 0
        self.notes: list[str] = []
        self._told = False

    @classmethod
    def open(
        cls, folder: Path, *, contract: Contract, dtype: str, runtime: Runtime, model: Any | None = None
    ) -> LocalEngine:
        """Load the folder onto the runtime's device, or take the trainer's live `model` as it is."""
        exact = dtype == "float32"
        if model is not None:
            return cls(model, contract, exact=exact)
        loaded = folders.load_model(folder, dtype=dtype, device=device.place(runtime))
        return cls(loaded, contract, batch_rows=runtime.micro_batch, exact=exact)

    @property
    def apart(self) -> bool:
        """Whether it computes elsewhere than on the cores that judge."""
        return self._device.type != "cpu"

    @property
    def _device(self) -> torch.device:
        found: torch.device = self.model.get_input_embeddings().weight.device
        return found

    def sample(self, requests: Iterable[Request]) -> Iterator[tuple[Request, Completion]]:
        """Yield each request with its completion as rows finish, batch by batch; see `sampling.Engine`."""
        for _, alike in groupby(requests, lambda one: (one.shard, one.sampling)):
            fitting, embedded = [], self.model.get_input_embeddings().weight.shape[0]
            border = families.rope_border(self.model.config)
            for request in alike:
                fault = self._fault(request, embedded, border)
                if fault:
                    yield request, Completion(finish=Finish.REFUSED, weights=self.weights, fault=fault)
                else:
                    fitting.append(request)
            waiting = iter(fitting)
            while first := next(waiting, None):
                rows = [first, *islice(waiting, self._rows_at_once(fitting) - 1)]
                yield from self._sampled(rows)

    def read(self, texts: Iterable[Text], k: int = 0) -> Iterator[tuple[Text, Reading]]:
        """Yield each text with its reading, one forward pass each."""
        for text in texts:
            prompt, completion = (torch.tensor([list(ids)], device=self._device) for ids in text[:2])
            with torch.no_grad(), self._evaluating():
                masks = torch.ones_like(prompt).bool(), torch.ones_like(completion).bool()
                logits_TV = selected_logits(self.model, prompt, masks[0], completion, masks[1])
                logprobs_TV = logits_TV.float().log_softmax(-1)
            own = logprobs_TV.gather(1, completion[0, :, None])[:, 0].tolist()
            top = logprobs_TV.topk(k, dim=-1)
            yield text, Reading(own, top.indices.tolist(), top.values.tolist())

    def renew(self, weights: Iterable[tuple[str, Any]], version: int) -> None:
        """Take new weights; the trainer's live module has them already, and is told only their version."""
        own = dict(chain(self.model.named_parameters(remove_duplicate=False), self.model.named_buffers()))
        with torch.no_grad():
            for name, value in weights:
                if name not in own:
                    raise KeyError(name)
                if own[name].data_ptr() != value.data_ptr():
                    own[name].copy_(value)
        self.weights = version

    def close(self) -> None:
        """Let go of the module."""
        self.model = None

    # ---- batches ----

    def _fault(self, request: Request, embedded: int, border: float) -> str:
        """Say why a request cannot be answered by a model with so many embedded tokens and such a `rope_border`, ""
        when it can."""
        ids, limit = request.prompt_ids, self.contract.max_positions
        if not ids:
            return "the prompt holds no token"
        if len(ids) + request.sampling.max_tokens > limit:
            return (
                f"a prompt of {len(ids)} tokens and max_tokens {request.sampling.max_tokens} do not fit into the "
                f"model's {limit} positions"
            )
        if len(ids) <= border < len(ids) + request.sampling.max_tokens:
            return (
                f"this model's rotary frequencies change beyond {border:g} tokens, where keys that were kept no longer "
                f"fit: let prompt ({len(ids)} tokens) and max_tokens stay within"
            )
        if max(ids) >= embedded or min(ids) < 0:
            return f"the prompt holds token {max(ids)}, and the model's embedding has {embedded} rows"
        return ""

    def _rows_at_once(self, requests: Sequence[Request]) -> int:
        if self.batch_rows is not None:
            return self.batch_rows
        longest = max(len(one.prompt_ids) for one in requests) + requests[0].sampling.max_tokens
        return min(BATCH_ROWS, memory.rows_sampled_at_once(self.model, longest))

    def _sampled(self, rows: list[Request]) -> Iterator[tuple[Request, Completion]]:
        reason = why_not(self.model, max(len(row.prompt_ids) for row in rows) + rows[0].sampling.max_tokens)
        if reason:
            if not self._told:
                self.notes.append(f"sampling falls back to plain `generate`, which is slower: {reason}")
                self._told = True
            with torch.inference_mode(), self._evaluating():
                completions = generated(self.model, rows, self.contract, self.weights)
            yield from zip(rows, completions, strict=True)
            return
        batch: _Batch | None = None
        while batch is None or batch.running:
            # Entered anew for each stretch: whoever is handed a completion must not find itself in inference mode.
            with torch.inference_mode(), self._evaluating(), shared_attention(self.model):
                batch = batch or _Batch.of(self.model, rows, self.contract, self.weights)
                finished = batch.advance()
            yield from ((rows[place], completion) for place, completion in finished)

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        if not self.model.training:
            yield
            return
        self.model.eval()
        try:
            yield
        finally:
            self.model.train()


def why_not(model: Any, tokens: int) -> str:
    """Say why rows of `tokens` tokens of this model cannot run on the fast path, or "" when they can."""
    if not getattr(model, "_supports_attention_backend", False):
        return f"the attention of {type(model).__name__} cannot be replaced"
    return why_not_shared(model, tokens)


class _Batch:
    """Rows that run together: their keys and values, where each stands, and what each has said."""

    def __init__(self, model: Any, prefix: Prefix | None, sampling: Sampling, seeds: Sequence[int]) -> None:
        self.model, self.prefix, self.sampling = model, prefix, sampling
        self.device = model.get_input_embeddings().weight.device
        self.draws = Draws(seeds, self.device)
        count = len(seeds)
        self.ids = torch.zeros(count, sampling.max_tokens, dtype=torch.long, device=self.device)
        self.logprobs = torch.zeros(count, sampling.max_tokens, dtype=torch.float32, device=self.device)
        # The rows still running, as indices into the tensors above; `ends` and all that follows has one entry for each.
        self.rows = torch.arange(count, device=self.device)
        self.ends = torch.zeros_like(self.rows)
        self.step = 0
        self.weights = 0
        self.eos = torch.zeros(0, dtype=torch.long)

    @classmethod
    def of(cls, model: Any, requests: Sequence[Request], contract: Contract, weights: int) -> _Batch:
        """A batch of requests with one sampling, its prompts read."""
        prompts = [list(one.prompt_ids) for one in requests]
        batch = cls(model, _common_prefix(model, prompts), requests[0].sampling, [one.seed for one in requests])
        batch.eos, batch.weights = torch.tensor(list(contract.eos_ids), device=batch.device), weights
        batch.prefill(prompts)
        return batch

    @property
    def running(self) -> bool:
        """Whether any row goes on."""
        return len(self.rows) > 0

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
        self.cache = joined(caches)
        self.logits, self.positions = torch.cat(logits), positions[:, -1:] + 1
        # None where no row is padded: the mask then costs nothing.
        self.mask = real if bool(pads.any()) else None
        self._take(rows)

    def advance(self) -> list[tuple[int, Completion]]:
        """Draw tokens until some rows leave; returns the places and completions of those that did."""
        while True:
            tokens = self._draw()
            if self.step == self.sampling.max_tokens:
                return self._left(torch.arange(len(self.rows), device=self.device))
            if self.step % CHECK_EVERY == 0:
                running = self.ends == 0
                left = int(running.sum())
                if not left or left <= (1 - LEAVE_SHARE) * len(running):
                    finished = self._left((~running).nonzero()[:, 0])
                    stay = running.nonzero()[:, 0]
                    self.rows, self.ends = self.rows[stay], self.ends[stay]
                    if left:
                        self._take(stay)
                        self._feed(tokens[stay])
                    return finished
            self._feed(tokens)

    def _draw(self) -> Tensor:
        """Draw and keep one token for each running row; what a finished row goes on to say is cut off at its end."""
        draws = self.draws.at(self.rows, self.step)
        tokens, logprobs = choose(self.logits, draws, self.sampling.temperature, self.sampling.top_p)
        self.ids[self.rows, self.step] = tokens
        self.logprobs[self.rows, self.step] = logprobs
        self.step += 1
        ended = (tokens[:, None] == self.eos).any(1) & (self.ends == 0)
        self.ends = torch.where(ended, self.step, self.ends)
        return tokens

    def _left(self, places: Tensor) -> list[tuple[int, Completion]]:
        """The rows at these places of the running ones as completions; all of them gone at the limit."""
        rows, ends = self.rows[places], self.ends[places].tolist()
        said = zip(rows.tolist(), self.ids[rows].tolist(), self.logprobs[rows].tolist(), ends, strict=True)
        if self.step == self.sampling.max_tokens:
            self.rows = self.rows[:0]
        full = self.sampling.max_tokens
        return [
            (
                row,
                Completion(
                    ids=ids[: end or full],
                    logprobs=logprobs[: end or full],
                    finish=Finish.END if end else Finish.LENGTH,
                    weights=self.weights,
                ),
            )
            for row, ids, logprobs, end in said
        ]

    def _take(self, places: Tensor) -> None:
        for layer in self.cache.layers:
            layer.take_rows(places)
        self.logits, self.positions = self.logits[places], self.positions[places]
        self.mask = None if self.mask is None else self.mask[places]

    def _feed(self, tokens: Tensor) -> None:
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


def _common_prefix(model: Any, prompts: Sequence[Sequence[int]]) -> Prefix | None:
    length = shared_prefix_length(prompts)
    if not length:
        return None
    return run_prefix(model, torch.tensor(prompts[0][:length], device=model.get_input_embeddings().weight.device))
