"""Batch normalisation over the batches of all processes, on any device: PyTorch's own is for GPUs alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn


class _SumOverProcesses(torch.autograd.Function):
    """The sum over all processes; so is its gradient, because every process has a loss that depends on it."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _SumOverProcesses.apply(gradients[0])  # by itself, so that a penalty can differentiate it


class SynchronisedBatchNorm(nn.BatchNorm2d):
    """`nn.BatchNorm2d` whose statistics in training are those of all processes' batches together."""

    def forward(self, x: Tensor) -> Tensor:
        several = distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1
        if not (self.training and several):
            return super().forward(x)
        wide = x.float()
        count = wide.new_full((1,), float(wide.numel() // wide.shape[1]))
        total = _SumOverProcesses.apply(torch.cat([wide.sum((0, 2, 3)), count]))
        n = total[-1].detach()
        mean = total[:-1] / n
        # in a second pass: the difference of large squares would leave nothing of a small variance
        centred = wide - mean[:, None, None]
        variance = _SumOverProcesses.apply(centred.square().sum((0, 2, 3))) / n
        with torch.no_grad():
            momentum = 0.1 if self.momentum is None else self.momentum
            if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
                self.running_mean.lerp_(mean, momentum)
                self.running_var.lerp_(variance * n / (n - 1), momentum)
                self.num_batches_tracked += 1
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)


def synchronised(network: nn.Module) -> None:
    """Makes each `nn.BatchNorm2d` within the network such a one, in place, with its weights and statistics."""
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SynchronisedBatchNorm
