"""The options that take a class or function by import path, and what of the kit is meant for each."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple


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


def _required(function: Any) -> tuple[str, ...]:
    """The names of the parameters without a default, *args and **kwargs aside."""
    given = inspect.signature(function).parameters.values()
    plain = (one for one in given if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD))
    return tuple(one.name for one in plain if one.default is one.empty)
