"""The captioned-shapes world: scenes, the captions' grammar, and the exact scores of a caption."""

import random
import re
from collections.abc import Iterator
from itertools import combinations, product

import pytest

from seqgan_kit.worlds import captions as language
from seqgan_kit.worlds import shapes
from seqgan_kit.worlds.captions import describe, grammatical_and_consistent, parse
from seqgan_kit.worlds.shapes import Description, Scene, Shape, consistent, draw_scene, holds

RED_CIRCLE = Shape("circle", "red", "small", 0, 0)
BLUE_SQUARE = Shape("square", "blue", "large", 1, 2)
BLUE_STAR = Shape("star", "blue", "small", 2, 2)
THREE = Scene((RED_CIRCLE, BLUE_SQUARE, BLUE_STAR))


def read(caption: str) -> Description:
    description = parse(caption)
    assert description is not None, caption
    return description


def pairs(count: int, seed: int) -> list[tuple[Scene, str]]:
    rng = random.Random(seed)
    return [(scene, describe(scene, rng)) for scene in (draw_scene(rng) for _ in range(count))]


def test_scenes_are_of_the_world() -> None:
    """A scene has one to three shapes in distinct cells of the grid, in reading order, and all numbers occur."""
    scenes = [scene for scene, _ in pairs(300, 0)]
    for scene in scenes:
        cells = [shape.cell for shape in scene.shapes]
        assert cells == sorted(set(cells))
        assert set(cells) <= set(shapes.CELLS)
        assert all((s.size, s.colour, s.kind) in set(product(*shapes.VALUES)) for s in scene.shapes)
    assert {len(scene.shapes) for scene in scenes} == {1, 2, 3}


def test_own_captions_are_grammatical_consistent_and_true() -> None:
    """Every caption that the world writes parses, is consistent, holds of its own scene and keeps the length limits."""
    for scene, caption in pairs(1000, 1):
        description = read(caption)
        assert consistent(description), caption
        assert holds(description, scene), (caption, scene)
        assert language.SHORTEST <= len(caption.split(" ")) <= language.LONGEST, caption
    assert grammatical_and_consistent(language.captions(500, 1)) == (1.0, 1.0)


def test_the_language_is_rich_but_small() -> None:
    """The language has fewer than 80 words and thousands of captions."""
    captions = language.captions(2000, 2)
    assert len({word for caption in captions for word in caption.split()}) < 80
    assert len(set(captions)) > 1600


def test_captions_depend_on_the_seed_alone() -> None:
    """The same seed gives the same captions, more of them continue fewer, and another seed gives others."""
    random.seed(3)
    first = language.captions(50, 5)
    random.seed(4)
    assert language.captions(80, 5)[:50] == first
    assert language.captions(50, 6) != first


UNGRAMMATICAL = {
    "": "nothing is said",
    "a red circle": "no full stop",
    "a red circle . a star .": "goes on after the full stop",
    "a  red circle .": "two spaces",
    "a red circle .\n": "a line break",
    "an red circle .": "an before a consonant",
    "a orange circle .": "a before a vowel",
    "a circles .": "one of several",
    "two circle .": "several of one",
    "a red small circle .": "colour before size",
    "a red one .": "a pronoun introduces nothing",
    "the red one is at the top .": "a pronoun with nothing before it",
    "there are a red circle .": "are with a singular",
    "there is two red circles .": "is with a plural",
    "two stars is above a circle .": "is with a plural subject",
    "a star are above a circle .": "are with a singular subject",
    "there is a star is above a circle .": "two verbs",
    "a star is .": "nothing said of it",
    "a star and a circle above a square .": "a relation of a list",
    "a star above .": "above what",
    "a star above and a circle .": "above what",
    "a star , a circle .": "a list without and",
    "a star and a circle and a square .": "a list with two ands",
    "a star , and a circle .": "a comma before and",
    "the star is circle .": "no article",
    "the star is a red .": "an article before a colour",
    "of the three shapes two is red and one is blue .": "is with two",
    "of the three shapes two are star and one is a circle .": "a singular of two",
    "of the three shapes two red shapes and one blue shape .": "no verb",
    "three shapes : two are red and one is small .": "counts colours and sizes",
    "three shapes : two are red and one blue shape .": "half a sentence",
    "three shapes : a red shape and two blue shapes .": "counts without a number",
    "a star and a circle , and it is small .": "which of the two",
    "two stars , and both is small .": "is with both",
    "two stars , and both are circle .": "a singular of both",
    "two stars , and both have the same sizes .": "plural of the same",
    "two stars , and both have different size .": "singular of different",
    "a star , and the one is small .": "a pronoun without a quality",
    "a star , but it is small .": "but takes none",
    "a star , but none are red .": "are with none",
    "a star , but none is red , and it is small .": "the wrong order",
}


@pytest.mark.parametrize("caption", UNGRAMMATICAL, ids=lambda caption: UNGRAMMATICAL[caption] + ": " + caption)
def test_ungrammatical_captions_are_refused(caption: str) -> None:
    """A caption with one fault of form does not parse."""
    assert parse(caption) is None


CONTRADICTIONS = {
    "two stars and two circles .": "four shapes",
    "a star in the centre and a circle in the centre .": "one spot, two shapes",
    "two stars in the centre .": "one spot, two shapes",
    "three stars at the top and one star .": "four shapes",
    "the star is above the star .": "above itself",
    "the star is in the same row as the star .": "in a row with itself",
    "a red star and a blue star , and the star is small .": "which star",
    "a red star , and the circle is small .": "no circle",
    "a red star , and it is blue .": "two colours",
    "a small star and a circle , and the small star is large .": "two sizes",
    "a star above a circle , and the star is below the circle .": "above and below",
    "a star left of a circle and right of a circle , and the star is on the left .": "left of nothing",
    "a star at the top , and it is at the bottom .": "two rows",
    "a star below a circle , and the star is at the top .": "below the top row",
    "a star next to a circle , and the star is in the centre , but none is a star .": "absent and there",
    "of the three shapes two are red and two are blue .": "2 + 2 > 3",
    "of the three shapes one is red and one is blue .": "1 + 1 < 3",
    "of the two shapes one is red and one is red .": "a colour said twice",
    "a red circle , a blue square and a red star : one red shape and two blue shapes .": "the wrong count",
    "two red stars and a circle : two are blue and one is red .": "the wrong count",
    "a star and a circle , and all three are red .": "three of two",
    "three stars , and both are red .": "two of three",
    "three stars , and both have the same shape .": "two of three",
    "a red star and a circle , and both are blue .": "red and blue",
    "a red star and a blue circle , and both have the same colour .": "the same and unlike",
    "two stars , and both have different shapes .": "different and alike",
    "three stars , and all three have different sizes .": "two sizes, three shapes",
    "a red star and a circle , but none is red .": "absent and there",
    "three shapes : two are circles and one is a star , but none is a circle .": "absent and counted",
}


@pytest.mark.parametrize("caption", CONTRADICTIONS, ids=lambda caption: CONTRADICTIONS[caption] + ": " + caption)
def test_contradictions_are_grammatical_and_inconsistent(caption: str) -> None:
    """A caption with one fault of sense parses and is true of no scene."""
    assert not consistent(read(caption))
    assert grammatical_and_consistent([caption, "a red .", "a small red star ."]) == (2 / 3, 1 / 3)


TRUE = [
    "a small red circle , a large blue square and a small blue star .",
    "a circle in the top left corner , a square on the right and a star at the bottom .",
    "there are two blue shapes and one circle .",
    "a circle is above a star and to the left of a square .",
    "two blue shapes are to the right of a red shape .",
    "the square is above the star and the circle is small .",
    "the star is next to the square , the square is in the same column as the star and the circle is red .",
    "of the three shapes two are blue and one is red .",
    "three shapes : two small shapes and one large shape , and the red one is above the large square .",
    "three shapes , and all three have different shapes , but none is yellow .",
]
FALSE = [
    "a small red circle and a large blue square .",
    "a circle in the top left corner , a square on the right and a star in the centre .",
    "there are two small shapes and one circle .",
    "a circle is above a star and to the right of a square .",
    "two blue shapes are to the left of a red shape .",
    "the square is below the star and the circle is small .",
    "of the three shapes two are red and one is blue .",
    "three shapes : two small shapes and one large shape , and the blue one is above the large square .",
    "three shapes , and all three have different colours .",
    "three shapes , and all three have the same shape .",
    "three shapes , but none is blue .",
]


def test_truth_of_captions_written_by_hand() -> None:
    """Captions hold of a scene, or do not, as a reader of them says."""
    for caption in TRUE:
        assert holds(read(caption), THREE), caption
    for caption in FALSE:
        assert not holds(read(caption), THREE), caption


def test_swapped_numbers_and_sizes_are_untrue() -> None:
    """A caption that tells another number or size than its scene has is ungrammatical or untrue of the scene."""
    swaps = {"small": ["large"], "large": ["small"], "one": ["two"], "two": ["three", "one"], "three": ["two"]}
    tried = []
    for scene, caption in pairs(600, 8):
        words = caption.split()
        if re.search(r"\bthe (small|large)", caption):
            continue  # "the large one is on the left" may be true as well
        for index, other in [(i, other) for i, word in enumerate(words) for other in swaps.get(word, [])]:
            description = parse(" ".join([*words[:index], other, *words[index + 1 :]]))
            if description is not None:
                tried.append(other)
                assert not holds(description, scene), (caption, other)
    assert min(tried.count(word) for word in ("small", "large", "two", "three")) > 20


def corrupted(caption: str, vocabulary: list[str], rng: random.Random) -> str:
    """The caption with one word replaced by another one, so that it still parses."""
    words = caption.split()
    while True:
        index = rng.randrange(len(words))
        other = " ".join([*words[:index], rng.choice(vocabulary), *words[index + 1 :]])
        if other != caption and parse(other) is not None:
            return other


@pytest.fixture
def forget() -> Iterator[None]:
    """A smaller world must not leave its answers in the caches."""
    consistent.cache_clear()
    shapes._placeable.cache_clear()
    yield
    consistent.cache_clear()
    shapes._placeable.cache_clear()


@pytest.mark.parametrize(
    ("colours", "kinds", "cells"),
    [
        (("red", "green", "blue"), ("circle",), shapes.CELLS[:3]),
        (("red", "blue"), ("circle", "star"), shapes.CELLS[1:7:2]),
        (("red",), ("circle",), shapes.CELLS),
    ],
)
@pytest.mark.usefixtures("forget")
def test_consistency_is_truth_of_some_scene(
    monkeypatch: pytest.MonkeyPatch,
    colours: tuple[str, ...],
    kinds: tuple[str, ...],
    cells: tuple[tuple[int, int], ...],
) -> None:
    """In worlds small enough to list all scenes, a caption is consistent if and only if it holds of one of them."""
    monkeypatch.setattr(shapes, "VALUES", (shapes.SIZES, colours, kinds))
    monkeypatch.setattr(shapes, "CELLS", cells)
    every = [
        Scene(tuple(Shape(k, c, s, *cell) for (s, c, k), cell in zip(looks, places, strict=True)))
        for count in (1, 2, 3)
        for places in combinations(cells, count)
        for looks in product(product(*shapes.VALUES), repeat=count)
    ]
    rng = random.Random(9)
    captions = [caption for _, caption in pairs(30, 10)]
    foreign = {*shapes.COLOURS, *shapes.KINDS} - {*colours, *kinds}
    vocabulary = sorted({word for caption in language.captions(500, 11) for word in caption.split()} - foreign)
    verdicts = []
    for _ in range(3):
        captions += [corrupted(caption, vocabulary, rng) for caption in captions[-30:]]
    for caption in captions:
        if not foreign & set(caption.replace("s ", " ").split()):
            description = read(caption)
            verdicts.append(consistent(description))
            assert verdicts[-1] == any(holds(description, scene) for scene in every), caption
    assert min(verdicts.count(True), verdicts.count(False)) > 10


def test_shuffled_words_are_no_caption() -> None:
    """The words of a caption in random order are nearly never grammatical."""
    rng = random.Random(6)
    captions = [caption.split() for caption in language.captions(1000, 7)]
    assert grammatical_and_consistent([" ".join(rng.sample(words, len(words))) for words in captions])[0] < 0.02
