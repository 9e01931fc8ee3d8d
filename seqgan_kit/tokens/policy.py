"""The generator of text and dialogue: a policy over tokens, improved by policy gradient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from seqgan_kit.algorithms import credit as credits
from seqgan_kit.algorithms import estimators
from seqgan_kit.engine.engine import Engine
from seqgan_kit.engine.learning import Learner, Metrics
from seqgan_kit.game.players import Baseline, Estimator, Score
from seqgan_kit.samples import Tokens, concatenate, rows, size
from seqgan_kit.tokens import sampling
from seqgan_kit.tokens.credit import Credit
from seqgan_kit.tokens.decoding import beam_search
from seqgan_kit.tokens.rewards import Earned, Rewards


@dataclass
class Critic:
    """What a policy may expect to earn after the tokens so far: a baseline that is learned.

    A head on the generator's features, which it does not move (the code of Li et al. 2017: linear, from 0).

    learner: its network takes features (batch, time, width) and gives values (batch, time).
    """

    engine: Engine
    learner: Learner

    def values(self, features: Tensor) -> Tensor:
        values: Tensor = self.learner.network(features)
        return values.float()

    def update(self, features: Tensor, target: Tensor, mask: Tensor) -> Metrics:
        """One step towards the credit that there was, (batch, time), by least squares."""

        def loss(part: slice) -> tuple[Tensor, dict[str, Tensor]]:
            missing = (self.learner.module(features[part]).float() - target[part]) * mask[part]
            return missing.square().sum() / len(missing), {}

        found = self.engine.update(self.learner, loss, len(target))
        return {"critic_loss": found["loss"]}


@dataclass
class Anchor:
    """A frozen copy of the generator, from which it is not to drift.

    weight: of log p - log p_frozen of each token, which is taken from the reward of the token.
    """

    network: nn.Module
    weight: float


@dataclass
class PolicyGradient:
    """How credit becomes a gradient.

    baseline: what is taken off the credit, function of (credit, mask), (batch, time). critic: one that is learned,
    taken off before it. estimator: the surrogate that is minimised. passes: gradient steps on the same samples (PPO).
    """

    baseline: Baseline = credits.leave_one_out
    critic: Critic | None = None
    estimator: Estimator = estimators.reinforce
    passes: int = 1


@dataclass
class WithLikelihood:
    """Maximum likelihood beside the policy gradient.

    teacher_forcing: likelihood steps on the real batch after each update (Li et al. 2017, algorithm 1).
    prefix: how many first tokens a sample takes from its real one, now (Che et al. 2017, sec. 3.3, MaliGAN's mixed
        scheme). On them the credit is 1, which is maximum likelihood.
    """

    teacher_forcing: int = 0
    prefix: Callable[[], int] | None = None


@dataclass(kw_only=True)
class TokenPolicy:
    """A generator of token sequences, improved by policy gradient.

    learner: its network is a `sampling.TokenNetwork`, or gives one under the samples' context; its forward gives
        log-probabilities (batch, time) of ids (batch, time), of the context, and of `mask`, 0 where that is False.
    batch_size: sequences sampled for an update, over all processes.
    length, end: greatest number of tokens, and the id that ends a sequence (None: all have `length`).
    rewards: what sequences earn. credit: what of it each token does. gradient: what is made of that.
    anchor: what the generator must stay near to.
    likelihood: what it learns by maximum likelihood beside.
    """

    engine: Engine
    learner: Learner
    batch_size: int
    length: int
    end: int | None
    rewards: Rewards
    credit: Credit
    gradient: PolicyGradient = field(default_factory=PolicyGradient)
    anchor: Anchor | None = None
    likelihood: WithLikelihood = field(default_factory=WithLikelihood)

    def sample(self, real: Tokens) -> Tokens:
        given = None if self.likelihood.prefix is None else real.ids[:, : self.likelihood.prefix()]
        with self.engine.drawing(self.learner) as network:
            network = sampling.with_context(network, real)
            drawn = sampling.sample(network, size(real), self.length, self.end, given=given)
        return replace(real, ids=drawn.ids, mask=drawn.mask)

    def update(self, real: Tokens, fake: Tokens, score: Score[Tokens]) -> Metrics:
        told: dict[str, Tensor] = {}
        drawn, critic = self._drawn(fake.mask), self.gradient.critic
        with torch.no_grad():
            reward = Earned(self.rewards, score, self.engine)
            earned, per_token = reward.whole(fake)
            if self.anchor is not None:
                drift = self._drift(fake, self.anchor.network)
                per_token = per_token - self.anchor.weight * drift
                told["kl"] = drift.sum() / fake.mask.sum()
            # what is given per token needs no estimate: what follows a token is its credit
            target = self.credit(fake, earned, reward) + credits.reward_to_go(per_token, fake.mask)
            credit = target
            if critic is not None:
                with self.engine.drawing(self.learner) as network:
                    features = network.features(fake.ids, *fake.context)
                credit = target - critic.values(features)
            credit = self._less_baseline(credit * drawn, drawn)
            if self.likelihood.prefix is not None:
                credit = credit + (fake.mask & ~drawn)
        told = {"reward": earned.mean(), "length": fake.mask.sum(1).float().mean(), **told}
        metrics = self._improve(fake, credit, drawn)
        if critic is not None:
            metrics |= critic.update(features, target, drawn)
        for _ in range(self.likelihood.teacher_forcing):
            metrics["nll"] = self._teach(real)
        # a GPU is waited for once, for all of them
        return dict(zip(told, torch.stack(list(told.values())).tolist(), strict=True)) | metrics

    def _drawn(self, mask: Tensor) -> Tensor:
        """Which tokens the generator drew itself, (batch, time): all but those of a real prefix."""
        if self.likelihood.prefix is None:
            return mask
        drawn = mask.clone()
        drawn[:, : self.likelihood.prefix()] = False
        return drawn

    def _improve(self, fake: Tokens, credit: Tensor, drawn: Tensor) -> Metrics:
        """Of the metrics, the entropy of the tokens drawn, and, of several passes, the KL divergence before the last
        one, both in nats a token, as the samples estimate them."""
        old, first = torch.zeros_like(credit), True
        metrics: Metrics = {}

        def loss(part: slice) -> tuple[Tensor, dict[str, Tensor]]:
            log_probs = self.learner.module(fake.ids[part], *rows(fake, part).context, mask=fake.mask[part])
            if first:  # so that the ratio is 1, whatever the precision
                old[part] = log_probs.detach()
            value = self.gradient.estimator(log_probs, old[part], credit[part], fake.mask[part])
            counted, now = drawn[part], log_probs.detach()
            if first:
                told = {"entropy": -(now * counted).sum()}
            else:  # exp(-d) - 1 + d of d = log p_old - log p is never below 0 (Schulman 2020, Approximating KL)
                moved = old[part] - now
                told = {"divergence": (((-moved).exp() - 1 + moved) * counted).sum()}
            return value, {name: total / counted.sum().clamp_min(1) for name, total in told.items()}

        for _ in range(self.gradient.passes):
            metrics |= self.engine.update(self.learner, loss, size(fake))
            first = False
        return {name: value for name, value in metrics.items() if name != "loss"}

    def _teach(self, real: Tokens) -> float:
        def loss(part: slice) -> tuple[Tensor, dict[str, Tensor]]:
            return likelihood_loss(self.learner.module, rows(real, part))

        return self.engine.update(self.learner, loss, size(real))["nll"]

    def _drift(self, fake: Tokens, frozen: nn.Module) -> Tensor:
        with self.engine.drawing(self.learner) as network:
            now: Tensor = network(fake.ids, *fake.context, mask=fake.mask)
        with self.engine.drawing(frozen) as network:
            return now - network(fake.ids, *fake.context, mask=fake.mask)

    def _less_baseline(self, credit: Tensor, mask: Tensor) -> Tensor:
        """The baseline sees the samples of all processes, so that two processes equal one on the joined batch."""
        if self.engine.processes == 1:
            return self.gradient.baseline(credit, mask)
        everyone, counted = self.engine.gather(credit), self.engine.gather(mask)
        mine = slice(self.engine.rank * len(credit), (self.engine.rank + 1) * len(credit))
        return self.gradient.baseline(everyone, counted)[mine, : credit.shape[1]]


@dataclass
class HalfDecoded:
    """A policy for the discriminator's warm-up: half of its replies are sampled, half found by beam search."""

    policy: TokenPolicy
    width: int

    @property
    def batch_size(self) -> int:
        return self.policy.batch_size

    def sample(self, real: Tokens) -> Tokens:
        half = size(real) // 2
        given = rows(real, slice(half, None))
        with self.policy.engine.drawing(self.policy.learner) as network:
            network = sampling.with_context(network, given)
            found = beam_search(network, size(given), self.policy.length, self.policy.end, width=self.width).tokens
        best = rows(found, torch.arange(0, size(found), self.width, device=found.ids.device))
        sampled = self.policy.sample(rows(real, slice(half)))
        return concatenate([sampled, replace(given, ids=best.ids, mask=best.mask)])

    def update(self, real: Tokens, fake: Tokens, score: Any) -> Metrics:
        raise NotImplementedError("a warm-up has no turn of the generator")


def likelihood_loss(module: nn.Module, batch: Tokens) -> tuple[Tensor, dict[str, Tensor]]:
    """Teacher forcing on a batch; `nll` is in nats per token."""
    log_probs = module(batch.ids, *batch.context, mask=batch.mask)
    loss = estimators.maximum_likelihood(log_probs, batch.mask)
    return loss, {"nll": loss.detach() * len(batch.ids) / batch.mask.sum()}
