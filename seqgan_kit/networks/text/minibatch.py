"""What a row has in common with the others of its minibatch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class MinibatchDiscrimination(nn.Module):
    """How near the others are, in several learned ways, so that samples which are all alike give themselves away.

    Salimans et al. 2016, sec. 3.2: o_b = sum_j exp(-|M_i,b - M_j,b|_1), here the mean over the *other* rows, which does
    not depend on how many there are.

    Args:
        features: width of the input.
        kernels: number of such ways, the width of the output.
        width: of a row of M.
    """

    def __init__(self, features: int, kernels: int, width: int = 5) -> None:
        super().__init__()
        self.kernels, self.width = kernels, width
        self.project = nn.Linear(features, kernels * width, bias=False)
        nn.init.normal_(self.project.weight, std=1 / (width * features**0.5))  # distances of about 1: exp can learn

    def forward(self, features: Tensor, parts: Sequence[int] | None = None) -> Tensor:
        """(batch, features) -> (batch, kernels), 0 to 1. parts: sizes of runs of rows that do not see each other."""
        projected = self.project(features).float().view(len(features), self.kernels, self.width).transpose(0, 1)
        return torch.cat([self._nearness(part) for part in projected.split(list(parts or [len(features)]), dim=1)])

    def _nearness(self, projected: Tensor) -> Tensor:
        """(kernels, rows, width) -> (rows, kernels)."""
        near = torch.exp(-torch.cdist(projected, projected, p=1.0)).sum(2) - 1  # but not to itself
        return near.T / max(1, projected.shape[1] - 1)
