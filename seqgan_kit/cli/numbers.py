"""Numbers that no option of the kit takes, whatever else is chosen: told before anything is read.

What depends on other options, or on the data, is the matter of the `checks.py` of the use.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from jsonargparse import Namespace

from seqgan_kit.errors import UserError, check_seed

MOST = 10**12
ONE = frozenset(
    [
        "accumulate",
        "batch_size",
        "chunk",
        "copies",
        "dim",
        "embedding",
        "epochs",
        "filters",
        "hidden",
        "iterations",
        "keep_checkpoints",
        "log_every",
        "minibatch",
        "most",
        "noise",
        "passes",
        "picture_width",
        "processes",
        "repeats",
        "rollouts",
        "threads",
        "width",
        "widths",
        "windows",
        "workers",
    ]
)
"""The last names of options of which there must be one at least; any other number is at least 0, but for:"""
SIGNED = frozenset(["discriminator_weight", "log_std", "weight"])
SHARES = frozenset(["accept", "beta", "dropout", "kept_back", "lag", "share"])
OTHERS = frozenset(
    ["betas", "held_out", "sharpness", "side", "temperature", "max_length", "max_reply", "max_history", "vocabulary"]
)
"""Those whose bounds, which are others, are checked where they are used."""


def check_numbers(options: Namespace) -> None:
    """Raises UserError for the first number that is not finite, or out of the bounds of all options of its name."""
    from seqgan_kit.engine.checks import at_least, within

    for option, value in _numbers(options, "-"):
        name = option.rpartition(".")[2]
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{option} {value}: give a finite number")
        if name == "seed":
            check_seed(int(value), option)
        elif name in SHARES:
            within(0, 1, (option, value))
        elif name == "betas":
            if not 0 <= value < 1:
                raise UserError(f"{option} {value:g}: give numbers from 0 to below 1, as [0.9, 0.999]")
        elif name not in OTHERS and name not in SIGNED:
            at_least((option, value, int(name in ONE)))
        most = 1024 if name == "threads" else MOST
        if abs(value) > most and name != "lr":  # whatever step it makes is told when it is made
            raise UserError(f"{option} {value}: give at most {most}")


def check_rates(options: Namespace, path: str = "-") -> None:
    """Raises UserError for a learning rate that is null, and still is where all that may be left open is chosen."""
    for key, value in vars(options).items():
        here = f"{path}{'-' if path == '-' else '.'}{key}"
        if isinstance(value, Namespace):
            check_rates(value, path if key == "init_args" else here)
        elif key == "lr" and value is None:
            raise UserError(f"{here} null: give a number, as 0.001")


def _numbers(options: Namespace, path: str) -> Iterator[tuple[str, float]]:
    """Every number that is an option of the kit, or of one of its parts; not those within a mapping of the user's, and
    not what a part of the user's own takes."""
    own = str(vars(options).get("class_path", "seqgan_kit.")).startswith("seqgan_kit.")
    for key, found in vars(options).items():
        here = path if key == "init_args" else f"{path}{'-' if path == '-' else '.'}{key}"
        if key == "init_args" and not own:
            continue
        for value in found if isinstance(found, list | tuple) else [found]:
            if isinstance(value, Namespace):
                yield from _numbers(value, here)
            elif isinstance(value, int | float) and not isinstance(value, bool):
                yield here, value
