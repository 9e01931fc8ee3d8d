"""How much of a SeqGAN update is computed in bfloat16, and whether what is drawn is what is differentiated.

    python benchmarks/precision.py [--other /path/to/commit/c8e2271] [--record benchmarks/results/precision.json]

A run of text with a GPT-2 of sharp weights, 8 roll-outs a prefix, --run.precision bf16. Of its updates of the generator
are counted: floating-point operations of matrix products, and of the discriminator's convolutions, by their type; and
for each token drawn, log p as the policy's forward gives it less that of the step by which it was drawn. Nothing here
depends on time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

HERE = Path(__file__).resolve().parents[1]
GPT2 = '{"model_type": "gpt2", "n_layer": 4, "n_embd": 64, "n_head": 4, "n_positions": 64}'
OPTIONS = (
    f"--data.sentences 200 --generator.config {GPT2.replace(' ', '')} --run.precision bf16 --run.threads 1 "
    "--likelihood.steps 1 --likelihood.batch_size 16 --control.enabled false --discriminator.steps 1 "
    "--discriminator.batch_size 16 --adversarial.rounds 2 --adversarial.batch_size 32 --adversarial.credit.rollouts 8 "
    "--adversarial.optimizer.lr 0 --evaluation.samples 20 --evaluation.seed 0"
)
DEVIATION = 0.35  # of the weights: as sharp as in the audit that found the gap


class Products(TorchDispatchMode):
    """Counts the operations of products by the type of their inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        count = flop_registry.get(function._overloadpacket)
        if count is not None:
            kind = next(value.dtype for value in args if isinstance(value, Tensor))
            convolution = "convolutions in " if "convolution" in str(function) else ""
            self.found[convolution + str(kind).removeprefix("torch.")] += count(*args, **(kwargs or {}), out_val=out)
        return out


def stepped(network: Any, ids: Tensor) -> Tensor:
    """log p of each token as it is drawn."""
    features, state = network.start(len(ids))
    found = []
    for token in ids.T:
        found.append(network.logits(features).float().log_softmax(-1).gather(1, token.unsqueeze(1)))
        features, state = network.step(token, state)
    return torch.cat(found, dim=1)


def watched(kind: Any, products: Products, gaps: list[Tensor]) -> None:
    """Has a `TokenPolicy` count what it does; its weights become sharp first."""
    sample, update = kind.sample, kind.update
    done: list[bool] = []

    def sharp(self: Any) -> None:
        if not done:
            torch.manual_seed(0)
            for parameter in self.learner.network.parameters():
                if parameter.dim() > 1:
                    torch.nn.init.normal_(parameter, std=DEVIATION)
            done.append(True)

    def sampled(self: Any, real: Any) -> Any:
        sharp(self)
        with products:
            return sample(self, real)

    @torch.no_grad()
    def compared(self: Any, fake: Any) -> None:
        full = self.learner.network.eval()(fake.ids)
        if hasattr(self.engine, "drawing"):
            with self.engine.drawing(self.learner) as network:
                drawn = stepped(network, fake.ids)
        else:
            drawn = stepped(self.learner.network, fake.ids)
        gaps.append((full - drawn) * fake.mask)

    def updated(self: Any, real: Any, fake: Any, score: Any) -> Any:
        compared(self, fake)
        with products:
            return update(self, real, fake, score)

    kind.sample, kind.update = sampled, updated


def measured() -> dict[str, Any]:
    """Of the checkout that is imported."""
    try:
        from seqgan_kit.tokens.policy import TokenPolicy
    except ImportError:
        from seqgan_kit.token_policy import TokenPolicy  # type: ignore[import-not-found, no-redef]
    from seqgan_kit.cli import main

    products, gaps = Products(), list[Tensor]()
    watched(TokenPolicy, products, gaps)
    with tempfile.TemporaryDirectory() as folder:
        code = main(["train", "text", *OPTIONS.split(), "--run.folder", f"{folder}/run"])
    if code:
        raise SystemExit(f"training failed with {code}")
    gap = torch.cat(gaps)
    matrix = {kind: count for kind, count in products.found.items() if "convolutions" not in kind}
    return {
        "products": dict(products.found),
        "share_bfloat16": matrix.get("bfloat16", 0) / sum(matrix.values()),
        "gap_mean": gap.abs().mean().item(),
        "gap_greatest": gap.abs().max().item(),
        "gap_sequence_deviation": gap.sum(1).std().item(),
        "tokens": gap.numel(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--other", type=Path, help="another checkout, measured beside this one")
    parser.add_argument("--record", type=Path, help="file that the result is written to")
    parser.add_argument("--own", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.own:
        print(json.dumps(measured()))
        return
    found = {}
    for name, checkout in [("here", HERE), *([("other", options.other.resolve())] if options.other else [])]:
        environment = {**os.environ, "PYTHONPATH": str(checkout)}
        command = [sys.executable, __file__, "--own"]
        done = subprocess.run(command, env=environment, cwd=checkout, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr[-3000:])
        found[name] = json.loads(done.stdout.splitlines()[-1])
        print(name, json.dumps(found[name], indent=1))
    if options.record:
        options.record.write_text(json.dumps({"options": OPTIONS, "deviation": DEVIATION, **found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
