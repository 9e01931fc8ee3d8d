"""Runs of imitation that are stopped, or whose environment breaks, and go on; test_imitation_resume.py kills more."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import runs
from runs import IMITATION_PHASES, InStep, Victim
from seqgan_kit.engine import checkpoints
from seqgan_kit.imitation.train import ADVERSARIAL, CLONING

SHORT = ("--cloning.steps", "0", "--control.frozen", "false", "--evaluation.every", "0")
QUICK = (
    *("--policy.improvement", "TRPO", "--policy.improvement.share", "0.5", "--policy.improvement.minibatch", "20"),
    *("--environment.vectorised", "false", "--discriminator.replay", "3", "--cloning.warm_up", "true"),
    *("--cloning.steps", "12", "--control.frozen", "false", "--evaluation.every", "0"),
)
WALK = "toys:toys/Walk-v0"


def walking(tmp_path: Path, arguments: str) -> list[str]:
    """Options for the environment in which every kind of trouble can be had, with demonstrations of random actions."""
    environment: Any = gym.make(WALK, disable_env_checker=True)
    obs, acts, lens = [], [], []
    for seed in range(6):
        obs.append(environment.reset(seed=seed)[0])
        over = False
        while not over:
            acts.append(seed % 2)
            observation, _, terminated, truncated, _ = environment.step(acts[-1])
            obs.append(observation)
            over = terminated or truncated
        lens.append(len(acts) - sum(lens))
    path = tmp_path / "demos.npz"
    np.savez(path, obs=np.stack(obs), acts=np.array(acts), lens=lens)
    return ["--environment.id", WALK, "--environment.arguments", arguments, "--demonstrations.path", str(path)]


def state(run: Path) -> dict[str, Any]:
    """Of the newest checkpoint: what all processes share."""
    return checkpoints.read(checkpoints.all_in(run / "checkpoints")[-1], "shared")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without a control that nobody interrupts; its last checkpoint holds unfinished episodes."""
    run = tmp_path_factory.mktemp("whole") / "run"
    runs.finish(runs.tiny_imitation(run, *QUICK), run.with_name("log"))
    kept = checkpoints.read(checkpoints.all_in(run / "checkpoints")[-1], "process-0")["kept"]
    assert sum(map(len, kept["policy"]["environments"]["taken"])) > 4
    assert len(kept["replay"]["kept"]) == 2
    return run


@pytest.mark.slow
def test_one_kill(whole: Path, tmp_path: Path) -> None:
    """In the game: the run ends equal, its unfinished episodes and the rollouts that were replayed taken up."""
    victim = Victim(tmp_path / "run", runs.tiny_imitation(tmp_path / "run", *QUICK))
    victim.kill(InStep(ADVERSARIAL, 9, 0.5))
    victim.finish()
    runs.same(whole, victim.run)


@pytest.mark.parametrize(
    ("name", "phase"), [("SIGINT", ADVERSARIAL), pytest.param("SIGTERM", CLONING, marks=pytest.mark.slow)]
)
def test_a_signal_saves_and_says_how_to_resume(whole: Path, tmp_path: Path, name: str, phase: str) -> None:
    """Ctrl-C and SIGTERM end the run after a save, with status 130 and the command that continues it, equally."""
    run = tmp_path / "run"
    victim = Victim(run, runs.tiny_imitation(run, *QUICK, "--run.checkpoint_steps", "1000"))
    assert victim.start(InStep(phase, 7, 0.5, signal.Signals[name])).wait() == 130
    told = victim.log.read_text()
    assert f"Resume with: seqgan-kit resume {run}" in told
    assert "Traceback" not in told
    assert state(run)["counters"][phase] in (7, 8)
    assert (run / "model" / "config.json").is_file()
    victim.finish()
    runs.same(whole, run)


@pytest.mark.slow
def test_a_run_stopped_in_every_phase_ends_equal(tmp_path: Path) -> None:
    """Control included, by SIGINT."""
    whole, run = tmp_path / "whole" / "run", tmp_path / "stopped" / "run"
    runs.finish(runs.tiny_imitation(whole), whole.with_name("log"))
    victim = Victim(run, runs.tiny_imitation(run, "--run.checkpoint_steps", "1000"))
    for phase in IMITATION_PHASES:
        assert victim.start(InStep(phase, 8, 0.3, signal.SIGINT)).wait() == 130
        assert runs.phase(run) == phase
    victim.finish()
    runs.same(whole, run)


@pytest.mark.slow
def test_an_environment_that_is_not_deterministic_is_told_and_goes_on(tmp_path: Path) -> None:
    """Its unfinished episodes can't be taken up: they start anew, a line says so, and the run comes to its end."""
    options = [*walking(tmp_path, '{"trouble": "noisy", "every": 1}'), *SHORT]
    victim = Victim(tmp_path / "run", runs.tiny_imitation(tmp_path / "run", *options))
    victim.kill(InStep(ADVERSARIAL, 9, 0.5))
    told = victim.finish()
    found = [line for line in told.splitlines() if "not deterministic" in line]
    assert found
    assert WALK in found[0]
    assert "did not repeat from their seeds and actions" in found[0]
    assert "will not equal one that was not interrupted" in found[0]
    assert runs.lines(victim.run)[-1]["step"] == 20


@pytest.mark.parametrize(
    ("trouble", "why"),
    [
        ("raises", "raised ZeroDivisionError: no luck"),
        pytest.param("nan", "not finite", marks=pytest.mark.slow),
        pytest.param("inf", "not finite", marks=pytest.mark.slow),
    ],
)
def test_broken_episodes_are_told_once_and_forgotten(tmp_path: Path, trouble: str, why: str) -> None:
    """Half of all episodes break, in training and in evaluation: the run ends well, and what it logs is finite."""
    options = [*walking(tmp_path, f'{{"trouble": "{trouble}", "every": 2}}'), *SHORT]
    run = tmp_path / "run"
    told = runs.finish(runs.tiny_imitation(run, *options), tmp_path / "log")
    broken = [line.rpartition("\r")[2] for line in told.splitlines() if f"{WALK} (seed " in line]
    discarded = [line for line in broken if "The episode is discarded; the run goes on." in line]
    left_out = [line for line in broken if "The episode is left out; another takes its place." in line]
    assert len(discarded) + len(left_out) == len(broken)
    assert len({line.split("seed ")[1].split(",")[0] for line in discarded}) == len(discarded) > 20
    assert len(left_out) >= 2
    assert all("step 2 of its episode" in line and why in line for line in broken)
    assert "Traceback" not in told
    assert runs.lines(run)[-1]["step"] == 20
    for line in runs.lines(run):
        assert all(np.isfinite(value) for value in line.values() if isinstance(value, float)), line


def test_an_environment_that_always_breaks_is_mended_and_the_run_resumed(tmp_path: Path) -> None:
    """From some round on every episode breaks: a line names environment, seed, step, and says that the run is kept.

    Mended, it goes on from its last checkpoint.
    """
    flag, run = tmp_path / "broken", tmp_path / "run"
    options = walking(tmp_path, f'{{"trouble": "raises", "every": 1, "flag": "{flag}"}}')
    breaks = ["--adversarial.rewards", '[{"function": "toys.break_at", "weight": 1.0}]']
    victim = Victim(run, runs.tiny_imitation(run, *options, *SHORT, *breaks))
    process = runs.Launched(victim.words, victim.log, {"TOYS_FLAG": str(flag), "TOYS_CALL": "6"})
    assert process.wait() == 1
    told = victim.log.read_text()
    (said,) = [line for line in told.splitlines() if line.startswith("seqgan-kit: ")]
    assert f"{WALK} (seed " in said
    assert "step 2 of its episode) raised ZeroDivisionError: no luck; 20 episodes in a row were lost" in said
    assert "mend the environment, then resume; what was saved stays" in said
    assert "Traceback" not in told
    assert state(run)["counters"][ADVERSARIAL] in (3, 6)
    assert victim.start().wait() == 1, "it is not mended yet"
    flag.unlink()
    victim.finish()
    assert [line["step"] for line in runs.lines(run)] == list(range(2, 21, 2))
