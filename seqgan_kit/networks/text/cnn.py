"""SeqGAN's discriminator: a convolutional network over the embedded sentence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqgan_kit.bounds import Count, Share, Whole
from seqgan_kit.networks import device_sizes
from seqgan_kit.networks.text.cnn_tables import missing, tabulated
from seqgan_kit.networks.text.minibatch import MinibatchDiscrimination
from seqgan_kit.networks.text.soft import embed

PAPER_WINDOWS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 20)
PAPER_FILTERS = (100, 200, 200, 200, 200, 100, 100, 100, 100, 100, 160, 160)


class TextCNN(nn.Module):
    """Windows of several widths, maximum over time, a highway layer, dropout, one logit (Kim 2014; Yu et al. 2017).

    Yu et al. 2017, eq. 11-14; the two-way softmax of the paper's code is here its equivalent, one logit.

    Args:
        vocabulary: Number of token ids.
        embedding: Width of a token's embedding.
        windows: Widths of the convolutions, in tokens.
        filters: Number of filters of each of the windows' widths.
        dropout: Share of features that is dropped in training.
        kernels: Number of kernels of minibatch discrimination beside the highway layer's features (Salimans et al.
            2016). 0 has none.
    """

    def __init__(
        self,
        vocabulary: int,
        embedding: Count = 64,
        windows: Sequence[Count] = PAPER_WINDOWS,
        filters: Sequence[Count] = PAPER_FILTERS,
        dropout: Share = 0.25,
        kernels: Whole = 0,
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
        else:
            self.scored_at_once = 1 << 16  # see `cnn_tables`: tables want many rows

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
        features = self.features(ids, mask)
        if self.compares_rows:
            features = torch.cat([features, self.others(features, parts)], dim=1)
        return self.output(self.dropout(features)).squeeze(1).float()

    def features(self, ids: Tensor, mask: Tensor) -> Tensor:
        """What the last layer reads of each row: (batch, features)."""
        if not torch.is_grad_enabled():
            return self._features_in_blocks(ids, mask)
        return self._highway(self._products(self._embedded(ids, mask), mask))

    def _embedded(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Embeddings (batch, time, width), 0 on padding."""
        return embed(self.embedding, ids, mask) * mask.unsqueeze(-1)

    def _products(self, embedded: Tensor, mask: Tensor) -> Iterator[Tensor]:
        """`cnn_tables.Responses` by a matrix product of each width."""
        convolutions = self._convolutions()
        embedded = F.pad(embedded, (0, 0, 0, missing(convolutions, mask)))
        lengths = mask.sum(1, keepdim=True)
        for width, layer in convolutions:
            # overlapping windows are a view, so nothing is copied before the product needs it
            windows = embedded.unfold(1, width, 1).transpose(2, 3).flatten(2)
            outside = torch.arange(windows.shape[1], device=lengths.device) > (lengths - width).clamp_min(0)
            yield F.linear(windows, layer.weight).masked_fill_(outside.unsqueeze(2), -torch.inf)

    def _highway(self, responses: Iterable[Tensor]) -> Tensor:
        """responses: of each width, as of `cnn_tables.Responses`."""
        both = zip(responses, self._convolutions(), strict=True)
        found = torch.cat([F.relu(response.amax(dim=1) + layer.bias) for response, (_, layer) in both], dim=1)
        gate = torch.sigmoid(self.gate(found))
        return gate * F.relu(self.transform(found)) + (1 - gate) * found

    def _convolutions(self) -> list[tuple[int, nn.Linear]]:
        """Width and weights of each."""
        return [(width, cast(nn.Linear, layer)) for width, layer in zip(self.windows, self.convolutions, strict=True)]

    # The same features where nothing is differentiated: block by block, and by tables where these cost less.

    def _features_in_blocks(self, ids: Tensor, mask: Tensor) -> Tensor:
        rows = device_sizes.sizes(ids.device).response_rows
        responses = tabulated(self.embedding.weight, self._convolutions(), ids, mask) or self._cast_products
        blocks = zip(ids.split(rows), mask.split(rows), strict=True)
        return torch.cat([self._highway(responses(*block)) for block in blocks])

    def _cast_products(self, ids: Tensor, mask: Tensor) -> Iterator[Tensor]:
        embedded, device = self._embedded(ids, mask), ids.device.type
        if torch.is_autocast_enabled(device):
            # the products cast their inputs: cheaper before windows are copied, but sums of gradients would suffer
            embedded = embedded.to(torch.get_autocast_dtype(device))
        return self._products(embedded, mask)
