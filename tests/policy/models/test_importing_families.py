"""Every config class that transformers counts as a causal language model imports, or is refused in a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BloomConfig,
    MambaConfig,
)

from stages.core.contract import Contract
from stages.core.errors import R1Error
from stages.policy.models.choosing import refuse_other_kinds
from stages.policy.models.folders import NO_LIMIT, cast, positions
from stages.policy.models.importing import import_model
from stages.policy.models.reading import read_config
from tests.policy import styles

TEXT: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "eos_token_id": 2,
    "bos_token_id": 1,
    "pad_token_id": 3,
}
LINEAR = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention"],
}
MLA = {
    "n_routed_experts": 8,
    "n_group": 2,
    "topk_group": 1,
    "moe_intermediate_size": 16,
    "first_k_dense_replace": 1,
    "kv_lora_rank": 8,
    "q_lora_rank": 8,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
}
VISION = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
SHAPES: dict[str, dict[str, Any]] = {
    "Qwen3MoeConfig": TEXT | {"num_experts": 4, "moe_intermediate_size": 16},
    "DeepseekV3Config": TEXT | MLA,
    "GptOssConfig": TEXT | {"num_local_experts": 4},
    "Qwen3_5TextConfig": TEXT | LINEAR,
    "Lfm2Config": TEXT | {"layer_types": ["conv", "full_attention"]},
    "Gemma3TextConfig": TEXT,
    "GPT2Config": {"n_embd": 32, "n_layer": 2, "n_head": 4, "eos_token_id": 2, "bos_token_id": 1},
    "MambaConfig": {"hidden_size": 32, "state_size": 4, "num_hidden_layers": 2, "eos_token_id": 2, "bos_token_id": 1},
    "BloomConfig": {"hidden_size": 32, "n_layer": 2, "n_head": 4, "eos_token_id": 2, "bos_token_id": 1},
    "Gemma3Config": {
        "vision_config": VISION | {"image_size": 28, "patch_size": 14},
        "mm_tokens_per_image": 4,
        "image_token_index": 4,
    },
}
"""One config of each shape: dense, expert lists, latents, packed experts, linear, convolutions, nested, none at all."""


def folder(name: str, path: Path) -> Path:
    """A tiny random model of a config class, with a tokenizer of 374 tokens."""
    words = styles.tokenizer("plain")
    settings = SHAPES[name]
    if "vision_config" in settings:
        settings = settings | {"text_config": TEXT | {"vocab_size": len(words)}}
    else:
        settings = settings | {"vocab_size": len(words)}
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(getattr(transformers, name)(**settings)).save_pretrained(path)
    words.save_pretrained(path)
    return path


@pytest.mark.parametrize("name", SHAPES)
def test_a_model_of_each_shape_is_imported_as_transformers_loads_it(tmp_path: Path, name: str) -> None:
    source = folder(name, tmp_path / "source")
    figures = import_model(source, tmp_path / "model")
    assert figures["eos_ids"] == [2] and Contract.read(tmp_path / "model").max_positions > 0
    one, two = (AutoModelForCausalLM.from_pretrained(path).state_dict() for path in (tmp_path / "model", source))
    assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


def test_every_causal_config_class_is_read_or_refused_in_a_sentence(tmp_path: Path) -> None:
    read, refused = [], []
    for kind in MODEL_FOR_CAUSAL_LM_MAPPING:
        try:
            kind().save_pretrained(tmp_path)
        except StrictDataclassError:  # two classes have no default at all, and cannot be written
            continue
        try:
            config = read_config(tmp_path)
            refuse_other_kinds(tmp_path, config, json.loads((tmp_path / "config.json").read_text()))
            assert positions(config) > 0
            read.append(kind.__name__)
        except R1Error as error:
            assert error.hint
            refused.append(kind.__name__)
    assert len(read) + len(refused) == len(MODEL_FOR_CAUSAL_LM_MAPPING) - 2
    assert {"BartConfig", "WhisperConfig", "BertConfig", "XLNetConfig"} <= set(refused) and len(refused) < 40


def test_an_architecture_that_counts_no_positions_is_granted_a_stated_number() -> None:
    assert positions(MambaConfig()) == positions(BloomConfig()) == NO_LIMIT
    assert positions(BloomConfig(seq_length=2048)) == 2048
    assert positions(AutoConfig.for_model("gpt2", n_positions=96)) == 96


def test_the_vision_part_of_a_wrapper_is_left_out_where_transformers_leaves_it_out(tmp_path: Path) -> None:
    source = folder("Qwen3_5TextConfig", tmp_path / "source")
    file = source / "config.json"
    inner = json.loads(file.read_text())
    whole = {"model_type": "qwen3_5", "text_config": inner, "architectures": ["Qwen3_5ForConditionalGeneration"]}
    file.write_text(json.dumps(whole))
    state = {
        name.replace("model.", "model.language_model.", 1): one
        for name, one in load_file(source / "model.safetensors").items()
    }
    state["model.visual.blocks.0.attn.qkv.weight"] = torch.zeros(4, 4)
    state["mtp.layers.0.mlp.up_proj.weight"] = torch.zeros(4, 4)
    save_file(state, source / "model.safetensors", metadata={"format": "pt"})
    figures = import_model(source, tmp_path / "model")
    assert figures["eos_ids"] == [2]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert type(model).__name__ == "Qwen3_5ForCausalLM"
    held = state["model.language_model.embed_tokens.weight"]
    assert torch.equal(model.get_input_embeddings().weight, held)


def test_a_routers_bias_stays_float32_when_the_weights_become_bfloat16() -> None:
    settings = TEXT | MLA | {"vocab_size": 64, "first_k_dense_replace": 0}
    model = AutoModelForCausalLM.from_config(transformers.DeepseekV3Config(**settings))
    bias = next(part for name, part in model.named_buffers() if name.endswith("e_score_correction_bias"))
    bias.fill_(1.001)  # 1.0 in bfloat16
    kinds = {name: part.dtype for name, part in cast(model, "bfloat16").state_dict().items()}
    kept = {name for name, kind in kinds.items() if kind == torch.float32}
    assert kept == {f"model.layers.{i}.mlp.gate.e_score_correction_bias" for i in range(2)}
    after = next(part for name, part in model.named_buffers() if "correction" in name)
    assert after.unique().item() == pytest.approx(1.001)


def test_the_tokenizer_of_an_r1_distill_llama_is_the_one_in_its_file_whatever_its_class_makes_of_it(
    tmp_path: Path,
) -> None:
    source = styles.folder("r1_distill", tmp_path / "source")
    settings = source / "tokenizer_config.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "tokenizer_class": "LlamaTokenizerFast"}))
    text = "We add 12 and\n345, then check."
    assert (
        AutoTokenizer.from_pretrained(source).decode(AutoTokenizer.from_pretrained(source)(text)["input_ids"]) != text
    )
    found = import_model(source, tmp_path / "model")
    assert found["notes"] == [
        "transformers makes another tokenizer of its class LlamaTokenizerFast; tokenizer.json is taken as it is"
    ]
    sealed = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert sealed(text)["input_ids"] == Tokenizer.from_file(str(source / "tokenizer.json")).encode(text).ids
    assert sealed.chat_template == styles.R1_DISTILL
