"""The folder of a run: opened, described by its run.json, given its models, and told of where a disk refuses."""

from __future__ import annotations

import contextlib
import errno
import glob
import itertools
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psutil
import torch
import yaml

from seqgan_kit.engine import checkpoints
from seqgan_kit.engine.lock import NAME as LOCK
from seqgan_kit.engine.lock import Lock
from seqgan_kit.engine.provenance import check_data, provenance
from seqgan_kit.engine.run_config import RunConfig
from seqgan_kit.errors import UserError
from seqgan_kit.files import check_real, replacing, write_json, write_whole
from seqgan_kit.old_names import renamed
from seqgan_kit.report.changes import changed
from seqgan_kit.report.measured import MEASURED, Measured, check_resumed, read_measured
from seqgan_kit.trust import remember

MODEL, GAME = "model", "game"  # what users load; the last model of the game
Exports = Mapping[str, Callable[[Path], None]]
"""Of a phase, by the name of the folder in the run folder: what writes a model into an empty folder.

RUN/model is written when a phase ends or is stopped; any other when the phase ends.
"""


class RunFolder:
    """path: the folder. record: the content of its run.json, which the main process writes.

    left: the model of a phase that had come to its end before, with nothing trained since. chosen: whether RUN/model is
    the best one (`choice`), so that phases leave it alone. lock: held by the main process.
    """

    def __init__(self, path: Path, record: dict[str, Any], is_main: bool, lock: Lock) -> None:
        self.path, self.record, self.is_main, self.lock = path, record, is_main, lock
        self.left: Exports = {}
        self.chosen = False
        self._kept = False
        self._config_text = ""
        self._started = time.monotonic()

    def write_record(self) -> None:
        if self.is_main:
            self.check_there()
            write_json(self.path / "run.json", self.record)

    @property
    def lost(self) -> bool:
        """Whether the folder was renamed or deleted since."""
        return self.lock.moved(self.path) is not None

    def check_there(self) -> None:
        """Raises UserError where the folder is `lost`: nothing must be made under its old name."""
        moved = self.lock.moved(self.path)
        if moved:
            raise UserError(
                f"{self.path} was renamed to {moved} while it was trained, so nothing more is written: it goes on from "
                f"its last checkpoint with: seqgan-kit resume {moved}"
            )
        if moved is not None:
            raise UserError(f"{self.path} was deleted while it was trained, so it can't go on: train anew")

    def saved(self) -> None:
        """Has run.json tell, from the first one on, that there are checkpoints: without them nothing goes on."""
        if not self.record["saved"]:
            self.record["saved"] = True
            self.write_record()

    def discard(self) -> None:
        """Of a new run that can't begin: what was written, and the folder if it holds nothing else."""
        if self.is_main:
            with contextlib.suppress(OSError):
                for name in ("config.yaml", "run.json", LOCK):
                    (self.path / name).unlink(missing_ok=True)
                self.path.rmdir()

    def finish(self, finished: bool = True) -> None:
        """Writes into run.json how long the run took, and whether it came to its end; and, of a run that had come to
        its end before, the model anew, which may have been damaged since."""
        if self._kept:
            return
        self.settle()
        if finished:
            self.export(self.left)
            self.left = {}
        if self.is_main:
            write_json(self.path / "run.json", {**self.record, **self._so_far(), "finished": finished})

    def took(self, phases: Mapping[str, Mapping[str, float]]) -> None:
        """Writes into run.json what the run took so far, all in all and by phase."""
        if self.is_main:
            self.check_there()
            self.record["phases"] = phases
            write_json(self.path / "run.json", {**self.record, **self._so_far()})

    def _so_far(self) -> dict[str, Any]:
        """Seconds, those before a resume among them, and the greatest memory of any of its processes, in GB."""
        before = self.record.get("peak", {})
        peak = {name: max(value, before.get(name, 0.0)) for name, value in peak_memory().items()}
        return {"seconds": self.record["seconds"] + time.monotonic() - self._started, "peak": {**before, **peak}}

    def resumed(self, seconds: float, config_text: str) -> None:
        """Where all fits: the run's configuration is this one from `settle` on, and it took at least so many seconds
        before. Raises UserError where it would be evaluated otherwise than before."""
        # a killed process could not write how long it ran
        self.record["seconds"] = max(self.record["seconds"], seconds)
        self._config_text = config_text
        file = self.path / "config.yaml"
        if not (self.is_main and config_text and file.is_file()):
            return
        before, now = (yaml.safe_load(text) for text in (renamed(file.read_text("utf-8")), config_text))
        new = changed(before, now)
        for change in new:
            if change["option"] == "evaluation.samples" and self._evaluated():
                raise UserError(
                    f"{self.path} was evaluated with --evaluation.samples {change['from']} so far, and numbers by "
                    f"{change['to']} could not stand beside them: give --evaluation.samples {change['from']}, or train "
                    "a new run"
                )
        when = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self.record["changes"] = [*self.record["changes"], *({"when": when, **change} for change in new)]

    def settle(self) -> None:
        """Of a resumed run: writes its configuration, and run.json, when no phase has refused it."""
        if self.is_main and self._config_text:
            write_whole(self.path / "config.yaml", self._config_text)
            remember(self._config_text)
            self.write_record()
        self._config_text = ""

    def refuse(self, reason: str) -> UserError:
        """Where the options of a resumed run do not go together with what it has done: it stays as it was."""
        self._kept = True
        task = self.record["task"]
        return UserError(
            f"{reason}: give what it was, or train anew with: seqgan-kit train {task} --config "
            f"{self.path / 'config.yaml'} --run.folder NEW, and this option"
        )

    def check_saved(self) -> None:
        """Raises UserError where a run that has saved checkpoints has none any more: it would begin anew, and write
        over what it has made."""
        root = self.path / "checkpoints"
        there = "has no checkpoints, which this run had" if root.is_dir() else "is missing, which this run had"
        if root.exists() and not root.is_dir():
            there = "is no folder"
        elif not self.record["saved"]:
            return
        raise UserError(
            f"{root} {there}: bring it back, or train anew with: seqgan-kit train {self.record['task']} --config "
            f"{self.path / 'config.yaml'} --run.folder NEW"
        )

    def unit(self) -> Any:
        """What the metrics of this run count; None where nothing was evaluated yet."""
        before = self._measured()
        return None if before is None else before.unit

    def measures(self, now: Measured) -> None:
        """Keeps what the metrics are of in run.json. Raises UserError where earlier ones are of something else."""
        check_resumed(self.path, self._measured(), now)
        self.record[MEASURED] = now._asdict()

    def _evaluated(self) -> bool:
        log = self.path / "metrics.jsonl"
        return log.is_file() and b'"eval/' in log.read_bytes()

    def _measured(self) -> Measured | None:
        return read_measured(self.path) if self._evaluated() else None

    def export(self, exports: Exports) -> None:
        """The models that a phase leaves, but not in the place of the best one."""
        self.write({name: write for name, write in exports.items() if not (self.chosen and name == MODEL)})

    def write(self, exports: Exports) -> None:
        """Each model, whole or not at all. All processes call it, who collect a model that is in parts."""
        if self.is_main:
            self.check_there()
        for name, write in exports.items():
            if hasattr(write, "collect"):
                write.collect()
            if self.is_main:
                self._replace(self.path / name, write)

    def _replace(self, final: Path, write: Callable[[Path], None]) -> None:
        unfinished = final.with_name(f".{final.name}")
        shutil.rmtree(unfinished, ignore_errors=True)
        try:
            write(unfinished)
        except Exception:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        shutil.rmtree(final, ignore_errors=True)
        os.replace(unfinished, final)

    def refused(self, where: Path, reason: str) -> UserError:
        """Why nothing could be saved, and what to do."""
        self.check_there()
        room = "Make room" if full_disk(OSError(reason)) else "Put that right"
        return UserError(
            f"could not save to {where}: {reason}; {self.last_good()}. {room}, then: seqgan-kit resume {self.path}"
        )

    def last_good(self) -> str:
        kept = checkpoints.all_in(self.path / "checkpoints")
        return f"the last good checkpoint is {kept[-1]}" if kept else "there is no checkpoint yet"


def peak_memory() -> dict[str, float]:
    """GB that this process has had at most: `memory`, and `gpu_memory` where it has used a GPU."""
    unit = 1 if sys.platform == "darwin" else 1024
    found = {"memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        found["gpu_memory"] = max(map(torch.cuda.max_memory_allocated, range(torch.cuda.device_count()))) / 1e9
    return {name: round(value, 3) for name, value in found.items()}


def opened(
    config: RunConfig,
    task: str,
    config_text: str,
    resume: bool,
    data: str | None,
    device: torch.device,
    processes: int,
    lock: Lock,
) -> tuple[Path, dict[str, Any]]:
    """Makes the folder of a new run, or finds that of a resumed one: its path, and the content of run.json.

    Raises UserError where it exists, does not exist, can't be written, or another process trains in it; data: see
    `Engine`.
    """
    folder = Path(config.folder or _free_folder(task))
    if ".." in folder.parts:  # of a folder that is not there yet, it would hide one that is
        folder = folder.resolve()
    if resume and not (folder / "run.json").is_file():
        raise UserError(f"{folder} is no run folder (it has no run.json): give one that `train` made")
    if not resume:
        _check_new(folder)
    try:
        if resume:  # it keeps its run.json and config.yaml until `restore` finds that all fits
            check_real(folder)
            lock.take(folder)
            _remove_unfinished(folder)
            check_data(folder, data)
            record = provenance(folder, task, config, device, processes, resume, data)
        else:
            _remove_killed(folder)
            record = provenance(folder, task, config, device, processes, resume, data)
            with replacing(folder) as unfinished:  # so that a start that is killed leaves no folder without run.json
                unfinished.mkdir()
                if config_text:
                    write_whole(unfinished / "config.yaml", config_text)
                    remember(config_text)
                write_json(unfinished / "run.json", record)
                lock.take(unfinished)
    except UserError:
        lock.release()
        raise
    except OSError as failure:
        lock.release()
        if not resume:
            _check_new(folder)  # another process was faster
        what = "make room there, or give a folder that you may write to"
        raise UserError(f"can't write to {folder}: {failure.strerror or failure}: {what}") from failure
    return folder, record


def _check_new(folder: Path) -> None:
    if (folder / "run.json").is_file():
        raise UserError(
            f"{folder} exists: choose another --run.folder, or continue it with `seqgan-kit resume {folder}`"
        )
    if folder.exists():
        raise UserError(f"{folder} exists, and is no run folder: choose another --run.folder, or delete it")


def _remove_unfinished(folder: Path) -> None:
    """The files of the run that a process was killed while it wrote (`files.replacing`)."""
    for path in folder.rglob(".*"):
        name, _, number = path.name[1:].rpartition(".")
        dead = name and number.isdigit() and not psutil.pid_exists(int(number))
        if dead and path.is_file() and not path.is_symlink():
            path.unlink()


def _remove_killed(folder: Path) -> None:
    """What starts of the same run that were killed left behind: folders with nothing but its description in them."""
    for path in folder.parent.glob(f".{glob.escape(folder.name)}.*"):
        number = path.name.rpartition(".")[2]
        dead = number.isdigit() and not psutil.pid_exists(int(number))
        if dead and path.is_dir() and not path.is_symlink() and all(other.is_file() for other in path.iterdir()):
            shutil.rmtree(path, ignore_errors=True)


def full_disk(error: BaseException | None) -> str | None:
    """The system's words where it refused to write: to Python, or to the libraries in Rust that write models."""
    if isinstance(error, UserError):
        return None
    words = [os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)]
    return next((word for word in words if word in str(error)), None)


def _free_folder(task: str) -> Path:
    return next(path for i in itertools.count(1) if not (path := Path(f"runs/{task}-{i}")).exists())
