#!/usr/bin/env bash
# TRL: fine-tuning an R1-Distill model on its own kind of data trains on no reasoning
#
# The chat template of the R1-Distill models cuts an assistant's turn behind </think>: right for a conversation that
# goes on, and fatal for training, where the reasoning is what one wants to teach. SFTTrainer on plain `messages`
# applies that template as it is: the reasoning is gone from the text and from the labels, without a warning. With
# assistant_only_loss=True TRL puts a template of its own in its place, which keeps it.
#
# Seen with trl 1.16.0, transformers 5.17.0, torch 2.13.0 (CPU), the template that trl 1.16.0 carries as the model's
# own:
#   default:                  <｜User｜> Is 7 prime <｜Assistant｜> yes <｜end▁of▁sentence｜>
#   assistant_only_loss=True: <｜User｜> Is 7 prime <｜Assistant｜> <think> no divisor </think> yes <｜end▁of▁sentence｜>
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
from pathlib import Path

import trl
from datasets import Dataset, disable_progress_bars
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast
from transformers.utils import logging
from trl import SFTConfig, SFTTrainer

disable_progress_bars()
logging.set_verbosity_error()
special = ["<unk>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"]
words = [*special, "<think>", "</think>", "Is", "7", "prime", "no", "divisor", "yes"]
bare = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
bare.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=bare,
    unk_token=special[0],
    eos_token=special[1],
    pad_token=special[1],
    extra_special_tokens=[*special[2:], "<think>", "</think>"],
)
template = Path(trl.__file__).parent / "chat_templates" / "deepseek_r1_distill.jinja"
tokenizer.chat_template = template.read_text(encoding="utf-8")
messages = [
    {"role": "user", "content": "Is 7 prime"},
    {"role": "assistant", "content": "<think> no divisor </think> yes"},
]
config = LlamaConfig(
    vocab_size=16,
    hidden_size=32,
    intermediate_size=32,
    num_hidden_layers=1,
    num_attention_heads=2,
    num_key_value_heads=2,
    pad_token_id=1,
    eos_token_id=1,
)


def trained(**more):
    """The text of the one batch, and of what is a label in it."""
    arguments = SFTConfig(
        output_dir="out", use_cpu=True, bf16=False, gradient_checkpointing=False, report_to="none", **more
    )
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_config(config),
        args=arguments,
        train_dataset=Dataset.from_list([{"messages": messages}]),
        processing_class=tokenizer,
    )
    batch = next(iter(trainer.get_train_dataloader()))
    labels = [label for label in batch["labels"][0].tolist() if label >= 0]
    return tokenizer.decode(batch["input_ids"][0]), tokenizer.decode(labels)


(plain, plain_labels), (masked, masked_labels) = trained(), trained(assistant_only_loss=True)
print("default:                 ", plain)
print("assistant_only_loss=True:", masked)
assert "yes" in plain_labels and "no divisor" in masked_labels, "what is trained on is another part now"
assert "no divisor" not in plain and "<think>" not in plain, "the reasoning is trained on by default now"
EOF
