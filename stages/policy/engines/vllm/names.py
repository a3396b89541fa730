"""What a model's tensors are called in a checkpoint: what a renewal of vLLM must bring, and no more.

A folder enters, names leave; no weight is read.
"""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.core_model_loading import revert_weight_conversion


def tensor_names(folder: Path) -> frozenset[str]:
    """The names that a model's tensors have in a checkpoint, tied ones under each of theirs: `Policy.named_weights`."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    return frozenset(revert_weight_conversion(model, model.state_dict()))
