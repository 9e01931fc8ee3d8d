"""SeqGAN's discriminator: a convolutional network over the embedded sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqgan_kit.networks.text.minibatch import MinibatchDiscrimination
from seqgan_kit.networks.text.soft import embed

PAPER_WINDOWS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 20)
PAPER_FILTERS = (100, 200, 200, 200, 200, 100, 100, 100, 100, 100, 160, 160)

ROWS = 512
"""Rows whose responses are held at once where nothing is differentiated: on a CPU they should stay in its caches."""
ADDED = 16
"""What it costs to add an entry of a table, in multiplications of a matrix product, as measured on a CPU."""
TABLES = 1 << 27
"""The most entries of tables, 512 MiB in float32: those of the paper's filters and vocabulary have half as many."""


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
        if not kernels:
            self.scored_at_once = 1 << 16  # see `_tables`, which want many rows
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
        if torch.is_grad_enabled():
            return self._highway(self._products(ids, mask))
        respond = self._tables(ids, mask) or self._products
        parts = zip(ids.split(ROWS), mask.split(ROWS), strict=True)
        return torch.cat([self._highway(respond(some, shown)) for some, shown in parts])

    def _highway(self, responses: Iterable[Tensor]) -> Tensor:
        """responses: of each width, (batch, places, filters), without its bias, -infinity outside of the sentence."""
        both = zip(responses, self._layers(), strict=True)
        found = torch.cat([F.relu(response.amax(dim=1) + layer.bias) for response, (_, layer) in both], dim=1)
        gate = torch.sigmoid(self.gate(found))
        return gate * F.relu(self.transform(found)) + (1 - gate) * found

    def _products(self, ids: Tensor, mask: Tensor) -> Iterator[Tensor]:
        """Responses by a matrix product of each width."""
        embedded = embed(self.embedding, ids, mask) * mask.unsqueeze(-1)
        device = ids.device.type
        if torch.is_autocast_enabled(device) and not torch.is_grad_enabled():
            # the products cast their inputs: it is cheaper before the windows are copied, but sums of gradients suffer
            embedded = embedded.to(torch.get_autocast_dtype(device))
        embedded = F.pad(embedded, (0, 0, 0, self._missing(ids)))
        lengths = mask.sum(1, keepdim=True)
        for width, layer in self._layers():
            # overlapping windows are a view, so nothing is copied before the product needs it
            windows = embedded.unfold(1, width, 1).transpose(2, 3).flatten(2)
            outside = torch.arange(windows.shape[1], device=lengths.device) > (lengths - width).clamp_min(0)
            yield F.linear(windows, layer.weight).masked_fill_(outside.unsqueeze(2), -torch.inf)

    def _tables(self, ids: Tensor, mask: Tensor) -> Callable[[Tensor, Tensor], Iterator[Tensor]] | None:
        """What gives the responses to rows among these by adding up, for each token of a window, a row of a table: what
        this token adds at this place of the window. None where the products cost less, on a GPU, and for soft text."""
        if ids.is_floating_point() or ids.device.type != "cpu":
            return None
        seen = torch.bincount(ids[mask], minlength=len(self.embedding.weight)) > 0
        numbers, nothing = seen.cumsum(0) - 1, int(seen.sum())
        never = nothing + 1
        if not self._tables_pay(ids, never + 1):
            return None
        read = F.pad(self.embedding.weight[seen], (0, 0, 0, 2))
        tables = []
        for width, layer in self._layers():
            by_place = layer.weight.unflatten(1, (width, -1)).transpose(0, 1).flatten(0, 1)
            table = F.linear(read, by_place)
            table[never] = -torch.inf
            tables.append(table.view(len(read) * width, -1))

        def respond(some: Tensor, shown: Tensor) -> Iterator[Tensor]:
            own = numbers[some * shown].masked_fill(~shown, never)
            own = F.pad(own, (0, self._missing(some)), value=never)
            for width, table in zip(self.windows, tables, strict=True):
                tokens = own.unfold(1, width, 1).clone()
                tokens[:, 0].clamp_max_(nothing)  # the first window counts, and padding adds nothing to it
                entries = tokens.mul_(width).add_(torch.arange(width, device=own.device)).flatten(0, 1)
                yield F.embedding_bag(entries, table, mode="sum").unflatten(0, (len(own), -1))

        return respond

    def _layers(self) -> Iterator[tuple[int, nn.Linear]]:
        """Width and weights of each convolution."""
        for width, layer in zip(self.windows, self.convolutions, strict=True):
            assert isinstance(layer, nn.Linear)
            yield width, layer

    def _missing(self, ids: Tensor) -> int:
        """Places that the widest window lacks."""
        return max(0, max(self.windows) - ids.shape[1])

    def _tables_pay(self, ids: Tensor, tokens: int) -> bool:
        """Whether tables of so many tokens cost less than the products, and are not too large."""
        time, size = ids.shape[1] + self._missing(ids), self.embedding.embedding_dim
        sizes = [(width, layer.weight.numel() // size) for width, layer in self._layers()]
        entries = len(ids) * sum((time - width + 1) * weights for width, weights in sizes)
        tables = tokens * sum(weights for _, weights in sizes)
        return tables <= TABLES and tables * size + entries * ADDED < entries * size
