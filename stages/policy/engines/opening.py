"""Which engine answers: circumstances and a model's folder enter, an open engine leaves.

The one place that knows the names of engines. `auto` takes vLLM where a server of it is given and on a GPU where it is
installed, and the transformers engine elsewhere: on a CPU ours is two to three times as fast (docs/engines.md).
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

from stages.core.contract import Contract
from stages.core.run.runtime import Runtime
from stages.core.sampling import ENGINES, Engine
from stages.policy.models import device


def open_engine(folder: Path, *, contract: Contract, dtype: str, runtime: Runtime, model: Any | None = None) -> Engine:
    """Open the runtime's engine on a model's folder; `model` is the trainer's live module in RL.

    Raises EngineError where that engine cannot run here.
    """
    module, _, name = ENGINES[chosen(runtime)].partition(":")
    engine: Engine = getattr(importlib.import_module(module), name).open(
        folder, contract=contract, dtype=dtype, runtime=runtime, model=model
    )
    return engine


def samples_live(runtime: Runtime) -> bool:
    """Say whether the runtime's engine samples a trainer's own module, and needs no folder that holds it."""
    module, _, name = ENGINES[chosen(runtime)].partition(":")
    return bool(getattr(getattr(importlib.import_module(module), name), "live", False))


def chosen(runtime: Runtime) -> str:
    """The engine that the runtime names, `auto` decided: a key of ENGINES. Several processes sample with their own
    weights, so they take the transformers engine."""
    if runtime.engine != "auto":
        return runtime.engine
    if runtime.vllm_server:
        return "vllm"
    if runtime.world_size > 1:
        return "transformers"
    on_gpu = device.place(runtime).startswith("cuda")
    return "vllm" if on_gpu and importlib.util.find_spec("vllm") else "transformers"
