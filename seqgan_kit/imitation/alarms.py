"""What is watched for while a policy learns in its environments, and what to try."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from seqgan_kit.algorithms import objectives
from seqgan_kit.imitation.config import ImitationConfig
from seqgan_kit.imitation.improvement import TRPO
from seqgan_kit.report import alarms
from seqgan_kit.report.alarms import Alarm, fills, try_

STD = 0.01  # of an action in halves of its bounds: below it, nothing new is tried
CHOICES = 0.02  # nats; of two choices, one has .996


def of_game(config: ImitationConfig, actions: Any, cloning: str) -> dict[str, Alarm]:
    """actions: the space of the environment's actions. cloning: the phase."""
    critic, policy = config.discriminator, of_policy(config, actions)
    if not config.adversarial.discriminator_weight:
        return policy
    harder = "--discriminator.updates 20 --discriminator.penalty 1"
    if critic.updates >= 20:
        harder = "more --discriminator.updates, or a smaller --discriminator.penalty"
    weaker = "fewer --discriminator.updates", "a larger --discriminator.penalty", "a lower --discriminator.optimizer.lr"
    warm = [] if config.cloning.warm_up else ["--cloning.warm_up true"]
    airl = "--discriminator.objective seqgan_kit.algorithms.objectives.airl, whose reward has both signs"
    signs = [] if fills(critic.objective, objectives.airl) else [airl]
    minimax = "--discriminator.objective seqgan_kit.algorithms.objectives.minimax, whose reward is above 0"
    above = [] if fills(critic.objective, objectives.minimax) else [minimax]
    absorbing = [] if critic.absorbing else ["--discriminator.absorbing true"]
    longer = "more --adversarial.environment_steps"
    return policy | {
        "discriminator certain": partial(alarms.certain, advice=try_(*weaker), after=0.25),
        "discriminator at chance": partial(alarms.at_chance_far_from_the_expert, advice=try_(harder)),
        "below cloning": partial(alarms.below_cloning, cloning=cloning, advice=try_(*warm, harder, longer)),
        "episodes too long": partial(alarms.episodes_too_long, advice=try_(*signs, *absorbing, harder)),
        "episodes too short": partial(alarms.episodes_too_short, advice=try_(*above, *absorbing, harder, longer)),
    }


def of_policy(config: ImitationConfig, actions: Any) -> dict[str, Alarm]:
    """Of whatever the policy learns from."""
    continuous = np.issubdtype(getattr(actions, "dtype", None) or np.int64, np.floating)
    dims = int(np.prod(actions.shape or (1,)))
    floor = float(dims * (0.5 * np.log(2 * np.pi * np.e) + np.log(STD)) if continuous else dims * CHOICES)
    value = "longer rollouts (--policy.steps)", "more --policy.improvement.epochs", "a lower --policy.discount"
    freer = "a larger --policy.improvement.causal_entropy (0.001)"
    found: dict[str, Alarm] = {
        "value": partial(alarms.value_knows_nothing, advice=try_(*value)),
        "entropy": partial(alarms.policy_has_no_choice_left, floor=floor, advice=try_(freer)),
    }
    if isinstance(config.policy.improvement, TRPO):
        surer = "a smaller --policy.improvement.divergence", "a larger --policy.improvement.damping"
        return found | {"no steps": partial(alarms.no_steps, advice=try_(*surer, "longer rollouts (--policy.steps)"))}
    slower = "a lower --policy.improvement.optimizer.lr", "fewer --policy.improvement.epochs"
    return found | {
        "step KL": partial(alarms.steps_too_large, advice=try_(*slower, "a smaller --policy.improvement.clip"))
    }
