"""Tiny random models of real architectures, with tokenizers in their style: a family's name enters, a folder leaves.

Two layers, heads of 32 (the smallest that vLLM has kernels for) and weights of standard deviation 0.1, so that an
attention that sees the wrong keys shows in the first digit. Tokenizers have a token for each byte and the special
tokens, bos habits and chat templates of the family.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as tf
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, Qwen2Tokenizer

SHAPE: dict[str, Any] = {
    "vocab_size": 272,
    "hidden_size": 128,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": 256,
    "eos_token_id": 257,
    "pad_token_id": 258,
}
"""Specials: 256 begins, 257 ends, 258 pads, 259 and 260 open and close a turn."""
HEADS = {"head_dim": 32}
MIXED = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 32}
LATENT = {"num_key_value_heads": 4, "q_lora_rank": 16, "kv_lora_rank": 32, "qk_nope_head_dim": 32, "v_head_dim": 32}
EXPERTS = {"moe_intermediate_size": 32, "num_experts_per_tok": 2}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LONG = {"rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0] * 16, "long_factor": [4.0] * 16}
LINEAR = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention"],
    "head_dim": 32,
}
CONVOLVED = {"layer_types": ["conv", "full_attention"], "conv_dim": 128, "block_dim": 128}
SEEING = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}

STYLES: dict[str, tuple[str, ...]] = {
    "qwen": ("<|begin|>", "<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>"),
    "llama3": (
        "<|begin_of_text|>",
        "<|end_of_text|>",
        "<|finetune_right_pad_id|>",
        "<|start_header_id|>",
        "<|eot_id|>",
    ),
    "deepseek": ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>", "<｜User｜>", "<｜Assistant｜>"),
    "gemma": ("<bos>", "<eos>", "<pad>", "<start_of_turn>", "<end_of_turn>"),
    "mistral": ("<s>", "</s>", "<pad>", "[INST]", "[/INST]"),
    "phi": ("<|begin|>", "<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>"),
    "harmony": ("<|startoftext|>", "<|return|>", "<|pad|>", "<|start|>", "<|end|>"),
}
BEGINS = {"llama3", "deepseek", "gemma", "mistral"}
"""Styles whose tokenizer writes a begin token before each text."""


def _rope(original: int, **more: Any) -> dict[str, Any]:
    return {"rope_parameters": {**more, "original_max_position_embeddings": original}}


def _gemma3_wrapper() -> Any:
    text = {**SHAPE, **HEADS, **MIXED}
    special = {"image_token_index": 261, "boi_token_index": 262, "eoi_token_index": 263}
    seeing = {**SEEING, "image_size": 28, "patch_size": 14}
    ends = {name: SHAPE[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    return tf.Gemma3Config(text_config=text, vision_config=seeing, mm_tokens_per_image=4, **special, **ends)


FAMILIES: dict[str, tuple[str, Callable[[], Any]]] = {
    "Qwen2.5": ("qwen", lambda: tf.Qwen2Config(**SHAPE)),
    "Qwen3": ("qwen", lambda: tf.Qwen3Config(**SHAPE, **HEADS)),
    "Qwen3-MoE": ("qwen", lambda: tf.Qwen3MoeConfig(**SHAPE, **HEADS, **EXPERTS, num_experts=4)),
    "Qwen3.5": ("qwen", lambda: tf.Qwen3_5TextConfig(**SHAPE, **LINEAR)),
    "Llama 3.x": ("llama3", lambda: tf.LlamaConfig(**SHAPE, **_rope(64, **LLAMA3))),
    "DeepSeek-R1-Distill-Qwen": ("deepseek", lambda: tf.Qwen2Config(**SHAPE)),
    "DeepSeek-R1-Distill-Llama": ("deepseek", lambda: tf.LlamaConfig(**SHAPE, **_rope(64, **LLAMA3))),
    "DeepSeek-V3": (
        "deepseek",
        lambda: tf.DeepseekV3Config(
            **{**SHAPE, **LATENT, **EXPERTS},
            qk_rope_head_dim=32,
            n_routed_experts=8,
            n_group=2,
            topk_group=1,
            n_shared_experts=1,
            first_k_dense_replace=1,
            topk_method="noaux_tc",
        ),
    ),
    "SmolLM2": ("qwen", lambda: tf.LlamaConfig(**SHAPE, tie_word_embeddings=True)),
    "SmolLM3": ("qwen", lambda: tf.SmolLM3Config(**SHAPE, no_rope_layers=[1, 0])),
    "Gemma 3 (text)": ("gemma", lambda: tf.Gemma3TextConfig(**SHAPE, **HEADS, **MIXED)),
    "Gemma 3 (with images)": ("gemma", _gemma3_wrapper),
    "Gemma 2": ("gemma", lambda: tf.Gemma2Config(**SHAPE, **HEADS, attn_logit_softcapping=2.0, sliding_window=32)),
    "Phi-4": ("phi", lambda: tf.Phi3Config(**SHAPE, sliding_window=None)),
    "Phi-4-mini (longrope)": (
        "phi",
        lambda: tf.Phi3Config(**SHAPE, **_rope(160, **LONG), original_max_position_embeddings=160, sliding_window=None),
    ),
    "Mistral (window)": ("mistral", lambda: tf.MistralConfig(**SHAPE, sliding_window=32)),
    "gpt-oss": (
        "harmony",
        lambda: tf.GptOssConfig(**SHAPE, **HEADS, **MIXED, num_local_experts=4, num_experts_per_tok=2),
    ),
    "LFM2": (
        "qwen",
        lambda: tf.Lfm2Config(**SHAPE, layer_types=["conv", "full_attention"], conv_dim=128, block_dim=128),
    ),
    "GPT-2": ("qwen", lambda: tf.GPT2Config(**{**SHAPE, "n_positions": 512, "n_inner": 96})),
    "Mamba": (
        "qwen",
        lambda: tf.MambaConfig(
            **{name: SHAPE[name] for name in SHAPE if "_heads" not in name and "intermediate" not in name},
            state_size=8,
            time_step_rank=4,
            intermediate_size=256,
        ),
    ),
}
"""Family -> style of its tokenizer, and its config, with the published keys that vLLM reads and transformers does not
(`topk_method`, `conv_dim`, `block_dim`). Windows and the border of Phi-4-mini are shorter than the tests' rows, so that
they matter."""


def model(family: str) -> Any:
    """A random model of the family in evaluation mode, as transformers would load it; the same at each call."""
    config = FAMILIES[family][1]()
    capped = getattr(config, "attn_logit_softcapping", None)
    torch.manual_seed(0)
    made = AutoModelForCausalLM.from_config(config, **({"attn_implementation": "eager"} if capped else {}))
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if weight.dim() > 1 and "A_log" not in name:
                weight.normal_(0.0, 0.1)
        for name, buffer in made.named_buffers():
            if name.endswith("e_score_correction_bias"):
                buffer.normal_(0.0, 0.1)
    made.generation_config.eos_token_id, made.generation_config.pad_token_id = 257, 258
    return made.eval()


def tokenizer(family: str) -> Any:
    """A tokenizer in the family's style: 256 bytes, five special tokens."""
    style = FAMILIES[family][0]
    special = STYLES[style]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate([*letters, *special])}
    named = {"bos_token": special[0], "eos_token": special[1], "pad_token": special[2], "unk_token": None}
    if "Qwen" in family:  # whatever the folder says: what transformers makes of a tokenizer beside such a config
        made = Qwen2Tokenizer(vocab=vocabulary, merges=[], **named)
        made.add_special_tokens({"additional_special_tokens": list(special[3:])})
        return made
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens([AddedToken(token, special=True) for token in special])
    if style in BEGINS:
        inner.post_processor = processors.TemplateProcessing(
            single=f"{special[0]} $A", pair=f"{special[0]} $A $B", special_tokens=[(special[0], 256)]
        )
    return PreTrainedTokenizerFast(tokenizer_object=inner, **named)


def folder(family: str, path: Path) -> Path:
    """A folder as one finds it: weights, config, generation settings and tokenizer."""
    made = model(family)
    made.save_pretrained(path)
    tokenizer(family).save_pretrained(path)
    return path
