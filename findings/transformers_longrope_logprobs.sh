#!/usr/bin/env bash
# transformers: a longrope model's generate() and its forward pass disagree on the same tokens
#
# Models with longrope (Phi-3 128k, Phi-4-mini) have two sets of rotary factors, for rows within the original length and
# beyond. transformers chooses by the length of each call: while it generates, the prompt's keys are made with the short
# factors and stay in the cache, and a forward pass over the finished row uses the long ones for all of it. So each
# completion that crosses the original length has log-probabilities that no forward pass of the trainer gives again: the
# importance ratio of RL is off from the first step, with equal weights, in float32.
#
# Seen with transformers 5.17.0, torch 2.13.0 (CPU), random weights, mean |generate - forward| in nats a token:
#   20 tokens and 12 more, within the original 64:  0.000000
#   60 tokens and 12 more, across it:               2.93
set -euo pipefail
unset PYTHONPATH
export CUDA_VISIBLE_DEVICES= HF_HUB_OFFLINE=1 HF_HOME=home PYTHONWARNINGS=ignore
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0
venv/bin/pip install -q transformers==5.17.0
venv/bin/python - <<'EOF'
import torch
from transformers import AutoModelForCausalLM, Phi3Config
from transformers.utils import logging

logging.set_verbosity_error()
torch.manual_seed(0)
config = Phi3Config(
    vocab_size=64,
    hidden_size=64,
    intermediate_size=128,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=2,
    max_position_embeddings=256,
    original_max_position_embeddings=64,
    initializer_range=0.2,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=2,
    rope_parameters={
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "short_factor": [1.0] * 16,
        "long_factor": [4.0] * 16,
        "original_max_position_embeddings": 64,
    },
)
model = AutoModelForCausalLM.from_config(config).eval()


def gap(length):
    """Mean |log-probability while generating - in a forward pass| of the 12 drawn tokens."""
    prompt = torch.randint(3, 64, (1, length))
    drawn = model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=12,
        min_new_tokens=12,
        do_sample=False,
        return_dict_in_generate=True,
        output_logits=True,
    )
    with torch.no_grad():
        forward = model(drawn.sequences).logits[:, length - 1 : -1].log_softmax(-1)
    generated = torch.stack(drawn.logits, dim=1).log_softmax(-1)
    tokens = drawn.sequences[:, length:, None]
    return (generated.gather(2, tokens) - forward.gather(2, tokens)).abs().mean().item()


within, across = gap(20), gap(60)
print(f"20 tokens and 12 more, within the original 64:  {within:.6f}")
print(f"60 tokens and 12 more, across it:               {across:.2f}")
assert within < 1e-3, "the two differ within the original length too"
assert across > 0.1, "the two agree across the original length now"
EOF
