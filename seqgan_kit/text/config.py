"""The configuration of a text run."""

from __future__ import annotations

from dataclasses import dataclass, field

from seqgan_kit.bounds import Seed, Several, Whole
from seqgan_kit.engine.run_config import RunConfig
from seqgan_kit.language.config import (
    ControlConfig,
    CriticConfig,
    LanguageAdversarialConfig,
    LikelihoodConfig,
    left_open,
)
from seqgan_kit.language.units import Unit
from seqgan_kit.text.data_config import DataConfig
from seqgan_kit.text.differentiable import Route
from seqgan_kit.text.label_classifier import LabelClassifierConfig
from seqgan_kit.text.network_config import DiscriminatorConfig, TextGeneratorConfig


@dataclass(frozen=True)
class AdversarialConfig(LanguageAdversarialConfig):
    """The adversarial phase, the game of generator and discriminator.

    Args:
        credit: Class that turns a sentence's reward into each token's: MonteCarlo (SeqGAN's roll-outs), Terminal (cheap
            and noisy), Prefixes (REGS) or LikelihoodRatio (MaliGAN) of seqgan_kit.tokens.credit. It is built with
            (network, length, end). For Prefixes the discriminator learns from random prefixes.
        prefix: Number of tokens that a sample takes from a real sentence as the phase begins, on which the generator
            learns by likelihood. It falls to 0 in stages of equal length (MaliGAN's mixed scheme).
        route: Class of another way than policy gradient from the discriminator to the generator, whose credit, baseline
            and estimator then have no part: seqgan_kit.text.differentiable.GumbelSoftmax, or Convolutions. null is
            policy gradient.
    """

    critic: CriticConfig = field(default_factory=lambda: CriticConfig(enabled=False))
    prefix: Whole = 0
    route: Route | None = None


@dataclass(frozen=True)
class EvaluationConfig:
    """Evaluation on held-out data.

    Args:
        samples: Sequences that are drawn at an evaluation. More make its metrics surer, and it slower.
        every: Steps of the likelihood phase between two evaluations. 0 evaluates at its end only.
        rounds: Rounds of the adversarial phase between two evaluations. 0 evaluates at its end only.
        seed: Seed of the samples at every evaluation, the same each time.
        unit: What BLEU, distinct-n and all such metrics count, whatever the tokenizer: words (what blanks separate),
            characters, or the tokenizer's tokens, of which the unknown one is then one like others. Unset counts words,
            or characters where texts have no blanks between words.
        best: Held-out score by which the best model of the run is chosen, which RUN/model is: `ngram_distance`, which
            neither quality nor diversity alone makes low, or another metric of the evaluation (a wrong name lists
            them). `auto` takes that, and nll_gen for the oracle; `none` has RUN/model the last one.
        patience: Evaluations of a phase without a better score (`best`) after which the phase ends early. 0 never ends
            it so.
        keep_models: Whether the model of each evaluation is kept, as RUN/models/PHASE-STEP, for `--model STEP` of
            commands; each takes as much of the disk as RUN/model.
        judge: The judge of labelled texts: a classifier that says whether samples are of their class.
    """

    samples: Several = 1000
    every: Whole = 500
    rounds: Whole = 10
    seed: Seed = 1234
    unit: Unit | None = None
    best: str = "auto"
    patience: Whole = 0
    keep_models: bool = False
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
        return left_open(self)
