"""Adversarial dialogue (Li et al. 2017): likelihood, discriminator warm-up, adversarial rounds; then a control."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from seqgan_kit.algorithms import credit as credits
from seqgan_kit.dialogue.config import DialogueConfig
from seqgan_kit.dialogue.discriminator import compare
from seqgan_kit.dialogue.evaluation import Evaluation, Generator, check_evaluators, table_of_replies
from seqgan_kit.dialogue.models import (
    build_discriminator,
    build_generator,
    save_generator,
    width_of,
)
from seqgan_kit.dialogue.sources import Source, load
from seqgan_kit.engine.engine import Engine
from seqgan_kit.engine.learning import Learner, Metrics
from seqgan_kit.engine.provenance import config_yaml
from seqgan_kit.engine.stream import Stream
from seqgan_kit.errors import UserError
from seqgan_kit.game.players import Discriminator
from seqgan_kit.game.trainer import Hook, Turns, fit, play
from seqgan_kit.language.pretrained import limits_of, tokenizer_of
from seqgan_kit.networks.text.generator_discriminator import GeneratorDiscriminator
from seqgan_kit.networks.text.value_head import ValueHead
from seqgan_kit.report import write_report
from seqgan_kit.samples import Replies, Tokens, concatenate, rows, size
from seqgan_kit.text.config import rates_told, settled
from seqgan_kit.text.train import (
    ADVERSARIAL,
    CONTROL,
    MLE,
    WARM_UP,
    check_control,
    continue_from,
    steps_in_the_same_time,
    warm_up_steps,
)
from seqgan_kit.tokens.credit import Prefixes
from seqgan_kit.tokens.decoding import beam_search
from seqgan_kit.tokens.discriminator import call, prefixes_at_once
from seqgan_kit.tokens.policy import Anchor, Critic, TokenPolicy, likelihood_loss
from seqgan_kit.tokens.sampling import with_context


def train(config: DialogueConfig, config_text: str = "", resume: bool = False) -> Path:
    """Runs all phases in the run folder, and returns it.

    config_text: the YAML that `config` was read from, if it was; it is kept in the folder, for `resume`.
    Raises UserError for a user's mistake, Stopped after Ctrl-C or SIGTERM.
    """
    config = settled(config)
    model = config.generator.model
    limits = limits_of(model, config.generator.config)
    source = load(config.data, config.run.seed, tokenizer_of(model), *limits)
    _check_sizes(config, source)
    torch.manual_seed(config.run.seed)  # the same initial weights on every process
    network = build_generator(config.generator, source)
    judge = build_discriminator(config.discriminator, source, network)
    with Engine(config.run, "dialogue", config_text or config_yaml(config), resume, source.fingerprint()) as engine:
        if engine.is_main:
            print("\n".join(filter(None, (source.summary(), rates_told(config)))), flush=True)
        torch.manual_seed(config.run.seed)
        parts = _Parts(engine, config, source, network, judge)
        engine.restore()
        _run(engine, config, parts)
        engine.finish()
        if engine.is_main:
            write_report(engine.folder)
    return engine.folder


@dataclass
class _HalfDecoded:
    """A policy for the discriminator's warm-up: half of its replies are sampled, half found by beam search."""

    policy: TokenPolicy
    width: int

    @property
    def batch_size(self) -> int:
        return self.policy.batch_size

    def sample(self, real: Tokens) -> Tokens:
        half = size(real) // 2
        given = rows(real, slice(half, None))
        network = with_context(self.policy.learner.network.eval(), given)
        found = beam_search(network, size(given), self.policy.length, self.policy.end, width=self.width).tokens
        best = rows(found, torch.arange(0, size(found), self.width, device=found.ids.device))
        sampled = self.policy.sample(rows(real, slice(half)))
        return concatenate([sampled, replace(given, ids=best.ids, mask=best.mask)])

    def update(self, real: Tokens, fake: Tokens, score: Any) -> Metrics:
        raise NotImplementedError("a warm-up has no turn of the generator")


class _Parts:
    """The players, the data streams and the evaluation of one run."""

    def __init__(
        self, engine: Engine, config: DialogueConfig, source: Source, network: Generator, judge: nn.Module
    ) -> None:
        self.engine, self.config, self.source = engine, config, source
        self.network, self.judge = network, judge
        self.evaluation = Evaluation(source)
        adversarial = config.adversarial
        self.control_network = deepcopy(self.network)
        self.mle = engine.learner("generator", self.network, config.likelihood.optimizer)
        self.control = engine.learner("control", self.control_network, config.likelihood.optimizer)
        policy = engine.learner("policy", self.network, adversarial.optimizer, dropout=False)
        scorer = engine.learner("discriminator", self.judge, config.discriminator.optimizer)
        self.real = self._stream("real", config.run.seed)
        self.control_real = self._stream("control_real", config.run.seed + 1)
        self.anchor = Anchor(deepcopy(self.network).requires_grad_(False), adversarial.kl) if adversarial.kl else None
        if self.anchor is not None:
            engine.keep("anchor", self.anchor.network)
        self.policy = self._policy(policy)
        self.discriminator = Discriminator(
            engine,
            scorer,
            config.discriminator.batch_size,
            config.discriminator.objective(),
            call,
            passes=config.discriminator.passes,
            compare=partial(
                compare,
                prefixes=isinstance(self.policy.credit, Prefixes),
                mismatched=config.discriminator.mismatched,
            ),
        )
        engine.export = lambda folder: save_generator(self.network, source, folder)

    def _stream(self, name: str, seed: int) -> Stream[Tokens]:
        engine, source = self.engine, self.source
        stream: Stream[Tokens] = Stream(
            source.train, seed, engine.rank, engine.processes, engine.device, name=source.name, unit="replies"
        )
        engine.keep(name, stream)
        return stream

    def _policy(self, learner: Learner) -> TokenPolicy:
        config, source = self.config.adversarial, self.source
        # its own copy of the weights is made on the device where the network now is
        credit = config.credit(self.network, source.length, source.end)
        self.engine.keep("credit", credit)
        baseline = config.baseline
        if config.turns.repeats > 1 and baseline is credits.leave_one_out:
            baseline = partial(credits.leave_one_out, group=config.turns.repeats)
        return TokenPolicy(
            self.engine,
            learner,
            config.batch_size,
            source.length,
            source.end,
            self.config.discriminator.objective().reward,
            credit,
            baseline,
            config.estimator,
            config.passes,
            config.rewards,
            source.decode,
            config.discriminator_weight,
            self._columns,
            self._critic(),
            self.anchor,
            config.teacher_forcing,
            prefixes_at_once(self.judge),
        )

    def _critic(self) -> Critic | None:
        config = self.config.adversarial.critic
        if not config.enabled:
            return None
        width = width_of(self.network, self.source)
        return Critic(self.engine, self.engine.learner("critic", ValueHead(width), config.optimizer))

    def _columns(self, tokens: Tokens) -> dict[str, list[Any]]:
        """What a user's reward may ask for: the messages before each reply, the human's reply, and own columns."""
        assert isinstance(tokens, Replies)
        found = [self.source.train_exchanges[i] for i in tokens.origin.tolist()]
        names = dict.fromkeys(name for one in found for name in one.columns)
        own = {name: [one.columns.get(name) for one in found] for name in names}
        return {**own, "prompts": [one.history for one in found], "references": [one.reply for one in found]}

    def hooks(self, every: int, network: Generator) -> list[Hook]:
        """Evaluation as the phase goes on; and at its end by evaluators, where they are asked for."""
        config = self.config.evaluation

        def run(phase: str, done: int) -> Metrics:
            with self.engine.fixed_random(config.seed):
                found, replies = self.evaluation(network, config.samples)
            shown = replies[: config.shown]
            asked = [one.history for one in self.source.held_out_exchanges[: len(shown)]]
            self.engine.save_text(f"{phase}-{done:06d}", table_of_replies(asked, shown))
            return {f"eval/{name}": value for name, value in found.items()}

        def judge(phase: str, done: int) -> Metrics:
            with self.engine.fixed_random(config.seed):
                found = self.evaluation.thorough(network, config.evaluators, config.evaluator, config.seed)
            return {f"eval/{name}": value for name, value in found.items()}

        return [Hook(every, run), Hook(0, judge)] if config.evaluators else [Hook(every, run)]


def _run(engine: Engine, config: DialogueConfig, parts: _Parts) -> None:
    likelihood, warm_up, adversarial = config.likelihood, config.discriminator, config.adversarial
    every, real = config.evaluation, parts.real
    hooks = parts.hooks(every.every, parts.network)
    fit(engine, MLE, likelihood.steps, parts.mle, likelihood_loss, real, likelihood.batch_size, hooks)
    if not engine.started(CONTROL) and not engine.started(ADVERSARIAL):
        continue_from(parts.mle, parts.control)
        if parts.anchor is not None:
            parts.anchor.network.load_state_dict(parts.network.state_dict())
    if (
        isinstance(parts.judge, GeneratorDiscriminator)
        and not engine.started(WARM_UP)
        and not engine.started(ADVERSARIAL)
    ):
        parts.judge.follow(parts.network)
    policy: Any = _HalfDecoded(parts.policy, warm_up.beams) if warm_up.beams else parts.policy
    steps = warm_up_steps(engine, warm_up.steps, adversarial.rounds)
    play(engine, WARM_UP, steps, policy, parts.discriminator, real, Turns(generator=0))
    hooks = parts.hooks(every.rounds, parts.network)
    rounds, turns = adversarial.rounds, adversarial.turns
    play(engine, ADVERSARIAL, rounds, parts.policy, parts.discriminator, real, turns, hooks)
    if config.control.enabled and rounds:
        steps = config.control.steps or steps_in_the_same_time(engine)
        hooks = parts.hooks(every.every, parts.control_network)
        control = parts.control_real
        fit(engine, CONTROL, steps, parts.control, likelihood_loss, control, likelihood.batch_size, hooks)


def _check_sizes(config: DialogueConfig, source: Source) -> None:
    """Before anything is written: every batch can be filled, and every number makes sense."""
    likelihood, judge, adversarial = config.likelihood, config.discriminator, config.adversarial
    optimizers = [
        ("--likelihood.optimizer", likelihood.optimizer),
        ("--discriminator.optimizer", judge.optimizer),
        ("--adversarial.optimizer", adversarial.optimizer),
        ("--adversarial.critic.optimizer", adversarial.critic.optimizer),
    ]
    check_control(config.control, likelihood.steps, adversarial.rounds)
    least: list[tuple[str, float, float]] = [
        ("--generator.embedding", config.generator.embedding, 1),
        ("--generator.hidden", config.generator.hidden, 1),
        ("--generator.layers", config.generator.layers, 1),
        ("--generator.lora", config.generator.lora, 0),
        ("--likelihood.steps", likelihood.steps, 0),
        ("--discriminator.steps", judge.steps, 0),
        ("--discriminator.beams", judge.beams, 0),
        ("--discriminator.mismatched", judge.mismatched, 0),
        ("--adversarial.rounds", adversarial.rounds, 0),
        ("--adversarial.passes", adversarial.passes, 1),
        ("--adversarial.teacher_forcing", adversarial.teacher_forcing, 0),
        ("--adversarial.kl", adversarial.kl, 0),
        ("--adversarial.turns.repeats", adversarial.turns.repeats, 1),
        ("--evaluation.samples", config.evaluation.samples, 2),
        ("--evaluation.shown", config.evaluation.shown, 0),
        ("--evaluation.evaluators", config.evaluation.evaluators, 0),
        ("--run.log_every", config.run.log_every, 1),
        *((f"{name}.accumulate", part.accumulate, 1) for name, part in optimizers),
        *((f"{name}.lr", part.rate(), 0) for name, part in optimizers),
    ]
    for option, value, bound in least:
        if value < bound:
            raise UserError(f"{option} {value}: give at least {bound}")
    check_evaluators("--evaluation.evaluators", config.evaluation.evaluators, source)
    if judge.objective().distance is not None and judge.mismatched:
        raise UserError("--discriminator.objective: one that compares samples in pairs takes no mismatched ones")
    if judge.mismatched > 1:
        raise UserError(f"--discriminator.mismatched {judge.mismatched}: give a share from 0 to 1")
    if adversarial.batch_size % adversarial.turns.repeats:
        raise UserError(
            f"--adversarial.batch_size {adversarial.batch_size} can't be divided by --adversarial.turns.repeats "
            f"{adversarial.turns.repeats}: give a multiple"
        )
    count = size(source.train)
    for option, needed in [
        ("--likelihood.batch_size", likelihood.batch_size),
        ("--discriminator.batch_size", judge.batch_size),
        ("--adversarial.batch_size", adversarial.batch_size),
    ]:
        if needed > count:
            raise UserError(f"{source.name} has {count} replies, fewer than {option} {needed}: give more, or lower it")
        if needed < 2:
            raise UserError(f"{option} {needed}: give at least 2")
