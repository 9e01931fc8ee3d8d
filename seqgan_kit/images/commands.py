"""What `seqgan-kit` does with a run of pictures: new ones from captions, scores, and the table at the end."""

from __future__ import annotations

import re
import shlex
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqgan_kit.bounds import Count, check_fits
from seqgan_kit.commands import add_samples, add_seed, asked
from seqgan_kit.errors import UserError
from seqgan_kit.files import write_json
from seqgan_kit.report.metrics import phase_title, saved_samples
from seqgan_kit.report.models import add_model, model_folder, tell_model
from seqgan_kit.report.terminal import last_scores, print_places, scored_baselines, scores_table

if TYPE_CHECKING:
    from torch import Tensor

    from seqgan_kit.images.caption_encoders import TextEncoder
    from seqgan_kit.images.config import ImagesConfig

Read = Callable[..., "tuple[ImagesConfig, str]"]
"""Further options -> the run's configuration with them, and its YAML."""
Scores = Mapping[str, float]
COUNT = 4  # pictures of a caption
EXAMPLE = "a red bird with a short beak"
SLUG = 40  # characters of a caption in a file's name
PRINTED = 20  # paths
GRID = (32, 8)  # captions, and pictures of each, that are shown together
LEAST = 10  # pictures that are evaluated, as in training
SECOND = "second_"


def sample_options(parser: ArgumentParser) -> None:
    parser.add_argument("--text", action="append", default=[], help="Caption to draw; may be given several times")
    parser.add_argument("--file", type=Path, help="Text file (UTF-8) with a caption a line")
    parser.add_argument(
        "--count", type=Count, help=f"Number of pictures of each caption (default: {COUNT}; 1 with --like)"
    )
    add_model(parser)
    add_seed(parser, "the pictures' noise: the same one gives the same pictures")
    parser.add_argument("--out", type=Path, help="Folder for the pictures; its files are kept (default: RUN/generated)")
    parser.add_argument(
        "--like", type=Path, help="Picture whose style (pose, background) all shall have (default: none)"
    )


def sample(run: Path, options: Namespace, read: Read) -> None:
    """Writes pictures of captions as PNG files."""
    config, _ = read()
    captions = _captions(options, config.text.conditional)
    import torch
    from PIL import Image

    from seqgan_kit.images.caption_encoders import embed
    from seqgan_kit.images.evaluation import make
    from seqgan_kit.images.grids import save_grid, save_picture

    model = model_folder(run, options.model)
    network = _load_model(model, run)
    count = _count(options, network)
    check_fits("sample --count", count, 4 * (3 * network.side**2 + network.config.noise))
    encoder = _load_encoder(model, network)
    vectors = embed(encoder, captions)
    if not config.text.conditional:
        vectors = torch.zeros_like(vectors)
        print(f"{run} was trained with --text.conditional false: its pictures have nothing to do with captions")
    elif unread := encoder.unread(captions):
        example = next(caption for caption in captions if encoder.unread([caption]))
        print(f"{unread} of {len(captions)} captions are not read in full, unknown words or too long: {example!r}")
    torch.manual_seed(options.seed)
    noise = torch.randn(count, network.config.noise)
    if options.like is not None:
        noise = _style(run, options.like, network).expand(count, -1)
    folder = options.out or run / "generated"
    paths: list[Path] = []
    shown: list[Tensor] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        first = _next_number(folder)
        for row, (caption, vector) in enumerate(zip(captions, vectors, strict=True)):
            # a caption's pictures don't depend on those before it, and all captions have the same noise
            torch.manual_seed(options.seed)
            pictures = make(network, vector.expand(count, -1), noise)
            for i, pixels in enumerate(pictures):
                name = "-".join(filter(None, (f"{first + row:04d}", _slug(caption), str(i + 1))))
                paths.append(folder / f"{name}.png")
                save_picture(Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()), paths[-1])
            shown += [pictures[: GRID[1]]] if row < GRID[0] else []
        grid = _free(folder, "grid")
        save_grid(grid, torch.cat(shown), len(shown[0]), captions[: GRID[0]])
    except OSError as error:
        raise UserError(f"can't write into {folder}: {error.strerror or error}; give another --out") from error
    tell_model(run, options.model)
    for path in paths[:PRINTED]:
        print(path)
    if len(paths) > PRINTED:
        print(f"... and {len(paths) - PRINTED} more")
    print(f"{grid}.png: a row a caption, as in {grid}.txt")


def evaluate_options(parser: ArgumentParser) -> None:
    add_model(parser)
    add_samples(parser, "held-out captions, a picture each")
    add_seed(parser, "captions and noise", as_in_training=True)
    parser.add_argument(
        "--features",
        help="Features that pictures are compared by: learned, none, or the folder of a vision model "
        "(default: as in training)",
    )
    parser.add_argument(
        "--matcher",
        help="What judges R-precision: learned, none, or the folder of a joint embedding (default: as in training)",
    )
    parser.add_argument("--clip", help="Folder of a CLIP model, for the CLIP score (default: as in training)")


def evaluate(run: Path, options: Namespace, read: Read) -> None:
    """Scores a run's pictures of held-out captions, beside real pictures."""
    config, _ = read()
    given = {name: value for name, value in vars(options).items() if value is not None and name != "model"}
    wanted = replace(config, evaluation=replace(config.evaluation, **given))
    _, seed = asked("evaluate", options, config.evaluation, LEAST)
    from accelerate.utils import set_seed

    from seqgan_kit.engine import devices
    from seqgan_kit.images.evaluation import PictureEvaluation
    from seqgan_kit.images.sources import load
    from seqgan_kit.networks.pictures.generator import StackedGenerator

    folder = model_folder(run, options.model)
    device = devices.for_evaluation(config.run.device)
    network = _load_model(folder, run).to(device)
    source = load(config.data, config.data.kept(max(config.data.side, config.second.side)), config.run.seed)
    encoder = _load_encoder(folder, network)
    evaluation = PictureEvaluation(wanted, source, encoder, network.side, run, device=device)
    tell_model(run, options.model)
    set_seed(seed)  # as while training, so that the same options give the same numbers
    found, _ = evaluation(network)
    set_seed(seed)
    baselines = evaluation.baselines()
    if isinstance(network, StackedGenerator):
        baselines["first stage, enlarged"] = evaluation.enlarged(network.stage_one)
    count = len(evaluation.samples[""].captions)
    print(f"{evaluation.source.name}: pictures of {count} held-out captions, side {evaluation.side}, seed {seed}")
    print(scores_table("", {"this model": found, **baselines}))
    write_json(
        run / "evaluation.json",
        {
            "model": options.model,
            "samples": count,
            "seed": seed,
            "side": evaluation.side,
            "metrics": found,
            "baselines": baselines,
        },
    )


COMMANDS = {"sample": (sample_options, sample), "evaluate": (evaluate_options, evaluate)}


def summarise(run: Path) -> None:
    """What each phase scored beside real pictures, where everything is, and what to do with the run."""
    from seqgan_kit.images.train import ADVERSARIAL
    from seqgan_kit.images.train import SECOND as SECOND_STAGE

    known = scored_baselines(run)
    last = last_scores(run, intervals=True)
    for phase in (ADVERSARIAL, SECOND_STAGE):
        second = phase == SECOND_STAGE
        beside = {name.removeprefix(SECOND): known[name] for name in known if name.startswith(SECOND) == second}
        if phase in last:
            columns = {phase_title(phase): last[phase], **beside}
            print(f"\n{scores_table('on held-out captions', columns)}")
    saved = saved_samples(run)
    newest = next((saved[phase][-1][1] for phase in (SECOND_STAGE, ADVERSARIAL) if phase in saved), None)
    print(f"\nsamples {newest.with_suffix('.png')}" if newest else "")
    caption = newest.read_text("utf-8").partition("\n")[0] if newest else ""
    print_places(run, f"sample {run} --text {shlex.quote(caption or EXAMPLE)}", f"evaluate {run}")


# Captions and names


def _captions(options: Namespace, conditional: bool) -> list[str]:
    """With single spaces, those of the command line first. A run without captions makes pictures of none, too."""
    from seqgan_kit.files import checked

    found = [" ".join(checked(text, "--text").split()) for text in options.text]
    if "" in found:
        raise UserError('sample --text "": give a caption with a word in it')
    if options.file is not None:
        from seqgan_kit.files import read_text

        lines = [" ".join(line.split()) for line in read_text(options.file).split("\n")]
        if not any(lines):
            raise UserError(f"{options.file} has only blank lines: write a caption a line")
        found += filter(None, lines)
    if not found and conditional:
        raise UserError(f'sample needs captions: give --text "{EXAMPLE}", or --file with a caption a line')
    return found or [""]


def _slug(caption: str) -> str:
    """The caption for a file's name: lower-case ASCII letters and digits, of other scripts nothing."""
    return "-".join(re.findall(r"[a-z0-9]+", caption.lower()))[:SLUG].strip("-")


def _next_number(folder: Path) -> int:
    """The number after the highest that a file's name in the folder begins with."""
    numbers = [int(match[1]) for path in folder.iterdir() if (match := re.match(r"(\d+)-", path.name))]
    return max(numbers, default=0) + 1


def _free(folder: Path, name: str) -> Path:
    """folder/name, or name-2, name-3, ...: the first without .png or .txt."""
    number, path = 1, folder / name
    while any(path.with_suffix(suffix).exists() for suffix in (".png", ".txt")):
        number += 1
        path = folder / f"{name}-{number}"
    return path


def _count(options: Namespace, network: Any) -> int:
    from seqgan_kit.networks.pictures.generator import StackedGenerator

    count = int((COUNT if options.like is None else 1) if options.count is None else options.count)
    draws = network.config.augmentation or isinstance(network, StackedGenerator)
    if options.like is not None and count > 1 and not draws:
        raise UserError(f"sample --count {count}: with --like all pictures of a caption are the same; leave it out")
    return count


# What a run holds


def _load_model(folder: Path, run: Path) -> Any:
    """The generator in a folder of the run, for inference."""
    from transformers import AutoModel

    from seqgan_kit.networks.pictures.generator import PictureGenerator, StackedGenerator
    from seqgan_kit.networks.saved import load_network

    network = load_network(AutoModel, folder, run)
    if not isinstance(network, PictureGenerator | StackedGenerator):
        found = type(network).__name__
        raise UserError(f"{folder} holds {found}, no generator of pictures; resume {run} to write it anew")
    return network


def _load_encoder(folder: Path, network: Any) -> TextEncoder:
    from seqgan_kit.images.caption_encoders import load_encoder

    encoder = load_encoder(folder / "text")
    if encoder.dim != network.config.condition:
        raise UserError(
            f"the generator of {folder} reads captions of {network.config.condition} numbers, but "
            f"{encoder.name} gives {encoder.dim}: take the encoder that it was trained with"
        )
    return encoder


def _style(run: Path, picture: Path, network: Any) -> Tensor:
    """The noise that a picture could have been made of, (1, noise)."""
    import torch

    from seqgan_kit.images.data import unit
    from seqgan_kit.images.pixels import decode
    from seqgan_kit.images.records import Record
    from seqgan_kit.networks.pictures.style import StyleEncoder
    from seqgan_kit.networks.saved import load_network

    folder = run / "model" / "style"
    if not (folder / "config.json").is_file():
        raise UserError(f"sample --like: {run} has no style encoder; train a run with --style.steps 2000")
    encoder = load_network(StyleEncoder, folder, run)
    if encoder.config.noise != network.config.noise:
        raise UserError(
            f"{folder} gives {encoder.config.noise} numbers, but the generator reads {network.config.noise}: it is of "
            f"another run; resume {run} to write it anew"
        )
    pixels = decode([Record(picture, ("",), None, None)], network.side)
    with torch.no_grad():
        return encoder(unit(pixels))
