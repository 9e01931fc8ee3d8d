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
from seqgan_kit.text.classes import JudgeConfig
from seqgan_kit.text.routes import Route
from seqgan_kit.text.sources import DataConfig
from seqgan_kit.tokens.credit import Credit, MonteCarlo


@dataclass(frozen=True)
class GeneratorConfig:
    """What writes texts: an LSTM, unless a Hugging Face model is named.

    Args:
        model: Folder or name of a causal Hugging Face model to fine-tune, or RUN/model of a run of text to train on;
            unset begins anew with an LSTM. Either comes with its own tokenizer.
        config: Configuration of a Hugging Face model that begins anew, as {model_type: gpt2, n_layer: 2, n_embd: 128,
            n_head: 4}. Its vocabulary and special tokens are filled in.
        lora: Rank of adapters (LoRA), which are trained instead of the weights; needs peft. 0 trains the weights.
        embedding: Width of a token's embedding in the LSTM.
        hidden: Width of the LSTM's state; larger learns more from much text, is slower, and overfits few sentences
            sooner.
        deviation: Standard deviation of the initial weights of the LSTM.
    """

    model: str | None = None
    config: dict[str, Any] | None = None
    lora: int = 0
    embedding: int = 32
    hidden: int = 32
    deviation: float = 0.1


@dataclass(frozen=True)
class LikelihoodConfig:
    """Pre-training by maximum likelihood.

    Args:
        steps: Batches on which the generator learns by maximum likelihood before the game; 0 leaves this phase out.
        batch_size: Sentences in a batch of the likelihood phase, over all processes.
        optimizer: The optimiser of the likelihood phase and of the control. Its lr null is 0.01 for an LSTM, 0.001 for
            a Hugging Face model that begins anew, for adapters and for an LSTM of a run, 0.0001 for a pretrained model.
    """

    steps: int = 2000
    batch_size: int = 64
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=None))


@dataclass(frozen=True)
class ClassesConfig:
    """What the discriminator's auxiliary classifier counts, where texts have labels (AC-GAN; `with_classes`).

    Args:
        real: Weight of -log p(label | text) of real sentences in the discriminator's loss.
        fake: Weight of -log p(label | text) of the generator's sentences in the discriminator's loss. AC-GAN has 1.
        reward: Weight of log p(label | text) in the generator's reward, beside that for being real. 0 has none.
    """

    real: float = 1.0
    fake: float = 0.0
    reward: float = 1.0


@dataclass(frozen=True)
class DiscriminatorConfig:
    """The discriminator and its warm-up.

    Args:
        network: Class of the discriminator's network. It is built with the vocabulary's size; its forward takes ids and
            mask, (batch, time), and returns a logit of what the mask shows, (batch,), higher = more real. If it has
            `scores_prefixes = True`, it is called with `prefixes=True`, too, and then returns one of each prefix,
            (batch, time). If it has `compares_rows = True`, it is told as a third argument how many rows are real and
            how many fake, and compares them apart; it needs a credit that scores whole samples. `scored_at_once` is how
            many completions it is given in one call (512).
        model: Folder or name of a Hugging Face encoder that is the discriminator, in place of `network`. It reads the
            text by its own tokenizer.
        config: Configuration of a Hugging Face encoder that begins anew as the discriminator, as {model_type: bert,
            ...}, in place of `network`. It reads the generator's tokens.
        objective: Function that builds what the discriminator minimises, and which reward its logit is.
        steps: Updates of the discriminator before the game, its warm-up.
        batch_size: Real sentences in an update of the discriminator, over all processes. As many are sampled.
        passes: Optimiser steps of the discriminator on the same batch.
        optimizer: The optimiser of the discriminator.
        output_decay: Weight of 1/2 |w|^2 of the network's last layer in its loss, where it has one called `output`. The
            paper's code has 0.2, 0 has none.
        real_target: Probability with which the discriminator is asked to find real sentences real. One-sided label
            smoothing has 0.9, 1 has none.
        clip_weights: Greatest size of each weight of the discriminator, to which it is clipped after a step. WGAN has
            0.01, 0 does not clip.
        classes: The auxiliary classifier of labelled texts. The network tells the labels apart, too: its last layer,
            `output`, is made wider.
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
        enabled: Whether there is a learned baseline. It lowers the variance of the gradient, and costs little.
        optimizer: The optimiser of the learned baseline.
    """

    enabled: bool = True
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=1e-2))


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
            and estimator then have no part: seqgan_kit.text.routes.GumbelSoftmax, or Convolutions. null is policy
            gradient.
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
        enabled: Whether the control is trained: likelihood for as long as the game took, from the same start; it says
            what the game is worth, and doubles the time.
        steps: Batches of the control. Unset takes as many as fit into the time that the discriminator's warm-up and the
            adversarial phase took.
    """

    enabled: bool = True
    steps: int | None = None


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
    judge: JudgeConfig = field(default_factory=JudgeConfig)


@dataclass(frozen=True)
class TextConfig:
    """A run of text: SeqGAN and its relatives, which learn to write sentences like those of a file."""

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
