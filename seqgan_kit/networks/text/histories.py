"""Networks under contexts: drawn from with fixed ones, and several replies to one history read it once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

T = TypeVar("T")


class Given:
    """A network whose contexts (histories, classes), a row for each sample, are fixed: what `sampling` draws from."""

    def __init__(self, network: Any, *context: Tensor) -> None:
        self.network, self.context = network, context
        self.step, self.logits = network.step, network.logits
        self.reserve = getattr(network, "reserve", None)

    def start(self, batch: int) -> tuple[Tensor, Any]:
        """Raises ValueError where there are not so many contexts."""
        if batch != len(self.context[0]):
            raise ValueError(f"{batch} samples under {len(self.context[0])} contexts")
        return self.network.start(batch, *self.context)


def each_once(read: Callable[[Tensor, Tensor], T], history: Tensor, other: Tensor) -> T:
    """`read(history, other)`, a tree of tensors whose first dimension is the batch.

    Rows that are alike in both, (batch, past) each, are read once."""
    both, index = torch.stack([history, other.to(history.dtype)], dim=2).unique(dim=0, return_inverse=True)
    if len(both) == len(history):
        return read(history, other)
    return tree_map(lambda tensor: tensor[index], read(both[..., 0], both[..., 1].to(other.dtype)))
