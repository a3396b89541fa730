#!/usr/bin/env bash
# transformers and GGUF: a Llama-3.1 file loses its rope scaling on the way in
#
# Llama 3.1 and later stretch their rotary frequencies ("llama3" rope scaling). A GGUF file carries that as llama.cpp
# writes it: a tensor rope_freqs.weight of factors, beside the base. from_pretrained(gguf_file=...) takes every other
# tensor, leaves this one out without a word, and gives a model of plain rotary frequencies: other logits than those
# of the checkpoint the file was made from, at every length.
#
# Seen with transformers 5.17.0, gguf 0.19.0, torch 2.13.0 (CPU), random weights, largest difference of a logit:
#   rope_type of the loaded model: default
#   loaded and original:                  14.51
#   loaded and original without scaling:  0.0
set -euo pipefail
unset PYTHONPATH
export CUDA_VISIBLE_DEVICES= HF_HUB_OFFLINE=1 HF_HOME=home PYTHONWARNINGS=ignore
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0
venv/bin/pip install -q transformers==5.17.0 gguf==0.19.0 accelerate==1.15.0
venv/bin/python - <<'EOF'
import gguf
import numpy
import torch
from transformers import AutoModelForCausalLM, LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.utils import logging

logging.disable_progress_bar()
torch.manual_seed(0)
config = LlamaConfig(
    vocab_size=64,
    hidden_size=64,
    intermediate_size=64,
    num_hidden_layers=1,
    num_attention_heads=2,
    num_key_value_heads=2,
    initializer_range=0.3,
    max_position_embeddings=256,
    rope_parameters={
        "rope_type": "llama3",
        "rope_theta": 10000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    },
)
original = AutoModelForCausalLM.from_config(config).eval()

writer = gguf.GGUFWriter("model.gguf", "llama")
writer.add_block_count(1)
writer.add_context_length(256)
writer.add_embedding_length(64)
writer.add_feed_forward_length(64)
writer.add_head_count(2)
writer.add_head_count_kv(2)
writer.add_layer_norm_rms_eps(config.rms_norm_eps)
writer.add_rope_freq_base(10000.0)
writer.add_rope_dimension_count(32)
writer.add_vocab_size(64)
names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 1)
for name, tensor in original.state_dict().items():
    array = tensor.numpy()
    if "q_proj" in name or "k_proj" in name:  # llama.cpp's order of the rotary halves
        array = array.reshape(2, 2, 16, 64).swapaxes(1, 2).reshape(64, 64)
    writer.add_tensor(names.get_name(name, (".weight",)), numpy.ascontiguousarray(array))
plain = 1.0 / 10000.0 ** (torch.arange(0, 32, 2) / 32)
scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
writer.add_tensor("rope_freqs.weight", (plain / scaled).numpy().astype(numpy.float32))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()

loaded = AutoModelForCausalLM.from_pretrained(".", gguf_file="model.gguf").eval()
config.rope_parameters = {"rope_type": "default", "rope_theta": 10000.0}
unscaled = AutoModelForCausalLM.from_config(config).eval()
unscaled.load_state_dict(original.state_dict())
ids = torch.randint(64, (1, 200))
with torch.no_grad():
    found = loaded(ids).logits
    gap, plain_gap = ((found - model(ids).logits).abs().max().item() for model in (original, unscaled))
print("rope_type of the loaded model:", loaded.config.rope_parameters["rope_type"])
print(f"loaded and original:                  {gap:.2f}")
print(f"loaded and original without scaling:  {plain_gap}")
assert plain_gap < 1e-4, "the loaded model differs by more than its rope scaling"
assert gap > 0.1, "the loaded model has its rope scaling now"
EOF
