"""What a generator's pictures are worth: on held-out captions, beside real pictures and beside chance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqgan_kit.algorithms import distances
from seqgan_kit.algorithms.distances import Moments
from seqgan_kit.engine.learning import Metrics
from seqgan_kit.engine.verdict import Score, score_of
from seqgan_kit.files import replacing
from seqgan_kit.images import metrics
from seqgan_kit.images.caption_encoders import TextEncoder, Words, embed
from seqgan_kit.images.clip import ClipScores
from seqgan_kit.images.config import EvaluationConfig, ImagesConfig
from seqgan_kit.images.data import Captioned, Ints, centred, shrunk
from seqgan_kit.images.features import (
    CPU,
    FeatureBatch,
    Features,
    HuggingFaceFeatures,
    NetworkFeatures,
    as_floats,
    extract,
    learn,
)
from seqgan_kit.images.grids import to_bytes
from seqgan_kit.images.joint_distance import JOINT, LEAST, joint_distance
from seqgan_kit.images.matching import OTHERS, Matcher, matcher_of, matches
from seqgan_kit.images.sources import Source
from seqgan_kit.report.metrics import INTERVAL, SHOWN
from seqgan_kit.samples import sent
from seqgan_kit.worlds.pictures import caption_scores

CHUNK = 100  # pictures made at a time
WORDS = 64  # that the learned features tell pictures by
NEIGHBOURS, SPLITS, KERNEL = 3, 10, 50  # of precision and recall; of the inception score; pictures of a kernel distance
GROUPS, EACH = 16, 4  # captions, and pictures of each, that diversity is measured on


@torch.no_grad()
def make(generator: Any, conditions: Tensor, noise: Tensor | None = None) -> Tensor:
    """A picture of each caption's embedding, uint8 (captions, 3, side, side), each independent of the others.

    noise: (captions, dim); unset draws it.
    """
    was = generator.training
    generator.eval()  # else a picture would depend on its batch
    if noise is None:
        noise = torch.randn(len(conditions), generator.config.noise)
    device = next(generator.parameters()).device
    parts = zip(noise.split(CHUNK), conditions.split(CHUNK), strict=True)
    made = torch.cat([to_bytes(generator(sent(z, device), sent(c, device))[0]) for z, c in parts])
    generator.train(was)
    return made


class CaptionSample:
    """Captions to make pictures of, and the real pictures that they belong to."""

    def __init__(self, data: Captioned, count: int, seed: int) -> None:
        rng = np.random.default_rng([seed, 3])
        pictures = np.concatenate([rng.permutation(len(data)) for _ in range(-(-count // len(data)))])[:count]
        self.pictures: Ints = pictures
        self.captions = [data.captions[i] for i in data.draw(pictures, rng)]
        self.wrong = [self.captions[(i + 1) % len(pictures)] for i in range(len(pictures))]


class PictureEvaluation:
    """The metrics of the run in `folder`, for pictures of this side, which may be those of its first stage.

    What they need of the real pictures is computed once. say: told what takes a while. device: of the networks that
    look at pictures.
    """

    def __init__(
        self,
        config: ImagesConfig,
        source: Source,
        encoder: TextEncoder,
        side: int,
        folder: Path,
        say: Callable[[str], object] = print,
        device: torch.device = CPU,
    ) -> None:
        self.device = device
        asked = config.evaluation
        self.side, self.seed, self.matched = side, asked.seed, config.data.side
        whole = source
        source = self.source = source.at(config.data.kept(side))
        kept = folder / f"features-{side}"
        if asked.features == "learned" and not kept.is_dir():
            say(
                f"learning features of pictures of {side} pixels, {asked.feature_steps} steps, for the distances "
                "between real and made ones"
            )
        self.features = features_of(asked.features, asked.feature_steps, source.train, side, asked.seed, kept, device)
        smaller = lambda: shrunk(whole.train, config.data.kept(self.matched))  # noqa: E731
        self.matcher = matcher_of(
            asked.matcher, encoder, smaller, self.matched, asked.matcher_steps, asked.seed, folder / "matcher", say,
            device,
        )  # fmt: skip
        self.clip = ClipScores(asked.clip) if asked.clip else None
        self._last: Score | None = None  # the joint distance that was found last
        parts = {"": source.held_out} | ({"unseen_": source.unseen} if source.unseen is not None else {})
        self.samples = {
            name: CaptionSample(data, min(asked.samples, len(data.caption_ids)), asked.seed)
            for name, data in parts.items()
        }
        self.conditions = {
            name: embedded(encoder, sample.captions, config.text.conditional) for name, sample in self.samples.items()
        }

    def __call__(self, generator: nn.Module) -> tuple[Metrics, Tensor]:
        """Metrics, and the pictures of the held-out captions, uint8."""
        made = {name: make(generator, conditions) for name, conditions in self.conditions.items()}
        found = self.scores(made[""], self.samples[""].captions)
        if self.source.shapes and "unseen_" in made:
            scores = caption_scores(self.samples["unseen_"].captions, made["unseen_"])
            found |= {f"unseen_{name}": value for name, value in scores.items()}
        first = self.conditions[""][:GROUPS].repeat_interleave(EACH, 0)
        again = make(generator, first).flatten(1).float() / 255
        found["diversity"] = metrics.diversity(again, torch.arange(len(again)) // EACH) / again.shape[1] ** 0.5
        return found, made[""]

    def scores(self, pictures: Tensor, captions: Sequence[str]) -> Metrics:
        """Of pictures that shall show these captions."""
        found: Metrics = {}
        if self.source.shapes:
            found |= caption_scores(captions, pictures)
        floats = as_floats(pictures)
        if self.matcher is not None:
            found["r_precision"] = self._matched(self.matcher, floats, captions)
        if self.clip is not None:
            found["clip_score"] = float(self.clip(sent(floats, self.device), captions).mean())
        if self.features is not None:
            found |= self._distances(self.features, pictures[: len(self.source.train)], captions)
        return found

    def score(self, generator: nn.Module, name: str, found: Metrics | None = None) -> Score:
        """One of the metrics, with its error. found: what a call has just found, else as many pictures are made."""
        if name != JOINT:
            return score_of(self(generator)[0] if found is None else found, name)
        if found is None:
            assert self.features is not None
            made, captions = make(generator, self.conditions[""]), self.samples[""].captions
            count = len(self.source.train)
            self._joint_distance(extract(self.features, made[:count], self.device)[1].vectors, captions[:count])
        assert self._last is not None
        return self._last

    def _joint_distance(self, vectors: Tensor, captions: Sequence[str]) -> Score:
        held_out, told = self.pairs
        self._last = joint_distance(vectors, self._told(captions[: len(vectors)]), held_out, told)
        return self._last

    def _told(self, captions: Sequence[str]) -> Tensor:
        """What captions say, as unit vectors of their words and pairs of words less the mean of training."""
        return F.normalize(self.words.encode(list(captions)) - self.middle, dim=1)

    @cached_property
    def words(self) -> Words:
        return Words(list(self.source.train.captions), "pairs", least=1)

    @cached_property
    def middle(self) -> Tensor:
        return self.words.encode(list(self.source.train.captions)).mean(0)

    @cached_property
    def pairs(self) -> tuple[Tensor, Tensor]:
        """Features of the held-out pictures, and what a caption of each says."""
        data = self.source.held_out
        drawn = data.draw(np.arange(len(data)), np.random.default_rng([self.seed, 5]))
        return self.real[1].vectors, self._told([data.captions[i] for i in drawn])

    def _matched(self, matcher: Matcher, pixels: Tensor, captions: Sequence[str]) -> float:
        seen = pixels if self.matched == self.side else F.interpolate(pixels, (self.matched,) * 2, mode="area")
        return matches(matcher, seen, list(captions), self.source.train, self.seed)

    def _distances(self, features: Features, pictures: Tensor, captions: Sequence[str]) -> Metrics:
        """From the held-out pictures; those that so few pictures have are left out. How many there are is told."""
        (real_moments, real), (moments, fake) = self.real, extract(features, pictures, self.device)
        counts = len(real.vectors), len(fake.vectors)
        found: Metrics = {"pictures": counts[1], "held_out_pictures": counts[0]}
        if min(counts) >= LEAST:
            score = self._joint_distance(fake.vectors, captions)
            found |= {JOINT: score.value, JOINT + INTERVAL: score.interval}
        if min(counts) >= 2:
            found["frechet_distance"] = distances.frechet_distance(real_moments, moments)
        if min(counts) > NEIGHBOURS:
            found["precision"], found["recall"] = metrics.precision_and_recall(real.vectors, fake.vectors, NEIGHBOURS)
        if min(counts) >= KERNEL:
            value, interval = distances.kernel_distance_interval(real.vectors, fake.vectors)
            found |= {"kernel_distance": value, "kernel_distance_interval": interval}
        if fake.probabilities is not None and counts[1] >= SPLITS:
            found["inception_score"] = metrics.inception_score(fake.probabilities, SPLITS)[0]
        return found

    @cached_property
    def real(self) -> tuple[Moments, FeatureBatch]:
        """Features of the held-out pictures."""
        assert self.features is not None
        return extract(self.features, centred(self.source.held_out.pixels, self.side), self.device)

    def enlarged(self, generator: nn.Module) -> Metrics:
        """Scores of another generator's smaller pictures, enlarged by bilinear interpolation."""
        small = make(generator, self.conditions[""]).float()
        pictures = F.interpolate(small, size=(self.side, self.side), mode="bilinear", align_corners=False)
        return self.scores(pictures.round().clamp(0, 255).to(torch.uint8), self.samples[""].captions)

    def baselines(self) -> dict[str, Metrics]:
        """What other real pictures score, with the captions that are theirs and with those of the next picture."""
        train = self.source.train
        asked = CaptionSample(train, min(len(self.samples[""].captions), len(train)), self.seed)
        real = centred(train.pixels[torch.from_numpy(asked.pictures)], self.side)
        chance = {name: value for name, value in self.scores(real, asked.wrong).items() if name not in OF_PICTURES}
        scores = self.scores(real, asked.captions)
        if self.matcher is not None:
            chance["r_precision"] = 1 / (1 + min(OTHERS, len(train.captions) - 1))
            # what matches was learned from pictures of training, so these would flatter it
            held_out = self.samples[""]
            pixels = centred(self.source.held_out.pixels[torch.from_numpy(held_out.pictures)], self.side)
            scores["r_precision"] = self._matched(self.matcher, as_floats(pixels), held_out.captions)
        return {"real pictures": scores, "their captions shuffled": chance}


OF_PICTURES = (
    *("pictures", "held_out_pictures", "frechet_distance", "kernel_distance", "kernel_distance_interval"),
    *("precision", "recall", "inception_score"),
)
"""Metrics that do not look at captions."""


def names(asked: EvaluationConfig, source: Source) -> tuple[str, ...]:
    """The metrics that `PictureEvaluation.score` knows; first the one that `--evaluation.best auto` is."""
    found: list[str] = []
    if asked.features != "none":
        made = min(asked.samples, len(source.held_out.caption_ids), len(source.train))
        least = min(made, len(source.held_out))
        found += [JOINT] if least >= LEAST else []
        found += ["frechet_distance"] if least >= 2 else []
        found += ["kernel_distance"] if least >= KERNEL else []
        found += ["precision", "recall"] if least > NEIGHBOURS else []
    found += ["clip_score"] if asked.clip else []
    found += ["r_precision"] if asked.matcher not in ("auto", "none", None) else []
    return (*found, *(SHOWN if source.shapes else ()))


def too_few(asked: EvaluationConfig, source: Source) -> list[str]:
    """What is left out of the evaluation for want of pictures, in lines."""
    held_out = source.held_out
    made = min(asked.samples, len(held_out.caption_ids), len(source.train))
    least = min(made, len(held_out))
    needs = {"kernel_distance": KERNEL, "precision and recall": NEIGHBOURS + 1, "frechet_distance": 2}
    left = [name for name, need in needs.items() if least < need]
    if asked.features == "none" or not left:
        return []
    return [f"left out: {', '.join(left)}, for which {made} pictures and {len(held_out)} held-out ones are too few"]


def embedded(encoder: TextEncoder, captions: Sequence[str], conditional: bool) -> Tensor:
    """(captions, dim); zeros where pictures are made without captions."""
    vectors = embed(encoder, captions)
    return vectors if conditional else torch.zeros_like(vectors)


def features_of(
    kind: str, steps: int, data: Captioned, side: int, seed: int, folder: Path, device: torch.device = CPU
) -> Features | None:
    """As the option `evaluation.features` says; what is learned is kept in `folder`, and read from it again."""
    if kind == "none":
        return None
    if kind != "learned":
        return HuggingFaceFeatures(kind)
    if (folder / "config.json").is_file():
        return NetworkFeatures.load(folder)
    words = Words(list(data.captions), "none", least=1, most=WORDS)
    told = words.encode(list(data.captions)) > 0
    owner = torch.from_numpy(np.repeat(np.arange(len(data)), np.diff(data.first)))
    targets = torch.zeros(len(data), words.dim)
    targets.index_put_((owner,), told[torch.from_numpy(data.caption_ids)].float(), accumulate=True)
    network = learn(centred(data.pixels, side), (targets > 0).float(), steps, seed, device=device)
    with replacing(folder) as unfinished:
        network.save_pretrained(unfinished)
    return NetworkFeatures(network)
