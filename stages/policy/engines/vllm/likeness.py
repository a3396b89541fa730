"""Whether vLLM computes a model as transformers does, where no trainer is there to find out.

A folder enters before vLLM takes the device; what transformers draws from it is kept, and vLLM has to say the same of
it. RL compares at every renewal, and a run that only samples would otherwise never know: a model may load, answer and
be another one (an attention that a kernel leaves out, rotary frequencies of another length, a router in coarser
numbers).
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import torch

from stages.core.contract import Contract
from stages.core.errors import EngineError
from stages.core.run.runtime import Runtime
from stages.core.sampling import Engine, Request, Sampling, Text
from stages.policy.engines.local.engine import LocalEngine
from stages.policy.engines.probe import rows_of
from stages.policy.engines.vllm import setup
from stages.policy.models import families
from stages.policy.models.agreement import refuse_apart
from stages.policy.models.reading import read_config

PROMPTS, TOKENS = (1, 9, 60), 32
"""Tokens of the prompts that are answered, and of each answer."""
LONGEST = 8192
"""Windows beyond this are not looked behind: the pass over such a prompt would cost more than most runs."""


class Drawn(NamedTuple):
    """A text and what transformers says of its completion's tokens at temperature 1, in nats."""

    text: Text
    logprobs: list[float]


def drawn(folder: Path, contract: Contract, *, dtype: str, runtime: Runtime) -> list[Drawn]:
    """What transformers answers to a few prompts of fixed tokens, one of them longer than the attention window where
    there is one; the model is loaded once, on the runtime's device, and let go of."""
    config = read_config(folder)
    vocabulary, room = int(config.get_text_config().vocab_size), setup.positions(folder, contract.max_positions)
    window = families.window(config)
    lengths = [*PROMPTS, *([int(window) + PROMPTS[0]] if window <= LONGEST else [])]
    drawing = Sampling(max_tokens=min(TOKENS, room - 1))
    asked = [
        Request(prompt_ids=[(7 + 100 * n) % vocabulary for n in range(length)], sampling=drawing, seed=length, key=0)
        for length in lengths
        if length + drawing.max_tokens <= room
    ]
    with closing(LocalEngine.open(folder, contract=contract, dtype=dtype, runtime=runtime)) as engine:
        answered = [(one.prompt_ids, done) for one, done in engine.sample(asked) if not done.failed]
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    return [Drawn(Text(ids, done.ids), list(done.logprobs)) for ids, done in answered]


def refuse_unlike(engine: Engine, said: Sequence[Drawn], dtype: str) -> float:
    """Return the mean gap of vLLM and transformers in nats a token; raise EngineError where it is no rounding."""
    return refuse_apart(
        rows_of(engine, [one.text for one in said], [one.logprobs for one in said]),
        dtype,
        places=("vLLM", "transformers"),
        reasons="vLLM computes this model otherwise on this device",
        hint=setup.SWITCH,
        error=EngineError,
    )
