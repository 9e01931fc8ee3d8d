"""Picture files as one array of pixels, decoded by several threads and kept in a file.

Pillow decodes and scales without Python's lock, so that threads work at the same time.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import stat
import sys
import warnings
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor
from tqdm import tqdm

from seqgan_kit.errors import UserError, one_line
from seqgan_kit.files import replacing
from seqgan_kit.images.records import Box, Record

Pixels = NDArray[np.uint8]

VERSION = 2  # of the cache: raise it when the same files give other pixels
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")  # no parser of anything rarer is ever run
LARGEST = 64_000_000  # pixels of a picture
ORIENTATION = 0x0112  # EXIF's number of it
DARK = 4096  # of 16 bits: cameras and scanners write 12 of them, which are nearly black then
GREYS = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L")
STRETCHED = {("L", "L;2"): (4, 85), ("L", "L;4"): (16, 17)}  # grey levels of few bits, and what makes 255 of the last
CHUNK = 16  # pictures that a thread does in one go


@dataclass
class Decoded:
    """pixels: uint8 (pictures, 3, side, side); 0 where a picture is bad. bad: its place -> what is wrong with it.

    seen: how many pictures were enlarged, cut, ..., the bad ones not counted.
    """

    pixels: Tensor
    bad: dict[int, str] = field(default_factory=dict)
    seen: Counter[str] = field(default_factory=Counter)


def decode(records: Sequence[Record], side: int, workers: int | None = None, cache: str | Path | None = None) -> Tensor:
    """The pictures as a uint8 tensor (pictures, 3, side, side), as of `decoded`, which must all be good."""
    return decoded(records, side, workers, cache).pixels


def decoded(
    records: Sequence[Record],
    side: int,
    workers: int | None = None,
    cache: str | Path | None = None,
    drop: bool = False,
) -> Decoded:
    """The pictures, RGB, in the order of the records, and what was found of them.

    Of each the middle square, scaled to `side` by bicubic interpolation with antialiasing, which is Pillow's and the
    one that evaluation should have too (Parmar et al. 2022); of one with a box, the square around the box as StackGAN
    cuts it (Zhang et al. 2017). What is side x side already stays as it is. Transparency is on white, animations give
    their first frame, EXIF orientation is followed.

    workers: threads; None takes some more than there are cores.
    cache: folder for the result, in which the name of the file stands for the side, the boxes, and the pictures by
        name, size and time. It is mapped into memory, so that the next call takes no time; changes of the tensor don't
        reach the file. Nothing there is ever removed.
    drop: bad pictures are told; else the first such is raised.

    Raises UserError where a file is missing, damaged, no picture or one of over 64 megapixels, naming the first such.
    """
    if side < 1 or (workers is not None and workers < 1):
        what = f"side {side}" if side < 1 else f"--data.workers {workers}"
        raise UserError(f"pictures can't be decoded with {what}: give 1 or more")
    states = [_state(record) for record in records]
    found = Decoded(torch.empty(0))
    shape = (len(records), 3, side, side)
    with contextlib.closing(_decoded(records, side, workers, drop, found)) as parts:
        if not cache or not records:
            pixels = np.empty(shape, np.uint8)
            for start, some in parts:
                pixels[start : start + len(some)] = some
            found.pixels = torch.from_numpy(pixels)
            return found
        path = Path(cache) / f"pictures-{_key(records, states, side)}.npy"
        try:
            kept = _kept(path, shape, found)
            if kept is None:
                _keep(path, shape, parts, found)
                kept = _kept(path, shape, found)
        except OSError as error:
            reason = error.strerror or error
            raise UserError(f"{path} can't be kept ({reason}): make room there or give another --data.cache") from None
    assert kept is not None
    _check(found, drop)
    found.pixels = torch.from_numpy(kept)
    return found


def _check(found: Decoded, drop: bool) -> None:
    if found.bad and not drop:
        more = f" ({len(found.bad) - 1} more can't be decoded)" if len(found.bad) > 1 else ""
        raise UserError(f"{next(iter(found.bad.values()))}{more}: replace the picture or remove it")


def _state(record: Record) -> list[object]:
    """What the pixels of a picture's file depend on."""
    if record.content is not None:
        return [hashlib.sha256(record.content).hexdigest()]
    path = record.path
    try:
        state = os.stat(path)
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}): put the picture there or remove it") from None
    if not stat.S_ISREG(state.st_mode):  # reading a pipe would wait for ever
        raise UserError(f"{path} is no file: put the picture there or remove it")
    return [state.st_size, state.st_mtime_ns]


def _decoded(
    records: Sequence[Record], side: int, workers: int | None, drop: bool, found: Decoded
) -> Generator[tuple[int, Pixels], None, None]:
    """Where the next pictures start, and the pictures, in order; what is found goes to `found`."""
    chunks = [records[start : start + CHUNK] for start in range(0, len(records), CHUNK)]
    pause = 0.1 if sys.stderr.isatty() else 10.0
    bar = tqdm(total=len(records), desc="decoding", unit=" pictures", delay=2, mininterval=pause, dynamic_ncols=True)
    pool = ThreadPoolExecutor(workers)
    with bar, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow, on odd metadata
        try:
            for chunk, (pixels, bad, seen) in enumerate(pool.map(partial(_pictures, side=side), chunks)):
                found.bad |= {chunk * CHUNK + place: why for place, why in bad.items()}
                found.seen += seen
                yield chunk * CHUNK, pixels
                bar.update(len(pixels))
        finally:
            pool.shutdown(cancel_futures=True)
    _check(found, drop)


# The cache


def _key(records: Sequence[Record], states: Sequence[list[object]], side: int) -> str:
    """Names are relative to what they have in common, so that a folder can be moved."""
    paths = [os.path.abspath(record.path) for record in records]
    common = len(os.path.commonpath([os.path.dirname(path) for path in paths]))
    pictures = [[path[common:], *state, record.box] for path, state, record in zip(paths, states, records, strict=True)]
    return hashlib.sha256(json.dumps([VERSION, PIL.__version__, side, pictures]).encode()).hexdigest()


def _kept(path: Path, shape: tuple[int, ...], found: Decoded) -> Pixels | None:
    """Mapped into memory, copied where it is written to; None unless it is whole. What was found goes to `found`."""
    try:
        kept = np.load(path, mmap_mode="c")
        with open(path, "rb") as file:
            file.seek(kept.offset + kept.nbytes)
            told = json.loads(file.read())  # after the pixels
        bad, seen = {int(place): str(why) for place, why in told["bad"].items()}, Counter(told["seen"])
    except (FileNotFoundError, EOFError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if kept.shape != shape or kept.dtype != np.uint8:
        return None
    found.bad, found.seen = bad, seen
    return kept


def _keep(path: Path, shape: tuple[int, ...], parts: Iterator[tuple[int, Pixels]], found: Decoded) -> None:
    """Whole or not at all, and without ever having all in memory."""
    with replacing(path) as unfinished, open(unfinished, "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for _, some in parts:
            file.write(some.data)
        file.write(json.dumps({"bad": found.bad, "seen": found.seen}).encode())
        file.flush()
        os.fsync(file.fileno())


# One picture


def _pictures(records: Sequence[Record], side: int) -> tuple[Pixels, dict[int, str], Counter[str]]:
    """(pictures, 3, side, side), what is wrong with those that can't be decoded, and what was seen of the others."""
    pixels = np.zeros((len(records), 3, side, side), np.uint8)
    bad: dict[int, str] = {}
    seen: Counter[str] = Counter()
    for place, record in enumerate(records):
        path = record.path
        try:
            pixels[place], told = _picture(record, side)
            seen.update(told)
        except Image.DecompressionBombError:
            bad[place] = f"{path} has more than {LARGEST:,} pixels"
        except Image.UnidentifiedImageError:
            bad[place] = f"{path} is none of {', '.join(FORMATS)} or damaged"
        except Exception as error:  # for damaged files Pillow raises nearly anything
            bad[place] = f"{path} can't be decoded ({one_line(error)})"
    return pixels, bad, seen


def _picture(record: Record, side: int) -> tuple[Pixels, list[str]]:
    """(3, side, side), and what was seen of it. Raises nearly anything for files that are no good pictures."""
    content = record.content
    if not (os.path.getsize(record.path) if content is None else content):
        raise ValueError("it is empty")
    with (
        open(record.path, "rb") if content is None else io.BytesIO(content) as file,
        Image.open(file, formats=FORMATS) as image,
    ):
        if image.width * image.height > LARGEST:  # known before anything is decoded
            raise Image.DecompressionBombError
        seen = ["animated: first frame"] if getattr(image, "is_animated", False) else []
        _mend_transparency(image, file)
        sides = image.size
        turned = image.getexif().get(ORIENTATION, 1) != 1
        ImageOps.exif_transpose(image, in_place=True)
        region = (0, 0, *image.size) if record.box is None else _around(record.box, *image.size)
        square = _middle(*region)
        # cut and scaled in one step: the whole of a picture that is long and thin could be very large
        rgb = _rgb(image, seen)
        scaled = rgb.resize((side, side), Image.Resampling.BICUBIC, square)
    facts = {
        "turned by EXIF": turned,
        "enlarged": square[2] - square[0] < side,
        "cut to a square": sides[0] != sides[1] or record.box is not None,
    }
    return np.asarray(scaled).transpose(2, 0, 1), [*seen, *(fact for fact, true in facts.items() if true)]


def _mend_transparency(image: Any, file: Any) -> None:
    """What PNG says of one transparent value, which Pillow 13 compares with pixels of another depth than it has.

    Of 16-bit colours it keeps the upper bytes, and compares them with the lower ones of the value; grey levels of 2 and
    4 bits it stretches to 8, but not the value.
    """
    given = image.info.get("transparency")
    if image.format != "PNG" or given is None or not image.tile:
        return
    tile = image.tile[0]
    if (image.mode, tile.args) in STRETCHED:
        levels, stretch = STRETCHED[image.mode, tile.args]
        image.info["transparency"] = given % levels * stretch
    elif tile.args == "RGB;16B":
        upper = np.asarray(image).astype(np.int64)
        with Image.open(file, formats=["PNG"]) as again:
            again.tile = [part._replace(args="RGB;16L") for part in again.tile]
            values = upper * 256 + np.asarray(again)
        clear = (values == np.array(image.info.pop("transparency"))).all(2)
        image.putalpha(Image.fromarray(np.where(clear, 0, 255).astype(np.uint8)))


def _rgb(image: Image.Image, seen: list[str]) -> Image.Image:
    """What is seen of it is added to `seen`."""
    if image.mode in GREYS:
        seen.append("grey")
    if image.mode.startswith("I"):
        return _from_deep(image, seen)
    if image.has_transparency_data:
        clear = image.convert("RGBA")
        if np.asarray(clear)[..., 3].min() < 255:
            seen.append("transparent: put on white")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), clear).convert("RGB")
    if image.mode == "F":
        raise ValueError("numbers with a point have no agreed range: save it with 8 bits")
    if image.mode == "CMYK":
        seen.append("CMYK: made RGB")
    return image.convert("RGB")


def _from_deep(image: Image.Image, seen: list[str]) -> Image.Image:
    """Greyscale of 16 bits, which Pillow would cut off at 255; "I" is what it reads some of it into."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError("numbers of 32 bits have no agreed range: save it with 8 bits")
    if values.max() < DARK:
        seen.append(f"of 16 bits without a number of {DARK} or more: DARK")
    transparent = values == image.info.get("transparency", -1)
    return Image.fromarray(np.where(transparent, 255, (values + 128) // 257).astype(np.uint8)).convert("RGB")


def _around(box: Box, width: int, height: int) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the square whose half side is 0.75 of the box's longer side, cut off at the edges
    of the picture, as in StackGAN's preprocessing.
    """
    half = max(1, int(max(box[2:]) * 0.75))
    across, down = int(box[0] + box[2] / 2), int(box[1] + box[3] / 2)
    region = max(0, across - half), max(0, down - half), min(width, across + half), min(height, down + half)
    if region[0] >= region[2] or region[1] >= region[3]:
        raise ValueError(f"its box {box} is outside the picture, {width} x {height}")
    return region


def _middle(left: int, top: int, right: int, bottom: int) -> tuple[float, float, float, float]:
    """The largest square in the middle."""
    short = min(right - left, bottom - top)
    across, down = (left + right - short) / 2, (top + bottom - short) / 2
    return across, down, across + short, down + short
