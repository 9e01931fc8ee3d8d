"""Keys and values of what a transformer has read, (batch, heads, time, width), with room for what it will read.

A cache of transformers' own is copied as a whole for each token that is read; one with room is written into.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

Pairs = tuple[tuple[Tensor, Tensor], ...]
"""Keys and values of each layer."""


class _Layer(DynamicLayer):
    """Of its keys and values the first `read` places are filled."""

    keys: Tensor
    values: Tensor

    def __init__(self, keys: Tensor | None = None, values: Tensor | None = None, read: int = 0) -> None:
        super().__init__()
        self.read = read
        if keys is not None and values is not None:
            self.lazy_initialization(keys, values)
            self.keys, self.values = keys, values

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.dtype, self.device, self.is_initialized = key_states.dtype, key_states.device, True
        self.keys, self.values = key_states[:, :, :0], value_states[:, :, :0]

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        before, self.read = self.read, self.read + key_states.shape[-2]
        self.keys, self.values = _written(self.keys, key_states, before), _written(self.values, value_states, before)
        return self.keys[:, :, : self.read], self.values[:, :, : self.read]

    def get_seq_length(self) -> int:
        return self.read


def _written(old: Tensor, new: Tensor, read: int) -> Tensor:
    if old.shape[2] < read + new.shape[2]:
        return torch.cat([old[:, :, :read], new], dim=2)
    old[:, :, read : read + new.shape[2]] = new
    return old


def pairs_of(cache: Any) -> Pairs:
    return tuple((layer.keys, layer.values) for layer in cache.layers)


def cache_of(pairs: Pairs, read: int | None = None) -> DynamicCache:
    """The inverse, of which `read` places are filled, or all. `DynamicCache(pairs)` would copy them all."""
    cache = DynamicCache()
    cache.layer_class_to_replicate = _Layer  # of layers that are not there yet
    cache.layers.extend(_Layer(keys, values, keys.shape[2] if read is None else read) for keys, values in pairs)
    return cache


def with_room(pairs: Pairs, rows: Tensor, read: int, steps: int) -> Pairs:
    """Of these rows, what they have read, and room for so many tokens more: a copy."""

    def roomy(old: Tensor) -> Tensor:
        new = old.new_empty(len(rows), old.shape[1], read + steps, old.shape[3])
        new[:, :, :read] = old[:, :, :read][rows]
        return new

    return tuple((roomy(keys), roomy(values)) for keys, values in pairs)
