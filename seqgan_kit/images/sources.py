"""From a configuration to captioned pictures: a folder, or the world of shapes."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from torch import Tensor

from seqgan_kit.bounds import SAMPLE, Count, Integer, NotNegative, Number, Whole, check_fits
from seqgan_kit.errors import UserError
from seqgan_kit.images.data import Captioned, captioned, shrunk
from seqgan_kit.images.folders import CaptionsFrom, read
from seqgan_kit.images.pixels import decoded
from seqgan_kit.images.records import Record
from seqgan_kit.tables import Intake
from seqgan_kit.worlds import pictures as world
from seqgan_kit.worlds.captions import parse
from seqgan_kit.worlds.shapes import COLOURS, KINDS, Description, Scene, holds


@dataclass(frozen=True)
class DataConfig:
    """What to learn from: a folder of captioned pictures, or little scenes that the toolkit draws.

    Args:
        path: Folder of pictures with captions: the imagefolder of Hugging Face (metadata.jsonl), a table that holds
            pictures (.parquet), NAME.txt beside NAME.png, CUB-200-2011, Oxford-102, COCO or Flickr8k; unset draws
            little scenes.
        captions_from: Where the captions of a folder are: in a list (metadata), in a text file beside each picture
            (texts), in the files' names (names) or in those of their folders (classes). `auto` takes a list or texts
            where they are there.
        column: Column that holds the captions of a table; `a.b` is the column b of what the column a holds. Unset takes
            `text`, or the only one that is called as such columns are.
        bad_rows: What a row or picture that cannot be used does: it stops the run (error), or is left out and counted
            (drop).
        side: Side of the pictures in pixels, 4 times a power of 2; with two stages that of the first; time grows with
            its square.
        margin: Share by which pictures are kept larger, to be cut out at random (0.1875: 76 for 64 pixels).
        flip: Whether half of the pictures are mirrored. Only for captions that do not tell left from right.
        mismatch: Where captions that do not fit are from: another picture (caption), or a picture of another class
            (class).
        held_out: Share of the pictures that is held out, where the folder does not say which ones are.
        reading: How a folder is divided: 2, or 1 as versions until November 2026 did, whose runs keep it. With 1,
            copies of a picture's file can be trained on and held out.
        cache: Folder that decoded pictures are kept in, for the next run. Unset keeps none.
        workers: Number of threads that decode pictures. Unset takes what the machine has.
        scenes: Number of scenes that are drawn where no folder is given.
        shapes: Greatest number of shapes of a drawn scene, up to 3.
        captions: Number of captions of each drawn scene.
        unseen: Number of combinations of colour and shape that are kept out of training, to be asked for later.
    """

    path: str | None = None
    captions_from: CaptionsFrom = "auto"
    column: str | None = None
    bad_rows: Literal["error", "drop"] = "error"
    side: Integer = 32
    margin: NotNegative = 0.0
    flip: bool = False
    mismatch: Literal["caption", "class"] = "caption"
    held_out: Number = 0.1
    reading: Whole = 2
    cache: str | None = None
    workers: Count | None = None
    scenes: Whole = 4000
    shapes: Whole = 1
    captions: Whole = 8
    unseen: Whole = 4

    def kept(self, side: int) -> int:
        """The side that pictures are kept at, to cut `side` out of."""
        return round(side * (1 + self.margin))


@dataclass(frozen=True)
class Source:
    """train, held_out: captioned pictures at the largest side that is needed, no caption in both.

    unseen: those with combinations of colour and shape that training lacks, where the world is known.
    shapes: captions can be checked exactly. told: what became of the rows and pictures, in lines.
    """

    name: str
    train: Captioned
    held_out: Captioned
    unseen: Captioned | None = None
    shapes: bool = False
    told: tuple[str, ...] = ()

    def at(self, side: int) -> Source:
        """The same captions with pictures averaged down to a side."""
        unseen = None if self.unseen is None else shrunk(self.unseen, side)
        return replace(self, train=shrunk(self.train, side), held_out=shrunk(self.held_out, side), unseen=unseen)

    def summary(self) -> str:
        """What was read, in one line."""
        text = (
            f"{self.name}: {len(self.train)} pictures to train on with {len(self.train.captions)} different captions, "
            f"{len(self.held_out)} held out"
        )
        return text if self.unseen is None else f"{text}, {len(self.unseen)} of unseen combinations"


def load(config: DataConfig, side: int, seed: int) -> Source:
    """side: of the pictures that training needs, `margin` included. Raises UserError for what can't be read."""
    if not 0 < config.held_out < 1:
        raise UserError(f"--data.held_out {config.held_out:g}: give a share between 0 and 1")
    if config.reading not in (1, 2):
        raise UserError(f"--data.reading {config.reading}: give 2, or 1 for data as earlier versions read them")
    if config.path is not None:
        return _folder(config, side, seed)
    of_folders = {"captions_from": "auto", "column": None, "bad_rows": "error"}
    for option, default in of_folders.items():
        if getattr(config, option) != default:
            raise UserError(
                f"--data.{option} {getattr(config, option)}: it is about your own pictures: give --data.path"
            )
    check_fits("--data.scenes", config.scenes, SAMPLE + 3 * side**2)
    return _shapes(config, side, seed)


def _folder(config: DataConfig, side: int, seed: int) -> Source:
    root, drop = Path(config.path or ""), config.bad_rows == "drop"
    intake = Intake(str(root))
    records = read(root, config.captions_from, config.column, drop, intake)
    parts = _split(records, config.held_out, seed, intake, config.reading > 1)
    by_class = config.mismatch == "class"
    if by_class and any(record.label is None for record in records):
        raise UserError(f"--data.mismatch class: {root} does not give every picture a class (`label`)")
    found: list[Captioned] = []
    seen: Counter[str] = Counter()
    for some in parts:
        made = decoded(some, side, config.workers, config.cache, drop=True)
        pixels = made.pixels
        if made.bad:
            intake.used -= len(made.bad)
            intake.bad += made.bad.values()
            kept = [i for i in range(len(some)) if i not in made.bad]
            pixels, some = pixels[kept], [some[i] for i in kept]
            intake.settle(drop)
        if not some:
            left = "hold out: give more, or a larger --data.held_out" if found else "train on: give more"
            raise UserError(f"{root}: no good picture is left to {left}")
        seen += made.seen
        labels = [str(record.label) for record in some] if by_class else None
        found.append(captioned(pixels, [record.captions for record in some], labels))
    notes = [f"pictures: {', '.join(f'{count} {what}' for what, count in sorted(seen.items()))}"] if seen else []
    return Source(str(root), found[0], found[1], told=(*intake.lines(), *notes, *overlap(*found)))


def _split(
    records: Sequence[Record], share: float, seed: int, intake: Intake, apart: bool = True
) -> tuple[list[Record], list[Record]]:
    """To train on, and held out: as the folder says; else a share, pictures with a caption in common together, and, if
    no copy may be on the other side (`apart`), those whose files are the same.

    Where there is a test, a validation is left out, and counted. What has no split is trained on.
    """
    counts = Counter(record.split or "no split" for record in records)
    if set(counts) != {"no split"}:
        intake.notes.append(f"splits: {', '.join(f'{count} {split}' for split, count in counts.items())}")
    held = next((split for split in ("test", "validation") if counts[split]), None)
    train = [record for record in records if record.split in ("train", None)]
    if held and train:
        if held == "test" and counts["validation"]:
            intake.used -= counts["validation"]
            intake.dropped["of the validation, since there is a test"] += counts["validation"]
        if counts["no split"]:
            intake.notes.append(f"{counts['no split']} pictures have no split: they are trained on")
        return train, [record for record in records if record.split == held]
    if held:
        intake.notes.append("no picture is of the training: all are taken together")
    # further captions are often keywords that many share; the first one names the picture
    names = [record.captions[0].lower() for record in records]
    copies = _copies(records) if apart else [None] * len(records)
    groups = _groups(names, copies)
    wanted = max(1, round(share * len(records)))
    chosen: set[int] = set()
    for i in np.random.default_rng([seed, 1]).permutation(len(records)):
        if len(chosen) < wanted:
            chosen.update(groups[i])
    if len(chosen) == len(records):
        raise UserError(
            "all pictures have the same caption, or are copies: nothing can be held out; give different captions"
        )
    if several := [count for copy, count in Counter(copies).items() if copy is not None]:
        intake.notes.append(f"{sum(several)} files are copies of {len(several)}: those of one are on one side")
    intake.notes.append(
        f"held out: {len(chosen)} of {len(records)} pictures at random, those with the same first caption together "
        f"(--data.held_out {share:g})"
    )
    return [r for i, r in enumerate(records) if i not in chosen], [records[i] for i in sorted(chosen)]


def _copies(records: Sequence[Record]) -> list[bytes | None]:
    """What is the same of files that are: a digest where there is another one, None where there is none."""
    sizes = [record.path.stat().st_size if record.content is None else len(record.content) for record in records]
    many = Counter(sizes)
    digests = [
        hashlib.blake2b(record.path.read_bytes() if record.content is None else record.content).digest()
        if many[size] > 1
        else None
        for record, size in zip(records, sizes, strict=True)
    ]
    again = Counter(digests)
    return [digest if again[digest] > 1 else None for digest in digests]


def _groups(names: Sequence[str], copies: Sequence[bytes | None]) -> list[list[int]]:
    """Of each picture, all that have its name or are copies of it, or of one of these, and so on."""
    above = list(range(len(names)))  # a tree of each group

    def root(i: int) -> int:
        while above[i] != i:
            above[i] = i = above[above[i]]
        return i

    first: dict[object, int] = {}
    for i, keys in enumerate(zip(names, copies, strict=True)):
        for key in keys:
            if key is not None:
                above[root(i)] = root(first.setdefault(key, i))
    groups: dict[int, list[int]] = {}
    for i in range(len(names)):
        groups.setdefault(root(i), []).append(i)
    return [groups[root(i)] for i in range(len(names))]


def overlap(train: Captioned, held_out: Captioned) -> list[str]:
    """What held-out pictures have in common with those of training, in lines; nothing where there is nothing."""
    known = set(_digests(train.pixels))
    copies = sum(digest in known for digest in _digests(held_out.pixels))
    twice = len(train) - len(known)
    again = len(set(held_out.captions) & set(train.captions))
    told = {
        f"{copies} of {len(held_out)} held-out pictures are in training, too, pixel by pixel": copies,
        f"{twice} of {len(train)} pictures of training repeat another one, pixel by pixel": twice,
        f"{again} of {len(held_out.captions)} held-out captions are in training, too": again,
    }
    return [line for line, count in told.items() if count]


def _digests(pixels: Tensor) -> list[bytes]:
    return [hashlib.blake2b(picture.contiguous().numpy(), digest_size=16).digest() for picture in pixels]


def _shapes(config: DataConfig, side: int, seed: int) -> Source:
    for option, value, least, most in [
        ("--data.scenes", config.scenes, 2, 10**6),
        ("--data.shapes", config.shapes, 1, 3),
        ("--data.captions", config.captions, 1, 100),
        ("--data.unseen", config.unseen, 0, len(COLOURS) * len(KINDS) // 2),
    ]:
        if not least <= value <= most:
            raise UserError(f"{option} {value}: give {least} to {most}")
    rng = random.Random(seed)
    every = [(colour, kind) for colour in COLOURS for kind in KINDS]
    unseen = frozenset(rng.sample(every, config.unseen))
    others = max(2, round(config.scenes * config.held_out))
    scenes = world.draw(config.scenes + 2 * others, seed, config.shapes, unseen)
    told = [world.captions_of(scene, config.captions, rng) for scene in scenes]
    train = _scenes(scenes[: config.scenes], told[: config.scenes], side, seed)
    known = set(train.captions)
    new = [(scene, [c for c in some if c not in known]) for scene, some in zip(scenes, told, strict=True)]
    kept = [(scene, some) for scene, some in new[config.scenes :] if some][:others]
    held_out = _scenes([scene for scene, _ in kept], [some for _, some in kept], side, seed + 1)
    apart = None
    if unseen:
        drawn = world.draw(40 * others, seed + 2, config.shapes)
        rare = [scene for scene in drawn if world.combinations(scene) & unseen][:others]
        apart = _scenes(rare, [_naming(scene, unseen, config.captions, rng) for scene in rare], side, seed + 2)
    return Source(f"scenes of {config.shapes} shape{'s' * (config.shapes > 1)}", train, held_out, apart, True)


def _naming(scene: Scene, unseen: frozenset[tuple[str, str]], count: int, rng: random.Random) -> list[str]:
    """Captions that name an unseen combination, if there are any."""
    found = world.captions_of(scene, count, rng)
    naming = [caption for caption in found if _named(parse(caption)) & unseen]
    return naming or found


def _named(description: Description | None) -> set[tuple[str | None, str | None]]:
    return set() if description is None else {(colour, kind) for _, colour, kind in description.mentions}


def _scenes(scenes: list[Scene], captions: list[list[str]], side: int, seed: int) -> Captioned:
    read: dict[str, Description | None] = {}

    def true(picture: int, caption: str) -> bool:
        if caption not in read:
            read[caption] = parse(caption)
        description = read[caption]
        return description is not None and holds(description, scenes[picture])

    return captioned(world.render(scenes, side, seed), captions, holds=true)
