"""What an imitation run refuses before anything is written."""

from __future__ import annotations

from seqgan_kit.engine.checks import at_least, rewarded, run_bounds
from seqgan_kit.errors import UserError
from seqgan_kit.imitation.config import ImitationConfig
from seqgan_kit.imitation.demonstrations import Demonstrations


def check_numbers(config: ImitationConfig, expert: Demonstrations | None) -> None:
    """Before anything is written: every number makes sense."""
    policy, critic = config.policy, config.discriminator
    at_least(
        ("--environment.copies", config.environment.copies, 1),
        ("--policy.steps", policy.steps, 1),
        ("--policy.recurrent", policy.recurrent, 0),
        ("--cloning.steps", config.cloning.steps, 0),
        ("--cloning.batch_size", config.cloning.batch_size, 1),
        ("--discriminator.updates", critic.updates, 0),
        ("--discriminator.batch_size", critic.batch_size or 1, 1),
        ("--discriminator.replay", critic.replay, 1),
        ("--adversarial.environment_steps", config.adversarial.environment_steps, 0),
        ("--evaluation.episodes", config.evaluation.episodes, 1),
        ("--evaluation.final", config.evaluation.final, 2),
        *run_bounds(config.run),
    )
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
    if critic.objective().distance is not None:
        raise UserError(
            "--discriminator.objective: one that compares samples in pairs knows no distance of steps: give another, "
            "such as minimax, non_saturating or airl"
        )
    if critic.log_prob and policy.recurrent:
        raise UserError(
            "--discriminator.log_prob: a recurrent policy's probability of a single step is not known: "
            "leave it out, or --policy.recurrent"
        )
