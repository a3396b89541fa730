#!/usr/bin/env bash
# transformers: float8 weights without a quantization_config load as float32, without their scales
#
# A folder whose weights are stored in float8 beside their scales (as vLLM, llm-compressor and DeepSeek store them) says
# how to read them in config.json's quantization_config. Where that entry is missing (a config.json taken from the base
# model, or rewritten by a tool) transformers 5.17.0 turns the stored float8 numbers into float32 as they stand and
# leaves the scales unread: the model loads, and each such weight is wrong by its scale, here some 6,500 times too large.
# What tells it is one line of a report, `weight_scale | UNEXPECTED`, with the note that this "can be ignored when
# loading from different task/architecture". Nothing raises; training goes on from the wrong weights.
#
# Seen with transformers 5.17.0, torch 2.13.0 (CPU), safetensors 0.8.0:
#   stored as torch.float8_e4m3fn with a scale of 0.00015
#   loaded as torch.float32, 6478 times the weights; unexpected: ['model.layers.0.mlp.down_proj.weight_scale']
set -euo pipefail
unset PYTHONPATH
export CUDA_VISIBLE_DEVICES= HF_HUB_OFFLINE=1 HF_HOME=home PYTHONWARNINGS=ignore
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0 numpy
venv/bin/pip install -q transformers==5.17.0 safetensors==0.8.0
venv/bin/python - <<'EOS'
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

logging.set_verbosity_error()
logging.disable_progress_bar()
torch.manual_seed(0)
config = LlamaConfig(
    vocab_size=16,
    hidden_size=32,
    intermediate_size=32,
    num_hidden_layers=1,
    num_attention_heads=2,
    num_key_value_heads=2,
)
LlamaForCausalLM(config).save_pretrained("model")
tensors = load_file("model/model.safetensors")
name = "model.layers.0.mlp.down_proj.weight"
weight = tensors[name]
scale = (weight.abs().max() / torch.finfo(torch.float8_e4m3fn).max).reshape(1)
tensors[name], tensors[f"{name}_scale"] = (weight / scale).to(torch.float8_e4m3fn), scale
save_file(tensors, "model/model.safetensors", {"format": "pt"})
print(f"stored as {tensors[name].dtype} with a scale of {scale.item():.2g}")

model, told = AutoModelForCausalLM.from_pretrained("model", output_loading_info=True)
loaded = model.state_dict()[name]
times = (loaded / weight).median().item()
print(f"loaded as {loaded.dtype}, {times:.0f} times the weights; unexpected: {sorted(told['unexpected_keys'])}")
assert loaded.dtype == torch.float32 and not told["missing_keys"], "float8 is loaded in another way now"
assert abs(times * scale.item() - 1) < 0.05, "the scale is read now, or something raises"
EOS
