#!/usr/bin/env bash
# transformers and GGUF: the keys of rope scaling (linear, yarn) are not read
#
# A GGUF file says in {arch}.rope.scaling.type, .factor and .original_context_length that rotary frequencies are
# stretched (linear, yarn); llama.cpp writes and obeys them. from_pretrained(gguf_file=...) knows the keys of the base
# and of the dimensions and passes over these without a word: the config says rope_type "default", and the model is
# another one at every length.
#
# Seen with transformers 5.17.0, gguf 0.19.0, torch 2.13.0 (CPU):
#   qwen2 linear: {'rope_theta': 10000.0, 'rope_type': 'default'}
#   qwen2 yarn: {'rope_theta': 10000.0, 'rope_type': 'default'}
#   llama linear: {'rope_theta': 10000.0, 'rope_type': 'default'}
#   llama yarn: {'rope_theta': 10000.0, 'rope_type': 'default'}
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
from transformers import AutoConfig


def write(arch, kind):
    """A file of keys alone: a config is made of nothing else."""
    writer = gguf.GGUFWriter("model.gguf", arch)
    writer.add_block_count(1)
    writer.add_context_length(256)
    writer.add_embedding_length(64)
    writer.add_feed_forward_length(64)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(32)
    writer.add_vocab_size(64)
    writer.add_rope_scaling_type(kind)
    writer.add_rope_scaling_factor(4.0)
    writer.add_rope_scaling_orig_ctx_len(64)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


for arch in ("qwen2", "llama"):
    for kind in (gguf.RopeScalingType.LINEAR, gguf.RopeScalingType.YARN):
        write(arch, kind)
        found = AutoConfig.from_pretrained(".", gguf_file="model.gguf").rope_parameters
        print(f"{arch} {kind.value}: {found}")
        assert found["rope_type"] == "default", "the keys are read now"
EOF
