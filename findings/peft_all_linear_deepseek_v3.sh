#!/usr/bin/env bash
# PEFT: "all-linear" on DeepSeek-V3 leaves the dense and the shared experts' layers out
#
# target_modules="all-linear" stands for every linear layer but the head. On a DeepSeek-V3 model PEFT adapts the
# routed experts and the router, which are no linear layers of torch, and drops the MLPs of the dense first layers and
# the shared experts, which are. No message says which; those that come (on rank_pattern) speak of something else.
# Naming the shared experts alone by a regular expression adapts the routed experts instead of them.
#
# Seen with peft 0.21.2, transformers 5.17.0, torch 2.13.0 (CPU), layer 0 dense, layer 1 with experts:
#   all-linear, beside attention: layers.1.mlp.experts, layers.1.mlp.gate
#   linear layers without adapter: layers.0.mlp.{gate,up,down}_proj, layers.1.mlp.shared_experts.{gate,up,down}_proj
#   a regex of the shared experts alone: layers.1.mlp.experts
set -euo pipefail
unset PYTHONPATH
export CUDA_VISIBLE_DEVICES= HF_HUB_OFFLINE=1 HF_HOME=home PYTHONWARNINGS=ignore
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0
venv/bin/pip install -q transformers==5.17.0 peft==0.21.2 accelerate==1.15.0
venv/bin/python - <<'EOF'
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, DeepseekV3Config

config = DeepseekV3Config(
    vocab_size=64,
    hidden_size=64,
    intermediate_size=96,
    moe_intermediate_size=32,
    num_hidden_layers=2,
    first_k_dense_replace=1,
    num_attention_heads=2,
    num_key_value_heads=2,
    n_routed_experts=4,
    num_experts_per_tok=2,
    n_group=1,
    topk_group=1,
    kv_lora_rank=16,
    q_lora_rank=16,
    qk_rope_head_dim=16,
    qk_nope_head_dim=16,
    v_head_dim=16,
)


def adapted(targets):
    """The MLP modules that get an adapter, and the linear ones that get none."""
    model = AutoModelForCausalLM.from_config(config)
    linear = {name for name, module in model.model.named_modules() if isinstance(module, torch.nn.Linear)}
    adapter = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", target_modules=targets, r=4))
    names = {name.split(".lora_")[0] for name, _ in adapter.named_parameters() if ".lora_" in name}
    found = {name.removeprefix("base_model.model.model.").removesuffix(".base_layer") for name in names}
    return sorted(name for name in found if "mlp" in name), sorted(linear - found)


found, left = adapted("all-linear")
print("all-linear, beside attention:", *found)
print("linear layers without adapter:", *left)
shared, _ = adapted(r".*shared_experts\.(gate|up|down)_proj")
print("a regex of the shared experts alone:", *shared)
parts = ["down_proj", "gate_proj", "up_proj"]
assert found == ["layers.1.mlp.experts", "layers.1.mlp.gate"], "all-linear adapts other layers now"
missed = [f"layers.0.mlp.{part}" for part in parts] + [f"layers.1.mlp.shared_experts.{part}" for part in parts]
assert left == missed, "all-linear leaves other layers out now"
assert shared == ["layers.1.mlp.experts"], "a regex of the shared experts adapts other layers now"
EOF
