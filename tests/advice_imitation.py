"""What runs of imitation refuse, and what their refusals advise: see `advice.Case`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import runs
from advice import Case
from advice_text import content
from seqgan_kit.cli import main


def saved(name: str = "own.npz", **others: Any) -> Callable[[Path], object]:
    """Two episodes of CartPole, of 5 and 7 steps, or what is given in their place; None leaves an array out."""
    arrays = {"obs": np.ones((14, 4), np.float32), "acts": np.arange(12) % 2, "lens": np.array([5, 7])} | others
    return lambda folder: np.savez(folder / name, **{key: value for key, value in arrays.items() if value is not None})


TRAIN = "train imitation"
FILE = f"{TRAIN} --environment.id CartPole-v1 --demonstrations.path own.npz"
PENDULUM = "--environment.id Pendulum-v1"
DISTANCE = "seqgan_kit.algorithms.objectives.ls_gan"
OPTIONS = [
    Case(f"{TRAIN} --adversarial.discriminator_weight 0", "leaves nothing to learn from: give 1"),
    Case(f"{TRAIN} --discriminator.inputs []", "is empty: give some", ("--discriminator.inputs [state,action]",)),
    Case(f"{TRAIN} --policy.discount 2", "--policy.discount 2: give a number from 0 to 1"),
    Case(f"{TRAIN} --discriminator.absorbing true --policy.discount 1", "--policy.discount 1: give a number between"),
    Case(f"{TRAIN} --policy.recurrent 4 --demonstrations.subsample 5", "cloned from whole trajectories"),
    Case(
        f"{TRAIN} --discriminator.log_prob true --policy.recurrent 4",
        "--discriminator.log_prob: ",
        ("no --discriminator.log_prob", "--policy.recurrent 0"),
    ),
    Case(f"{TRAIN} --environment.copies 0", "--environment.copies 0: give at least 1"),
    Case(f"{TRAIN} --evaluation.final 1", "--evaluation.final 1: give at least 2"),
    Case(f"{TRAIN} --environment.id CartPol-v1", "did you mean CartPole-v1", ("--environment.id CartPole-v1",)),
    Case(f"{TRAIN} --environment.id nowhere:X-v0", "there is no module 'nowhere'", ("--environment.id CartPole-v1",)),
    Case(
        f"{TRAIN} --environment.arguments '{{\"depth\": 3}}'",
        "can't be made with {'depth': 3}",
        ("no --environment.arguments",),
    ),
    Case(
        f"{FILE} {PENDULUM} --environment.vectorised true",
        "--environment.vectorised: Pendulum-v1 can't",
        ("no --environment.vectorised",),
        saved(obs=np.ones((14, 3), np.float32), acts=np.zeros((12, 1), np.float32)),
    ),
    Case(
        f"{TRAIN} {PENDULUM}",
        "either --demonstrations.path or --demonstrations.minari",
        ("--demonstrations.path own.npz",),
        saved(obs=np.ones((14, 3), np.float32), acts=np.zeros((12, 1), np.float32)),
    ),
    Case(
        f"{FILE} --demonstrations.minari x/y-v0",
        "either --demonstrations.path or --demonstrations.minari",
        ("no --demonstrations.minari",),
        saved(),
    ),
    Case(f"{FILE} --demonstrations.trajectories 3", "--demonstrations.trajectories 3: give 1 to 2", files=saved()),
    Case(f"{FILE} --demonstrations.subsample 6", "--demonstrations.subsample 6: ", files=saved()),
    Case(f"{FILE} --demonstrations.seed -1", "--demonstrations.seed -1: give a number from 0", files=saved()),
    Case(f"{TRAIN} --policy.hidden [0]", "--policy.hidden 0: give at least 1", ("--policy.hidden [1]",)),
    Case(f"{TRAIN} --policy.improvement.clip -1", "--policy.improvement.clip -1"),
]
SHAPED = "seqgan_kit.networks.policies.transition.ShapedNetwork"


def begun(*options: str) -> Callable[[Path], object]:
    """Another finished run."""
    return lambda folder: main([*begin(folder / "one"), *options])


def unfinished(folder: Path) -> None:
    begun("--control.frozen", "false")(folder)
    record = json.loads((folder / "one" / "run.json").read_text())
    (folder / "one" / "run.json").write_text(json.dumps(record | {"finished": False}))


PARTS = [
    Case(
        f"{TRAIN} --discriminator.objective {DISTANCE}",
        "knows no distance of steps",
        tuple(
            f"--discriminator.objective seqgan_kit.algorithms.objectives.{name}"
            for name in ("minimax", "non_saturating", "airl")
        ),
    ),
    Case(
        f"{TRAIN} --discriminator.network {SHAPED}",
        "--discriminator.network: ",
        ("--discriminator.inputs [state,action,next_state,ended]",),
    ),
    Case("train imitation --run.shard true", "TRPO and PPO in environments", ("no --run.shard",)),
    Case("evaluate one --episodes 2 --frozen", "leave it out", ("no --frozen",), begun("--reward", "environment")),
    Case(
        "evaluate one --episodes 2 --frozen",
        "first seqgan-kit resume one",
        files=unfinished,
        mend=lambda folder: main(["resume", "one"]),
    ),
]
FILES = [
    Case(
        f"{TRAIN} --demonstrations.path own.npz",
        "does not say which environment it was recorded in",
        ("--environment.id CartPole-v1",),
        saved(),
    ),
    Case(FILE, "does not exist", mend=saved()),
    Case(FILE, "is no .npz file", files=content("own.npz", b"x"), mend=saved()),
    Case(FILE, "has no acts", files=saved(acts=None), mend=saved()),
    Case(FILE, "add up to 13 steps", files=saved(lens=np.array([5, 8])), mend=saved()),
    Case(FILE, "and no lens: give lens", files=saved(lens=None), mend=saved()),
]
COMMANDS = [
    Case("evaluate RUN --episodes 1", "evaluate --episodes 1: give at least 2"),
    Case("evaluate RUN --episodes 2 --seed -1", "--seed -1: give a number from 0 to 4294967295"),
    Case("record RUN --episodes 0", "record --episodes 0: give at least 1", ("--episodes 1 also --out new.npz",)),
    Case(
        "record RUN --episodes 1 --out new.txt",
        "end its name in .npz",
        ("--out new.npz", "--out new.txt --format datasets"),
    ),
    Case(
        "record RUN --episodes 1 --out old.npz",
        "exists: give another --out",
        ("--out new.npz",),
        content("old.npz", b""),
    ),
    Case("record RUN --episodes 1 --format minari", "--out NAMESPACE/NAME-v0", ("--out own/cart-v0",)),
    Case(
        "record RUN --episodes 1 --format minari --out cart", "is no id for a Minari data set", ("--out own/cart-v1",)
    ),
    Case("record RUN --episodes 1 --out nowhere/new.npz --seed -1", "--seed -1", ("--seed 0 --out new.npz",)),
    Case("watch RUN --steps 0", "watch --steps 0: give at least 1", ("--steps 1 also --out new.gif",)),
    Case("watch RUN --steps 2 --out new.mp4", "end its name in .gif", ("--out new.gif",)),
    Case("watch RUN --steps 2 --out new.gif --seed 99999999999999999999", "--seed 99999999999999999999"),
]
CASES = [*OPTIONS, *PARTS, *FILES, *COMMANDS]


def begin(run: Path) -> list[str]:
    """The words that train the finished run."""
    return runs.tiny_imitation(run, "--cloning.steps", "1", "--adversarial.environment_steps", "40")
