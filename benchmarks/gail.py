"""GAIL against the `imitation` library, in one run, one thread, with its hyper-parameters and demonstrations.

  OMP_NUM_THREADS=1 python benchmarks/gail.py --peers /path/peers/bin/python [--data FOLDER] [--repeats 3]

gail_peers.py says how to make the peers' environment; without --peers ours is measured alone. Each repeat runs
ours and the peer after one another. Rates are environment steps per CPU second of the training loop alone, after a
warm-up round. Prints lines `task ours peer ratio` and where our time goes, and writes results/gail.json.
PPO rows have the peer's settings (in gail_peers.py); TRPO rows those of Ho and Ermon (2016).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch

from seqgan_kit.engine.engine import Engine
from seqgan_kit.engine.learning import OptimizerConfig
from seqgan_kit.engine.run_config import RunConfig
from seqgan_kit.engine.stream import Stream
from seqgan_kit.game.trainer import Turns, play
from seqgan_kit.imitation import demonstrations as demos
from seqgan_kit.imitation import formats
from seqgan_kit.imitation.config import DiscriminatorConfig, ImitationConfig, PolicyConfig
from seqgan_kit.imitation.environments import EnvironmentConfig, make
from seqgan_kit.imitation.evaluation import at_random, run
from seqgan_kit.imitation.improvement import PPO, TRPO, Improvement
from seqgan_kit.imitation.players import Game
from seqgan_kit.networks.policies.transition import TransitionNetwork

HERE = Path(__file__).parent
FILES = {"CartPole-v1": "CartPole-v1_ppo_det.npz", "Hopper-v5": "Hopper-v5_oai_log_Hopper-v0_3_sto.npz"}
SMALL = partial(TransitionNetwork, hidden=(32, 32), activation="relu")


def ppo(epochs: int, minibatch: int, lr: float, clip: float, norm: float, entropy: float, value: float) -> PPO:
    return PPO(epochs, minibatch, clip, entropy, value_weight=value, optimizer=OptimizerConfig(lr=lr, clip=norm))


def settings(task: str, improvement: Improvement, copies: int, steps: int, **policy: Any) -> ImitationConfig:
    """Those of the paper, where nothing else is said."""
    return ImitationConfig(
        environment=EnvironmentConfig(task, copies=copies),
        policy=PolicyConfig(steps=steps, improvement=improvement, normalise="running", log_std=0.0, **policy),
        discriminator=DiscriminatorConfig(
            updates=1, batch_size=None, penalty=0.0, optimizer=OptimizerConfig(lr=1e-2, clip=0.0)
        ),
    )


def as_the_peer(task: str) -> ImitationConfig:
    """The settings of gail_peers.py."""
    improvement, policy, critic = {
        "CartPole-v1": (
            ppo(10, 256, 3e-4, 0.2, 0.5, 0.0, 0.5),
            {"hidden": [64, 64], "steps": 128, "discount": 0.99, "decay": 0.95, "normalise": "none"},
            {"updates": 4, "batch_size": 512},
        ),
        "HalfCheetah-v5": (
            ppo(5, 64, 0.00026250519057717037, 0.1, 0.8, 3.992371122209408e-6, 0.11483689492120866),
            {"hidden": [32, 32], "steps": 512, "discount": 0.95, "decay": 0.95, "normalise": "running"},
            {"updates": 8, "batch_size": 4000},
        ),
        "Hopper-v5": (
            ppo(20, 512, 4.3984856156897565e-5, 0.1, 0.9, 0.001255299425412744, 0.20315938606555833),
            {
                **{"hidden": [64, 64], "activation": "relu", "steps": 512, "discount": 0.995, "decay": 0.98},
                "normalise": "running",
            },
            {"updates": 8, "batch_size": 128},
        ),
    }[task]
    return ImitationConfig(
        environment=EnvironmentConfig(task, copies=8),
        policy=PolicyConfig(improvement=improvement, **policy),  # type: ignore[arg-type]
        discriminator=DiscriminatorConfig(
            network=SMALL,
            entropy=0.0,
            penalty=0.0,
            optimizer=OptimizerConfig(lr=1e-3, clip=0.0),
            **critic,  # type: ignore[arg-type]
        ),
    )


ROWS: dict[str, tuple[ImitationConfig, int]] = {  # and how many steps
    "PPO CartPole-v1": (as_the_peer("CartPole-v1"), 100_000),
    "PPO HalfCheetah-v5": (as_the_peer("HalfCheetah-v5"), 80_000),
    "PPO Hopper-v5": (as_the_peer("Hopper-v5"), 80_000),
    "TRPO CartPole-v1": (settings("CartPole-v1", TRPO(), 20, 250), 200_000),
    "TRPO CartPole-v1, 64 copies": (settings("CartPole-v1", TRPO(), 64, 78), 200_000),
    "TRPO MountainCar-v0": (settings("MountainCar-v0", TRPO(), 20, 250), 150_000),
    "TRPO Acrobot-v1": (settings("Acrobot-v1", TRPO(), 20, 250), 150_000),
    "TRPO HalfCheetah-v5": (settings("HalfCheetah-v5", TRPO(minibatch=5000), 20, 2500), 150_000),
}


def expert(config: ImitationConfig, data: Path) -> tuple[demos.Demonstrations, demos.DemonstrationConfig]:
    """4 trajectories of the file of this task, or 4000 steps of uniform actions: speed asks for no expert."""
    task = config.environment.id
    chosen = demos.DemonstrationConfig(trajectories=4)
    if task in FILES:
        return formats.read_npz(data / FILES[task]), chosen
    episodes = run(config.environment, at_random(config.environment, 0), 4, 0)
    return demos.Demonstrations(episodes, task, "uniform actions"), chosen


def measure(config: ImitationConfig, steps: int, data: Path) -> dict[str, Any]:
    """Steps per CPU second of our loop, and the share of each part in it."""
    example = make(config.environment)
    pairs = demos.transitions(*expert(config, data))
    spent: Counter[str] = Counter()

    def timed(owner: Any, name: str) -> None:
        """Adds the seconds in a method to `spent`."""
        call = getattr(owner, name)

        def counted(*words: Any) -> Any:
            begun = time.perf_counter()
            found = call(*words)
            spent[f"{type(owner).__name__}.{name}"] += time.perf_counter() - begun
            return found

        setattr(owner, name, counted)

    with (
        tempfile.TemporaryDirectory() as folder,
        Engine(RunConfig(f"{folder}/run", device="cpu"), "benchmark") as engine,
    ):
        game = Game(engine, config, example, pairs, "")
        engine.restore()
        acting = type(game.policy.environments).__name__
        for owner, names in (
            (game.policy, ("sample", "_earned", "update")),
            (game.policy.environments, ("step",)),
            (game.discriminator, ("update",)),
        ):
            for name in names:
                timed(owner, name)
        each = config.policy.steps * config.environment.copies
        turns = Turns(1, config.discriminator.updates)
        real = Stream(pairs, 0)
        parts = game.policy, game.discriminator, real, turns, (), game.replay
        play(engine, "warm-up", 1, *parts)
        spent.clear()
        rounds = max(2, steps // each)
        cpu, wall = time.process_time(), time.perf_counter()
        play(engine, "measured", rounds, *parts)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        game.policy.environments.close()
    seconds = {
        "environment": spent[f"{acting}.step"],
        "policy": spent["EnvironmentPolicy.sample"] - spent[f"{acting}.step"],
        "discriminator": spent["EnvironmentPolicy._earned"],
        "improvement": spent["EnvironmentPolicy.update"],
        "discriminator update": spent["Discriminator.update"],
    }
    return {
        "steps": rounds * each,
        "steps_per_cpu_second": rounds * each / cpu,
        "steps_per_second": rounds * each / wall,
        "shares": {name: value / wall for name, value in seconds.items()},
    }


def raw(task: str, steps: int) -> float:
    """Steps per CPU second of gymnasium's SyncVectorEnv(8) with actions drawn beforehand."""
    environments = gym.make_vec(task, 8, vectorization_mode="sync")
    environments.action_space.seed(0)
    actions = [environments.action_space.sample() for _ in range(64)]
    environments.reset(seed=0)
    begun = time.process_time()
    for i in range(steps // 8):
        environments.step(actions[i % 64])
    rate = steps // 8 * 8 / (time.process_time() - begun)
    environments.close()
    return rate


def peer(python: str, task: str, data: Path, steps: int, seed: int) -> float:
    words = [python, str(HERE / "gail_peers.py"), "--task", task, "--steps", str(steps), "--seed", str(seed)]
    words += ["--demonstrations", str((data / FILES[task]).resolve()) if task in FILES else "random"]
    if task == "HalfCheetah-v5":  # the file's 8192 are mostly copying in Python, which nobody needs to be beaten at
        words += ["--demo-batch-size", "4000"]
    told = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return json.loads(told.strip().splitlines()[-1])["steps_per_cpu_second"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", help="python of the environment that has `imitation`")
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("SEQGAN_KIT_DATA", "../shared/data")) / "demos"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--rows", nargs="*", default=list(ROWS), help="which ones; all are measured where none is given"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = {}
    for name in options.rows:
        config, steps = ROWS[name]
        task = config.environment.id
        compared = name.startswith("PPO") and options.peers
        ours, theirs, stepping = [], [], []
        for repeat in range(options.repeats):
            ours.append(measure(config, steps, options.data))
            if compared:
                theirs.append(peer(options.peers, task, options.data, steps // 2, repeat))
            stepping.append(raw(task, 20_000))
        found[name] = _row(ours, theirs, stepping)
        print(_line(name, found[name]), flush=True)
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "gail.json").write_text(json.dumps(found, indent=1) + "\n")


def _row(ours: list[dict[str, Any]], theirs: list[float], stepping: list[float]) -> dict[str, Any]:
    middle: Callable[[list[float]], float] = statistics.median
    rate = middle([one["steps_per_cpu_second"] for one in ours])
    row = {
        "ours": rate,
        "all": [one["steps_per_cpu_second"] for one in ours],
        "raw": middle(stepping),
        "shares": {name: middle([one["shares"][name] for one in ours]) for name in ours[0]["shares"]},
    }
    return row | ({"peer": middle(theirs), "peer_all": theirs, "ratio": rate / middle(theirs)} if theirs else {})


def _line(name: str, row: dict[str, Any]) -> str:
    against = f"imitation {row['peer']:>7.0f}  ratio {row['ratio']:.2f}" if "peer" in row else " " * 28
    shares = ", ".join(f"{part} {share:.0%}" for part, share in row["shares"].items())
    return f"{name:<28} ours {row['ours']:>7.0f}  {against}  {row['ours'] / row['raw']:.0%} of raw stepping  ({shares})"


if __name__ == "__main__":
    main()
