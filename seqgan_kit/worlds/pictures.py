"""The pictures of the shapes world: a renderer, a detector that reads a scene back, and exact scores of a picture.

The detector learns nothing: it compares every cell with rendered templates, so a score is the share of pictures that
show what their caption says, with no model to trust. The captions themselves are in `captions`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from functools import lru_cache
from itertools import product

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from seqgan_kit.errors import UserError
from seqgan_kit.worlds.captions import describe, parse
from seqgan_kit.worlds.shapes import (
    CELLS,
    COLOURS,
    KINDS,
    MOST,
    SIZES,
    Combination,
    Description,
    Scene,
    Shape,
    draw_scene,
    holds,
)

SIDES = (16, 256)  # the least and the most
RADII = {"small": 0.54, "large": 0.84}  # of half a cell; what is drawn stays within its cell under every jitter
# Hue in degrees, saturation, value. Hues are at least 26 degrees apart, four times the jitter.
PALETTE = {
    "red": (0.0, 0.86, 0.86),
    "green": (130.0, 0.80, 0.68),
    "blue": (222.0, 0.84, 0.88),
    "yellow": (54.0, 0.88, 0.93),
    "purple": (282.0, 0.78, 0.72),
    "orange": (27.0, 0.90, 0.96),
}
# Corners, distance of a corner and of the edge's middle (or of the inner corner) from the centre, turn in radians, and
# how far the centre is dropped, so that the outline is centred. In units of the radius. 40 corners are a circle.
OUTLINES = {
    "circle": (40, 1.0, math.cos(math.pi / 40), 0.0, 0.0),
    "square": (4, 0.88 * math.sqrt(2), 0.88, math.pi / 4, 0.0),
    "triangle": (3, 1.15, 0.575, 0.0, 0.2875),
    "star": (5, 1.05, 0.47, 0.0, 0.1),
}
GREY, GREYS = 240 / 255, 15 / 255  # the background's lightness and its jitter
# The rest of the jitter: of place in cells, of the radius and the colour's value as shares, of the hue in degrees.
PLACES, SCALES, BRIGHTNESSES, HUES = 0.05, 0.06, 0.06, 6.0


def _coverage(kinds: Tensor, centres: Tensor, radii: Tensor, corners: Tensor, side: int) -> Tensor:
    """How much of each pixel of a (side, side) window an outline covers, in [0, 1]: (shapes, side, side).

    kinds: (shapes,), indices into KINDS. centres: (shapes, 2), row and column in pixels. radii: (shapes,), in pixels.
    corners: (shapes, 2), the pixel in the window's top left corner.
    """
    number, tip, waist, turn, drop = torch.tensor([OUTLINES[kind] for kind in KINDS])[kinds].T[..., None, None]
    steps = (torch.arange(2 * side) + 0.5) / 2  # four samples for each pixel
    offsets = (corners - centres)[..., None] + steps
    down, right = offsets[:, 0, :, None] / radii[:, None, None] - drop, offsets[:, 1, None, :] / radii[:, None, None]
    # Folded into the sector between a corner (the axis) and the middle of an edge, every outline is one straight line.
    half = math.pi / number
    angle = (torch.remainder(torch.atan2(right, -down) - turn + half, 2 * half) - half).abs()
    length = torch.hypot(down, right)
    run, rise = waist * half.cos() - tip, waist * half.sin()
    outside = (rise * (length * angle.cos() - tip) - run * length * angle.sin()) / torch.hypot(run, rise)
    covered = (0.5 - 2 * outside * radii[:, None, None]).clamp(0, 1)
    return F.avg_pool2d(covered[:, None], 2)[:, 0]


def _rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """Colours in [0, 1], (..., 3), of hues in degrees."""
    place = torch.remainder(hue[..., None] / 60 + torch.tensor([5.0, 3.0, 1.0]), 6)
    return value[..., None] * (1 - saturation[..., None] * torch.minimum(place, 4 - place).clamp(0, 1))


def _hsv(colours: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Hue in degrees, saturation and value of colours (..., 3) in [0, 1]."""
    red, green, blue = colours.unbind(-1)
    value = colours.amax(-1)
    spread = value - colours.amin(-1)
    hue = torch.rad2deg(torch.atan2(math.sqrt(3) * (green - blue), 2 * red - green - blue))
    return torch.remainder(hue, 360), spread / value.clamp_min(1e-6), value


def _check_side(side: int) -> None:
    if not SIDES[0] <= side <= SIDES[1]:
        raise UserError(f"pictures of side {side} are not drawn: choose a side from {SIDES[0]} to {SIDES[1]} pixels")


def render(scenes: Sequence[Scene], side: int, seed: int, jitter: float = 1.0) -> Tensor:
    """Pictures of the scenes, uint8 (scenes, 3, side, side): filled, anti-aliased shapes on a light grey ground.

    jitter: in [0, 1], how much place, size and colour of a shape and the lightness of the ground vary. Picture i
    depends on its scene, `seed` and i alone. Raises UserError for a side or a jitter that is out of range.
    """
    _check_side(side)
    if not 0 <= jitter <= 1:
        raise UserError(f"jitter {jitter} is out of range: choose it from 0 (none) to 1")
    chunk = max(1, 2**20 // side**2)  # bounds the memory
    parts = [_render(scenes[i : i + chunk], i, side, seed, jitter) for i in range(0, len(scenes), chunk)]
    return torch.cat(parts) if parts else torch.empty(0, 3, side, side, dtype=torch.uint8)


def _render(scenes: Sequence[Scene], start: int, side: int, seed: int, jitter: float) -> Tensor:
    places = range(start, start + len(scenes))
    noise = np.stack([np.random.default_rng((seed, i)).uniform(-jitter, jitter, (len(CELLS) + 1, 5)) for i in places])
    wobble = torch.from_numpy(noise).float()
    ground = GREY + GREYS * wobble[:, -1, 0]
    canvas = ground[:, None, None, None].expand(-1, 3, side, side).contiguous()
    owners = torch.tensor([i for i, scene in enumerate(scenes) for _ in scene.shapes], dtype=torch.long)
    if len(owners):
        shapes = [shape for scene in scenes for shape in scene.shapes]
        cells = torch.tensor([shape.cell for shape in shapes])
        down, right, larger, hue, value = wobble[owners, cells[:, 0] * 3 + cells[:, 1]].T
        base = torch.tensor([PALETTE[shape.colour] for shape in shapes]).T
        colours = _rgb(base[0] + HUES * hue, base[1], base[2] * (1 + BRIGHTNESSES * value))
        cell = side / 3
        centres = (cells + 0.5 + PLACES * torch.stack([down, right], 1)) * cell
        radii = torch.tensor([RADII[shape.size] for shape in shapes]) * (1 + SCALES * larger) * cell / 2
        window = math.ceil(cell) + 1
        corners = (cells * side).div(3, rounding_mode="floor").clamp_max(side - window)
        kinds = torch.tensor([KINDS.index(shape.kind) for shape in shapes])
        covered = _coverage(kinds, centres, radii, corners, window)
        paint = covered[:, None] * (colours - ground[owners, None])[..., None, None]
        rows = (corners[:, 0, None] + torch.arange(window))[:, None, :, None]
        columns = (corners[:, 1, None] + torch.arange(window))[:, None, None, :]
        channels = torch.arange(3)[None, :, None, None]
        # Shapes never overlap, so where two meet in one pixel their paint adds up.
        canvas.index_put_((owners[:, None, None, None], channels, rows, columns), paint, accumulate=True)
    return (canvas * 255).round().clamp(0, 255).to(torch.uint8)


# The detector. Its bounds are set between what rendered pictures with noise and blur need and what debris reaches.
ALIKE = 0.82  # the least share of a cell's deviation from the ground that one flat-coloured outline must explain
BLANK = 0.11  # the root mean square deviation, of [-1, 1], up to which a cell is empty
LIGHT, GREY_WITHIN = 0.6, 0.15  # the ground: the least lightness in [-1, 1], the most that its channels differ
SATURATED, BRIGHT, OFF_HUE = 0.55, 0.45, 13.0  # a colour's least saturation and value, the most degrees off its hue
FINEST = 64  # larger pictures are averaged down to this side first
SHIFTS = (-1.0, -0.5, 0.0, 0.5, 1.0)  # of the templates, along each axis, in units of the jitter
CHUNK = 128  # pictures at once
TRIES = 20  # captions drawn for each one wanted


def _windows(side: int) -> tuple[Tensor, int, Tensor]:
    """Windows on the cells along one axis: their first pixels (3,), their width, and which of their pixels have their
    middle in the cell (3, width), since a third of the side need not be whole."""
    width = math.ceil(side / 3)
    starts = (torch.arange(3) * side / 3).round().long().clamp_max(side - width)
    middles = starts[:, None] + torch.arange(width) + 0.5
    return starts, width, (middles * 3 / side).floor() == torch.arange(3)[:, None]


@lru_cache(maxsize=8)
def _templates(side: int) -> tuple[Tensor, Tensor]:
    """Outlines of norm one for every cell, (cells, pixels, templates), and their norms (cells, templates).

    Templates are ordered by kind, size and shift.
    """
    starts, width, inside = _windows(side)
    shifts = [PLACES * shift for shift in SHIFTS]
    poses = torch.tensor(list(product(range(len(KINDS)), [RADII[size] for size in SIZES], shifts, shifts)))
    kinds, reach = poses[:, 0].long(), poses[:, 1] * side / 6
    outlines = []
    for row, column in CELLS:
        cell = torch.tensor((row, column))
        centres = (cell + 0.5 + poses[:, 2:]) * side / 3
        covered = _coverage(kinds, centres, reach, starts[cell].expand(len(poses), 2), width)
        outlines.append(covered * inside[row, :, None] * inside[column])
    flat = torch.stack(outlines).flatten(2)
    norms = flat.norm(dim=2)
    return (flat / norms[..., None]).transpose(1, 2).contiguous(), norms


def _ground(pixels: Tensor) -> Tensor:
    """The ground's colour (batch, 3): the median along the lines between the cells, which no shape reaches."""
    starts, width, _ = _windows(pixels.shape[-1])
    edge = torch.zeros(pixels.shape[-1], dtype=torch.bool)
    edge[torch.cat([starts, starts + width - 1])] = True
    return pixels[:, :, edge[:, None] | edge].median(dim=2).values


def _examine(pixels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """What each cell of (batch, 3, side, side) in [-1, 1] holds, each (batch, cells): the share of its deviation from
    the ground that its shape explains, 0 where there is none; the shape's kind, size and colour, as indices; and
    whether all is clear: a shape or nothing, on a light ground."""
    side = pixels.shape[-1]
    starts, width, inside = _windows(side)
    templates, norms = _templates(side)
    ground = _ground(pixels)
    light = (ground.amin(1) > LIGHT) & (ground.amax(1) - ground.amin(1) < GREY_WITHIN)
    along = starts[:, None] + torch.arange(width)
    cells = (pixels - ground[:, :, None, None])[:, :, along][..., along]  # batch, 3, row, width, column, width
    cells = cells * inside * inside[..., None, None]
    cells = cells.permute(2, 4, 0, 1, 3, 5).reshape(len(CELLS), -1, width * width)
    # The least squares amplitude of every template and channel, and how much of the energy that explains.
    fitted = (cells @ templates).unflatten(1, (-1, 3))  # cells, batch, 3, templates
    explained, which = fitted.square().sum(2).max(2)
    energy = cells.square().sum(2).unflatten(1, (-1, 3)).sum(2)
    amplitude = fitted.gather(3, which[..., None, None].expand(-1, -1, 3, 1))[..., 0]
    painted = ground + amplitude / norms.gather(1, which)[..., None]
    hue, saturation, value = _hsv(((painted + 1) / 2).clamp(0, 1))
    hues = torch.tensor([PALETTE[colour][0] for colour in COLOURS])
    off, colour = ((hue[..., None] - hues + 180).remainder(360) - 180).abs().min(dim=-1)
    coloured = (off < OFF_HUE) & (saturation > SATURATED) & (value > BRIGHT)
    share = explained / energy.clamp_min(1e-12)
    empty = energy < BLANK**2 * 3 * width * width
    shape = (share > ALIKE) & coloured & ~empty & light
    kind, size = which // len(SHIFTS) ** 2 // len(SIZES), which // len(SHIFTS) ** 2 % len(SIZES)
    return (share * shape).T, kind.T, size.T, colour.T, ((shape | empty) & light).T


def examine(pixels: Tensor) -> tuple[list[Scene], list[bool]]:
    """What each picture shows, and whether that is all: no half-formed shape, smear or odd ground.

    pixels: (batch, 3, side, side), uint8, or floating point in [-1, 1]. A cell that holds neither an outline in one
    of the six colours nor nothing is passed over in the scene. Nothing is learned and nothing is random.
    """
    if pixels.ndim != 4 or pixels.shape[1] != 3 or pixels.shape[2] != pixels.shape[3]:
        raise ValueError(f"pictures are (batch, 3, side, side), not {tuple(pixels.shape)}")
    side = pixels.shape[-1]
    _check_side(side)
    scenes: list[Scene] = []
    clear: list[bool] = []
    with torch.no_grad():
        for part in pixels.detach().cpu().split(CHUNK):
            part = part.float() / 127.5 - 1 if part.dtype == torch.uint8 else part.float().clamp(-1, 1)
            if side > FINEST:
                part = F.interpolate(part, (FINEST, FINEST), mode="bilinear", antialias=True)
            share, kind, size, colour, fine = (cells.tolist() for cells in _examine(part))
            scenes += [_scene(*picture) for picture in zip(share, kind, size, colour, strict=True)]
            clear += map(all, fine)
    return scenes, clear


def _scene(shares: list[float], kinds: list[int], sizes: list[int], colours: list[int]) -> Scene:
    found = (i for i, share in enumerate(shares) if share > 0)
    return Scene(tuple(Shape(KINDS[kinds[i]], COLOURS[colours[i]], SIZES[sizes[i]], *CELLS[i]) for i in found))


# What a picture must show


def _reduced(description: Description, keep: tuple[bool, bool, bool]) -> Description | None:
    """The mentions alone, and of them the kept attributes; None if no mention tells all of these."""
    looks = [
        tuple(value if kept else None for value, kept in zip(look, keep, strict=True)) for look in description.mentions
    ]
    if not any(sum(value is not None for value in look) == sum(keep) for look in looks):
        return None
    return Description(tuple((size, colour, kind) for size, colour, kind in looks), (), (), ())


def show(description: Description, scene: Scene) -> dict[str, bool]:
    """Whether the scene is as described in each respect of which the description says anything.

    In colours, shapes and sizes, which compare what the mentions tell of these and how many shapes there are;
    colours_and_shapes, if some mention tells both; positions: all but the counts, if a place is told; all: `holds`.
    """
    parts = {
        "colours": _reduced(description, (False, True, False)),
        "shapes": _reduced(description, (False, False, True)),
        "colours_and_shapes": _reduced(description, (False, True, True)),
        "sizes": _reduced(description, (True, False, False)),
        "positions": replace(description, counts=()) if description.places else None,
        "all": description,
    }
    return {name: holds(part, scene) for name, part in parts.items() if part is not None}


def caption_scores(captions: Sequence[str], pixels: Tensor) -> dict[str, float]:
    """The share of pictures that show what their caption says, in each respect of `show` that any caption tells.

    captions: one for each of pixels (batch, 3, side, side). Each share is over the captions that tell of it. A picture
    that shows anything besides clear shapes is wrong in every respect. Raises ValueError for a caption that is
    ungrammatical.
    """
    results: dict[str, list[bool]] = {}
    for caption, scene, clear in zip(captions, *examine(pixels), strict=True):
        description = parse(caption)
        if description is None:
            raise ValueError(f"not a caption of the shapes world: {caption!r}")
        for name, right in show(description, scene).items():
            results.setdefault(name, []).append(right and clear)
    return {name: sum(right) / len(right) for name, right in results.items()}


# Scenes and captions to train on, some combinations held out


def combinations(scene: Scene) -> set[Combination]:
    """The colour and kind of each shape."""
    return {(shape.colour, shape.kind) for shape in scene.shapes}


def draw(count: int, seed: int, most: int = 1, without: AbstractSet[Combination] = frozenset()) -> list[Scene]:
    """Scenes of one to `most` shapes, none in a colour and kind of `without`, the same for the same seed.

    As in `draw_scene`, later shapes take after the first. Raises UserError if nothing is left to draw.
    """
    if not 1 <= most <= MOST:
        raise UserError(f"scenes of up to {most} shapes are not drawn: captions tell of 1 to {MOST}")
    if without >= set(product(COLOURS, KINDS)):
        raise UserError("every combination of colour and kind is held out: leave one to draw")
    rng = random.Random(seed)
    return [draw_scene(rng, most, without) for _ in range(count)]


def captions_of(scene: Scene, number: int, rng: random.Random) -> list[str]:
    """Different true captions of the scene: `number` of them, or fewer if not so many were found.

    Those come first, and alone if there are enough, that tell both colour and kind of a shape in one mention.
    """
    telling: dict[str, None] = {}
    others: dict[str, None] = {}
    for _ in range(TRIES * number):
        caption = describe(scene, rng)
        description = parse(caption)
        tells = description is not None and any(colour and kind for _, colour, kind in description.mentions)
        (telling if tells else others)[caption] = None
        if len(telling) == number:
            break
    return [*telling, *others][:number]
