"""The command that a quantised folder's refusal names makes a folder that imports, with the numbers it stands for."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GptOssConfig, GptOssForCausalLM, LlamaConfig, LlamaForCausalLM

from stages.core.errors import InputError
from stages.policy.models.importing import import_model
from tests.policy import styles

SHAPE: dict[str, Any] = {"hidden_size": 128, "intermediate_size": 128, "num_hidden_layers": 1, "vocab_size": 400}
SHAPE |= {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 64, "eos_token_id": 2, "pad_token_id": 3}


def packed_experts(state: dict[str, torch.Tensor]) -> None:
    """Experts in blocks of 32: each nibble 2 stands for 1.0, and the scale 2 ** (128 - 127) doubles it."""
    for name in ("gate_up_proj", "down_proj"):
        experts, wide, high = state.pop(f"model.layers.0.mlp.experts.{name}").shape
        blocks = torch.full((experts, high, wide // 32, 16), 0x22, dtype=torch.uint8)
        state[f"model.layers.0.mlp.experts.{name}_blocks"] = blocks
        state[f"model.layers.0.mlp.experts.{name}_scales"] = torch.full(blocks.shape[:3], 128, dtype=torch.uint8)


def scaled(state: dict[str, torch.Tensor]) -> None:
    """One projection in float8: each weight is 4.0 and its scale a half."""
    name = "model.layers.0.mlp.up_proj.weight"
    state[name] = torch.full_like(state[name], 4.0).to(torch.float8_e4m3fn)
    state[f"{name}_scale_inv"] = torch.full((1, 1), 0.5)
    for part in [one for one in state if "_proj.weight" in one and name not in one]:
        state[part] = torch.ones_like(state[part]).to(torch.float8_e4m3fn)
        state[f"{part}_scale_inv"] = torch.full((1, 1), 1.0)


@pytest.mark.parametrize("method", ["mxfp4", "fp8"])
def test_a_quantised_folder_imports_after_the_command_of_its_refusal(tmp_path: Path, method: str) -> None:
    source = styles.folder("plain", tmp_path / "quantised")
    if method == "mxfp4":
        model: Any = GptOssForCausalLM(GptOssConfig(**SHAPE, num_local_experts=2, num_experts_per_tok=1))
        given: dict[str, Any] = {"modules_to_not_convert": ["self_attn", "router", "embed_tokens", "lm_head"]}
    else:
        model = LlamaForCausalLM(LlamaConfig(**SHAPE))
        given = {"activation_scheme": "dynamic", "weight_block_size": [128, 128]}
    model.to(torch.bfloat16).save_pretrained(source)
    state = load_file(source / "model.safetensors")
    (packed_experts if method == "mxfp4" else scaled)(state)
    save_file(state, source / "model.safetensors", {"format": "pt"})
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(
        json.dumps({**config, "quantization_config": {"quant_method": method, **given}})
    )
    with pytest.raises(InputError, match=f"is quantised \\({method}\\)") as caught:
        import_model(source, tmp_path / "refused")
    exec(shlex.split(caught.value.hint.split("`")[1])[2])
    bare = source.with_name(f"{source.name}-bf16")
    for file in source.glob("*token*"):
        shutil.copy(file, bare)
    import_model(bare, tmp_path / "model")
    found = load_file(tmp_path / "model" / "model.safetensors")
    name = "mlp.experts.gate_up_proj" if method == "mxfp4" else "mlp.up_proj.weight"
    assert (found[f"model.layers.0.{name}"] == 2.0).all()
