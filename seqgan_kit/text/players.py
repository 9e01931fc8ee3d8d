"""The players of a run of text: a policy over tokens, or the generator of a route; and the discriminator."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn

from seqgan_kit.algorithms import objectives
from seqgan_kit.engine.engine import Engine
from seqgan_kit.engine.learning import Learner
from seqgan_kit.game.players import Discriminator, DiscriminatorPlayer, GeneratorPlayer
from seqgan_kit.language.data import LABEL
from seqgan_kit.language.training import ADVERSARIAL, LanguageTraining
from seqgan_kit.samples import LabelledTokens, Tokens
from seqgan_kit.text.differentiable import Route
from seqgan_kit.text.network_config import DiscriminatorConfig
from seqgan_kit.text.sources import Source
from seqgan_kit.tokens.credit import Prefixes
from seqgan_kit.tokens.discriminator import call, compare, compare_apart, compares_rows
from seqgan_kit.tokens.policy import TokenPolicy, WithLikelihood


def players(
    training: LanguageTraining, judge: nn.Module
) -> tuple[GeneratorPlayer[Tokens], DiscriminatorPlayer[Tokens]]:
    """judge: the discriminator's network."""
    engine, config, source = training.engine, training.config, training.source
    route: Route | None = config.adversarial.route
    if route is not None:
        return route.players(engine, config, source, training.network, judge)
    policy = _policy(training, judge)
    scorer = engine.learner("discriminator", judge, config.discriminator.optimizer)
    prefixes = isinstance(policy.credit, Prefixes)
    return policy, _discriminator(engine, config.discriminator, bool(source.labels), scorer, prefixes)


def prefix_at(done: int, rounds: int, prefix: int) -> int:
    """The length of the real prefix after so many rounds: prefix, ..., 1, 0 in stages of equal length."""
    return max(0, prefix - done * (prefix + 1) // max(1, rounds))


def columns_of(source: Source) -> Callable[[Tokens], dict[str, list[Any]]] | None:
    """What users' rewards may ask for beside the texts."""

    def columns(tokens: Tokens) -> dict[str, list[Any]]:
        assert isinstance(tokens, LabelledTokens)
        return {LABEL: source.labels_of(tokens)}

    return columns if source.labels else None


def _policy(training: LanguageTraining, judge: nn.Module) -> TokenPolicy:
    config, source, adversarial = training.config, training.source, training.config.adversarial
    objective, log_ratio = config.discriminator.objective(), objectives.airl()
    if source.labels:
        weight = config.discriminator.classes.reward
        objective, log_ratio = (objectives.with_classes(one, reward=weight) for one in (objective, log_ratio))

    def prefix() -> int:
        return prefix_at(training.engine.counters.get(ADVERSARIAL, 0), adversarial.rounds, adversarial.prefix)

    return training.policy(
        judge,
        objective,
        log_ratio,
        columns_of(source),
        likelihood=WithLikelihood(prefix=prefix if adversarial.prefix else None),
        differ=lambda: bool(source.labels) or prefix() > 0,  # else every text begins from nothing
    )


def _discriminator(
    engine: Engine, config: DiscriminatorConfig, labelled: bool, learner: Learner, prefixes: bool
) -> Discriminator[Tokens]:
    objective, classes = config.smoothed_objective(), config.classes
    if labelled:
        objective = objectives.with_classes(objective, classes.real, classes.fake, classes.reward)
    return Discriminator(
        engine,
        learner,
        config.batch_size,
        objective,
        call,
        _output_decay(learner.network, config.output_decay) if config.output_decay else None,
        config.passes,
        compare_apart if compares_rows(learner.network) else partial(compare, prefixes=prefixes),
        clip_weights=config.clip_weights,
    )


def _output_decay(network: nn.Module, weight: float) -> Callable[[nn.Module, Tokens, Tokens], Tensor]:
    output = network.get_submodule("output")
    return lambda module, real, fake: weight / 2 * sum(p.square().sum() for p in output.parameters())  # type: ignore[return-value]
