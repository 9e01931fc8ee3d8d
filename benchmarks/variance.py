"""Which credit gives the surest gradient for its time: python benchmarks/variance.py [--threads 1] [--repeats 24]

The policy gradient of one generator and one discriminator, sizes of the SeqGAN paper's synthetic experiment, is
estimated `repeats` times in each way. All estimate the same gradient (leave-one-out takes off what has none): the
product of variance, E |g - E g|^2, and CPU seconds says how long a way takes to be as sure as another one. The
discriminator has learned for some seconds to tell an oracle's sequences from the generator's, which has learned, too.

A line each: ways, CPU seconds, variance, and how many times as long as the paper's way (batch 64, N = 16) it would take
to be as sure. A whole run writes results/variance.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from measuring import machine
from torch import Tensor, nn
from torch.nn import functional as F

from seqgan_kit.algorithms import credit as credits
from seqgan_kit.algorithms import estimators
from seqgan_kit.networks.text.cnn import TextCNN
from seqgan_kit.networks.text.lstm import LSTMConfig, LSTMGenerator
from seqgan_kit.samples import Tokens
from seqgan_kit.tokens import sampling
from seqgan_kit.tokens.credit import Credit, MonteCarlo, Terminal
from seqgan_kit.worlds.oracle import draw_oracle, sequences

LENGTH, VOCABULARY, REAL = 20, 5000, 10_000
# name: batch, roll-outs (0: the whole sequence's reward to each token)
WAYS = {
    "batch 64, N = 16": (64, 16),
    "batch 64, N = 4": (64, 4),
    "batch 64, N = 1": (64, 1),
    "batch 256, N = 4": (256, 4),
    "batch 256, N = 1": (256, 1),
    "batch 64, terminal": (64, 0),
    "batch 1024, terminal": (1024, 0),
}


class Scores:
    """What the discriminator makes of whole sequences, as the policy asks for it."""

    def __init__(self, critic: nn.Module) -> None:
        self.critic = critic.eval()

    @torch.no_grad()
    def __call__(self, tokens: Tokens) -> Tensor:
        found: Tensor = self.critic(tokens.ids, tokens.mask).sigmoid()
        return found

    def prefixes(self, tokens: Tokens) -> Tensor:
        raise NotImplementedError

    def log_ratio(self, tokens: Tokens, earned: Tensor) -> Tensor:
        raise NotImplementedError

    def over_processes(self, function: Any, values: Tensor) -> Tensor:
        raise NotImplementedError


def learned(likelihood: int, steps: int) -> tuple[LSTMGenerator, TextCNN]:
    """A generator after so many steps of likelihood, and a discriminator after so many of its own."""
    real = sequences(draw_oracle(0), REAL, 1).ids
    network = LSTMGenerator(LSTMConfig(vocabulary=VOCABULARY, length=LENGTH))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    mask = torch.ones(64, LENGTH, dtype=torch.bool)
    for _ in range(likelihood):
        optimizer.zero_grad()
        estimators.maximum_likelihood(network(real[torch.randint(REAL, (64,))]), mask).backward()
        optimizer.step()
    critic = TextCNN(VOCABULARY)
    optimizer = torch.optim.Adam(critic.parameters(), lr=5e-4)
    for _ in range(steps):
        with torch.no_grad():
            fake = sampling.sample(network, 64, LENGTH, None).ids
        logits = critic(torch.cat([real[torch.randint(REAL, (64,))], fake]), mask.repeat(2, 1))
        optimizer.zero_grad()
        (F.softplus(-logits[:64]).mean() + F.softplus(logits[64:]).mean()).backward()
        optimizer.step()
    return network.eval(), critic


def gradient(network: LSTMGenerator, credit: Credit, score: Scores, batch: int) -> Tensor:
    """One estimate, all parameters in a row."""
    with torch.no_grad():
        sampled = sampling.sample(network, batch, LENGTH, None)
        given = credits.leave_one_out(credit(sampled, score(sampled), score), sampled.mask)
    log_probs = network(sampled.ids)
    loss = estimators.reinforce(log_probs, log_probs.detach(), given, sampled.mask)
    return torch.cat([one.flatten() for one in torch.autograd.grad(loss, list(network.parameters()))])


def measured(network: LSTMGenerator, score: Scores, batch: int, rollouts: int, repeats: int) -> dict[str, float]:
    """Median CPU seconds of an estimate, and the variance of estimates."""
    credit: Credit = Terminal(network, LENGTH, None)
    if rollouts:
        credit = MonteCarlo(network, LENGTH, None, rollouts, lag=0.0)
    seconds, squares, total = [], 0.0, torch.zeros(())
    for _ in range(repeats):
        start = time.process_time()
        found = gradient(network, credit, score, batch)
        seconds.append(time.process_time() - start)
        squares, total = squares + float(found.double().square().sum()), total + found.double()
    variance = (squares - float(total.square().sum()) / repeats) / (repeats - 1)
    return {"seconds": statistics.median(seconds), "variance": variance}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=24)
    parser.add_argument("--likelihood", type=int, default=500, help="steps of the generator before")
    parser.add_argument("--steps", type=int, default=200, help="of the discriminator before")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    network, critic = learned(options.likelihood, options.steps)
    score = Scores(critic)
    record: dict[str, Any] = {"machine": machine(options.threads), "repeats": options.repeats, "ways": {}}
    print(f"{'# way':<24} {'seconds':>9} {'variance':>12} {'time to be as sure':>20}", flush=True)
    for name, (batch, rollouts) in WAYS.items():
        found = measured(network, score, batch, rollouts, options.repeats)
        record["ways"][name] = found
        first = next(iter(record["ways"].values()))
        found["relative"] = found["seconds"] * found["variance"] / (first["seconds"] * first["variance"])
        print(f"{name:<24} {found['seconds']:>9.3f} {found['variance']:>12.3e} {found['relative']:>20.3f}", flush=True)
    path = Path(__file__).parent / "results" / "variance.json"
    path.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
