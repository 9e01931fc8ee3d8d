"""Two real processes imitate as one does on the joined rollouts, and stay equal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import runs
import two_policies
from test_processes import by_two


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Tensor], list[dict[str, Tensor]]]:
    """What two_policies.py finds: by one process on whole rollouts, and by each of two on halves of them."""
    out = tmp_path_factory.mktemp("steps")
    two_policies.find_steps(out)
    by_two("two_policies", out, "steps")
    two = [load_file(out / f"rank-{rank}-of-2.safetensors") for rank in range(2)]
    return load_file(out / "rank-0-of-1.safetensors"), two


@pytest.mark.slow
@pytest.mark.parametrize("world", two_policies.WORLDS)
@pytest.mark.parametrize("kind", two_policies.KINDS)
def test_improvements_from_half_a_rollout_each_equal_one_process_s(
    found: tuple[dict[str, Tensor], list[dict[str, Tensor]]], kind: str, world: str
) -> None:
    """Policy, value, statistics of observations and of returns, to 1e-5 of one process's; on both ranks, exactly."""
    one, two = found
    names = [name for name in one if name.startswith(f"{kind} {world} ")]
    assert len(names) > 20
    largest = 0.0
    for name in names:
        assert two[0][name].equal(two[1][name]), name
        largest = max(largest, ((one[name] - two[0][name]).abs() / one[name].abs().clamp_min(1)).max().item())
    print(f"{kind}, {world}: greatest difference {largest:.1e}")
    assert largest <= 1e-5
    assert one[f"{kind} {world} moved"] > 0.01
    if kind == "TRPO":
        assert one[f"{kind} {world} divergence"] > 1e-3


CASES = {
    "PPO": ["--policy.improvement", "PPO", "--policy.improvement.minibatch", "16", "--policy.improvement.epochs", "2"],
    "TRPO": [
        "--policy.improvement",
        "TRPO",
        "--policy.improvement.minibatch",
        "16",
        "--environment.vectorised",
        "false",
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", CASES)
def test_a_run_of_two_processes_stays_equal(tmp_path: Path, kind: str) -> None:
    """After cloning and 20 rounds of game and control, all weights and statistics are equal; episodes were not.

    In vectorised environments (PPO) the ranks count different numbers of steps, and still make as many updates.
    """
    run = tmp_path / "run"
    options = ["--run.processes", "2", "--policy.normalise", "running", "--environment.copies", "2"]
    words = runs.tiny_imitation(run, *options, *CASES[kind])
    assert str(run / "report.html") in by_two("two_policies", tmp_path, "train", *words)
    first, second = (json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in range(2))
    assert len(first["sums"]) >= 5
    assert first["sums"] == second["sums"]
    assert first["seen"] != second["seen"], "each process has episodes of its own"
    played = len(first["counted"]) // 2
    assert played == 20
    assert (first["counted"] != second["counted"]) == (kind == "PPO")
    demonstrated: Any = 5000
    together = sum(sum(rank["counted"][:played]) for rank in (first, second))
    assert first["normalised"] == second["normalised"] == demonstrated + together
    state = [line for line in runs.lines(run) if line["phase"] == "adversarial"]
    assert state[-1]["step"] == 20
    assert torch.tensor([line["discriminator_loss"] for line in state]).isfinite().all()


@pytest.mark.slow
def test_a_recurrent_policy_that_is_penalised_and_normed_stays_equal(tmp_path: Path) -> None:
    """What is differentiated twice, or changes in a forward pass, too: gradient penalty, spectral norm, GRU."""
    run = tmp_path / "run"
    words = runs.tiny_imitation(
        run, "--run.processes", "2", "--policy.recurrent", "4", "--discriminator.network.spectral_norm", "true",
        "--control.frozen", "false",
    )  # fmt: skip
    by_two("two_policies", tmp_path, "train", *words)
    first, second = (json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in range(2))
    assert first["sums"] == second["sums"]
