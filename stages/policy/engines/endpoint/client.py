"""A model that only speaks, asked as every other: rendered prompts as messages, its answers, and what it cost.

What is known here of its tokens is what the server counts: lengths before an answer are the most they can be.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from stages.core.artifact import Endpoint, Model
from stages.core.contract import Contract
from stages.core.rendering import Message
from stages.core.run.endpoint import Address
from stages.core.run.runner import Work
from stages.policy.engines.client import LONGEST, Client, Prompted, Survey
from stages.policy.engines.endpoint.engine import EndpointEngine

FRAME = 64
"""Tokens that a chat template may put around a message."""


class EndpointClient(Client):
    """An endpoint and the contract it is asked under: the rendered prompt, its prefill too, is the user's message."""

    tries = 1  # the engine asks again by itself, as the runtime says
    tokenizer = None  # its tokens are its server's

    def __init__(self, model: Model | Endpoint, contract: Contract, dtype: str, work: Work) -> None:
        super().__init__(
            model, replace(contract, template=contract.template + contract.prefill, prefill=""), dtype, work
        )
        declared = Endpoint(model.path, model.record).declared
        self.address, self.said = Address.parse(declared["address"]), declared["said"]

    @cached_property
    def engine(self) -> EndpointEngine:
        """The engine; its journal is that of this endpoint in this node, whatever it is asked for."""
        name = hashlib.sha256(self.address.text.encode()).hexdigest()[:16]
        self.work.emit("device", device=f"the server {self.address.url}")
        return EndpointEngine(
            self.address,
            self.work.runtime.endpoint,
            said=self.said,
            think_tags=self.contract.think_tags,
            journal=self.work.scratch / "endpoints" / f"{name}.jsonl",
        )

    def prompt(self, problem: str, turns: Sequence[Message] = ()) -> Prompted:
        """Return a problem as it is asked: a message of the user, after the earlier turns."""
        messages = [*turns, {"role": "user", "content": self.contract.render(problem)}]
        tokens = sum(len(str(one["content"]).encode("utf-8", "replace")) + FRAME for one in messages)
        return Prompted(tokens, (), messages)

    def fits(self, prompt: Prompted, max_tokens: int) -> bool:
        """Always true: the server knows, and refuses what does not fit."""
        return True

    def room(self, survey: Survey, wanted: int | None) -> int:
        """Return the tokens a completion may have: `wanted`, or what the server's positions surely leave after the
        longest prompt (a quarter of them at least), at most LONGEST."""
        positions = self.contract.max_positions
        if not positions:
            return LONGEST if wanted is None else wanted
        if wanted is not None:
            if wanted < positions:
                return wanted
            self.work.emit("warning", text=f"max_tokens {wanted} is cut: {self.address.text} has {positions} positions")
        left = positions - survey.tokens
        return max(1, min(LONGEST, max(left, positions // 4)))

    def costs(self, tokens: int) -> dict[str, Any]:
        """Return the bill: nobody here can count its operations."""
        return self.bill()

    def bill(self) -> dict[str, Any]:
        """Return what was asked of it so far in this node, killed attempts included: requests, tokens, money, and the
        models and versions that answered."""
        return {"endpoint": {"address": self.address.text, **self.engine.figures()}}
