"""Tables of records, whatever file holds them, and what became of each of their rows."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seqgan_kit.errors import UserError, one_line
from seqgan_kit.files import Record, library, listed, names_there, numbered_lines, read_text, short

EXAMPLE = '{"text": "..."}'
TABLES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")


@dataclass
class Intake:
    """What became of the rows of a file: every one is used, dropped or merged into another one, and told.

    unit: what a row is called. read: rows that were there. used: rows that are in the data now. dropped, merged: how
    many, by reason, as `Counter({"blank": 3})`. repaired: rows that are used, but not as they stood, by what was done.
    notes: what else must be said, whole sentences without a full stop.
    """

    name: str
    unit: str = "rows"
    read: int = 0
    used: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    merged: Counter[str] = field(default_factory=Counter)
    repaired: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    @property
    def balanced(self) -> bool:
        """Whether every row is accounted for."""
        return self.read == self.used + self.dropped.total() + self.merged.total()

    def lines(self) -> list[str]:
        """What to tell the user first: one line of counts, then the notes."""
        told = [f"{self.name}: {self.read} {self.unit} read, {self.used} used"]
        for what, counts in (("DROPPED", self.dropped), ("MERGED", self.merged), ("REPAIRED", self.repaired)):
            told += [f"{count} {what} ({why})" for why, count in counts.items() if count]
        return ["; ".join(told), *self.notes]


# Records, whatever the container


def is_table(path: Path) -> bool:
    """Whether a file or folder holds records, by its name (`.gz` left out) or as a data set of `datasets`."""
    return _kind(path) in TABLES or is_data_set(path)


Bad = Callable[[UserError], object]
"""Takes what is wrong with one row, which is then left out."""


def records(path: Path, example: str = EXAMPLE, bad: Bad | None = None) -> Iterator[tuple[str, Record]]:
    """Where each record stands, as "train.csv line 3", and the record.

    .jsonl, .ndjson: one object a line. .json: a list of objects, or an object a line. .csv, .tsv: the first row names
    the columns. .parquet: rows. Each of the text files also as .gz. A folder that `datasets.save_to_disk` wrote: rows.
    Raises UserError for whatever cannot be read; where only one row can't, `bad` takes the error, if it is given.
    example: of an object, for messages.
    """
    if is_data_set(path):
        return _numbered(path, data_set(path).with_format(None))
    kind = _kind(path)
    if kind == ".parquet":
        return _numbered(path, _parquet(path))
    text = text_of(path)
    if kind == ".json" and text.lstrip().startswith("["):
        return _json_list(path, text, example, bad)
    numbered = json_records(path, text, example, bad) if "json" in kind else csv_records(path, text, kind, bad)
    return ((f"{path} line {line}", record) for line, record in numbered)


def text_of(path: Path) -> str:
    """The contents of a UTF-8 text file, which may be gzipped. Raises UserError."""
    return _unzipped(path) if path.suffix.lower() == ".gz" else read_text(path)


def value_at(record: Record, column: str) -> object:
    """What a column holds; `data.text` is also the column `text` of what `data` holds. Raises KeyError."""
    if column in record:
        return record[column]
    value: Any = record
    for part in column.split("."):
        if not isinstance(value, dict):
            raise KeyError(column)
        value = value[part]
    return value


def _kind(path: Path) -> str:
    """The suffix that says what a file holds, `.gz` left out."""
    suffixes = path.suffixes[:-1] if path.suffix.lower() == ".gz" else path.suffixes
    return suffixes[-1].lower() if suffixes else ""


def _numbered(path: Path, rows: Iterator[Any] | list[Any]) -> Iterator[tuple[str, Record]]:
    return ((f"{path} row {number}", row) for number, row in enumerate(rows, start=1))


def _unzipped(path: Path) -> str:
    """The text of a gzipped file."""
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            return file.read().removeprefix("\ufeff")
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: {names_there(path)}") from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as gzipped UTF-8 text ({one_line(error)}): copy it again") from None


def _json_list(path: Path, text: str, example: str, bad: Bad | None) -> Iterator[tuple[str, Record]]:
    for number, row in enumerate(json_value(str(path), text), start=1):
        if isinstance(row, dict):
            yield f"{path} row {number}", row
        else:
            _told(UserError(f"{path} row {number}: {short(row)} is not a JSON object as {example}"), bad)


def _parquet(path: Path) -> list[Record]:
    if not path.exists():
        raise UserError(f"{path} does not exist: {names_there(path)}")
    reader = library("pyarrow.parquet", "datasets")  # `datasets` itself would copy the file into its cache
    with told_as_data_set(path):
        rows: list[Record] = reader.read_table(str(path)).to_pylist()
    return rows


def _told(error: UserError, bad: Bad | None) -> None:
    if bad is None:
        raise error
    bad(error)


def json_records(path: Path, text: str, example: str = EXAMPLE, bad: Bad | None = None) -> Iterator[tuple[int, Record]]:
    """Line numbers and the objects of JSON lines; `example` is shown where a line is none. bad: see `records`."""
    for number, line in numbered_lines(text):
        try:
            record = json_value(f"{path} line {number}", line)
            if not isinstance(record, dict):
                raise UserError(f"{path} line {number}: {short(record)} is not a JSON object as {example}")
        except UserError as error:
            _told(error, bad)
        else:
            yield number, record


def json_value(place: str, text: str) -> Any:
    """What a line of JSON, or a field, holds. place: of it, for the message."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(
            f"{place}: not JSON ({error.msg} at column {error.colno}): give one JSON object a line"
        ) from None
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, lists in lists in lists
        raise UserError(f"{place}: JSON that cannot be read ({one_line(error)}): write it in a simpler way") from None


def csv_records(path: Path, text: str, kind: str, bad: Bad | None = None) -> Iterator[tuple[int, Record]]:
    """Line numbers, from 1, where records start, and the records, whose names are in the first.

    kind: ".csv" or ".tsv". bad: see `records`.
    """
    delimiter = "," if kind == ".csv" else "\t"
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] = []
    start = 1  # of the record, which may go over several lines
    try:
        for row in reader:
            fields = [field.strip() for field in row]
            if any(fields) and not header:
                header = fields
            elif any(fields) and len(row) == len(header):
                yield start, dict(zip(header, row, strict=True))
            elif any(fields):
                _told(_unequal(path, start, row, header), bad)
            start = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f'{path} line {start}: {error}: quote fields with "..." and double the quotes inside') from None


def _unequal(path: Path, line: int, row: list[str], header: list[str]) -> UserError:
    return UserError(
        f"{path} line {line}: {len(row)} fields under a header of {len(header)} ({listed(header)}): "
        f"put fields that contain the separator in quotes"
    )


# Data sets of Hugging Face


def is_data_set(path: Path) -> bool:
    """Whether a folder is one that `datasets.save_to_disk` wrote."""
    return any((path / name).is_file() for name in ("state.json", "dataset_dict.json"))


def data_set(folder: Path) -> Any:
    """The data set of Hugging Face in a folder that `save_to_disk` wrote. Raises UserError where there is not one."""
    datasets = library("datasets")
    with told_as_data_set(folder):
        found = datasets.load_from_disk(str(folder))
    if isinstance(found, datasets.DatasetDict):
        raise UserError(f"{folder} has several splits: give {' or '.join(str(folder / split) for split in found)}")
    return found


@contextmanager
def told_as_data_set(path: Path) -> Iterator[None]:
    """What goes wrong while a data set is read is told as a UserError."""
    try:
        yield
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(
            f"{path} cannot be read as a data set of `datasets` ({one_line(error)}): save it again"
        ) from None
