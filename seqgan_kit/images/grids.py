"""Pictures as files: grids, single ones, and back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from seqgan_kit.files import replacing

GAP = 2  # pixels between two pictures
SHOWN = 96  # side that small pictures are enlarged to, at least


def to_bytes(pixels: Tensor) -> Tensor:
    """[-1, 1] -> uint8, (batch, 3, height, width)."""
    return pixels.float().add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8).cpu()


def grid(pixels: Tensor, columns: int) -> Image.Image:
    """uint8 (pictures, 3, side, side) row by row, small ones enlarged by whole numbers."""
    times = max(1, SHOWN // pixels.shape[-1])
    pixels = pixels.repeat_interleave(times, 2).repeat_interleave(times, 3)
    rows = -(-len(pixels) // columns)
    missing = rows * columns - len(pixels)
    padded = F.pad(F.pad(pixels, (0, GAP, 0, GAP), value=255), (0, 0, 0, 0, 0, 0, 0, missing), value=255)
    whole = padded.unflatten(0, (rows, columns)).permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)
    return Image.fromarray(whole[:-GAP, :-GAP].contiguous().numpy())


def save_picture(picture: Image.Image, path: Path) -> None:
    """As PNG, whole or not at all."""
    with replacing(path) as unfinished:
        picture.save(unfinished, format="PNG")


def save_grid(path: Path, pixels: Tensor, columns: int, captions: Sequence[str]) -> None:
    """path.png, and what is in it in path.txt: a caption a picture, or one a row."""
    save_picture(grid(pixels, columns), path.with_suffix(".png"))
    text = "".join(" ".join(caption.split()) + "\n" for caption in captions)
    path.with_suffix(".txt").write_text(text, "utf-8")
