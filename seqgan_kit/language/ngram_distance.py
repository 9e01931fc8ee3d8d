"""How far samples are from held-out text in their n-grams, without the bias that divergences of counts have.

A divergence of finite counts falls as samples become more alike, since rare n-grams are what two finite sets do not
share: the n-gram Jensen-Shannon divergence of an LSTM's samples from other samples of the same LSTM, 1,000 and 2,000
captions of COCO, is lowest at temperature 0.8. The estimate here has no bias, whatever the number of samples, and is
lowest at temperature 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from math import sqrt

import torch
from torch import Tensor

from seqgan_kit.algorithms.distances import mmd_influences
from seqgan_kit.engine.verdict import Score

ORDERS = (1, 2, 3)
NAME = "ngram_distance"
LEAST, MOST = 3, 5000  # texts on a side; held-out ones that are looked at
_ENDS = (("begin",), ("end",))  # no token is a tuple

Vector = dict[Hashable, float]
"""The n-grams of a text, and its share of each; of each order the squares add up to one over the number of orders."""


class Profile:
    """The n-grams of texts. vectors: of each. total: their sum. within: (texts,) products of each with all others."""

    def __init__(self, texts: Sequence[Sequence[Hashable]], labels: Sequence[Hashable] | None = None) -> None:
        """labels: the class of each; an n-gram of one class is then another one than that of another."""
        self.vectors = [vector(text, None if labels is None else labels[i]) for i, text in enumerate(texts)]
        self.total: Counter[Hashable] = Counter()
        for one in self.vectors:
            self.total.update(one)
        own = torch.tensor([sum(value * value for value in one.values()) for one in self.vectors], dtype=torch.float64)
        self.within = self.products(self) - own

    def products(self, other: Profile) -> Tensor:
        """(texts,): of each text with all of the other's."""
        total = other.total
        sums = [sum(value * total[gram] for gram, value in one.items() if gram in total) for one in self.vectors]
        return torch.tensor(sums, dtype=torch.float64)


def vector(text: Sequence[Hashable], label: Hashable = None) -> Vector:
    """A text's n-grams, its begin and end among them."""
    found: Vector = {}
    padded = (_ENDS[0], *text, _ENDS[1])
    for n in ORDERS:
        counts = Counter(padded[i : i + n] for i in range(len(padded) - n + 1))
        size = sqrt(len(ORDERS) * sum(count * count for count in counts.values()))
        found |= {gram if label is None else (label, gram): count / size for gram, count in counts.items()}
    return found


def ngram_distance(samples: Profile, held_out: Profile) -> Score:
    """Unbiased squared maximum mean discrepancy under the cosine of n-gram counts, the mean over n = 1, 2, 3.

    0: none; below 0: chance. 1 is the most. Both what samples lack and what they have too much of count. Its rows are
    of the held-out texts. Raises ValueError for fewer than 3 texts on a side.
    """
    if min(len(samples.vectors), len(held_out.vectors)) < LEAST:
        raise ValueError(f"n-grams are compared of {LEAST} texts on a side at least")
    sums = samples.within, held_out.within, samples.products(held_out), held_out.products(samples)
    value, own, rows = mmd_influences(*sums)
    return Score(value, float(own.std() / len(own) ** 0.5), rows)
