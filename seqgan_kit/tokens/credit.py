"""The credit of each token of a sequence, from what sequences earn: the slot that SeqGAN and REGS fill differently."""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from seqgan_kit.algorithms import credit as credits
from seqgan_kit.bounds import Count, Share
from seqgan_kit.engine.engine import Engine
from seqgan_kit.networks import device_sizes
from seqgan_kit.samples import Tokens, last, rows, size
from seqgan_kit.tokens import sampling
from seqgan_kit.tokens.rewards import Earned


class Credit(ABC):
    """From what sequences earn to the credit of each token. Built from (network, length, end) by the text task."""

    @abstractmethod
    def __call__(self, sampled: Tokens, earned: Tensor, reward: Earned) -> Tensor:
        """sampled: (batch, time); earned: (batch,), what they earned; reward: what others would. -> (batch, time)."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold beside the network; most credits keep nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027
        """The inverse."""


class MonteCarlo(Credit):
    """SeqGAN's credit: mean reward of roll-outs by a policy that lags behind the generator (Yu et al. 2017, sec. 3.1).

    Args:
        network: The generator, whose weights the lagging copy follows.
        length: Greatest number of tokens of its sequences.
        end: The token that ends them, if there is one.
        rollouts: Number of completions of each prefix, the paper's N. More give a surer credit, and take longer.
        lag: Share of its own weights that the lagging copy keeps at each update. 0 rolls out the generator itself.
        chunk: Number of completions whose reward is asked at a time. More need more memory.
    """

    def __init__(
        self,
        network: nn.Module,
        length: int,
        end: int | None,
        rollouts: Count = 16,
        lag: Share = 0.8,
        chunk: Count = 1 << 16,
    ) -> None:
        self.network = network
        # a copy that could be trained: of others autocast would not keep the weights
        self.lagging = deepcopy(network) if lag else network
        self.length, self.end, self.rollouts, self.lag, self.chunk = length, end, rollouts, lag, chunk
        self._follows = False

    def __call__(self, sampled: Tokens, earned: Tensor, reward: Earned) -> Tensor:
        self._follow()
        parts = self._parts(sampled, self.chunk)
        return torch.cat([self._of(rows(sampled, part), earned[part], reward) for part in parts])

    def _parts(self, sampled: Tokens, completions: int) -> list[slice]:
        """Of the batch, each of at most so many completions, or of one row."""
        count = max(1, completions // (self.rollouts * sampled.ids.shape[1]))
        return [slice(i, i + count) for i in range(0, size(sampled), count)]

    def _of(self, sampled: Tokens, earned: Tensor, reward: Earned) -> Tensor:
        parts = self._parts(sampled, device_sizes.sizes(sampled.ids.device).rollouts)
        ids, masks, cells = zip(*(self._roll_out(sampled, part, reward.engine) for part in parts), strict=True)
        completed, cell = earned[:0], torch.cat(cells)
        if len(cell):
            # a completion has its sample's context
            whole = rows(sampled, cell // sampled.ids.shape[1])
            completed = reward(replace(whole, ids=torch.cat(ids), mask=torch.cat(masks)))
        return credits.monte_carlo(completed, cell, earned, sampled.mask)

    def _roll_out(self, sampled: Tokens, part: slice, engine: Engine) -> tuple[Tensor, Tensor, Tensor]:
        """ids and mask (rows, length) of the completions of some samples, and their cells among all."""
        samples = rows(sampled, part)
        with engine.drawing(self.lagging) as network:
            network = sampling.with_context(network, samples)
            done = sampling.roll_out(network, samples, self.rollouts, self.length, self.end)
        return done.tokens.ids, done.tokens.mask, done.cells + part.start * sampled.ids.shape[1]

    @torch.no_grad()
    def _follow(self) -> None:
        """Starts as the generator and then follows it: theta' <- lag * theta' + (1 - lag) * theta."""
        lag = self.lag if self._follows else 0.0
        for lagging, current in zip(self.lagging.parameters(), self.network.parameters(), strict=True):
            if lagging is not current:  # as what is not trained is
                lagging.lerp_(current, 1 - lag)
        self._follows = True

    def state_dict(self) -> dict[str, Any]:
        return {"follows": self._follows, "network": self.lagging.state_dict() if self.lag else {}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._follows = state["follows"] and bool(state["network"])
        if self.lag and self._follows:
            self.lagging.load_state_dict(state["network"])


class Terminal(Credit):
    """The whole sequence's reward to each of its tokens: cheap, and noisier than roll-outs."""

    def __init__(self, network: nn.Module, length: int, end: int | None) -> None:
        pass

    def __call__(self, sampled: Tokens, earned: Tensor, reward: Earned) -> Tensor:
        return credits.terminal(earned, sampled.mask)


class LikelihoodRatio(Credit):
    """MaliGAN's: D / (1 - D), normalised over the batch, to each token (Che et al. 2017; BGAN's, Hjelm et al. 2018).

    The discriminator must be logistic; its logit is taken, whatever the objective's reward is. With the best one and a
    large batch, the expected gradient is that of maximum likelihood; with m samples, some 1 / m of it is missing.
    Users' rewards multiply D / (1 - D) by their exponential. The paper's b is the policy's baseline: `no_baseline` is
    0, and `leave_one_out` takes off the others' mean.

    Args:
        network: The generator.
        length: Greatest number of tokens of its sequences.
        end: The token that ends them, if there is one.
        group: Number of samples that follow each other and are normalised together, as samples of one context. Unset
            normalises over the batch.
    """

    def __init__(self, network: nn.Module, length: int, end: int | None, group: Count | None = None) -> None:
        self.group = group

    def __call__(self, sampled: Tokens, earned: Tensor, reward: Earned) -> Tensor:
        normalised = partial(credits.likelihood_ratio, group=self.group)
        ratios = reward.over_processes(normalised, reward.log_ratio(sampled, earned))
        return credits.terminal(ratios, sampled.mask)


class Prefixes(Credit):
    """What the discriminator makes of the sequence up to each token: REGS's (Li et al. 2017, sec. 3.2).

    It has to have learned from prefixes: then it costs a pass, where roll-outs cost hundreds.
    """

    def __init__(self, network: nn.Module, length: int, end: int | None) -> None:
        pass

    def __call__(self, sampled: Tokens, earned: Tensor, reward: Earned) -> Tensor:
        of_prefixes = reward.prefixes(sampled)
        of_users = earned - last(of_prefixes, sampled.mask)  # for the whole
        return of_prefixes + credits.terminal(of_users, sampled.mask)
