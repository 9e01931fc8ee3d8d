"""Fully connected layers."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from seqgan_kit.networks.policies import fused

Activation = Literal["tanh", "relu"]


class Layers(nn.Module):
    """Linear layers with an activation after each, orthogonal at first: (..., sizes[0]) -> (..., sizes[-1])."""

    def __init__(self, sizes: Sequence[int], activation: Activation = "tanh") -> None:
        super().__init__()
        self.activation = activation
        self.linears = nn.ModuleList(linear(a, b, 2**0.5) for a, b in itertools.pairwise(sizes))

    def forward(self, values: Tensor) -> Tensor:
        for layer in self.linears:
            values = layer(values)
            values = fused.tanh(values) if self.activation == "tanh" else values.relu()
        return values

    # `output(self(values))` in fewer calls: see `fused`.

    def fused(self, values: Tensor, output: nn.Linear) -> Tensor:
        """(..., width) -> (..., outputs). Its gradient can be taken once, and not with respect to `values`."""
        if torch.is_autocast_enabled(values.device.type):  # would choose types within, but not on the way back
            return output(self(values))
        found = fused.differentiable(values.flatten(0, -2), self.activation, self._parameters_with(output))
        return found.unflatten(0, values.shape[:-1])

    def inferred(self, values: Tensor, output: nn.Linear) -> Tensor:
        """(rows, width) -> (rows, outputs), without a gradient."""
        return fused.inferred(values, self.activation, self._parameters_with(output))

    def _parameters_with(self, output: nn.Linear) -> list[Tensor]:
        # not `parameters()`, whose search takes longer than a layer on a few rows
        return [tensor for layer in (*self.linears, output) for tensor in (layer.weight, layer.bias)]


def linear(inputs: int, outputs: int, gain: float) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer
