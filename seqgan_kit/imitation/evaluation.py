"""How good a policy is: the environment's own return over whole episodes, and episodes to look at."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate.utils import set_seed

from seqgan_kit import progress
from seqgan_kit.engine.verdict import Score
from seqgan_kit.errors import Interrupted, UserError
from seqgan_kit.imitation.demonstrations import Demonstrations, Episode
from seqgan_kit.imitation.environments import BROKEN, MEND, EnvironmentConfig, make, time_limit
from seqgan_kit.imitation.returned import array_kind, given, number, observed, problem
from seqgan_kit.networks.policies.actor import Actor
from seqgan_kit.report.statistics import spread
from seqgan_kit.samples import sent
from seqgan_kit.worlds.cartpole import balance

LONGEST = 30_000  # steps of an episode where there is no time limit: one of Atari has 27,000

CUT = "were CUT after"

Act = Callable[[np.ndarray, Any], tuple[np.ndarray, Any]]
"""observations (rows, ...) and what was remembered -> actions (rows, ...) and what is remembered."""


def _print(message: str) -> None:
    print(message, file=sys.stderr)


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
        return spread(self.returns.tolist()).half if len(self.returns) > 1 else float("nan")

    @property
    def score(self) -> Score:
        """The mean; its rows are the episodes, which are of the same seeds for all policies."""
        return Score(self.mean, 0.0, torch.from_numpy(self.returns - self.returns.mean()))


def acts(network: Actor, greedy: bool) -> Act:
    """The policy as a function of observations; its random numbers are torch's."""

    @torch.no_grad()
    def act(observations: np.ndarray, memory: Any) -> tuple[np.ndarray, Any]:
        device = network.output.weight.device
        if memory is None:
            memory = network.start(len(observations))
        parameters, memory = network.step(sent(torch.from_numpy(observations), device), memory)
        noise = None if greedy else sent(network.actions.noise(len(observations)), device)
        drawn = network.actions.mode(parameters) if noise is None else network.actions.draw(parameters, noise)
        return network.actions.execute(drawn).cpu().numpy(), memory

    return act


def at_random(config: EnvironmentConfig, seed: int) -> Act:
    """Uniform actions: the baseline that knows nothing."""
    with closing(make(config)) as environment:
        space = environment.action_space
    space.seed(seed)
    return lambda observations, memory: (np.stack([space.sample() for _ in observations]), memory)


def balancing(environment: str, episodes: int, seed: int = 0) -> Demonstrations:
    """Episodes of a pole that a linear controller balances to the time limit, in CartPole or what observes like it:
    an expert that was written, for whoever has no demonstrations yet."""

    def act(observations: np.ndarray, memory: Any) -> tuple[np.ndarray, Any]:
        return np.array([balance(observation) for observation in observations]), memory

    found = run(EnvironmentConfig(environment), act, episodes, seed)
    return Demonstrations(found, environment, "the balancing controller")


def run(
    config: EnvironmentConfig,
    act: Act,
    episodes: int,
    seed: int,
    together: int = 10,
    say: Callable[[str], None] = _print,
    longest: int = LONGEST,
    stop: Callable[[], bool] = lambda: False,
) -> list[Episode]:
    """Whole episodes, each from a seed of its own, `seed` and those after it.

    longest: where the environment has no time limit, an episode is cut after so many steps, and this is told to `say`.
    One that the environment breaks is told, too, and another takes its place. stop: looked at before every step.
    Raises UserError where too many break in a row, Interrupted where `stop` says so.
    """
    found: list[Episode] = []
    environments = [make(config) for _ in range(min(together, episodes))]
    most = time_limit(environments[0]) or longest
    broken = 0
    shown = progress.bar(None, "playing episodes", episodes, " episodes")
    try:
        while len(found) < episodes:
            some = environments[: episodes - len(found)]
            for episode in _side_by_side(config.id, some, act, list(range(seed, seed + len(some))), most, stop):
                if isinstance(episode, Episode):
                    found.append(episode)
                    broken = 0
                    continue
                broken += 1
                if broken == BROKEN:
                    raise UserError(f"{episode}; {BROKEN} episodes in a row were lost to such errors: {MEND}")
                say(f"{episode}. The episode is left out; another takes its place.")
            seed += len(some)
            shown.update(len(found) - shown.n)
    finally:
        shown.close()
        unlimited = time_limit(environments[0]) is None
        for environment in environments:
            environment.close()
    if unlimited and (cut := sum(len(episode.actions) == most for episode in found)):
        say(f"{cut} of {episodes} episodes {CUT} {most} steps: {no_limit(config)}")
    return found


def no_limit(config: EnvironmentConfig, steps: int = 1000) -> str:
    """That an environment has no time limit, and what to do. steps: of the limit that is named."""
    more = json.dumps({**config.arguments, "max_episode_steps": steps})
    return f"{config.id} has no time limit; give one, as --environment.arguments '{more}'"


def cuts_told_once(say: Callable[[str], None]) -> Callable[[str], None]:
    """Tells that episodes were cut once, not at each evaluation."""
    told: list[str] = []

    def tell(message: str) -> None:
        if CUT not in message:
            say(message)
        elif not told:
            told.append(message)
            say(f"{message} (said once)")

    return tell


def _side_by_side(
    name: str, environments: list[Any], act: Act, seeds: list[int], longest: int, stop: Callable[[], bool]
) -> list[Episode | str]:
    """An episode of each environment, or what is wrong with it."""
    observations, choices = environments[0].observation_space, environments[0].action_space
    kind = array_kind(observations)
    seen: list[list[np.ndarray]] = [[] for _ in environments]
    actions: list[list[np.ndarray]] = [[] for _ in environments]
    rewards: list[list[float]] = [[] for _ in environments]
    terminated = [False] * len(environments)
    problems: dict[int, str] = {}

    def take(i: int, call: Callable[[], Any]) -> Any:
        """What an environment returns, with its observation as an array, or None if it can't be used."""
        try:
            seen, *others = call()
            seen = observed(seen, observations)
            if actions[i]:
                others[0] = number(others[0])
            finite = np.isfinite(np.sum(seen) + (others[0] if actions[i] else 0.0))
            wrong = None if finite else "returned numbers that are not finite"
        except Exception as error:  # whatever a user's environment raises
            wrong = problem(error)
        if wrong:
            problems[i] = f"{name} (seed {seeds[i]}, step {len(actions[i])} of its episode) {wrong}"
            return None
        return seen, *others

    for i, (environment, seed) in enumerate(zip(environments, seeds, strict=True)):
        first = take(i, partial(environment.reset, seed=seed))
        seen[i] += [] if first is None else [np.asarray(first[0], kind)]
    alive, memory = [i for i in range(len(environments)) if i not in problems], None
    while alive:
        if stop():
            raise Interrupted
        chosen, memory = act(np.stack([seen[i][-1] for i in alive]), memory)
        going, taken = [], given(chosen, choices)
        for row, i in enumerate(alive):
            actions[i].append(chosen[row])
            step = take(i, partial(environments[i].step, taken[row]))
            if step is None:
                continue
            observation, reward, terminal, truncated, _ = step
            seen[i].append(np.asarray(observation, kind))
            rewards[i].append(float(reward))
            terminated[i] = bool(terminal)
            if not (terminal or truncated or len(actions[i]) == longest):
                going.append(row)
        if len(going) < len(alive):
            alive = [alive[row] for row in going]
            if isinstance(memory, torch.Tensor):
                memory = memory[sent(torch.tensor(going, dtype=torch.int64), memory.device)]
    return [
        problems[i] if i in problems else Episode(np.stack(o), np.stack(a), np.array(r, np.float32), t, seeds[i])
        for i, (o, a, r, t) in enumerate(zip(seen, actions, rewards, terminated, strict=True))
    ]


def returns(episodes: Sequence[Episode]) -> Returns:
    sums = [float(episode.rewards.sum(dtype=np.float64)) for episode in episodes if episode.rewards is not None]
    return Returns(np.array(sums, np.float64), np.array([len(episode.actions) for episode in episodes]))


def evaluate(
    config: EnvironmentConfig,
    network: Actor,
    episodes: int,
    seed: int,
    say: Callable[[str], None] = _print,
    longest: int = LONGEST,
    stop: Callable[[], bool] = lambda: False,
    kinds: Sequence[str] = ("greedy", "sampled"),
) -> dict[str, Returns]:
    """Returns of the likeliest actions, `greedy`, and of `sampled` ones, each under the random numbers of `seed`.

    The rest as in `run`.
    """
    found = {}
    for kind in kinds:
        set_seed(seed)
        act = acts(network.eval(), kind == "greedy")
        found[kind] = returns(run(config, act, episodes, seed, say=say, longest=longest, stop=stop))
    return found


def scores(measured: dict[str, Returns]) -> dict[str, float]:
    """What `evaluate` found, as metrics."""
    means = {f"return_{kind}": found.mean for kind, found in measured.items()}
    return means | {f"return_{kind}_interval": found.interval for kind, found in measured.items()}


NAMES = ("return_greedy", "return_sampled")
"""What a policy may be chosen by; first the one that `--evaluation.best auto` is."""
