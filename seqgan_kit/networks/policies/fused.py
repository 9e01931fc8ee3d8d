"""Fully connected layers in few calls, for small networks on a CPU, where calls cost as much as numbers.

`layers.Layers` has the plain way, a call for each module; `differentiable` and `inferred` give what it gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from seqgan_kit.networks import device_sizes


def tanh(values: Tensor) -> Tensor:
    """tanh(x) = 2 sigmoid(2 x) - 1, to within 2e-7: PyTorch's own costs three times as much on a CPU."""
    if values.numel() < device_sizes.sizes(values.device).sigmoid_entries:
        return values.tanh()
    half = torch.sigmoid(values + values)
    return half + half - 1


def tanh_(values: Tensor) -> Tensor:
    """The same in place."""
    if values.numel() < device_sizes.sizes(values.device).sigmoid_entries:
        return values.tanh_()
    return values.mul_(2).sigmoid_().mul_(2).sub_(1)


def inferred(values: Tensor, activation: str, parameters: Sequence[Tensor]) -> Tensor:
    """(rows, width) through layers, without a gradient. parameters: weight and bias of each; an activation follows all
    but the last."""
    return _passed(values, activation, parameters)[-1]


def differentiable(values: Tensor, activation: str, parameters: Sequence[Tensor]) -> Tensor:
    """`inferred`, whose gradient can be taken once, and not with respect to `values`."""
    return _Fused.apply(values, activation, *parameters)


def _passed(values: Tensor, activation: str, parameters: Sequence[Tensor]) -> list[Tensor]:
    """What goes into each layer, and what comes out of the last."""
    kept = [values]
    for i in range(0, len(parameters), 2):
        values = torch.addmm(parameters[i + 1], values, parameters[i].t())
        if i + 2 < len(parameters):
            values = tanh_(values) if activation == "tanh" else values.relu_()
        kept.append(values)
    return kept


class _Fused(torch.autograd.Function):
    """One node of the graph for a whole network."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, activation: str, *parameters: Tensor) -> Tensor:
        *kept, found = _passed(values, activation, parameters)
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
