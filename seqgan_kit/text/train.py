"""SeqGAN (Yu et al. 2017), algorithm 1: likelihood, discriminator warm-up, adversarial rounds; then a control."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seqgan_kit.algorithms import objectives
from seqgan_kit.engine.engine import Engine
from seqgan_kit.engine.learning import Learner, Metrics
from seqgan_kit.engine.provenance import write_json
from seqgan_kit.engine.run import run
from seqgan_kit.game.players import Discriminator, DiscriminatorPlayer, GeneratorPlayer
from seqgan_kit.game.trainer import Hook, evaluated
from seqgan_kit.language.config import rates_told, settled
from seqgan_kit.language.data import LABEL
from seqgan_kit.language.pretrained import tokenizer_of
from seqgan_kit.language.recipe import ADVERSARIAL, Recipe, build_credit, build_critic
from seqgan_kit.samples import LabelledTokens, Tokens
from seqgan_kit.text import checks, routes
from seqgan_kit.text.config import TextConfig
from seqgan_kit.text.evaluation import Evaluation
from seqgan_kit.text.models import (
    Generator,
    build_discriminator,
    build_generator,
    check_length,
    limits_of,
    save_generator,
    width_of,
)
from seqgan_kit.text.sources import load
from seqgan_kit.tokens.credit import Prefixes
from seqgan_kit.tokens.discriminator import (
    call,
    compare,
    compare_apart,
    compares_rows,
    prefixes_at_once,
    scored_at_once,
)
from seqgan_kit.tokens.policy import PolicyGradient, TokenPolicy, WithLikelihood
from seqgan_kit.tokens.rewards import Rewards

REAL = "real data"  # the baseline: what sentences of the training set score


def train(config: TextConfig, config_text: str = "", resume: bool = False) -> Path:
    """Runs all phases in the run folder, and returns it; see `engine.run.run`."""
    return run(TextTask(settled(config)), config_text, resume)


class TextTask:
    """A run of text; see `engine.run.Task`. Raises UserError where data and options do not go together."""

    name = "text"

    def __init__(self, config: TextConfig) -> None:
        self.config = config
        most, vocabulary = limits_of(config.generator)
        self.source = load(config.data, config.run.seed, tokenizer_of(config.generator.model), vocabulary)
        self.data = self.source.fingerprint()
        check_length("--generator.model" if config.generator.model else "--generator.config", most, self.source)
        checks.check_numbers(config, self.source)
        checks.check_route(config, self.source)
        torch.manual_seed(config.run.seed)  # the same initial weights on every process
        route = config.adversarial.route
        own = None if route is None else route.network(self.source)
        self.network = own or build_generator(config.generator, self.source)
        self.judge = build_discriminator(config.discriminator, self.source)
        if route is not None:
            route.check_judge(self.source, self.judge)

    def first_lines(self) -> list[str]:
        return [line for line in (self.source.summary(), rates_told(self.config)) if line]

    def build(self, engine: Engine) -> None:
        self.engine = engine
        config, source = self.config, self.source
        if source.oracle is not None:
            source.oracle.to(engine.device)
        self.evaluation = Evaluation(source, judge=config.evaluation.judge)
        save = lambda network, folder: save_generator(network, source, folder)  # noqa: E731
        self.recipe = Recipe(engine, config, self.network, save, source.train, source.name, "sentences", self._hooks)
        self.policy, self.discriminator = self._players()

    def play(self) -> None:
        engine, settings = self.engine, self.config.evaluation
        if engine.is_main:
            real = self.evaluation.real(settings.samples, settings.seed)
            write_json(engine.folder / "baselines.json", {REAL: {"metrics": real}})
        self.recipe.likelihood()
        self.recipe.warm_up(self.policy, self.discriminator)
        self.recipe.game(self.policy, self.discriminator)
        self.recipe.control()

    def _hooks(self, every: int, network: Generator) -> list[Hook]:
        settings = self.config.evaluation

        def measure(phase: str, done: int) -> Metrics:
            found, texts = self.evaluation(network, settings.samples)
            self.engine.save_text(f"{phase}-{done:06d}", texts)
            return found

        return [evaluated(self.engine, every, settings.seed, measure)]

    def _players(self) -> tuple[GeneratorPlayer[Tokens], DiscriminatorPlayer[Tokens]]:
        config, engine = self.config.adversarial, self.engine
        if config.route is not None:
            done = lambda: engine.counters.get(ADVERSARIAL, 0)  # noqa: E731
            play = routes.Play(config.rounds, done, config.batch_size, config.optimizer, self.config.discriminator)
            return config.route.players(engine, play, self.source, self.network, self.judge)
        learner = engine.learner("policy", self.network, config.optimizer, dropout=False)
        scorer = engine.learner("discriminator", self.judge, self.config.discriminator.optimizer)
        policy = self._policy(learner)
        checks.check_credit(policy.credit, self.judge, config.turns.repeats)
        return policy, self._discriminator(scorer, isinstance(policy.credit, Prefixes))

    def _policy(self, learner: Learner) -> TokenPolicy:
        config, source, engine = self.config.adversarial, self.source, self.engine
        credit = build_credit(engine, config, self.network, source.length, source.end)
        critic = build_critic(engine, config, lambda: width_of(self.network))
        return TokenPolicy(
            engine,
            learner,
            config.batch_size,
            source.length,
            source.end,
            self._rewards(),
            credit,
            PolicyGradient(config.baseline, critic, config.estimator, config.passes),
            likelihood=WithLikelihood(prefix=self._prefix if config.prefix else None),
        )

    def _rewards(self) -> Rewards:
        config, source = self.config.adversarial, self.source
        objective, log_ratio = self.config.discriminator.objective(), objectives.airl()
        if source.labels:
            weight = self.config.discriminator.classes.reward
            objective, log_ratio = (objectives.with_classes(one, reward=weight) for one in (objective, log_ratio))
        return Rewards(
            objective.reward,
            log_ratio.reward,
            config.discriminator_weight,
            config.rewards,
            source.decode,
            self._columns if source.labels else None,
            prefixes_at_once(self.judge),
            scored_at_once(self.judge),
        )

    def _columns(self, tokens: Tokens) -> dict[str, list[Any]]:
        """What users' rewards may ask for beside the texts."""
        assert isinstance(tokens, LabelledTokens)
        return {LABEL: self.source.labels_of(tokens)}

    def _prefix(self) -> int:
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


def prefix_at(done: int, rounds: int, prefix: int) -> int:
    """The length of the real prefix after so many rounds: prefix, ..., 1, 0 in stages of equal length."""
    return max(0, prefix - done * (prefix + 1) // max(1, rounds))


def _output_decay(network: nn.Module, weight: float) -> Callable[[nn.Module, Tokens, Tokens], Tensor]:
    output = network.get_submodule("output")
    return lambda module, real, fake: weight / 2 * sum(p.square().sum() for p in output.parameters())  # type: ignore[return-value]
