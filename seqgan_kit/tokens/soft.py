"""The generator of text as a player that learns through its own soft samples, and its discriminator's part in that."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqgan_kit.algorithms import objectives
from seqgan_kit.algorithms.objectives import Objective
from seqgan_kit.bounds import Positive
from seqgan_kit.engine.engine import Engine
from seqgan_kit.engine.learning import Learner, Metrics, training
from seqgan_kit.game.players import Comparison, Score
from seqgan_kit.samples import SoftTokens, Tokens, concatenate, rows, size, soft
from seqgan_kit.tokens import sampling
from seqgan_kit.tokens.discriminator import call, compare_apart, judged

View = Callable[[Tokens], SoftTokens]
"""Real text as the discriminator is shown it beside soft text."""
Loss = Callable[[SoftTokens, SoftTokens, Score[Tokens]], Tensor]
"""real, fake with its graph, score -> what the generator minimises, a scalar."""


@dataclass
class SoftText:
    """A generator of text whose own samples are differentiated.

    No `players.Differentiable`: that adds up what each picture costs, under conditions for some of which nothing real
    exists; the losses here compare a batch of real text with one of its own (relativistic, matching), and are no sums.

    make: (prepared module, rows) -> so many samples, with their graph.
    view: of real text, beside which the loss compares them.
    """

    engine: Engine
    learner: Learner
    batch_size: int
    make: Callable[[nn.Module, int], SoftTokens]
    loss: Loss
    view: View

    def sample(self, real: Tokens) -> Tokens:
        """As many samples as there are real rows, with their graph where one is wanted."""
        whole = self.learner.config.accumulate == 1  # else `update` makes others, part by part
        training(self.learner)
        with torch.set_grad_enabled(whole and torch.is_grad_enabled()):
            return self.make(self.learner.module, size(real))

    def update(self, real: Tokens, fake: Tokens, score: Score[Tokens]) -> Metrics:
        assert isinstance(fake, SoftTokens)

        def loss(part: slice) -> tuple[Tensor, dict[str, Tensor]]:
            some = rows(fake, part)
            if not some.weights.requires_grad:
                some = self.make(self.learner.module, size(some))
            found = self.loss(self.view(rows(real, part)), some, score)
            return found, {"certainty": (some.weights.detach().amax(-1) * some.mask).sum() / some.mask.sum()}

        found = self.engine.update(self.learner, loss, size(fake))
        length = fake.mask.sum(1).float().mean().item()
        return {"generator_loss": found.pop("loss"), "length": length, **found}


class Relaxed(nn.Module):
    """A token network whose forward draws soft text, so that what is differentiated goes through a forward.

    length, end: of its texts. straight_through: see `gumbel_softmax`.
    """

    def __init__(self, network: nn.Module, length: int, end: int | None, straight_through: bool = False) -> None:
        super().__init__()
        self.network = network
        self.length, self.end, self.straight_through = length, end, straight_through

    def forward(self, batch: int, sharpness: float) -> tuple[Tensor, Tensor, Tensor]:
        """ids, mask and weights of `SoftTokens`."""
        network: Any = self.network
        drawn = sampling.soft_sample(network, batch, self.length, self.end, sharpness, self.straight_through)
        return drawn.ids, drawn.mask, drawn.weights


def adversarial(objective: Objective) -> Loss:
    """The objective's own loss of a pathwise generator, or the mean of -reward."""

    def loss(real: SoftTokens, fake: SoftTokens, score: Score[Tokens]) -> Tensor:
        if objective.pathwise is not None:
            return objective.pathwise(score(real), score(fake))
        return -objective.reward(score(fake)).mean()

    return loss


def matching(distance: Matching, engine: Engine, judge: Learner) -> Loss:
    """The distance of real and fake features, (rows, dim), those of the discriminator's last layer."""

    def loss(real: SoftTokens, fake: SoftTokens, score: Score[Tokens]) -> Tensor:
        with engine.drawing(judge) as network:
            features = [network.features(one.read, one.mask).float() for one in (real, fake)]
        return distance(*features)

    return loss


class Matching(ABC):
    """A distance between two sets of features."""

    @abstractmethod
    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        """(rows, dim) each -> a scalar."""


@dataclass(frozen=True)
class Means(Matching):
    """The squared distance of mean features (feature matching, Salimans et al. 2016): `objectives.mean_matching`."""

    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        return objectives.mean_matching(first, second)


@dataclass(frozen=True)
class Gaussians(Matching):
    """The maximum mean discrepancy with Gaussian kernels (TextGAN, Zhang et al. 2017): `objectives.mmd`.

    Args:
        bandwidths: Standard deviation of each Gaussian kernel. The default is of Li et al. 2015 (generative moment
            matching networks).
    """

    bandwidths: Sequence[Positive] = (2.0, 5.0, 10.0, 20.0, 40.0, 80.0)

    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        return objectives.mmd(first, second, self.bandwidths)


def compare(module: nn.Module, real: Tokens, fake: Tokens, view: View, apart: bool) -> list[Comparison]:
    """Real text, as weights, against soft text. apart: see `compare_apart`."""
    if apart:
        return compare_apart(module, view(real), fake)
    return [Comparison("accuracy", 1.0, *judged(module, [view(real), fake], prefixes=False))]


def penalty(module: nn.Module, real: Tokens, fake: Tokens, view: View) -> Tensor:
    """`objectives.gradient_penalty` at texts between real and soft ones, place by place and token by token.

    Of two lengths, the text between has the greater, and what is missing in the other weighs nothing.
    """
    both = concatenate([view(real), fake])
    assert isinstance(both, SoftTokens)
    one, other = (both.weights * both.mask.unsqueeze(-1)).split([size(real), size(fake)])
    mask = both.mask[: size(real)] | both.mask[size(real) :]

    def critic(weights: Tensor) -> Tensor:
        return call(module, SoftTokens(weights.argmax(-1), mask, weights))

    return objectives.gradient_penalty(critic, one, other)


def filled(tokens: Tokens, vocabulary: int, length: int, end: int | None) -> SoftTokens:
    """Real text as one-hot weights, all of `length`: after its end come end tokens, which count, too."""
    last = end or 0
    ids = F.pad(tokens.ids.masked_fill(~tokens.mask, last), (0, length - tokens.ids.shape[1]), value=last)
    return soft(Tokens(ids, torch.ones_like(ids, dtype=torch.bool)), vocabulary)
