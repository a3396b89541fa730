"""Keys and values in blocks: what a layer has seen enters token by token, views of all so far leave.

transformers' own layer copies its whole cache at every token, and keeps rows that have finished.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import DynamicLayer

BLOCK = 32
"""Cache columns taken at a time, at least; longer caches grow by a quarter."""


class BlockLayer(DynamicLayer):  # type: ignore[misc]
    """One layer's keys and values in a buffer that grows by blocks; transformers' own layer copies everything at
    every token."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append [B, K, T, D] keys and values; returns views of all so far."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._key_block, self._value_block, self._used = key_states[:, :, :0], value_states[:, :, :0], 0
        start, self._used = self._used, self._used + key_states.shape[2]
        if self._used > self._key_block.shape[2]:
            self._key_block = self._grown(self._key_block, start)
            self._value_block = self._grown(self._value_block, start)
        self._key_block[:, :, start : self._used] = key_states
        self._value_block[:, :, start : self._used] = value_states
        self.keys, self.values = self._key_block[:, :, : self._used], self._value_block[:, :, : self._used]
        return self.keys, self.values

    def take_rows(self, rows: Tensor) -> None:
        """Keep the given rows (int64 indices), in their order; an index may repeat."""
        self._key_block, self._value_block = self.keys.index_select(0, rows), self.values.index_select(0, rows)
        self.keys, self.values = self._key_block, self._value_block

    def _grown(self, block: Tensor, used: int) -> Tensor:
        rows, heads, _, width = block.shape
        grown = block.new_empty(rows, heads, self._used + max(BLOCK, self._used // 4), width)
        grown[:, :, :used] = block[:, :, :used]
        return grown


def joined(caches: list[Cache]) -> Cache:
    """One cache with the rows of several, one after the other."""
    if len(caches) == 1:
        return caches[0]
    whole = Cache(layer_class_to_replicate=BlockLayer)
    for index in range(len(caches[0].layers)):
        layers = [cache.layers[index] for cache in caches]
        whole.update(torch.cat([layer.keys for layer in layers]), torch.cat([layer.values for layer in layers]), index)
    return whole
