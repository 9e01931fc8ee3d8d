"""Imitation killed anywhere and resumed: environments, memories, replay and all else go on as if it had not been."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path
from typing import Any

import pytest
import yaml

import runs
from runs import Victim
from seqgan_kit.imitation.demonstrations import Demonstrations
from seqgan_kit.imitation.environments import EnvironmentConfig
from seqgan_kit.imitation.evaluation import at_random, run
from seqgan_kit.imitation.formats import write_npz
from seqgan_kit.imitation.train import ADVERSARIAL, CLONING, FROZEN

ROUNDS, COPIES, STEPS = 24, 3, 10

CASES: dict[str, dict[str, Any]] = {
    "ppo in vectorised environments": {"environment": {"id": "CartPole-v1", "vectorised": True}},
    "trpo in copies of one": {"environment": {"id": "CartPole-v1", "vectorised": False}, "improvement": "TRPO"},
    "recurrent, with replay": {"environment": {"id": "Pendulum-v1"}, "recurrent": 4, "replay": 3},
    "in a simulator": {"environment": {"id": "Hopper-v5"}},
}


def demonstrations(path: Path, name: str) -> Path:
    """Two trajectories of uniform actions: nothing to learn from, but as good for being interrupted."""
    config = EnvironmentConfig(name)
    write_npz(path, Demonstrations(run(config, at_random(config, 0), 2, 0), name, "uniform actions"))
    return path


def tiny_imitation(folder: Path, data: Path, case: dict[str, Any]) -> list[str]:
    """The words of a run of a few seconds, whose rollouts end within episodes."""
    improvement = {"class_path": f"seqgan_kit.imitation.improvement.{case.get('improvement', 'PPO')}"}
    config = {
        "run": {"threads": 1, "log_every": 2, "checkpoint_steps": 3, "folder": str(folder)},
        "environment": {"copies": COPIES, **case["environment"]},
        "demonstrations": {"path": str(data)},
        "policy": {
            "hidden": [8, 8],
            "steps": STEPS,
            "recurrent": case.get("recurrent", 0),
            "normalise": "running",
            "improvement": improvement,
        },
        "cloning": {"steps": 40, "batch_size": 2},
        "discriminator": {"batch_size": 16, "updates": 2, "replay": case.get("replay", 1)},
        "adversarial": {"environment_steps": ROUNDS * COPIES * STEPS},
        "control": {"frozen": True},
        "evaluation": {"episodes": 1, "final": 2, "every": 12, "video": 0},
    }
    path = folder.with_name("tiny.yaml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(config))
    return ["train", "imitation", "--config", str(path)]


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_killed_everywhere_it_ends_equal(tmp_path: Path, name: str) -> None:
    """SIGKILL in each phase, while saving and at start: weights, environments, metrics and samples end equal."""
    case = CASES[name]
    if case["environment"]["id"] == "Hopper-v5" and importlib.util.find_spec("mujoco") is None:
        pytest.skip("mujoco is not installed: pip install 'seqgan_kit[mujoco]'")
    data = demonstrations(tmp_path / "demonstrations.npz", case["environment"]["id"])
    whole = tmp_path / "whole" / "run"
    runs.finish(tiny_imitation(whole, data, case), tmp_path / "log")
    run_folder = tmp_path / "killed" / "run"
    victim = Victim(run_folder, tiny_imitation(run_folder, data, case))
    victim.kill_everywhere((CLONING, ADVERSARIAL, FROZEN), random.Random(name))
    victim.finish()
    runs.same(whole, victim.run)
