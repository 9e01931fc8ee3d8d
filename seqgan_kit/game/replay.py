"""What the generator made lately, for a discriminator that need not see fresh samples."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import fields
from typing import Any, Generic

import torch

from seqgan_kit.samples import S, concatenate, rows, sent, size, to


class Replay(Generic[S]):
    """The generator's samples of the last `turns` turns, of which each discriminator turn takes `batch_size` rows.

    Where acting is dear (an environment), a discriminator learns from what the generator has just learnt from, as GAIL
    does (Ho and Ermon 2016, algorithm 1); with more turns it is a history buffer (Shrivastava et al. 2017, sec. 2.3).

    Args:
        kind: of the samples.
        batch_size: rows that a turn takes, of each process; unset takes all.
        turns: of the generator that are kept.
        view: what is kept of a sample: episodes as single steps, for example.
        device: of the samples, also after a resume.
    """

    def __init__(
        self,
        kind: type[S],
        batch_size: int | None = None,
        turns: int = 1,
        view: Callable[[Any], S] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.kind: type[S] = kind
        self.view: Callable[[Any], S] = view or (lambda sample: sample)
        self.batch_size, self.turns, self.device = batch_size, turns, torch.device(device)
        self._kept: Any = []  # of S, which mypy can't follow through the views

    def add(self, sample: S) -> None:
        self._kept = [*self._kept, self.view(sample)][-self.turns :]

    def take(self) -> S:
        """Rows at random; without repetition, unless there are many more than are taken."""
        counts: list[int] = [size(sample) for sample in self._kept]
        total = sum(counts)
        if self.batch_size is None or self.batch_size >= total:
            return self._kept[0] if len(counts) == 1 else concatenate(self._kept)
        if 8 * self.batch_size < total:  # a permutation of all would cost more than the few repetitions matter
            index = torch.randint(total, (self.batch_size,))
        else:
            index = torch.randperm(total)[: self.batch_size]
        if len(counts) == 1:
            return rows(self._kept[0], sent(index, self.device))
        bounds = [0, *itertools.accumulate(counts)]
        inside = [(a, index[(index >= a) & (index < b)] - a) for a, b in itertools.pairwise(bounds)]
        return concatenate(
            [rows(kept, sent(chosen, self.device)) for kept, (_, chosen) in zip(self._kept, inside, strict=True)]
        )

    def state_dict(self) -> dict[str, Any]:
        """What the next turn will not have made itself."""
        old = self._kept[-(self.turns - 1) :] if self.turns > 1 else []
        return {"kept": [{field.name: getattr(sample, field.name) for field in fields(self.kind)} for sample in old]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._kept = [to(self.kind(**sample), self.device) for sample in state["kept"]]
