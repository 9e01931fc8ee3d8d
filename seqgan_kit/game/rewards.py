"""Rewards written by users: plain functions of completions, as TRL's users know them, of steps, or of pictures."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqgan_kit.bounds import Number
from seqgan_kit.errors import UserError, name_of, where_raised
from seqgan_kit.samples import Images, Transitions


@dataclass(frozen=True)
class Reward:
    """A reward function and its weight beside the discriminator's.

    Args:
        function: Import path of `function(completions, **columns)`. Completions are strings, `completion_ids` (where
            the function takes it) are lists of token ids; of dialogues, `prompts` are lists of messages, `references`
            the replies in the data, and further columns of the data have their own names. Returns one float a
            completion (None counts as 0), or one list of floats a completion, one for each of its tokens.
        weight: Number that the function's reward is multiplied by.
    """

    function: Callable[..., Any]
    weight: Number = 1.0


@dataclass(frozen=True)
class StepReward:
    """A reward function of steps in an environment, and its weight beside the discriminator's.

    Args:
        function: Import path of `function(observations, actions, next_observations, **columns)`. They are NumPy arrays
            whose first dimension counts steps; `terminated` and `rewards` (the environment's own) are among the
            columns, where the function takes them. Returns one float a step.
        weight: Number that the function's reward is multiplied by.
    """

    function: Callable[..., Any]
    weight: Number = 1.0


@dataclass(frozen=True)
class PictureReward:
    """A reward function of pictures, and its weight beside the discriminator's.

    Args:
        function: Import path of `function(pixels, **columns)`. Pixels are a tensor (batch, 3, height, width) in [-1,
            1], `condition` (the captions' embeddings, where the function takes it) one (batch, dim). Returns a tensor
            with a number for each picture that can be differentiated with respect to the pixels.
        weight: Number that the function's reward is multiplied by.
    """

    function: Callable[..., Any]
    weight: Number = 1.0


def evaluate_pictures(reward: PictureReward, sample: Images) -> Tensor:
    """The weighted reward of each picture, (batch,), with its graph. Raises UserError on anything else."""
    name, count = f"reward {name_of(reward.function)}", len(sample.pixels)
    columns = {"condition": sample.condition}
    found = _called(reward.function, name, "(pixels) and condition, if it takes it", (sample.pixels,), columns)
    if not isinstance(found, Tensor) or found.shape != (count,):
        shape = f"the shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        raise UserError(f"{name} returned {shape} for {count} pictures: return a tensor of the shape ({count},)")
    if sample.pixels.requires_grad and not found.requires_grad:
        raise UserError(
            f"{name} does not depend on the pixels by way of PyTorch, so a generator can't learn from it: "
            "compute it from `pixels` without .detach(), .numpy() or comparisons"
        )
    if not found.isfinite().all():
        raise UserError(f"{name} returned numbers that are not finite")
    return found * reward.weight


def evaluate_steps(reward: StepReward, sample: Transitions) -> Tensor:
    """The weighted reward of each step, (batch, time). Raises UserError on a wrong shape or type, or on NaN."""
    given = (sample.observations, sample.actions, sample.next_observations)
    flat = [values.flatten(0, 1).cpu().numpy() for values in given]
    columns = {name: getattr(sample, name).flatten().cpu().numpy() for name in ("terminated", "rewards")}
    name, count = f"reward {name_of(reward.function)}", sample.mask.numel()
    signature = "(observations, actions, next_observations) and those of terminated, rewards that it takes"
    found = _called(reward.function, name, signature, flat, columns)
    try:
        values = np.asarray(found, np.float32)
    except (TypeError, ValueError):
        raise UserError(f"{name} returned {type(found).__name__}: return a list of {count} numbers") from None
    if values.shape != (count,):
        raise UserError(f"{name} returned the shape {values.shape} for {count} steps: return one number for each")
    values = np.where(sample.mask.flatten().cpu().numpy(), values, np.float32(0))
    if not np.isfinite(values).all():
        raise UserError(f"{name} returned numbers that are not finite")
    return torch.from_numpy(values).view(sample.mask.shape) * reward.weight


def constant(completions: Sequence[str]) -> list[float]:
    """1 for each completion: it says nothing about them, as a control (recipes/oracle_constant.yaml)."""
    return [1.0] * len(completions)


def evaluate(
    reward: Reward,
    completions: Sequence[str],
    ids: Sequence[Sequence[int]],
    columns: Mapping[str, list[Any]] | None = None,
) -> tuple[Tensor, Tensor | None]:
    """The weighted reward of each completion, (rows,), and of each token, (rows, time), where the function gives that.

    columns: what else the function may ask for by name. A per-token reward counts as 0 in the first and the other way
    round. Raises UserError on a wrong length or type, and where the function raises anything.
    """
    given = {**(columns or {}), "completion_ids": [list(row) for row in ids]}
    name = f"reward {name_of(reward.function)}"
    signature = f"(completions) and those of {', '.join(given)} that it takes"
    values = _called(reward.function, name, signature, (list(completions),), given)
    if isinstance(values, Tensor):
        values = values.tolist()
    if not isinstance(values, Sequence):
        raise UserError(f"{name} returned a {type(values).__name__}: return a list with a number for each completion")
    values = list(values)
    if len(values) != len(completions):
        raise UserError(f"{name} returned {len(values)} values for {len(completions)} completions: return one for each")
    if any(isinstance(value, Sequence) and not isinstance(value, str) for value in values):
        return torch.zeros(len(values)), _per_token(name, values, ids) * reward.weight
    return torch.tensor([_number(name, i, value) for i, value in enumerate(values)]) * reward.weight, None


def _called(
    function: Callable[..., Any], name: str, signature: str, arguments: Sequence[Any], columns: dict[str, Any]
) -> Any:
    """What a user's function returns; what it raises becomes one line with its place."""
    try:
        return function(*arguments, **_accepted(function, columns))
    except Exception as error:  # whatever a user's function raises
        raise UserError(
            f"{name} raised {type(error).__name__}: {error} ({where_raised(error)}); it is called with {signature}. "
            "Mend it, then resume."
        ) from error


def _per_token(name: str, values: list[Any], ids: Sequence[Sequence[int]]) -> Tensor:
    table = torch.zeros(len(values), max(len(row) for row in ids))
    for i, (row, tokens) in enumerate(zip(values, ids, strict=True)):
        if not isinstance(row, Sequence) or len(row) != len(tokens):
            count = len(row) if isinstance(row, Sequence) else "one number"
            raise UserError(f"{name} returned {count} for completion {i}, which has {len(tokens)} tokens")
        table[i, : len(row)] = torch.tensor([_number(name, i, value) for value in row])
    return table


def _number(name: str, i: int, value: Any) -> float:
    if value is None:
        return 0.0
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise UserError(f"{name} returned {value!r} for completion {i}: return a number, or None") from None
    if not math.isfinite(number):
        raise UserError(f"{name} returned {number} for completion {i}: return a finite number, or None")
    return number


def _accepted(function: Callable[..., Any], columns: dict[str, Any]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        return columns
    names = {parameter.name for parameter in parameters}
    return {name: value for name, value in columns.items() if name in names}
