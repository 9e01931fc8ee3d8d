"""Fully connected layers, made for small networks on a CPU, where calls cost as much as numbers."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Activation = Literal["tanh", "relu"]
FEW = 4096  # numbers, for which one slow call is faster than three fast ones


class Layers(nn.Module):
    """Linear layers with an activation after each, orthogonal at first: (..., sizes[0]) -> (..., sizes[-1])."""

    def __init__(self, sizes: Sequence[int], activation: Activation = "tanh") -> None:
        super().__init__()
        self.activation = activation
        self.linears = nn.ModuleList(linear(a, b, 2**0.5) for a, b in itertools.pairwise(sizes))

    def forward(self, values: Tensor) -> Tensor:
        for layer in self.linears:
            values = layer(values)
            values = tanh(values) if self.activation == "tanh" else values.relu()
        return values

    def once(self, values: Tensor, output: nn.Linear) -> Tensor:
        """`output(self(values))`, whose gradient can be taken once, and not with respect to `values`."""
        if torch.is_autocast_enabled(
            values.device.type
        ):  # which would choose the types within, but not on the way back
            return output(self(values))
        found = _Once.apply(values.flatten(0, -2), self.activation, *self._parameters_with(output))
        return found.unflatten(0, values.shape[:-1])

    def quick(self, values: Tensor, output: nn.Linear) -> Tensor:
        """`output(self(values))` of (rows, width) without a gradient: for a few rows, calls of modules cost most."""
        return _run(values, self.activation, self._parameters_with(output))[-1]

    def _parameters_with(self, output: nn.Linear) -> list[Tensor]:
        # not `parameters()`, whose search takes longer than a layer on a few rows
        return [tensor for layer in (*self.linears, output) for tensor in (layer.weight, layer.bias)]


def _run(values: Tensor, activation: str, parameters: Sequence[Tensor]) -> list[Tensor]:
    """What goes into each layer, and what comes out of the last, which has no activation."""
    kept = [values]
    for i in range(0, len(parameters), 2):
        values = torch.addmm(parameters[i + 1], values, parameters[i].t())
        if i + 2 < len(parameters):
            values = _tanh_in_place(values) if activation == "tanh" else values.relu_()
        kept.append(values)
    return kept


class _Once(torch.autograd.Function):
    """One node of the graph for a whole network."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, activation: str, *parameters: Tensor) -> Tensor:
        *kept, found = _run(values, activation, parameters)
        ctx.activation, ctx.layers = activation, len(kept)
        ctx.save_for_backward(*kept, *parameters[::2])
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        kept, weights = ctx.saved_tensors[: ctx.layers], ctx.saved_tensors[ctx.layers :]
        slopes: list[Tensor] = []
        for i in reversed(range(ctx.layers)):
            slopes[:0] = [slope.t().mm(kept[i]), slope.sum(0)]
            if i:
                back = slope.mm(weights[i])
                if ctx.activation == "tanh":
                    slope = torch.ops.aten.tanh_backward(back, kept[i])
                else:
                    slope = torch.ops.aten.threshold_backward(back, kept[i], 0)
        return None, None, *slopes


def linear(inputs: int, outputs: int, gain: float) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


def tanh(values: Tensor) -> Tensor:
    """tanh(x) = 2 sigmoid(2 x) - 1, to within 2e-7: PyTorch's own tanh costs three times as much on a CPU."""
    if values.numel() < FEW:
        return values.tanh()
    half = torch.sigmoid(values + values)
    return half + half - 1


def _tanh_in_place(values: Tensor) -> Tensor:
    return values.tanh_() if values.numel() < FEW else values.mul_(2).sigmoid_().mul_(2).sub_(1)
