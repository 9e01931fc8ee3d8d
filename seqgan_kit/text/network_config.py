"""The configuration of the networks of a text run: generator and discriminator."""

from __future__ import annotations

from dataclasses import dataclass, field

from seqgan_kit.algorithms import objectives
from seqgan_kit.bounds import NotNegative, PositiveShare
from seqgan_kit.errors import UserError
from seqgan_kit.language.config import LanguageDiscriminatorConfig, LanguageGeneratorConfig


@dataclass(frozen=True)
class TextGeneratorConfig(LanguageGeneratorConfig):
    """What writes texts: an LSTM, unless a Hugging Face model is named.

    Args:
        model: Folder or name of a causal Hugging Face model to fine-tune, or RUN/model of a run of text to train on;
            unset begins anew with an LSTM. Either comes with its own tokenizer.
        deviation: Standard deviation of the initial weights of the LSTM.
    """

    deviation: NotNegative = 0.1


@dataclass(frozen=True)
class ClassesConfig:
    """What the discriminator's auxiliary classifier counts, where texts have labels (AC-GAN; `with_classes`).

    Args:
        real: Weight of -log p(label | text) of real sentences in the discriminator's loss.
        fake: Weight of -log p(label | text) of the generator's sentences in the discriminator's loss. AC-GAN has 1.
        reward: Weight of log p(label | text) in the generator's reward, beside that for being real. 0 has none.
    """

    real: NotNegative = 1.0
    fake: NotNegative = 0.0
    reward: NotNegative = 1.0


@dataclass(frozen=True)
class DiscriminatorConfig(LanguageDiscriminatorConfig):
    """The discriminator and its warm-up.

    Args:
        network: Class of the discriminator's network. It is built with the vocabulary's size; its forward takes ids and
            mask, (batch, time), and returns a logit of what the mask shows, (batch,), higher = more real. If it has
            `scores_prefixes = True`, it is called with `prefixes=True`, too, and then returns one of each prefix,
            (batch, time). If it has `compares_rows = True`, it is told as a third argument how many rows are real and
            how many fake, and compares them apart; it needs a credit that scores whole samples. `scored_at_once` is how
            many completions it is given in one call (512).
        output_decay: Weight of 1/2 |w|^2 of the network's last layer in its loss, where it has one called `output`. The
            paper's code has 0.2, 0 has none.
        real_target: Probability with which the discriminator is asked to find real sentences real. One-sided label
            smoothing has 0.9, 1 has none.
        clip_weights: Greatest size of each weight of the discriminator, to which it is clipped after a step. WGAN has
            0.01, 0 does not clip.
        classes: The auxiliary classifier of labelled texts. The network tells the labels apart, too: its last layer,
            `output`, is made wider.
    """

    output_decay: NotNegative = 0.0
    real_target: PositiveShare = 1.0
    clip_weights: NotNegative = 0.0
    classes: ClassesConfig = field(default_factory=ClassesConfig)

    def smoothed_objective(self) -> objectives.Objective:
        """With its labels smoothed. Raises UserError where they can't be."""
        objective, target = self.objective(), self.real_target
        if target == 1:
            return objective
        try:
            return objectives.with_label_smoothing(objective, target)
        except ValueError as error:
            raise UserError(f"--discriminator.real_target {target:g}: {error}") from error
