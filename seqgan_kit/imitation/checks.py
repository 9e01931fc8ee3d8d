"""What an imitation run refuses before anything is written."""

from __future__ import annotations

import math
import os
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from seqgan_kit.bounds import SAMPLE, check_fits
from seqgan_kit.engine.checks import before_a_run, built, not_sharded, objective, of_shape, rewarded, tried
from seqgan_kit.errors import UserError
from seqgan_kit.game.rewards import evaluate_steps
from seqgan_kit.imitation.config import ImitationConfig
from seqgan_kit.imitation.demonstrations import Demonstrations, choose
from seqgan_kit.imitation.discriminator_inputs import Features
from seqgan_kit.imitation.environments import time_limit
from seqgan_kit.imitation.evaluation import no_limit
from seqgan_kit.imitation.returned import Returned, observed
from seqgan_kit.imitation.returned import number as reward_of
from seqgan_kit.networks.policies.actions import from_space, is_bounded
from seqgan_kit.networks.policies.actor import is_picture, picture_scale
from seqgan_kit.samples import Transitions, size

ABSORBING = 1000  # steps of an episode and what follows it, where there is no time limit
FLOAT = 4  # bytes
EXACT = 2**24  # float32 holds every integer up to it


def check_numbers(config: ImitationConfig, expert: Demonstrations | None) -> None:
    """Before anything is written: every number makes sense."""
    policy, critic = config.policy, config.discriminator
    not_sharded(config.run.shard, "TRPO and PPO in environments, which differentiate by hand, have whole ones")
    if config.reward != "environment":
        rewarded(config.adversarial.discriminator_weight, config.adversarial.rewards)
    if not critic.inputs:
        raise UserError("--discriminator.inputs is empty: give some of state, action, next_state, ended")
    for option, number in [("--policy.discount", policy.discount), ("--policy.decay", policy.decay)]:
        if not 0 <= number <= 1 or (option == "--policy.discount" and number == 1 and critic.absorbing):
            raise UserError(f"{option} {number:g}: give a number between 0 and 1")
    if policy.recurrent and expert is not None and config.demonstrations.subsample > 1 and config.cloning.steps:
        raise UserError(
            "a recurrent policy is cloned from whole trajectories: "
            "give --demonstrations.subsample 1, or --cloning.steps 0"
        )
    if objective(critic.objective).distance is not None:
        raise UserError(
            "--discriminator.objective: one that compares samples in pairs knows no distance of steps: give "
            "another, such as minimax, non_saturating or airl"
        )
    if critic.log_prob and policy.recurrent:
        raise UserError(
            "--discriminator.log_prob: a recurrent policy's probability of a single step is not known: leave it "
            "out, or --policy.recurrent"
        )


def check_environment(config: ImitationConfig, environment: Any, expert: Demonstrations | None = None) -> list[str]:
    """Before anything is written: its actions can be learnt, and what it returns is what it declares.

    Returns what the user is told of it first.
    """
    name, space, copies = config.environment.id, environment.observation_space, config.environment.copies
    check_fits("--environment.copies", copies, SAMPLE + config.policy.steps * (math.prod(space.shape) + 8) * FLOAT)
    try:
        from_space(environment.action_space, config.policy.squash)
    except ValueError as error:
        raise UserError(f"{name}: {error}") from None
    told = []
    if config.discriminator.absorbing and time_limit(environment) is None:
        told.append(
            f"--discriminator.absorbing: what follows an end is taken to last up to step {ABSORBING} of an episode"
        )
    if isinstance(environment, gym.wrappers.FlattenObservation):
        before = " ".join(str(environment.env.observation_space).split())
        told.append(f"{name} observes {before}, flattened to {space.shape[0]} numbers (choices one-hot)")
    if time_limit(environment) is None:
        longest = config.evaluation.longest
        told.append(
            f"{no_limit(config.environment, _longest(expert))}; episodes of an evaluation are cut after {longest} "
            "steps (--evaluation.longest)"
        )
    if np.issubdtype(space.dtype, np.integer) and max(abs(int(space.low.min())), int(space.high.max())) > EXACT:
        told.append(f"{name} observes {space.dtype} numbers, which are ROUNDED to float32 above {EXACT:,}")
    return told + _first_steps(name, environment)


def _longest(expert: Demonstrations | None) -> int:
    """Steps of an episode: of the longest that was demonstrated."""
    return ABSORBING if expert is None else max(len(episode.actions) for episode in expert.episodes)


def _first_steps(name: str, environment: Any) -> list[str]:
    """What is to be said of the first observations. Raises UserError where they can't be used."""
    space = environment.observation_space
    try:
        seen = [observed(environment.reset(seed=0)[0], space)]
        environment.action_space.seed(0)
        found, reward, *_ = environment.step(environment.action_space.sample())
        seen.append(observed(found, space))
        reward_of(reward)
    except Returned as error:
        raise UserError(f"{name} {error}: mend the environment") from None
    except Exception:  # told when it happens in the run, where it may be seldom
        return []
    if not is_picture(space.shape):
        return []
    greatest, scale = max(float(np.abs(each.astype(float)).max()) for each in seen), picture_scale(space)
    if greatest > scale:
        return [f"{name} observes pictures with numbers up to {greatest:g}, OUTSIDE of its bounds: {_divided(scale)}"]
    return []


def _divided(scale: float) -> str:
    return (
        f"they are divided by {scale:g}, the greatest bound that is declared" if scale != 1 else "they are not scaled"
    )


def seen_in_demonstrations(config: ImitationConfig, environment: Any, expert: Demonstrations | None) -> list[str]:
    """What the user is told of units that the spaces leave open."""
    told, space, actions = [], environment.observation_space, environment.action_space
    if isinstance(actions, gym.spaces.Box) and np.issubdtype(actions.dtype, np.floating):
        pairs = zip(actions.low.flat, actions.high.flat, strict=True)
        free = [i for i, (low, high) in enumerate(pairs) if not is_bounded(float(low), float(high))]
        if free:
            unit = "in their own unit" if expert is None else "in that of the demonstrations, by their mean and spread"
            told.append(f"actions {', '.join(map(str, free))} have no bounds: they are drawn {unit}")
    if expert is not None and config.policy.normalise != "none" and not is_picture(space.shape):
        told += _hardly_varying(expert)
    if expert is not None and is_picture(space.shape):
        greatest, scale = max(float(episode.observations.max()) for episode in expert.episodes), picture_scale(space)
        if greatest * 8 < scale:
            told.append(
                f"the pictures of the demonstrations have numbers up to {greatest:g}, and {_divided(scale)}: declare "
                "the true bounds where they are codes, not colours"
            )
    return told


def _hardly_varying(expert: Demonstrations) -> list[str]:
    """Of numbers whose changes get lost, in float32 or because the normaliser scales nothing up beyond 10,000 times."""
    seen = np.concatenate([episode.observations.reshape(len(episode.observations), -1) for episode in expert.episodes])
    mean, deviation = np.abs(seen.mean(0, dtype=np.float64)), seen.std(0, dtype=np.float64)
    varies = seen.max(0) > seen.min(0)
    lost, small = varies & (deviation < mean * 1e-5), varies & (deviation < 1e-4) & (deviation >= mean * 1e-5)
    told = []
    if lost.any():
        which = ", ".join(map(str, np.flatnonzero(lost)))
        told.append(
            f"observations {which} vary by less than 1/100,000 of their size, which float32 ROUNDS: subtract it"
        )
    if small.any():
        which = ", ".join(map(str, np.flatnonzero(small)))
        told.append(f"observations {which} vary by less than 0.0001, which is scaled up 10,000 times at most")
    return told


def check_shares(config: ImitationConfig, expert: Demonstrations, steps: int) -> None:
    """Before anything is written: each process that was launched has a share of what is learnt from."""
    processes, trajectories = (
        int(os.environ.get("WORLD_SIZE", "1")),
        len(choose(expert, config.demonstrations).episodes),
    )
    whole = config.policy.recurrent and config.cloning.steps
    for count, unit in ((steps, "demonstrated steps"), *(((trajectories, "trajectories"),) if whole else ())):
        if count < processes:
            raise UserError(f"{expert.name} has {count} {unit} for {processes} processes: give more, or launch {count}")


def check_parts(config: ImitationConfig, environment: Any, some: Transitions) -> None:
    """Before anything is written: the discriminator's network can be built; a user's own, and rewards, give each step a
    number. some: a few steps."""
    critic, option = config.discriminator, "--discriminator.network"
    space, actions = environment.observation_space, from_space(environment.action_space, config.policy.squash)
    features = Features(space, actions, None, critic.inputs, critic.absorbing, config.policy.discount)
    with torch.random.fork_rng(devices=[]):
        wanted = "a class that is built with the `Layout` of its inputs"
        try:
            network = built(option, critic.network, features.layout, wanted=wanted)
        except UserError as error:
            given = ", which are --discriminator.inputs" if isinstance(error.__cause__, UserError) else ""
            raise UserError(f"{error}{given}") from error
        if not type(network).__module__.startswith("seqgan_kit."):  # ours are known
            wanted = "features (batch, time, size) -> logits (batch, time)"
            found = tried(option, network, features(some), wanted=wanted)
            of_shape(option, type(network), found, (size(some), 1), wanted)
        for reward in config.adversarial.rewards:
            before_a_run(evaluate_steps, reward, some)
