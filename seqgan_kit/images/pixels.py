"""Picture files as one array of pixels, decoded by several threads and kept in a file.

Pillow decodes and scales without Python's lock, so that threads work at the same time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import sys
import warnings
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import PIL
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor
from tqdm import tqdm

from seqgan_kit.errors import UserError, one_line
from seqgan_kit.files import replacing
from seqgan_kit.images.folders import Box, Record

Pixels = NDArray[np.uint8]

VERSION = 1  # of the cache: raise it when the same files give other pixels
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")  # no parser of anything rarer is ever run
LARGEST = 64_000_000  # pixels of a picture
CHUNK = 16  # pictures that a thread does in one go


def decode(records: Sequence[Record], side: int, workers: int | None = None, cache: str | Path | None = None) -> Tensor:
    """The pictures as a uint8 tensor (pictures, 3, side, side), RGB, in the order of the records.

    Of each the middle square, scaled to `side` by bicubic interpolation with antialiasing, which is Pillow's and the
    one that evaluation should have too (Parmar et al. 2022); of one with a box, the square around the box as StackGAN
    cuts it (Zhang et al. 2017). What is side x side already stays as it is. Transparency is on white, animations give
    their first frame, EXIF orientation is followed.

    workers: threads; None takes some more than there are cores.
    cache: folder for the result, in which the name of the file stands for the side, the boxes, and the pictures by
        name, size and time. It is mapped into memory, so that the next call takes no time; changes of the tensor don't
        reach the file. Nothing there is ever removed.

    Raises UserError where a file is missing, damaged, no picture or one of over 64 megapixels, naming the first such.
    """
    if side < 1 or (workers is not None and workers < 1):
        what = f"side {side}" if side < 1 else f"--data.workers {workers}"
        raise UserError(f"pictures can't be decoded with {what}: give 1 or more")
    states = [_state(record.path) for record in records]
    shape = (len(records), 3, side, side)
    with contextlib.closing(_decoded(records, side, workers)) as decoded:
        if not cache or not records:
            pixels = np.empty(shape, np.uint8)
            for start, some in decoded:
                pixels[start : start + len(some)] = some
            return torch.from_numpy(pixels)
        path = Path(cache) / f"pictures-{_key(records, states, side)}.npy"
        try:
            kept = _kept(path, shape)
            if kept is None:
                _keep(path, shape, decoded)
                kept = _kept(path, shape)
        except OSError as error:
            reason = error.strerror or error
            raise UserError(f"{path} can't be kept ({reason}): make room there or give another --data.cache") from None
    assert kept is not None
    return torch.from_numpy(kept)


def _state(path: Path) -> os.stat_result:
    try:
        state = os.stat(path)
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}): put the picture there or remove it") from None
    if not stat.S_ISREG(state.st_mode):  # reading a pipe would wait for ever
        raise UserError(f"{path} is no file: put the picture there or remove it")
    return state


def _decoded(records: Sequence[Record], side: int, workers: int | None) -> Generator[tuple[int, Pixels], None, None]:
    """Where the next pictures start, and the pictures, in order."""
    work = [(str(record.path), record.box) for record in records]
    chunks = [work[start : start + CHUNK] for start in range(0, len(work), CHUNK)]
    problems: list[str] = []
    pause = 0.1 if sys.stderr.isatty() else 10.0
    bar = tqdm(total=len(work), desc="decoding", unit=" pictures", delay=2, mininterval=pause, dynamic_ncols=True)
    pool = ThreadPoolExecutor(workers)
    with bar, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow, on odd metadata
        try:
            for chunk, (pixels, bad) in enumerate(pool.map(partial(_pictures, side=side), chunks)):
                problems += bad
                if not problems:
                    yield chunk * CHUNK, pixels
                bar.update(len(pixels))
        finally:
            pool.shutdown(cancel_futures=True)
    if problems:
        more = f" ({len(problems) - 1} more can't be decoded)" if len(problems) > 1 else ""
        raise UserError(f"{problems[0]}{more}: replace the picture or remove it")


# The cache


def _key(records: Sequence[Record], states: Sequence[os.stat_result], side: int) -> str:
    """Names are relative to what they have in common, so that a folder can be moved."""
    paths = [os.path.abspath(record.path) for record in records]
    common = len(os.path.commonpath([os.path.dirname(path) for path in paths]))
    pictures = [
        [path[common:], state.st_size, state.st_mtime_ns, record.box]
        for path, state, record in zip(paths, states, records, strict=True)
    ]
    return hashlib.sha256(json.dumps([VERSION, PIL.__version__, side, pictures]).encode()).hexdigest()


def _kept(path: Path, shape: tuple[int, ...]) -> Pixels | None:
    """Mapped into memory, copied where it is written to; None unless it is whole."""
    try:
        kept = np.load(path, mmap_mode="c")
    except (FileNotFoundError, EOFError, ValueError):
        return None
    whole = kept.shape == shape and kept.dtype == np.uint8 and path.stat().st_size == kept.offset + kept.nbytes
    return kept if whole else None


def _keep(path: Path, shape: tuple[int, ...], decoded: Iterator[tuple[int, Pixels]]) -> None:
    """Whole or not at all, and without ever having all in memory."""
    with replacing(path) as unfinished, open(unfinished, "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for _, some in decoded:
            file.write(some.data)
        file.flush()
        os.fsync(file.fileno())


# One picture


def _pictures(work: Sequence[tuple[str, Box | None]], side: int) -> tuple[Pixels, list[str]]:
    """(pictures, 3, side, side), and what is wrong with those that can't be decoded."""
    pixels = np.zeros((len(work), 3, side, side), np.uint8)
    problems = []
    for place, (path, box) in enumerate(work):
        try:
            pixels[place] = _picture(path, box, side)
        except Image.DecompressionBombError:
            problems.append(f"{path} has more than {LARGEST:,} pixels")
        except Image.UnidentifiedImageError:
            problems.append(f"{path} is none of {', '.join(FORMATS)} or damaged")
        except Exception as error:  # for damaged files Pillow raises nearly anything
            problems.append(f"{path} can't be decoded ({one_line(error)})")
    return pixels, problems


def _picture(path: str, box: Box | None, side: int) -> Pixels:
    """(3, side, side). Raises nearly anything for files that are no good pictures."""
    if not os.path.getsize(path):
        raise ValueError("it is empty")
    with open(path, "rb") as file, Image.open(file, formats=FORMATS) as image:
        if image.width * image.height > LARGEST:  # known before anything is decoded
            raise Image.DecompressionBombError
        ImageOps.exif_transpose(image, in_place=True)
        region = (0, 0, *image.size) if box is None else _around(box, *image.size)
        # cut and scaled in one step: the whole of a picture that is long and thin could be very large
        scaled = _rgb(image).resize((side, side), Image.Resampling.BICUBIC, _middle(*region))
    return np.asarray(scaled).transpose(2, 0, 1)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return _from_deep(image)
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    if image.mode == "F":
        raise ValueError("numbers with a point have no agreed range: save it with 8 bits")
    return image.convert("RGB")


def _from_deep(image: Image.Image) -> Image.Image:
    """Greyscale of 16 bits, which Pillow would cut off at 255; "I" is what it reads some of it into."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError("numbers of 32 bits have no agreed range: save it with 8 bits")
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
