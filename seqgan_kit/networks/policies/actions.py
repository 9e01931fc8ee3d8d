"""Distributions over the actions of an environment, as pure functions of a network's outputs, and their spaces."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from seqgan_kit.samples import sent

UNBOUNDED = 1e30  # a bound as great as this is none
MOST_CHOICES = 1024  # of one component of a Box of integers


class Actions(Protocol):
    """parameters: (..., size) from the network. drawn: an action as drawn; executed: as the environment gets it."""

    @property
    def size(self) -> int:
        """Numbers that the network gives for an action."""

    def noise(self, *shape: int) -> Tensor:
        """The random numbers of actions of a shape, (*shape, dim), so that those of a rollout are drawn at once."""

    def draw(self, parameters: Tensor, noise: Tensor) -> Tensor:
        """(..., size), (..., dim) -> one action each."""

    def mode(self, parameters: Tensor) -> Tensor:
        """(..., size) -> the greedy action."""

    def log_prob(self, parameters: Tensor, drawn: Tensor) -> Tensor:
        """-> (...), of the actions as drawn: a density before clipping, and after squashing."""

    def entropy(self, parameters: Tensor) -> Tensor:
        """-> (...), before squashing."""

    def divergence(self, old: Tensor, new: Tensor) -> Tensor:
        """KL(old || new) -> (...). Squashing does not change it."""

    def execute(self, drawn: Tensor) -> Tensor:
        """What the environment, and so the discriminator, gets, in the units of its space."""

    def recover(self, executed: Tensor) -> Tensor:
        """An action that is executed so: the inverse of `execute`, for demonstrations."""

    def features(self, executed: Tensor) -> Tensor:
        """(..., *shape) -> (..., dim) as an input of a network: one-hot, or scaled to the bounds of the space."""


@dataclass(frozen=True)
class Choices:
    """Discrete, MultiDiscrete and MultiBinary spaces, and Boxes of integers: independent categorical distributions.

    sizes: of each. single: actions have no dimension of their own (Discrete). start: the least action of each, where
    that is not 0. shape: of an action, where that is not one row. What is drawn is one row that counts from 0.
    """

    sizes: tuple[int, ...]
    single: bool
    start: tuple[int, ...] = ()
    shape: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        return sum(self.sizes)

    def noise(self, *shape: int) -> Tensor:
        """Gumbel noise: the greatest of logit + noise is a draw from the softmax (Gumbel 1954)."""
        return -torch.empty(*shape, self.size).exponential_().log()

    def draw(self, parameters: Tensor, noise: Tensor) -> Tensor:
        return self.mode(parameters + noise)

    def mode(self, parameters: Tensor) -> Tensor:
        if self.single:
            return parameters.argmax(-1)
        return torch.stack([part.argmax(-1) for part in parameters.split(self.sizes, -1)], dim=-1)

    def log_prob(self, parameters: Tensor, drawn: Tensor) -> Tensor:
        if self.single:
            return parameters.log_softmax(-1).gather(-1, drawn.unsqueeze(-1)).squeeze(-1)
        parts = [part.log_softmax(-1) for part in parameters.split(self.sizes, -1)]
        chosen = [part.gather(-1, one.unsqueeze(-1)) for part, one in zip(parts, drawn.unbind(-1), strict=True)]
        return torch.cat(chosen, dim=-1).sum(-1)

    def entropy(self, parameters: Tensor) -> Tensor:
        logs = [part.log_softmax(-1) for part in parameters.split(self.sizes, -1)]
        return -torch.cat([part.exp() * part for part in logs], dim=-1).sum(-1)

    def divergence(self, old: Tensor, new: Tensor) -> Tensor:
        before = [part.log_softmax(-1) for part in old.split(self.sizes, -1)]
        after = [part.log_softmax(-1) for part in new.split(self.sizes, -1)]
        return torch.cat([a.exp() * (a - b) for a, b in zip(before, after, strict=True)], dim=-1).sum(-1)

    def execute(self, drawn: Tensor) -> Tensor:
        if self.start:
            drawn = drawn + self._start(drawn)
        return drawn.unflatten(-1, self.shape) if self.shape else drawn

    def recover(self, executed: Tensor) -> Tensor:
        flat = (executed.flatten(-len(self.shape)) if self.shape else executed).long()
        return flat - self._start(flat) if self.start else flat

    def _start(self, like: Tensor) -> Tensor:
        start = sent(torch.tensor(self.start), like.device)  # not of `_tensor`, to which (1,) and (1.0,) are the same
        return start[0] if self.single else start

    def features(self, executed: Tensor) -> Tensor:
        drawn = self.recover(executed)
        if self.single:
            return F.one_hot(drawn, self.sizes[0]).float()
        pairs = zip(drawn.unbind(-1), self.sizes, strict=True)
        return torch.cat([F.one_hot(one, size).float() for one, size in pairs], dim=-1)


@dataclass(frozen=True)
class Continuous:
    """Box spaces: a Gaussian with independent components, clipped to the bounds, or squashed into them by tanh.

    parameters: means, then logarithms of the standard deviations. low, high: of the flattened space; where a bound
    is not finite, nothing is clipped, and squashing is refused.
    middle, half: what 0 and 1 of a drawn action stand for, middle and middle + half, so that the same task is learnt
    alike in any unit. Empty: actions are drawn in the unit of the space, as by earlier versions and where that is the
    same.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    shape: tuple[int, ...]
    squash: bool = False
    middle: tuple[float, ...] = ()
    half: tuple[float, ...] = ()

    @property
    def size(self) -> int:
        return 2 * len(self.low)

    def _bounds(self, like: Tensor) -> tuple[Tensor, Tensor]:
        return _tensor(self.low, like.device), _tensor(self.high, like.device)

    def _unit(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Middle and half, by the bounds where they are not given."""
        middle, half = (self.middle, self.half) if self.middle else unit(self.low, self.high)
        return _tensor(middle, like.device), _tensor(half, like.device)

    def noise(self, *shape: int) -> Tensor:
        return torch.randn(*shape, len(self.low))

    def draw(self, parameters: Tensor, noise: Tensor) -> Tensor:
        mean, log_std = parameters.chunk(2, -1)
        return self._shaped(torch.addcmul(mean, noise, log_std.exp()))

    def mode(self, parameters: Tensor) -> Tensor:
        return self._shaped(parameters.chunk(2, -1)[0])

    def _shaped(self, flat: Tensor) -> Tensor:
        return flat if len(self.shape) == 1 else flat.unflatten(-1, self.shape)

    def _flat(self, shaped: Tensor) -> Tensor:
        return shaped if len(self.shape) == 1 else shaped.flatten(-len(self.shape))

    def log_prob(self, parameters: Tensor, drawn: Tensor) -> Tensor:
        mean, log_std = parameters.chunk(2, -1)
        flat = self._flat(drawn)
        logs = -((flat - mean) * (-log_std).exp()).square() / 2 - log_std - math.log(2 * math.pi) / 2
        if self.squash:  # the density of what is executed, in halves of the bounds: divided by the slope of tanh
            logs = logs - 2 * (math.log(2) - flat - F.softplus(-2 * flat))
            if not self.middle:  # in the unit of the space
                low, high = self._bounds(flat)
                logs = logs - ((high - low) / 2).log()
        return logs.sum(-1)

    def entropy(self, parameters: Tensor) -> Tensor:
        log_std = parameters.chunk(2, -1)[1]
        return (log_std + (1 + math.log(2 * math.pi)) / 2).sum(-1)

    def divergence(self, old: Tensor, new: Tensor) -> Tensor:
        (mean, log_std), (new_mean, new_log_std) = old.chunk(2, -1), new.chunk(2, -1)
        ratio = (2 * (log_std - new_log_std)).exp()
        distance = ((mean - new_mean) * (-new_log_std).exp()).square()
        return ((ratio + distance - 1) / 2 - (log_std - new_log_std)).sum(-1)

    def execute(self, drawn: Tensor) -> Tensor:
        low, high = self._bounds(drawn)
        flat = self._flat(drawn)
        if self.squash or self.middle:
            middle, half = self._unit(flat)
            flat = middle + half * (flat.tanh() if self.squash else flat)
        return self._shaped(torch.minimum(torch.maximum(flat, low), high))

    def recover(self, executed: Tensor) -> Tensor:
        if not (self.squash or self.middle):
            return executed
        inside = self.features(executed)
        return self._shaped(inside.clamp(-1 + 1e-4, 1 - 1e-4).atanh() if self.squash else inside)

    def features(self, executed: Tensor) -> Tensor:
        flat = self._flat(executed)
        middle, half = self._unit(flat)
        return (flat - middle) / half


@lru_cache
def _tensor(numbers: tuple[float, ...], device: torch.device) -> Tensor:
    return torch.tensor(numbers, device=device)


@lru_cache
def unit(low: tuple[float, ...], high: tuple[float, ...]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Middle and half of each component of a Box; 0 and 1 where its bounds are none, or one number."""
    middle, half = [], []
    for least, most in zip(low, high, strict=True):
        apart = is_bounded(least, most) and least < most
        middle.append((least + most) / 2 if apart else 0.0)
        half.append((most - least) / 2 if apart else 1.0)
    return tuple(middle), tuple(half)


def is_bounded(low: float, high: float) -> bool:
    """Whether both bounds mean something: many write the greatest number of float32 for infinity."""
    return max(abs(low), abs(high)) < UNBOUNDED


def from_space(space: Any, squash: bool = False, shown: np.ndarray | None = None) -> Choices | Continuous:
    """The distribution over a Gymnasium space. Raises ValueError on a space that has none here.

    shown: (steps, *shape) demonstrated actions, whose mean and two standard deviations are the middle and the half of
    components without bounds; without them, these stay in their own unit.
    """
    import gymnasium as gym

    if isinstance(space, gym.spaces.Discrete):
        return Choices((int(space.n),), True, (int(space.start),) if space.start else ())
    if isinstance(space, gym.spaces.MultiDiscrete):
        return _choices(space.nvec, space.start)
    if isinstance(space, gym.spaces.MultiBinary):
        return _choices(np.full(space.shape, 2), np.zeros(space.shape, int))
    if isinstance(space, gym.spaces.Box) and np.issubdtype(space.dtype, np.integer) and space.shape:
        sizes = space.high.astype(object) - space.low.astype(object) + 1  # may be more than an int64 holds
        if max(sizes.flat) > MOST_CHOICES:
            raise ValueError(f"actions {space}: {max(sizes.flat)} integers to choose from, more than {MOST_CHOICES}")
        return _choices(sizes.astype(int), space.low.astype(int))
    if isinstance(space, gym.spaces.Box) and np.issubdtype(space.dtype, np.floating) and space.shape:
        low, high = (tuple(map(float, bound.flatten())) for bound in (space.low, space.high))
        bounded = all(is_bounded(*bounds) for bounds in zip(low, high, strict=True))
        if squash and not (bounded and (space.low < space.high).all()):
            raise ValueError(f"{space} has no finite bounds, apart from each other, to squash into")
        middle, half = _shown_unit(low, high, shown)
        if not any(middle) and set(half) == {1.0}:
            middle, half = (), ()
        return Continuous(low, high, tuple(space.shape), squash, middle, half)
    raise ValueError(f"actions {space}: use Discrete, MultiDiscrete, MultiBinary or Box, or a wrapper to them")


def _choices(sizes: np.ndarray, start: np.ndarray) -> Choices:
    shape = () if sizes.ndim == 1 else tuple(sizes.shape)
    first = tuple(int(n) for n in start.flat) if start.any() else ()
    return Choices(tuple(int(n) for n in sizes.flat), False, first, shape)


def _shown_unit(
    low: tuple[float, ...], high: tuple[float, ...], shown: np.ndarray | None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """`unit`, where bounds are missing by what was shown of the component."""
    middle, half = unit(low, high)
    if shown is None:
        return middle, half
    rows = np.asarray(shown, np.float64).reshape(len(shown), -1)
    free = [not is_bounded(*bounds) for bounds in zip(low, high, strict=True)]
    mean, spread = rows.mean(0).tolist(), (2 * rows.std(0)).tolist()
    middle = tuple(m if f else here for m, here, f in zip(mean, middle, free, strict=True))
    return middle, tuple(s if f and s > 0 else here for s, here, f in zip(spread, half, free, strict=True))
