"""Which parts may be imported: what the kit has for an option, and what is the user's own where the user says so.

Whatever a name in an option or a YAML file stands for goes through `Parts.imported`, before anything is imported.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import re
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import jsonargparse._actions
import jsonargparse._typehints

from seqgan_kit.cli.slot_table import SLOTS
from seqgan_kit.errors import UserError
from seqgan_kit.old_names import renamed
from seqgan_kit.trust import import_own, remembered

ENVIRONMENTS = ("ale_py", "gymnasium_robotics", "minigrid")
"""Installed packages that register environments as they are imported, and do nothing else."""
_DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")
_import = jsonargparse._typehints.import_object


class Parts:
    """given: import paths and environments that stand on the command line. folders: where the modules are that the user
    trusts, by --trust or because a file was written on this machine. files: the texts that may name a part, by name.
    refused: what was asked for and not imported."""

    def __init__(self, task: str, words: list[str], trusted: list[str], files: Mapping[str, str]) -> None:
        self.given = _given(task, words)
        self.folders = {name: os.getcwd() for name in trusted}
        for text in files.values():
            self.folders = {**remembered(text), **self.folders}
        self.files = files
        self.refused: list[str] = []

    def imported(self, name: str, *others: Any, **options: Any) -> Any:
        """What an import path stands for. Raises ImportError where it may not be imported, or there is none."""
        if not isinstance(name, str):
            return self._refuse(name)
        if self._own(name):
            found = _import(name, *others, **options)
            with contextlib.suppress(ValueError):  # which it is called by from here on
                self.given.add(str(jsonargparse._typehints.get_import_path(found)))
            return found
        found = _import(name, *others, **options) if _in_kit(name) else None
        return found if _is_part(found) else self._refuse(name)

    def check_environment(self, environment: str) -> None:
        """Raises UserError where it names a module that may not be imported, which would register it."""
        module = environment.rpartition(":")[0] or ("shimmy" if environment.startswith("GymV") else "")
        if not module or module in ENVIRONMENTS:
            return
        if environment not in self.given and not self._trusts(module):
            self.refused.append(environment)
            raise self.told(module)
        if ":" in environment:
            import_own(module, self._folder(module))

    def told(self, module: str | None = None) -> UserError:
        """The refusal of the first part that was asked for and not imported."""
        part = self.refused[0]
        module = module or part.rpartition(".")[0] or part
        where = next((name for name, text in self.files.items() if part in renamed(text)), " ".join(self.files))
        what = "no environment of Gymnasium's own" if ":" in part else "no part of seqgan_kit for an option"
        return UserError(
            f"{where} names {part}, which is {what}, and nothing that a file names is imported unless you say so: "
            f"look at what it is, then add --trust {module}"
        )

    def _own(self, name: str) -> bool:
        """Whether it is the user's own; then its module is imported from where the user has it."""
        if name not in self.given and not self._trusts(name):
            return False
        if not name.startswith("seqgan_kit."):
            import_own(name.partition(".")[0], self._folder(name))
        return True

    def _trusts(self, name: str) -> bool:
        return any(name == known or name.startswith(f"{known}.") for known in self.folders)

    def _folder(self, name: str) -> str:
        return self.folders.get(name.partition(".")[0], os.getcwd())

    def _refuse(self, name: Any) -> Any:
        self.refused.append(str(name))
        raise ImportError(f"{name} is not trusted")


_current: ContextVar[Parts | None] = ContextVar("parts", default=None)


@contextlib.contextmanager
def only(parts: Parts) -> Iterator[None]:
    """Inside, only these parts are imported."""
    token = _current.set(parts)
    try:
        yield
    finally:
        _current.reset(token)


def _checked(name: str, *others: Any, **options: Any) -> Any:
    return (_current.get() or Parts("text", [], [], {})).imported(name, *others, **options)


jsonargparse._typehints.import_object = jsonargparse._actions.import_object = _checked


def trusted(words: list[str]) -> tuple[list[str], list[str]]:
    """The words without --trust and its modules, and these. Raises UserError where one is no module's name."""
    left, found, rest = [], [], iter(words)
    for word in rest:
        option, equals, value = word.partition("=")
        if option != "--trust":
            left.append(word)
            continue
        module = value if equals else next(rest, "")
        if not all(part.isidentifier() for part in module.split(".")):
            raise UserError(
                f"--trust {module!r}: give the name of a module that may be imported, as --trust my_rewards"
            )
        found.append(module)
    return left, found


def read_files(files: list[str]) -> dict[str, str]:
    """What stands in those that can be read."""
    found = {}
    for file in files:
        with contextlib.suppress(OSError, ValueError):
            found[file] = Path(file).read_text("utf-8")
    return found


def _given(task: str, words: list[str]) -> set[str]:
    """The import paths and the environment in the values of the options that take such."""
    slots, found, name = [*SLOTS[task], "environment.id"], set(), ""
    for word in words:
        value = word
        if word.startswith("--"):
            name, _, value = word[2:].partition("=")
        name = name.removesuffix("+")
        near = (slot == name or slot.startswith(f"{name}.") or name.startswith(f"{slot}.") for slot in slots)
        if name and any(near):
            found |= {value, *_DOTTED.findall(value)}
    return found


def _in_kit(name: str) -> bool:
    """Whether it stands where the kit's parts for options are."""
    places = {f"seqgan_kit.{module}" for slots in SLOTS.values() for slot in slots.values() for module in slot.modules}
    return any(name.startswith(f"{place}.") for place in places)


def _is_part(found: Any) -> bool:
    """Whether it is a class or a function that one of those modules defines, not something that they imported."""
    if not inspect.isclass(found) and not inspect.isfunction(found):
        return False
    return "." not in found.__qualname__ and _in_kit(f"{found.__module__}.{found.__qualname__}")
