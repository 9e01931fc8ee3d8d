"""Drawing tokens from a network, and completing every prefix of a sample: no gradient, one step of time at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from seqgan_kit.networks.draw import draw
from seqgan_kit.networks.output import block_rows
from seqgan_kit.samples import Tokens, rows, size

State = Any
"""A network's memory of what it has read: a tuple (of tuples) of tensors whose first dimension is the batch."""


class TokenNetwork(Protocol):
    """What a network must offer to be sampled; its `forward(ids)` gives the log-probabilities to differentiate."""

    def start(self, batch: int) -> tuple[Tensor, State]:
        """Features (batch, hidden) and state after the start token."""

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Features (batch, hidden) and state after one more token each, (batch,)."""

    def logits(self, features: Tensor) -> Tensor:
        """(batch, hidden) -> (batch, vocabulary)."""


class Completions(NamedTuple):
    """tokens: (rows, time). cells: (rows,) int64, b * time + t where the row completes the tokens 0..t of sample b."""

    tokens: Tokens
    cells: Tensor


def draw_from(network: TokenNetwork, features: Tensor, temperature: float = 1.0) -> Tensor:
    """`draw` from the network's logits, block by block, so that all the rows' logits never exist at once."""
    if not len(features):
        return torch.empty(0, dtype=torch.int64, device=features.device)
    vocabulary = network.logits(features[:1]).shape[-1]
    tokens = []
    for part in features.split(block_rows(features.device, vocabulary)):
        logits = network.logits(part).float()
        tokens.append(draw(logits / temperature if temperature != 1.0 else logits))
    return torch.cat(tokens)


def until_end(ids: Tensor, end: int | None) -> Tensor:
    """The mask (batch, time) of tokens up to and with the first end token; all True where there is none."""
    if end is None:
        return torch.ones_like(ids, dtype=torch.bool)
    ended = (ids == end).cumsum(1)
    return (ended == 0) | ((ended == 1) & (ids == end))


def select(state: State, index: Tensor) -> State:
    return tree_map(lambda tensor: tensor[index], state)


def join(first: State, second: State) -> State:
    return tree_map(lambda a, b: torch.cat([a, b]), first, second)


@torch.no_grad()
def sample(network: TokenNetwork, batch: int, length: int, end: int | None, temperature: float = 1.0) -> Tokens:
    """`batch` sequences of at most `length` tokens, each up to and with its end token: (batch, time <= length).

    Padding holds the end token. Rows that have ended leave the batch, so short sentences cost little.
    """
    features, state = network.start(batch)
    ids = torch.full((batch, length), end or 0, device=features.device)
    alive = torch.arange(batch, device=features.device)
    for t in range(length):
        tokens = draw_from(network, features, temperature)
        ids[alive, t] = tokens
        tokens, state, alive = _drop_ended(tokens, state, alive, end)
        if t + 1 == length or not len(alive):
            break
        features, state = network.step(tokens, state)
    return Tokens(ids[:, : t + 1], until_end(ids[:, : t + 1], end))


@torch.no_grad()
def roll_out(network: TokenNetwork, sampled: Tokens, repeats: int, length: int, end: int | None) -> Completions:
    """Completes each proper prefix of each sample `repeats` times (Yu et al. 2017, sec. 3.1, Monte Carlo search).

    sampled: (batch, time <= length). Every prefix enters one growing batch with its state already computed, so there
    are `length` sequential steps in all, and no prefix is read twice.
    """
    batch, time = sampled.ids.shape
    device = sampled.ids.device
    _, prefix_state = network.start(batch)
    ids = torch.empty((0, length), dtype=torch.int64, device=device)
    cells = alive = torch.empty(0, dtype=torch.int64, device=device)
    features, state = None, None
    for t in range(1, length):
        if t < time:
            prefix_features, prefix_state = network.step(sampled.ids[:, t - 1], prefix_state)
            owner = sampled.mask[:, t].nonzero().squeeze(1).repeat(repeats)
            new = torch.full((len(owner), length), end or 0, device=device)
            new[:, :t] = sampled.ids[owner, :t]
            alive = torch.cat([alive, len(ids) + torch.arange(len(owner), device=device)])
            ids, cells = torch.cat([ids, new]), torch.cat([cells, owner * time + t - 1])
            entering = (prefix_features[owner], select(prefix_state, owner))
            if len(owner):
                features, state = entering if features is None else join((features, state), entering)
        if features is None:
            continue
        tokens = draw_from(network, features)
        ids[alive, t] = tokens
        tokens, state, alive = _drop_ended(tokens, state, alive, end)
        features, state = network.step(tokens, state) if len(alive) and t + 1 < length else (None, None)
    return Completions(Tokens(ids, until_end(ids, end)), cells)


def _drop_ended(tokens: Tensor, state: State, alive: Tensor, end: int | None) -> tuple[Tensor, State, Tensor]:
    if end is None:
        return tokens, state, alive
    keep = (tokens != end).nonzero().squeeze(1)
    if len(keep) == len(tokens):
        return tokens, state, alive
    return tokens[keep], select(state, keep), alive[keep]


def in_chunks(score: Callable[[Tokens], Tensor], tokens: Tokens, chunk: int) -> Tensor:
    """`score` over at most `chunk` rows at a time, (rows,): bounded memory for the many completions of a roll-out."""
    return torch.cat([score(rows(tokens, slice(i, i + chunk))) for i in range(0, size(tokens), chunk)])
