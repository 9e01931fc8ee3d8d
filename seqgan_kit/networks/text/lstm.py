"""SeqGAN's generator: an LSTM language model, kept as an ordinary Hugging Face model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel

from seqgan_kit.networks.text.output import log_probs

LSTMState = tuple[Tensor, Tensor]


class LSTMConfig(PretrainedConfig):
    """Sizes of an `LSTMGenerator`.

    vocabulary: number of tokens that it can emit.
    embedding, hidden: widths.
    start: the id read before the first token; may be `vocabulary` itself, an input that is never emitted.
    end: the id that ends a sequence, or None where all sequences have `length` tokens.
    length: the greatest number of tokens of a sequence, the end token included.
    deviation: standard deviation of all initial weights.
    classes: of texts, if they have any: those of class c begin after the id start + c.
    """

    model_type = "seqgan_lstm"

    def __init__(
        self,
        vocabulary: int = 2,
        embedding: int = 32,
        hidden: int = 32,
        start: int = 0,
        end: int | None = None,
        length: int = 20,
        deviation: float = 0.1,
        classes: int = 0,
        **others: Any,
    ) -> None:
        self.vocabulary = vocabulary
        self.embedding = embedding
        self.hidden = hidden
        self.start = start
        self.end = end
        self.length = length
        self.deviation = deviation
        self.classes = classes
        super().__init__(**others)


class LSTMGenerator(PreTrainedModel):
    """p(y_t | y_<t) by one LSTM layer (Yu et al. 2017, eq. 9-10). `forward` gives what is differentiated.

    With classes, p(y_t | class, y_<t): the class is the token that is read first, and drawn from is `given(labels)`.
    """

    config_class = LSTMConfig
    base_model_prefix = "generator"

    def __init__(self, config: LSTMConfig) -> None:
        super().__init__(config)
        self.embedding = nn.Embedding(max(config.vocabulary, config.start + max(1, config.classes)), config.embedding)
        self.lstm = nn.LSTM(config.embedding, config.hidden, batch_first=True)
        self.output = nn.Linear(config.hidden, config.vocabulary)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        for parameter in module.parameters(recurse=False):
            nn.init.normal_(parameter, std=self.config.deviation)

    def forward(self, ids: Tensor, labels: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Log-probability of each token of `ids` given those before it: (batch, time) -> (batch, time), float32.

        labels: (batch,), where there are classes. mask: (batch, time), as of `Tokens`; where it is False, 0."""
        return log_probs(self.features(ids, labels), self.output.weight, self.output.bias, ids, mask)

    def features(self, ids: Tensor, labels: Tensor | None = None) -> Tensor:
        """What is known before each token: (batch, time) -> (batch, time, hidden)."""
        before = torch.cat([self._first(len(ids), labels).unsqueeze(1), ids[:, :-1]], dim=1)
        hidden: Tensor = self.lstm(self.embedding(before))[0]
        return hidden

    def given(self, labels: Tensor) -> LabelledLSTM:
        """The generator of texts of these classes, (batch,), to be drawn from."""
        return LabelledLSTM(self, labels)

    def start(self, batch: int, labels: Tensor | None = None) -> tuple[Tensor, LSTMState]:
        zeros = self.output.weight.new_zeros(batch, self.config.hidden)
        return self.step(self._first(batch, labels), (zeros, zeros))

    def step(self, tokens: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        read, lstm = self.embedding(tokens), self.lstm
        weights: Any = lstm.weight_ih_l0, lstm.weight_hh_l0, lstm.bias_ih_l0, lstm.bias_hh_l0
        hidden, cell = torch.lstm_cell(read, state, *weights)
        return hidden, (hidden, cell)

    def logits(self, features: Tensor) -> Tensor:
        return self.output(features)

    def _first(self, batch: int, labels: Tensor | None) -> Tensor:
        """What is read before the first token, (batch,)."""
        if (labels is not None) != bool(self.config.classes):
            raise ValueError("labels are given to a generator without classes, or none to one that has some")
        first = torch.full((batch,), self.config.start, device=self.output.weight.device)
        return first if labels is None else first + labels


class LabelledLSTM:
    """An `LSTMGenerator` whose classes are fixed: what `sampling` draws from."""

    def __init__(self, network: LSTMGenerator, labels: Tensor) -> None:
        self.network, self.labels = network, labels
        self.step, self.logits = network.step, network.logits

    def start(self, batch: int) -> tuple[Tensor, LSTMState]:
        return self.network.start(batch, self.labels)


# so that AutoModel and AutoTokenizer know a saved folder once this module is imported
AutoConfig.register(LSTMConfig.model_type, LSTMConfig, exist_ok=True)
AutoModel.register(LSTMConfig, LSTMGenerator, exist_ok=True)
