"""The output layer of a model: which it is, whether it is all that makes logits, and log-probabilities from these.

A model, wrapped or not, or logits enter; its parts, or log-probabilities and entropies leave.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from stages.core.scale.memory import LOGITS_AT_ONCE
from stages.policy.models import families


def selected(
    logits_NV: Tensor, targets_N: Tensor, temperature: float, with_entropy: bool
) -> tuple[Tensor, Tensor | None]:
    """Log-probabilities [N] of the targets under softmax(logits / temperature), in float32 or wider, and the entropies
    in nats, without gradient, where they are wanted."""
    logits = logits_NV.to(torch.promote_types(torch.float32, logits_NV.dtype))
    every = (logits if temperature == 1 else logits / temperature).log_softmax(-1)
    logprobs = every.gather(1, targets_N[:, None])[:, 0]
    if not with_entropy:
        return logprobs, None
    with torch.no_grad():
        return logprobs, -(every.exp() * every).sum(-1)


def config_of(model: Any) -> Any:
    """The config of a model, or of what is wrapped."""
    return getattr(model, "module", model).config


def inner(model: Any) -> Any:
    """The model inside what wraps it (DDP, PEFT); None where there is no transformers model."""
    while model is not None and not isinstance(model, PreTrainedModel):
        base = getattr(model, "get_base_model", None)
        model = base() if base is not None else getattr(model, "module", None)
    return model


def at_once(head: Any) -> int:
    """How many tokens may meet the output layer at a time."""
    return max(1, LOGITS_AT_ONCE["cpu" if head.weight.device.type == "cpu" else "cuda"] // head.weight.shape[0])


def plain_head(model: Any) -> bool:
    """Whether logits are just the output layer of the decoder's last hidden state."""
    own = inner(model)
    if own is None or own.get_output_embeddings() is None:
        return False
    decoder = own.get_decoder()
    return decoder is not own and isinstance(decoder, PreTrainedModel) and families.plain_head(own.config)
