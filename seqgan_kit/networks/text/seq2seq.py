"""The sequence-to-sequence generator of adversarial dialogue: LSTMs with attention, kept as a Hugging Face model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel

from seqgan_kit.networks.text.histories import Given, each_once, packed, padded
from seqgan_kit.networks.text.output import in_float32, log_probs

Memory = tuple[Tensor, Tensor, Tensor, Tensor]
"""Hidden and cell states (batch, layers, width), what was encoded (batch, past, width), and which of it counts."""


class Seq2SeqConfig(PretrainedConfig):
    """Sizes of a `Seq2SeqGenerator`.

    vocabulary: number of tokens.
    embedding, hidden: widths.
    layers: of either LSTM.
    start, end: the ids that the decoder reads first, and that ends a reply.
    dropout: of embeddings and before the output, in training.
    """

    model_type = "seqgan_seq2seq"

    def __init__(
        self,
        vocabulary: int = 3,
        embedding: int = 128,
        hidden: int = 128,
        layers: int = 2,
        start: int = 1,
        end: int = 2,
        dropout: float = 0.0,
        **others: Any,
    ) -> None:
        self.vocabulary, self.embedding, self.hidden, self.layers = vocabulary, embedding, hidden, layers
        self.start, self.end, self.dropout = start, end, dropout
        super().__init__(**others)


class Seq2SeqGenerator(PreTrainedModel):
    """p(y_t | history, y_<t): an LSTM reads the history, another writes the reply and attends to what was read.

    As Li et al. 2017 (Sutskever et al. 2014 with attention), 2 layers. Attention is Luong et al.'s (2015, eq. 5 to 8,
    general): the written features are tanh(W [context; state]). Deviations: the authors' code feeds the context into
    the next step, which would make training as sequential as drawing; here all steps of a given reply are read at once.
    The initial weights are not theirs.
    """

    config_class = Seq2SeqConfig
    base_model_prefix = "generator"

    def __init__(self, config: Seq2SeqConfig) -> None:
        super().__init__(config)
        # without dropout between layers: a policy's steps, which have none, need cuDNN's LSTM in training
        sizes: dict[str, Any] = {"num_layers": config.layers, "batch_first": True}
        self.embedding = nn.Embedding(config.vocabulary, config.embedding)
        self.encoder = nn.LSTM(config.embedding, config.hidden, **sizes)
        self.decoder = nn.LSTM(config.embedding, config.hidden, **sizes)
        self.attend = nn.Linear(config.hidden, config.hidden, bias=False)
        self.join = nn.Linear(2 * config.hidden, config.hidden, bias=False)
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(config.hidden, config.vocabulary)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """PyTorch's own. With the authors' U(-0.1, 0.1) all attention is equal at first, and long stays so."""

    def forward(self, ids: Tensor, history: Tensor, turns: Tensor, mask: Tensor | None = None) -> Tensor:
        """Log-probability of each token of the replies: (batch, time), float32. ids: (batch, time). history, turns:
        (batch, past), mask: (batch, time), as of `Replies`; where it is False, 0."""
        features = self.dropout(self.features(ids, history, turns))
        return log_probs(features, self.output.weight, self.output.bias, ids, mask)

    def features(self, ids: Tensor, history: Tensor, turns: Tensor) -> Tensor:
        """What is known before each token of the replies: (batch, time, hidden)."""
        hidden, cell, encoded, history_mask = self.encode(history, turns >= 0)
        before = F.pad(ids[:, :-1], (1, 0), value=self.config.start)
        state = hidden.transpose(0, 1).contiguous(), cell.transpose(0, 1).contiguous()
        with in_float32(ids.device):
            written, _ = self.decoder(self.dropout(self.embedding(before)), state)
        return self._attended(written, encoded, history_mask)

    def encode(self, history: Tensor, history_mask: Tensor) -> Memory:
        """(batch, past) twice. A history is read from its first token, whatever padding is before it."""
        return each_once(self._encode, history, history_mask)

    def _encode(self, history: Tensor, history_mask: Tensor) -> Memory:
        count = history_mask.sum(1)
        places = (torch.arange(history.shape[1], device=history.device) - count.unsqueeze(1)) % history.shape[1]
        read = self.dropout(self.embedding(history.gather(1, places)))
        with in_float32(history.device):
            outputs, (hidden, cell) = self.encoder(packed(read, count.cpu()))
        encoded = padded(outputs)
        known = torch.arange(encoded.shape[1], device=history.device) < count.unsqueeze(1)
        return hidden.transpose(0, 1), cell.transpose(0, 1), encoded, known

    def given(self, history: Tensor, turns: Tensor) -> Given:
        """The generator after these histories, to be drawn from."""
        return Given(self, history, turns)

    def start(self, batch: int, history: Tensor, turns: Tensor) -> tuple[Tensor, Memory]:
        first = torch.full((batch,), self.config.start, device=history.device)
        return self.step(first, self.encode(history, turns >= 0))

    def step(self, tokens: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        """One more token of each reply, (batch,) -> features (batch, width)."""
        hidden, cell, encoded, history_mask = memory
        read, states = self.embedding(tokens), []
        with in_float32(tokens.device):
            for *state, weights in zip(hidden.unbind(1), cell.unbind(1), self.decoder.all_weights, strict=True):
                states.append(torch.lstm_cell(read, state, *weights))
                read = states[-1][0]
        hidden, cell = (torch.stack(parts, dim=1) for parts in zip(*states, strict=True))
        features = self._attended(read.unsqueeze(1), encoded, history_mask).squeeze(1)
        return features, (hidden, cell, encoded, history_mask)

    def logits(self, features: Tensor) -> Tensor:
        return self.output(features)

    def _attended(self, written: Tensor, encoded: Tensor, history_mask: Tensor) -> Tensor:
        """(batch, time, width), (batch, past, width), (batch, past) -> (batch, time, width)."""
        scores = (self.attend(written) @ encoded.transpose(1, 2)).masked_fill(~history_mask.unsqueeze(1), -torch.inf)
        context = scores.softmax(-1) @ encoded
        return torch.tanh(self.join(torch.cat([context, written], dim=2)))


# so that AutoModel knows a saved folder once this module is imported
AutoConfig.register(Seq2SeqConfig.model_type, Seq2SeqConfig, exist_ok=True)
AutoModel.register(Seq2SeqConfig, Seq2SeqGenerator, exist_ok=True)
