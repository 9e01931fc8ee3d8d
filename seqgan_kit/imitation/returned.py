"""What an environment is given and what it returns, made sure to be what its spaces declare."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from seqgan_kit.errors import one_line


class Returned(Exception):
    """An environment returned what can't be used; says what, as "returned ..."."""


def problem(error: Exception) -> str:
    """What an environment did, for a message."""
    return str(error) if isinstance(error, Returned) else f"raised {type(error).__name__}: {one_line(error)}"


def array_kind(space: gym.Space[Any]) -> type[np.generic]:
    """In which observations are kept: bytes, or float32."""
    return np.uint8 if space.dtype == np.uint8 else np.float32


def observed(found: Any, space: gym.Space[Any]) -> np.ndarray:
    """An observation as an array of its space's shape; what would be broadcast or cut off raises Returned."""
    array = found if isinstance(found, np.ndarray) else np.asarray(found)
    if array.shape != space.shape:
        raise Returned(f"returned an observation of shape {array.shape}, declared {space.shape}")
    if space.dtype == np.uint8 and array.dtype != np.uint8 and not (array == array.astype(np.uint8)).all():
        raise Returned(f"returned {array.dtype} numbers that are not all whole ones from 0 to 255, declared uint8")
    return array


def number(reward: Any) -> float:
    """A reward as a number, be it an array of one; another one raises Returned."""
    if isinstance(reward, float | int):
        return reward
    array = np.asarray(reward)
    if array.size != 1 or array.dtype.kind not in "biuf":
        raise Returned(f"returned a reward of shape {array.shape} and type {array.dtype}, not one number")
    return array.item()


def given(actions: np.ndarray, space: gym.Space[Any]) -> Any:
    """Actions (rows, ...) as the environment takes each: in its type, and a copy, which it may change."""
    if isinstance(space, gym.spaces.Discrete):
        return actions.tolist()
    assert space.dtype is not None
    fits = np.can_cast(actions.dtype, space.dtype)  # else the space does not contain them
    return actions.copy() if fits else actions.astype(space.dtype)
