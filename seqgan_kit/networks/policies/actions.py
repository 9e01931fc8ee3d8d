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
        """What the environment, and so the discriminator, gets."""

    def recover(self, executed: Tensor) -> Tensor:
        """An action that is executed so: the inverse of `execute`, for demonstrations."""

    def features(self, executed: Tensor) -> Tensor:
        """(..., *shape) -> (..., dim) as an input of a network: one-hot, or scaled to the bounds of the space."""


@dataclass(frozen=True)
class Choices:
    """Discrete and MultiDiscrete spaces: independent categorical distributions of these sizes.

    single: actions have no dimension of their own (Discrete).
    """

    sizes: tuple[int, ...]
    single: bool

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
        return drawn

    def recover(self, executed: Tensor) -> Tensor:
        return executed

    def features(self, executed: Tensor) -> Tensor:
        if self.single:
            return F.one_hot(executed, self.sizes[0]).float()
        pairs = zip(executed.unbind(-1), self.sizes, strict=True)
        return torch.cat([F.one_hot(one, size).float() for one, size in pairs], dim=-1)


@dataclass(frozen=True)
class Continuous:
    """Box spaces: a Gaussian with independent components, clipped to the bounds, or squashed into them by tanh.

    parameters: means, then logarithms of the standard deviations. low, high: of the flattened space; where a bound
    is not finite, nothing is clipped, and squashing is refused.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    shape: tuple[int, ...]
    squash: bool = False

    @property
    def size(self) -> int:
        return 2 * len(self.low)

    def _bounds(self, like: Tensor) -> tuple[Tensor, Tensor]:
        return _tensor(self.low, like.device), _tensor(self.high, like.device)

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
        if self.squash:  # the density of what is executed: divided by the slope of half * tanh
            low, high = self._bounds(flat)
            logs = logs - 2 * (math.log(2) - flat - F.softplus(-2 * flat)) - ((high - low) / 2).log()
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
        if self.squash:
            return self._shaped((low + high) / 2 + (high - low) / 2 * flat.tanh())
        return self._shaped(torch.minimum(torch.maximum(flat, low), high))

    def recover(self, executed: Tensor) -> Tensor:
        if not self.squash:
            return executed
        flat = self._flat(executed)
        low, high = self._bounds(flat)
        inside = ((flat - (low + high) / 2) / ((high - low) / 2)).clamp(-1 + 1e-4, 1 - 1e-4)
        return self._shaped(inside.atanh())

    def features(self, executed: Tensor) -> Tensor:
        flat = self._flat(executed)
        low, high = self._bounds(flat)
        bounded = low.isfinite() & high.isfinite() & (low < high)
        half = torch.where(bounded, (high - low) / 2, torch.ones_like(low))
        middle = torch.where(bounded, (high + low) / 2, torch.zeros_like(low))
        return (flat - middle) / half


@lru_cache
def _tensor(numbers: tuple[float, ...], device: torch.device) -> Tensor:
    return torch.tensor(numbers, device=device)


def from_space(space: Any, squash: bool = False) -> Choices | Continuous:
    """The distribution over a Gymnasium space. Raises ValueError on a space that has none here."""
    import gymnasium as gym

    if isinstance(space, gym.spaces.Discrete):
        if space.start:
            raise ValueError(f"actions of {space} start at {space.start}: shift them to 0 by a wrapper")
        return Choices((int(space.n),), single=True)
    if isinstance(space, gym.spaces.MultiDiscrete) and space.nvec.ndim == 1:
        if space.start.any():
            raise ValueError(f"actions of {space} start at {space.start}: shift them to 0 by a wrapper")
        return Choices(tuple(int(n) for n in space.nvec), single=False)
    if isinstance(space, gym.spaces.Box) and np.issubdtype(space.dtype, np.floating) and space.shape:
        low, high = (tuple(map(float, bound.flatten())) for bound in (space.low, space.high))
        if squash and not (np.isfinite([low, high]).all() and (space.low < space.high).all()):
            raise ValueError(f"{space} has no finite bounds, apart from each other, to squash into")
        return Continuous(low, high, tuple(space.shape), squash)
    raise ValueError(f"actions {space}: use Discrete, a flat MultiDiscrete or a Box of floats, or a wrapper to them")
