"""What `seqgan-kit` does with a run of text: samples, scores, and the table at the end of training."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from seqgan_kit.errors import UserError

if TYPE_CHECKING:
    from seqgan_kit.text.config import TextConfig

Read = Callable[..., "tuple[TextConfig, str]"]
"""Further options -> the run's configuration with them, and its YAML."""


def sample_options(parser: ArgumentParser) -> None:
    parser.add_argument("--count", type=int, default=10, help="how many (default 10)")
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers (default 0)")
    parser.add_argument("--temperature", type=float, default=1.0, help="below 1 likelier, above 1 more various")


def sample(run: Path, options: Namespace, _: Read) -> None:
    """Prints samples of a run's model."""
    if options.count < 1 or options.temperature <= 0:
        raise UserError("sample: --count and --temperature must be above 0")
    import torch

    from seqgan_kit.text.evaluation import draw
    from seqgan_kit.text.models import load_generator

    network, tokenizer, length, end = load_generator(run / "model")
    torch.manual_seed(options.seed)
    drawn = draw(network, options.count, length, end, options.temperature)
    for row, mask in zip(drawn.ids.tolist(), drawn.mask.tolist(), strict=True):
        print(tokenizer.decode([token for token, counts in zip(row, mask, strict=True) if counts and token != end]))


def evaluate_options(parser: ArgumentParser) -> None:
    parser.add_argument("--samples", type=int, help="sequences drawn (default: as many as in training)")
    parser.add_argument("--seed", type=int, help="of the random numbers (default: as in training)")
    parser.add_argument("--temperature", type=float, default=1.0, help="of sampling (default 1)")


def evaluate(run: Path, options: Namespace, read: Read) -> None:
    """Scores a run's model on held-out data."""
    config, _ = read()
    samples = config.evaluation.samples if options.samples is None else options.samples
    seed = config.evaluation.seed if options.seed is None else options.seed
    if samples < 2 or options.temperature <= 0:
        raise UserError("evaluate: --samples must be at least 2 and --temperature above 0")
    import torch

    from seqgan_kit.provenance import write_json
    from seqgan_kit.text.evaluation import Evaluation
    from seqgan_kit.text.models import load_generator
    from seqgan_kit.text.pretrained import limits_of, tokenizer_of
    from seqgan_kit.text.sources import load

    loaded, model = load_generator(run / "model"), config.generator.model
    if model is not None:  # the run has its own copy of what it began with
        model = str(run / "model")
    source = load(config.data, config.run.seed, tokenizer_of(model), limits_of(model, config.generator.config)[1])
    torch.manual_seed(seed)
    found, _ = Evaluation(source)(loaded.network, samples, options.temperature)
    print(f"on {samples} samples, seed {seed}, temperature {options.temperature:g}")
    for name, value in found.items():
        print(f"{name:<16}{value:>10.4f}")
    write_json(
        run / "evaluation.json",
        {"samples": samples, "seed": seed, "temperature": options.temperature, "metrics": found},
    )


COMMANDS = {"sample": (sample_options, sample), "evaluate": (evaluate_options, evaluate)}


def summarise(run: Path) -> None:
    """What the phases did to each held metric, samples, and where everything is."""
    print_phases(run)
    newest = max((run / "samples").glob("adversarial-*.txt"), default=None) or max((run / "samples").glob("*.txt"))
    print(f"\nsamples ({newest}):")
    print("".join(f"  {line}\n" for line in newest.read_text("utf-8").splitlines()[:8]))
    print(f"model   {run / 'model'}    more samples: seqgan-kit sample {run}")
    print(f"report  {run / 'report.html'}")


def print_phases(run: Path) -> None:
    """A table of what the phases did to each held metric."""
    from seqgan_kit.report import read_metrics
    from seqgan_kit.text.train import ADVERSARIAL, CONTROL, MLE

    last: dict[str, dict[str, float]] = {}
    for phase, lines in read_metrics(run / "metrics.jsonl").items():
        for line in lines:
            found = {k.removeprefix("eval/"): v for k, v in line.values.items() if k.startswith("eval/")}
            last.setdefault(phase, {}).update(found)
    phases = [phase for phase in (MLE, ADVERSARIAL, CONTROL) if last.get(phase)]
    titles = {MLE: "max. likelihood", ADVERSARIAL: "adversarial", CONTROL: "likelihood for as long"}
    names = list(dict.fromkeys(name for phase in phases for name in last[phase]))
    width = max([16, *(len(name) + 1 for name in names)])
    print(f"\n{'held metric':<{width}}" + "".join(f"{titles[phase]:>24}" for phase in phases))
    for name in names:
        print(f"{name:<{width}}" + "".join(f"{last[phase].get(name, float('nan')):>24.4f}" for phase in phases))
