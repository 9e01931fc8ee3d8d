"""Demonstrations made fit for an environment: flattened, cast and shaped as its spaces are, or refused.

Messages count episodes and steps from 0, as the arrays do.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from seqgan_kit.errors import UserError
from seqgan_kit.imitation.demonstrations import (
    DemonstrationConfig,
    Demonstrations,
    Episode,
    choose,
    short,
    transitions,
)
from seqgan_kit.imitation.episodes import BadEpisode, leave_out, some_left
from seqgan_kit.samples import size

OUTSIDE = 1e-4  # of half a Box: rounding, where actions were clipped in another precision
NESTED = spaces.Dict | spaces.Tuple
CHOICES = spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary
ARRAYS = CHOICES | spaces.Box


def unflattened(environment: gym.Env[Any, Any]) -> spaces.Space[Any]:
    """What an environment observes, before a FlattenObservation that it is wrapped in."""
    inner: Any = environment
    while isinstance(inner, gym.Wrapper):
        if isinstance(inner, gym.wrappers.FlattenObservation):
            return inner.env.observation_space
        inner = inner.env
    return environment.observation_space


def fitted(
    demonstrations: Demonstrations, environment: gym.Env[Any, Any], config: DemonstrationConfig | None = None
) -> Demonstrations:
    """Observations and actions as the environment has them; what was done to that end is in `intake`.

    observations: float32, or uint8 where those are: one-hot where those are choices that are flattened, in the order of
    the environment's parts where they have several. actions: (steps, *shape) of the action space; int64 for choices,
    float32 for a Box. terminated: False at the time limit, where `ends_at_limit` says so.
    Raises UserError, saying what differs, unless they are of these spaces.
    """
    config = config or DemonstrationConfig()
    recorded = f" (recorded in {demonstrations.environment})" if demonstrations.environment else ""
    try:
        return _fitted(demonstrations, environment, config, recorded)
    except UserError as error:
        used, there = environment.spec, demonstrations.environment
        if used is None or there not in gym.registry or there == used.id:
            raise
        raise UserError(f"{error}; without --environment.id, {there} is taken") from None


def _fitted(
    demonstrations: Demonstrations, environment: gym.Env[Any, Any], config: DemonstrationConfig, recorded: str
) -> Demonstrations:
    name, intake = f"{demonstrations.name}{recorded}", copy.deepcopy(demonstrations.intake)
    order = _order(name, demonstrations.observation_space, unflattened(environment))
    episodes = []
    for number, episode in enumerate(demonstrations.episodes):
        where = f"{demonstrations.name} episode {number}"
        try:
            observations = _observations(name, where, episode.observations, environment, order)
            actions = _actions(name, episode.actions, environment.action_space)
            if (step := _outside(actions, environment.action_space)) is not None:
                takes = f"the environment does not take the action {actions[step].tolist()}, only "
                takes += f"{short(environment.action_space)}: {_mend(demonstrations, environment.action_space)}"
                raise BadEpisode(f"{where} step {step}{recorded}: {takes}", "an action that is not taken")
            if config.bad_episodes == "drop" and len(actions) < config.subsample:
                raise BadEpisode(where, f"fewer steps than --demonstrations.subsample {config.subsample}")
        except BadEpisode as error:
            leave_out(intake, error, config.bad_episodes)
            continue
        episodes.append(replace(episode, observations=observations, actions=actions))
    intake.used = len(some_left(episodes, intake))
    intake.notes += _changes(demonstrations.episodes[0], episodes[0], environment, order)
    if config.ends_at_limit == "cut" and not demonstrations.ends_told:
        episodes = _cut_at_limit(episodes, environment, intake.notes)
    intake.notes += [*_outside_bounds(episodes, environment.observation_space), *_repeated(episodes)]
    return replace(demonstrations, episodes=episodes, intake=intake)


def _changes(before: Episode, after: Episode, environment: gym.Env[Any, Any], order: np.ndarray | None) -> list[str]:
    """What was done to all episodes."""
    found, space = [], short(unflattened(environment))
    if order is not None and (order != np.arange(len(order))).any():
        found.append(f"the parts of the observations are put into the environment's own order: {space}")
    if before.observations.shape[1:] != after.observations.shape[1:]:
        found.append(f"observations are flattened, choices one-hot: {space}")
    if before.observations.dtype != after.observations.dtype:
        found.append(f"observations are {before.observations.dtype}, taken as {after.observations.dtype} unchanged")
    if before.actions.dtype != after.actions.dtype:
        found.append(f"actions are {before.actions.dtype}, taken as {after.actions.dtype} unchanged")
    return found


# Observations


def flatten_steps(space: spaces.Space[Any], values: Any) -> np.ndarray:
    """What `gymnasium.spaces.flatten` makes of each step, (steps, size), of all steps at once.

    values: stacked as in Minari: an array (steps, ...), or a dict or tuple of those.
    """
    if isinstance(space, spaces.Dict):
        return np.concatenate([flatten_steps(part, values[name]) for name, part in space.spaces.items()], axis=1)
    if isinstance(space, spaces.Tuple):
        parts = zip(space.spaces, values, strict=True)
        return np.concatenate([flatten_steps(part, value) for part, value in parts], axis=1)
    if isinstance(space, spaces.Box | spaces.MultiBinary):
        return np.asarray(values, space.dtype).reshape(len(values), -1)
    if not isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        return np.array([spaces.flatten(space, value) for value in values])
    sizes = np.ravel(space.n if isinstance(space, spaces.Discrete) else space.nvec)
    columns = np.asarray(values).reshape(len(values), -1).astype(np.int64) - np.ravel(space.start)
    return np.concatenate(
        [np.eye(size, dtype=space.dtype)[column] for size, column in zip(sizes, columns.T, strict=True)], axis=1
    )


def _columns(space: spaces.Space[Any], path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Of each number of a flattened observation, which one of which part it is."""
    if isinstance(space, NESTED):
        parts = space.spaces.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces)
        return [column for name, part in parts for column in _columns(part, (*path, name))]
    return [(*path, k) for k in range(spaces.flatdim(space))]


def _order(name: str, theirs: spaces.Space[Any] | None, ours: spaces.Space[Any]) -> np.ndarray | None:
    """Where in flattened observations of `theirs` each number of `ours` stands; None where they have no parts.

    Minari, for instance, sorts the parts of a Dict by name, and an environment need not.
    """
    if theirs is None or not isinstance(ours, NESTED):
        return None
    where = {column: k for k, column in enumerate(_columns(theirs))}
    wanted = _columns(ours)
    if where.keys() != set(wanted):
        raise UserError(f"{name}: observations are {short(theirs)}, but the environment's are {short(ours)}")
    return np.array([where[column] for column in wanted])


def _observations(
    name: str, where: str, observations: np.ndarray, environment: gym.Env[Any, Any], order: np.ndarray | None
) -> np.ndarray:
    space, whole = environment.observation_space, unflattened(environment)
    if order is not None:
        observations = observations[:, order]
    shape = observations.shape[1:]
    if shape != space.shape and isinstance(whole, CHOICES) and _size(shape) == _size(whole.shape):
        if (_outside(observations.reshape(-1, *(whole.shape or ())), whole)) is not None:
            told = f"{where} has observations that are not all of {short(whole)}: correct them"
            raise BadEpisode(told, "an observation that is none of the environment's")
        observations = flatten_steps(whole, observations) if whole is not space else observations.reshape(-1)
    elif shape != space.shape and whole is not space and shape == whole.shape:  # a Box of several dimensions
        observations = flatten_steps(whole, observations)
    if observations.shape[1:] != space.shape:
        wanted = whole.shape or space.shape
        raise UserError(f"{name}: observations of shape {shape}, but the environment's are {wanted}")
    kind = np.uint8 if space.dtype == np.uint8 else np.float32
    if not _same_numbers(observations, kind, space):
        kinds = f"observations are {observations.dtype}, but the environment's {space.dtype}"
        raise UserError(f"{name}: {kinds}: save the same")
    return observations.astype(kind, copy=False)


def _same_numbers(observations: np.ndarray, kind: type, space: Any) -> bool:
    """Whether bytes and other numbers mean the same: bytes of an unbounded space might be scaled."""
    if observations.dtype == kind:
        return True
    if kind == np.uint8:
        return bool(np.array_equal(observations, observations.astype(kind)))
    bounded = isinstance(space, spaces.Box) and space.is_bounded()
    return observations.dtype != np.uint8 or (bounded and not (observations > space.high).any())


def _outside_bounds(episodes: Sequence[Episode], space: Any) -> list[str]:
    if not isinstance(space, spaces.Box):
        return []
    low, high = _loosely(space)
    outside = [(e.observations < low) | (e.observations > high) for e in episodes]
    share = np.mean(np.concatenate([each.reshape(len(each), -1).any(1) for each in outside]))
    told = f"{share:.0%} of the observations lie OUTSIDE of the bounds that the environment declares: of another unit?"
    return [told] if share > 0.01 else []


# Actions


def _actions(name: str, actions: np.ndarray, space: spaces.Space[Any]) -> np.ndarray:
    """(steps, *shape) of the action space, int64 or float32. Raises UserError where they cannot be of its kind."""
    if not isinstance(space, ARRAYS):
        kind = type(space).__name__
        raise UserError(f"the environment has {kind} actions: Discrete, MultiDiscrete, MultiBinary, Box can be learnt")
    integer = not np.issubdtype(space.dtype, np.floating)
    if (actions.dtype == np.int64) != integer and not (integer and np.array_equal(actions, np.rint(actions))):
        kinds = f"actions are {actions.dtype}, but the environment's are {short(space)}"
        raise UserError(f"{name}: {kinds}: save them as those are")
    if _size(actions.shape[1:]) != _size(space.shape):
        hint = ": give the number of the choice" if isinstance(space, spaces.Discrete) else ""
        told = f"actions of shape {actions.shape[1:]}, but the environment's are {space.shape}"
        raise UserError(f"{name}: {told}{hint}")
    return actions.reshape(len(actions), *(space.shape or ())).astype(
        np.int64 if isinstance(space, CHOICES) else np.float32
    )


def _outside(values: np.ndarray, space: Any) -> int | None:
    """The first step whose value is none of the space, but for rounding."""
    if isinstance(space, spaces.Discrete):
        low, high = space.start, space.start + space.n - 1
    elif isinstance(space, spaces.MultiDiscrete):
        low, high = space.start, space.start + space.nvec - 1
    elif isinstance(space, spaces.MultiBinary):
        low, high = np.array(0), np.array(1)
    else:
        low, high = _loosely(space)
    outside = np.nonzero((values < low) | (values > high))[0]
    return int(outside[0]) if outside.size else None


def _mend(demonstrations: Demonstrations, space: Any) -> str:
    """What to do with actions outside of a space. A choice is never clipped: that makes another one of it."""
    if not isinstance(space, CHOICES):
        return "correct or clip it"
    every = np.concatenate([np.ravel(episode.actions) for episode in demonstrations.episodes])
    if isinstance(space, spaces.Discrete) and every.max() - every.min() < space.n:
        return f"number the choices from {space.start}, as by adding {int(space.start - every.min())} to all"
    return "correct it"


def _loosely(space: spaces.Box) -> tuple[np.ndarray, np.ndarray]:
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    half = np.where(np.isfinite(high - low), (high - low) / 2, 1.0)
    return low - OUTSIDE * half, high + OUTSIDE * half


def _size(shape: Sequence[int] | None) -> int:
    return int(np.prod(shape or ()))


# Ends, and what else is to be said


def _cut_at_limit(episodes: list[Episode], environment: gym.Env[Any, Any], notes: list[str]) -> list[Episode]:
    """Ends at the time limit as such: libraries that know one kind of end (`done`) mark them like any other."""
    limit = environment.spec.max_episode_steps if environment.spec else None
    at_limit = [episode.terminated and len(episode.actions) == limit for episode in episodes]
    if any(at_limit):
        notes.append(
            f"{sum(at_limit)} episodes are marked as terminated, but have exactly the {limit} steps of the time limit: "
            "TAKEN AS CUT by it; if the task itself ended them: --demonstrations.ends_at_limit terminated"
        )
    return [replace(e, terminated=False) if cut else e for e, cut in zip(episodes, at_limit, strict=True)]


def _repeated(episodes: Sequence[Episode]) -> list[str]:
    kinds = {hashlib.sha256(e.observations.tobytes() + e.actions.tobytes()).digest() for e in episodes}
    again = len(episodes) - len(kinds)
    return [f"{again} episodes are EXACT REPETITIONS of others, and count as often as they are there"] if again else []


def summary(demonstrations: Demonstrations, config: DemonstrationConfig) -> list[str]:
    """What was read, what became of it, and what is learnt from. Raises UserError where `transitions` does."""
    used, intake = choose(demonstrations, config), copy.deepcopy(demonstrations.intake)
    intake.name = intake.name or demonstrations.name
    intake.read = intake.read or len(demonstrations.episodes)
    intake.used = len(used.episodes)
    if left := len(demonstrations.episodes) - intake.used:
        intake.dropped[f"beyond --demonstrations.trajectories {config.trajectories}"] += left
    steps, known = size(transitions(demonstrations, config)), used.returns()
    lengths = [len(episode.actions) for episode in used.episodes]
    ended = sum(episode.terminated for episode in used.episodes)
    every = f", one in {config.subsample} is learnt from, {steps}" if config.subsample > 1 else ""
    earned = "return unknown" if known is None else f"mean return {known.mean():.1f}"
    if known is not None and (whole := demonstrations.returns()) is not None and len(whole) > len(known):
        earned += f", of all {len(whole)} {whole.mean():.1f}"
    return [
        *intake.lines()[:1],
        f"{sum(lengths)} steps{every}; episodes of {min(lengths)} to {max(lengths)} steps, {ended} ended by the task, "
        f"{len(lengths) - ended} cut; {earned}",
        *intake.notes,
    ]
