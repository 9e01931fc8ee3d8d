"""Two real processes talk as one does on the joined batch, and stay equal."""

from __future__ import annotations

import json
import random
import signal
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import runs
import two_talkers
from test_processes import by_two, pair, reached
from tiny_models import GPT2

Found = tuple[dict[str, Tensor], list[dict[str, Tensor]]]
ROLL_OUTS = ("--adversarial.credit", "seqgan_kit.tokens.credit.MonteCarlo", "--adversarial.credit.rollouts", "2")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """What two_talkers.py finds: by one process on whole batches, and by each of two on halves of them."""
    out = tmp_path_factory.mktemp("steps")
    two_talkers.find_steps(out)
    by_two("two_talkers", out, "steps")
    two = [load_file(out / f"rank-{rank}-of-2.safetensors") for rank in range(2)]
    return load_file(out / "rank-0-of-1.safetensors"), two


@pytest.mark.slow
@pytest.mark.parametrize("player", ["generator", "policy", "critic", "discriminator"])
@pytest.mark.parametrize("name", two_talkers.CASES)
def test_half_batches_equal_one_process_s(found: Found, name: str, player: str) -> None:
    """Gradients to 1e-5, and weights after the updates, wherever there is more than a rounding error to follow."""
    one, two = found
    gradients = [key for key in one if key.startswith(f"{name}: gradient {player} ")]
    updates = {"generator": 1, "policy": 3, "critic": 1, "discriminator": 1}[player]
    assert len(gradients) == one[f"{name}: count {player}"] > 0
    assert len(gradients) % updates == 0
    assert max(one[key].abs().max().item() for key in gradients) > 1e-3, "there is a gradient to compare"
    for key in gradients:
        scale = max(1.0, one[key].abs().max().item())
        for rank in two:
            assert (one[key] - rank[key]).abs().max() <= 1e-5 * scale, key
    felt = {key.split(" ", 4)[4]: one[key].abs() > 1e-4 for key in gradients[: len(gradients) // updates]}
    compared = 0
    for key in [key for key in one if key.startswith(f"{name}: weight {player} ")]:
        assert two[0][key].equal(two[1][key]), key
        there = felt.get(key.split(" ", 3)[3], torch.zeros(1, dtype=torch.bool))
        assert ((one[key] - two[0][key]).abs() * there).max() <= 1e-5, key
        compared += int(there.sum())
    assert compared > 5 or player == "generator", "whose weights the policy moves on"


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--generator.config", GPT2, *ROLL_OUTS)], ids=["lstm", "gpt2"])
def test_a_run_of_two_processes_stays_equal_and_survives_kills(tmp_path: Path, options: tuple[str, ...]) -> None:
    """Ranks end with equal weights, on other replies; killed in every phase and resumed, as equal."""
    run = tmp_path / "whole" / "run"
    options = (*options, "--adversarial.kl", "0.1", "--adversarial.turns.repeats", "2", "--run.processes", "2")
    told = by_two("two_talkers", tmp_path, "train", *runs.tiny_dialogue(run, *options))
    assert str(run / "report.html") in told
    assert told.count("replies to train on") == 1
    first, second = (json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in range(2))
    assert {"generator", "control", "discriminator", "critic", "anchor", "credit"} <= first["sums"].keys()
    assert first["sums"] == second["sums"]
    assert first["real"] != second["real"]
    assert first["fake"] != second["fake"]

    rng = random.Random(7)
    killed = tmp_path / "killed" / "run"
    words = runs.tiny_dialogue(killed, *options)
    for phase in runs.PHASES:
        processes = pair(words, tmp_path / "killed")
        assert runs.wait_for(partial(reached, killed, phase), processes[0]), "killed in its phase"
        time.sleep(rng.uniform(0, 0.1))
        for process in rng.sample(processes, 2):
            process.send(signal.SIGKILL)
        assert [process.wait() for process in processes] == [-signal.SIGKILL] * 2
        words = ["resume", str(killed)]
    processes = pair(words, tmp_path / "killed")
    assert [process.wait() for process in processes] == [0, 0], processes[0].log.read_text()[-2000:]
    runs.same(run, killed)


@pytest.mark.slow
def test_a_control_that_takes_as_long_is_as_long_on_both(tmp_path: Path) -> None:
    """Each process has a clock of its own: one says how many steps there are, or the other would wait for ever."""
    run = tmp_path / "run"
    words = runs.tiny_dialogue(run, "--control.steps", "null", "--run.processes", "2", "--adversarial.rounds", "4")
    processes = pair(words, tmp_path)
    assert [process.wait() for process in processes] == [0, 0], processes[0].log.read_text()[-2000:]
