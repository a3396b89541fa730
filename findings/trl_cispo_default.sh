#!/usr/bin/env bash
# TRL: loss_type="cispo" with its other defaults gives every token the weight 0.2
#
# CISPO (MiniMax-M1, arXiv 2506.13585, eq. 5) multiplies each token's loss by its importance ratio, cut to at most 1 +
# epsilon_high. TRL reads epsilon_high as the largest ratio itself, where its other losses read 1 + epsilon_high, and
# its default is that of those: epsilon, 0.2. On fresh rollouts every ratio is 1 and each is cut to 0.2: the gradient
# is a fifth of GRPO's, the ratio corrects nothing any more, and cispo_clip_ratio counts every token of positive
# advantage as cut. The documentation names 5.0 as the value to set; nothing is said where it is not set.
#
# Seen with trl 1.16.0, transformers 5.17.0, torch 2.13.0 (CPU), first step of a random model, one batch:
#   dapo                     gradient norm 1.192
#   cispo                    gradient norm 0.238   cispo_clip_ratio 0.533
#   cispo, epsilon_high=1.2  gradient norm 1.192   cispo_clip_ratio 0.000
set -euo pipefail
unset PYTHONPATH
export CUDA_VISIBLE_DEVICES= HF_HUB_OFFLINE=1 HF_HOME=home PYTHONWARNINGS=ignore
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0
venv/bin/pip install -q trl==1.16.0 transformers==5.17.0 datasets==5.2.0 accelerate==1.15.0
venv/bin/python - <<'EOF'
import torch
from datasets import Dataset, disable_progress_bars
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast
from transformers.trainer_callback import PrinterCallback
from transformers.utils import logging
from trl import GRPOConfig, GRPOTrainer

disable_progress_bars()
logging.set_verbosity_error()
words = ["<unk>", "<pad>", "<eos>", *(f"w{number}" for number in range(13))]
bare = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
bare.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=bare, unk_token="<unk>", pad_token="<pad>", eos_token="<eos>", padding_side="left"
)
config = LlamaConfig(
    vocab_size=16,
    hidden_size=32,
    intermediate_size=32,
    num_hidden_layers=1,
    num_attention_heads=2,
    num_key_value_heads=2,
    pad_token_id=1,
    eos_token_id=2,
)


def distinct(completions, **_):
    return [float(len(set(completion.split()))) for completion in completions]


def first_step(**loss):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    arguments = GRPOConfig(
        output_dir="out",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        max_steps=1,
        logging_steps=1,
        per_device_train_batch_size=8,
        num_generations=8,
        max_completion_length=6,
        seed=1,
        **loss,
    )
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=distinct,
        args=arguments,
        train_dataset=Dataset.from_list([{"prompt": "w1 w2"}] * 8),
        processing_class=tokenizer,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return trainer.state.log_history[0]


dapo, cispo = first_step(loss_type="dapo"), first_step(loss_type="cispo")
wide = first_step(loss_type="cispo", epsilon_high=1.2)
print(f"dapo                     gradient norm {dapo['grad_norm']:.3f}")
for name, step in [("cispo", cispo), ("cispo, epsilon_high=1.2", wide)]:
    print(f"{name:24s} gradient norm {step['grad_norm']:.3f}   cispo_clip_ratio {step['cispo_clip_ratio']:.3f}")
assert abs(wide["grad_norm"] / dapo["grad_norm"] - 1) < 1e-3, "without a cut cispo's first step is not GRPO's"
assert abs(cispo["grad_norm"] / dapo["grad_norm"] - 0.2) < 1e-3, "cispo's default weighs fresh tokens otherwise now"
assert cispo["cispo_clip_ratio"] > 0 and wide["cispo_clip_ratio"] == 0, "cispo_clip_ratio counts otherwise now"
EOF
