"""Weights that are shared out among two real processes: the same gradients, half of the memory, the same run again."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM

import runs
import sharded_processes
from seqgan_kit.engine.checkpoints import Checkpointer
from seqgan_kit.engine.processes import Processes
from seqgan_kit.engine.run_config import RunConfig
from sharded_processes import ADAPTERS, PLAYERS
from test_processes import by_two, pair, reached

GPT2 = {"model_type": "gpt2", "n_layer": 2, "n_head": 2, "n_embd": 16, "n_positions": 64}
BERT = {
    "model_type": "bert", "num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2,
    "intermediate_size": 32, "max_position_embeddings": 64,
}  # fmt: skip
SMALL: dict[str, Any] = {
    "generator": {"config": GPT2},
    "likelihood": {"steps": 6, "batch_size": 8},
    "discriminator": {"config": BERT, "network": None, "steps": 2, "batch_size": 8},
    "control": {"steps": 2},
    "evaluation": {"samples": 16, "every": 6, "rounds": 4},
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Tensor], list[dict[str, Tensor]]]:
    """What sharded_processes.py finds: by one process that has all, and by each of two that share it out."""
    out = tmp_path_factory.mktemp("sharded")
    sharded_processes.find_gradients(out)
    by_two("sharded_processes", out, "gradients")
    two = [load_file(out / f"rank-{rank}-of-2.safetensors") for rank in range(2)]
    return out, load_file(out / "rank-0-of-1.safetensors"), two


@pytest.mark.slow
@pytest.mark.parametrize("player", [*PLAYERS, *ADAPTERS])
def test_gradients_in_parts_are_those_of_one_process(
    found: tuple[Path, dict[str, Tensor], list[dict[str, Tensor]]], player: str
) -> None:
    """Every parameter's gradient, at each of two updates with samples drawn in between, to 1e-6; equal on both."""
    _, one, (first, second) = found
    assert one.keys() == first.keys() == second.keys()
    names = [name for name in one if name.rpartition(" ")[0] == player]
    assert len(names) >= 20
    assert max(one[name].abs().max() for name in names) > 1e-2
    largest = max((one[name] - first[name]).abs().max().item() for name in names)
    print(f"{player}: greatest difference {largest:.1e}")
    assert largest <= 1e-6
    assert all(torch.equal(first[name], second[name]) for name in names)


@pytest.mark.slow
def test_each_process_holds_its_part(found: tuple[Path, dict[str, Tensor], list[dict[str, Tensor]]]) -> None:
    """After the steps, at most 0.6 of all weights lie in a process, counted by their storage."""
    for rank in range(2):
        mine, whole = json.loads((found[0] / f"held-{rank}-of-2.json").read_text())
        print(f"process {rank} holds {mine / whole:.3f} of {whole:,} numbers")
        assert whole > 1e5
        assert mine <= 0.6 * whole


def train(run: Path, *options: str) -> list[str]:
    """The words of a run of GPT-2 and an encoder that two processes share."""
    config = {key: runs.TINY[key] | SMALL.get(key, {}) for key in runs.TINY}
    config["adversarial"] = config["adversarial"] | {"rounds": 4}
    file = run.with_name("sharded.yaml")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(config))
    return ["train", "text", "--config", str(file), "--run.folder", str(run), "--run.shard", "true", *options]


@pytest.mark.slow
def test_a_run_in_parts_is_killed_and_resumed_bit_for_bit(tmp_path: Path) -> None:
    """Killed with SIGKILL in likelihood and in the game, and resumed, it ends as the run that was not; its model is one
    of Hugging Face, with the best weights that the last checkpoint has; losses are those of a run with whole copies."""
    whole = tmp_path / "whole" / "run"
    by_words(whole, train(whole))
    rng = random.Random(5)
    killed = tmp_path / "killed" / "run"
    words = train(killed)
    for phase in (runs.MLE, runs.ADVERSARIAL):
        processes = pair(words, killed.parent)
        assert runs.wait_for(partial(reached, killed, phase), processes[0]), processes[0].log.read_text()[-2000:]
        time.sleep(rng.uniform(0, 0.2))
        for process in processes:
            process.send(signal.SIGKILL)
        assert [process.wait() for process in processes] == [-signal.SIGKILL] * 2
        words = ["resume", str(killed)]
    by_words(killed, words)
    runs.same(whole, killed)

    newest = runs.checkpoints.all_in(whole / "checkpoints")[-1]
    shared = runs.checkpoints.read(newest, "shared")
    assert set(shared["copies"]) == {"credit"}
    assert not {"credit", "generator"} & set(runs.checkpoints.read(newest, "process-1")["kept"])
    model = AutoModelForCausalLM.from_pretrained(whole / "model").state_dict()
    saved = {name.removeprefix("language.model."): value for name, value in shared["choice"]["weights"].items()}
    assert model.keys() == saved.keys()
    assert all(torch.equal(model[name], saved[name]) for name in model)

    lines = (whole / "samples" / "maximum_likelihood-000006.txt").read_text().splitlines()
    assert len(lines) == 16
    assert lines[:8] != lines[8:], "each process draws a share of its own"

    runs.checkpoints.check(newest)
    (newest / "process-1.safetensors").unlink()
    before = runs.checkpoints.newest_good(whole / "checkpoints", lambda told: None)
    assert before not in (None, newest), "what lacks a process's part is not believed"

    copies = tmp_path / "copies" / "run"
    by_words(copies, train(copies, "--run.shard", "false", "--adversarial.rounds", "0"))
    for one, two in zip(runs.lines(copies), runs.lines(whole), strict=False):
        assert abs(one["loss"] - two["loss"]) <= 1e-4 * one["loss"]
        assert abs(one["gradient_norm"] - two["gradient_norm"]) <= 1e-3 * one["gradient_norm"]
    assert len(runs.lines(copies)) >= 3


def by_words(run: Path, words: list[str]) -> None:
    processes = pair(words, run.parent)
    found = [process.wait() for process in processes]
    assert found == [0, 0], [process.log.read_text()[-3000:] for process in processes]


@pytest.mark.slow
def test_processes_wait_as_long_as_they_are_told(tmp_path: Path) -> None:
    """With --run.timeout 2 the main process gives up long before the other one, which sleeps, comes."""
    by_two("sharded_processes", tmp_path, "wait")
    waited = json.loads((tmp_path / "waited-0.json").read_text())
    print(f"waited {waited:.1f} s")
    assert 1 < waited < 6


def test_copies_that_each_process_saved_are_found(tmp_path: Path) -> None:
    """A checkpoint of a version that kept lagging copies among each process's own parts."""
    group = Processes(RunConfig(device="cpu"))
    old, new = (Checkpointer(tmp_path / "checkpoints", group, 2) for _ in range(2))
    one, other = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    rest = {"metrics_bytes": 0, "counters": {}, "seconds": {}}
    (tmp_path / "checkpoints").mkdir()
    old.kept["credit"] = one
    old.save(1, lambda: rest, {"pending": {}, "random": {}})
    folder = tmp_path / "checkpoints" / "00000001"
    shared = runs.checkpoints.read(folder, "shared")
    assert shared.pop("copies") == {}
    runs.checkpoints.write_part(folder, "shared", shared)  # as it was then
    runs.checkpoints.seal(folder, tmp_path / "checkpoints" / "00000002")
    new.copies["credit"] = other
    assert new.restore() is not None
    assert torch.equal(one.weight, other.weight)


def test_what_can_not_be_shared_out_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One line, before there is a folder."""
    from seqgan_kit.cli import main

    run = tmp_path / "run"
    soft = "seqgan_kit.text.differentiable.GumbelSoftmax"
    for words, told in [
        (runs.tiny(run), "among processes, and one runs: leave it out, or start with `torchrun"),
        (runs.tiny(run, "--adversarial.route", soft), "--adversarial.route differentiates"),
        (runs.tiny_imitation(run, "--policy.improvement", "seqgan_kit.imitation.improvement.TRPO"), "TRPO"),
        (runs.tiny_images(run), "networks of pictures are whole"),
    ]:
        assert main([*words, "--run.shard", "true"]) == 1
        (line,) = capfd.readouterr().err.splitlines()
        assert "--run.shard" in line
        assert told in line
        assert not run.exists()


@pytest.mark.parametrize("name", ["DeepSpeed", "FSDP"])
def test_wrappers_of_one_network_are_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """`accelerate launch --use_deepspeed` and `--use_fsdp` set a variable: one line that says what to do instead."""
    from seqgan_kit.cli import main

    monkeypatch.setenv(f"ACCELERATE_USE_{name.upper()}", "true")
    assert main(runs.tiny(tmp_path / "run")) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"seqgan-kit: {name} by `accelerate launch`")
    assert "--run.shard true" in line
    assert not os.path.exists(tmp_path / "run")
