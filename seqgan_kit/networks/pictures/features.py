"""A small convolutional network whose last hidden layer is the features of a picture, kept as a Hugging Face model."""

from __future__ import annotations

from math import log2
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel

CELLS = 4  # about the side of the grid before the last layers: features know where something is


class PictureFeaturesConfig(PretrainedConfig):
    """Sizes of a `PictureFeatures`, and what it has learned.

    side: of the pictures that it was trained on; others are resized to it.
    width: channels of the first layer; doubled twice, then kept.
    dimensions: of the features.
    targets: number of labels that it learned to tell.
    single: exactly one label is right for a picture, so that the output is a distribution over classes.
    """

    model_type = "seqgan_picture_features"

    def __init__(
        self,
        side: int = 32,
        width: int = 32,
        dimensions: int = 128,
        targets: int = 1,
        single: bool = False,
        **others: Any,
    ) -> None:
        self.side, self.width, self.dimensions = side, width, dimensions
        self.targets, self.single = targets, single
        super().__init__(**others)


class PictureFeatures(PreTrainedModel):
    """(batch, 3, h, w) in [-1, 1] -> features (batch, dimensions), none negative, and logits (batch, targets)."""

    config_class = PictureFeaturesConfig
    base_model_prefix = "picture_features"
    main_input_name = "pixels"
    input_modalities = ["image"]  # noqa: RUF012

    def __init__(self, config: PictureFeaturesConfig) -> None:
        super().__init__(config)
        layers: list[nn.Module] = []
        channels, side = 3, config.side
        for level in range(max(1, round(log2(config.side / CELLS)))):
            wider = config.width * 2 ** min(level, 2)
            layers += [nn.Conv2d(channels, wider, 3, stride=2, padding=1), nn.GroupNorm(1, wider), nn.ReLU()]
            channels, side = wider, (side + 1) // 2
        self.convolutions = nn.Sequential(*layers, nn.Flatten())
        self.hidden = nn.Linear(channels * side**2, config.dimensions)
        self.output = nn.Linear(config.dimensions, config.targets)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """All layers are initialised where they are made."""

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        side = self.config.side
        if tuple(pixels.shape[2:]) != (side, side):
            pixels = F.interpolate(pixels, (side, side), mode="bilinear", antialias=True)
        vectors = torch.relu(self.hidden(self.convolutions(pixels)))
        return vectors, self.output(vectors)


# so that AutoModel knows a saved folder once this module is imported
AutoConfig.register(PictureFeaturesConfig.model_type, PictureFeaturesConfig, exist_ok=True)
AutoModel.register(PictureFeaturesConfig, PictureFeatures, exist_ok=True)
