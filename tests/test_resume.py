"""Killed, stopped or damaged, and resumed: a run ends as if nothing had happened."""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

import runs
from runs import PHASES, Launched
from seqgan_kit import checkpoints

TRIES = 6  # at hitting one moment


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody interrupts."""
    run = tmp_path_factory.mktemp("whole") / "run"
    runs.finish(runs.tiny(run), run.with_name("log"))
    return run


class Victim:
    """A run that is killed again and again, and resumed from where it was killed."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.run, self.log, self.before = folder / "run", folder / "log", folder / "before"
        self.words = runs.tiny(self.run, *options)

    def start(self) -> Launched:
        begun = (self.run / "run.json").is_file()
        return Launched(["resume", str(self.run)] if begun else self.words, self.log)

    def strike(self, number: int, moment: Callable[[Launched], bool], hit: Callable[[], bool]) -> int:
        """Continues the run, sends it a signal at the moment, until that hits; a miss is undone. The exit status."""
        runs.copy(self.run, self.before)
        for _ in range(TRIES):
            process = self.start()
            if moment(process) and process.alive():
                process.send(number)
            status = process.wait()
            if status != 0 and hit():
                return status
            assert status in (0, 130, -number), self.log.read_text()[-2000:]
            runs.copy(self.before, self.run)
        process = self.start()  # too fast to be hit there: at its start instead
        process.send(number)
        return process.wait()

    def kill_in(self, phase: str, delay: float) -> None:
        status = self.strike(signal.SIGKILL, self.in_phase(phase, delay), lambda: True)
        assert status == -signal.SIGKILL, (status, self.log.read_text()[-2000:])

    def kill_saving_in(self, phase: str) -> None:
        def moment(process: Launched) -> bool:
            folder = self.run / "checkpoints"
            names = lambda: {path.name for path in folder.glob("*")}  # noqa: E731
            if not self.in_phase(phase, 0.0)(process):
                return False
            left = names()
            return runs.wait_for(lambda: names() != left, process)

        # sent while a save is seen under way; on a fast disk it may land just after the move to its place, which is
        # as good: test_checkpoints.py interrupts a save before each of its calls
        hit = lambda: True  # noqa: E731
        status = self.strike(signal.SIGKILL, moment, hit)
        assert status == -signal.SIGKILL, (status, self.log.read_text()[-2000:])

    def in_phase(self, phase: str, delay: float) -> Callable[[Launched], bool]:
        """`delay` seconds after this process has written its first line of the phase."""
        metrics = self.run / "metrics.jsonl"

        def moment(process: Launched) -> bool:
            start = stamp()
            found = runs.wait_for(lambda: stamp() != start and runs.phase(self.run) == phase, process)
            time.sleep(delay * random.random())  # another moment at each try: a phase may be nearly over
            return found

        def stamp() -> int:
            return metrics.stat().st_mtime_ns if metrics.is_file() else 0

        return moment

    def unfinished(self) -> set[tuple[str, int]]:
        """The half-written checkpoints, and when each was last written to."""
        found = set()
        for path in (self.run / "checkpoints").glob(".unfinished-*"):
            with contextlib.suppress(FileNotFoundError):  # it has just been moved to its place
                found.add((path.name, path.stat().st_mtime_ns))
        return found

    def finish(self) -> str:
        return runs.finish(["resume", str(self.run)], self.log)


def after(delay: float) -> Callable[[Launched], bool]:
    def moment(_: Launched) -> bool:
        time.sleep(delay)
        return True

    return moment


@pytest.mark.slow
def test_a_run_killed_in_every_phase_and_while_saving_ends_equal(whole: Path, tmp_path: Path) -> None:
    """SIGKILL at random moments of all four phases, starts and saves: the end equals the uninterrupted run's."""
    rng = random.Random(20170101)
    victim = Victim(tmp_path)
    kills: Counter[str] = Counter()
    for phase in PHASES:
        for _ in range(2):
            victim.kill_in(phase, rng.uniform(0, 0.1))
            kills[phase] += 1
        victim.kill_saving_in(phase)
        kills[f"{phase}, saving"] += 1
        # at any moment from its first instruction on: while it reads the checkpoint, cuts the metrics, ...
        delay = rng.uniform(0, 0.7)
        victim.strike(signal.SIGKILL, after(delay), lambda: True)
        kills[f"start, {phase}"] += 1
    assert sum(kills.values()) == 16
    victim.finish()
    runs.same(whole, victim.run)
    assert not victim.unfinished()


def test_a_run_killed_while_it_exports_its_model_has_it_after_resume(tmp_path: Path) -> None:
    """SIGKILL while the last step's model is written: after resume, model/ holds the last weights, not older ones."""
    options = ["--control.enabled", "false", "--adversarial.rounds", "3"]
    straight = tmp_path / "straight" / "run"
    runs.finish(runs.tiny(straight, *options), tmp_path / "log")
    victim = Victim(tmp_path / "killed", *options)
    model = victim.run / ".model"

    def exporting() -> bool:
        return runs.phase(victim.run) == "adversarial" and model.is_dir()

    assert victim.strike(signal.SIGKILL, lambda p: runs.wait_for(exporting, p), exporting) == -signal.SIGKILL
    victim.finish()
    runs.same(straight, victim.run)
    assert not model.exists()


@pytest.mark.parametrize(
    ("name", "phase"), [("SIGINT", "maximum_likelihood"), ("SIGTERM", "discriminator"), ("SIGINT", "adversarial")]
)
def test_a_signal_saves_and_says_how_to_resume(whole: Path, tmp_path: Path, name: str, phase: str) -> None:
    """Ctrl-C and SIGTERM end the run after a save, with status 130 and the command that continues it, equally."""
    victim = Victim(tmp_path, "--run.checkpoint_steps", "1000")  # nothing is saved but at phase ends and by the signal
    number = signal.Signals[name]
    status = victim.strike(number, victim.in_phase(phase, 0.03), lambda: runs.phase(victim.run) == phase)
    assert status == 130
    told = victim.log.read_text()
    assert f"Resume with: seqgan-kit resume {victim.run}" in told
    assert "Traceback" not in told
    counters = checkpoints.read(checkpoints.all_in(victim.run / "checkpoints")[-1], "shared")["counters"]
    assert 0 < counters[phase] < (20 if phase == "adversarial" else 40), "it saved the step that it had reached"
    assert (victim.run / "model" / "config.json").is_file()
    victim.finish()
    runs.same(whole, victim.run)


def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    """Ctrl-C twice does not wait for the step to end, and still ends with one line and status 130."""
    victim = Victim(
        tmp_path, "--run.log_every", "1", "--likelihood.steps", "4", "--evaluation.samples", "60000"
    )  # a long evaluation

    def moment(process: Launched) -> bool:
        found = runs.wait_for(lambda: len(runs.lines(victim.run)) == 3, process)
        time.sleep(0.2)
        process.send(signal.SIGINT)
        time.sleep(0.1)
        return found

    assert victim.strike(signal.SIGINT, moment, lambda: True) == 130
    told = victim.log.read_text()
    assert "stopped at once" in told
    assert "Traceback" not in told
    assert len(runs.lines(victim.run)) == 3


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


@pytest.mark.slow
def test_bf16_learns_and_resumes_equal(tmp_path: Path) -> None:
    """In mixed precision too a killed run ends as the uninterrupted one, and maximum likelihood learns."""
    options = ["--run.precision", "bf16"]
    straight = tmp_path / "straight" / "run"
    runs.finish(runs.tiny(straight, *options), tmp_path / "log")
    victim = Victim(tmp_path / "killed", *options)
    for phase in PHASES:
        victim.kill_in(phase, 0.02)
    victim.finish()
    runs.same(straight, victim.run)
    nll = [line["nll"] for line in runs.lines(straight) if line["phase"] == "maximum_likelihood"]
    assert nll[-1] < nll[0] - 0.1
