"""A run finds its files from any folder, and from anywhere else where they are told to be now."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

import runs
from seqgan_kit.cli import main
from seqgan_kit.cli.parsing import FILES, groups, parse
from seqgan_kit.options import TASKS
from test_dialogue_cli import SHORT, refused

DATA = {
    "text": "".join(f"a b {'c' if i % 2 else 'd'} {'e' if i % 3 else 'f'} {i % 7}\n" for i in range(60)),
    "dialogue": "".join(f"a b {i % 7}\tc {'e' if i % 3 else 'f'} {i % 5}\n" for i in range(60)),
}


def trained(task: str, folder: Path) -> Path:
    """A short run on own.txt, named from where it is."""
    (folder / "own.txt").write_text(DATA[task])
    (folder / "held_out.txt").write_text(DATA[task][-200:].partition("\n")[2])
    options = ["--data.path", "own.txt", "--data.held_out_path", "held_out.txt", "--likelihood.batch_size", "4"]
    words = (runs.tiny if task == "text" else runs.tiny_dialogue)(folder / "run", *SHORT, *options)
    assert main(words) == 0
    return folder / "run"


@pytest.mark.parametrize("task", DATA)
def test_a_run_is_scored_and_goes_on_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], task: str
) -> None:
    """Its files stand in it by absolute paths. Moved, they are told to be missing, and where they are can be told."""
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    here.mkdir()
    monkeypatch.chdir(there)
    run = trained(task, there)
    data = yaml.safe_load((run / "config.yaml").read_text())["data"]
    assert (data["path"], data["held_out_path"]) == (str(there / "own.txt"), str(there / "held_out.txt"))
    monkeypatch.chdir(here)
    assert main(["evaluate", str(run)]) == 0
    expected = json.loads((run / "evaluation.json").read_text())
    assert main(["resume", str(run), "--adversarial.rounds", "2"]) == 0
    shutil.move(there / "own.txt", here / "moved.txt")
    assert refused(capsys, "evaluate", str(run)).startswith(f"{there}/own.txt does not exist")
    assert main(["evaluate", str(run), "--data.path", "moved.txt"]) == 0
    assert json.loads((run / "evaluation.json").read_text()).keys() == expected.keys()
    (here / "moved.txt").write_text(DATA[task].replace("a b", "b a"))
    assert "the data, or the tokenizer, have changed" in refused(
        capsys, "evaluate", str(run), "--data.path", "moved.txt"
    )


def test_a_relative_path_of_an_old_run_is_told_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where it was looked for; the option that helps is there."""
    monkeypatch.chdir(tmp_path)
    run = trained("text", tmp_path)
    config = (run / "config.yaml").read_text().replace(f"{tmp_path}/own.txt", "data/own.txt")
    (run / "config.yaml").write_text(config)
    told = refused(capsys, "evaluate", str(run))
    here = f"(relative to the folder of the command, {tmp_path})"
    assert told == f"data/own.txt does not exist: neither does the folder data, check the path {here}"
    assert main(["evaluate", str(run), "--data.path", "own.txt"]) == 0


@pytest.mark.parametrize("task", TASKS)
def test_every_option_of_a_file_is_kept_as_an_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    """Of what is there; what is not, as the name of a model, stays."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "it").mkdir()
    words = [option.name for group in groups(task) for option in group.options if option.kind == "TEXT"]
    named = [word for word in words if word.rpartition(".")[2] in FILES]
    assert TASKS[task].file.removeprefix("--") in named
    options = [word for name in named for word in (f"--{name}", "it")]
    made = yaml.safe_load(parse(options, task)[1])
    for name in named:
        group, last = name.rsplit(".", 1)
        assert made[group][last] == str(tmp_path / "it")
    made = yaml.safe_load(parse([f"--{named[-1]}", "gpt2"], task)[1])
    group, last = named[-1].rsplit(".", 1)
    assert made[group][last] == "gpt2"


def test_a_cache_is_where_it_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though it is not there yet: from another folder a run would make a second one."""
    monkeypatch.chdir(tmp_path)
    for task in ("images", "encoder"):
        made = yaml.safe_load(parse(["--data.cache", "kept"], task)[1])
        assert made["data"]["cache"] == str(tmp_path / "kept")
        assert yaml.safe_load(parse(["--data.side", "16"], task)[1])["data"]["cache"] is None
