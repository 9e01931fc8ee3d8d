"""Captioned pictures in memory, and the batches that a game is played on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from seqgan_kit.engine.stream import Order
from seqgan_kit.errors import UserError
from seqgan_kit.samples import Images, sent

Ints = NDArray[np.int64]
POOL = 512  # captions that near ones are taken from
TRIES = 100  # to find a caption that does not fit, before all are taken to fit


@dataclass(frozen=True)
class Captioned:
    """Pictures with one or more captions each.

    pixels: (pictures, 3, side, side) uint8, which may lie on disk.
    captions: (captions), all different.
    first: (pictures + 1,); picture i has the captions caption_ids[first[i] : first[i + 1]].
    caption_ids: (pairs,), rows of `captions`.
    labels: (pictures,), a class of each, if mismatched captions shall be of another class.
    holds: (picture, caption) -> whether any caption is true of a picture, where that is known; else its own ones are.
    """

    pixels: Tensor
    captions: Sequence[str]
    first: Ints
    caption_ids: Ints
    labels: Ints | None = None
    holds: Callable[[int, int], bool] | None = None
    _alike: Ints = field(init=False)  # (captions,), the first one that differs from each in capitals and blanks alone
    _keys: Ints = field(init=False)  # of the pairs that fit: picture * captions + caption
    _classes: Ints | None = field(init=False)  # the same of classes, which have the captions of all their pictures

    def __post_init__(self) -> None:
        owner = np.repeat(np.arange(len(self.pixels)), np.diff(self.first))
        firsts: dict[str, int] = {}
        folded = (" ".join(caption.casefold().split()) for caption in self.captions)
        alike = np.array([firsts.setdefault(caption, i) for i, caption in enumerate(folded)], dtype=np.int64)
        fitting = alike[self.caption_ids]
        classes = None if self.labels is None else np.sort(self.labels[owner] * len(self.captions) + fitting)
        object.__setattr__(self, "_alike", alike)
        object.__setattr__(self, "_keys", np.sort(owner * len(self.captions) + fitting))
        object.__setattr__(self, "_classes", classes)

    def __len__(self) -> int:
        return len(self.pixels)

    def given(self) -> list[int]:
        """How many pictures have each caption."""
        counts: list[int] = np.bincount(self.caption_ids, minlength=len(self.captions)).tolist()
        return counts

    def draw(self, pictures: Ints, rng: np.random.Generator) -> Ints:
        """A caption of each picture: (n,) -> (n,)."""
        counts = self.first[pictures + 1] - self.first[pictures]
        return self.caption_ids[self.first[pictures] + rng.integers(0, counts)]

    def draw_wrong(self, pictures: Ints, rng: np.random.Generator) -> Ints:
        """A caption of another picture for each that does not fit it: (n,) -> (n,). Raises UserError if all fit."""
        found = np.full(len(pictures), -1)
        left = np.arange(len(pictures))
        for _ in range(TRIES):
            pairs = rng.integers(0, len(self.caption_ids), len(left))
            captions = self.caption_ids[pairs]
            fit = self._fit(pictures[left], captions)
            found[left[~fit]] = captions[~fit]
            left = left[fit]
            if not len(left):
                return found
        picture = pictures[left[0]]
        own = self.captions[self.caption_ids[self.first[picture]]]
        raise UserError(
            f"no caption was found that does not fit the picture of {own[:60]!r}: all pictures seem to have the same "
            "captions or class; give --discriminator.mismatched 0"
        )

    def first_wrong(self, pictures: Ints, order: Ints, count: int, rng: np.random.Generator) -> list[Ints]:
        """The first `count` captions in each row of `order`, (n, captions), that do not fit; else any, `draw_wrong`."""
        found = np.full((count, len(pictures)), -1)
        have = np.zeros(len(pictures), dtype=int)
        for captions in order.T:
            left = np.flatnonzero(have < count)
            if not len(left):
                break
            wrong = left[~self._fit(pictures[left], captions[left])]
            found[have[wrong], wrong] = captions[wrong]
            have[wrong] += 1
        for row in found:
            if (row < 0).any():
                row[row < 0] = self.draw_wrong(pictures[row < 0], rng)
        return list(found)

    def _fit(self, pictures: Ints, captions: Ints) -> NDArray[np.bool_]:
        alike = self._alike[captions]
        if self.holds is not None:
            fit = np.array([self.holds(int(i), int(j)) for i, j in zip(pictures, captions, strict=True)], dtype=bool)
        else:
            fit = _among(self._keys, pictures * len(self.captions) + alike)
        if self._classes is not None and self.labels is not None:
            fit |= _among(self._classes, self.labels[pictures] * len(self.captions) + alike)
        return fit


def _among(known: Ints, keys: Ints) -> NDArray[np.bool_]:
    """Which of the keys are known, (n,); `known` is sorted."""
    return known[np.searchsorted(known, keys).clip(max=len(known) - 1)] == keys


def captioned(
    pixels: Tensor,
    captions: Sequence[Sequence[str]],
    labels: Sequence[str] | None = None,
    holds: Callable[[int, str], bool] | None = None,
) -> Captioned:
    """From captions by picture. labels: classes, where mismatched captions shall be of another one."""
    known = {caption: i for i, caption in enumerate(dict.fromkeys(c for some in captions for c in some))}
    words = list(known)
    first = np.cumsum([0, *map(len, captions)])
    caption_ids = np.array([known[caption] for some in captions for caption in some], dtype=np.int64)
    classes = None if labels is None else np.unique(np.array(labels, dtype=str), return_inverse=True)[1]
    told = None if holds is None else lambda i, j: holds(i, words[j])
    return Captioned(pixels, words, first, caption_ids, classes, told)


class PictureBatches:
    """Batches of pictures, each with an embedding of a caption of its own and some of captions that do not fit.

    What is random depends only on the seed and the position of `order`, and is drawn for all processes at once.

    Args:
        data: pictures and captions.
        embeddings: (captions, dim), of `data.captions`: float32, or what an encoder in training reads.
        side: of the pictures that are given, at most that of `data`.
        seed, rank, processes, device: as of `Order`.
        name: of the data, in messages.
        flip: mirror half of the pictures.
        wrong: how many captions that do not fit are given with each picture, `Images.wrong`.
        near: of these, how many are near to the picture's own by the cosine of their embeddings, the nearest of POOL.
        averaged: how many captions' embeddings are averaged (4 in Reed et al.'s code).
    """

    def __init__(
        self,
        data: Captioned,
        embeddings: Tensor,
        side: int,
        seed: int,
        rank: int = 0,
        processes: int = 1,
        device: torch.device | str = "cpu",
        *,
        name: str = "the data",
        flip: bool = False,
        wrong: int = 1,
        near: int = 0,
        averaged: int = 1,
    ) -> None:
        self.data, self.embeddings, self.side = data, embeddings, side
        self.flip, self.wrong, self.near, self.averaged = flip, wrong, near, averaged
        self.device = torch.device(device)
        self.order = Order(len(data), seed, rank, processes, name, "pictures")

    def take(self, batch_size: int) -> Images:
        """(batch / processes) pictures."""
        rng = np.random.default_rng([self.order.seed, self.order.position])
        index = self.order.take(batch_size).numpy()
        own = [self.data.draw(index, rng) for _ in range(self.averaged)]
        wrong = [self.data.draw_wrong(index, rng) for _ in range(self.wrong - self.near)]
        places = rng.integers(0, self.data.pixels.shape[-1] - self.side + 1, (2, len(index)))
        mirrored = rng.random(len(index)) < 0.5 if self.flip else np.zeros(len(index), dtype=bool)
        mine = self.order.mine
        pixels = sent(self.data.pixels[torch.from_numpy(index[mine])], self.device)
        pixels = cut(pixels, self.side, places[:, mine], mirrored[mine])
        embedded = [self.embeddings[torch.from_numpy(captions)] for captions in own]
        condition = embedded[0] if len(embedded) == 1 else torch.stack(embedded).mean(0)
        if self.near:
            wrong += self._nearest(index, condition, rng)
        unfit = [self.embeddings[torch.from_numpy(captions[mine])] for captions in wrong]
        return Images(
            unit(pixels),
            sent(condition[mine], self.device),
            sent(torch.stack(unfit, dim=1), self.device) if unfit else None,  # type: ignore[arg-type]
        )

    def _nearest(self, pictures: Ints, condition: Tensor, rng: np.random.Generator) -> list[Ints]:
        """`near` captions of each picture that do not fit it but are near to its own: a list of (n,)."""
        data = self.data
        pool = np.unique(data.caption_ids[rng.integers(0, len(data.caption_ids), POOL)])
        likeness = F.normalize(condition, dim=1) @ F.normalize(self.embeddings[torch.from_numpy(pool)], dim=1).T
        order = pool[likeness.argsort(dim=1, descending=True).numpy()]
        return data.first_wrong(pictures, order, self.near, rng)


def cut(pixels: Tensor, side: int, places: Ints, mirrored: NDArray[np.bool_]) -> Tensor:
    """(batch, 3, larger, larger) -> (batch, 3, side, side) from the places (2, batch), some of them mirrored; where
    the pixels are."""
    if pixels.shape[-1] == side and not mirrored.any():
        return pixels
    steps = np.arange(side)
    across = np.where(mirrored[:, None], steps[::-1], steps)
    indices = places[0][:, None] + steps, places[1][:, None] + across
    rows, columns = (sent(torch.from_numpy(index), pixels.device) for index in indices)
    batch, channel = (torch.arange(count, device=pixels.device) for count in (len(pixels), 3))
    return pixels[batch[:, None, None, None], channel[:, None, None], rows[:, None, :, None], columns[:, None, None, :]]


def unit(pixels: Tensor) -> Tensor:
    """uint8 -> float32 in [-1, 1], laid out as convolutions read it fastest."""
    return pixels.contiguous(memory_format=torch.channels_last).float().div_(127.5).sub_(1)


def shrunk(data: Captioned, side: int) -> Captioned:
    """The same captions with pictures averaged down to a side."""
    if data.pixels.shape[-1] == side:
        return data
    parts = [F.interpolate(part.float(), (side, side), mode="area") for part in data.pixels.split(256)]
    return replace(data, pixels=torch.cat([part.round().to(torch.uint8) for part in parts]))


def centred(pixels: Tensor, side: int) -> Tensor:
    """The middle of pictures, (batch, 3, larger, larger) -> (batch, 3, side, side)."""
    start = (pixels.shape[-1] - side) // 2
    return pixels[:, :, start : start + side, start : start + side]
