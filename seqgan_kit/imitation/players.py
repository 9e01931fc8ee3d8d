"""The players of GAIL and what they share: policy, value, discriminator, normaliser, environments."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from seqgan_kit.algorithms import objectives
from seqgan_kit.engine.engine import Engine
from seqgan_kit.game.players import Discriminator
from seqgan_kit.game.replay import Replay
from seqgan_kit.imitation.checks import ABSORBING
from seqgan_kit.imitation.config import DiscriminatorConfig, ImitationConfig
from seqgan_kit.imitation.copies import build
from seqgan_kit.imitation.discriminator_inputs import Features, end_in_absorbing, penalty
from seqgan_kit.imitation.environments import time_limit
from seqgan_kit.imitation.policy import EnvironmentPolicy
from seqgan_kit.networks.policies.actions import from_space
from seqgan_kit.networks.policies.actor import Actor, ActorConfig, Valuer, is_picture, picture_scale
from seqgan_kit.networks.policies.normaliser import Normaliser
from seqgan_kit.samples import Rollout, Transitions, size, steps


class Game:
    """The players of one game. Two that are built from one seed begin with the same weights."""

    def __init__(
        self, engine: Engine, config: ImitationConfig, example: Any, pairs: Transitions | None, prefix: str
    ) -> None:
        torch.manual_seed(config.run.seed)  # the same initial weights on every process
        policy, critic = config.policy, config.discriminator
        space = example.observation_space
        vectors = policy.normalise != "none" and not is_picture(space.shape)
        self.normaliser = Normaliser(tuple(space.shape)) if vectors else None
        shown = None if pairs is None else pairs.actions[:, 0].numpy()
        actions = from_space(example.action_space, policy.squash, shown)
        self.actor = Actor(_actor_config(config, space, actions), self.normaliser)
        sizes, scale = (policy.recurrent, policy.hidden), self.actor.config.scale
        valuer = Valuer(tuple(space.shape), *sizes, self.normaliser, policy.activation, scale)
        self.features = Features(space, actions, self.normaliser, critic.inputs, critic.absorbing, policy.discount)
        self.log_prob = critic.log_prob
        scorer = critic.network(self.features.layout)
        if self.normaliser is not None and pairs is not None:
            self.normaliser.update(self.normaliser.moments(pairs.observations.flatten(0, 1)))
        limit = time_limit(example) or ABSORBING
        running = policy.normalise == "running" or pairs is None
        self.policy = self._policy(engine, config, valuer, running, limit, prefix)
        engine.keep(f"{prefix}policy", self)
        whole = policy.steps * self.policy.environments.copies * engine.processes
        batch = min(critic.batch_size or whole, whole)
        self.discriminator = Discriminator(
            engine,
            engine.learner(f"{prefix}discriminator", scorer, critic.optimizer),
            shared_batch(min(batch, size(pairs) if pairs is not None else batch), engine.processes),
            _objective(critic),
            self._call,
            penalty(self.features, critic.penalty, critic.penalty_norm) if critic.penalty else None,
        )
        self.replay: Replay[Transitions] = Replay(
            Transitions,
            batch // engine.processes,
            critic.replay,
            self._absorbing if critic.absorbing else steps,
            engine.device,
        )
        engine.keep(f"{prefix}replay", self.replay)

    def _policy(
        self, engine: Engine, config: ImitationConfig, valuer: Valuer, running: bool, limit: int, prefix: str
    ) -> EnvironmentPolicy:
        """running: the normaliser goes on with what the policy sees. limit: of an episode, in steps."""
        policy, alone = config.policy, config.reward == "environment"
        return EnvironmentPolicy(
            engine,
            self.actor,
            valuer,
            self.normaliser if running else None,
            build(config.environment, config.run.seed, engine.rank, engine.say),
            policy.steps,
            config.discriminator.objective().reward,
            policy.improvement,
            policy.discount,
            policy.decay,
            user_rewards=config.adversarial.rewards,
            discriminator_weight=0.0 if alone else config.adversarial.discriminator_weight,
            environment_weight=1.0 if alone else 0.0,
            absorbing=limit if config.discriminator.absorbing else None,
            prefix=prefix,
        )

    def state_dict(self) -> dict[str, object]:
        """Of the policy, and that it and the discriminator see scaled observations and scaled actions."""
        return self.policy.state_dict() | {"scaled": True}

    def load_state_dict(self, state: dict[str, object]) -> None:
        if "scaled" not in state:  # an earlier version's run goes on as it began
            self._leave_unscaled()
        self.policy.load_state_dict(state)

    def _leave_unscaled(self) -> None:
        """Actions are drawn in the unit of their space, and only bytes of pictures are scaled."""
        config = self.actor.config
        config.middle, config.half, config.scale = [], [], None
        self.actor.actions = self.features.actions = config.actions()
        self.features.scale = self.actor.reader.scale = self.policy.valuer.reader.scale = None

    def _call(self, module: nn.Module, sample: Transitions) -> Tensor:
        """What the network finds, or that less log pi, the logit of AIRL (Fu et al. 2018, sec. 4)."""
        found = module(self.features(sample))
        if not self.log_prob:
            return found
        with torch.no_grad():
            memory = self.actor.start(size(sample))
            parameters = self.actor(sample.observations, memory, sample.ended)
            log_probs = self.actor.actions.log_prob(parameters, self.actor.actions.recover(sample.actions))
        return found - log_probs * sample.mask  # in an absorbing state there is no action

    def _absorbing(self, fake: Rollout) -> Transitions:
        left = (self.policy.absorbing - fake.elapsed).clamp_min(0) * (fake.terminated & fake.mask)  # type: ignore[operator]
        return end_in_absorbing(steps(fake), int(left.sum()))


def _actor_config(config: ImitationConfig, space: Any, actions: Any) -> ActorConfig:
    policy = config.policy
    kind = {{"shape": "action"}.get(name, name): value for name, value in vars(actions).items()}
    return ActorConfig(
        list(space.shape),
        hidden=policy.hidden,
        activation=policy.activation,
        recurrent=policy.recurrent,
        log_std=policy.log_std,
        normalise=policy.normalise != "none",
        environment=config.environment.id,
        scale=picture_scale(space) if is_picture(space.shape) else None,
        **kind,
    )


def _objective(config: DiscriminatorConfig) -> objectives.Objective:
    found = config.objective()
    return objectives.with_entropy(found, config.entropy) if config.entropy else found


def shared_batch(batch: int, processes: int) -> int:
    return max(processes, batch // processes * processes)
