"""metrics.jsonl: a line holds the means of what was logged since the line before it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, BinaryIO

import torch
from accelerate import Accelerator

from seqgan_kit.engine.learning import Metrics
from seqgan_kit.files import read_bytes


class MetricsLog:
    """Numbers wait in `pending`, which belongs to a checkpoint, until a line of them is written by the main process."""

    def __init__(self, accelerator: Accelerator, path: Path, tracking: bool) -> None:
        self.accelerator, self.path, self.tracking = accelerator, path, tracking
        self.pending: dict[str, list[float]] = {}
        self.is_open = False
        self._file: BinaryIO | None = None
        self.restart_clock()

    def open(self, size: int = 0, pending: dict[str, list[float]] | None = None) -> bool:
        """Continues the file at `size` bytes, with what waited to be written when these were all: what was measured
        after a checkpoint will be measured again. False where it has fewer now; then its whole lines stay."""
        self.is_open, self.pending, whole = True, pending or {}, True
        if self.accelerator.is_main_process:
            there = self.path.stat().st_size if self.path.is_file() else 0
            if there < size:
                whole, size = False, (read_bytes(self.path) if there else b"").rfind(b"\n") + 1
            self._file = open(self.path, "ab")  # noqa: SIM115
            self._file.truncate(size)
            self._file.seek(0, os.SEEK_END)
        return whole

    def restart_clock(self) -> None:
        self._since, self._samples = time.monotonic(), 0.0

    def add(self, metrics: Metrics, samples: int = 0) -> None:
        """Numbers of this step; a line holds their mean since the line before it.

        samples: rows worked on, for samples per second. Names with the prefix eval/ are written at once.
        """
        self._samples += samples
        for name, value in metrics.items():
            total = self.pending.setdefault(name, [0.0, 0.0])
            total[0] += float(value)
            total[1] += 1

    def evaluated(self) -> bool:
        return any(name.startswith("eval/") for name in self.pending)

    def write(self, place: dict[str, Any], total_steps: int) -> str:
        """Appends a line that begins with `place` (phase, step, ...); returns what a progress bar shows of it."""
        names = sorted(self.pending)
        means = torch.tensor([self.pending[name][0] / self.pending[name][1] for name in names], dtype=torch.float64)
        if self.accelerator.num_processes > 1:
            means = self.accelerator.reduce(means.to(self.accelerator.device), "mean").cpu()
        metrics = dict(zip(names, means.tolist(), strict=True))
        rate = self._samples * self.accelerator.num_processes / max(time.monotonic() - self._since, 1e-9)
        self.pending = {}
        self.restart_clock()
        if self._file is not None:
            line = {**place, "samples_per_second": round(rate, 1), **metrics}
            self._file.write((json.dumps(line) + "\n").encode())
            self._file.flush()
        if self.tracking:
            self.accelerator.log({f"{place['phase']}/{k}": v for k, v in metrics.items()}, step=total_steps)
        shown = {k: v for k, v in metrics.items() if not k.startswith("eval/") and "gradient_norm" not in k}
        return ", ".join(f"{name}={value:.4g}" for name, value in shown.items()) + f", {rate:.0f} samples/s"

    def sync(self) -> int:
        """The size of the file, all of it on the disk; 0 on other processes."""
        if self._file is None:
            return 0
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
