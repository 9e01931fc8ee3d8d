"""The configuration of the networks of a text run: generator and discriminator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from seqgan_kit.algorithms import objectives
from seqgan_kit.engine.learning import OptimizerConfig
from seqgan_kit.errors import UserError
from seqgan_kit.networks.text.cnn import TextCNN


@dataclass(frozen=True)
class TextGeneratorConfig:
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
