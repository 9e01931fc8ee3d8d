"""Metrics of pictures' features against scipy, closed forms and brute force with plain loops."""

from __future__ import annotations

from itertools import combinations
from math import dist, exp, log

import numpy as np
import pytest
import scipy.linalg  # type: ignore[import-untyped]
import torch
from torch import Tensor

from seqgan_kit.algorithms import distances
from seqgan_kit.algorithms.distances import Moments
from seqgan_kit.images import metrics


def normal(rows: int, width: int, seed: int, offset: float = 0.0) -> Tensor:
    """float32 rows of correlated features."""
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(rows, width)) @ rng.normal(size=(width, width)) + offset
    return torch.tensor(mixed, dtype=torch.float32)


def moments(*chunks: Tensor) -> Moments:
    found = Moments()
    for chunk in chunks:
        found.add(chunk)
    return found


def scipy_frechet(x: Tensor, y: Tensor) -> float:
    """As Heusel et al. compute it: np.cov and the square root of a matrix that is not symmetric."""
    first, second = x.double().numpy(), y.double().numpy()
    a, b = (np.atleast_2d(np.cov(rows, rowvar=False)) for rows in (first, second))
    root = scipy.linalg.sqrtm(a @ b).real
    return float(((first.mean(0) - second.mean(0)) ** 2).sum() + np.trace(a + b - 2 * root))


@pytest.mark.parametrize("sizes", [(60, 40), (100,), (1, 99), (37, 0, 1, 62), (1,) * 100])
def test_moments_do_not_depend_on_the_chunks(sizes: tuple[int, ...]) -> None:
    """Mean and covariance are numpy's, however the rows come, even where the mean is far greater than the spread."""
    rows = normal(100, 6, seed=0, offset=1e4)
    found = moments(*rows.split(list(sizes)))
    assert found.count == 100
    expected = rows.double().numpy()
    np.testing.assert_allclose(found.mean, expected.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.covariance(), np.cov(expected, rowvar=False), rtol=1e-9, atol=1e-9)


def test_merged_moments_are_those_of_all_rows() -> None:
    """Moments of two processes merge into those of one, and the merged one is left as it was."""
    rows = normal(50, 4, seed=1)
    first, second, none = moments(rows[:13]), moments(rows[13:]), Moments()
    none.merge(first)
    none.merge(second)
    none.merge(Moments())
    torch.testing.assert_close(none.covariance(), moments(rows).covariance(), rtol=1e-12, atol=1e-12)
    assert (first.count, second.count, none.count) == (13, 37, 50)
    torch.testing.assert_close(first.scatter, moments(rows[:13]).scatter, rtol=0, atol=0)


@pytest.mark.parametrize(("rows", "width"), [(200, 5), (50, 20), (300, 1)])
def test_frechet_distance_is_scipys(rows: int, width: int) -> None:
    """The distance by symmetric eigenvalues is that by scipy's square root of the product."""
    x, y = normal(rows, width, seed=2), normal(rows + 7, width, seed=3, offset=0.5)
    found = distances.frechet_distance(moments(x), moments(y[:10], y[10:]))
    assert found == pytest.approx(scipy_frechet(x, y), rel=1e-7)
    assert distances.frechet_distance(moments(y), moments(x)) == pytest.approx(found, rel=1e-9)


def test_frechet_distance_of_diagonal_gaussians() -> None:
    """Rows at +-s_i on each axis have a diagonal covariance, where the distance is sum (m - n)^2 + (s - t)^2."""

    def cross(deviations: list[float], mean: float) -> Tensor:
        axes = torch.diag(torch.tensor(deviations, dtype=torch.float64))
        rows = torch.cat([axes, -axes])
        return mean + rows * (len(rows) - 1) ** 0.5 / 2**0.5  # so that covariance, by n - 1, has s_i^2

    first, second = [1.0, 2.0, 0.5], [3.0, 0.25, 0.5]
    expected = 3 * 0.7**2 + sum((s - t) ** 2 for s, t in zip(first, second, strict=True))
    assert distances.frechet_distance(moments(cross(first, 0.0)), moments(cross(second, 0.7))) == pytest.approx(
        expected
    )


def test_frechet_distance_of_fewer_rows_than_features() -> None:
    """With singular covariances a set is at 0 from itself, and a shift counts by its square."""
    rows = normal(10, 40, seed=4)
    assert distances.frechet_distance(moments(rows), moments(rows)) == pytest.approx(0, abs=1e-4)
    assert distances.frechet_distance(moments(rows), moments(rows + 2)) == pytest.approx(160, rel=1e-4)


def test_frechet_distance_refuses_what_has_none() -> None:
    """One row has no covariance, unlike widths no distance, and of NaN it is NaN."""
    two = moments(normal(2, 3, seed=5))
    with pytest.raises(ValueError, match="1 rows are too few for a covariance: give at least 2"):
        distances.frechet_distance(two, moments(torch.zeros(1, 3)))
    with pytest.raises(ValueError, match="3 and 4 wide"):
        distances.frechet_distance(two, moments(torch.zeros(2, 4)))
    with pytest.raises(ValueError, match="3 and 2 wide"):
        two.add(torch.zeros(5, 2))
    with pytest.raises(ValueError, match=r"are \(3,\): give \(rows, width\)"):
        two.add(torch.zeros(3))
    assert np.isnan(distances.frechet_distance(two, moments(torch.full((3, 3), torch.nan))))


def brute_mmd(x: list[list[float]], y: list[list[float]]) -> float:
    """The definition, pair by pair."""

    def kernel(a: list[float], b: list[float]) -> float:
        return (sum(p * q for p, q in zip(a, b, strict=True)) / len(a) + 1) ** 3

    def within(rows: list[list[float]]) -> float:
        pairs = [kernel(a, b) for i, a in enumerate(rows) for j, b in enumerate(rows) if i != j]
        return sum(pairs) / len(pairs)

    return within(x) + within(y) - 2 * sum(kernel(a, b) for a in x for b in y) / (len(x) * len(y))


@pytest.mark.parametrize("chunk", [3, 1024])
def test_kernel_distance_is_the_definition(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The full estimator, in chunks too, is the sum over all pairs of unlike rows."""
    monkeypatch.setattr(metrics, "CHUNK", chunk)
    x, y = normal(11, 3, seed=6), normal(8, 3, seed=7)
    expected = brute_mmd(x.double().tolist(), y.double().tolist())
    assert distances.kernel_distance(x, y) == pytest.approx(expected, rel=1e-9)


def test_kernel_distance_is_unbiased() -> None:
    """Over disjoint halves of one set it averages to 0 within its own error, and not over sets that differ."""
    rows = torch.tensor(np.random.default_rng(8).normal(size=(200, 2, 20, 4)))
    found = np.array([distances.kernel_distance(a, b) for a, b in rows])
    error = found.std(ddof=1) / len(found) ** 0.5
    assert abs(found.mean()) < 4 * error
    assert found.min() < 0
    shifted = np.array([distances.kernel_distance(a, b + 0.5) for a, b in rows])
    assert shifted.mean() > 20 * error


def test_kernel_distance_over_subsets() -> None:
    """Subsets as large as the sets give the full estimate, smaller ones its value on average; the seed decides."""
    x, y = normal(40, 3, seed=9), normal(30, 3, seed=10, offset=1)
    full = distances.kernel_distance(x, y)
    assert distances.kernel_distance(x, y, subsets=2, size=40) == pytest.approx(full, rel=1e-9)
    found = [distances.kernel_distance(x, y, subsets=1, size=10, seed=seed) for seed in range(400)]
    assert np.mean(found) == pytest.approx(full, abs=4 * float(np.std(found)) / 20)
    assert found[3] == distances.kernel_distance(x, y, subsets=1, size=10, seed=3) != found[4]
    with pytest.raises(ValueError, match="0 subsets"):
        distances.kernel_distance(x, y, subsets=0)
    with pytest.raises(ValueError, match="too few for a kernel distance"):
        distances.kernel_distance(x, y[:1])


def brute_share(points: list[list[float]], among: list[list[float]], k: int) -> float:
    reach = [sorted(dist(a, b) for j, b in enumerate(among) if j != i)[k - 1] for i, a in enumerate(among)]
    inside = [any(dist(p, a) <= r for a, r in zip(among, reach, strict=True)) for p in points]
    return sum(inside) / len(inside)


@pytest.mark.parametrize("chunk", [4, 1024])
@pytest.mark.parametrize("neighbours", [1, 3, 5])
def test_precision_and_recall_are_brute_force(neighbours: int, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both shares are those of plain loops, where neither is 0 or 1."""
    monkeypatch.setattr(metrics, "CHUNK", chunk)
    real, fake = normal(35, 2, seed=11), normal(28, 2, seed=12, offset=1.5)
    found = metrics.precision_and_recall(real, fake, neighbours)
    lists = real.double().tolist(), fake.double().tolist()
    expected = brute_share(lists[1], lists[0], neighbours), brute_share(*lists, neighbours)
    assert found == pytest.approx(expected)
    assert 0 < found[0] < 1
    assert found[0] != found[1]


def test_equal_rows_are_at_distance_zero() -> None:
    """What rounding leaves of the distance of equal rows, of either sign, is taken for 0, and nothing else is."""
    rows = normal(30, 300, seed=24, offset=100).double()
    squared = metrics._squared(rows, rows[:7])
    assert squared.diagonal().tolist() == [0] * 7
    expected = torch.cdist(rows, rows[:7], compute_mode="donot_use_mm_for_euclid_dist").square()
    torch.testing.assert_close(squared, expected, rtol=1e-8, atol=0)


def test_precision_without_recall() -> None:
    """A generator that copies few of the pictures is precise but recalls little, also far from the origin."""
    real = normal(50, 300, seed=13, offset=100)
    few = real[:5].repeat(4, 1)
    precision, recall = metrics.precision_and_recall(real, few)
    assert precision == 1
    assert recall == 5 / 50  # each has three copies, so it reaches nothing but itself
    assert metrics.precision_and_recall(real, real) == (1, 1)
    assert metrics.precision_and_recall(real, real + 1e3) == (0, 0)
    with pytest.raises(ValueError, match="3 rows are too few for 3 neighbours: give at least 4"):
        metrics.precision_and_recall(real, few[:3])


def test_inception_score_in_closed_form() -> None:
    """1 where all rows are equal, the number of classes where they are certain and balanced, and between by hand."""
    assert metrics.inception_score(torch.full((40, 7), 1 / 7)) == pytest.approx((1, 0))
    certain = torch.eye(5).repeat(20, 1)
    assert metrics.inception_score(certain) == pytest.approx((5, 0))
    rows = torch.tensor([[0.9, 0.1], [0.3, 0.7]])  # marginal 0.6, 0.4
    divergence = (0.9 * log(0.9 / 0.6) + 0.1 * log(0.1 / 0.4) + 0.3 * log(0.3 / 0.6) + 0.7 * log(0.7 / 0.4)) / 2
    assert metrics.inception_score(rows, splits=1) == pytest.approx((exp(divergence), 0), abs=1e-6)


def test_inception_score_over_splits() -> None:
    """Mean and population deviation over consecutive runs of rows: one certain and balanced, one of a single class."""
    rows = torch.eye(2)[[0, 1, 0, 1, 0, 0, 0, 0]]
    assert metrics.inception_score(rows, splits=2) == pytest.approx((1.5, 0.5))
    for wrong, message in [(rows[:1], "1 rows are too few for 2"), (rows * 2, "add up to 1"), (rows * 2 - 0.5, "at")]:
        with pytest.raises(ValueError, match=message):
            metrics.inception_score(wrong, splits=2)


def test_r_precision_by_loops() -> None:
    """The share of rows whose own cosine is the greatest, which lengths of vectors do not change."""
    pictures, noise = normal(40, 5, seed=14), normal(40, 5, seed=15)
    captions = pictures + 1.5 * noise
    others = torch.stack([captions.roll(shift, 0) for shift in range(1, 8)], dim=1)
    right = 0
    for i in range(40):
        rows = [captions[i].tolist(), *others[i].tolist()]
        cosines = [float(np.dot(pictures[i].tolist(), row) / np.linalg.norm(row)) for row in rows]
        right += cosines[0] > max(cosines[1:])
    assert 5 < right < 35
    assert metrics.r_precision(pictures, captions, others) == right / 40
    scale = torch.rand(40, 1, generator=torch.Generator().manual_seed(0)) + 0.1
    assert metrics.r_precision(pictures * scale, captions / scale, others * scale.unsqueeze(2)) == right / 40
    assert metrics.r_precision(pictures, pictures, others) == 1


def test_ties_are_wrong_in_r_precision() -> None:
    """Where pictures and captions collapse to one vector, whatever its width and number, nothing is retrieved."""
    for width in (3, 17, 128):
        for k in (1, 5, 99):
            row = normal(1, width, seed=16)
            found = metrics.r_precision(row.expand(6, -1), row.expand(6, -1), row.expand(6, k, -1))
            assert found == 0
    with pytest.raises(ValueError, match=r"others are \(6, 0, 2\)"):
        metrics.r_precision(torch.ones(6, 2), torch.ones(6, 2), torch.ones(6, 0, 2))


@pytest.mark.parametrize("chunk", [5, 1024])
def test_retrieval_by_sorting(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recall both ways is that of sorted cosines, for pictures with none, one or several captions."""
    monkeypatch.setattr(metrics, "CHUNK", chunk)
    rng = np.random.default_rng(17)
    pictures = rng.normal(size=(30, 6))
    owner = rng.integers(0, 29, size=50)  # the last has none
    captions = pictures[owner] + rng.normal(size=(50, 6))
    cosines = (captions / np.linalg.norm(captions, axis=1, keepdims=True)) @ (
        pictures / np.linalg.norm(pictures, axis=1, keepdims=True)
    ).T
    found = metrics.retrieval(torch.tensor(pictures), torch.tensor(captions), torch.tensor(owner), among=(1, 3))
    for k in (1, 3):
        hits = [owner[i] in np.argsort(-cosines[i])[:k] for i in range(50)]
        assert found[f"picture_of_caption_at_{k}"] == pytest.approx(np.mean(hits))
        back = [bool((owner[np.argsort(-cosines[:, i])[:k]] == i).any()) for i in range(30) if i in owner]
        assert found[f"caption_of_picture_at_{k}"] == pytest.approx(np.mean(back))
        assert 0.1 < np.mean(hits) < 0.95
    with pytest.raises(ValueError, match="from 0 to 29"):
        metrics.retrieval(torch.tensor(pictures), torch.tensor(captions), torch.tensor(owner + 2))


def test_ties_are_wrong_in_retrieval() -> None:
    """Features that are all alike retrieve nothing among fewer than there are."""
    same = normal(1, 33, seed=18)
    found = metrics.retrieval(same.expand(7, -1), same.expand(7, -1), torch.arange(7), among=(1, 6, 7))
    assert set(found.values()) == {0, 1}
    assert all(value == name.endswith("_7") for name, value in found.items())


def test_nearest_is_brute_force() -> None:
    """Distances and indices are those of plain loops, whatever the chunks; the first of equal rows is named."""
    queries, data = normal(9, 3, seed=19), normal(23, 3, seed=20)
    data[17] = data[5]
    queries[2] = data[17]
    expected = [min((dist(q, d), i) for i, d in enumerate(data.double().tolist())) for q in queries.double().tolist()]
    for given in (iter(data.split([3, 15, 5])), data.split(1), [data]):
        distances, indices = metrics.nearest(queries, given)
        assert indices.tolist() == [i for _, i in expected]
        np.testing.assert_allclose(distances, [d for d, _ in expected], rtol=1e-12)
    assert (float(distances[2]), int(indices[2])) == (0, 5)


def test_nearest_is_exact_far_from_the_origin() -> None:
    """A small distance of great vectors does not drown in the rounding of a product of matrices."""
    data = normal(10, 64, seed=23).double() + 1e4
    queries = data[[4, 8]] + torch.tensor([[1e-2], [1e-3]])
    distances, indices = metrics.nearest(queries, [data])
    assert indices.tolist() == [4, 8]
    np.testing.assert_allclose(distances, [8e-2, 8e-3], rtol=1e-6)


def test_nearest_pictures_in_raw_pixels() -> None:
    """A memorised picture of bytes has distance 0, and one that differs by one level in one pixel 1."""
    rng = np.random.default_rng(21)
    data = torch.tensor(rng.integers(0, 255, size=(12, 3, 8, 8)), dtype=torch.uint8)
    queries = data[[7, 3]].clone()
    queries[1, 0, 4, 4] += 1
    distances, indices = metrics.nearest(queries, data.split(5))
    assert (distances.tolist(), indices.tolist()) == ([0, 1], [7, 3])
    with pytest.raises(ValueError, match="192 and 48 wide"):
        metrics.nearest(queries, [data[:, :, ::2, ::2]])


def test_diversity_is_the_mean_over_groups() -> None:
    """Each group counts alike, each pair in it alike; a group of one picture does not count."""
    rows = normal(12, 3, seed=22)
    groups = [4, 9, 4, 0, 9, 4, 4, 7, 9, 4, 0, 4]
    listed = rows.double().tolist()
    means = []
    for group in (0, 4, 9):
        members = [row for row, mine in zip(listed, groups, strict=True) if mine == group]
        means.append(np.mean([dist(a, b) for a, b in combinations(members, 2)]))
    assert metrics.diversity(rows, torch.tensor(groups)) == pytest.approx(np.mean(means), rel=1e-12)
    assert metrics.diversity(torch.ones(6, 2), torch.tensor([0, 0, 0, 1, 1, 1])) == 0
    with pytest.raises(ValueError, match="no group has two"):
        metrics.diversity(rows, torch.arange(12))
    with pytest.raises(ValueError, match="one of each of the 12"):
        metrics.diversity(rows, torch.arange(11))
