"""Expert demonstrations: what they are, and which steps of them are used.

Messages count episodes and steps from 0, as the arrays do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

import numpy as np
import torch
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Space
from torch.nn.utils.rnn import pad_sequence

from seqgan_kit.bounds import LARGEST_SEED, Bound, Seed, Whole
from seqgan_kit.errors import UserError
from seqgan_kit.samples import Transitions
from seqgan_kit.tables import Intake

BadEpisodes = Literal["error", "drop"]
DROP = "--demonstrations.bad_episodes drop"


@dataclass(frozen=True)
class Episode:
    """observations: (steps + 1, ...) float32, or uint8 for pictures; the last is what the episode ended in.

    actions: (steps, *shape) as the environment executed them, int64 or float32 (see `fitting.fitted`).
    rewards: (steps,) float32, the environment's own; None where unknown.
    terminated: the task ended; False: cut by a time limit. seed: of the reset, where known.
    earned: return of the whole episode, where a last step had to be left out; None: that of the rewards.
    """

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray | None
    terminated: bool
    seed: int | None = None
    earned: float | None = None


@dataclass(frozen=True)
class Demonstrations:
    """environment: the id they were recorded in, where known. name: where they are from, for messages.

    recorded: all that is known of that environment. observation_space: where it was one of several parts, those, in the
    order in which observations are flattened. ends_told: whether an end by a time limit was recorded as such. intake:
    what became of the episodes of the file.
    """

    episodes: Sequence[Episode]
    environment: str | None
    name: str
    recorded: EnvSpec | None = None
    observation_space: Space[Any] | None = None
    ends_told: bool = False
    intake: Intake = field(default_factory=lambda: Intake("", "episodes"))

    def returns(self) -> np.ndarray | None:
        """(episodes,) float64, undiscounted; None unless the rewards of all episodes are known."""
        rewards = [(episode.rewards, episode.earned) for episode in self.episodes if episode.rewards is not None]
        if len(rewards) < len(self.episodes):
            return None
        return np.array([each.sum(dtype=np.float64) if earned is None else earned for each, earned in rewards])


@dataclass(frozen=True)
class DemonstrationConfig:
    """Whom to imitate: a file or folder, or a Minari data set.

    Args:
        path: Demonstrations: an .npz file (the kit's own, of stable-baselines or of D4RL), an HDF5 file of D4RL, a
            parquet file of steps or of episodes, the folder of a Hugging Face data set as the `imitation` library
            saves it, or the folder of a Minari one.
        minari: Id of a Minari data set that `minari download ID` has fetched, in place of a path.
        trajectories: Number of trajectories that are learnt from, the first ones; unset takes all.
        subsample: Keep one step of every so many, from a random one on in each trajectory. The paper has 20 for MuJoCo,
            1 for Reacher, 10 for CartPole, 5 for MountainCar and Acrobot.
        seed: Seed of the step at which each subsampled trajectory starts. 0 starts as the paper does.
        bad_episodes: Whether an episode that cannot be used (NaN, too few observations, an action that the environment
            does not take, fewer steps than `subsample`) stops the run with an error, or is dropped and counted.
        ends_at_limit: What an episode is that is marked as terminated and has exactly as many steps as the time limit:
            `cut` by that limit, which several libraries mark so, or `terminated` by the task, as the file says.
    """

    path: str | None = None
    minari: str | None = None
    trajectories: Whole | None = None
    subsample: Whole = 1
    seed: Seed = 0
    bad_episodes: BadEpisodes = "error"
    ends_at_limit: Literal["cut", "terminated"] = "cut"


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
    Bound(0, LARGEST_SEED).check("--demonstrations.seed", config.seed)
    episodes, stride = choose(demonstrations, config).episodes, config.subsample
    lengths = [len(episode.actions) for episode in episodes]
    if not 1 <= stride <= min(lengths):
        shortest = f"{demonstrations.name} episode {int(np.argmin(lengths))} has {min(lengths)} steps"
        drop = f", or drop such episodes, {DROP}" if stride > 0 else ""
        raise UserError(f"--demonstrations.subsample {stride}: {shortest}, give 1 (keeps all) to {min(lengths)}{drop}")
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


def short(value: object) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:60]}..."
