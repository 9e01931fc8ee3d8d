"""`--OPTION.help`: the classes and functions of the kit that an option takes by import path, and what each takes."""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
from collections.abc import Iterator
from typing import Any

from seqgan_kit.cli.slot_table import SLOTS, Slot
from seqgan_kit.cli.source import Option, described, documented, wrapped
from seqgan_kit.errors import UserError
from seqgan_kit.old_names import renamed
from seqgan_kit.options import nearest
from seqgan_kit.trust import import_own


def slot_help(task: str, name: str, asked: str = "") -> str:
    """What there is for an option; asked: of one class alone, by its name or import path. Raises UserError."""
    slots = SLOTS[task]
    if name not in slots:
        known = f"these do: {', '.join(slots)}" if slots else f"none of {task} does"
        near = nearest(name, slots)
        raise UserError(f"--{name}.help: --{name} takes no class or function by import path{near}; {known}")
    slot = slots[name]
    if asked:
        return "\n".join(_about(name, slot, _wanted(slot, name, renamed(asked)), whole=True))
    lines: list[str] = []
    if name.count(".") == 1:  # else it is an option of a class, which is told of there
        option = described(task, name)
        lines += [option.text(), ""]
    lines += [f"What there is for --{name}:", ""]
    for part in parts(slot):
        lines += [*_about(name, slot, part), ""]
    if slot.options == "YAML":
        lines.append(wrapped(f"What one takes is given in YAML, {_yaml(name)}."))
    elif slot.options == "list":
        lines.append(wrapped(f"It is given as a list: --{name} '[{{function: MODULE.NAME, weight: 0.5}}]'."))
    if slot.options != "list":
        lines.append(wrapped(f"One of your own is given as MODULE.NAME. More of one of these: --{name}.help NAME."))
    return "\n".join(lines)


def parts(slot: Slot) -> list[Any]:
    """The classes or functions of the kit that fit, in the order of the source."""
    found: list[Any] = []
    for module in _modules(slot):
        own = [part for part in vars(module).values() if getattr(part, "__module__", None) == module.__name__]
        found += [part for part in own if callable(part) and part.__name__[0] != "_" and slot.fits(part)]
    return found


def parameters(name: str, slot: Slot, part: Any) -> list[Option]:
    """What a class takes beyond what the kit fills in, as options."""
    if slot.options is None:
        return []
    from seqgan_kit.cli.parsing import options_of  # which takes its time, and short help needs SLOTS alone

    return options_of(part, name if slot.options == "line" else None, slot.given)


def _about(name: str, slot: Slot, part: Any, whole: bool = False) -> list[str]:
    """A class or function: its import path, the first line of its docstring or all before `Args`, what it takes."""
    text = inspect.getdoc(part) or ""
    told = documented(text)[0] if not whole else text.partition("\nArgs:")[0].rstrip()
    lines = [f"{part.__module__}.{part.__qualname__}"]
    lines += [wrapped(" ".join(block.split()), 2) for block in told.split("\n\n")]
    dashes = "--" if slot.options == "line" else ""
    for option in parameters(name, slot, part):
        lines.append(option.text(dashes=dashes))
    if whole and slot.options == "YAML" and parameters(name, slot, part):
        lines += ["", wrapped(f"What it takes is given in YAML, {_yaml(name)}.")]
    return lines


def _yaml(name: str) -> str:
    group, _, last = name.rpartition(".")
    return f"as {group}: {{{last}: {{class_path: MODULE.NAME, init_args: {{margin: 1.0}}}}}}"


def _wanted(slot: Slot, name: str, asked: str) -> Any:
    """One of the kit's by its name, or any by its import path."""
    known = {part.__name__: part for part in parts(slot)}
    if asked in known:
        return known[asked]
    module, _, last = asked.rpartition(".")
    import_own(module.partition(".")[0] or "seqgan_kit", os.getcwd())
    try:
        return getattr(importlib.import_module(module), last)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(
            f"--{name}.help {asked}: there is no such class or function{nearest(last, known)}; the kit has "
            f"{', '.join(known)}; of your own give MODULE.NAME"
        ) from error


def _modules(slot: Slot) -> Iterator[Any]:
    for name in slot.modules:
        module = importlib.import_module(f"seqgan_kit.{name}")
        yield module
        for inner in pkgutil.iter_modules(getattr(module, "__path__", [])):
            yield importlib.import_module(f"{module.__name__}.{inner.name}")
