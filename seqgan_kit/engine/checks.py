"""Checks of options before anything is written: each names the option and what to give instead."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from seqgan_kit.engine.learning import OptimizerConfig
from seqgan_kit.engine.run_config import RunConfig
from seqgan_kit.errors import UserError

Bound = tuple[str, float, float]
"""An option, its value, and the least that it may be."""


def at_least(*bounds: Bound) -> None:
    """Raises UserError for the first option that is below its bound."""
    for option, value, least in bounds:
        if value < least:
            raise UserError(f"{option} {value}: give at least {least}")


def run_bounds(config: RunConfig) -> list[Bound]:
    return [("--run.log_every", config.log_every, 1)]


def optimizer_bounds(optimizers: Iterable[tuple[str, OptimizerConfig]]) -> list[Bound]:
    """Of optimizers by the option that they are given by."""
    return [
        bound
        for option, config in optimizers
        for bound in (
            (f"{option}.accumulate", config.accumulate, 1),
            (f"{option}.lr", config.rate(), 0),
            (f"{option}.history", config.history, 0),
        )
    ]


def within(low: float, high: float, *values: tuple[str, float]) -> None:
    """Raises UserError for the first option that is not from `low` to `high`."""
    for option, value in values:
        if not low <= value <= high:
            raise UserError(f"{option} {value:g}: give a number from {low:g} to {high:g}")


def rewarded(weight: float, rewards: Sequence[object]) -> None:
    """Raises UserError where neither the discriminator nor a reward of the user's own is there to learn from."""
    if not weight and not rewards:
        raise UserError(
            "--adversarial.discriminator_weight 0 without --adversarial.rewards leaves nothing to learn from: give 1"
        )


def batches(source: str, count: int, unit: str, *sizes: tuple[str, int]) -> None:
    """Raises UserError where `source` has fewer than a batch of its `count` rows, which are called `unit`."""
    for option, size in sizes:
        if size > count:
            raise UserError(f"{source} has {count} {unit}, fewer than {option} {size}: give more, or lower it")
        if size < 2:
            raise UserError(f"{option} {size}: give at least 2")
