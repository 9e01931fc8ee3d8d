"""How the discriminator of replies is trained: on whole ones, or on a random prefix of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from seqgan_kit.players import Comparison
from seqgan_kit.samples import Replies, Tokens, concatenate, last, size


def call(module: nn.Module, tokens: Tokens) -> Tensor:
    """Logits (batch,) of what the mask shows, or (batch, time) of every prefix."""
    logits: Tensor = module(tokens.ids, tokens.mask, *tokens.context)
    return logits


def compare(
    module: nn.Module, real: Replies, fake: Replies, prefixes: bool, mismatched: float = 0.0
) -> Sequence[Comparison]:
    """Human replies against sampled ones, and against human ones to other histories.

    prefixes: one random prefix of each (Li et al. 2017, sec. 3.2).
    mismatched: share of the second comparison; the first has the rest. So the discriminator learns what fits a history
        also where the generator writes as humans do (as with captions: Reed et al. 2016, GAN-CLS).
    """
    parts = [real, fake, exchanged(real)] if mismatched else [real, fake]
    joined = concatenate(parts)  # one forward of the prepared module, which several processes need
    if prefixes:
        joined = shortened(joined)
    logits = call(module, joined)
    if logits.dim() == 2:
        logits = last(logits, joined.mask)
    of_real, of_fake, *of_others = logits.split([size(part) for part in parts])
    found = [Comparison("accuracy", 1.0 - mismatched, of_real, of_fake)]
    return found + [Comparison("mismatched", mismatched, of_real, others) for others in of_others]


def exchanged(replies: Replies) -> Replies:
    """To each history the reply of another row of the batch, which now and then reads the same."""
    order = torch.randperm(size(replies), device=replies.ids.device)
    other = torch.empty_like(order).scatter(0, order, order.roll(1))  # one cycle: no row keeps its own
    return replace(replies, ids=replies.ids[other], mask=replies.mask[other])


def shortened(tokens: Replies) -> Replies:
    """Of each row a prefix, every length from 1 token to all being as likely."""
    lengths = tokens.mask.sum(1)
    kept = (torch.rand(len(lengths), device=lengths.device) * lengths).long().clamp_max(lengths - 1) + 1
    places = torch.arange(tokens.mask.shape[1], device=lengths.device)
    return replace(tokens, mask=tokens.mask & (places < kept.unsqueeze(1)))
