"""Networks that see: from pictures to feature vectors, which `metrics` compares, and to CLIP scores.

Pictures are (batch, 3, height, width), uint8 or floats in [-1, 1]. Weights are read from folders on this machine, from
safetensors alone; nothing is downloaded.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForImageClassification,
    AutoTokenizer,
    CLIPModel,
    PreTrainedModel,
)

from seqgan_kit.algorithms.distances import Moments
from seqgan_kit.errors import UserError, one_line
from seqgan_kit.networks.pictures.features import PictureFeatures, PictureFeaturesConfig

CHUNK = 256  # pictures that are floats at a time
BATCH = 64  # rows of an update of `learn`
MODES = {0: "nearest-exact", 2: "bilinear", 3: "bicubic"}  # by Pillow's numbers
WHERE = "give a folder that save_pretrained made"


@dataclass(frozen=True)
class Seen:
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
    def __call__(self, pixels: Tensor) -> Seen:
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

    def __call__(self, pixels: Tensor) -> Seen:
        raise ValueError("these features are not learned yet: call what prepare(pixels, targets, seed) returns")

    def prepare(self, pixels: Tensor, targets: Tensor, seed: int) -> NetworkFeatures:
        return NetworkFeatures(learn(pixels, targets, self.steps, seed, self.width, self.dimensions))


class NetworkFeatures(Features):
    """Those of a network that `learn` trained. `network.save_pretrained(folder)` keeps it, `load` reads it."""

    def __init__(self, network: PictureFeatures) -> None:
        self.network = network.eval().requires_grad_(False)

    @staticmethod
    def load(folder: str | Path) -> NetworkFeatures:
        model, _ = _load(Path(folder))
        if not isinstance(model, PictureFeatures):
            raise UserError(f"{folder} holds a {model.config.model_type} model, not features learned here")
        return NetworkFeatures(model)

    @property
    def name(self) -> str:
        return _learned_name(self.network.config.steps)

    @torch.no_grad()
    def __call__(self, pixels: Tensor) -> Seen:
        _move(self.network, pixels.device)
        vectors, logits = self.network(pixels.float())
        return Seen(vectors, logits.softmax(1) if self.network.config.single else None)


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
    _move(network, pixels.device)
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

    def __call__(self, pixels: Tensor) -> Seen:
        seen = [self._model(part) for part in pixels.split(self.batch)]
        probabilities = [one.probabilities for one in seen if one.probabilities is not None]
        return Seen(torch.cat([one.vectors for one in seen]), torch.cat(probabilities) if probabilities else None)

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
        self.model, self.pooled = _load(folder)
        if "image" not in self.model.input_modalities or isinstance(self.model, PictureFeatures):
            raise UserError(f"{folder} holds a {self.model.config.model_type} model, which sees no pictures: {WHERE}")
        self.preprocessing = read_preprocessing(folder)
        self.classifies = _is_classifier(self.model.config)
        # a few classifiers have no part of the name that the class gives
        base = self.model.base_model
        self.backbone = base if base is not self.model else getattr(self.model, "vision_model", base)
        if self.classifies and self.backbone is self.model:
            raise UserError(f"{folder}: what a {self.model.config.model_type} classifier sees is unknown: {WHERE}")

    @torch.no_grad()
    def __call__(self, pixels: Tensor) -> Seen:
        values = self.preprocessing(pixels)
        _move(self.model, pixels.device)
        if not self.classifies:
            return Seen(self._vectors(self._see(values)), None)
        kept: list[Any] = []
        hook = self.backbone.register_forward_hook(lambda module, inputs, output: kept.append(output))
        try:
            logits = self.model(pixel_values=values).logits
        finally:
            hook.remove()
        return Seen(self._vectors(kept[0]), logits.float().softmax(1))

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
class Preprocessing:
    """From pixels to what a model was trained on, as the image processors of transformers make it with Pillow.

    size: (height, width), or the shorter side, or None to leave it. crop: (height, width) cut out of the centre.
    mode: of torch's `interpolate`. scale, offset: of values 0 to 255. mean, deviation: one a channel.
    reverse: channels to blue, green, red.
    """

    size: tuple[int, int] | int | None
    crop: tuple[int, int] | None
    mode: str
    scale: float
    offset: float
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    reverse: bool

    def __call__(self, pixels: Tensor) -> Tensor:
        """(batch, 3, h, w) in [-1, 1] -> (batch, 3, h', w')."""
        values = self._resized((pixels.float() + 1) * 127.5)
        if self.crop is not None:
            (height, width), (high, wide) = self.crop, values.shape[2:]
            top, left = (high - height) // 2, (wide - width) // 2
            # padding by less than nothing crops
            values = F.pad(values, (-left, left + width - wide, -top, top + height - high))
        values = values * self.scale + self.offset
        mean, deviation = (values.new_tensor(each).view(-1, 1, 1) for each in (self.mean, self.deviation))
        values = (values - mean) / deviation
        return values.flip(1) if self.reverse else values

    def _resized(self, values: Tensor) -> Tensor:
        height, width = values.shape[2:]
        if self.size is None:
            return values
        if isinstance(self.size, int):
            least = min(height, width)
            size = int(self.size * height / least), int(self.size * width / least)
        else:
            size = self.size
        if size == (height, width):
            return values
        # bicubic overshoots, which pixels can't
        smooth = self.mode != "nearest-exact"
        return F.interpolate(values, size, mode=self.mode, antialias=smooth).clamp(0, 255)


def read_preprocessing(folder: Path) -> Preprocessing:
    """What the folder's preprocessor_config.json, or processor_config.json, says. UserError where it is not usable."""
    path = folder / "preprocessor_config.json"
    if not path.is_file() and (folder / "processor_config.json").is_file():
        path = folder / "processor_config.json"
    try:
        content = json.loads(path.read_text("utf-8"))
        given = content.get("image_processor", content)
        return _preprocessing(given)
    except FileNotFoundError:
        raise UserError(f"{folder} has no preprocessor_config.json: save the model's image processor there") from None
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(f"{path} cannot be used ({one_line(error)}): save the model's image processor again") from None


def _preprocessing(given: dict[str, Any]) -> Preprocessing:
    size: tuple[int, int] | int | None = None
    crop = _sides(given["crop_size"], True) if given.get("do_center_crop", False) else None
    if given.get("do_resize", True):
        size = _sides(given["size"], given.get("default_to_square", True))
        share = given.get("crop_pct")
        if share is not None and isinstance(size, int):  # as ConvNeXT: large pictures are not cropped
            crop = (size, size)
            size = int(size / share) if size < 384 else crop
    if isinstance(crop, int):
        raise ValueError("crop_size has no height and width")
    resample = int(given.get("resample", 2))
    if resample not in MODES:
        raise ValueError(f"resample {resample} is none of {', '.join(map(str, MODES))}")
    normalise = given.get("do_normalize", True)
    mean, deviation = given["image_mean"] if normalise else [0] * 3, given["image_std"] if normalise else [1] * 3
    if len(mean) != 3 or len(deviation) != 3 or 0 in deviation:
        raise ValueError("image_mean and image_std are not of three channels")
    return Preprocessing(
        size=size,
        crop=crop,
        mode=MODES[resample],
        scale=float(given.get("rescale_factor", 1 / 255)) if given.get("do_rescale", True) else 1.0,
        offset=-1.0 if given.get("rescale_offset", False) else 0.0,
        mean=tuple(map(float, mean)),
        deviation=tuple(map(float, deviation)),
        reverse=bool(given.get("do_flip_channel_order", False)),
    )


def _sides(size: Any, square: bool) -> tuple[int, int] | int:
    """(height, width), or the shorter side. Old files hold one number, and `default_to_square` says which it is."""
    if isinstance(size, int):
        return (size, size) if square else size
    if set(size) == {"shortest_edge"}:
        return int(size["shortest_edge"])
    if set(size) == {"height", "width"}:
        return int(size["height"]), int(size["width"])
    raise ValueError(f"size has {', '.join(size)}, not height and width, or shortest_edge")


def clip_scores(path: str) -> ClipScores:
    """The CLIP model of a folder, which also has its tokenizer and preprocessor_config.json. UserError otherwise."""
    return ClipScores(Path(path))


class ClipScores:
    """How well pictures fit captions, by a CLIP model (Hessel et al. 2021, eq. 1), scaled by 100 rather than 2.5.

    The paper's prompt "A photo depicts" is left to the caller. What a caption has beyond the model's length is cut off.
    """

    def __init__(self, folder: Path) -> None:
        model, _ = _load(folder)
        if not isinstance(model, CLIPModel):
            raise UserError(
                f"{folder} holds a {model.config.model_type} model, but only clip has a CLIP score: {WHERE}"
            )
        self.model, self.folder = model, folder
        self.preprocessing = read_preprocessing(folder)
        if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json")):
            # transformers would make an empty one
            raise UserError(f"{folder} has no tokenizer.json and no vocab.json: save the model's tokenizer there")
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except Exception as error:  # as many kinds as there are tokenizers
            raise UserError(f"{folder} has no tokenizer that loads ({one_line(error)}): save it there") from None
        text: Any = model.config.text_config
        entries = text.vocab_size
        if len(self.tokenizer) > entries:
            raise UserError(f"{folder}: the tokenizer has {len(self.tokenizer)} entries, the model {entries}: {WHERE}")
        if self.tokenizer.pad_token is None:
            raise UserError(
                f"{folder}: the tokenizer has no pad_token: set it, as CLIP's to its eos_token, and save it"
            )

    @property
    def name(self) -> str:
        return f"CLIP score of {self.folder.resolve().name}"

    def __call__(self, pixels: Tensor, captions: Sequence[str]) -> Tensor:
        """max(100 cos, 0) of each picture and its caption, (batch,). pixels: (batch, 3, h, w) in [-1, 1]."""
        if len(pixels) != len(captions):
            raise ValueError(f"{len(pixels)} pictures and {len(captions)} captions: give pairs")
        pictures = self.pictures(pixels)
        return (100 * (pictures * self.captions(captions).to(pictures.device)).sum(1)).clamp_min(0)

    @torch.no_grad()
    def pictures(self, pixels: Tensor) -> Tensor:
        """Unit vectors, (batch, d)."""
        _move(self.model, pixels.device)
        model: Any = self.model
        return _unit(model.get_image_features(pixel_values=self.preprocessing(pixels)))

    @torch.no_grad()
    def captions(self, captions: Sequence[str]) -> Tensor:
        """Unit vectors, (batch, d), where the model is."""
        model: Any = self.model
        longest = model.config.text_config.max_position_embeddings
        words = self.tokenizer(list(captions), padding=True, truncation=True, max_length=longest, return_tensors="pt")
        ids, mask = words["input_ids"].to(model.device), words["attention_mask"].to(model.device)
        return _unit(model.get_text_features(input_ids=ids, attention_mask=mask))


def _unit(output: Any) -> Tensor:
    return F.normalize((output if isinstance(output, Tensor) else output.pooler_output).float(), dim=1)


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


def _move(network: nn.Module, device: torch.device) -> None:
    network.to(device)


def _is_classifier(config: Any) -> bool:
    return any(name.endswith("ForImageClassification") for name in config.architectures or [])


def _load(folder: Path) -> tuple[PreTrainedModel, bool]:
    """The model, and whether its pooled output is learned: some folders have no weights for it.

    Raises UserError for anything but a whole model.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: {WHERE}; nothing is downloaded")
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} has no config.json: {WHERE}")
    how: Any = {"local_files_only": True, "trust_remote_code": False}
    try:
        config = AutoConfig.from_pretrained(folder, **how)
        kind: Any = AutoModelForImageClassification if _is_classifier(config) else AutoModel
        model, found = kind.from_pretrained(
            folder, config=config, dtype=torch.float32, use_safetensors=True, output_loading_info=True, **how
        )
    except (OSError, ValueError, LookupError, RuntimeError, ImportError, SafetensorError) as error:
        raise UserError(f"{folder} cannot be loaded ({one_line(error)}): {WHERE}") from None
    missing = sorted(found["missing_keys"])
    if others := [key for key in missing if "pooler." not in key]:
        raise UserError(f"{folder} has no weights for {others[0]} and {len(missing) - 1} others: {WHERE}")
    return model.eval().requires_grad_(False), not missing
