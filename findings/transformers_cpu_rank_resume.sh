#!/usr/bin/env bash
# transformers: a run of several CPU processes cannot be resumed
#
# Under torchrun on a CPU accelerate calls the device of each process `cpu:0` (cpu:N), and transformers' Trainer loads
# the optimizer of a checkpoint with that as map_location. torch.load knows `cpu` alone: every resume of more than one
# CPU process ends in "don't know how to restore data location". One process, and GPUs, are right.
# A way round: ACCELERATE_TORCH_DEVICE=cpu in the environment of the processes.
#
# Seen with transformers 5.17.0, accelerate 1.15.0, torch 2.13.0 (CPU):
#   resumed by 2 processes                              RuntimeError: don't know how to restore data location ...
#   resumed by 2 processes, ACCELERATE_TORCH_DEVICE=cpu goes on
set -euo pipefail
unset PYTHONPATH
export CUDA_VISIBLE_DEVICES= HF_HUB_OFFLINE=1 HF_HOME=home PYTHONWARNINGS=ignore OMP_NUM_THREADS=1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0
venv/bin/pip install -q transformers==5.17.0 accelerate==1.15.0
cat > train.py <<'PY'
import sys

import torch
from torch.utils.data import Dataset
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments


class Rows(Dataset):
    def __len__(self):
        return 16

    def __getitem__(self, row):
        ids = torch.arange(8) + row
        return {"input_ids": ids, "labels": ids}


config = LlamaConfig(vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
torch.manual_seed(0)
args = TrainingArguments(
    "run", use_cpu=True, max_steps=2 + len(sys.argv), save_steps=2, report_to="none", disable_tqdm=True,
    per_device_train_batch_size=2,
)
trainer = Trainer(model=LlamaForCausalLM(config), args=args, train_dataset=Rows())
try:
    trainer.train(resume_from_checkpoint="run/checkpoint-2" if sys.argv[1:] else None)
except RuntimeError as error:
    print(f"rank {args.process_index}: RuntimeError: {str(error).splitlines()[0]}")
else:
    print(f"rank {args.process_index}: {trainer.state.global_step} steps")
PY
two() { venv/bin/python -m torch.distributed.run --standalone --nproc-per-node 2 train.py "$@" 2>/dev/null | grep rank; }
echo "trained by 2 processes:"
two
echo "resumed by 2 processes:"
two resume
echo "resumed by 2 processes, ACCELERATE_TORCH_DEVICE=cpu:"
ACCELERATE_TORCH_DEVICE=cpu two resume
