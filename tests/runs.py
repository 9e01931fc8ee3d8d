"""Runs of the command line in processes of their own, small enough to be killed and repeated many times."""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import random
import re
import resource
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from seqgan_kit.engine import checkpoints
from seqgan_kit.engine.engine import Engine
from seqgan_kit.images import train as images
from seqgan_kit.imitation.train import ADVERSARIAL as GAME
from seqgan_kit.imitation.train import CLONING, FROZEN
from seqgan_kit.language.training import ADVERSARIAL, CONTROL, MLE, WARM_UP
from seqgan_kit.report import curves

ROOT = Path(__file__).parents[1]
PHASES = (MLE, WARM_UP, ADVERSARIAL, CONTROL)
TINY: dict[str, Any] = {
    "run": {"threads": 1, "log_every": 2, "checkpoint_steps": 3},
    "data": {"sentences": 60},
    "generator": {"embedding": 8, "hidden": 8},
    "likelihood": {"steps": 20, "batch_size": 8},
    "discriminator": {
        "network": {
            "class_path": "seqgan_kit.networks.text.cnn.TextCNN",
            "init_args": {"embedding": 4, "windows": [1, 2], "filters": [4, 4]},
        },
        "steps": 20,
        "batch_size": 8,
    },
    "adversarial": {
        "rounds": 20,
        "turns": {"discriminator": 1},
        "batch_size": 8,
        "credit": {"class_path": "seqgan_kit.tokens.credit.MonteCarlo", "init_args": {"rollouts": 2}},
    },
    "control": {"steps": 20},
    "evaluation": {"samples": 16, "every": 20, "rounds": 10},
}
TINY_DIALOGUE: dict[str, Any] = {
    "run": {"threads": 1, "log_every": 2, "checkpoint_steps": 3},
    "data": {"dialogues": 60, "shapes": 1},
    "generator": {"embedding": 8, "hidden": 8, "layers": 1},
    "likelihood": {"steps": 20, "batch_size": 8},
    "discriminator": {
        "network": {
            "class_path": "seqgan_kit.networks.text.hierarchical.HierarchicalDiscriminator",
            "init_args": {"embedding": 4, "hidden": 4},
        },
        "steps": 20,
        "batch_size": 8,
    },
    "adversarial": {"rounds": 20, "turns": {"discriminator": 1}, "batch_size": 8},
    "control": {"steps": 20},
    "evaluation": {"samples": 8, "every": 10, "rounds": 10, "evaluator": {"steps": 4, "embedding": 4, "hidden": 4}},
}
IMITATION_PHASES = (CLONING, GAME, FROZEN)
TINY_IMITATION: dict[str, Any] = {
    "run": {"threads": 1, "log_every": 2, "checkpoint_steps": 3},
    "environment": {"copies": 4},
    "policy": {"hidden": [8], "steps": 10},
    "cloning": {"steps": 30, "batch_size": 16},
    "discriminator": {
        "network": {
            "class_path": "seqgan_kit.networks.policies.transition.TransitionNetwork",
            "init_args": {"hidden": [8]},
        },
        "updates": 1,
        "batch_size": 16,
    },
    "adversarial": {"environment_steps": 20 * 4 * 10},
    "control": {"frozen": True},
    "evaluation": {"episodes": 2, "final": 3, "every": 10, "video": 0},
}
IMAGES_PHASES = (
    images.TEXT, images.MATCHING, images.ADVERSARIAL, images.SECOND_MATCHING, images.SECOND, images.STYLE,
)  # fmt: skip
CRITIC = "seqgan_kit.networks.pictures.discriminator.PictureDiscriminator"
TINY_IMAGES: dict[str, Any] = {
    "run": {"threads": 1, "log_every": 2, "checkpoint_steps": 3},
    "data": {"side": 16, "scenes": 40, "captions": 3, "unseen": 2},
    "joint": {"steps": 20, "batch_size": 4, "length": 48, "widths": [4, 4, 8], "dim": 8, "picture_width": 4},
    "generator": {"width": 4, "noise": 4, "text": 8},
    "discriminator": {"network": {"class_path": CRITIC, "init_args": {"width": 4, "text": 8}}, "matching": 20},
    "adversarial": {"rounds": 20, "batch_size": 8},
    "second": {
        "side": 32,
        "width": 4,
        "blocks": 1,
        "rounds": 20,
        "batch_size": 4,
        "discriminator": {"class_path": CRITIC, "init_args": {"width": 4, "text": 8, "unconditional": True}},
    },
    "style": {"steps": 20, "batch_size": 4},
    "evaluation": {"samples": 10, "every": 10, "feature_steps": 2, "matcher_steps": 2},
}
SEALED = 6  # of a checkpoint's writes: two parts of two files, the manifest, then the move to its place
CLOCKS = ("seconds", "updating", "metrics_bytes")  # of a checkpoint
TIMES = ("seconds", "samples_per_second")  # what may differ between a run and its repetition


def tiny(folder: Path, *options: str) -> list[str]:
    """The words that train a run of two seconds in `folder`; options given here win."""
    return _words("text", TINY, folder, options)


def tiny_dialogue(folder: Path, *options: str) -> list[str]:
    """The same of dialogue, 20 steps of each phase."""
    return _words("dialogue", TINY_DIALOGUE, folder, options)


def tiny_imitation(folder: Path, *options: str) -> list[str]:
    """The same of imitation: 20 rounds of 40 steps, through which episodes go on, and as many for the control."""
    return _words("imitation", TINY_IMITATION, folder, options)


def tiny_images(folder: Path, *options: str) -> list[str]:
    """The same of text to image, through all phases that there are, in 20 steps each."""
    return _words("images", TINY_IMAGES, folder, options)


def _words(task: str, config: dict[str, Any], folder: Path, options: Sequence[str]) -> list[str]:
    file = folder.with_name(f"tiny_{task}.yaml")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(config))
    return ["train", task, "--config", str(file), "--run.folder", str(folder), *options]


@dataclass(frozen=True)
class AtStart:
    """SIGKILL `delay` seconds after its first instruction, at the latest before its second step in a phase."""

    delay: float

    def arm(self) -> None:
        timer = _send(signal.SIGKILL, self.delay)
        _before_each_step(lambda _, count: timer.join() if count > 1 else None)


@dataclass(frozen=True)
class InStep:
    """A signal in the `step`-th step that the process makes of a phase: 2 or more.

    It is sent by a thread when the step has taken `part` of the time of the step before it; what that hits (the step,
    its line, its checkpoint) is left to chance, but the next step waits for it, so that it is never missed.
    """

    phase: str
    step: int
    part: float
    number: int = signal.SIGKILL

    def arm(self) -> None:
        sent: list[threading.Thread] = []
        begun = time.monotonic()

        def before(phase: str, count: int) -> None:
            nonlocal begun
            took, begun = time.monotonic() - begun, time.monotonic()
            if sent:
                sent[0].join()
            elif (phase, count) == (self.phase, self.step):
                sent.append(_send(self.number, self.part * took))

        _before_each_step(before)


@dataclass(frozen=True)
class Writing:
    """SIGKILL in a phase, just before the process opens its `write`-th file to be written in a folder, or moves it.

    folder: how its name begins: `.unfinished-` is a checkpoint that is not sealed yet.
    """

    phase: str
    folder: str
    write: int

    def arm(self) -> None:
        now, writes = "", 0

        def before(phase: str, _: int) -> None:
            nonlocal now
            now = phase

        def audit(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal writes
            writing = event == "os.rename" or (event == "open" and "w" in (arguments[1] or ""))
            if now == self.phase and writing and f"{os.sep}{self.folder}" in str(arguments[0]):
                writes += 1
                if writes == self.write:
                    os.kill(os.getpid(), signal.SIGKILL)

        _before_each_step(before)
        sys.addaudithook(audit)


@dataclass(frozen=True)
class Held:
    """No signal: the process waits before its `step`-th step of a phase until there is a file."""

    phase: str
    step: int
    file: Path

    def arm(self) -> None:
        def before(phase: str, count: int) -> None:
            while (phase, count) == (self.phase, self.step) and not self.file.exists():
                time.sleep(0.01)

        _before_each_step(before)


@dataclass(frozen=True)
class Limited:
    """No signal: no file that the process writes may become longer than this many bytes."""

    size: int

    def arm(self) -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, resource.RLIM_INFINITY))


Moment = AtStart | InStep | Writing | Held | Limited
"""When a process sends a signal to itself: from inside it never comes too late, however fast the machine."""


def _send(number: int, delay: float) -> threading.Thread:
    timer = threading.Timer(delay, os.kill, (os.getpid(), number))
    timer.start()
    return timer


def _before_each_step(call: Callable[[str, int], object]) -> None:
    """Has this process's engine make `call(phase, count)` before its `count`-th step of a phase."""
    steps = Engine.steps

    def watched(engine: Engine, phase: str, total: int, *others: Any) -> Iterator[int]:
        for count, step in enumerate(steps(engine, phase, total, *others), 1):
            call(phase, count)
            yield step

    Engine.steps = watched  # type: ignore[method-assign]


class Launched:
    """A command in a process that was forked from one where everything is imported, so that it starts at once."""

    _server = multiprocessing.get_context("forkserver")
    _server.set_forkserver_preload(
        [
            *("runs", "seqgan_kit.cli", "seqgan_kit.dialogue.train", "gymnasium.envs.classic_control"),
            *("transformers.models.auto.tokenization_auto", "transformers.models.gpt2.modeling_gpt2"),
        ]
    )

    def __init__(
        self,
        words: list[str],
        log: Path,
        environment: dict[str, str] | None = None,
        moment: Moment | None = None,
        script: str = "seqgan_kit.cli",
    ) -> None:
        """script: the module whose `main` gets the words."""
        self.log = log
        log.write_text("")
        with pytest.MonkeyPatch.context() as patch:  # of the process that the server is started from
            patch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{ROOT / 'tests'}")
            patch.setenv("OMP_NUM_THREADS", "1")
            arguments = (words, str(log), environment or {}, moment, script)
            self._process = self._server.Process(target=_main, args=arguments)
            self._process.start()

    def alive(self) -> bool:
        return self._process.is_alive()

    def send(self, number: int) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def wait(self) -> int:
        """The exit status; -N where signal N ended it."""
        self._process.join(120)
        assert self._process.exitcode is not None, f"still runs: {self.log.read_text()[-2000:]}"
        return self._process.exitcode


def _main(words: list[str], log: str, environment: dict[str, str], moment: Moment | None, script: str) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # as in the foreground, also where the tests are not there
    if moment is not None:
        moment.arm()
    os.environ |= environment
    handle = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    from tqdm import tqdm

    tqdm.set_lock(threading.RLock())  # its own is a semaphore of the system, which a killed process leaves behind
    os.fsync = lambda _: None  # for power cuts: what a killed process has written stays
    curves.figure = lambda *_: ""  # as in conftest

    status = importlib.import_module(script).main(words)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # as fast as it started


class Victim:
    """A run that is killed again and again, and resumed from where it was killed."""

    def __init__(self, run: Path, words: list[str]) -> None:
        """words: those that begin the run in the folder `run`."""
        self.run, self.words, self.log = run, words, run.with_name("log")

    def start(self, moment: Moment | None = None) -> Launched:
        begun = (self.run / "run.json").is_file()
        return Launched(["resume", str(self.run)] if begun else self.words, self.log, moment=moment)

    def kill(self, moment: Moment) -> None:
        """Continues the run, which must die of SIGKILL at the moment: in its phase, after a line of it."""
        status = self.start(moment).wait()
        assert status == -signal.SIGKILL, (moment, status, self.log.read_text()[-2000:])
        assert isinstance(moment, AtStart) or phase(self.run) == moment.phase, moment

    def kill_everywhere(self, phases: Sequence[str], rng: random.Random) -> None:
        """In each phase: twice in a step, once while it saves, which must leave files behind, and once at a start.

        The run has 20 steps or more in each phase, a line for every second one, and a checkpoint for every third.
        """
        for name in phases:  # makes at most 6 + 6 + 3 + 1 steps of it
            for _ in range(2):
                self.kill(InStep(name, rng.randint(3, 6), rng.random()))
            left = self.half_written()
            self.kill(Writing(name, ".unfinished-", rng.randint(2, SEALED)))
            assert self.half_written() - left, "a checkpoint is half-written"
            # at any moment from its first instruction on: while it reads the checkpoint, cuts the metrics, ...
            self.kill(AtStart(rng.uniform(0, 0.3)))

    def half_written(self) -> set[tuple[Path, int]]:
        """The files of checkpoints that were not sealed, and when each was last written to."""
        return {(path, path.stat().st_mtime_ns) for path in (self.run / "checkpoints").glob(".unfinished-*/*")}

    def finish(self) -> str:
        return finish(["resume", str(self.run)], self.log)


def finish(words: list[str], log: Path) -> str:
    """Runs to the end, which must be a good one; what it wrote."""
    status = Launched(words, log).wait()
    assert status == 0, log.read_text()[-3000:]
    return log.read_text()


def wait_for(condition: Callable[[], bool], process: Launched) -> bool:
    """Polls, without taking the processor from it; False where the process ended first."""
    while not condition():
        if not process.alive():
            return condition()
        time.sleep(0.002)
    return True


def lines(run: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without what depends on the clock; a line that a kill has cut is left out."""
    path = run / "metrics.jsonl"
    if not path.is_file():
        return []
    whole = path.read_text().rpartition("\n")[0].splitlines()
    found = [json.loads(line) for line in whole]
    return [{key: value for key, value in line.items() if key not in TIMES} for line in found]


def phase(run: Path) -> str:
    """The phase of the newest line."""
    found = lines(run)
    return found[-1]["phase"] if found else ""


def result(run: Path) -> dict[str, Any]:
    """Everything that a run leaves behind which may not depend on when it was interrupted: files by content."""
    newest = checkpoints.all_in(run / "checkpoints")[-1]
    shared = checkpoints.read(newest, "shared")
    for clock in CLOCKS:
        del shared[clock]
    kept = [
        path
        for folder in ("samples", "model", "game", MLE, CLONING, CONTROL, FROZEN)
        for path in (run / folder).rglob("*")
        if path.is_file()
    ]
    kept += newest.glob("*.safetensors")
    return {
        "checkpoint": newest.name,
        "record": {key: told(run)[key] for key in ("best", "ends", "verdict") if key in told(run)},
        "metrics": lines(run),
        "shared": flat(shared),
        **{f"process {i}": flat(checkpoints.read(newest, f"process-{i}")) for i in range(shared["processes"])},
        **{str(path.relative_to(run)): path.read_bytes() for path in kept},
    }


def told(run: Path) -> dict[str, Any]:
    """The content of run.json."""
    found: dict[str, Any] = json.loads((run / "run.json").read_text())
    return found


def flat(state: Any, path: str = "") -> dict[str, Any]:
    """A nested state as path -> number, string, or the bytes of a tensor: equal only bit for bit."""
    if isinstance(state, torch.Tensor):
        return {path: (str(state.dtype), tuple(state.shape), bytes(state.reshape(-1).view(torch.uint8).tolist()))}
    if isinstance(state, dict):
        return {k: v for key, value in state.items() for k, v in flat(value, f"{path}/{key}").items()}
    if isinstance(state, list | tuple):
        return {k: v for i, value in enumerate(state) for k, v in flat(value, f"{path}/{i}").items()}
    return {path: state}


def same(one: Path, other: Path) -> None:
    """Fails, naming what differs, unless two runs ended equal bit for bit."""
    first, second = result(one), result(other)
    assert first.keys() == second.keys()
    different = [key for key in first if first[key] != second[key]]
    details = [
        f"{key}{path}"
        for key in different
        if isinstance(first[key], dict)
        for path in first[key]
        if first[key][path] != second[key].get(path)
    ]
    assert not different, (different, details[:20])


def errors(told: str) -> list[str]:
    """What the user is told is wrong: no progress bars, and no summary of the data that was read."""
    words = (
        "to train on",
        r"read, \d+ used",
        "unknown to the tokenizer: ",
        "texts are different, ",
        r"^metrics of \w+, ",
        r"^model: ",
    )
    read = re.compile("|".join(words))
    lines = [line.rpartition("\r")[2] for line in told.splitlines() if not read.search(line)]
    return [line for line in lines if line.strip() and "it/s" not in line and "?it" not in line and "s/it" not in line]


def copy(source: Path, target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    if source.exists():
        shutil.copytree(source, target)
    return target
