"""Checkpoints: written whole or not at all, checked before they are believed, and never pickled."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import runs
from seqgan_kit.engine import checkpoints
from seqgan_kit.errors import UserError
from seqgan_kit.files import write_whole

STATE: dict[Any, Any] = {
    "tensors": [torch.arange(6).reshape(2, 3), torch.tensor([True, False]), torch.tensor(0.1, dtype=torch.float64)],
    "shapes": (torch.empty(0), torch.empty(2, 0, 3), torch.tensor(7)),
    "kinds": [torch.ones(2, dtype=kind) for kind in (torch.bfloat16, torch.float16, torch.int8, torch.uint8)],
    "state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.randn(4)}, 1: {}},
    "plain": [None, True, False, 3, -1, 0.1, float("inf"), "text / ü \n", 10**15],
    "nested": ((), [], {}, ((1,), [(2, None)])),
    "": {"a/b": torch.zeros(1), "a": {"b": torch.ones(1)}, "a/b 1": torch.ones(2)},
    "keys": {"0": torch.zeros(1), 0: torch.ones(1), -1: 1},
}


def equal(one: Any, other: Any) -> bool:
    return runs.flat(one) == runs.flat(other) and str(structure(one)) == str(structure(other))


def structure(tree: Any) -> Any:
    """The tree with every tensor replaced by what tells it from another: containers and key types stay."""
    if isinstance(tree, torch.Tensor):
        return tree.dtype, tuple(tree.shape)
    if isinstance(tree, dict):
        return {key: structure(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(structure(value) for value in tree)
    return tree


def save(root: Path, step: int, state: Any = STATE) -> Path:
    """A sealed checkpoint of two parts."""
    unfinished = root / f".unfinished-{step:08d}"
    checkpoints.write_part(unfinished, "shared", {"processes": 1, **state})
    checkpoints.write_part(unfinished, "process-0", {"step": step, "weights": torch.randn(50)})
    checkpoints.seal(unfinished, root / f"{step:08d}")
    return root / f"{step:08d}"


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    """Integer keys, tuples, None, booleans, every dtype, scalars and empty tensors survive, bit for bit."""
    assert equal(checkpoints.read(save(tmp_path, 1), "shared"), {"processes": 1, **STATE})
    assert equal(checkpoints.read(save(tmp_path, 2, {}), "shared"), {"processes": 1})


def test_views_and_shared_tensors_come_back_with_their_values(tmp_path: Path) -> None:
    """A transposed, an expanded and a twice-used tensor, which safetensors would refuse, are stored by value."""
    base = torch.randn(3, 4)
    state = {"t": base.t(), "expanded": base[:1].expand(5, 4), "again": base, "parameter": torch.nn.Parameter(base)}
    found = checkpoints.read(save(tmp_path, 1, state), "shared")
    assert all(torch.equal(found[name], value) for name, value in state.items())


def test_an_optimizer_s_state_comes_back(tmp_path: Path) -> None:
    """Adam after a step, whose state has integer keys and tuples, goes on equally from its checkpoint."""
    weight = torch.nn.Parameter(torch.randn(5))
    adam = torch.optim.Adam([weight], fused=True)
    weight.square().sum().backward()
    adam.step()
    other = torch.optim.Adam([torch.nn.Parameter(torch.randn(5))], lr=1.0)
    other.load_state_dict(checkpoints.read(save(tmp_path, 1, adam.state_dict()), "shared"))
    assert equal(adam.state_dict(), other.state_dict())


@pytest.mark.parametrize("value", [{1, 2}, b"bytes", np.float64(1.0), np.zeros(2), object(), torch.float32, len])
def test_what_it_cannot_hold_is_refused_by_name(value: Any) -> None:
    """Any type that JSON and tensors can't give back raises at the save, with the place in the state."""
    if isinstance(value, float):  # numpy's float64 is a float: its value is kept, its type is not
        assert checkpoints.pack(value, {}) == {"value": 1.0}
        return
    with pytest.raises(TypeError, match=r"^/a/1 is a \w+, which a checkpoint can't hold"):
        checkpoints.pack({"a": [1, value]}, {})


def test_keys_that_json_would_change_are_refused() -> None:
    """A dictionary with tuples as keys raises at the save, not at the resume."""
    with pytest.raises(TypeError, match=r"^/a has the key \(1, 2\), which a checkpoint can't hold"):
        checkpoints.pack({"a": {(1, 2): 3}}, {})


def test_random_numbers_go_on_where_they_were() -> None:
    """Torch's, NumPy's and Python's generators continue from a packed state, normal deviates included."""

    def draw() -> list[float]:
        return [torch.rand(1).item(), torch.randn(1).item(), np.random.normal(), random.gauss(0, 1), random.random()]  # noqa: NPY002

    before = checkpoints.random_state()
    try:
        draw()  # leaves one deviate of each pair in store
        tensors: dict[str, torch.Tensor] = {}
        packed = json.loads(json.dumps(checkpoints.pack(checkpoints.random_state(), tensors)))
        expected = draw()
        draw()
        checkpoints.set_random_state(checkpoints.unpack(packed, tensors))
        assert draw() == expected
    finally:
        checkpoints.set_random_state(before)


def test_every_altered_byte_and_every_cut_is_recognised(tmp_path: Path) -> None:
    """Flipping a bit of any byte of the manifest, and bytes all over the other files, or cutting them, is noticed."""
    good = save(tmp_path, 1)
    whole = {path: path.read_bytes() for path in good.iterdir()}
    meaning = json.loads(whole[good / checkpoints.MANIFEST])
    checked = 0
    for path, content in whole.items():
        step = 1 if path.name == checkpoints.MANIFEST else max(1, len(content) // 40)
        for at in range(0, len(content), step):
            for altered in (content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :], content[:at]):
                path.write_bytes(altered)
                told = damage_of(good)
                assert told or json.loads(altered) == meaning, "only white space in the manifest may differ"
                assert "\n" not in told
                checked += bool(told)
        path.write_bytes(content)
    checkpoints.check(good)
    assert checked > 1000


def damage_of(checkpoint: Path) -> str:
    try:
        checkpoints.check(checkpoint)
    except checkpoints.Damaged as damage:
        return str(damage)
    return ""


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        ("truncated", "shared.safetensors is truncated or altered"),
        ("altered", "shared.safetensors is truncated or altered"),
        ("missing", "shared.safetensors is missing"),
        ("version", "it has version 99, this seqgan_kit reads version 1"),
        ("no manifest", "manifest.json can't be read"),
        ("empty manifest", "manifest.json can't be read"),
        ("strange manifest", "manifest.json can't be read"),
    ],
)
def test_a_damaged_checkpoint_is_named_set_aside_and_the_one_before_used(
    tmp_path: Path, damage: str, named: str
) -> None:
    """Each kind of damage is told in one line with the folder, and the newest good checkpoint is taken."""
    save(tmp_path, 3)
    older, newest = save(tmp_path, 5), save(tmp_path, 12)
    hurt(newest, damage)
    told: list[str] = []
    assert checkpoints.newest_good(tmp_path, told.append) == older
    assert len(told) == 1
    assert str(newest) in told[0]
    assert named in told[0]
    assert "\n" not in told[0]
    assert [path.name for path in checkpoints.all_in(tmp_path)] == ["00000003", "00000005"]
    assert (tmp_path / "damaged-00000012").is_dir(), "nothing is deleted"
    told.clear()
    assert checkpoints.newest_good(tmp_path, told.append) == older
    assert not told, "it is told once"


def hurt(checkpoint: Path, damage: str) -> None:
    victim, manifest = checkpoint / "shared.safetensors", checkpoint / checkpoints.MANIFEST
    content = victim.read_bytes()
    match damage:
        case "truncated":
            victim.write_bytes(content[:-1])
        case "altered":
            victim.write_bytes(content[:-3] + bytes([content[-3] ^ 0x80]) + content[-2:])
        case "missing":
            victim.unlink()
        case "version":
            manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"version": 99}))
        case "no manifest":
            manifest.unlink()
        case "empty manifest":
            manifest.write_text("")
        case "strange manifest":
            manifest.write_text('{"version": 1, "files": [1]}')


def test_the_same_step_may_be_damaged_twice(tmp_path: Path) -> None:
    """A checkpoint that is set aside where one of the same step already lies does not end the run."""
    older = save(tmp_path, 5)
    for _ in range(2):
        hurt(save(tmp_path, 12), "truncated")
        assert checkpoints.newest_good(tmp_path, lambda _: None) == older


def test_without_a_good_one_it_stops_with_the_remedy(tmp_path: Path) -> None:
    """Where all are damaged nothing starts from zero in silence; where there never was one, the run starts."""
    assert checkpoints.newest_good(tmp_path / "none", lambda _: None) is None
    for step in (1, 2):
        hurt(save(tmp_path, step), "truncated")
    for _ in range(2):
        with pytest.raises(UserError, match=r"all checkpoints in .* are damaged: restore one from a backup"):
            checkpoints.newest_good(tmp_path, lambda _: None)


@pytest.mark.slow
def test_nothing_is_pickled(tmp_path: Path) -> None:
    """A whole run leaves only JSON and safetensors in its checkpoints and model: no pickle, no zip."""
    run = tmp_path / "run"
    runs.finish(
        runs.tiny(run, "--likelihood.steps", "4", "--discriminator.steps", "2", "--adversarial.rounds", "2"),
        tmp_path / "log",
    )
    files = [path for folder in ("checkpoints", "model") for path in (run / folder).rglob("*") if path.is_file()]
    assert len(files) >= 12
    for path in files:
        content = path.read_bytes()
        if path.suffix == ".json":
            json.loads(content)
        else:
            assert path.suffix == ".safetensors", path
            size = int.from_bytes(content[:8], "little")
            header = json.loads(content[8 : 8 + size])
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
            assert len(content) == 8 + size + max(ends, default=0), "numbers, and nothing behind them"


class Killed(BaseException):
    """Stands for a kill at this very call."""


def test_a_save_interrupted_at_any_call_leaves_the_older_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ended before the n-th write, sync or move, for every n, a save leaves a good newest checkpoint: old or new."""
    older = save(tmp_path, 1)
    found = []
    for n in range(100):
        calls = iter(range(1000))

        def interrupted(real: Any, calls: Iterator[int] = calls, n: int = n) -> Any:
            def call(*words: Any, **options: Any) -> Any:
                if next(calls) == n:
                    raise Killed
                return real(*words, **options)

            return call

        with monkeypatch.context() as patch:
            for owner, name in [(os, "fsync"), (os, "replace"), (checkpoints, "_write"), (shutil, "rmtree")]:
                patch.setattr(owner, name, interrupted(getattr(owner, name)))
            try:
                save(tmp_path, 2)
            except Killed:
                pass
            else:
                break
        newest = checkpoints.newest_good(tmp_path, pytest.fail)
        assert newest is not None
        assert newest in (older, tmp_path / "00000002")
        found.append(newest == older)
        shutil.rmtree(tmp_path / "00000002", ignore_errors=True)  # but never what was left unfinished
    assert n > 10, "the save was cut at every one of its calls"
    assert found[0]
    checkpoints.keep_newest(tmp_path, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["00000002"]


# -- a full disk ---------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system may be mounted here; a limit on the size of files is tested below")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("room", [0, 12_000, 36_000])
def test_a_full_disk_stops_the_run_and_keeps_the_last_good_checkpoint(
    small_disk: Path, tmp_path: Path, room: int
) -> None:
    """No room for metrics, checkpoint or model: one line with the last good checkpoint; room made, it ends equal."""
    run = small_disk / "run"
    options = ["--adversarial.rounds", "0", "--discriminator.steps", "0", "--run.checkpoint_steps", "10"]
    straight = tmp_path / "straight" / "run"
    runs.finish(runs.tiny(straight, *options), tmp_path / "log")
    full = tmp_path / "full"
    process = runs.Launched(runs.tiny(run, *options), tmp_path / "log", moment=runs.Held(runs.MLE, 15, full))
    assert runs.wait_for(lambda: len(runs.lines(run)) >= 7, process)
    filler = small_disk / "filler"
    with open(filler, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"\0" * 4096) == 4096:
            pass
    os.truncate(filler, filler.stat().st_size - room)
    full.touch()
    assert process.wait() == 1
    told = runs.errors((tmp_path / "log").read_text())
    kept = checkpoints.all_in(run / "checkpoints")
    assert len(told) == 1, told
    assert told[0].startswith(f"seqgan-kit: could not save to {run}")
    assert "No space left on device" in told[0]
    assert f"the last good checkpoint is {kept[-1]}" in told[0]
    assert f"Make room, then: seqgan-kit resume {run}" in told[0]
    assert not list(run.rglob(".*")), "nothing half-written"
    checkpoints.check(kept[-1])
    filler.unlink()
    runs.finish(["resume", str(run)], tmp_path / "log")
    runs.same(straight, run)


def test_a_checkpoint_that_the_system_cuts_short_is_not_kept(tmp_path: Path) -> None:
    """Under a real limit on a file's size the first save fails: one line, no half checkpoint, and resume works."""
    run = tmp_path / "run"
    options = ["--likelihood.steps", "4", "--adversarial.rounds", "0", "--discriminator.steps", "0"]
    log = tmp_path / "log"
    assert runs.Launched(runs.tiny(run, *options), log, moment=runs.Limited(8000)).wait() == 1
    told = runs.errors(log.read_text())
    assert len(told) == 1, told
    assert f"could not save to {run / 'checkpoints'}: File too large; there is no checkpoint yet" in told[0]
    assert f"Make room, then: seqgan-kit resume {run}" in told[0]
    assert not list((run / "checkpoints").iterdir())
    runs.finish(["resume", str(run)], tmp_path / "log")
    assert [path.name for path in checkpoints.all_in(run / "checkpoints")][-1] == "00000004"


def test_a_file_whose_writing_is_interrupted_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """config.yaml and run.json are replaced in one step: half of a new one is never under the old one's name."""
    path = tmp_path / "config.yaml"
    path.write_text("old")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_whole(path, "new")
    assert path.read_text() == "old"
