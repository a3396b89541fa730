"""A model folder becomes a GGUF, the file that llama.cpp reads: weights, tokenizer, template and ends in one.

A loaded model, its tokenizer and its contract enter; one .gguf leaves, written tensor by tensor by the package `gguf`.
The format forgives in silence: a rope base or an epsilon that is not written is another one when it is read. So every
key is written, shapes that the format's readers cannot be checked on are refused, and `checking` reads the file back.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf.quants import dequantize, quantize
from torch import Tensor
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from stages.core.contract import Contract
from stages.core.errors import InputError
from stages.policy.models import splits

SHAPES = {"LlamaForCausalLM": "llama", "Qwen2ForCausalLM": "qwen2", "Qwen3ForCausalLM": "qwen3"}
"""Architecture -> its name in llama.cpp."""
KINDS = {
    "f32": (gguf.GGMLQuantizationType.F32, gguf.LlamaFileType.ALL_F32),
    "f16": (gguf.GGMLQuantizationType.F16, gguf.LlamaFileType.MOSTLY_F16),
    "bf16": (gguf.GGMLQuantizationType.BF16, gguf.LlamaFileType.MOSTLY_BF16),
    "q8_0": (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
    "q4_0": (gguf.GGMLQuantizationType.Q4_0, gguf.LlamaFileType.MOSTLY_Q4_0),
}
"""A recipe's word -> the type of its matrices, and what the file says it mostly holds. Vectors are float32 always."""
_VALUES: np.dtype[np.float32] = np.dtype(np.float32)
"""What a tensor is told to have been; what it becomes in the file is its own type's."""
_FOLDER = "export it as a folder: `format=folder`"


def refuse_unwritable(config: Any, tokenizer: PreTrainedTokenizerBase, contract: Contract) -> None:
    """Raise InputError for a model that a GGUF cannot hold, or whose file nobody here could check."""
    named = (config.architectures or ["a model of no architecture"])[0]
    rope = config.get_text_config().rope_parameters if named in SHAPES else {}
    layers = getattr(config, "layer_types", None) or []
    reasons = {
        f"it is a {named}; known are {', '.join(SHAPES)}": named not in SHAPES,
        f"it stretches its positions ({rope.get('rope_type')}), which no reader here checks": rope.get("rope_type")
        not in (None, "default"),
        "it turns a part of each head only": rope.get("partial_rotary_factor", 1.0) != 1.0,
        f"its activation is {getattr(config, 'hidden_act', None)}, not silu": named in SHAPES
        and config.hidden_act != "silu",
        "some layers see a window only": "sliding_attention" in layers,
        "its projections have biases": named != "Qwen2ForCausalLM"
        and bool(getattr(config, "attention_bias", False) or getattr(config, "mlp_bias", False)),
        f"it has {len(contract.eos_ids)} ends, and the format names three": len(contract.eos_ids) > 3,
        "its tokenizer splits words in a way that llama.cpp has no name for": splits.name_of(
            tokenizer.backend_tokenizer
        )
        is None,
    }
    for reason, holds in reasons.items():
        if holds:
            raise InputError(f"a GGUF cannot hold this model: {reason}", hint=_FOLDER)


def write(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    contract: Contract,
    file: Path,
    *,
    kind: str,
    facts: Mapping[str, str],
) -> dict[str, Any]:
    """Write `file` and leave in `model` the weights that the file holds, so that the file's loss can be measured.

    `kind` is a key of KINDS; `facts` may name the model (`name`), its `license` and `template`. Returns `matrices` of
    the kind, and `kept` of those whose rows do not divide into its blocks and which are float16 instead. Raises
    InputError as `refuse_unwritable`, and for numbers beyond float16.
    """
    refuse_unwritable(model.config, tokenizer, contract)
    writer = gguf.GGUFWriter(file, SHAPES[type(model).__name__])
    _describe(writer, model, contract, kind, facts)
    _tell_tokens(writer, tokenizer, contract, int(model.get_input_embeddings().weight.shape[0]))
    if facts.get("template"):
        writer.add_chat_template(facts["template"])
    counted = {"matrices": 0, "kept": 0}
    plan = list(_tensors(model, kind))
    for name, weight, wanted in plan:
        block, size = gguf.GGML_QUANT_SIZES[wanted]
        writer.add_tensor_info(name, weight.shape, _VALUES, weight.numel() // block * size, raw_dtype=wanted)
        if weight.dim() > 1:
            counted["matrices" if wanted is KINDS[kind][0] else "kept"] += 1
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    heads = _heads(model)
    with torch.no_grad():
        for name, weight, wanted in plan:
            turned = _turned(weight, heads.get(name)).float().contiguous().numpy()
            packed = quantize(turned, wanted)
            held_T = dequantize(packed, wanted)
            if not np.isfinite(held_T).all():
                writer.close()
                raise InputError(f"`{name}` holds numbers beyond {wanted.name}", hint="write `quantization=bf16`")
            writer.write_tensor_data(packed)
            weight.copy_(_turned_back(torch.from_numpy(held_T.copy()), heads.get(name)))
    writer.close()
    return counted


def _tensors(model: Any, kind: str) -> Iterator[tuple[str, Tensor, gguf.GGMLQuantizationType]]:
    """Name in the file, weight and type of each tensor, tied ones once."""
    config = model.config
    arch = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == SHAPES[type(model).__name__])
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    wanted = KINDS[kind][0]
    for own, weight in model.named_parameters():  # a tied head is listed once, as the embedding
        name = names.get_name(own, try_suffixes=(".weight", ".bias"))
        if name is None:
            raise InputError(f"a GGUF cannot hold this model: llama.cpp has no place for `{own}`", hint=_FOLDER)
        if weight.dim() == 1:
            yield name, weight, gguf.GGMLQuantizationType.F32
            continue
        block = gguf.GGML_QUANT_SIZES[wanted][0]
        yield name, weight, wanted if weight.shape[-1] % block == 0 else gguf.GGMLQuantizationType.F16


def _heads(model: Any) -> dict[str, int]:
    """Tensor -> heads whose halves llama.cpp's Llama wants interleaved; Qwen's it takes as they are."""
    if SHAPES[type(model).__name__] != "llama":
        return {}
    config = model.config
    parts = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    layers = range(config.num_hidden_layers)
    return {f"blk.{layer}.{part}.weight": heads for layer in layers for part, heads in parts.items()}


def _turned(weight: Tensor, heads: int | None) -> Tensor:
    if heads is None:
        return weight
    return weight.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2)


def _turned_back(weight: Tensor, heads: int | None) -> Tensor:
    if heads is None:
        return weight
    return weight.unflatten(0, (heads, -1, 2)).transpose(1, 2).flatten(0, 2)


def _describe(writer: gguf.GGUFWriter, model: Any, contract: Contract, kind: str, facts: Mapping[str, str]) -> None:
    config = model.config
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_name(facts.get("name", "model"))
    if facts.get("license"):
        writer.add_license(facts["license"])
    writer.add_file_type(KINDS[kind][1])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_vocab_size(int(model.get_input_embeddings().weight.shape[0]))
    writer.add_context_length(contract.max_positions)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)


def _tell_tokens(writer: gguf.GGUFWriter, tokenizer: PreTrainedTokenizerBase, contract: Contract, rows: int) -> None:
    """Write the vocabulary (one entry for each row of the embedding), its merges and what ends and begins a text."""
    parts = json.loads(tokenizer.backend_tokenizer.to_str())
    by_id = {number: token for token, number in tokenizer.get_vocab().items()}
    added = {one["id"]: bool(one["special"]) for one in parts["added_tokens"]}
    kinds = gguf.TokenType
    types = [
        kinds.UNUSED
        if number not in by_id
        else kinds.CONTROL
        if added.get(number)
        else kinds.USER_DEFINED
        if number in added
        else kinds.NORMAL
        for number in range(rows)
    ]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(splits.name_of(tokenizer.backend_tokenizer) or "")
    writer.add_token_list([by_id.get(number, f"[PAD{number}]") for number in range(rows)])
    writer.add_token_types(types)
    merges = [one if isinstance(one, str) else " ".join(one) for one in parts["model"]["merges"]]
    writer.add_token_merges(merges)
    first, *others = [contract.end_id, *(one for one in contract.eos_ids if one != contract.end_id)]
    writer.add_eos_token_id(first)
    for add, number in zip((writer.add_eot_token_id, writer.add_eom_token_id), others, strict=False):
        add(number)
    writer.add_pad_token_id(contract.pad_id)
    begin = tokenizer.bos_token_id
    # Readers want one, and `add_bos_token` says that it is not used; where it is an end, they take it for no end.
    writer.add_bos_token_id(contract.pad_id if begin is None else begin)
    ids = tokenizer("a")["input_ids"]
    writer.add_add_bos_token(begin is not None and ids[0] == begin)
    writer.add_add_eos_token(len(ids) > 1 and ids[-1] in contract.eos_ids)
