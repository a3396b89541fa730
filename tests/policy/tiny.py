"""A policy small enough to train in a second: two layers, a token for each byte, random weights, and a reward it can
earn.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stages.core.artifact import Draft, Model, Prompts, Record
from stages.core.contract import Contract
from stages.core.rows import Prompt, write_rows
from stages.core.run.events import Events
from stages.core.run.runner import Work
from stages.core.run.runtime import Runtime

TEMPLATE = "<think> </think> <answer> </answer> {prompt}"
REWARD = "tests.policy.tiny:low_bytes"
SETTINGS: dict[str, Any] = {
    "template": TEMPLATE,
    "rewards": {REWARD: 1.0},
    "prompts_per_step": 2,
    "group_size": 4,
    "minibatches": 2,
    "steps": 4,
    "learning_rate": 5e-3,
    "reference_steps": None,
    "max_completion_tokens": 6,
}


def low_bytes(completion: str, row: Prompt, contract: Contract) -> float:
    """The share of letters in the first half of ASCII: something that random completions differ in."""
    return sum(letter < "@" for letter in completion) / max(len(completion), 1)


def tokenizer() -> Any:
    from tokenizers import pre_tokenizers
    from transformers import Qwen2Tokenizer

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate([*letters, "<pad>", "<eos>"])}
    made = Qwen2Tokenizer(vocab=vocabulary, merges=[], unk_token=None, eos_token="<eos>", pad_token="<pad>")
    made.add_tokens(["<think>", "</think>", "<answer>", "</answer>"])
    return made


def record(kind: str, name: str) -> Record:
    return Record(kind=kind, name=name, number=1, fingerprint="0", payload={}, inputs={}, stage="import", version=1)


def model(folder: Path, *, pad_is_eos: bool = False) -> Model:
    """A sealed-looking model with random weights, the same each time."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from stages.policy.models import folders

    torch.manual_seed(0)
    words = tokenizer()
    config = Qwen2Config(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        initializer_range=0.2,
        bos_token_id=None,
    )
    contract = Contract(
        template="",
        template_name="",
        eos_ids=[words.eos_token_id],
        pad_id=words.pad_token_id,
        tokenizer_sha256="",
        max_positions=128,
    )
    folders.save_model(Qwen2ForCausalLM(config), words, contract, folder)
    if pad_is_eos:
        Contract(**{**vars(contract), "pad_id": contract.eos_ids[0]}).write(folder)
    return Model(path=folder, record=record("model", "tiny"))


def policy(folder: Path) -> Any:
    """The `Policy` of a model folder, as a trainer is given it."""
    from stages.policy.models import folders
    from stages.policy.models.weights import Policy

    return Policy.load(folder, folders.load_tokenizer(folder), Contract.read(folder))


def engine(policy: Any, recipe: Any) -> Any:
    """The transformers engine on a policy in training, as the stage opens it."""
    from stages.policy.engines.local.engine import LocalEngine

    return LocalEngine(policy.module, policy.contract, exact=recipe.dtype == "float32")


def prompts(folder: Path, count: int, name: str = "tiny-prompts") -> Prompts:
    rows = [
        Prompt(id=f"{name}-{n}", problem=f"{n}+{n}=", answer=str(2 * n), verifier="math", family=("even", "odd")[n % 2])
        for n in range(count)
    ]
    folder.mkdir(parents=True)
    write_rows(folder / "prompts.jsonl", rows)
    return Prompts(path=folder, record=record("prompts", name))


def home(folder: Path, count: int = 8) -> Path:
    """A folder with the model in `model` and so many prompts in `prompts`."""
    model(folder / "model")
    prompts(folder / "prompts", count)
    return folder


def rl_inputs(home: Path) -> Any:
    """What such a folder holds, as `r1 rl` is given it."""
    from stages import rl

    return rl.Inputs(
        model=Model(path=home / "model", record=record("model", "tiny")),
        prompts=Prompts(path=home / "prompts", record=record("prompts", "prompts")),
    )


def work(folder: Path, listener: Callable[[dict[str, Any]], None] | None = None, **runtime: Any) -> Work:
    scratch = folder / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    events = Events(folder / "events.jsonl", listener)
    return Work(path=folder, scratch=scratch, seed=7, runtime=Runtime(**{"device": "cpu", **runtime}), events=events)


def run(
    folder: Path,
    inputs: Any,
    changes: dict[str, Any] | None = None,
    listener: Callable[[dict[str, Any]], None] | None = None,
    **runtime: Any,
) -> Draft:
    """Run the stage in `folder` with SETTINGS and some changes."""
    from stages import rl

    place = work(folder, listener, **runtime)
    try:
        return rl.run(rl.Recipe(**{**SETTINGS, **(changes or {})}), inputs, place)
    finally:
        place.events.close()


def die(*_: Any) -> None:
    """End this process as a power cut would: nothing is flushed, nothing is cleaned up."""
    os.kill(os.getpid(), signal.SIGKILL)


def in_a_process(target: Callable[..., None], *args: Any) -> int:
    """Run a function in a process of its own and return its exit code: 0 = done, -9 = killed.

    A server that has imported the heavy libraries, and computed nothing, is forked for each: that saves ten seconds a
    test.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["stages.policy.rl.grpo", "stages.policy.models.folders", "stages.rl"])
    process = context.Process(target=target, args=args)
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode
