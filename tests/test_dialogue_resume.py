"""Dialogue killed anywhere and resumed: the critic, the anchor, lagging copies and all else go on as if it had not."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

import runs
from runs import PHASES, AtStart, InStep, Victim, Writing
from seqgan_kit.language.training import ADVERSARIAL
from tiny_models import GPT2, T5

ROLL_OUTS = ("--adversarial.credit", "seqgan_kit.tokens.credit.MonteCarlo", "--adversarial.credit.rollouts", "2")
CASES: dict[str, tuple[str, ...]] = {
    "gpt2, roll-outs": ("--generator.config", GPT2, *ROLL_OUTS),
    "t5, evaluators": ("--generator.config", T5, "--evaluation.evaluators", "8"),
    "from the generator": ("--discriminator.from_generator", "true", "--adversarial.turns.repeats", "4"),
    "bf16": ("--run.precision", "bf16"),
}


@pytest.mark.slow
def test_a_run_killed_in_every_phase_and_while_saving_ends_equal(tmp_path: Path) -> None:
    """An LSTM with critic and anchor, 16 times SIGKILL at random moments of all four phases, saves and starts: it ends
    equal to the uninterrupted run, bit for bit."""
    options = ("--adversarial.kl", "0.1", "--discriminator.beams", "2")
    whole = tmp_path / "whole" / "run"
    runs.finish(runs.tiny_dialogue(whole, *options), tmp_path / "log")
    run = tmp_path / "killed" / "run"
    victim = Victim(run, runs.tiny_dialogue(run, *options))
    victim.kill_everywhere(PHASES, random.Random(20170906))
    victim.finish()
    runs.same(whole, run)
    assert not list(run.rglob(".*")), "nothing half-written is left"


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_every_kind_of_run_ends_equal(tmp_path: Path, name: str) -> None:
    """Killed in a step of each phase."""
    options = ("--adversarial.kl", "0.1", *CASES[name])
    whole = tmp_path / "whole" / "run"
    runs.finish(runs.tiny_dialogue(whole, *options), tmp_path / "log")
    run = tmp_path / "killed" / "run"
    victim = Victim(run, runs.tiny_dialogue(run, *options))
    rng = random.Random(name)
    for phase in PHASES:
        victim.kill(InStep(phase, rng.randint(3, 9), rng.random()))
    victim.finish()
    runs.same(whole, run)


@pytest.mark.slow
def test_a_game_without_warm_up_ends_equal(tmp_path: Path) -> None:
    """What begins as the generator begins so once only, also where no phase comes before the game."""
    options = (
        "--discriminator.from_generator", "true", "--likelihood.steps", "0", "--discriminator.steps", "0",
        "--adversarial.kl", "0.1",
    )  # fmt: skip
    whole = tmp_path / "whole" / "run"
    runs.finish(runs.tiny_dialogue(whole, *options), tmp_path / "log")
    run = tmp_path / "killed" / "run"
    victim = Victim(run, runs.tiny_dialogue(run, *options))
    victim.kill(InStep(ADVERSARIAL, 8, 0.5))
    victim.kill(Writing(ADVERSARIAL, ".unfinished-", 3))
    victim.kill(AtStart(0.1))
    victim.finish()
    runs.same(whole, run)


@pytest.mark.slow
def test_adapters_end_equal(tmp_path: Path) -> None:
    """Of which a checkpoint has all weights, too."""
    pytest.importorskip("peft")
    options = ("--generator.config", GPT2, "--generator.lora", "2", "--adversarial.kl", "0.1", *ROLL_OUTS)
    whole = tmp_path / "whole" / "run"
    runs.finish(runs.tiny_dialogue(whole, *options), tmp_path / "log")
    run = tmp_path / "killed" / "run"
    victim = Victim(run, runs.tiny_dialogue(run, *options))
    for phase in PHASES:
        victim.kill(InStep(phase, 5, 0.5))
    victim.finish()
    runs.same(whole, run)
