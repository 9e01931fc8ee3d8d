"""Pictures and counted words as vectors of one space, kept as a Hugging Face model: to judge which belong together."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel

from seqgan_kit.networks.pictures.features import PictureFeatures, PictureFeaturesConfig


class PictureMatcherConfig(PretrainedConfig):
    """Sizes of a `PictureMatcher`. entries: what captions are counted by. side: of the pictures. dim: of the space."""

    model_type = "seqgan_picture_matcher"

    def __init__(self, entries: int = 1, side: int = 32, width: int = 32, dim: int = 128, **others: Any) -> None:
        self.entries, self.side, self.width, self.dim = entries, side, width, dim
        super().__init__(**others)


class PictureMatcher(PreTrainedModel):
    """(batch, 3, h, w) in [-1, 1] and counts (batch, entries) of mean square norm 1 -> vectors, each (batch, dim)."""

    config_class = PictureMatcherConfig
    base_model_prefix = "picture_matcher"

    def __init__(self, config: PictureMatcherConfig) -> None:
        super().__init__(config)
        dim = config.dim
        self.picture = PictureFeatures(PictureFeaturesConfig(config.side, config.width, dim, dim))
        self.text = nn.Sequential(nn.Linear(config.entries, dim), nn.ReLU(), nn.Linear(dim, dim))
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """All layers are initialised where they are made."""

    def forward(self, pixels: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        return self.see(pixels), self.read(counts)

    def see(self, pixels: Tensor) -> Tensor:
        return self.picture(pixels)[1]

    def read(self, counts: Tensor) -> Tensor:
        return self.text(counts * self.config.entries**0.5)


# so that AutoModel knows a saved folder once this module is imported
AutoConfig.register(PictureMatcherConfig.model_type, PictureMatcherConfig, exist_ok=True)
AutoModel.register(PictureMatcherConfig, PictureMatcher, exist_ok=True)
