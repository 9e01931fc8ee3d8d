"""Networks that see: from pictures to feature vectors, which `metrics` compares.

Pictures are (batch, 3, height, width), uint8 or floats in [-1, 1].
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from seqgan_kit.algorithms.distances import Moments
from seqgan_kit.errors import UserError
from seqgan_kit.images.vision_models import WHERE, is_classifier, load_model, move, read_preprocessing
from seqgan_kit.networks.pictures.features import PictureFeatures, PictureFeaturesConfig

CHUNK = 256  # pictures that are floats at a time
BATCH = 64  # rows of an update of `learn`


@dataclass(frozen=True)
class FeatureBatch:
    """vectors: (batch, d) float32. probabilities: (batch, classes) float32, or None without a classifier."""

    vectors: Tensor
    probabilities: Tensor | None


class Features(ABC):
    """The slot: what makes features of pictures."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Says whose features they are; distances between features of unlike names can't be compared."""

    @abstractmethod
    def __call__(self, pixels: Tensor) -> FeatureBatch:
        """pixels: (batch, 3, h, w) floats in [-1, 1]. Works, without a gradient, where the pixels are."""

    def prepare(self, pixels: Tensor, targets: Tensor, seed: int) -> Features:
        """What can be called: itself, unless it has to learn from the data at hand first; see `learn`.

        Raises UserError for whatever cannot be loaded.
        """
        return self


@dataclass(frozen=True)
class LearnedFeatures(Features):
    """A small CNN, to be trained on the data at hand: `prepare` gives the features.

    Its distances order the models of one data set; they are comparable neither with another's nor with FID as papers
    give it, which is of Inception.

    Args:
        width: channels of the first layer.
        dimensions: of a feature vector.
        steps: updates, of 64 pictures each.
    """

    width: int = 32
    dimensions: int = 128
    steps: int = 600

    @property
    def name(self) -> str:
        return _learned_name(self.steps)

    def __call__(self, pixels: Tensor) -> FeatureBatch:
        raise ValueError("these features are not learned yet: call what prepare(pixels, targets, seed) returns")

    def prepare(self, pixels: Tensor, targets: Tensor, seed: int) -> NetworkFeatures:
        return NetworkFeatures(learn(pixels, targets, self.steps, seed, self.width, self.dimensions))


class NetworkFeatures(Features):
    """Those of a network that `learn` trained. `network.save_pretrained(folder)` keeps it, `load` reads it."""

    def __init__(self, network: PictureFeatures) -> None:
        self.network = network.eval().requires_grad_(False)

    @staticmethod
    def load(folder: str | Path) -> NetworkFeatures:
        model, _ = load_model(Path(folder))
        if not isinstance(model, PictureFeatures):
            raise UserError(f"{folder} holds a {model.config.model_type} model, not features learned here")
        return NetworkFeatures(model)

    @property
    def name(self) -> str:
        return _learned_name(self.network.config.steps)

    @torch.no_grad()
    def __call__(self, pixels: Tensor) -> FeatureBatch:
        move(self.network, pixels.device)
        vectors, logits = self.network(pixels.float())
        return FeatureBatch(vectors, logits.softmax(1) if self.network.config.single else None)


def _learned_name(steps: int) -> str:
    return f"a small CNN learned from this data in {steps} steps"


def learn(
    pixels: Tensor, targets: Tensor, steps: int, seed: int, width: int = 32, dimensions: int = 128, rate: float = 1e-3
) -> PictureFeatures:
    """A network that tells the labels of pictures, trained where the pixels are; its last hidden layer is features.

    pixels: (n, 3, s, s) uint8. targets: (n, m), each 0 or 1, as which words the picture's captions contain. Where every
    row has exactly one 1, of two or more, they are classes and the loss is their cross-entropy, so that the output is
    a distribution; otherwise it is the binary cross-entropy of each label. Adam, 64 pictures drawn for each step, none
    flipped: a caption may say where something is. Deterministic in the seed; the global generators stay as they are.
    """
    if pixels.dtype != torch.uint8 or pixels.ndim != 4 or pixels.shape[1] != 3 or pixels.shape[2] != pixels.shape[3]:
        raise ValueError(f"pixels are {pixels.dtype} of shape {tuple(pixels.shape)}: give uint8 (n, 3, side, side)")
    if targets.ndim != 2 or len(targets) != len(pixels) or targets.numel() == 0:
        raise ValueError(f"targets are {tuple(targets.shape)}: give ({len(pixels)}, m), n and m at least 1")
    if not bool(((targets == 0) | (targets == 1)).all()):
        raise ValueError("targets must be 0 or 1")
    targets = targets.to(pixels.device, torch.float32)
    single = targets.shape[1] > 1 and bool((targets.sum(1) == 1).all())
    config = PictureFeaturesConfig(pixels.shape[-1], width, dimensions, targets.shape[1], single, steps)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the GPUs too
        network = PictureFeatures(config)
    move(network, pixels.device)
    optimiser = torch.optim.Adam(network.parameters(), lr=rate)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        rows = torch.randint(len(pixels), (BATCH,), generator=generator).to(pixels.device)
        _, logits = network(as_floats(pixels[rows]))
        right = targets[rows]
        loss = F.cross_entropy(logits, right) if single else F.binary_cross_entropy_with_logits(logits, right)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network.eval()


@dataclass(frozen=True)
class HuggingFaceFeatures(Features):
    """Those of any vision model of transformers, from a folder: its pooled output, else the mean over its tokens.

    A CLIP model gives the vectors that it compares with captions, a model for image classification probabilities too.
    Pictures are resized, cropped and normalised as the folder's preprocessor_config.json says, but resized as floats.

    Args:
        path: folder with config.json, model.safetensors and preprocessor_config.json.
        batch: pictures at a time.
    """

    path: str
    batch: int = 64

    @property
    def name(self) -> str:
        return f"{Path(self.path).resolve().name} ({self._model.model.config.model_type})"

    def __call__(self, pixels: Tensor) -> FeatureBatch:
        seen = [self._model(part) for part in pixels.split(self.batch)]
        probabilities = [one.probabilities for one in seen if one.probabilities is not None]
        return FeatureBatch(
            torch.cat([one.vectors for one in seen]), torch.cat(probabilities) if probabilities else None
        )

    def prepare(self, pixels: Tensor, targets: Tensor, seed: int) -> Features:
        if self.batch < 1:
            raise UserError(f"{self.batch} pictures at a time: give a batch of at least 1")
        _ = self._model  # what is wrong with the folder is said before anything is trained
        return self

    @cached_property  # a run's configuration is built before anything is read
    def _model(self) -> _VisionModel:
        return _VisionModel(Path(self.path))


class _VisionModel:
    """A loaded model; `model` is all of it, `backbone` the part that makes vectors."""

    def __init__(self, folder: Path) -> None:
        self.model, self.pooled = load_model(folder)
        if "image" not in self.model.input_modalities or isinstance(self.model, PictureFeatures):
            raise UserError(f"{folder} holds a {self.model.config.model_type} model, which sees no pictures: {WHERE}")
        self.preprocessing = read_preprocessing(folder)
        self.classifies = is_classifier(self.model.config)
        # a few classifiers have no part of the name that the class gives
        base = self.model.base_model
        self.backbone = base if base is not self.model else getattr(self.model, "vision_model", base)
        if self.classifies and self.backbone is self.model:
            raise UserError(f"{folder}: what a {self.model.config.model_type} classifier sees is unknown: {WHERE}")

    @torch.no_grad()
    def __call__(self, pixels: Tensor) -> FeatureBatch:
        values = self.preprocessing(pixels)
        move(self.model, pixels.device)
        if not self.classifies:
            return FeatureBatch(self._vectors(self._see(values)), None)
        kept: list[Any] = []
        hook = self.backbone.register_forward_hook(lambda module, inputs, output: kept.append(output))
        try:
            logits = self.model(pixel_values=values).logits
        finally:
            hook.remove()
        return FeatureBatch(self._vectors(kept[0]), logits.float().softmax(1))

    def _see(self, values: Tensor) -> Any:
        joint: Any = getattr(self.model, "get_image_features", self.model)
        return joint(pixel_values=values)

    def _vectors(self, output: Any) -> Tensor:
        if isinstance(output, Tensor):
            return output.float()
        pooled = getattr(output, "pooler_output", None)
        if self.pooled and pooled is not None:
            return pooled.flatten(1).float()
        hidden = output.last_hidden_state  # tokens, or a grid with channels first
        return (hidden.mean((2, 3)) if hidden.ndim == 4 else hidden.mean(1)).float()


@dataclass(frozen=True)
class Extracted:
    """moments: of all vectors. vectors: (n, d) float32 and probabilities: (n, classes), on the CPU, where kept."""

    moments: Moments
    vectors: Tensor | None
    probabilities: Tensor | None


def extract(
    features: Features,
    pictures: Iterable[Tensor],
    keep: bool = False,
    chunk: int = CHUNK,
    device: torch.device | str = "cpu",
) -> Extracted:
    """Features of all pictures, `chunk` at a time, so that no more of them than that are ever floats.

    pictures: batches of any size, (batch, 3, h, w), uint8 or floats in [-1, 1]; a Tensor as a list of one.
    keep: the vectors and, where there are any, the probabilities too, not only the moments.
    """
    moments, vectors, probabilities = Moments(), [], []
    for batch in pictures:
        if batch.ndim != 4 or batch.shape[1] != 3:
            raise ValueError(f"a batch of pictures is {tuple(batch.shape)}: give (batch, 3, height, width)")
        for part in batch.split(chunk) if len(batch) else ():
            seen = features(as_floats(part.to(device)))
            moments.add(seen.vectors)
            if keep:
                vectors.append(seen.vectors.cpu())
                if seen.probabilities is not None:
                    probabilities.append(seen.probabilities.cpu())
    return Extracted(
        moments, torch.cat(vectors) if vectors else None, torch.cat(probabilities) if probabilities else None
    )


def as_floats(pixels: Tensor) -> Tensor:
    """uint8 -> [-1, 1]; floats stay as they are."""
    if pixels.dtype == torch.uint8:
        return pixels.float() / 127.5 - 1
    if not pixels.is_floating_point():
        raise ValueError(f"pixels are {pixels.dtype}: give uint8, or floats in [-1, 1]")
    return pixels.float()
