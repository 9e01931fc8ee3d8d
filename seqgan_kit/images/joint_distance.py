"""How far pictures and their captions, taken together, are from held-out ones."""

from __future__ import annotations

import torch
from torch import Tensor

from seqgan_kit.algorithms.distances import CHUNK, check_rows, matrix, mmd_influences, two
from seqgan_kit.engine.verdict import Score

JOINT = "joint_distance"
LEAST = 3  # pictures on a side
SCALES = (1, 4, 16)
MOST = 1000  # real pictures that the median is of


def joint_distance(vectors: Tensor, told: Tensor, held_out: Tensor, of_held_out: Tensor) -> Score:
    """Unbiased squared MMD of pairs of picture and caption: 0 is none, below 0 is chance, 2 the most.

    The kernel of two pairs is the mean of rational quadratic ones of the pictures' features, (1 + d^2 / s)^-1/2
    (Binkowski et al. 2018), s the median of d^2 of real pictures, a quarter and a 16th of it, times half of 1 + the
    cosine of the captions: pictures that are good and various, but of other captions, are far away, as are pictures
    that are alike. The joint space is that of DeVries et al. 2019, "On the Evaluation of Conditional GANs", whose
    Gaussians need more pictures than dimensions.

    vectors: (n, d) features of pictures. told: (n, w) unit vectors of their captions. held_out, of_held_out: the same,
    (m, d) and (m, w), of the real pairs, which the rows of the score are. Raises ValueError for fewer than 3 rows or
    unlike widths.
    """
    made, real = two(vectors, held_out)
    check_rows(min(len(made), len(real)), LEAST, "a joint distance")
    scale = float(torch.pdist(real[:MOST]).square().median().clamp_min(1e-12))
    one, other = (made, matrix(told, "captions")), (real, matrix(of_held_out, "captions"))
    within = [_sums(pairs, pairs, scale) - (1 + pairs[1].square().sum(1)) / 2 for pairs in (one, other)]
    value, own, rows = mmd_influences(within[0], within[1], _sums(one, other, scale), _sums(other, one, scale))
    return Score(value, float(own.std() / len(own) ** 0.5), rows)


Pairs = tuple[Tensor, Tensor]


def _sums(a: Pairs, b: Pairs, scale: float) -> Tensor:
    """The kernel of each pair of a, summed over those of b."""
    parts = zip(a[0].split(CHUNK), a[1].split(CHUNK), strict=True)
    return torch.cat([(_seen(torch.cdist(x, b[0]).square() / scale) * (1 + c @ b[1].mT)).sum(1) / 2 for x, c in parts])


def _seen(squared: Tensor) -> Tensor:
    """The kernel of pictures, of their squared distances over the median."""
    return sum(((1 + squared * finer) ** -0.5 for finer in SCALES), torch.zeros(())) / len(SCALES)
