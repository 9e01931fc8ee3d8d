"""How a discriminator of tokens is called, and what it tells apart: whole samples, or a random prefix of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor, nn

from seqgan_kit.game.players import Comparison
from seqgan_kit.networks import device_sizes
from seqgan_kit.samples import Replies, Tokens, concatenate, size

T = TypeVar("T", Tokens, Replies)


def call(module: nn.Module, tokens: Tokens) -> Tensor:
    """Logits (batch,) of what the mask shows."""
    logits: Tensor = module(tokens.read, tokens.mask, *tokens.context)
    return logits


def call_prefixes(module: nn.Module, tokens: Tokens) -> Tensor:
    """Logits (batch, time) of every prefix, by a network that `scores_prefixes`."""
    logits: Tensor = module(tokens.ids, tokens.mask, *tokens.context, prefixes=True)
    return logits


def prefixes_at_once(network: nn.Module) -> Callable[[Tokens], Tensor] | None:
    """What gives the logits of every prefix in one pass, (batch, time); None for a network that can't."""
    if not getattr(network, "scores_prefixes", False):
        return None
    return lambda tokens: call_prefixes(network.eval(), tokens)


AT_ONCE = device_sizes.SIZES["cpu"].scored_rows
"""Rows that a network is given in one call where nothing is differentiated, if nobody says otherwise."""


def scored_at_once(network: nn.Module) -> int:
    """How many completions or prefixes it is given in one call; one with a way for many says so."""
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    return int(getattr(network, "scored_at_once", device_sizes.sizes(device).scored_rows))


def check_judged(logits: Tensor, tokens: Tokens) -> None:
    """Raises ValueError where these are not the logits of a batch."""
    if logits.shape != tokens.ids.shape[:1]:
        raise ValueError(f"it gives {tuple(logits.shape)} for tokens {tuple(tokens.ids.shape)}, not a logit a row")


def compare(module: nn.Module, real: T, fake: T, prefixes: bool) -> list[Comparison]:
    """Real samples against fake ones; with `prefixes`, one random prefix of each (Li et al. 2017, sec. 3.2)."""
    return [Comparison("accuracy", 1.0, *judged(module, [real, fake], prefixes))]


def compares_rows(network: nn.Module) -> bool:
    """Whether it compares the rows of a batch, so that it must be told which are of one kind."""
    return bool(getattr(network, "compares_rows", False))


def compare_apart(module: nn.Module, real: Tokens, fake: Tokens) -> list[Comparison]:
    """Real against fake, by a network that compares rows, where neither sees the other (Salimans et al. 2016)."""
    joined, sizes = concatenate([real, fake]), [size(real), size(fake)]
    of_real, of_fake = module(joined.read, joined.mask, sizes).split(sizes)
    return [Comparison("accuracy", 1.0, of_real, of_fake)]


def judged(module: nn.Module, parts: Sequence[T], prefixes: bool) -> list[Tensor]:
    """Logits of each part, all by one forward of the prepared module, which several processes need."""
    joined = concatenate(parts)
    if prefixes:
        joined = shortened(joined)
    return list(call(module, joined).split([size(part) for part in parts]))


def shortened(tokens: T) -> T:
    """Of each row a prefix, every length from 1 token to all being as likely."""
    lengths = tokens.mask.sum(1)
    kept = (torch.rand(len(lengths), device=lengths.device) * lengths).long().clamp_max(lengths - 1) + 1
    places = torch.arange(tokens.mask.shape[1], device=lengths.device)
    return replace(tokens, mask=tokens.mask & (places < kept.unsqueeze(1)))
