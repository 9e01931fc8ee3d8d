"""The commands on a run of pictures: sample, evaluate, and the table at the end of training."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import runs
from seqgan_kit.cli import main
from seqgan_kit.engine.provenance import config_yaml
from seqgan_kit.images.caption_embedding import CaptionEncoderConfig
from seqgan_kit.images.caption_encoders import Words, save_encoder
from seqgan_kit.images.commands import COUNT, EXAMPLE, GRID, PRINTED, _slug, summarise
from seqgan_kit.images.config import EvaluationConfig, ImagesConfig, SecondStageConfig
from seqgan_kit.images.data import unit
from seqgan_kit.images.encoder_commands import summarise as summarise_encoder
from seqgan_kit.images.grids import GAP, SHOWN, save_grid
from seqgan_kit.images.sources import DataConfig
from seqgan_kit.images.train_encoder import EncoderConfig
from seqgan_kit.networks.pictures.generator import PictureConfig, PictureGenerator, StackedGenerator
from seqgan_kit.networks.pictures.style import StyleEncoder, StyleEncoderConfig

SIDE, NOISE = 16, 6
ENCODER = Words(["a red circle .", "a blue star .", "two large green squares ."], least=1)
CONFIG = ImagesConfig(
    data=DataConfig(side=SIDE, scenes=200, captions=2, unseen=2),
    text=CaptionEncoderConfig(standardise=False),
    evaluation=EvaluationConfig(samples=20, features="none"),
)


def generator(stacked: bool = False, seed: int = 0, **others: Any) -> Any:
    """With weights large enough for the pictures to differ."""
    torch.manual_seed(seed)
    second = {"second_side": 2 * SIDE, "second_width": 4, "second_blocks": 1} if stacked else {}
    config = PictureConfig(condition=ENCODER.dim, noise=NOISE, side=SIDE, width=4, text=8, **second, **others)
    network = (StackedGenerator if stacked else PictureGenerator)(config)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=2 / parameter[0].numel() ** 0.5)
    return network.eval()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with a model, as training leaves it, without having trained."""
    return make_run(tmp_path / "run", generator(), CONFIG)


def make_run(folder: Path, network: Any, config: ImagesConfig) -> Path:
    folder.mkdir()
    (folder / "config.yaml").write_text(config_yaml(config))
    (folder / "run.json").write_text(json.dumps({"task": "images", "finished": True}))
    network.save_pretrained(folder / "model")
    save_encoder(ENCODER, folder / "model" / "text")
    return folder


def said(capsys: pytest.CaptureFixture[str], *words: object) -> list[str]:
    """The lines that a command that ends well prints."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == 0
    return capsys.readouterr().out.splitlines()


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line on stderr that a mistake ends with, at status 1."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == 1
    told = runs.errors(capsys.readouterr().err)
    assert len(told) == 1, told
    assert told[0].startswith("seqgan-kit: ")
    return told[0].removeprefix("seqgan-kit: ")


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def shown(network: Any, noise: Tensor, caption: str) -> np.ndarray:
    """One picture as the network alone makes it."""
    with torch.no_grad():
        pixels = network(noise[None], ENCODER.encode([caption]))[0][0]
    return ((pixels + 1) * 127.5).round().permute(1, 2, 0).numpy()


# -- sample --------------------------------------------------------------------------------------------------------


def test_pictures_of_captions_are_written(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each is what the model makes of the caption and one of the noises, which all captions share."""
    captions = ["A red  circle .", "a blue star ."]
    lines = said(capsys, "sample", run, "--text", captions[0], "--text", captions[1], "--count", 3, "--seed", 5)
    names = [f"000{i}-{slug}-{k}.png" for i, slug in ((1, "a-red-circle"), (2, "a-blue-star")) for k in (1, 2, 3)]
    folder = run / "generated"
    assert lines[:6] == [str(folder / name) for name in names]
    assert sorted(path.name for path in folder.iterdir()) == sorted([*names, "grid.png", "grid.txt"])
    torch.manual_seed(5)
    noise = torch.randn(3, NOISE)
    network = generator()
    for i, name in enumerate(names):
        expected = shown(network, noise[i % 3], captions[i // 3])
        np.testing.assert_allclose(read(folder / name), expected, atol=1)
        assert read(folder / name).std() > 5, "not one flat colour"
    assert (folder / "grid.txt").read_text() == "A red circle .\na blue star .\n"
    step = SHOWN + GAP
    grid = read(folder / "grid.png")
    assert grid.shape == (2 * step - GAP, 3 * step - GAP, 3)
    times = SHOWN // SIDE
    np.testing.assert_array_equal(grid[step::times, 2 * step :: times], read(folder / names[5]))


def test_a_seed_gives_a_caption_its_pictures(run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The same again, whichever captions come before, and also where the model draws noise of its own."""
    drawing = make_run(tmp_path / "drawing", generator(augmentation=True), CONFIG)
    for one in (run, drawing):
        out = [tmp_path / f"{one.name}{i}" for i in range(3)]
        said(capsys, "sample", one, "--text", "a blue star", "--out", out[0])
        said(capsys, "sample", one, "--text", "a red circle", "--text", "a blue star", "--out", out[1])
        said(capsys, "sample", one, "--text", "a blue star", "--out", out[2], "--seed", 1)
        first, second, other = ([read(path) for path in sorted(folder.glob("*star*.png"))] for folder in out)
        assert len(first) == len(second) == COUNT
        assert all((a == b).all() for a, b in zip(first, second, strict=True))
        assert not any((a == b).all() for a, b in zip(first, other, strict=True))


def test_nothing_is_overwritten(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Numbers go on after the highest, also of files of the user's; grids get numbers, too."""
    out = run / "mine"
    out.mkdir()
    (out / "0041-holiday.jpg").write_text("kept")
    (out / "notes.txt").write_text("kept")
    words = ("sample", run, "--text", "a red circle", "--count", 1, "--out", out)
    said(capsys, *words)
    before = {path: path.read_bytes() for path in out.iterdir()}
    lines = said(capsys, *words, "--seed", 1)
    assert lines == [
        str(out / "0043-a-red-circle-1.png"),
        f"{out / 'grid-2.png'}: a row a caption, as in {out / 'grid-2.txt'}",
    ]
    assert {path: path.read_bytes() for path in before} == before
    assert {path.name for path in set(out.iterdir()) - set(before)} == {
        "0043-a-red-circle-1.png", "grid-2.png", "grid-2.txt",
    }  # fmt: skip


def test_captions_of_a_file(run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A caption a line, blank lines skipped, after those of the command line; unread ones are counted."""
    path = tmp_path / "captions.txt"
    path.write_bytes("\ufeffa red circle\r\n\n   \n a  blue zeppelin \n赤い円".encode())
    lines = said(capsys, "sample", run, "--text", "a star", "--file", path, "--count", 1)
    assert lines[0] == "2 of 4 captions are not read in full, unknown words or too long: 'a blue zeppelin'"
    names = ["0001-a-star-1", "0002-a-red-circle-1", "0003-a-blue-zeppelin-1", "0004-1"]
    assert lines[1:5] == [str(run / "generated" / f"{name}.png") for name in names]
    told = (run / "generated" / "grid.txt").read_text("utf-8").splitlines()
    assert told == ["a star", "a red circle", "a blue zeppelin", "赤い円"]


def test_many_paths_are_counted(run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Twenty are printed; the grid shows the first pictures of the first captions."""
    path = tmp_path / "captions.txt"
    path.write_text("a star\n" * (GRID[0] + 1))
    lines = said(capsys, "sample", run, "--file", path, "--count", GRID[1] + 1)
    assert len(lines) == PRINTED + 2
    assert lines[-2] == f"... and {(GRID[0] + 1) * (GRID[1] + 1) - PRINTED} more"
    assert len(list((run / "generated").glob("0*.png"))) == (GRID[0] + 1) * (GRID[1] + 1)
    step = SHOWN + GAP
    assert read(run / "generated" / "grid.png").shape == (GRID[0] * step - GAP, GRID[1] * step - GAP, 3)
    assert (run / "generated" / "grid.txt").read_text() == "a star\n" * GRID[0]


@pytest.mark.parametrize(
    ("caption", "slug"),
    [
        ("A red, RED bird!", "a-red-red-bird"),
        ("../../etc/passwd\0", "etc-passwd"),
        ("красная птица", ""),
        ("-rf *", "rf"),
        ("a" * 50, "a" * 40),
        ("a " * 30, "-".join("a" * 20)),
    ],
)
def test_captions_become_harmless_names(caption: str, slug: str) -> None:
    assert _slug(caption) == slug


def test_an_unconditional_run_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its pictures depend on the noise alone; it needs no caption."""
    config = replace(CONFIG, text=CaptionEncoderConfig(standardise=False, conditional=False))
    run = make_run(tmp_path / "run", generator(), config)
    lines = said(capsys, "sample", run, "--text", "a red circle", "--text", "a blue star", "--count", 1)
    assert lines[0].endswith("conditional false: its pictures have nothing to do with captions")
    one, other = (read(path) for path in sorted((run / "generated").glob("0*.png")))
    np.testing.assert_array_equal(one, other)
    lines = said(capsys, "sample", run, "--count", 2)
    assert lines[1:3] == [str(run / "generated" / f"0003-{i}.png") for i in (1, 2)]


def test_pictures_like_another(run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The noise of all captions is what the style encoder finds in the middle of the picture."""
    picture = tmp_path / "like.png"
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    Image.fromarray(np.pad(pixels, ((0, 0), (8, 8), (0, 0)))).save(picture)
    words = ("sample", run, "--text", "a red circle", "--text", "a blue star", "--like")
    assert "no style encoder; train a run with --style.steps" in refused(capsys, *words, picture)
    torch.manual_seed(3)
    style = StyleEncoder(StyleEncoderConfig(NOISE, 8)).eval()
    style.save_pretrained(run / "model" / "style")
    said(capsys, *words, picture)
    with torch.no_grad():
        noise = style(unit(torch.from_numpy(pixels).permute(2, 0, 1)[None]))[0]
    found = [read(path) for path in sorted((run / "generated").glob("0*.png"))]
    network = generator()
    for one, caption in zip(found, ("a red circle", "a blue star"), strict=True):
        np.testing.assert_allclose(one, shown(network, noise, caption), atol=1)
    assert "leave it out" in refused(capsys, *words, picture, "--count", 2)
    assert "nowhere.png can't be read" in refused(capsys, *words, tmp_path / "nowhere.png")
    picture.write_text("no picture")
    assert "like.png is none of PNG, JPEG" in refused(capsys, *words, picture)
    StyleEncoder(StyleEncoderConfig(NOISE + 1, 8)).save_pretrained(run / "model" / "style")
    Image.fromarray(pixels).save(picture)
    assert f"gives {NOISE + 1} numbers, but the generator reads {NOISE}" in refused(capsys, *words, picture)


def test_mistakes_in_what_is_asked(run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Each is one line that says what to do, and nothing is written."""
    path = tmp_path / "captions.txt"
    assert refused(capsys, "sample", run) == (
        f'sample needs captions: give --text "{EXAMPLE}", or --file with a caption a line'
    )
    assert "give a caption with a word" in refused(capsys, "sample", run, "--text", "  ")
    assert "captions.txt does not exist" in refused(capsys, "sample", run, "--file", path)
    path.write_bytes("a star\na caf\xe9\n".encode("latin-1"))
    assert "captions.txt line 2: not UTF-8" in refused(capsys, "sample", run, "--file", path)
    path.write_text(" \n\n")
    assert "captions.txt has only blank lines" in refused(capsys, "sample", run, "--file", path)
    assert "--count 0: give at least 1" in refused(capsys, "sample", run, "--text", "a", "--count", 0)
    assert "--seed -1: give a number from 0" in refused(capsys, "sample", run, "--text", "a", "--seed", -1)
    assert "--samples 9: give at least 10" in refused(capsys, "evaluate", run, "--samples", 9)
    assert "--seed" in refused(capsys, "evaluate", run, "--seed", 2**32)
    assert not (run / "generated").exists()
    assert "can't write into" in refused(capsys, "sample", run, "--text", "a", "--out", path)
    assert not (run / "evaluation.json").exists()


def test_mistakes_in_the_run(run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A model that is missing, cut off, of something else, or does not fit its encoder."""

    def told(change: Any) -> str:
        one = Path(shutil.copytree(run, tmp_path / "copy"))
        change(one / "model")
        found = refused(capsys, "sample", one, "--text", "a star")
        shutil.rmtree(one)
        return found

    assert "holds no model" in told(shutil.rmtree)
    weights = "model.safetensors"
    assert "can't be loaded" in told(lambda model: (model / weights).write_bytes((model / weights).read_bytes()[:999]))
    assert "holds StyleEncoder, no generator" in told(
        lambda model: StyleEncoder(StyleEncoderConfig()).save_pretrained(model)
    )
    other = Words(["a b c"], "pairs", least=1)
    assert f"{ENCODER.dim} numbers, but 5 words and pairs of words gives 5" in told(
        lambda model: save_encoder(other, model / "text")
    )
    assert "holds no text encoder" in told(lambda model: shutil.rmtree(model / "text"))


# -- evaluate ------------------------------------------------------------------------------------------------------


def table(lines: list[str]) -> dict[str, list[str]]:
    """Rows of a printed table by metric."""
    rows = [line.split() for line in lines if re.fullmatch(r"\w+( +(-?\d+\.\d{4}|-))+", line)]
    return {name: cells for name, *cells in rows}


def test_pictures_are_scored_beside_real_ones(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Real pictures show what their captions say, shuffled ones and random weights do not; the same again each time."""
    lines = said(capsys, "evaluate", run)
    found = json.loads((run / "evaluation.json").read_text())
    assert (found["samples"], found["seed"], found["side"]) == (20, CONFIG.evaluation.seed, SIDE)
    assert found["baselines"]["real pictures"]["all"] > 0.9
    assert found["baselines"]["their captions shuffled"]["all"] < 0.3
    assert found["metrics"]["all"] == 0
    assert found["metrics"]["diversity"] > 0.01
    cells = table(lines)
    columns = [found["metrics"], *found["baselines"].values()]
    assert cells.keys() == found["metrics"].keys()
    for name, row in cells.items():
        assert row == [f"{column[name]:.4f}" if name in column else "-" for column in columns]
    said(capsys, "evaluate", run, "--seed", 7, "--samples", 12)
    other = json.loads((run / "evaluation.json").read_text())
    assert (other["samples"], other["seed"]) == (12, 7)
    assert other["metrics"]["diversity"] != found["metrics"]["diversity"]
    said(capsys, "evaluate", run)
    assert json.loads((run / "evaluation.json").read_text()) == found


def test_both_stages_are_scored_at_their_own_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run that has only come to the first of two is scored on whole pictures, averaged down, not on their middle."""
    config = replace(CONFIG, second=SecondStageConfig(side=2 * SIDE))
    for stacked in (False, True):
        run = make_run(tmp_path / f"run{stacked}", generator(stacked), config)
        said(capsys, "evaluate", run)
        found = json.loads((run / "evaluation.json").read_text())
        assert found["side"] == SIDE * (1 + stacked)
        assert found["baselines"]["real pictures"]["all"] > 0.9
        assert ("first stage, enlarged" in found["baselines"]) == stacked


# -- the table at the end ------------------------------------------------------------------------------------------


def test_the_table_at_the_end(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The last evaluation of each phase beside the baselines of its size, and commands that can be copied."""
    rows = [
        {"phase": "adversarial", "step": 1, "total": 2, "eval/all": 0.1, "eval/diversity": 0.3, "loss": 1.0},
        {"phase": "adversarial", "step": 2, "total": 2, "eval/all": 0.2, "eval/diversity": 0.4},
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    summarise(run)
    lines = capsys.readouterr().out.splitlines()
    assert table(lines) == {"all": ["0.2000"], "diversity": ["0.4000"]}
    assert f"next    seqgan-kit sample {run} --text '{EXAMPLE}'" in lines
    second = {"phase": "second_stage", "step": 1, "total": 1, "eval/all": 0.6}
    with (run / "metrics.jsonl").open("a") as stream:
        stream.write(json.dumps(second) + "\n")
    known = {"real pictures": 0.9, "second_real pictures": 0.95, "second_first stage, enlarged": 0.25}
    (run / "baselines.json").write_text(json.dumps({name: {"metrics": {"all": v}} for name, v in known.items()}))
    black = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    for phase, step in (("second_stage", 9), ("second_stage", 10), ("adversarial", 99)):
        save_grid(run / "samples" / f"{phase}-{step:02d}", black, 8, [f"it's {step}"])
    summarise(run)
    told = capsys.readouterr().out
    first, after = told.split("second stage")
    assert table(first.splitlines()) == {"all": ["0.2000", "0.9000"], "diversity": ["0.4000", "-"]}
    assert "adversarial   real pictures" in first
    assert after.splitlines()[0] == "   real pictures   first stage, enlarged"
    assert table(after.splitlines()) == {"all": ["0.6000", "0.9500", "0.2500"]}
    assert f"samples {run / 'samples' / 'second_stage-10.png'}" in told
    assert f"""seqgan-kit sample {run} --text 'it'"'"'s 10'""" in told


def test_what_to_do_with_an_encoder_reads_the_same_captions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command that is told next has the options of the folder; those that nobody gave are left out."""
    (tmp_path / "metrics.jsonl").touch()
    for data in (DataConfig(path="p", captions_from="names", bad_rows="drop"), DataConfig(path="p")):
        (tmp_path / "config.yaml").write_text(config_yaml(EncoderConfig(data=data)))
        summarise_encoder(tmp_path)
        told = capsys.readouterr().out
        same = "--data.captions_from names --data.bad_rows drop " if data.bad_rows == "drop" else ""
        assert f"train images --data.path p {same}--data.side 32 --text.encoder" in told
