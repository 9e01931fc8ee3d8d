"""The configuration that runs of text and of dialogue share; their own ones are subclasses, which say the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any, Literal

from torch import nn

from seqgan_kit.algorithms import credit as credits
from seqgan_kit.algorithms import estimators, objectives
from seqgan_kit.bounds import Count, Integer, Number, Whole
from seqgan_kit.engine.learning import OptimizerConfig
from seqgan_kit.errors import UserError
from seqgan_kit.game.players import Baseline, Estimator
from seqgan_kit.game.rewards import Reward
from seqgan_kit.game.trainer import Turns
from seqgan_kit.language.pretrained import is_own
from seqgan_kit.language.tokenizers import Kind
from seqgan_kit.language.words import Split, Words
from seqgan_kit.networks.text.cnn import TextCNN
from seqgan_kit.tokens.credit import Credit, MonteCarlo


@dataclass(frozen=True)
class FileConfig:
    """Where data come from, and how text becomes tokens.

    Args:
        path: File to learn from.
        held_out_path: File to evaluate on, of the same kind as the first one. Unset holds out a share of that.
        held_out: Share of the different texts or conversations that is held out for evaluation, where there is no
            second file. Of equal ones all are, or none, so that the share of the rows can be another.
        too_long: What to do with what is longer than the limit: stop with an error, drop it, or cut it.
        tokenizer: How text becomes tokens: by words (what spaces separate), by characters, or by pieces of words
            (sentencepiece). A pretrained model keeps its own.
        vocabulary: Greatest number of different tokens of a tokenizer that is made anew; rarer words or characters
            become <unk>. Unset takes all words or characters, 1000 sentence pieces.
        lower: Whether text is put into small letters first.
        split: Where words end beside white space, before there are tokens: nowhere else, or at punctuation and
            contractions too, the Penn Treebank's way ("it's." is "it 's ."). Samples and chat put them together again;
            metrics count the split words.
        reading: How data are read: 2, or 1 as versions until November 2026 did, whose runs keep it. With 1, texts that
            are equal can be trained on and held out, and a text that was cut has an end token.
    """

    path: str | None = None
    held_out_path: str | None = None
    held_out: Number = 0.1
    too_long: Literal["error", "drop", "cut"] = "error"
    tokenizer: Kind = "word"
    vocabulary: Integer | None = None
    lower: bool = False
    split: Split = "none"
    reading: Integer = 2

    @property
    def words(self) -> Words:
        """How raw text becomes what is learned, and raw text again."""
        return Words(self.lower, self.split)

    def check_held_out(self) -> None:
        """Raises UserError where it is not said what is held out."""
        if self.path is None and self.held_out_path is not None:
            raise UserError("--data.held_out_path is given without --data.path: give both")
        if not 0 < self.held_out < 1:
            raise UserError(f"--data.held_out {self.held_out}: give a share between 0 and 1")
        if self.reading not in (1, 2):
            raise UserError(f"--data.reading {self.reading}: give 2, or 1 for data as earlier versions read them")


@dataclass(frozen=True)
class LanguageGeneratorConfig:
    """The generator: an LSTM, unless a Hugging Face model is named.

    Args:
        model: Folder or name of a Hugging Face model to fine-tune, or RUN/model of a run of the same kind to train on.
        config: Configuration of a Hugging Face model that begins anew, as {model_type: gpt2, n_layer: 2, n_embd: 128,
            n_head: 4}. Its vocabulary and special tokens are filled in.
        lora: Rank of adapters (LoRA), which are trained instead of the weights; needs peft. 0 trains the weights.
        attention: How a Hugging Face model computes attention, by transformers' name: eager, sdpa, flash_attention_2.
            Unset takes the model's own in float32, and eager in bfloat16, with which what is drawn has the very
            log-probabilities that are differentiated; others take less memory for long texts.
        dtype: Type of a Hugging Face model's weights, float32 or bfloat16. bfloat16 halves them, and is meant for
            adapters, which stay in float32: Adam's small steps on the weights themselves would be lost in rounding.
        checkpointing: Whether a Hugging Face model's layers keep nothing but their inputs for the gradient, in each
            phase, and compute the rest again: much less memory for a third more time.
        embedding: Width of a token's embedding in the LSTM.
        hidden: Width of the LSTM's state; larger learns more from much data, is slower, and overfits little data
            sooner.
    """

    model: str | None = None
    config: dict[str, Any] | None = None
    lora: Whole = 0
    attention: str | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"
    checkpointing: bool = False
    embedding: Count = 32
    hidden: Count = 32


@dataclass(frozen=True)
class LikelihoodConfig:
    """Pre-training by maximum likelihood.

    Args:
        steps: Batches on which the generator learns by maximum likelihood before the game; 0 leaves this phase out.
        batch_size: Sentences in a batch of the likelihood phase, over all processes.
        optimizer: The optimiser of the likelihood phase and of the control. Its lr null is 0.01 for an LSTM, 0.001 for
            a Hugging Face model that begins anew, for adapters and for an LSTM of a run, 0.0001 for a pretrained model.
    """

    steps: Whole = 2000
    batch_size: Count = 64
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=None))


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
class LanguageDiscriminatorConfig:
    """The discriminator and its warm-up.

    Args:
        network: Class of the discriminator's network, which is built with the vocabulary's size.
        model: Folder or name of a Hugging Face encoder that is the discriminator, in place of `network`. It reads the
            text by its own tokenizer.
        config: Configuration of a Hugging Face encoder that begins anew as the discriminator, as {model_type: bert,
            ...}, in place of `network`. It reads the generator's tokens.
        objective: Function that builds what the discriminator minimises, and which reward its logit is.
        steps: Updates of the discriminator before the game, its warm-up.
        batch_size: Real samples in an update of the discriminator, over all processes. As many are sampled.
        passes: Optimiser steps of the discriminator on the same batch.
        optimizer: The optimiser of the discriminator.
    """

    network: Callable[[int], nn.Module] = TextCNN
    model: str | None = None
    config: dict[str, Any] | None = None
    objective: Callable[[], objectives.Objective] = objectives.seqgan
    steps: Whole = 200
    batch_size: Count = 64
    passes: Count = 1
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=1e-4, clip=0.0))


@dataclass(frozen=True)
class LanguageAdversarialConfig:
    """The adversarial phase, the game of generator and discriminator.

    Args:
        rounds: Rounds of the adversarial phase, each with updates of the generator and of the discriminator; 0 leaves
            it out.
        turns: Updates of each player in a round, and samples of each context in an update of the generator.
        batch_size: Samples in an update of the generator, over all processes. More give a surer gradient, and take
            longer.
        optimizer: The optimiser of the generator in the adversarial phase. Its lr null is 0.001 for an LSTM, 0.0002 for
            a Hugging Face model that begins anew and for adapters, 0.00002 for a pretrained one.
        credit: Class that turns what a sample earns into each token's credit; built with (network, length, end).
        baseline: Function of (credit, mask) that takes off what credit is expected, so that the gradient varies less.
        critic: A learned baseline, whose value is taken off before `baseline` is.
        estimator: Function of (log_probs, old_log_probs, credit, mask) that turns credit into the loss of the
            generator.
        passes: Optimiser steps of the generator on the same samples. More than 1 are for an estimator that corrects for
            it, such as ppo.
        rewards: Reward functions of your own, by import path and weight.
        discriminator_weight: Weight of the discriminator's reward beside those of your own functions. 0 learns from
            these alone.
    """

    rounds: Whole = 100
    turns: Turns = field(default_factory=lambda: Turns(generator=1, discriminator=5))
    batch_size: Count = 64
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=None))
    credit: Callable[[nn.Module, int, int | None], Credit] = MonteCarlo
    baseline: Baseline = credits.leave_one_out
    critic: CriticConfig = field(default_factory=CriticConfig)
    estimator: Estimator = estimators.reinforce
    passes: Count = 1
    rewards: list[Reward] = field(default_factory=list)
    discriminator_weight: Number = 1.0


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
    steps: Whole | None = None


RATES = ("likelihood.optimizer.lr", "adversarial.optimizer.lr")


def learning_rates(generator: LanguageGeneratorConfig) -> tuple[float, float]:
    """Of the likelihood phase and of the game, where none are given: an LSTM's would ruin a pretrained model."""
    if is_own(generator.model):
        return 1e-3, 1e-3
    if generator.model is not None and not generator.lora:
        return 1e-4, 2e-5
    if generator.model is not None or generator.config is not None:
        return 1e-3, 2e-4
    return 1e-2, 1e-3


def left_open(config: Any, further: dict[str, float] | None = None) -> dict[str, float]:
    """The learning rates, by option, that the configuration leaves open, and what they then are."""
    rates = dict(zip(RATES, learning_rates(config.generator), strict=True)) | (further or {})
    return {option: rate for option, rate in rates.items() if attrgetter(option)(config) is None}


def settled(config: Any) -> Any:
    """The configuration with what was left open filled in."""

    def filled(part: Any, path: list[str], value: float) -> Any:
        name, *rest = path
        return replace(part, **{name: filled(getattr(part, name), rest, value) if rest else value})

    for option, value in config.left_open().items():
        config = filled(config, option.split("."), value)
    return config


def rates_told(config: Any) -> str | None:
    """The learning rates of a Hugging Face model in one line; None for an LSTM."""
    generator: LanguageGeneratorConfig = config.generator
    if generator.model is None and generator.config is None:
        return None
    kind = f"{generator.model}, fine-tuned" if generator.model is not None else "a model that begins anew"
    rates = ", ".join(f"{attrgetter(option)(config):g} (--{option})" for option in RATES)
    return f"{kind}: learning rates {rates}"
