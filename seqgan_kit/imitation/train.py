"""GAIL (Ho and Ermon 2016), algorithm 1: behaviour cloning, then the game against a discriminator; then a control."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from seqgan_kit import objectives
from seqgan_kit.engine import Engine, RunConfig
from seqgan_kit.errors import UserError
from seqgan_kit.imitation import demonstrations as demos
from seqgan_kit.imitation.demonstrations import DemonstrationConfig, Demonstrations
from seqgan_kit.imitation.discriminator import Features, Input, end_in_absorbing, penalty
from seqgan_kit.imitation.environments import EnvironmentConfig, build, make
from seqgan_kit.imitation.evaluation import Returns, at_random, evaluate, returns, run
from seqgan_kit.imitation.experts import balancing
from seqgan_kit.imitation.improvement import TRPO, Improvement
from seqgan_kit.imitation.policy import EnvironmentPolicy
from seqgan_kit.imitation.video import write_video
from seqgan_kit.learning import Metrics, OptimizerConfig
from seqgan_kit.networks.actions import Continuous, from_space
from seqgan_kit.networks.actor import Actor, ActorConfig, Valuer, is_picture
from seqgan_kit.networks.layers import Activation
from seqgan_kit.networks.normaliser import Normaliser
from seqgan_kit.networks.transition import Layout, TransitionNetwork
from seqgan_kit.players import Discriminator
from seqgan_kit.provenance import config_yaml, write_json
from seqgan_kit.replay import Replay
from seqgan_kit.report import write_report
from seqgan_kit.rewards import StepReward
from seqgan_kit.samples import Transitions, rows, size, steps
from seqgan_kit.stream import Stream
from seqgan_kit.trainer import Hook, Turns, fit, play

CLONING, ADVERSARIAL, FROZEN, REINFORCEMENT = "behaviour_cloning", "adversarial", "frozen_control", "reinforcement"
BASELINES = "baselines.json"


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
        normalise: observations, for policy, value and discriminator alike: `running` by the mean and variance of the
            demonstrations and of all that the policy has seen since; `expert` by those of the demonstrations alone,
            which keeps them telling apart what the expert does where the policy strays far; or `none`.
        improvement: TRPO or PPO.
    """

    hidden: list[int] = field(default_factory=lambda: [100, 100])
    activation: Activation = "tanh"
    recurrent: int = 0
    squash: bool = False
    log_std: float = 0.0
    steps: int = 625
    discount: float = 0.995
    decay: float = 0.97
    normalise: Literal["running", "expert", "none"] = "running"
    improvement: Improvement = field(default_factory=TRPO)


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
        absorbing: what follows a termination is scored too, up to the time limit (Kostrikov et al. 2019): no reward
            then favours long or short episodes.
        log_prob: subtract the policy's log-probability of the action from the network's output, as AIRL does.
        replay: rollouts that it learns from, the latest and those before it.
    """

    network: Callable[[Layout], nn.Module] = TransitionNetwork
    objective: Callable[[], objectives.Objective] = objectives.minimax
    inputs: list[Input] = field(default_factory=lambda: ["state", "action"])
    updates: int = 1
    batch_size: int | None = None
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=1e-2, clip=0.0))
    penalty: float = 0.0
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


def train(config: ImitationConfig, config_text: str = "", resume: bool = False) -> Path:
    """Runs all phases in the run folder, and returns it.

    config_text: the YAML that `config` was read from, if it was; it is kept in the folder, for `resume`.
    Raises UserError for a user's mistake, Stopped after Ctrl-C or SIGTERM.
    """
    example = make(config.environment)
    expert = _expert(config, example)
    _check(config, expert)
    with Engine(config.run, "imitation", config_text or config_yaml(config), resume) as engine:
        if engine.is_main and expert is not None:
            print(_summary(expert, config), flush=True)
        parts = _Parts(engine, config, example, expert)
        engine.restore()
        _run(engine, config, parts)
        engine.finish()
        if engine.is_main:
            if config.evaluation.video:
                settings = config.evaluation
                write_video(
                    engine.folder, config.environment, parts.game.actor, settings.video, settings.seed, engine.say
                )
            write_report(engine.folder)
    return engine.folder


def _expert(config: ImitationConfig, example: Any) -> Demonstrations | None:
    if config.reward == "environment":
        return None
    given = config.demonstrations
    if given.path is None and given.minari is None and "CartPole" in config.environment.id:
        expert = balancing(config.environment.id, max(given.trajectories or 0, 10))
    else:
        expert = demos.load(given)
    demos.check_spaces(expert, example.observation_space, example.action_space)
    return expert


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
        actions = from_space(example.action_space, policy.squash)
        self.actor = Actor(_actor_config(config, space, actions), self.normaliser)
        valuer = Valuer(tuple(space.shape), policy.recurrent, policy.hidden, self.normaliser, policy.activation)
        self.features = Features(
            space, actions, self.normaliser, critic.inputs, critic.absorbing, policy.discount
        )
        scorer = _built(critic.network, self.features.layout)
        if self.normaliser is not None and pairs is not None:
            self.normaliser.update(self.normaliser.moments(pairs.observations.flatten(0, 1)))
        environments = build(config.environment, config.run.seed, engine.rank, engine.say)
        limit = getattr(example.spec, "max_episode_steps", None)
        self.policy = EnvironmentPolicy(
            engine,
            self.actor,
            valuer,
            self.normaliser if policy.normalise == "running" else None,
            environments,
            policy.steps,
            critic.objective().reward,
            policy.improvement,
            policy.discount,
            policy.decay,
            config.adversarial.rewards,
            0.0 if config.reward == "environment" else config.adversarial.discriminator_weight,
            1.0 if config.reward == "environment" else 0.0,
            (limit or 1000) if critic.absorbing else None,
            prefix,
        )
        engine.keep(f"{prefix}policy", self.policy)
        whole = policy.steps * environments.copies * engine.processes
        batch = min(critic.batch_size or whole, whole)
        self.discriminator = Discriminator(
            engine,
            engine.learner(f"{prefix}discriminator", scorer, critic.optimizer),
            _shared(min(batch, size(pairs) if pairs is not None else batch), engine.processes),
            _objective(critic),
            self._call if critic.log_prob else self._plain,
            penalty(self.features, critic.penalty, critic.penalty_norm) if critic.penalty else None,
        )
        self.replay: Replay[Transitions] = Replay(
            Transitions, batch // engine.processes, critic.replay, self._absorbing if critic.absorbing else _plain_steps
        )
        engine.keep(f"{prefix}replay", self.replay)

    def _plain(self, module: nn.Module, sample: Transitions) -> Tensor:
        return module(self.features(sample))

    def _call(self, module: nn.Module, sample: Transitions) -> Tensor:
        """f - log pi, the logit of AIRL (Fu et al. 2018, sec. 4)."""
        with torch.no_grad():
            memory = self.actor.start(size(sample))
            parameters = self.actor(sample.observations, memory, sample.ended)
            log_probs = self.actor.actions.log_prob(parameters, self.actor.actions.recover(sample.actions))
        return self._plain(module, sample) - log_probs

    def _absorbing(self, fake: Any) -> Transitions:
        left = (self.policy.absorbing - fake.elapsed)[fake.terminated & fake.mask].clamp_min(0).sum()  # type: ignore[operator]
        return end_in_absorbing(_plain_steps(fake), int(left))


class _Parts:
    """The games, the demonstrations and the evaluation of one run."""

    def __init__(self, engine: Engine, config: ImitationConfig, example: Any, expert: Demonstrations | None) -> None:
        self.engine, self.config, self.expert = engine, config, expert
        pairs = demos.transitions(expert, config.demonstrations) if expert is not None else None
        self.game = Game(engine, config, example, pairs, "")
        self.frozen = Game(engine, config, example, pairs, "frozen_")
        self.cloning = engine.learner("cloning", self.game.actor, config.cloning.optimizer)
        # where there is nothing to imitate, the loop still asks for a batch of it
        real = pairs if pairs is not None else _nothing(example)
        if config.discriminator.absorbing and expert is not None and pairs is not None:
            limit = self.game.policy.absorbing or 0
            left = sum(max(0, limit - len(e.actions)) for e in expert.episodes if e.terminated)
            real = _with_absorbing(pairs, left // max(1, config.demonstrations.subsample))
        name = expert.name if expert is not None else "the environment"
        self.real = self._stream("real", real, config.run.seed, name)
        whole = pairs if not config.policy.recurrent or expert is None else demos.sequences(expert, config.demonstrations)
        self.cloned = self._stream("cloned", whole if whole is not None else real, config.run.seed + 1, name)
        self.initial = {name: tensor.clone() for name, tensor in self.game.actor.state_dict().items()}
        engine.export = self.game.actor.save_pretrained

    def _stream(self, name: str, data: Transitions, seed: int, source: str) -> Stream[Transitions]:
        engine = self.engine
        stream = Stream(
            data, seed, engine.rank, engine.processes, engine.device, name=source, unit="demonstrated steps"
        )
        engine.keep(name, stream)
        return stream

    def hook(self, game: Game, total: int) -> Hook:
        def measure(phase: str, done: int) -> Metrics:
            config = self.config.evaluation
            episodes = config.final if done == total else config.episodes
            found: Metrics = {}
            lines = []
            for kind in ("greedy", "sampled"):
                with self.engine.fixed_random(config.seed):
                    measured = evaluate(
                        self.config.environment, game.actor, kind == "greedy", episodes, config.seed
                    )
                found[f"eval/return_{kind}"] = measured.mean
                found[f"eval/return_{kind}_interval"] = measured.interval
                lines += [f"{kind}: {r:g} in {n} steps" for r, n in zip(*measured, strict=True)]
            self.engine.save_text(f"{phase}-{done:06d}", lines)
            return found

        return Hook(self.config.evaluation.every, measure)


def _run(engine: Engine, config: ImitationConfig, parts: _Parts) -> None:
    _baselines(engine, config, parts.expert)
    game, cloning = parts.game, config.cloning
    per_round = config.policy.steps * config.environment.copies * engine.processes
    rounds = -(-config.adversarial.environment_steps // per_round)
    if config.reward == "environment":
        play(
            engine, REINFORCEMENT, rounds, game.policy, game.discriminator, parts.real, Turns(1, 0), [parts.hook(game, rounds)]
        )
        return
    if cloning.steps:
        loss, batch = partial(cloning_loss, game.actor), min(cloning.batch_size, parts.cloned.size)
        hook = Hook(0, parts.hook(game, cloning.steps).run)
        fit(engine, CLONING, cloning.steps, parts.cloning, loss, parts.cloned, _shared(batch, engine.processes), [hook])
    if not cloning.warm_up and not engine.started(ADVERSARIAL):
        game.actor.load_state_dict(parts.initial)
    for phase, players, turns in [
        (ADVERSARIAL, game, Turns(1, config.discriminator.updates)),
        *([(FROZEN, parts.frozen, Turns(1, 0))] if config.control.frozen else []),
    ]:
        hook = parts.hook(players, rounds)
        play(
            engine, phase, rounds, players.policy, players.discriminator, parts.real, turns, [hook], players.replay
        )


def cloning_loss(actor: Actor, module: nn.Module, batch: Transitions) -> tuple[Tensor, dict[str, Tensor]]:
    """-log pi(expert's action) in nats per step, on whole trajectories or single steps."""
    parameters = module(batch.observations, actor.start(size(batch)), batch.ended)
    log_probs = actor.actions.log_prob(parameters, actor.actions.recover(batch.actions))
    loss = -(log_probs * batch.mask).sum() / batch.mask.sum()
    return loss, {"nll": loss.detach()}


def _baselines(engine: Engine, config: ImitationConfig, expert: Demonstrations | None) -> None:
    """What uniform actions and the expert earn, in a file of its own: every result stands between them."""
    path = engine.folder / BASELINES
    if not engine.is_main or path.exists():
        return
    settings = config.evaluation
    found = {"random": returns(run(config.environment, at_random(config.environment, settings.seed), settings.final, settings.seed))}
    known = expert.returns() if expert is not None else None
    if known is not None:
        found["expert"] = Returns(known, np.array([len(e.actions) for e in expert.episodes]))  # type: ignore[union-attr]
    write_json(
        path,
        {
            name: {"mean": item.mean, "interval": item.interval, "deviation": float(item.returns.std()), "episodes": len(item.returns)}
            for name, item in found.items()
        },
    )


def _actor_config(config: ImitationConfig, space: Any, actions: Any) -> ActorConfig:
    policy = config.policy
    shared = {
        "observation": list(space.shape),
        "hidden": policy.hidden,
        "activation": policy.activation,
        "recurrent": policy.recurrent,
        "log_std": policy.log_std,
        "environment": config.environment.id,
    }
    if isinstance(actions, Continuous):
        box = {"low": actions.low, "high": actions.high, "action": actions.shape, "squash": actions.squash}
        return ActorConfig(**shared, **box)
    return ActorConfig(**shared, sizes=actions.sizes, single=actions.single)


def _built(network: Callable[[Layout], nn.Module], layout: Layout) -> nn.Module:
    try:
        return network(layout)
    except ValueError as error:
        raise UserError(f"--discriminator.network: {error}") from error


def _objective(config: DiscriminatorConfig) -> objectives.Objective:
    found = config.objective()
    return objectives.with_entropy(found, config.entropy) if config.entropy else found


def _plain_steps(sample: Transitions) -> Transitions:
    """Single steps without what only a policy needs."""
    return steps(Transitions(**{name: getattr(sample, name) for name in Transitions.__dataclass_fields__}))


def _with_absorbing(pairs: Transitions, count: int) -> Transitions:
    index = torch.cat([torch.arange(size(pairs)), torch.zeros(count, dtype=torch.int64)])
    mask = torch.arange(len(index)).unsqueeze(1) < size(pairs)
    return Transitions(**{**vars(rows(pairs, index)), "mask": mask})


def _nothing(example: Any) -> Transitions:
    seen = torch.zeros(1, 1, *example.observation_space.shape)
    no = torch.zeros(1, 1, dtype=torch.bool)
    actions = torch.from_numpy(np.asarray(example.action_space.sample())).view(1, 1, *example.action_space.shape)
    return Transitions(seen, actions, seen, torch.zeros(1, 1), no, ~no, ~no)


def _shared(batch: int, processes: int) -> int:
    return max(processes, batch // processes * processes)


def _summary(expert: Demonstrations, config: ImitationConfig) -> str:
    chosen = size(demos.transitions(expert, config.demonstrations))
    known = expert.returns()
    earned = "" if known is None else f", mean return {known.mean():.1f}"
    used = config.demonstrations.trajectories or len(expert.episodes)
    return f"{expert.name}: {len(expert.episodes)} trajectories{earned}; {used} of them used, {chosen} steps"


def _check(config: ImitationConfig, expert: Demonstrations | None) -> None:
    """Before anything is written: every number makes sense."""
    policy, critic = config.policy, config.discriminator
    for option, value, least in [
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
        ("--run.log_every", config.run.log_every, 1),
    ]:
        if value < least:
            raise UserError(f"{option} {value}: give at least {least}")
    for option, number in [("--policy.discount", policy.discount), ("--policy.decay", policy.decay)]:
        if not 0 <= number <= 1 or (option == "--policy.discount" and number == 1 and critic.absorbing):
            raise UserError(f"{option} {number:g}: give a number between 0 and 1")
    if policy.recurrent and expert is not None and config.demonstrations.subsample > 1 and config.cloning.steps:
        raise UserError(
            "a recurrent policy is cloned from whole trajectories: "
            "give --demonstrations.subsample 1, or --cloning.steps 0"
        )
    if critic.log_prob and policy.recurrent:
        raise UserError("--discriminator.log_prob: a recurrent policy's probability of a single step is not known")



