"""The ways from the discriminator to the generator of text without policy gradient: through soft samples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from seqgan_kit.bounds import Blocks, Count, NotNegative
from seqgan_kit.engine.engine import Engine
from seqgan_kit.errors import UserError, one_line
from seqgan_kit.game.players import Discriminator
from seqgan_kit.language.training import ADVERSARIAL
from seqgan_kit.networks.text.residual_text import NoiseToText, NoiseToTextConfig
from seqgan_kit.samples import SoftTokens, Tokens, rows, soft
from seqgan_kit.text.sources import Source
from seqgan_kit.tokens import soft as soft_text
from seqgan_kit.tokens.discriminator import call, compares_rows
from seqgan_kit.tokens.soft import Matching, Means, Relaxed, SoftText, View


class Route(ABC):
    """How a text run's generator learns from its discriminator, where it is not by policy gradient."""

    def network(self, source: Source) -> NoiseToText | None:
        """A generator of its own; None for that of the configuration, which has a likelihood."""
        return None

    @abstractmethod
    def players(
        self, engine: Engine, config: Any, source: Source, network: nn.Module, judge: nn.Module
    ) -> tuple[SoftText, Discriminator[Tokens]]:
        """Both, with learners "policy" and "discriminator".

        config: the `TextConfig` of which this is a part. judge: the discriminator's network.
        """

    @abstractmethod
    def view(self, source: Source) -> View:
        """Real text as the discriminator sees it."""

    def check(self) -> None:  # noqa: B027
        """Raises UserError where its own options make no sense."""

    def check_judge(self, source: Source, judge: nn.Module) -> None:
        """Raises UserError where the discriminator does not go with it."""
        _check_reads(judge, self.view(source)(rows(source.train, slice(2))))


@dataclass(frozen=True)
class GumbelSoftmax(Route):
    """The run's generator, drawn by Gumbel-softmax (RelGAN, Nie et al. 2019; without its relational memory, and without
    its discriminator's several embeddings of a text).

    Args:
        sharpness: Sharpness of the soft tokens at the end, one over the temperature. It grows from 1 exponentially, as
            sharpness^(round / rounds). The paper has 100 and 1000.
        straight_through: Whether the discriminator sees whole tokens, with the gradient of soft ones, or soft tokens.
        matching: Distance that the generator minimises instead of the objective's loss, of real and fake features
            (rows, dim) in the discriminator: seqgan_kit.tokens.soft.Means (Salimans et al. 2016), or
            seqgan_kit.tokens.soft.Gaussians, the maximum mean discrepancy of TextGAN (Zhang et al. 2017; without its
            code to be reconstructed, and without the discriminator's part in the matching). null is the objective's
            loss.
        penalty: Weight of the gradient penalty of the discriminator. 0 has none.
    """

    sharpness: NotNegative = 100.0
    straight_through: bool = False
    matching: Matching | None = None
    penalty: NotNegative = 0.0

    def view(self, source: Source) -> View:
        return partial(soft, vocabulary=source.vocabulary)

    def check(self) -> None:
        if self.sharpness < 1:
            raise UserError(f"--adversarial.route.sharpness {self.sharpness}: give at least 1, where it begins")

    def check_judge(self, source: Source, judge: nn.Module) -> None:
        super().check_judge(source, judge)
        if self.matching is not None and not hasattr(judge, "features"):
            raise UserError(
                f"--adversarial.route.matching: {type(judge).__name__} has no method `features` (ids, mask) -> "
                "(batch, dim): give --discriminator.network seqgan_kit.networks.text.cnn.TextCNN, or one that has it"
            )

    def players(
        self, engine: Engine, config: Any, source: Source, network: nn.Module, judge: nn.Module
    ) -> tuple[SoftText, Discriminator[Tokens]]:
        if engine.processes > 1 and isinstance(self.matching, Means):
            raise UserError(
                "--adversarial.route.matching: means are of a whole batch, which several processes do not have: give "
                "seqgan_kit.tokens.soft.Gaussians, or one process"
            )
        rounds = max(1, config.adversarial.rounds)

        def make(module: nn.Module, count: int) -> SoftTokens:
            sharpness = self.sharpness ** min(1.0, engine.counters.get(ADVERSARIAL, 0) / rounds)
            return SoftTokens(*module(count, sharpness))

        drawn = Relaxed(network, source.length, source.end, self.straight_through)
        return _players(engine, config, drawn, judge, make, self.view(source), self.matching, self.penalty)


@dataclass(frozen=True)
class Convolutions(Route):
    """A generator of its own, from noise to all places of a text at once (Gulrajani et al. 2017, language model).

    There is no likelihood: give --likelihood.steps 0 and --control.enabled false. With the paper's critic,
    seqgan_kit.networks.text.residual_text.ResidualCritic, and seqgan_kit.algorithms.objectives.wasserstein.

    Args:
        noise: Number of random numbers that a text is made of.
        width: Channels of the generator's convolutions.
        blocks: Number of residual blocks of the generator, of two convolutions each.
        penalty: Weight of the gradient penalty of the critic. 0 has none.
    """

    noise: Count = 128
    width: Count = 512
    blocks: Blocks = 5
    penalty: NotNegative = 10.0

    def network(self, source: Source) -> NoiseToText | None:
        sizes = {"noise": self.noise, "width": self.width, "blocks": self.blocks}
        return NoiseToText(NoiseToTextConfig(source.vocabulary, source.length, source.end, **sizes))

    def view(self, source: Source) -> View:
        return partial(soft_text.filled, vocabulary=source.vocabulary, length=source.length, end=source.end)

    def check(self) -> None:
        for option, value in [("noise", self.noise), ("width", self.width), ("blocks", self.blocks)]:
            if value < 1:
                raise UserError(f"--adversarial.route.{option} {value}: give at least 1")

    def players(
        self, engine: Engine, config: Any, source: Source, network: nn.Module, judge: nn.Module
    ) -> tuple[SoftText, Discriminator[Tokens]]:
        def make(module: nn.Module, count: int) -> SoftTokens:
            weights = module(torch.randn(count, self.noise, device=engine.device))
            return SoftTokens(weights.argmax(-1), torch.ones_like(weights[..., 0], dtype=torch.bool), weights)

        return _players(engine, config, network, judge, make, self.view(source), None, self.penalty)


def _players(
    engine: Engine,
    config: Any,
    drawn: nn.Module,
    judge: nn.Module,
    make: Callable[[nn.Module, int], SoftTokens],
    view: View,
    matching: Matching | None,
    penalty: float,
) -> tuple[SoftText, Discriminator[Tokens]]:
    """drawn: the network from which `make` draws."""
    game, critic = config.adversarial, config.discriminator
    objective = critic.smoothed_objective()
    policy = engine.learner("policy", drawn, game.optimizer, dropout=False)
    scorer = engine.learner("discriminator", judge, critic.optimizer)
    own = soft_text.adversarial(objective) if matching is None else soft_text.matching(matching, engine, scorer)

    def penalised(module: nn.Module, real: Tokens, fake: Tokens) -> Tensor:
        return penalty * soft_text.penalty(module, real, fake, view)

    return (
        SoftText(engine, policy, game.batch_size, make, own, view),
        Discriminator(
            engine, scorer, critic.batch_size, objective, call, penalised if penalty else None, critic.passes,
            partial(soft_text.compare, view=view, apart=compares_rows(judge)), clip_weights=critic.clip_weights,
        ),
    )  # fmt: skip


def _check_reads(judge: nn.Module, real: SoftTokens) -> None:
    """Raises UserError where the discriminator can't read soft text."""
    try:
        with torch.no_grad():
            call(judge.eval(), real)
    except Exception as error:  # whatever a user's class makes of weights in place of ids
        raise UserError(
            f"--discriminator.network: {type(judge).__name__} can't read soft text, (batch, time, vocabulary) weights "
            f"in place of ids ({one_line(error)}): give seqgan_kit.networks.text.cnn.TextCNN, "
            "seqgan_kit.networks.text.lstm_discriminator.TextLSTM or, with texts of one length, "
            "seqgan_kit.networks.text.residual_text.ResidualCritic"
        ) from error
    finally:
        judge.train()
