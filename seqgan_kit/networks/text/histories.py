"""Networks under contexts: drawn from with fixed ones, and several replies to one history read it once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence
from torch.utils._pytree import tree_map

from seqgan_kit.networks import device_sizes
from seqgan_kit.samples import sent

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

    Rows that are alike in both, (batch, past) each, are read once, where that pays."""
    if history.numel() < device_sizes.sizes(history.device).history_tokens:
        return read(history, other)
    both, index = torch.stack([history, other.to(history.dtype)], dim=2).unique(dim=0, return_inverse=True)
    if len(both) == len(history):
        return read(history, other)
    return tree_map(lambda tensor: tensor[index], read(both[..., 0], both[..., 1].to(other.dtype)))


def packed(values: Tensor, lengths: Tensor) -> PackedSequence:
    """`pack_padded_sequence` of (batch, time, width) in any order; lengths: (batch,) on the CPU, which are not waited
    for on the way to a GPU."""
    lengths, order = lengths.sort(descending=True)
    order = sent(order, values.device)
    found = pack_padded_sequence(values.index_select(0, order), lengths, batch_first=True)
    return PackedSequence(found.data, found.batch_sizes, order)


def padded(sequence: PackedSequence) -> Tensor:
    """`pad_packed_sequence` of what was `packed`: (batch, time, width)."""
    found, _ = pad_packed_sequence(PackedSequence(sequence.data, sequence.batch_sizes), batch_first=True)
    order = sequence.unsorted_indices
    return found if order is None else found.index_select(0, order)
