"""Folders and files made by a stranger: nothing that they name is imported, nothing outside of them is touched or read.

The payloads are harmless: a module that writes a marker as it is imported, links to files beside the folder.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import runs
from seqgan_kit.cli import main
from seqgan_kit.errors import UserError
from test_cli import SHORT, refused
from test_imitation_cli import SMALL

EVIL = """
import pathlib
pathlib.Path({marker!r}).touch()
import gymnasium, torch
from seqgan_kit.networks.policies.transition import TransitionNetwork
from seqgan_kit.networks.text.cnn import TextCNN
if "Evil-v0" not in gymnasium.registry:
    gymnasium.register("Evil-v0", "gymnasium.envs.classic_control:CartPoleEnv", max_episode_steps=9)

def reward(completions, **columns):
    return [0.5] * len(completions)
"""
COMMANDS = {
    "text": ["resume", "sample", "evaluate", "sweep", "report", "compare"],
    "imitation": ["resume", "evaluate", "watch", "record", "report", "compare"],
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A finished run of text and one of imitation."""
    folder = tmp_path_factory.mktemp("trained")
    assert main(runs.tiny(folder / "text", *SHORT)) == 0
    assert main(["train", "imitation", *SMALL, "--run.folder", str(folder / "imitation")]) == 0
    return {"text": folder / "text", "imitation": folder / "imitation"}


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: dict[str, Path]) -> Callable[[str], Path]:
    """Gives a copy of a run that nobody here has trained, with evil.py in it, the current folder."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "evil", raising=False)

    def made(task: str) -> Path:
        run = tmp_path / "stranger"
        shutil.copytree(trained[task], run)
        (run / "evil.py").write_text(EVIL.format(marker=str(tmp_path / "marker")))
        monkeypatch.chdir(run)
        return run

    return made


def edited(run: Path, name: str, value: Any) -> None:
    """With another value for an option in its config.yaml."""
    plan = yaml.safe_load((run / "config.yaml").read_text())
    *groups, last = name.split(".")
    group = plan
    for each in groups:
        group = group[each]
    group[last] = value
    (run / "config.yaml").write_text(yaml.safe_dump(plan))


def contents(folder: Path) -> dict[str, bytes | None]:
    """Of all that is in a folder."""
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


def words_of(command: str, run: Path) -> list[str]:
    more = {"sample": ["--count", "1"], "record": ["--episodes", "1"], "watch": ["--steps", "2"]}
    return [command, str(run), *more.get(command, [])]


def spoken(told: str) -> list[str]:
    """What is said of a mistake, but that one run has no spread."""
    return [line for line in runs.errors(told)[-1:] if "has no spread" not in line]


# -- what config.yaml names ----------------------------------------------------------------------------------------

MARK = ["touch marker"]
NAMED = {
    "a reward": ("text", "adversarial.rewards", [{"function": "evil.reward"}]),
    "a network": ("text", "discriminator.network", "evil.TextCNN"),
    "a class with arguments": ("text", "adversarial.credit", {"class_path": "evil.Credit", "init_args": {"x": 1}}),
    "an objective": ("text", "discriminator.objective", "evil.reward"),
    "an estimator": ("text", "adversarial.estimator", "evil.reward"),
    "a baseline": ("text", "adversarial.baseline", "evil.reward"),
    "a route": ("text", "adversarial.route", {"class_path": "evil.Route"}),
    "Python's own": ("text", "discriminator.objective", {"class_path": "subprocess.Popen", "init_args": {"args": MARK}}),
    "a built-in": ("text", "discriminator.objective", "builtins.print"),
    "what a module of the kit imported": ("text", "adversarial.baseline", "seqgan_kit.tokens.credit.torch.load"),
    "the kit's own commands": ("text", "adversarial.rewards", [{"function": "seqgan_kit.cli.main"}]),
    "an environment": ("imitation", "environment.id", "evil:Evil-v0"),
    "an environment that makes another one": ("imitation", "environment.id", "GymV26Environment-v0"),
    "a policy's network": ("imitation", "discriminator.network", "evil.TransitionNetwork"),
    "an improvement": ("imitation", "policy.improvement", {"class_path": "evil.PPO"}),
    "a reward of steps": ("imitation", "adversarial.rewards", [{"function": "evil.reward"}]),
}


@pytest.mark.parametrize("name", NAMED)
def test_what_a_run_folder_names_is_not_imported(
    name: str, stranger: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By any command; those that need it say what it is, where it stands and how to trust it."""
    task, option, value = NAMED[name]
    run = stranger(task)
    edited(run, option, value)
    told = []
    for command in COMMANDS[task]:
        capsys.readouterr()
        if main(words_of(command, run)) != 0:
            told += spoken(capsys.readouterr().err)
        assert "evil" not in sys.modules, command
    assert not (tmp_path / "marker").exists()
    assert not (run / "marker").exists()
    assert len(told) >= 3, "resume and evaluate and another one read it"
    assert all(f"{run / 'config.yaml'} names" in line and "add --trust " in line for line in told), told


def test_a_file_for_train_names_nothing_either(
    stranger: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A recipe; with --trust, or the part given as an option, it is imported from the current folder."""
    stranger("text")
    Path("recipe.yaml").write_text(yaml.safe_dump({"adversarial": {"rewards": [{"function": "evil.reward"}]}}))
    words = [*runs.tiny(tmp_path / "run", *SHORT), "--config", "recipe.yaml"]
    told = refused(capsys, *words)
    assert told.startswith("recipe.yaml names evil.reward,")
    assert told.endswith("add --trust evil")
    assert not (tmp_path / "marker").exists()
    assert main([*words, "--trust", "evil"]) == 0
    assert (tmp_path / "marker").exists()


def test_a_file_for_train_names_no_other_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for key in ("config", "trust"):
        (tmp_path / "recipe.yaml").write_text(f"{key}: {tmp_path / 'other.yaml'}\n")
        assert f"unknown key {key}" in refused(capsys, "train", "text", "--config", str(tmp_path / "recipe.yaml"))


def test_the_users_own_parts_need_no_word_where_they_were_trained(
    stranger: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Given on the command line, and then remembered by what config.yaml says, not by where the run is."""
    stranger("text")
    given = ["--adversarial.rewards", "[{function: evil.reward}]"]
    assert main(runs.tiny(tmp_path / "own", *SHORT, *given)) == 0
    monkeypatch.chdir(tmp_path)
    shutil.move(tmp_path / "own", tmp_path / "moved")
    for command in COMMANDS["text"]:
        monkeypatch.delitem(sys.modules, "evil", raising=False)
        capsys.readouterr()
        assert main(words_of(command, tmp_path / "moved")) == 0 or not spoken(capsys.readouterr().err), command
    assert main(["resume", str(tmp_path / "moved"), "--adversarial.rounds", "3"]) == 0
    monkeypatch.delitem(sys.modules, "evil")
    assert main(["resume", str(tmp_path / "moved"), "--adversarial.rounds", "4"]) == 0
    # another configuration at the same place, and the same one on another machine
    text = (tmp_path / "moved" / "config.yaml").read_text()
    (tmp_path / "moved" / "config.yaml").write_text(text + "\n")
    assert "add --trust evil" in refused(capsys, "resume", str(tmp_path / "moved"))
    (tmp_path / "moved" / "config.yaml").write_text(text)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "elsewhere"))
    assert "add --trust evil" in refused(capsys, "evaluate", str(tmp_path / "moved"))
    monkeypatch.chdir(tmp_path / "stranger")
    assert main(["evaluate", str(tmp_path / "moved"), "--trust", "evil"]) == 0


def test_the_current_folder_is_not_where_packages_are_looked_for(stranger: Callable[[str], Path]) -> None:
    """By `python -m`, either, which torchrun needs, and where Python itself puts it first."""
    run = stranger("text")
    for package in ("torch", "yaml", "wandb"):
        (run / f"{package}.py").write_text((run / "evil.py").read_text())
    words = [sys.executable, "-m", "seqgan_kit.cli", "sample", str(run), "--count", "1"]
    environment = {**os.environ, "PYTHONPATH": str(runs.ROOT)}
    found = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert not (run.parent / "marker").exists()


# -- links ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", COMMANDS)
def test_no_command_writes_or_reads_through_a_link(
    task: str, stranger: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Everything that a run folder has is in turn a link to something outside, which is as it was after any command."""
    run = stranger(task)
    outside = tmp_path / "outside"
    for path in sorted(run.rglob("*")):
        if path.name in ("evil.py", "__pycache__"):
            continue
        outside.mkdir()
        path.rename(outside / path.name)
        path.symlink_to(outside / path.name)
        before = contents(outside)
        for command in COMMANDS[task]:
            if main(words_of(command, run)) == 0:
                pytest.fail(f"{command} took the link {path}")
            assert f"{path} is a link" in capsys.readouterr().err
        assert contents(outside) == before
        path.unlink()
        (outside / path.name).rename(path)
        outside.rmdir()
