"""`r1 serve`: a model behind an OpenAI-compatible server, asked and read as it was trained.

Nothing is served here: `vllm serve`, or transformers' own server where vLLM is not installed, takes over this process
with the template, the parser of the thought and the end tokens that the contract says.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from r1cli.options import Debug, DryRun, StoredModel
from r1cli.view import Screen

if TYPE_CHECKING:
    from stages.core.contract import Contract

EXAMPLE = "Example: r1 serve r1 --port 8000"
PARSER = "deepseek_r1"
"""vLLM's name for a parser of `<think> … </think>`, as R1 writes it."""


def run(
    model: StoredModel,
    more: Annotated[
        list[str] | None, typer.Argument(metavar="-- FLAGS", help="More words for the server, behind `--`.")
    ] = None,
    *,
    host: Annotated[str, typer.Option("--host", help="Who may ask: 127.0.0.1 is this machine alone.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Where it listens.")] = 8000,
    dry_run: DryRun = False,
    debug: Debug = False,
) -> None:
    """Serve a model: vLLM's server, asked as it was trained.

    Where vLLM is not installed transformers' own server takes its place. Words behind `--` go to the server.
    """
    from stages.core.artifact import Adapter, Model
    from stages.core.errors import InputError
    from stages.core.run import sources
    from stages.core.storage.store import Store

    store, screen = Store(), Screen()
    found = sources.resolve(model, (Model,), store)
    if isinstance(found, Adapter):
        what = f"`{found.address}` is an adapter over its base, and a server wants one folder"
        raise InputError(
            what, hint=f"merge it first: `r1 export {found.address} ./merged`, then serve what is imported"
        )
    store.trust(found)
    if not dry_run:
        refuse_taken(host, port)
    words = command(found.path, found.name, found.contract, host, port) + (more or [])  # type: ignore[attr-defined]
    screen.say(" ".join(map(shlex.quote, words)))
    screen.say(f"\nwhen it listens:\n{curl(found.name, host, port)}\n")
    if dry_run:
        return
    sys.stdout.flush()
    os.execvp(words[0], words)


def refuse_taken(host: str, port: int) -> None:
    """Raise InputError where somebody listens already."""
    from stages.core.errors import InputError

    try:
        family, kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        what = f"this machine has no address `{host}` ({error.strerror})"
        raise InputError(what, hint="leave --host out, or name 0.0.0.0 for all who reach this machine") from error
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            what = f"port {port} of {host} cannot be used ({error.strerror})"
            raise InputError(what, hint=f"choose another: --port {port + 1 if port < 65535 else 8000}") from error


def command(folder: Path, name: str, contract: Contract, host: str, port: int) -> list[str]:
    """The server's own words. Raises MissingError where neither server is installed."""
    from stages.core.errors import MissingError

    here = ["--host", host, "--port", str(port)]
    if importlib.util.find_spec("vllm") is not None:
        words = [sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", str(folder), "--served-model-name", name]
        words += [*here, "--generation-config", str(folder)]
        thinks = contract.think_tags == ("<think>", "</think>") and contract.think_tags[0] in contract.shown
        return words + (["--reasoning-parser", PARSER] if thinks else [])
    if all(importlib.util.find_spec(one) is not None for one in ("fastapi", "uvicorn", "openai")):
        return [sys.executable, "-m", "transformers.cli.transformers", "serve", str(folder), *here]
    what = "neither vLLM nor what transformers' server needs is installed"
    raise MissingError(what, hint="pip install 'r1[vllm]', or pip install 'transformers[serving]'")


def curl(name: str, host: str, port: int) -> str:
    """The line that asks it something."""
    asked = {"model": name, "messages": [{"role": "user", "content": "What is 7 + 5?"}]}
    there = f"[{host}]" if ":" in host else host
    return (
        f"curl http://{there}:{port}/v1/chat/completions -H 'Content-Type: application/json' "
        f"-d {shlex.quote(json.dumps(asked))}"
    )
