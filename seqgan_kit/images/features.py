"""Networks that see: from pictures to feature vectors, which `metrics` compares.

Pictures are (batch, 3, height, width), uint8 or floats in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from seqgan_kit import progress
from seqgan_kit.algorithms.distances import Moments
from seqgan_kit.errors import UserError
from seqgan_kit.images.vision_models import WHERE, is_classifier, load_model, read_preprocessing
from seqgan_kit.networks.pictures.features import PictureFeatures, PictureFeaturesConfig
from seqgan_kit.samples import sent

CHUNK = 256  # pictures that are floats at a time
CPU = torch.device("cpu")
BATCH = 64  # pictures of an update of `learn`, and that a given model sees at a time


@dataclass(frozen=True)
class FeatureBatch:
    """vectors: (batch, d) float32. probabilities: (batch, classes) float32, or None without a classifier."""

    vectors: Tensor
    probabilities: Tensor | None


Features = Callable[[Tensor], FeatureBatch]
"""Of pixels (batch, 3, h, w), floats in [-1, 1], without a gradient, where the pixels are."""


class NetworkFeatures:
    """Those of a network that `learn` trained. `network.save_pretrained(folder)` keeps it, `load` reads it.

    Their distances order the models of one data set; they are comparable neither with another's nor with FID as papers
    give it, which is of Inception.
    """

    def __init__(self, network: PictureFeatures) -> None:
        self.network: Any = network.eval().requires_grad_(False)

    @staticmethod
    def load(folder: str | Path) -> NetworkFeatures:
        model, _ = load_model(folder)
        if not isinstance(model, PictureFeatures):
            raise UserError(f"{folder} holds a {model.config.model_type} model, not features learned here")
        return NetworkFeatures(model)

    @torch.no_grad()
    def __call__(self, pixels: Tensor) -> FeatureBatch:
        vectors, logits = self.network.to(pixels.device)(pixels.float())
        return FeatureBatch(vectors, logits.softmax(1) if self.network.config.single else None)


def learn(
    pixels: Tensor,
    targets: Tensor,
    steps: int,
    seed: int,
    width: int = 32,
    dimensions: int = 128,
    device: torch.device = CPU,
) -> PictureFeatures:
    """A network that tells the labels of pictures, trained on the device; its last hidden layer is features.

    pixels: (n, 3, s, s) uint8. targets: (n, m), each 0 or 1, as which words the picture's captions contain. Where every
    row has exactly one 1, of two or more, they are classes and the loss is their cross-entropy, so that the output is
    a distribution; otherwise it is the binary cross-entropy of each label. Adam, 64 pictures drawn for each step, none
    flipped: a caption may say where something is. Deterministic in the seed; the global generators stay as they are.
    """
    targets = targets.float()
    single = targets.shape[1] > 1 and bool((targets.sum(1) == 1).all())
    config = PictureFeaturesConfig(pixels.shape[-1], width, dimensions, targets.shape[1], single)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the GPUs too
        network: Any = PictureFeatures(config)
    network.to(device)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(seed)
    for _ in progress.bar(range(steps), "learning features", unit=" steps"):
        rows = torch.randint(len(pixels), (BATCH,), generator=generator)
        _, logits = network(as_floats(sent(pixels[rows], device)))
        right = sent(targets[rows], device)
        loss = F.cross_entropy(logits, right) if single else F.binary_cross_entropy_with_logits(logits, right)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network.eval()


class HuggingFaceFeatures:
    """Those of any vision model of transformers, from a folder: its pooled output, else the mean over its tokens.

    A CLIP model gives the vectors that it compares with captions, a model for image classification probabilities too.
    Pictures are resized, cropped and normalised as the folder's preprocessor_config.json says, but resized as floats.

    Args:
        path: folder with config.json, model.safetensors and preprocessor_config.json.
        batch: pictures at a time.

    Raises UserError for a folder without such a model.
    """

    def __init__(self, path: str | Path, batch: int = BATCH) -> None:
        folder, self.batch = Path(path), batch
        self.model, self.pooled = load_model(folder)
        if "image" not in self.model.input_modalities or isinstance(self.model, PictureFeatures):
            raise UserError(f"{folder} holds a {self.model.config.model_type} model, which sees no pictures: {WHERE}")
        self.preprocessing = read_preprocessing(folder)
        self.classifies = is_classifier(self.model.config)
        # the part that makes vectors; a few classifiers have none of the name that the class gives
        base = self.model.base_model
        self.backbone = base if base is not self.model else getattr(self.model, "vision_model", base)
        if self.classifies and self.backbone is self.model:
            raise UserError(f"{folder}: what a {self.model.config.model_type} classifier sees is unknown: {WHERE}")

    @torch.no_grad()
    def __call__(self, pixels: Tensor) -> FeatureBatch:
        self.model.to(pixels.device)
        return _joined([self._seen(self.preprocessing(part)) for part in pixels.split(self.batch)])

    def _seen(self, values: Tensor) -> FeatureBatch:
        if not self.classifies:
            see = getattr(self.model, "get_image_features", self.model)
            return FeatureBatch(self._vectors(see(pixel_values=values)), None)
        kept: list[Any] = []
        hook = self.backbone.register_forward_hook(lambda module, inputs, output: kept.append(output))
        try:
            logits = self.model(pixel_values=values).logits
        finally:
            hook.remove()
        return FeatureBatch(self._vectors(kept[0]), logits.float().softmax(1))

    def _vectors(self, output: Any) -> Tensor:
        if isinstance(output, Tensor):
            return output.float()
        pooled = getattr(output, "pooler_output", None)
        if self.pooled and pooled is not None:
            return pooled.flatten(1).float()
        hidden = output.last_hidden_state  # tokens, or a grid with channels first
        return (hidden.mean((2, 3)) if hidden.ndim == 4 else hidden.mean(1)).float()


def extract(features: Features, pictures: Tensor, device: torch.device = CPU) -> tuple[Moments, FeatureBatch]:
    """Features of pictures (n, 3, h, w), uint8 or floats in [-1, 1], seen on the device, and on the CPU their moments.

    CHUNK at a time, so that no more of them than that are ever floats.
    """
    moments, seen = Moments(), []
    for part in pictures.split(CHUNK):
        found = features(as_floats(sent(part, device)))
        chances = found.probabilities
        seen.append(FeatureBatch(found.vectors.cpu(), None if chances is None else chances.cpu()))
        moments.add(seen[-1].vectors)
    return moments, _joined(seen)


def _joined(parts: Sequence[FeatureBatch]) -> FeatureBatch:
    probabilities = [part.probabilities for part in parts if part.probabilities is not None]
    return FeatureBatch(
        torch.cat([part.vectors for part in parts]), torch.cat(probabilities) if probabilities else None
    )


def as_floats(pixels: Tensor) -> Tensor:
    """uint8 -> [-1, 1]; floats stay as they are."""
    if pixels.dtype == torch.uint8:
        return pixels.float() / 127.5 - 1
    if not pixels.is_floating_point():
        raise ValueError(f"pixels are {pixels.dtype}: give uint8, or floats in [-1, 1]")
    return pixels.float()
