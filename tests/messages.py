"""What the package says, read from its source: every text in it, every refusal, and the options that there are."""

from __future__ import annotations

import argparse
import ast
import functools
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from seqgan_kit.cli.parsing import parser_of
from seqgan_kit.cli.slots import SLOTS, parameters, parts
from seqgan_kit.options import TASKS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "seqgan_kit"
ANY = "\0"
"""Stands in a text for what is filled in when the program runs."""
OPTION = re.compile(rf"(?<![\w-])--([a-z{ANY}][\w{ANY}]*(?:\.[\w{ANY}]+)*)")
FURTHER = ("seeds", "help", "all", "version", "any.option", "OPTION.help", "OPTION.PARAMETER", "nproc_per_node")
"""Of `train` beside its configuration's options, of the usage, and of torchrun."""


class Text(NamedTuple):
    """A string of the source, with ANY for what is not known there. file: below the package."""

    file: str
    line: int
    text: str


class Site(NamedTuple):
    """Where a UserError is made; `names`: its text has an option, or the place of one."""

    file: str
    first: int
    last: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.first} {self.text!r}"

    @property
    def names(self) -> bool:
        return bool(OPTION.search(self.text))


@functools.cache
def _trees() -> dict[str, ast.Module]:
    return {str(path.relative_to(PACKAGE)): ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}


def _constants(tree: ast.Module) -> dict[str, str]:
    """The strings that a module gives names to."""
    return {
        node.targets[0].id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    }


def _text(node: ast.expr, known: dict[str, str]) -> str | None:
    """What a string, an f-string or a name of a constant says; None for what is none of them."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts = [_text(part, known) or ANY for part in node.values]
        first = node.values[0]
        if isinstance(first, ast.FormattedValue) and isinstance(first.value, ast.Name) and first.value.id == "option":
            parts[0] = f"--{ANY}"
        return "".join(parts)
    if isinstance(node, ast.FormattedValue):
        return _text(node.value, known) or ANY
    if isinstance(node, ast.Name):
        return known.get(node.id)
    return None


def texts() -> Iterator[Text]:
    """Every string of the package: messages, notes, help; but no styles of a page, nor what other programs are told."""
    for file, tree in _trees().items():
        known = _constants(tree)
        inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant | ast.JoinedStr) and id(node) not in inner:
                text = _text(node, known)
                if text and "var(--" not in text and ":root{" not in text and file != "engine/provenance.py":
                    yield Text(file, node.lineno, text)


def sites() -> list[Site]:
    """Every place that makes a UserError, by the lines of its statement."""
    found = []
    for file, tree in _trees().items():
        known = _constants(tree)
        statements = [node for node in ast.walk(tree) if isinstance(node, ast.Raise | ast.Return)]
        for statement in statements:
            for node in ast.walk(statement):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "UserError":
                    text = _text(node.args[0], known) or ANY
                    found.append(Site(file, statement.lineno, statement.end_lineno or statement.lineno, text))
    return found


@functools.cache
def options_of(task: str) -> frozenset[str]:
    """What `train` of a task takes, with what the parts that it may choose take, and what its runs' commands take."""
    found = {word.removeprefix("--") for action in parser_of(task)[0]._actions for word in action.option_strings}
    for name, slot in SLOTS[task].items():
        found |= {option.name for part in parts(slot) for option in parameters(name, slot, part)}
    for add_options, _ in import_module(TASKS[task].commands).COMMANDS.values():
        parser = argparse.ArgumentParser()
        add_options(parser)
        found |= {word.removeprefix("--") for action in parser._actions for word in action.option_strings}
    groups = {name.rpartition(".")[0] for name in found}  # --adversarial.route, --control
    return frozenset(found | groups - {""})


def known_to(file: str) -> frozenset[str]:
    """The options that a message of this file may name: those of its use, or of all uses that share it."""
    room = file.split("/")[0]
    shared = {
        "language": ("text", "dialogue", "images"),
        "tokens": ("text", "dialogue"),
        "images": ("images", "encoder"),
    }
    tasks = shared.get(room, (room,) if room in TASKS else tuple(TASKS))
    return frozenset().union(*map(options_of, tasks), FURTHER)


def unknown(text: str, known: frozenset[str]) -> list[str]:
    """The options that a text names and that there are not."""
    return [name for name in OPTION.findall(text) if not _known(name, known)]


def _known(name: str, known: frozenset[str]) -> bool:
    if ANY not in name:
        return name in known
    pattern = re.compile(".*".join(map(re.escape, name.split(ANY))))
    return any(pattern.fullmatch(one) for one in known)
