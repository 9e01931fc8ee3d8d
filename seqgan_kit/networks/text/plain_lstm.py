"""The LSTM language model itself: what it computes, whoever keeps its weights. It needs torch, and no transformers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from seqgan_kit.networks.text.histories import Given
from seqgan_kit.networks.text.output import in_float32, log_probs

LSTMState = tuple[Tensor, Tensor]


class LSTMRecurrence:
    """p(y_t | y_<t) by one LSTM layer (Yu et al. 2017, eq. 9-10), of a module that has the three layers.

    With classes, p(y_t | class, y_<t): the class is the token that is read first, and drawn from is `given(labels)`.
    """

    config: Any
    """Sizes as of `lstm.LSTMConfig`."""
    embedding: nn.Embedding
    lstm: nn.LSTM
    output: nn.Linear

    def build(self, config: Any) -> None:
        """The layers, as torch initialises them."""
        self.embedding = nn.Embedding(max(config.vocabulary, config.start + max(1, config.classes)), config.embedding)
        self.lstm = nn.LSTM(config.embedding, config.hidden, batch_first=True)
        self.output = nn.Linear(config.hidden, config.vocabulary)

    def forward(self, ids: Tensor, labels: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Log-probability of each token of `ids` given those before it: (batch, time) -> (batch, time), float32.

        labels: (batch,), where there are classes. mask: (batch, time), as of `Tokens`; where it is False, 0."""
        return log_probs(self.features(ids, labels), self.output.weight, self.output.bias, ids, mask)

    def features(self, ids: Tensor, labels: Tensor | None = None) -> Tensor:
        """What is known before each token: (batch, time) -> (batch, time, hidden)."""
        before = torch.cat([self._first(len(ids), labels).unsqueeze(1), ids[:, :-1]], dim=1)
        with in_float32(before.device):
            return self.lstm(self.embedding(before))[0]

    def given(self, labels: Tensor) -> Given:
        """The generator of texts of these classes, (batch,), to be drawn from."""
        return Given(self, labels)

    def start(self, batch: int, labels: Tensor | None = None) -> tuple[Tensor, LSTMState]:
        zeros = self.output.weight.new_zeros(batch, self.config.hidden)
        return self.step(self._first(batch, labels), (zeros, zeros))

    def step(self, tokens: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        with in_float32(tokens.device):
            hidden, cell = torch.lstm_cell(self.embedding(tokens), state, *self.lstm.all_weights[0])
        return hidden, (hidden, cell)

    def logits(self, features: Tensor) -> Tensor:
        return self.output(features)

    def _first(self, batch: int, labels: Tensor | None) -> Tensor:
        """What is read before the first token, (batch,)."""
        if (labels is not None) != bool(self.config.classes):
            raise ValueError("labels are given to a generator without classes, or none to one that has some")
        first = torch.full((batch,), self.config.start, device=self.output.weight.device)
        return first if labels is None else first + labels


class PlainLSTM(LSTMRecurrence, nn.Module):
    """A saved `LSTMGenerator` to draw from: the same layers and weights, as a module of torch alone."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.build(config)
