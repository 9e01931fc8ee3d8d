"""How the discriminator of replies is trained: on whole ones, or on a random prefix of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from seqgan_kit.players import Comparison
from seqgan_kit.samples import Tokens, concatenate, last, size


def call(module: nn.Module, tokens: Tokens) -> Tensor:
    """Logits (batch,) of what the mask shows, or (batch, time) of every prefix."""
    logits: Tensor = module(tokens.ids, tokens.mask, *tokens.context)
    return logits


def compare(module: nn.Module, real: Tokens, fake: Tokens, prefixes: bool) -> Sequence[Comparison]:
    """Human replies against sampled ones; prefixes: one random prefix of each (Li et al. 2017, sec. 3.2)."""
    both = concatenate([real, fake])  # one forward of the prepared module, which several processes need
    if prefixes:
        both = shortened(both)
    logits = call(module, both)
    if logits.dim() == 2:
        logits = last(logits, both.mask)
    return [Comparison("accuracy", 1.0, logits[: size(real)], logits[size(real) :])]


def shortened(tokens: Tokens) -> Tokens:
    """Of each row a prefix, every length from 1 token to all being as likely."""
    lengths = tokens.mask.sum(1)
    kept = (torch.rand(len(lengths), device=lengths.device) * lengths).long().clamp_max(lengths - 1) + 1
    places = torch.arange(tokens.mask.shape[1], device=lengths.device)
    return replace(tokens, mask=tokens.mask & (places < kept.unsqueeze(1)))
