"""SeqGAN by hand: algorithm 1 of Yu et al. 2017 whole, from torch and the pure functions of seqgan_kit.algorithms.

Source: the paper's synthetic task: a random LSTM, the oracle, writes data, and tells likelihoods; 200 tokens, not 5000.
Expected: NLL-oracle 9.038 by likelihood, 8.736 by SeqGAN with the paper's sizes; nothing is published for these.
Measured: 4.94 by likelihood, 4.98 by SeqGAN, 4.84 by likelihood for as long, medians of 3 seeds (README.md, "By hand").
Command: python recipes/seqgan_by_hand.py --seed 0
"""

from __future__ import annotations

import argparse
import inspect
import time
from collections.abc import Iterator
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.optim import Adam

from seqgan_kit.algorithms import credit, estimators, objectives

VOCABULARY, LENGTH = 200, 20
WRITING, JUDGING = 0.001, 0.001  # learning rates of the two players


class Generator(nn.Module):
    """p(y_t | Y_1:t-1) by an LSTM (eq. 9-10). The last row of the embedding is the start token."""

    def __init__(self, vocabulary: int, width: int = 32, deviation: float = 0.1) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary + 1, width)
        self.lstm = nn.LSTM(width, width, batch_first=True)
        self.output = nn.Linear(width, vocabulary)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=deviation)

    def forward(self, read: Tensor, state: tuple[Tensor, ...] | None = None) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Tokens (B, T) -> logits of what follows each, (B, T, V), and the state after the last, twice (1, B, H)."""
        hidden, state = self.lstm(self.embedding(read), state)
        return self.output(hidden), state

    def log_probs(self, ids: Tensor) -> Tensor:
        """log p(y_t | Y_1:t-1) of given sequences: (B, T) -> (B, T)."""
        logits, _ = self(nn.functional.pad(ids[:, :-1], (1, 0), value=self.output.out_features))
        return logits.log_softmax(-1).gather(2, ids.unsqueeze(2)).squeeze(2)


class Discriminator(nn.Module):
    """Sequences (B, T) -> logits (B,), high = real: convolutions, maximum over time, a highway layer (eq. 11-14)."""

    def __init__(self, vocabulary: int, width: int = 32, windows: tuple[int, ...] = (2, 3, 4), each: int = 64) -> None:
        super().__init__()
        filters = each * len(windows)
        self.embedding = nn.Embedding(vocabulary, width)
        self.convolutions = nn.ModuleList(nn.Conv1d(width, each, window) for window in windows)
        self.transform, self.gate = nn.Linear(filters, filters), nn.Linear(filters, filters)
        self.output, self.dropout = nn.Linear(filters, 1), nn.Dropout(0.25)

    def forward(self, ids: Tensor) -> Tensor:
        embedded = self.embedding(ids).transpose(1, 2)
        found = torch.cat([layer(embedded).amax(dim=2).relu() for layer in self.convolutions], dim=1)
        gate = self.gate(found).sigmoid()
        return self.output(self.dropout(gate * self.transform(found).relu() + (1 - gate) * found)).squeeze(1)


@torch.no_grad()
def complete(g: Generator, ids: Tensor, known: Tensor, points: Tensor) -> Tensor:
    """All but the first `known` tokens, (R,), of each row of `ids`, (R, T), drawn by inverting p's sum at `points`."""
    ids, read, state = ids.clone(), torch.full((len(ids), 1), g.output.out_features), None
    for t in range(ids.shape[1]):
        logits, state = g(read, state)
        cumulated = logits[known <= t, 0].softmax(-1).cumsum(-1)
        point = points[known <= t, t - ids.shape[1] :][:, :1] * cumulated[:, -1:]
        ids[known <= t, t : t + 1] = torch.searchsorted(cumulated, point, right=True).clamp_max(logits.shape[2] - 1)
        read = ids[:, t : t + 1]
    return ids


def sample(g: Generator, batch: int, length: int) -> Tensor:
    return complete(g, torch.zeros(batch, length, dtype=torch.int64), torch.zeros(batch), torch.rand(length, batch).T)


def step(optimizer: Adam, loss: Tensor, clip: float = 5.0) -> None:
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], clip)
    optimizer.step()


def likelihood(generator: Generator, optimizer: Adam, real: Iterator[Tensor], steps: int) -> None:
    for _ in range(steps):
        step(optimizer, -generator.log_probs(next(real)).sum(1).mean())


def play(g: Generator, d: Discriminator, real: Iterator[Tensor], warm_up: int, rounds: int, rollouts: int) -> None:
    """The discriminator alone, then rounds of one step of the generator and four of the discriminator. real: (B, T)."""
    policy, objective = deepcopy(g), objectives.seqgan()
    generating, judging = Adam(g.parameters(), WRITING), Adam(d.parameters(), JUDGING)
    for turn in ["d"] * warm_up + ["g", "d", "d", "d", "d"] * rounds:
        true = next(real)
        ids = sample(g, *true.shape)
        if turn == "d":  # eq. 5
            logits = d.train()(torch.cat([true, ids]))
            step(judging, objective.loss(logits[: len(true)], logits[len(true) :]), torch.inf)
            continue
        # eq. 4: Q(Y_1:t-1, y_t) is the mean D of completions of Y_1:t, the first `known` tokens of row `owner`
        known = torch.arange(1, ids.shape[1]).repeat_interleave(rollouts * len(ids))
        owner = torch.arange(len(ids)).repeat_interleave(rollouts).repeat(ids.shape[1] - 1)
        with torch.no_grad():
            done = complete(policy, ids[owner], known, torch.rand(len(known), ids.shape[1] - 1, 2)[..., 0])
            completed, whole = (objective.reward(d.eval()(some)) for some in (done, ids))
        mask = torch.ones_like(ids, dtype=torch.bool)
        earned = credit.monte_carlo(completed, owner * ids.shape[1] + known - 1, whole, mask)  # by (sample, token)
        earned, log_probs = credit.leave_one_out(earned, mask), g.log_probs(ids)  # the baseline is not the paper's
        step(generating, estimators.reinforce(log_probs, log_probs, earned, mask))  # eq. 7 and 8
        for lagging, new in zip(policy.parameters(), g.parameters(), strict=True):
            lagging.data.lerp_(new.data, 0.2)


def main(seed: int = 0, steps: int = 1500, warm_up: int = 400, rounds: int = 60, rollouts: int = 4) -> None:
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    oracle, g = Generator(VOCABULARY, deviation=1.0), Generator(VOCABULARY)
    data, held_out = sample(oracle, 10_000, LENGTH).split([9000, 1000])
    real = (data[torch.randint(len(data), (64,))] for _ in iter(int, 1))

    @torch.no_grad()
    def tell(phase: str, network: Generator, begun: float) -> float:
        seconds = time.process_time() - begun
        written = -oracle.log_probs(sample(network, 2000, LENGTH)).mean()
        held = -network.log_probs(held_out).mean()
        print(f"{phase:24} NLL-oracle {written:.3f}  NLL held out {held:.3f}  {seconds:.0f} s", flush=True)
        return seconds

    optimizer, begun = Adam(g.parameters(), 0.01), time.process_time()
    likelihood(g, optimizer, real, steps)
    first = tell("likelihood", g, begun)
    control, begun = deepcopy((g, optimizer)), time.process_time()
    play(g, Discriminator(VOCABULARY), real, warm_up, rounds, rollouts)
    second, begun = tell("SeqGAN", g, begun), time.process_time()
    likelihood(*control, real, round(steps * second / first))
    tell("likelihood for as long", control[0], begun)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name, option in inspect.signature(main).parameters.items():
        parser.add_argument(f"--{name}", type=int, default=option.default)
    main(**vars(parser.parse_args()))
