"""Completing every prefix of samples (Yu et al. 2017, sec. 3.1, Monte Carlo search), in pieces that fit into memory.

Every prefix is read once. Where a state is small, as an LSTM's, the prefixes enter one growing batch, so that there are
as many steps as places; a state that holds all that was read would be copied at each step there, so such prefixes are
completed length by length, each in a batch that is made once. A piece is some completions of such a batch. The random
numbers of a batch are drawn before it is cut, so that no completion depends on the pieces.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from seqgan_kit.networks import device_sizes
from seqgan_kit.networks.categorical import draw
from seqgan_kit.samples import Tokens, size_in_bytes
from seqgan_kit.tokens.sampling import State, TokenNetwork, join, select, until_end, without_ended

PATIENCE = 1 / 8  # share of the rows that have ended before the states of the others are copied
BESIDE = 32  # bytes of a token that is drawn: its id, twice, its random numbers, and its place in masks
LOGITS = 8  # copies of a block of logits while tokens are drawn from it


class Completions(NamedTuple):
    """tokens: (rows, time). cells: (rows,) int64, b * time + t where the row completes the tokens 0..t of sample b."""

    tokens: Tokens
    cells: Tensor


class TooLarge(ValueError):
    """Not one completion fits. needed, given: bytes."""

    def __init__(self, needed: int, given: float) -> None:
        super().__init__(f"roll-outs need at least {needed} bytes, and are given {given:.0f}")
        self.needed, self.given = needed, given


@torch.no_grad()
def roll_out(
    network: TokenNetwork, sampled: Tokens, repeats: int, length: int, end: int | None, memory: float = math.inf
) -> Completions:
    """Completes each proper prefix of each sample `repeats` times; arguments as of `pieces`."""
    none = Tokens(sampled.ids.new_empty(0, length), sampled.mask.new_empty(0, length))
    found = pieces(network, sampled, repeats, length, end, memory)
    return _joined([Completions(none, sampled.ids.new_empty(0)), *found])


@torch.no_grad()
def pieces(
    network: TokenNetwork, sampled: Tokens, repeats: int, length: int, end: int | None, memory: float = math.inf
) -> Iterator[Completions]:
    """The completions of each proper prefix that has not ended, `repeats` of each, some at a time.

    sampled: (batch, time <= length). memory: bytes that the states of samples and completions may take, and what is
    made of them; the logits are bounded by it, too, but a row's must fit.
    Raises TooLarge where not one completion would fit.
    """
    batch, time = sampled.ids.shape
    # without an end all prefixes are open, and a GPU need not be waited for
    is_open = torch.ones(batch, time, dtype=torch.bool) if end is None else sampled.mask.cpu()
    if not is_open[:, 1:].any():
        return
    prefixes = _Prefixes(network, sampled.ids, length)
    fit = _fitting(prefixes, memory)
    joined = prefixes.together(repeats)
    vocabulary = network.logits(prefixes.known[0][0][:1]).shape[-1]
    rows = max(1, device_sizes.sizes(sampled.ids.device).drawn_logits // vocabulary)
    block = rows if memory == math.inf else max(1, min(rows, int(memory / (8 * LOGITS * vocabulary))))
    ids = F.pad(sampled.ids, (0, length - time))
    for cells in _batches(is_open, repeats, joined):
        first = int(cells[0]) % time + 1
        points = torch.rand(len(cells), length - first, 2, device=ids.device)
        for some, point in zip(cells.split(fit), points.split(fit), strict=True):
            yield _complete(prefixes, ids, some, point, end, block, joined > 0)


def regrouped(found: Iterable[Completions], most: int) -> Iterator[Completions]:
    """The same ones in their order, at most so many at a time."""
    waiting: list[Completions] = []
    for piece in found:
        ids, masks, cells = (one.split(most) for one in (piece.tokens.ids, piece.tokens.mask, piece.cells))
        for part in map(Completions, map(Tokens, ids, masks), cells):
            if sum(len(one.cells) for one in waiting) + len(part.cells) > most:
                yield _joined(waiting)
                waiting = []
            waiting.append(part)
    if waiting:
        yield _joined(waiting)


def _joined(some: list[Completions]) -> Completions:
    ids, masks = (torch.cat(part) for part in zip(*((one.tokens.ids, one.tokens.mask) for one in some), strict=True))
    return Completions(Tokens(ids, masks), torch.cat([one.cells for one in some]))


def _fitting(prefixes: _Prefixes, memory: float) -> int:
    """How many completions are drawn at a time. A state is there twice while rows leave."""
    known, state = size_in_bytes(prefixes.known), prefixes.row_bytes()
    row = 2 * state + BESIDE * prefixes.length
    if memory / 2 < known + row:
        raise TooLarge(2 * (known + row), memory)
    pays = device_sizes.sizes(prefixes.known[0][0].device).piece_states / state
    return int(min(1 << 40, max(1, pays), (memory / 2 - known) / row))


def _batches(is_open: Tensor, repeats: int, joined: int) -> Iterator[Tensor]:
    """Cells (rows,) of the batches, of places that do not fall. is_open: (batch, time), of cells' tokens after them.

    joined: so many samples enter a batch, at every place; 0 has all samples in it, at one place."""
    batch, time = is_open.shape
    after = F.pad(is_open[:, 1:], (0, 1))
    cells = torch.arange(batch * time).view(batch, time)
    by, dim = (joined, 0) if joined else (1, 1)
    for some, counted in zip(cells.split(by, dim), after.split(by, dim), strict=True):
        found = some.T[counted.T]
        if len(found):
            yield found.repeat_interleave(repeats)


class _Prefixes:
    """What a network knows after each proper prefix of each sample, read once.

    A network that can `reserve` room writes all states of a sample into one.
    """

    def __init__(self, network: Any, ids: Tensor, length: int) -> None:
        self.network, self.length = network, length
        self.batch, self.time = ids.shape
        self.reserve = getattr(network, "reserve", None)
        self.known: list[tuple[Tensor, State]] = []  # features and state after 1, 2, ... tokens
        _, state = network.start(self.batch)
        if self.reserve is not None:
            state = self.reserve(state, torch.arange(self.batch, device=ids.device), length - 1)
        for t in range(self.time - 1):
            self.known.append(network.step(ids[:, t], state))
            state = self.known[-1][1]

    def enter(self, place: int, owner: Tensor, joined: bool) -> tuple[Tensor, State]:
        """Features and states (rows, ...) after so many tokens of these samples, (rows,)."""
        features, state = self.known[place - 1]
        if self.reserve is None:
            return features[owner], select(state, owner)
        return features[owner], self.reserve(state, owner, 0 if joined else self.length - 1 - place)

    def row_bytes(self) -> int:
        """Of a completion's features and state at its end."""
        growth = self.reserve is None and len(self.known) > 1
        last = size_in_bytes(self.known[-1])
        grown = last - size_in_bytes(self.known[-2]) if growth else 0
        return (last + grown * (self.length - self.time)) // self.batch

    def together(self, repeats: int) -> int:
        """How many samples enter one growing batch at every place; 0 where it would be too large to be copied."""
        sizes = device_sizes.sizes(self.known[0][0].device)
        count = max(1, sizes.rollouts // (repeats * self.time))
        small = self.row_bytes() * count * repeats * self.time <= sizes.joined_states
        return count if self.reserve is None or small else 0


def _complete(
    prefixes: _Prefixes, ids: Tensor, cells: Tensor, points: Tensor, end: int | None, block: int, joined: bool
) -> Completions:
    """ids: (batch, length), of the samples. cells: (rows,), on the CPU. points: (rows, ..., 2), of the last places."""
    network, length, time = prefixes.network, prefixes.length, prefixes.time
    entering = Counter((cells % time + 1).tolist())
    first, device, entered = min(entering), ids.device, 0
    cells = cells.to(device, non_blocking=True)
    owner = cells // time
    ids = ids[owner]
    features, state, ended = None, None, torch.zeros(0, dtype=torch.bool, device=device)
    here: Any = slice(0)  # rows that are drawn: all that have entered, or the numbers of some
    for t in range(first, length):
        if entering[t]:
            new = slice(entered, entered + entering[t])
            known = prefixes.enter(t, owner[new], joined)
            features, state = known if features is None else join((features, state), known)
            here = _with(here, new, device)
            ended = F.pad(ended, (0, entering[t])) if end is not None else ended
            entered = new.stop
        if features is None:
            continue
        tokens = _drawn(network, features, points[here, t - length], block)
        ids[here, t] = tokens
        if t + 1 == length:
            break
        if end is not None:
            ended = ended | (tokens == end)
            tokens, state, ended, here = without_ended(t, tokens, state, ended, here, PATIENCE)
        features, state = network.step(tokens, state) if len(tokens) else (None, None)
    mask = until_end(ids, end)
    return Completions(Tokens(ids if end is None else ids.masked_fill(~mask, end), mask), cells)


def _drawn(network: TokenNetwork, features: Tensor, points: Tensor, block: int) -> Tensor:
    """A token a row, of so many rows' logits at a time, by the random numbers that are given."""
    parts = zip(features.split(block), points.split(block), strict=True)
    return torch.cat([draw(network.logits(some), point) for some, point in parts])


def _with(here: slice | Tensor, new: slice, device: torch.device) -> slice | Tensor:
    if isinstance(here, slice):
        return slice(new.stop)
    return torch.cat([here, torch.arange(new.start, new.stop, device=device)])
