"""A discriminator that also tells classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ClassHead(nn.Module):
    """A logit and log p(label | text), of the same features: AC-GAN's auxiliary classifier (Odena et al. 2017).

    The network's last layer, a linear one called `output`, is made wider by a logit for each class.

    Args:
        network: a discriminator of tokens, which does not read the labels itself.
        classes: how many.

    Raises ValueError for a network without such a layer.
    """

    def __init__(self, network: nn.Module, classes: int) -> None:
        super().__init__()
        last = [
            name
            for name, part in network.named_modules()
            if name.rpartition(".")[2] == "output" and isinstance(part, nn.Linear) and part.out_features == 1
        ]
        if len(last) != 1:
            raise ValueError(f"{type(network).__name__} has no linear layer `output` of one logit to tell classes by")
        self.network, self.scores_prefixes = network, bool(getattr(network, "scores_prefixes", False))
        if hasattr(network, "scored_at_once"):
            self.scored_at_once = network.scored_at_once
        self._last = last[0]
        narrow = self.output
        wide = nn.Linear(narrow.in_features, 1 + classes)
        with torch.no_grad():  # that logit begins as it would have alone
            wide.weight[:1] = narrow.weight
            wide.bias[:1] = narrow.bias
        owner, _, name = self._last.rpartition(".")
        setattr(network.get_submodule(owner), name, wide)

    @property
    def output(self) -> nn.Linear:
        """The last layer: logit, then classes."""
        layer = self.network.get_submodule(self._last)
        assert isinstance(layer, nn.Linear)
        return layer

    def forward(self, ids: Tensor, mask: Tensor, labels: Tensor, prefixes: bool = False) -> Tensor:
        """ids, mask: (batch, time). labels: (batch,). -> (batch, 2), float32: the logit, higher = more real, and
        log p(label) of what the mask shows; (batch, time, 2), of each prefix, where it is asked for."""
        judged = self.network(ids, mask, prefixes=True) if prefixes else self.network(ids, mask)
        return torch.stack([judged[..., 0], log_likelihood(judged[..., 1:], labels)], dim=-1)


def log_likelihood(logits: Tensor, labels: Tensor) -> Tensor:
    """log p of each row's label: (batch, ..., classes) and (batch,) -> (batch, ...)."""
    index = labels.view(-1, *[1] * (logits.dim() - 1)).expand(*logits.shape[:-1], 1)
    return logits.log_softmax(-1).gather(-1, index).squeeze(-1)
