"""Checks of options before anything is written: each names the option and what to give instead."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from seqgan_kit.algorithms.objectives import Objective
from seqgan_kit.engine.learning import OptimizerConfig
from seqgan_kit.errors import UserError, name_of, one_line, where_raised


def rewarded(weight: float, rewards: Sequence[object]) -> None:
    """Raises UserError where neither the discriminator nor a reward of the user's own is there to learn from."""
    if not weight and not rewards:
        raise UserError(
            "--adversarial.discriminator_weight 0 without --adversarial.rewards leaves nothing to learn from: give 1"
        )


def batches(source: str, count: int, unit: str, *sizes: tuple[str, int]) -> None:
    """Raises UserError where `source` has fewer than a batch of its `count` rows, which are called `unit`, or where the
    processes can't share one evenly."""
    for option, size in sizes:
        shared(option, size)
        if size < 2:
            raise UserError(f"{option} {size}: give at least 2")
    if large := [f"{option} {size}" for option, size in sizes if size > count]:
        lower = "lower it" if len(large) == 1 else "lower these"
        raise UserError(f"{source} has {count} {unit}, fewer than {', '.join(large)}: give more, or {lower}")


def shared(option: str, size: int, each: int = 1) -> None:
    """Raises UserError where the processes that were launched can't share a batch evenly, in runs of `each` rows."""
    least = each * int(os.environ.get("WORLD_SIZE", "1"))
    if size % least:
        raise UserError(f"{option} {size} can't be shared by {least // each} processes: give a multiple of {least}")


def not_sharded(shard: bool, what: str) -> None:
    """Raises UserError where weights shall be shared out, but `what` needs them whole."""
    if shard:
        raise UserError(f"--run.shard is for the policies of text and dialogue; {what}: leave it out")


def whole_batch(option: str, optimizer: OptimizerConfig, what: str, size: str) -> None:
    """Raises UserError where an optimizer computes a batch in parts, but `what` needs all of it; size: its option."""
    if optimizer.accumulate > 1:
        raise UserError(
            f"{option}.accumulate {optimizer.accumulate}: {what} over a whole batch, give 1 and a smaller {size}"
        )


def objective(build: Callable[[], Objective]) -> Objective:
    """What `--discriminator.objective` builds. Raises UserError where that is no objective."""
    option, wanted = "--discriminator.objective", "a function that returns one of seqgan_kit.algorithms.objectives"
    found = tried(option, build, wanted=wanted)
    if not isinstance(found, Objective):
        raise UserError(f"{option}: {name_of(build)} gives {kind(found)}, no Objective: give {wanted}")
    logits = torch.linspace(-1, 1, 4)
    others = () if found.distance is None else (torch.ones(4),)
    loss = tried(option, found.loss, logits, logits.flip(0), *others, wanted=wanted)
    of_shape(f"{option}, its loss", found.loss, loss, (), "the mean over all rows")
    reward = tried(option, found.reward, logits, wanted=wanted)
    of_shape(f"{option}, its reward", found.reward, reward, (4,), "a number for each logit")
    return found


def of_shape(option: str, part: Any, found: Any, shape: tuple[int, ...], wanted: str) -> None:
    """Raises UserError where what a part gives is no tensor of this shape."""
    if not isinstance(found, Tensor) or found.shape != shape:
        raise UserError(f"{option}: {name_of(part)} gives {kind(found)}, not the shape {shape}: give {wanted}")


def tried(option: str, part: Callable[..., Any], *arguments: Any, wanted: str) -> Any:
    """What a part that users may bring gives. Raises UserError, with the place, for whatever it raises."""
    try:
        return part(*arguments)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"{option}: {name_of(part)} raised {type(error).__name__}: {one_line(error)} ({where_raised(error)}): give "
            f"{wanted}"
        ) from error


def built(option: str, make: Callable[..., Any], *arguments: Any, wanted: str) -> Any:
    """A network of an option's class. Raises UserError; what ours say of their options is a ValueError."""
    try:
        return tried(option, make, *arguments, wanted=wanted)
    except UserError as error:
        if isinstance(error.__cause__, ValueError):
            raise UserError(f"{option}: {error.__cause__}") from error
        raise


def before_a_run(part: Callable[..., Any], *arguments: Any) -> Any:
    """What it gives. Raises UserError as it does, but where it says to resume: there is nothing to resume yet."""
    try:
        return part(*arguments)
    except UserError as error:
        raise UserError(str(error).replace("Mend it, then resume.", "Mend it.")) from error


def kind(found: Any) -> str:
    """What something is, for a message: the shape of a tensor, else its type."""
    return f"the shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
