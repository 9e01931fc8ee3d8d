"""What `seqgan-kit` does with a run of text: samples, scores, sweeps, and the table at the end of training."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqgan_kit.bounds import Count, Positive
from seqgan_kit.commands import (
    Read,
    add_drawing,
    add_json,
    add_samples,
    add_seed,
    add_unit,
    asked,
    print_record,
    tell_never_drawn,
    tell_unknown_words,
)
from seqgan_kit.errors import UserError, one_line
from seqgan_kit.files import checked, read_record, write_json
from seqgan_kit.report.measured import MEASURED, notes, read_measured
from seqgan_kit.report.metrics import CONVENTION
from seqgan_kit.report.models import add_model, model_folder, tell_model
from seqgan_kit.report.terminal import print_phases, print_places, print_samples, scores_table

if TYPE_CHECKING:
    import torch

    from seqgan_kit.text.config import TextConfig
    from seqgan_kit.text.evaluation import Embed, TextEvaluation
    from seqgan_kit.text.sampler import Sampler
    from seqgan_kit.text.sources import Source


def sample_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--count", type=Count, default=10, help="Number of texts that are written (default: %(default)s)"
    )
    add_drawing(parser, "texts")
    parser.add_argument(
        "--prefix", default="", help="Beginning of every text, which the model goes on from (default: none)"
    )
    parser.add_argument(
        "--label", help="Label of the texts, of a run on labelled ones (default: all in turn, each before its text)"
    )
    add_model(parser)
    add_json(parser)


def _temperature_option(parser: ArgumentParser) -> None:
    text = "Temperature of sampling: below 1 likelier texts, above 1 more various ones (default: %(default)s)"
    parser.add_argument("--temperature", type=Positive, default=1.0, help=text)


def sample(run: Path, options: Namespace, _: Read) -> None:
    """Prints samples of a run's model."""
    import torch
    from tqdm import tqdm

    from seqgan_kit.text.sampler import BLOCK, draw
    from seqgan_kit.tokens.sampling import Without

    sampler = load_sampler(model_folder(run, options.model))
    known = sampler.labels
    if options.label is not None and options.label not in known:
        others = f"give one of {', '.join(known)}" if known else f"{run} has no labels, leave it out"
        raise UserError(f"sample: --label {options.label}: {others}")
    wanted = list(known) if options.label is None else [options.label]
    first = _begun(run, sampler, options)
    tell_model(run, options.model)
    torch.manual_seed(options.seed)
    never = [] if sampler.unknown is None or options.unknown or not sampler.by_token else [sampler.unknown]
    drawing = options.temperature, options.top_k, options.top_p
    network = Without(sampler.network, never, *drawing) if never else sampler.network
    hidden = True if options.count <= BLOCK or sys.stdout.isatty() else None  # None: unless a terminal shows it
    with tqdm(total=options.count, unit=" texts", disable=hidden) as bar:
        for start in range(0, options.count, BLOCK):  # printed as they come, however many
            turns = [wanted[i % len(wanted)] for i in range(start, min(start + BLOCK, options.count))] if wanted else []
            many = min(BLOCK, options.count - start)
            under = torch.tensor([known.index(label) for label in turns]) if known else None
            drawn = draw(network, many, sampler.length, sampler.end, drawing[0], under, *drawing[1:], first)
            for i, (row, mask) in enumerate(zip(drawn.ids.tolist(), drawn.mask.tolist(), strict=True)):
                ids = [token for token, counts in zip(row, mask, strict=True) if counts and token != sampler.end]
                text, label = sampler.text(ids), turns[i] if len(wanted) > 1 else None
                if options.json:
                    print_record(True, **({} if label is None else {"label": label}), text=text)
                else:
                    print_record(False, text=text if label is None else f"{label} {text}")
            bar.update(many)
    if never:
        tell_never_drawn(sampler.text(never), network.expected)


def _begun(run: Path, sampler: Sampler, options: Namespace) -> list[int]:
    """The ids of --prefix. Raises UserError where the model can't go on from it, or draws in its own way."""
    if not sampler.by_token:
        given = {"--prefix": options.prefix, "--temperature": options.temperature != 1, "--top_k": options.top_k}
        for option, is_set in (given | {"--top_p": options.top_p != 1}).items():
            if is_set:
                raise UserError(f"sample {option}: the generator of {run} writes a text at once: leave it out")
    try:
        ids = sampler.ids(checked(options.prefix, "--prefix").strip()) if options.prefix else []
    except UserError:
        raise
    except Exception as error:  # what tokenizers raise where they have no token for what is unknown
        raise UserError(f"sample --prefix {options.prefix}: no tokens of the model ({one_line(error)})") from None
    if sampler.end in ids:
        raise UserError(f"sample --prefix {options.prefix}: contains {sampler.text([sampler.end])}, which ends a text")
    most = sampler.length - (2 if sampler.end is not None else 1)
    if len(ids) > most:
        raise UserError(f"sample --prefix: it has {len(ids)} tokens: give at most {most}, so that something can follow")
    if sampler.unknown in ids:
        words = [word for word in options.prefix.split() if sampler.unknown in sampler.ids(word)]
        tell_unknown_words(words, sampler.text([sampler.unknown]))
    return ids


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
    add_unit(parser)
    add_model(parser)
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
    import torch

    from seqgan_kit.engine import devices
    from seqgan_kit.language.units import tokenizer_name
    from seqgan_kit.text.models import load_generator
    from seqgan_kit.text.train import REAL

    device = devices.for_evaluation(config.run.device)
    network = load_generator(model_folder(run, options.model)).network.to(device)
    source = _source(run, config)
    evaluation = _evaluation(run, config, source, options, device)
    measured = evaluation.measured(samples, tokenizer_name(config, source))
    tell_model(run, options.model)
    torch.manual_seed(seed)
    found, _ = evaluation(network, samples, options.temperature)
    real = evaluation.real(samples, seed)
    print(f"metrics of {measured.head()}, seed {seed}, temperature {options.temperature:g}")
    print(_real_is(source, samples))
    count = min(samples, len(source.train.ids))
    print(scores_table("", {"model": found, REAL if count == samples else f"{REAL} ({count} texts)": real}))
    print("\n".join([*notes(measured), _convention(source)]))
    content: dict[str, Any] = {"model": options.model, "samples": samples, "seed": seed}
    content["temperature"] = options.temperature
    content[MEASURED] = measured._asdict()
    write_json(run / "evaluation.json", {**content, "embedder": options.embedder, "metrics": found, "real": real})


def _evaluation(
    run: Path, config: TextConfig, source: Source, options: Namespace, device: torch.device
) -> TextEvaluation:
    """By --unit, or as in training. What a run of an earlier version counted is not known: words then."""
    from seqgan_kit.text.evaluation import TextEvaluation

    recorded: Any = MEASURED in read_record(run) and read_measured(run)
    unit = options.unit or (recorded.unit if recorded else None)
    return TextEvaluation(source, _embed(options.embedder, source, device), config.evaluation.judge, unit, device)


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


def _embed(path: str | None, source: Source, device: torch.device) -> Embed | None:
    """Vectors of sentences by the encoder in a folder: the mean over the tokens of its own tokenizer."""
    if path is None:
        return None
    if source.kind in ("oracle", "tokens"):
        raise UserError(
            f"--embedder {path}: {source.name} holds numbers, no text that an encoder could read: leave it out"
        )
    if len(source.held_out.ids) < 2:
        raise UserError(
            f"--embedder {path}: {source.name} has a single held-out sentence: leave it out, or train "
            "with a larger --data.held_out"
        )
    import torch

    from seqgan_kit.language.encoders import HuggingFaceEncoder

    encoder = HuggingFaceEncoder(path, "mean", device=device)

    def embed(sentences: list[str]) -> torch.Tensor:
        vectors = torch.zeros(len(sentences), encoder.dim)  # what an empty sentence keeps
        places = [place for place, sentence in enumerate(sentences) if sentence.strip()]
        vectors[places] = encoder.encode([sentences[place] for place in places])
        return vectors

    return embed


def sweep_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--temperatures",
        type=Positive,
        nargs="+",
        help="Temperatures of the curve, two or more (default: 0.5 0.6 ... 1.4)",
    )
    add_samples(parser, "texts that are drawn at each temperature")
    add_seed(parser, "the texts that are drawn", as_in_training=True)
    add_unit(parser)
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
    if len(temperatures) < 2:
        raise UserError("sweep: one temperature is no curve: give two or more --temperatures")
    config, _ = read()
    samples, seed = asked("sweep", options, config.evaluation)
    folders = _folders(run)

    from seqgan_kit.engine import devices
    from seqgan_kit.language.units import tokenizer_name
    from seqgan_kit.networks.text.residual_text import NoiseToText
    from seqgan_kit.report import write_report
    from seqgan_kit.report.tradeoff import FILE, read_sweep, steps_made, sweep_table
    from seqgan_kit.text.models import load_generator
    from seqgan_kit.text.sweep import axes
    from seqgan_kit.text.sweep import sweep as measure

    device = devices.for_evaluation(config.run.device)
    models = {phase: load_generator(run / folder).network.to(device) for phase, folder in folders.items()}
    if any(isinstance(model, NoiseToText) for model in models.values()):
        raise UserError(f"sweep: the generator of {run} takes no temperature and has no likelihood: evaluate it")
    source = _source(run, config)
    evaluation = _evaluation(run, config, source, options, device)
    measured = evaluation.measured(samples, tokenizer_name(config, source))
    quality, diversity = axes(source, options.order)
    found = measure(evaluation, models, temperatures, samples, seed)
    real = evaluation.real(samples, seed)
    content: dict[str, Any] = {"samples": samples, "seed": seed, "quality": quality, "diversity": diversity}
    content |= {
        MEASURED: measured._asdict(),
        "embedder": options.embedder,
        "steps": steps_made(run),
        "models": found,
        "real": real,
    }
    write_json(run / FILE, content)
    kept = read_sweep(run)
    assert kept is not None
    print(f"\n{run}: seed {seed}; {_real_is(source, samples)}")
    print(sweep_table(kept))
    print("\n".join([*notes(measured), _convention(source)]))
    print(f"all metrics  {run / FILE}\ncurves       {write_report(run)}")


def _folders(run: Path) -> dict[str, str]:
    """The run's models to compare, by phase: the folders that hold them. Says which are missing."""
    from seqgan_kit.language.training import ADVERSARIAL, CONTROL, MLE
    from seqgan_kit.report import read_metrics

    if not read_record(run).get("finished"):
        raise UserError(f"sweep: {run} is not finished: seqgan-kit resume {run}")
    made = read_metrics(run / "metrics.jsonl")
    folders = {MLE: MLE, ADVERSARIAL: model_folder(run, "game").name, CONTROL: CONTROL}
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
