"""A user's own reward, run in worker processes: its name and one completion enter, a verdict leaves.

A function we did not write may hang, exit, print, fork or eat memory. In a worker that costs its sample only, and the
run goes on. The function is imported there afresh, with this process's import path and current folder.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from stages.core.contract import Contract
from stages.core.errors import RecipeError
from stages.core.rows import Prompt
from stages.rewards.processes import outside_worker
from stages.rewards.processes.workers import Workers, cores
from stages.rewards.verdict import Verdict

LIMIT_S = 60.0
"""Wall clock for one completion: an asynchronous function may be asking a server."""
START_LIMIT_S = 120.0
"""Wall clock for importing the user's module."""
_pools: dict[str, tuple[tuple[str, ...], Workers]] = {}
_choosing = threading.Lock()


def call(name: str, completion: str, row: Prompt, contract: Contract, options: Mapping[str, Any]) -> Verdict:
    """Ask the function `package.module:function` for its verdict; sync or async, it may return a Verdict, a number or
    None. None with the reason where it raises, hangs, exits or crashes. Any thread may ask.

    Raises RecipeError where a fresh process cannot import it: no such module, or one that is this program itself.
    """
    question = {"completion": completion, "row": asdict(row), "contract": asdict(contract), "options": dict(options)}
    try:
        reply = _pool(name).ask(question, LIMIT_S)
    except (TypeError, ValueError, RecursionError) as error:
        if isinstance(error, RecipeError):
            raise
        return Verdict(None, f"the row or the options are no JSON: {error}"[:200])
    if reply.kind == "start":
        hint = f"try: python -c 'import {name.partition(':')[0]}'"
        raise RecipeError(f"the reward `{name}` {reply.fault}", hint=hint)
    if reply.fault:
        return Verdict(None, f"the reward {reply.fault}")
    value, reason = reply.value
    return Verdict(value, reason)


def close() -> None:
    """End every worker of every function."""
    for _, workers in _pools.values():
        workers.close()


def _pool(name: str) -> Workers:
    """The workers of one function; new ones when the import path changed since they started."""
    if name.partition(":")[0] == "__main__":
        hint = "move it into a module of its own beside the script, and name that"
        raise RecipeError(f"the reward `{name}` lives in the program itself, which no worker can import", hint=hint)
    path = tuple(os.path.abspath(entry) for entry in (*sys.path, os.curdir))
    with _choosing:
        known, workers = _pools.get(name, ((), None))
        if workers is None or known != path:
            if workers is not None:
                workers.close()
            command = [sys.executable, "-P", "-m", outside_worker.__name__, name]
            workers = Workers(command, count=cores(), start_limit_s=START_LIMIT_S)
            _pools[name] = path, workers
    return workers
