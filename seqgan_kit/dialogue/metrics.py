"""What replies look like beside their references, and beside each other: pure functions of tokenised replies.

`distinct` and `repetition` of `language.metrics` belong to them; its `bleu` does not, which takes all sentences as
references of each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from math import exp, log

from seqgan_kit.language.metrics import ngrams

Reply = Sequence[Hashable]
"""Tokens, words or numbers, in a list or tuple."""


def reply_bleu(hypotheses: Sequence[Reply], references: Sequence[Reply], order: int) -> float:
    """Corpus BLEU of replies, each against its one reference: a fraction in [0, 1].

    Papineni et al. (2002), section 2.3, uniform weights: exp(min(1 - r / c, 0) + (1/n) sum_k log p_k), where c and r
    are the lengths of all hypotheses and of all references, and p_k the clipped matches of k-grams over the k-grams of
    all hypotheses. No smoothing: 0.0 where some p_k is. A reply too short to have a k-gram counts for nothing in p_k,
    where `nltk.translate.bleu_score.corpus_bleu`, equal otherwise, counts it as one that does not match.

    Raises ValueError for unequal numbers, none at all, or an order below 1.
    """
    if len(hypotheses) != len(references) or not hypotheses:
        raise ValueError(f"{len(hypotheses)} hypotheses and {len(references)} references: give as many, at least one")
    if order < 1:
        raise ValueError(f"order must be at least 1, not {order}")
    total = 0.0
    for n in range(1, order + 1):
        pairs = [(ngrams([h], n), ngrams([r], n)) for h, r in zip(hypotheses, references, strict=True)]
        matches = sum((ours & theirs).total() for ours, theirs in pairs)
        if not matches:
            return 0.0
        total += log(matches / sum(ours.total() for ours, _ in pairs)) / order
    said, wanted = (sum(map(len, replies)) for replies in (hypotheses, references))
    return exp(total + min(1 - wanted / said, 0))


def mean_length(replies: Sequence[Reply]) -> float:
    """In tokens. Raises ValueError where there is no reply."""
    return sum(map(len, replies)) / _number(replies)


def most_frequent(replies: Sequence[Reply]) -> float:
    """The share of the commonest reply: 1 where all are the same. Raises ValueError where there is no reply."""
    counts = Counter(map(tuple, replies))
    return max(counts.values(), default=0) / _number(replies)


def _number(replies: Sequence[Reply]) -> int:
    if not replies:
        raise ValueError("there are no replies: at least one is needed")
    return len(replies)
