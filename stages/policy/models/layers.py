"""peft's layers in a module: put in the place of its own, asked for what they add, and taken out again.

A module and the names of layers enter; the same module leaves, changed in place. It is the one place that knows how
peft builds a layer: its own way from a list of names goes by what layers are called, and adapts the wrong ones of a
mixture of experts (`targets`).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.layer import ParamWrapper
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from stages.core.errors import InputError
from stages.policy.models import targets
from stages.policy.models.lowrank import LowRankLinear

NAME = "default"
"""What peft calls the one adapter."""
BASE = ".base_layer"
"""What peft puts into the name of a weight that it has wrapped."""


def attach(
    module: Any, where: targets.Chosen, config: LoraConfig, ranks: Mapping[str, int] = MappingProxyType({})
) -> None:
    """Put peft's layers in the place of a module's own, without peft's matching of names.

    `ranks`: those of single layers, by peft's names of them, where they are not the config's. Raises InputError for
    dropout on experts.
    """
    for name in where.linear:
        layer = module.get_submodule(name)
        put(module, name, _wrapped(layer, config, ranks.get(name, config.r)))
    if where.fused and config.lora_dropout:
        what = "`adapter.dropout` must be 0 on routed experts: their matrices are added to the weights, not the inputs"
        raise InputError(what, hint="leave `adapter.dropout` out, or `experts` out of `adapter.targets`")
    for name, tensors in where.fused.items():
        made = module.get_submodule(name)
        for called, tensor in reversed(list(stacked(name, tensors).items())):
            rank = ranks.get(called, config.r)
            made = ParamWrapper(made, NAME, tensor, config=config, r=rank, lora_alpha=config.lora_alpha)
        put(module, name, made)


def stacked(name: str, tensors: list[str]) -> dict[str, str]:
    """What peft calls the layers around a module of experts, the outermost first, and the tensor that each adapts: one
    is put around the other, in the order of their names."""
    return {f"{name}{BASE * depth}": tensor for depth, tensor in enumerate(sorted(tensors, reverse=True))}


def _wrapped(layer: Any, config: LoraConfig, rank: int) -> Any:
    kind: Any = LowRankLinear
    if packed(layer):
        from peft.tuners.lora.bnb import Linear4bit as kind  # type: ignore[no-redef]
    own = copy.copy(config)
    own.fan_in_fan_out = isinstance(layer, Conv1D)
    return kind(layer, NAME, config=own, r=rank, lora_alpha=config.lora_alpha)


def base_weight(layer: Any) -> Tensor:
    """The weight beneath one of peft's layers, of 4 bits unpacked."""
    base = layer.get_base_layer()
    if isinstance(layer, ParamWrapper):
        return layer.get_param().detach()
    return unpacked(base) if packed(base) else base.weight.detach()


def unpacked(layer: Any) -> Tensor:
    """The weight that a layer of 4 bits computes with."""
    from bitsandbytes.functional import dequantize_4bit

    found: Tensor = dequantize_4bit(layer.weight.data, layer.weight.quant_state)
    return found.float()


@torch.no_grad()
def delta(layer: Any) -> Tensor:
    """What an adapter adds to its weight."""
    found: Tensor = layer.get_delta_weight(NAME)
    return found


@torch.no_grad()
def add(layer: Any) -> None:
    weight = layer.get_param() if isinstance(layer, ParamWrapper) else layer.get_base_layer().weight
    weight.add_(delta(layer))


def packed(layer: Any) -> bool:
    """Whether a layer of the base holds its weight in 4 bits; peft's layers show that of the one beneath."""
    weight = None if isinstance(layer, LoraLayer) else getattr(layer, "weight", None)
    return getattr(weight, "quant_state", None) is not None


def plain(layer: Any) -> nn.Linear:
    made = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
    made.weight, made.bias = nn.Parameter(unpacked(layer), requires_grad=False), layer.bias
    return made


def put(module: Any, name: str, layer: Any) -> None:
    """Put a layer in the place that a name in `module` says."""
    parent, _, leaf = name.rpartition(".")
    setattr(module.get_submodule(parent), leaf, layer)
