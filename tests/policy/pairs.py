"""Teachers and students small enough to distill in a second: random weights, bytes as tokens, sizes of one's choice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stages.core.artifact import Conversations, Model, Prompts
from stages.core.contract import Contract
from stages.core.rows import Conversation, write_rows
from tests.policy import tiny

TEMPLATE = "<think> </think> <answer> </answer> Q: {prompt}. A:"
"""Long enough to be shared, short enough for 128 positions."""


def words(more: tuple[str, ...] = ()) -> Any:
    """The tokenizer of `tiny`, with more tokens where another one is wanted."""
    made = tiny.tokenizer()
    made.add_tokens(list(more))
    return made


def model(folder: Path, seed: int, *, hidden: int = 32, pad_rows: int = 0, more: tuple[str, ...] = ()) -> Model:
    """A model of its own seed and width whose embedding has `pad_rows` rows beyond its tokenizer; template included."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from stages.policy.models import folders

    torch.manual_seed(seed)
    tokenizer = words(more)
    config = Qwen2Config(
        vocab_size=len(tokenizer) + pad_rows,
        hidden_size=hidden,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=128,
        tie_word_embeddings=seed % 2 == 0,
        initializer_range=0.15,
        bos_token_id=None,
    )
    contract = Contract(
        template=TEMPLATE,
        template_name="custom",
        eos_ids=[tokenizer.eos_token_id],
        pad_id=tokenizer.pad_token_id,
        tokenizer_sha256="",
        max_positions=128,
    )
    folders.save_model(Qwen2ForCausalLM(config), tokenizer, contract, folder)
    return Model(path=folder, record=tiny.record("model", folder.name))


def traces(folder: Path, count: int, name: str = "traces", length: int = 6) -> Conversations:
    """Sums with their steps as reasoning; `length` repeats the reasoning."""
    rows = [
        Conversation(f"{name}-{n}", f"{n}+{n}", f"{n}+{n}={2 * n}; " * (1 + n % length), f"It is {2 * n}.")
        for n in range(count)
    ]
    folder.mkdir(parents=True)
    write_rows(folder / "conversations.jsonl", rows)
    return Conversations(path=folder, record=tiny.record("conversations", name))


def prompts(folder: Path, count: int) -> Prompts:
    return tiny.prompts(folder, count)
