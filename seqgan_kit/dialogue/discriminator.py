"""How the discriminator of replies is trained: on whole ones, or on a random prefix of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from seqgan_kit.players import Comparison
from seqgan_kit.samples import Replies, Tokens, concatenate, size


def call(module: nn.Module, tokens: Tokens) -> Tensor:
    """Logits (batch,) of what the mask shows."""
    logits: Tensor = module(tokens.ids, tokens.mask, *tokens.context)
    return logits


def call_prefixes(module: nn.Module, tokens: Tokens) -> Tensor:
    """Logits (batch, time) of every prefix, by a network that `scores_prefixes`."""
    logits: Tensor = module(tokens.ids, tokens.mask, *tokens.context, prefixes=True)
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
    of_real, of_fake, *of_others = call(module, joined).split([size(part) for part in parts])
    found = [Comparison("accuracy", 1.0 - mismatched, of_real, of_fake)]
    return found + [Comparison("mismatched", mismatched, of_real, others) for others in of_others]


def exchanged(replies: Replies) -> Replies:
    """To each history the reply of that other row of the batch whose last message is most like its own.

    Like: by the share of its words; of equal ones, drawn by lot. Rows with the same reply are left out where there are
    others. A batch of one row keeps its own.
    """
    count, device = size(replies), replies.ids.device
    last_turn = replies.turns.amax(1, keepdim=True)
    words = torch.zeros(count, int(replies.history.max()) + 1, device=device)
    asked = ((replies.turns == last_turn) & replies.told).float()
    words.scatter_reduce_(1, replies.history, asked, "amax")
    alike = words @ words.T / words.sum(1).clamp_min(1) + 1e-3 * torch.rand(count, count, device=device)
    said = replies.ids.masked_fill(~replies.mask, -1)
    alike -= (said.unsqueeze(1) == said).all(2).float() * len(words[0])
    other = alike.fill_diagonal_(-torch.inf).argmax(1)
    return replace(replies, ids=replies.ids[other], mask=replies.mask[other])


def shortened(tokens: Replies) -> Replies:
    """Of each row a prefix, every length from 1 token to all being as likely."""
    lengths = tokens.mask.sum(1)
    kept = (torch.rand(len(lengths), device=lengths.device) * lengths).long().clamp_max(lengths - 1) + 1
    places = torch.arange(tokens.mask.shape[1], device=lengths.device)
    return replace(tokens, mask=tokens.mask & (places < kept.unsqueeze(1)))
