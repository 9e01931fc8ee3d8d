"""A recurrent discriminator of sentences, which judges every prefix in one pass."""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor, nn

from seqgan_kit.bounds import Count, Share
from seqgan_kit.networks.text.soft import embed
from seqgan_kit.samples import last


class TextLSTM(nn.Module):
    """An LSTM that reads the sentence, and a logit linear in its state after the last token, or after each.

    Args:
        vocabulary: Number of token ids.
        embedding: Width of a token's embedding.
        hidden: Width of the LSTM's state.
        dropout: Share of embeddings and states that is dropped in training.
    """

    scores_prefixes = True

    def __init__(self, vocabulary: int, embedding: Count = 64, hidden: Count = 128, dropout: Share = 0.25) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.lstm = nn.LSTM(embedding, hidden, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden, 1)

    def forward(self, ids: Tensor, mask: Tensor, prefixes: bool = False) -> Tensor:
        """ids, mask: (batch, time) -> logits (batch,), higher = more real, of what the mask shows; (batch, time), of
        each prefix, where it is asked for. Soft text, (batch, time, vocabulary) weights in place of ids, is read by the
        mean of its tokens' embeddings, as they weigh."""
        read = self._read(ids, mask)
        return self.output(self.dropout(read if prefixes else last(read, mask))).squeeze(-1).float()

    def features(self, ids: Tensor, mask: Tensor) -> Tensor:
        """What the last layer reads: (batch, hidden)."""
        return last(self._read(ids, mask), mask)

    def _read(self, ids: Tensor, mask: Tensor) -> Tensor:
        """States after each token, (batch, time, hidden)."""
        embedded = self.dropout(embed(self.embedding, ids, mask))
        # cuDNN has no gradient in evaluation, and none of a gradient; who sends one through soft text needs both
        with torch.backends.cudnn.flags(enabled=False) if ids.is_floating_point() else contextlib.nullcontext():
            return self.lstm(embedded)[0]
