"""An endless stream of shuffled batches, the same on every process and resumable from one number."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from seqgan_kit.errors import UserError
from seqgan_kit.samples import Images, Replies, S, SoftTokens, Tokens, Transitions, rows, size, to, trimmed

Made = TypeVar("Made", Tokens, SoftTokens, Replies, Transitions, Images, covariant=True)


class Order:
    """The row numbers 0 to `rows` - 1, each once an epoch, in an order that depends only on the seed and the epoch.

    The state is how many all processes together have drawn so far, so it is the same on all of them. `name` and `unit`
    appear in error messages: "name has 12 units".
    """

    def __init__(
        self, rows: int, seed: int, rank: int = 0, processes: int = 1, name: str = "the data", unit: str = "rows"
    ) -> None:
        self.rows, self.seed, self.rank, self.processes = rows, seed, rank, processes
        self.name, self.unit = name, unit
        self.position = 0
        self._permuted: tuple[int, Tensor] = (-1, torch.empty(0))  # the latest epoch and its permutation

    def take(self, count: int) -> Tensor:
        """The next `count` row numbers, for all processes."""
        self._check(count)
        epoch, start = divmod(self.position, self.rows)
        self.position += count
        index = self._permutation(epoch)[start : start + count]
        if len(index) < count:
            index = torch.cat([index, self._permutation(epoch + 1)[: count - len(index)]])
        return index

    @property
    def mine(self) -> slice:
        """Which of them are this process's."""
        return slice(self.rank, None, self.processes)

    def state_dict(self) -> dict[str, int]:
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        if type(state["position"]) is not int or state["position"] < 0:
            raise ValueError(f"the position {state['position']!r} is none")
        self.position = state["position"]

    def _permutation(self, epoch: int) -> Tensor:
        if self._permuted[0] != epoch:
            self._permuted = epoch, torch.from_numpy(np.random.default_rng([self.seed, epoch]).permutation(self.rows))
        return self._permuted[1]

    def _check(self, batch_size: int) -> None:
        """A task says so first, and by the option's name (`checks.batches`)."""
        if batch_size < 1 or batch_size % self.processes:
            raise UserError(
                f"a batch of {batch_size} cannot be shared by {self.processes} processes: "
                f"give a positive multiple of {self.processes}"
            )
        if batch_size > self.rows:
            possible = self.rows // self.processes * self.processes
            smaller = f", or a batch of {possible}" if possible else ""
            raise UserError(
                f"{self.name} has {self.rows} {self.unit}, fewer than a batch of {batch_size}: give more data{smaller}"
            )


class Batches(Protocol[Made]):
    """An endless source of batches of real samples, which a resumed run goes on with."""

    def take(self, batch_size: int) -> Made:
        """This process's part of the next batch of `batch_size`, counted over all processes."""


class Stream(Generic[S]):
    """Batches of the rows of `data`, as `Order` has them, of which each process gets its own part."""

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
        self.size, self.device = size(data), torch.device(device)
        self.order = Order(self.size, seed, rank, processes, name, unit)

    def take(self, batch_size: int) -> S:
        """This process's rows of the next `batch_size` rows.

        A batch may straddle two epochs. Tokens are cut to the longest row of the batch of all processes.
        """
        index = self.order.take(batch_size)
        batch = trimmed(rows(self.data, index))
        return to(rows(batch, self.order.mine), self.device)

    def state_dict(self) -> dict[str, int]:
        return self.order.state_dict()

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.order.load_state_dict(state)
