"""The stream of shuffled batches."""

from __future__ import annotations

import pytest
import torch

from seqgan_kit.engine.stream import Stream
from seqgan_kit.errors import UserError
from seqgan_kit.samples import Images, Tokens


def numbers(count: int) -> Images:
    """Rows that carry their own number."""
    return Images(torch.arange(count).float().reshape(-1, 1, 1, 1), torch.zeros(count, 0))


def drawn(stream: Stream[Images], *batch_sizes: int) -> list[int]:
    return [int(row) for batch_size in batch_sizes for row in stream.take(batch_size).pixels.flatten()]


def test_every_row_is_drawn_once_an_epoch() -> None:
    """However the batches lie over the ends of the epochs, each run of 10 rows is a permutation of the data."""
    rows = drawn(Stream(numbers(10), seed=1), 4, 4, 4, 3, 9, 6)
    epochs = [rows[start : start + 10] for start in (0, 10, 20)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(10))] * 3
    assert epochs[0] != epochs[1] != epochs[2]


def test_order_depends_on_the_seed_alone() -> None:
    """The same seed gives the same rows whatever the batch size, another seed gives other rows."""
    one, other = drawn(Stream(numbers(50), seed=3), 50, 50), drawn(Stream(numbers(50), seed=3), *[20] * 5)
    assert one == other
    assert one != drawn(Stream(numbers(50), seed=4), 50, 50)


def test_neighbouring_seeds_do_not_share_epochs() -> None:
    """The second epoch of one seed is not the first of the next, as it would be with seed + epoch."""
    assert drawn(Stream(numbers(50), seed=3), 50, 50)[50:] != drawn(Stream(numbers(50), seed=4), 50)


def test_processes_share_the_batches_of_one() -> None:
    """The parts of three processes, interleaved, are the batches of one process, over the end of an epoch too."""
    whole = Stream(numbers(10), seed=5)
    parts = [Stream(numbers(10), seed=5, rank=rank, processes=3) for rank in range(3)]
    for _ in range(5):
        expected = drawn(whole, 6)
        shares = [drawn(part, 6) for part in parts]
        assert [row for place in zip(*shares, strict=True) for row in place] == expected


@pytest.mark.parametrize("before", [0, 3, 5, 7])
def test_the_state_restores_the_exact_position(before: int) -> None:
    """A fresh stream with the loaded state goes on as the old one does."""
    old, new = Stream(numbers(10), seed=6), Stream(numbers(10), seed=6)
    drawn(old, *[4] * before)
    assert old.state_dict() == {"position": 4 * before}
    new.load_state_dict(old.state_dict())
    assert drawn(new, 4, 4, 4) == drawn(old, 4, 4, 4)


def test_tokens_are_cut_to_the_longest_row_of_all_processes() -> None:
    """Both processes get the same width, that of the longest row of the global batch, and no token is lost."""
    lengths = torch.tensor([2, 5, 3, 1, 2, 3, 2, 1])
    mask = torch.arange(9) < lengths[:, None]
    data = Tokens(torch.arange(8)[:, None] * mask, mask)
    first, second = (Stream(data, seed=7, rank=rank, processes=2) for rank in range(2))
    widths = set()
    for _ in range(12):
        a, b = first.take(2), second.take(2)
        assert a.ids.shape == b.ids.shape == a.mask.shape
        assert a.ids.shape[1] == max(int(a.mask.sum()), int(b.mask.sum()))
        assert int(a.mask.sum()) == int(lengths[a.ids[0, 0]])
        widths.add(a.ids.shape[1])
    assert len(widths) > 1


def test_batches_come_on_the_device_asked_for() -> None:
    """The batch, not the data, is moved to the device."""
    data = numbers(4)
    assert Stream(data, seed=0, device=torch.device("meta")).take(2).pixels.is_meta
    assert not data.pixels.is_meta


def test_a_batch_larger_than_the_data_is_refused() -> None:
    """The message names the data, its size, and the largest batch size that would do."""
    stream = Stream(numbers(13), seed=0, processes=2, name="train.txt", unit="sentences")
    with pytest.raises(UserError) as error:
        stream.take(64, option="--mle.batch_size")
    assert str(error.value) == (
        "train.txt has 13 sentences, fewer than a batch of 64: give more data or --mle.batch_size 12"
    )


def test_a_batch_may_be_all_of_the_data() -> None:
    """As many rows as there are can be taken at once, at any position, and not one more."""
    stream = Stream(numbers(5), seed=0)
    assert len(drawn(stream, 3, 5, 5)) == 13
    with pytest.raises(UserError, match="the data has 5 rows, fewer than a batch of 6"):
        stream.take(6)


@pytest.mark.parametrize("batch_size", [0, -3, 4])
def test_a_batch_that_cannot_be_shared_is_refused(batch_size: int) -> None:
    """The batch size must be a positive multiple of the number of processes."""
    with pytest.raises(UserError, match=rf"a batch of {batch_size} .* 3 processes: give a positive multiple of 3"):
        Stream(numbers(13), seed=0, processes=3).take(batch_size)
