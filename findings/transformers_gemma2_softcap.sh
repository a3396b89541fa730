#!/usr/bin/env bash
# transformers: Gemma-2 in its default attention is another model than Gemma-2
#
# Gemma-2 caps its attention scores (attn_logit_softcapping, 50 in the published models). transformers loads the model
# with the attention "sdpa" by default, which cannot do that, and leaves the cap out without a warning: the logits are
# those of a model without the cap. With attn_implementation="eager" they are right. Whoever samples with an engine
# that caps and trains with the default trains on log-probabilities of another model.
#
# Seen with transformers 5.17.0, torch 2.13.0 (CPU), random weights, a cap of 1, largest difference of a logit:
#   chosen by default: sdpa
#   sdpa and eager:             3.27
#   sdpa and eager without cap: 0.000003
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
from transformers import AutoModelForCausalLM, Gemma2Config

torch.manual_seed(0)
settings = dict(
    vocab_size=64,
    hidden_size=64,
    intermediate_size=128,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=2,
    head_dim=32,
    initializer_range=0.3,
)
ids = torch.arange(16)[None]


def logits(weights, cap, **more):
    model = AutoModelForCausalLM.from_config(Gemma2Config(**settings, attn_logit_softcapping=cap), **more).eval()
    if weights is not None:
        model.load_state_dict(weights)
    with torch.no_grad():
        return model, model(ids).logits


model, default = logits(None, 1.0)
_, eager = logits(model.state_dict(), 1.0, attn_implementation="eager")
_, uncapped = logits(model.state_dict(), None, attn_implementation="eager")
capped_gap, uncapped_gap = (default - eager).abs().max().item(), (default - uncapped).abs().max().item()
print("chosen by default:", model.config._attn_implementation)
print(f"sdpa and eager:             {capped_gap:.2f}")
print(f"sdpa and eager without cap: {uncapped_gap:.6f}")
assert model.config._attn_implementation == "sdpa", "the default attention is another one now"
assert capped_gap > 0.1, "the default attention caps now"
assert uncapped_gap < 1e-3, "the default attention differs by more than the cap"
EOF
