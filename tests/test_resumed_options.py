"""What a resumed run may change, and what it refuses: its past is not rewritten, and nothing is written over."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import runs
from runs import Held, InStep, Launched, Victim
from seqgan_kit.cli import main
from seqgan_kit.engine import checkpoints
from seqgan_kit.language.training import ADVERSARIAL, MLE
from seqgan_kit.report.changes import changed

SHORT = (
    "--likelihood.steps", "4", "--discriminator.steps", "2", "--adversarial.rounds", "3", "--evaluation.rounds", "3",
    "--control.enabled", "false",
)  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("finished") / "run"
    assert main(runs.tiny(run, *SHORT)) == 0
    return run


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of a finished run."""
    return runs.copy(finished, tmp_path / "run")


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert main([*words]) == 1
    found = [line for line in runs.errors(capsys.readouterr().err) if not line.startswith("resumed from ")]
    assert len(found) == 1, found
    return found[0].removeprefix("seqgan-kit: ")


@contextlib.contextmanager
def held(victim: Victim, go_on: Path) -> Iterator[Launched]:
    """A process that waits in the game for a file; it does not outlive the test."""
    process = victim.start(Held(ADVERSARIAL, 2, go_on))
    try:
        yield process
    finally:
        if process.alive():
            process.send(signal.SIGKILL)


def files(run: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--likelihood.steps", "9"), "has ended maximum_likelihood after 4 steps and begun discriminator"),
        (("--discriminator.steps", "9"), "has ended discriminator after 2 steps and begun adversarial"),
        (("--likelihood.steps", "3"), "has made 4 steps of maximum_likelihood, more than 3 (--likelihood.steps)"),
        (("--adversarial.rounds", "2"), "has made 3 steps of adversarial, more than 2 (--adversarial.rounds)"),
        (("--evaluation.samples", "8"), "was evaluated with --evaluation.samples 16 so far"),
    ],
)
def test_the_past_is_not_rewritten(
    run: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], says: str
) -> None:
    """An ended phase is not made longer, nor any shorter; the run stays as it was, finished, to the byte."""
    before = files(run)
    told = refused(capsys, "resume", str(run), *options)
    assert says in told
    assert "train" in told
    assert files(run) == before
    assert main(["resume", str(run)]) == 0


def test_what_the_refusal_advises_works(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`train anew with: ...`, as it is told."""
    monkeypatch.chdir(run.parent)
    told = refused(capsys, "resume", str(run), "--likelihood.steps", "5")
    words = told.partition("seqgan-kit ")[2].partition(", and this option")[0].split()
    assert main([*words, "--likelihood.steps", "5"]) == 0
    assert runs.lines(Path("NEW"))[-1]["phase"] == ADVERSARIAL


def test_the_last_phase_goes_on_and_changes_are_kept(run: Path) -> None:
    """When, which option, from what to what, of each resume; config.yaml has the newest."""
    assert main(["resume", str(run), "--adversarial.rounds", "5"]) == 0
    assert main(["resume", str(run)]) == 0
    assert main(["resume", str(run), "--adversarial.rounds", "6", "--run.log_every", "1"]) == 0
    kept = json.loads((run / "run.json").read_text())["changes"]
    assert [(one["option"], one["from"], one["to"]) for one in kept] == [
        ("adversarial.rounds", 3, 5),
        ("run.log_every", 2, 1),
        ("adversarial.rounds", 5, 6),
    ]
    assert all(one["when"].startswith("20") for one in kept)
    assert yaml.safe_load((run / "config.yaml").read_text())["adversarial"]["rounds"] == 6


def test_a_run_killed_before_its_first_checkpoint_keeps_what_was_changed(tmp_path: Path) -> None:
    """It begins anew, by the options that it is resumed with, which are those of its config.yaml from then on."""
    run = tmp_path / "run"
    victim = Victim(run, runs.tiny(run, *SHORT, "--run.checkpoint_steps", "100"))
    victim.kill(InStep(MLE, 3, 0.5))
    assert main(["resume", str(run), "--likelihood.steps", "5"]) == 0
    assert yaml.safe_load((run / "config.yaml").read_text())["likelihood"]["steps"] == 5


def test_what_another_version_or_another_part_brings_is_no_change() -> None:
    before = {"a": {"steps": 1, "class_path": "x"}, "run": {"folder": "old"}}
    now = {"a": {"steps": 1, "class_path": "y", "of_y": 2}, "run": {"folder": "new"}}
    assert changed(before, now) == [{"option": "a.class_path", "from": "x", "to": "y"}]


@pytest.mark.parametrize("there", ["gone", "empty", "a file"])
def test_without_its_checkpoints_a_run_does_not_begin_anew(
    run: Path, capsys: pytest.CaptureFixture[str], there: str
) -> None:
    """Its model, metrics and samples would be written over."""
    root = run / "checkpoints"
    shutil.rmtree(root)
    if there == "empty":
        root.mkdir()
    elif there == "a file":
        root.write_text("")
    before = files(run)
    told = refused(capsys, "resume", str(run))
    assert told.startswith(f"{root} ")
    assert "bring it back, or train anew with: seqgan-kit train text --config" in told
    assert files(run) == before


def test_without_its_samples_a_run_is_told_of_all_the_same(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(run / "samples")
    assert main(["resume", str(run)]) == 0
    assert f"{run / 'samples'} has no samples" in capsys.readouterr().out


@pytest.mark.parametrize("count", ["0", "-1"])
def test_at_least_one_checkpoint_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str], count: str) -> None:
    told = refused(capsys, *runs.tiny(tmp_path / "run", "--run.keep_checkpoints", count))
    assert told == f"--run.keep_checkpoints {count}: give at least 1"
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_that_lacks_a_process_s_part_is_not_believed(run: Path) -> None:
    """Neither by its manifest, nor sealed in the first place."""
    newest = checkpoints.all_in(run / "checkpoints")[-1]
    manifest = json.loads((newest / checkpoints.MANIFEST).read_text())
    for name in ("process-0.json", "process-0.safetensors"):
        (newest / name).unlink()
        del manifest["files"][name]
    (newest / checkpoints.MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(checkpoints.Damaged, match=r"process-0\.json is missing"):
        checkpoints.check(newest)
    other = checkpoints.all_in(run / "checkpoints")[0]
    checkpoints.check(other)
    with pytest.raises(checkpoints.Damaged, match=r"process-1\.json is missing"):
        checkpoints.check_parts(other, 2)


@pytest.mark.parametrize("event", [1, 2, 3, 4, 5])
def test_a_start_that_is_killed_leaves_no_dead_end(tmp_path: Path, event: int) -> None:
    """As each of the folder's first files is written: the same command begins it, and leaves nothing else behind."""
    from kills import Kill, ended

    run, log = tmp_path / "place" / "run", tmp_path / "log"
    words = runs.tiny(run, *SHORT, "--likelihood.steps", "2")
    assert ended(words, log, Kill("first files", 0, event, 0.0, tmp_path / "progress")) == -9
    begun = (run / "run.json").is_file()
    assert begun == run.exists()
    assert ended(["resume", str(run)] if begun else words, log) == 0
    assert {path.name for path in run.parent.iterdir()} == {"run", "tiny_text.yaml"}


def test_a_folder_that_is_no_run_is_told_as_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As starts that were killed left them once: neither `train` nor `resume` refers to the other."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("{}")
    assert "is no run folder: choose another --run.folder, or delete it" in refused(capsys, *runs.tiny(run, *SHORT))
    assert "delete it and train anew" in refused(capsys, "resume", str(run))


def test_one_process_at_a_time_trains_in_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second one is refused, by the number of the first; reading takes no lock; a kill leaves none."""
    run, go_on = tmp_path / "run", tmp_path / "go on"
    victim = Victim(run, runs.tiny(run, *SHORT))
    with held(victim, go_on) as process:
        assert runs.wait_for(lambda: bool(runs.lines(run)) and (run / "model").is_dir(), process)
        told = refused(capsys, "resume", str(run))
        assert f"{run} is being trained by process {process._process.pid} on " in told
        assert main(["report", str(run)]) == 0
    assert process.wait() == -signal.SIGKILL
    assert main(["resume", str(run)]) == 0
    steps = [(line["phase"], line["step"]) for line in runs.lines(run)]
    assert len(set(steps)) == len(steps)


def steps_told(run: Path) -> int:
    """The steps of all phases that run.json tells of."""
    if not (run / "run.json").is_file():
        return 0
    return sum(phase["steps"] for phase in json.loads((run / "run.json").read_text()).get("phases", {}).values())


@pytest.mark.parametrize("what", ["renamed", "deleted"])
def test_a_folder_that_goes_away_is_told_as_such(tmp_path: Path, what: str) -> None:
    """Nothing is made anew under its old name, and what is advised works."""
    run, new, go_on = tmp_path / "run", tmp_path / "new", tmp_path / "go on"
    victim = Victim(run, runs.tiny(run, *SHORT))
    with held(victim, go_on) as process:
        # all that is written before the game, the record of the last checkpoint at last
        assert runs.wait_for(lambda: steps_told(run) == 6, process)
        if what == "renamed":
            run.rename(new)
        else:
            while run.exists():  # the process may write a file meanwhile
                shutil.rmtree(run, ignore_errors=True)
        go_on.touch()
        assert process.wait() == 1
    told = runs.errors(victim.log.read_text())[-1]
    assert not run.exists()
    if what == "deleted":
        assert told == f"seqgan-kit: {run} was deleted while it was trained, so it can't go on: train anew"
        return
    assert f"{run} was renamed to {new} while it was trained" in told
    assert told.endswith(f"seqgan-kit resume {new}")
    assert main(["resume", str(new)]) == 0


def test_options_of_an_old_run_are_no_obstacle(run: Path) -> None:
    """Without a word of what it has saved and changed, as earlier versions wrote it."""
    record: dict[str, Any] = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({k: v for k, v in record.items() if k not in ("saved", "changes")}))
    (run / "lock").unlink()
    assert main(["resume", str(run), "--adversarial.rounds", "4"]) == 0
    assert len(json.loads((run / "run.json").read_text())["changes"]) == 1
