"""SeqGAN's generator: an LSTM language model, kept as an ordinary Hugging Face model."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel

from seqgan_kit.networks.text.plain_lstm import LSTMRecurrence


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
        self.vocabulary, self.embedding, self.hidden = vocabulary, embedding, hidden
        self.start, self.end, self.length = start, end, length
        self.deviation, self.classes = deviation, classes
        super().__init__(**others)


class LSTMGenerator(LSTMRecurrence, PreTrainedModel):
    """SeqGAN's generator, `LSTMRecurrence`. `forward` gives what is differentiated."""

    config_class = LSTMConfig
    base_model_prefix = "generator"

    def __init__(self, config: LSTMConfig) -> None:
        super().__init__(config)
        self.build(config)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        for parameter in module.parameters(recurse=False):
            nn.init.normal_(parameter, std=self.config.deviation)


# so that AutoModel and AutoTokenizer know a saved folder once this module is imported
AutoConfig.register(LSTMConfig.model_type, LSTMConfig, exist_ok=True)
AutoModel.register(LSTMConfig, LSTMGenerator, exist_ok=True)
