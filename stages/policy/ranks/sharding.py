"""Weights that several processes hold together: each one part of every layer, by torch's `fully_shard` (FSDP2).

A module enters and is changed in place: its parameters, their gradients and an optimizer's states become DTensors of
which each process holds 1/N (ZeRO stage 3, arXiv 1910.02054). A layer is whole while it computes, embedding and output
layer from a forward pass to the end of its backward pass, everything inside `gathered` (while a policy samples).
Gradients are added up over the processes and divided by nothing: a loss is its part of the whole step's already.

Whatever reads or computes here is done by all processes together: where one asks alone, it waits for the others.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers.modeling_layers import GradientCheckpointingLayer

from stages.core.errors import StageError
from stages.policy.models import families
from stages.policy.ranks.world import world

GATHERED = "r1_gathered"
"""Attribute of a module whose weights are whole in each process for now."""


def sharded(module: Any) -> bool:
    """Whether the processes hold a module's weights together."""
    return isinstance(module, FSDPModule)


def apart(module: Any) -> bool:
    """Whether they do, and this process does not hold the whole of them for now (`gathered`)."""
    return sharded(module) and not getattr(module, GATHERED, False)


def shard(module: Any) -> Any:
    """Shard a whole module in place, layer by layer, and return its skeleton: the same module without weights, as
    `fill` takes it.

    Raises StageError where its rows cannot be computed together, and where the weights are not sharded afterwards.
    """
    _refuse(module)
    meta = {id(one): nn.Parameter(one.to("meta"), requires_grad=one.requires_grad) for one in module.parameters()}
    skeleton = copy.deepcopy(module, meta)
    known = world()
    mesh = init_device_mesh(known.device, (known.size,))
    layers = [one for one in module.modules() if isinstance(one, GradientCheckpointingLayer)]
    for one in layers:
        fully_shard(one, mesh=mesh)
    fully_shard(module, mesh=mesh, reshard_after_forward=False)
    for one in _parts(module):
        one.set_gradient_divide_factor(1.0)
        one.set_force_sum_reduction_for_comms(True)
        one.set_reduce_scatter_unused_params(True)  # an expert that one process alone asked
    refuse_whole(module, known.size)
    with torch.no_grad():  # the first forward pass decides which part is the outermost
        module(input_ids=torch.zeros(1, 1, dtype=torch.long, device=module.device), use_cache=False)
    module.reset_iter_state()
    return skeleton


def refuse_whole(module: Any, processes: int) -> None:
    """Raise StageError unless each parameter is held in so many parts, of which this process has no more than one."""
    for name, one in module.named_parameters():
        rows = -(-one.shape[0] // processes)
        if not isinstance(one, DTensor) or one.to_local().numel() > rows * (one.numel() // one.shape[0]):
            raise StageError(f"{processes} processes promised to hold a part of {name} each, and one holds all of it")


def _refuse(module: Any) -> None:
    config = module.config
    if not families.pads(config) or families.rope_border(config) < float("inf"):
        raise StageError(
            f"rows of a {config.model_type} are computed one by one, and processes that hold its weights together must "
            "compute as often as each other",
            hint="leave `runtime.shard` out: each process then holds the whole model",
        )
    if any(getattr(one, "quant_state", None) is not None for one in module.parameters()):
        what = "weights of 4 bits cannot be held in parts by several processes"
        raise StageError(what, hint="leave `adapter.quantize` out, or `runtime.shard`")


def _parts(module: Any) -> list[Any]:
    return [one for one in module.modules() if isinstance(one, FSDPModule)]


@contextmanager
def gathered(module: Any) -> Iterator[None]:
    """Hold the whole weights in each process inside the block, in which each may compute as often as it likes, without
    gradients."""
    if not sharded(module):
        yield
        return
    module.set_reshard_after_forward(False)
    for one in _parts(module):
        one.unshard()
    setattr(module, GATHERED, True)
    try:
        yield
    finally:
        setattr(module, GATHERED, False)
        for one in _parts(module):
            one.set_reshard_after_forward(one is not module, recurse=False)
        module.reset_iter_state()


def rest(module: Any) -> None:
    """Let go of what a forward pass without gradients left whole, and of what torch noted of it for a backward pass."""
    if apart(module) and not torch.is_grad_enabled():
        module.reset_iter_state()


# ---- tensors ----


def whole(tensor: Any) -> Any:
    """The tensor of which this process holds a part, in each process; any other value as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def mine(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def part(tensor: Any, like: Tensor) -> Any:
    """This process's part of a whole tensor that lies as `like` does; any other value as it is."""
    if not isinstance(like, DTensor) or not isinstance(tensor, Tensor) or isinstance(tensor, DTensor):
        return tensor
    if tensor.shape != like.shape:
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


@torch.no_grad()
def put(weight: Tensor, value: Tensor) -> None:
    """Write a whole tensor, or one that lies in the same parts, into a weight."""
    weight.copy_(part(value, weight))


# ---- files ----


def write(tensors: Mapping[str, Tensor], file: Path) -> None:
    """Write tensors whole into a safetensors file; of several processes the first writes."""
    known, found = world(), {}
    for name, one in tensors.items():
        made = whole(one.detach())
        if known.first:
            found[name] = made.cpu().contiguous()
    if known.first:
        save_file(found, str(file))


def read(module: Any, file: Path) -> None:
    """Read the weights that a safetensors file holds whole, each process its part. Raises RuntimeError where one is
    missing or strange."""
    own = module.state_dict(keep_vars=True)
    with safe_open(file, framework="pt") as opened:
        names = set(opened.keys())
        known = {id(own[name]) for name in names & set(own)}
        odd = names - set(own) or {name for name, one in own.items() if id(one) not in known}
        if odd:
            raise RuntimeError(f"it differs in {min(odd)}")
        for name in sorted(names):
            given = opened.get_tensor(name)
            if given.shape != own[name].shape:
                raise RuntimeError(f"{name} has the shape {tuple(given.shape)}")
            put(own[name].detach(), given)


@torch.no_grad()
def fill(skeleton: Any, module: Any) -> None:
    """Put the weights of a sharded module into its skeleton, in the first process and there on the CPU; one tensor at
    a time is whole in the others."""
    empty, first = dict(skeleton.named_parameters()), world().first
    for name, one in module.named_parameters():
        made = whole(one.detach())
        if first:
            flag = empty[name].requires_grad
            torch.utils.swap_tensors(empty[name], nn.Parameter(made.cpu(), requires_grad=flag))
    for one, other in zip(skeleton.buffers(), module.buffers(), strict=True):
        one.data = other.data.cpu()


# ---- optimizers ----


def follow(optimizer: torch.optim.Optimizer) -> None:
    """Let an optimizer's state be written whole, in the first process alone, and read in parts: with it a training goes
    on in any number of processes."""
    optimizer.register_state_dict_post_hook(_state_written)
    optimizer.register_load_state_dict_pre_hook(_state_read)


def _state_written(_: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    first, found = world().first, {}
    for number, values in state["state"].items():
        made = {name: whole(one) for name, one in values.items()}
        if first:
            found[number] = {name: one.cpu() if isinstance(one, Tensor) else one for name, one in made.items()}
    return state | {"state": found}


def _state_read(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    numbers = chain.from_iterable(group["params"] for group in state["param_groups"])
    weights = chain.from_iterable(group["params"] for group in optimizer.param_groups)
    place = dict(zip(numbers, weights, strict=True))
    found = {
        number: {name: part(one, place[number]) for name, one in values.items()}
        for number, values in state["state"].items()
    }
    return state | {"state": found}
