"""Vision models of Hugging Face, from folders on this machine, and how pictures are made ready for them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn import functional as F
from transformers import AutoModel, AutoModelForImageClassification

from seqgan_kit.errors import UserError, one_line
from seqgan_kit.files import parsed, read_bytes
from seqgan_kit.networks.saved import load_frozen, model_folder, read_config

MODES = {0: "nearest-exact", 2: "bilinear", 3: "bicubic"}  # by Pillow's numbers
WHERE = "give a folder that save_pretrained made"


def load_model(path: str | Path) -> tuple[Any, bool]:
    """The model, and whether its pooled output is learned: some folders have no weights for it.

    Raises UserError for anything but a whole model.
    """
    folder = model_folder(path)
    kind = AutoModelForImageClassification if is_classifier(read_config(folder)) else AutoModel
    model, missing = load_frozen(kind, folder)
    if others := [key for key in missing if "pooler." not in key]:
        raise UserError(f"{folder} has no weights for {others[0]} and {len(missing) - 1} others: {WHERE}")
    return model, not missing


def is_classifier(config: Any) -> bool:
    return any(name.endswith("ForImageClassification") for name in config.architectures or [])


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
        content = parsed(read_bytes(path))
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
