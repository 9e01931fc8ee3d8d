"""The configuration of a text run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import nn

from seqgan_kit.algorithms import credit as credits
from seqgan_kit.algorithms import estimators
from seqgan_kit.engine.learning import OptimizerConfig
from seqgan_kit.engine.run_config import RunConfig
from seqgan_kit.game.players import Baseline, Estimator
from seqgan_kit.game.rewards import Reward
from seqgan_kit.game.trainer import Turns
from seqgan_kit.language.config import (
    RATES,
    ControlConfig,
    CriticConfig,
    LikelihoodConfig,
    learning_rates,
    open_rates,
)
from seqgan_kit.text.differentiable import Route
from seqgan_kit.text.label_classifier import LabelClassifierConfig
from seqgan_kit.text.network_config import DiscriminatorConfig, TextGeneratorConfig
from seqgan_kit.text.sources import DataConfig
from seqgan_kit.tokens.credit import Credit, MonteCarlo


@dataclass(frozen=True)
class AdversarialConfig:
    """The adversarial phase, the game of generator and discriminator.

    Args:
        rounds: Rounds of the adversarial phase, each with updates of the generator and of the discriminator; 0 leaves
            it out.
        turns: Updates of each player in a round.
        batch_size: Sentences sampled in an update of the generator, over all processes. More give a surer gradient, and
            take longer.
        optimizer: The optimiser of the generator in the adversarial phase. Its lr null is 0.001 for an LSTM, 0.0002 for
            a Hugging Face model that begins anew and for adapters, 0.00002 for a pretrained one.
        credit: Class that turns a sentence's reward into each token's: MonteCarlo (SeqGAN's roll-outs), Terminal (cheap
            and noisy), Prefixes (REGS) or LikelihoodRatio (MaliGAN) of seqgan_kit.tokens.credit. It is built with
            (network, length, end). For Prefixes the discriminator learns from random prefixes.
        baseline: Function of (credit, mask) that takes off what credit is expected, so that the gradient varies less.
        critic: A learned baseline, whose value is taken off before `baseline` is; off by default.
        prefix: Number of tokens that a sample takes from a real sentence as the phase begins, on which the generator
            learns by likelihood. It falls to 0 in stages of equal length (MaliGAN's mixed scheme).
        estimator: Function of (log_probs, old_log_probs, credit, mask) that turns credit into the loss of the
            generator.
        passes: Optimiser steps of the generator on the same samples. More than 1 are for an estimator that corrects for
            it, such as ppo.
        rewards: Reward functions of your own, by import path and weight.
        discriminator_weight: Weight of the discriminator's reward beside those of your own functions. 0 learns from
            these alone.
        route: Class of another way than policy gradient from the discriminator to the generator, whose credit, baseline
            and estimator then have no part: seqgan_kit.text.differentiable.GumbelSoftmax, or Convolutions. null is
            policy gradient.
    """

    rounds: int = 100
    turns: Turns = field(default_factory=lambda: Turns(generator=1, discriminator=5))
    batch_size: int = 64
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=None))
    credit: Callable[[nn.Module, int, int | None], Credit] = MonteCarlo
    baseline: Baseline = credits.leave_one_out
    critic: CriticConfig = field(default_factory=lambda: CriticConfig(enabled=False))
    prefix: int = 0
    estimator: Estimator = estimators.reinforce
    passes: int = 1
    rewards: list[Reward] = field(default_factory=list)
    discriminator_weight: float = 1.0
    route: Route | None = None


@dataclass(frozen=True)
class EvaluationConfig:
    """Evaluation on held-out data.

    Args:
        samples: Sequences that are drawn at an evaluation. More make its metrics surer, and it slower.
        every: Steps of the likelihood phase between two evaluations. 0 evaluates at its end only.
        rounds: Rounds of the adversarial phase between two evaluations. 0 evaluates at its end only.
        seed: Seed of the samples at every evaluation, the same each time.
        judge: The judge of labelled texts: a classifier that says whether samples are of their class.
    """

    samples: int = 1000
    every: int = 500
    rounds: int = 10
    seed: int = 1234
    judge: LabelClassifierConfig = field(default_factory=LabelClassifierConfig)


@dataclass(frozen=True)
class TextConfig:
    """A run of text: SeqGAN and its relatives, which learn to write sentences like those of a file."""

    run: RunConfig = field(default_factory=RunConfig)
    data: DataConfig = field(default_factory=DataConfig)
    generator: TextGeneratorConfig = field(default_factory=TextGeneratorConfig)
    likelihood: LikelihoodConfig = field(default_factory=LikelihoodConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    adversarial: AdversarialConfig = field(default_factory=AdversarialConfig)
    control: ControlConfig = field(default_factory=ControlConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def left_open(self) -> dict[str, float]:
        """The options that were left open, which depend on others, and what they then are."""
        return open_rates(self, dict(zip(RATES, learning_rates(self.generator), strict=True)))
