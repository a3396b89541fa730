#!/usr/bin/env bash
# transformers: Phi-3 and Phi-4-mini forget the whole prompt when a completion passes the original length
#
# Phi-3 128k and Phi-4-mini have two sets of rotary factors, for rows within the original length (4,096 tokens) and
# beyond. generate() must make the cached keys anew where a row passes it. It drops the cache there, but hands the
# model the last token alone and not the row; one token later the cache is short again, and is dropped again. So from
# the original length on every token is drawn from the token before it and nothing else, without a warning: long
# reasoning turns into noise, and the log-probabilities of RL are those of no forward pass over the row.
#
# Seen with transformers 5.17.0, torch 2.13.0 (CPU), random weights, original length 64, a prompt of 60 tokens, 20 new
# ones, largest difference of a log-probability of what generate() gives for the tokens 66 to 80:
#   from a forward pass over the row so far:       5.8
#   from a forward pass over the last token alone: 0.000000
#   and of a completion that stays within 64, from the row so far: 0.000018
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


def drawn(length):
    """A row of `length` random tokens and 20 that generate() adds, and the log-probabilities it drew those from."""
    prompt = torch.randint(3, 64, (1, length))
    done = model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=20,
        min_new_tokens=20,
        do_sample=False,
        return_dict_in_generate=True,
        output_logits=True,
    )
    return done.sequences, torch.stack(done.logits, dim=1)[0].log_softmax(-1)


def last(ids):
    with torch.no_grad():
        return model(ids).logits[0, -1].log_softmax(-1)


def gap(row, given, place, start):
    """Largest difference at one place between what generate() gave and a forward pass over the row from `start` on."""
    return (given[place - row.shape[1] + 20] - last(row[:, start:place])).abs().max().item()


row, given = drawn(60)
whole = max(gap(row, given, place, 0) for place in range(65, 80))
alone = max(gap(row, given, place, place - 1) for place in range(65, 80))
short_row, short_given = drawn(40)
within = max(gap(short_row, short_given, place, 0) for place in range(40, 60))
print(f"from a forward pass over the row so far:       {whole:.1f}")
print(f"from a forward pass over the last token alone: {alone:.6f}")
print(f"and of a completion that stays within 64, from the row so far: {within:.6f}")
assert within < 1e-3, "generate() and a forward pass differ within the original length too"
assert whole > 0.1, "generate() gives what a forward pass gives beyond the original length now"
assert alone < 1e-3, "generate() beyond the original length sees more than the last token now"
EOF
