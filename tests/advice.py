"""Provokes refusals, reads what they advise, does it, and sees whether that works: to its end."""

from __future__ import annotations

import contextlib
import copy
import functools
import io
import os
import re
import shlex
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

import runs
from messages import PACKAGE, known_to, unknown
from seqgan_kit.cli import _command, parsing
from seqgan_kit.engine.engine import Engine
from seqgan_kit.errors import Stopped, UserError
from seqgan_kit.options import TASKS

Words = list[str]
Change = str
"""What is done with a command, as words: `--a.b 3` sets that option, `no --a.b` takes it away, `= sample RUN` stands
for the whole command; what stands behind `also` is no advice, but what the user had to know anyway."""
MOST = 1  # advices that it may take: the cases have one fault each
ENCODER: dict[str, Any] = {
    "run": {"threads": 1},
    "data": runs.TINY_IMAGES["data"],
    "joint": runs.TINY_IMAGES["joint"],
    "evaluation": {"samples": 10},
}
TINY = {
    "text": runs.TINY | {"evaluation": {"samples": 16, "judge": {"steps": 1}}},
    "dialogue": runs.TINY_DIALOGUE,
    "imitation": runs.TINY_IMITATION,
}
TINY |= {"images": runs.TINY_IMAGES, "encoder": ENCODER}


@dataclass(frozen=True)
class Case:
    """A command that is refused, and what its refusal advises.

    words: the command; `train TASK` is of the tiny runs. Paths are below the folder of the case; RUN is a finished run
    of that use. says: a part of the message. changes: what a reader of the message would do, each in turn from the
    start, where that is not read from the message. files: what there is. mend: what a reader would do with the files.
    late: what is refused when the run is built already, before its first step.
    """

    words: str
    says: str
    changes: tuple[Change, ...] = ()
    files: Callable[[Path], object] | None = None
    mend: Callable[[Path], object] | None = None
    late: bool = False


@dataclass(frozen=True)
class Refusal:
    """message: what the user reads. made: the files and lines that made it, with what it was made from."""

    message: str
    made: frozenset[tuple[str, int]]


class Reached(Exception):
    """Where a run is built, or its first step: all that can be refused before it was not."""


@contextlib.contextmanager
def until(late: bool, whole: bool) -> Iterator[None]:
    """Ends runs where they are built, or, where `late`, after their first step; saves what takes time and refuses
    nothing. whole: also the YAML of the options."""

    def steps(engine: Engine, phase: str, total: int, *_: object) -> Iterator[int]:
        yield 0
        raise Reached

    def restore(engine: Engine) -> None:
        raise Reached

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Engine, *(("steps", steps) if late else ("restore", restore)))
        patch.setattr(parsing, "parser_of", cached_parser)
        if not whole:
            patch.setattr(parsing.ArgumentParser, "dump", lambda *_, **__: "")
        yield


cached_parser = functools.cache(parsing.parser_of)


def attempt(words: Words, late: bool = False) -> Refusal | None:
    """Runs a command in the current folder, a training as far as `until`. None where nothing was refused."""
    output = io.StringIO()
    made: set[tuple[str, int]] = set()

    def record(error: UserError, *arguments: object) -> None:
        Exception.__init__(error, *arguments)
        frame = sys._getframe(1)
        path = Path(frame.f_code.co_filename)
        made.add((str(path.relative_to(PACKAGE)) if PACKAGE in path.parents else path.name, frame.f_lineno))

    with (
        pytest.MonkeyPatch.context() as patch,
        until(late, "--seeds" in words),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(output),
    ):
        patch.setattr(UserError, "__init__", record)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                _command(words)
        except UserError as error:
            return Refusal(str(error), frozenset(made))
        except (Reached, Stopped):
            return None
    return None


def commanded(words: str, run: Path | None = None) -> Words:
    """The words of a command; `train TASK` with the options of a tiny run, in the current folder."""
    found = shlex.split(words)
    if found[0] == "train" and found[1] in TASKS and not any(".help" in word for word in found):
        file = Path(f"tiny_{found[1]}.yaml")
        config = copy.deepcopy(TINY[found[1]])
        if "likelihood" in config:  # what is left open has all options read twice
            config["likelihood"]["optimizer"] = config["adversarial"]["optimizer"] = {"lr": 0.01}
        file.write_text(yaml.safe_dump(config))
        found[2:2] = ["--config", str(file), "--run.folder", "new"]
    return [re.sub(r"^RUN\b", str(run), word) if run is not None else word for word in found]


def changed(words: Words, change: Change) -> Words:
    """The command after a change."""
    todo = [word for word in shlex.split(change) if word != "also"]
    if todo[:1] == ["="]:
        return commanded(change.removeprefix("="))
    words = list(words)
    while todo:
        remove = todo[0] == "no"
        option, values = todo[int(remove)], []
        todo = todo[int(remove) + 1 :]
        while todo and not todo[0].startswith("--") and todo[0] != "no":
            values.append(todo.pop(0))
        words = _without(words, option) + ([] if remove else [option, *values])
    return words


def _without(words: Words, option: str) -> Words:
    """And without what it was given."""
    kept, dropping = [], False
    for word in words:
        if word.startswith("--"):
            name = word.partition("=")[0]
            dropping = name == option or (name.startswith(f"{option}.") and option != "--run")
        if not dropping:
            kept.append(word)
    return kept


# -- reading -----------------------------------------------------------------------------------------------------------

NUMBER = r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?"
GIVEN = re.compile(rf"(--[\w.]+)(?: ({NUMBER}|true|false|[\w.]*[a-z]\.[A-Z]\w+|drop|cut|'[^']*'))?(?: or (cut)\b)?")


def advised(message: str) -> list[Change]:
    """What a message tells to do, as changes of the command of which each alone should help."""
    subject = re.match(r"(?:\w+:? )?(--[\w.]+)", message)
    advice = message.rpartition(": ")[2] if ": " in message else message
    own = _numbers(advice)
    if subject is not None and own:
        return [f"{subject[1]} {value}" for value in own]
    if subject is not None and re.search(r"\bleave (it|them) out\b", advice):
        return [f"no {subject[1]}"]
    found: list[Change] = []
    for part in re.split(r",? or (?=--|leave|give)", advice):
        if re.match(r"leave out ", part):
            found.append(" ".join(f"no {option}" for option, _, _ in GIVEN.findall(part)))
            continue
        given = [(option, [one for one in (value, other) if one]) for option, value, other in GIVEN.findall(part)]
        given = [(option, values) for option, values in given if values]
        if given:
            first = " ".join(f"{option} {values[0]}" for option, values in given)
            found += [first] + [f"{first} {given[-1][0]} {value}" for value in given[-1][1][1:]]
    return found


def _numbers(advice: str) -> list[str]:
    """The values of the option at hand that an advice allows: both ends of what it may be."""
    number = f"({NUMBER})"
    for pattern in (
        rf"give at least {number}",
        rf"give at most {number}",
        rf"give {number} or (?:more|less)",
        rf"above 0,? (?:and )?at most {number}",
        rf"give 0, or one of \[{number}",
        rf"give (?:a number from |a share from )?{number} (?:\([\w ]+\) )?to {number}",
        rf"give a positive multiple of {number}",
        rf"or more, {number} for instance",
        rf"give a number, as {number}",
        rf"\bgive {number}$",
    ):
        if found := re.search(pattern, advice):
            return list(found.groups())
    if re.search(r"between 0 and 1|from 0 to below 1", advice):
        return ["0.5"]
    if found := re.search(r"\bgive (true|false)$", advice):
        return [found[1]]
    return ["0.7"] if re.search(r"give (a )?numbers? above 0", advice) else []


# -- following ---------------------------------------------------------------------------------------------------------


def provoked(case: Case, folder: Path, run: Path | None) -> tuple[Refusal, Words]:
    """The case's refusal, and its command. The folder is the current one, and empty."""
    if case.files is not None:
        case.files(folder)
    words = commanded(case.words, run)
    refusal = attempt(words, case.late)
    assert refusal is not None, f"{case.words} is not refused"
    assert case.says in refusal.message, refusal.message
    return refusal, words


def follow(case: Case, folder: Path, run: Path | None) -> None:
    """Does what the refusal advises, each advice from the start. Fails where that ends in a refusal."""
    refusal, words = provoked(case, folder, run)
    assert "\n" not in refusal.message
    named = unknown(refusal.message, known_to(_task_file(words, run)))
    assert not [name for name in named if not any(name in word for word in words)], refusal.message
    changes = case.changes or (("",) if case.mend is not None else tuple(advised(refusal.message)))
    assert changes, f"no advice is read from: {refusal.message}"
    if case.changes:
        _check_named(case, refusal.message)
    for change in changes:
        if case.mend is not None:
            case.mend(folder)
        _to_its_end(changed(words, change), case.late, f"{refusal.message}\n-> {change or case.mend}")


def _to_its_end(words: Words, late: bool, story: str) -> None:
    for _ in range(MOST):
        shutil.rmtree("new", ignore_errors=True)
        refusal = attempt(words, late)
        if refusal is None:
            return
        story += f"\n-> {refusal.message}"
        further = advised(refusal.message)
        assert further, f"{story}\nand that gives no advice that is read"
        words = changed(words, further[0])
        story += f"\n-> {further[0]}"
    raise AssertionError(f"{MOST} advices do not help: {story}")


def _check_named(case: Case, message: str) -> None:
    """What is done is what the message names: each option, but for the one that it is about."""
    for change in case.changes:
        for option in re.findall(r"--[\w.]+", "" if change.startswith("=") else change.partition("also")[0]):
            known = option in message or option in case.words or repr(option.removeprefix("--")) in message
            assert known, f"{option} of the case's change is not in: {message}"


def _task_file(words: Sequence[str], run: Path | None) -> str:
    """The room whose options a message of the command may name."""
    if words[0] == "train" and words[1] in TASKS:
        return f"{words[1]}/"
    return f"{run.name}/" if run is not None and run.name in TASKS else ""


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield folder
    finally:
        os.chdir(before)
