"""What transformers' architectures allow: a model's config enters; what can be done with it, and how, leaves.

The fast ways of computing a row (a start shared by all rows, rows padded to one length, keys kept from token to token)
are right for the architectures that they were compared for with a plain forward pass of the row alone, and for no other
without a word: a cache may hold latents, states or sinks, and a model may count padding as positions. So the types are
listed by what they were found to allow (transformers 5.17, all its causal language models:
`python -m tests.bench.families` measures them anew), and whatever stands in none is computed row by row, without a
cache: slower, and right for every decoder.
"""

from __future__ import annotations

from typing import Any

from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


PLAIN = _names(
    """
    afmoe apertus arcee aria_text bitnet cohere cohere2 cohere2_moe cwm dots1 emu3 ernie4_5 ernie4_5_moe exaone4
    exaone_moe flex_olmo gemma gemma2 gemma3 gemma3_text gemma3n_text gemma4 gemma4_text glm glm4 glm4_moe gpt-sw3
    gpt2 gpt_bigcode gpt_neox granite granitemoe granitemoeshared helium hunyuan_v1_dense hunyuan_v1_moe hy_v3
    hyperclovax jais2 laguna llama mellum minimax_m2 ministral ministral3 mistral mixtral nanochat olmo olmo2 olmo3
    olmoe opt persimmon phi phi3 phimoe qwen2 qwen2_moe qwen3 qwen3_moe seed_oss smollm3 solar_open starcoder2
    vaultgemma
    """
)
"""Attention sees exactly the keys and values that the cache holds: a start may be shared."""
PADDED = _names(
    """
    axk1 axk2 bamba biogpt bloom codegen ctrl deepseek_v2 deepseek_v3 deepseek_v32 diffllama falcon falcon_h1
    falcon_mamba glm4_moe_lite glm_moe_dsa gpt_neo gpt_neox_japanese gpt_oss gptj granite_swa granitemoe_swa
    granitemoehybrid hrm_text hy_v4 inkling_text jamba jetmoe lfm2 lfm2_moe llama4 llama4_text longcat_flash mamba
    mamba2 mimo_v2_flash minimax minimax_m3_vl_text mllama modernbert-decoder moshi mpt nemotron nemotron_h
    olmo_hybrid openai-gpt qwen3_5 qwen3_5_moe qwen3_5_moe_text qwen3_5_text qwen3_next stablelm whisper xglm youtu
    """
)
"""Rows of unequal length may be padded to one, and `generate` may keep its cache; a start may not be shared."""
CACHED = _names(
    """
    bart bigbird_pegasus blenderbot blenderbot-small deepseek_v4 marian mbart mvp pegasus plbart trocr
    """
)
"""`generate` may keep its cache; padding changes a row."""
UNFIT = _names(
    """
    big_bird camembert cpmant data2vec-text doge megatron-bert prophetnet reformer rembert roberta roberta-prelayernorm
    roformer xlm xlm-roberta xlm-roberta-xl xlnet xmod
    """
)
"""What they say of a token depends on what comes after it, or on how many tokens are read together."""
DECODERS_IF_TOLD = _names(
    """
    bert bert-generation electra ernie roc_bert
    """
)
"""Tokens see what comes after them, unless the config says `is_decoder`."""

ALTERED = (
    *("final_logit_softcapping", "logit_scale", "logits_scaling", "logits_scale", "lm_head_multiplier"),
    "logits_mup_width_multiplier",
)
"""What caps or scales the logits behind the output layer, by its name in a config."""
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")
"""How many experts a layer has, by its name in a config."""


def value(config: Any, name: str) -> Any:
    """A figure of a text model's config, None where it has none; the largest where it differs between layers (Gemma 4),
    which such a config does not say at its top."""
    try:
        return getattr(config, name, None)
    except RuntimeError:
        return max(getattr(layer, name) for layer in config.per_layer_config)


def refusal(config: Any) -> str:
    """Say why a config's model is no decoder, or "" when it is one."""
    kind = config.model_type
    if kind in UNFIT or (kind in DECODERS_IF_TOLD and not getattr(config, "is_decoder", False)):
        return f"what a {kind} says of a token depends on what comes after it: it is no decoder"
    return ""


def pads(config: Any) -> bool:
    """Whether rows of unequal length may be padded to one and computed together."""
    return config.model_type in PLAIN or config.model_type in PADDED


def caches(config: Any) -> bool:
    """Whether `generate` with its cache draws from what a plain forward pass says."""
    return pads(config) or config.model_type in CACHED


def plain_head(config: Any) -> bool:
    """Whether logits are known to be the output layer of the decoder's last hidden state, and nothing more."""
    text = config.get_text_config()
    return pads(config) and all(getattr(text, name, None) in (None, 1) for name in ALTERED)


def own_cache(config: Any) -> str:
    """Say why rows of any length cannot share a start, or "" when they can."""
    text = config.get_text_config()
    if config.model_type not in PLAIN:
        return f"what a {config.model_type} keeps from token to token is not known to be plain keys and values"
    if getattr(text, "attn_logit_softcapping", None):
        return "its attention caps scores, which the shared attention does not"
    if getattr(text, "num_kv_shared_layers", None):
        return "some of its layers take the keys and values of others"
    if set(getattr(text, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}:
        return f"layers of the kinds {sorted(set(text.layer_types))} keep no plain keys and values"
    return ""


def window(config: Any) -> float:
    """Most tokens of a row that all its layers see; infinite for most."""
    text = config.get_text_config()
    kinds = getattr(text, "layer_types", None)
    found = getattr(text, "sliding_window", None)
    return float(found) if found and (kinds is None or "sliding_attention" in kinds) else float("inf")


def rope_border(config: Any) -> float:
    """The length beyond which rotary frequencies are others (longrope, as in Phi-3), infinite for most: keys kept from
    a shorter pass do not fit into a longer one, by nats a token and without a word (transformers 5.17)."""
    text = config.get_text_config()
    rope = getattr(text, "rope_parameters", None) or {}
    for one in (rope, *(value for value in rope.values() if isinstance(value, dict))):
        if one.get("rope_type") == "longrope":
            original = getattr(text, "original_max_position_embeddings", None)
            return float(one.get("original_max_position_embeddings") or original or text.max_position_embeddings)
    return float("inf")


def why_not_fast(config: Any, tokens: int) -> str:
    """Say why rows of `tokens` tokens (a shared start included) cannot share it, or "" when they can."""
    if fault := own_cache(config):
        return fault
    if tokens > (border := rope_border(config)):
        return f"its rotary frequencies are others beyond {border:g} tokens, and a row has {tokens}"
    if tokens > (seen := window(config)):
        return f"its attention window of {seen:g} tokens is shorter than a row of {tokens}"
    return ""


def abilities(config: Any) -> dict[str, str]:
    """What a model can be used for, from its config alone: what is sampled (sample, eval, rl, distillation of a
    student's own words), trained (sft, rl, distill, logprobs) or made a judge -> `fast`, `slow: why` or `no: why`."""
    longest, limit = positions(config), min(window(config), rope_border(config))
    slow = why_not_fast(config, 1)
    long = "" if limit >= longest else f", slow for rows of more than {limit:g} tokens"
    if rope_border(config) < longest:
        long += f", no row may cross {rope_border(config):g} tokens while it is sampled"
    judge = "fast" if type(config) in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING and pads(config) else ""
    plainly = "fast" if pads(config) else "slow: row by row"
    return {
        "sample": (f"slow: {slow}, so `generate` draws" if slow else "fast") + long,
        "train": f"{plainly}{', the start of prompts is read in every row' if slow and pads(config) else ''}",
        "judge": judge or f"no: transformers knows no scalar head for a {config.model_type}",
    }


def positions(config: Any) -> float:
    """Positions of a text model, infinite where its architecture has no limit."""
    found = value(config.get_text_config(), "max_position_embeddings")
    return float(found) if isinstance(found, int) and found > 0 else float("inf")


def experts(config: Any) -> int:
    """How many experts a layer of a mixture has, 0 for other models."""
    found = (value(config.get_text_config(), name) for name in EXPERTS)
    return max((number for number in found if isinstance(number, int)), default=0)


def attention(config: Any) -> str | None:
    """The attention that a model is to be loaded with: transformers' plain one where torch's fused one would leave out
    a cap on attention scores without a word (Gemma 2; transformers 5.17); None = the best that its class can do."""
    return "eager" if getattr(config.get_text_config(), "attn_logit_softcapping", None) else None
