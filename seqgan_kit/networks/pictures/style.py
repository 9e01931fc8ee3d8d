"""An encoder that inverts a generator: from a picture to the noise that it could have been made of."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel

from seqgan_kit.networks.pictures.joint_embedding import PictureEncoder


class StyleEncoderConfig(PretrainedConfig):
    """noise: width of the noise. width: channels of the first convolution, a multiple of 4."""

    model_type = "seqgan_picture_style"

    def __init__(self, noise: int = 100, width: int = 32, **others: Any) -> None:
        self.noise, self.width = noise, width
        super().__init__(**others)


class StyleEncoder(PreTrainedModel):
    """S(picture) = noise, trained by E |z - S(G(z, caption))|^2 (Reed et al. 2016, sec. 4.4, eq. 6)."""

    config_class = StyleEncoderConfig
    base_model_prefix = "style"

    def __init__(self, config: StyleEncoderConfig) -> None:
        super().__init__(config)
        self.encoder = PictureEncoder(config.noise, config.width)
        self.post_init()

    def _init_weights(self, module: object) -> None:
        """All layers are initialised where they are made."""

    def forward(self, pixels: Tensor) -> Tensor:
        """(batch, 3, height, width) in [-1, 1] -> (batch, noise)."""
        return self.encoder(pixels)


# so that AutoModel knows a saved folder once this module is imported
AutoConfig.register(StyleEncoderConfig.model_type, StyleEncoderConfig, exist_ok=True)
AutoModel.register(StyleEncoderConfig, StyleEncoder, exist_ok=True)
