"""What numbers users may give: the type of each option says it, as Count or Share, whoever reads the configuration."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import importlib
import inspect
import math
import typing
from collections.abc import Iterator
from typing import Annotated, Any

import psutil

from seqgan_kit.errors import UserError

MOST = 10**12
LARGEST_SEED = 2**32 - 1  # that NumPy takes
SAMPLE = 1000  # bytes, about, of a text or reply while it is measured


@dataclasses.dataclass(frozen=True)
class Bound:
    """From `low` to `high`; above, below: without that bound itself."""

    low: float = -MOST
    high: float = MOST
    above: bool = False
    below: bool = False

    def check(self, option: str, value: float) -> None:
        """Raises UserError, which names the option, for a number that is not finite, or out of bounds."""
        told = f"{value:g}" if isinstance(value, float) else str(value)
        if not math.isfinite(value):
            raise UserError(f"{option} {told}: give a finite number")
        low = self.low < value if self.above else self.low <= value
        high = value < self.high if self.below else value <= self.high
        if not (low and high):
            raise UserError(f"{option} {told}: give {self._wanted(value)}")

    def _wanted(self, value: float) -> str:
        if self.high == 1 or self.high == LARGEST_SEED:
            if self.above:
                return f"a number above {self.low:g}, at most {self.high}"
            return f"a number from {self.low:g} to {'below ' if self.below else ''}{self.high}"
        if value > self.low:
            return f"at most {self.high}"
        return f"a number above {self.low:g}" if self.above else f"at least {self.low:g}"


Seed = Annotated[int, Bound(0, LARGEST_SEED)]
Whole = Annotated[int, Bound(0)]
Count = Annotated[int, Bound(1)]
Several = Annotated[int, Bound(2)]
Layers = Annotated[int, Bound(1, 1000)]
Blocks = Annotated[int, Bound(0, 1000)]
Integer = Annotated[int, Bound()]
"""Any: what is wrong with one is told where it is used."""
Threads = Annotated[int, Bound(1, 1024)]
NotNegative = Annotated[float, Bound(0)]
Positive = Annotated[float, Bound(0, above=True)]
Share = Annotated[float, Bound(0, 1)]
PositiveShare = Annotated[float, Bound(0, 1, above=True)]
BelowOne = Annotated[float, Bound(0, 1, below=True)]
Number = Annotated[float, Bound()]
"""Any, as weights, which may be negative."""
Rate = Annotated[float, Bound(0, math.inf)]
"""A learning rate, of which the step that it makes tells whether it is too large."""


def check_numbers(config: Any, kind: Any = None) -> None:
    """Raises UserError for the first number of a configuration that is out of the bounds of its option.

    kind: its class, where the configuration is what a parser has read of one.
    """
    for option, value, bound in numbers(config, kind, "-"):
        if bound is not None:
            bound.check(option, value)


def numbers(value: Any, hint: Any, option: str) -> Iterator[tuple[str, float, Bound | None]]:
    """Every number in a configuration, dataclasses or what a parser has read: its option, and its bound, if it has one.

    hint: its type. Not those in mappings of the user's, nor what parts of the user's own take.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        yield option, value, next(of(hint), None)
    elif isinstance(value, list | tuple):
        items = _items(hint)
        for item in value:
            yield from numbers(item, items, option)
    elif isinstance(value, functools.partial):  # a part, with some of what it takes
        if _ours(value.func):
            yield from _fields(value.keywords, value.func, option)
    elif isinstance(value, argparse.Namespace) and "class_path" in value:
        found, inner = vars(value), vars(value).get("init_args")
        if str(found["class_path"]).startswith("seqgan_kit.") and isinstance(inner, argparse.Namespace):
            module, _, name = str(found["class_path"]).rpartition(".")
            yield from _fields(vars(inner), getattr(importlib.import_module(module), name), option)
    elif isinstance(value, argparse.Namespace):
        group = next((one for one in _alternatives(hint) if dataclasses.is_dataclass(one)), None)
        yield from _fields(vars(value), group, option)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type) and _ours(type(value)):
        yield from _fields(vars(value), type(value), option)


def _fields(found: dict[str, Any], owner: Any, option: str) -> Iterator[tuple[str, float, Bound | None]]:
    hints = types_of(owner)
    for name, value in found.items():
        yield from numbers(value, hints.get(name), f"{option}{'-' if option == '-' else '.'}{name}")


@functools.cache
def types_of(owner: Any) -> dict[str, Any]:
    """The types, with their bounds, of what a dataclass, another class or a function takes; nothing of nothing."""
    if owner is None:
        return {}
    made = (
        vars(owner).get("__init__", owner) if not dataclasses.is_dataclass(owner) and inspect.isclass(owner) else owner
    )
    return typing.get_type_hints(made, include_extras=True)


def _ours(part: Any) -> bool:
    return str(getattr(part, "__module__", "")).startswith("seqgan_kit.")


def _alternatives(hint: Any) -> Iterator[Any]:
    """The type itself, or what a union has; Annotated stays whole."""
    if typing.get_origin(hint) is Annotated or inspect.isclass(hint):
        yield hint
        return
    for one in typing.get_args(hint):
        yield from _alternatives(one)


def of(hint: Any) -> Iterator[Bound]:
    """The bounds of a type."""
    for one in _alternatives(hint):
        if typing.get_origin(one) is Annotated:
            yield from (extra for extra in one.__metadata__ if isinstance(extra, Bound))


def _items(hint: Any) -> Any:
    """The type of a list's or tuple's items: of all of them alike."""
    if typing.get_origin(hint) in (list, tuple) or "Sequence" in str(typing.get_origin(hint)):
        return typing.get_args(hint)[0]
    for one in typing.get_args(hint):  # of `list[int] | None`
        if (found := _items(one)) is not None:
            return found
    return None


def check_fits(option: str, count: int, each: float) -> None:
    """Raises UserError where so many of something, of about `each` bytes, are more than the memory that is free."""
    free = psutil.virtual_memory().available
    if count * each > free:
        raise UserError(too_large(f"{option} {count}", count * each, free, "lower it"))


def too_large(what: str, needed: float, free: float, advice: str = "make them smaller") -> str:
    """For a message: what needs more memory than there is."""
    return f"{what}: about {needed / 1e9:,.1f} GB would be needed, and {free / 1e9:.1f} GB of memory are free: {advice}"
