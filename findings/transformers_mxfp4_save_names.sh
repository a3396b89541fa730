#!/usr/bin/env bash
# transformers: a gpt-oss that was unpacked from mxfp4 is saved under names that are patterns, one layer for all
#
# `Mxfp4Config(dequantize=True)` loads gpt-oss' packed experts as plain bfloat16 weights, which is how one unpacks such a
# folder to train on. save_pretrained then gives the weights their names on disk by reading the loader's table backwards,
# and its entries there end in the `$` of a regular expression: in transformers 5.17.0 every layer's experts are written
# as one tensor named `down_proj$` and one named `gate_up_proj$`, without the layer's name. Nothing raises; of two layers
# one is gone, and a model loaded from that folder gets new random experts, with a line in a report of keys.
# `save_original_format=False` saves what was loaded under the names of the model.
#
# Seen with transformers 5.17.0, torch 2.13.0 (CPU), safetensors 0.8.0:
#   in memory: 2 layers, 4 tensors of experts
#   saved: ['down_proj$', 'gate_up_proj$']
#   saved with save_original_format=False: 4 tensors of experts
set -euo pipefail
unset PYTHONPATH
export CUDA_VISIBLE_DEVICES= HF_HUB_OFFLINE=1 HF_HOME=home PYTHONWARNINGS=ignore
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0 numpy
venv/bin/pip install -q transformers==5.17.0 safetensors==0.8.0 accelerate==1.15.0
venv/bin/python - <<'EOS'
import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GptOssConfig, GptOssForCausalLM, Mxfp4Config
from transformers.utils import logging

logging.set_verbosity_error()
logging.disable_progress_bar()
torch.manual_seed(0)
config = GptOssConfig(
    vocab_size=16,
    hidden_size=64,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=32,
    num_local_experts=2,
    num_experts_per_tok=1,
)
GptOssForCausalLM(config).to(torch.bfloat16).save_pretrained("packed")
tensors = load_file("packed/model.safetensors")
for name in [name for name in tensors if name.endswith(("gate_up_proj", "down_proj"))]:
    experts, wide, high = tensors.pop(name).shape
    tensors[f"{name}_blocks"] = torch.full((experts, high, wide // 32, 16), 0x22, dtype=torch.uint8)
    tensors[f"{name}_scales"] = torch.full((experts, high, wide // 32), 127, dtype=torch.uint8)
save_file(tensors, "packed/model.safetensors", {"format": "pt"})
described = json.loads(Path("packed/config.json").read_text())
skipped = ["self_attn", "router", "embed_tokens", "lm_head"]
described["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": skipped}
Path("packed/config.json").write_text(json.dumps(described))


def experts(names):
    return sorted(name for name in names if name.rstrip("$").endswith(("gate_up_proj", "down_proj")))


def saved(folder):
    with safe_open(f"{folder}/model.safetensors", "pt") as file:
        return experts(file.keys())


model = AutoModelForCausalLM.from_pretrained("packed", quantization_config=Mxfp4Config(dequantize=True), dtype="bfloat16")
held = experts(model.state_dict())
model.save_pretrained("unpacked")
model.save_pretrained("plain", save_original_format=False)
print(f"in memory: {config.num_hidden_layers} layers, {len(held)} tensors of experts")
print(f"saved: {saved('unpacked')}")
print(f"saved with save_original_format=False: {len(saved('plain'))} tensors of experts")
assert len(held) == 4 and saved("plain") == held, "the model is loaded or saved in another way now"
assert saved("unpacked") == ["down_proj$", "gate_up_proj$"], "the names are right now"
EOS
