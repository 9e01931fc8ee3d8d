"""The generator of text and dialogue: a policy over tokens, improved by policy gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from seqgan_kit.algorithms import credit as credits
from seqgan_kit.algorithms import estimators
from seqgan_kit.engine.engine import Engine
from seqgan_kit.engine.learning import Learner, Metrics
from seqgan_kit.game import rewards
from seqgan_kit.game.players import Baseline, Estimator, Score
from seqgan_kit.networks import tuning
from seqgan_kit.samples import Tokens, rows, size
from seqgan_kit.tokens import sampling
from seqgan_kit.tokens.credit import Credit
from seqgan_kit.tokens.discriminator import AT_ONCE


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
class TokenPolicy:
    """A generator of token sequences, improved by policy gradient.

    learner: its network is a `sampling.TokenNetwork`, or gives one under the samples' context; its forward gives
        log-probabilities (batch, time) of ids (batch, time), of the context, and of `mask`, 0 where that is False.
    length, end: greatest number of tokens, and the id that ends a sequence (None: all have `length`).
    reward: what a discriminator's logit is worth, `Objective.reward`.
    odds: what stands in the reward's place in `LikelihoodRatio`, log D / (1 - D): the logit, and what is added to it.
    credit, baseline, estimator: the three slots of the policy gradient.
    passes: gradient steps on the same samples (PPO).
    user_rewards, decode: plain functions mixed in by weight, and what turns sequences into their strings.
    discriminator_weight: weight of the discriminator's reward; 0 trains on the user's rewards alone.
    columns: what else these functions may ask for, by name, one of each for each sequence.
    critic: a learned baseline, taken off before the other one.
    anchor: what the generator must stay near to.
    teacher_forcing: likelihood steps on the real batch after each update (Li et al. 2017, algorithm 1).
    prefixes: the discriminator's logits of every prefix in one pass, (batch, time); without it, each prefix is scored
        as a row of its own.
    given: how many first tokens a sample takes from its real one, now (Che et al. 2017, sec. 3.3, MaliGAN's mixed
        scheme). On them the credit is 1, which is maximum likelihood.
    scored_at_once: the greatest number of completions or prefixes that the discriminator is given in one call.
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
    columns: Callable[[Tokens], dict[str, list[Any]]] | None = None
    critic: Critic | None = None
    anchor: Anchor | None = None
    teacher_forcing: int = 0
    prefixes: Callable[[Tokens], Tensor] | None = None
    given: Callable[[], int] | None = None
    odds: Callable[[Tensor], Tensor] = lambda judged: judged
    scored_at_once: int = AT_ONCE

    def sample(self, real: Tokens) -> Tokens:
        network = sampling.with_context(self.learner.network.eval(), real)
        given = None if self.given is None else real.ids[:, : self.given()]
        drawn = sampling.sample(network, size(real), self.length, self.end, given=given)
        return replace(real, ids=drawn.ids, mask=drawn.mask)

    def update(self, real: Tokens, fake: Tokens, score: Score[Tokens]) -> Metrics:
        metrics: Metrics = {}
        own = self._own(fake.mask)
        with torch.no_grad():
            reward = _Earned(self, score)
            earned, per_token = reward.whole(fake)
            if self.anchor is not None:
                drift = self._drift(fake, self.anchor.network)
                per_token = per_token - self.anchor.weight * drift
                metrics["kl"] = (drift.sum() / fake.mask.sum()).item()
            # what is given per token needs no estimate: what follows a token is its credit
            target = self.credit(fake, earned, reward) + credits.reward_to_go(per_token, fake.mask)
            credit = target
            if self.critic is not None:
                network: Any = self.learner.network.eval()
                features = network.features(fake.ids, *fake.context)
                credit = target - self.critic.values(features)
            credit = self._centred(credit * own, own)
            if self.given is not None:
                credit = credit + (fake.mask & ~own)
        metrics |= self._improve(fake, credit)
        if self.critic is not None:
            metrics |= self.critic.update(features, target, own)
        for _ in range(self.teacher_forcing):
            metrics["nll"] = self._teach(real)
        return {
            "reward": earned.mean().item(),
            "length": fake.mask.sum(1).float().mean().item(),
            **metrics,
        }

    def _own(self, mask: Tensor) -> Tensor:
        """Which tokens the generator drew itself, (batch, time)."""
        if self.given is None:
            return mask
        own = mask.clone()
        own[:, : self.given()] = False
        return own

    def _improve(self, fake: Tokens, credit: Tensor) -> Metrics:
        old, first = torch.zeros_like(credit), True

        def loss(part: slice) -> tuple[Tensor, dict[str, Tensor]]:
            log_probs = self.learner.module(fake.ids[part], *rows(fake, part).context, mask=fake.mask[part])
            if first:  # so that the ratio is 1, whatever the precision
                old[part] = log_probs.detach()
            return self.estimator(log_probs, old[part], credit[part], fake.mask[part]), {}

        for _ in range(self.passes):
            metrics = self.engine.update(self.learner, loss, size(fake))
            first = False
        return {"gradient_norm": metrics["gradient_norm"]}

    def _teach(self, real: Tokens) -> float:
        def loss(part: slice) -> tuple[Tensor, dict[str, Tensor]]:
            return likelihood_loss(self.learner.module, rows(real, part))

        return self.engine.update(self.learner, loss, size(real))["nll"]

    def _drift(self, fake: Tokens, frozen: nn.Module) -> Tensor:
        now = self.learner.network.eval()(fake.ids, *fake.context, mask=fake.mask)
        then: Tensor = frozen.eval()(fake.ids, *fake.context, mask=fake.mask)
        return now - then

    def _user_rewards(self, tokens: Tokens) -> list[tuple[Tensor, Tensor | None]]:
        if not self.user_rewards:
            return []
        if self.decode is None:
            raise ValueError("user rewards need `decode`, which turns sequences into strings")
        texts = self.decode(tokens)
        lengths = tokens.mask.sum(1).tolist()
        ids = [row[:length] for row, length in zip(tokens.ids.tolist(), lengths, strict=True)]
        columns = {} if self.columns is None else self.columns(tokens)
        return [rewards.evaluate(reward, texts, ids, columns) for reward in self.user_rewards]

    def _centred(self, credit: Tensor, mask: Tensor) -> Tensor:
        """The baseline sees the samples of all processes, so that two processes equal one on the joined batch."""
        if self.engine.processes == 1:
            return self.baseline(credit, mask)
        everyone, counted = self.engine.gather(credit), self.engine.gather(mask)
        mine = slice(self.engine.rank * len(credit), (self.engine.rank + 1) * len(credit))
        return self.baseline(everyone, counted)[mine, : credit.shape[1]]


def likelihood_loss(module: nn.Module, batch: Tokens) -> tuple[Tensor, dict[str, Tensor]]:
    """Teacher forcing on a batch; `nll` is in nats per token."""
    log_probs = module(batch.ids, *batch.context, mask=batch.mask)
    loss = estimators.maximum_likelihood(log_probs, batch.mask)
    return loss, {"nll": loss.detach() * len(batch.ids) / batch.mask.sum()}


class _Earned:
    """A policy's rewards by weight: its discriminator's, whose logits `score` gives, and its user's."""

    def __init__(self, policy: TokenPolicy, score: Score[Tokens]) -> None:
        self.policy, self.score = policy, score

    def __call__(self, tokens: Tokens) -> Tensor:
        """Of completions: no more of them at a time than who scores them takes."""
        earned = torch.zeros(size(tokens), device=tokens.ids.device)
        if self.policy.discriminator_weight:
            earned += self.policy.discriminator_weight * self._worth(tokens)
        if self.policy.user_rewards:
            at_once = tuning.sizes(tokens.ids.device).rewarded_rows
            earned += sampling.in_chunks(lambda some: self._users(some)[0], tokens, at_once)
        return earned

    def whole(self, tokens: Tokens) -> tuple[Tensor, Tensor]:
        """The sum of all of whole sequences, (rows,), and what users gave per token, (rows, time)."""
        total, per_token = self._users(tokens)
        if self.policy.discriminator_weight:
            total += self.policy.discriminator_weight * self.policy.reward(self.score(tokens))
        return total, per_token

    def _users(self, tokens: Tokens) -> tuple[Tensor, Tensor]:
        total = torch.zeros(size(tokens), device=tokens.ids.device)
        per_token = torch.zeros(tokens.ids.shape, device=tokens.ids.device)
        for whole, steps in self.policy._user_rewards(tokens):
            total += whole.to(total.device)
            if steps is not None:
                per_token[:, : steps.shape[1]] += steps.to(total.device)
        return total, per_token

    def log_ratio(self, tokens: Tokens, earned: Tensor) -> Tensor:
        """`earned`, with the discriminator's logit in place of its reward, (rows,)."""
        if not self.policy.discriminator_weight:
            return earned
        logits = self.score(tokens)
        return earned + self.policy.discriminator_weight * (self.policy.odds(logits) - self.policy.reward(logits))

    def jointly(self, function: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
        """The function of all processes' values, and of its result the own rows, (rows,)."""
        engine = self.policy.engine
        everyone = function(engine.gather(values.unsqueeze(1)).squeeze(1))
        return everyone[engine.rank * len(values) : (engine.rank + 1) * len(values)]

    def prefixes(self, tokens: Tokens) -> Tensor:
        """The discriminator's reward of each prefix, (rows, time), 0 on padding."""
        if not self.policy.discriminator_weight:
            return torch.zeros(tokens.ids.shape, device=tokens.ids.device)
        at_once = self.policy.prefixes
        worth = self._worth_of_prefixes(tokens) if at_once is None else self.policy.reward(at_once(tokens))
        return self.policy.discriminator_weight * worth * tokens.mask

    def _worth(self, tokens: Tokens) -> Tensor:
        return self.policy.reward(sampling.in_chunks(self.score, tokens, self.policy.scored_at_once))

    def _worth_of_prefixes(self, tokens: Tokens) -> Tensor:
        """Each prefix as a row of its own, for a discriminator that judges whole rows."""
        owner, place = tokens.mask.nonzero(as_tuple=True)
        shown = torch.arange(tokens.ids.shape[1], device=owner.device) <= place.unsqueeze(1)
        worth = self._worth(replace(rows(tokens, owner), mask=shown))
        return worth.new_zeros(tokens.ids.shape).index_put_((owner, place), worth)
