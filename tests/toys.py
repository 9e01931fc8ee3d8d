"""Small environments for tests, registered with Gymnasium, in which every kind of trouble can be had."""

from __future__ import annotations

import itertools
import os
import time
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


class Bytes(gym.Env[np.ndarray, int]):
    """Byte 5 is 50 or 200 and says which of two actions is right, byte 0 counts steps, the others stay; 50 steps.

    floats: the same numbers as float32, of the same bounds. picture: laid out as one of 3 x 2 x 3, with zeros behind.
    """

    action_space = gym.spaces.Discrete(2)

    def __init__(self, floats: bool = False, picture: bool = False) -> None:
        self.shape = (3, 2, 3) if picture else (6,)
        self.observation_space = gym.spaces.Box(0, 255, self.shape, np.float32 if floats else np.uint8)  # type: ignore[assignment]

    def seen(self) -> np.ndarray:
        numbers = np.zeros(int(np.prod(self.shape)))
        numbers[:6] = [self.time, 7, 7, 7, 7, 200 if self.right else 50]
        return numbers.reshape(self.shape).astype(self.observation_space.dtype)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.time, self.right = 0, bool(self.np_random.integers(2))
        return self.seen(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        earned = float(action == self.right)
        self.time, self.right = self.time + 1, bool(self.np_random.integers(2))
        return self.seen(), earned, False, False, {}


class Reach(gym.Env[np.ndarray, np.ndarray]):
    """A point that an action moves, the bounds by -1 and 1, towards a goal; a step costs the distance. 20 steps."""

    observation_space = gym.spaces.Box(-10, 10, (2,), np.float32)

    def __init__(self, low: float = -1, high: float = 1) -> None:
        self.action_space = gym.spaces.Box(low, high, (1,), np.float64)

    def seen(self) -> np.ndarray:
        return np.array([self.place, self.goal], np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.place, self.goal = self.np_random.uniform(-2, 2, 2)
        return self.seen(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(np.asarray(action, np.float64)), f"{action} is not in {self.action_space}"
        low, high = self.action_space.low[0], self.action_space.high[0]
        self.place += 0.5 * (2 * (float(action[0]) - low) / (high - low) - 1)
        return self.seen(), -abs(self.place - self.goal), False, False, {}


class Endless(Walk):
    """Never ends; a step waits so many seconds."""

    def __init__(self, wait: float = 0.0) -> None:
        super().__init__()
        self.wait = wait

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        time.sleep(self.wait)
        seen, reward, *_ = super().step(action)
        return seen, reward, False, False, {}


ACTION_SPACES: dict[str, gym.Space[Any]] = {
    "start": gym.spaces.Discrete(3, start=1),
    "binary": gym.spaces.MultiBinary(3),
    "integers": gym.spaces.Box(-1, 2, (2,), np.int32),
    "table": gym.spaces.MultiDiscrete([[2, 3], [4, 2]], start=[[0, 1], [0, 0]]),
    "half": gym.spaces.Box(-1, 1, (2, 2), np.float16),
    "free": gym.spaces.Box(-np.inf, np.inf, (2,), np.float32),
    "many": gym.spaces.Box(-(2**31), 2**31 - 1, (2,), np.int32),
    "named": gym.spaces.Dict(a=gym.spaces.Discrete(2)),
}
OBSERVATION_SPACES: dict[str, gym.Space[Any]] = {
    "dict": gym.spaces.Dict(b=gym.spaces.Discrete(3), a=gym.spaces.Box(-1, 1, (2, 2))),
    "tuple": gym.spaces.Tuple((gym.spaces.MultiBinary(2), gym.spaces.Discrete(2, start=4))),
    "discrete": gym.spaces.Discrete(5, start=-1),
    "several": gym.spaces.MultiDiscrete([3, 2]),
    "bits": gym.spaces.MultiBinary(4),
    "scalar": gym.spaces.Box(0, 1, ()),
    "integers": gym.spaces.Box(0, 2**40, (2,), np.int64),
    "sequence": gym.spaces.Sequence(gym.spaces.Discrete(2)),
}


class Spaces(gym.Env[Any, Any]):
    """Observes samples of a space, and fails where an action is not of its own, type and all. 5 to 8 steps."""

    def __init__(self, actions: str = "start", observations: str = "dict") -> None:
        self.action_space, self.observation_space = ACTION_SPACES[actions], OBSERVATION_SPACES[observations]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self.time = int(self.np_random.integers(4))
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), f"{action!r} is not in {self.action_space}"
        self.time += 1
        return self.observation_space.sample(), np.array([-0.4]), self.time >= 8, False, {}


class Wrong(Walk):
    """Declares three numbers, or bytes, and returns something else from a step on."""

    def __init__(self, what: str, since: int = 0) -> None:
        super().__init__()
        self.what, self.since = what, since
        kind = np.uint8 if what == "fractions" else np.float32
        self.observation_space = gym.spaces.Box(0, 255, (3,), kind)

    def seen(self, broken: bool = False) -> np.ndarray:
        whole = np.full(3, self.time, self.observation_space.dtype)
        if self.time < self.since:
            return whole
        return {"one": whole[:1], "none": np.float32(self.time), "fractions": whole / 2.5}.get(self.what, whole)

    def step(self, action: Any) -> tuple[np.ndarray, Any, bool, bool, dict[str, Any]]:
        seen, reward, terminated, truncated, about = super().step(action)
        return seen, np.ones(2) if self.what == "rewards" else reward, terminated, truncated, about


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
gym.register("toys/Bytes-v0", entry_point=Bytes, max_episode_steps=50, disable_env_checker=True)
gym.register("toys/Reach-v0", entry_point=Reach, max_episode_steps=20, disable_env_checker=True)
gym.register("toys/Breaks-v0", entry_point=breaks, disable_env_checker=True)
for entry in (Walk, Push, Picture, Named, Endless, Spaces, Wrong, Written, needs_box2d, needs_mujoco):
    gym.register(f"toys/{entry.__name__}-v0", entry_point=entry, disable_env_checker=True)
