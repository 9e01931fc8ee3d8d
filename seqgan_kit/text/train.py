"""SeqGAN (Yu et al. 2017), algorithm 1: likelihood, discriminator warm-up, adversarial rounds; then a control."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from seqgan_kit.algorithms import objectives
from seqgan_kit.engine.engine import Engine
from seqgan_kit.engine.learning import Learner, Metrics, OptimizerConfig
from seqgan_kit.engine.provenance import config_yaml
from seqgan_kit.engine.stream import Stream
from seqgan_kit.errors import UserError
from seqgan_kit.files import write_json
from seqgan_kit.game.players import Discriminator, GeneratorPlayer
from seqgan_kit.game.trainer import Hook, Turns, fit, play
from seqgan_kit.language.data import LABEL
from seqgan_kit.language.pretrained import tokenizer_of
from seqgan_kit.networks.text.value_head import ValueHead
from seqgan_kit.report import write_report
from seqgan_kit.samples import LabelledTokens, Tokens
from seqgan_kit.text.config import ControlConfig, TextConfig, rates_told, settled
from seqgan_kit.text.evaluation import TextEvaluation
from seqgan_kit.text.models import (
    Generator,
    build_discriminator,
    build_generator,
    check_length,
    limits_of,
    save_generator,
    width_of,
)
from seqgan_kit.text.sources import Source, load
from seqgan_kit.tokens.credit import Credit, LikelihoodRatio, MonteCarlo, Prefixes
from seqgan_kit.tokens.discriminator import (
    call,
    compare,
    compare_apart,
    compares_rows,
    prefixes_at_once,
    scored_at_once,
)
from seqgan_kit.tokens.policy import Critic, TokenPolicy, likelihood_loss

MLE, WARM_UP, ADVERSARIAL, CONTROL = "maximum_likelihood", "discriminator", "adversarial", "control"
REAL = "real data"  # the baseline: what sentences of the training set score


def train(config: TextConfig, config_text: str = "", resume: bool = False) -> Path:
    """Runs all phases in the run folder, and returns it.

    config_text: the YAML that `config` was read from, if it was; it is kept in the folder, for `resume`.
    Raises UserError for a user's mistake, Stopped after Ctrl-C or SIGTERM.
    """
    config = settled(config)
    most, vocabulary = limits_of(config.generator)
    source = load(config.data, config.run.seed, tokenizer_of(config.generator.model), vocabulary)
    check_length("--generator.model" if config.generator.model else "--generator.config", most, source)
    _check_sizes(config, source)
    torch.manual_seed(config.run.seed)  # the same initial weights on every process
    route = config.adversarial.route
    if route is not None:
        if source.labels:
            raise UserError("--adversarial.route draws no texts of a class: leave it out, or --data.labelled")
        route.check(config)
    network = (None if route is None else route.network(source)) or build_generator(config.generator, source)
    judge = build_discriminator(config.discriminator, source)
    if route is not None:
        route.check_judge(source, judge)
    with Engine(config.run, "text", config_text or config_yaml(config), resume, source.fingerprint()) as engine:
        if engine.is_main:
            print("\n".join(filter(None, (source.summary(), rates_told(config)))), flush=True)
        if source.oracle is not None:
            source.oracle.to(engine.device)
        torch.manual_seed(config.run.seed)
        parts = _Parts(engine, config, source, network, judge)
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

    def __init__(
        self, engine: Engine, config: TextConfig, source: Source, network: Generator, judge: nn.Module
    ) -> None:
        self.engine, self.config, self.source = engine, config, source
        self.network = network
        self.evaluation = TextEvaluation(source, judge=config.evaluation.judge)
        self.control_network = deepcopy(self.network)
        self.mle = engine.learner("generator", self.network, config.likelihood.optimizer)
        self.control = engine.learner("control", self.control_network, config.likelihood.optimizer)
        self.real = self._stream("real", config.run.seed)
        self.control_real = self._stream("control_real", config.run.seed + 1)
        self.policy: GeneratorPlayer[Tokens]
        self.discriminator: Discriminator[Tokens]
        route = config.adversarial.route
        self.policy, self.discriminator = (
            self._policy_gradient(judge) if route is None else route.players(engine, config, source, network, judge)
        )
        engine.export = partial(save_generator, self.network, source)

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

    def _policy_gradient(self, judge: nn.Module) -> tuple[TokenPolicy, Discriminator[Tokens]]:
        config, engine = self.config, self.engine
        learner = engine.learner("policy", self.network, config.adversarial.optimizer, dropout=False)
        scorer = engine.learner("discriminator", judge, config.discriminator.optimizer)
        policy = self._policy(learner, judge)
        _check_credit(policy.credit, judge, config.adversarial.turns.repeats)
        return policy, self._discriminator(scorer, isinstance(policy.credit, Prefixes))

    def _policy(self, learner: Learner, judge: nn.Module) -> TokenPolicy:
        config, source = self.config.adversarial, self.source
        objective, odds = self.config.discriminator.objective(), objectives.airl()
        if source.labels:
            weight = self.config.discriminator.classes.reward
            objective, odds = (objectives.with_classes(one, reward=weight) for one in (objective, odds))
        # its own copy of the weights is made on the device where the network now is
        credit = config.credit(self.network, source.length, source.end)
        self.engine.keep("credit", credit)
        return TokenPolicy(
            self.engine,
            learner,
            config.batch_size,
            source.length,
            source.end,
            objective.reward,
            credit,
            config.baseline,
            config.estimator,
            config.passes,
            config.rewards,
            source.decode,
            config.discriminator_weight,
            _columns(source) if source.labels else None,
            critic=self._critic(),
            given=self._given if config.prefix else None,
            prefixes=prefixes_at_once(judge),
            odds=odds.reward,
            scored_at_once=scored_at_once(judge),
        )

    def _critic(self) -> Critic | None:
        config = self.config.adversarial.critic
        if not config.enabled:
            return None
        width = width_of(self.network)
        return Critic(self.engine, self.engine.learner("critic", ValueHead(width), config.optimizer))

    def _given(self) -> int:
        config = self.config.adversarial
        return prefix_at(self.engine.counters.get(ADVERSARIAL, 0), config.rounds, config.prefix)

    def _discriminator(self, learner: Learner, prefixes: bool) -> Discriminator[Tokens]:
        config = self.config.discriminator
        objective, classes = config.smoothed_objective(), config.classes
        if self.source.labels:
            objective = objectives.with_classes(objective, classes.real, classes.fake, classes.reward)
        return Discriminator(
            self.engine,
            learner,
            config.batch_size,
            objective,
            call,
            _output_decay(learner.network, config.output_decay) if config.output_decay else None,
            config.passes,
            compare_apart if compares_rows(learner.network) else partial(compare, prefixes=prefixes),
            clip_weights=config.clip_weights,
        )

    def hook(self, every: int, network: Generator) -> Hook:
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
        engine.exports[MLE] = partial(save_generator, parts.network, source)
    engine.exports[CONTROL] = partial(save_generator, parts.control_network, source)
    hook = parts.hook(every.every, parts.network)
    fit(engine, MLE, likelihood.steps, parts.mle, likelihood_loss, parts.real, likelihood.batch_size, [hook])
    if not engine.started(CONTROL) and not engine.started(ADVERSARIAL):
        continue_from(parts.mle, parts.control)
    steps = warm_up_steps(engine, warm_up.steps, adversarial.rounds)
    play(engine, WARM_UP, steps, parts.policy, parts.discriminator, parts.real, Turns(generator=0))
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


def warm_up_steps(engine: Engine, steps: int, rounds: int) -> int:
    """How long the discriminator's warm-up is: without a game there is nothing to warm up for."""
    if rounds or not steps:
        return steps
    engine.say("--adversarial.rounds 0: the discriminator's warm-up is left out, too")
    return 0


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
    if not likelihood_steps and not rounds:
        raise UserError("--likelihood.steps 0 and --adversarial.rounds 0 leave nothing to train: give one of them more")
    if control.steps is not None and control.steps < 1:
        raise UserError(f"--control.steps {control.steps}: give at least 1, or --control.enabled false")
    if control.enabled and control.steps is None and rounds and not likelihood_steps:
        raise UserError(
            "--likelihood.steps 0: how long such a step takes is not known, so give the control a length, "
            "--control.steps, or leave it out, --control.enabled false"
        )


def prefix_at(done: int, rounds: int, prefix: int) -> int:
    """The length of the real prefix after so many rounds: prefix, ..., 1, 0 in stages of equal length."""
    return max(0, prefix - done * (prefix + 1) // max(1, rounds))


def _output_decay(network: nn.Module, weight: float) -> Callable[[nn.Module, Tokens, Tokens], Tensor]:
    output = network.get_submodule("output")
    return lambda module, real, fake: weight / 2 * sum(p.square().sum() for p in output.parameters())  # type: ignore[return-value]


def _columns(source: Source) -> Callable[[Tokens], dict[str, list[str]]]:
    """What users' rewards may ask for beside the texts."""

    def columns(tokens: Tokens) -> dict[str, list[str]]:
        assert isinstance(tokens, LabelledTokens)
        return {LABEL: source.labels_of(tokens)}

    return columns


def _check_credit(credit: Credit, network: nn.Module, repeats: int) -> None:
    """Raises UserError for parts that would mislead each other."""
    if isinstance(credit, LikelihoodRatio) and credit.group not in (None, repeats):
        raise UserError(
            f"--adversarial.credit.group {credit.group}: samples that have a prefix in common are "
            f"--adversarial.turns.repeats {repeats}; give the same"
        )
    if isinstance(credit, (MonteCarlo, Prefixes)) and compares_rows(network):
        raise UserError(
            "a discriminator that compares rows can't judge parts of them, which are too much alike: "
            "give --adversarial.credit seqgan_kit.tokens.credit.Terminal, or LikelihoodRatio"
        )


def _optimizers(config: TextConfig) -> list[tuple[str, OptimizerConfig]]:
    return [
        ("--likelihood.optimizer", config.likelihood.optimizer),
        ("--discriminator.optimizer", config.discriminator.optimizer),
        ("--adversarial.optimizer", config.adversarial.optimizer),
        ("--adversarial.critic.optimizer", config.adversarial.critic.optimizer),
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
        ("--adversarial.prefix", adversarial.prefix, 0),
        ("--adversarial.turns.repeats", adversarial.turns.repeats, 1),
        ("--discriminator.clip_weights", critic.clip_weights, 0),
        ("--discriminator.classes.real", critic.classes.real, 0),
        ("--discriminator.classes.fake", critic.classes.fake, 0),
        ("--evaluation.samples", config.evaluation.samples, 2),
        ("--evaluation.judge.steps", config.evaluation.judge.steps, 1),
        ("--evaluation.judge.batch_size", config.evaluation.judge.batch_size, 1),
        ("--evaluation.judge.filters", config.evaluation.judge.filters, 1),
        ("--run.log_every", config.run.log_every, 1),
        *((f"{name}.accumulate", part.accumulate, 1) for name, part in _optimizers(config)),
        *((f"{name}.lr", part.rate(), 0) for name, part in _optimizers(config)),
        *((f"{name}.history", part.history, 0) for name, part in _optimizers(config)),
    ]:
        if value < least:
            raise UserError(f"{option} {value}: give at least {least}")
    critic.smoothed_objective()
    if adversarial.batch_size % adversarial.turns.repeats:
        raise UserError(
            f"--adversarial.batch_size {adversarial.batch_size} can't be divided by --adversarial.turns.repeats "
            f"{adversarial.turns.repeats}: give a multiple"
        )
    check_control(config.control, likelihood.steps, adversarial.rounds)
    count = len(source.train.ids)
    for option, needed in [
        ("--likelihood.batch_size", config.likelihood.batch_size),
        ("--discriminator.batch_size", config.discriminator.batch_size),
        ("--adversarial.batch_size", config.adversarial.batch_size),
    ]:
        if needed > count:
            raise UserError(
                f"{source.name} has {count} sentences, fewer than {option} {needed}: give more, or lower it"
            )
        if needed < 2:
            raise UserError(f"{option} {needed}: give at least 2")
