"""Files: read with every mistake told with its place, and written whole or not at all."""

from __future__ import annotations

import difflib
import errno
import importlib
import json
import math
import os
import re
import shlex
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from seqgan_kit.errors import UserError, one_line

Record = dict[str, object]
LARGE = 2**26  # bytes, from which on a file is compared with the memory that is free

LINE_END = re.compile("\r\n|\r|\n")
LINE_BREAK = re.compile("[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")  # as `str.splitlines` has them
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")  # all but line feeds and tabs
HALF_PAIR = re.compile("[\ud800-\udfff]")  # JSON can hold half a surrogate pair, which is no character

RECORD: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("task", "command", "started", "data", "device", "precision"), str),
    **{"seed": int, "processes": int, "resumed": int, "finished": bool, "seconds": (int, float)},
    **dict.fromkeys(("measured", "best"), dict),
}
"""What of run.json is used, and of what type; earlier versions wrote less of it."""
OF_BEST: dict[str, type] = {"score": str, "phase": str, "step": int}
"""What `best` of run.json holds, of what is used; the phase and the step name a file."""

# Written whole


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Where to write a file or folder that takes the place of `path` at the end; what fails leaves `path` as it was."""
    if path.parent.is_file():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path.parent))
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield unfinished
        os.replace(unfinished, path)
    except OSError as error:  # a full or read-only disk: users know the file by its name
        if error.errno is not None:  # a full disk has no name in it
            error.filename = str(error.filename or path).replace(str(unfinished), str(path), 1)
        raise
    finally:
        if unfinished.is_dir():
            shutil.rmtree(unfinished, ignore_errors=True)
        with suppress(OSError):  # a read-only disk refuses that even where no such file is
            unfinished.unlink(missing_ok=True)


def write_whole(path: Path, content: str | bytes) -> None:
    """Whole or not at all: a process killed while it writes leaves the file as it was."""
    with replacing(path) as unfinished:
        unfinished.write_bytes(content if isinstance(content, bytes) else content.encode())


def write_json(path: Path, content: Any) -> None:
    write_whole(path, json.dumps(content, indent=1) + "\n")


def printable(text: str) -> str:
    """With control characters as escapes of JSON, as `\\u001b`: what a stranger wrote can't steer a terminal."""
    return CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def record_line(*fields: str) -> str:
    """A record as one line, whatever stands in it: fields with tabs between them, line breaks escaped as in JSON, as
    `\\n`; where there are several fields, tabs, too. What must come back exactly is written as JSON."""
    lines = [printable(LINE_BREAK.sub(lambda found: json.dumps(found[0])[1:-1], field)) for field in fields]
    return "\t".join(lines if len(lines) == 1 else [line.replace("\t", "\\t") for line in lines])


# Within a folder


def check_real(folder: Path) -> None:
    """Raises UserError where something in the folder is neither a file nor a folder: whoever made the folder would
    choose where else is written, and what else is read. The folder may be a link itself."""
    for place, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(place, name)
            try:
                mode = path.lstat().st_mode
                target = os.readlink(path) if stat.S_ISLNK(mode) else None
            except FileNotFoundError:  # of a run that goes on, which writes and replaces its files meanwhile
                continue
            if target is not None:
                raise UserError(
                    f"{path} is a link (to {target}), and a run folder holds only files and folders of its "
                    "own: delete it, or put in its place a copy of what it leads to, if that is yours"
                )
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                raise UserError(f"{path} is neither a file nor a folder: delete it")


def check_inside(folder: Path) -> None:
    """Raises UserError where a link in a folder leads out of it, as links in the hub's cache do not."""
    home = folder.resolve()
    if home.parent.name == "snapshots" and (home.parents[1] / "blobs").is_dir():
        home = home.parents[1]
    for place, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(place, name)
            if path.is_symlink() and not path.resolve().is_relative_to(home):
                raise UserError(
                    f"{path} is a link to {path.resolve()}, outside of {folder}, and nothing outside is read: put a "
                    "copy of that file in its place, if it is yours"
                )


# Read

KINDS = {stat.S_ISFIFO: "a pipe", stat.S_ISSOCK: "a socket", stat.S_ISCHR: "a device", stat.S_ISBLK: "a device"}


def check_file(path: Path) -> None:
    """Raises UserError for what is there, but can't be read to an end, within the memory that there is: a pipe may be
    waited for for ever. Raises OSError where nothing is there."""
    found = path.stat()
    for is_kind, name in KINDS.items():
        if is_kind(found.st_mode):
            raise UserError(f"{path} is {name}, which has no end that is known: give a file")
    if found.st_size > LARGE and found.st_size > (free := psutil.virtual_memory().available):
        raise UserError(
            f"{path} has {found.st_size / 1e9:.1f} GB, and {free / 1e9:.1f} GB of memory are free: give a smaller file"
        )


def read_bytes(path: Path) -> bytes:
    """The contents of a file. Raises UserError as `check_file` does, and OSError where there is none."""
    check_file(path)
    return path.read_bytes()


def parsed(content: str | bytes, **options: Any) -> Any:
    """What JSON holds. Raises ValueError where it is none, or lists are in lists too deep to be read."""
    try:
        return json.loads(content, **options)
    except RecursionError:
        raise ValueError("lists or objects within one another, too deep to be read") from None


def read_json(path: Path, advice: str = "correct or delete that file") -> dict[str, Any]:
    """The object that a JSON file holds. Raises UserError, which ends with the advice, where there is none."""
    try:
        content = parsed(read_bytes(path))
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}); {advice}") from error
    except ValueError as error:
        raise UserError(f"{path}: not a JSON object ({one_line(error)}); {advice}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a JSON object, but {short(content)}; {advice}")
    return content


def read_record(run: Path) -> dict[str, Any]:
    """What RUN/run.json says of a run. Raises UserError where what the kit uses of it is of another kind."""
    record, path = read_json(run / "run.json"), run / "run.json"
    value: Any
    for key, kinds in RECORD.items():
        value = record.get(key)
        fits = value is None or isinstance(value, kinds)
        if not fits or (isinstance(value, float) and not 0 <= value < math.inf):
            raise UserError(f"{path}: {key} is {short(value)}: correct it, or copy that file again")
    if (best := record.get("best")) is not None:
        for key, kind in OF_BEST.items():
            value = best.get(key)
            if not isinstance(value, kind) or (key == "phase" and not str(value).isidentifier()):
                raise UserError(f"{path}: best: {key} is {short(value)}: correct it, or copy that file again")
    return record


def read_text(path: Path) -> str:
    """The contents of a UTF-8 text file, without a byte order mark."""
    try:
        data = read_bytes(path)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: {names_there(path)}") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder: give one of the files in it{_some(path)}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): check the path and its permissions") from None
    except ValueError as error:  # a NUL in the name
        raise UserError(f"{str(path)!r} is no path ({one_line(error)}): check it") from None
    if not data:
        raise UserError(f"{path} is empty: give a file with one sentence a line")
    _refuse_binary(path, data)
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path} line {line}: not UTF-8 (byte 0x{data[error.start]:02x} at offset {error.start}): convert it, "
            f"`{_convert(path, 'latin1')}` if it is latin-1"
        ) from None


PACKED = {
    b"\x1f\x8b": "gzipped: give it a name that ends in .gz",
    b"PK\x03\x04": "a zip file or of a spreadsheet: unpack it, or save the spreadsheet as CSV",
    b"\xfd7zXZ": "packed by xz: unpack it, `xz -d`",
    b"(\xb5/\xfd": "packed by zstd: unpack it, `zstd -d`",
    b"BZh": "packed by bzip2: unpack it, `bzip2 -d`",
    b"%PDF": "a PDF: save its text",
    b"\x93NUMPY": "an array of NumPy: write it as text, a sequence a line",
    b"PAR1": "a parquet file: give it a name that ends in .parquet",
}
"""What files are that are no text, by how they begin, and what to do."""


def _refuse_binary(path: Path, data: bytes) -> None:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UserError(f"{path} is UTF-16, not UTF-8: convert it, `{_convert(path, 'utf-16')}`")
    for start, what in PACKED.items():
        if data.startswith(start):
            raise UserError(f"{path} is {what}")
    if (offset := data.find(b"\0")) >= 0:
        raise UserError(f"{path} is a binary file (NUL byte at offset {offset}): give a UTF-8 text file")


def _convert(path: Path, encoding: str) -> str:
    target = path.with_name(f"{path.stem}.utf8{path.suffix}")
    return f"iconv -f {encoding} -t utf-8 {shlex.quote(str(path))} > {shlex.quote(str(target))}"


def names_there(path: Path) -> str:
    """What may have been meant by a path that does not exist."""
    if not path.parent.is_dir():
        return f"neither does the folder {path.parent}, check the path{looked_for(path)}"
    close = difflib.get_close_matches(path.name, [item.name for item in path.parent.iterdir()])
    return f"did you mean {' or '.join(close)}?" if close else f"check the path{_some(path.parent)}"


def looked_for(path: Path) -> str:
    """Where a relative path was looked for, for the end of a message."""
    return "" if path.is_absolute() else f" (relative to the folder of the command, {Path.cwd()})"


def _some(folder: Path) -> str:
    names = sorted(item.name for item in folder.iterdir())
    return f" ({folder} has {', '.join(names[:5])}{', ...' if len(names) > 5 else ''})" if names else ""


def numbered_lines(text: str) -> Iterator[tuple[int, str]]:
    """Line numbers and stripped lines, but the blank ones.

    A line ends with \\n, \\r\\n or \\r. Unicode's other separators stay inside, as in an editor.
    """
    lines = LINE_END.split(text) if "\r" in text else text.split("\n")
    for number, line in enumerate(lines, start=1):
        if stripped := line.strip():
            yield number, stripped


def checked(text: str, where: str) -> str:
    """The text. Raises UserError where it had bytes that are not UTF-8, which Python keeps as half characters."""
    found = HALF_PAIR.search(text)
    if found is None:
        return text
    byte = ord(found[0]) - 0xDC00
    what = f"byte 0x{byte:02x}" if 0x80 <= byte <= 0xFF else "half a surrogate pair"
    raise UserError(f"{where} is not UTF-8 ({what} after {text[: found.start()][-20:]!r}): write it in UTF-8")


def listed(names: Iterable[str], most: int = 24) -> str:
    """Quoted, for a message: so many, and how many there are beside them."""
    found = list(map(repr, names))
    more = len(found) - most
    return ", ".join(found[:most]) + (f" and {more} others" if more > 0 else "")


def short(value: object) -> str:
    """What stands in a file, for a message."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


# Packages that read files


def library(package: str, extra: str | None = None) -> Any:
    """An optional package; imported by name, since the kit must load and type-check without it.

    extra: of seqgan_kit, that brings it.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        brings = f"pip install 'seqgan_kit[{extra or package}]'"
        raise UserError(f"{package} cannot be imported ({one_line(error)}): {brings}") from None
