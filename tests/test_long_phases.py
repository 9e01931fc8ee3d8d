"""How long a phase will take is said before the time is spent, and short runs say nothing."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

import runs
from seqgan_kit.cli import main
from seqgan_kit.cli.parsing import groups
from seqgan_kit.engine import phases
from seqgan_kit.engine.engine import Engine
from seqgan_kit.language.training import ADVERSARIAL, MLE, steps_in_the_same_time
from seqgan_kit.options import TASKS

Told = Callable[[list[float]], list[str]]


@pytest.fixture
def told(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Told:
    """What is said in a phase whose first steps take these seconds, and all later ones as the last."""
    clock = [0.0]
    monkeypatch.setattr(phases, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    said: list[str] = []
    monkeypatch.setattr(engine.group, "say", said.append)
    engine.phases.shorter = {"cloning": "--cloning.steps"}
    engine.restore()

    def run(seconds: list[float], phase: str = "cloning", total: int = 2000) -> list[str]:
        for step in engine.steps(phase, total):
            clock[0] += seconds[min(step, len(seconds) - 1)]
            if step == 100:
                break
        return said

    return run


def test_a_long_phase_is_estimated_once(told: Told, engine: Engine) -> None:
    """By the middle of its first steps: neither the first one nor an evaluation is a measure. It can be ended early."""
    assert told([30.0, 3.5, 3.5, 60.0, 3.5]) == [
        "cloning: about 1 h 56 min for 1,997 steps of 3.5 s; shorter: --cloning.steps; to end it early: touch "
        f"{engine.folder}/end-phase"
    ]


def test_what_no_option_makes_shorter_is_estimated_all_the_same(told: Told, engine: Engine) -> None:
    (line,) = told([0.25], "other")
    assert (
        line == f"other: about 8 min 10 s for 1,960 steps of 0.25 s; to end it early: touch {engine.folder}/end-phase"
    )


@pytest.mark.parametrize("seconds", [[0.01], [0.14], [40.0, 0.1]])
def test_short_phases_are_not_estimated(seconds: list[float], told: Told) -> None:
    """Not where less than five minutes are left, however slow the first step was."""
    assert told(seconds) == []


def test_the_rest_alone_is_estimated(told: Told, engine: Engine) -> None:
    """Of a phase that is resumed near its end nothing is said."""
    engine.counters["cloning"] = 1990
    assert told([3.5]) == []


@pytest.mark.parametrize("task", TASKS)
def test_every_option_that_makes_a_phase_shorter_exists(task: str) -> None:
    """And every phase has one."""
    module = importlib.import_module(TASKS[task].module)
    known = {f"--{option.name}" for group in groups(task) for option in group.options}
    (kind,) = [part for part in vars(module).values() if getattr(part, "name", None) == task]
    named = {word for text in kind.shorter.values() for word in re.findall(r"--[\w.]+", text)}
    assert named <= known
    assert all("--" in text for text in kind.shorter.values())


@pytest.mark.slow
def test_the_advice_is_good(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every phase of a run that counts each hour names its options; with these it is as short as it can be."""
    monkeypatch.setattr(phases, "WATCHED", 0.0)
    monkeypatch.setattr(phases, "LONG", 0.0)
    assert main(runs.tiny(tmp_path / "run")) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if re.match(r"\w+: about .* steps of", line)]
    assert [line.partition(":")[0] for line in lines] == list(runs.PHASES)
    monkeypatch.undo()
    short = ["--likelihood.steps", "3", "--generator.hidden", "4", "--discriminator.steps", "2"]
    short += ["--adversarial.rounds", "2", "--control.enabled", "false"]
    assert all(option in " ".join(lines) for option in short if option.startswith("--"))
    assert main(runs.tiny(tmp_path / "short", *short)) == 0
    assert ": about" not in capsys.readouterr().err


def test_the_control_is_as_long_as_the_updates_and_not_as_their_evaluations(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Likelihood: 4 steps of 1 s. The game: 3 rounds of 2 s, each evaluated for a minute: 6 steps of likelihood."""
    clock = [0.0]
    monkeypatch.setattr(phases, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    engine.restore()

    def evaluate(_: int) -> None:
        clock[0] += 60

    for _ in engine.steps(MLE, 4, evaluate=evaluate):
        clock[0] += 1
    for _ in engine.steps(ADVERSARIAL, 3, evaluate=evaluate):
        clock[0] += 2
    assert steps_in_the_same_time(engine) == 6
    assert engine.seconds == {MLE: 244.0, ADVERSARIAL: 186.0}, "all of it counts as time of the run"
