"""Several copies of a Gymnasium environment, stepped together, whose exact state a checkpoint can hold."""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch

from seqgan_kit.errors import UserError, one_line
from seqgan_kit.worlds import cartpole  # noqa: F401  it registers an environment

BROKEN = 20  # episodes in a row that an environment may break before the run stops
MEND = "mend the environment, then resume; what was saved stays"


@dataclass(frozen=True)
class EnvironmentConfig:
    """The Gymnasium environment.

    Args:
        id: Id of the environment, as for gymnasium.make: Hopper-v5, or MODULE:ID for one that your MODULE registers.
        arguments: Keyword arguments that the environment is made with, as {continuous: true}.
        copies: Number of copies of the environment that are stepped together, in each process.
        vectorised: Whether to use the environment's own vectorised form (gymnasium's `vector_entry_point`), which is
            many times as fast. Unset uses it where there is one whose state a checkpoint can hold (CartPole).
    """

    id: str = "CartPole-v1"
    arguments: dict[str, Any] = field(default_factory=dict)
    copies: int = 8
    vectorised: bool | None = None


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


def make(config: EnvironmentConfig, render: bool = False) -> gym.Env[Any, Any]:
    """One environment. Raises UserError where there is none of this id, or it misses a package."""
    options = {**config.arguments, **({"render_mode": "rgb_array"} if render else {})}
    try:
        made = gym.make(config.id, disable_env_checker=True, **options)
    except (gym.error.Error, ModuleNotFoundError, TypeError) as error:
        raise UserError(_explain(config.id, error)) from error
    if not isinstance(made.observation_space, gym.spaces.Box):
        space = made.observation_space
        raise UserError(f"{config.id} observes {space}, not a Box: wrap it in gymnasium.wrappers.FlattenObservation")
    return made


def _explain(name: str, error: Exception) -> str:
    module, _, _ = name.rpartition(":")
    if isinstance(error, TypeError):
        return f"--environment.arguments: {name} can't be made with them ({one_line(error)})"
    if isinstance(error, ModuleNotFoundError | gym.error.DependencyNotInstalled):
        if module and importlib.util.find_spec(module.split(".")[0]) is None:
            return f"--environment.id {name}: there is no module {module!r} here, nor is it installed"
        return f"{name} misses a package ({one_line(error)}): pip install '{_extra(error)}'"
    known = [spec for spec in gym.registry if not spec.startswith(("phys2d/", "tabular/", "GymV"))]
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if name in known:
        return f"--environment.id {name}: {one_line(error)}"
    meant = f" (did you mean {' or '.join(close)}?)" if close else ""
    return (
        f"--environment.id {name}: Gymnasium knows none of this name{meant}; "
        "for an own one give MODULE:ID, where importing MODULE registers it"
    )


def _extra(error: Exception) -> str:
    words = str(error).lower()
    if "mujoco" in words:
        return "seqgan_kit[mujoco]"
    return "gymnasium[box2d]" if "box2d" in words else "seqgan_kit[video]" if "pygame" in words else "gymnasium[all]"


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
        self._choices = isinstance(self.action_space, gym.spaces.Discrete)
        self._seeds = [0] * self.copies
        self._taken: list[list[Any]] = [[] for _ in range(self.copies)]
        self._broken = 0
        kind = np.uint8 if self.observation_space.dtype == np.uint8 else np.float32
        self.observations = np.zeros((self.copies, *self.observation_space.shape), kind)
        for i in range(self.copies):
            self._begin(i)

    def _begin(self, i: int) -> None:
        """Starts a new episode of copy i."""
        sequence = np.random.SeedSequence([*self._entropy, self._episodes])
        self._episodes += 1
        if problem := self._reset(i, int(sequence.generate_state(1)[0])):
            self._discard(i, problem)

    def _reset(self, i: int, seed: int) -> str | None:
        """What is wrong with the episode of this seed from its start, or None."""
        self._seeds[i], self._taken[i] = seed, []
        try:
            self.observations[i] = self._environments[i].reset(seed=seed)[0]
        except Exception as error:  # whatever a user's environment raises
            return f"raised {type(error).__name__}: {one_line(error)}"
        return None if np.isfinite(self.observations[i].sum()) else "returned an observation that is not finite"

    def step(self, actions: np.ndarray) -> Step:
        """One action each, (copies, ...)."""
        count = self.copies
        following = np.empty_like(self.observations)
        rewards = np.zeros(count, np.float32)
        terminated, ended, broken = np.zeros((3, count), bool)
        elapsed = np.zeros(count, np.int64)
        # some environments scale or clip an action where it lies
        given = actions.tolist() if self._choices else actions.copy()
        problems: dict[int, str] = {}
        for i, environment in enumerate(self._environments):
            self._taken[i].append(actions[i])
            elapsed[i] = len(self._taken[i])
            try:
                following[i], rewards[i], terminal, truncated, _ = environment.step(given[i])
            except Exception as error:  # whatever a user's environment raises
                problems[i] = f"raised {type(error).__name__}: {one_line(error)}"
                following[i] = rewards[i] = 0
                continue
            terminated[i], ended[i] = terminal, terminal or truncated
        # the sum is finite only if all are, and costs less than looking at each
        if not np.isfinite(following.sum() + rewards.sum()):
            for i in range(count):
                if not np.isfinite(following[i].sum() + rewards[i]):
                    problems[i] = "returned an observation or a reward that is not finite"
        for i, problem in problems.items():
            self._discard(i, problem)
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

    def _discard(self, i: int, problem: str) -> None:
        where = f"{self.name} (seed {self._seeds[i]}, step {len(self._taken[i])} of its episode) {problem}"
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
        if len(state["seeds"]) != self.copies:
            raise ValueError(f"{len(state['seeds'])} copies of {self.name} were saved, not {self.copies}")
        expected = state["observations"].numpy()
        self._episodes, self._broken = state["episodes"], state["broken"]
        lost = 0
        for i, (seed, taken) in enumerate(zip(state["seeds"], state["taken"], strict=True)):
            problem = self._reset(i, seed)
            if problem or not self._repeat(i, taken.numpy()) or not np.array_equal(self.observations[i], expected[i]):
                lost += 1
                self._begin(i)
        if lost:
            self._say(
                f"{self.name}: {lost} unfinished episodes did not repeat from their seeds and actions, so it is not "
                "deterministic; they start anew, and the run will not equal one that was not interrupted"
            )

    def _repeat(self, i: int, actions: np.ndarray) -> bool:
        given = actions.tolist() if self._choices else actions.copy()
        for taken, action in zip(actions, given, strict=True):
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

    A checkpoint holds its numbers, arrays and random numbers. One that keeps its state elsewhere (in a simulator) can't
    be resumed exactly, so it is refused.
    """

    def __init__(self, config: EnvironmentConfig, seed: int, rank: int = 0) -> None:
        try:
            self._environment: Any = gym.make_vec(
                config.id, config.copies, vectorization_mode="vector_entry_point", **config.arguments
            )
        except (gym.error.Error, TypeError) as error:
            raise UserError(f"--environment.vectorised: {config.id} can't ({one_line(error)}): leave it out") from error
        self._core = self._environment.unwrapped
        mode = self._core.metadata.get("autoreset_mode")
        if mode is not gym.vector.AutoresetMode.NEXT_STEP:
            raise UserError(f"--environment.vectorised: {config.id} resets in mode {mode}, not NEXT_STEP: leave it out")
        self.name, self.copies = config.id, config.copies
        self.observation_space = self._environment.single_observation_space
        self.action_space = self._environment.single_action_space
        first = self._environment.reset(seed=int(np.random.SeedSequence([seed, rank]).generate_state(1)[0]))[0]
        self.observations = np.asarray(first, np.float32)
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
            elif "state" in name and value is not None:
                raise UserError(
                    f"--environment.vectorised: {self.name} keeps a {type(value).__name__} as its {name}: leave it out"
                )
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
    make(config).close()  # for its messages
    spec = gym.spec(config.id.rpartition(":")[2])  # without its module, which `make` has imported
    if config.vectorised or (config.vectorised is None and spec.vector_entry_point is not None):
        try:
            return Vectorised(config, seed, rank)
        except UserError:
            if config.vectorised:
                raise
    return Copies(config, seed, rank, say)
