"""Text from noise, and its critic: residual convolutions over characters (Gulrajani et al. 2017)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel

from seqgan_kit.bounds import Blocks, Count

State = tuple[Tensor, Tensor]
SHARE = 0.3  # of what a block finds, in its sum


class ResidualBlock(nn.Module):
    """x + 0.3 conv(relu(conv(relu(x)))), windows of 5: (batch, width, time) -> the same."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(width, width, 5, padding=2)
        self.second = nn.Conv1d(width, width, 5, padding=2)

    def forward(self, values: Tensor) -> Tensor:
        return values + SHARE * self.second(F.relu(self.first(F.relu(values))))


class NoiseToTextConfig(PretrainedConfig):
    """Sizes of a `NoiseToText`.

    vocabulary: number of tokens. length: of every text, tokens after its end included. noise, width, blocks: sizes.
    end: the id that ends a text, or None where all have `length` tokens.
    """

    model_type = "seqgan_noise_to_text"

    def __init__(
        self,
        vocabulary: int = 2,
        length: int = 32,
        end: int | None = None,
        noise: int = 128,
        width: int = 512,
        blocks: int = 5,
        **others: Any,
    ) -> None:
        self.vocabulary, self.length, self.end = vocabulary, length, end
        self.noise, self.width, self.blocks = noise, width, blocks
        super().__init__(**others)


class NoiseToText(PreTrainedModel):
    """All places of a text at once from noise, by residual convolutions; `forward` gives what is differentiated.

    It has no likelihood. Drawn as a `sampling.TokenNetwork`, a text is the likeliest token of each place, as in the
    paper's samples: all its chance is in the noise, so that a temperature changes nothing.
    """

    config_class = NoiseToTextConfig
    base_model_prefix = "generator"

    def __init__(self, config: NoiseToTextConfig) -> None:
        super().__init__(config)
        self.input = nn.Linear(config.noise, config.width * config.length)
        self.blocks = nn.Sequential(*[ResidualBlock(config.width) for _ in range(config.blocks)])
        self.output = nn.Conv1d(config.width, config.vocabulary, 1)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """As PyTorch has them."""

    def forward(self, noise: Tensor) -> Tensor:
        """(batch, noise) -> weights (batch, length, vocabulary), float32, of sum 1 in each place."""
        hidden = self.input(noise).unflatten(1, (self.config.width, self.config.length))
        return self.output(self.blocks(hidden)).transpose(1, 2).float().softmax(-1)

    def start(self, batch: int) -> tuple[Tensor, State]:
        noise = torch.randn(batch, self.config.noise, device=self.input.weight.device)
        ids = self(noise).argmax(-1)
        place = ids.new_zeros(batch)
        return self._certain(ids, place), (ids, place)

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        ids, place = state[0], state[1] + 1
        return self._certain(ids, place), (ids, place)

    def logits(self, features: Tensor) -> Tensor:
        return features

    def _certain(self, ids: Tensor, place: Tensor) -> Tensor:
        """0 for the token that stands there, minus infinity for all others."""
        return F.one_hot(ids.gather(1, place.unsqueeze(1)).squeeze(1), self.config.vocabulary).float().log()


class ResidualCritic(nn.Module):
    """Residual convolutions over texts of one length, soft ones or not, and a logit linear in all that they find.

    Every place counts, those after the end, too, which hold end tokens; so it looks at no mask.

    Args:
        vocabulary: Number of token ids.
        length: Number of tokens of every text, the end token included.
        width: Channels of the critic's convolutions.
        blocks: Number of residual blocks of the critic.
    """

    def __init__(self, vocabulary: int, length: Count = 33, width: Count = 512, blocks: Blocks = 5) -> None:
        super().__init__()
        self.vocabulary, self.length = vocabulary, length
        self.input = nn.Conv1d(vocabulary, width, 1)
        self.blocks = nn.Sequential(*[ResidualBlock(width) for _ in range(blocks)])
        self.output = nn.Linear(width * length, 1)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """ids (batch, length), or weights (batch, length, vocabulary) -> (batch,), higher = more real.

        Raises ValueError for texts of another length.
        """
        return self.output(self.features(ids, mask)).squeeze(1).float()

    def features(self, ids: Tensor, mask: Tensor) -> Tensor:
        """What the last layer reads: (batch, features)."""
        if ids.shape[1] != self.length:
            raise ValueError(f"it reads {self.length} tokens, but texts have {ids.shape[1]}, the end token included")
        weights = ids if ids.is_floating_point() else F.one_hot(ids, self.vocabulary).to(self.input.weight.dtype)
        return self.blocks(self.input(weights.transpose(1, 2))).flatten(1)


AutoConfig.register(NoiseToTextConfig.model_type, NoiseToTextConfig, exist_ok=True)
AutoModel.register(NoiseToTextConfig, NoiseToText, exist_ok=True)
