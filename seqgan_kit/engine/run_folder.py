"""The folder of a run: opened, described by its run.json, given its models, and told of where a disk refuses."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from seqgan_kit.engine import checkpoints
from seqgan_kit.engine.provenance import check_data, provenance
from seqgan_kit.engine.run_config import RunConfig
from seqgan_kit.errors import UserError
from seqgan_kit.files import write_json, write_whole
from seqgan_kit.report.measured import MEASURED, Measured, check_resumed, read_measured

MODEL = "model"  # what users load
Exports = Mapping[str, Callable[[Path], None]]
"""Of a phase, by the name of the folder in the run folder: what writes a model into an empty folder.

RUN/model is written when a phase ends or is stopped; any other when the phase ends.
"""


class RunFolder:
    """path: the folder. record: the content of its run.json, which the main process writes.

    left: the model of a phase that had come to its end before, with nothing trained since.
    """

    def __init__(self, path: Path, record: dict[str, Any], is_main: bool) -> None:
        self.path, self.record, self.is_main = path, record, is_main
        self.left: Exports = {}
        self._started = time.monotonic()

    def write_record(self) -> None:
        if self.is_main:
            write_json(self.path / "run.json", self.record)

    def discard(self) -> None:
        """Of a new run that can't begin: what was written, and the folder if it holds nothing else."""
        if self.is_main:
            with contextlib.suppress(OSError):
                for name in ("config.yaml", "run.json"):
                    (self.path / name).unlink(missing_ok=True)
                self.path.rmdir()

    def finish(self, finished: bool = True) -> None:
        """Writes into run.json how long the run took, and whether it came to its end; and, of a run that had come to
        its end before, the model anew, which may have been damaged since."""
        if finished:
            self.export(self.left)
            self.left = {}
        if self.is_main and self.path.is_dir():  # which may have been moved away
            seconds = self.record["seconds"] + time.monotonic() - self._started
            write_json(self.path / "run.json", {**self.record, "seconds": seconds, "finished": finished})

    def resumed(self, seconds: float, config_text: str) -> None:
        """Where all fits: the run's configuration is this one now, and it took at least so many seconds before."""
        if self.is_main and config_text:
            write_whole(self.path / "config.yaml", config_text)
        # a killed process could not write how long it ran
        self.record["seconds"] = max(self.record["seconds"], seconds)
        self.write_record()

    def unit(self) -> Any:
        """What the metrics of this run count; None where nothing was evaluated yet."""
        before = self._measured()
        return None if before is None else before.unit

    def measures(self, now: Measured) -> None:
        """Keeps what the metrics are of in run.json. Raises UserError where earlier ones are of something else."""
        check_resumed(self.path, self._measured(), now)
        self.record[MEASURED] = now._asdict()

    def _measured(self) -> Measured | None:
        log = self.path / "metrics.jsonl"
        return read_measured(self.path) if log.is_file() and b'"eval/' in log.read_bytes() else None

    def export(self, exports: Exports) -> None:
        """Each model, whole or not at all."""
        if not self.is_main:
            return
        for name, write in exports.items():
            unfinished, final = self.path / f".{name}", self.path / name
            shutil.rmtree(unfinished, ignore_errors=True)
            try:
                write(unfinished)
            except Exception:
                shutil.rmtree(unfinished, ignore_errors=True)
                raise
            shutil.rmtree(final, ignore_errors=True)
            os.replace(unfinished, final)

    def refused(self, where: Path, reason: str) -> UserError:
        if not self.path.is_dir():
            told = f"{self.path} is gone, moved or deleted while the run was at work: bring it back under this name"
            return UserError(f"{told}, then: seqgan-kit resume {self.path}")
        room = "Make room" if full_disk(OSError(reason)) else "Put that right"
        return UserError(
            f"could not save to {where}: {reason}; {self.last_good()}. {room}, then: seqgan-kit resume {self.path}"
        )

    def last_good(self) -> str:
        kept = checkpoints.all_in(self.path / "checkpoints")
        return f"the last good checkpoint is {kept[-1]}" if kept else "there is no checkpoint yet"


def opened(
    config: RunConfig,
    task: str,
    config_text: str,
    resume: bool,
    data: str | None,
    device: torch.device,
    processes: int,
) -> tuple[Path, dict[str, Any]]:
    """Makes the folder of a new run, or finds that of a resumed one: its path, and the content of run.json.

    Raises UserError where it exists, does not exist, or can't be written; data: see `Engine`.
    """
    folder = Path(config.folder or _free_folder(task))
    if ".." in folder.parts:  # of a folder that is not there yet, it would hide one that is
        folder = folder.resolve()
    if resume and not (folder / "run.json").is_file():
        raise UserError(f"{folder} is no run folder (it has no run.json): give one that `train` made")
    if not resume and folder.exists():
        raise UserError(
            f"{folder} exists: choose another --run.folder, or continue it with `seqgan-kit resume {folder}`"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if resume:
            check_data(folder, data)
        elif config_text:
            write_whole(folder / "config.yaml", config_text)
        record = provenance(folder, task, config, device, processes, resume, data)
        if not resume:  # a resumed run keeps its own, as config.yaml, until `restore` finds that all fits
            write_json(folder / "run.json", record)
    except OSError as failure:
        raise UserError(f"can't write to {folder}: {failure.strerror or failure}") from failure
    return folder, record


def full_disk(error: BaseException | None) -> str | None:
    """The system's words where it refused to write: to Python, or to the libraries in Rust that write models."""
    if isinstance(error, UserError):
        return None
    words = [os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)]
    return next((word for word in words if word in str(error)), None)


def _free_folder(task: str) -> Path:
    return next(path for i in itertools.count(1) if not (path := Path(f"runs/{task}-{i}")).exists())
