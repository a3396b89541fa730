"""How the tests ask an engine in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stages.core.sampling import Completion, Engine, Request, Sampling
from stages.policy.engines.endpoint.engine import EndpointEngine

Opened = Callable[..., EndpointEngine]


def asking(*words: str, max_tokens: int = 32, seed: int = 0) -> list[Request]:
    drawn = Sampling(temperature=0.6, top_p=0.95, max_tokens=max_tokens)
    return [
        Request(messages=[{"role": "user", "content": word}], sampling=drawn, seed=seed + number, key=word)
        for number, word in enumerate(words)
    ]


def answers(engine: Engine, requests: list[Request]) -> dict[Any, Completion]:
    return {request.key: completion for request, completion in engine.sample(requests)}


def only(engine: Engine, word: str = "a?", **more: Any) -> Completion:
    return answers(engine, asking(word, **more))[word]
