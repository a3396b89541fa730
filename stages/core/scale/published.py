"""The shapes of published models that a plan may name before anything is fetched.

A hub's name enters, the figures of its config.json leave. Source of each: that file in the repository of the same name.
Instruct and Math versions have the shapes of their bases, but for what is said.
"""

from __future__ import annotations

from typing import Any

from stages.core.scale.shapes import Shapes, of_config


def _dense(kind: str, *figures: int, tied: bool = False, width: int = 0) -> dict[str, Any]:
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
    found = dict(zip((*names, "vocab_size"), figures, strict=True))
    return {"model_type": kind, **found, "tie_word_embeddings": tied, **({"head_dim": width} if width else {})}


_QWEN_1B = _dense("qwen2", 1536, 8960, 28, 12, 2, 151_936, tied=True)
_QWEN_7B = _dense("qwen2", 3584, 18_944, 28, 28, 4, 152_064)
_QWEN3_8B = _dense("qwen3", 4096, 12_288, 36, 32, 8, 151_936, width=128)
_LLAMA_8B = _dense("llama", 4096, 14_336, 32, 32, 8, 128_256)
_SMOL = _dense("llama", 576, 1536, 30, 9, 3, 49_152, tied=True)
_V3 = _dense("deepseek_v3", 7168, 18_432, 61, 128, 128, 129_280) | {
    "q_lora_rank": 1536,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "n_routed_experts": 256,
    "num_experts_per_tok": 8,
    "n_shared_experts": 1,
    "moe_intermediate_size": 2048,
    "first_k_dense_replace": 3,
}

CONFIGS: dict[str, dict[str, Any]] = {
    "HuggingFaceTB/SmolLM2-135M": _SMOL,
    "HuggingFaceTB/SmolLM2-135M-Instruct": _SMOL,
    "HuggingFaceTB/SmolLM2-360M": _dense("llama", 960, 2560, 32, 15, 5, 49_152, tied=True),
    "Qwen/Qwen2.5-0.5B": _dense("qwen2", 896, 4864, 24, 14, 2, 151_936, tied=True),
    "Qwen/Qwen2.5-1.5B": _QWEN_1B,
    "Qwen/Qwen2.5-1.5B-Instruct": _QWEN_1B,
    "Qwen/Qwen2.5-Math-1.5B": _QWEN_1B,
    "Qwen/Qwen2.5-3B": _dense("qwen2", 2048, 11_008, 36, 16, 2, 151_936, tied=True),
    "Qwen/Qwen2.5-7B": _QWEN_7B,
    "Qwen/Qwen2.5-7B-Instruct": _QWEN_7B,
    "Qwen/Qwen2.5-Math-7B": _QWEN_7B,
    "Qwen/Qwen2.5-14B": _dense("qwen2", 5120, 13_824, 48, 40, 8, 152_064),
    "Qwen/Qwen2.5-32B": _dense("qwen2", 5120, 27_648, 64, 40, 8, 152_064),
    "Qwen/Qwen3-8B": _QWEN3_8B,
    "Qwen/Qwen3-8B-Base": _QWEN3_8B,
    "meta-llama/Llama-3.1-8B": _LLAMA_8B,
    "meta-llama/Llama-3.1-8B-Instruct": _LLAMA_8B,
    "meta-llama/Llama-3.3-70B-Instruct": _dense("llama", 8192, 28_672, 80, 64, 8, 128_256),
    "deepseek-ai/DeepSeek-V3-Base": _V3,
    "deepseek-ai/DeepSeek-V3": _V3,
}
"""Repository -> the figures of its config."""


def shapes(source: str) -> Shapes | None:
    """The shapes of `hf:owner/name`, at any revision; None for a model that is not listed."""
    config = CONFIGS.get(source.removeprefix("hf:").partition("@")[0]) if source.startswith("hf:") else None
    return of_config(config) if config else None
