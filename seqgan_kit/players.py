"""The two players of the game: what acts and learns from its score, and what scores and learns to tell apart."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from seqgan_kit import credit as credits
from seqgan_kit import estimators, rewards, sampling
from seqgan_kit.engine import Engine
from seqgan_kit.learning import Learner, Metrics, training
from seqgan_kit.objectives import Objective
from seqgan_kit.samples import Images, Tokens, Transitions, concatenate, rows, size

S = TypeVar("S", Tokens, Transitions, Images)
Scored = TypeVar("Scored", Tokens, Transitions, Images, contravariant=True)
Score = Callable[[S], Tensor]
"""sample -> logits, higher = more real: (batch,), or (batch, time) where every step is scored."""
PREFIXES = 512  # scored at a time
Baseline = Callable[[Tensor, Tensor], Tensor]
"""credit, mask -> credit less a baseline; all (batch, time)."""
Estimator = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""log_probs, old_log_probs, credit, mask -> a surrogate to minimise."""


Given = Callable[[Any, Tokens], sampling.TokenNetwork]
"""A network and samples -> what draws tokens under the contexts of these samples."""


def as_it_is(network: Any, real: Tokens) -> sampling.TokenNetwork:
    """Of sequences without a context."""
    return network


class SampleReward(Protocol):
    """What sequences earn."""

    def __call__(self, tokens: Tokens) -> Tensor:
        """Whole ones: (rows, time) -> (rows,)."""

    def prefixes(self, tokens: Tokens) -> Tensor:
        """What they earn so far: (rows, time) -> (rows, time), 0 on padding."""


class Credit(ABC):
    """From what sequences earn to the credit of each token. Built from (network, length, end) by the text task."""

    @abstractmethod
    def __call__(self, sampled: Tokens, earned: Tensor, reward: SampleReward) -> Tensor:
        """sampled: (batch, time); earned: (batch,), what they earned; reward: what others would. -> (batch, time)."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold beside the network; most credits keep nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027
        """The inverse."""


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


class MonteCarlo(Credit):
    """SeqGAN's credit: mean reward of roll-outs by a policy that lags behind the generator (Yu et al. 2017, sec. 3.1).

    Args:
        network: the generator, whose weights the lagging copy follows.
        length, end: of its sequences.
        rollouts: completions of each prefix, the paper's N.
        lag: share of its own weights that the copy keeps at each update; 0 rolls out the generator itself.
        chunk: completions scored at a time.
        given: the network under the contexts of samples.
    """

    def __init__(
        self,
        network: nn.Module,
        length: int,
        end: int | None,
        rollouts: int = 16,
        lag: float = 0.8,
        chunk: int = 512,
        given: Given = as_it_is,
    ) -> None:
        self.network, self.given = network, given
        self.lagging = deepcopy(network).requires_grad_(False)
        self.length, self.end, self.rollouts, self.lag, self.chunk = length, end, rollouts, lag, chunk
        self._follows = False

    def __call__(self, sampled: Tokens, earned: Tensor, reward: SampleReward) -> Tensor:
        self._follow()
        network = self.given(self.lagging.eval(), sampled)
        done = sampling.roll_out(network, sampled, self.rollouts, self.length, self.end)
        # a completion has its sample's context
        whole = rows(sampled, done.cells // sampled.ids.shape[1])
        whole = replace(whole, ids=done.tokens.ids, mask=done.tokens.mask)
        completed = sampling.in_chunks(reward, whole, self.chunk) if len(done.cells) else earned[:0]
        return credits.monte_carlo(completed, done.cells, earned, sampled.mask)

    def _follow(self) -> None:
        """Starts as the generator and then follows it: theta' <- lag * theta' + (1 - lag) * theta."""
        lag = self.lag if self._follows else 0.0
        for own, other in zip(self.lagging.parameters(), self.network.parameters(), strict=True):
            own.lerp_(other, 1 - lag)
        self._follows = True

    def state_dict(self) -> dict[str, Any]:
        return {"follows": self._follows, "network": self.lagging.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._follows = state["follows"]
        self.lagging.load_state_dict(state["network"])


class Terminal(Credit):
    """The whole sequence's reward to each of its tokens: cheap, and noisier than roll-outs."""

    def __init__(self, network: nn.Module, length: int, end: int | None) -> None:
        pass

    def __call__(self, sampled: Tokens, earned: Tensor, reward: SampleReward) -> Tensor:
        return credits.terminal(earned, sampled.mask)


class Prefixes(Credit):
    """What the discriminator makes of the sequence up to each token: REGS's (Li et al. 2017, sec. 3.2).

    It has to have learned from prefixes: then it costs a pass, where roll-outs cost hundreds.
    """

    def __init__(self, network: nn.Module, length: int, end: int | None) -> None:
        pass

    def __call__(self, sampled: Tokens, earned: Tensor, reward: SampleReward) -> Tensor:
        return reward.prefixes(sampled)


@dataclass
class TokenPolicy:
    """A generator of token sequences, improved by policy gradient.

    learner: its network is a `sampling.TokenNetwork` whose forward gives log-probabilities.
    length, end: greatest number of tokens, and the id that ends a sequence (None: all have `length`).
    reward: what a discriminator's logit is worth, `Objective.reward`.
    credit, baseline, estimator: the three slots of the policy gradient.
    passes: gradient steps on the same samples (PPO).
    user_rewards, decode: plain functions mixed in by weight, and what turns sequences into their strings.
    discriminator_weight: weight of the discriminator's reward; 0 trains on the user's rewards alone.
    """

    engine: Engine
    learner: Learner
    batch_size: int
    length: int
    end: int | None
    reward: Callable[[Tensor], Tensor]
    credit: Credit
    baseline: Baseline = credits.leave_one_out
    estimator: Estimator = estimators.reinforce
    passes: int = 1
    user_rewards: Sequence[rewards.Reward] = ()
    decode: Callable[[Tokens], list[str]] | None = None
    discriminator_weight: float = 1.0
    given: Given = as_it_is

    def sample(self, real: Tokens) -> Tokens:
        network = self.given(self.learner.network.eval(), real)
        drawn = sampling.sample(network, size(real), self.length, self.end)
        return replace(real, ids=drawn.ids, mask=drawn.mask)

    def update(self, real: Tokens, fake: Tokens, score: Score[Tokens]) -> Metrics:
        with torch.no_grad():
            reward = _Earned(self, score)
            earned, per_token = reward.whole(fake)
            credit = self.credit(fake, earned, reward)
            # what users give per token needs no estimate: what follows a token is its credit
            credit = self._centred(credit + credits.reward_to_go(per_token, fake.mask), fake.mask)
            old = self.learner.network(fake.ids) if self.passes > 1 else torch.zeros_like(credit)

        def loss(part: slice) -> tuple[Tensor, dict[str, Tensor]]:
            log_probs = self.learner.module(fake.ids[part])
            return self.estimator(log_probs, old[part], credit[part], fake.mask[part]), {}

        for _ in range(self.passes):
            metrics = self.engine.update(self.learner, loss, size(fake))
        return {
            "reward": earned.mean().item(),
            "length": fake.mask.sum(1).float().mean().item(),
            "gradient_norm": metrics["gradient_norm"],
        }

    def _user_rewards(self, tokens: Tokens) -> list[tuple[Tensor, Tensor | None]]:
        if not self.user_rewards:
            return []
        if self.decode is None:
            raise ValueError("user rewards need `decode`, which turns sequences into strings")
        texts = self.decode(tokens)
        lengths = tokens.mask.sum(1).tolist()
        ids = [row[:length] for row, length in zip(tokens.ids.tolist(), lengths, strict=True)]
        return [rewards.evaluate(reward, texts, ids) for reward in self.user_rewards]

    def _centred(self, credit: Tensor, mask: Tensor) -> Tensor:
        """The baseline sees the samples of all processes, so that two processes equal one on the joined batch."""
        if self.engine.processes == 1:
            return self.baseline(credit, mask)
        everyone, counted = self.engine.gather(credit), self.engine.gather(mask)
        mine = slice(self.engine.rank * len(credit), (self.engine.rank + 1) * len(credit))
        return self.baseline(everyone, counted)[mine, : credit.shape[1]]


class _Earned:
    """A policy's rewards by weight: its discriminator's, whose logits `score` gives, and its user's."""

    def __init__(self, policy: TokenPolicy, score: Score[Tokens]) -> None:
        self.policy, self.score = policy, score

    def __call__(self, tokens: Tokens) -> Tensor:
        return self.whole(tokens)[0]

    def whole(self, tokens: Tokens) -> tuple[Tensor, Tensor]:
        """The sum of all of whole sequences, (rows,), and what users gave per token, (rows, time)."""
        total = torch.zeros(size(tokens), device=tokens.ids.device)
        per_token = torch.zeros(tokens.ids.shape, device=tokens.ids.device)
        if self.policy.discriminator_weight:
            total += self.policy.discriminator_weight * self._worth(tokens)
        for whole, steps in self.policy._user_rewards(tokens):
            total += whole.to(total.device)
            if steps is not None:
                per_token[:, : steps.shape[1]] += steps.to(total.device)
        return total, per_token

    def prefixes(self, tokens: Tokens) -> Tensor:
        """The discriminator's reward of each prefix, (rows, time), and the user's of the whole for every token."""
        total = torch.zeros(tokens.ids.shape, device=tokens.ids.device)
        if self.policy.discriminator_weight:
            logits = self.score(tokens)
            worth = self.policy.reward(logits) if logits.dim() == 2 else self._worth_of_prefixes(tokens)
            total += self.policy.discriminator_weight * worth
        for whole, _ in self.policy._user_rewards(tokens):
            total += whole.to(total.device).unsqueeze(1)
        return total * tokens.mask

    def _worth(self, tokens: Tokens) -> Tensor:
        logits = self.score(tokens)
        if logits.dim() == 2:  # of every prefix: the last is the whole
            logits = logits.gather(1, tokens.mask.sum(1, keepdim=True) - 1).squeeze(1)
        return self.policy.reward(logits)

    def _worth_of_prefixes(self, tokens: Tokens) -> Tensor:
        """Each prefix as a row of its own, for a discriminator that judges whole rows."""
        owner, last = tokens.mask.nonzero(as_tuple=True)
        shown = torch.arange(tokens.ids.shape[1], device=owner.device) <= last.unsqueeze(1)
        worth = sampling.in_chunks(self._worth, replace(rows(tokens, owner), mask=shown), PREFIXES)
        return worth.new_zeros(tokens.ids.shape).index_put_((owner, last), worth)


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
    real, fake: (rows, ...), of as many rows as they have.
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

    def score(self, sample: S) -> Tensor:
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
            return value, {one.name: _accuracy(one) for one in found}

        for _ in range(self.passes):
            metrics = self.engine.update(self.learner, loss, size(real))
        return {f"discriminator_{name}": value for name, value in metrics.items()}

    def _compare(self, module: nn.Module, real: S, fake: S) -> list[Comparison]:
        # one forward of the prepared module, which several processes need
        logits = self.call(module, concatenate([real, fake]))
        return [Comparison("accuracy", 1.0, logits[: size(real)], logits[size(real) :])]


def _accuracy(found: Comparison) -> Tensor:
    return ((found.real > 0).float().mean() + (found.fake <= 0).float().mean()) / 2
