"""Experts that are written, not trained: demonstrations for whoever has none yet."""

from __future__ import annotations

from typing import Any

import numpy as np

from seqgan_kit.imitation.demonstrations import Demonstrations
from seqgan_kit.imitation.environments import EnvironmentConfig
from seqgan_kit.imitation.evaluation import run
from seqgan_kit.worlds.cartpole import balance


def balancing(environment: str, episodes: int, seed: int = 0) -> Demonstrations:
    """Episodes of a pole that a linear controller balances to the time limit, in CartPole or what observes like it."""

    def act(observations: np.ndarray, memory: Any) -> tuple[np.ndarray, Any]:
        return np.array([balance(observation) for observation in observations]), memory

    found = run(EnvironmentConfig(environment), act, episodes, seed)
    return Demonstrations(found, environment, "the balancing controller")
