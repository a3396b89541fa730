"""The processes that train together, as one of them sees them: its rank, its share of some work, what all came to.

A launcher (torchrun, accelerate launch, srun around either) has started them and torch.distributed connects them; a run
in one process is a world of one, for which everything here gives back what it was given. Sums over ranks are sums:
nothing is divided by the number of ranks, because every loss of this house is already its part of the whole step's.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")

PATIENCE_S = 6 * 3600.0
"""Longest wait for another rank, in seconds: one may sample or measure for hours. One that died ends the others sooner,
for its launcher sees it."""
BUCKET = 1 << 24
"""Numbers that are summed over ranks in one go: 64 MiB of float32 beside the gradients themselves."""


class RankDone(BaseException):
    """Raised in every rank but the first when the training is over: what follows, one process does.

    No Exception: no handler of a stage may take it for a failure.
    """


@dataclass(frozen=True)
class World:
    """One of `size` processes that do the same work on different rows."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    """Its place among those on this machine, which is the number of its GPU."""
    local_size: int = 1
    """How many of them are on this machine, and share its memory and cores."""
    device: str = "cpu"
    """What they were promised to train on: cpu or cuda."""
    shards: bool = False
    """Whether they hold weights, gradients and the optimizer's states together (`sharding`), not all of them each."""

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes and tells."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """This rank's slice of some items, whole and in order; where they do not divide some ranks have one more.

        Joined in the order of the ranks the slices are the items.
        """
        starts = [len(items) * rank // self.size for rank in (self.rank, self.rank + 1)]
        return items[starts[0] : starts[1]]

    def gather(self, mine: T) -> list[T]:
        """What each rank gives, in the order of the ranks; the ranks wait for each other."""
        if self.size == 1:
            return [mine]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, mine)
        return found

    def joined(self, mine: Iterable[T]) -> list[T]:
        """The items of all ranks in one list, in the order of the ranks."""
        return [item for part in self.gather(list(mine)) for item in part]

    def wait(self) -> None:
        """Go on when every rank is here."""
        self.gather(None)

    def interleaved(self, mine: Sequence[T], size: int) -> list[T]:
        """The items of all ranks in one list, where rank r has every r-th run of `size` items."""
        if self.size == 1:
            return list(mine)
        parts = self.gather(list(mine))
        return [one for at in range(0, len(mine), size) for part in parts for one in part[at : at + size]]

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace each gradient by its sum over all ranks, bit for bit the same in each.

        A parameter that has no gradient in any rank keeps none; one that has none here counts as 0. Where weights are
        held in parts, so are gradients, and this is done already.
        """
        if self.size == 1 or self.shards:  # parts are added up in the backward pass
            return
        trained = list(parameters)
        has = torch.tensor([one.grad is not None for one in trained], dtype=torch.int32)
        dist.all_reduce(has, op=dist.ReduceOp.MAX)
        some = [one for one, known in zip(trained, has.tolist(), strict=True) if known]
        for one in some:
            if one.grad is None:
                one.grad = torch.zeros_like(one)
        for bucket in _buckets([one.grad for one in some if one.grad is not None]):
            flat = torch.cat([gradient.reshape(-1) for gradient in bucket])
            dist.all_reduce(flat)
            for gradient, summed in zip(bucket, flat.split([one.numel() for one in bucket]), strict=True):
                gradient.copy_(summed.view_as(gradient))


_joined: list[World] = [World()]
"""The world of this process, and nothing else."""


def world() -> World:
    """The world of this process: of one, unless it has joined others."""
    return _joined[0]


def join(device: str, *, shards: bool = False) -> World:
    """Connect this process with those that the launcher started beside it, whose words are in the environment: RANK,
    WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE and where the first one listens. `shards`: whether they hold the weights
    together. Returns the world they are."""
    told = {name: int(os.environ[name]) for name in ("RANK", "WORLD_SIZE")}
    local = int(os.environ.get("LOCAL_RANK", told["RANK"])), int(os.environ.get("LOCAL_WORLD_SIZE", told["WORLD_SIZE"]))
    if device == "cuda":
        torch.cuda.set_device(local[0])
    else:  # accelerate would look for GPUs, and call the CPU of rank 1 `cpu:1`, to which torch loads no checkpoint
        os.environ |= {"ACCELERATE_USE_CPU": "true", "ACCELERATE_TORCH_DEVICE": "cpu"}
    backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=timedelta(seconds=PATIENCE_S))
    _joined[0] = World(told["RANK"], told["WORLD_SIZE"], *local, device, shards)
    return _joined[0]


def leave() -> None:
    """Be alone again."""
    _joined[0] = World()
    dist.destroy_process_group()


def _buckets(gradients: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Neighbours of one kind and place, up to BUCKET numbers together; one larger tensor alone."""
    bucket: list[Tensor] = []
    for gradient in gradients:
        alike = bucket and (gradient.dtype, gradient.device) == (bucket[0].dtype, bucket[0].device)
        if bucket and (not alike or sum(one.numel() for one in bucket) + gradient.numel() > BUCKET):
            yield bucket
            bucket = []
        bucket.append(gradient)
    if bucket:
        yield bucket
