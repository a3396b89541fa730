"""An engine that follows a policy: after each rollout's updates it samples from what the trainer holds now.

The most reported fault of this field is a rollout that silently comes from old weights. So every tensor is handed over
under every name it has (a tied head too), and after each renewal what the engine holds of some texts is compared with
what the trainer holds of them (`probe`). An engine that samples the trainer's own module has nothing to take.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import islice
from typing import Any

import torch

from stages.core.errors import EngineError
from stages.core.sampling import Engine, Request, Sampling, Text
from stages.policy.engines.probe import Probe
from stages.policy.models.prefix import selected_logprobs
from stages.policy.models.weights import Policy

TEXTS, TOKENS = 8, 64
"""Texts of a probe, and the most tokens of each that are compared."""


class Renewal:
    """Keeps an engine at the weights of a policy in training."""

    def __init__(
        self, engine: Engine, policy: Policy, *, dtype: str, autocast: Callable[[], AbstractContextManager[Any]]
    ) -> None:
        """`dtype` and `autocast`: the number type of the trainer's forward passes, and the context they run in."""
        self.engine, self.policy, self.autocast = engine, policy, autocast
        self.live = getattr(engine, "model", None) is policy.module
        self.gap = 0.0
        """Nats a token between engine and trainer after the last renewal."""
        self._probe: Probe | None = None
        self._dtype = dtype

    def rehearse(self, requests: Callable[[], Sequence[Request]], version: int) -> None:
        """Renew once with the weights as they are, before the first step: an engine that cannot take them, or that runs
        another model, is found out here. Raises EngineError for such a one. The probe's texts are what the engine makes
        of some of the requests, which are only made where the engine has weights of its own."""
        if self.live:
            return
        short = [replace(one, sampling=_short(one.sampling), key=n) for n, one in enumerate(requests()[:TEXTS])]
        said = [(one.prompt_ids, done) for one, done in self.engine.sample(short)]
        texts = [Text(ids, done.ids) for ids, done in said if done.ids]
        if not texts:
            raise EngineError(
                f"the {self.engine.name} engine answers none of {len(short)} prompts: {said[0][1].fault}",
                hint="mend that, or use `runtime.engine=transformers`",
            )
        self._probe = Probe(self.engine, self._dtype)
        self.gap = self._probe.rehearse(self.policy.named_weights(), texts, self._logprobs(texts), version)

    def follow(self, version: int, texts: Iterable[Text]) -> Engine:
        """Return the engine with the weights that the policy has now, as `version`; a no-op where it has them.

        `texts`: what the policy said lately. Raises EngineError when the engine cannot take the weights, or does not
        hold them afterwards.
        """
        if self.engine.weights == version:
            return self.engine
        if self.live:
            self.engine.renew((), version)
            return self.engine
        if self._probe is None:
            raise EngineError("an engine must rehearse a renewal before it follows a policy")
        self.engine.renew(self.policy.named_weights(), version)
        some = [Text(text.prompt_ids, text.completion_ids[:TOKENS]) for text in islice(texts, TEXTS)]
        self.gap = self._probe.check(some, self._logprobs(some))
        return self.engine

    @torch.no_grad()
    def _logprobs(self, texts: Sequence[Text]) -> list[list[float]]:
        """What the policy in training holds of each text's completion tokens at temperature 1, in nats."""
        found = []
        for text in texts:
            rows = [torch.tensor([list(ids)], device=self.policy.device) for ids in text[:2]]
            real = [torch.ones_like(row, dtype=torch.bool) for row in rows]
            with self.autocast():
                logprobs_1T, _ = selected_logprobs(
                    self.policy.module, rows[0], real[0], rows[1], real[1], temperature=1.0
                )
            found.append(logprobs_1T[0].tolist())
        return found


def _short(sampling: Sampling) -> Sampling:
    """The same draws, of a few tokens."""
    return replace(sampling, max_tokens=min(TOKENS, sampling.max_tokens))
