"""What a policy over tokens earns: its discriminator's judgement and its user's functions, by weight."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from seqgan_kit.engine.engine import Engine
from seqgan_kit.game import rewards
from seqgan_kit.game.players import Score
from seqgan_kit.networks import device_sizes
from seqgan_kit.samples import Tokens, rows, sent, size, size_in_bytes
from seqgan_kit.tokens import sampling
from seqgan_kit.tokens.discriminator import AT_ONCE


@dataclass
class Rewards:
    """The sources of a policy's reward.

    of_logit: what a discriminator's logit is worth, `Objective.reward`.
    log_ratio: log D / (1 - D) of what the discriminator gives, which `LikelihoodRatio` takes in the reward's place.
    discriminator_weight: weight of the discriminator's reward; 0 trains on the user's rewards alone.
    users: plain functions, mixed in by weight.
    decode: what turns sequences into the strings that these read.
    columns: what else these may ask for, by name, one of each for each sequence.
    all_prefixes: the discriminator's logits of every prefix in one pass, (batch, time); without it, each prefix is
        scored as a row of its own.
    scored_at_once: the greatest number of completions or prefixes that the discriminator is given in one call.
    """

    of_logit: Callable[[Tensor], Tensor]
    log_ratio: Callable[[Tensor], Tensor] = lambda logits: logits
    discriminator_weight: float = 1.0
    users: Sequence[rewards.Reward] = ()
    decode: Callable[[Tokens], list[str]] | None = None
    columns: Callable[[Tokens], dict[str, list[Any]]] | None = None
    all_prefixes: Callable[[Tokens], Tensor] | None = None
    scored_at_once: int = AT_ONCE

    def of_users(self, tokens: Tokens) -> tuple[Tensor, Tensor]:
        """The users' rewards of whole sequences, (rows,), and per token, (rows, time)."""
        total = torch.zeros(size(tokens), device=tokens.ids.device)
        per_token = torch.zeros(tokens.ids.shape, device=tokens.ids.device)
        if not self.users:
            return total, per_token
        if self.decode is None:
            raise ValueError("user rewards need `decode`, which turns sequences into strings")
        texts = self.decode(tokens)
        lengths = tokens.mask.sum(1).tolist()
        ids = [row[:length] for row, length in zip(tokens.ids.tolist(), lengths, strict=True)]
        columns = {} if self.columns is None else self.columns(tokens)
        for reward in self.users:
            whole, steps = rewards.evaluate(reward, texts, ids, columns)
            total += sent(whole, total.device)
            if steps is not None:
                per_token[:, : steps.shape[1]] += sent(steps, total.device)
        return total, per_token


@dataclass(frozen=True)
class Earned:
    """What sequences earn: the rewards, with the logits that `score` gives."""

    rewards: Rewards
    score: Score[Tokens]
    engine: Engine

    def __call__(self, tokens: Tokens) -> Tensor:
        """Of completions, (rows,): no more of them at a time than who scores them takes."""
        earned = torch.zeros(size(tokens), device=tokens.ids.device)
        if self.rewards.discriminator_weight:
            earned += self.rewards.discriminator_weight * self._of_discriminator(tokens)
        if self.rewards.users:
            at_once = device_sizes.sizes(tokens.ids.device).rewarded_rows
            earned += sampling.in_chunks(lambda part: self.rewards.of_users(part)[0], tokens, at_once)
        return earned

    def whole(self, tokens: Tokens) -> tuple[Tensor, Tensor]:
        """The sum of all of whole sequences, (rows,), and what users gave per token, (rows, time)."""
        total, per_token = self.rewards.of_users(tokens)
        if self.rewards.discriminator_weight:
            total += self.rewards.discriminator_weight * self.rewards.of_logit(self.score(tokens))
        return total, per_token

    def log_ratio(self, tokens: Tokens, earned: Tensor) -> Tensor:
        """`earned`, with the discriminator's log D / (1 - D) in place of its reward, (rows,)."""
        rewards = self.rewards
        if not rewards.discriminator_weight:
            return earned
        logits = self.score(tokens)
        return earned + rewards.discriminator_weight * (rewards.log_ratio(logits) - rewards.of_logit(logits))

    def over_processes(self, function: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
        """The function of all processes' values, and of its result this process's rows, (rows,)."""
        everyone = function(self.engine.gather(values.unsqueeze(1)).squeeze(1))
        return everyone[self.engine.rank * len(values) : (self.engine.rank + 1) * len(values)]

    def prefixes(self, tokens: Tokens) -> Tensor:
        """The discriminator's reward of each prefix, (rows, time), 0 on padding."""
        rewards = self.rewards
        if not rewards.discriminator_weight:
            return torch.zeros(tokens.ids.shape, device=tokens.ids.device)
        at_once = rewards.all_prefixes
        reward = self._one_by_one(tokens) if at_once is None else rewards.of_logit(at_once(tokens))
        return rewards.discriminator_weight * reward * tokens.mask

    def _of_discriminator(self, tokens: Tokens) -> Tensor:
        return self.rewards.of_logit(sampling.in_chunks(self.score, tokens, self.rewards.scored_at_once))

    def _one_by_one(self, tokens: Tokens) -> Tensor:
        """Each prefix as a row of its own, for a discriminator that judges whole rows; few are laid out at a time."""
        owner, place = tokens.mask.nonzero(as_tuple=True)
        places = torch.arange(tokens.ids.shape[1], device=owner.device)
        row = size_in_bytes((tokens.ids, tokens.mask, tokens.context)) // size(tokens)
        most = max(1, device_sizes.sizes(owner.device).scored_bytes // row)
        parts = []
        for some, until in zip(
            *(one.split(min(most, self.rewards.scored_at_once)) for one in (owner, place)), strict=True
        ):
            shown = places <= until.unsqueeze(1)
            parts.append(self._of_discriminator(replace(rows(tokens, some), mask=shown)))
        reward = torch.cat(parts)
        return reward.new_zeros(tokens.ids.shape).index_put_((owner, place), reward)
