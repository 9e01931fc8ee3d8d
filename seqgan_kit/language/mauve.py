"""MAUVE (Pillutla et al. 2021): how alike two sets of texts are, from their vectors.

"MAUVE: Measuring the Gap Between Neural Text and Human Text using Divergence Frontiers", section 2 and appendix C.
"""

from __future__ import annotations

from math import inf

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from seqgan_kit.algorithms.distances import check_rows, two

SCALE = 5.0  # c of eq. 2
MIXTURES = 25  # points of the frontier
VARIANCE = 0.9  # what the principal components that are kept explain
RESTARTS, ITERATIONS = 5, 100  # of k-means


def mauve(x: Tensor, y: Tensor, clusters: int | None = None, seed: int = 0) -> float:
    """Area under the divergence frontier of two samples: 1 where they can't be told apart, near 0 where they can.

    x: (n, d) vectors of texts. y: (m, d). They are scaled to norm 1, turned onto the principal components that
    explain 90 % of the variance, and quantised together by k-means. clusters: unset takes a tenth of the smaller
    sample, at least 2, as the paper does. The value depends on the embedder, the sizes of the samples and the number
    of clusters: compare only numbers where these are equal. Deterministic in the seed.

    Raises ValueError for fewer than 2 rows, unlike widths, or clusters that are not between 2 and the rows.
    """
    first, second = two(x, y)
    check_rows(min(len(first), len(second)), 2, "MAUVE")
    count = max(2, round(min(len(first), len(second)) / 10)) if clusters is None else clusters
    rows = _principal(F.normalize(torch.cat([first, second]), dim=1))
    at = k_means(rows, count, seed)
    p, q = (torch.bincount(part, minlength=count).double() for part in (at[: len(first)], at[len(first) :]))
    return frontier_area(p / p.sum(), q / q.sum())


def frontier_area(p: Tensor, q: Tensor, scale: float = SCALE, mixtures: int = MIXTURES) -> float:
    """The area under (exp -c KL(q || r), exp -c KL(p || r)), r = w p + (1 - w) q, w from 0 to 1 (eq. 1 and 2).

    p, q: (k,) probabilities. The curve begins at (0, 1) and ends at (1, 0). It is symmetric in p and q. Raises
    ValueError for unlike shapes and for what are no probabilities.
    """
    if p.ndim != 1 or p.shape != q.shape:
        raise ValueError(f"{tuple(p.shape)} and {tuple(q.shape)}: give two distributions over the same clusters")
    for one in (p, q):
        if not (bool((one >= 0).all()) and abs(float(one.sum()) - 1) < 1e-6):
            raise ValueError("probabilities must be at least 0 and add up to 1")
    p, q = p.double(), q.double()
    curve = [(0.0, inf)]
    for w in np.linspace(1e-6, 1 - 1e-6, mixtures):
        r = w * p + (1 - w) * q
        curve.append((_divergence(q, r), _divergence(p, r)))
    curve.append((inf, 0.0))
    across, up = np.exp(-scale * np.array(curve)).T
    # the exact curve falls; whichever axis the trapezoids stand on, they are off by as much in turn
    ways = [(across, up), (up, across)]
    areas = [np.trapezoid(b[np.lexsort((-b, a))], a[np.lexsort((-b, a))]) for a, b in ways]
    return float(sum(areas) / 2)


def k_means(rows: Tensor, clusters: int, seed: int = 0) -> Tensor:
    """The cluster of each row, (n,) in 0..clusters - 1: Lloyd's algorithm from k-means++, the best of 5 starts.

    rows: (n, d) floats. Some clusters may stay empty where rows are equal. Deterministic in the seed. Raises
    ValueError unless 1 <= clusters <= n.
    """
    if not 1 <= clusters <= len(rows):
        raise ValueError(f"{clusters} clusters of {len(rows)} rows: give from 1 to as many")
    generator = torch.Generator().manual_seed(seed)
    best, least = torch.zeros(len(rows), dtype=torch.int64), inf
    for _ in range(RESTARTS):
        centres = _plus_plus(rows, clusters, generator)
        at = torch.cdist(rows, centres).argmin(1)
        for _ in range(ITERATIONS):
            sums = torch.zeros_like(centres).index_add_(0, at, rows)
            counts = torch.bincount(at, minlength=clusters).unsqueeze(1)
            centres = torch.where(counts > 0, sums / counts.clamp_min(1), centres)
            before, at = at, torch.cdist(rows, centres).argmin(1)
            if torch.equal(before, at):
                break
        inertia = float((rows - centres[at]).square().sum())
        if inertia < least:
            best, least = at, inertia
    return best


def _plus_plus(rows: Tensor, clusters: int, generator: torch.Generator) -> Tensor:
    """Rows drawn by their squared distance from those drawn before (Arthur and Vassilvitskii 2007)."""
    chosen = [int(torch.randint(len(rows), (1,), generator=generator))]
    squared = torch.full((len(rows),), inf, dtype=rows.dtype)
    while len(chosen) < clusters:
        squared = torch.minimum(squared, (rows - rows[chosen[-1]]).square().sum(1))
        weights = squared if bool(squared.sum() > 0) else torch.ones_like(squared)
        chosen.append(int(torch.multinomial(weights, 1, generator=generator)))
    return rows[chosen]


def _principal(rows: Tensor) -> Tensor:
    """(n, d) -> (n, k): the fewest principal components that explain 90 % of the variance."""
    centred = rows - rows.mean(0)
    values, vectors = torch.linalg.eigh(centred.mT @ centred)
    shares = values.clamp_min(0).flip(0).cumsum(0)
    kept = int((shares < VARIANCE * shares[-1]).sum()) + 1
    return centred @ vectors.flip(1)[:, :kept]


def _divergence(p: Tensor, r: Tensor) -> float:
    """KL(p || r) in nats; r is above 0 wherever p is."""
    inside = p > 0
    return float((p[inside] * (p[inside] / r[inside]).log()).sum())
