"""What the commands on a run folder share: options that several have, and their checks."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from typing import Any, Protocol

from seqgan_kit.errors import UserError, check_seed

Read = Callable[..., tuple[Any, str]]
"""Further options -> the configuration of a run with them, and its YAML."""


class Drawn(Protocol):
    """How evaluations while training draw: so many samples, by this seed."""

    @property
    def samples(self) -> int: ...
    @property
    def seed(self) -> int: ...


def add_seed(parser: ArgumentParser, of: str, as_in_training: bool = False) -> None:
    """--seed: 0 where it is not given, or None, which stands for that of the evaluations while training."""
    if as_in_training:
        parser.add_argument("--seed", type=int, help=f"Seed of {of} (default: as in training)")
    else:
        parser.add_argument("--seed", type=int, default=0, help=f"Seed of {of} (default: %(default)s)")


def add_samples(parser: ArgumentParser, of: str) -> None:
    """--samples, None where it is not given."""
    text = f"Number of {of}; more make the metrics surer (default: as in training)"
    parser.add_argument("--samples", type=int, help=text)


def add_unit(parser: ArgumentParser) -> None:
    """--unit, None where it is not given."""
    text = "What metrics count: words, characters, or the tokenizer's tokens (default: as in training)"
    parser.add_argument("--unit", choices=("words", "characters", "tokens"), help=text)


def check_least(command: str, options: Namespace, **least: int) -> None:
    """Raises UserError where an option is less than it may be."""
    for name, bound in least.items():
        value = getattr(options, name)
        if value < bound:
            raise UserError(f"{command} --{name} {value}: give at least {bound}")


def asked(command: str, options: Namespace, training: Drawn, least: int = 2) -> tuple[int, int]:
    """--samples and --seed of an evaluation, as in training where they are not given. Raises UserError."""
    samples = training.samples if options.samples is None else options.samples
    seed = training.seed if options.seed is None else options.seed
    check_least(command, Namespace(samples=samples), samples=least)
    check_seed(seed)
    return samples, seed


def is_main_process() -> bool:
    """Of the processes that torchrun launched, the one that tells the user."""
    return int(os.environ.get("RANK", "0")) == 0
