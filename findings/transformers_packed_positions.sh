#!/usr/bin/env bash
# transformers: packed documents see each other unless the cache is switched off
#
# Two documents in one row, with position_ids that begin again, are kept apart by the attention mask that transformers
# derives from those positions: but only with use_cache=False. A plain forward pass has the cache on by default and
# then lets the second document attend to the first, without a warning. A trainer that switches the cache off is
# right, and an evaluation or a log-probability pass over the same packed batch is silently wrong.
#
# Seen with transformers 5.17.0, torch 2.13.0 (CPU), largest difference of a logit from the documents run alone:
#   model(ids, position_ids)                   9.81
#   model(ids, position_ids, use_cache=False)  0.00001
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
from transformers import AutoModelForCausalLM, LlamaConfig

torch.manual_seed(0)
config = LlamaConfig(
    vocab_size=64,
    hidden_size=64,
    intermediate_size=128,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=2,
    initializer_range=0.3,
)
model = AutoModelForCausalLM.from_config(config).eval()
ids, positions = torch.randint(64, (1, 16)), torch.tensor([[*range(8), *range(8)]])
with torch.no_grad():
    alone = torch.cat([model(ids[:, :8]).logits, model(ids[:, 8:]).logits], dim=1)
    plain = (model(ids, position_ids=positions).logits - alone).abs().max().item()
    uncached = (model(ids, position_ids=positions, use_cache=False).logits - alone).abs().max().item()
print(f"model(ids, position_ids)                   {plain:.2f}")
print(f"model(ids, position_ids, use_cache=False)  {uncached:.5f}")
assert uncached < 1e-3, "packed documents see each other without a cache too"
assert plain > 0.1, "packed documents are kept apart with a cache too now"
EOF
