"""What a discriminator gets of the generator's earlier turns."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from seqgan_kit.engine.checkpoints import pack, unpack
from seqgan_kit.game.replay import Replay
from seqgan_kit.samples import Images


def pictures(first: int, count: int) -> Images:
    """Rows that can be told apart, in both of their tensors."""
    numbers = torch.arange(first, first + count, dtype=torch.float32)
    return Images(numbers.view(-1, 1, 1, 1).expand(count, 3, 2, 2).clone(), -numbers.view(-1, 1))


def numbers(sample: Images) -> list[int]:
    """Which rows these are."""
    found = sample.pixels[:, 0, 0, 0]
    assert sample.pixels.equal(found.view(-1, 1, 1, 1).expand_as(sample.pixels))
    assert sample.condition.equal(-found.view(-1, 1))  # a row's tensors stay together
    return found.int().tolist()


@pytest.mark.parametrize("batch_size", [None, 10, 1000])
def test_all_rows_where_no_more_are_wanted(batch_size: int | None) -> None:
    """In their order."""
    replay = Replay(Images, batch_size)
    replay.add(pictures(0, 10))
    assert numbers(replay.take()) == list(range(10))


@pytest.mark.parametrize("turns", [1, 3])
@pytest.mark.parametrize("batch_size", [4, 7, 9])
def test_takes_without_repetition(turns: int, batch_size: int) -> None:
    """Rows of all turns that are kept, none twice, and not always the same."""
    torch.manual_seed(0)
    replay = Replay(Images, batch_size, turns)
    for turn in range(5):
        replay.add(pictures(10 * turn, 10))
    seen = set()
    for _ in range(100):
        found = numbers(replay.take())
        assert len(found) == len(set(found)) == batch_size
        seen |= set(found)
    assert seen == set(range(10 * (5 - turns), 50))


def test_takes_evenly_from_turns_of_different_sizes() -> None:
    """Each row as often as any other, whichever turn it is of, also where so few are taken that one may come twice."""
    torch.manual_seed(0)
    for batch_size in (2, 10):
        replay = Replay(Images, batch_size, turns=2)
        replay.add(pictures(0, 5))
        replay.add(pictures(5, 25))
        counts = torch.zeros(30)
        for _ in range(6000 // batch_size):
            counts += torch.bincount(torch.tensor(numbers(replay.take())), minlength=30)
        assert counts.sum() == 6000
        assert abs(counts - 200).max() < 5 * 200**0.5


def test_keeps_the_latest_turns() -> None:
    """Older ones are forgotten."""
    replay = Replay(Images, turns=2)
    kept = []
    for turn in range(4):
        replay.add(pictures(10 * turn, 2))
        kept.append(numbers(replay.take()))
    assert kept == [[0, 1], [0, 1, 10, 11], [10, 11, 20, 21], [20, 21, 30, 31]]


def test_view() -> None:
    """What is kept is what the view makes of a sample."""
    replay = Replay(Images, view=lambda sample: Images(sample.pixels[::2], sample.condition[::2]))
    replay.add(pictures(0, 6))
    assert numbers(replay.take()) == [0, 2, 4]


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_state(turns: int) -> None:
    """After the next turn, a restored one holds what the original does: only older turns need to be saved."""
    replay, restored = (Replay(Images, turns=turns) for _ in range(2))
    for turn in range(4):
        replay.add(pictures(10 * turn, 3))
    tensors: dict[str, Any] = {}
    restored.load_state_dict(unpack(json.loads(json.dumps(pack(replay.state_dict(), tensors))), tensors))
    for one in (replay, restored):
        one.add(pictures(40, 3))
    assert numbers(restored.take()) == numbers(replay.take())
    assert len(numbers(replay.take())) == 3 * turns
