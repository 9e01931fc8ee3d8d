"""What a run was: command, versions, commit, machine; and whether it was launched as its user believes."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import subprocess
import sys
from abc import ABC
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime, timezone
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil
import torch
import yaml

from seqgan_kit.engine.run_config import RunConfig
from seqgan_kit.errors import UserError
from seqgan_kit.files import read_record

PACKAGES = (
    *("seqgan_kit", "torch", "transformers", "accelerate", "tokenizers", "sentencepiece", "gymnasium", "mujoco"),
    "numpy",
)


def provenance(
    folder: Path, task: str, config: RunConfig, device: torch.device, processes: int, resume: bool, data: str | None
) -> dict[str, Any]:
    """The content of run.json; a resumed run keeps when it started, how long it took so far, whether it has saved a
    checkpoint, and which options were changed when it was resumed.

    data: the fingerprint of what it learns from, where it has one.
    """
    before = read_record(folder) if resume else {}
    commit, dirty = _commit()
    return {
        "command": before.get("command", shlex.join(sys.argv)),
        "task": task,
        "versions": {name: _version(name) for name in PACKAGES} | {"python": sys.version.split()[0]},
        "commit": commit,
        "dirty": dirty,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "precision": config.precision,
        "seed": config.seed,
        "data": data,
        "processes": processes,
        "threads": torch.get_num_threads(),
        "started": before.get("started", datetime.now(timezone.utc).isoformat(timespec="seconds")),
        "seconds": before.get("seconds", 0.0),
        **{name: before[name] for name in ("budget", "phases", "peak") if name in before},
        "resumed": before.get("resumed", -1) + 1 if resume else 0,
        "finished": False,
        **({"alarms": before["alarms"]} if "alarms" in before else {}),
        "saved": before.get("saved", before.get("finished", False)),
        "changes": before.get("changes", []),
    }


def fingerprint(vocabulary: Mapping[str, int], *samples: Any) -> str:
    """Of data and tokenizer, the same where they are the same. samples: dataclasses of tensors, such as `Tokens`."""
    digest = hashlib.sha256(json.dumps(sorted(vocabulary.items())).encode())
    for sample in samples:
        for field in fields(sample):
            tensor = getattr(sample, field.name)
            digest.update(f"{field.name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.contiguous().numpy())
    return digest.hexdigest()


def check_data(run: Path, data: str | None) -> None:
    """Raises UserError where the data or the tokenizer are not those of the run: its tokens would mean others."""
    before = read_record(run).get("data")
    if before is not None and data is not None and data != before:
        raise UserError(
            f"{run}: the data, or the tokenizer, have changed since this run began, so what it has learnt is of "
            "others: bring back what it was trained on, or train a new run"
        )


def config_yaml(config: Any) -> str:
    """A configuration that was built in Python as the YAML that the command line reads: parts by import path."""
    return yaml.safe_dump(_plain(config), sort_keys=False)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        content = {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
        # where several classes fill a slot, which one
        return {"class_path": _plain(type(value)), "init_args": content} if isinstance(value, ABC) else content
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, partial):
        return {"class_path": _plain(value.func), "init_args": {k: _plain(v) for k, v in value.keywords.items()}}
    return f"{value.__module__}.{value.__qualname__}" if callable(value) else value


def check_launch(processes: int | None) -> None:
    """Raises UserError where `accelerate launch --cpu --num_processes 2` has, silently, started one process."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return
    parent = psutil.Process().parent()
    try:
        words = parent.cmdline() if parent else []
    except psutil.Error:
        return
    if "launch" not in words or not any("accelerate" in word for word in words):
        return
    for name in ("--num_processes", "--num-processes"):
        for i, word in enumerate(words):
            value = word.partition("=")[2] if word.startswith(f"{name}=") else (words[i + 1 : i + 2] or [""])[0]
            if word.startswith(name) and value.isdigit() and int(value) > 1:
                raise UserError(
                    f"`accelerate launch` was asked for {value} processes, but started one: on a CPU use "
                    f"`torchrun --nproc_per_node {value} -m seqgan_kit.cli train ...`"
                )


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _commit() -> tuple[str | None, bool | None]:
    """Of the checkout that this package is in, if it is one."""
    here = Path(__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(here), *words], capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()

    try:
        if not git("ls-files", "engine.py"):
            return None, None  # installed inside somebody else's repository
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain"))
    except (OSError, subprocess.SubprocessError):
        return None, None
