"""What is watched for while a policy learns in its environments, and what to try."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from seqgan_kit.algorithms import objectives
from seqgan_kit.imitation.config import ImitationConfig
from seqgan_kit.imitation.improvement import TRPO
from seqgan_kit.report import alarms
from seqgan_kit.report.alarms import Alarm

STD = 0.01  # of an action in halves of its bounds: below it, nothing new is tried
CHOICES = 0.02  # nats; of two choices, one has .996


def of_game(config: ImitationConfig, actions: Any, cloning: str) -> dict[str, Alarm]:
    """actions: the space of the environment's actions. cloning: the phase."""
    critic = config.discriminator
    harder = "--discriminator.updates 20 --discriminator.penalty 1"
    if critic.updates >= 20:
        harder = "more --discriminator.updates, or a smaller --discriminator.penalty"
    warm = "" if config.cloning.warm_up else "--cloning.warm_up true, or "
    steadier = (
        "fewer --discriminator.updates, a larger --discriminator.penalty, or a lower --discriminator.optimizer.lr"
    )
    airl = "--discriminator.objective seqgan_kit.algorithms.objectives.airl, whose reward has both signs"
    both = [] if _is(critic.objective, objectives.airl) else [airl]
    absorbing = [] if critic.absorbing else ["--discriminator.absorbing true"]
    minimax = "--discriminator.objective seqgan_kit.algorithms.objectives.minimax, whose reward is above 0"
    above = [] if _is(critic.objective, objectives.minimax) else [minimax]
    longer = "more --adversarial.environment_steps"
    game: dict[str, Alarm] = {
        "discriminator certain": partial(alarms.certain, advice=f"try {steadier}", after=0.25),
        "discriminator at chance": partial(alarms.at_chance_far_from_the_expert, advice=f"try {harder}"),
        "below cloning": partial(alarms.below_cloning, cloning=cloning, advice=f"try {warm}{harder}, or {longer}"),
        "episodes too long": partial(
            alarms.episodes_too_long, advice=f"try {', or '.join([*both, *absorbing, harder])}"
        ),
        "episodes too short": partial(
            alarms.episodes_too_short, advice=f"try {', or '.join([*above, *absorbing, harder, longer])}"
        ),
    }
    return of_policy(config, actions) | game


def of_policy(config: ImitationConfig, actions: Any) -> dict[str, Alarm]:
    """Of whatever the policy learns from."""
    improvement = config.policy.improvement
    slower = "a lower --policy.improvement.optimizer.lr"
    entropy = "a larger --policy.improvement.causal_entropy (0.001)"
    continuous = np.issubdtype(getattr(actions, "dtype", None) or np.int64, np.floating)
    dims = int(np.prod(actions.shape or (1,)))
    floor = dims * (0.5 * np.log(2 * np.pi * np.e) + np.log(STD)) if continuous else dims * CHOICES
    value = "longer rollouts (--policy.steps), more --policy.improvement.epochs, or a lower --policy.discount"
    found: dict[str, Alarm] = {
        "value": partial(alarms.value_knows_nothing, advice=f"try {value}"),
        "entropy": partial(alarms.policy_has_no_choice_left, floor=float(floor), advice=f"try {entropy}"),
    }
    if isinstance(improvement, TRPO):
        smaller = (
            "a smaller --policy.improvement.divergence, a larger --policy.improvement.damping, or more --policy.steps"
        )
        return found | {"no steps": partial(alarms.no_steps, advice=f"try {smaller}")}
    fewer = f"{slower}, fewer --policy.improvement.epochs, or a smaller --policy.improvement.clip"
    return found | {"step KL": partial(alarms.steps_too_large, advice=f"try {fewer}")}


def _is(slot: Any, function: Any) -> bool:
    """Whether an option's function, or what was built of it with parameters, is this one."""
    return getattr(slot, "func", slot) is function
