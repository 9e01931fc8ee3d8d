"""Generators of pictures from noise and a caption's embedding, kept as ordinary Hugging Face models."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel

from seqgan_kit.networks.pictures.layers import (
    Augmented,
    Modulated,
    Norm,
    Projected,
    Residual,
    SelfAttention,
    channels_last,
    initialise,
    initialise_text,
    normalised,
    rectifier,
    spread,
)
from seqgan_kit.networks.pictures.upsampling import Doubled, Transposed

START = 4  # side of the first feature map


class PictureConfig(PretrainedConfig):
    """Sizes of a `PictureGenerator`, and of the second stage on it if it is a `StackedGenerator`.

    condition: width of a caption's embedding.
    noise: width of the noise.
    side: of the picture in pixels, a power of 2 and at least 8.
    width: channels before the last layer; they double towards the first.
    text: width that the embedding is projected to.
    augmentation: the projected embedding is drawn (StackGAN), not computed (GAN-CLS).
    upsampling: transposed convolutions (GAN-CLS), or repetition and 3x3 convolutions (StackGAN).
    residual: residual blocks at the first two sizes (GAN-CLS).
    modulation: noise and text scale and shift the channels at every size (`Modulated`), too.
    attention: side of the feature map with self-attention; 0 has none.
    norm: of the feature maps.
    second_side, second_width, second_blocks: of the second stage: its pictures' side, channels of its first layer,
        residual blocks; 0, if there is none.
    """

    model_type = "seqgan_picture_generator"

    def __init__(
        self,
        condition: int = 1,
        noise: int = 100,
        side: int = 64,
        width: int = 128,
        text: int = 128,
        augmentation: bool = False,
        upsampling: str = "transposed",
        residual: bool = True,
        modulation: bool = False,
        attention: int = 0,
        norm: Norm = "batch",
        second_side: int = 0,
        second_width: int = 0,
        second_blocks: int = 0,
        **others: Any,
    ) -> None:
        self.condition, self.noise, self.side, self.width, self.text = condition, noise, side, width, text
        self.augmentation, self.upsampling, self.residual = augmentation, upsampling, residual
        self.modulation = modulation
        self.attention, self.norm = attention, norm
        self.second_side, self.second_width, self.second_blocks = second_side, second_width, second_blocks
        super().__init__(**others)


def doublings(side: int, start: int = START) -> int:
    """How often `start` doubles to `side`. Raises ValueError where it never becomes that."""
    count = round(math.log2(side / start)) if side > start else 0
    if count < 1 or start * 2**count != side:
        raise ValueError(f"side {side}: give {start} times a power of 2, at least {2 * start}")
    return count


class PictureGenerator(PreTrainedModel):
    """Noise and embedding -> picture: the networks of GAN-CLS (Reed et al. 2016) and of StackGAN's stage I.

    As `main_cls.lua` of the first and `model.py` of the second; PictureConfig chooses. At 64 pixels the feature maps
    have 8, 4, 2, 1 times `width` channels. Deviations: no biases are set to zero while training, as the Lua code does;
    the first layer of stage I is normalised by channel, not by number; the layer that reads the caption starts larger
    (`initialise_text`).
    """

    config_class = PictureConfig
    base_model_prefix = "generator"

    def __init__(self, config: PictureConfig) -> None:
        super().__init__(config)
        ups = doublings(config.side)
        slope_free = 0.0
        channels = config.width * 2 ** (ups - 1)
        self.read = (Augmented if config.augmentation else Projected)(config.condition, config.text)
        self.first = nn.Linear(config.noise + config.text, channels * START**2, bias=False)
        self.start = nn.Sequential(normalised(config.norm, channels), rectifier(slope_free))
        layers: list[nn.Module] = []
        for level in range(ups):
            if config.residual and level < 2 and level < ups - 1:
                layers.append(Residual(channels, config.norm, slope_free, channels // 4))
            if config.attention == START * 2**level:
                layers.append(SelfAttention(channels))
            last = level == ups - 1
            nearest = config.upsampling == "nearest"
            if last and not nearest:
                layers.append(Transposed(channels, 3))
                break
            halved = max(1, channels // 2)
            enlarging = (Doubled if nearest else Transposed)(channels, halved, bias=config.norm == "none")
            channels = halved
            layers += [enlarging, normalised(config.norm, channels)]
            if config.modulation:
                layers.append(Modulated(config.noise + config.text, channels))
            layers.append(rectifier(slope_free))
            if last:
                layers.append(nn.Conv2d(channels, 3, 3, padding=1))
        self.layers = nn.ModuleList(layers)
        self.channels, self.side = config.width * 2 ** (ups - 1), config.side
        initialise(self)
        initialise_text(self.read.linear)
        channels_last(self)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """All layers are initialised where they are made."""

    def forward(self, noise: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, noise), (batch, condition) -> pixels (batch, 3, side, side) in [-1, 1], cost (batch,)."""
        text, cost = self.read(condition)
        latent = torch.cat([noise, text.to(noise.dtype)], dim=1)
        first = self.first(latent).unflatten(1, (self.channels, START, START))
        maps = self.start(first.contiguous(memory_format=torch.channels_last))
        for layer in self.layers:
            maps = layer(maps, latent) if isinstance(layer, Modulated) else layer(maps)
        return maps.float().tanh(), cost.float()


class _StackedConfig(PictureConfig):
    model_type = "seqgan_stacked_generator"


class StackedGenerator(PreTrainedModel):
    """StackGAN: a frozen first stage, and a second that corrects its picture and enlarges it (Zhang et al. 2017).

    Stage II as `model.py` has it: the picture is encoded down to a quarter of its side, joined with an embedding of
    its own augmentation, passed through residual blocks and enlarged. The first stage is not trained unless asked.
    """

    config_class = _StackedConfig
    base_model_prefix = "generator"

    def __init__(self, config: PictureConfig) -> None:
        # else AutoModel would take the folder that it is saved in for a first stage
        super().__init__(_StackedConfig.from_dict({**config.to_dict(), "model_type": _StackedConfig.model_type}))
        self.stage_one = PictureGenerator(config)
        width, norm = config.second_width, config.norm
        inner = 4 * width
        self.read = Augmented(config.condition, config.text)
        self.encoder = nn.Sequential(
            *(nn.Conv2d(3, width, 3, padding=1), rectifier(0.0)),
            *(nn.Conv2d(width, 2 * width, 4, 2, 1, bias=norm == "none"), normalised(norm, 2 * width), rectifier(0.0)),
            *(nn.Conv2d(2 * width, inner, 4, 2, 1, bias=norm == "none"), normalised(norm, inner), rectifier(0.0)),
        )
        self.join = nn.Sequential(
            nn.Conv2d(inner + config.text, inner, 3, padding=1, bias=norm == "none"),
            normalised(norm, inner),
            rectifier(0.0),
        )
        self.blocks = nn.Sequential(*(Residual(inner, norm, 0.0) for _ in range(config.second_blocks)))
        layers: list[nn.Module] = []
        channels = inner
        for _ in range(doublings(config.second_side, config.side // 4)):
            halved = max(channels // 2, width // 4)
            layers += [Doubled(channels, halved, bias=norm == "none"), normalised(norm, halved), rectifier(0.0)]
            channels = halved
        self.enlarge = nn.Sequential(*layers, nn.Conv2d(channels, 3, 3, padding=1))
        for part in (self.read, self.encoder, self.join, self.blocks, self.enlarge):
            initialise(part)
        initialise_text(self.read.linear)
        channels_last(self)
        self.frozen, self.side = True, config.second_side
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """All layers are initialised where they are made."""

    def freeze(self, frozen: bool) -> None:
        """Whether the first stage stays as it is: no gradient, and the running statistics of its normalisation."""
        self.frozen = frozen
        self.stage_one.requires_grad_(not frozen)
        self.train(self.training)

    def train(self, mode: bool = True) -> StackedGenerator:
        super().train(mode)
        if getattr(self, "frozen", False):
            self.stage_one.eval()
        return self

    def forward(self, noise: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, noise), (batch, condition) -> pixels (batch, 3, second_side, second_side) in [-1, 1], cost."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            small, first_cost = self.stage_one(noise, condition)
        text, cost = self.read(condition)
        encoded = self.encoder(small.contiguous(memory_format=torch.channels_last))
        joined = self.join(torch.cat([encoded, spread(text.to(encoded.dtype), encoded)], dim=1))
        pixels = self.enlarge(self.blocks(joined))
        return pixels.float().tanh(), cost.float() if self.frozen else cost.float() + first_cost


# so that AutoModel knows a saved folder once this module is imported
AutoConfig.register(PictureConfig.model_type, PictureConfig, exist_ok=True)
AutoModel.register(PictureConfig, PictureGenerator, exist_ok=True)
AutoConfig.register(_StackedConfig.model_type, _StackedConfig, exist_ok=True)
AutoModel.register(_StackedConfig, StackedGenerator, exist_ok=True)
