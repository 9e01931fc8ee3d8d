"""Which captioned pictures a folder holds: Hugging Face imagefolder, CUB-200-2011 and Oxford-102 as distributed.

Nothing is decoded here. Every mistake is told with its file and line.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from seqgan_kit.errors import UserError
from seqgan_kit.files import HALF_PAIR, numbered_lines, read_text, short
from seqgan_kit.tables import csv_records, json_records, json_value

Box = tuple[float, float, float, float]

SPLITS = ("train", "test")
METADATA = ("metadata.jsonl", "metadata.csv")
CAPTIONS = "text_c10"  # the folder in which Reed et al. distribute their captions
DEPTH = 3  # how far below the root such a folder is looked for
EXAMPLE = '{"file_name": "images/0001.png", "text": "a red bird", "captions": ["a small bird"], "label": "birds"}'


@dataclass(frozen=True)
class Record:
    """One picture and what is known of it.

    captions: at least one, none twice, with single spaces.
    label: name of the class. split: "train", "test" or None.
    box: x, y, width and height in pixels of what the picture shows; None where unknown.
    """

    path: Path
    captions: tuple[str, ...]
    label: str | None
    split: str | None
    box: Box | None = None


def read(root: str | Path) -> list[Record]:
    """The captioned pictures of a folder, at least 2, in the order of its lists. Three layouts are known:

    - imagefolder of Hugging Face: metadata.jsonl or metadata.csv, at the root or in each of train/ and test/, with
      `file_name` and `text` and, optional, `captions` (more of them) and `label` or `group`. File names at the root
      that start with train/ or test/ give the split too. In CSV `captions` is a list in JSON.
    - CUB-200-2011 (Wah et al. 2011): images.txt, images/CLASS/NAME.jpg and, optional, bounding_boxes.txt; beside it
      text_c10/CLASS/NAME.txt, captions of Reed et al. (2016), one a line.
    - Oxford-102 (Nilsback and Zisserman 2008): jpg/NAME.jpg and text_c10/CLASS/NAME.txt. The .mat files are not read.

    The split of the latter two has classes apart, those of trainvalclasses.txt and testclasses.txt, where these are
    there; else it is CUB's own train_test_split.txt, or unknown.

    Raises UserError for any other folder and for any file that is missing, used twice, or outside the folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{root} {'is a file' if root.exists() else 'does not exist'}: give the folder of the pictures")
    try:
        if not os.listdir(root):
            raise UserError(f"{root} is empty: {_wanted()}")
        records = _imagefolder(root) or _reed(root)
    except OSError as error:
        raise UserError(f"{error.filename or root} cannot be read ({error.strerror}): check its permissions") from None
    if len(records) < 2:
        raise UserError(f"{root} has {len(records)} captioned pictures: give 2 or more")
    return records


# Hugging Face imagefolder


def _imagefolder(root: Path) -> list[Record]:
    """Empty if no metadata is there."""
    found = [
        (root / split / name, split or None)
        for split in ("", *SPLITS)
        for name in METADATA
        if (root / split / name).exists()
    ]
    for (first, _), (second, _) in pairwise(found):
        if first.parent in (second.parent, root):
            raise UserError(f"{root} has both {first.relative_to(root)} and {second.relative_to(root)}: remove one")
    records: list[Record] = []
    seen: dict[str, str] = {}
    for path, split in found:
        before = len(records)
        for line, row in _rows(path):
            picture = _picture(root, path.parent, _text(line, "file_name", row), line, seen)
            inner = picture.parent.relative_to(path.parent).parts[:1]
            own = split or next((name for name in SPLITS if inner == (name,)), None)
            records.append(Record(picture, _captions(line, row), _label(line, row), own))
        if len(records) == before:
            raise UserError(f"{path} has no pictures: {_wanted()}")
    return records


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    text = read_text(path) if path.stat().st_size else ""
    if path.suffix != ".csv":
        yield from ((f"{path} line {number}", row) for number, row in json_records(path, text, EXAMPLE))
        return
    for number, row in csv_records(path, text, ".csv"):
        line, more = f"{path} line {number}", str(row.get("captions", "")).strip()
        yield line, row | {"captions": json_value(line, more) if more else None}


def _captions(line: str, row: dict[str, Any]) -> tuple[str, ...]:
    more = row.get("captions")
    if more is not None and not isinstance(more, list):
        raise UserError(f"{line}: captions is {short(more)}, not a list: give a list of strings or leave it out")
    numbered = {f"captions[{place}]": caption for place, caption in enumerate(more or [])}
    texts = [_text(line, "text", row), *(_text(line, key, numbered) for key in numbered)]
    return tuple(dict.fromkeys(" ".join(text.split()) for text in texts))


def _label(line: str, row: dict[str, Any]) -> str | None:
    for key in ("label", "group"):
        value = row.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if value is not None and not isinstance(value, str):
            raise UserError(f"{line}: {key} is {short(value)}: give the name of the class, a string")
        if value and value.strip():
            return " ".join(_text(line, key, row).split())
    return None


def _text(line: str, key: str, row: dict[str, Any]) -> str:
    """A string with something in it."""
    if key not in row:
        raise UserError(f"{line}: no {key}, only {', '.join(row) or 'an empty object'}: give it as in {EXAMPLE}")
    value = row[key]
    if not isinstance(value, str):
        raise UserError(f"{line}: {key} is {short(value)}, not a string: put it in quotes")
    if not value.strip():
        raise UserError(f"{line}: {key} is empty: fill it in or remove the picture")
    if HALF_PAIR.search(value) or "\0" in value:
        raise UserError(f"{line}: {key} has half a surrogate pair (\\ud800 to \\udfff) or NUL: remove it there")
    return value


# CUB-200-2011 and Oxford-102


def _reed(root: Path) -> list[Record]:
    """A picture set as distributed, with the captions of Reed et al."""
    texts, jpgs = ([path for path in _found(root, name) if path.is_dir()] for name in (CAPTIONS, "jpg"))
    lists = [path.parent for path in _found(root, "images.txt") if path.is_file()]
    for folders in (texts, lists or jpgs):
        if len(folders) > 1:
            raise UserError(f"{root} has several picture sets ({folders[0]} and {folders[1]}): give the folder of one")
    if texts and lists:
        return _cub(root, lists[0], texts[0])
    if texts and jpgs:
        return _oxford(root, jpgs[0], texts[0])
    there = {"metadata.jsonl or metadata.csv": False, "images.txt": lists, "jpg/": jpgs, f"{CAPTIONS}/": texts}
    looked = ", ".join(f"{name} ({'there' if found else 'not there'})" for name, found in there.items())
    raise UserError(
        f"{root} is no imagefolder of Hugging Face, nor CUB-200-2011 or Oxford-102 with the captions of Reed et al. "
        f"in a folder {CAPTIONS}; looked for {looked}: {_wanted()}"
    )


def _cub(root: Path, folder: Path, texts: Path) -> list[Record]:
    classes = _classes(root, texts)
    boxes = {key: (line, _box(line, value)) for key, (line, value) in _table(folder / "bounding_boxes.txt").items()}
    halves = {} if classes else _table(folder / "train_test_split.txt")
    seen: dict[str, str] = {}
    records = []
    for key, (line, name) in _table(folder / "images.txt").items():
        path = _picture(root, folder / "images", name, line, seen)
        label = path.parent.name  # what classes.txt calls it, too
        split = _class_split(line, label, classes) if classes else None
        if halves:
            split = _half(*_of(halves, key, line, "train_test_split.txt"))
        box = _of(boxes, key, line, "bounding_boxes.txt")[1] if boxes else None
        captions = _caption_file(root, texts / label / f"{path.stem}.txt", line)
        records.append(Record(path, captions, label, split, box))
    return records


def _oxford(root: Path, pictures: Path, texts: Path) -> list[Record]:
    classes = _classes(root, texts)
    seen: dict[str, Path] = {}
    records = []
    for text in sorted(texts.glob("*/*.txt")):
        label, path = text.parent.name, pictures / f"{text.stem}.jpg"
        if text.stem in seen:
            raise UserError(f"{text} has captions for {path.name}, and so has {seen[text.stem]}: remove one of them")
        seen[text.stem] = text
        if not _inside(root, path):
            raise UserError(f"{text} is for {path}, a link that leaves {root}: copy the picture there")
        if not os.path.isfile(path):
            raise UserError(f"{text} is for {path}, which is not there: fetch the pictures again or remove the text")
        split = _class_split(text, label, classes) if classes else None
        records.append(Record(path, _caption_file(root, text, str(texts)), label, split))
    return records


def _caption_file(root: Path, path: Path, wanted_by: str) -> tuple[str, ...]:
    """One caption a line. As in the code of StackGAN (Zhang et al. 2017), U+FFFD, of which the distributed files have
    some, becomes a space, and blank lines are skipped.
    """
    if not os.path.isfile(path):
        raise UserError(f"{wanted_by}: its captions, {path}, are not there: fetch {CAPTIONS} again")
    if not _inside(root, path):
        raise UserError(f"{path} is a link that leaves {root}: copy the file there")
    text = read_text(path) if path.stat().st_size else ""
    captions = (" ".join(line.replace("\ufffd", " ").split()) for line in text.split("\n"))
    if not (found := tuple(dict.fromkeys(filter(None, captions)))):
        raise UserError(f"{path} has no captions: give one a line")
    return found


def _classes(root: Path, texts: Path) -> dict[str, str]:
    """The split of each class; empty where the lists of Reed et al. are not there."""
    names = {"train": "trainvalclasses.txt", "test": "testclasses.txt"}
    for folder in (texts.parent, texts, root):
        paths = {split: folder / name for split, name in names.items()}
        missing = [path for path in paths.values() if not path.is_file()]
        if len(missing) == 1:
            raise UserError(f"{missing[0]} is not there, though its counterpart is: fetch it again or remove the other")
        if not missing:
            break
    else:
        return {}
    found: dict[str, str] = {}
    for split, path in paths.items():
        for line, name in _lines(path):
            if found.setdefault(name, split) != split:
                raise UserError(f"{line}: the class {name} is in {names['train']} too: remove it from one")
    return found


def _class_split(line: str | Path, label: str, classes: dict[str, str]) -> str:
    if label not in classes:
        raise UserError(f"{line}: its class {label} is in neither trainvalclasses.txt nor testclasses.txt: add it")
    return classes[label]


def _table(path: Path) -> dict[str, tuple[str, str]]:
    """Lines of a key and its value; empty if there is no such file."""
    if not path.is_file():
        return {}
    table: dict[str, tuple[str, str]] = {}
    for line, content in _lines(path):
        key, *values = content.split(maxsplit=1)
        if not values:
            raise UserError(f"{line}: {short(content)} has no value: give the number of the picture and a value")
        if key in table:
            raise UserError(f"{line}: picture {key} is on {table[key][0]} too: remove one of the lines")
        table[key] = line, values[0]
    return table


def _of(table: dict[str, tuple[str, Any]], key: str, line: str, name: str) -> tuple[str, Any]:
    if key not in table:
        raise UserError(f"{line}: picture {key} is missing from {name}: fetch that file again, or remove it")
    return table[key]


def _half(line: str, value: str) -> str:
    if value not in ("0", "1"):
        raise UserError(f"{line}: {short(value)} says nothing: give 1 for a picture to train on, 0 for one to test on")
    return "train" if value == "1" else "test"


def _box(line: str, value: str) -> Box:
    try:
        x, y, width, height = map(float, value.split())
    except ValueError:
        raise UserError(f"{line}: {short(value)} is no box: give x, y, width and height in pixels") from None
    if not all(map(math.isfinite, (x, y, width, height))) or width <= 0 or height <= 0:
        raise UserError(f"{line}: the box {short(value)} is empty or endless: give x, y, width and height in pixels")
    return x, y, width, height


# Paths and lines


def _picture(root: Path, folder: Path, name: str, line: str, seen: dict[str, str]) -> Path:
    """The file of this name, which must be in the folder, in the root even if it is a link, and not be used before."""
    path = folder / name
    if os.path.isabs(name) or ".." in Path(name).parts or not _inside(root, path):
        raise UserError(f"{line}: {name} leads out of the folder {folder}: copy the picture there")
    if not os.path.isfile(path):
        raise UserError(f"{line}: {name} is not there ({path}): correct the name or remove the line")
    if (before := seen.setdefault(os.path.realpath(path), line)) != line:
        raise UserError(f"{line}: {name} is on {before} already: give each picture once, all captions together")
    return path


def _inside(root: Path, path: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))


def _found(root: Path, name: str) -> list[Path]:
    """Everything of this name in the folder or a little below it; links are not followed."""
    found: list[Path] = []
    level = [root]
    for _ in range(DEPTH):
        entries = [entry for folder in level for entry in sorted(os.scandir(folder), key=lambda entry: entry.name)]
        found += [Path(entry.path) for entry in entries if entry.name == name]
        level = [Path(entry.path) for entry in entries if entry.name != name and entry.is_dir(follow_symlinks=False)]
    return found


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Where each line stands, for messages, and the line."""
    return ((f"{path} line {number}", content) for number, content in numbered_lines(read_text(path)))


def _wanted() -> str:
    return f"put the pictures there and a metadata.jsonl with one line for each as {EXAMPLE}"
