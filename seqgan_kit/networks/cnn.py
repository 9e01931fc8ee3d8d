"""SeqGAN's discriminator: a convolutional network over the embedded sentence."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqgan_kit.networks.minibatch import MinibatchDiscrimination
from seqgan_kit.networks.soft import embed

PAPER_WINDOWS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 20)
PAPER_FILTERS = (100, 200, 200, 200, 200, 100, 100, 100, 100, 100, 160, 160)


class TextCNN(nn.Module):
    """Windows of several widths, maximum over time, a highway layer, dropout, one logit (Kim 2014; Yu et al. 2017).

    Yu et al. 2017, eq. 11-14; the two-way softmax of the paper's code is here its equivalent, one logit.

    Args:
        vocabulary: number of token ids.
        embedding: width of a token's embedding.
        windows: widths of the convolutions, in tokens.
        filters: number of filters of each width.
        dropout: share of features dropped in training.
        kernels: of minibatch discrimination beside the highway layer's features (Salimans et al. 2016); 0 has none.
    """

    def __init__(
        self,
        vocabulary: int,
        embedding: int = 64,
        windows: Sequence[int] = PAPER_WINDOWS,
        filters: Sequence[int] = PAPER_FILTERS,
        dropout: float = 0.25,
        kernels: int = 0,
    ) -> None:
        super().__init__()
        if len(windows) != len(filters):
            raise ValueError(f"{len(windows)} windows but {len(filters)} numbers of filters: give one of each a width")
        self.windows = tuple(windows)
        features = sum(filters)
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.convolutions = nn.ModuleList(
            nn.Linear(window * embedding, count) for window, count in zip(windows, filters, strict=True)
        )
        self.transform = nn.Linear(features, features)
        self.gate = nn.Linear(features, features)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(features + kernels, 1)
        self.compares_rows = kernels > 0
        self._initialise()
        if kernels:
            self.others = MinibatchDiscrimination(features, kernels)

    def _initialise(self) -> None:
        """As the paper's code: embedding uniform in (-1, 1), truncated normal of deviation 0.1, biases 0.1 (gate 0)."""
        nn.init.uniform_(self.embedding.weight, -1, 1)
        for layer in [*self.convolutions, self.transform, self.gate, self.output]:
            nn.init.trunc_normal_(layer.weight, std=0.1, a=-0.2, b=0.2)
            nn.init.constant_(layer.bias, 0.0 if layer is self.gate else 0.1)

    def forward(self, ids: Tensor, mask: Tensor, parts: Sequence[int] | None = None) -> Tensor:
        """ids, mask: (batch, time) -> logits (batch,), higher = more real. Soft text, (batch, time, vocabulary) weights
        in place of ids, is read by the mean of its tokens' embeddings, as they weigh.

        parts: sizes of runs of rows that do not see each other, where rows are compared: real ones, and fake ones.

        Padding changes nothing: only windows that lie inside the sentence count, or its first where it is shorter than
        the window, filled with zeros.
        """
        found = self.features(ids, mask)
        if self.compares_rows:
            found = torch.cat([found, self.others(found, parts)], dim=1)
        return self.output(self.dropout(found)).squeeze(1).float()

    def features(self, ids: Tensor, mask: Tensor) -> Tensor:
        """What the last layer reads of each row: (batch, features)."""
        embedded = embed(self.embedding, ids, mask) * mask.unsqueeze(-1)
        device = ids.device.type
        if torch.is_autocast_enabled(device) and not torch.is_grad_enabled():
            # the products cast their inputs: it is cheaper before the windows are copied, but sums of gradients suffer
            embedded = embedded.to(torch.get_autocast_dtype(device))
        short = max(self.windows) - ids.shape[1]
        if short > 0:
            embedded = F.pad(embedded, (0, 0, 0, short))
        lengths = mask.sum(1, keepdim=True)
        found = torch.cat([F.relu(self._strongest(embedded, lengths, i)) for i in range(len(self.windows))], dim=1)
        gate = torch.sigmoid(self.gate(found))
        return gate * F.relu(self.transform(found)) + (1 - gate) * found

    def _strongest(self, embedded: Tensor, lengths: Tensor, i: int) -> Tensor:
        """The largest response over time of each filter of width i, (batch, filters); the rectifier can wait."""
        width, (batch, time, size) = self.windows[i], embedded.shape
        # one matrix product over overlapping windows: a view, so nothing is copied before the product needs it
        windows = embedded.unfold(1, width, 1).transpose(2, 3).reshape(batch, time - width + 1, width * size)
        outside = torch.arange(time - width + 1, device=lengths.device) > (lengths - width).clamp_min(0)
        return self.convolutions[i](windows).masked_fill_(outside.unsqueeze(2), -torch.inf).amax(dim=1)
