"""Batches of captioned pictures: which caption goes with which picture, and that the pixels are the picture's own."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from seqgan_kit.errors import UserError
from seqgan_kit.images import data as data_module
from seqgan_kit.images.data import Captioned, PictureBatches, captioned, centred, cut, unit
from seqgan_kit.images.grids import save_grid, to_bytes
from seqgan_kit.images.sources import DataConfig, load
from seqgan_kit.images.train import shrunk
from seqgan_kit.samples import Images, size

COUNT, SIDE = 10, 8
CAPTIONS = [[f"picture {i}", f"number {i}", "a picture", f"one of group {i // 5}"] for i in range(COUNT)]


def numbered(count: int = COUNT, side: int = SIDE) -> Tensor:
    """Picture i has its number in the red channel, the row in the green one and the column in the blue one."""
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    parts = [torch.stack([torch.full((side, side), i), rows, columns]) for i in range(count)]
    return torch.stack(parts).to(torch.uint8)


def made(captions: Sequence[Sequence[str]] = CAPTIONS, labels: Sequence[str] | None = None) -> Captioned:
    return captioned(numbered(len(captions)), captions, labels)


def batches(data: Captioned, side: int = SIDE, **options: object) -> PictureBatches:
    """Batches whose embedding of a caption is its number, so that it can be read back."""
    numbers = torch.arange(len(data.captions), dtype=torch.float32).unsqueeze(1)
    return PictureBatches(data, numbers, side, 3, **options)  # type: ignore[arg-type]


def pictures(batch: Images) -> list[int]:
    return to_bytes(batch.pixels)[:, 0, 0, 0].tolist()


def said(data: Captioned, embedded: Tensor) -> list[str]:
    return [data.captions[int(number)] for number in embedded[:, 0]]


def equal(one: Images, other: Images) -> bool:
    return all(torch.equal(a, b) for a, b in zip(vars(one).values(), vars(other).values(), strict=True))


def test_each_picture_has_a_caption_of_its_own_and_two_that_are_not() -> None:
    """Of hundreds of pairs; all four captions of each picture come up, equally often; wrong ones are of all others."""
    data, spoken, wrong = made(), Counter(), Counter()
    source = batches(data, wrong=2)
    for _ in range(1000):
        batch = source.take(4)
        for i, own, others in zip(pictures(batch), said(data, batch.condition), batch.wrong, strict=True):
            assert own in CAPTIONS[i]
            spoken[i, own] += 1
            assert len(others) == 2
            for other in said(data, others):
                assert other not in CAPTIONS[i]
                wrong[i, other] += 1
    assert len(spoken) == COUNT * 4
    assert min(spoken.values()) > 50, "100 are expected of each, with a standard deviation of 9"
    for i in range(COUNT):
        fitting = {caption for j in range(COUNT) for caption in CAPTIONS[j]} - set(CAPTIONS[i])
        assert {other for at, other in wrong if at == i} == fitting


def test_wrong_captions_are_untrue_in_a_world() -> None:
    """Where it is known what is true, a caption of another picture that happens to be true of this one is not wrong."""
    source = load(DataConfig(side=16, scenes=40, captions=4), 16, 0)
    data, rng = source.train, np.random.default_rng(0)
    assert data.holds is not None
    everyone = np.repeat(np.arange(len(data)), 100)
    by_chance = replace(data, holds=None).draw_wrong(everyone, rng)
    true = [data.holds(int(i), int(j)) for i, j in zip(everyone, by_chance, strict=True)]
    assert sum(true) > 4, "captions of others are true by chance often enough for the test to mean something"
    wrong = data.draw_wrong(everyone, rng)
    assert not any(data.holds(int(i), int(j)) for i, j in zip(everyone, wrong, strict=True))
    own = data.draw(everyone, rng)
    assert all(data.holds(int(i), int(j)) for i, j in zip(everyone, own, strict=True))


def test_wrong_captions_are_of_another_class() -> None:
    """With labels, no caption of a picture of the same class."""
    captions = [[f"picture {i}", f"number {i}"] for i in range(COUNT)]
    labels = [str(i % 3) for i in range(COUNT)]
    data, rng = made(captions, labels), np.random.default_rng(0)
    everyone = np.repeat(np.arange(COUNT), 100)
    for i, j in zip(everyone, data.draw_wrong(everyone, rng), strict=True):
        owner = next(k for k in range(COUNT) if data.captions[j] in captions[k])
        assert labels[owner] != labels[i]


def test_a_caption_that_two_classes_share_is_wrong_for_neither() -> None:
    """Drawn from a picture of another class, "a flower" is still one that pictures of this class have."""
    captions = [[f"picture {i}"] + ["a flower"] * (i in (0, 1)) for i in range(6)]  # one of either class has it
    labels = [str(i % 2) for i in range(6)]
    data, rng = made(captions, labels), np.random.default_rng(0)
    others = np.repeat(np.arange(2, 6), 100)
    assert "a flower" not in {data.captions[j] for j in data.draw_wrong(others, rng)}


@pytest.mark.parametrize("labels", [None, ["0", "0", "1", "1"]])
def test_captions_that_differ_in_capitals_alone_fit_alike(labels: list[str] | None) -> None:
    """ "A flower" is not wrong for a picture of "a  flower"; captions themselves are left as they are."""
    captions = [["a flower", "leaves"], ["A Flower"], ["a  FLOWER", "roots"], ["a tree"]]
    data, rng = made(captions, labels), np.random.default_rng(0)
    assert list(data.captions) == ["a flower", "leaves", "A Flower", "a  FLOWER", "roots", "a tree"]
    for picture, others in enumerate(({"roots", "a tree"}, {"leaves", "roots", "a tree"}, {"leaves", "a tree"})):
        wrong = {data.captions[j] for j in data.draw_wrong(np.repeat(picture, 200), rng)}
        own = {"leaves"} if labels and picture == 1 else {"a tree"} if labels and picture == 2 else set()
        assert wrong == others - own


@pytest.mark.parametrize("near", [1, 2, 3])
def test_near_captions_are_the_nearest_that_do_not_fit(near: int) -> None:
    """By the cosine, the nearest first, all different and of other pictures, after those that are drawn from all."""
    random = torch.Generator().manual_seed(0)
    data = made([[f"a {i}", f"b {i}", "all"] for i in range(COUNT)])
    vectors = torch.randn(len(data.captions), 3, generator=random)
    source = PictureBatches(data, vectors, SIDE, 0, wrong=3, near=near)
    batch = source.take(COUNT)
    assert batch.wrong.shape == (COUNT, 3, 3)
    assert equal(batch, PictureBatches(data, vectors, SIDE, 0, wrong=3, near=near).take(COUNT))
    drawn = set()
    for i, own, others in zip(pictures(batch), batch.condition, batch.wrong, strict=True):
        unfit = vectors[[caption not in (f"a {i}", f"b {i}", "all") for caption in data.captions]]
        order = torch.nn.functional.cosine_similarity(unfit, own[None]).argsort(descending=True)
        assert torch.equal(others[3 - near :], unfit[order[:near]])
        drawn |= {tuple(row.tolist()) for row in others[: 3 - near]}
    assert near == 3 or len(drawn) > COUNT / 2


def test_where_few_captions_do_not_fit_near_ones_repeat() -> None:
    """With fewer of them than are asked for, any that does not fit stands in."""
    data = made([["a", "c"], ["b", "c"]])
    batch = PictureBatches(data, torch.eye(3), SIDE, 0, wrong=4, near=4).take(2)
    for i, others in zip(pictures(batch), batch.wrong, strict=True):
        assert {data.captions[int(row.argmax())] for row in others} == {"ba"[i]}


def test_where_every_caption_fits_the_user_is_told() -> None:
    """One line with the way out, not an endless search."""
    data, rng = made([["a cat", "an animal"]] * 4), np.random.default_rng(0)
    with pytest.raises(UserError, match="mismatched 0") as found:
        data.draw_wrong(np.arange(4), rng)
    assert "\n" not in str(found.value)
    with pytest.raises(UserError, match="same captions or class"):
        made(CAPTIONS, ["bird"] * COUNT).draw_wrong(np.arange(4), rng)
    assert size(batches(data, wrong=0).take(4)) == 4


def test_without_mismatched_captions_there_are_none() -> None:
    """`wrong` then has no numbers, not those of some caption."""
    assert batches(made(), wrong=0).take(4).wrong.shape == (4, 0, 0)


@pytest.mark.parametrize("batch_size", [3, 4, 10])
def test_an_epoch_has_each_picture_once(batch_size: int) -> None:
    """Also where batches straddle epochs: any COUNT pictures from the start of an epoch are all of them, reshuffled."""
    source = batches(made())
    seen = [i for _ in range(60) for i in pictures(source.take(batch_size))]
    epochs = [seen[start : start + COUNT] for start in range(0, len(seen) - COUNT + 1, COUNT)]
    assert all(sorted(epoch) == list(range(COUNT)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 10


@pytest.mark.parametrize("averaged", [1, 3])
def test_batches_depend_on_seed_and_position_alone(averaged: bool) -> None:
    """A source that starts at the position of another goes on as that, whatever was drawn before or beside it."""
    options = {"flip": True, "averaged": averaged}
    data = made()
    first, resumed = batches(data, 6, **options), batches(data, 6, **options)
    for _ in range(5):
        first.take(4)
    resumed.take(3)
    torch.rand(7)
    np.random.default_rng(0).random()
    resumed.order.load_state_dict(first.order.state_dict())
    for _ in range(20):
        assert equal(first.take(4), resumed.take(4))
    other = PictureBatches(data, first.embeddings, 6, 4, **options)  # type: ignore[arg-type]
    assert not equal(batches(data, 6, **options).take(4), other.take(4))


def test_two_processes_share_one_process_s_batch() -> None:
    """Pixels, crops, mirrors, captions and wrong captions: every second row each, at any number of steps."""
    data = made()
    one = batches(data, 6, flip=True)
    two = [batches(data, 6, flip=True, rank=rank, processes=2) for rank in range(2)]
    for _ in range(20):
        whole, halves = one.take(6), [source.take(6) for source in two]
        for rank, half in enumerate(halves):
            mine = Images(*(tensor[rank::2] for tensor in vars(whole).values()))
            assert size(half) == 3
            assert equal(half, mine)


def test_a_batch_larger_than_the_data_is_refused() -> None:
    """As a batch that processes can't share: one line that names the option."""
    with pytest.raises(UserError, match="10 pictures, fewer than a batch of 12"):
        batches(made(), name="birds").take(12)
    with pytest.raises(UserError, match="cannot be shared by 2 processes"):
        batches(made(), processes=2).take(5)


def test_crops_stay_inside_and_mirror_exactly() -> None:
    """What is seen is a window of the picture, read forwards or backwards; all windows and both ways come up."""
    data, source = made(), batches(made(), 6, flip=True)
    places, ways = set(), Counter()
    for _ in range(100):
        batch = source.take(5)
        for i, pixels in zip(pictures(batch), to_bytes(batch.pixels), strict=True):
            top, left = int(pixels[1, 0, 0]), int(min(pixels[2, 0, 0], pixels[2, 0, -1]))
            window = data.pixels[i][:, top : top + 6, left : left + 6]
            mirrored = bool(pixels[2, 0, 0] > pixels[2, 0, -1])
            assert torch.equal(pixels, window.flip(2) if mirrored else window)
            places.add((top, left))
            ways[mirrored] += 1
    assert places == {(top, left) for top in range(3) for left in range(3)}
    assert abs(ways[True] - ways[False]) < 120, "half of 500, with a standard deviation of 22"
    plain = batches(data, 6)
    assert all(to_bytes(plain.take(5).pixels)[:, 2].diff(dim=-1).eq(1).all() for _ in range(20)), "none is mirrored"


def test_cut_is_slicing() -> None:
    """Of each picture by its own place, against plain loops; pictures that are not cut come back as they are."""
    pixels = torch.randint(0, 256, (4, 3, 9, 9), dtype=torch.uint8)
    places, mirrored = np.array([[0, 4, 2, 1], [3, 0, 4, 2]]), np.array([True, False, True, False])
    found = cut(pixels, 5, places, mirrored)
    for i in range(4):
        top, left = places[:, i]
        window = pixels[i, :, top : top + 5, left : left + 5]
        assert torch.equal(found[i], window.flip(2) if mirrored[i] else window)
    assert cut(pixels, 9, np.zeros((2, 4), dtype=np.int64), np.zeros(4, dtype=bool)) is pixels


def test_bytes_survive_the_way_to_floats_and_back() -> None:
    """All 256 values; -1 and 1 are black and white, and what lies outside is cut off."""
    every = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(2, 3, -1, -1)
    floats = unit(every)
    assert floats.dtype == torch.float32
    assert (floats.min(), floats.max()) == (-1.0, 1.0)
    assert torch.equal(to_bytes(floats), every)
    assert to_bytes(torch.tensor([-1.5, -1.0, -0.999, 0.999, 1.0, 7.0])).tolist() == [0, 0, 0, 255, 255, 255]


def test_embeddings_are_averaged_over_captions_of_the_picture() -> None:
    """The mean of `averaged` embeddings of the picture's captions, all of which come up; `wrong` is of one caption."""
    data = made([["a", "b"], ["c", "d"], ["e", "f"]])
    ones = torch.eye(len(data.captions))
    source = PictureBatches(data, ones, SIDE, 0, averaged=4)
    found = set()
    for _ in range(100):
        batch = source.take(3)
        assert batch.wrong[:, 0].sort(1).values[:, -1].eq(1).all()
        for i, row in zip(pictures(batch), batch.condition, strict=True):
            own = [data.captions.index(caption) for caption in ("ab", "cd", "ef")[i]]
            assert row[own].sum() == 1, "nothing of other pictures' captions"
            assert (row * 4).eq((row * 4).round()).all()
            found.add(row[own[0]].item())
    assert found == {0.0, 0.25, 0.5, 0.75, 1.0}


def test_the_middle_of_pictures() -> None:
    """As many pixels are cut from one side as from the other."""
    pixels = numbered(2, 10)
    assert torch.equal(centred(pixels, 6), pixels[:, :, 2:8, 2:8])
    assert torch.equal(centred(pixels, 10), pixels)


def test_shrunk_pictures_are_means_of_areas() -> None:
    """Each pixel of the smaller one is the mean of the four that it stands for, rounded; captions stay."""
    data = replace(made(), pixels=torch.randint(0, 256, (COUNT, 3, SIDE, SIDE), dtype=torch.uint8))
    small = shrunk(data, SIDE // 2)
    means = data.pixels.double().unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).mean((3, 5))
    assert (small.pixels.double() - means).abs().max() <= 0.5
    assert small.captions is data.captions
    assert shrunk(data, SIDE) is data


def test_sources_hold_out_captions_and_combinations() -> None:
    """In the world of shapes, no caption of training is asked for later; and the same seed gives the same data."""
    source = load(DataConfig(side=16, scenes=60, captions=3, unseen=4), 16, 1)
    assert not set(source.train.captions) & set(source.held_out.captions)
    assert source.unseen is not None
    assert not set(source.train.captions) & set(source.unseen.captions)
    again = load(DataConfig(side=16, scenes=60, captions=3, unseen=4), 16, 1)
    assert torch.equal(source.train.pixels, again.train.pixels)
    assert list(source.train.captions) == list(again.train.captions)


def test_pictures_of_one_caption_are_held_out_together(tmp_path: Path) -> None:
    """At least the share that was asked for, whole groups of the same first caption, another choice by another seed."""
    names = ["a bird", "A bird", "a cat", "a cat", "a cat", "a dog", "a fox", "a hen", "an owl", "an ox"]
    pictures = [(f"{i}.png", caption, ["an animal"]) for i, caption in enumerate(names)]
    lines = [json.dumps({"file_name": name, "text": text, "captions": more}) for name, text, more in pictures]
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines))
    for i, (name, _, _) in enumerate(pictures):
        save_grid(tmp_path / name, numbered(len(pictures))[i : i + 1], 1, [])
    chosen = set()
    for seed in range(10):
        source = load(DataConfig(path=str(tmp_path), side=SIDE, held_out=0.3), SIDE, seed)
        train, held_out = (
            {c.lower() for c in part.captions} - {"an animal"} for part in (source.train, source.held_out)
        )
        assert not train & held_out
        assert len(source.train) + len(source.held_out) == len(names)
        assert 3 <= len(source.held_out) <= 5
        chosen.add(frozenset(held_out))
    assert len(chosen) > 1


def test_the_search_for_wrong_captions_gives_up_late() -> None:
    """A picture that nearly all captions fit still gets the rare one that does not."""
    common = [["a bird"]] * 19 + [["a cat"]]
    data = made(common)
    assert data_module.TRIES >= 100
    wrong = data.draw_wrong(np.arange(19), np.random.default_rng(0))
    assert {data.captions[j] for j in wrong} == {"a cat"}
