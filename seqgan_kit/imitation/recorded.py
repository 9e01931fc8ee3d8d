"""The environment that demonstrations were recorded in: taken, or compared with the one that is used."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec

from seqgan_kit.errors import UserError, one_line
from seqgan_kit.files import read_json, write_json
from seqgan_kit.imitation.demonstrations import Demonstrations, Episode
from seqgan_kit.imitation.environments import RECORDED, EnvironmentConfig, make

NAME = "environment.json"
DEFAULT = "CartPole-v1"
CLOSE = 1e-3  # of a return, where actions and rewards were rounded to float32
LONGEST = 10_000  # steps of an episode that is replayed
UNSEEN = {"render_mode"}  # arguments that change no step


def settled(config: EnvironmentConfig, demonstrations: Demonstrations | None) -> EnvironmentConfig:
    """With an id: that of the demonstrations with its arguments and time limit, or CartPole where there are none.

    Raises UserError where they do not say which, or it is one that a module would have to be imported for: a file of
    data must not choose what is run.
    """
    if config.id != RECORDED:
        return config
    if demonstrations is None:
        return replace(config, id=DEFAULT)
    name, found = demonstrations.name, demonstrations.environment
    if found is None:
        raise UserError(f"{name} does not say which environment it was recorded in: give --environment.id")
    known, spec = _known(found), demonstrations.recorded
    if known is None:
        entry = str(spec.entry_point) if spec is not None else ""
        module = entry.partition(":")[0].partition(".")[0] or "MODULE"
        raise UserError(
            f"{name} was recorded in {found}, which Gymnasium does not know by itself: give --environment.id "
            f"{found if ':' in found else f'{module}:{found}'}, where importing that module registers it, or another id"
        )
    given: dict[str, Any] = {}
    if spec is not None:
        given = _arguments(spec)
        if spec.max_episode_steps is not None and spec.max_episode_steps != known.max_episode_steps:
            given["max_episode_steps"] = spec.max_episode_steps
    return replace(config, id=found, arguments=given | config.arguments)


def differences(demonstrations: Demonstrations, environment: gym.Env[Any, Any]) -> list[str]:
    """What is known of the recorded environment and is other here, each in a few words."""
    used, spec = environment.spec, demonstrations.recorded
    if used is None:
        return []
    found, limit = [], used.max_episode_steps
    if demonstrations.environment is not None and _name(demonstrations.environment) != _name(used.id):
        found.append(f"recorded in {demonstrations.environment}, here {used.id}")
    elif spec is not None:
        before, here = _arguments(spec), _arguments(used)
        for key in sorted(before.keys() | here.keys()):
            if before.get(key) != here.get(key):
                found.append(f"{key} recorded as {before.get(key, 'its default')}, here {here.get(key, 'its default')}")
    if spec is not None:
        if spec.max_episode_steps != limit:
            found.append(f"time limit recorded as {spec.max_episode_steps or 'none'}, here {limit or 'none'}")
        wrapped = [str(each.name) for each in used.additional_wrappers]
        lost = [str(each.name) for each in spec.additional_wrappers if each.name not in wrapped]
        if lost := [name for name in lost if name != "FlattenObservation"]:
            found.append(f"recorded in the wrappers {', '.join(lost)}, which are not there here")
    longest = max(len(episode.actions) for episode in demonstrations.episodes)
    if limit is not None and longest > limit and (spec is None or spec.max_episode_steps == limit):
        found.append(f"episodes of up to {longest} steps, but a time limit of {limit} here")
    return found


def named_by_text(spec: EnvSpec) -> EnvSpec:
    """With the class that makes it by its import path, as JSON, and so Minari, must have it."""
    made, many = map(_import_path, (spec.entry_point, spec.vector_entry_point))
    return replace(spec, entry_point=made, vector_entry_point=many)


def _import_path(made: Any) -> str | None:
    return f"{made.__module__}:{made.__qualname__}" if callable(made) else made


def to_json(spec: EnvSpec) -> str | None:
    """None where arguments are no JSON."""
    try:
        return named_by_text(spec).to_json()
    except (AttributeError, TypeError, ValueError):
        return None


def from_json(text: Any) -> EnvSpec | None:
    """None where it is none of this version of Gymnasium. Nothing that it names is imported."""
    try:
        return None if text is None else EnvSpec.from_json(str(text))
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def compared(
    demonstrations: Demonstrations, environment: gym.Env[Any, Any], config: EnvironmentConfig
) -> tuple[list[str], list[str]]:
    """Lines for the user, and in a few words each what is other here than where the demonstrations were recorded."""
    other = differences(demonstrations, environment)
    if demonstrations.environment is None:
        told = [f"{demonstrations.name} does not say which environment it was recorded in"]
        told += [f"ANOTHER ENVIRONMENT than the demonstrations are of: {'; '.join(other)}"] if other else []
    elif other:
        told = [f"ANOTHER ENVIRONMENT than the demonstrations are of: {'; '.join(other)}"]
    else:
        limit = environment.spec.max_episode_steps if environment.spec else None
        given = f", arguments {json.dumps(config.arguments)}" if config.arguments else ""
        what = "as recorded" if demonstrations.recorded is not None else "the id that was recorded"
        told = [f"environment {config.id}, time limit {limit or 'none'}{given}: {what}"]
    lines, worth = replayed(config, demonstrations)
    return told + lines, other + worth


def write(run: Path, config: EnvironmentConfig, other: list[str]) -> None:
    """For the commands on the run: the environment that it is in, and how that differs from the demonstrations'."""
    write_json(run / NAME, {"id": config.id, "arguments": config.arguments, "other": other})


def of_run(run: Path, config: EnvironmentConfig) -> EnvironmentConfig:
    """With the id that the run settled on."""
    if config.id != RECORDED:
        return config
    found = read_json(run / NAME)
    name, arguments = found.get("id"), found.get("arguments")
    if _known(name) is None or not isinstance(arguments, dict):
        raise UserError(
            f"{run / NAME} names no environment that Gymnasium knows by itself, but {name!r}, and nothing that it "
            f"names is imported: bring back the file, or put the id and the arguments into {run / 'config.yaml'}, "
            "under `environment:`"
        )
    return replace(config, id=str(name), arguments=arguments)


def _known(name: Any) -> EnvSpec | None:
    """What Gymnasium has registered; not what makes another environment that its arguments name."""
    return None if str(name).startswith("GymV") else gym.registry.get(str(name))


def other_in(run: Path) -> list[str]:
    """How the environment of a run differs from that of its demonstrations; runs of earlier versions do not tell."""
    return list(read_json(run / NAME)["other"]) if (run / NAME).exists() else []


def _arguments(spec: EnvSpec) -> dict[str, Any]:
    """Those that change a step, as JSON has them: a data set knows no tuples."""
    given = {key: value for key, value in spec.kwargs.items() if key not in UNSEEN}
    found: dict[str, Any] = json.loads(json.dumps(given, default=str))
    return found


def _name(environment: str) -> str:
    """Without the module that registers it."""
    return environment.rpartition(":")[2]


def replayed(config: EnvironmentConfig, demonstrations: Demonstrations, most: int = 2) -> tuple[list[str], list[str]]:
    """What the first and the last episode that can be are worth when their actions are taken again from their seeds:
    a line for the user, and the differences in a few words.

    The surest check of the environment, whatever the data says of it. Nothing is refused: some environments are not
    deterministic.
    """
    known = [e for e in demonstrations.episodes if e.seed is not None and e.rewards is not None]
    known = [e for e in known if len(e.actions) <= LONGEST and e.earned is None]
    chosen = list({id(episode): episode for episode in (*known[:1], *known[-1:])}.values())[:most]
    if not chosen:
        return [], []
    found = []
    with closing(make(config)) as environment, _own_random_numbers():
        for episode in chosen:
            try:
                found.append(_replay(environment, episode))
            except Exception as error:  # whatever a user's environment raises
                return [f"replaying from the seeds failed: {one_line(error)}"], []
    recorded = [float(e.rewards.sum(dtype=np.float64)) for e in chosen if e.rewards is not None]
    pairs = list(zip(recorded, found, strict=True))
    if all(abs(before - now) <= CLOSE * max(1.0, abs(before)) for before, now in pairs):
        returns = " and ".join(f"{before:.1f}" for before in recorded)
        return [f"{len(pairs)} of them replayed from their seeds: returns of {returns}, as recorded"], []
    told = ", ".join(f"{now:.1f} where {before:.1f} was recorded" for before, now in pairs)
    why = "the environment is ANOTHER one, or of another version, or not deterministic"
    line = f"replayed from their seeds, episodes return {told}: {why}"
    return [line], [f"replayed, episodes return {told}"]


def _replay(environment: gym.Env[Any, Any], episode: Episode) -> float:
    kind, total = environment.action_space.dtype, 0.0
    environment.reset(seed=episode.seed)
    for action in episode.actions:
        given = action.item() if action.ndim == 0 else action.astype(kind)
        _, reward, terminated, truncated, _ = environment.step(given)
        total += float(np.asarray(reward).item())
        if terminated or truncated:
            break
    return total


@contextmanager
def _own_random_numbers() -> Iterator[None]:
    """Environments may draw from the global generators, which then go on as if nothing had been drawn."""
    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
