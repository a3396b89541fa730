"""What a server said as a completion: an answer (or the fault that ended it) enters, a completion and its cost leave.

A server's counts of tokens are believed where they can be true. Where they are not, or where there are none, lengths
are estimated from the bytes of the texts, and the cost says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from stages.core.sampling import Completion, Finish
from stages.policy.engines.endpoint.limits import Cost
from stages.policy.engines.endpoint.wire import Answer, Fault, Server

_FINISHED = {"stop": Finish.END, "length": Finish.LENGTH}
_BYTES_PER_TOKEN = 3
"""Of an estimate: rather too many tokens than too few."""


def judged(
    answer: Answer, fault: Fault | None, body: Mapping[str, Any], server: Server, think_tags: tuple[str, str]
) -> tuple[Completion, Cost]:
    """Return what came of one attempt at a request body."""
    text = server.without_key(answer.completion(think_tags))
    nothing = fault is not None and not answer.letters  # refused or never begun: it costs nothing
    cost = Cost(prompt_tokens=0, tokens=0, estimated=False) if nothing else _cost(answer, text, body, server)
    finish, told = _FINISHED.get(answer.finish_reason, Finish.REFUSED), ""
    if fault is not None:
        finish, told = fault.finish, fault.told
    elif finish is Finish.REFUSED:
        told = f"the server ended it with `{server.shown(answer.finish_reason, 40)}`"
    completion = Completion(finish=finish, text=text, fault=told, tokens=cost.tokens, prompt_tokens=cost.prompt_tokens)
    return completion, cost


def prompt_bytes(body: Mapping[str, Any]) -> int:
    """Return the bytes of a body's messages: a prompt has hardly more tokens."""
    return sum(len(str(message.get("content", "")).encode("utf-8", "replace")) for message in body["messages"])


def called(told: str, asked: str) -> bool:
    """Whether a server that says `told` answered as the model `asked`: by that name, that of a dated version of it, or
    with or without the name of its maker."""
    told, asked = told.casefold(), asked.casefold()
    if told == asked or asked.endswith(f"/{told}") or told.endswith(f"/{asked}"):
        return True
    return re.fullmatch(re.escape(asked.removesuffix("-latest")) + r"-\d[\d.-]*", told) is not None


def _cost(answer: Answer, text: str, body: Mapping[str, Any], server: Server) -> Cost:
    asked, most = prompt_bytes(body), int(body["max_tokens"])
    prompt_tokens = _count(answer.usage.get("prompt_tokens"), 1, 2 * asked + (1 << 15))
    tokens = _count(answer.usage.get("completion_tokens"), int(bool(text)), most + most // 10 + 64)
    return Cost(
        prompt_tokens=_estimate(asked) if prompt_tokens is None else prompt_tokens,
        tokens=_estimate(len(text.encode())) if tokens is None else tokens,
        estimated=prompt_tokens is None or tokens is None,
        model=server.shown(answer.model),
        version=server.shown(answer.version),
    )


def _count(value: object, least: int, most: int) -> int | None:
    """A number that can be true, else None."""
    return value if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most else None


def _estimate(count: int) -> int:
    return -(-count // _BYTES_PER_TOKEN)
