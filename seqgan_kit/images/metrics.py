"""How good and how varied pictures are, from their features; all in float64 on the CPU, whatever comes in.

Features are (n, d) floats, a row a picture. Distances are Euclidean. Nothing of size (n, n) is kept: rows are compared
a chunk at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import nan

import torch
from torch import Tensor
from torch.nn import functional as F

CHUNK = 1024  # rows compared at a time
TIE = 1e-9  # cosines that differ by less are equal: the rounding of a sum depends on where the row stands


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
        rows = _matrix(features, "features")
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
        _check_widths(self.mean, other.mean)
        total = self.count + other.count
        apart = other.mean - self.mean
        self.scatter += other.scatter
        self.scatter.addr_(apart, apart, alpha=self.count * other.count / total)
        self.mean += apart * (other.count / total)
        self.count = total

    def covariance(self) -> Tensor:
        """(d, d), divided by count - 1. Raises ValueError for fewer than 2 rows."""
        _check_rows(self.count, 2, "a covariance")
        return self.scatter / (self.count - 1)


def frechet_distance(a: Moments, b: Moments) -> float:
    """|m_a - m_b|^2 + tr(A + B - 2 (AB)^1/2): FID, of Gaussians with the two moments (Heusel et al. 2017).

    tr (AB)^1/2 = tr (A^1/2 B A^1/2)^1/2, of symmetric matrices, so nothing is approximated where features are fewer
    than their width. The distance of samples is too large by about 1/n: compare only numbers of equally many pictures.
    NaN where features were not finite. Raises ValueError for fewer than 2 rows or unlike widths.
    """
    _check_widths(a.mean, b.mean)
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
    first, second = _two(x, y)
    _check_rows(min(len(first), len(second)), 2, "a kernel distance")
    if subsets is None:
        return _unbiased_mmd(first, second)
    if subsets < 1 or size < 2:
        raise ValueError(f"{subsets} subsets of {size} rows: give at least 1 of at least 2")
    generator = torch.Generator().manual_seed(seed)

    def draw(rows: Tensor) -> Tensor:
        return rows[torch.randperm(len(rows), generator=generator)[:size]]

    return sum(_unbiased_mmd(draw(first), draw(second)) for _ in range(subsets)) / subsets


def _unbiased_mmd(x: Tensor, y: Tensor) -> float:
    def total(a: Tensor, b: Tensor) -> Tensor:
        return torch.stack([_kernel(rows @ b.mT, b.shape[1]).sum() for rows in a.split(CHUNK)]).sum()

    def within(a: Tensor) -> Tensor:
        itself = _kernel(a.square().sum(1), a.shape[1]).sum()
        return (total(a, a) - itself) / (len(a) * (len(a) - 1))

    return float(within(x) + within(y) - 2 * total(x, y) / (len(x) * len(y)))


def _kernel(products: Tensor, width: int) -> Tensor:
    return (products / width + 1) ** 3


def precision_and_recall(real: Tensor, fake: Tensor, neighbours: int = 3) -> tuple[float, float]:
    """Shares of fake pictures among the real, and of real among the fake (Kynkaanniemi et al. 2019, eq. 1-2).

    A set reaches as far around each of its points as that point's k-th nearest neighbour in the set, itself not
    counted. real: (n, d). fake: (m, d). Raises ValueError for `neighbours` rows or fewer, or unlike widths.
    """
    real, fake = _two(real, fake)
    if neighbours < 1:
        raise ValueError(f"{neighbours} neighbours: give at least 1")
    _check_rows(min(len(real), len(fake)), neighbours + 1, f"{neighbours} neighbours")
    return _share_inside(fake, real, neighbours), _share_inside(real, fake, neighbours)


def _share_inside(points: Tensor, among: Tensor, neighbours: int) -> float:
    """The share of points that lie within reach of any row of `among`."""
    reach = torch.cat([_reach(rows, start, among, neighbours) for start, rows in _chunks(among, CHUNK)])
    inside = torch.cat([(_squared(rows, among) <= reach).any(1) for _, rows in _chunks(points, CHUNK)])
    return float(inside.double().mean())


def _reach(rows: Tensor, start: int, among: Tensor, neighbours: int) -> Tensor:
    """Squared distance of each row to its k-th nearest neighbour; rows: those of `among` from `start` on."""
    squared = _squared(rows, among)
    squared[:, start : start + len(rows)].fill_diagonal_(torch.inf)  # a row is not its own neighbour
    return squared.kthvalue(neighbours, dim=1).values


def inception_score(probabilities: Tensor, splits: int = 10) -> tuple[float, float]:
    """Mean and standard deviation, over splits, of exp E KL(p(class | picture) || p(class)) (Salimans et al. 2016).

    probabilities: (n, classes), rows that add up to 1, in an order that does not depend on the class: splits are runs
    of rows, as in the paper's code. Raises ValueError for fewer rows than splits, and for what are no probabilities.
    """
    rows = _matrix(probabilities, "probabilities")
    if splits < 1:
        raise ValueError(f"{splits} splits: give at least 1")
    _check_rows(len(rows), splits, f"{splits} splits")
    if not (bool((rows >= 0).all()) and bool((rows.sum(1) - 1).abs().max() < 1e-3)):
        raise ValueError("probabilities must be at least 0, and each row must add up to 1")
    scores = []
    for part in torch.tensor_split(rows, splits):
        marginal = part.mean(0)
        divergence = torch.xlogy(part, part).sum(1) - torch.xlogy(part, marginal).sum(1)
        scores.append(divergence.mean().exp())
    found = torch.stack(scores)
    return float(found.mean()), float(found.std(correction=0))


def r_precision(pictures: Tensor, captions: Tensor, others: Tensor) -> float:
    """Share of pictures nearer, by cosine, to their own caption than to k others (Xu et al. 2018, with k = 99).

    pictures, captions: (n, d), in the same space, row i of one belongs to row i of the other. others: (n, k, d), the
    mismatched captions of each picture. Ties count as wrong, so equal captions should not be among the others.
    """
    pictures, captions = _pairs(pictures, captions)
    if others.ndim != 3 or (len(others), others.shape[2]) != tuple(pictures.shape) or others.shape[1] == 0:
        raise ValueError(f"others are {tuple(others.shape)}: give ({len(pictures)}, k, {pictures.shape[1]}), k >= 1")
    _check_rows(len(pictures), 1, "R-precision")
    right = 0
    step = max(1, CHUNK // others.shape[1])
    for start in range(0, len(pictures), step):
        rows = slice(start, start + step)
        picture = F.normalize(pictures[rows], dim=1)
        own = (picture * F.normalize(captions[rows], dim=1)).sum(1)
        wrong = (picture.unsqueeze(1) * F.normalize(others[rows].cpu().double(), dim=2)).sum(2)
        right += int((own > wrong.amax(1) + TIE).sum())
    return right / len(pictures)


def retrieval(
    pictures: Tensor, captions: Tensor, owner: Tensor, among: tuple[int, ...] = (1, 5, 10)
) -> dict[str, float]:
    """Recall at each of `among`, both ways, by cosine: `picture_of_caption_at_5`, `caption_of_picture_at_5`.

    pictures: (n, d). captions: (m, d). owner: (m,) integers, the picture of each caption. The first is the share of
    captions whose picture is among their 5 nearest; the second the share of pictures, of those that have a caption,
    with one of theirs among their 5 nearest. Ties count as wrong. Raises ValueError for shapes that are not like this.
    """
    pictures, captions = _two(pictures, captions)
    owner = owner.cpu()
    _check_rows(min(len(pictures), len(captions)), 1, "retrieval")
    if owner.shape != (len(captions),) or not bool(((owner >= 0) & (owner < len(pictures))).all()):
        raise ValueError(f"owner must be {len(captions)} numbers of pictures, from 0 to {len(pictures) - 1}")
    pictures, captions = F.normalize(pictures, dim=1), F.normalize(captions, dim=1)
    before_picture, before_caption = [], []  # how many wrong ones come first, or tie
    for start, rows in _chunks(captions, CHUNK):
        cosines = rows @ pictures.mT
        mine = cosines.gather(1, owner[start : start + len(rows)].unsqueeze(1))
        before_picture.append((cosines >= mine - TIE).sum(1) - 1)
    for start, rows in _chunks(pictures, CHUNK):
        cosines = rows @ captions.mT
        own = owner == torch.arange(start, start + len(rows)).unsqueeze(1)
        best = cosines.masked_fill(~own, -torch.inf).amax(1, keepdim=True)
        before_caption.append(((cosines >= best - TIE) & ~own).sum(1)[own.any(1)])
    ways = {"picture_of_caption": torch.cat(before_picture), "caption_of_picture": torch.cat(before_caption)}
    return {f"{way}_at_{k}": float((ranks < k).double().mean()) for way, ranks in ways.items() for k in among}


def nearest(queries: Tensor, data: Tensor | Iterable[Tensor], chunk: int = CHUNK) -> tuple[Tensor, Tensor]:
    """The nearest row of the data to each query: distances (q,) and row numbers (q,), the first of equally near ones.

    To find memorised pictures, in features or in raw pixels. queries: (q, d), or pictures (q, ...), of any number
    type. data: (n, d) likewise, or chunks of it, which are read once. A copy has distance 0, not
    what rounding leaves.
    Raises ValueError for no data or unlike widths.
    """
    queries = queries.flatten(1)
    distances = torch.full((len(queries),), torch.inf, dtype=torch.float64)
    indices = torch.zeros(len(queries), dtype=torch.long)
    start = 0
    for part in data.split(chunk) if isinstance(data, Tensor) else (p for big in data for p in big.split(chunk)):
        rows = part.flatten(1).cpu().double()
        _check_widths(queries, rows)
        if len(rows) == 0:
            continue
        for first, some in _chunks(queries, chunk):
            some = some.cpu().double()
            at = _squared(some, rows).argmin(1)
            found = (some - rows[at]).square().sum(1).sqrt()  # free of what the product of matrices rounds off
            here = slice(first, first + len(some))
            nearer = found < distances[here]
            distances[here] = torch.where(nearer, found, distances[here])
            indices[here] = torch.where(nearer, at + start, indices[here])
        start += len(rows)
    if start == 0:
        raise ValueError("there are no data to be near to")
    return distances, indices


def diversity(features: Tensor, groups: Tensor) -> float:
    """The mean over groups of the mean distance of two pictures of the group: how unlike pictures of one caption are.

    features: (n, d). groups: (n,) integers, the caption of each. Groups of one picture say nothing and are left out.
    Raises ValueError where no group has two.
    """
    rows, groups = _matrix(features, "features"), groups.cpu()
    if groups.shape != (len(rows),):
        raise ValueError(f"groups are {tuple(groups.shape)}: give one of each of the {len(rows)} pictures")
    sizes = groups.unique(return_counts=True)[1]
    ordered = rows[groups.argsort(stable=True)].split(sizes.tolist())
    means = [torch.pdist(group).mean() for group in ordered if len(group) > 1]
    if not means:
        raise ValueError("no group has two pictures: draw several for each caption")
    return float(torch.stack(means).mean())


def _squared(x: Tensor, y: Tensor) -> Tensor:
    """Squared distances, (n, d), (m, d) -> (n, m); 0 where they are nothing but rounding."""
    sizes = x.square().sum(1, keepdim=True) + y.square().sum(1)
    found = torch.addmm(sizes, x, y.mT, alpha=-2)
    return found.masked_fill_(found < 1e-13 * sizes, 0)


def _chunks(rows: Tensor, chunk: int) -> Iterator[tuple[int, Tensor]]:
    """Some rows at a time, each with the number of the first."""
    for start in range(0, len(rows), chunk):
        yield start, rows[start : start + chunk]


def _matrix(rows: Tensor, name: str) -> Tensor:
    if rows.ndim != 2:
        raise ValueError(f"{name} are {tuple(rows.shape)}: give (rows, width)")
    return rows.detach().cpu().double()


def _two(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    first, second = _matrix(x, "the first"), _matrix(y, "the second")
    _check_widths(first, second)
    return first, second


def _pairs(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    first, second = _two(x, y)
    if len(first) != len(second):
        raise ValueError(f"{len(first)} rows and {len(second)}: give pairs")
    return first, second


def _check_widths(x: Tensor, y: Tensor) -> None:
    if x.shape[-1] != y.shape[-1]:
        raise ValueError(f"features {x.shape[-1]} and {y.shape[-1]} wide can't be compared: take both from one network")


def _check_rows(rows: int, least: int, what: str) -> None:
    if rows < least:
        raise ValueError(f"{rows} rows are too few for {what}: give at least {least}")
