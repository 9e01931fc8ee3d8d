"""Folders and files made by a stranger: nothing that they name is imported, nothing outside of them is touched or read.

The payloads are harmless: a module that writes a marker as it is imported, links to files beside the folder.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import re
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
from seqgan_kit.cli.terminal import plain_output
from seqgan_kit.engine import checkpoints
from seqgan_kit.engine.engine import Engine
from seqgan_kit.engine.run_config import RunConfig
from seqgan_kit.engine.set_aside import FOLDER
from seqgan_kit.errors import UserError
from seqgan_kit.files import read_json, write_json
from seqgan_kit.options import TASKS
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

MARK = {"args": ["touch", "marker"]}
NAMED = {
    "a reward": ("text", "adversarial.rewards", [{"function": "evil.reward"}]),
    "a network": ("text", "discriminator.network", "evil.TextCNN"),
    "a class with arguments": ("text", "adversarial.credit", {"class_path": "evil.Credit", "init_args": {"x": 1}}),
    "an objective": ("text", "discriminator.objective", "evil.reward"),
    "an estimator": ("text", "adversarial.estimator", "evil.reward"),
    "a baseline": ("text", "adversarial.baseline", "evil.reward"),
    "a route": ("text", "adversarial.route", {"class_path": "evil.Route"}),
    "Python's own": (
        "text",
        "discriminator.objective",
        {"class_path": "subprocess.Popen", "init_args": {"args": MARK}},
    ),
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
    assert main(["resume", str(tmp_path / "moved"), "--control.steps", "23"]) == 0
    monkeypatch.delitem(sys.modules, "evil")
    assert main(["resume", str(tmp_path / "moved"), "--control.steps", "24"]) == 0
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


@pytest.mark.parametrize("task", TASKS)
def test_no_command_writes_or_reads_through_a_link(
    task: str, stranger: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Everything that a run folder has is in turn a link to something outside, which is as it was after any command."""
    run = stranger("imitation" if task == "imitation" else "text")
    write_json(run / "run.json", {**read_json(run / "run.json"), "task": task})  # which is all that says so
    outside = tmp_path / "outside"
    commands = ["resume", "report", "compare", *importlib.import_module(TASKS[task].commands).COMMANDS]
    for path in sorted(path for path in run.rglob("*") if path.suffix != ".py"):
        outside.mkdir()
        path.rename(outside / path.name)
        path.symlink_to(outside / path.name)
        before = contents(outside)
        for command in commands:
            assert f"{path} is a link (to {outside / path.name})" in refused(capsys, command, str(run)), command
        assert contents(outside) == before
        path.unlink()
        (outside / path.name).rename(path)
        outside.rmdir()


def test_a_run_is_not_resumed_through_a_link_from_python(stranger: Callable[[str], Path], tmp_path: Path) -> None:
    run = stranger("text")
    (run / "metrics.jsonl").rename(tmp_path / "metrics.jsonl")
    (run / "metrics.jsonl").symlink_to(tmp_path / "metrics.jsonl")
    before = (tmp_path / "metrics.jsonl").read_bytes()
    with pytest.raises(UserError, match=r"metrics\.jsonl is a link"):
        Engine(RunConfig(folder=str(run), device="cpu", threads=1), "text", resume=True)
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


def test_a_pipe_in_a_run_folder_is_not_waited_for(
    stranger: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run = stranger("text")
    (run / "config.yaml").unlink()
    os.mkfifo(run / "config.yaml")
    assert "config.yaml is neither a file nor a folder: delete it" in refused(capsys, "report", str(run))


def test_a_run_folder_may_be_given_as_a_link(
    stranger: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Itself, or the folder that it is in, which lies on another disk; what it holds is written there."""
    run = stranger("text")
    (tmp_path / "disk").mkdir()
    run.rename(tmp_path / "disk" / "run")
    (tmp_path / "runs").symlink_to(tmp_path / "disk")
    (tmp_path / "here").symlink_to(tmp_path / "disk" / "run")
    assert main(["resume", str(tmp_path / "runs" / "run"), "--control.steps", "23"]) == 0
    assert main(["resume", str(tmp_path / "here"), "--control.steps", "24"]) == 0
    assert main(["report", str(tmp_path / "here")]) == 0
    assert '"step": 24' in (tmp_path / "disk" / "run" / "metrics.jsonl").read_text()


def test_another_name_of_the_metrics_is_left_alone(stranger: Callable[[str], Path], tmp_path: Path) -> None:
    """A hard link, which an archive can hold, too."""
    run = stranger("text")
    os.link(run / "metrics.jsonl", tmp_path / "outside")
    before = (tmp_path / "outside").read_bytes()
    assert main(["resume", str(run), "--control.steps", "23"]) == 0
    assert (tmp_path / "outside").read_bytes() == before
    assert len((run / "metrics.jsonl").read_bytes()) > len(before)


# -- checkpoints ---------------------------------------------------------------------------------------------------


def test_only_checkpoints_are_deleted(stranger: Callable[[str], Path]) -> None:
    """Not what has another name, nor what has the name alone."""
    run = stranger("text")
    for name in ("2019", "2020", "00000001", "notes"):
        (run / "checkpoints" / name).mkdir()
        (run / "checkpoints" / name / "mine").touch()
    options = ["--control.steps", "26", "--run.checkpoint_steps", "1", "--run.keep_checkpoints", "2"]
    assert main(["resume", str(run), *options]) == 0
    kept = {path.name for path in (run / "checkpoints").iterdir() if not (path / "mine").exists()}
    assert len(kept - {FOLDER}) == 2
    assert all((run / "checkpoints" / name / "mine").is_file() for name in ("2019", "2020", "00000001", "notes"))


FORGED: dict[str, Any] = {
    "metrics_bytes -1": {"metrics_bytes": -1},
    "metrics_bytes 10**13": {"metrics_bytes": 10**13},
    "metrics_bytes text": {"metrics_bytes": "1"},
    "no counters": {"counters": None},
    "counters below 0": {"counters": {"maximum_likelihood": -4}},
    "counters without end": {"counters": {"maximum_likelihood": 10**30}},
    "a time that is no number": {"seconds": {"maximum_likelihood": math.nan}},
    "processes": {"processes": "1"},
    "networks": {"networks": [1]},
}


@pytest.mark.parametrize("name", FORGED)
def test_numbers_in_a_checkpoint_are_checked(
    name: str, stranger: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Whose sums are right: one line, and the metrics are as they were."""
    run = stranger("text")
    newest = checkpoints.all_in(run / "checkpoints")[-1]
    shared = {**checkpoints.read(newest, "shared"), **FORGED[name]}
    checkpoints.write_part(newest, "shared", shared)
    checkpoints.seal(newest, run / "checkpoints" / "00099999")
    before = (run / "metrics.jsonl").read_bytes()
    told = refused(capsys, "resume", str(run), "--adversarial.rounds", "3")
    assert str(run / ("metrics.jsonl" if name == "metrics_bytes 10**13" else "checkpoints/00099999")) in told
    assert (run / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize("text", ["[" * 100_000, '{"value": 1}', '{"dict": 3}', "{}", '{"tensor": "x"}'])
def test_a_forged_part_of_a_checkpoint_is_one_line(
    text: str, stranger: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """It is set aside, and the run goes on from the one before it."""
    run = stranger("text")
    newest = checkpoints.all_in(run / "checkpoints")[-1]
    (newest / "shared.json").write_text(text)
    checkpoints.seal(newest, run / "checkpoints" / "00099999")
    assert main(["resume", str(run)]) == 0
    out, err = capsys.readouterr()
    assert f"checkpoint {run}/checkpoints/00099999 is damaged" in out + err
    assert "Traceback" not in out + err


def test_a_manifest_names_only_what_is_beside_it(stranger: Callable[[str], Path]) -> None:
    run = stranger("text")
    newest = checkpoints.all_in(run / "checkpoints")[-1]
    manifest = read_json(newest / "manifest.json")
    write_json(newest / "manifest.json", {**manifest, "files": {"../../run.json": "0"}})
    with pytest.raises(checkpoints.Damaged, match="is no file of it"):
        checkpoints.check(newest)


# -- environment.json ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["evil:Evil-v0", "GymV26Environment-v0", 3, None])
def test_the_environment_that_a_run_settled_on_is_registered(
    given: Any, stranger: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = stranger("imitation")
    edited(run, "environment.id", "recorded")
    write_json(run / "environment.json", {"id": given, "arguments": {}, "other": []})
    for command in ("evaluate", "watch", "record"):
        assert f"{run / 'environment.json'} names no environment" in refused(capsys, *words_of(command, run))
    assert not (tmp_path / "marker").exists()


# -- what is printed -----------------------------------------------------------------------------------------------


def test_what_is_printed_steers_no_terminal(
    stranger: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Tokens, names and mistakes."""
    run = stranger("text")
    tokenizer = (run / "model" / "tokenizer.json").read_text()
    word = next(word for word in json.loads(tokenizer)["model"]["vocab"] if word.isalpha())
    steering = "\x1b]0;title\x07\x9b2J\u202e" + word
    (run / "model" / "tokenizer.json").write_text(tokenizer.replace(f'"{word}"', json.dumps(steering)))
    shown = {}
    for options in ([], ["--json"]):
        capsys.readouterr()
        assert main(["sample", str(run), "--count", "200", *options]) == 0
        shown[bool(options)] = capsys.readouterr().out
        assert "\\u001b]0;title\\u0007\\u009b2J\\u202e" in shown[bool(options)]
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", shown[bool(options)])
    assert any(steering in json.loads(line)["text"] for line in shown[True].splitlines()), "JSON gives it back"
    assert "\\u001b[2J is no run folder" in refused(capsys, "report", "\x1b[2J")
    edited(run, "adversarial.rewards", [{"function": "evil\x1b[2J.reward"}])
    assert main(["resume", str(run)]) == 1
    assert "\x1b" not in capsys.readouterr().err


def test_progress_bars_still_draw(capsys: pytest.CaptureFixture[str]) -> None:
    with plain_output():
        print("\r 3\x1b[33m of\x1b[0m 4\x1b[A", end="", file=sys.stderr)
        print("\n\x1b[A\r", end="", file=sys.stderr)
    assert capsys.readouterr().err == "\r 3 of 4\\u001b[A\n\x1b[A\r"
