"""Drawing from categorical distributions by inverse CDF: tokens of a vocabulary, choices of an action."""

from __future__ import annotations

import torch
from torch import Tensor

from seqgan_kit.networks import device_sizes


def draw(logits: Tensor) -> Tensor:
    """One token a row by inverse CDF: (batch, vocabulary) -> (batch,) int64.

    `torch.multinomial` draws a random number per vocabulary entry, which costs many times the network on a CPU. A large
    vocabulary is drawn in two steps, a block and then an entry of it.
    """
    weights, block = logits.softmax(-1), device_sizes.sizes(logits.device).cdf_block
    return _invert(weights) if weights.shape[1] < 8 * block else _invert_in_two_steps(weights, block)


def _invert(weights: Tensor) -> Tensor:
    """An index a row with probability in proportion to its weight: (batch, n) -> (batch,)."""
    cdf = weights.cumsum(dim=-1)
    point = torch.rand(len(cdf), 1, device=cdf.device) * cdf[:, -1:]
    # right=True: an entry of probability zero has an empty interval and is never chosen
    return torch.searchsorted(cdf, point, right=True).squeeze(1).clamp_max(weights.shape[1] - 1)


def _invert_in_two_steps(weights: Tensor, block: int) -> Tensor:
    """`_invert` over the sums of blocks of so many entries, and then within the block that was drawn."""
    vocabulary = weights.shape[1]
    whole = vocabulary // block * block
    sums = weights[:, :whole].unflatten(1, (-1, block)).sum(-1)
    if whole < vocabulary:
        sums = torch.cat([sums, weights[:, whole:].sum(-1, keepdim=True)], dim=1)
    first = _invert(sums) * block
    entries = first.unsqueeze(1) + torch.arange(block, device=first.device)
    inside = weights.gather(1, entries.clamp_max(vocabulary - 1)) * (entries < vocabulary)
    return first + _invert(inside)
