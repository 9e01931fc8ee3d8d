"""A moving average of a network's weights, which makes better samples than the weights themselves."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import nn


class Averaged:
    """w' <- d w' + (1 - d) w after each step (Karras et al. 2018, sec. 4), with d smaller at first; buffers are copied.

    d = min(decay, (1 + n) / (10 + n)) after n steps, so that the average soon forgets where it began.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.source, self.decay, self.steps = network, decay, 0
        self.network = deepcopy(network).requires_grad_(False).eval()

    @torch.no_grad()
    def follow(self) -> None:
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        averaged, current = list(self.network.parameters()), list(self.source.parameters())
        torch._foreach_lerp_(averaged, current, 1 - decay)  # type: ignore[arg-type]
        for averaged_buffer, buffer in zip(self.network.buffers(), self.source.buffers(), strict=True):
            averaged_buffer.copy_(buffer)

    def restart(self) -> None:
        """Begins anew from the network as it is."""
        self.steps = 0
        self.network.load_state_dict(self.source.state_dict())

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "network": self.network.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps = state["steps"]
        self.network.load_state_dict(state["network"])
