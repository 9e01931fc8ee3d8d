"""What `seqgan-kit` does with a run of text: samples, scores, sweeps, and the table at the end of training."""

from __future__ import annotations

import math
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqgan_kit.commands import Read, add_samples, add_seed, asked, check_least
from seqgan_kit.errors import UserError, check_seed
from seqgan_kit.files import read_json, write_json
from seqgan_kit.report.metrics import CONVENTION
from seqgan_kit.report.terminal import print_phases, print_places, print_samples, scores_table

if TYPE_CHECKING:
    from seqgan_kit.text.config import TextConfig
    from seqgan_kit.text.evaluation import Embed
    from seqgan_kit.text.sampler import Sampler
    from seqgan_kit.text.sources import Source


def sample_options(parser: ArgumentParser) -> None:
    parser.add_argument("--count", type=int, default=10, help="Number of texts that are written (default: %(default)s)")
    add_seed(parser, "the texts that are drawn")
    _temperature_option(parser)
    parser.add_argument(
        "--label", help="Label of the texts, of a run on labelled ones (default: all in turn, each before its text)"
    )


def _temperature_option(parser: ArgumentParser) -> None:
    text = "Temperature of sampling: below 1 likelier texts, above 1 more various ones (default: %(default)s)"
    parser.add_argument("--temperature", type=float, default=1.0, help=text)


def _check_temperature(command: str, temperature: float) -> None:
    if not 0 < temperature < math.inf:
        raise UserError(f"{command} --temperature {temperature:g}: give a number above 0")


def sample(run: Path, options: Namespace, _: Read) -> None:
    """Prints samples of a run's model."""
    check_least("sample", options, count=1)
    check_seed(options.seed)
    _check_temperature("sample", options.temperature)
    import torch

    from seqgan_kit.text.sampler import draw

    network, decode, length, end, known = load_sampler(run / "model")
    if options.label is not None and options.label not in known:
        others = f"give one of {', '.join(known)}" if known else f"{run} has no labels, leave it out"
        raise UserError(f"sample: --label {options.label}: {others}")
    wanted = list(known) if options.label is None else [options.label]
    labels = [known.index(wanted[i % len(wanted)]) for i in range(options.count)] if known else None
    torch.manual_seed(options.seed)
    under = None if labels is None else torch.tensor(labels)
    drawn = draw(network, options.count, length, end, options.temperature, under)
    for i, (row, mask) in enumerate(zip(drawn.ids.tolist(), drawn.mask.tolist(), strict=True)):
        text = decode([token for token, counts in zip(row, mask, strict=True) if counts and token != end])
        print(f"{wanted[i % len(wanted)]} {text}" if len(wanted) > 1 else text)


def load_sampler(folder: Path) -> Sampler:
    """A run's generator, by as few imports as it takes. Raises UserError where it can't be loaded."""
    from seqgan_kit.text.sampler import load_plain

    try:
        return load_plain(folder)
    except Exception:  # another model, or whatever is wrong, of which the slower way tells
        from seqgan_kit.text.models import load_generator

        return load_generator(folder)


def evaluate_options(parser: ArgumentParser) -> None:
    add_samples(parser, "texts that are drawn")
    add_seed(parser, "the texts that are drawn", as_in_training=True)
    _temperature_option(parser)
    _embedder_option(parser)


def _embedder_option(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--embedder",
        help="Folder of a Hugging Face text encoder, for the Fréchet embedding distance and MAUVE (default: none)",
    )


def evaluate(run: Path, options: Namespace, read: Read) -> None:
    """Scores a run's model on held-out data, beside real data."""
    config, _ = read()
    samples, seed = asked("evaluate", options, config.evaluation)
    _check_temperature("evaluate", options.temperature)
    import torch

    from seqgan_kit.text.evaluation import TextEvaluation
    from seqgan_kit.text.models import load_generator
    from seqgan_kit.text.train import REAL

    network = load_generator(run / "model").network
    source = _source(run, config)
    evaluation = TextEvaluation(source, _embed(options.embedder, source), config.evaluation.judge)
    torch.manual_seed(seed)
    found, _ = evaluation(network, samples, options.temperature)
    real = evaluation.real(samples, seed)
    print(f"on {samples} samples, seed {seed}, temperature {options.temperature:g}; {_real_is(source, samples)}")
    print(scores_table("", {"model": found, REAL: real}))
    print(_convention(source))
    content: dict[str, Any] = {"samples": samples, "seed": seed, "temperature": options.temperature}
    write_json(run / "evaluation.json", {**content, "embedder": options.embedder, "metrics": found, "real": real})


def _source(run: Path, config: TextConfig) -> Source:
    """The data, read as in training; by the run's own copy of a model that it began with.

    Raises UserError where they are other data now.
    """
    from seqgan_kit.engine.provenance import check_data
    from seqgan_kit.language.pretrained import CAUSAL, limits_of, tokenizer_of
    from seqgan_kit.text.sources import load

    model = None if config.generator.model is None else str(run / "model")
    vocabulary = limits_of(model, config.generator.config, CAUSAL)[1]
    source = load(config.data, config.run.seed, tokenizer_of(model), vocabulary)
    check_data(run, source.fingerprint())
    return source


def _convention(source: Source) -> str:
    return CONVENTION if source.kind != "oracle" else "nll_gen is NLL-test: of held-out data under the generator"


def _real_is(source: Source, samples: int) -> str:
    count = min(samples, len(source.train.ids))
    return f"real data: {count} sentences of the training set; novel is what held-out ones have"


def _embed(path: str | None, source: Source) -> Embed | None:
    """Vectors of sentences by the encoder in a folder: the mean over the tokens of its own tokenizer."""
    if path is None:
        return None
    if source.kind in ("oracle", "tokens"):
        raise UserError(
            f"--embedder {path}: {source.name} holds numbers, no text that an encoder could read: leave it out"
        )
    if len(source.held_out.ids) < 2:
        raise UserError(
            f"--embedder {path}: {source.name} has a single held-out sentence: leave it out, "
            "or train with a larger --data.held_out"
        )
    import torch

    from seqgan_kit.language.encoders import HuggingFaceEncoder

    encoder = HuggingFaceEncoder(path, "mean")

    def embed(sentences: list[str]) -> torch.Tensor:
        vectors = torch.zeros(len(sentences), encoder.dim)  # what an empty sentence keeps
        places = [place for place, sentence in enumerate(sentences) if sentence.strip()]
        vectors[places] = encoder.encode([sentences[place] for place in places])
        return vectors

    return embed


def sweep_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--temperatures",
        type=float,
        nargs="+",
        help="Temperatures of the curve, two or more (default: 0.5 0.6 ... 1.4)",
    )
    add_samples(parser, "texts that are drawn at each temperature")
    add_seed(parser, "the texts that are drawn", as_in_training=True)
    parser.add_argument(
        "--order",
        type=int,
        default=5,
        choices=(2, 3, 4, 5),
        help="Order of BLEU and Self-BLEU: longest run of words that they count (default: %(default)s)",
    )
    _embedder_option(parser)


def sweep(run: Path, options: Namespace, read: Read) -> None:
    """Quality against diversity over temperatures: the adversarial model beside maximum likelihood."""
    from seqgan_kit.text.sweep import TEMPERATURES

    temperatures = list(dict.fromkeys(options.temperatures or TEMPERATURES))
    for temperature in temperatures:
        if not (temperature > 0 and math.isfinite(temperature)):
            raise UserError(f"sweep: --temperatures {temperature:g}: give numbers above 0, as 0.5 1 1.5")
    if len(temperatures) < 2:
        raise UserError("sweep: one temperature is no curve: give two or more --temperatures")
    config, _ = read()
    samples, seed = asked("sweep", options, config.evaluation)
    folders = _folders(run)

    from seqgan_kit.networks.text.residual_text import NoiseToText
    from seqgan_kit.report import write_report
    from seqgan_kit.report.tradeoff import FILE, read_sweep, steps_made, sweep_table
    from seqgan_kit.text.evaluation import TextEvaluation
    from seqgan_kit.text.models import load_generator
    from seqgan_kit.text.sweep import axes
    from seqgan_kit.text.sweep import sweep as measure

    models = {phase: load_generator(run / folder).network for phase, folder in folders.items()}
    if any(isinstance(model, NoiseToText) for model in models.values()):
        raise UserError(f"sweep: the generator of {run} takes no temperature and has no likelihood: evaluate it")
    source = _source(run, config)
    evaluation = TextEvaluation(source, _embed(options.embedder, source), config.evaluation.judge)
    quality, diversity = axes(source, options.order)
    found = measure(evaluation, models, temperatures, samples, seed)
    real = evaluation.real(samples, seed)
    content: dict[str, Any] = {"samples": samples, "seed": seed, "quality": quality, "diversity": diversity}
    content |= {"embedder": options.embedder, "steps": steps_made(run), "models": found, "real": real}
    write_json(run / FILE, content)
    kept = read_sweep(run)
    assert kept is not None
    print(f"\n{run}: {samples} samples a point, seed {seed}; {_real_is(source, samples)}")
    print(sweep_table(kept))
    print(_convention(source))
    print(f"all metrics  {run / FILE}\ncurves       {write_report(run)}")


def _folders(run: Path) -> dict[str, str]:
    """The run's models to compare, by phase: the folders that hold them. Says which are missing."""
    from seqgan_kit.language.training import ADVERSARIAL, CONTROL, MLE
    from seqgan_kit.report import read_metrics

    if not read_json(run / "run.json").get("finished"):
        raise UserError(f"sweep: {run} is not finished: seqgan-kit resume {run}")
    made = read_metrics(run / "metrics.jsonl")
    folders = {MLE: MLE, ADVERSARIAL: "model", CONTROL: CONTROL}
    lacking = [phase for phase in (MLE, CONTROL) if phase in made and not (run / phase / "config.json").is_file()]
    for phase in lacking:
        print(
            f"{run} has no {phase}/: it was trained by a version that did not keep this model, so its curve is left "
            f"out; train anew to have it"
        )
    found = {phase: folder for phase, folder in folders.items() if phase in made and phase not in lacking}
    if not found:
        raise UserError(f"sweep: {run} keeps no model: train it anew")
    return found


COMMANDS = {
    "sample": (sample_options, sample),
    "evaluate": (evaluate_options, evaluate),
    "sweep": (sweep_options, sweep),
}


def summarise(run: Path) -> None:
    """What the phases did to each held metric, samples, and where everything is."""
    print_phases(run)
    print_samples(run, "samples")
    print_places(run, f"sample {run}")
