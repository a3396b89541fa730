#!/usr/bin/env bash
# TRL: disable_dropout=True leaves the dropout in attention on
#
# A model whose config has attention_dropout above 0 keeps that number in its attention layers and hands it to the
# attention function; there is no module for it. TRL's disable_dropout looks for modules of dropout alone, so with
# disable_dropout=True (the default of DPO, and what GRPO is told to make log-probabilities repeatable) two forward
# passes of one row in training mode still differ.
#
# Seen with trl 1.16.0, transformers 5.17.0, torch 2.13.0 (CPU), attention_dropout 0.3, largest difference of a logit:
#   two passes with disable_dropout=True: 4.28
#   and with attention_dropout=0.0:       0.0
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
from transformers.utils import logging
from trl import GRPOConfig, GRPOTrainer

disable_progress_bars()
logging.set_verbosity_error()
words = ["<unk>", "<pad>", "<eos>", *(f"w{number}" for number in range(61))]
bare = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
bare.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=bare, unk_token="<unk>", pad_token="<pad>", eos_token="<eos>", padding_side="left"
)


def gap(dropout):
    """Largest difference of a logit between two passes of one row through the trainer's model, in training mode."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        attention_dropout=dropout,
        initializer_range=0.1,
        pad_token_id=1,
        eos_token_id=2,
    )
    arguments = GRPOConfig(
        output_dir="out", use_cpu=True, bf16=False, gradient_checkpointing=False, report_to="none", disable_dropout=True
    )
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_config(config),
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=arguments,
        train_dataset=Dataset.from_list([{"prompt": "w1 w2"}] * 8),
        processing_class=tokenizer,
    )
    model, ids = trainer.model.train(), torch.arange(16)[None]
    with torch.no_grad():
        return (model(ids).logits - model(ids).logits).abs().max().item()


on, off = gap(0.3), gap(0.0)
print(f"two passes with disable_dropout=True: {on:.2f}")
print(f"and with attention_dropout=0.0:       {off}")
assert off == 0.0, "passes differ without any dropout"
assert on > 0.01, "disable_dropout reaches attention now"
EOF
