"""Where and how a run is carried out, whatever it is of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class RunConfig:
    """Where and how a run is carried out.

    Args:
        folder: the run folder, which must not exist yet; unset takes the next free runs/TASK-1, runs/TASK-2, ...
        seed: of everything random.
        device: auto takes a GPU where there is one.
        precision: bf16 computes the networks' forward passes in bfloat16.
        processes: how many processes were launched (by torchrun); unset takes what is there.
        threads: CPU threads of each process; null leaves PyTorch's choice. Small networks are fastest on 1, and at the
            sizes of the SeqGAN paper 2 gain a factor of 1.4 to 1.6, if nothing else runs: on a busy machine they
            wait for each other, and lose a factor of 10 and more.
        log_every: steps between two lines of metrics.jsonl.
        checkpoint_seconds: the longest time without a checkpoint; there is one at the end of each phase too.
        checkpoint_steps: steps between two checkpoints, instead of the time.
        keep_checkpoints: how many to keep.
        trackers: Accelerate trackers beside metrics.jsonl, such as tensorboard.
    """

    folder: str | None = None
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    processes: int | None = None
    threads: int | None = 1
    log_every: int = 10
    checkpoint_seconds: float = 60.0
    checkpoint_steps: int | None = None
    keep_checkpoints: int = 2
    trackers: list[str] = field(default_factory=list)
