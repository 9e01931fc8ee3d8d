"""What `TextCNN`'s convolutions find in many rows, looked up in tables instead of multiplied.

A window's response is the sum of what each of its tokens adds at its place. Where nothing is differentiated, that is
computed once for each token and place: a table for each width, whose rows are then added up. `TextCNN` has the plain
way, by matrix products; both give the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqgan_kit.networks import device_sizes

Convolutions = Sequence[tuple[int, nn.Linear]]
"""Width of each, in tokens, and its weights (filters, width * embedding)."""
Responses = Callable[[Tensor, Tensor], Iterator[Tensor]]
"""ids, mask (rows, time) -> of each width (rows, places, filters), without bias, -infinity outside of the sentence."""


def missing(convolutions: Convolutions, ids: Tensor) -> int:
    """Places that the widest window lacks in ids (batch, time)."""
    return max(0, max(width for width, _ in convolutions) - ids.shape[1])


def tabulated(embedding: Tensor, convolutions: Convolutions, ids: Tensor, mask: Tensor) -> Responses | None:
    """The responses to rows among these, ids and mask (batch, time), by tables of the tokens that occur in them.

    None where products cost less or tables would be too large (`device_sizes.Sizes`), and for soft text.
    """
    if ids.is_floating_point() or not device_sizes.sizes(ids.device).table_entries:
        return None
    occurs = torch.bincount(ids[mask], minlength=len(embedding)) > 0
    # two more rows of each table: a place that adds nothing, and one that no window may have
    numbers, nothing = occurs.cumsum(0) - 1, int(occurs.sum())
    never = nothing + 1
    if not _pays(embedding.shape[1], convolutions, ids, never + 1):
        return None
    read = F.pad(embedding[occurs], (0, 0, 0, 2))
    tables = []
    for width, layer in convolutions:
        by_place = layer.weight.unflatten(1, (width, -1)).transpose(0, 1).flatten(0, 1)
        table = F.linear(read, by_place)
        table[never] = -torch.inf
        tables.append((width, table.view(len(read) * width, -1)))

    def responses(ids: Tensor, mask: Tensor) -> Iterator[Tensor]:
        rows = numbers[ids * mask].masked_fill(~mask, never)
        rows = F.pad(rows, (0, missing(convolutions, ids)), value=never)
        for width, table in tables:
            windows = rows.unfold(1, width, 1).clone()
            windows[:, 0].clamp_max_(nothing)  # the first window counts, and padding adds nothing to it
            entries = windows.mul_(width).add_(torch.arange(width, device=rows.device)).flatten(0, 1)
            yield F.embedding_bag(entries, table, mode="sum").unflatten(0, (len(rows), -1))

    return responses


def _pays(size: int, convolutions: Convolutions, ids: Tensor, tokens: int) -> bool:
    """Whether tables of so many tokens cost less than the products, and are not too large."""
    limits, time = device_sizes.sizes(ids.device), ids.shape[1] + missing(convolutions, ids)
    weights = [(width, layer.weight.numel() // size) for width, layer in convolutions]
    entries = len(ids) * sum((time - width + 1) * count for width, count in weights)
    tables = tokens * sum(count for _, count in weights)
    return tables <= limits.table_entries and tables * size + entries * limits.addition < entries * size
