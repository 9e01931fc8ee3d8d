"""Checkpoints: folders of safetensors and JSON, written whole or not at all, checked before they are believed.

Nothing here is pickled, so a checkpoint from a stranger can hold wrong numbers but no code.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable, Mapping
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
COUNTED = {"processes": int, "counters": dict, "seconds": dict, "metrics_bytes": int}
KINDS: dict[str, dict[str, type]] = {
    "shared": {**COUNTED, "networks": dict, "optimizers": dict},
    "process": {"kept": dict, "pending": dict, "random": dict},
}
"""What each part of a checkpoint holds, and of what type."""


class Damaged(Exception):
    """A checkpoint that is incomplete or altered; says which file and how."""


class Stateful(Protocol):
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> Any: ...


class NotSaved(Exception):
    """A checkpoint that could not be written; says why."""


class Checkpointer:
    """Saves and restores the parts of a run, which are registered in its dictionaries.

    networks, optimizers: the same on every process, saved by the main one. kept: what each process has of its own, such
    as environments. root: the folder of the checkpoints, of which the newest `keep` stay.
    """

    def __init__(self, root: Path, processes: Processes, keep: int) -> None:
        self.root, self.processes, self.keep = root, processes, keep
        self.networks: dict[str, Stateful] = {}
        self.optimizers: dict[str, Stateful] = {}
        self.kept: dict[str, Stateful] = {}

    def save(self, step: int, shared: Callable[[], Mapping[str, Any]], own: Mapping[str, Any]) -> None:
        """A checkpoint after `step` steps, whole or not at all. Raises NotSaved on every process.

        shared, own: what else the main process, and each of them, shall find again.
        """
        unfinished = self.root / f".unfinished-{step:08d}"
        error = None
        try:
            self.root.mkdir(exist_ok=True)  # but not the run's folder, where that has been moved away or deleted
            write_part(unfinished, f"process-{self.processes.rank}", {"kept": _states(self.kept), **own})
            if self.processes.is_main:
                parts = {"networks": _states(self.networks), "optimizers": _states(self.optimizers)}
                write_part(unfinished, "shared", {"processes": self.processes.count, **parts, **shared()})
        except OSError as failure:
            error = f"{failure.strerror or failure}"
        failed = self.processes.any(error is not None)
        if self.processes.is_main and not failed:
            try:
                seal(unfinished, self.root / f"{step:08d}")
                keep_newest(self.root, self.keep)
            except OSError as failure:
                error = f"{failure.strerror or failure}"
        if self.processes.any(error is not None):
            shutil.rmtree(unfinished, ignore_errors=True)
            raise NotSaved(error or "another process failed")

    def restore(self) -> tuple[Path, dict[str, Any], dict[str, Any]] | None:
        """Loads the newest good checkpoint into the parts: it, and `shared` and `own` of `save`; None where there is
        none. Raises UserError where it does not fit."""
        found = self.processes.on_main(lambda: newest_good(self.root, self.processes.say))
        if found is None:
            return None
        shared, own = _known(found, "shared"), _known(found, f"process-{self.processes.rank}")
        if shared["processes"] != self.processes.count:
            raise UserError(
                f"{found} was saved by {shared['processes']} processes, {self.processes.count} run: start as many as "
                "before"
            )
        for kind, parts, states in [
            ("networks", self.networks, shared["networks"]),
            ("optimizers", self.optimizers, shared["optimizers"]),
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
        path = folder / name
        if not path.is_file():
            raise Damaged(f"{name} is missing")
        if _sum(path) != expected:
            raise Damaged(f"{name} is truncated or altered")


def all_in(folder: Path) -> list[Path]:
    """The sealed checkpoints of a run, oldest first."""
    return sorted(path for path in folder.glob("[0-9]*") if path.is_dir()) if folder.is_dir() else []


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
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, SafetensorError) as error:
        raise UserError(f"checkpoint {folder} has no readable part {name!r} ({one_line(error)}): {ASIDE}") from error


def _known(folder: Path, name: str) -> dict[str, Any]:
    """One part of a run's checkpoint. Raises UserError where it does not hold what it should."""
    state = read(folder, name)
    for key, kind in KINDS[name.partition("-")[0]].items():
        if not isinstance(state, dict) or not isinstance(state.get(key), kind):
            raise UserError(f"checkpoint {folder}: {key} in its part {name!r} is no {kind.__name__}: {ASIDE}")
    return dict(state)


def keep_newest(folder: Path, count: int) -> None:
    """Deletes all but the newest `count` checkpoints, and what an interrupted save left behind."""
    for path in all_in(folder)[:-count]:
        shutil.rmtree(path, ignore_errors=True)
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
        "numpy": (kind, torch.from_numpy(np.int64(keys)), int(position), int(has_gauss), float(cached)),
        "python": (python[0], torch.tensor(python[1]), python[2]),
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Raises KeyError, TypeError, ValueError, RuntimeError or AttributeError for what `random_state` did not give."""
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
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
