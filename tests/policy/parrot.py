"""A model that answers whatever it is asked with the same words: a worker whose replies a test can know."""

from __future__ import annotations

from pathlib import Path

from stages.core.artifact import Model
from stages.core.contract import Contract
from tests.policy import tiny


def model(folder: Path, words: str, positions: int = 4096) -> Model:
    """One token stands for all the words. Each other token is followed by it, and it by the end token."""
    import torch
    from tokenizers import AddedToken
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from stages.policy.models import folders

    tokenizer = tiny.tokenizer()
    tokenizer.add_tokens([AddedToken(words, normalized=False)])
    said = tokenizer.convert_tokens_to_ids(words)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        max_position_embeddings=positions,
        tie_word_embeddings=False,
        bos_token_id=None,
    )
    made = Qwen2ForCausalLM(config)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.zero_()  # so that layers pass on what they are given
        made.model.norm.weight.fill_(1.0)
        made.model.embed_tokens.weight[:, 0] = 1.0
        made.model.embed_tokens.weight[said] = torch.eye(8)[1]
        made.lm_head.weight[said, 0] = 50.0
        made.lm_head.weight[tokenizer.eos_token_id, 1] = 50.0
    contract = Contract(
        template="",
        template_name="",
        eos_ids=[tokenizer.eos_token_id],
        pad_id=tokenizer.pad_token_id,
        tokenizer_sha256="",
        max_positions=positions,
    )
    folders.save_model(made, tokenizer, contract, folder)
    return Model(path=folder, record=tiny.record("model", "parrot"))
