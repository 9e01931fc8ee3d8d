"""The configuration of a text run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any, Protocol, TypeVar

from torch import nn

from seqgan_kit.algorithms import credit as credits
from seqgan_kit.algorithms import estimators, objectives
from seqgan_kit.engine.engine import RunConfig
from seqgan_kit.engine.learning import OptimizerConfig
from seqgan_kit.errors import UserError
from seqgan_kit.game.players import Baseline, Estimator
from seqgan_kit.game.rewards import Reward
from seqgan_kit.game.trainer import Turns
from seqgan_kit.language.pretrained import is_own
from seqgan_kit.networks.text.cnn import TextCNN
from seqgan_kit.text.classes import LabelClassifierConfig
from seqgan_kit.text.routes import Route
from seqgan_kit.text.sources import DataConfig
from seqgan_kit.tokens.credit import Credit, MonteCarlo


@dataclass(frozen=True)
class GeneratorConfig:
    """What writes texts: an LSTM, unless a Hugging Face model is named.

    Args:
        model: folder or name of a causal model, to be fine-tuned with its own tokenizer; or RUN/model of a run of text.
        config: of such a model that begins anew, {model_type: gpt2, n_layer: 2, n_embd: 128, n_head: 4}; its vocabulary
            and special tokens are filled in.
        lora: rank of adapters, which are trained instead of the weights (needs peft); 0 trains the weights.
        embedding: width of a token's embedding in the LSTM.
        hidden: width of its state.
        deviation: standard deviation of its initial weights.
    """

    model: str | None = None
    config: dict[str, Any] | None = None
    lora: int = 0
    embedding: int = 32
    hidden: int = 32
    deviation: float = 0.1


@dataclass(frozen=True)
class LikelihoodConfig:
    """The maximum likelihood phase.

    Args:
        steps: batches.
        batch_size: sentences a batch, over all processes.
        optimizer: of this phase and of the control; lr null is 0.01 for an LSTM, 0.001 for a Hugging Face model that
            begins anew, for adapters and for an LSTM of a run, 0.0001 for a pretrained model.
    """

    steps: int = 2000
    batch_size: int = 64
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=None))


@dataclass(frozen=True)
class ClassesConfig:
    """What the discriminator's auxiliary classifier counts, where texts have labels (AC-GAN; `with_classes`).

    Args:
        real: weight of -log p(label | text) of real sentences in the discriminator's loss.
        fake: that of the generator's own; AC-GAN has 1.
        reward: weight of log p(label | text) in the generator's reward, beside that for being real; 0 has none.
    """

    real: float = 1.0
    fake: float = 0.0
    reward: float = 1.0


@dataclass(frozen=True)
class DiscriminatorConfig:
    """The discriminator and its warm-up.

    Args:
        network: class that is built with the vocabulary's size; its forward takes ids and mask, (batch, time), and
            returns a logit of what the mask shows, (batch,), higher = more real. If it has `scores_prefixes = True`,
            it is called with `prefixes=True`, too, and then returns one of each prefix, (batch, time). If it has
            `compares_rows = True`, it is told as a third argument how many rows are real and how many fake, and
            compares them apart; it needs a credit that scores whole samples. `scored_at_once` is how many completions
            it is given in one call (512).
        model: folder or name of a Hugging Face encoder, which reads the text by its own tokenizer, instead.
        config: of an encoder that begins anew and reads the generator's tokens, {model_type: bert, ...}, instead.
        objective: what it minimises, and which reward its logit is.
        steps: warm-up updates.
        batch_size: real sentences a batch, over all processes; as many are sampled.
        passes: optimiser steps on the same batch.
        optimizer: its own.
        output_decay: weight of 1/2 |w|^2 of its last layer, where it has one called `output`; the paper's code has 0.2.
        real_target: probability that it is asked to find real sentences real with: one-sided label smoothing has 0.9.
        clip_weights: bound of each weight's size (WGAN's has 0.01); 0 has none.
        classes: of labelled texts, which the network tells apart, too: its last layer, `output`, is made wider.
    """

    network: Callable[[int], nn.Module] = TextCNN
    model: str | None = None
    config: dict[str, Any] | None = None
    objective: Callable[[], objectives.Objective] = objectives.seqgan
    steps: int = 200
    batch_size: int = 64
    passes: int = 1
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=1e-4, clip=0.0))
    output_decay: float = 0.0
    real_target: float = 1.0
    clip_weights: float = 0.0
    classes: ClassesConfig = field(default_factory=ClassesConfig)

    def smoothed_objective(self) -> objectives.Objective:
        """With its labels smoothed. Raises UserError where they can't be."""
        objective, target = self.objective(), self.real_target
        if target == 1:
            return objective
        if not 0 < target < 1:
            raise UserError(f"--discriminator.real_target {target:g}: give a number above 0, at most 1")
        try:
            return objectives.with_label_smoothing(objective, target)
        except ValueError as error:
            raise UserError(f"--discriminator.real_target {target:g}: {error}") from error


@dataclass(frozen=True)
class CriticConfig:
    """A learned baseline: a linear function of the generator's features.

    Args:
        enabled: false leaves it out.
        optimizer: its own.
    """

    enabled: bool = True
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=1e-2))


@dataclass(frozen=True)
class AdversarialConfig:
    """The adversarial phase.

    Args:
        rounds: how many.
        turns: updates of each player in a round.
        batch_size: sentences sampled a generator update, over all processes.
        optimizer: the generator's in this phase; lr null is 0.001 for an LSTM, 0.0002 for a Hugging Face model that
            begins anew and for adapters, 0.00002 for a pretrained one.
        credit: class that turns a sentence's reward into each token's, built with (network, length, end):
            seqgan_kit.tokens.credit.MonteCarlo, Terminal, or Prefixes (REGS), for which the discriminator learns from
            random prefixes.
        baseline: function of (credit, mask).
        critic: a learned baseline before it, off by default.
        prefix: first tokens that a sample takes from a real sentence as the phase begins, on which the generator learns
            by likelihood; falls to 0 in stages of equal length (MaliGAN's mixed scheme).
        estimator: function of (log_probs, old_log_probs, credit, mask).
        passes: optimiser steps on the same samples.
        rewards: own reward functions, by import path and weight.
        discriminator_weight: weight of the discriminator's reward beside them.
        route: class of another way than policy gradient, whose credit, baseline and estimator then have no part:
            seqgan_kit.text.routes.GumbelSoftmax, or Convolutions.
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
        judge: of labelled texts, the classifier that says whether samples are of their class.
    """

    samples: int = 1000
    every: int = 500
    rounds: int = 10
    seed: int = 1234
    judge: LabelClassifierConfig = field(default_factory=LabelClassifierConfig)


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

    def left_open(self) -> dict[str, float]:
        """The options that were left open, which depend on others, and what they then are."""
        return open_rates(self, dict(zip(RATES, learning_rates(self.generator), strict=True)))


RATES = ("likelihood.optimizer.lr", "adversarial.optimizer.lr")


class LanguageModelConfig(Protocol):
    """What the configurations of the generators of text and of dialogue have in common."""

    @property
    def model(self) -> str | None: ...
    @property
    def config(self) -> dict[str, Any] | None: ...
    @property
    def lora(self) -> int: ...


class HasOpen(Protocol):
    def left_open(self) -> dict[str, float]: ...


C = TypeVar("C", bound=HasOpen)


def learning_rates(generator: LanguageModelConfig) -> tuple[float, float]:
    """Of the likelihood phase and of the game, where none are given: an LSTM's would ruin a pretrained model."""
    if is_own(generator.model):
        return 1e-3, 1e-3
    if generator.model is not None and not generator.lora:
        return 1e-4, 2e-5
    if generator.model is not None or generator.config is not None:
        return 1e-3, 2e-4
    return 1e-2, 1e-3


def open_rates(config: Any, rates: dict[str, float]) -> dict[str, float]:
    """Those of the rates, by option, that the configuration leaves open."""
    return {option: rate for option, rate in rates.items() if attrgetter(option)(config) is None}


def settled(config: C) -> C:
    """The configuration with what was left open filled in."""

    def filled(part: Any, path: list[str], value: float) -> Any:
        name, *rest = path
        return replace(part, **{name: filled(getattr(part, name), rest, value) if rest else value})

    for option, value in config.left_open().items():
        config = filled(config, option.split("."), value)
    return config


def rates_told(config: Any) -> str | None:
    """The learning rates of a Hugging Face model in one line; None for an LSTM."""
    generator: LanguageModelConfig = config.generator
    if generator.model is None and generator.config is None:
        return None
    kind = f"{generator.model}, fine-tuned" if generator.model is not None else "a model that begins anew"
    rates = ", ".join(f"{attrgetter(option)(config):g} (--{option})" for option in RATES)
    return f"{kind}: learning rates {rates}"
