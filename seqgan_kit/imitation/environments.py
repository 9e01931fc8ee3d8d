"""Gymnasium environments: how one is made, and what to do where it can't be."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.util
import re
import sys
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import gymnasium as gym
from tqdm import tqdm

from seqgan_kit.bounds import Count
from seqgan_kit.errors import UserError, one_line
from seqgan_kit.worlds import cartpole  # noqa: F401  it registers an environment

BROKEN = 20  # episodes in a row that an environment may break before the run stops
MEND = "mend the environment, then resume; what was saved stays"
RECORDED = "recorded"  # for an id; see `recorded.settled`


@dataclass(frozen=True)
class EnvironmentConfig:
    """The Gymnasium environment.

    Args:
        id: Id of the environment, as for gymnasium.make: Hopper-v5, or MODULE:ID for one that your MODULE registers.
            `recorded` takes the one that the demonstrations were recorded in, with its arguments and its time limit, or
            CartPole-v1 where there are none.
        arguments: Keyword arguments that the environment is made with, as {continuous: true}.
        copies: Number of copies of the environment that are stepped together, in each process.
        vectorised: Whether to use the environment's own vectorised form (gymnasium's `vector_entry_point`), which is
            many times as fast. Unset uses it where it is the same task and a checkpoint can hold its state (CartPole).
    """

    id: str = "recorded"
    arguments: dict[str, Any] = field(default_factory=dict)
    copies: Count = 8
    vectorised: bool | None = None


def make(config: EnvironmentConfig, render: bool = False) -> gym.Env[Any, Any]:
    """One environment, whose observations are an array: choices and parts are flattened by `spaces.flatten`.

    Raises UserError where there is none of this id, it can't be made, or it observes what is no array of numbers.
    """
    options = {**config.arguments, **({"render_mode": "rgb_array"} if render else {})}
    try:
        _prepare_for_mujoco(config.id)
        made = gym.make(config.id, disable_env_checker=True, **options)
        space = made.observation_space
    except Exception as error:  # whatever an environment raises, or what it is made of
        raise UserError(_explain(config, error)) from error
    if isinstance(space, gym.spaces.Box) and space.shape:
        return made
    if (part := _no_numbers(space)) is not None:
        raise UserError(
            f"{config.id} observes {' '.join(str(part).split())}, which is no array of numbers: leave it out by a "
            "wrapper, in a module that registers the wrapped environment (MODULE:ID)"
        )
    return gym.wrappers.FlattenObservation(made)


def time_limit(environment: gym.Env[Any, Any]) -> int | None:
    """In steps, as Gymnasium knows it; None where an episode may last for ever."""
    return environment.spec.max_episode_steps if environment.spec is not None else None


def _no_numbers(space: gym.Space[Any]) -> gym.Space[Any] | None:
    """The first part of a space whose numbers, flattened, mean nothing."""
    if isinstance(space, gym.spaces.Dict | gym.spaces.Tuple):
        parts = space.spaces.values() if isinstance(space, gym.spaces.Dict) else space.spaces
        return next((wrong for part in parts if (wrong := _no_numbers(part)) is not None), None)
    kinds = gym.spaces.Box | gym.spaces.Discrete | gym.spaces.MultiDiscrete | gym.spaces.MultiBinary
    return None if isinstance(space, kinds) else space


# MuJoCo


def _prepare_for_mujoco(name: str) -> None:
    """Has MuJoCo's warnings told: by itself it writes them to a file where the user stands."""
    module, _, name = name.rpartition(":")
    if module:
        importlib.import_module(module)
    spec = gym.registry.get(name) or gym.registry.get(_newest(name) or "")
    entry = spec.entry_point if spec is not None else None
    if isinstance(entry, str):
        with contextlib.suppress(Exception):  # which making it raises, too
            importlib.import_module(entry.partition(":")[0])
    mujoco = sys.modules.get("mujoco")
    if mujoco is not None and mujoco.get_mju_user_warning() is None:  # nobody else takes them
        mujoco.set_mju_user_warning(lambda text: _tell_once(f"MuJoCo: {text.partition(' Time = ')[0]}"))


@lru_cache
def _tell_once(text: str) -> None:
    tqdm.write(text, file=sys.stderr)


# What can't be made


def _explain(config: EnvironmentConfig, error: Exception) -> str:
    name = config.id
    module, _, bare = name.rpartition(":")
    words, newest = one_line(error).partition(" was raised from the environment creator")[0], _newest(bare)
    words = re.sub(r"[\w.]+\(\) got an unexpected keyword argument", "it takes no", words)
    if isinstance(error, ModuleNotFoundError | gym.error.DependencyNotInstalled):
        if module and importlib.util.find_spec(module.split(".")[0]) is None:
            brings = f": pip install '{BRINGS[module]}'" if module in BRINGS else ", nor is it installed"
            return f"--environment.id {name}: there is no module {module!r} here{brings}"
        return f"{name} misses a package ({words}): {_brings(error)}"
    if isinstance(error, gym.error.UnregisteredEnv) and bare.startswith("ALE/") and not module:
        return f"--environment.id {name}: give ale_py:{name}, which pip install '{BRINGS['ale_py']}' brings"
    if newest not in (None, bare) and isinstance(error, gym.error.Error | ImportError):
        newest = name.removesuffix(bare) + newest
        return f"--environment.id {name}: {words.rstrip('.')}; give {newest}, its newest version here"
    if bare in gym.registry or not isinstance(error, gym.error.Error):
        if config.arguments:
            made = f"{name} can't be made with {config.arguments} ({words})"
            return f"--environment.arguments: {made}: leave it out, or give arguments that it takes"
        return f"--environment.id {name}: it can't be made ({type(error).__name__}: {words})"
    known = [spec for spec in gym.registry if not spec.startswith(("phys2d/", "tabular/", "GymV"))]
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    meant = f" (did you mean {' or '.join(close)}?)" if close else ""
    return (
        f"--environment.id {name}: Gymnasium knows none of this name{meant}; "
        "for an own one give MODULE:ID, where importing MODULE registers it"
    )


def _newest(name: str) -> str | None:
    """The id of the newest version of an environment, whatever version is named, if there is any."""
    base = re.sub(r"-v\d+$", "", name)
    versions = [found for spec in gym.registry if (found := re.fullmatch(rf"{re.escape(base)}-v(\d+)", spec))]
    return max(versions, key=lambda found: int(found[1]))[0] if versions else None


BRINGS = {
    "mujoco": "seqgan_kit[mujoco]",
    "box2d": "seqgan_kit[box2d]",
    "ale_py": "seqgan_kit[atari]",
    "pygame": "seqgan_kit[video]",
}
"""What brings a package, by the word in an environment's message."""


def _brings(error: Exception) -> str:
    words = str(error).lower()
    for word, extra in BRINGS.items():
        if word in words:
            return f"pip install '{extra}'"
    return "install it" if isinstance(error, ModuleNotFoundError) else "pip install 'gymnasium[all]'"
