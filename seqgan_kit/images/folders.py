"""Which captioned pictures a folder or a table holds, in the layouts that are common.

Nothing is decoded here. Every mistake is told with its file and line, and every row is counted.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from seqgan_kit.errors import UserError
from seqgan_kit.files import check_file, library, listed, read_json, short
from seqgan_kit.images.lists import caption_lists, home, is_list, read_lists
from seqgan_kit.images.records import (
    EXAMPLE,
    Reading,
    Record,
    caption_lines,
    content_key,
    distinct,
    files_in,
    is_picture,
    key_of,
    split_of,
    split_of_path,
    text,
)
from seqgan_kit.images.reed import read_reed
from seqgan_kit.tables import Intake, data_set, is_data_set, is_table, json_value, records, value_at, with_class_names

CaptionsFrom = Literal["auto", "metadata", "texts", "names", "classes"]

METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
TEXTS = (".txt", ".caption")  # beside a picture
PICTURES = ("image", "img", "picture", "jpg", "jpeg", "png", "webp")  # columns that hold one, beside file_name
COLUMNS = ("text", "caption", "captions", "sentences", "sentence", "prompt", "description")
UNNAMED, UNLISTED, CLASSLESS = "the name is a number", "no row names them", "in no folder of a class"


def read(
    root: str | Path,
    captions_from: CaptionsFrom = "auto",
    column: str | None = None,
    drop: bool = False,
    intake: Intake | None = None,
) -> list[Record]:
    """The captioned pictures of a folder, at least 2, in the order of its lists. These layouts are known:

    - imagefolder of Hugging Face: metadata.jsonl, .csv or .parquet in any folder, with `file_name` and `text` and,
      optional, `captions` (more of them), `label` or `group`, and `split`. Several rows of a picture are one record. In
      CSV `captions` is a list in JSON.
    - tables that hold the pictures, {image: {bytes, path}, text}: a .parquet file or a folder of such, or what
      `datasets.save_to_disk` wrote. Any other table, given itself, names files beside it.
    - CUB-200-2011 (Wah et al. 2011): images.txt, images/CLASS/NAME.jpg and, optional, bounding_boxes.txt; beside it
      text_c10/CLASS/NAME.txt, captions of Reed et al. (2016), one a line.
    - Oxford-102 (Nilsback and Zisserman 2008): jpg/NAME.jpg and text_c10/CLASS/NAME.txt. The .mat files are not read.
    - COCO: annotations/captions_*.json (`images` and `annotations`) and pictures in any folder; Flickr8k: a file
      *.token.txt of lines NAME.jpg#0<tab>caption. Either is also given itself.
    - NAME.txt beside NAME.png, a caption a line; or names of files, or of their folders, that are captions.

    A split is a column, or a folder or table named after it, at any depth. That of CUB and Oxford has classes apart,
    those of trainvalclasses.txt and testclasses.txt, where these are there; else it is CUB's own
    train_test_split.txt, or unknown.

    column: of the captions in a table. drop: bad rows are left out. intake: is told what became of each row.
    Raises UserError for any other folder and, unless dropping, for any file that is missing or outside the data set.
    """
    root = Path(root)
    intake = Intake(str(root)) if intake is None else intake
    listed_there = root.is_file() and is_list(root)
    if not root.is_dir() and not (root.is_file() and (is_table(root) or listed_there)):
        raise UserError(f"{root} {'is a file' if root.exists() else 'does not exist'}: give the folder of the pictures")
    reading = Reading(root if root.is_dir() else home(root) if listed_there else root.parent, intake)
    if root.is_file() and captions_from not in ("auto", "metadata"):
        raise UserError(f"--data.captions_from {captions_from}: {root} is a table: leave it out, or give the folder")
    try:
        if listed_there:
            read_lists(reading, [root])
        elif root.is_file():
            _read_table(reading, root, column)
        elif not os.listdir(root):
            raise UserError(f"{root} is empty: {_wanted()}")
        else:
            _read_folder(reading, captions_from, column)
    except OSError as error:
        raise UserError(f"{error.filename or root} cannot be read ({error.strerror}): check its permissions") from None
    intake.unit = "rows" if intake.merged.total() else "pictures"
    intake.settle(drop)
    if len(reading.records) < 2:
        raise UserError(f"{root} has {len(reading.records)} captioned pictures: give 2 or more")
    return list(reading.records.values())


def _read_folder(reading: Reading, captions_from: CaptionsFrom, column: str | None) -> None:
    root, files = reading.root, files_in(reading.root)
    for name in METADATA:
        if (root / name).exists():  # as a pipe, it is none of the files
            check_file(root / name)
    pictures = [path for path in files if is_picture(path)]
    tables = [path for path in files if path.name in METADATA] or [path for path in files if path.suffix == ".parquet"]
    if captions_from in ("auto", "metadata"):
        if is_data_set(root):
            _read_table(reading, root, column)
            return
        if tables:
            _check_apart(root, tables)
            for path in sorted(tables, key=lambda path: (split_of_path(root, path) != "train", path)):
                _read_table(reading, path, column)
            reading.leave_out(pictures, UNLISTED)
            return
    if column is not None:
        raise UserError(f"--data.column {column}: {root} has no {', '.join(METADATA)} or .parquet: leave it out")
    if captions_from == "auto":
        if lists := caption_lists(files):
            read_lists(reading, lists)
            return
        parts = read_reed(reading)
        if reading.intake.read:
            return
    beside = {path.with_suffix("") for path in files if path.suffix.lower() in TEXTS}
    if captions_from == "texts" or (captions_from == "auto" and any(p.with_suffix("") in beside for p in pictures)):
        _read_texts(reading, pictures, [path for path in files if path.suffix.lower() in TEXTS])
    elif captions_from in ("names", "classes"):
        _read_names(reading, pictures, captions_from == "classes")
    elif captions_from == "metadata":
        raise UserError(f"{root} has none of {', '.join(METADATA)} and no .parquet: {_wanted()}")
    else:
        raise UserError(_unknown(root, pictures, files, parts))
    _note_others(reading.intake, [path for path in files if path not in {*pictures} and path.suffix not in TEXTS])


def _unknown(root: Path, pictures: list[Path], files: list[Path], parts: dict[str, bool]) -> str:
    """What was looked for, and what each way of reading the folder would give."""
    there = {"metadata.jsonl or metadata.csv": False, **parts}
    looked = ", ".join(f"{name} ({'there' if found else 'not there'})" for name, found in there.items())
    choices = []
    if named := next((caption for path in pictures if (caption := _named(path.stem)[0])), None):
        choices.append(f"--data.captions_from names if the files are named after what they show, as {named!r}")
    if folder := next((caption for path in pictures if (caption := _class(root, path)[0])), None):
        choices.append(f"--data.captions_from classes if their folders are, as {folder!r}")
    if table := next((path for path in files if is_table(path)), None):
        choices.append(f"--data.path {table} if that names the pictures")
    return (
        f"{root} is no imagefolder of Hugging Face, nor CUB-200-2011 or Oxford-102 with the captions of Reed et al. "
        f"in a folder text_c10; looked for {looked}, NAME.txt beside NAME.png (not there): "
        f"{''.join(f'give {choice}, or ' for choice in choices)}{_wanted()}"
    )


# Tables


def _check_apart(root: Path, tables: list[Path]) -> None:
    """No two lists of the same pictures: it is not guessed which one counts."""
    metadata = [path for path in tables if path.name in METADATA]
    folders: dict[Path, Path] = {}
    for path in sorted(metadata, key=lambda path: (len(path.parts), METADATA.index(path.name), path)):
        above = next((folders[folder] for folder in (path.parent, *path.parent.parents) if folder in folders), None)
        if above is not None:
            raise UserError(f"{root} has both {above.relative_to(root)} and {path.relative_to(root)}: remove one")
        folders[path.parent] = path


def _read_table(reading: Reading, path: Path, column: str | None) -> None:
    root, rows = reading.root, 0
    for part, split in _parts(path):
        split = split or (split_of_path(root, part) if part != root else None)
        folder = part.parent if part.is_file() else part
        captions: str | None = column
        for place, row in _rows(part, reading.intake):
            rows += 1
            with reading.row(counted=True):
                if captions is None:
                    captions = _caption_column(place, row)
                    if captions != "text":
                        reading.intake.notes.append(f"captions are the column {captions!r} of {part}")
                _take(reading, folder, place, row, captions, split)
    if not rows and not reading.intake.bad:
        raise UserError(f"{path} has no pictures: {_wanted()}")


def _parts(path: Path) -> Iterator[tuple[Path, str | None]]:
    """The table itself; of a data set with several splits each of them, and which one it is."""
    if not (path / "dataset_dict.json").is_file():
        yield path, None
        return
    for name in read_json(path / "dataset_dict.json").get("splits", []):
        yield path / name, split_of(f"{path / 'dataset_dict.json'}", name)


def _rows(path: Path, intake: Intake) -> Iterator[tuple[str, dict[str, Any]]]:
    """Where each row stands, and the row, which is counted as read."""
    if is_data_set(path):
        datasets, found = library("datasets"), data_set(path)
        for name, feature in found.features.items():
            if isinstance(feature, datasets.Image):  # as it is in the file
                found = found.cast_column(name, datasets.Image(decode=False))
        intake.read += len(found)
        named = with_class_names(found, found.features.to_dict())
        yield from ((f"{path} row {number}", row) for number, row in enumerate(named, start=1))
    elif path.stat().st_size:
        yield from records(path, EXAMPLE, intake)


def _caption_column(place: str, row: dict[str, Any]) -> str:
    """The column that holds the captions: `text`, or the only one that is called as such columns are."""
    if "text" in row:
        return "text"
    known = [name for name in COLUMNS if name in row]
    if len(known) == 1:
        return known[0]
    some = f"several columns that may hold captions ({listed(known)})" if known else "no text"
    raise UserError(
        f"{place}: {some}, only {', '.join(row) or 'an empty object'}: name the captions' column by --data.column, or "
        f"give it as in {EXAMPLE}"
    )


def _take(reading: Reading, folder: Path, place: str, row: dict[str, Any], column: str, split: str | None) -> None:
    path, content = _picture(reading, folder, place, row)
    own = split_of(place, row.get("split")) if "split" in row else None
    own = own or split or (None if content is not None else split_of_path(reading.root, path))
    try:
        captions = _captions(place, column, value_at(row, column))
    except KeyError:
        raise UserError(f"{place}: no {column}, only {', '.join(row)}: give it as in {EXAMPLE}") from None
    if column != "captions":
        captions += _captions(place, "captions", row.get("captions") or None)
    key = key_of(path) if content is None else content_key(content, own)
    reading.add(key, place, Record(path, distinct(captions), _label(place, row), own, None, content))


def _picture(reading: Reading, folder: Path, place: str, row: dict[str, Any]) -> tuple[Path, bytes | None]:
    """Where the picture is, and the file itself if the table holds it."""
    if "file_name" in row:
        return reading.picture(folder, text(place, "file_name", row["file_name"]), place), None
    name = next((name for name in PICTURES if name in row), None)
    if name is None:
        raise UserError(f"{place}: no file_name, only {', '.join(row) or 'an empty object'}: give it as in {EXAMPLE}")
    value = row[name]
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return Path(place), value
    return reading.picture(folder, text(place, name, value), place), None


def _captions(place: str, column: str, value: object) -> list[str]:
    """Of a column: a string or a list of strings, which CSV has in JSON where the column is called so."""
    if column == "captions" and isinstance(value, str):
        if not (place.partition(" line ")[0].endswith(".csv") and value.strip()):
            if not value.strip():
                return []
            raise UserError(f"{place}: captions is {short(value)}, not a list: give a list of strings or leave it out")
        value = json_value(place, value)
    if value is None and column == "captions":
        return []
    if column == "captions" and not isinstance(value, list):
        raise UserError(f"{place}: captions is {short(value)}, not a list: give a list of strings or leave it out")
    if isinstance(value, list) and value:
        return [text(place, f"{column}[{number}]", one) for number, one in enumerate(value)]
    return [text(place, column, value)]


def _label(place: str, row: dict[str, Any]) -> str | None:
    for key in ("label", "group"):
        value = row.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if value is not None and not isinstance(value, str):
            raise UserError(f"{place}: {key} is {short(value)}: give the name of the class, a string")
        if value and value.strip():
            return " ".join(text(place, key, value).split())
    return None


# Pictures without a table


def _read_texts(reading: Reading, pictures: list[Path], texts: list[Path]) -> None:
    """The captions in the file beside each picture; a picture without one is left out, and counted."""
    found = {path.with_suffix(""): path for path in texts}
    for path in pictures:
        if beside := found.pop(path.with_suffix(""), None):
            with reading.row():
                name = str(path.relative_to(reading.root))
                picture = reading.picture(reading.root, name, str(beside))
                if not reading.inside(beside):
                    raise UserError(f"{beside} is a link that leaves {reading.root}: copy the file there")
                if not (captions := caption_lines(beside)):
                    raise UserError(f"{beside} has no captions: give one a line")
                split = split_of_path(reading.root, path)
                reading.add(key_of(picture), str(beside), Record(picture, captions, None, split))
    reading.leave_out(pictures, "no text of that name beside them")
    if found:
        first = min(found.values())
        reading.intake.notes.append(f"texts without a picture beside them: {len(found)}, the first is {first}")


def _read_names(reading: Reading, pictures: list[Path], classes: bool) -> None:
    """Captions from the names of files, or from those of the folders that they are in, which are their classes."""
    why = CLASSLESS if classes else UNNAMED
    for path in pictures:
        caption, numbers = _class(reading.root, path) if classes else _named(path.stem)
        with reading.row():
            picture = reading.picture(reading.root, str(path.relative_to(reading.root)), str(path))
            if not caption:
                raise UserError(f"{path} has no caption ({why}): move it away")
            split = split_of_path(reading.root, path)
            record = Record(picture, (caption,), caption if classes else None, split)
            reading.add(key_of(picture), str(path), record)
            reading.intake.repaired["numbers of names left out of captions"] += numbers
    if reading.records:
        path, caption = next((record.path, record.captions[0]) for record in reading.records.values())
        reading.intake.notes.append(f"captions are names of {'folders' if classes else 'files'}: {path} is {caption!r}")


def _named(name: str) -> tuple[str, bool]:
    """The caption in a name, "0017_a-red_bird (2)" -> "a-red bird", and whether numbers at its ends were left out.

    Underscores are blanks; so are hyphens, where there is no other sign between words.
    """
    words = re.sub(r"[_\s]+", " ", name).strip()
    if " " not in words:
        words = re.sub(r"-+", " ", words).strip()
    bare = re.sub(r"^(\d+[ .-]+)+|([ .-]*\(\d+\)|[ .-]+\d+)+$", "", words).strip()
    bare = "" if re.fullmatch(r"[\d\W]*", bare) else bare
    return bare, bool(bare) and bare != words


def _class(root: Path, path: Path) -> tuple[str, bool]:
    """The same of the folder that a picture is in, which must not be the root or that of a split."""
    folder = path.parent
    return ("", False) if folder == root or _split_folder(root, folder) else _named(folder.name)


def _split_folder(root: Path, folder: Path) -> bool:
    """Whether a folder stands for a split, not for a class."""
    return split_of_path(root, folder / "x") is not None and split_of_path(root, folder) is None


def _note_others(intake: Intake, others: list[Path]) -> None:
    """Files that are neither pictures nor captions, by suffix."""
    if counts := Counter(path.suffix or "without a suffix" for path in others):
        told = ", ".join(f"{count} {suffix}" for suffix, count in counts.most_common())
        intake.notes.append(f"files that were not read: {told}")


def _wanted() -> str:
    return f"put the pictures there and a metadata.jsonl with one line for each as {EXAMPLE}"
