"""Discriminators of pictures with captions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqgan_kit.bounds import Count, Whole
from seqgan_kit.networks.pictures.generator import START, doublings
from seqgan_kit.networks.pictures.layers import (
    SLOPE,
    Norm,
    Residual,
    SelfAttention,
    channels_last,
    initialise,
    initialise_rectified,
    initialise_text,
    normalised,
    rectifier,
    spread,
    with_spectral_norm,
)


class PictureDiscriminator(nn.Module):
    """Picture and caption's embedding -> logits, higher = real and fitting: GAN-CLS's and both of StackGAN's.

    Strided convolutions down to 4x4, where the projected embedding is joined (Reed et al. 2016; Zhang et al. 2017). One
    forward may see a batch of pictures with several captions each: their features are computed once.

    Args:
        side: Side of the pictures, 4 times a power of 2.
        condition: Width of a caption's embedding.
        width: Channels after the first layer; they double with each. The papers have 64.
        most: Greatest number of channels; above 256 pixels they would become too many.
        text: Width that the caption's embedding is projected to. The papers have 128.
        residual: Whether there is a residual block at 4x4 (GAN-CLS).
        modulation: Whether the text scales the picture's features where they are joined, too.
        join: Side of the convolution that joins picture and embedding: 1 (GAN-CLS) or 3 (StackGAN).
        unconditional: Whether there is a second logit, of the picture alone (StackGAN's stage II).
        attention: Side of the feature map with self-attention. 0 has none.
        norm: Normalisation of the feature maps. With `batch`, each batch of pictures is normalised by itself.
        spectral: Whether every weight is divided by its largest singular value.
    """

    def __init__(
        self,
        side: int,
        condition: int,
        width: Count = 48,
        most: Count = 512,
        text: Count = 64,
        residual: bool = True,
        modulation: bool = True,
        join: Count = 1,
        unconditional: bool = False,
        attention: Whole = 0,
        norm: Norm = "none",
        spectral: bool = False,
    ) -> None:
        super().__init__()
        bias = norm == "none"
        sides = [side // 2 ** (level + 1) for level in range(doublings(side))]
        if join % 2 == 0:
            raise ValueError(f"join {join}: give an odd number")
        if attention and attention not in sides:
            raise ValueError(f"attention {attention}: give 0, or one of {sides}")
        channels = 3
        layers: list[nn.Module] = []
        for level, shrunk in enumerate(sides):
            outputs = min(most, width * 2**level)
            first = level == 0
            layers.append(nn.Conv2d(channels, outputs, 4, 2, 1, bias=bias or first))
            channels = outputs
            if not first:
                layers.append(normalised(norm, channels))
            layers.append(rectifier(SLOPE))
            if attention == shrunk:
                layers.append(SelfAttention(channels))
        if residual:
            layers.append(Residual(channels, norm, SLOPE, channels // 4))
        self.trunk = nn.Sequential(*layers)
        self.read = nn.Linear(condition, text)
        self.conditional = nn.Sequential(
            nn.Conv2d(channels + text, channels, join, padding=join // 2, bias=bias),
            normalised(norm, channels),
            rectifier(SLOPE),
            nn.Conv2d(channels, 1, START),
        )
        self.scale = nn.Linear(text, channels) if modulation else None
        self.unconditional = nn.Conv2d(channels, 1, START) if unconditional else None
        initialise(self)
        initialise_text(self.read)
        if self.scale is not None:
            initialise_text(self.scale)
        if norm == "none":
            initialise_rectified(self.trunk)
        if spectral:
            with_spectral_norm(self)
        channels_last(self)

    def forward(self, *batches: tuple[Tensor, Sequence[Tensor]]) -> list[list[Tensor]]:
        """Of each (pixels (batch, 3, side, side), captions' embeddings (batch, dim) each): logits (batch,) of each
        caption, float32, and after them that of the picture alone, where there is such a head."""
        found = []
        for pixels, captions in batches:
            features = self.trunk(pixels.contiguous(memory_format=torch.channels_last))
            logits = self._conditional(features, captions)
            if self.unconditional is not None:
                logits.append(self.unconditional(features).flatten().float())
            found.append(logits)
        return found

    def _conditional(self, features: Tensor, captions: Sequence[Tensor]) -> list[Tensor]:
        """The convolution over joined picture and text is a sum, whose first part is the same for all captions."""
        join: Any = self.conditional[0]
        head = self.conditional[1:]
        of_picture, of_text = join.weight.split([features.shape[1], self.read.out_features], dim=1)
        shown = F.conv2d(features, of_picture, join.bias, padding=join.padding)
        found = []
        for caption in captions:
            text = F.leaky_relu(self.read(caption), SLOPE)
            # a text is the same everywhere: only where the border is near does its convolution depend on the place
            places = spread(text, features) if join.kernel_size[0] > 1 else text[:, :, None, None]
            maps = F.conv2d(places, of_text, padding=join.padding)
            if self.scale is not None:
                maps = torch.addcmul(maps, shown, 1 + self.scale(text)[:, :, None, None].to(shown.dtype))
            else:
                maps = maps + shown
            found.append(head(maps).flatten().float())
        return found
