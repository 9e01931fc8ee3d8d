"""An endless stream of shuffled batches, the same on every process and resumable from one number."""

from __future__ import annotations

from typing import Generic

import numpy as np
import torch
from torch import Tensor

from seqgan_kit.errors import UserError
from seqgan_kit.samples import S, Tokens, map_tensors, rows, size, to


class Stream(Generic[S]):
    """Batches of the rows of `data`, every row once an epoch, in an order that depends only on the seed and the epoch.

    Each of several processes gets its own part of the same global batches. The state is the number of rows drawn so
    far by all processes together, so it is the same on all of them. `name` and `unit` appear in error messages:
    "name has 12 units".
    """

    def __init__(
        self,
        data: S,
        seed: int,
        rank: int = 0,
        processes: int = 1,
        device: torch.device | str = "cpu",
        *,
        name: str = "the data",
        unit: str = "rows",
    ) -> None:
        self.data: S = data
        self.size, self.seed = size(data), seed
        self.rank, self.processes, self.device = rank, processes, torch.device(device)
        self.name, self.unit = name, unit
        self.position = 0
        self._order: tuple[int, Tensor] = (-1, torch.empty(0))  # the latest epoch and its permutation

    def take(self, batch_size: int, option: str = "--batch_size") -> S:
        """This process's rows of the next `batch_size` rows; `option` is what the user calls `batch_size`.

        A batch may straddle two epochs. Tokens are cut to the longest row of the batch of all processes.
        """
        self._check(batch_size, option)
        index = self._next(batch_size)
        batch = rows(self.data, index[self.rank :: self.processes])
        if isinstance(self.data, Tokens):
            longest = _longest(self.data.mask[index])
            batch = map_tensors(batch, lambda tensor: tensor[:, :longest])
        return to(batch, self.device)

    def state_dict(self) -> dict[str, int]:
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.position = state["position"]

    def _next(self, count: int) -> Tensor:
        """The next `count` row numbers, for all processes."""
        epoch, start = divmod(self.position, self.size)
        self.position += count
        index = self._permutation(epoch)[start : start + count]
        if len(index) < count:
            index = torch.cat([index, self._permutation(epoch + 1)[: count - len(index)]])
        return index

    def _permutation(self, epoch: int) -> Tensor:
        if self._order[0] != epoch:
            self._order = epoch, torch.from_numpy(np.random.default_rng([self.seed, epoch]).permutation(self.size))
        return self._order[1]

    def _check(self, batch_size: int, option: str) -> None:
        if batch_size < 1 or batch_size % self.processes:
            raise UserError(
                f"{option} {batch_size} cannot be shared by {self.processes} processes: "
                f"give a positive multiple of {self.processes}"
            )
        if batch_size > self.size:
            possible = self.size // self.processes * self.processes
            smaller = f" or {option} {possible}" if possible else ""
            raise UserError(
                f"{self.name} has {self.size} {self.unit}, fewer than a batch of {batch_size}: give more data{smaller}"
            )


def _longest(mask: Tensor) -> int:
    """The length of the longest row of a (batch, time) mask: everything after it is padding."""
    padding = mask.any(dim=0).flip(0).int().argmax()  # argmax finds the first True from the right
    return mask.shape[1] - int(padding)
