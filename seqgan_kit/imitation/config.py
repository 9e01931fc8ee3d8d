"""The options of an imitation run, as they stand in YAML and on the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from torch import nn

from seqgan_kit.algorithms import objectives
from seqgan_kit.engine.learning import OptimizerConfig
from seqgan_kit.engine.run_config import RunConfig
from seqgan_kit.game.rewards import StepReward
from seqgan_kit.imitation.demonstrations import DemonstrationConfig
from seqgan_kit.imitation.discriminator import Input
from seqgan_kit.imitation.environments import EnvironmentConfig
from seqgan_kit.imitation.improvement import PPO, Improvement
from seqgan_kit.networks.policies.layers import Activation
from seqgan_kit.networks.policies.transition import Layout, TransitionNetwork


@dataclass(frozen=True)
class PolicyConfig:
    """The policy, its value, and how they improve.

    Args:
        hidden: widths of the layers of both.
        activation: of these layers.
        recurrent: width of a GRU before the policy's layers; 0 has none.
        squash: continuous actions into their bounds by tanh, rather than clip them.
        log_std: logarithm of the initial standard deviation of continuous actions.
        steps: of each copy of the environment in a rollout.
        discount: gamma.
        decay: lambda of the generalised advantage estimation.
        normalise: observations, for policy, value and discriminator alike: `expert` by the mean and variance of the
            demonstrations, so that what the expert does stays in sight where the policy strays far; `running` by those
            of the demonstrations and of all that the policy has seen since, as the paper does, and as there is no
            other way with `reward: environment`; or `none`.
        improvement: PPO or TRPO.
    """

    hidden: list[int] = field(default_factory=lambda: [100, 100])
    activation: Activation = "tanh"
    recurrent: int = 0
    squash: bool = False
    log_std: float = -0.5
    steps: int = 512
    discount: float = 0.995
    decay: float = 0.97
    normalise: Literal["expert", "running", "none"] = "expert"
    improvement: Improvement = field(default_factory=PPO)


@dataclass(frozen=True)
class CloningConfig:
    """Behaviour cloning: maximum likelihood of the demonstrated actions, the baseline beside every result.

    Args:
        steps: batches; 0 leaves it out.
        batch_size: demonstrated steps a batch, over all processes; for a recurrent policy whole trajectories.
        optimizer: its own.
        warm_up: the adversarial phase begins with the cloned policy, not a new one.
    """

    steps: int = 1000
    batch_size: int = 128
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=1e-3))
    warm_up: bool = False


@dataclass(frozen=True)
class DiscriminatorConfig:
    """The discriminator, and which reward its logit is.

    The defaults keep it from certainty on a few demonstrated steps. The paper's: one update a round on the whole
    rollout, a learning rate of 0.01, no penalty.

    Args:
        network: class that is built with the `Layout` of its inputs; its forward takes the features (batch, time, size)
            and returns logits (batch, time), higher = more expert.
        objective: what it minimises, and the reward. `minimax`: -log(1 - D), above 0, which keeps an episode going:
            where an early end is a failure (CartPole, Hopper). `non_saturating`: log D, below 0, which brings an
            episode to its end: where that is a success (MountainCar, Acrobot). `airl`: the logit, their sum, of both
            signs. `wasserstein` needs a gradient penalty.
        inputs: what it looks at: state, action, next_state, ended.
        updates: in each round; 0 leaves it frozen as it was initialised.
        batch_size: steps of the policy an update, over all processes, and of the expert, where there are as many;
            unset takes a whole rollout.
        optimizer: its own.
        penalty: weight of the gradient penalty between demonstrations and the policy's steps; 0 has none.
        penalty_norm: the gradient's norm that the penalty draws to.
        entropy: weight of the entropy of its verdicts, which keeps it from certainty.
        absorbing: what follows a termination is scored and rewarded too, for ever (Kostrikov et al. 2019): no reward
            then favours long or short episodes. It is learnt from as many steps as the time limit would leave.
        log_prob: subtract the policy's log-probability of the action from the network's output, as AIRL does.
        replay: rollouts that it learns from, the latest and those before it.
    """

    network: Callable[[Layout], nn.Module] = TransitionNetwork
    objective: Callable[[], objectives.Objective] = objectives.minimax
    inputs: list[Input] = field(default_factory=lambda: ["state", "action"])
    updates: int = 5
    batch_size: int | None = 512
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=1e-3, clip=0.0))
    penalty: float = 10.0
    penalty_norm: float = 1.0
    entropy: float = 1e-3
    absorbing: bool = False
    log_prob: bool = False
    replay: int = 1


@dataclass(frozen=True)
class AdversarialConfig:
    """The adversarial phase.

    Args:
        environment_steps: of all copies and processes together, rounded up to whole rounds.
        rewards: own reward functions of steps, by import path and weight.
        discriminator_weight: weight of the discriminator's reward beside them.
    """

    environment_steps: int = 500_000
    rewards: list[StepReward] = field(default_factory=list)
    discriminator_weight: float = 1.0


@dataclass(frozen=True)
class ControlConfig:
    """The control that keeps imitation honest: the same game with a discriminator that never learns.

    Args:
        frozen: play it after the adversarial phase, for as many rounds, from the same initial weights.
    """

    frozen: bool = False


@dataclass(frozen=True)
class EvaluationConfig:
    """Evaluation on whole episodes, by the environment's own reward.

    Args:
        episodes: of the greedy and of the sampled policy each.
        final: the same at the end of a phase.
        every: rounds between two evaluations; 0 evaluates at the end only.
        seed: of the episodes, the same at every evaluation.
        video: steps of an episode that the report shows; 0 leaves it out.
    """

    episodes: int = 10
    final: int = 50
    every: int = 20
    seed: int = 1_000_003
    video: int = 200


@dataclass(frozen=True)
class ImitationConfig:
    """A GAIL run, or with `reward: environment` the training of an expert."""

    run: RunConfig = field(default_factory=RunConfig)
    reward: Literal["discriminator", "environment"] = "discriminator"
    environment: EnvironmentConfig = field(default_factory=EnvironmentConfig)
    demonstrations: DemonstrationConfig = field(default_factory=DemonstrationConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    cloning: CloningConfig = field(default_factory=CloningConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    adversarial: AdversarialConfig = field(default_factory=AdversarialConfig)
    control: ControlConfig = field(default_factory=ControlConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
