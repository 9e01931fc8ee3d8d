"""CartPole without an end, and an expert that needs no training: the world that imitation can always start from.

Importing this module registers `seqgan_kit/FixedHorizonCartPole-v0` with Gymnasium.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleEnv

FIXED_HORIZON = "seqgan_kit/FixedHorizonCartPole-v0"
GAINS = np.array([0.1, 0.2, 1.0, 0.3])  # of position, speed, angle, angular speed


class FixedHorizonCartPole(CartPoleEnv):
    """CartPole that goes on after the pole has fallen: 500 steps, each worth 1 while it stands, else 0.

    In CartPole itself any reward above 0 teaches balancing, because a longer episode earns more; here it does not
    (the same idea as seals/CartPole-v0 of the `imitation` library).
    """

    def step(self, action: Any) -> tuple[np.ndarray, Any, bool, bool, dict[str, Any]]:
        observation, _, fallen, truncated, info = super().step(action)
        self.steps_beyond_terminated = None
        return observation, float(not fallen), False, truncated, info


def balance(observation: np.ndarray) -> int:
    """The expert: pushes to the side that the pole, and less so the cart, leans and moves to."""
    return int(GAINS @ observation > 0)


if FIXED_HORIZON not in gym.registry:
    gym.register(FIXED_HORIZON, entry_point=f"{__name__}:FixedHorizonCartPole", max_episode_steps=500)
