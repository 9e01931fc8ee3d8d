"""How much memory a device has to give."""

from __future__ import annotations

import psutil
import torch


def budget(device: torch.device) -> int:
    """Bytes that one part of a program may take: a quarter of the device's, or half of what is free, if that is less.

    So it is the same each time on the same device, unless that is nearly full. What PyTorch holds of a GPU and does not
    use is free; what is neither CPU nor CUDA shares the machine's.
    """
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    else:
        free, total = psutil.virtual_memory().available, psutil.virtual_memory().total
    return min(total // 4, free // 2)
