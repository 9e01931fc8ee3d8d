"""What a trained generator is looked at for: between captions, between draws of the noise, beside training pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from seqgan_kit.files import write_json
from seqgan_kit.images.caption_encoders import TextEncoder
from seqgan_kit.images.data import Captioned, Ints, centred
from seqgan_kit.images.evaluation import embedded, make
from seqgan_kit.images.grids import save_grid
from seqgan_kit.images.metrics import nearest
from seqgan_kit.images.sources import Source

ROWS, STEPS = 4, 8  # of an interpolation and of a walk
NEIGHBOURS, COMPARED = 8, 200  # rows that are shown, and pictures that the medians are over
FINEST = 64  # side that pictures are compared at, at most
CHUNK = 512  # training pictures compared at a time
NO_CAPTION = "(no caption)"


def draw_all(folder: Path, network: Any, encoder: TextEncoder, source: Source, conditional: bool, side: int) -> None:
    """Writes walk, interpolation and nearest (.png, and .txt with a line a row) and nearest.json into the folder.

    network: generator of pictures of this side. conditional: false gives all captions the vector 0, and leaves the
    interpolation out, as does a single held-out caption. What is drawn comes from torch's random numbers; the choice
    of captions is always the same.
    """
    rng = np.random.default_rng(0)
    captions = [source.held_out.captions[i] for i in rng.permutation(len(source.held_out.captions))[: 2 * ROWS]]
    vectors = embedded(encoder, captions, conditional)
    if conditional and len(captions) > 1:
        _interpolation(folder, network, captions, vectors)
    _walk(folder, network, captions if conditional else [NO_CAPTION], vectors)
    _nearest(folder, network, encoder, source, conditional, side, rng)


def _interpolation(folder: Path, network: Any, captions: list[str], vectors: Tensor) -> None:
    """From one caption to the next but one; where captions are few, they come again."""
    pairs = [(2 * row % len(captions), (2 * row + 1) % len(captions)) for row in range(ROWS)]
    steps = torch.linspace(0, 1, STEPS)[:, None]
    noise = torch.randn(ROWS, network.config.noise)
    pictures = [
        still(network, torch.lerp(vectors[first], vectors[last], steps), noise[row].expand(STEPS, -1))
        for row, (first, last) in enumerate(pairs)
    ]
    told = [f"{captions[first]} → {captions[last]}" for first, last in pairs]
    save_grid(folder / "interpolation", torch.cat(pictures), STEPS, told)


def _walk(folder: Path, network: Any, captions: list[str], vectors: Tensor) -> None:
    ends = torch.randn(2, ROWS, network.config.noise)
    pictures = [
        still(network, vectors[row % len(vectors)].expand(STEPS, -1), spherical(ends[0, row], ends[1, row], STEPS))
        for row in range(ROWS)
    ]
    save_grid(folder / "walk", torch.cat(pictures), STEPS, [captions[row % len(captions)] for row in range(ROWS)])


def spherical(first: Tensor, last: Tensor, steps: int) -> Tensor:
    """From one vector (dim,) to another in even angles, both ends among the steps: (steps, dim) (White 2016).

    The straight line between draws of a wide Gaussian leads through vectors far shorter than any draw is; it is taken
    only where the vectors are parallel or opposite, which leaves no one arc.
    """
    one, other = first.double(), last.double()
    angle = torch.arccos((torch.dot(one, other) / (one.norm() * other.norm())).clamp(-1, 1))
    shares = torch.linspace(0, 1, steps, dtype=torch.float64)[:, None]
    if angle.sin() < 1e-6:
        return torch.lerp(one, other, shares).float()
    return ((((1 - shares) * angle).sin() * one + (shares * angle).sin() * other) / angle.sin()).float()


def still(network: Any, conditions: Tensor, noise: Tensor) -> Tensor:
    """Pictures (n, 3, side, side), uint8, that differ only in what is given: (n, condition), (n, noise).

    A generator with conditioning augmentation draws noise of its own, here the same for all of them.
    """
    seed = int(torch.randint(2**31, ()))
    found = []
    for condition, z in zip(conditions.split(1), noise.split(1), strict=True):
        torch.manual_seed(seed)
        found.append(make(network, condition, z))
    return torch.cat(found)


def _nearest(
    folder: Path,
    network: Any,
    encoder: TextEncoder,
    source: Source,
    conditional: bool,
    side: int,
    rng: np.random.Generator,
) -> None:
    """Samples and real held-out pictures of the same captions, each beside the training picture nearest to it."""
    held_out, train = source.held_out, source.train
    chosen = rng.permutation(len(held_out))[:COMPARED]
    captions = [held_out.captions[i] for i in held_out.caption_ids[held_out.first[chosen]]]
    samples = make(network, embedded(encoder, captions, conditional))
    real = _at(held_out, chosen, side)
    compared = min(side, FINEST)
    per_number = 255 * (3 * compared**2) ** 0.5
    found = [nearest(_small(some, compared), _chunks(train, side, compared)) for some in (samples, real)]
    (of_samples, beside), (of_real, others) = ((at / per_number, rows) for at, rows in found)
    shown = min(NEIGHBOURS, len(chosen))
    columns = [samples, _at(train, beside[:shown].numpy(), side), real, _at(train, others[:shown].numpy(), side)]
    told = [
        f"{caption} (sample {of_samples[row]:.3f}, held-out picture {of_real[row]:.3f})"
        for row, caption in enumerate(captions[:shown])
    ]
    grid = torch.stack([column[:shown] for column in columns], dim=1).flatten(0, 1)
    save_grid(folder / "nearest", grid, len(columns), told)
    medians = {"nearest_train_sample": float(of_samples.median()), "nearest_train_held_out": float(of_real.median())}
    write_json(folder / "nearest.json", medians | {"pictures": len(chosen)})


def _at(data: Captioned, places: Ints, side: int) -> Tensor:
    return centred(data.pixels[torch.from_numpy(places)], side)


def _chunks(data: Captioned, side: int, compared: int) -> Iterator[Tensor]:
    for part in data.pixels.split(CHUNK):
        yield _small(centred(part, side), compared)


def _small(pixels: Tensor, side: int) -> Tensor:
    """Averaged down, so that large pictures take no longer and are not told apart by a shift of a pixel."""
    if pixels.shape[-1] == side:
        return pixels
    return F.interpolate(pixels.float(), (side, side), mode="area")
