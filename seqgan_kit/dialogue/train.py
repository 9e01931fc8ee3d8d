"""Adversarial dialogue (Li et al. 2017): likelihood, discriminator warm-up, adversarial rounds; then a control."""

from __future__ import annotations

from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import torch

from seqgan_kit import bounds
from seqgan_kit.algorithms import objectives
from seqgan_kit.dialogue.checks import check_numbers
from seqgan_kit.dialogue.comparison import compare
from seqgan_kit.dialogue.config import DialogueConfig
from seqgan_kit.dialogue.evaluation import DialogueEvaluation, Generator, human, names, table_of_replies
from seqgan_kit.dialogue.models import build_discriminator, build_generator, save_generator
from seqgan_kit.dialogue.sources import load
from seqgan_kit.engine import sharding
from seqgan_kit.engine.budget import Part, budgeted
from seqgan_kit.engine.choice import check_best
from seqgan_kit.engine.engine import Engine
from seqgan_kit.engine.learning import Metrics
from seqgan_kit.engine.memory import within_memory
from seqgan_kit.engine.run import run
from seqgan_kit.engine.verdict import Score
from seqgan_kit.files import write_json
from seqgan_kit.game.players import Discriminator
from seqgan_kit.game.trainer import Hook, evaluated
from seqgan_kit.language.alarms import alarms_of
from seqgan_kit.language.checks import check_parts
from seqgan_kit.language.config import rates_told, settled
from seqgan_kit.language.pretrained import limits_of, tokenizer_of
from seqgan_kit.language.training import MLE, SHORTER, WARM_UP, LanguageTraining, parts
from seqgan_kit.language.units import record, unit_of
from seqgan_kit.networks.text.generator_discriminator import GeneratorDiscriminator
from seqgan_kit.samples import Replies, Tokens
from seqgan_kit.tokens.credit import Prefixes
from seqgan_kit.tokens.discriminator import call
from seqgan_kit.tokens.policy import Anchor, HalfDecoded, TokenPolicy, WithLikelihood

HUMAN = "human replies"  # the baseline: those that were given to the same histories
OWN = {MLE: f"{SHORTER[MLE]}, --data.max_history"}


def train(config: DialogueConfig, config_text: str = "", resume: bool = False) -> Path:
    """Runs all phases in the run folder, and returns it; see `engine.run.run`."""
    bounds.check_numbers(config)
    config, config_text, record = budgeted(config, config_text, resume, parts(config), train)
    with within_memory():
        task = DialogueTask(settled(config))
    return run(task, config_text, resume, record)


class DialogueTask:
    """A run of dialogue; see `engine.run.Task`. Raises UserError where data and options do not go together."""

    name = "dialogue"
    shorter = SHORTER | OWN

    def __init__(self, config: DialogueConfig) -> None:
        self.config = config
        self.alarms = alarms_of(config)
        model = config.generator.model
        limits = limits_of(model, config.generator.config)
        self.source = load(config.data, config.run.seed, tokenizer_of(model), *limits)
        self.data = self.source.fingerprint()
        check_numbers(config, self.source)
        self.unit = unit_of(config.evaluation.unit, self.source.name, human(self.source))
        self.best = check_best(config.evaluation, names(self.source, self.unit))
        torch.manual_seed(config.run.seed)  # the same initial weights on every process
        self.network = build_generator(config.generator, self.source, config.run.precision)
        self.judge = build_discriminator(config.discriminator, self.source, self.network)
        check_parts(config.adversarial, self.source, self.network, self.judge, self._columns)

    def parts(self) -> list[Part]:
        return parts(self.config)

    def first_lines(self) -> list[str]:
        return [line for line in (*self.source.lines(), rates_told(self.config)) if line]

    def build(self, engine: Engine) -> None:
        self.engine = engine
        config, source, adversarial = self.config, self.source, self.config.adversarial
        unit = config.evaluation.unit or engine.run_folder.unit() or self.unit
        self.evaluation = DialogueEvaluation(source, unit)
        record(engine, config, source, self.evaluation)
        self.training = LanguageTraining(
            engine, config, source, "replies", self.network, save_generator, self._hooks, self._measured, self.best
        )
        self.anchor = Anchor(deepcopy(self.network).requires_grad_(False), adversarial.kl) if adversarial.kl else None
        if self.anchor is not None:
            engine.keep_copy("anchor", self.anchor.network)
        self.policy = self._policy()
        self.discriminator = self._discriminator()

    def play(self) -> None:
        training, warm_up, samples = self.training, self.config.discriminator, self.config.evaluation.samples
        if self.engine.is_main:
            known = {"metrics": self.evaluation.real(samples), "samples": len(self.evaluation.wanted[:samples])}
            write_json(self.engine.folder / "baselines.json", {HUMAN: known})
        training.likelihood()
        if self.anchor is not None and not training.game_began:
            self.anchor.network.load_state_dict(self.network.state_dict())
        if (
            isinstance(self.judge, GeneratorDiscriminator)
            and not training.game_began
            and not self.engine.started(WARM_UP)
        ):
            self.judge.follow(self.network)
        policy: Any = HalfDecoded(self.policy, warm_up.beams) if warm_up.beams else self.policy
        training.warm_up(policy, self.discriminator)
        training.game(self.policy, self.discriminator)
        training.control()

    def _measured(self, network: Generator) -> Score:
        return self.evaluation.score(network, self.config.evaluation.samples, self.best)

    def _hooks(self, every: int, network: Generator) -> list[Hook]:
        """DialogueEvaluation as the phase goes on; and at its end by evaluators, where they are asked for."""
        settings = self.config.evaluation

        def measure(phase: str, done: int) -> Metrics:
            sharding.gather(network)
            found, replies = self.evaluation(network, settings.samples)
            shown = replies[: settings.shown]
            asked = [self.source.template.written(one.history) for one in self.source.held_out_exchanges[: len(shown)]]
            self.engine.save_text(f"{phase}-{done:06d}", table_of_replies(asked, shown))
            if self.engine.choice is not None:
                score = self.evaluation.score(network, settings.samples, self.best, found)
                self.engine.choice.offer(phase, done, score, network)
            return found

        def judged(phase: str, done: int) -> Metrics:
            sharding.gather(network)
            return self.evaluation.thorough(network, settings.evaluators, settings.evaluator, settings.seed)

        hooks = [evaluated(self.engine, every, settings.seed, measure)]
        return [*hooks, evaluated(self.engine, 0, settings.seed, judged)] if settings.evaluators else hooks

    def _policy(self) -> TokenPolicy:
        config, objective = self.config.adversarial, self.config.discriminator.objective()
        likelihood = WithLikelihood(config.teacher_forcing)
        return self.training.policy(self.judge, objective, objectives.airl(), self._columns, self.anchor, likelihood)

    def _columns(self, tokens: Tokens) -> dict[str, list[Any]]:
        """What a user's reward may ask for: the messages before each reply, the human's reply, and own columns."""
        assert isinstance(tokens, Replies)
        found = [self.source.train_exchanges[i] for i in tokens.origin.tolist()]
        names = dict.fromkeys(name for one in found for name in one.columns)
        own = {name: [one.columns.get(name) for one in found] for name in names}
        return {**own, "prompts": [one.history for one in found], "references": [one.reply for one in found]}

    def _discriminator(self) -> Discriminator[Replies]:
        config = self.config.discriminator
        prefixes = isinstance(self.policy.credit, Prefixes)
        return Discriminator(
            self.engine,
            self.engine.learner("discriminator", self.judge, config.optimizer),
            config.batch_size,
            config.objective(),
            call,
            passes=config.passes,
            compare=partial(compare, prefixes=prefixes, mismatched=config.mismatched),
        )
