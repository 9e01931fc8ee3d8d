"""Networks that cannot fit are refused while they are built, before the memory for them is touched."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import torch
from torch.overrides import TorchFunctionMode

from seqgan_kit.bounds import too_large
from seqgan_kit.errors import UserError

MAKE = {torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn}
TRAINED = 4  # of each weight: itself, its gradient, and what Adam keeps of it
FLOAT = 4  # bytes


@contextmanager
def within_memory() -> Iterator[None]:
    """Raises UserError inside where the weights that are made need more memory to be trained than there is."""
    with _Counted():
        yield


class _Counted(TorchFunctionMode):
    """Counts the numbers of all tensors that are made."""

    def __init__(self) -> None:
        super().__init__()
        self.made, self.free = 0, psutil.virtual_memory().available

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function in MAKE:
            sizes = args[0] if args and isinstance(args[0], list | tuple) else args
            if function is torch.full:
                sizes = sizes if sizes is not args else ()
            self.made += math.prod(size for size in sizes if isinstance(size, int))
            if self.made * FLOAT * TRAINED > self.free:
                raise UserError(too_large("networks of this size", self.made * FLOAT * TRAINED, self.free))
        return function(*args, **(kwargs or {}))
