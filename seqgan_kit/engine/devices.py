"""Where networks are computed: what there is beside the CPU, and how it is set up."""

from __future__ import annotations

import os

import torch

from seqgan_kit.errors import UserError

KINDS = {"cuda": "PyTorch sees no GPU here", "mps": "PyTorch sees no GPU of Apple's here"}
"""Of each kind of GPU, what is told where there is none."""


def present(kind: str) -> bool:
    """Whether PyTorch can use a device of this kind of `KINDS`."""
    return torch.cuda.is_available() if kind == "cuda" else torch.backends.mps.is_available()


def kind_of(asked: str) -> str:
    """What `--run.device` means here: cpu, or one of `KINDS`. Raises UserError where that is not there."""
    if asked in KINDS and not present(asked):
        raise UserError(f"--run.device {asked}: {KINDS[asked]}; use --run.device cpu or auto")
    return next((kind for kind in KINDS if present(kind)), "cpu") if asked == "auto" else asked


def chosen(asked: str) -> torch.device:
    """The device of this process. Raises UserError where `--run.device` asks for what is not there."""
    kind = kind_of(asked)
    return torch.device(kind, int(os.environ.get("LOCAL_RANK", "0"))) if kind == "cuda" else torch.device(kind)


def for_evaluation(asked: str) -> torch.device:
    """Where a finished run is evaluated: on the CPU if it was trained there on purpose, else on what there is now."""
    return chosen("cpu" if asked == "cpu" else "auto")


def set_up(device: torch.device, tf32: bool) -> None:
    """How NVIDIA's GPUs multiply float32: by default PyTorch takes TF32 for convolutions and not for products."""
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        torch.backends.cudnn.allow_tf32 = tf32
