"""`--OPTION.help`: the classes and functions of the kit that an option takes by import path, and what each takes."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from seqgan_kit.cli.source import Option, described, documented, wrapped
from seqgan_kit.errors import UserError
from seqgan_kit.old_names import renamed
from seqgan_kit.options import nearest


class Slot(NamedTuple):
    """modules: where the kit's are; of a folder, all in it. fits: whether one of them is meant for this option.

    given: the parameters that the kit fills in. options: how the others are given: as --OPTION.PARAMETER, or only in
    YAML as init_args, or not at all (None).
    """

    modules: tuple[str, ...]
    fits: Callable[[Any], bool]
    given: tuple[str, ...] = ()
    options: str | None = "line"


def _network(folder: str, built: str, called: str) -> Slot:
    """Networks that need these arguments to be built, and these to be called."""
    given = tuple(built.split())

    def fits(part: Any) -> bool:
        from torch import nn

        if not inspect.isclass(part) or not issubclass(part, nn.Module):
            return False
        return _required(part) == given and _required(part.forward)[1:] == tuple(called.split())

    return Slot((f"networks.{folder}",), fits, given)


def _subclass(base: str, *given: str) -> Slot:
    """Subclasses of a class of the kit, from its own module."""
    module, _, name = base.rpartition(".")

    def fits(part: Any) -> bool:
        parent = getattr(importlib.import_module(f"seqgan_kit.{module}"), name)
        return inspect.isclass(part) and issubclass(part, parent) and not inspect.isabstract(part)

    return Slot((module,), fits, given)


def _function(module: str, called: str) -> Slot:
    """Functions that are called with just these arguments."""
    names = tuple(called.split())
    return Slot((module,), lambda part: inspect.isfunction(part) and _required(part) == names, names, None)


def _objective(part: Any) -> bool:
    return inspect.isfunction(part) and not _required(part) and inspect.signature(part).return_annotation == "Objective"


def _reward(name: str) -> Slot:
    return Slot(("game.rewards",), lambda part: getattr(part, "__qualname__", None) == name, (), "list")


OBJECTIVE = Slot(("algorithms.objectives", "algorithms.f_gan"), _objective, (), "YAML")
TOKENS = {
    "discriminator.objective": OBJECTIVE,
    "adversarial.credit": _subclass("tokens.credit.Credit", "network", "length", "end"),
    "adversarial.baseline": _function("algorithms.credit", "credit mask"),
    "adversarial.estimator": _function("algorithms.estimators", "log_probs old_log_probs credit mask"),
    "adversarial.rewards": _reward("Reward"),
}
PICTURES = _network("pictures", "side condition", "")
SLOTS: dict[str, dict[str, Slot]] = {
    "text": {
        "discriminator.network": _network("text", "vocabulary", "ids mask"),
        **TOKENS,
        "adversarial.route": _subclass("text.differentiable.Route"),
        "adversarial.route.matching": _subclass("tokens.soft.Matching"),
    },
    "dialogue": {"discriminator.network": _network("text", "vocabulary", "ids mask history turns"), **TOKENS},
    "imitation": {
        "policy.improvement": _subclass("imitation.improvement.Improvement"),
        "discriminator.network": _network("policies", "layout", "features"),
        "discriminator.objective": OBJECTIVE,
        "adversarial.rewards": _reward("StepReward"),
    },
    "images": {
        "discriminator.network": PICTURES,
        "discriminator.objective": OBJECTIVE,
        "adversarial.rewards": _reward("PictureReward"),
        "second.discriminator": PICTURES,
    },
    "encoder": {},
}


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


def _required(function: Any) -> tuple[str, ...]:
    """The names of the parameters without a default, *args and **kwargs aside."""
    given = inspect.signature(function).parameters.values()
    plain = (one for one in given if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD))
    return tuple(one.name for one in plain if one.default is one.empty)
