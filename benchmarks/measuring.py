"""What all benchmarks share: contestants that take turns, and what is said of the machine."""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

Turn = Callable[[], tuple[float, float]]
"""What a contestant does when it is its turn -> wall and CPU seconds."""


def timed(function: Callable[[], object]) -> Turn:
    def turn() -> tuple[float, float]:
        wall, cpu = time.perf_counter(), time.process_time()
        function()
        return time.perf_counter() - wall, time.process_time() - cpu

    return turn


def in_turns(contestants: dict[str, Turn], repeats: int, work: int) -> dict[str, Any]:
    """A turn of each to warm up, then `repeats` rounds. `work` is done in a turn: tokens, samples.

    Ratios say how many times as long as the first contestant the others take.
    """
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    names = list(contestants)
    for i in range(repeats + 1):
        first = i % len(names)  # every round begins with another one
        for name in names[first:] + names[:first]:
            taken[name].append(contestants[name]())
    found: dict[str, Any] = {}
    for name, seconds in taken.items():
        wall, cpu = ([turn[i] for turn in seconds[1:]] for i in (0, 1))
        found[name] = {"wall": statistics.median(wall), "cpu": statistics.median(cpu), "walls": wall, "cpus": cpu}
        for clock in ("wall", "cpu"):
            found[name][f"per_{clock}_second"] = work / found[name][clock]
            found[name][f"ratio_{clock}"] = found[name][clock] / found[names[0]][clock]
    return found


def peak(repeats: int = 5, side: int = 2048) -> float:
    """GFLOP a second of a float32 matrix product, with the threads that torch now has: the best of some."""
    first, second = torch.randn(side, side), torch.randn(side, side)
    best = min(timed(lambda: first @ second)()[0] for _ in range(repeats + 1))
    return 2 * side**3 / best / 1e9


def machine(threads: int) -> dict[str, Any]:
    cpu = Path("/proc/cpuinfo")
    text = cpu.read_text() if cpu.is_file() else ""
    lines = {line.partition(":")[0].strip(): line.partition(":")[2].strip() for line in text.splitlines()}
    flags = lines.get("flags", "").split()
    wanted = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_tile", "avx512_fp16")
    return {
        "processor": f"{lines.get('model name', platform.processor())}, family {lines.get('cpu family')}, "
        f"model {lines.get('model')}",
        "cores": os.cpu_count(),
        "flags": {flag: flag in flags for flag in wanted},
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": threads,
        "load": os.getloadavg(),
        "versions": {name: version(name) for name in ("seqgan_kit", "torch", "accelerate", "transformers", "numpy")}
        | {"python": sys.version.split()[0]},
        "started": time.strftime("%Y-%m-%dT%H:%M:%S"),
    }
