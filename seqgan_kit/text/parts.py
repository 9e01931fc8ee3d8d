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
