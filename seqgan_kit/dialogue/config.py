"""The configuration of a dialogue run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import nn

from seqgan_kit.bounds import Count, Layers, NotNegative, Seed, Several, Share, Whole
from seqgan_kit.dialogue.evaluators import EvaluatorConfig
from seqgan_kit.dialogue.sources import DataConfig
from seqgan_kit.engine.learning import OptimizerConfig
from seqgan_kit.engine.run_config import RunConfig
from seqgan_kit.language.config import (
    ControlConfig,
    LanguageAdversarialConfig,
    LanguageDiscriminatorConfig,
    LanguageGeneratorConfig,
    LikelihoodConfig,
    left_open,
)
from seqgan_kit.language.pretrained import is_own
from seqgan_kit.language.units import Unit
from seqgan_kit.networks.text.hierarchical import HierarchicalDiscriminator
from seqgan_kit.tokens.credit import Credit, Prefixes


@dataclass(frozen=True)
class DialogueGeneratorConfig(LanguageGeneratorConfig):
    """What writes replies: an LSTM with attention, unless a Hugging Face model is named.

    Args:
        model: Folder or name of a causal or encoder-decoder Hugging Face model to fine-tune, or RUN/model of a run of
            dialogue to train on; unset begins anew with an LSTM. Either comes with its own tokenizer.
        layers: Number of layers of the LSTM that reads the history, and of the one that writes the reply.
        dropout: Share of the LSTM's embeddings, and of what its output reads, that is dropped in the likelihood phase.
    """

    embedding: Count = 128
    hidden: Count = 128
    layers: Layers = 2
    dropout: Share = 0.0


@dataclass(frozen=True)
class DiscriminatorConfig(LanguageDiscriminatorConfig):
    """What tells human replies from the generator's, and its warm-up.

    Args:
        network: Class of the discriminator's network. It is built with the vocabulary's size; its forward takes ids and
            mask of the replies, (batch, time), history and turns, (batch, past), and returns a logit of what the mask
            shows, (batch,), higher = more human. If it has `scores_prefixes = True`, it is called with `prefixes=True`,
            too, and then returns one of each prefix, (batch, time): REGS in one pass.
        from_generator: Whether the discriminator begins as the generator is after its likelihood phase, with another
            last layer, in place of `network`.
        mismatched: Share of the discriminator's task that is telling replies from human ones to other histories, 0 to
            1. The paper has 0.
        beams: Width of the beam search that makes half of the replies of the discriminator's warm-up, as in the paper.
            0 samples all of them.
        optimizer: The optimiser of the discriminator. Its lr null is 0.001, or 0.0001 where it begins as a pretrained
            model.
    """

    network: Callable[[int], nn.Module] = HierarchicalDiscriminator
    from_generator: bool = False
    mismatched: Share = 0.0
    beams: Whole = 0
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=None))


@dataclass(frozen=True)
class AdversarialConfig(LanguageAdversarialConfig):
    """The adversarial phase, the game of generator and discriminator.

    Args:
        baseline: Function of (credit, mask) that takes off what credit is expected, so that the gradient varies less.
            With several replies to a history, leave_one_out compares these only.
        credit: Class that turns the discriminator's judgement into each token's reward. It is built with (network,
            length, end): Prefixes (REGS), MonteCarlo or Terminal of seqgan_kit.tokens.credit.
        teacher_forcing: Likelihood steps on human replies after each update of the generator, which keep it close to
            human language.
        kl: Weight of the KL divergence from the generator as it was when this phase began. Larger keeps it nearer to
            that; 0 has none.
    """

    credit: Callable[[nn.Module, int, int | None], Credit] = Prefixes
    teacher_forcing: Whole = 1
    kl: NotNegative = 0.0


@dataclass(frozen=True)
class EvaluationConfig:
    """Evaluation on held-out dialogues.

    Args:
        samples: Replies that are drawn at an evaluation. More make its metrics surer, and it slower.
        every: Steps of a likelihood phase between two evaluations. 0 evaluates at its end only.
        rounds: Rounds of the adversarial phase between two evaluations. 0 evaluates at its end only.
        seed: Seed of the replies at every evaluation, the same each time.
        unit: What BLEU, distinct-n and all such metrics count, whatever the tokenizer: words (what blanks separate),
            characters, or the tokenizer's tokens, of which the unknown one is then one like others. Unset counts words,
            or characters where replies have no blanks between words.
        best: Held-out score by which the best model of the run is chosen, which RUN/model is: `perplexity` of human
            replies to their histories, or another metric of the evaluation (a wrong name lists them). `auto` takes
            that; `none` has RUN/model the last one.
        patience: Evaluations of a phase without a better score (`best`) after which the phase ends early. 0 never ends
            it so.
        keep_models: Whether the model of each evaluation is kept, as RUN/models/PHASE-STEP, for `--model STEP` of
            commands; each takes as much of the disk as RUN/model.
        shown: Number of replies to the same histories that are kept at each evaluation, for the report.
        evaluators: Number of replies on which new discriminators, the evaluators, are trained at the end of each phase,
            for adversarial success and its relatives. 0 leaves them out.
        evaluator: The evaluators: discriminators that are trained anew to measure adversarial success.
    """

    samples: Several = 500
    every: Whole = 500
    rounds: Whole = 20
    seed: Seed = 1234
    unit: Unit | None = None
    best: str = "auto"
    patience: Whole = 0
    keep_models: bool = False
    shown: Whole = 12
    evaluators: Whole = 0
    evaluator: EvaluatorConfig = field(default_factory=EvaluatorConfig)


@dataclass(frozen=True)
class DialogueConfig:
    """A run of dialogue: adversarial learning of replies to a conversation, with REGS or Monte Carlo roll-outs."""

    run: RunConfig = field(default_factory=RunConfig)
    data: DataConfig = field(default_factory=DataConfig)
    generator: DialogueGeneratorConfig = field(default_factory=DialogueGeneratorConfig)
    likelihood: LikelihoodConfig = field(default_factory=LikelihoodConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    adversarial: AdversarialConfig = field(default_factory=AdversarialConfig)
    control: ControlConfig = field(default_factory=ControlConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def left_open(self) -> dict[str, float]:
        """The options that were left open, which depend on others, and what they then are."""
        judge, generator = self.discriminator, self.generator
        begun = judge.from_generator and generator.model is not None and not is_own(generator.model)
        rate = 1e-4 if begun or judge.model is not None else 1e-3
        return left_open(self, {"discriminator.optimizer.lr": rate})
