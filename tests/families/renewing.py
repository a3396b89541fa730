"""A family in vLLM: a model enters; how far vLLM is from the trainer, before and after new weights, leaves.

`tests/families/test_vllm.py` holds some families against it, `python -m tests.bench.families --engine vllm` all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import torch

from stages.core.contract import Contract
from stages.core.run.runtime import Runtime
from stages.core.sampling import Request, Sampling, Text
from stages.policy.engines.opening import open_engine
from stages.policy.engines.probe import Probe, gap
from stages.policy.models.weights import Policy
from tests.families.test_exact import PROMPTS, alone

MOVED = 0.02
"""Standard deviation of what an update adds to every weight, beside weights of 0.1."""


class Renewed(NamedTuple):
    """Nats a token between vLLM and the trainer, and which tensors could stay old unseen."""

    before: float
    after: float
    unseen: list[str]
    tensors: int


def renewed(folder: Path) -> Renewed:
    """Give vLLM new weights as RL does, whole and then with each tensor left as it was: the probe has to see that.

    Raises EngineError where vLLM cannot do the model.
    """
    contract = Contract.read(folder)
    policy = Policy.load(folder, None, contract)
    runtime = Runtime(device="cpu", engine="vllm")
    with closing(
        open_engine(folder, contract=contract, dtype="float32", runtime=runtime, model=policy.module)
    ) as engine:
        asked = [Request(prompt_ids=ids, sampling=Sampling(max_tokens=16), seed=n) for n, ids in enumerate(PROMPTS)]
        texts = [Text(one.prompt_ids, done.ids) for one, done in engine.sample(asked)]
        probe = Probe(engine, "float32")
        old = [(name, tensor.detach().clone()) for name, tensor in policy.named_weights()]
        before = probe.rehearse(old, texts, _held(policy, texts))
        chance = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for weight in policy.module.parameters():
                weight += MOVED * torch.randn(weight.shape, generator=chance)
        new, held = [(name, tensor.detach()) for name, tensor in policy.named_weights()], _held(policy, texts)
        engine.renew(new, 1)
        after = probe.check(texts, held)
        unseen = []
        for place, (name, _) in enumerate(new):
            engine.renew(_stale(new, old, place), 2 + place)
            if gap(engine, texts, held) <= probe.bound:
                unseen.append(name)
    return Renewed(before, after, unseen, len(new))


def _stale(
    new: Sequence[tuple[str, Any]], old: Sequence[tuple[str, Any]], place: int
) -> Iterator[tuple[str, torch.Tensor]]:
    """The new weights, the tensor at one place as it was under each of its names."""
    twin = new[place][1].data_ptr()
    return (before if now[1].data_ptr() == twin else now for now, before in zip(new, old, strict=True))


def _held(policy: Policy, texts: Sequence[Text]) -> list[list[float]]:
    return [alone(policy.module, list(one.prompt_ids), list(one.completion_ids)).tolist() for one in texts]
