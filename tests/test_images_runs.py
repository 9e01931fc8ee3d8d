"""Runs of text to image by the command line: killed and resumed, stopped, and what they say about mistakes."""

from __future__ import annotations

import json
import random
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import runs
from runs import InStep, Victim
from seqgan_kit.cli import main
from seqgan_kit.engine import checkpoints
from seqgan_kit.images.train import ADVERSARIAL, MATCHING, SECOND, SECOND_MATCHING, STYLE, TEXT
from seqgan_kit.networks.pictures.joint_embedding import JointEmbedding, JointEmbeddingConfig

ONE_STAGE = ("--second.side", "0", "--style.steps", "0")
SHORT = ("--joint.steps", "0", "--discriminator.matching", "0", "--evaluation.every", "0")
SMALL = (*ONE_STAGE, *SHORT, "--evaluation.features", "none", "--adversarial.rounds", "12")

CASES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "its own text encoder, captions in between": (
        (*ONE_STAGE, "--adversarial.interpolation", "0.5", "--generator.optimizer.accumulate", "2",
         "--discriminator.augmentations", "[colour,translation]", "--data.margin", "0.25"),
        (TEXT, MATCHING, ADVERSARIAL),
    ),
    "two stages in bfloat16": (
        ("--joint.steps", "0", "--discriminator.matching", "4", "--adversarial.rounds", "4",
         "--adversarial.fresh", "true", "--run.precision", "bf16", "--evaluation.every", "0"),
        (SECOND, STYLE),
    ),
}  # fmt: skip


def told(capsys: pytest.CaptureFixture[str], words: list[str]) -> str:
    """What the user is told, in one line, where the command must fail."""
    assert main(words) == 1
    captured = capsys.readouterr()
    found = runs.errors(captured.err)
    assert len(found) == 1, captured.err
    assert found[0].startswith("seqgan-kit: ")
    return found[0]


def state(run: Path) -> dict[str, Any]:
    return checkpoints.read(checkpoints.all_in(run / "checkpoints")[-1], "shared")


def model(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "model.safetensors")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run of one stage that nobody interrupts."""
    run = tmp_path_factory.mktemp("whole") / "run"
    runs.finish(runs.tiny_images(run, *SMALL), run.with_name("log"))
    return run


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_killed_everywhere_it_ends_equal(tmp_path: Path, name: str) -> None:
    """SIGKILL in each phase, while saving and at start: weights, averages, metrics, samples and model end equal."""
    options, phases = CASES[name]
    uninterrupted = tmp_path / "whole" / "run"
    runs.finish(runs.tiny_images(uninterrupted, *options), tmp_path / "log")
    run = tmp_path / "killed" / "run"
    victim = Victim(run, runs.tiny_images(run, *options))
    victim.kill_everywhere(phases, random.Random(name))
    victim.finish()
    runs.same(uninterrupted, run)
    found = runs.result(run)
    assert any(key.startswith("model/text/") for key in found)
    assert (STYLE not in phases) or any(key.startswith("model/style/") for key in found)
    for file in ("walk.png", "interpolation.png", "nearest.png"):
        assert (run / "pictures" / file).read_bytes() == (uninterrupted / "pictures" / file).read_bytes()


@pytest.mark.slow
def test_the_second_stage_stands_on_the_first_as_it_was_shown(tmp_path: Path) -> None:
    """After the first stage its average is the model; the second holds it, bit for bit, killed and resumed, too."""
    run = tmp_path / "run"
    options = ("--joint.steps", "0", "--style.steps", "0", "--evaluation.every", "0", "--evaluation.features", "none")
    victim = Victim(run, runs.tiny_images(run, *options))
    victim.kill(InStep(SECOND_MATCHING, 4, 0.5))
    assert json.loads((run / "model" / "config.json").read_text())["architectures"] == ["PictureGenerator"]
    first = model(run)
    kept = checkpoints.read(checkpoints.all_in(run / "checkpoints")[-1], "shared")["copies"]["average"]["network"]
    assert first.keys() == kept.keys()
    assert all(torch.equal(first[name], kept[name]) for name in first)
    newest = state(run)["networks"]["generator"]
    assert not all(torch.equal(first[name], newest[name]) for name in first), "the average, not the newest weights"
    victim.kill(InStep(SECOND, 6, 0.5))
    told = victim.finish()
    assert "second_stage" in told
    assert json.loads((run / "model" / "config.json").read_text())["architectures"] == ["StackedGenerator"]
    second = model(run)
    inner = {name.removeprefix("stage_one."): tensor for name, tensor in second.items() if "stage_one." in name}
    assert inner.keys() == first.keys()
    assert all(torch.equal(inner[name], first[name]) for name in first)
    baselines = json.loads((run / "baselines.json").read_text())
    assert {"real pictures", "second_real pictures", "second_first stage, enlarged"} <= baselines.keys()
    names = {path.name for path in (run / "samples").glob("*.png")}
    assert names == {"adversarial-000020.png", "second_stage-000020.png"}


def test_one_kill(whole: Path, tmp_path: Path) -> None:
    """In the game: the run ends equal, the pictures that were replayed and the average included."""
    victim = Victim(tmp_path / "run", runs.tiny_images(tmp_path / "run", *SMALL))
    victim.kill(InStep(ADVERSARIAL, 7, 0.5))
    victim.finish()
    runs.same(whole, victim.run)


@pytest.mark.slow
def test_control_c_saves_and_says_how_to_resume(whole: Path, tmp_path: Path) -> None:
    """It ends after a save with status 130, leaves a model, and continues to the same end."""
    run = tmp_path / "run"
    victim = Victim(run, runs.tiny_images(run, *SMALL, "--run.checkpoint_steps", "1000"))
    assert victim.start(InStep(ADVERSARIAL, 5, 0.5, signal.SIGINT)).wait() == 130
    told = victim.log.read_text()
    assert f"Resume with: seqgan-kit resume {run}" in told
    assert "Traceback" not in told
    assert state(run)["counters"][ADVERSARIAL] in (5, 6)
    assert (run / "model" / "text" / "encoder.json").is_file()
    assert model(run).keys() == model(whole).keys()
    victim.finish()
    runs.same(whole, run)


def test_what_a_run_leaves_behind(whole: Path) -> None:
    """A grid with its captions, baselines, metrics that name what was evaluated, and a report that shows pictures."""
    with Image.open(whole / "samples" / "adversarial-000012.png") as grid:
        grid.load()
        assert min(grid.size) > 90
    captions = (whole / "samples" / "adversarial-000012.txt").read_text().splitlines()
    assert len(captions) == 10
    baselines = json.loads((whole / "baselines.json").read_text())
    real, shuffled = (baselines[name]["metrics"] for name in ("real pictures", "their captions shuffled"))
    assert real["all"] == 1.0, "the world's own pictures show what their captions say"
    assert shuffled["all"] < 0.7
    last = runs.lines(whole)[-1]
    assert {"eval/all", "eval/unseen_all", "eval/diversity"} <= last.keys()
    assert 'src="data:image/png;base64' in (whole / "report.html").read_text()


# -- mistakes -----------------------------------------------------------------------------------------------------

NETWORK = "--discriminator.network seqgan_kit.networks.pictures.discriminator.PictureDiscriminator"
MISTAKES = {
    "--data.side 20": "--data.side 20: give 4 times a power of 2",
    "--data.side 4": "--data.side 4",
    "--discriminator.mismatched 2": "--discriminator.mismatched 2: give a number from 0 to 1",
    "--discriminator.mismatched -0.1": "--discriminator.mismatched",
    "--discriminator.smoothing 0.9 --discriminator.objective seqgan_kit.algorithms.objectives.hinge": "to smooth",
    "--discriminator.smoothing 1.5": "--discriminator.smoothing 1.5",
    "--second.side 16": "--second.side 16: give more than --data.side 16",
    "--second.side 48": "--second.side 48",
    "--evaluation.samples 1": "--evaluation.samples 1: give at least",
    "--adversarial.beta 1.5": "--adversarial.beta",
    "--generator.average 1.1": "--generator.average",
    "--adversarial.batch_size 1": "--adversarial.batch_size 1",
    "--adversarial.batch_size 400": "scenes of 1 shape has 40 pictures, fewer than --adversarial.batch_size 400",
    "--style.steps 2 --style.batch_size 41": "40 pictures, fewer than --style.batch_size 41: give more, or lower it",
    "--second.side 32 --second.batch_size 99": "40 pictures, fewer than --second.batch_size 99",
    "--text.averaged 0": "--text.averaged",
    "--data.held_out 1": "--data.held_out",
    "--data.unseen 99": "--data.unseen 99",
    "--data.shapes 4": "--data.shapes 4",
    "--data.path nowhere": "nowhere",
    "--data.captions_from names": "--data.captions_from names: it is about your own pictures: give --data.path",
    "--data.bad_rows drop": "--data.bad_rows drop: it is about",
    "--evaluation.matcher_steps -1": "--evaluation.matcher_steps -1: give at least 0",
    "--generator.widht 3": "widht",
    '--adversarial.rewards [{"function":"nowhere.at_all"}]': "nowhere",
    '--adversarial.rewards [{"function":"torch.nn.functional.tanh"}]': "tanh returned the shape (2, 3, 16, 16)",
    "--discriminator.network nowhere.Critic": "nowhere",
    "--evaluation.matcher nowhere": "nowhere",
    "--evaluation.clip nowhere": "nowhere",
    "--evaluation.features nowhere": "nowhere",
    "--text.encoder nowhere": "nowhere",
    "--joint.steps 4 --joint.batch_size 0": "--joint.batch_size 0",
    "--discriminator.wrong 0": "--discriminator.wrong 0",
    "--discriminator.near 5": "--discriminator.near 5: give at most --discriminator.wrong 4",
    f"{NETWORK} --discriminator.network.attention 5": "--discriminator.network: attention 5: give 0, or one of [8, 4]",
    "--joint.steps 4 --joint.objective hinge": "--joint.objective",
    "--text.order some": "--text.order",
    "--joint.steps 4 --joint.length 20": "--joint.length 20",
    "--adversarial.turns.generator 0": "--adversarial.turns.generator",
    "--generator.attention 5": "--generator.attention 5",
    "--adversarial.interpolation -1": "--adversarial.interpolation",
    "--discriminator.gradient_square -1": "--discriminator.gradient_square",
    "--discriminator.penalised 0": "--discriminator.penalised",
    "--generator.divergence -1": "--generator.divergence",
}


def joint(folder: Path, dim: int) -> Path:
    """A text encoder that nobody trained."""
    torch.manual_seed(0)
    JointEmbedding(JointEmbeddingConfig(length=48, widths=[4, 4, 8], dim=dim, picture_width=4)).save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_a_text_encoder_of_another_width_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the folder that the captions' vectors come from has changed since: one line, and the run stays whole."""
    run, folder = tmp_path / "run", joint(tmp_path / "encoder", 8)
    options = ("--text.encoder", str(folder), "--adversarial.rounds", "2")
    assert main(runs.tiny_images(run, *SMALL, *options)) == 0
    capsys.readouterr()
    before = model(run)
    joint(folder, 12)
    found = told(capsys, ["resume", str(run), "--adversarial.rounds", "3"])
    assert "does not fit this run" in found
    assert str(run / "config.yaml") in found
    joint(folder, 8)
    assert main(["resume", str(run)]) == 0
    assert all(torch.equal(tensor, before[name]) for name, tensor in model(run).items())


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], mistake: str) -> None:
    """Which option is wrong and what to give instead, before anything is trained."""
    words = runs.tiny_images(tmp_path / "run", *SMALL, *mistake.split())
    assert MISTAKES[mistake] in told(capsys, words)
    assert not (tmp_path / "run" / "checkpoints").exists()
