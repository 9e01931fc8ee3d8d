"""Two real processes do what one does on the joined batch, and stay equal."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import runs
import two_processes

ADDRESS = {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
PLAYERS = (
    *("maximum likelihood", "reinforce", "likelihood ratio", "discriminator"),
    *("reinforce of classes", "discriminator of classes"),
)


def port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def python(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
        env=os.environ | ADDRESS | {"PYTHONPATH": str(runs.ROOT)} | environment,
    )


def torchrun(*words: str) -> subprocess.CompletedProcess[str]:
    done = python(
        "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_addr", "127.0.0.1", "--master_port", port(),
        *words, ACCELERATE_USE_CPU="1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def by_two(script: str, folder: Path, *words: str) -> str:
    """Runs `SCRIPT FIRST FOLDER WORDS...` in the two processes that torchrun would start; what the main one wrote."""
    processes = pair([words[0], str(folder), *words[1:]], folder, script)
    found = [process.wait() for process in processes]
    told = processes[0].log.read_text()
    assert found == [0, 0], [process.log.read_text()[-3000:] for process in processes]
    return told


def train_by_two(folder: Path, words: list[str]) -> None:
    """A whole run by two processes, at whose end both have the same weights."""
    by_two("two_processes", folder, "train", *words, "--run.processes", "2")
    first, second = (json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(2))
    assert first["sums"] == second["sums"]
    assert first["draws"] != second["draws"], "each process samples sentences of its own"


def pair(words: list[str], folder: Path, script: str = "seqgan_kit.cli") -> list[runs.Launched]:
    """The two processes that torchrun would start, started here to be killed here, and started fast."""
    folder.mkdir(parents=True, exist_ok=True)
    common = ADDRESS | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port(), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    return [
        runs.Launched(
            words,
            folder / f"log-{rank}",
            common | {"RANK": str(rank), "LOCAL_RANK": str(rank), "ACCELERATE_USE_CPU": "1"},
            script=script,
        )
        for rank in range(2)
    ]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Tensor], list[dict[str, Tensor]]]:
    """What two_processes.py finds: by one process, and by each of two."""
    out = tmp_path_factory.mktemp("gradients")
    two_processes.find_gradients(out)
    by_two("two_processes", out, "gradients")
    two = [load_file(out / f"rank-{rank}-of-2.safetensors") for rank in range(2)]
    return load_file(out / "rank-0-of-1.safetensors"), two


@pytest.mark.slow
@pytest.mark.parametrize("player", PLAYERS)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_gradients_of_half_batches_equal_one_process_s(
    found: tuple[dict[str, Tensor], list[dict[str, Tensor]]], player: str, accumulate: int
) -> None:
    """Every parameter's gradient, at the optimiser, is that of one process on the joined batch, to 1e-6."""
    one, two = found
    names = [name for name in one if name.startswith(f"{player} 1 ")]
    assert len(names) >= 5
    largest = 0.0
    for name in names:
        assert one[name].abs().max() > 1e-4, "there is a gradient to compare"
        for rank in two:
            other = rank[name.replace(" 1 ", f" {accumulate} ")]
            largest = max(largest, (one[name] - other).abs().max().item())
    print(f"{player}, accumulate {accumulate}: greatest difference {largest:.1e}")
    assert largest <= 1e-6


@pytest.mark.parametrize("player", PLAYERS)
def test_accumulated_gradients_equal_the_batch_s(
    found: tuple[dict[str, Tensor], list[dict[str, Tensor]]], player: str
) -> None:
    """In one process too, a batch in two parts gives the gradient of the batch."""
    one, _ = found
    for name in [name for name in one if name.startswith(f"{player} 1 ")]:
        assert (one[name] - one[name.replace(" 1 ", " 2 ")]).abs().max() <= 1e-6


def test_no_gradient_reaches_the_other_player(found: tuple[dict[str, Tensor], list[dict[str, Tensor]]]) -> None:
    """After each update, a pathwise one through the discriminator included, the other's parameters have no gradient."""
    one, two = found
    for each in (one, *two):
        leaks = {name: value.item() for name, value in each.items() if name.startswith("leak ")}
        assert len(leaks) == 2 * len(PLAYERS) + 1
        assert not any(leaks.values()), leaks


def test_weights_are_equal_on_both_after_each_update(
    found: tuple[dict[str, Tensor], list[dict[str, Tensor]]],
) -> None:
    """The same step on both processes, bit for bit; and a step that goes round the wrapper would be noticed."""
    _, (first, second) = found
    names = [name for name in first if name.startswith("after ")] + ["wrapped"]
    assert len(names) == 2 * len(PLAYERS) + 1
    assert all(torch.equal(first[name], second[name]) for name in names)
    assert not torch.equal(first["bare"], second["bare"]), "ranks drift apart where the bare network is differentiated"


def reached(run: Path, phase: str) -> bool:
    return runs.phase(run) == phase


@pytest.mark.slow
def test_a_run_of_two_processes_stays_equal_and_survives_kills(tmp_path: Path) -> None:
    """By torchrun, ranks end with equal weights; killed in every phase, or stopped, and resumed, they end as equal."""
    run = tmp_path / "whole" / "run"
    options = ["--likelihood.steps", "40", "--discriminator.steps", "40", "--control.steps", "40"]  # time to be killed
    words = runs.tiny(run, *options, "--run.processes", "2")
    done = torchrun(str(Path(two_processes.__file__)), "train", str(tmp_path), *words)
    assert str(run / "report.html") in done.stdout
    first, second = (json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in range(2))
    assert len(first["sums"]) == 4
    assert first["sums"] == second["sums"]
    assert first["draws"] != second["draws"], "each process samples sentences of its own"
    for rank in range(2):
        assert json.loads((tmp_path / f"threads-{rank}.json").read_text()) == [], "they may abort Python's end"

    rng = random.Random(7)
    killed = tmp_path / "killed" / "run"
    words = runs.tiny(killed, *options, "--run.processes", "2")
    for phase in runs.PHASES:
        processes = pair(words, tmp_path / "killed")
        assert runs.wait_for(partial(reached, killed, phase), processes[0]), "killed in its phase"
        time.sleep(rng.uniform(0, 0.1))
        for process in rng.sample(processes, 2):
            process.send(signal.SIGKILL)
        assert [process.wait() for process in processes] == [-signal.SIGKILL] * 2
        assert runs.phase(killed) == phase
        words = ["resume", str(killed)]
    processes = pair(words, tmp_path / "killed")
    size = len(runs.lines(killed))
    assert runs.wait_for(lambda: len(runs.lines(killed)) > size, processes[0])
    processes[1].send(signal.SIGTERM)  # to one of them only
    assert [process.wait() for process in processes] == [130, 130]
    processes = pair(words, tmp_path / "killed")
    assert [process.wait() for process in processes] == [0, 0]
    runs.same(run, killed)

    alone = tmp_path / "alone" / "run"
    runs.finish(runs.tiny(alone, *options, "--adversarial.rounds", "0", "--discriminator.steps", "0"), tmp_path / "log")
    for one, two in zip(runs.lines(alone), runs.lines(run), strict=False):
        assert math.isclose(one["loss"], two["loss"], rel_tol=1e-4), "40 steps of maximum likelihood, as one process"

    log = tmp_path / "refused"
    assert runs.Launched(["resume", str(run), "--run.processes", "1"], log).wait() == 1
    assert len(runs.errors(log.read_text())) == 1
    assert "saved by 2 processes, 1 run: start as many as before" in log.read_text()


@pytest.mark.slow
def test_a_launch_that_would_silently_run_one_process_stops(tmp_path: Path) -> None:
    """`accelerate launch --cpu --num_processes 2` starts one process: it ends with one line that names torchrun."""
    run = tmp_path / "run"
    done = python(
        "-m", "accelerate.commands.accelerate_cli", "launch", "--cpu", "--num_processes", "2",
        "-m", "seqgan_kit.cli", *runs.tiny(run),
    )  # fmt: skip
    assert done.returncode != 0
    told = [line for line in done.stderr.splitlines() if line.startswith("seqgan-kit: ")]
    assert len(told) == 1
    assert "asked for 2 processes, but started one" in told[0]
    assert "torchrun" in told[0]
    assert not run.exists()


def test_fewer_processes_than_asked_for_stop(tmp_path: Path) -> None:
    """`--run.processes 2` in one process ends with one line that says how to start two, and leaves no folder."""
    run, log = tmp_path / "run", tmp_path / "log"
    assert runs.Launched(runs.tiny(run, "--run.processes", "2"), log).wait() == 1
    (told,) = log.read_text().splitlines()
    assert "--run.processes 2, but 1 run: start with `torchrun --nproc_per_node 2" in told
    assert not run.exists()
