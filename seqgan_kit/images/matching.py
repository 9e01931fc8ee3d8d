"""Whether pictures fit their captions: R-precision (Xu et al. 2018), by a matcher of captions and pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from seqgan_kit import progress
from seqgan_kit.errors import UserError
from seqgan_kit.files import replacing
from seqgan_kit.images import metrics
from seqgan_kit.images.caption_encoders import Joint, TextEncoder, Words
from seqgan_kit.images.data import Captioned, centred, unit
from seqgan_kit.networks.pictures.joint_embedding import contrastive
from seqgan_kit.networks.pictures.matcher import PictureMatcher, PictureMatcherConfig
from seqgan_kit.networks.saved import load_frozen
from seqgan_kit.samples import sent

OTHERS = 99  # captions beside a picture's own, for R-precision
BATCH, TEMPERATURE = 64, 0.1  # of what is learned here
CPU = torch.device("cpu")
LEAST = 2  # different captions of training


class Matcher(Protocol):
    """Captions and pictures (batch, 3, side, side) in [-1, 1] -> vectors of one space, without a gradient."""

    def embed_text(self, captions: list[str]) -> Tensor: ...
    def embed_pictures(self, pixels: Tensor) -> Tensor: ...


class LearnedMatcher:
    """A `PictureMatcher` that counts words and pairs of neighbouring words, and so sees the order of words."""

    def __init__(self, network: PictureMatcher, words: Words) -> None:
        self.network: Any = network.eval().requires_grad_(False)
        self.words = words

    @torch.no_grad()
    def embed_text(self, captions: list[str]) -> Tensor:
        return self.network.read(sent(self.words.encode(captions), self.network.device))

    @torch.no_grad()
    def embed_pictures(self, pixels: Tensor) -> Tensor:
        device = self.network.device
        return torch.cat([self.network.see(sent(part, device)) for part in pixels.split(4 * BATCH)])

    def save(self, folder: Path) -> None:
        """Whole or not at all."""
        with replacing(folder) as unfinished:
            self.network.save_pretrained(unfinished)
            self.words.save(unfinished)

    @staticmethod
    def load(folder: Path, device: torch.device = CPU) -> LearnedMatcher:
        """What `save` wrote. Raises UserError for anything else."""
        network, missing = load_frozen(PictureMatcher, folder)
        if missing:
            raise UserError(f"{folder} lacks the matcher's weights {missing[0]}: delete it, and evaluate again")
        return LearnedMatcher(network.to(device), Words.load(folder))


def learn_matcher(data: Captioned, steps: int, seed: int, device: torch.device = CPU) -> LearnedMatcher:
    """One that finds the caption of a picture among those of a batch (Radford et al. 2021), trained on the device.

    Adam, 64 pictures drawn for each step, each with a caption of its own. Deterministic in the seed; the global
    generators stay as they are. Raises UserError where no word is in two captions.
    """
    words = Words(list(data.captions), "pairs", given=data.given())
    counts = words.encode(list(data.captions))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        network: Any = PictureMatcher(PictureMatcherConfig(words.dim, data.pixels.shape[-1])).train()
    network.to(device)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    rng = np.random.default_rng([seed, 4])
    for _ in progress.bar(range(steps), "learning to match captions", unit=" steps"):
        pictures = rng.integers(0, len(data), BATCH)
        captions = data.draw(pictures, rng)
        same = torch.from_numpy((pictures[:, None] == pictures) | (captions[:, None] == captions))
        some = data.pixels[torch.from_numpy(pictures)], counts[torch.from_numpy(captions)], same
        pixels, words_of, same = (sent(tensor, device) for tensor in some)
        seen, told = network(unit(pixels), words_of)
        loss = contrastive(seen, told, same, TEMPERATURE)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return LearnedMatcher(network, words)


def matcher_of(
    asked: str | None,
    encoder: TextEncoder,
    pictures: Callable[[], Captioned],
    side: int,
    steps: int,
    seed: int,
    folder: Path,
    say: Callable[[str], object],
    device: torch.device = CPU,
) -> Matcher | None:
    """As the option `evaluation.matcher` says; what is learned is kept in `folder`, and read from it again. But for the
    run's own encoder, it is on the device.

    encoder: of the run's captions. pictures, side: what to learn from, cut to that side.
    """
    own = getattr(encoder, "encoder", encoder)
    if asked == "none":
        return None
    if asked in (None, "auto") and isinstance(own, Joint):
        return own.model
    if asked is None:
        return None
    if asked not in ("auto", "learned"):
        return Joint(asked, device).model
    if (folder / "config.json").is_file():
        return LearnedMatcher.load(folder, device)
    data = pictures()
    if len(data.captions) < LEAST:
        say(f"R-precision is left out: training has fewer than {LEAST} different captions")
        return None
    say(
        f"learning to match captions and pictures of {side} pixels, {steps} steps: R-precision is whether pictures fit "
        "their captions to this network's eye, which the column of real pictures shows the limits of"
    )
    cut = Captioned(centred(data.pixels, side), data.captions, data.first, data.caption_ids)
    try:
        found = learn_matcher(cut, steps, seed, device)
    except UserError as error:
        say(f"R-precision is left out: {error}")
        return None
    found.save(folder)
    return found


@torch.no_grad()
def matches(network: Matcher, pixels: Tensor, captions: list[str], data: Captioned, seed: int) -> float:
    """R-precision: share of pictures nearer to their own caption than to 99 others drawn from `data`.

    pixels: (n, 3, side, side) in [-1, 1]. captions: those that they shall show.
    """
    generator = torch.Generator().manual_seed(seed)
    known = {caption: i for i, caption in enumerate(data.captions)}
    of_data = network.embed_text(list(data.captions)).cpu()
    own = torch.tensor([known.get(caption, -1) for caption in captions])
    count = min(OTHERS, len(of_data) - 1)
    others = torch.rand(len(captions), len(of_data), generator=generator)
    others[torch.arange(len(own))[own >= 0], own[own >= 0]] = 2.0  # never its own
    index = others.argsort(1)[:, :count]
    pictures, told = network.embed_pictures(pixels).cpu(), network.embed_text(captions).cpu()
    return metrics.r_precision(pictures, told, of_data[index])


def one_caption(held_out: Captioned) -> list[str]:
    """That R-precision of what is held out is left out, where there is no other caption to choose."""
    if len(held_out.captions) > 1:
        return []
    return [
        "left out: r_precision of real pictures, for all that are held out have one caption: "
        f"{held_out.captions[0]!r} (--data.held_out)"
    ]


def real_pictures(data: Captioned, side: int, count: int) -> tuple[Tensor, list[str]]:
    """The first `count` pictures, floats in [-1, 1], each with its first caption."""
    some = slice(0, min(count, len(data)))
    captions = [data.captions[j] for j in data.caption_ids[data.first[:-1][some]]]
    return unit(centred(data.pixels[some], side)), captions
