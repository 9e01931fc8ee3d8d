"""Expert demonstrations: what they are, whether they fit an environment, and which steps of them are used.

Messages count episodes and steps from 0, as the arrays do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch.nn.utils.rnn import pad_sequence

from seqgan_kit.errors import UserError, check_seed
from seqgan_kit.samples import Transitions

OUTSIDE = 1e-4  # of a Box: rounding, where actions were clipped in another precision


@dataclass(frozen=True)
class Episode:
    """observations: (steps + 1, ...) float32, or uint8 for pictures; the last is what the episode ended in.

    actions: (steps,) int64, (steps, choices) int64, or (steps, dim) float32 as the environment executed them.
    rewards: (steps,) float32, the environment's own; None where unknown.
    terminated: the task ended; False: cut by a time limit. seed: of the reset, where known.
    """

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray | None
    terminated: bool
    seed: int | None = None


@dataclass(frozen=True)
class Demonstrations:
    """environment: the id they were recorded in, where known. name: where they are from, for messages."""

    episodes: Sequence[Episode]
    environment: str | None
    name: str

    def returns(self) -> np.ndarray | None:
        """(episodes,) float64, undiscounted; None unless the rewards of all episodes are known."""
        rewards = [episode.rewards for episode in self.episodes if episode.rewards is not None]
        if len(rewards) < len(self.episodes):
            return None
        return np.array([values.sum(dtype=np.float64) for values in rewards])


@dataclass(frozen=True)
class DemonstrationConfig:
    """Whom to imitate: a file or folder, or a Minari data set.

    Args:
        path: Demonstrations: an .npz file, the folder of a Hugging Face data set as the `imitation` library saves it,
            or the folder of a Minari one.
        minari: Id of a Minari data set that `minari download ID` has fetched, in place of a path.
        trajectories: Number of trajectories that are learnt from, the first ones; unset takes all.
        subsample: Keep one step of every so many, from a random one on in each trajectory. The paper has 20 for MuJoCo,
            1 for Reacher, 10 for CartPole, 5 for MountainCar and Acrobot.
        seed: Seed of the step at which each subsampled trajectory starts. 0 starts as the paper does.
    """

    path: str | None = None
    minari: str | None = None
    trajectories: int | None = None
    subsample: int = 1
    seed: int = 0


def check_spaces(demonstrations: Demonstrations, observation_space: gym.Space, action_space: gym.Space) -> None:
    """UserError, saying what differs, unless observations and actions are of these spaces.

    The values of actions are checked, of observations only shape and whether they are bytes.
    """
    recorded = f" (recorded in {demonstrations.environment})" if demonstrations.environment else ""
    if problem := unusable(observation_space, action_space):
        raise UserError(f"the environment has {problem}")
    if problem := _difference(demonstrations.episodes[0], observation_space, action_space):
        raise UserError(f"{demonstrations.name}{recorded}: {problem}")
    if isinstance(action_space, spaces.Discrete):
        low, high = np.array(action_space.start), np.array(action_space.start + action_space.n - 1)
    elif isinstance(action_space, spaces.MultiDiscrete):
        low, high = action_space.start, action_space.start + action_space.nvec - 1
    elif isinstance(action_space, spaces.Box):
        low, high = action_space.low - OUTSIDE, action_space.high + OUTSIDE
    for number, episode in enumerate(demonstrations.episodes):
        outside = (episode.actions < low) | (episode.actions > high)
        if outside.any():
            step = int(np.nonzero(outside)[0][0])
            raise UserError(
                f"{demonstrations.name} episode {number} step {step}{recorded}: the environment does not take the "
                f"action {episode.actions[step].tolist()}, only {short(action_space)}: correct or clip it"
            )


def unusable(observations: gym.Space, actions: gym.Space) -> str | None:
    if not isinstance(observations, spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
        return f"{type(observations).__name__} observations, not arrays: use gymnasium's FlattenObservation"
    if not isinstance(actions, spaces.Box | spaces.Discrete | spaces.MultiDiscrete):
        return f"{type(actions).__name__} actions: only Discrete, MultiDiscrete and Box can be learned"
    return None


def _difference(episode: Episode, observation_space: gym.Space, action_space: gym.Space) -> str | None:
    observations, actions = episode.observations, episode.actions
    if observations.shape[1:] != observation_space.shape:
        return f"observations of shape {observations.shape[1:]}, but the environment's are {observation_space.shape}"
    if (observations.dtype == np.uint8) != (observation_space.dtype == np.uint8):
        return f"observations are {observations.dtype}, but the environment's {observation_space.dtype}: save the same"
    if (actions.dtype == np.int64) != isinstance(action_space, spaces.Discrete | spaces.MultiDiscrete):
        return f"actions are {actions.dtype}, but the environment's are {short(action_space)}: save them as those are"
    if actions.shape[1:] != action_space.shape:
        return f"actions of shape {actions.shape[1:]}, but the environment's are {action_space.shape}"
    return None


def choose(demonstrations: Demonstrations, config: DemonstrationConfig) -> Demonstrations:
    """The first `trajectories` episodes in their order, as in the paper's code, so that fewer are a part of more.

    Raises UserError where there are fewer; the paper's code takes what there is.
    """
    wanted, there = config.trajectories, len(demonstrations.episodes)
    if wanted is not None and not 1 <= wanted <= there:
        raise UserError(f"--demonstrations.trajectories {wanted}: give 1 to {there}, as {demonstrations.name} has")
    return replace(demonstrations, episodes=demonstrations.episodes[:wanted])


def transitions(demonstrations: Demonstrations, config: DemonstrationConfig) -> Transitions:
    """Single steps as rows, (pairs, 1, ...): of the chosen episodes every `subsample`-th, from a random one on.

    As Ho & Ermon 2016 (openai/imitation, scripts/imitate_mj.py, load_dataset), with their starts for seed 0. They drop
    an episode without a word if it is over before its start; here one shorter than `subsample` is a UserError, so that
    each gives at least one pair. Rewards are 0 where unknown. `terminated` and `ended` are true at an episode's own
    last step only, if that is kept.
    """
    episodes, stride = choose(demonstrations, config).episodes, config.subsample
    lengths = [len(episode.actions) for episode in episodes]
    if not 1 <= stride <= min(lengths):
        shortest = f"{demonstrations.name} episode {int(np.argmin(lengths))} has {min(lengths)} steps"
        raise UserError(f"--demonstrations.subsample {stride}: {shortest}, give 1 (keeps all) to {min(lengths)}")
    check_seed(config.seed, "--demonstrations.seed")
    starts = np.random.RandomState(config.seed).randint(0, stride, len(episodes))  # old generator: the paper's draws
    kept = [(e, np.arange(start, len(e.actions), stride)) for e, start in zip(episodes, starts, strict=True)]

    def stack(values: Iterable[np.ndarray]) -> torch.Tensor:
        return torch.from_numpy(np.concatenate(list(values)))[:, None]

    ended = stack(at == len(e.actions) - 1 for e, at in kept)
    return Transitions(
        observations=stack(e.observations[at] for e, at in kept),
        actions=stack(e.actions[at] for e, at in kept),
        next_observations=stack(e.observations[at + 1] for e, at in kept),
        rewards=stack(np.zeros(len(at), np.float32) if e.rewards is None else e.rewards[at] for e, at in kept),
        terminated=ended & stack(np.full(len(at), e.terminated) for e, at in kept),
        ended=ended,
        mask=torch.ones_like(ended),
    )


def sequences(demonstrations: Demonstrations, config: DemonstrationConfig) -> Transitions:
    """Whole chosen episodes as rows, (episodes, time, ...), padded on the right: for a policy that remembers."""
    single = [
        transitions(replace(demonstrations, episodes=[episode]), replace(config, trajectories=None, subsample=1))
        for episode in choose(demonstrations, config).episodes
    ]
    columns = {
        field.name: [getattr(episode, field.name).squeeze(1) for episode in single] for field in fields(Transitions)
    }
    return Transitions(**{name: pad_sequence(rows, batch_first=True) for name, rows in columns.items()})


def checked(name: str, environment: str | None, rows: Iterable[tuple[Any, ...]]) -> Demonstrations:
    """rows: observations, actions, rewards, terminated and seed of each episode; None is unknown, of seeds also -1."""
    episodes = [_episode(f"{name} episode {number}", *row) for number, row in enumerate(rows)]
    if not episodes:
        raise UserError(f"{name} has no episodes: give at least one")
    shapes = [(e.observations.shape[1:], e.observations.dtype, e.actions.shape[1:], e.actions.dtype) for e in episodes]
    for number, shape in enumerate(shapes):
        if shape != shapes[0]:
            raise UserError(
                f"{name} episode {number} has other observations or actions than episode 0: make them alike"
            )
    return Demonstrations(episodes, environment, name)


def _episode(where: str, observations: Any, actions: Any, rewards: Any, terminated: Any, seed: Any) -> Episode:
    """The arrays in our types, or a UserError: they must fit together and be finite, also as float32."""
    observations, actions = numbers(where, "obs", observations), numbers(where, "acts", actions)
    steps = len(actions)
    if steps == 0:
        raise UserError(f"{where} has 0 steps: leave it out")
    if len(observations) != steps + 1:
        problem = f"{len(observations)} observations and {steps} actions"
        raise UserError(f"{where} has {problem}: give one observation more, the one that it ended in")
    with np.errstate(over="ignore"):  # too large for float32 becomes infinite, which is told below
        observations = observations if observations.dtype == np.uint8 else observations.astype(np.float32)
        actions = _actions(where, actions)
        rewards = None if rewards is None else numbers(where, "rews", rewards).astype(np.float32)
    if rewards is not None and rewards.shape != (steps,):
        raise UserError(f"{where} has rewards of shape {rewards.shape} for {steps} steps: give one a step")
    for what, array in (("observation", observations), ("action", actions), ("reward", rewards)):
        if array is not None and not np.isfinite(array).all():
            step = np.nonzero(~np.isfinite(array))[0][0]
            raise UserError(f"{where} step {step}: the {what} has NaN or infinity: repair it or leave the episode out")
    return Episode(observations, actions, rewards, bool(terminated), None if seed is None or seed < 0 else int(seed))


def _actions(where: str, actions: np.ndarray) -> np.ndarray:
    """(steps,) or (steps, choices) int64, or (steps, dim) float32.

    A dimension of 1 may be missing in floats and be there in integers.
    """
    if actions.dtype.kind == "f" and actions.ndim <= 2:
        return actions.reshape(len(actions), -1).astype(np.float32)
    if actions.dtype.kind != "f" and actions.size == len(actions):
        return actions.reshape(-1).astype(np.int64)
    if actions.dtype.kind in "iu" and actions.ndim == 2:
        return actions.astype(np.int64)
    found = f"actions are {actions.dtype} of shape {actions.shape}"
    raise UserError(f"{where}: {found}: give (steps,) or (steps, choices) integers, or (steps, dim) floats")


def numbers(where: str, key: str, value: Any) -> np.ndarray:
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf" and value.ndim > 0:
        return value
    raise UserError(f"{where}: {key} is no array of numbers, but {short(value)}: correct it")


def short(value: object) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:60]}..."
