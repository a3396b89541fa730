"""The one owner of a model's weights: whatever is trained is loaded, copied, kept, measured and saved here.

A folder enters and a `Policy` leaves; a policy enters and a folder leaves. No trainer knows that a model is a
dictionary of tensors, so a model whose weights are held otherwise (adapters over a frozen base) overrides these
methods and nothing else. A student or a judge in training is held the same way.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import safe_open
from safetensors.torch import load_model as load_tensors
from safetensors.torch import save_model as save_tensors
from torch import Tensor
from transformers.core_model_loading import revert_weight_conversion

from stages.core.contract import Contract
from stages.core.errors import StageError
from stages.policy.models import folders
from stages.policy.models.memory import hand_back
from stages.policy.ranks import sharding
from stages.policy.ranks.world import world


class Policy:
    """A module with the tokenizer and the contract that belong to its weights."""

    adapted = False
    """Whether an adapter is trained instead of the weights: a checkpoint then holds a `snapshot` in their place."""

    def __init__(self, module: Any, tokenizer: Any, contract: Contract) -> None:
        self.module = module
        self.tokenizer = tokenizer
        self.contract = contract
        self._skeleton: Any = None
        """Where several processes hold the module together: the same module, without weights."""

    @classmethod
    def load(
        cls, path: Path | str, tokenizer: Any, contract: Contract, *, dtype: str = "float32", device: str = "cpu"
    ) -> Self:
        """Load a folder's causal language model in evaluation mode; raises as `models.load_model`."""
        made = cls(folders.load_model(path, dtype=dtype, device=device), tokenizer, contract)
        hand_back(made.module)
        return made

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        found: torch.device = self.module.device
        return found

    @property
    def parameters(self) -> int:
        """How many numbers the weights are, tied ones counted once."""
        return int(self.module.num_parameters())

    @property
    def update_flops(self) -> int:
        """Floating-point operations of training on one token: 6 a parameter (arXiv 2001.08361, section 2.1)."""
        return 6 * self.parameters

    def ready(self) -> None:
        """A trainer takes hold of the module next: what is to be trained is what asks for a gradient."""

    def train_whole(self, *heads: str) -> None:
        """Train all weights; of an adapted policy the adapter, and the layers named."""
        self.module.requires_grad_(True)

    def disable_dropout(self) -> None:
        """Let the weights alone decide what the module answers, in training too: a ratio of two policies needs that."""
        for module in self.module.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
            if hasattr(module, "attention_dropout"):  # a number that attention reads, and no module
                module.attention_dropout = 0.0

    # ---- several processes ----

    def shard(self) -> None:
        """Hold the weights together with the other processes, where they were promised to (`World.shards`); copies are
        made before. Raises as `sharding.shard`."""
        if world().shards:
            self._skeleton = sharding.shard(self.module)

    def gathered(self) -> AbstractContextManager[None]:
        """A block in which this process holds the whole weights, and may compute alone without gradients."""
        return sharding.gathered(self.module)

    def unshard(self) -> None:
        """Hold the whole weights again, on the CPU of the first process; to the others the policy is of no more use."""
        if self._skeleton is not None:
            sharding.fill(self._skeleton, self.module)
            self.module, self._skeleton = self._skeleton, None

    # ---- copies ----

    def copy(self) -> Policy:
        """Return the same policy with weights of its own, on the same device.

        Raises StageError once a trainer holds it: trainers put a `forward` on the module that is bound to the module,
        and a copy would take it along and answer with the original's weights.
        """
        if "forward" in vars(self.module):
            raise StageError("a model was copied after a trainer took hold of it, so the copy would be no copy")
        return Policy(copy.deepcopy(self.module), self.tokenizer, self.contract)

    def reference(self) -> Policy:
        """Return a frozen copy, in evaluation mode, to measure divergences from; `renew` replaces its weights."""
        made = self.copy()
        made.module.eval().requires_grad_(False)
        return made

    def renew(self, other: Policy) -> None:
        """Take over all weights of `other`. Raises StageError when the two have not the same ones by name and shape."""
        try:
            self.module.load_state_dict(other.module.state_dict())
        except RuntimeError as error:
            raise StageError(f"two models do not have the same weights ({_first_line(error)})") from error

    def named_weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yield each weight under the name it has in a checkpoint of this architecture, a tied one under each of its
        names; the tensors are the module's own, without gradient, and must not be written to."""
        for name, weight in revert_weight_conversion(self.module, self.module.state_dict()).items():
            yield name, sharding.whole(weight)

    # ---- files ----

    def snapshot(self, file: Path) -> None:
        """Write the weights into a safetensors file that `restore` reads, tied ones once, in the dtype they have. Of
        several processes the first writes; where they hold the weights together, all take part."""
        if sharding.sharded(self.module):
            buffers = {id(one) for one in self.module.state_dict(keep_vars=True).values()}
            kept = [(name, one) for name, one in self.module.named_buffers() if id(one) in buffers]
            sharding.write(dict([*self.module.named_parameters(), *kept]), file)
        elif world().first:
            save_tensors(self.module, str(file))

    def restore(self, file: Path) -> None:
        """Load a snapshot into the weights as they are; raises StageError when one is missing or strange."""
        try:
            if sharding.sharded(self.module):
                sharding.read(self.module, file)
            else:
                load_tensors(self.module, os.fspath(file))
        except RuntimeError as error:
            raise StageError(
                f"{file.name} does not hold the weights of this model ({_first_line(error)})",
                hint="remove the unfinished work and start afresh: `r1 artifacts prune`",
            ) from error

    def initial(self, folder: Path) -> None:
        """Write the weights as they are at the start, for an engine that is renewed before it is asked."""
        folders.save_model(self.module, self.tokenizer, self.contract, folder)

    def save(self, folder: Path, dtype: str) -> dict[str, Any]:
        """Write a model folder with weights of `dtype`, tokenizer and contract, and return figures for the record (none
        of plain weights); raises as `models.save_model`.

        The weights in memory are of that dtype from then on, but for those that `models.cast` leaves.
        """
        folders.save_model(folders.cast(self.module, dtype), self.tokenizer, self.contract, folder)
        return {}

    def largest_change(self, folder: Path) -> float:
        """Return the largest |w - w'| over all weights, w' those in the safetensors files of a model folder.

        Taken tensor by tensor on the CPU, in float32: no second model is loaded. A tied weight that the files hold
        under one of its names is compared once. Raises StageError when the files lack a weight.
        """
        mine = dict(self.named_weights())
        known: set[tuple[int, int]] = set()
        largest = 0.0
        for file in sorted(folder.glob("*.safetensors")):
            with safe_open(file, framework="pt") as opened:
                for name in set(opened.keys()) & set(mine):
                    change = mine[name].cpu().float() - opened.get_tensor(name).float()
                    largest = max(largest, change.abs().max().item())
                    known.add(_place(mine[name]))
        absent = [name for name, weight in mine.items() if _place(weight) not in known]
        if absent:
            raise StageError(f"`{folder}` lacks the weight {absent[0]}, so no change can be told")
        return largest


def _place(weight: Tensor) -> tuple[int, int]:
    """The same for two names of one weight: where it lies and how long it is."""
    return weight.data_ptr(), weight.numel()


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
