"""What a learned critic reads from a generator's features."""

from __future__ import annotations

from torch import Tensor, nn


class ValueHead(nn.Module):
    """Features (..., width) -> value (...): linear, and 0 at first, as the code of Li et al. 2017."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.output = nn.Linear(width, 1)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, features: Tensor) -> Tensor:
        return self.output(features.to(self.output.weight.dtype)).squeeze(-1)
