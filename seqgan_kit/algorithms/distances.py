"""How far apart two sets of feature vectors are; all in float64 on the CPU, whatever comes in.

Features are (n, d) floats, a row a picture or a sentence. Nothing of size (n, n) is kept: rows are compared a chunk at
a time.
"""

from __future__ import annotations

from math import nan

import torch
from torch import Tensor

CHUNK = 1024  # rows compared at a time


class Moments:
    """Mean and scatter of all rows added so far, in whatever chunks they came (Chan et al. 1979).

    count: rows. mean: (d,). scatter: (d, d), the sum of outer products of what rows differ by from the mean.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = torch.zeros(0, dtype=torch.float64)
        self.scatter = torch.zeros(0, 0, dtype=torch.float64)

    def add(self, features: Tensor) -> None:
        """features: (n, d). Raises ValueError where the width is not that of earlier rows."""
        rows = matrix(features, "features")
        if len(rows) == 0:
            return
        chunk = Moments()
        chunk.count, chunk.mean = len(rows), rows.mean(0)
        centred = rows - chunk.mean
        chunk.scatter = centred.mT @ centred
        self.merge(chunk)

    def merge(self, other: Moments) -> None:
        """As if the other's rows had been added here, for sums over processes."""
        if other.count == 0:
            return
        if self.count == 0:
            self.count, self.mean, self.scatter = other.count, other.mean.clone(), other.scatter.clone()
            return
        check_widths(self.mean, other.mean)
        total = self.count + other.count
        apart = other.mean - self.mean
        self.scatter += other.scatter
        self.scatter.addr_(apart, apart, alpha=self.count * other.count / total)
        self.mean += apart * (other.count / total)
        self.count = total

    def covariance(self) -> Tensor:
        """(d, d), divided by count - 1. Raises ValueError for fewer than 2 rows."""
        check_rows(self.count, 2, "a covariance")
        return self.scatter / (self.count - 1)


def frechet_distance(a: Moments, b: Moments) -> float:
    """|m_a - m_b|^2 + tr(A + B - 2 (AB)^1/2): FID, of Gaussians with the two moments (Heusel et al. 2017).

    tr (AB)^1/2 = tr (A^1/2 B A^1/2)^1/2, of symmetric matrices, so nothing is approximated where features are fewer
    than their width. The distance of samples is too large by about 1/n: compare only equal numbers of
    pictures or sentences. NaN where features were not finite. Raises ValueError for fewer than 2 rows or unlike widths.
    """
    check_widths(a.mean, b.mean)
    first, second = a.covariance(), b.covariance()
    apart = (a.mean - b.mean).square().sum()
    if not (first.isfinite().all() and second.isfinite().all() and apart.isfinite()):
        return nan
    values, vectors = torch.linalg.eigh(first)
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.mT
    shared = torch.linalg.eigvalsh(root @ second @ root).clamp_min(0).sqrt().sum()
    return max(0.0, float(apart + first.trace() + second.trace() - 2 * shared))


def kernel_distance(x: Tensor, y: Tensor, subsets: int | None = None, size: int = 1000, seed: int = 0) -> float:
    """KID: unbiased squared MMD under the kernel (x.y / d + 1)^3 (Binkowski et al. 2018, eq. 4); may be negative.

    x: (n, d). y: (m, d). subsets: the mean over so many draws of `size` rows of each without replacement, as the paper
    estimates it; None compares all rows, which has the same mean and less variance. Both are deterministic in the seed.
    Raises ValueError for fewer than 2 rows or unlike widths.
    """
    first, second = two(x, y)
    check_rows(min(len(first), len(second)), 2, "a kernel distance")
    if subsets is None:
        return _unbiased_mmd(first, second)
    if subsets < 1 or size < 2:
        raise ValueError(f"{subsets} subsets of {size} rows: give at least 1 of at least 2")
    generator = torch.Generator().manual_seed(seed)

    def draw(rows: Tensor) -> Tensor:
        return rows[torch.randperm(len(rows), generator=generator)[:size]]

    return sum(_unbiased_mmd(draw(first), draw(second)) for _ in range(subsets)) / subsets


def kernel_distance_interval(x: Tensor, y: Tensor) -> tuple[float, float]:
    """`kernel_distance` of all rows, and half of its 95 % interval, by the jackknife over the rows of either set.

    Of few pictures the estimate is wide: one that includes 0 says that no difference was found.
    x: (n, d). y: (m, d). Raises ValueError for fewer than 3 rows or unlike widths.
    """
    first, second = two(x, y)
    check_rows(min(len(first), len(second)), 3, "the interval of a kernel distance")
    value, one, other = mmd_influences(*kernel_sums(first, second))
    variance = sum(rows.var() / len(rows) for rows in (one, other))
    return value, 1.96 * float(torch.as_tensor(variance).sqrt())


def kernel_sums(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The sums of the kernel that `mmd_influences` takes. x: (n, d). y: (m, d), float64."""
    return _row_sums(x, x), _row_sums(y, y), _row_sums(x, y), _row_sums(y, x)


def mmd_influences(within: Tensor, others: Tensor, across: Tensor, back: Tensor) -> tuple[float, Tensor, Tensor]:
    """The unbiased squared MMD of two sets (Gretton et al. 2012, "A Kernel Two-Sample Test", lemma 6), and what each of
    their rows adds to its error, (n,) and (m,): the jackknife's pseudo-values less their mean, so that the variance is
    the sum of both sets' var / rows.

    Arguments: the kernel of each row summed over the others of its own set, (n,) and (m,), and over the other set's
    rows, (n,) and (m,).
    """
    between = across.sum()
    value = _mmd(within, others, between)
    return value, _influences(within, across, between, len(others)), _influences(others, back, between, len(within))


def _influences(within: Tensor, across: Tensor, between: Tensor, others: int) -> Tensor:
    """Of the rows of one set, (n,), by leaving out each."""
    n = len(within)
    left = (within.sum() - 2 * within) / ((n - 1) * (n - 2)) - 2 * (between - across) / ((n - 1) * others)
    return (n - 1) * (left.mean() - left)


def _unbiased_mmd(x: Tensor, y: Tensor) -> float:
    return _mmd(_row_sums(x, x), _row_sums(y, y), _row_sums(x, y).sum())


def _mmd(within: Tensor, others: Tensor, between: Tensor) -> float:
    n, m = len(within), len(others)
    return float(within.sum() / (n * (n - 1)) + others.sum() / (m * (m - 1)) - 2 * between / (n * m))


def _row_sums(a: Tensor, b: Tensor) -> Tensor:
    """The kernel of each row of a, (n, d), summed over the rows of b, (m, d): (n,). Of a set with itself, but for the
    row itself."""
    sums = torch.cat([_kernel(rows @ b.mT, b.shape[1]).sum(1) for rows in a.split(CHUNK)])
    return sums - _kernel(a.square().sum(1), a.shape[1]) if a is b else sums


def _kernel(products: Tensor, width: int) -> Tensor:
    return (products / width + 1) ** 3


def matrix(rows: Tensor, name: str) -> Tensor:
    if rows.ndim != 2:
        raise ValueError(f"{name} are {tuple(rows.shape)}: give (rows, width)")
    return rows.detach().cpu().double()


def two(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    first, second = matrix(x, "the first"), matrix(y, "the second")
    check_widths(first, second)
    return first, second


def check_widths(x: Tensor, y: Tensor) -> None:
    if x.shape[-1] != y.shape[-1]:
        raise ValueError(f"features {x.shape[-1]} and {y.shape[-1]} wide can't be compared: take both from one network")


def check_rows(rows: int, least: int, what: str) -> None:
    if rows < least:
        raise ValueError(f"{rows} rows are too few for {what}: give at least {least}")
