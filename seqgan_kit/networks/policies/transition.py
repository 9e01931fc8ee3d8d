"""Discriminators of steps in an environment: networks from the features of a transition to one logit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from seqgan_kit.bounds import Count
from seqgan_kit.networks.policies.actor import Pictures
from seqgan_kit.networks.policies.layers import Activation, Layers, linear


@dataclass(frozen=True)
class Layout:
    """Where the features of a transition are in a row, (size,): slices, empty where a part is not looked at.

    picture: the shape of a state that is one; its pixels are then in `state` and `next_state`, 0 to 1.
    discount: of the game.
    """

    state: slice
    action: slice
    next_state: slice
    ended: slice
    size: int
    picture: tuple[int, ...] | None = None
    discount: float = 1.0


class _Body(nn.Module):
    """The features, pictures read, through layers: (..., inputs) -> (..., width)."""

    def __init__(
        self,
        layout: Layout,
        parts: Sequence[slice],
        hidden: Sequence[int],
        spectral_norm: bool = False,
        activation: Activation = "tanh",
    ) -> None:
        super().__init__()
        self.layout, self.parts = layout, parts
        pictures = [part for part in parts if layout.picture and part in (layout.state, layout.next_state)]
        self.pictures = Pictures(layout.picture) if layout.picture and pictures else None
        self.pixels = prod(layout.picture or ())  # of a state, which may have one number more: that it is absorbing
        widths = [part.stop - part.start + (128 - self.pixels) * (part in pictures) for part in parts]
        self.body = Layers([sum(widths), *hidden], activation)
        self.output = linear(hidden[-1], 1, 1.0)
        if spectral_norm:
            for module in [*self.modules()]:
                if isinstance(module, nn.Linear | nn.Conv2d):
                    nn.utils.parametrizations.spectral_norm(module)

    def forward(self, features: Tensor) -> Tensor:
        read = []
        for part in self.parts:
            value = features[..., part]
            if self.pictures is not None and part in (self.layout.state, self.layout.next_state):
                assert self.layout.picture
                pixels = value[..., : self.pixels].flatten(0, -2).unflatten(-1, self.layout.picture)
                read.append(self.pictures(pixels).unflatten(0, features.shape[:-1]))
                value = value[..., self.pixels :]
            read.append(value)
        whole = read[0] if len(read) == 1 else torch.cat(read, dim=-1)
        return self.output(self.body(whole)).squeeze(-1)


class TransitionNetwork(nn.Module):
    """All features through layers to a logit (Ho and Ermon 2016: 100-100): (..., size) -> (...).

    Args:
        layout: Layout of the features.
        hidden: Widths of the hidden layers.
        spectral_norm: Whether each layer's greatest singular value is kept at 1 (Miyato et al. 2018).
        activation: Activation of the hidden layers.
    """

    def __init__(
        self,
        layout: Layout,
        hidden: Sequence[Count] = (100, 100),
        spectral_norm: bool = False,
        activation: Activation = "tanh",
    ) -> None:
        super().__init__()
        # one slice where nothing is a picture: features are read as they lie
        every = [layout.state, layout.action, layout.next_state, layout.ended]
        parts = [slice(0, layout.size)] if layout.picture is None else [p for p in every if p.stop > p.start]
        self.body = _Body(layout, parts, hidden, spectral_norm, activation)

    def forward(self, features: Tensor) -> Tensor:
        return self.body(features)


class ShapedNetwork(nn.Module):
    """AIRL's f = g(s, a) + discount * h(s') - h(s), where h of a terminated episode is 0 (Fu et al. 2018, eq. 4).

    Needs the features state, next_state and ended; g sees the action too where it is a feature. Use it with the
    objective `airl` and `log_prob`, so that the logit is f - log pi.

    Args:
        layout: Layout of the features.
        hidden: Widths of the hidden layers of the reward g.
        shaping: Widths of the hidden layers of the potential h.
    """

    def __init__(
        self, layout: Layout, hidden: Sequence[Count] = (100, 100), shaping: Sequence[Count] = (100, 100)
    ) -> None:
        super().__init__()
        for name in ("state", "next_state", "ended"):
            part = getattr(layout, name)
            if part.start == part.stop:
                raise ValueError(f"ShapedNetwork needs {name} among the discriminator's inputs")
        self.layout = layout
        seen = [part for part in (layout.state, layout.action) if part.stop > part.start]
        self.reward = _Body(layout, seen, hidden)
        self.potential = _Body(layout, [layout.state], shaping)

    def forward(self, features: Tensor) -> Tensor:
        layout = self.layout
        following = torch.zeros_like(features)
        following[..., layout.state] = features[..., layout.next_state]
        after = self.potential(following) * (1 - features[..., layout.ended].squeeze(-1))
        return self.reward(features) + layout.discount * after - self.potential(features)
