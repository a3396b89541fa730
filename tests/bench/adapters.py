"""`python -m tests.bench.adapters`: one training step of RL in full and with an adapter, in memory and in time.

A random model of SmolLM2-135M's shapes enters; for each way, in a process of its own, the peak of memory above what
stood there after the imports leaves, and the CPU seconds of a step: log-probabilities of the reference, a forward and a
backward pass, AdamW. The first step, in which kernels are loaded and moments made, is not counted. `--micro N` takes N
rows at a time with an adapter, `--full-micro N` in full fine-tuning: all of them where left out.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

PROMPT = 64
"""Tokens of a row that are its prompt's."""


def model(folder: Path) -> None:
    """Write a random model of SmolLM2-135M's shapes."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "vocab_size": 49152}
    heads = {"num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": True}
    LlamaForCausalLM(LlamaConfig(**shape, **heads, max_position_embeddings=8192)).save_pretrained(folder)


def step(folder: Path, rank: int, shape: tuple[int, int, int], *, recompute: bool) -> dict[str, Any]:
    """Measure one step of so many (rows, tokens, rows at a time) in this process; rank 0 trains all weights."""
    import torch

    from stages.core.recipe.adaptation import Adaptation
    from stages.core.run.runtime import Runtime
    from stages.policy.models import adapters, device, folders, memory
    from stages.policy.models.prefix import selected_logprobs
    from stages.policy.models.weights import Policy
    from stages.policy.training import costs

    rows, tokens, micro = shape
    device.place(Runtime(device="cpu", threads=1))
    costs.restart_peak("cpu")
    before = costs.peak_memory_mb("cpu")
    module = folders.load_model(folder)
    memory.hand_back(module)  # as `Policy.load` does
    whole: Any = Policy(module, None, None)  # type: ignore[arg-type]
    policy = adapters.adapted(whole, Adaptation(rank=rank), seed=0, tell=lambda _: None, again=lambda: None)
    reference = policy.reference()
    if recompute:
        policy.module.gradient_checkpointing_enable()
    policy.module.train()
    trained = [weight for weight in policy.module.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-6, fused=True)
    ids = torch.randint(0, 49152, (rows, tokens), generator=torch.Generator().manual_seed(0))
    real = torch.ones_like(ids, dtype=torch.bool)
    sides = (ids[:, :PROMPT], real[:, :PROMPT], ids[:, PROMPT:], real[:, PROMPT:])
    for again in range(2):
        if again:
            costs.restart_peak("cpu")
        began = resource.getrusage(resource.RUSAGE_SELF)
        for at in range(0, rows, micro):
            some = [side[at : at + micro] for side in sides]
            with torch.no_grad():
                ref_BT, _ = selected_logprobs(reference.module, *some, temperature=1.0)
            logprobs_BT, _ = selected_logprobs(policy.module, *some, temperature=1.0)
            gap_BT = ref_BT - logprobs_BT
            loss_BT = -(logprobs_BT - logprobs_BT.detach()).exp() + 1e-3 * (gap_BT.exp() - gap_BT - 1)
            (loss_BT.sum() / real[:, PROMPT:].sum()).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        ended = resource.getrusage(resource.RUSAGE_SELF)
    seconds = ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime
    return {"mb": round(costs.peak_memory_mb("cpu") - before), "cpu_seconds": round(seconds, 1)}


def main() -> None:
    """Measure both ways, and say what the adapter takes of full fine-tuning."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--rows", type=int, default=8)
    asked.add_argument("--tokens", type=int, default=256)
    asked.add_argument("--micro", type=int, default=0)
    asked.add_argument("--full-micro", type=int, default=0)
    asked.add_argument("--rank", type=int, default=16)
    asked.add_argument("--recompute", action="store_true", help="layers are computed again in the backward pass")
    asked.add_argument("--step", default="", help=argparse.SUPPRESS)
    given = asked.parse_args()
    if given.step:
        folder, rank = given.step.rsplit(":", 1)
        micro = (given.micro if int(rank) else given.full_micro) or given.rows
        found = step(Path(folder), int(rank), (given.rows, given.tokens, micro), recompute=given.recompute)
        print(json.dumps(found))
        return
    with tempfile.TemporaryDirectory() as folder:
        model(Path(folder))
        results = []
        for rank in (0, given.rank):
            command = [sys.executable, "-m", "tests.bench.adapters", *sys.argv[1:], "--step", f"{folder}:{rank}"]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
            results.append(json.loads(said))
            print("full" if not rank else f"rank {rank}", results[-1], flush=True)
    full, adapter = results
    ratios = {key: round(adapter[key] / full[key], 2) for key in full}
    print(f"an adapter takes {ratios['mb']} of the memory and {ratios['cpu_seconds']} of the time")


if __name__ == "__main__":
    main()
