"""What a run needs of this machine and of others, looked at before the first node is built.

A runtime, a folder of small files or an endpoint's address enters; nothing leaves, or an error in one sentence. Weights
are neither fetched nor read.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import httpx

from stages.core.errors import EngineError
from stages.core.run.endpoint import Address, EndpointSettings, server_address
from stages.core.run.runtime import Runtime
from stages.policy.engines.endpoint.engine import EndpointEngine
from stages.policy.engines.opening import chosen
from stages.policy.models import device, importing

PATIENCE_S = 10.0
"""Longest wait for a connection, and for a byte of a server's list of models, in seconds."""


def refuse_foreign(folder: Path) -> None:
    """Raise InputError where the config and the tokenizer in a folder cannot become a model here."""
    importing.refuse_foreign(folder)


def refuse_circumstances(runtime: Runtime) -> None:
    """Raise RecipeError for a device that is not here, EngineError for an engine or a vLLM server that is not."""
    device.place(runtime)
    if runtime.vllm_server:
        _refuse_silent_vllm(runtime.vllm_server)
    elif chosen(runtime) == "vllm":
        from stages.policy.engines.vllm import setup

        setup.refuse_absent()


def refuse_silent_endpoint(address: Address, settings: EndpointSettings) -> None:
    """Raise EngineError where a server does not answer within seconds, does not let us in or lacks the model; its list
    of models is asked for, and no answer of a model."""
    waits = {
        name: min(getattr(settings, name), PATIENCE_S) for name in ("connect_s", "first_s", "idle_s", "deadline_s")
    }
    engine = EndpointEngine(address, replace(settings, retries=min(settings.retries, 1), **waits))
    try:
        engine.look_up()
    finally:
        engine.close()


def _refuse_silent_vllm(url: str) -> None:
    address = server_address(url)
    try:
        httpx.get(f"{address.url}/health", timeout=PATIENCE_S, trust_env=False)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        from stages.policy.engines.vllm.server import START

        raise EngineError(f"there is no vLLM server at {address.url}", hint=f"start it as: {START}") from error
