"""SeqGAN (Yu et al. 2017), algorithm 1: likelihood, discriminator warm-up, adversarial rounds; then a control."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from seqgan_kit import credit as credits
from seqgan_kit import estimators, objectives
from seqgan_kit.engine import Engine, RunConfig
from seqgan_kit.errors import UserError
from seqgan_kit.learning import Learner, Metrics, OptimizerConfig
from seqgan_kit.networks.cnn import TextCNN
from seqgan_kit.networks.lstm import LSTMConfig, LSTMGenerator
from seqgan_kit.players import Baseline, Discriminator, Estimator
from seqgan_kit.provenance import config_yaml, write_json
from seqgan_kit.report import write_report
from seqgan_kit.rewards import Reward
from seqgan_kit.samples import Tokens
from seqgan_kit.stream import Stream
from seqgan_kit.text.evaluation import Evaluation
from seqgan_kit.text.sources import DataConfig, Source, load
from seqgan_kit.token_credit import Credit, MonteCarlo
from seqgan_kit.token_policy import TokenPolicy, likelihood_loss
from seqgan_kit.trainer import Hook, Turns, fit, play

MLE, WARM_UP, ADVERSARIAL, CONTROL = "maximum_likelihood", "discriminator", "adversarial", "control"
REAL = "real data"  # the baseline: what sentences of the training set score


@dataclass(frozen=True)
class GeneratorConfig:
    """The LSTM.

    Args:
        embedding: width of a token's embedding.
        hidden: width of the state.
        deviation: standard deviation of the initial weights.
    """

    embedding: int = 32
    hidden: int = 32
    deviation: float = 0.1


@dataclass(frozen=True)
class LikelihoodConfig:
    """The maximum likelihood phase.

    Args:
        steps: batches.
        batch_size: sentences a batch, over all processes.
        optimizer: of this phase and of the control.
    """

    steps: int = 2000
    batch_size: int = 64
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=1e-2))


@dataclass(frozen=True)
class DiscriminatorConfig:
    """The discriminator and its warm-up.

    Args:
        network: class that is built with the vocabulary's size; its forward takes ids and mask, (batch, time), and
            returns a logit a row, higher = more real.
        objective: what it minimises, and which reward its logit is.
        steps: warm-up updates.
        batch_size: real sentences a batch, over all processes; as many are sampled.
        passes: optimiser steps on the same batch.
        optimizer: its own.
        output_decay: weight of 1/2 |w|^2 of its last layer, where it has one called `output`; the paper's code has 0.2.
    """

    network: Callable[[int], nn.Module] = TextCNN
    objective: Callable[[], objectives.Objective] = objectives.seqgan
    steps: int = 200
    batch_size: int = 64
    passes: int = 1
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=1e-4, clip=0.0))
    output_decay: float = 0.0


@dataclass(frozen=True)
class AdversarialConfig:
    """The adversarial phase.

    Args:
        rounds: how many.
        turns: updates of each player in a round.
        batch_size: sentences sampled a generator update, over all processes.
        optimizer: the generator's in this phase.
        credit: class that turns a sentence's reward into each token's, built with (network, length, end).
        baseline: function of (credit, mask).
        estimator: function of (log_probs, old_log_probs, credit, mask).
        passes: optimiser steps on the same samples.
        rewards: own reward functions, by import path and weight.
        discriminator_weight: weight of the discriminator's reward beside them.
    """

    rounds: int = 100
    turns: Turns = field(default_factory=lambda: Turns(generator=1, discriminator=5))
    batch_size: int = 64
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=1e-3))
    credit: Callable[[nn.Module, int, int | None], Credit] = MonteCarlo
    baseline: Baseline = credits.leave_one_out
    estimator: Estimator = estimators.reinforce
    passes: int = 1
    rewards: list[Reward] = field(default_factory=list)
    discriminator_weight: float = 1.0


@dataclass(frozen=True)
class ControlConfig:
    """Maximum likelihood trained on, from where the adversarial phase began: the baseline beside every result.

    The learning rate's schedule starts anew.

    Args:
        enabled: false leaves it out.
        steps: how many; unset takes as many as fit into the time that the discriminator's warm-up and the adversarial
            phase took.
    """

    enabled: bool = True
    steps: int | None = None


@dataclass(frozen=True)
class EvaluationConfig:
    """Evaluation on held-out data.

    Args:
        samples: sequences drawn.
        every: steps of the maximum likelihood phase between two evaluations; 0 evaluates at its end only.
        rounds: the same for the adversarial phase.
        seed: of these samples, the same at every evaluation.
    """

    samples: int = 1000
    every: int = 500
    rounds: int = 10
    seed: int = 1234


@dataclass(frozen=True)
class TextConfig:
    """A SeqGAN run."""

    run: RunConfig = field(default_factory=RunConfig)
    data: DataConfig = field(default_factory=DataConfig)
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    likelihood: LikelihoodConfig = field(default_factory=LikelihoodConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    adversarial: AdversarialConfig = field(default_factory=AdversarialConfig)
    control: ControlConfig = field(default_factory=ControlConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)


def train(config: TextConfig, config_text: str = "", resume: bool = False) -> Path:
    """Runs all phases in the run folder, and returns it.

    config_text: the YAML that `config` was read from, if it was; it is kept in the folder, for `resume`.
    Raises UserError for a user's mistake, Stopped after Ctrl-C or SIGTERM.
    """
    source = load(config.data, config.run.seed)
    _check_sizes(config, source)
    with Engine(config.run, "text", config_text or config_yaml(config), resume) as engine:
        if engine.is_main:
            print(source.summary(), flush=True)
        if source.oracle is not None:
            source.oracle.to(engine.device)
        torch.manual_seed(config.run.seed)  # the same initial weights on every process
        parts = _Parts(engine, config, source)
        engine.restore()
        if engine.is_main:
            real = parts.evaluation.real(config.evaluation.samples, config.evaluation.seed)
            write_json(engine.folder / "baselines.json", {REAL: {"metrics": real}})
        _run(engine, config, source, parts)
        engine.finish()
        if engine.is_main:
            write_report(engine.folder)
    return engine.folder


class _Parts:
    """The players, the data streams and the evaluation of one run."""

    def __init__(self, engine: Engine, config: TextConfig, source: Source) -> None:
        self.engine, self.config, self.source = engine, config, source
        self.evaluation = Evaluation(source)
        sizes = config.generator
        self.network = LSTMGenerator(
            LSTMConfig(
                vocabulary=source.vocabulary,
                embedding=sizes.embedding,
                hidden=sizes.hidden,
                start=source.start,
                end=source.end,
                length=source.length,
                deviation=sizes.deviation,
            )
        )
        critic = config.discriminator.network(source.vocabulary)
        self.control_network = deepcopy(self.network)
        self.mle = engine.learner("generator", self.network, config.likelihood.optimizer)
        self.control = engine.learner("control", self.control_network, config.likelihood.optimizer)
        policy = engine.learner("policy", self.network, config.adversarial.optimizer, dropout=False)
        scorer = engine.learner("discriminator", critic, config.discriminator.optimizer)
        self.real = self._stream("real", config.run.seed)
        self.control_real = self._stream("control_real", config.run.seed + 1)
        self.policy = self._policy(policy)
        self.discriminator = self._discriminator(scorer)
        engine.export = self.export

    def _stream(self, name: str, seed: int) -> Stream[Tokens]:
        engine = self.engine
        stream = Stream(
            self.source.train,
            seed,
            engine.rank,
            engine.processes,
            engine.device,
            name=self.source.name,
            unit="sentences",
        )
        engine.keep(name, stream)
        return stream

    def _policy(self, learner: Learner) -> TokenPolicy:
        config, source = self.config.adversarial, self.source
        # its own copy of the weights is made on the device where the network now is
        credit = config.credit(self.network, source.length, source.end)
        self.engine.keep("credit", credit)
        return TokenPolicy(
            self.engine,
            learner,
            config.batch_size,
            source.length,
            source.end,
            self.config.discriminator.objective().reward,
            credit,
            config.baseline,
            config.estimator,
            config.passes,
            config.rewards,
            source.decode,
            config.discriminator_weight,
        )

    def _discriminator(self, learner: Learner) -> Discriminator[Tokens]:
        config = self.config.discriminator
        return Discriminator(
            self.engine,
            learner,
            config.batch_size,
            config.objective(),
            lambda module, tokens: module(tokens.ids, tokens.mask),
            _output_decay(learner.network, config.output_decay) if config.output_decay else None,
            config.passes,
        )

    def export(self, folder: Path) -> None:
        """The generator and its tokenizer, as Hugging Face's `from_pretrained` reads them."""
        self._save(self.network, folder)

    def export_control(self, folder: Path) -> None:
        """The same of the control."""
        self._save(self.control_network, folder)

    def _save(self, network: LSTMGenerator, folder: Path) -> None:
        network.save_pretrained(folder)
        self.source.tokenizer.save_pretrained(folder)

    def hook(self, every: int, network: LSTMGenerator) -> Hook:
        def run(phase: str, done: int) -> Metrics:
            config = self.config.evaluation
            with self.engine.fixed_random(config.seed):
                found, texts = self.evaluation(network, config.samples)
            self.engine.save_text(f"{phase}-{done:06d}", texts)
            return {f"eval/{name}": value for name, value in found.items()}

        return Hook(every, run)


def _run(engine: Engine, config: TextConfig, source: Source, parts: _Parts) -> None:
    likelihood, warm_up, adversarial = config.likelihood, config.discriminator, config.adversarial
    every = config.evaluation
    if not engine.started(ADVERSARIAL):  # later, more likelihood steps would be those of another model
        engine.exports[MLE] = parts.export
    engine.exports[CONTROL] = parts.export_control
    hook = parts.hook(every.every, parts.network)
    fit(engine, MLE, likelihood.steps, parts.mle, likelihood_loss, parts.real, likelihood.batch_size, [hook])
    if not engine.started(CONTROL) and not engine.started(ADVERSARIAL):
        continue_from(parts.mle, parts.control)
    play(engine, WARM_UP, warm_up.steps, parts.policy, parts.discriminator, parts.real, Turns(generator=0))
    hook = parts.hook(every.rounds, parts.network)
    play(
        engine,
        ADVERSARIAL,
        adversarial.rounds,
        parts.policy,
        parts.discriminator,
        parts.real,
        adversarial.turns,
        [hook],
    )
    if config.control.enabled and adversarial.rounds:
        steps = config.control.steps or steps_in_the_same_time(engine)
        hook = parts.hook(every.every, parts.control_network)
        fit(engine, CONTROL, steps, parts.control, likelihood_loss, parts.control_real, likelihood.batch_size, [hook])


def continue_from(first: Learner, control: Learner) -> None:
    """The control continues from the generator as maximum likelihood left it, optimiser included."""
    control.network.load_state_dict(first.network.state_dict())
    control.optimizer.load_state_dict(deepcopy(first.optimizer.state_dict()))


def steps_in_the_same_time(engine: Engine) -> int:
    """How many likelihood steps take as long as the discriminator's warm-up and the adversarial phase took."""

    def count() -> int:
        per_step = engine.seconds[MLE] / engine.counters[MLE]
        return max(1, round((engine.seconds.get(WARM_UP, 0.0) + engine.seconds[ADVERSARIAL]) / per_step))

    steps: int = engine.on_main(count)  # every process has a clock of its own
    return steps


def check_control(control: ControlConfig, likelihood_steps: int, rounds: int) -> None:
    """Raises UserError where the control's length is neither given nor can be measured."""
    if control.steps is not None and control.steps < 1:
        raise UserError(f"--control.steps {control.steps}: give at least 1, or --control.enabled false")
    if control.enabled and control.steps is None and rounds and not likelihood_steps:
        raise UserError(
            "--likelihood.steps 0: how long such a step takes is not known, so give the control a length, "
            "--control.steps, or leave it out, --control.enabled false"
        )


def _output_decay(network: nn.Module, weight: float) -> Callable[[nn.Module, Tokens, Tokens], Tensor]:
    output = network.get_submodule("output")
    return lambda module, real, fake: weight / 2 * sum(p.square().sum() for p in output.parameters())  # type: ignore[return-value]


def _optimizers(config: TextConfig) -> list[tuple[str, OptimizerConfig]]:
    return [
        ("--likelihood.optimizer", config.likelihood.optimizer),
        ("--discriminator.optimizer", config.discriminator.optimizer),
        ("--adversarial.optimizer", config.adversarial.optimizer),
    ]


def _check_sizes(config: TextConfig, source: Source) -> None:
    """Before anything is written: every batch can be filled, and every number makes sense."""
    likelihood, critic, adversarial = config.likelihood, config.discriminator, config.adversarial
    for option, value, least in [
        ("--generator.embedding", config.generator.embedding, 1),
        ("--generator.hidden", config.generator.hidden, 1),
        ("--likelihood.steps", likelihood.steps, 0),
        ("--discriminator.steps", critic.steps, 0),
        ("--adversarial.rounds", adversarial.rounds, 0),
        ("--adversarial.passes", adversarial.passes, 1),
        ("--evaluation.samples", config.evaluation.samples, 2),
        ("--run.log_every", config.run.log_every, 1),
        *((f"{name}.accumulate", part.accumulate, 1) for name, part in _optimizers(config)),
        *((f"{name}.lr", part.lr, 0) for name, part in _optimizers(config)),
    ]:
        if value < least:
            raise UserError(f"{option} {value}: give at least {least}")
    check_control(config.control, likelihood.steps, adversarial.rounds)
    count = len(source.train.ids)
    for option, size in [
        ("--likelihood.batch_size", config.likelihood.batch_size),
        ("--discriminator.batch_size", config.discriminator.batch_size),
        ("--adversarial.batch_size", config.adversarial.batch_size),
    ]:
        if size > count:
            raise UserError(f"{source.name} has {count} sentences, fewer than {option} {size}: give more, or lower it")
        if size < 2:
            raise UserError(f"{option} {size}: give at least 2")
