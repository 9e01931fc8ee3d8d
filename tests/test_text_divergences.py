"""Novelty, n-gram divergence and MAUVE against values by hand and straightforward implementations."""

from __future__ import annotations

import random
from collections import Counter
from math import log

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon

from seqgan_kit.language.mauve import frontier_area, k_means, mauve
from seqgan_kit.language.metrics import References, jensen_shannon, new_sentences, ngrams, novelty

DISJOINT = 5 * 120 * 24 / 3628800  # of the frontier ((1 - w)^5, w^5): 5 B(6, 5)


def corpus(seed: int, size: int, letters: str = "abcd") -> list[list[str]]:
    rng = random.Random(seed)
    return [rng.choices(letters, k=rng.randint(0, 7)) for _ in range(size)]


def test_novelty_by_hand() -> None:
    """Training has ab, bc and abc; "abd" and "bca" have 4 pairs, 2 of them new (bd, ca), and 2 new triples of 2."""
    training = References([list("abc"), ["d"]], 3)
    assert novelty([list("abd"), list("bca")], training, (1, 2, 3)) == {1: 0.0, 2: 2 / 4, 3: 2 / 2}
    assert novelty([list("abc"), list("abx")], training, (1, 2, 3)) == {1: 1 / 6, 2: 1 / 4, 3: 1 / 2}
    assert novelty([["a"]], training, (2,)) == {2: 0.0}


@pytest.mark.parametrize("seed", range(10))
def test_novelty_is_a_look_up_in_a_set(seed: int) -> None:
    """The share of n-grams, each as often as it stands there, that are not in the set of training's n-grams."""
    training, sentences = corpus(seed, 6), [["a"], *corpus(seed + 100, 20, "abcde")]
    found = novelty(sentences, References(training, 4), (1, 2, 3, 4))
    for n in (1, 2, 3, 4):
        known = {tuple(s[i : i + n]) for s in training for i in range(len(s) - n + 1)}
        grams = [tuple(s[i : i + n]) for s in sentences for i in range(len(s) - n + 1)]
        assert found[n] == pytest.approx(sum(gram not in known for gram in grams) / len(grams))


def test_new_sentences_counts_whole_ones() -> None:
    """Of "ab", "ab", "a" and "", training has "ab" alone, so half is new, although all n-grams of "a" are known."""
    assert new_sentences([["a", "b"], ["a", "b"], ["a"], []], {("a", "b")}) == 0.5
    assert new_sentences([[1, 2]], {(1, 2)}) == 0.0


def test_divergence_by_hand() -> None:
    """Of (1/2, 1/2) and (1, 0): the middle is (3/4, 1/4), so log(4/3)/2 + (log(2/3) + log 2)/4."""
    expected = log(4 / 3) / 2 + (log(2 / 3) + log(2)) / 4
    two, one = {("a",): 3, ("b",): 3}, {("a",): 7}
    assert jensen_shannon(two, one) == pytest.approx(expected)
    assert jensen_shannon(one, two) == pytest.approx(expected)
    assert jensen_shannon(one, {("b",): 2}) == pytest.approx(log(2))
    assert jensen_shannon(two, {("b",): 1, ("a",): 1}) == 0.0
    assert jensen_shannon({}, {}) == 0.0
    assert jensen_shannon({}, one) == jensen_shannon(one, {}) == log(2)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("n", [1, 2, 3])
def test_divergence_is_scipy_s(seed: int, n: int) -> None:
    """The square of SciPy's Jensen-Shannon distance of the two n-gram distributions, in nats."""
    p, q = ngrams(corpus(seed, 30), n), ngrams(corpus(seed + 50, 9, "bcdef"), n)
    grams = sorted(set(p) | set(q))
    expected = jensenshannon([p[gram] for gram in grams], [q[gram] for gram in grams]) ** 2
    assert jensen_shannon(p, q) == pytest.approx(expected, abs=1e-12)


def test_ngrams_are_counted_in_each_sentence() -> None:
    """None goes from one sentence into the next."""
    assert ngrams([list("aab"), list("b"), list("aa")], 2) == Counter({("a", "a"): 2, ("a", "b"): 1})


def test_what_is_empty_or_wrong_raises() -> None:
    """No sentences, strings, and orders that were not counted."""
    with pytest.raises(ValueError, match="no sentences"):
        novelty([], References([["a"]]))
    with pytest.raises(ValueError, match="max_n=2"):
        novelty([["a"]], References([["a"]], 2), (3,))
    with pytest.raises(TypeError, match="not str"):
        new_sentences(["ab"], set())
    with pytest.raises(ValueError, match="at least 1"):
        ngrams([["a"]], 0)


def straightforward(p: np.ndarray, q: np.ndarray, points: int = 20001) -> float:
    """The area under the frontier by a fine rule: many mixtures, one way alone."""
    weights = np.linspace(1e-9, 1 - 1e-9, points)[:, None]
    mixed = weights * p + (1 - weights) * q
    with np.errstate(divide="ignore", invalid="ignore"):
        across = np.exp(-5 * np.where(q > 0, q * np.log(q / mixed), 0).sum(1))
        up = np.exp(-5 * np.where(p > 0, p * np.log(p / mixed), 0).sum(1))
    order = np.argsort(across)
    x, y = np.append(0, np.append(across[order], 1)), np.append(1, np.append(up[order], 0))
    return float(np.trapezoid(y, x))


@pytest.mark.parametrize("seed", range(6))
def test_the_frontier_s_area_is_the_integral(seed: int) -> None:
    """With many mixtures it is a fine quadrature's; with 25 nearly so; and swapping p and q changes nothing."""
    rng = np.random.default_rng(seed)
    p, q = rng.dirichlet(np.ones(6) * 0.5), rng.dirichlet(np.ones(6) * 0.5)
    q[0], q[1] = 0.0, q[0] + q[1]
    first, second = torch.from_numpy(p), torch.from_numpy(q)
    expected = straightforward(p, q)
    assert frontier_area(first, second, mixtures=4001) == pytest.approx(expected, abs=1e-5)
    assert frontier_area(first, second) == pytest.approx(expected, abs=0.01)
    assert frontier_area(second, first) == pytest.approx(frontier_area(first, second), abs=1e-12)
    assert frontier_area(first, second, scale=1.0) > frontier_area(first, second)


def test_equal_distributions_have_area_1_and_disjoint_ones_nearly_0() -> None:
    """1 where p = q; 5 B(6, 5) = 0.004 where they share no cluster, in closed form."""
    p = torch.tensor([0.25, 0.75, 0.0, 0.0])
    assert frontier_area(p, p) == pytest.approx(1.0)
    assert frontier_area(p, p.flip(0), mixtures=4001) == pytest.approx(DISJOINT, rel=1e-4)
    assert frontier_area(p, p.flip(0)) < 0.01
    with pytest.raises(ValueError, match="same clusters"):
        frontier_area(p, p[:2])
    with pytest.raises(ValueError, match="add up to 1"):
        frontier_area(p, p * 2)


def test_k_means_finds_clusters_that_lie_apart() -> None:
    """Four clouds get a number each, from any seed; equal rows need no more than one."""
    generator = torch.Generator().manual_seed(3)
    places = torch.tensor([[0.0, 0.0], [0.0, 9.0], [9.0, 0.0], [9.0, 9.0]]).double()
    of = torch.arange(80) % 4
    rows = places[of] + 0.3 * torch.randn(80, 2, generator=generator).double()
    for seed in range(5):
        found = k_means(rows, 4, seed)
        assert len({(int(a), int(b)) for a, b in zip(of, found, strict=True)}) == 4
        assert torch.equal(found, k_means(rows, 4, seed))
    assert len(k_means(torch.ones(6, 2).double(), 3).unique()) == 1
    with pytest.raises(ValueError, match="7 clusters of 6 rows"):
        k_means(torch.ones(6, 2), 7)


def test_mauve_tells_samples_apart_as_far_as_they_are() -> None:
    """Above 0.9 for two draws of one distribution, less for a shift, near 0 for other directions; the same swapped."""
    generator = torch.Generator().manual_seed(0)

    def cloud(shift: float) -> torch.Tensor:
        return torch.randn(300, 6, generator=generator) + torch.tensor([3.0, shift, 0, 0, 0, 0])

    real, same, near, far = cloud(0), cloud(0), cloud(1.5), -cloud(0)
    values = [mauve(real, other) for other in (real, same, near, far)]
    assert values[0] == pytest.approx(1.0)
    assert values[0] > values[1] > 0.9 > values[2] > 0.05 > values[3]
    assert mauve(far, real) == pytest.approx(values[3], abs=1e-3)
    assert mauve(near, real) == pytest.approx(values[2], abs=0.1), "other starts of k-means, the same distance"
    assert mauve(real * 7, near / 3) == pytest.approx(values[2], abs=1e-9), "the length of vectors does not count"
    with pytest.raises(ValueError, match="MAUVE"):
        mauve(real[:1], real)


def test_mauve_of_vectors_that_are_all_the_same_is_1() -> None:
    """Nothing tells them apart, and there is no variance to keep components of."""
    assert mauve(torch.ones(20, 4), torch.ones(30, 4)) == pytest.approx(1.0)
