"""A frozen base in 4 bits while an adapter on it is trained: QLoRA (arXiv 2305.14314) by bitsandbytes.

A loaded model enters and leaves with other layers in the place of its linear ones: NF4, blocks of 64, computed in the
number type of what comes in. Done to the layers and not by a loader, so that any model that loads here can be held so,
and the weights as they were are one more load away when the adapter is merged. Routers, output layer and embeddings
stay as they are, and so do experts that are stacked in one tensor, which bitsandbytes has no layer for.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
from torch import nn

from stages.core.errors import RecipeError
from stages.policy.models import targets


def quantise(module: Any) -> str:
    """Put layers of 4 bits in the place of a module's linear ones, and say in a phrase which part of it that is.

    Raises RecipeError where there is no GPU, or no bitsandbytes.
    """
    if module.device.type != "cuda":
        what = f"`adapter.quantize=4bit` needs a GPU, and this run is on `{module.device.type}`"
        raise RecipeError(what, hint="leave `adapter.quantize` out, or use `runtime.device=cuda`")
    if importlib.util.find_spec("bitsandbytes") is None:
        what = "`adapter.quantize=4bit` needs bitsandbytes, which is not installed"
        raise RecipeError(what, hint="`pip install 'r1[qlora]'`")
    return pack(module)


def pack(module: Any) -> str:
    """The same, whatever the device: on a CPU bitsandbytes is right in a forward pass and slow."""
    from bitsandbytes.nn import Linear4bit

    total = sum(weight.numel() for weight in module.parameters())
    packed = 0
    for name, kind in targets.sorted_parts(module).linear.items():
        layer = module.get_submodule(name)
        if kind in ("router", "head") or type(layer) is not nn.Linear:
            continue
        made = Linear4bit(layer.in_features, layer.out_features, bias=False, quant_type="nf4", device="meta")
        made.bias = layer.bias
        made.weight = type(made.weight)(layer.weight.data.cpu(), requires_grad=False, quant_type="nf4", module=made)
        made.train(layer.training)
        parent, _, leaf = name.rpartition(".")
        setattr(module.get_submodule(parent), leaf, made.to(layer.weight.device))  # which is when it is packed
        packed += layer.weight.numel()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return f"{packed / total:.0%} of the base in 4 bits"
