"""What `seqgan-kit` does with a run of the text encoder: R-precision and recall."""

from __future__ import annotations

import shlex
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from seqgan_kit.commands import add_samples, add_seed, asked
from seqgan_kit.files import write_json
from seqgan_kit.report.terminal import last_scores, print_places, scores_table

if TYPE_CHECKING:
    from seqgan_kit.images.train_encoder import EncoderConfig

Read = Callable[..., "tuple[EncoderConfig, str]"]
"""Further options -> the run's configuration with them, and its YAML."""


def evaluate_options(parser: ArgumentParser) -> None:
    add_samples(parser, "held-out pictures")
    add_seed(parser, "the captions that stand beside a picture's own", as_in_training=True)


def evaluate(run: Path, options: Namespace, read: Read) -> None:
    """Scores a run's encoder on held-out captions and pictures."""
    config, _ = read()
    samples, seed = asked("evaluate", options, config.evaluation)
    from seqgan_kit.images import train_encoder
    from seqgan_kit.images.caption_encoders import Joint
    from seqgan_kit.images.sources import load

    network = Joint(run / "model").model
    source = load(config.data, config.data.kept(config.data.side), config.run.seed)
    found = train_encoder.evaluate(network, source, config, samples, seed)
    print(scores_table("", {"held-out": found}))
    write_json(run / "evaluation.json", {"samples": samples, "seed": seed, "metrics": found})


COMMANDS = {"evaluate": (evaluate_options, evaluate)}


def summarise(run: Path) -> None:
    """How well it matches held-out captions and pictures, and what to do with it."""
    for found in last_scores(run).values():
        print(f"\n{scores_table('', {'held-out': found})}\n")
    data = yaml.safe_load((run / "config.yaml").read_text())["data"]
    path = f"--data.path {shlex.quote(data['path'])} " if data["path"] else ""
    model = shlex.quote(str(run / "model"))
    told = {"captions_from": "auto", "column": None, "bad_rows": "error"}  # of the same folder
    path += "".join(
        f"--data.{name} {shlex.quote(data[name])} " for name, unset in told.items() if data.get(name, unset) != unset
    )
    options = f"{path}--data.side {data['side']} --text.encoder {model} --evaluation.matcher {model}"
    print_places(run, f"train images {options}")
