"""The two players of the game: what acts and learns from its score, and what scores and learns to tell apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from seqgan_kit.algorithms.objectives import Objective
from seqgan_kit.engine import sharding
from seqgan_kit.engine.engine import Engine
from seqgan_kit.engine.learning import Learner, Metrics, training
from seqgan_kit.game import rewards
from seqgan_kit.samples import Images, Replies, S, SoftTokens, Tokens, Transitions, concatenate, rows, size

Scored = TypeVar("Scored", Tokens, SoftTokens, Replies, Transitions, Images, contravariant=True)
ACCURACY, FRESH = "accuracy", "fresh"  # of a discriminator: on a batch; on samples that it has not learnt from before
Score = Callable[[S], Tensor]
"""sample -> logits, higher = more real: (batch,), or (batch, time) where every step is scored."""
Baseline = Callable[[Tensor, Tensor], Tensor]
"""credit, mask -> credit less a baseline; all (batch, time)."""
Estimator = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""log_probs, old_log_probs, credit, mask -> a surrogate to minimise."""


class GeneratorPlayer(Protocol[S]):
    """What acts. `batch_size` counts over all processes."""

    batch_size: int

    def sample(self, real: S) -> S:
        """One action sequence for each row of `real`, under its context. No gradient is kept for a policy."""

    def update(self, real: S, fake: S, score: Score[S]) -> Metrics:
        """One improvement from its own samples."""


class DiscriminatorPlayer(Protocol[Scored]):
    """What scores. `batch_size` counts real rows over all processes; it sees as many fake ones."""

    batch_size: int

    def score(self, sample: Scored) -> Tensor:
        """Logits, higher = more real."""

    def update(self, real: Scored, fake: Scored) -> Metrics:
        """One improvement at telling real from fake."""


@dataclass
class Differentiable:
    """A generator of pictures whose own samples are differentiated: the gradient of -reward goes through them.

    Its network's forward takes noise and condition, (batch, dim) each, and gives pixels (batch, channels, height,
    width) and what drawing the condition cost (batch,).

    noise: width of the noise.
    reward: what a discriminator's logit is worth, `Objective.reward`; of several logits a picture, the sum.
    interpolate: conditions of a batch -> further ones, for which nothing real exists (GAN-INT).
    interpolated: weight of their mean reward beside that of the batch.
    divergence: weight of the mean of `Images.divergence`.
    user_rewards: differentiable functions of the pictures, with weights.
    discriminator_weight: weight of the discriminator's reward.
    """

    engine: Engine
    learner: Learner
    batch_size: int
    noise: int
    reward: Callable[[Tensor], Tensor]
    interpolate: Callable[[Tensor], Tensor] | None = None
    interpolated: float = 1.0
    divergence: float = 0.0
    user_rewards: Sequence[rewards.PictureReward] = ()
    discriminator_weight: float = 1.0

    def sample(self, real: Images) -> Images:
        """Pictures under the conditions of `real`, then those under interpolated ones; with their graph."""
        condition = real.condition
        if self.interpolate is not None:
            condition = torch.cat([condition, self.interpolate(condition)])
        noise = torch.randn(len(condition), self.noise, device=condition.device)
        whole = self.learner.config.accumulate == 1  # else `update` makes them again, part by part
        with torch.set_grad_enabled(whole and torch.is_grad_enabled()):
            return self._make(noise, condition)

    def _make(self, noise: Tensor, condition: Tensor) -> Images:
        training(self.learner)
        pixels, divergence = self.learner.module(noise, condition)
        return Images(pixels, condition, noise=noise, divergence=divergence)

    def update(self, real: Images, fake: Images, score: Score[Images]) -> Metrics:
        own = size(real)
        # a row's weight: the mean over the batch, and that over interpolated conditions
        weights = torch.full((size(fake),), 1 / own, device=fake.pixels.device)
        weights[own:] = self.interpolated / max(1, size(fake) - own)

        def loss(part: slice) -> tuple[Tensor, dict[str, Tensor]]:
            some = rows(fake, part)
            if not some.pixels.requires_grad:
                some = self._make(some.noise, some.condition)
            share, count = weights[part], size(some) / size(fake)  # `engine.update` weighs parts by their rows
            earned = self._earned(some, score)
            spread = (share * some.divergence).sum()
            value = (self.divergence * spread - (share * earned).sum()) / count
            return value, {"reward": (share * earned).sum().detach() / count, "divergence": spread.detach() / count}

        metrics = self.engine.update(self.learner, loss, size(fake))
        return {f"generator_{name}" if "gradient" in name or name == "loss" else name: v for name, v in metrics.items()}

    def _earned(self, fake: Images, score: Score[Images]) -> Tensor:
        total = torch.zeros(size(fake), device=fake.pixels.device)
        if self.discriminator_weight:
            worth = self.reward(score(fake))
            total = total + self.discriminator_weight * worth.reshape(len(worth), -1).sum(1)
        for reward in self.user_rewards:
            total = total + rewards.evaluate_pictures(reward, fake)
        return total


@dataclass(frozen=True)
class Comparison:
    """Logits of real samples and of others, and how much telling them apart counts.

    name: of its accuracy in the metrics.
    real, fake: (rows, ...), of as many rows as they have; all that the objective takes.
    """

    name: str
    weight: float
    real: Tensor
    fake: Tensor


@dataclass
class Discriminator(Generic[S]):
    """A network that scores samples, an objective, and how the network is called on a sample.

    There may be more fake rows than real ones, or fewer: the objective takes the mean of each.

    call: (module, sample) -> logits.
    regulariser: (module, real, fake) -> a term added to the loss (gradient penalty, weight decay of one layer).
    passes: optimiser steps on the same batch.
    compare: (module, real, fake) -> what is told apart; unset tells real from fake. Where there is more than that
        (real pictures with captions that do not fit them), the losses are added by weight.
    batch_statistics: score with batch normalisation's statistics of the samples that are scored, as papers on
        pictures do, not with the running ones.
    clip_weights: bound of each weight's size, kept after every step (WGAN, Arjovsky et al. 2017, alg. 1); 0 has none.
    """

    engine: Engine
    learner: Learner
    batch_size: int
    objective: Objective
    call: Callable[[nn.Module, S], Tensor]
    regulariser: Callable[[nn.Module, S, S], Tensor] | None = None
    passes: int = 1
    compare: Callable[[nn.Module, S, S], Sequence[Comparison]] | None = None
    batch_statistics: bool = False
    clip_weights: float = 0.0

    def score(self, sample: S) -> Tensor:
        sharding.gather(self.learner.network)
        # eval: a reward with dropout in it would be noise
        return self.call(self.learner.network.train(self.batch_statistics), sample)

    def update(self, real: S, fake: S) -> Metrics:
        ratio = size(fake) / size(real)
        compare = self.compare or self._compare

        def loss(part: slice) -> tuple[Tensor, dict[str, Tensor]]:
            some_real = rows(real, part)
            some_fake = rows(fake, slice(round(part.start * ratio), round(part.stop * ratio)))
            found = compare(self.learner.module, some_real, some_fake)
            distance = self.objective.distance
            extra = () if distance is None else (distance(some_real, some_fake),)
            value = torch.stack([one.weight * self.objective.loss(one.real, one.fake, *extra) for one in found]).sum()
            if self.regulariser is not None:
                value = value + self.regulariser(self.learner.module, some_real, some_fake)
            return value, {one.name: _accuracy(one, self.objective) for one in found}

        fresh: Metrics = {}
        for _ in range(self.passes):
            metrics = self.engine.update(self.learner, loss, size(real), twice=self.regulariser is not None)
            fresh = fresh or ({FRESH: metrics[ACCURACY]} if self.passes > 1 and ACCURACY in metrics else {})
            if self.clip_weights:
                with torch.no_grad():
                    for parameter in self.learner.parameters:
                        parameter.clamp_(-self.clip_weights, self.clip_weights)
        return {f"discriminator_{name}": value for name, value in (metrics | fresh).items()}

    def _compare(self, module: nn.Module, real: S, fake: S) -> list[Comparison]:
        # one forward of the prepared module, which several processes need
        logits = self.call(module, concatenate([real, fake]))
        return [Comparison(ACCURACY, 1.0, logits[: size(real)], logits[size(real) :])]


def _accuracy(found: Comparison, objective: Objective) -> Tensor:
    real, fake = objective.logit(found.real), objective.logit(found.fake)
    bound = (real.mean() + fake.mean()) / 2 if objective.relative else 0.0
    return ((real > bound).float().mean() + (fake <= bound).float().mean()) / 2


def of_turn(metrics: Metrics, turn: int) -> Metrics:
    """Metrics of a discriminator's turn on samples that the other turns of the round learn from, too: they are fresh in
    the first one alone."""
    rest = {name: value for name, value in metrics.items() if name != f"discriminator_{FRESH}"}
    accuracy = metrics.get(f"discriminator_{FRESH}", metrics.get(f"discriminator_{ACCURACY}"))
    return rest if turn or accuracy is None else rest | {f"discriminator_{FRESH}": accuracy}
