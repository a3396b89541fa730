"""Our vLLM engine against the bare `LLM.generate`: the same requests and settings, on the embedded base."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path
from typing import Any

from stages.core.sampling import Request
from tests.bench.pairs import Pair, paired
from tests.policy.engines.world import Base

LONGEST = 96


def pairs(repeats: int, rows: int) -> list[Pair]:
    """The pair, or nothing where vLLM is not installed."""
    if importlib.util.find_spec("vllm") is None:
        return []
    from stages.policy.engines.vllm.engine import VllmEngine

    with tempfile.TemporaryDirectory() as scratch:
        base = Base.fetched(Path(scratch))
        engine = VllmEngine(base.folder, base.contract, dtype="float32", device="cpu")
        asked = base.requests([ids for ids in base.prompts(rows // 16) for _ in range(16)], max_tokens=LONGEST)
        bare = bare_llm(base)
        tokens: list[int] = []

        def ours() -> int:
            tokens.append(sum(len(done.ids) for _, done in engine.sample(asked)))
            return tokens[-1]

        def plain() -> int:
            tokens.append(generated(bare, base, asked))
            return tokens[-1]

        found = paired(f"vllm engine, {rows} rows", repeats, ours, plain)
        assert len(set(tokens)) == 1, "the two did not draw the same"
        engine.close()
        return [found]


def bare_llm(base: Base) -> Any:
    """vLLM as its manual has it, with the settings that this device needs and our engine has."""
    from vllm import LLM

    from stages.policy.engines.vllm import setup

    settings = setup.settings(base.folder, "float32", "cpu", base.contract.max_positions, 0.9)
    return LLM(settings.pop("model"), **settings)


def generated(llm: Any, base: Base, asked: list[Request]) -> int:
    """One `LLM.generate` of all requests; returns the tokens it made."""
    from vllm import SamplingParams

    ends = list(base.contract.eos_ids)
    how = [
        SamplingParams(
            temperature=one.sampling.temperature,
            max_tokens=one.sampling.max_tokens,
            seed=one.seed,
            logprobs=0,
            stop_token_ids=ends,
            ignore_eos=True,
            detokenize=False,
        )
        for one in asked
    ]
    drawn = llm.generate([{"prompt_token_ids": list(one.prompt_ids)} for one in asked], how, use_tqdm=False)
    return sum(len(one.outputs[0].token_ids) for one in drawn)
