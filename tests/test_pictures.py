"""The pictures of the shapes world: the renderer against Pillow, the detector against scenes and debris, the scores."""

import cmath
import colorsys
import math
import random
import time
from itertools import product

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional as F

from seqgan_kit.errors import UserError
from seqgan_kit.worlds import pictures
from seqgan_kit.worlds.captions import describe, parse
from seqgan_kit.worlds.pictures import (
    caption_scores,
    captions_of,
    combinations,
    draw,
    examine,
    render,
    show,
)
from seqgan_kit.worlds.shapes import CELLS, COLOURS, KINDS, SIZES, Scene, Shape, holds

RED_CIRCLE = Shape("circle", "red", "small", 0, 0)
BLUE_SQUARE = Shape("square", "blue", "large", 1, 2)
PAIR = Scene((RED_CIRCLE, BLUE_SQUARE))


def crowded(count: int, seed: int) -> list[Scene]:
    """Scenes of no to nine shapes."""
    rng = random.Random(seed)

    def scene() -> Scene:
        cells = sorted(rng.sample(CELLS, rng.randint(0, 9)))
        return Scene(tuple(Shape(rng.choice(KINDS), rng.choice(COLOURS), rng.choice(SIZES), *cell) for cell in cells))

    return [scene() for _ in range(count)]


def signed(pixels: Tensor) -> Tensor:
    return pixels.float() / 127.5 - 1


def blurred(pixels: Tensor, deviation: float) -> Tensor:
    kernel = torch.exp(-(torch.arange(-4, 5) ** 2) / (2 * deviation**2))
    kernel = kernel / kernel.sum()
    padded = F.pad(pixels, (4, 4, 4, 4), mode="replicate")
    return F.conv2d(padded, (kernel[:, None] * kernel).expand(3, 1, 9, 9), groups=3)


def noisy(pixels: Tensor, deviation: float) -> Tensor:
    return pixels + deviation * torch.randn(pixels.shape, generator=torch.Generator().manual_seed(0))


def share_right(scenes: list[Scene], pixels: Tensor) -> float:
    return sum(a == b for a, b in zip(scenes, examine(pixels)[0], strict=True)) / len(scenes)


def shapes_found(pixels: Tensor) -> int:
    return sum(len(scene.shapes) for scene in examine(pixels)[0])


# The renderer


def drawn_by_pillow(shape: Shape, side: int) -> Tensor:
    """(3, side, side) in [0, 1]: the shape without jitter as a polygon drawn by Pillow 16 times as fine, averaged."""
    fine = 16 * side
    radius = {"small": 0.54, "large": 0.84}[shape.size] * fine / 6
    outlines = {
        "circle": [cmath.rect(1, 2 * math.pi * i / 500) for i in range(500)],
        "square": [0.88 * z for z in (1 + 1j, 1 - 1j, -1 - 1j, -1 + 1j)],
        "triangle": [cmath.rect(1.15, math.radians(a)) + 0.2875j for a in (-90, 30, 150)],
        "star": [cmath.rect((1.05, 0.47)[i % 2], math.radians(36 * i - 90)) + 0.1j for i in range(10)],
    }
    centre = complex(shape.column + 0.5, shape.row + 0.5) * fine / 3
    points = [centre + radius * z for z in outlines[shape.kind]]
    mask = Image.new("L", (fine, fine))
    ImageDraw.Draw(mask).polygon([(z.real - 0.5, z.imag - 0.5) for z in points], fill=255)
    covered = torch.from_numpy(np.array(mask.resize((side, side), Image.Resampling.BOX))) / 255
    hue, saturation, value = pictures.PALETTE[shape.colour]
    colour = torch.tensor(colorsys.hsv_to_rgb(hue / 360, saturation, value))[:, None, None]
    return covered * colour + (1 - covered) * 240 / 255


@pytest.mark.parametrize("side", [16, 32, 50, 96])
def test_shapes_are_drawn_as_by_pillow(side: int) -> None:
    """Without jitter every kind, size and colour is what Pillow draws, to the rim's rounding."""
    looks = list(product(KINDS, COLOURS, SIZES))
    shapes = [Shape(*look, *CELLS[i % 9]) for i, look in enumerate(looks)]
    pixels = render([Scene((shape,)) for shape in shapes], side, 0, jitter=0) / 255
    for shape, picture in zip(shapes, pixels, strict=True):
        difference = (picture - drawn_by_pillow(shape, side)).abs()
        assert difference.max() < 0.13, shape
        assert difference.mean() < 0.04 / side, shape


def test_a_picture_depends_on_its_scene_the_seed_and_its_place_alone() -> None:
    """The same seed gives the same pictures, whatever is drawn after or before them; another gives others."""
    scenes = crowded(1500, 0)
    pixels = render(scenes, 32, 5)
    assert pixels.dtype == torch.uint8
    assert pixels.shape == (1500, 3, 32, 32)
    assert torch.equal(pixels[:7], render(scenes[:7], 32, 5))
    assert torch.equal(pixels[1400:], render([Scene(())] * 1400 + scenes[1400:], 32, 5)[1400:])
    assert not torch.equal(pixels[:7], render(scenes[:7], 32, 6))
    alike = render([PAIR] * 2500, 32, 5).flatten(1)
    assert len(alike.unique(dim=0)) == 2500
    assert render([], 32, 0).shape == (0, 3, 32, 32)


def test_jitter_scales_the_variation_within_its_bounds() -> None:
    """Without jitter pictures of a scene are equal; with it everything varies, up to the bounds."""
    scene = Scene((Shape("square", "red", "large", 1, 1),))
    still = render([scene] * 50, 96, 0, jitter=0)
    assert (still == still[0]).all()
    spreads = []
    for jitter in (0.5, 1.0):
        pixels = render([scene] * 400, 96, 0, jitter=jitter).float()
        ground, centre = pixels[:, 0, 0, 0], pixels[:, :, 48, 48]
        assert 240 - 15 * jitter - 1 <= ground.min()
        assert ground.max() <= 240 + 15 * jitter
        hues = torch.tensor([colorsys.rgb_to_hsv(*colour)[0] for colour in centre.tolist()])
        hues = 360 * ((hues + 0.5) % 1 - 0.5)
        covered = (ground[:, None, None] - pixels[:, 1]) / (ground - centre[:, 1])[:, None, None]
        mass = covered.sum((1, 2))
        down = (covered.sum(2) * torch.arange(96)).sum(1) / mass - 47.5
        right = (covered.sum(1) * torch.arange(96)).sum(1) / mass - 47.5
        sizes = mass.sqrt() / (2 * 0.88 * 0.84 * 16) - 1
        for values, bound in ((hues, 6), (down, 0.05 * 32), (right, 0.05 * 32), (sizes, 0.06), (ground - 240, 15)):
            assert values.abs().max() <= bound * jitter * 1.06 + 0.005
            assert values.abs().max() > bound * jitter * 0.9
        spreads.append(torch.stack([x.std() for x in (hues, down, right, sizes, ground, centre[:, 0])]))
    assert (spreads[1] / spreads[0]).sub(2).abs().max() < 0.2


@pytest.mark.parametrize("side", [16, 33, 64])
def test_shapes_stay_within_their_cells(side: int) -> None:
    """What is drawn in the middle cell does not reach pixels of others, but for a hint of its rim, under any jitter."""
    scenes = [Scene((Shape(kind, "blue", "large", 1, 1),)) for kind in KINDS] * 200
    pixels = render(scenes, side, 3)
    middle = (torch.arange(side) + 1 > side / 3) & (torch.arange(side) < side * 2 / 3)
    outside = pixels[:, 0].float().masked_select(~(middle[:, None] & middle)).view(len(scenes), -1)
    assert (outside - outside[:, :1]).abs().max() < 0.05 * 255


@pytest.mark.parametrize(("side", "jitter"), [(15, 1.0), (257, 1.0), (32, -0.1), (32, 1.1)])
def test_what_cannot_be_drawn_is_refused(side: int, jitter: float) -> None:
    """A side or jitter out of range is refused in one line that names it."""
    with pytest.raises(UserError, match=str(side) if jitter == 1 else str(jitter)) as info:
        render([PAIR], side, 0, jitter)
    assert "\n" not in str(info.value)


def test_rendering_and_detecting_are_fast() -> None:
    """A thousand pictures take under five seconds of processor time; a fifteenth was measured."""
    start = time.process_time()
    examine(render(draw(1000, 0, most=3), 32, 0))
    assert time.process_time() - start < 5


# The detector


@pytest.mark.parametrize("side", [16, 20, 32, 47, 64])
def test_rendered_scenes_are_read_back(side: int) -> None:
    """Of six hundred crowded pictures with full jitter every one is read exactly, and none is unclear."""
    scenes = crowded(600, side)
    pixels = render(scenes, side, side)
    found, clear = examine(pixels)
    assert found == scenes
    assert all(clear)
    assert examine(signed(pixels[:50]))[0] == scenes[:50]


@pytest.mark.parametrize("side", [65, 100, 256])
def test_large_pictures_are_read_back(side: int) -> None:
    """Pictures that are averaged down first are read exactly too, and the averaging takes noise away."""
    scenes = crowded(60, side)
    pixels = render(scenes, side, side)
    assert examine(pixels)[0] == scenes
    assert examine(noisy(signed(pixels), 0.05 * max(1, side / 64)))[0] == scenes


def test_values_beyond_the_range_are_cut_off() -> None:
    """A picture is read as it would be saved."""
    scenes = crowded(40, 0)
    pixels = 5 * signed(render(scenes, 32, 0))
    assert examine(pixels) == examine(pixels.clamp(-1, 1))
    assert shapes_found(pixels) > 30


@pytest.mark.slow
@pytest.mark.parametrize(("side", "wrong"), [(16, 3), (32, 0), (64, 0)])
def test_thousands_of_scenes_are_read_back(side: int, wrong: int) -> None:
    """Of four thousand crowded pictures all are read exactly, but at side 16 a few of 18,000 shapes may be mistaken."""
    scenes = crowded(4000, side + 1)
    assert share_right(scenes, render(scenes, side, side)) >= 1 - wrong / 4000


@pytest.mark.parametrize("side", [32, 64])
def test_noise_and_slight_blur_do_no_harm(side: int) -> None:
    """Gaussian noise of standard deviation 0.05, blur of half a pixel and both together leave every scene as it is."""
    scenes = crowded(300, 8)
    pixels = signed(render(scenes, side, 8))
    assert share_right(scenes, noisy(pixels, 0.05)) == 1
    assert share_right(scenes, blurred(pixels, 0.5)) == 1
    assert share_right(scenes, noisy(blurred(pixels, 0.5), 0.05)) == 1


@pytest.mark.parametrize("side", [16, 32, 64])
def test_nothing_is_found_in_debris(side: int) -> None:
    """Noise, plain colours, greys, the mean of all pictures, empty ground, and what is not a number hold no shape."""
    generator = torch.Generator().manual_seed(0)
    uniform = torch.rand(100, 3, side, side, generator=generator)
    plain = torch.rand(100, 3, 1, 1, generator=generator).expand(-1, -1, side, side)
    pixels = signed(render(draw(300, 0, most=3), side, 0))
    mean = pixels.mean(0, keepdim=True)
    grey = pixels.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    nan = torch.full((1, 3, side, side), torch.nan)
    debris = (2 * uniform - 1, 0.2 + 0.8 * uniform, 2 * plain - 1, mean, noisy(mean, 0.1), grey, -pixels, nan)
    assert [shapes_found(x) for x in debris] == [0] * len(debris)
    assert [any(examine(x)[1]) for x in (debris[0], debris[1], grey, -pixels, nan)] == [False] * 5
    scenes, clear = examine(noisy(signed(render([Scene(())] * 20, side, 0)), 0.05))
    assert scenes == [Scene(())] * 20
    assert all(clear)


@pytest.mark.parametrize("side", [32, 64])
def test_a_blend_of_two_pictures_shows_neither(side: int) -> None:
    """Half and half, only what both show at one place, in one colour, may be found: under 5 % of the shapes."""
    scenes = draw(400, 1)
    pixels = signed(render(scenes, side, 1))
    blends = (pixels + pixels.roll(1, 0)) / 2
    assert shapes_found(blends) < 0.05 * 400
    assert share_right(scenes, blends) < 0.02
    apart = [a.shapes[0].cell != b.shapes[0].cell for a, b in zip(scenes, scenes[-1:] + scenes, strict=False)]
    assert shapes_found(blends[apart]) == 0
    assert not any(examine(blends[apart])[1])


@pytest.mark.parametrize("side", [32, 64])
def test_half_formed_shapes_are_no_shapes(side: int) -> None:
    """Halves and chequered shapes are not found, other outlines and two-coloured shapes hardly, and none is clear."""
    scenes = [Scene((Shape(*look, 1, 1),)) for look in product(KINDS, COLOURS, SIZES)] * 4
    pixels = render(scenes, side, 2)
    ground, middle = pixels[:, :, :1, :1], torch.arange(side) + 0.5 < side / 2
    chequers = (torch.arange(side)[:, None] + torch.arange(side)) % 2 == 0
    for mask in (middle[None, :], ~middle[None, :], middle[:, None], chequers):
        remains = torch.where(mask, pixels, ground)
        assert shapes_found(remains) <= 0.01 * len(scenes)
        assert sum(examine(remains)[1]) <= 0.01 * len(scenes)
    lower = torch.where(~middle[:, None], pixels, ground)  # of a triangle, that is most of it
    assert shapes_found(lower) < 0.06 * len(scenes)
    red, blue = (
        render([Scene((Shape(kind, colour, "large", 1, 1),)) for kind in KINDS], side, 2) for colour in ("red", "blue")
    )
    assert shapes_found(torch.where(middle, red, blue)) == 0


def test_colours_far_from_all_six_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cyan, magenta, black and pale shapes on a light ground are no shapes, and unclear."""
    for colour in ((180.0, 0.9, 0.8), (330.0, 0.9, 0.8), (0.0, 0.9, 0.3), (0.0, 0.4, 0.9)):
        monkeypatch.setitem(pictures.PALETTE, "red", colour)
        pixels = render([Scene((Shape(kind, "red", "large", 2, 0),)) for kind in KINDS], 32, 0, jitter=0)
        monkeypatch.undo()
        assert shapes_found(pixels) == 0
        assert not any(examine(pixels)[1])


def test_a_noisy_shape_among_many_is_told() -> None:
    """Nine shapes are told in reading order, also the one that is noisier than the rest."""
    scene = Scene(tuple(Shape("square", "red", "large", *cell) for cell in CELLS))
    pixels = signed(render([scene], 48, 0))
    pixels[:, :, 16:32, :16] = noisy(pixels, 0.2)[:, :, 16:32, :16]
    assert examine(pixels)[0] == [scene]


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 1, 32, 32), (1, 3, 32, 33)])
def test_only_pictures_are_read(shape: tuple[int, ...]) -> None:
    """Tensors of another shape are refused, and so is a side that is too small to tell shapes apart."""
    with pytest.raises(ValueError, match="batch, 3, side, side"):
        examine(torch.zeros(shape))
    with pytest.raises(UserError, match="side 8"):
        examine(torch.zeros(1, 3, 8, 8))


# The scores


def shown(caption: str, *shapes: Shape) -> dict[str, bool]:
    description = parse(caption)
    assert description is not None, caption
    return show(description, Scene(shapes))


FULL = "a small red circle above a large blue square ."
RIGHT = dict.fromkeys(("colours", "shapes", "colours_and_shapes", "sizes", "positions", "all"), True)


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({}, set()),
        ({"colour": "green"}, {"colours", "colours_and_shapes", "positions", "all"}),
        ({"kind": "star"}, {"shapes", "colours_and_shapes", "positions", "all"}),
        ({"size": "large"}, {"sizes", "positions", "all"}),
        ({"row": 2}, {"positions", "all"}),
        ({"column": 1}, set()),
    ],
)
def test_each_score_sees_what_it_is_about(change: dict[str, str | int], wrong: set[str]) -> None:
    """A wrong colour, kind, size or place fails the scores that are about it, and the others not."""
    circle = Shape(**({"kind": "circle", "colour": "red", "size": "small", "row": 0, "column": 0} | change))  # type: ignore[arg-type]
    assert shown(FULL, circle, BLUE_SQUARE) == RIGHT | dict.fromkeys(wrong, False)


def test_the_number_of_shapes_counts_everywhere() -> None:
    """One shape too many or too few fails every score."""
    extra = Shape("circle", "red", "small", 0, 1)
    for shapes in ((RED_CIRCLE, BLUE_SQUARE, extra), (RED_CIRCLE,), ()):
        assert shown(FULL, *shapes) == dict.fromkeys(RIGHT, False)


def test_colours_and_shapes_belong_together() -> None:
    """A blue circle and a red square have the colours and the shapes of a red circle and a blue square, not both."""
    swapped = (Shape("circle", "blue", "small", 0, 0), Shape("square", "red", "large", 1, 2))
    told = shown("a red circle and a blue square .", *swapped)
    assert told == {"colours": True, "shapes": True, "colours_and_shapes": False, "all": False}


@pytest.mark.parametrize(
    ("caption", "told"),
    [
        ("there is a red shape .", {"colours", "all"}),
        ("there is a circle .", {"shapes", "all"}),
        ("there is a small shape .", {"sizes", "all"}),
        ("there is a red shape and a circle .", {"colours", "shapes", "all"}),
        ("there is a shape on the left .", {"positions", "all"}),
        ("of the two shapes one is red and one is blue .", {"all"}),
    ],
)
def test_a_caption_is_scored_on_what_it_tells(caption: str, told: set[str]) -> None:
    """There is a score for that of which the mentions, or the places, say anything, and for all."""
    assert set(shown(caption, RED_CIRCLE)) == told


def test_counts_and_remarks_count_in_all_alone() -> None:
    """What a count denies fails only the score of everything."""
    assert shown("a circle at the top , but none is red .", RED_CIRCLE) == {
        "shapes": True,
        "positions": True,
        "all": False,
    }


@pytest.mark.parametrize("side", [32, 64])
def test_pictures_of_their_captions_score_one_and_shuffled_ones_do_not(side: int) -> None:
    """Rendered scenes score exactly 1 everywhere; with other scenes' captions, what `holds` of the scenes."""
    scenes = draw(600, 3, most=3)
    rng = random.Random(0)
    captions = [describe(scene, rng) for scene in scenes]
    pixels = render(scenes, side, 0)
    assert caption_scores(captions, pixels) == dict.fromkeys(RIGHT, 1.0)
    shuffled = caption_scores(captions, pixels.roll(1, 0))
    others = [parse(caption) for caption in captions]
    expected = [holds(told, scene) for told, scene in zip(others, scenes[-1:] + scenes, strict=False) if told]
    assert shuffled["all"] == sum(expected) / 600
    assert 0 < shuffled["colours_and_shapes"] < shuffled["colours"] < 0.5
    assert shuffled["colours_and_shapes"] < shuffled["shapes"] < 0.5


def test_scores_are_shares_of_the_captions_that_tell() -> None:
    """Each share is over its own captions; a smear beside the right shape spoils a picture; none are none."""
    circle = render([Scene((RED_CIRCLE,))] * 3, 32, 0)
    captions = ["a red circle .", "a blue circle .", "there is a small shape ."]
    expected = {"colours": 0.5, "shapes": 1.0, "colours_and_shapes": 0.5, "sizes": 1.0, "all": 2 / 3}
    assert caption_scores(captions, circle) == expected
    smeared = circle.clone()
    smeared[0, :2, 23:30, 12:20] = 90
    assert examine(smeared)[0] == examine(circle)[0]
    assert caption_scores(captions, smeared) == expected | {
        "colours": 0.0,
        "shapes": 0.5,
        "colours_and_shapes": 0.0,
        "all": 1 / 3,
    }
    assert caption_scores([], circle[:0]) == {}


def test_captions_that_are_none_are_named() -> None:
    """An ungrammatical caption raises an error that names it, and so does a wrong number of captions."""
    with pytest.raises(ValueError, match="a red red circle"):
        caption_scores(["a red red circle ."], render([PAIR], 32, 0))
    with pytest.raises(ValueError, match="zip"):
        caption_scores(["a red circle ."], render([PAIR, PAIR], 32, 0))


# Scenes and captions


def test_drawn_scenes_are_of_the_world_and_leave_out_what_is_held_out() -> None:
    """Scenes have 1 to `most` shapes in reading order; every combination occurs but those that are held out."""
    every = set(product(COLOURS, KINDS))
    for most in (1, 2, 3):
        held_out = {("red", "circle"), ("blue", "star"), ("green", "square")}
        scenes = draw(1500, most, most, held_out)
        assert scenes == draw(1500, most, most, held_out)
        assert {len(scene.shapes) for scene in scenes} == set(range(1, most + 1))
        assert set().union(*map(combinations, scenes)) == every - held_out
        assert {shape.cell for scene in scenes for shape in scene.shapes} == set(CELLS)
        assert {shape.size for scene in scenes for shape in scene.shapes} == set(SIZES)
        for scene in scenes:
            cells = [shape.cell for shape in scene.shapes]
            assert cells == sorted(set(cells))
    assert draw(5, 0) != draw(5, 1)
    assert combinations(PAIR) == {("red", "circle"), ("blue", "square")}
    only = draw(50, 0, 3, every - {("purple", "star")})
    assert set().union(*map(combinations, only)) == {("purple", "star")}


def test_scenes_that_cannot_be_drawn_are_refused() -> None:
    """No shapes, more than captions can tell of, and nothing left to draw are refused."""
    for most in (0, 4):
        with pytest.raises(UserError, match=f"up to {most} shapes"):
            draw(1, 0, most)
    with pytest.raises(UserError, match="held out"):
        draw(1, 0, 1, set(product(COLOURS, KINDS)))


def test_captions_of_a_scene_differ_are_true_and_tell_colour_with_kind() -> None:
    """Ten different captions of each scene hold of it, and each says of a shape both its colour and its kind."""
    rng = random.Random(4)
    for scene in draw(60, 4, most=3):
        captions = captions_of(scene, 10, rng)
        assert len(set(captions)) == len(captions) == 10
        for caption in captions:
            description = parse(caption)
            assert description is not None
            assert holds(description, scene), caption
            assert any(colour and kind for _, colour, kind in description.mentions), caption
    many = captions_of(Scene((RED_CIRCLE,)), 300, rng)
    assert len(set(many)) == len(many) == 300
