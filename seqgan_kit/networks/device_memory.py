"""How much memory a device has to give."""

from __future__ import annotations

import psutil
import torch


def free(device: torch.device) -> int:
    """Bytes that are free: of a GPU, those that PyTorch holds and does not use, too; else of the machine."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + unused
    return int(psutil.virtual_memory().available)
