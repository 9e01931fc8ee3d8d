"""Every option of imitation in short whole runs, which must learn what there is to learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

import runs
from seqgan_kit.engine import RunConfig
from seqgan_kit.imitation.config import (
    AdversarialConfig,
    CloningConfig,
    DiscriminatorConfig,
    EvaluationConfig,
    ImitationConfig,
    PolicyConfig,
)
from seqgan_kit.imitation.demonstrations import DemonstrationConfig
from seqgan_kit.imitation.environments import EnvironmentConfig
from seqgan_kit.imitation.improvement import PPO
from seqgan_kit.imitation.train import ADVERSARIAL, train
from seqgan_kit.learning import OptimizerConfig

EPISODE = 5


class Match(gym.Env[np.ndarray, Any]):
    """In each of 5 steps the action should tell the sign of the first observation; the second says if the last did.

    ends: by termination, not by the time limit.
    """

    observation_space: gym.Space[np.ndarray] = gym.spaces.Box(-100, 100, (2,), np.float32)
    action_space: gym.Space[Any] = gym.spaces.Discrete(2)

    def __init__(self, ends: bool = False) -> None:
        self.ends = ends

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.time = 0
        return self.seen(0.5), {}

    def seen(self, right: float) -> np.ndarray:
        self.side = int(self.np_random.integers(2))
        return np.array([2 * self.side - 1, right], np.float32)

    def right(self, action: Any) -> float:
        return float(action == self.side)

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.time += 1
        right = self.right(action)
        over = self.time == EPISODE
        return self.seen(right), right, over and self.ends, over and not self.ends, {}

    def best(self) -> Any:
        return self.side


class Several(Match):
    """Two choices at once: the side, and twice the side."""

    action_space = gym.spaces.MultiDiscrete([2, 3])

    def right(self, action: Any) -> float:
        return float(action[0] == self.side and action[1] == 2 * self.side)

    def best(self) -> Any:
        return np.array([self.side, 2 * self.side])


class Push(Match):
    """A number between -2 and 2 on the right side, the farther the better."""

    action_space = gym.spaces.Box(-2, 2, (1,), np.float32)

    def right(self, action: Any) -> float:
        assert abs(float(action[0])) <= 2
        return (1 + (2 * self.side - 1) * float(action[0]) / 2) / 2

    def best(self) -> Any:
        return np.array([3.6 * self.side - 1.8], np.float32)


class Picture(Match):
    """A picture whose bright half is the side, and whose blue says if the last action was right."""

    observation_space = gym.spaces.Box(0, 255, (12, 10, 3), np.uint8)

    def seen(self, right: float) -> np.ndarray:
        self.side = int(self.np_random.integers(2))
        picture = self.np_random.integers(0, 60, (12, 10, 3), np.uint8)
        picture[:, 5 * self.side : 5 * self.side + 5, :2] += 180
        picture[..., 2] = int(255 * right)
        return picture


class Recall(Match):
    """The side is seen at the first step alone, and is asked for at the last; what followed shows both."""

    def __init__(self) -> None:
        super().__init__(ends=True)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        gym.Env.reset(self, seed=seed)
        self.time, self.side = 0, int(self.np_random.integers(2))
        return self.shown(2 * self.side - 1, 0), {}

    def shown(self, side: float, right: float) -> np.ndarray:
        return np.array([side, self.time == EPISODE - 1, right], np.float32)

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.time += 1
        over = self.time == EPISODE
        right = float(over and action == self.side)
        return self.shown(2 * self.side - 1 if over else 0, 2 * right - 1 if over else 0), right, over, False, {}

    observation_space = gym.spaces.Box(-1, 1, (3,), np.float32)


for made in (Match, Several, Push, Picture, Recall):
    gym.register(f"runs/{made.__name__}-v0", entry_point=made, disable_env_checker=True)


def demonstrate(path: Path, name: str, episodes: int = 20, **arguments: Any) -> DemonstrationConfig:
    """The best actions, in a file of the least that is needed."""
    environment: Any = gym.make(f"runs/{name}-v0", disable_env_checker=True, **arguments)
    obs, acts, lens = [], [], []
    for seed in range(1000, 1000 + episodes):
        obs.append(environment.reset(seed=seed)[0])
        for step in range(1, 1000):
            acts.append(environment.unwrapped.best())
            observation, _, terminated, truncated, _ = environment.step(acts[-1])
            obs.append(observation)
            if terminated or truncated:
                lens.append(step)
                break
    np.savez(path, obs=np.stack(obs), acts=np.stack(acts), lens=np.array(lens), terminal=np.array(lens) > 0)
    return DemonstrationConfig(path=str(path))


def imitate(folder: Path, name: str = "Match", rounds: int = 15, **parts: Any) -> Path:
    """A whole run on one of these environments, of 512 steps a round, without cloning unless `cloning` says so."""
    copies = 8
    policy = {"steps": 64, "hidden": [32], "discount": 0.9, "decay": 0.9, "improvement": FAST}
    arguments = parts.pop("arguments", {})
    options: dict[str, Any] = {
        "cloning": CloningConfig(steps=0),
        "evaluation": EvaluationConfig(episodes=2, final=40, every=0, video=0),
        "run": RunConfig(folder=str(folder), device="cpu", log_every=1, **parts.pop("run", {})),
        "policy": PolicyConfig(**{**policy, **parts.pop("policy", {})}),
        "discriminator": DiscriminatorConfig(**{**CRITIC, **parts.pop("discriminator", {})}),
        **parts,
    }
    if options.get("reward") != "environment":
        options["demonstrations"] = demonstrate(folder.with_suffix(".npz"), name, **arguments)
    return train(
        ImitationConfig(
            environment=EnvironmentConfig(f"runs/{name}-v0", arguments, copies),
            adversarial=options.pop("adversarial", AdversarialConfig(rounds * copies * 64)),
            **options,
        )
    )


FAST = PPO(minibatch=128, epochs=4, optimizer=OptimizerConfig(lr=3e-3, clip=0.5))
CRITIC: dict[str, Any] = {"batch_size": 64, "optimizer": OptimizerConfig(lr=3e-3, clip=0.0), "penalty": 1.0}


def reward_of(run: Path, phase: str = ADVERSARIAL, kind: str = "sampled") -> float:
    return [line for line in runs.lines(run) if line["phase"] == phase][-1][f"eval/return_{kind}"]
