"""The recipes of the papers' data, on pictures made in the layouts that are distributed, and the text encoder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seqgan_kit.cli import main

RECIPES = Path(__file__).parents[1] / "recipes" / "images"
COLOURS = {"001.Red_Bird": (200, 40, 40), "002.Blue_Bird": (40, 60, 200), "003.Green_Bird": (40, 160, 60)}
EACH = 6  # pictures of a class
SMALL = [
    *("--generator.width", "4", "--generator.noise", "4", "--generator.text", "8"),
    *("--discriminator.network.width", "4", "--discriminator.network.text", "8"),
    *("--adversarial.rounds", "2", "--adversarial.batch_size", "4", "--run.threads", "1"),
    *("--evaluation.samples", "10", "--evaluation.feature_steps", "2"),
]


def picture(path: Path, colour: tuple[int, int, int], seed: int) -> None:
    noise = np.random.default_rng(seed).integers(-20, 20, (50, 70, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8)).save(path, quality=90)


def captions(path: Path, name: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    told = [f"this is a {name} number {i}" for i in range(10)]
    path.write_text("\n".join(told) + "\n")


def birds(root: Path) -> Path:
    """CUB-200-2011 as it is distributed, with Reed et al.'s captions beside it; one class is for testing."""
    cub = root / "CUB_200_2011"
    lists: dict[str, list[str]] = {"images.txt": [], "bounding_boxes.txt": [], "train_test_split.txt": []}
    number = 0
    for label, colour in COLOURS.items():
        for i in range(EACH):
            number += 1
            name = f"{label}/{label.split('.')[1]}_{i:04d}"
            picture(cub / "images" / f"{name}.jpg", colour, number)
            captions(root / "text_c10" / f"{name}.txt", label.split(".")[1].replace("_", " ").lower())
            lists["images.txt"].append(f"{number} {name}.jpg")
            lists["bounding_boxes.txt"].append(f"{number} 10.0 5.0 40.0 30.0")
            lists["train_test_split.txt"].append(f"{number} {int(i % 3 > 0)}")
    for file, lines in lists.items():
        (cub / file).write_text("\n".join(lines) + "\n")
    return root


def flowers(root: Path) -> Path:
    """Oxford-102 as it is distributed, with the captions in a folder for each class."""
    number = 0
    for place, colour in enumerate(COLOURS.values(), 1):
        for _ in range(EACH):
            number += 1
            picture(root / "jpg" / f"image_{number:05d}.jpg", colour, number)
            captions(root / "text_c10" / f"class_{place:05d}" / f"image_{number:05d}.txt", f"flower of kind {place}")
    return root


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A joint embedding of the tiny birds, by the recipe with small numbers."""
    folder = tmp_path_factory.mktemp("encoder")
    data = birds(folder / "data")
    small = ["--joint.steps", "4", "--joint.batch_size", "4", "--joint.widths", "[8, 8, 8]", "--joint.dim", "8"]
    more = ["--joint.length", "48", "--joint.picture_width", "8", "--data.path", str(data)]
    recipe = ["--config", str(RECIPES / "cub_encoder.yaml"), "--run.folder", str(folder / "run"), "--run.threads", "1"]
    assert main(["train", "encoder", *recipe, *small, *more]) == 0
    return folder / "run"


@pytest.mark.slow
def test_encoder_is_evaluated(encoder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`evaluate` repeats what training measured last, and says how to use the model."""
    assert main(["evaluate", str(encoder)]) == 0
    told = capsys.readouterr().out
    found = json.loads((encoder / "evaluation.json").read_text())["metrics"]
    lines = [json.loads(line) for line in (encoder / "metrics.jsonl").read_text().splitlines()]
    assert {f"eval/{name}": value for name, value in found.items()}.items() <= lines[-1].items()
    assert "r_precision" in told


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "recipe", "more"),
    [
        (birds, "cub.yaml", []),
        (flowers, "cub.yaml", []),
        (
            birds,
            "cub_stackgan.yaml",
            [
                *("--second.side", "128", "--second.width", "4", "--second.rounds", "2", "--second.batch_size", "2"),
                *("--second.discriminator.width", "4", "--second.discriminator.text", "8"),
            ],
        ),
    ],
    ids=["birds", "flowers", "birds in two stages"],
)
def test_papers_recipes_run(
    make: Callable[[Path], Path],
    recipe: str,
    more: list[str],
    encoder: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    """The recipes for CUB and Oxford-102 train on their layouts, and a picture of a new caption comes out."""
    if more:
        request.getfixturevalue("with_curves")
    run = tmp_path / "run"
    words = ["--config", str(RECIPES / recipe), "--data.path", str(make(tmp_path / "data")), "--run.folder", str(run)]
    text = ["--text.encoder", str(encoder / "model"), "--evaluation.matcher", str(encoder / "model")]
    assert main(["train", "images", *words, *text, *SMALL, *more]) == 0
    assert main(["sample", str(run), "--text", "this is a green bird", "--count", "2"]) == 0
    sides = []
    for path in sorted((run / "generated").glob("0*.png")):
        with Image.open(path) as made:
            sides.append(made.size[0])
    assert sides == [128 if more else 64] * 2
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert 0 <= last["eval/r_precision"] <= 1
    assert ("<svg" in (run / "report.html").read_text()) == bool(more)


@pytest.mark.slow
def test_encoder_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong folder is told in a line before a run folder is made."""
    run = tmp_path / "run"
    words = ["--data.scenes", "100", "--run.folder", str(run), "--text.encoder", str(tmp_path / "nowhere")]
    assert main(["train", "images", *words]) == 1
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1
    assert "seqgan-kit train encoder" in told[0]
    assert not run.exists()
