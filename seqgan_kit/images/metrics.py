"""How good and how varied pictures are, from their features; all in float64 on the CPU, whatever comes in.

Features are (n, d) floats, a row a picture. Distances are Euclidean. Nothing of size (n, n) is kept: rows are compared
a chunk at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from seqgan_kit.algorithms.distances import CHUNK, check_rows, check_widths, matrix, two

TIE = 1e-9  # cosines that differ by less are equal: the rounding of a sum depends on where the row stands


def precision_and_recall(real: Tensor, fake: Tensor, neighbours: int = 3) -> tuple[float, float]:
    """Shares of fake pictures among the real, and of real among the fake (Kynkaanniemi et al. 2019, eq. 1-2).

    A set reaches as far around each of its points as that point's k-th nearest neighbour in the set, itself not
    counted. real: (n, d). fake: (m, d). Raises ValueError for `neighbours` rows or fewer, or unlike widths.
    """
    real, fake = two(real, fake)
    if neighbours < 1:
        raise ValueError(f"{neighbours} neighbours: give at least 1")
    check_rows(min(len(real), len(fake)), neighbours + 1, f"{neighbours} neighbours")
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
    rows = matrix(probabilities, "probabilities")
    if splits < 1:
        raise ValueError(f"{splits} splits: give at least 1")
    check_rows(len(rows), splits, f"{splits} splits")
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
    pictures, captions = two(pictures, captions)
    if len(pictures) != len(captions):
        raise ValueError(f"{len(pictures)} rows and {len(captions)}: give pairs")
    if others.ndim != 3 or (len(others), others.shape[2]) != tuple(pictures.shape) or others.shape[1] == 0:
        raise ValueError(f"others are {tuple(others.shape)}: give ({len(pictures)}, k, {pictures.shape[1]}), k >= 1")
    check_rows(len(pictures), 1, "R-precision")
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
    pictures, captions = two(pictures, captions)
    owner = owner.cpu()
    check_rows(min(len(pictures), len(captions)), 1, "retrieval")
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


def nearest(queries: Tensor, data: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """The nearest row of the data to each query: distances (q,) and row numbers (q,), the first of equally near ones.

    To find memorised pictures, in features or in raw pixels. queries: (q, d), or pictures (q, ...), of any number
    type. data: chunks of (n, d) likewise, which are read once. A copy has distance 0, not what rounding leaves.
    Raises ValueError for unlike widths.
    """
    queries = queries.flatten(1).cpu().double()
    distances = torch.full((len(queries),), torch.inf, dtype=torch.float64)
    indices, start = torch.zeros(len(queries), dtype=torch.long), 0
    for part in data:
        rows = part.flatten(1).cpu().double()
        check_widths(queries, rows)
        at = _squared(queries, rows).argmin(1)
        found = (queries - rows[at]).square().sum(1).sqrt()  # free of what the product of matrices rounds off
        indices = torch.where(found < distances, at + start, indices)
        distances = torch.minimum(found, distances)
        start += len(rows)
    return distances, indices


def diversity(features: Tensor, groups: Tensor) -> float:
    """The mean over groups of the mean distance of two pictures of the group: how unlike pictures of one caption are.

    features: (n, d). groups: (n,) integers, the caption of each. Groups of one picture say nothing and are left out.
    Raises ValueError where no group has two.
    """
    rows, groups = matrix(features, "features"), groups.cpu()
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
