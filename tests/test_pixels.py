"""Picture files as pixels: what becomes of every kind, what is refused, workers and the cache."""

from __future__ import annotations

import hashlib
import os
import struct
import threading
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from seqgan_kit.errors import UserError
from seqgan_kit.images import pixels
from seqgan_kit.images.folders import read
from seqgan_kit.images.pixels import decode
from seqgan_kit.images.records import Box, Record

DATA = os.environ.get("SEQGAN_KIT_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="SEQGAN_KIT_DATA does not name the folder of real data")

Pixels = NDArray[np.uint8]


def record(path: Path, box: Box | None = None) -> Record:
    return Record(path, ("a picture",), None, None, box)


def noise(*shape: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def smooth(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(noise(4, 4, 3, seed=seed)).resize((width, height), Image.Resampling.BILINEAR)


def decoded(path: Path, side: int, box: Box | None = None) -> Pixels:
    """(side, side, 3) of one file."""
    pixels = decode([record(path, box)], side)
    assert pixels.dtype == torch.uint8
    assert pixels.shape == (1, 3, side, side)
    return np.asarray(pixels[0].permute(1, 2, 0))


def mistake(call: Callable[[], object]) -> str:
    """The one line that the user is told."""
    with pytest.raises(UserError) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


def decoded_or_told(path: Path, side: int) -> Pixels | str:
    try:
        return decoded(path, side)
    except UserError as error:
        return str(error)


# Kinds of pictures


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.bmp", "a.tiff", "a.ppm", "wrong.jpg"])
def test_a_picture_of_the_right_size_is_left_as_it_is(tmp_path: Path, name: str) -> None:
    """Bit for bit, in every lossless format, whatever the name says."""
    pixels = noise(8, 8, 3)
    lossless = {"lossless": True} if name.endswith("webp") else {}
    Image.fromarray(pixels).save(tmp_path / name, "PNG" if name == "wrong.jpg" else None, **lossless)
    np.testing.assert_array_equal(decoded(tmp_path / name, 8), pixels)


def test_jpeg(tmp_path: Path) -> None:
    """Near enough, as JPEG loses some."""
    smooth(16, 16).save(tmp_path / "a.jpg", quality=100, subsampling=0)
    difference = decoded(tmp_path / "a.jpg", 16).astype(int) - np.asarray(smooth(16, 16))
    assert np.abs(difference).max() <= 4


def test_greyscale_and_black_and_white(tmp_path: Path) -> None:
    """All three colours are the grey."""
    grey = noise(8, 8)
    Image.fromarray(grey).save(tmp_path / "l.png")
    Image.fromarray(grey > 127).save(tmp_path / "1.png")
    np.testing.assert_array_equal(decoded(tmp_path / "l.png", 8), np.stack([grey] * 3, -1))
    np.testing.assert_array_equal(decoded(tmp_path / "1.png", 8), np.stack([255 * (grey > 127)] * 3, -1))


@pytest.mark.parametrize("name", ["a.png", "little.tiff", "big.tiff", "a.pgm"])
def test_greyscale_of_16_bits(tmp_path: Path, name: str) -> None:
    """65535 is white: v / 257, and neither cut off at 255 nor wrapped."""
    values = np.arange(0, 65536, 1024, dtype=np.uint16).reshape(8, 8)
    values[-1, -1] = 65535
    path = tmp_path / name
    if name == "a.pgm":  # Pillow reads it as mode I
        path.write_bytes(b"P5 8 8 65535\n" + values.astype(">u2").tobytes())
    elif name == "big.tiff":
        Image.frombytes("I;16B", (8, 8), values.astype(">u2").tobytes()).save(path)
    else:
        Image.fromarray(values).save(path)
    np.testing.assert_array_equal(decoded(path, 8)[..., 0], np.rint(values / 257))
    assert decoded(path, 4).std() > 50


@pytest.mark.parametrize(("greatest", "dark"), [(4095, True), (4096, False), (65535, False)])
def test_12_of_16_bits_are_told_to_be_dark(tmp_path: Path, greatest: int, dark: bool) -> None:
    """They are not scaled up: what is black in some pictures would not be in others."""
    Image.fromarray(np.linspace(0, greatest, 64).round().astype(np.uint16).reshape(8, 8)).save(tmp_path / "a.png")
    found = pixels.decoded([Record(tmp_path / "a.png", ("a",), None, None)], 8)
    assert found.seen == {"grey": 1} | ({"of 16 bits without a number of 4096 or more: DARK": 1} if dark else {})
    assert found.pixels.max() == round(greatest / 257)


def test_transparency_of_16_bits(tmp_path: Path) -> None:
    """One grey can stand for nothing, and is white then."""
    values = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000
    Image.fromarray(values).save(tmp_path / "a.png", transparency=5000)
    want = np.rint(values / 257)
    want[0, 5] = 255
    np.testing.assert_array_equal(decoded(tmp_path / "a.png", 8)[..., 1], want)


# name: bits, kind of PNG, samples of a row, the transparent value, what must come out in red
TRANSPARENT_VALUES = {
    "colour of 16 bits, marked": (16, 2, [(1000, 1000, 1000), (1001, 1000, 1000)], (1000, 1000, 1000), [255, 3]),
    "colour of 16 bits, the low byte of another": (16, 2, [(0xE800,) * 3, (3,) * 3], (0x00E8,) * 3, [232, 0]),
    "the upper bytes alone": (16, 2, [(0x0301, 0, 0), (0x0300, 0, 0)], (0x0300, 0, 0), [3, 255]),
    "grey of 2 bits": (2, 0, [0, 1, 2, 3], (2,), [0, 85, 255, 255]),
    "grey of 2 bits, dark": (2, 0, [0, 1, 2, 3], (1,), [0, 255, 170, 255]),
    "grey of 4 bits": (4, 0, [0, 5, 6, 15], (6,), [0, 85, 255, 255]),
    "grey of 8 bits": (8, 0, [0, 5, 6, 250], (6,), [0, 5, 255, 250]),
    "black and white": (1, 0, [0, 1], (0,), [255, 255]),
}


@pytest.mark.parametrize("case", TRANSPARENT_VALUES)
def test_one_transparent_value(tmp_path: Path, case: str) -> None:
    """Compared with whole numbers of the picture's own depth, whatever Pillow keeps of them."""
    bits, kind, samples, transparent, wanted = TRANSPARENT_VALUES[case]
    size = len(samples)
    values = [value for sample in samples for value in (sample if isinstance(sample, tuple) else (sample,))]
    digits = "".join(f"{value:0{bits}b}" for value in values)
    row = b"\0" + int(digits.ljust(-(-len(digits) // 8) * 8, "0"), 2).to_bytes(-(-len(digits) // 8), "big")
    marked = struct.pack(f">{len(transparent)}H", *transparent)
    (tmp_path / "a.png").write_bytes(png(size, size, row * size, bits, kind, marked))
    found = decoded(tmp_path / "a.png", size)[..., 0]
    assert found.tolist() == [wanted] * size


def test_palette(tmp_path: Path) -> None:
    """The colours of the palette, not its numbers."""
    numbers, palette = noise(8, 8) % 4, noise(4, 3, seed=1)
    picture = Image.frombytes("P", (8, 8), numbers.tobytes())
    picture.putpalette(palette.tobytes())
    for name in ("a.png", "a.gif"):
        picture.save(tmp_path / name)
        np.testing.assert_array_equal(decoded(tmp_path / name, 8), palette[numbers])


def test_palette_with_transparency(tmp_path: Path) -> None:
    """Each entry has its own opacity, and the background is white; a GIF has one that is transparent."""
    numbers, palette, alpha = noise(8, 8) % 4, noise(4, 3, seed=1), bytes([0, 100, 200, 255])
    picture = Image.frombytes("P", (8, 8), numbers.tobytes())
    picture.putpalette(palette.tobytes())
    picture.save(tmp_path / "a.png", transparency=alpha)
    opacity = np.array(list(alpha))[numbers][..., None] / 255
    want = opacity * palette[numbers] + (1 - opacity) * 255
    np.testing.assert_allclose(decoded(tmp_path / "a.png", 8), want, atol=1)
    picture.save(tmp_path / "a.gif", transparency=2)
    np.testing.assert_array_equal(
        decoded(tmp_path / "a.gif", 8), np.where(numbers[..., None] == 2, 255, palette[numbers])
    )


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha(tmp_path: Path, mode: str) -> None:
    """Composited on white before it is made smaller, so that hidden colours don't show."""
    pixels = noise(8, 8, len(mode))
    Image.frombytes(mode, (8, 8), pixels.tobytes()).save(tmp_path / "a.png")
    opacity = pixels[..., -1:] / 255
    want = np.broadcast_to(opacity * pixels[..., :-1] + (1 - opacity) * 255, (8, 8, 3))
    np.testing.assert_allclose(decoded(tmp_path / "a.png", 8), want, atol=1)
    pixels[..., :-1], pixels[..., -1] = 0, 0
    Image.frombytes(mode, (8, 8), pixels.tobytes()).save(tmp_path / "a.png")
    assert decoded(tmp_path / "a.png", 4).min() == 255


def test_cmyk(tmp_path: Path) -> None:
    """A CMYK JPEG: paper is white, full cyan has no red, black is black."""
    for colour, want in {(0, 0, 0, 0): (255,) * 3, (255, 0, 0, 0): (0, 255, 255), (0, 0, 0, 255): (0,) * 3}.items():
        Image.new("CMYK", (8, 8), colour).save(tmp_path / "a.jpg", quality=100)
        np.testing.assert_allclose(decoded(tmp_path / "a.jpg", 8), np.broadcast_to(want, (8, 8, 3)), atol=3)


def test_the_first_frame(tmp_path: Path) -> None:
    """Of an animation."""
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=True)
    for name in ("a.gif", "a.webp"):
        np.testing.assert_array_equal(decoded(tmp_path / name, 8), np.broadcast_to((255, 0, 0), (8, 8, 3)))


UPRIGHT: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.transpose(1, 0, 2),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: x[::-1, ::-1].transpose(1, 0, 2),
    8: lambda x: np.rot90(x),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation(tmp_path: Path, orientation: int) -> None:
    """Where the camera was held otherwise, the picture is put upright."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(noise(8, 8, 3)).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(decoded(tmp_path / "a.png", 8), UPRIGHT[orientation](noise(8, 8, 3)))


# Size


def cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' kernel with a = -0.5."""
    x = np.abs(x)
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def scaling(size: int, start: float, end: float, side: int) -> NDArray[np.float64]:
    """(side, size): the weights that make `side` pixels of those from start to end; the kernel as wide as its step."""
    step = (end - start) / side
    centres = start + (np.arange(side) + 0.5) * step
    weights = cubic((np.arange(size) + 0.5 - centres[:, None]) / max(step, 1))
    return weights / weights.sum(1, keepdims=True)


@pytest.mark.parametrize(
    ("width", "height", "side"), [(40, 40, 10), (47, 30, 10), (30, 47, 9), (5, 8, 16), (12, 13, 12)]
)
def test_the_middle_is_scaled(tmp_path: Path, width: int, height: int, side: int) -> None:
    """The shortest side becomes `side`, the middle of the other stays; against the weights written out."""
    pixels = np.asarray(smooth(width, height)).astype(float) / 2 + 64  # nothing is cut off
    Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "a.png")
    short = min(width, height)
    across = scaling(width, (width - short) / 2, (width + short) / 2, side)
    down = scaling(height, (height - short) / 2, (height + short) / 2, side)
    want = np.einsum("yh,hwc,xw->yxc", down, pixels.astype(np.uint8), across)
    np.testing.assert_allclose(decoded(tmp_path / "a.png", side), want, atol=1.51)  # each pass rounds


def test_antialiasing(tmp_path: Path) -> None:
    """A fine chessboard becomes grey, and no pattern."""
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    Image.fromarray(board).save(tmp_path / "a.png")
    assert np.abs(decoded(tmp_path / "a.png", 8).astype(int) - 127.5).max() <= 4


def test_a_long_thin_picture(tmp_path: Path) -> None:
    """Scaled as a whole, 1 x 60,000 would have 15 thousand million pixels."""
    Image.new("L", (60_000, 1), 77).save(tmp_path / "a.png")
    assert (decoded(tmp_path / "a.png", 500) == 77).all()


def stackgan_crop(pixels: Pixels, box: Box) -> Pixels:
    """`custom_crop` of StackGAN's preprocess_birds.py, from its description."""
    reach = int(max(box[2], box[3]) * 0.75)
    x, y = int((2 * box[0] + box[2]) / 2), int((2 * box[1] + box[3]) / 2)
    return pixels[max(0, y - reach) : y + reach, max(0, x - reach) : x + reach]


BOXES = [
    (10.0, 8.0, 9.0, 12.0),
    (3.0, 4.0, 6.0, 3.0),
    (30.0, 20.0, 9.0, 9.0),
    (20.4, 9.0, 5, 7.5),
    (0.0, 10.0, 10.0, 4.0),
]


@pytest.mark.parametrize("box", BOXES)
def test_boxes(tmp_path: Path, box: Box) -> None:
    """The square around the box as in StackGAN, cut off at the edges; of that the middle, whose size here is kept."""
    pixels = noise(30, 40, 3)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    crop = stackgan_crop(pixels, box)
    side = min(crop.shape[:2])
    top, left = (crop.shape[0] - side) // 2, (crop.shape[1] - side) // 2
    np.testing.assert_array_equal(decoded(tmp_path / "a.png", side, box), crop[top : top + side, left : left + side])


def test_how_much_of_the_square_the_box_is(tmp_path: Path) -> None:
    """Two thirds of its side, as half the side is 0.75 of the box's longer one, and in the middle."""
    pixels = np.zeros((90, 90, 3), np.uint8)
    pixels[35:55, 25:65] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    lit = decoded(tmp_path / "a.png", 60, (25.0, 35.0, 40.0, 20.0))[..., 0] > 127
    assert lit.any(0).sum() == 40
    assert lit.any(1).sum() == 20
    assert (lit[20:40, 10:50]).all()


# What is refused


def png(
    width: int, height: int, data: bytes = b"", bits: int = 8, kind: int = 0, transparent: bytes | None = None
) -> bytes:
    """A PNG that claims this size; grey, unless another kind is given."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    content = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))
    content += chunk(b"tRNS", transparent) if transparent is not None else b""
    content += chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + content


@pytest.mark.parametrize("size", [(60_000, 60_000), (10_000, 9_000), (8_001, 8_000)])
def test_a_decompression_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]) -> None:
    """Refused before anything is decoded, whether Pillow would refuse it, warn of it or decode it."""
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", lambda self: pytest.fail("decoded"))
    path = tmp_path / "a.png"
    path.write_bytes(png(*size))
    told = mistake(lambda: decode([record(path)], 8))
    assert told == f"{path} has more than 64,000,000 pixels: replace the picture or remove it"


def test_the_largest_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to the limit, here a low one, pictures are decoded."""
    monkeypatch.setattr(pixels, "LARGEST", 80)
    (tmp_path / "a.png").write_bytes(png(10, 8, bytes(11 * 8)))
    assert (decoded(tmp_path / "a.png", 2) == 0).all()
    (tmp_path / "a.png").write_bytes(png(9, 9, bytes(10 * 9)))
    assert "more than 80 pixels" in mistake(lambda: decode([record(tmp_path / "a.png")], 2))


SAVED: dict[str, dict[str, Any]] = {
    "a.png": {},
    "a.jpg": {"quality": 95},
    "a.webp": {"lossless": True},
    "a.bmp": {},
    "a.tiff": {},
    "a.ppm": {},
}


@pytest.mark.parametrize("name", [*SAVED, "a.gif"])
def test_a_file_cut_off(tmp_path: Path, name: str) -> None:
    """Wherever it is cut off it is refused, unless only what says the end is missing and all pixels are there."""
    picture = Image.fromarray(noise(24, 24, 3))
    picture.save(tmp_path / name, **SAVED.get(name, {}))
    whole, content, path = decoded(tmp_path / name, 24), (tmp_path / name).read_bytes(), tmp_path / "cut"
    for length in [*range(0, len(content) * 9 // 10, 37), len(content) // 2, len(content) - 1]:
        path.write_bytes(content[:length])
        found = decoded_or_told(path, 24)
        if isinstance(found, str):
            assert found.startswith(f"{path} ")
        else:
            assert length > len(content) * 9 // 10
            np.testing.assert_array_equal(found, whole)


OTHER = {
    "text.png": b"this is no picture",
    "html.jpg": b"<!DOCTYPE html><html></html>",
    "pickle.png": b"\x80\x04\x95.",
    "a.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n",
    "a.xpm": b"/* XPM */\nstatic char * a[] = {\n",
}


@pytest.mark.parametrize("name", OTHER)
def test_no_picture(tmp_path: Path, name: str) -> None:
    """Text, scripts for PostScript and anything else of no known format."""
    (tmp_path / name).write_bytes(OTHER[name])
    told = mistake(lambda: decode([record(tmp_path / name)], 8))
    assert told.startswith(f"{tmp_path / name} is none of PNG, JPEG, WEBP, GIF, BMP, TIFF, PPM or damaged: ")


@pytest.mark.parametrize("kind", ["TGA", "PCX", "ICO", "JPEG2000", "DDS", "SGI"])
def test_other_formats(tmp_path: Path, kind: str) -> None:
    """Good pictures of formats whose parsers are seldom looked at."""
    Image.fromarray(noise(16, 16, 3)).save(tmp_path / "a.png", kind)
    assert "is none of PNG" in mistake(lambda: decode([record(tmp_path / "a.png")], 8))


def test_numbers_without_a_range(tmp_path: Path) -> None:
    """Where it is not known what is white, nothing is guessed."""
    Image.fromarray(np.ones((8, 8), np.float32)).save(tmp_path / "f.tiff")
    Image.fromarray(np.full((8, 8), 70_000, np.int32)).save(tmp_path / "i.tiff")
    Image.fromarray(np.full((8, 8), -1, np.int32)).save(tmp_path / "n.tiff")
    assert "save it with 8 bits" in mistake(lambda: decode([record(tmp_path / "f.tiff")], 8))
    assert "save it with 8 bits" in mistake(lambda: decode([record(tmp_path / "i.tiff")], 8))
    assert "save it with 8 bits" in mistake(lambda: decode([record(tmp_path / "n.tiff")], 8))


def test_the_first_of_many_bad_ones(tmp_path: Path) -> None:
    """Is named, and the others are counted, in whatever chunk they are."""
    records = []
    for i in range(50):
        path = tmp_path / f"{i}.png"
        Image.fromarray(noise(8, 8)).save(path)
        if i in (3, 7, 40):
            path.write_bytes(path.read_bytes()[:-40] if i == 3 else b"")
        records.append(record(path))
    told = mistake(lambda: decode(records, 8))
    assert told.startswith(f"{tmp_path / '3.png'} can't be decoded (")
    assert told.endswith(" (2 more can't be decoded): replace the picture or remove it")
    told = mistake(lambda: decode(records[4:20], 8))
    assert told == f"{tmp_path / '7.png'} can't be decoded (it is empty): replace the picture or remove it"


def test_no_file(tmp_path: Path) -> None:
    """Missing, a folder, or a pipe, from which nothing would ever come."""
    os.mkfifo(tmp_path / "pipe")
    assert "can't be read (No such file or directory)" in mistake(lambda: decode([record(tmp_path / "a.png")], 8))
    assert f"{tmp_path} is no file" in mistake(lambda: decode([record(tmp_path)], 8))
    assert "pipe is no file" in mistake(lambda: decode([record(tmp_path / "pipe")], 8))


@pytest.mark.parametrize("box", [(100.0, 1.0, 5.0, 5.0), (1.0, 100.0, 5.0, 5.0), (-50.0, 1.0, 5.0, 5.0)])
def test_a_box_outside_the_picture(tmp_path: Path, box: Box) -> None:
    """Of another picture, probably."""
    Image.new("L", (20, 10)).save(tmp_path / "a.png")
    told = mistake(lambda: decode([record(tmp_path / "a.png", box)], 8))
    assert f"a.png can't be decoded (its box {box} is outside the picture, 20 x 10)" in told


def test_sides_and_workers() -> None:
    """Below 1 they are refused; no pictures are no mistake."""
    assert mistake(lambda: decode([], 0)) == "pictures can't be decoded with side 0: give 1 or more"
    assert mistake(lambda: decode([], 8, 0)) == "pictures can't be decoded with --data.workers 0: give 1 or more"
    assert decode([], 8).shape == (0, 3, 8, 8)


# Workers


@pytest.fixture
def pictures(tmp_path: Path) -> list[Record]:
    """40 pictures, all different, more than two chunks."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(40):
        Image.fromarray(noise(12, 10 + i % 5, 3, seed=i)).save(folder / f"{i:02}.png")
    return [record(folder / f"{i:02}.png", (1.0, 1.0, 4.0 + i % 3, 5.0) if i % 2 else None) for i in range(40)]


def in_order(records: list[Record], side: int) -> torch.Tensor:
    return torch.cat([decode([one], side) for one in records])


def test_workers_give_the_same(pictures: list[Record], tmp_path: Path) -> None:
    """The same pixels in the same order, also into the cache, and the same mistakes."""
    whole = in_order(pictures, 8)
    assert torch.equal(decode(pictures, 8, workers=2), whole)
    assert torch.equal(decode(pictures, 8, workers=2, cache=tmp_path / "cache"), whole)
    pictures[20].path.write_bytes(b"GIF89a")
    assert mistake(lambda: decode(pictures, 8, workers=2)) == mistake(lambda: decode(pictures, 8, workers=1))


def test_workers_are_at_work_at_once(pictures: list[Record], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the first two chunks waits for the other one to be begun."""
    both, seen, pictures_of = threading.Barrier(2), [], pixels._pictures

    def waiting(work: Any, side: int) -> Any:
        if len(seen) < 2:
            seen.append(work)
            both.wait(timeout=60)
        return pictures_of(work, side)

    whole = in_order(pictures, 8)
    monkeypatch.setattr(pixels, "_pictures", waiting)
    assert torch.equal(decode(pictures, 8, workers=2), whole)
    assert len(seen) == 2


def test_warnings_are_as_before(pictures: list[Record]) -> None:
    """Those of Pillow are left out while pictures are decoded, and none after it, whether that went well or not."""
    before = list(warnings.filters)
    decode(pictures, 8)
    assert warnings.filters == before
    pictures[20].path.write_bytes(b"GIF89a")
    mistake(lambda: decode(pictures, 8))
    assert warnings.filters == before


# The cache


def content(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "_pictures", lambda *args, **options: pytest.fail("decoded again"))


def test_the_cache_gives_the_same(pictures: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same pixels without a cache, when it is written and when it is read, and nothing is decoded twice."""
    cache, whole = tmp_path / "new" / "cache", in_order(pictures, 8)
    assert torch.equal(decode(pictures, 8), whole)
    assert torch.equal(decode(pictures, 8, cache=cache), whole)
    (name,) = content(cache)
    np.testing.assert_array_equal(np.load(cache / name, allow_pickle=False), whole.numpy())
    no_decoding(monkeypatch)
    assert torch.equal(decode(pictures, 8, cache=cache), whole)


def test_changes_of_the_tensor_stay_in_memory(pictures: list[Record], tmp_path: Path) -> None:
    """The tensor can be written to, and the file is not."""
    whole = decode(pictures, 8, cache=tmp_path / "cache")
    before = content(tmp_path / "cache")
    whole.zero_()
    assert content(tmp_path / "cache") == before
    assert torch.equal(decode(pictures, 8, cache=tmp_path / "cache"), in_order(pictures, 8))


def renamed(records: list[Record]) -> list[Record]:
    return [record(records[0].path.rename(records[0].path.with_name("x.png"))), *records[1:]]


def later(records: list[Record]) -> list[Record]:
    os.utime(records[5].path, ns=(1, 1))
    return records


def longer(records: list[Record]) -> list[Record]:
    """By one byte that no decoder minds, at the same time."""
    path = records[5].path
    state = path.stat()
    path.write_bytes(path.read_bytes() + b"\0")
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    return records


CHANGES: dict[str, Callable[[list[Record]], list[Record]]] = {
    "fewer": lambda records: records[1:],
    "order": lambda records: records[::-1],
    "box": lambda records: [record(records[0].path, (2.0, 2.0, 4.0, 4.0)), *records[1:]],
    "no box": lambda records: [records[0], record(records[1].path), *records[2:]],
    "name": renamed,
    "time": later,
    "size": longer,
    "side": list,
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_the_name_of_the_cache_stands_for(pictures: list[Record], tmp_path: Path, change: str) -> None:
    """Any change of the pictures makes another file, and the old one stays."""
    cache = tmp_path / "cache"
    decode(pictures, 8, cache=cache)
    before = content(cache)
    changed, side = CHANGES[change](pictures), 9 if change == "side" else 8
    assert torch.equal(decode(changed, side, cache=cache), in_order(changed, side))
    after = content(cache)
    assert len(after) == 2
    assert before.items() <= after.items()


def test_captions_and_the_place_of_the_folder_do_not_count(
    pictures: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that was moved, or given by a relative path, and other captions, need no decoding."""
    whole = decode(pictures, 8, cache=tmp_path / "cache")
    (tmp_path / "pictures").rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    no_decoding(monkeypatch)
    moved = [Record(Path("moved", one.path.name), ("other",), "class", "train", one.box) for one in pictures]
    assert torch.equal(decode(moved, 8, cache=tmp_path / "cache"), whole)


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "short": lambda whole: whole[:-1],
    "long": lambda whole: whole + b"\0",
    "empty": lambda whole: b"",
    "header only": lambda whole: whole[:128],
    "no header": lambda whole: b"\0" * len(whole),
    "other type": lambda whole: whole.replace(b"|u1", b"|O1"),
    "other shape": lambda whole: whole.replace(b"(40, 3, 8, 8)", b"(20, 6, 8, 8)"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_cache(pictures: list[Record], tmp_path: Path, damage: str) -> None:
    """Is decoded again and replaced; what another process has mapped stays as it was."""
    cache = tmp_path / "cache"
    first = decode(pictures, 8, cache=cache)
    (path,) = cache.iterdir()
    before = content(cache)
    damaged = DAMAGE[damage](path.read_bytes())
    path.unlink()
    path.write_bytes(damaged)
    assert content(cache) != before
    second = decode(pictures, 8, cache=cache)
    assert content(cache) == before
    assert torch.equal(first, second)


def test_nothing_half_is_left(pictures: list[Record], tmp_path: Path) -> None:
    """Where a picture can't be decoded the cache holds nothing."""
    pictures[30].path.write_bytes(b"x")
    mistake(lambda: decode(pictures, 8, cache=tmp_path / "cache"))
    assert content(tmp_path / "cache") == {}


def test_a_cache_that_cannot_be_written(
    pictures: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file in its place, or a disk that is full: what to do is said, and nothing half is left."""
    (tmp_path / "file").write_text("x")
    told = mistake(lambda: decode(pictures, 8, cache=tmp_path / "file"))
    assert told.startswith(f"{tmp_path / 'file'}/pictures-")
    assert told.endswith("make room there or give another --data.cache")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert "can't be kept (No space left on device)" in mistake(lambda: decode(pictures, 8, cache=tmp_path / "cache"))
    assert content(tmp_path / "cache") == {}


# Real data


@needs_data
def test_emoji(tmp_path: Path) -> None:
    """64 x 64 RGB: every pixel is what Pillow reads, also from the cache."""
    root = Path(DATA or "", "emoji")
    if not root.is_dir():
        pytest.skip(f"SEQGAN_KIT_DATA has no emoji: {root} is missing")
    records = read(root)
    pixels = decode(records, 64, cache=tmp_path)
    assert pixels.shape == (2009, 3, 64, 64)
    for place in range(0, 2009, 8):
        with Image.open(records[place].path) as image:
            np.testing.assert_array_equal(pixels[place].permute(1, 2, 0).numpy(), np.asarray(image))
    assert torch.equal(decode(records, 64, cache=tmp_path), pixels)
