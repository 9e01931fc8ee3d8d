"""Running statistics against NumPy's on all the data at once."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from seqgan_kit.networks.policies.normaliser import Normaliser


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def parts(values: Tensor, seed: int = 0) -> list[Tensor]:
    """Cut at random places, so that some are single rows and some are long."""
    places = np.sort(np.random.default_rng(seed).choice(len(values), 20, replace=False))
    return [part for part in values.tensor_split(torch.from_numpy(places)) if len(part)]


def seen(values: list[Tensor], shape: tuple[int, ...]) -> Normaliser:
    normaliser = Normaliser(shape)
    for part in values:
        normaliser.update(normaliser.moments(part))
    return normaliser


def assert_statistics(normaliser: Normaliser, values: Tensor, rtol: float = 1e-12) -> None:
    """Against two passes over everything."""
    whole = values.double().numpy()
    np.testing.assert_allclose(normaliser.mean.numpy(), whole.mean(0), rtol=rtol, atol=1e-12)
    np.testing.assert_allclose(normaliser.variance.numpy(), whole.var(0), rtol=rtol)
    assert normaliser.count.item() == len(values)


@pytest.mark.parametrize("shape", [(4,), (2, 3), ()])
def test_statistics_after_many_unequal_updates(shape: tuple[int, ...]) -> None:
    """Mean and variance of all rows, each component by itself."""
    scale = torch.arange(1, math.prod(shape) + 1).view(shape) * 3.0
    values = random(500, *shape) * scale + scale.square()
    assert_statistics(seen(parts(values), shape), values)


def test_statistics_of_what_drifts() -> None:
    """The variance counts how far the batches' means lie from each other, not only what is within them."""
    values = random(500, 2) + torch.arange(500).unsqueeze(1) / 20
    assert_statistics(seen(parts(values), (2,)), values)


def test_a_large_offset_keeps_its_precision() -> None:
    """Mean 10^4, deviation 10^-2: squares about 0 would need 12 digits, of which float32 has 7 and float64 16."""
    values = (1e4 + 1e-2 * random(5000, 2)).float()
    # only the first part is taken about 0, which leaves 4 digits of the variance
    normaliser = seen(parts(values), (2,))
    assert_statistics(normaliser, values, rtol=1e-4)
    found = normaliser(values).double()
    # float32 observations of this offset are themselves 10^-3 apart, a tenth of a deviation
    expected = (values.double() - values.double().mean(0)) / values.double().std(0, correction=0)
    assert (found - expected).abs().max() < 0.2


def test_order_does_not_matter() -> None:
    """The same parts in another order, or all at once, give the same statistics."""
    values = random(500, 3) * 5 + 7
    pieces = parts(values)
    for other in ([*reversed(pieces)], [values], parts(values, seed=1)):
        assert_statistics(seen(other, (3,)), values)


def test_processes_add_their_moments() -> None:
    """Two processes with different rows, and unequally many, end with the statistics of one that saw all of them."""
    both = [Normaliser((3,)), Normaliser((3,))]
    rows = random(300, 3) * 2 + 1
    for start in range(0, 300, 60):
        mine, others = rows[start : start + 15], rows[start + 15 : start + 60]
        total = both[0].moments(mine) + both[1].moments(others)
        for normaliser in both:
            normaliser.update(total)
    assert_statistics(both[0], rows)
    assert all(a.equal(b) for a, b in zip(both[0].buffers(), both[1].buffers(), strict=True))


@pytest.mark.parametrize("shape", [(4,), (2, 3), ()])
def test_forward_standardises_and_restore_inverts(shape: tuple[int, ...]) -> None:
    """(x - mean) / deviation in float32, for any batch dimensions."""
    values = (random(400, *shape) * 3 + 5).float()
    normaliser = seen(parts(values), shape)
    found = normaliser(values)
    expected = (values.double() - values.double().mean(0)) / values.double().std(0, correction=0)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(normaliser.restore(found), values)
    assert found.dtype == torch.float32
    assert normaliser(values.view(20, 20, *shape)).equal(found.view(20, 20, *shape))


def test_limit() -> None:
    """What lies beyond it is clamped on both sides; an infinite one clamps nothing."""
    values = random(100, 1).float()
    for limit, expected in [(2.0, 2.0), (10.0, 10.0), (math.inf, 1e3)]:
        normaliser = Normaliser((1,), limit)
        normaliser.update(normaliser.moments(values))
        far = normaliser.restore(torch.tensor([[1e3], [-1e3]]))
        torch.testing.assert_close(normaliser(far), torch.tensor([[expected], [-expected]]), rtol=1e-5, atol=0)
    assert Normaliser((1,))(torch.tensor([[50.0]])).item() == 10


@pytest.mark.parametrize("constant", [0.0, 3.3, -1e4])
def test_constant_features_stay_finite(constant: float) -> None:
    """Their deviation is 0, but nothing becomes infinite, not even when they change later."""
    values = torch.full((50, 2), constant)
    normaliser = seen([values[:1], values[1:30], values[30:]], (2,))
    assert normaliser.variance.abs().max() < 1e-12
    assert normaliser(values).isfinite().all()
    assert normaliser(values + 5).equal(torch.full((50, 2), 10.0))


def test_nothing_seen_changes_nothing() -> None:
    """A new one leaves values as they are; no rows change neither it nor one that has seen some."""
    values = random(30, 2).float()
    normaliser = Normaliser((2,))
    for _ in range(2):
        before = [buffer.clone() for buffer in normaliser.buffers()]
        normaliser.update(normaliser.moments(values[:0]))
        assert all(a.equal(b) for a, b in zip(before, normaliser.buffers(), strict=True))
        if not normaliser.count:
            assert normaliser(values).equal(values)
        normaliser.update(normaliser.moments(values))
    assert normaliser.count.item() == 60


def test_checkpoints_hold_the_statistics() -> None:
    """As buffers: what is restored goes on as the original does."""
    values = random(100, 2)
    normaliser, restored = seen([values[:50]], (2,)), Normaliser((2,))
    restored.load_state_dict(normaliser.state_dict())
    for one in (normaliser, restored):
        one.update(one.moments(values[50:]))
    assert_statistics(restored, values)
    assert restored(values).equal(normaliser(values))
