"""Files are written whole or not at all, and what can't be read is said in one line with its place."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from seqgan_kit.errors import UserError, one_line
from seqgan_kit.files import library, read_bytes, read_json, read_record, replacing, write_json


def test_an_error_in_one_line() -> None:
    """White space is folded, what is long is cut, and what says nothing is named by its class."""
    assert one_line(ValueError(" a\n\n  b\tc ")) == "a b c"
    assert one_line(ValueError("x" * 500)) == "x" * 200
    assert one_line(ValueError("x" * 500), 3) == "xxx"
    assert one_line(KeyboardInterrupt()) == "KeyboardInterrupt"


def test_larger_than_memory_is_told_before_it_is_read(tmp_path: Path) -> None:
    """By its size alone: a hole on the disk, which would fill the memory."""
    with open(tmp_path / "f", "wb") as file:
        file.truncate(2**42)
    with pytest.raises(UserError, match=r"f has 4398\.0 GB, and .* GB of memory are free: give a smaller file"):
        read_bytes(tmp_path / "f")


def written(path: Path, kind: str, text: str, fails: bool) -> Path:
    """A file with the text, or a folder with such a file. -> The file. fails: only half of it, then Ctrl-C."""
    with replacing(path) as unfinished:
        if kind == "folder":
            unfinished.mkdir()
        (unfinished / "a" if kind == "folder" else unfinished).write_text(text)
        if fails:
            raise KeyboardInterrupt
    return path / "a" if kind == "folder" else path


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_fails_leaves_what_was_there(kind: str, tmp_path: Path) -> None:
    """A file, and nothing beside it; a folder, which is there only once it is whole."""
    path = tmp_path / "new" / "x"
    found = written(path, kind, "first", False)
    assert found.read_text() == "first"
    with pytest.raises(KeyboardInterrupt):
        written(path if kind == "file" else path.with_name("y"), kind, "second", True)
    assert found.read_text() == "first"
    assert [one.name for one in path.parent.iterdir()] == ["x"]


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC])
def test_a_refused_file_is_told_by_its_name(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by that of the hidden file which would take its place; a full disk says no name at all."""
    path = tmp_path / "report.html"

    def unlink(one: Path, missing_ok: bool = False) -> None:  # of a file that isn't there, as a read-only disk does
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(one))

    monkeypatch.setattr(Path, "unlink", unlink)
    with pytest.raises(OSError, match=os.strerror(number)) as error, replacing(path) as unfinished:
        raise OSError(number, os.strerror(number), *([] if number == errno.ENOSPC else [str(unfinished)]))
    assert error.value.filename == str(path)
    with pytest.raises(FileNotFoundError) as error, replacing(path) as unfinished:
        (unfinished / "a").write_text("no such folder")
    assert error.value.filename == str(path / "a")


def test_json_goes_round(tmp_path: Path) -> None:
    content = {"a": [1, 2.5, None], "é": "b"}
    write_json(tmp_path / "x.json", content)
    assert read_json(tmp_path / "x.json") == content == json.loads((tmp_path / "x.json").read_text("utf-8"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "not a JSON object (Expecting property name"),
        (b"[1]", "not a JSON object, but [1]"),
        (b"\xff\xfe\x00", "not a JSON object"),
        (None, "can't be read (No such file or directory)"),
    ],
)
def test_a_file_that_holds_no_object(content: bytes | None, message: str, tmp_path: Path) -> None:
    """One line, with the file and the advice."""
    path = tmp_path / "x.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as error:
        read_json(path, "bring it back")
    told = str(error.value)
    assert told.startswith(str(path))
    assert message in told
    assert told.endswith("; bring it back")
    assert "\n" not in told


def test_a_package_that_is_missing() -> None:
    with pytest.raises(
        UserError, match=r"no_such_package cannot be imported \(.*\): pip install 'seqgan_kit\[extra\]'"
    ):
        library("no_such_package", "extra")


@pytest.mark.parametrize(
    ("best", "message"),
    [
        ({"score": "nll", "phase": "adversarial", "step": "9"}, "best: step is '9'"),
        ({"score": "nll", "phase": "../../x", "step": 9}, r"best: phase is '\.\./\.\./x'"),
        ({"phase": "adversarial", "step": 9}, "best: score is None"),
        ({}, "best: score is None"),
    ],
)
def test_a_forged_best_model_is_refused(best: dict[str, object], message: str, tmp_path: Path) -> None:
    """Its phase and step name a file of samples: it may not lie elsewhere."""
    write_json(tmp_path / "run.json", {"best": best})
    with pytest.raises(UserError, match=message):
        read_record(tmp_path)
    write_json(tmp_path / "run.json", {"best": {"score": "nll", "phase": "adversarial", "step": 9}})
    assert read_record(tmp_path)["best"]["step"] == 9
