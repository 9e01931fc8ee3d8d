"""Means of a few values and their intervals."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

LEVEL = 0.95


class Spread(NamedTuple):
    """Of some values: their number, mean, standard deviation (n - 1), and half of the mean's 95 % interval."""

    runs: int
    mean: float
    deviation: float
    half: float

    def __str__(self) -> str:
        low, high = self.mean - self.half, self.mean + self.half
        return f"{self.mean:.4f} ± {self.deviation:.4f} [{low:.4f}, {high:.4f}]"


def student_t(freedom: float, level: float = LEVEL) -> float:
    """t with P(-t < T < t) = level, for Student's T of that many degrees of freedom, which need not be whole.

    With T = sqrt(f) tan(a), P(|T| < t) is the integral of cos^(f - 1) from 0 to a over that from 0 to pi / 2.
    Raises ValueError for less than 1 degree of freedom and for levels not between 0 and 1.
    """
    if not (freedom >= 1 and 0 < level < 1):
        raise ValueError(f"{freedom} degrees of freedom, level {level}: give at least 1, and a level between 0 and 1")
    whole = math.sqrt(math.pi) / 2 * math.exp(math.lgamma(freedom / 2) - math.lgamma((freedom + 1) / 2))
    places, weights = np.polynomial.legendre.leggauss(200)

    def inside(angle: float) -> float:
        return float(angle / 2 * (weights * np.cos(angle / 2 * (places + 1)) ** (freedom - 1)).sum()) / whole

    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if inside(middle) < level else (low, middle)
    return math.sqrt(freedom) * math.tan((low + high) / 2)


def spread(values: Sequence[float]) -> Spread:
    """Mean, standard deviation and Student's interval. Raises ValueError for fewer than 2 values."""
    count = len(values)
    if count < 2:
        raise ValueError(f"{count} values have no interval: give at least 2")
    mean, deviation = float(np.mean(values)), float(np.std(values, ddof=1))
    return Spread(count, mean, deviation, student_t(count - 1) * deviation / math.sqrt(count))


def welch(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """The difference of the means, second - first, and half of its 95 % interval (Welch 1947).

    The variances need not be equal; degrees of freedom after Satterthwaite. Raises ValueError for fewer than 2 values.
    """
    one, other = spread(first), spread(second)
    parts = [group.deviation**2 / group.runs for group in (one, other)]
    error, difference = sum(parts), other.mean - one.mean
    if error == 0 or not math.isfinite(error):
        return difference, error
    freedom = error**2 / sum(part**2 / (group.runs - 1) for part, group in zip(parts, (one, other), strict=True))
    return difference, student_t(max(1.0, freedom)) * math.sqrt(error)
