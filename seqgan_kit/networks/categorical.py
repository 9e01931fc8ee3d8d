"""Drawing from categorical distributions by inverse CDF: tokens of a vocabulary, choices of an action."""

from __future__ import annotations

import torch
from torch import Tensor

from seqgan_kit.networks import device_sizes


def draw(logits: Tensor, points: Tensor | None = None) -> Tensor:
    """One token a row by inverse CDF: (batch, vocabulary) -> (batch,) int64.

    points: the random numbers that decide, (batch, 2), uniform in [0, 1); drawn here if None.

    `torch.multinomial` draws a random number per vocabulary entry, which costs many times the network on a CPU. A large
    vocabulary is drawn in two steps, a block and then an entry of it.
    """
    weights = logits.softmax(-1, dtype=torch.promote_types(logits.dtype, torch.float32))
    block = device_sizes.sizes(logits.device).cdf_block
    first, second = (None, None) if points is None else points.split(1, dim=1)
    return _invert(weights, first) if weights.shape[1] < 8 * block else _in_two_steps(weights, block, first, second)


def _invert(weights: Tensor, point: Tensor | None) -> Tensor:
    """An index a row with probability in proportion to its weight: (batch, n), (batch, 1) -> (batch,)."""
    cdf = weights.cumsum(dim=-1)
    point = (torch.rand(len(cdf), 1, device=cdf.device) if point is None else point) * cdf[:, -1:]
    # right=True: an entry of probability zero has an empty interval and is never chosen
    return torch.searchsorted(cdf, point, right=True).squeeze(1).clamp_max(weights.shape[1] - 1)


def _in_two_steps(weights: Tensor, block: int, point: Tensor | None, second: Tensor | None) -> Tensor:
    """`_invert` over the sums of blocks of so many entries, and then within the block that was drawn."""
    vocabulary = weights.shape[1]
    whole = vocabulary // block * block
    sums = weights[:, :whole].unflatten(1, (-1, block)).sum(-1)
    if whole < vocabulary:
        sums = torch.cat([sums, weights[:, whole:].sum(-1, keepdim=True)], dim=1)
    first = _invert(sums, point) * block
    entries = first.unsqueeze(1) + torch.arange(block, device=first.device)
    inside = weights.gather(1, entries.clamp_max(vocabulary - 1)) * (entries < vocabulary)
    return first + _invert(inside, second)
