"""Where a mixture of experts sends its tokens while it is trained: how even the load is, in two numbers a step.

A module enters, a hook stands before each of its layers of experts, and one before its decoder, which sees what is
padding; figures leave at the end of a step. It only watches: the bias that balances the load of a DeepSeek-V3
(`e_score_correction_bias`, arXiv 2412.19437 section 2.1.2) is no weight that an optimizer moves, and stays as the base
has it.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


class RouterLoad:
    """Counts, for each layer of experts, the tokens that each was sent: real ones, and each once."""

    def __init__(self, module: Any) -> None:
        self._counts: dict[str, Tensor] = {}
        self._real: Tensor | None = None
        layers = {}
        for name, part in module.named_modules():
            stacked = [weight for weight in part.parameters(recurse=False) if weight.dim() == 3]
            if stacked and "expert" in name:
                layers[name] = part, len(stacked[0])
        for name, (part, experts) in layers.items():
            self._watch(name, part, experts)
        if layers:
            self._look(module)

    def restart(self) -> None:
        """Forget what was counted."""
        self._counts.clear()

    def figures(self) -> dict[str, float]:
        """Return `router_max_load`, the largest share of tokens that an expert got, times the experts of its layer: 1
        is even; and `router_entropy`, that of the shares over its greatest value, the mean over layers: 1 is even.
        Empty without experts.
        """
        if not self._counts:
            return {}
        loads, entropies = [], []
        for counts_E in self._counts.values():
            share_E = counts_E.double() / counts_E.sum().clamp_min(1)
            loads.append(share_E.max().item() * len(share_E))
            entropies.append(-(share_E * share_E.clamp_min(1e-300).log()).sum().item() / math.log(max(len(share_E), 2)))
        return {"router_max_load": max(loads), "router_entropy": sum(entropies) / len(entropies)}

    def _look(self, module: Any) -> None:
        def look(_: Any, given: tuple[Any, ...], named: dict[str, Any]) -> None:
            tree = named.get("tree") is not None  # it holds no padding, and its branches begin where others ended
            self._real = None if tree else real_tokens(named.get("attention_mask"), named.get("position_ids"))

        decoder = module.get_decoder() if hasattr(module, "get_decoder") else module
        decoder.register_forward_pre_hook(look, with_kwargs=True)

    def _watch(self, name: str, part: Any, experts: int) -> None:
        def count(_: Any, given: tuple[Any, ...], named: dict[str, Any]) -> None:
            if not torch.is_grad_enabled() or torch._C._current_graph_task_id() != -1:
                return  # a layer that is computed again in the backward pass was counted before
            chosen = next((one for one in (*given, *named.values()) if _indices(one)), None)
            if chosen is None:
                return
            if self._real is not None and self._real.numel() == len(chosen):
                chosen = chosen[self._real.flatten().to(chosen.device)]
            found_E = torch.bincount(chosen.flatten(), minlength=experts)
            self._counts[name] = self._counts[name] + found_E if name in self._counts else found_E

        part.register_forward_pre_hook(count, with_kwargs=True)


def real_tokens(mask: Any, positions: Any) -> Tensor | None:
    """Return which tokens [B, T] of a forward pass are real, by its mask [B, T] or by positions [B, T] that stand still
    at padding, on either side; None where nothing says so, for then all are."""
    if isinstance(mask, Tensor) and mask.dim() == 2:
        return mask.bool()
    if not isinstance(positions, Tensor) or positions.dim() != 2 or positions.shape[1] < 2:
        return None
    moves = positions[:, 1:] > positions[:, :-1]
    still = torch.zeros_like(moves[:, :1])
    return torch.cat([moves, still], 1) | torch.cat([still, moves], 1)


def _indices(given: Any) -> bool:
    """Whether an argument of a layer of experts says which of them each token goes to."""
    return isinstance(given, Tensor) and given.dim() > 0 and not given.is_floating_point() and given.dtype != torch.bool
