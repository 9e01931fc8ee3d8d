"""Differentiable augmentation of all that a discriminator sees (DiffAugment, Zhao et al. 2020)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Kind = Literal["colour", "translation", "cutout"]


def colour(pixels: Tensor) -> Tensor:
    """Brightness + U(-0.5, 0.5), saturation * U(0, 2), contrast * U(0.5, 1.5), of each picture.

    A caption's colours survive a change of saturation, not one of hue, so hue is left alone, as in the paper.
    """
    brightness, saturation, contrast = torch.rand(3, len(pixels), 1, 1, 1, device=pixels.device)
    pixels = pixels + (brightness - 0.5)
    grey = pixels.mean(1, keepdim=True)
    pixels = (pixels - grey) * (2 * saturation) + grey
    mean = pixels.mean((1, 2, 3), keepdim=True)
    return (pixels - mean) * (contrast + 0.5) + mean


def translation(pixels: Tensor, share: float = 1 / 8) -> Tensor:
    """Moved by up to an eighth of the side in each direction; what comes in is the edge's pixels (the paper: zeros)."""
    batch, _, height, width = pixels.shape
    most = max(1, round(height * share))
    down, right = torch.randint(-most, most + 1, (2, batch, 1), device=pixels.device)
    rows = (torch.arange(height, device=pixels.device) + down).clamp(0, height - 1)
    columns = (torch.arange(width, device=pixels.device) + right).clamp(0, width - 1)
    index = torch.arange(batch, device=pixels.device)[:, None, None, None]
    channels = torch.arange(pixels.shape[1], device=pixels.device)[None, :, None, None]
    return pixels[index, channels, rows[:, None, :, None], columns[:, None, None, :]]


def cutout(pixels: Tensor, share: float = 1 / 2) -> Tensor:
    """A square of half the side, somewhere, set to 0."""
    batch, _, height, width = pixels.shape
    size = round(height * share)
    top, left = torch.randint(0, height + 1 - size % 2, (2, batch, 1), device=pixels.device)
    rows = torch.arange(height, device=pixels.device) - (top - size // 2)
    columns = torch.arange(width, device=pixels.device) - (left - size // 2)
    hidden = ((rows >= 0) & (rows < size))[:, None, :, None] & ((columns >= 0) & (columns < size))[:, None, None, :]
    return pixels.masked_fill(hidden, 0.0)


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {"colour": colour, "translation": translation, "cutout": cutout}


def augmented(pixels: Tensor, kinds: Sequence[Kind]) -> Tensor:
    """(batch, 3, height, width) -> the same shape, differentiable; every picture by chances of its own."""
    for kind in kinds:
        pixels = FUNCTIONS[kind](pixels)
    return pixels if not kinds else F.hardtanh(pixels, -3, 3)
