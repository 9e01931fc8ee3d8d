"""Tables of records, whatever file holds them, and what became of each of their rows."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import sys
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from seqgan_kit.archives import check_data_set, check_parquet, unzipped
from seqgan_kit.errors import UserError, one_line
from seqgan_kit.files import (
    LINE_END,
    Record,
    check_file,
    library,
    listed,
    names_there,
    numbered_lines,
    parsed,
    read_text,
    short,
)
from seqgan_kit.separators import NAMED, TOLD, separator, undivided

EXAMPLE = '{"text": "..."}'
TABLES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")


@dataclass
class Intake:
    """What became of the rows of a file: every one is used, dropped or merged into another one, and told.

    unit: what a row is called. read: rows that were there. used: rows that are in the data now. dropped, merged: how
    many, by reason, as `Counter({"blank": 3})`. repaired: rows that are used, but not as they stood, by what was done.
    notes: what else must be said, whole sentences without a full stop. bad: what is wrong with rows that can't be used;
    if strict, the first of them is an error.
    """

    name: str
    unit: str = "rows"
    read: int = 0
    used: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    merged: Counter[str] = field(default_factory=Counter)
    repaired: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)
    strict: bool = False

    def reject(self, message: str) -> None:
        """A row that can't be used, and why."""
        if self.strict:
            raise UserError(message)
        self.bad.append(message)

    def settle(self, drop: bool, option: str = "--data.bad_rows drop") -> None:
        """Drops the bad rows. Raises UserError, with the first and their number, where they are not to be dropped, or
        nothing else is left. `used` must have been counted."""
        if not self.bad:
            return
        if not drop or not self.used:
            advice = f"; mend them, or leave them out with {option}" if self.used else ""
            others = f" ({len(self.bad)} of {self.read} {self.unit} can't be used{advice})"
            raise UserError(self.bad[0] + (others if len(self.bad) > 1 or self.used else ""))
        self.dropped[f"bad, {option}"] += len(self.bad)
        self.notes.append(f"the first one dropped: {self.bad[0]}")
        self.bad.clear()

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


def records(
    path: Path, example: str = EXAMPLE, intake: Intake | None = None, header: bool = True
) -> Iterator[tuple[str, Record]]:
    """Where each record stands, as "train.csv line 3", and the record.

    .jsonl, .ndjson: one object a line. .json: a list of objects, or an object a line. .csv, .tsv: the first row names
    the columns, unless there is no header; then their names are "1", "2", ... .parquet: rows. Each of the text files
    also as .gz. A folder that `datasets.save_to_disk` wrote: rows. Raises UserError for whatever cannot be read.

    example: of an object, for messages. intake: counts the rows that are read and what is told of them, and collects
    the bad ones in place of an error.
    """
    intake = Intake(str(path), strict=True) if intake is None else intake
    if is_data_set(path):
        found = data_set(path)
        return _numbered(path, with_class_names(found.with_format(None), found.features.to_dict()), intake, example)
    kind = _kind(path)
    if kind == ".parquet":
        return _numbered(path, _parquet(path), intake, example)
    text = text_of(path)
    if "json" in kind and (kind == ".json" or _is_list(text)) and (rows := _json_list(path, text)) is not None:
        return _numbered(path, rows, intake, example)
    if "json" in kind:
        numbered = json_records(path, text, example, intake)
    else:
        numbered = csv_records(path, text, kind, intake, header)
    return ((f"{path} line {line}", record) for line, record in numbered)


def text_of(path: Path) -> str:
    """The contents of a text file, which may be gzipped. Raises UserError."""
    return read_text(path) if path.suffix.lower() != ".gz" else _unzipped(path)


def counted_lines(text: str, intake: Intake) -> Iterator[tuple[int, str]]:
    """As `numbered_lines`; each line is a row that was read, and blank ones are dropped."""
    alone = text.count("\r") - text.count("\r\n")
    intake.read += text.count("\n") + alone + (not text.endswith(("\n", "\r")) and bool(text))
    intake.dropped["blank"] += intake.read
    if alone:
        intake.notes.append(f"{alone} carriage returns, each read as the end of a line")
    for number, line in numbered_lines(text):
        intake.dropped["blank"] -= 1
        yield number, line


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


def _numbered(path: Path, rows: Iterable[Any], intake: Intake, example: str) -> Iterator[tuple[str, Record]]:
    for number, row in enumerate(rows, start=1):
        intake.read += 1
        if isinstance(row, dict):
            yield f"{path} row {number}", row
        else:
            intake.reject(f"{path} row {number}: {short(row)} is not a JSON object as {example}")


def _unzipped(path: Path) -> str:
    """The text of a gzipped file."""
    try:
        check_file(path)
        return unzipped(path).decode("utf-8").removeprefix("\ufeff")
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: {names_there(path)}") from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as gzipped UTF-8 text ({one_line(error)}): copy it again") from None


def _is_list(text: str) -> bool:
    """Whether the whole of a file of JSON lines is one list of objects, laid out over lines."""
    if not re.match(r"\s*\[\s*\{", text):
        return False
    try:
        parsed(text.split("\n", 1)[0])
    except ValueError:
        return True
    return "\n" not in text.strip()


def _json_list(path: Path, text: str) -> list[Any] | None:
    """What a file of one list holds; None where there is a line of its own for each object."""
    if text.lstrip().startswith("["):
        rows: list[Any] = json_value(str(path), text)
        return rows
    try:
        whole = parsed(text)
    except ValueError:
        return None  # lines
    lists = [key for key, value in whole.items() if isinstance(value, list)] if isinstance(whole, dict) else []
    if lists and "\n" in text.strip():
        made = f"`jq .{lists[0]} {shlex.quote(str(path))} > list.json`"
        raise UserError(f"{path} is one object with the lists {listed(lists)}: give one of these, as {made} makes it")
    return None


def _parquet(path: Path) -> Iterable[Record]:
    if not path.exists():
        raise UserError(f"{path} does not exist: {names_there(path)}")
    check_file(path)
    reader = library("pyarrow.parquet", "datasets")  # `datasets` itself would copy the file into its cache
    with told_as_data_set(path):
        check_parquet(path)
        table = reader.read_table(str(path))
        rows: list[Record] = table.to_pylist()
        written = json.loads((table.schema.metadata or {}).get(b"huggingface", "{}"))  # by `datasets`
    return with_class_names(rows, written.get("info", {}).get("features") or {})


def json_records(
    path: Path, text: str, example: str = EXAMPLE, intake: Intake | None = None
) -> Iterator[tuple[int, Record]]:
    """Line numbers and the objects of JSON lines; `example` is shown where a line is none. intake: as for `records`."""
    intake = Intake(str(path), strict=True) if intake is None else intake
    for number, line in counted_lines(text, intake):
        try:
            record = json_value(f"{path} line {number}", line)
        except UserError as error:
            intake.reject(str(error))
            continue
        if isinstance(record, dict):
            yield number, record
        else:
            intake.reject(f"{path} line {number}: {short(record)} is not a JSON object as {example}")


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


def csv_records(
    path: Path, text: str, kind: str, intake: Intake | None = None, header: bool = True
) -> Iterator[tuple[int, Record]]:
    """Line numbers, from 1, where records start, and the records, whose names are in the first.

    kind: ".csv" or ".tsv". intake: as for `records`. header: False where the first record is one like the others.
    """
    intake = Intake(str(path), strict=True) if intake is None else intake
    names: list[str] | None = None
    over: list[_Row] = []  # those that go over several lines
    again = 0
    for row in _rows(text, kind, intake, header):
        if names is None and not row.blank and not row.wrong:
            names = _names(path, row.fields, header)
            narrow = "" if len(names) > 1 else ", or take out line 1 if it doesn't name the columns"
            narrow += undivided(names)
            if header:
                continue
        intake.read += 1
        if row.blank:
            intake.dropped["blank"] += 1
        elif row.wrong or names is None:
            intake.reject(f"{path} line {row.start}: {row.wrong}")
        elif len(row.fields) != len(names):
            intake.reject(
                f"{path} line {row.start}: {len(row.fields)} fields under a header of {len(names)} ({listed(names)}): "
                f"put fields that contain the separator in quotes{narrow}"
            )
        else:
            over += [row] if row.stop > row.start else []
            again += header and len(names) > 1 and row.fields == names
            yield row.start, dict(zip(names, row.fields, strict=True))
    if again:
        intake.notes.append(f"{again} rows are the NAMES OF THE COLUMNS again, and read as data: take them out")
    if over:
        some = f"the first: lines {over[0].start} to {over[0].stop}"
        intake.notes.append(f"{len(over)} rows have a field in quotes that goes over several lines ({some})")


class _Row(NamedTuple):
    """start, stop: its lines. wrong: why there are no fields."""

    start: int
    stop: int
    fields: list[str]
    wrong: str = ""

    @property
    def blank(self) -> bool:
        return not self.wrong and not any(field.strip() for field in self.fields)


def _names(path: Path, fields: list[str], header: bool) -> list[str]:
    """The names of the columns."""
    if not header:
        return [str(number) for number in range(1, len(fields) + 1)]
    names = [field.strip() for field in fields]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise UserError(
            f"{path} has several columns of the name {listed(twice)}: give each its own, in a first row of names"
        )
    return names


def _rows(text: str, kind: str, intake: Intake, header: bool) -> Iterator[_Row]:
    text = _one_line_end(text, intake)
    lines = list(io.StringIO(text, newline=""))  # a line ends with \n, \r\n or \r
    usual = "\t" if kind == ".tsv" else ","
    between, told = separator(lines, usual), bool(lines) and TOLD.fullmatch(lines[0])
    if between != usual or told:
        named = NAMED.get(between, repr(between))
        if header:
            intake.notes.append(f"fields are separated by {named}, as line 1 shows")
            yield from (row for row in _quoted(lines, between) if not (told and row.start == 1))
            return
        intake.notes.append(f"all rows hold as many {named}: if these separate columns, name them in a first row")
    if usual == ",":
        yield from _quoted(lines, ",")
        return
    plain = [_Row(i, i, line.rstrip("\r\n").split("\t")) for i, line in enumerate(lines, start=1)]
    holding = sum('"' in line for line in lines)
    if not holding:
        yield from plain
        return
    quoted = list(_quoted(lines, "\t"))
    if _is_quoted(text, plain, quoted):
        intake.repaired["quotes round a field of .tsv taken off"] += holding
        yield from quoted
        return
    intake.notes.append(f'{holding} lines hold a ", which is a character of a .tsv file like any other')
    yield from plain


def _one_line_end(text: str, intake: Intake) -> str:
    """Where the header ends with \\n, a \\r alone stands inside a row: Python before 3.13, and so pandas, writes it
    without quotes. It is a blank then; else it ends lines."""
    first = LINE_END.search(text)
    alone = re.compile("\r(?!\n)")
    if count := len(alone.findall(text)):
        inside = first is not None and first[0] != "\r"
        what = "inside a row, each read as a blank" if inside else "alone, each read as the end of a line"
        intake.notes.append(f"{count} carriage returns {what}")
        return alone.sub(" ", text) if inside else text
    return text


def _is_quoted(text: str, plain: list[_Row], quoted: list[_Row]) -> bool:
    """Whether the quotes of a .tsv file stand round fields, as pandas writes them, and are no characters of the text.

    Then no quote stands alone between other characters, and no more rows are bad than without quotes. A whole row that
    a field over several lines would swallow counts as bad, unless there are doubled quotes, which only quoting makes.
    """
    if re.search(r"""[^\t\r\n"]"[^\t\r\n"]""", text):
        return False
    width = next(len(row.fields) for row in plain if not row.blank)
    whole = [len(row.fields) == width for row in plain]
    over = [row for row in quoted if row.stop > row.start and '""' not in text]
    swallowed = sum(sum(whole[row.start - 1 : row.stop]) for row in over)
    bad = sum(not row.blank and len(row.fields) != width for row in quoted)
    return bad + swallowed <= sum(not row.blank and len(row.fields) != width for row in plain)


def _quoted(lines: list[str], delimiter: str) -> Iterator[_Row]:
    """Rows whose fields may be in quotes. After one that can't be read, the next line is read anew."""
    csv.field_size_limit(sys.maxsize)  # else a long text is an error
    done = 0
    while done < len(lines):
        first = done
        reader = csv.reader((lines[i] for i in range(first, len(lines))), delimiter=delimiter, strict=True)
        try:
            for row in reader:
                yield _Row(done + 1, first + reader.line_num, row)
                done = first + reader.line_num
            return
        except csv.Error as error:
            opens = first + reader.line_num > done + 1 or "end of data" in str(error)
            what = "a quote opens in this row and never closes well" if opens else str(error)
            yield _Row(done + 1, done + 1, [], f'{what}: quote fields with "..." and double the quotes inside')
            done += 1


# Data sets of Hugging Face


def is_data_set(path: Path) -> bool:
    """Whether a folder is one that `datasets.save_to_disk` wrote."""
    return any((path / name).is_file() for name in ("state.json", "dataset_dict.json"))


def data_set(folder: Path) -> Any:
    """The data set of Hugging Face in a folder that `save_to_disk` wrote. Raises UserError where there is not one."""
    datasets = library("datasets")
    check_data_set(folder)
    with told_as_data_set(folder):
        found = datasets.load_from_disk(str(folder))
    if isinstance(found, datasets.DatasetDict):
        raise UserError(f"{folder} has several splits: give {' or '.join(str(folder / split) for split in found)}")
    for name, feature in found.features.items():
        if getattr(feature, "decode", False):  # a picture or a sound: it would be read from wherever it says it is
            found = found.cast_column(name, type(feature)(decode=False))
        elif "decode=True" in str(feature):
            raise UserError(f"{folder}: column {name!r} holds files inside lists, which are not read: remove it")
    return found


def with_class_names(rows: Iterable[Record], features: Mapping[str, Any]) -> Iterator[Record]:
    """The rows with the names of classes in place of their numbers, as the features of a data set have them; -1, which
    stands for no class, is None."""
    kinds = {name: kind for name, kind in features.items() if isinstance(kind, dict)}  # nested ones are lists
    classes = {name: kind["names"] for name, kind in kinds.items() if kind.get("_type") == "ClassLabel"}
    for row in rows:
        numbers: dict[str, Any] = {name: row[name] for name in classes if row[name] is not None}
        yield {**row, **{name: classes[name][i] if i >= 0 else None for name, i in numbers.items()}}


@contextmanager
def told_as_data_set(path: Path) -> Iterator[None]:
    """What goes wrong while a data set is read is told as a UserError."""
    try:
        yield
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(
            f"{path} cannot be read as a data set of `datasets` ({one_line(error)}): save it again"
        ) from None
