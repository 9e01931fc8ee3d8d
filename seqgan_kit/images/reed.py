"""CUB-200-2011 and Oxford-102 as they are distributed, with the captions of Reed et al. (2016)."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from seqgan_kit.errors import UserError
from seqgan_kit.files import numbered_lines, read_text, short
from seqgan_kit.images.records import Box, Reading, Record, caption_lines, files_in, is_picture, key_of

CAPTIONS = "text_c10"  # the folder in which Reed et al. distribute their captions
DEPTH = 3  # how far below the root such a folder is looked for


def read_reed(reading: Reading) -> dict[str, bool]:
    """Takes what the folder holds of a picture set as distributed; else says which parts of one are there."""
    root = reading.root
    texts, jpgs = ([path for path in _found(root, name) if path.is_dir()] for name in (CAPTIONS, "jpg"))
    lists = [path.parent for path in _found(root, "images.txt") if path.is_file()]
    for folders in (texts, lists or jpgs):
        if len(folders) > 1:
            raise UserError(f"{root} has several picture sets ({folders[0]} and {folders[1]}): give the folder of one")
    if texts and lists:
        _cub(reading, lists[0], texts[0])
    elif texts and jpgs:
        _oxford(reading, jpgs[0], texts[0])
    return {"images.txt": bool(lists), "jpg/": bool(jpgs), f"{CAPTIONS}/": bool(texts)}


def _cub(reading: Reading, folder: Path, texts: Path) -> None:
    classes = _classes(reading.root, texts)
    boxes = {key: (line, _box(line, value)) for key, (line, value) in _table(folder / "bounding_boxes.txt").items()}
    halves = {} if classes else _table(folder / "train_test_split.txt")
    for key, (line, name) in _table(folder / "images.txt").items():
        with reading.row():
            path = reading.picture(folder / "images", name, line)
            label = path.parent.name  # what classes.txt calls it, too
            split = _class_split(line, label, classes) if classes else None
            if halves:
                split = _half(*_of(halves, key, line, "train_test_split.txt"))
            box = _of(boxes, key, line, "bounding_boxes.txt")[1] if boxes else None
            captions = _caption_file(reading, texts / label / f"{path.stem}.txt", line)
            reading.add(key_of(path), line, Record(path, captions, label, split, box))
    reading.leave_out([path for path in files_in(folder / "images") if is_picture(path)], "not in images.txt")


def _oxford(reading: Reading, pictures: Path, texts: Path) -> None:
    root, classes = reading.root, _classes(reading.root, texts)
    seen: dict[str, Path] = {}
    for text in sorted(texts.glob("*/*.txt")):
        with reading.row():
            label, path = text.parent.name, pictures / f"{text.stem}.jpg"
            if text.stem in seen:
                raise UserError(
                    f"{text} has captions for {path.name}, and so has {seen[text.stem]}: remove one of them"
                )
            seen[text.stem] = text
            if not reading.inside(path):
                raise UserError(f"{text} is for {path}, a link that leaves {root}: copy the picture there")
            reading.named.add(os.path.realpath(path))
            if not os.path.isfile(path):
                raise UserError(f"{text} is for {path}, which is not there: fetch it again or remove the text")
            split = _class_split(text, label, classes) if classes else None
            captions = _caption_file(reading, text, str(texts))
            reading.add(key_of(path), str(text), Record(path, captions, label, split))
    reading.leave_out([path for path in files_in(pictures) if is_picture(path)], f"without captions in {CAPTIONS}")


def _caption_file(reading: Reading, path: Path, wanted_by: str) -> tuple[str, ...]:
    """One caption a line; blank lines are skipped."""
    if not os.path.isfile(path):
        raise UserError(f"{wanted_by}: its captions, {path}, are not there: fetch {CAPTIONS} again")
    if not reading.inside(path):
        raise UserError(f"{path} is a link that leaves {reading.root}: copy the file there")
    if not (found := caption_lines(path)):
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
