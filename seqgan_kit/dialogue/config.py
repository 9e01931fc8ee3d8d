"""The configuration of a dialogue run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from seqgan_kit.algorithms import credit as credits
from seqgan_kit.algorithms import estimators, objectives
from seqgan_kit.dialogue.evaluators import EvaluatorConfig
from seqgan_kit.dialogue.sources import DataConfig
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
from seqgan_kit.language.pretrained import is_own
from seqgan_kit.networks.text.hierarchical import HierarchicalDiscriminator
from seqgan_kit.tokens.credit import Credit, Prefixes


@dataclass(frozen=True)
class DialogueGeneratorConfig:
    """What writes replies: an LSTM with attention, unless a Hugging Face model is named.

    Args:
        model: folder or name of a causal or encoder-decoder model, to be fine-tuned with its own tokenizer; or
            RUN/model of a run of dialogue.
        config: of such a model that begins anew, {model_type: gpt2, n_layer: 2, n_embd: 128, n_head: 4}; its vocabulary
            and special tokens are filled in.
        lora: rank of adapters, which are trained instead of the weights (needs peft); 0 trains the weights.
        embedding, hidden: widths of the LSTM.
        layers: of either of its LSTMs.
        dropout: of its embeddings and before its output, in the likelihood phase.
    """

    model: str | None = None
    config: dict[str, Any] | None = None
    lora: int = 0
    embedding: int = 128
    hidden: int = 128
    layers: int = 2
    dropout: float = 0.0


@dataclass(frozen=True)
class DiscriminatorConfig:
    """What tells human replies from the generator's, and its warm-up.

    Args:
        network: class that is built with the vocabulary's size; its forward takes ids and mask of the replies, (batch,
            time), history and turns, (batch, past), and returns a logit of what the mask shows, (batch,), higher =
            more human. If it has `scores_prefixes = True`, it is called with `prefixes=True`, too, and then returns
            one of each prefix, (batch, time): REGS in one pass.
        model: folder or name of a Hugging Face encoder, which reads the text by its own tokenizer, instead.
        config: of an encoder that begins anew and reads the generator's tokens, {model_type: bert, ...}, instead.
        from_generator: instead, begin as the generator is after its likelihood phase, with another last layer.
        objective: what it minimises, and which reward its logit is.
        steps: warm-up updates.
        batch_size: human replies a batch, over all processes; as many are sampled.
        passes: optimiser steps on the same batch.
        mismatched: share of its task that is telling replies from human ones to other histories, 0 to 1; the paper's
            is 0.
        beams: width of the beam search that makes half of the warm-up's replies, as the paper's; 0 samples all.
        optimizer: its own; lr null is 0.001, or 0.0001 where it begins as a pretrained model.
    """

    network: Callable[[int], nn.Module] = HierarchicalDiscriminator
    model: str | None = None
    config: dict[str, Any] | None = None
    from_generator: bool = False
    objective: Callable[[], objectives.Objective] = objectives.seqgan
    steps: int = 200
    batch_size: int = 64
    passes: int = 1
    mismatched: float = 0.0
    beams: int = 0
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=None))


@dataclass(frozen=True)
class AdversarialConfig:
    """The adversarial phase.

    Args:
        rounds: how many.
        turns: updates of each player in a round, and replies to each history in a generator update.
        batch_size: replies sampled a generator update, over all processes.
        optimizer: the generator's in this phase; lr null is 0.001 for an LSTM, 0.0002 for a Hugging Face model that
            begins anew and for adapters, 0.00002 for a pretrained one.
        credit: class that turns the discriminator's judgement into each token's reward, built with (network, length,
            end): seqgan_kit.tokens.credit.Prefixes (REGS), MonteCarlo, or Terminal.
        baseline: function of (credit, mask); with several replies to a history, leave_one_out compares these only.
        critic: a learned baseline beside it.
        estimator: function of (log_probs, old_log_probs, credit, mask).
        passes: optimiser steps on the same samples.
        teacher_forcing: likelihood steps on human replies after each generator update.
        kl: weight of the divergence from the generator as it was when this phase began.
        rewards: own reward functions, by import path and weight.
        discriminator_weight: weight of the discriminator's reward beside them.
    """

    rounds: int = 100
    turns: Turns = field(default_factory=lambda: Turns(generator=1, discriminator=5))
    batch_size: int = 64
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(lr=None))
    credit: Callable[[nn.Module, int, int | None], Credit] = Prefixes
    baseline: Baseline = credits.leave_one_out
    critic: CriticConfig = field(default_factory=CriticConfig)
    estimator: Estimator = estimators.reinforce
    passes: int = 1
    teacher_forcing: int = 1
    kl: float = 0.0
    rewards: list[Reward] = field(default_factory=list)
    discriminator_weight: float = 1.0


@dataclass(frozen=True)
class EvaluationConfig:
    """Evaluation on held-out dialogues.

    Args:
        samples: replies drawn.
        every: steps of a likelihood phase between two evaluations; 0 evaluates at its end only.
        rounds: the same for the adversarial phase.
        seed: of these replies, the same at every evaluation.
        shown: replies to the same histories that are kept at each evaluation, for the report.
        evaluators: replies on which new discriminators are trained at the end of each phase, for adversarial success
            and its relatives; 0 leaves them out.
        evaluator: these discriminators.
    """

    samples: int = 500
    every: int = 500
    rounds: int = 20
    seed: int = 1234
    shown: int = 12
    evaluators: int = 0
    evaluator: EvaluatorConfig = field(default_factory=EvaluatorConfig)


@dataclass(frozen=True)
class DialogueConfig:
    """A run of adversarial dialogue."""

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
        rates = dict(zip(RATES, learning_rates(generator), strict=True))
        return open_rates(
            self, rates | {"discriminator.optimizer.lr": 1e-4 if begun or judge.model is not None else 1e-3}
        )
