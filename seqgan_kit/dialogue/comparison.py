"""What the discriminator of replies tells apart: human from sampled ones, and those that fit a history from others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from seqgan_kit.game.players import Comparison
from seqgan_kit.samples import Replies, size
from seqgan_kit.tokens.discriminator import judged


def compare(
    module: nn.Module, real: Replies, fake: Replies, prefixes: bool, mismatched: float = 0.0
) -> Sequence[Comparison]:
    """Human replies against sampled ones, and against human ones to other histories.

    prefixes: one random prefix of each (Li et al. 2017, sec. 3.2).
    mismatched: share of the second comparison; the first has the rest. So the discriminator learns what fits a history
        also where the generator writes as humans do (as with captions: Reed et al. 2016, GAN-CLS).
    """
    parts = [real, fake, exchanged(real)] if mismatched else [real, fake]
    of_real, of_fake, *of_others = judged(module, parts, prefixes)
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
