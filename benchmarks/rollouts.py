"""Memory, time and numbers of Monte Carlo roll-outs beside another checkout: python benchmarks/rollouts.py PATH

PATH: a checkout of commit c8e2271, whose roll-outs join the states of all prefixes. Each measurement is a process of
its own, on one thread; its peak is that of the process above what it was before the credit.

  gpt2   the credit of a sample, N = 16, of GPT-2 (6 layers, 256 wide), T = 128, in both, with the likeliest token in
         place of a draw, so that both give the same: peaks, seconds, and how far the credits are apart
  lstm   the paper's sizes, batch 64, N = 16, T = 20, in both, in turns
  long   the same GPT-2, batch 64, N = 16, T = 512, within 2 GB, here: the first pieces, of which every one is as large

Writes results/rollouts.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BUDGET = 2_000_000_000  # bytes, of `long`
PIECES = 2  # of `long`


def peak() -> float:
    """Bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def parts() -> Any:
    """The names that both checkouts have, wherever they are."""
    from types import SimpleNamespace

    from seqgan_kit import samples

    try:
        from seqgan_kit import sampling, token_credit  # type: ignore[attr-defined]
        from seqgan_kit.networks import language_models, lstm  # type: ignore[attr-defined]

        drawn, credit = sampling, token_credit
    except ImportError:
        from seqgan_kit.networks.text import language_models, lstm
        from seqgan_kit.tokens import credit
        from seqgan_kit.tokens import rollouts as drawn
    return SimpleNamespace(samples=samples, drawn=drawn, credit=credit, models=language_models, lstm=lstm)


def gpt2(found: Any, length: int) -> Any:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    sizes = {"n_layer": 6, "n_embd": 256, "n_head": 4, "n_positions": length + 1, "vocab_size": 1000}
    model = GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=None, eos_token_id=None))
    for (
        name,
        parameter,
    ) in model.named_parameters():  # far from uniform, so that the likeliest token is no matter of rounding
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.08 if "wpe" not in name else 0.5)
    return found.models.Unprompted(found.models.LanguageModel(model.eval()), 0).eval()


def one(name: str) -> dict[str, Any]:
    """A measurement, in this process."""
    import torch

    torch.set_num_threads(1)
    found = parts()
    length, batch = {"gpt2": (128, 1), "lstm": (20, 64), "long": (512, 64)}[name]
    if name == "lstm":
        torch.manual_seed(0)
        network = found.lstm.LSTMGenerator(found.lstm.LSTMConfig(vocabulary=5000, length=length)).eval()
    else:
        network = gpt2(found, length)
    vocabulary = 5000 if name == "lstm" else 1000
    ids = torch.randint(vocabulary, (batch, length), generator=torch.Generator().manual_seed(1))
    sampled = found.samples.Tokens(ids, torch.ones_like(ids, dtype=torch.bool))
    weights = torch.randn(length, 5000, generator=torch.Generator().manual_seed(2))

    def reward(tokens: Any) -> Any:
        return weights[torch.arange(length), tokens.ids].mean(1).sigmoid()

    before = peak()
    wall, cpu = time.perf_counter(), time.process_time()
    record: dict[str, Any] = {}
    with torch.no_grad():
        if name == "long":
            done = found.drawn.pieces(network, sampled, 16, length, None, BUDGET)
            record["completions"] = sum(len(piece.cells) for piece in itertools.islice(done, PIECES))
        else:
            if name == "gpt2":
                found.drawn.draw = lambda logits, *_: logits.argmax(1)
            credit = found.credit.MonteCarlo(network, length, None, 16, lag=0.0)
            if name == "lstm":
                credit(sampled, reward(sampled), reward)  # so that it is warm
                wall, cpu = time.perf_counter(), time.process_time()
            record["credit"] = credit(sampled, reward(sampled), reward).tolist()
    record |= {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "peak": peak() - before}
    return record


def measured(checkout: Path, name: str) -> dict[str, Any]:
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    told = subprocess.run(
        [sys.executable, str(Path(__file__).resolve()), "--one", name],
        env=environment, cwd=checkout, capture_output=True, text=True,
    )  # fmt: skip
    if told.returncode:
        raise SystemExit(told.stderr[-3000:])
    found: dict[str, Any] = json.loads(told.stdout.splitlines()[-1])
    print(f"{name:<6} {checkout!s:<20} {found['cpu']:8.1f} s of a CPU, {found['peak'] / 1e6:8.0f} MB", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, nargs="?")
    parser.add_argument("--one", choices=["gpt2", "lstm", "long"])
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.one)))
        return
    from measuring import machine

    record: dict[str, Any] = {"machine": machine(1), "pieces_of_long": PIECES, "budget_of_long": BUDGET}
    both = {"here": ROOT, "other": options.other.resolve()}
    turns: dict[str, list[dict[str, Any]]] = {who: [] for who in both}
    for _ in range(5):
        for who, path in both.items():
            turns[who].append(measured(path, "lstm"))
    seconds = {who: statistics.median(turn["cpu"] for turn in all_) for who, all_ in turns.items()}
    record["lstm"] = {"cpu": seconds, "times_as_fast": seconds["other"] / seconds["here"]}
    record["long"] = measured(ROOT, "long")
    found = {who: measured(path, "gpt2") for who, path in both.items()}
    rows = zip(*(itertools.chain.from_iterable(found[who].pop("credit")) for who in both), strict=True)
    record["gpt2"] = found | {
        "apart": max(abs(a - b) for a, b in rows),
        "peak_share": found["here"]["peak"] / found["other"]["peak"],
        "times_as_fast": found["other"]["cpu"] / found["here"]["cpu"],
    }
    print(json.dumps({name: record[name] for name in ("lstm", "long", "gpt2")}, indent=1))
    path = ROOT / "benchmarks" / "results" / "rollouts.json"
    path.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
