"""The options of an imitation run, as they stand in YAML and on the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from torch import nn

from seqgan_kit.algorithms import objectives
from seqgan_kit.bounds import Count, NotNegative, Number, Seed, Several, Share, Whole
from seqgan_kit.engine.learning import OptimizerConfig
from seqgan_kit.engine.run_config import RunConfig
from seqgan_kit.game.rewards import StepReward
from seqgan_kit.imitation.demonstrations import DemonstrationConfig
from seqgan_kit.imitation.discriminator_inputs import Input
from seqgan_kit.imitation.environments import EnvironmentConfig
from seqgan_kit.imitation.improvement import PPO, Improvement
from seqgan_kit.networks.policies.layers import Activation
from seqgan_kit.networks.policies.transition import Layout, TransitionNetwork


@dataclass(frozen=True)
class PolicyConfig:
    """The policy, its value, and how they improve.

    Args:
        hidden: Widths of the hidden layers of the policy and of the value.
        activation: Activation of the hidden layers.
        recurrent: Width of a GRU before the policy's layers, for tasks that need memory. 0 has none.
        squash: Whether continuous actions are squashed into their bounds by tanh, rather than clipped.
        log_std: Logarithm of the initial standard deviation of continuous actions, in halves of their bounds. Larger
            explores more at first.
        steps: Steps of each copy of the environment in a rollout. More give surer updates, but fewer of them.
        discount: Discount of later rewards, gamma. Nearer 1 looks further ahead.
        decay: Lambda of the generalised advantage estimation. Nearer 1 has less bias, and more variance.
        normalise: How observations are normalised, for policy, value and discriminator alike: `expert` by the mean and
            variance of the demonstrations, so that what the expert does stays in sight where the policy strays far;
            `running` by those of the demonstrations and of all that the policy has seen since, as the paper does, and
            as there is no other way with `reward: environment`; or `none`.
        improvement: Class of how the policy improves on a rollout: seqgan_kit.imitation.improvement.PPO or TRPO.
    """

    hidden: list[Count] = field(default_factory=lambda: [100, 100])
    activation: Activation = "tanh"
    recurrent: Whole = 0
    squash: bool = False
    log_std: Number = -0.5
    steps: Count = 512
    discount: Share = 0.995
    decay: Share = 0.97
    normalise: Literal["expert", "running", "none"] = "expert"
    improvement: Improvement = field(default_factory=PPO)


@dataclass(frozen=True)
class CloningConfig:
    """Behaviour cloning: maximum likelihood of the demonstrated actions, the baseline beside every result.

    Args:
        steps: Batches of behaviour cloning. 0 leaves it out.
        batch_size: Demonstrated steps in a batch of cloning, over all processes; for a recurrent policy whole
            trajectories.
        optimizer: The optimiser of behaviour cloning.
        warm_up: Whether the adversarial phase begins with the cloned policy, not with a new one.
    """

    steps: Whole = 1000
    batch_size: Count = 128
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=1e-3))
    warm_up: bool = False


@dataclass(frozen=True)
class DiscriminatorConfig:
    """The discriminator, and which reward its logit is.

    The defaults keep it from certainty on a few demonstrated steps. The paper's: one update a round on the whole
    rollout, a learning rate of 0.01, no penalty.

    Args:
        network: Class of the discriminator's network. It is built with the `Layout` of its inputs; its forward takes
            the features (batch, time, size) and returns logits (batch, time), higher = more expert.
        objective: Function that builds the discriminator's loss and the policy's reward, whose sign matters: minimax
            keeps episodes going, non_saturating brings them to their end, airl does neither. `minimax`: -log(1 - D),
            above 0, for tasks where an early end is a failure (CartPole, Hopper). `non_saturating`: log D, below 0,
            where it is a success (MountainCar, Acrobot). `airl`: the logit, their sum, of both signs. `wasserstein`
            needs a gradient penalty.
        inputs: What the discriminator looks at: a list of state, action, next_state, ended.
        updates: Updates of the discriminator in each round. 0 leaves it frozen as it was initialised.
        batch_size: Steps of the policy in an update of the discriminator, over all processes, and of the expert, where
            there are as many. Unset takes a whole rollout.
        optimizer: The optimiser of the discriminator.
        penalty: Weight of the gradient penalty between demonstrations and the policy's steps. Larger makes the reward
            smoother; 0 has none.
        penalty_norm: Norm of the discriminator's gradient that the penalty draws to.
        entropy: Weight of the entropy of the discriminator's verdicts, which keeps it from certainty. 0 has none.
        absorbing: Whether what follows a termination is scored and rewarded too, for ever (Kostrikov et al. 2019). No
            reward then favours long or short episodes. It is learnt from as many steps as the time limit would leave.
        log_prob: Whether the policy's log-probability of the action is subtracted from the network's output, as AIRL
            does.
        replay: Number of rollouts that the discriminator learns from, the latest and those before it.
    """

    network: Callable[[Layout], nn.Module] = TransitionNetwork
    objective: Callable[[], objectives.Objective] = objectives.minimax
    inputs: list[Input] = field(default_factory=lambda: ["state", "action"])
    updates: Whole = 5
    batch_size: Count | None = 512
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=1e-3, clip=0.0))
    penalty: NotNegative = 10.0
    penalty_norm: NotNegative = 1.0
    entropy: NotNegative = 1e-3
    absorbing: bool = False
    log_prob: bool = False
    replay: Count = 1


@dataclass(frozen=True)
class AdversarialConfig:
    """The adversarial phase, the game of policy and discriminator.

    Args:
        environment_steps: Steps in the environment in the adversarial phase, of all copies and processes together,
            rounded up to whole rounds.
        rewards: Reward functions of steps of your own, by import path and weight.
        discriminator_weight: Weight of the discriminator's reward beside those of your own functions. 0 learns from
            these alone.
    """

    environment_steps: Whole = 500_000
    rewards: list[StepReward] = field(default_factory=list)
    discriminator_weight: Number = 1.0


@dataclass(frozen=True)
class ControlConfig:
    """The control that keeps imitation honest: the same game with a discriminator that never learns.

    Args:
        frozen: Whether the control is trained after the adversarial phase: for as many rounds, from the same initial
            weights, with a discriminator that never learns.
    """

    frozen: bool = False


@dataclass(frozen=True)
class EvaluationConfig:
    """Evaluation on whole episodes, by the environment's own reward.

    Args:
        episodes: Episodes of an evaluation, of the greedy and of the sampled policy each. More make the mean return
            surer. What may be the best policy is measured on `final` ones.
        final: Episodes of the evaluation at the end of a phase, of the greedy and of the sampled policy each.
        every: Rounds between two evaluations. 0 evaluates at the end of a phase only.
        seed: Seed of the episodes at every evaluation, the same each time.
        best: Held-out score by which the best policy of the run is chosen, which RUN/model is: `return_greedy` or
            `return_sampled`, the environment's own return, which nothing else in imitation looks at. `auto` takes the
            first; `none` has RUN/model the last policy, as where the environment has no reward that means anything.
        patience: Evaluations of a phase without a better score (`best`) after which the phase ends early. 0 never ends
            it so.
        keep_models: Whether the model of each evaluation is kept, as RUN/models/PHASE-STEP, for `--model STEP` of
            commands; each takes as much of the disk as RUN/model.
        longest: Steps after which an episode is cut where the environment has no time limit.
        video: Greatest number of steps of the episode that the report shows. 0 leaves it out.
    """

    episodes: Count = 10
    final: Several = 50
    every: Whole = 20
    seed: Seed = 1_000_003
    best: str = "auto"
    patience: Whole = 0
    keep_models: bool = False
    longest: Count = 30_000  # as evaluation.LONGEST
    video: Whole = 200


@dataclass(frozen=True)
class ImitationConfig:
    """A run of imitation: GAIL, which learns to behave as demonstrations do, or the training of an expert.

    Args:
        reward: What the policy learns from: the discriminator's verdicts on its steps, which is GAIL, or the
            environment's own reward, which trains an expert.
    """

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
