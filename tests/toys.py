"""Small environments for tests, registered with Gymnasium, in which every kind of trouble can be had."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleEnv, CartPoleVectorEnv

SEEDS: list[int | None] = []  # of every reset of a `Walk`
NEVER_THE_SAME, CALLS = itertools.count(1), itertools.count(1)


class Walk(gym.Env[np.ndarray, Any]):
    """Observes its position and the time. Episodes have 3 to 6 steps: odd starts end in termination, even ones are cut.

    In episodes whose start `every` divides, `trouble` comes at the second step: it "raises", its observation is "nan",
    its reward is "inf", or it is "noisy", never the same. At the reset: "raises at reset" or "nan at reset".
    flag: a file without which there is no trouble.
    """

    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space: gym.Space[Any] = gym.spaces.Discrete(2)

    def __init__(self, trouble: str = "", every: int = 3, flag: str | None = None) -> None:
        self.trouble, self.every, self.flag = trouble, every, flag

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        SEEDS.append(seed)
        self.start, self.time = int(self.np_random.integers(12)), 0
        self.position = float(self.start)
        if self.due("raises at reset"):
            raise ZeroDivisionError("no luck")
        return self.seen(self.due("nan at reset")), {}

    def due(self, trouble: str) -> bool:
        there = self.flag is None or os.path.exists(self.flag)
        return there and self.trouble == trouble and self.start % self.every == 0

    def seen(self, broken: bool = False) -> np.ndarray:
        return np.array([np.nan if broken else self.position, self.time], np.float32)

    def moved(self, action: Any) -> float:
        return 2.0 * action - 1

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.time += 1
        self.position += self.moved(action)
        second = self.time == 2
        if second and self.due("raises"):
            raise ZeroDivisionError("no luck")
        if second and self.due("noisy"):
            self.position += next(NEVER_THE_SAME)
        over = self.time == 3 + self.start % 4
        reward = np.inf if second and self.due("inf") else self.position / 10
        return (
            self.seen(second and self.due("nan")),
            reward,
            over and self.start % 2 == 1,
            over and self.start % 2 == 0,
            {},
        )


def break_at(observations: np.ndarray, actions: np.ndarray, next_observations: np.ndarray) -> np.ndarray:
    """A reward of nothing, whose TOYS_CALL-th call makes the file TOYS_FLAG, as the environment's variables say."""
    if next(CALLS) == int(os.environ.get("TOYS_CALL", 0)):
        Path(os.environ["TOYS_FLAG"]).touch()
    return np.zeros(len(actions))


class Push(Walk):
    """Continuous actions, which it scales where they lie, as some environments do."""

    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def moved(self, action: Any) -> float:
        action *= 0.5
        return float(action[0])


class Picture(Walk):
    """Observes a small picture."""

    observation_space = gym.spaces.Box(0, 255, (4, 4, 3), np.uint8)

    def seen(self, broken: bool = False) -> np.ndarray:
        return np.full((4, 4, 3), int(self.position) % 200 + self.time, np.uint8)


class Named(Walk):
    """Observes a dictionary."""

    observation_space = gym.spaces.Dict(where=gym.spaces.Discrete(3))  # type: ignore[assignment]


class Written(Walk):
    """Observes a text, too."""

    observation_space = gym.spaces.Dict(where=gym.spaces.Discrete(3), said=gym.spaces.Text(5))  # type: ignore[assignment]


def breaks(**_: Any) -> gym.Env:
    raise OSError("no disk")


def needs_box2d(**_: Any) -> gym.Env:
    raise gym.error.DependencyNotInstalled("Box2D is not installed, you can install it")


def needs_mujoco(**_: Any) -> gym.Env:
    raise ModuleNotFoundError("No module named 'mujoco'")


class Differs(Walk):
    """Takes an argument that its vectorised form, which is CartPole's, does not."""

    def __init__(self, only: int = 0) -> None:
        super().__init__()


class Hidden(CartPoleVectorEnv):
    """Keeps a state that is no array, as a simulator does."""

    def __init__(self, num_envs: int = 1, max_episode_steps: int = 500) -> None:
        super().__init__(num_envs, max_episode_steps)
        self.simulator = object()


class SmallSeeds(CartPoleVectorEnv):
    """Takes seeds up to 9 only."""

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        if seed is not None and seed > 9:
            raise OverflowError("a seed is one figure")
        return super().reset(seed=seed, options=options)


gym.register("toys/Differs-v0", entry_point=Differs, vector_entry_point=CartPoleVectorEnv, disable_env_checker=True)
# Walk's vectorised form is another task, as Atari's is, whose frames are grey and in fours
gym.register("toys/Other-v0", entry_point=Walk, vector_entry_point=CartPoleVectorEnv, disable_env_checker=True)
for name, form in (("Hides", Hidden), ("SmallSeeds", SmallSeeds)):
    gym.register(f"toys/{name}-v0", entry_point=CartPoleEnv, vector_entry_point=form, disable_env_checker=True)
gym.register("toys/Breaks-v0", entry_point=breaks, disable_env_checker=True)
for entry in (Walk, Push, Picture, Named, Written, needs_box2d, needs_mujoco):
    gym.register(f"toys/{entry.__name__}-v0", entry_point=entry, disable_env_checker=True)
