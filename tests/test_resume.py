"""Killed, stopped or damaged, and resumed: a run ends as if nothing had happened."""

from __future__ import annotations

import random
import shutil
import signal
from pathlib import Path

import pytest

import runs
from runs import PHASES, InStep, Victim, Writing
from seqgan_kit.engine import checkpoints
from seqgan_kit.language.training import ADVERSARIAL, MLE, WARM_UP


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody interrupts."""
    run = tmp_path_factory.mktemp("whole") / "run"
    runs.finish(runs.tiny(run), run.with_name("log"))
    return run


@pytest.mark.slow
def test_a_run_killed_in_every_phase_and_while_saving_ends_equal(whole: Path, tmp_path: Path) -> None:
    """16 times SIGKILL, at random moments of all four phases, saves and starts: it ends equal to the uninterrupted run.

    Every kill hits where it was meant to, and those of saves leave a half-written checkpoint.
    """
    victim = Victim(tmp_path / "run", runs.tiny(tmp_path / "run"))
    victim.kill_everywhere(PHASES, random.Random(20170101))
    victim.finish()
    runs.same(whole, victim.run)
    assert not list(victim.run.rglob(".*")), "nothing half-written is left"


def test_a_run_killed_while_it_exports_its_model_has_it_after_resume(tmp_path: Path) -> None:
    """SIGKILL while the last step's model is written: after resume, game/ holds the last weights, and is whole."""
    options = ["--control.enabled", "false", "--adversarial.rounds", "3"]
    straight = tmp_path / "straight" / "run"
    runs.finish(runs.tiny(straight, *options), tmp_path / "log")
    run = tmp_path / "killed" / "run"
    victim = Victim(run, runs.tiny(run, *options))
    victim.kill(Writing(ADVERSARIAL, ".game", 2))
    half, older = ({path.name for path in (run / name).iterdir()} for name in (".game", "model"))
    assert set() < half < older, "half-written, beside the best one so far"
    victim.finish()
    runs.same(straight, run)
    assert not (run / ".game").exists()


@pytest.mark.parametrize(("name", "phase"), [("SIGINT", MLE), ("SIGTERM", WARM_UP), ("SIGINT", ADVERSARIAL)])
def test_a_signal_saves_and_says_how_to_resume(whole: Path, tmp_path: Path, name: str, phase: str) -> None:
    """Ctrl-C and SIGTERM end the run after a save, with status 130 and the command that continues it, equally."""
    run = tmp_path / "run"
    # nothing is saved but at phase ends and by the signal
    victim = Victim(run, runs.tiny(run, "--run.checkpoint_steps", "1000"))
    assert victim.start(InStep(phase, 7, 0.5, signal.Signals[name])).wait() == 130
    told = victim.log.read_text()
    assert f"Resume with: seqgan-kit resume {run}" in told
    assert "Traceback" not in told
    counters = checkpoints.read(checkpoints.all_in(run / "checkpoints")[-1], "shared")["counters"]
    assert counters[phase] in (7, 8), "it saved the step that it had reached"
    assert (run / "model" / "config.json").is_file()
    victim.finish()
    runs.same(whole, run)


def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    """Ctrl-C twice does not wait for the step to end, and still ends with one line and status 130."""
    run = tmp_path / "run"
    options = ["--run.log_every", "1", "--likelihood.steps", "4", "--evaluation.samples", "60000"]
    process = Victim(run, runs.tiny(run, *options)).start(InStep(MLE, 4, 0.5, signal.SIGINT))
    # heard in the fourth step, which ends with a long evaluation
    assert runs.wait_for(lambda: "finishing this step" in process.log.read_text(), process)
    process.send(signal.SIGINT)
    assert process.wait() == 130
    told = process.log.read_text()
    assert "stopped at once" in told
    assert "Traceback" not in told
    assert len(runs.lines(run)) == 3


@pytest.mark.parametrize("damage", ["truncated", "altered", "missing file", "no manifest"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_leads_to_the_same_end(
    whole: Path, tmp_path: Path, damage: str
) -> None:
    """Resuming from a run whose newest checkpoint is damaged says which file, and ends equal all the same."""
    run = runs.copy(whole, tmp_path / "run")
    newest = checkpoints.all_in(run / "checkpoints")[-1]
    victim = newest / "shared.safetensors"
    content = victim.read_bytes()
    if damage == "truncated":
        victim.write_bytes(content[: len(content) // 2])
    elif damage == "altered":
        victim.write_bytes(content[:-5] + bytes([content[-5] ^ 1]) + content[-4:])
    elif damage == "missing file":
        victim.unlink()
    else:
        (newest / checkpoints.MANIFEST).unlink()
    told = runs.finish(["resume", str(run)], tmp_path / "log")
    line = next(line for line in told.splitlines() if "damaged" in line)
    assert str(newest) in line
    assert ("manifest.json" if damage == "no manifest" else "shared.safetensors") in line
    assert "the one before it is used" in line
    shutil.rmtree(run / "checkpoints" / f"damaged-{newest.name}")
    runs.same(whole, run)


def test_a_model_with_dropout_resumes_equal(tmp_path: Path) -> None:
    """A Hugging Face model has its dropout from the first step on, evaluated or not (reliability.md, F5)."""
    model = ["--generator.config", '{"model_type":"gpt2","n_layer":1,"n_embd":16,"n_head":2,"n_positions":64}']
    options = [*model, "--adversarial.rounds", "0", "--control.enabled", "false", "--evaluation.every", "5"]
    straight = tmp_path / "straight" / "run"
    runs.finish(runs.tiny(straight, *options), tmp_path / "log")
    run = tmp_path / "stopped" / "run"
    victim = Victim(run, runs.tiny(run, *options))
    assert victim.start(InStep(MLE, 7, 0.5, signal.SIGTERM)).wait() == 130
    victim.finish()
    runs.same(straight, run)


@pytest.mark.slow
def test_bf16_learns_and_resumes_equal(tmp_path: Path) -> None:
    """In mixed precision too a killed run ends as the uninterrupted one, and maximum likelihood learns."""
    options = ["--run.precision", "bf16", "--likelihood.steps", "40"]
    straight = tmp_path / "straight" / "run"
    runs.finish(runs.tiny(straight, *options), tmp_path / "log")
    run = tmp_path / "killed" / "run"
    victim = Victim(run, runs.tiny(run, *options))
    for phase in PHASES:
        victim.kill(InStep(phase, 5, 0.5))
    victim.finish()
    runs.same(straight, run)
    nll = [line["nll"] for line in runs.lines(straight) if line["phase"] == "maximum_likelihood"]
    assert nll[-1] < nll[0] - 0.1
