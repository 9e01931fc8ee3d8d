"""Checkpoints: folders of safetensors and JSON, written whole or not at all, checked before they are believed.

Nothing here is pickled, so a checkpoint from a stranger can hold wrong numbers but no code.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import random
import re
import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from seqgan_kit.engine.processes import Processes
from seqgan_kit.errors import UserError, one_line
from seqgan_kit.files import parsed, read_bytes

VERSION = 1
MANIFEST = "manifest.json"
ASIDE = "delete that checkpoint, so that the one before it is used"


class Damaged(Exception):
    """A checkpoint that is incomplete or altered; says which file and how."""


class Stateful(Protocol):
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> Any: ...


class NotSaved(Exception):
    """A checkpoint that could not be written; says why."""


class Checkpointer:
    """Saves and restores the parts of a run, which are registered in its dictionaries.

    networks, optimizers, copies (of networks): the same on every process, saved by the main one. kept: what each
    process has of its own, such as environments. root: the folder of the checkpoints, of which the newest `keep` stay.
    """

    def __init__(self, root: Path, processes: Processes, keep: int) -> None:
        self.root, self.processes, self.keep = root, processes, keep
        self.networks: dict[str, Stateful] = {}
        self.optimizers: dict[str, Stateful] = {}
        self.copies: dict[str, Stateful] = {}
        self.kept: dict[str, Stateful] = {}

    def save(self, step: int, shared: Callable[[], Mapping[str, Any]], own: Mapping[str, Any]) -> None:
        """A checkpoint after `step` steps, whole or not at all. Raises NotSaved on every process.

        shared, own: what else the main process, and each of them, shall find again.
        """
        unfinished = self.root / f".unfinished-{step:08d}"
        error = None
        parts = self._whole()
        try:
            self.root.mkdir(exist_ok=True)  # but not the run's folder, where that has been moved away or deleted
            write_part(unfinished, f"process-{self.processes.rank}", {"kept": _states(self.kept), **own})
            if self.processes.is_main:
                write_part(unfinished, "shared", {"processes": self.processes.count, **parts, **shared()})
        except OSError as failure:
            error = f"{failure.strerror or failure}"
        failed = self.processes.any(error is not None)
        if self.processes.is_main and not failed:
            try:
                check_parts(unfinished, self.processes.count)
                seal(unfinished, self.root / f"{step:08d}")
                keep_newest(self.root, self.keep)
            except OSError as failure:
                error = f"{failure.strerror or failure}"
            except Damaged as failure:
                error = f"{failure}; all processes must write to the same folder"
        if self.processes.any(error is not None):
            shutil.rmtree(unfinished, ignore_errors=True)
            raise NotSaved(error or "another process failed")

    def _whole(self) -> dict[str, Any]:
        """What all processes have, of which the main one needs the states."""
        kinds = {"networks": self.networks, "optimizers": self.optimizers, "copies": self.copies}
        sharding = self.processes.sharding
        if sharding is not None:  # by all processes
            sharding.release()
            return {kind: sharding.whole(_states(parts)) for kind, parts in kinds.items()}
        return {kind: _states(parts) for kind, parts in kinds.items()} if self.processes.is_main else {}

    def restore(self) -> tuple[Path, dict[str, Any], dict[str, Any]] | None:
        """Loads the newest good checkpoint into the parts: it, and `shared` and `own` of `save`; None where there is
        none. Raises UserError where it does not fit."""
        found = self.processes.on_main(lambda: newest_good(self.root, self.processes.say))
        if self.processes.is_main:
            keep_newest(self.root, self.keep)  # a process may have been killed while it saved, or deleted
        if found is None:
            return None
        shared, own = read(found, "shared"), read(found, f"process-{self.processes.rank}")
        _check_numbers(found, shared, own)
        if shared["processes"] != self.processes.count:
            raise UserError(
                f"{found} was saved by {shared['processes']} processes, {self.processes.count} run: start as many as "
                "before"
            )
        # earlier versions saved copies by process
        copies = shared.get("copies", {name: own["kept"].pop(name) for name in self.copies if name in own["kept"]})
        for kind, parts, states in [
            ("networks", self.networks, shared["networks"]),
            ("optimizers", self.optimizers, shared["optimizers"]),
            ("copies", self.copies, copies),
            ("other parts", self.kept, own["kept"]),
        ]:
            if set(parts) != set(states):
                raise UserError(f"{found} holds the {kind} {sorted(states)}, but this run has {sorted(parts)}")
            for name, part in parts.items():
                try:
                    part.load_state_dict(states[name])
                except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
                    raise UserError(
                        f"{name} in {found} does not fit this run ({one_line(error)}): resume with "
                        f"the options that it was trained with, as {self.root.parent / 'config.yaml'} has them, and "
                        "with the same data"
                    ) from error
        return found, shared, own


def _states(parts: Mapping[str, Stateful]) -> dict[str, Any]:
    return {name: part.state_dict() for name, part in parts.items()}


def pack(tree: Any, tensors: dict[str, Tensor], path: str = "") -> Any:
    """A nested state as plain JSON, its tensors moved into `tensors` under their path. Raises on any other type."""
    if isinstance(tree, Tensor):
        if path in tensors:  # {"a": {"b": x}, "a/b": y}
            path = f"{path} {len(tensors)}"
        tensors[path] = tree.detach().contiguous().cpu().clone()
        return {"tensor": path}
    if isinstance(tree, dict):
        for key in tree:
            if not isinstance(key, str | int):
                raise TypeError(f"{path or 'the state'} has the key {key!r}, which a checkpoint can't hold")
        # pairs, because JSON would turn an optimizer's integer keys into strings
        return {"dict": [[key, pack(value, tensors, f"{path}/{key}")] for key, value in tree.items()]}
    if isinstance(tree, list | tuple):
        kind = "list" if isinstance(tree, list) else "tuple"
        return {kind: [pack(value, tensors, f"{path}/{i}") for i, value in enumerate(tree)]}
    if tree is None or isinstance(tree, bool | int | float | str):
        return {"value": tree}
    raise TypeError(f"{path or 'the state'} is a {type(tree).__name__}, which a checkpoint can't hold")


def unpack(packed: Any, tensors: dict[str, Tensor]) -> Any:
    """The inverse of `pack`."""
    ((kind, content),) = packed.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: unpack(value, tensors) for key, value in content}
    if kind in ("list", "tuple"):
        values = [unpack(value, tensors) for value in content]
        return values if kind == "list" else tuple(values)
    return content


def write_part(folder: Path, name: str, state: Any) -> None:
    """Writes one state as `name`.safetensors and `name`.json, synced to the disk."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {}
    text = json.dumps(pack(state, tensors))
    _write(folder / f"{name}.safetensors", save(tensors))
    _write(folder / f"{name}.json", text.encode())


def seal(folder: Path, final: Path) -> None:
    """Writes the manifest (version and a SHA-256 of every file), then moves `folder` to `final` in one step."""
    # a kill just before the move leaves a manifest behind, which is not part of what it describes
    sums = {path.name: _sum(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST}
    _write(folder / MANIFEST, json.dumps({"version": VERSION, "files": sums}, indent=1).encode())
    _sync_folder(folder)
    if final.exists():  # an unfinished run of the same step, or a second save of it
        shutil.rmtree(final)
    os.replace(folder, final)
    _sync_folder(final.parent)


def check(folder: Path) -> None:
    """Raises Damaged unless every file is there, to the byte, in a version that this code reads."""
    try:
        manifest = parsed(read_bytes(folder / MANIFEST))
        version, files = manifest["version"], dict(manifest["files"])
    except (OSError, ValueError, KeyError, TypeError, UserError) as error:
        raise Damaged(f"{MANIFEST} can't be read ({error})") from error
    if version != VERSION:
        raise Damaged(f"it has version {version}, this seqgan_kit reads version {VERSION}")
    for name, expected in files.items():
        if Path(name).name != name:
            raise Damaged(f"{MANIFEST} names {name}, which is no file of it")
        path = folder / name
        if not path.is_file():
            raise Damaged(f"{name} is missing")
        if _sum(path) != expected:
            raise Damaged(f"{name} is truncated or altered")
    check_parts(folder, _processes(folder), files)


def check_parts(folder: Path, processes: int, files: Collection[str] | None = None) -> None:
    """Raises Damaged where a process has no part in the folder, or in `files`, which its manifest lists."""
    there = {path.name for path in folder.iterdir()} if files is None else files
    for part in ("shared", *(f"process-{rank}" for rank in range(processes))):
        for name in (f"{part}.json", f"{part}.safetensors"):
            if name not in there:
                raise Damaged(f"{name} is missing")


def _processes(folder: Path) -> int:
    """Of how many processes a checkpoint holds the parts."""
    try:
        count = dict(parsed(read_bytes(folder / "shared.json"))["dict"])["processes"]["value"]
        return int(count)
    except (OSError, ValueError, LookupError, TypeError, UserError) as error:
        raise Damaged(f"shared.json can't be read ({one_line(error)})") from error


def all_in(folder: Path) -> list[Path]:
    """The sealed checkpoints of a run, oldest first: folders, no links, of the names that they are given."""
    there = folder.iterdir() if folder.is_dir() else []
    named = (path for path in there if re.fullmatch(r"\d{8,}", path.name))
    return sorted(path for path in named if path.is_dir() and not path.is_symlink())


def newest_good(folder: Path, warn: Callable[[str], None]) -> Path | None:
    """The newest checkpoint that passes `check`, or None where there never was one.

    Each bad one is told to `warn` and renamed to damaged-..., so that it is neither believed again nor lost.
    """
    for path in reversed(all_in(folder)):
        try:
            check(path)
            return path
        except Damaged as damage:
            warn(f"checkpoint {path} is damaged: {damage}. Set aside; the one before it is used.")
            aside = path.with_name(f"damaged-{path.name}")
            shutil.rmtree(aside, ignore_errors=True)
            path.rename(aside)
    if any(folder.glob("damaged-*")):
        raise UserError(f"all checkpoints in {folder} are damaged: restore one from a backup, or train in a new folder")
    return None


def read(folder: Path, name: str) -> Any:
    """One part of a checked checkpoint."""
    try:
        tensors = load((folder / f"{name}.safetensors").read_bytes())
        return unpack(parsed(read_bytes(folder / f"{name}.json")), tensors)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, SafetensorError) as error:
        raise UserError(f"checkpoint {folder} has no readable part {name!r} ({one_line(error)}): {ASIDE}") from error


def _check_numbers(folder: Path, shared: Any, own: Any) -> None:
    """Raises UserError where what a run goes on from is not what `Engine.save` writes."""
    try:
        sums = list(own["pending"].values())
        counts = [shared["processes"], shared["metrics_bytes"], *shared["counters"].values()]
        times = [*shared["seconds"].values(), *shared.get("updating", {}).values()]
        groups = [shared["networks"], shared["optimizers"], own["kept"], own["random"]]
        good = [isinstance(group, dict) for group in groups] + [isinstance(shared.get("owed", ""), str)]
        good += [type(count) is int and 0 <= count < 2**63 for count in counts]
        good += [type(each) in (int, float) and 0 <= each < math.inf for each in times]
        good += [type(each) in (int, float) for pair in sums for each in pair] + [len(pair) == 2 for pair in sums]
    except (LookupError, TypeError, AttributeError):
        good = [False]
    if not all(good):
        raise UserError(
            f"checkpoint {folder} holds other numbers than the kit writes: delete it, and the one before it is used"
        )


def keep_newest(folder: Path, count: int) -> None:
    """Deletes all but the newest `count` checkpoints, and what an interrupted save left behind."""
    for path in all_in(folder)[:-count]:
        if (path / MANIFEST).is_file():  # else it is none of ours
            with contextlib.suppress(OSError):  # a kill leaves no half of one under its name
                os.replace(path, path.with_name(f".unfinished-deleting-{path.name}"))
    for path in folder.glob(".unfinished-*"):
        shutil.rmtree(path, ignore_errors=True)


def random_state() -> dict[str, Any]:
    """Every generator of random numbers that training may draw from, as a packable state."""
    # the legacy generator is global, so libraries may draw from it
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002
    python = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        **({"mps": torch.mps.get_rng_state()} if torch.backends.mps.is_available() else {}),
        "numpy": (kind, torch.from_numpy(np.int64(keys)), int(position), int(has_gauss), float(cached)),
        "python": (python[0], torch.tensor(python[1]), python[2]),
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Raises UserError where it is no such state."""
    try:
        _set_random_state(state)
    except (RuntimeError, ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        raise UserError(f"the checkpoint's random numbers can't be read ({one_line(error)}): delete it") from error


def _set_random_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
    if "mps" in state and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype("uint32"), *rest))  # noqa: NPY002
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal.tolist()), gauss))


def _write(path: Path, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
