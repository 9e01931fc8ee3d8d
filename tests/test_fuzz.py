"""Files, options and run folders as chance makes them: they are read, or refused in one line; nothing else happens.

Always the same examples, so that a failure here is one everywhere; about 40 s in all.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import runs
from seqgan_kit.cli import parse
from seqgan_kit.cli.parsing import parser_of
from seqgan_kit.cli.slots import SLOTS, parameters, parts
from seqgan_kit.dialogue.conversations import read_conversations, read_histories
from seqgan_kit.errors import UserError
from seqgan_kit.imitation import formats
from seqgan_kit.language.data import read_sentences
from seqgan_kit.language.token_ids import read_token_ids
from seqgan_kit.options import TASKS
from test_bad_input import JARGON, SMALL, TINY, refused

settings.register_profile(
    "fixed",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    max_examples=300,
    phases=[Phase.generate],  # making a failure smaller would take minutes: what is seen first is told
)
settings.load_profile("fixed")

LETTERS = st.sampled_from(
    [*list("abcXYZ 0123456789\t\r\n,;\"'{}[]:\\/|-_é字\x00\ufeff\u2028\x85"), "\r\n", "  ", '""', "1e9"]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([10**20, -1, 0.5, float("nan"), float("inf"), 1e308])
)
WORDS = st.lists(LETTERS, max_size=12).map("".join)
NAMES = st.sampled_from(
    [
        "text",
        "label",
        "prompt",
        "completion",
        "response",
        "messages",
        "role",
        "content",
        "user",
        "assistant",
        "ids",
        "x",
    ]
)
JSON = st.recursive(
    SCALARS | WORDS | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | WORDS, inner, max_size=3),
    max_leaves=8,
)
SAID = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "system", "x"]), "content": WORDS | NAMES})
ROWS = st.dictionaries(NAMES, WORDS | NAMES | JSON | st.lists(SAID | JSON, max_size=4), max_size=4)


def jsonl(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode("utf-8", "surrogatepass")


FILES = (
    st.binary(max_size=80)
    | st.lists(LETTERS, max_size=60).map(lambda some: "".join(some).encode())
    | st.lists(ROWS | JSON, max_size=5).map(jsonl)
    | st.lists(ROWS, max_size=4).map(lambda rows: json.dumps(rows).encode())
    | st.lists(ROWS, max_size=4).map(lambda rows: gzip.compress(jsonl(rows)))
)
SUFFIXES = st.sampled_from(
    [".txt", ".jsonl", ".json", ".csv", ".tsv", ".txt.gz", ".jsonl.gz", ".fasta", ".parquet", ""]
)


def read_or_refused(call: Callable[[], Any]) -> Any:
    """What the call gives; None where it is refused, which must be told in one line and in words of ours."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return call()
    except UserError as error:
        line = str(error)
        assert line
        assert "\n" not in line, line
        assert not JARGON.search(line), line
        return None


@contextlib.contextmanager
def written(content: bytes, suffix: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"f{suffix}"
        path.write_bytes(content)
        yield path


@given(FILES, SUFFIXES, st.booleans(), st.sampled_from(["error", "drop"]), st.sampled_from([None, "text", "x"]))
def test_texts(content: bytes, suffix: str, labelled: bool, bad_rows: Any, column: str | None) -> None:
    """Every row is used or told."""
    with written(content, suffix) as path:
        found = read_or_refused(lambda: read_sentences(path, column, labelled, bad_rows=bad_rows))
        if found is not None:
            assert found.texts
            assert found.intake.balanced, found.intake


@given(FILES, SUFFIXES, st.sampled_from(["error", "drop", "repair"]))
def test_conversations(content: bytes, suffix: str, bad_rows: Any) -> None:
    """Every row is used or told, in training and in what is asked."""
    with written(content, suffix) as path:
        found = read_or_refused(lambda: read_conversations(path, bad_rows=bad_rows))
        if found is not None:
            assert found.conversations
            assert found.intake.balanced, found.intake
        read_or_refused(lambda: read_histories(path))


@given(FILES, SUFFIXES, st.sampled_from(["error", "drop"]), st.sampled_from([None, 0, 3]))
def test_token_ids(content: bytes, suffix: str, bad_rows: Any, padding: int | None) -> None:
    """Every row is used or told."""
    with written(content, suffix) as path:
        found = read_or_refused(lambda: read_token_ids(path, padding=padding, bad_rows=bad_rows))
        if found is not None:
            assert found.ids
            assert found.intake.balanced, found.intake


KINDS = st.sampled_from(["float32", "int64", "bool", "U3", "complex64", "uint8", "float16"])
SHAPES = st.lists(st.integers(0, 4), max_size=3).map(tuple)
KEYS = ["obs", "acts", "lens", "rews", "terminal", "indices", "observations", "actions", "terminals", "env_id", "seeds"]
ARRAYS = st.dictionaries(st.sampled_from(KEYS), st.tuples(SHAPES, KINDS, st.integers(0, 3)), max_size=5)
LIKELY = st.tuples(st.integers(0, 4), st.integers(0, 5), ARRAYS)


@given(LIKELY, st.sampled_from(["error", "drop"]), st.integers(0, 400))
def test_demonstrations(made: tuple[int, int, dict[str, Any]], bad: Any, cut: int) -> None:
    """Archives of arrays that do not go together, of any type, and cut off."""
    steps, more, others = made
    arrays: dict[str, Any] = {"obs": np.zeros((steps + more % 2, 2), np.float32), "acts": np.zeros(steps, np.int64)}
    arrays |= {key: np.full(shape, fill).astype(kind) for key, (shape, kind, fill) in others.items()}
    content = io.BytesIO()
    np.savez(content, **arrays)
    whole = content.getvalue()
    with written(whole if cut > 100 else whole[: len(whole) - 7 * cut], ".npz") as path:
        found = read_or_refused(lambda: formats.read_npz(path, bad))
        if found is not None:
            assert found.episodes
            assert found.intake.balanced, found.intake


NO_VALUE = {"--config", "--print_config", "-h", "--help"}
OPTIONS = {
    task: sorted(
        {word for action in parser_of(task)[0]._actions for word in action.option_strings if not word.endswith(".help")}
        - NO_VALUE
    )
    + [
        f"--{option.name}"
        for name, slot in SLOTS[task].items()
        if slot.options == "line"
        for part in parts(slot)
        for option in parameters(name, slot, part)
    ]
    for task in TASKS
}
PARTS = [f"{part.__module__}.{part.__qualname__}" for slot in SLOTS["text"].values() for part in parts(slot)]
VALUES = st.sampled_from(
    [
        *[
            "0",
            "1",
            "2",
            "-1",
            "0.5",
            "nan",
            ".nan",
            "inf",
            "-.inf",
            "null",
            "true",
            "[]",
            "{}",
            "[1,2]",
            "[null]",
            "~",
            "1e400",
        ],
        "",
        "{a: 1}",
        "{class_path: x}",
        "{class_path: seqgan_kit.tokens.credit.MonteCarlo, init_args: {rollouts: x}}",
        "a: b: c",
        "[",
        "!!python/name:os",
        "&a [*a]",
        "word",
        "error",
        "words",
        "os.getcwd",
        "no.such",
        ".",
        "..",
        "/dev/null",
        "99999999999999999999",
        str(2**33),
        "0x10",
        "1_0",
        "é",
        "a\nb",
        *PARTS,
    ]
)


@pytest.mark.parametrize("task", TASKS)
@settings(max_examples=60)
@given(st.data())
def test_options(task: str, data: st.DataObject) -> None:
    """Any value for any option."""
    words = [
        word
        for _ in range(data.draw(st.integers(1, 3)))
        for word in [data.draw(st.sampled_from(OPTIONS[task])), data.draw(VALUES)]
    ]
    read_or_refused(lambda: parse(words, task))


def _put(tree: Any, place: list[Any], value: Any) -> None:
    """Changes a nested configuration at a place, as far as there is one."""
    for key in place[:-1]:
        tree = tree.setdefault(key, {}) if isinstance(tree, dict) else {}
    if isinstance(tree, dict) and place:
        tree[place[-1]] = value


@pytest.mark.parametrize("task", TASKS)
@settings(max_examples=30)
@given(st.data())
def test_configurations(task: str, data: st.DataObject) -> None:
    """A file of options with something else in one of its places, or anything at all."""
    config = json.loads(json.dumps(TINY[task]))
    names = [option.removeprefix("--").split(".") for option in OPTIONS[task]]
    for _ in range(data.draw(st.integers(1, 2))):
        _put(config, data.draw(st.sampled_from(names)), data.draw(JSON | ROWS))
    content = data.draw(st.sampled_from([yaml.safe_dump(config, allow_unicode=True)] * 5 + [None]))
    text = data.draw(st.lists(LETTERS, max_size=40).map("".join)) if content is None else content
    with written(text.encode(), ".yaml") as path:
        read_or_refused(lambda: parse(["--config", str(path)], task))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of text."""
    from seqgan_kit.cli import main

    run = tmp_path_factory.mktemp("fuzz") / "run"
    assert main([*runs.tiny(run), *SMALL["text"].split()]) == 0
    return run


def _places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else []
    for key, value in inner:
        yield from _places(value, (*path, key))


def _changed(tree: Any, place: tuple[Any, ...], value: Any) -> Any:
    if not place:
        return value
    if isinstance(tree, dict):
        return tree | {place[0]: _changed(tree[place[0]], place[1:], value)}
    return [*tree[: place[0]], _changed(tree[place[0]], place[1:], value), *tree[place[0] + 1 :]]


@settings(max_examples=250)
@given(st.data())
def test_run_folders(made: Path, capsys: pytest.CaptureFixture[str], data: st.DataObject) -> None:
    """With something else in one place of one of its files; every command tells it, or works."""
    name = data.draw(st.sampled_from(["run.json", "run.json", "metrics.jsonl", "baselines.json", "config.yaml"]))
    command = data.draw(st.sampled_from(["report R", "compare R R", "report R", "sample R --count 1"]))
    with tempfile.TemporaryDirectory() as folder, _in(folder):
        shutil.copytree(made, "R")
        path = Path("R") / name
        text = path.read_text()
        whole = (
            yaml.safe_load(text)
            if name == "config.yaml"
            else list(map(json.loads, text.splitlines()))
            if (name == "metrics.jsonl")
            else json.loads(text)
        )
        whole = _changed(whole, data.draw(st.sampled_from(list(_places(whole)))), data.draw(JSON))
        if name == "metrics.jsonl":
            path.write_text("".join(json.dumps(line) + "\n" for line in whole) if isinstance(whole, list) else "x")
        else:
            path.write_text(yaml.safe_dump(whole) if name == "config.yaml" else json.dumps(whole))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            lines = refused(command.split(), capsys)
        assert len(lines) <= 1, lines
        assert not any(map(JARGON.search, lines)), lines


@contextlib.contextmanager
def _in(folder: str) -> Iterator[None]:
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
