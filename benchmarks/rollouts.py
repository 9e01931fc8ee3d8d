"""Roll-outs and sampling against the straightforward way, in one run: python benchmarks/rollouts.py [--threads 2]

Straightforward: each prefix is read again from its start for each repetition, tokens come from torch.multinomial.
Sizes of the SeqGAN paper's synthetic experiment (vocabulary 5000, length 20, LSTM 32, batch 64), N = 4.
Prints lines `name ours baseline ratio` (seconds; ours the median of three) and writes results/rollouts_THREADS.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from seqgan_kit import sampling
from seqgan_kit.networks.lstm import LSTMConfig, LSTMGenerator
from seqgan_kit.samples import Tokens

BATCH, LENGTH, REPEATS, VOCABULARY = 64, 20, 4, 5000


@torch.no_grad()
def plain_completion(network: LSTMGenerator, prefix: torch.Tensor, rows: int) -> torch.Tensor:
    """A completion of each row's prefix, (rows, LENGTH); the prefix may have no tokens."""
    features, state = network.start(rows)
    tokens = list(prefix.T)
    for token in tokens:
        features, state = network.step(token, state)
    while len(tokens) < LENGTH:
        tokens.append(torch.multinomial(network.logits(features).softmax(-1), 1).squeeze(1))
        features, state = network.step(tokens[-1], state)
    return torch.stack(tokens, dim=1)


def plain_roll_out(network: LSTMGenerator, sampled: Tokens) -> None:
    for _ in range(REPEATS):
        for t in range(1, LENGTH):
            plain_completion(network, sampled.ids[:, :t], BATCH)


def seconds(function: Callable[[], object], times: int) -> float:
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        function()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    threads = parser.parse_args().threads
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    network = LSTMGenerator(LSTMConfig(vocabulary=VOCABULARY, length=LENGTH)).eval()
    sampled = sampling.sample(network, BATCH, LENGTH, None)
    empty = torch.empty(2560, 0, dtype=torch.int64)
    pairs = {
        "roll_out": (
            lambda: sampling.roll_out(network, sampled, REPEATS, LENGTH, None),
            lambda: plain_roll_out(network, sampled),
        ),
        "sample_2560": (
            lambda: sampling.sample(network, 2560, LENGTH, None),
            lambda: plain_completion(network, empty, 2560),
        ),
    }
    results = []
    for name, (ours, baseline) in pairs.items():
        ours()  # warm
        first, second = seconds(ours, 3), seconds(baseline, 1)
        results.append({"name": name, "ours": first, "baseline": second, "ratio": second / first})
        print(f"{name} {first:.3f} {second:.3f} {second / first:.1f}")
    path = Path(__file__).parent / "results" / f"rollouts_{threads}.json"
    path.parent.mkdir(exist_ok=True)
    record = {"threads": threads, "torch": torch.__version__, "results": results}
    path.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
