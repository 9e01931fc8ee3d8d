"""Where networks are computed: what there is beside the CPU, and what `auto` takes of it."""

from __future__ import annotations

import torch

from seqgan_kit.errors import UserError

KINDS = {"cuda": "PyTorch sees no GPU here", "mps": "PyTorch finds no GPU of Apple's here"}
"""Of each kind of GPU, what is told where there is none."""


def present(kind: str) -> bool:
    """Whether PyTorch can use a device of this kind of `KINDS`."""
    return torch.cuda.is_available() if kind == "cuda" else torch.backends.mps.is_available()


def on_cpu(asked: str) -> bool:
    """Whether `--run.device` means the CPU here. Raises UserError where there is no such device."""
    if asked in KINDS and not present(asked):
        raise UserError(f"--run.device {asked}: {KINDS[asked]}; use --run.device cpu or auto")
    return asked == "cpu" or not any(map(present, KINDS))
