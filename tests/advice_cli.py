"""What the commands refuse whatever the use, and what their refusals advise: see `advice.Case`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from advice import Case
from advice_text import begin
from seqgan_kit.cli import main

__all__ = ["CASES", "begin"]


def begun(*seeds: int, options: tuple[str, ...] = ()) -> Callable[[Path], object]:
    """Finished runs a-SEED."""
    return lambda folder: [main([*begin(folder / f"a-{s}"), "--run.seed", str(s), *options]) for s in seeds]


def unfinished(folder: Path) -> None:
    begun(0)(folder)
    path = folder / "a-0" / "run.json"
    path.write_text(path.read_text().replace('"finished": true', '"finished": false'))


def without_model(folder: Path) -> None:
    begun(0)(folder)
    shutil.rmtree(folder / "a-0" / "model")


def own(folder: Path) -> None:
    (folder / "own.py").write_text("def short(completions):\n    return [1.0] * len(completions)\n")
    (folder / "own.yaml").write_text("adversarial: {rewards: [{function: own.short}]}\n")


TRAIN = "train text --run.folder a"
CASES = [
    Case("trian text", "did you mean 'train'?", ("= train text",)),
    Case("train txt", "did you mean 'text'?", ("= train text",)),
    Case(
        f"{TRAIN} --run.device mps",
        "use --run.device cpu or auto",
        ("--run.device cpu", "--run.device auto --run.folder b"),
    ),
    Case(f"{TRAIN} --seeds=0", "--seeds takes numbers", ("no --seeds --seeds 0 1",)),
    Case(f"{TRAIN} --seeds 0 0", "as --seeds 0 1 2", ("--seeds 0 1 2",)),
    Case(f"{TRAIN} --seeds 3", "give two seeds or more, or --run.seed 3", ("--seeds 3 4", "no --seeds --run.seed 3")),
    Case(f"{TRAIN} --seeds 0 1 --run.seed 2", "give one of them", ("no --seeds", "no --run.seed")),
    Case(f"{TRAIN} --run.folder null --seeds 0 1", "--seeds needs --run.folder", ("--run.folder runs/NAME",)),
    Case("train dialogue --run.folder a --seeds 0 1", "choose another --run.folder", ("--run.folder b",), begun(0)),
    Case(
        f"{TRAIN} --seeds 0 1",
        "was trained with another --",
        ("--run.folder b",),
        begun(0, options=("--generator.hidden", "9")),
    ),
    Case(
        "train text --run.folder a-0",
        "exists: choose another --run.folder",
        ("--run.folder b", "= resume a-0"),
        begun(0),
    ),
    Case(
        "train text --run.folder there",
        "there exists, and is no run folder",
        ("--run.folder b",),
        lambda folder: (folder / "there").mkdir(),
    ),
    Case(
        "train text --discriminator.networ.help x",
        "did you mean 'discriminator.network'?",
        ("= train text --discriminator.network.help",),
    ),
    Case(
        "train text --adversarial.credit.help Terminl",
        "did you mean 'Terminal'?",
        ("= train text --adversarial.credit.help Terminal",),
    ),
    Case(
        "train text --generator.hiden 3",
        "did you mean 'generator.hidden'?",
        ("no --generator.hiden --generator.hidden 3",),
    ),
    Case(
        "train text own.txt",
        "did you mean --data.path own.txt?",
        ("= train text --data.path own.txt",),
        lambda folder: (folder / "own.txt").write_text("a b\nc d\n" * 9),
    ),
    Case(f"{TRAIN} --config own.yaml", "then add --trust own", ("--trust own",), own),
    Case(f"{TRAIN} --config own.yaml --trust own.py/", "as --trust my_rewards", ("--trust own",), own),
    Case("sample RUN --cuont 3", "did you mean 'count'?", ("no --cuont --count 3",)),
    Case("sample", "sample needs the run's folder", ("= sample a-0",), begun(0)),
    Case("sample a-1", "a-1 is no run folder: it has no run.json (in .: a-0)", ("= sample a-0",), begun(0)),
    Case(
        "chat RUN",
        "which has: sample, evaluate, sweep, report",
        ("= sample a-0", "= evaluate a-0 --samples 4", "= report a-0"),
        begun(0),
    ),
    Case(
        "sweep a-0",
        "is not finished: seqgan-kit resume a-0",
        files=unfinished,
        mend=lambda folder: main(["resume", "a-0"]),
    ),
    Case("sample a-0", "resume a-0", files=without_model, mend=lambda folder: main(["resume", "a-0"])),
    Case("compare", "compare needs runs", ("= compare a-0 a-1",), begun(0, 1)),
    Case("compare a-0", "give 2 or more runs", ("= compare a-0 a-1",), begun(0, 1)),
    Case("compare a-0 a-0", "that is one run twice", ("= compare a-0 a-1",), begun(0, 1)),
    Case(
        "compare a-0 a-1 b-0 b-1",
        "put -- between groups",
        ("= compare a-0 a-1 -- b-0 b-1",),
        lambda folder: [
            begun(0, 1)(folder),
            [main([*begin(folder / f"b-{s}"), "--run.seed", str(s), "--generator.hidden", "9"]) for s in (0, 1)],
        ],
    ),
    Case("compare a-0 --all", "it takes run folders, and -- between groups", ("= compare a-0 a-1",), begun(0, 1)),
]
