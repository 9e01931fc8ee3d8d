"""`seqgan-kit env`: what a bug report needs."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from seqgan_kit import __version__

EXTRAS = {
    "mujoco": "mujoco",
    "box2d": "box2d",
    "atari": "ale-py",
    "minari": "minari",
    "datasets": "datasets",
    "lora": "peft",
    "video": "pygame-ce",
    "tensorboard": "tensorboard",
}
"""Of each optional extra of setup.cfg, the package that it adds."""
OTHERWISE = {"video": "pygame", "box2d": "box2d-py"}  # with other Gymnasiums or Pythons


def lines() -> Iterator[str]:
    """NAME: VALUE each."""
    import psutil
    import torch

    yield f"seqgan_kit: {__version__} ({Path(__file__).parents[1]})"
    yield f"python: {platform.python_version()} ({sys.executable})"
    for package in _required():
        yield f"{package}: {_version(package) or 'MISSING'}"
    yield f"system: {platform.platform()}"
    yield f"processor: {_processor()}, {os.cpu_count()} cores"
    threads = os.environ.get("OMP_NUM_THREADS", "not set")
    yield f"threads: PyTorch would take {torch.get_num_threads()}; OMP_NUM_THREADS is {threads}"
    yield f"memory: {psutil.virtual_memory().total / 2**30:.1f} GiB"
    yield f"bfloat16 on the processor: {_bfloat16()}"
    count = torch.cuda.device_count()
    for i in range(count):
        about = torch.cuda.get_device_properties(i)
        known = "with" if torch.cuda.is_bf16_supported(including_emulation=False) else "without"
        memory = f"{about.total_memory / 2**30:.0f} GiB"
        yield f"GPU {i}: {about.name}, {memory}, {known} bfloat16, CUDA {torch.version.cuda}"
    if not count:
        yield "GPU: none that PyTorch can use"
    for extra, package in EXTRAS.items():
        found = _version(package) or (_version(OTHERWISE[extra]) if extra in OTHERWISE else None)
        yield f"extra {extra}: {f'{package} {found}' if found else f'absent: pip install seqgan_kit[{extra}]'}"


def _required() -> list[str]:
    """The names of the packages that the kit needs."""
    try:
        needed = requires("seqgan_kit") or []
    except PackageNotFoundError:  # a checkout that is not installed
        needed = ["torch", "accelerate", "transformers"]
    return [re.split(r"[^\w.-]", line)[0] for line in needed if "extra ==" not in line]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpuinfo(key: str) -> str:
    path = Path("/proc/cpuinfo")
    found = re.search(rf"^{key}\s*: (.*)$", path.read_text() if path.is_file() else "", re.MULTILINE)
    return found[1] if found else ""


def _processor() -> str:
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _bfloat16() -> str:
    flags = (_cpuinfo("flags") or _cpuinfo("Features")).split()
    if not flags:
        return "unknown"
    known = [flag for flag in ("avx512_bf16", "amx_bf16", "bf16") if flag in flags]
    return f"by {', '.join(known)}" if known else "no instructions for it, so --run.precision bf16 is slow"
