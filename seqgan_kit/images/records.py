"""Captioned pictures while a folder is read: which files belong to it, and what became of each of its rows."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from seqgan_kit.errors import UserError
from seqgan_kit.files import HALF_PAIR, read_text, short
from seqgan_kit.tables import Intake, is_table

Box = tuple[float, float, float, float]

EXAMPLE = '{"file_name": "images/0001.png", "text": "a red bird", "captions": ["a small bird"], "label": "birds"}'
SUFFIXES = (  # of files that are taken for pictures where no list names them
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm"),
)
SPLITS = {  # as folders and columns call them, and `datasets` knows them
    "train": "train",
    "training": "train",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
}


@dataclass(frozen=True)
class Record:
    """One picture and what is known of it.

    path: of its file, or where it stands in a table. captions: at least one, none twice, with single spaces.
    label: name of the class. split: "train", "validation", "test" or None.
    box: x, y, width and height in pixels of what the picture shows; None where unknown.
    content: the picture's file, where a table holds it.
    """

    path: Path
    captions: tuple[str, ...]
    label: str | None
    split: str | None
    box: Box | None = None
    content: bytes | None = None


class Reading:
    """What is found in the folder `root`, row by row."""

    def __init__(self, root: Path, intake: Intake) -> None:
        self.root, self.intake = root, intake
        self.homes = _homes(root)
        self.records: dict[str, Record] = {}
        self.places: dict[str, str] = {}  # of the row that a record is from
        self.named: set[str] = set()  # files that some row is of, be it good or bad

    @contextmanager
    def row(self, counted: bool = False) -> Iterator[None]:
        """Around what is done with one row, which is thereby used, merged or bad. counted: as read, already."""
        self.intake.read += not counted
        try:
            yield
        except UserError as error:
            self.intake.reject(str(error))

    def add(self, key: str, place: str, record: Record) -> None:
        """Takes a record, or joins its captions to those of the same picture. Raises UserError where they disagree."""
        before = self.records.get(key)
        if before is None:
            self.records[key], self.places[key] = record, place
            self.intake.used += 1
            return
        for what in ("split", "label", "box"):
            one, other = getattr(before, what), getattr(record, what)
            if one != other:
                raise UserError(
                    f"{place}: {record.path.name} is on {self.places[key]} already, where its {what} is {one}, here "
                    f"{other}: give a picture one {what}"
                )
        captions = tuple(dict.fromkeys([*before.captions, *record.captions]))
        self.records[key] = replace(before, captions=captions)
        self.intake.merged["further rows of a picture"] += 1

    def picture(self, folder: Path, name: str, place: str) -> Path:
        """The file of this name, which must be in the folder, and in the data set even if it is a link."""
        path = folder / name
        if os.path.isabs(name) or ".." in Path(name).parts or not self.inside(path):
            raise UserError(f"{place}: {name} leads out of the folder {folder}: copy the picture there")
        self.named.add(os.path.realpath(path))
        if not os.path.isfile(path):
            raise UserError(f"{place}: {name} is not there ({path}): correct the name or remove the line")
        return path

    def inside(self, path: Path) -> bool:
        """Whether a file, or what it is a link to, belongs to the data set."""
        real = Path(os.path.realpath(path))
        return any(real.is_relative_to(home) for home in self.homes)

    def leave_out(self, pictures: Sequence[Path], why: str) -> None:
        """Counts those of the pictures that no row was of."""
        left = sum(os.path.realpath(path) not in self.named for path in pictures)
        self.intake.read += left
        self.intake.dropped[why] += left


def key_of(path: Path) -> str:
    """What a picture's file is known by, whatever links lead to it."""
    return os.path.realpath(path)


def content_key(content: bytes, split: str | None) -> str:
    """The same of a picture in a table."""
    return f"{split} {hashlib.sha256(content).hexdigest()}"


def _homes(root: Path) -> list[Path]:
    """The real folders that links may lead into: the folder itself; of a snapshot in the cache of Hugging Face, where
    every file is a link to ../../blobs, that folder, too."""
    real = Path(os.path.realpath(root))
    repositories = [
        folder.parent.parent
        for folder in (real, *real.parents)
        if folder.parent.name == "snapshots" and folder.parent.parent.name.startswith(("datasets--", "models--"))
    ]
    return [real, *(repository / "blobs" for repository in repositories)]


def files_in(root: Path) -> list[Path]:
    """All files of a folder and of those below it, in order; hidden ones left out, linked folders not entered."""
    found: list[Path] = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(folder, name) for name in sorted(names) if not name.startswith(".")]
    return found


def is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


# Captions, classes and splits


def text(place: str, key: str, value: object) -> str:
    """A string with something in it."""
    if not isinstance(value, str):
        raise UserError(f"{place}: {key} is {short(value)}, not a string: put it in quotes")
    if not value.strip():
        raise UserError(f"{place}: {key} is empty: fill it in or remove the picture")
    if HALF_PAIR.search(value) or "\0" in value:
        raise UserError(f"{place}: {key} has half a surrogate pair (\\ud800 to \\udfff) or NUL: remove it there")
    return value


def distinct(captions: Sequence[str]) -> tuple[str, ...]:
    """Each once, with single spaces."""
    return tuple(dict.fromkeys(" ".join(caption.split()) for caption in captions))


def caption_lines(path: Path) -> tuple[str, ...]:
    """The captions of a text file, one a line; empty where there are none.

    As in the code of StackGAN (Zhang et al. 2017), U+FFFD, of which the distributed files have some, becomes a space.
    """
    lines = read_text(path).replace("\ufffd", " ").split("\n") if path.stat().st_size else []
    return distinct([line for line in lines if line.strip()])


def split_of(place: str, value: object) -> str | None:
    """What a column `split` says. Raises UserError for a name that is none."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    known = SPLITS.get(value.strip().lower()) if isinstance(value, str) else None
    if known is None:
        raise UserError(f"{place}: split is {short(value)}: give one of {', '.join(SPLITS)}, or leave it out")
    return known


def split_of_path(root: Path, path: Path) -> str | None:
    """The split that a folder between the root and the file is named after; of several, the one nearest to the root.

    Of a table, its own name may begin with one: train-00000-of-00002.parquet.
    """
    parts = [part.lower() for part in path.relative_to(root).parts]
    names = [*parts[:-1], *(re.split(r"[^a-z]", parts[-1])[:1] if is_table(path) else [])]
    return next((SPLITS[name] for name in names if name in SPLITS), None)
