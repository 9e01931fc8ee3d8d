"""What a discriminator of transitions sees, and the players' parts that follow from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import gymnasium as gym
import torch
from torch import Tensor, nn

from seqgan_kit.algorithms.objectives import gradient_penalty
from seqgan_kit.networks.policies.actions import Actions
from seqgan_kit.networks.policies.actor import is_picture, picture_scale, scaled
from seqgan_kit.networks.policies.normaliser import Normaliser
from seqgan_kit.networks.policies.transition import Layout
from seqgan_kit.samples import Transitions, rows, sent, size

Input = Literal["state", "action", "next_state", "ended"]


class Features:
    """Transitions -> the rows that a discriminator sees, (batch, time, size), as `layout` says.

    States are scaled or normalised as the policy sees them, and actions are those that were executed, one-hot or scaled
    to their bounds. absorbing: a state has one more feature, which is 1 after the task has ended; steps that do not
    count (mask False) are then steps within that end (Kostrikov et al. 2019, sec. 4.2).
    """

    def __init__(
        self,
        space: gym.spaces.Box,
        actions: Actions,
        normaliser: Normaliser | None,
        inputs: Sequence[Input],
        absorbing: bool = False,
        discount: float = 1.0,
    ) -> None:
        self.actions, self.inputs, self.absorbing = actions, list(inputs), absorbing
        self.dimensions = len(space.shape)
        picture = tuple(space.shape) if is_picture(space.shape) else None
        self.normaliser = None if picture else normaliser
        self.scale = picture_scale(space) if picture else None
        state = int(torch.Size(space.shape).numel()) + absorbing
        example = actions.execute(actions.mode(torch.zeros(1, actions.size)))
        widths = {"state": state, "action": actions.features(example).shape[-1], "next_state": state, "ended": 1}
        slices, start = {}, 0
        for name, width in widths.items():
            stop = start + (width if name in inputs else 0)
            slices[name], start = slice(start, stop), stop
        self.layout = Layout(**slices, size=start, picture=picture, discount=discount)

    def __call__(self, sample: Transitions) -> Tensor:
        over = ~sample.mask if self.absorbing else torch.zeros_like(sample.mask)
        found = []
        if "state" in self.inputs:
            found.append(self._state(sample.observations, over))
        if "action" in self.inputs:
            found.append(self.actions.features(sample.actions) * ~over.unsqueeze(-1))
        if "next_state" in self.inputs:
            found.append(self._state(sample.next_observations, over | sample.terminated))
        if "ended" in self.inputs:
            found.append((over | sample.terminated).unsqueeze(-1).float())
        return found[0] if len(found) == 1 else torch.cat(found, dim=-1)

    def _state(self, observations: Tensor, over: Tensor) -> Tensor:
        values = observations.float() if self.layout.picture is None else scaled(observations, self.scale)
        if self.normaliser is not None:
            values = self.normaliser(values)
        flat = values.flatten(-self.dimensions)
        if not self.absorbing:
            return flat
        gone = over.unsqueeze(-1)
        return torch.cat([flat.masked_fill(gone, 0.0), gone.float()], dim=-1)


def penalty(features: Features, weight: float, norm: float) -> Callable[[nn.Module, Transitions, Transitions], Tensor]:
    """A regulariser: weight * E (|gradient| - norm)^2 between demonstrations and the policy's steps.

    Gulrajani et al. 2017, eq. 3, on as many of each as there are fewest.
    """

    def some(sample: Transitions, count: int) -> Tensor:
        if size(sample) != count:
            sample = rows(sample, sent(torch.randperm(size(sample))[:count], sample.mask.device))
        return features(sample).flatten(0, 1)

    def regulariser(module: nn.Module, real: Transitions, fake: Transitions) -> Tensor:
        count = min(size(real), size(fake))
        some_real, some_fake = (some(sample, count) for sample in (real, fake))
        return weight * gradient_penalty(module, some_real, some_fake, norm)

    return regulariser


def end_in_absorbing(sample: Transitions, steps: int) -> Transitions:
    """Single steps -> as many, where steps after a termination stand for a part of them, up to the time limit.

    sample: (steps, 1, ...). steps: of the time limit that were left in all.
    """
    count = size(sample)
    part = round(count * steps / (count + steps))
    mask = sample.mask.clone()
    mask[sent(torch.randperm(count)[:part], mask.device)] = False
    return replace(sample, mask=mask)
