"""Several copies of a Gymnasium environment, stepped together, whose exact state a checkpoint can hold."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from gymnasium.envs.registration import EnvSpec

from seqgan_kit.errors import UserError, one_line
from seqgan_kit.imitation.environments import BROKEN, MEND, EnvironmentConfig, make
from seqgan_kit.imitation.returned import array_kind, given, number, observed, problem

FIXED = str | gym.Space | EnvSpec | np.random.Generator  # what a vectorised environment may keep besides numbers


class Step(NamedTuple):
    """observations: (copies, ...), what the actions led to: the last of an episode is its own. rewards: (copies,).

    terminated, ended: (copies,) bool, by the task itself; by that or a time limit. counts: (copies,) bool, False where
    the action did nothing. broken: (copies,) bool, the whole episode must be forgotten. elapsed: (copies,) int, steps
    of the episode so far.
    """

    observations: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    ended: np.ndarray
    counts: np.ndarray
    broken: np.ndarray
    elapsed: np.ndarray


class Copies:
    """Environments one after another in this process: on a few cores the fastest way, and exact.

    observations: (copies, ...), what the next actions are for; what has ended starts anew at once.

    Each episode is reset with a seed of its own, and the actions since are kept: after a resume they are taken again,
    which brings every environment that is determined by its seed and actions back to the same state, bit for bit. One
    that is not is told to `say`, and starts new episodes.
    """

    def __init__(
        self, config: EnvironmentConfig, seed: int, rank: int = 0, say: Callable[[str], None] = lambda _: None
    ) -> None:
        self._environments = [make(config) for _ in range(config.copies)]
        self.name, self.copies, self._say = config.id, config.copies, say
        first: Any = self._environments[0]
        self.observation_space, self.action_space = first.observation_space, first.action_space
        self._entropy, self._episodes = [seed, rank], 0
        self._seeds = [0] * self.copies
        self._taken: list[list[Any]] = [[] for _ in range(self.copies)]
        self._broken = 0
        self.observations = np.zeros((self.copies, *self.observation_space.shape), array_kind(self.observation_space))
        for i in range(self.copies):
            self._begin(i)

    def _begin(self, i: int) -> None:
        """Starts a new episode of copy i."""
        sequence = np.random.SeedSequence([*self._entropy, self._episodes])
        self._episodes += 1
        if wrong := self._reset(i, int(sequence.generate_state(1)[0])):
            self._discard(i, wrong)

    def _reset(self, i: int, seed: int) -> str | None:
        """What is wrong with the episode of this seed from its start, or None."""
        self._seeds[i], self._taken[i] = seed, []
        try:
            self.observations[i] = observed(self._environments[i].reset(seed=seed)[0], self.observation_space)
        except Exception as error:  # whatever a user's environment raises
            return problem(error)
        return None if np.isfinite(self.observations[i].sum()) else "returned an observation that is not finite"

    def step(self, actions: np.ndarray) -> Step:
        """One action each, (copies, ...)."""
        count = self.copies
        following = np.empty_like(self.observations)
        rewards = np.zeros(count, np.float32)
        terminated, ended, broken = np.zeros((3, count), bool)
        elapsed = np.zeros(count, np.int64)
        taken = given(actions, self.action_space)
        problems: dict[int, str] = {}
        for i, environment in enumerate(self._environments):
            self._taken[i].append(actions[i])
            elapsed[i] = len(self._taken[i])
            try:
                found, reward, terminal, truncated, _ = environment.step(taken[i])
                following[i], rewards[i] = observed(found, self.observation_space), number(reward)
            except Exception as error:  # whatever a user's environment raises
                problems[i] = problem(error)
                following[i] = rewards[i] = 0
                continue
            terminated[i], ended[i] = terminal, terminal or truncated
        # the sum is finite only if all are, and costs less than looking at each
        if not np.isfinite(following.sum() + rewards.sum()):
            for i in range(count):
                if not np.isfinite(following[i].sum() + rewards[i]):
                    problems[i] = "returned an observation or a reward that is not finite"
        for i, wrong in problems.items():
            self._discard(i, wrong)
            following[i], rewards[i], terminated[i] = 0, 0, False
            ended[i] = broken[i] = True
        if ended.any():
            self.observations[~ended] = following[~ended]
            for over in np.flatnonzero(ended & ~broken):
                self._broken = 0
                self._begin(int(over))
        else:
            self.observations[:] = following
        return Step(following, rewards, terminated, ended, ~broken, broken, elapsed)

    def _discard(self, i: int, wrong: str) -> None:
        where = f"{self.name} (seed {self._seeds[i]}, step {len(self._taken[i])} of its episode) {wrong}"
        self._broken += 1
        if self._broken == BROKEN:
            raise UserError(f"{where}; {BROKEN} episodes in a row were lost to such errors: {MEND}")
        self._say(f"{where}. The episode is discarded; the run goes on.")
        self._begin(i)

    def state_dict(self) -> dict[str, Any]:
        return {
            "episodes": self._episodes,
            "seeds": list(self._seeds),
            "taken": [torch.from_numpy(np.array(actions)) for actions in self._taken],
            "observations": torch.from_numpy(self.observations.copy()),
            "broken": self._broken,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes the actions of the unfinished episodes again."""
        if "seeds" not in state:  # of a vectorised form that an earlier version used
            self._say(f"{self.name}: its vectorised form is not used any more; unfinished episodes start anew")
            return
        if len(state["seeds"]) != self.copies:
            raise ValueError(f"{len(state['seeds'])} copies of {self.name} were saved, not {self.copies}")
        expected = state["observations"].numpy()
        self._episodes, self._broken = state["episodes"], state["broken"]
        lost = 0
        for i, (seed, taken) in enumerate(zip(state["seeds"], state["taken"], strict=True)):
            wrong = self._reset(i, seed)
            if wrong or not self._repeat(i, taken.numpy()) or not np.array_equal(self.observations[i], expected[i]):
                lost += 1
                self._begin(i)
        if lost:
            self._say(
                f"{self.name}: {lost} unfinished episodes did not repeat from their seeds and actions, so it is not "
                "deterministic; they start anew, and the run will not equal one that was not interrupted"
            )

    def _repeat(self, i: int, actions: np.ndarray) -> bool:
        for taken, action in zip(actions, given(actions, self.action_space), strict=True):
            self._taken[i].append(taken)
            try:
                self.observations[i] = self._environments[i].step(action)[0]
            except Exception:  # it did not, the first time
                return False
        return True

    def close(self) -> None:
        for environment in self._environments:
            environment.close()


class Vectorised:
    """The environment's own vectorised form (CartPole: 10 to 100 times the speed), with Gymnasium's next-step reset.

    Raises UserError where it is another task than the single one, by its spaces (Atari's has grey frames in fours). A
    checkpoint holds its numbers, arrays and random numbers. One that keeps anything else (a simulator) can't be resumed
    exactly, so it is refused, too.
    """

    def __init__(self, config: EnvironmentConfig, seed: int, rank: int = 0) -> None:
        try:
            self._environment: Any = gym.make_vec(
                config.id, config.copies, vectorization_mode="vector_entry_point", **config.arguments
            )
        except Exception as error:  # whatever it lacks, or does not take
            raise UserError(f"--environment.vectorised: {config.id} can't ({one_line(error)})") from error
        with closing(make(config)) as single:
            for kind in ("observation", "action"):
                own, its = getattr(single, f"{kind}_space"), getattr(self._environment, f"single_{kind}_space")
                if own != its:
                    told = f"{config.id} is another task in this form, with {kind}s {its}, not {own}"
                    raise UserError(f"--environment.vectorised: {told}")
        self._core = self._environment.unwrapped
        mode = self._core.metadata.get("autoreset_mode")
        if mode is not gym.vector.AutoresetMode.NEXT_STEP:
            raise UserError(f"--environment.vectorised: {config.id} resets in mode {mode}, not NEXT_STEP")
        self.name, self.copies = config.id, config.copies
        self.observation_space = self._environment.single_observation_space
        self.action_space = self._environment.single_action_space
        first = int(np.random.SeedSequence([seed, rank]).generate_state(1)[0])
        try:
            self.observations = np.asarray(self._environment.reset(seed=first)[0], np.float32)
        except Exception as error:  # as one that takes no seed above 2^31
            raise UserError(f"--environment.vectorised: {config.id} can't be reset ({one_line(error)})") from error
        self._resets = np.zeros(self.copies, bool)
        self._elapsed = np.zeros(self.copies, np.int64)
        self.state_dict()  # refuses early

    def step(self, actions: np.ndarray) -> Step:
        seen, rewards, terminated, truncated, _ = self._environment.step(actions)
        seen, counts = np.array(seen, np.float32), ~self._resets
        if not np.isfinite(seen.sum() + rewards.sum()):
            raise UserError(f"{self.name} returned observations or rewards that are not finite: mend the environment")
        terminated = terminated & counts
        ended = (terminated | truncated) & counts
        self._elapsed = (self._elapsed + 1) * counts
        self.observations, self._resets = seen, ended
        none = np.zeros(self.copies, bool)
        return Step(seen, np.array(rewards, np.float32), terminated, ended, counts, none, self._elapsed)

    def state_dict(self) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for name, value in vars(self._core).items():
            if isinstance(value, np.ndarray) and value.dtype != object:
                kept[name] = torch.from_numpy(value.copy())
            elif isinstance(value, bool | int | float):
                kept[name] = value
            elif not isinstance(value, FIXED) and value is not None:
                told = f"{self.name} keeps a {type(value).__name__} as its {name}, which no checkpoint can hold"
                raise UserError(f"--environment.vectorised: {told}")
        numbers = self._core.np_random.bit_generator.state
        return {
            "kept": kept,
            # 128-bit integers, which JSON holds as they are
            "random": {key: str(value) for key, value in numbers["state"].items()},
            "half": [numbers["has_uint32"], numbers["uinteger"]],
            "kind": numbers["bit_generator"],
            "observations": torch.from_numpy(self.observations.copy()),
            "resets": torch.from_numpy(self._resets.copy()),
            "elapsed": torch.from_numpy(self._elapsed.copy()),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, value in state["kept"].items():
            if np.shape(vars(self._core)[name]) != np.shape(value):
                raise ValueError(f"{self.name} keeps no such {name}")
            setattr(self._core, name, value.numpy().copy() if isinstance(value, torch.Tensor) else value)
        self._core.np_random.bit_generator.state = {
            "bit_generator": state["kind"],
            "state": {key: int(value) for key, value in state["random"].items()},
            "has_uint32": state["half"][0],
            "uinteger": state["half"][1],
        }
        self.observations = state["observations"].numpy().copy()
        self._resets, self._elapsed = state["resets"].numpy().copy(), state["elapsed"].numpy().copy()

    def close(self) -> None:
        self._environment.close()


Environments = Copies | Vectorised


def build(
    config: EnvironmentConfig, seed: int, rank: int = 0, say: Callable[[str], None] = lambda _: None
) -> Environments:
    """The environment's own vectorised form, or copies of it, as the configuration says."""
    with closing(make(config)) as single:  # for its messages
        there = single.spec is not None and single.spec.vector_entry_point is not None
    if config.vectorised or (config.vectorised is None and there):
        try:
            return Vectorised(config, seed, rank)
        except UserError:
            if config.vectorised:
                raise
    return Copies(config, seed, rank, say)
