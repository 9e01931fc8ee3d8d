"""The credit of each token of a sequence, from what sequences earn: the slot that SeqGAN and REGS fill differently."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from seqgan_kit.algorithms import credit as credits
from seqgan_kit.bounds import Count, Share
from seqgan_kit.engine import sharding
from seqgan_kit.engine.engine import Engine
from seqgan_kit.errors import UserError
from seqgan_kit.networks import device_memory
from seqgan_kit.samples import Tokens, last, rows, size, size_in_bytes
from seqgan_kit.tokens import rollouts, sampling
from seqgan_kit.tokens.rewards import Earned


class Credit(ABC):
    """From what sequences earn to the credit of each token. Built from (network, length, end) by the text task."""

    @abstractmethod
    def __call__(self, sampled: Tokens, earned: Tensor, reward: Earned) -> Tensor:
        """sampled: (batch, time); earned: (batch,), what they earned; reward: what others would. -> (batch, time)."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold beside the network, equal on all processes; most credits keep nothing."""
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
        memory: Bytes that roll-outs may take. Fewer take longer, and change no number beyond rounding. Unset takes a
            quarter of the device's memory, or half of what is free at the first roll-out if that is less.
    """

    def __init__(
        self,
        network: nn.Module,
        length: int,
        end: int | None,
        rollouts: Count = 16,
        lag: Share = 0.8,
        chunk: Count = 1 << 16,
        memory: Count | None = None,
    ) -> None:
        self.network = network
        # a copy that could be trained: of others autocast would not keep the weights
        self.lagging = deepcopy(network) if lag else network
        self.length, self.end, self.rollouts, self.lag, self.chunk = length, end, rollouts, lag, chunk
        self.memory = memory
        self._found: int | None = None  # what the device has to give
        self._follows = False

    def __call__(self, sampled: Tokens, earned: Tensor, reward: Earned) -> Tensor:
        self._follow()
        memory = self._budget(sampled.ids.device)
        row = rollouts.BESIDE * self.length + size_in_bytes(sampled.context) // size(sampled)
        at_once = max(1, min(self.chunk, memory // (4 * row)))
        network = sampling.with_context(self.lagging, sampled)
        pieces = rollouts.pieces(network, sampled, self.rollouts, self.length, self.end, memory)
        found = rollouts.regrouped(pieces, at_once)
        rewards, cells = [earned[:0]], [sampled.ids.new_empty(0)]
        try:
            while (done := self._drawn(found, reward.engine)) is not None:
                # a completion has its sample's context
                whole = rows(sampled, done.cells // sampled.ids.shape[1])
                rewards.append(reward(replace(whole, ids=done.tokens.ids, mask=done.tokens.mask)))
                cells.append(done.cells)
        except rollouts.TooLarge as error:
            raise UserError(self._too_large(size(sampled), error)) from None
        return credits.monte_carlo(torch.cat(rewards), torch.cat(cells), earned, sampled.mask)

    def _drawn(self, found: Iterator[rollouts.Completions], engine: Engine) -> rollouts.Completions | None:
        """The next ones; rewards are no drawing, and are asked outside of it."""
        with engine.drawing(self.lagging):
            return next(found, None)

    @torch.no_grad()
    def _follow(self) -> None:
        """Starts as the generator and then follows it: theta' <- lag * theta' + (1 - lag) * theta."""
        lag = self.lag if self._follows else 0.0
        sharding.release(self.lagging)
        sharding.release(self.network)
        for lagging, current in zip(self.lagging.parameters(), self.network.parameters(), strict=True):
            if lagging is not current:  # as what is not trained is
                lagging.lerp_(current, 1 - lag)
        self._follows = True

    def _budget(self, device: torch.device) -> int:
        if self.memory is not None:
            return self.memory
        if self._found is None:
            self._found = device_memory.budget(device)
        return self._found

    def _too_large(self, batch: int, error: rollouts.TooLarge) -> str:
        given = "" if self.memory is None else f" {self.memory}"
        unset = " of what is free on the device" if self.memory is None else ""
        return (
            f"--adversarial.credit.memory{given}: what is known of {batch} samples, and one completion of "
            f"{self.length} tokens, take {error.needed} bytes, and have {error.given:.0f}{unset}. Give "
            f"--adversarial.credit.memory {error.needed} or more, or a smaller --adversarial.batch_size"
        )

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
