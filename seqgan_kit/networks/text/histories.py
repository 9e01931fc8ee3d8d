"""Several replies to one history read it once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

T = TypeVar("T")


def each_once(read: Callable[[Tensor, Tensor], T], history: Tensor, other: Tensor) -> T:
    """`read(history, other)`, a tree of tensors whose first dimension is the batch.

    Rows that are alike in both, (batch, past) each, are read once."""
    both, index = torch.stack([history, other.to(history.dtype)], dim=2).unique(dim=0, return_inverse=True)
    if len(both) == len(history):
        return read(history, other)
    found: T = tree_map(lambda tensor: tensor[index], read(both[..., 0], both[..., 1].to(other.dtype)))
    return found
