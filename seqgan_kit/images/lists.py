"""Lists of captions beside folders of pictures: COCO (Lin et al. 2014) and Flickr8k (Hodosh et al. 2013)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from seqgan_kit.errors import UserError
from seqgan_kit.files import check_file, numbered_lines, parsed, read_bytes, read_text, short
from seqgan_kit.images.records import SPLITS, Reading, Record, distinct, files_in, is_picture, key_of, text

TOKENS = re.compile(r"(?P<name>[^\t]+?\.\w+)#\d+\t(?P<caption>.*)")
LEFT_OUT = "in no list of captions"


def caption_lists(files: Sequence[Path]) -> list[Path]:
    """Those of the files that are such lists, by their names and how they begin; of Flickr8k not the lemmas."""
    files = [path for path in files if path.is_file()]
    coco = [path for path in files if re.fullmatch(r"captions.*\.json", path.name) and _is_coco(path)]
    return coco or [path for path in files if is_list(path) and path.suffix != ".json" and "lemma" not in path.name]


def is_list(path: Path) -> bool:
    """Whether a file that is given is such a list, whatever its name."""
    if not path.is_file():
        return False
    if path.suffix == ".json":
        return _is_coco(path)
    if not re.search(r"\.token(\.txt)?$", path.name):
        return False
    with path.open("rb") as file:
        return TOKENS.match(file.readline().decode("utf-8", "replace")) is not None


def home(path: Path) -> Path:
    """The folder of the pictures of a list: that of the list, or the one that holds its folder `annotations`."""
    return path.parent.parent if path.parent.name == "annotations" else path.parent


def read_lists(reading: Reading, lists: Sequence[Path]) -> None:
    """Takes the captions of each list, a row each, and the pictures that they name, in any folder below the root."""
    pictures = [path for path in files_in(reading.root) if is_picture(path)]
    by_name: dict[str, list[Path]] = {}
    for picture in pictures:
        by_name.setdefault(picture.name, []).append(picture)
    splits = _flickr_splits(reading)
    for path in lists:
        _check_inside(reading, path)
        split = next((SPLITS[part] for part in re.split(r"[^a-z]", path.name.lower()) if part in SPLITS), None)
        for place, name, caption in _coco(path) if path.suffix == ".json" else _flickr(path):
            with reading.row():
                if name is None:
                    raise UserError(f"{place}: no picture in `images` has its image_id: mend or remove it")
                if caption is None:
                    raise UserError(f"{place}: {short(name)} has no caption: mend or remove it")
                found = _picture(reading, by_name, text(place, "file_name", name), place, split)
                captions = distinct([text(place, "caption", caption)])
                reading.add(key_of(found), place, Record(found, captions, None, splits.get(found.name, split)))
    reading.leave_out(pictures, LEFT_OUT)


def _check_inside(reading: Reading, path: Path) -> None:
    check_file(path)
    if not reading.inside(path):
        raise UserError(f"{path} is a link that leaves {reading.root}: copy the file there")


def _is_coco(path: Path) -> bool:
    content = read_bytes(path)
    return content.lstrip()[:1] == b"{" and b'"images"' in content and b'"annotations"' in content


def _picture(reading: Reading, by_name: dict[str, list[Path]], name: str, place: str, split: str | None) -> Path:
    """The file of this name; of several, the one in a folder that is named after the split, as train2017."""
    found = by_name.get(Path(name).name, [])
    if len(found) > 1 and split is not None:
        found = [path for path in found if split[:3] in str(path.relative_to(reading.root).parent)] or found
    if len(found) > 1:
        raise UserError(f"{place}: {name} is {found[0]} and {found[1]}: remove one of them")
    if not found:
        return reading.picture(reading.root, name, place)  # which says why not
    return reading.picture(found[0].parent, found[0].name, place)


def _coco(path: Path) -> Iterator[tuple[str, Any, Any]]:
    """Where each annotation stands, its picture's file_name, and the caption."""
    try:
        content = parsed(read_bytes(path))
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}): fetch it again") from None
    images, annotations = (content.get(key) if isinstance(content, dict) else None for key in ("images", "annotations"))
    if not isinstance(images, list) or not isinstance(annotations, list):
        raise UserError(f"{path}: images and annotations are no lists: fetch it again")
    names = {str(one.get("id")): one.get("file_name") for one in images if isinstance(one, dict)}
    for number, one in enumerate(annotations, start=1):
        one = one if isinstance(one, dict) else {}
        yield f"{path} annotation {number}", names.get(str(one.get("image_id"))), one.get("caption")


def _flickr(path: Path) -> Iterator[tuple[str, Any, Any]]:
    """The same of lines NAME.jpg#0<tab>caption."""
    for number, line in numbered_lines(read_text(path)):
        found = TOKENS.fullmatch(line)
        place = f"{path} line {number}"
        yield (place, found["name"], found["caption"]) if found else (place, line, None)


def _flickr_splits(reading: Reading) -> dict[str, str]:
    """The split of each picture, where Flickr_8k.trainImages.txt and its like are there."""
    splits: dict[str, str] = {}
    for path in files_in(reading.root):
        if found := re.search(r"(train|dev|test)Images\.txt$", path.name):
            _check_inside(reading, path)
            splits |= {name: SPLITS[found[1]] for _, name in numbered_lines(read_text(path))}
    return splits
