"""Problems so small that every sequence can be written down, so that expectations are sums and not estimates."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor, nn

from seqgan_kit.networks.text.lstm import LSTMConfig, LSTMGenerator
from seqgan_kit.samples import Tokens


def every_sequence(vocabulary: int, length: int, end: int | None) -> Tokens:
    """Each sequence once; one that ends early is padded with the end token."""
    found: dict[tuple[int, ...], int] = {}
    for ids in product(range(vocabulary), repeat=length):
        count = ids.index(end) + 1 if end in ids else length
        found[(*ids[:count], *[end or 0] * (length - count))] = count
    counts = torch.tensor(list(found.values()))
    return Tokens(torch.tensor(list(found)), torch.arange(length) < counts.unsqueeze(1))


def tiny_lstm(vocabulary: int = 3, length: int = 3, end: int | None = None, seed: int = 0) -> LSTMGenerator:
    """Weights so large that its distribution is far from uniform."""
    torch.manual_seed(seed)
    return LSTMGenerator(
        LSTMConfig(vocabulary, embedding=5, hidden=6, start=0, end=end, length=length, deviation=1.0)
    ).eval()


class TablePolicy(nn.Module):
    """A row of logits for every prefix, in float64: its probabilities and their gradients are exact."""

    def __init__(self, vocabulary: int, length: int, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.vocabulary = vocabulary
        prefixes = sum(vocabulary**t for t in range(length))
        logits = torch.randn(prefixes, vocabulary, generator=generator, dtype=torch.float64)
        self.table = nn.Parameter(logits)

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Log-probability of each token given those before it: (batch, time) -> (batch, time)."""
        prefix = torch.zeros_like(ids[:, 0])
        columns = []
        for token in ids.T:
            columns.append(self.table.log_softmax(-1)[prefix, token])
            prefix = prefix * self.vocabulary + 1 + token
        found = torch.stack(columns, dim=1)
        return found if mask is None else found * mask


def probabilities(policy: nn.Module, tokens: Tokens) -> Tensor:
    """Of whole sequences, (batch,)."""
    return (policy(tokens.ids).double() * tokens.mask).sum(1).exp()


def action_values(policy: nn.Module, tokens: Tokens, reward: Tensor) -> Tensor:
    """Q(Y_1:t-1, y_t) by enumeration, (batch, time): `tokens` must hold every sequence. Detached, 0 on padding."""
    weights = probabilities(policy, tokens).detach()
    values = torch.zeros(tokens.ids.shape, dtype=torch.float64)
    for b, row in enumerate(tokens.ids):
        for t in range(int(tokens.mask[b].sum())):
            same = (tokens.ids[:, : t + 1] == row[: t + 1]).all(1)
            values[b, t] = (weights * reward)[same].sum() / weights[same].sum()
    return values
