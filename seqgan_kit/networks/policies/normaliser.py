"""Running mean and variance of observations, shared by all networks that look at them."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Normaliser(nn.Module):
    """(x - mean) / deviation of all that was ever given to `update`, clamped to +-`limit`; beyond is nothing to tell.

    The statistics are buffers, so networks that hold the same normaliser always agree, and checkpoints hold it.
    """

    mean: Tensor
    variance: Tensor
    count: Tensor
    scale: Tensor
    shift: Tensor

    def __init__(self, shape: tuple[int, ...], limit: float = 10.0) -> None:
        super().__init__()
        self.limit = limit
        self.register_buffer("mean", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("variance", torch.ones(shape, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        # what forward needs, in float32: x * scale + shift
        self.register_buffer("scale", torch.ones(shape))
        self.register_buffer("shift", torch.zeros(shape))

    def forward(self, values: Tensor) -> Tensor:
        """(..., *shape) -> the same shape, normalised."""
        return torch.addcmul(self.shift, values, self.scale).clamp_(-self.limit, self.limit)

    def restore(self, values: Tensor) -> Tensor:
        """The inverse of `forward`, where nothing was clamped."""
        return (values - self.shift) / self.scale

    def update(self, moments: Tensor) -> None:
        """Merges `moments`, as the function of that name gives them, or the sum of several. On a GPU they must be of
        something: to see whether they are, it would have to be waited for.

        Chan et al. 1979, eq. 2.1.
        """
        count, total, square = moments[0, 0], moments[1].view(self.mean.shape), moments[2].view(self.mean.shape)
        if count.device.type == "cpu" and count == 0:
            return
        together = self.count + count
        step = total / together
        around = (self.variance * self.count + square) / together
        self.mean += step
        self.variance.copy_((around - step.square()).clamp_min(0))
        self.count.copy_(together)
        self.scale.copy_(1 / self.variance.sqrt().clamp_min(1e-4))
        self.shift.copy_(-self.mean * self.scale)

    def moments(self, values: Tensor) -> Tensor:
        """Count, sum and sum of squares of (rows, *shape) about the present mean: (3, size).

        Those of several processes are summed.
        """
        about = (values.double() - self.mean).reshape(len(values), self.mean.numel())
        count = about.new_full((self.mean.numel(),), len(about))
        return torch.stack([count, about.sum(0), about.square().sum(0)])
