"""How good a policy is: the environment's own return over whole episodes, and episodes to look at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

from seqgan_kit.errors import UserError
from seqgan_kit.imitation.demonstrations import Episode
from seqgan_kit.imitation.environments import EnvironmentConfig, make
from seqgan_kit.networks.actor import Actor

Act = Callable[[np.ndarray, Any], tuple[np.ndarray, Any]]
"""observations (rows, ...) and what was remembered -> actions (rows, ...) and what is remembered."""
TIMES = (
    (1, 12.71),
    (2, 4.30),
    (3, 3.18),
    (4, 2.78),
    (5, 2.57),
    (7, 2.36),
    (9, 2.26),
    (14, 2.14),
    (29, 2.05),
    (60, 2.0),
)


class Returns(NamedTuple):
    """Of each episode: (episodes,) float32 returns and lengths in steps."""

    returns: np.ndarray
    lengths: np.ndarray

    @property
    def mean(self) -> float:
        return float(self.returns.mean())

    @property
    def interval(self) -> float:
        """Half the width of the mean's 95 % confidence interval (Student's t)."""
        count = len(self.returns)
        factor = next((t for freedom, t in reversed(TIMES) if count - 1 >= freedom), 12.71)
        return float(factor * self.returns.std(ddof=1) / count**0.5) if count > 1 else float("nan")


def acts(network: Actor, greedy: bool) -> Act:
    """The policy as a function of observations; its random numbers are torch's."""

    @torch.no_grad()
    def act(observations: np.ndarray, memory: Any) -> tuple[np.ndarray, Any]:
        device = network.output.weight.device
        if memory is None:
            memory = network.start(len(observations))
        parameters, memory = network.step(torch.from_numpy(observations).to(device), memory)
        noise = None if greedy else network.actions.noise(len(observations)).to(device)
        drawn = network.actions.mode(parameters) if noise is None else network.actions.draw(parameters, noise)
        return network.actions.execute(drawn).cpu().numpy(), memory

    return act


def at_random(config: EnvironmentConfig, seed: int) -> Act:
    """Uniform actions: the baseline that knows nothing."""
    environment = make(config)
    space = environment.action_space
    environment.close()
    space.seed(seed)
    return lambda observations, memory: (np.stack([space.sample() for _ in observations]), memory)


def run(config: EnvironmentConfig, act: Act, episodes: int, seed: int, together: int = 10) -> list[Episode]:
    """Whole episodes, each from a seed of its own. Raises UserError where the environment breaks one."""
    found: list[Episode] = []
    environments = [make(config) for _ in range(min(together, episodes))]
    for first in range(0, episodes, len(environments)):
        some = environments[: episodes - first]
        found += _side_by_side(config.id, some, act, [seed + first + i for i in range(len(some))])
    for environment in environments:
        environment.close()
    return found


def _side_by_side(name: str, environments: list[Any], act: Act, seeds: list[int]) -> list[Episode]:
    kind = np.uint8 if environments[0].observation_space.dtype == np.uint8 else np.float32
    seen = [
        [np.asarray(environment.reset(seed=seed)[0], kind)]
        for environment, seed in zip(environments, seeds, strict=True)
    ]
    actions: list[list[np.ndarray]] = [[] for _ in environments]
    rewards: list[list[float]] = [[] for _ in environments]
    terminated = [False] * len(environments)
    alive, memory = list(range(len(environments))), None
    while alive:
        chosen, memory = act(np.stack([seen[i][-1] for i in alive]), memory)
        going = []
        for row, i in enumerate(alive):
            action = chosen[row]
            observation, reward, terminal, truncated, _ = environments[i].step(
                action.item() if action.ndim == 0 else action
            )
            observation = np.asarray(observation, kind)
            if not np.isfinite(observation.sum() + float(reward)):
                raise UserError(f"{name} returned numbers that are not finite (seed {seeds[i]}): mend the environment")
            seen[i].append(observation)
            actions[i].append(action)
            rewards[i].append(float(reward))
            terminated[i] = bool(terminal)
            if not (terminal or truncated):
                going.append(row)
        if len(going) < len(alive):
            alive = [alive[row] for row in going]
            memory = memory[going] if isinstance(memory, torch.Tensor) else memory
    return [
        Episode(np.stack(o), np.stack(a), np.array(r, np.float32), t)
        for o, a, r, t in zip(seen, actions, rewards, terminated, strict=True)
    ]


def returns(episodes: list[Episode]) -> Returns:
    sums = [float(episode.rewards.sum(dtype=np.float64)) for episode in episodes if episode.rewards is not None]
    return Returns(np.array(sums, np.float64), np.array([len(episode.actions) for episode in episodes]))


def evaluate(config: EnvironmentConfig, network: Actor, greedy: bool, episodes: int, seed: int) -> Returns:
    """The policy's returns. Seed the random numbers first, where actions are sampled."""
    return returns(run(config, acts(network.eval(), greedy), episodes, seed))
