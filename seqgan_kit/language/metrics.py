"""BLEU, Self-BLEU, distinct-n, novelty and n-gram divergence of tokenised sentences.

All but the divergence, which is in nats, are fractions in [0, 1], not percentages.

The n-grams of the references are counted once, so the work grows with the number of hypotheses plus the number of
references, not with their product.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import chain
from math import log

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_EPSILON = 0.1  # what stands for a count of no matches: "method1" of nltk, after Chen and Cherry (2014)
_FAR = np.iinfo(np.int64).max // 4  # a length that is never the closest
_NO_CODE = np.iinfo(np.int64).max  # the code of no n-gram


@dataclass(frozen=True)
class _Text:
    """Sentences laid end to end.

    tokens: (total,) a number for each token, `unknown` for those outside the vocabulary.
    sentence: (total,) the sentence that each token is in.
    left: (total,) how many tokens its sentence has from this one on, itself included.
    lengths: (sentences,).
    unknown: one more than the largest number in the vocabulary.
    """

    tokens: Ints
    sentence: Ints
    left: Ints
    lengths: Ints
    unknown: int

    def extend(self, at: Ints, grams: Ints, n: int) -> tuple[Ints, Ints]:
        """Where n-grams begin and their codes, given where (n-1)-grams begin and the numbers of those."""
        enough = self.left[at] >= n
        at = at[enough]
        return at, grams[enough] * (self.unknown + 1) + self.tokens[at + n - 1]

    def count(self, at: Ints, grams: Ints, kinds: int) -> tuple[Ints, Ints, Ints]:
        """The different (sentence, n-gram) pairs, as three arrays: the sentence, the n-gram's number, how often."""
        pairs, counts = np.unique(self.sentence[at] * kinds + grams, return_counts=True)
        sentence, grams = np.divmod(pairs, max(kinds, 1))
        return sentence, grams, counts


@dataclass(frozen=True)
class _Table:
    """The n-grams of one order, numbered by the order of their codes.

    codes: (kinds + 1,) ascending; the last is `_NO_CODE`, so that a search always ends inside.
    most, second: (kinds,) the largest and the second largest count of the n-gram in one sentence. They are equal
        where two sentences share the largest; second is 0 where only one sentence has the n-gram.
    """

    codes: Ints
    most: Ints
    second: Ints


class References:
    """The n-gram counts of a corpus of references, computed once for any number of `bleu` calls.

    sentences: tokens in lists or tuples; a token is any hashable, a word or a number. A sentence may be empty.
    max_n: the longest n-grams that are counted. clipped: whether `bleu` is asked for, not `novelty` alone, which needs
        no more than which n-grams there are.

    Raises ValueError when there is no sentence or max_n < 1, TypeError when a sentence is a string, an array or a
    tensor: the first would be taken letter by letter, and tokens of the last never equal one another.
    """

    def __init__(self, sentences: Sequence[Sequence[Hashable]], max_n: int = 5, clipped: bool = True) -> None:
        _check_sentences(sentences, "references")
        if max_n < 1:
            raise ValueError(f"max_n must be at least 1, not {max_n}")
        words = dict.fromkeys(chain.from_iterable(sentences))
        self.max_n, self._clipped = max_n, clipped
        self._vocabulary = {word: number for number, word in enumerate(words)}
        text = self._read(sentences)
        self._lengths, self._of_length = np.unique(text.lengths, return_counts=True)
        self._tables: list[_Table] = []
        at = np.arange(len(text.tokens))
        grams = np.zeros_like(at)
        for n in range(1, max_n + 1):
            at, codes = text.extend(at, grams, n)
            kinds, grams = np.unique(codes, return_inverse=True)
            if not clipped:
                none = np.zeros(len(kinds), np.int64)
                self._tables.append(_Table(np.append(kinds, _NO_CODE), none, none))
                continue
            _, gram, count = text.count(at, grams, len(kinds))
            gram, count = _sort_pairs(gram, count)
            owners = np.bincount(gram, minlength=len(kinds))
            last = np.cumsum(owners) - 1
            second = np.where(owners > 1, count[last - 1], 0)
            self._tables.append(_Table(np.append(kinds, _NO_CODE), count[last], second))

    def _scores(
        self, sentences: Sequence[Sequence[Hashable]], orders: Sequence[int], members: bool
    ) -> dict[int, Floats]:
        """BLEU-n of each sentence, (sentences,), for each n in `orders`.

        members: the sentences are the references themselves, each to be scored against the others only.

        Raises ValueError when there is no sentence, or an order is not in 1..max_n; TypeError as the class does.
        """
        _check_sentences(sentences, "hypotheses")
        if not orders or min(orders) < 1 or max(orders) > self.max_n:
            raise ValueError(f"orders must be numbers from 1 to max_n={self.max_n}, not {tuple(orders)}")
        if not self._clipped:
            raise ValueError("these references were counted for novelty alone: make them with clipped=True")
        text = self._read(sentences)
        matches = self._matches(text, max(orders), members)
        n = np.arange(1, max(orders) + 1)[:, None]
        possible = np.maximum(text.lengths - n + 1, 1)
        log_precision = np.log(np.where(matches == 0, _EPSILON, matches) / possible)
        mean_log = np.cumsum(log_precision, axis=0) / n
        shortfall = np.minimum(1 - self._closest_length(text.lengths, members) / np.maximum(text.lengths, 1), 0)
        scores = np.where(matches[0] == 0, 0.0, np.exp(mean_log + shortfall))
        return {order: scores[order - 1] for order in orders}

    def _read(self, sentences: Sequence[Sequence[Hashable]]) -> _Text:
        unknown = len(self._vocabulary)
        lengths = np.array([len(sentence) for sentence in sentences], dtype=np.int64)
        numbers = [self._vocabulary.get(token, unknown) for token in chain.from_iterable(sentences)]
        tokens = np.array(numbers, dtype=np.int64)
        left = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(tokens))
        return _Text(tokens, np.repeat(np.arange(len(lengths)), lengths), left, lengths, unknown)

    def _known(self, text: _Text) -> Iterator[tuple[_Table, Ints, Ints]]:
        """Of each order, its table, where n-grams that some reference has begin, and their numbers.

        An n-gram that no reference has is dropped, hence its extensions.
        """
        at = np.arange(len(text.tokens))
        grams = np.zeros_like(at)
        for n, table in enumerate(self._tables, start=1):
            at, codes = text.extend(at, grams, n)
            grams = np.searchsorted(table.codes, codes)
            known = table.codes[grams] == codes
            at, grams = at[known], grams[known]
            yield table, at, grams

    def _matches(self, text: _Text, max_n: int, members: bool) -> Floats:
        """Clipped matches: (max_n, sentences)."""
        matches = np.zeros((max_n, len(text.lengths)))
        for row, (table, at, grams) in zip(matches, self._known(text), strict=False):
            sentence, gram, count = text.count(at, grams, len(table.most))
            # The others' largest is the second where a sentence holds the largest; elsewhere the second clips nothing.
            limit = table.second if members else table.most
            row[:] = np.bincount(sentence, np.minimum(count, limit[gram]), minlength=len(text.lengths))
        return matches

    def _closest_length(self, lengths: Ints, members: bool) -> Ints:
        """The reference length closest to each of `lengths`, the shorter of two that are equally close."""
        padded = np.concatenate([[-_FAR], self._lengths, [_FAR]])
        index = np.searchsorted(self._lengths, lengths)
        shorter = padded[index]
        if members:  # a sentence that alone has its length is not its own reference
            index = index + (self._of_length[index] == 1)
        longer = padded[index + 1]
        return np.where(lengths - shorter <= longer - lengths, shorter, longer)


def bleu(
    hypotheses: Sequence[Sequence[Hashable]], references: References, orders: Sequence[int] = (2, 3, 4, 5)
) -> dict[int, float]:
    """Sentence BLEU-n against all the references, averaged over the hypotheses, for each n in `orders`.

    Papineni et al. (2002), "BLEU: a Method for Automatic Evaluation of Machine Translation", section 2.3, with
    uniform weights: exp(min(1 - r / c, 0) + (1/n) sum_k log p_k), where p_k is the clipped precision of k-grams, c the
    length of the hypothesis and r the closest length of a reference, the shorter of two that are equally close.
    As the papers on text GANs do, it takes the mean of sentence scores, not the counts of the corpus, and a count of no
    matches is replaced by 0.1. A hypothesis that shares no token with the references scores 0.
    Equal to `nltk.translate.bleu_score.sentence_bleu` with `SmoothingFunction().method1`, averaged.

    Raises ValueError when there is no hypothesis, or an order is not in 1..references.max_n; TypeError when a
    hypothesis is not a list or tuple of tokens.
    """
    scores = references._scores(hypotheses, orders, members=False)
    return {order: float(score.mean()) for order, score in scores.items()}


def self_bleu(sentences: Sequence[Sequence[Hashable]], orders: Sequence[int] = (2, 3, 4, 5)) -> dict[int, float]:
    """Leave-one-out Self-BLEU-n: every sentence scored as in `bleu` against all the others, averaged. High = alike.

    Zhu et al. (2018), "Texygen: A Benchmarking Platform for Text Generation Models": one sentence is the
    hypothesis and the others the references. The sentence itself is never among its references (which would make
    every score 1), though another equal to it is. The value grows with the number of sentences, so compare equal
    numbers only, and only with papers of the same convention: some score a sample against a second one, or cap the
    references at 500.

    Raises ValueError for fewer than 2 sentences or an order below 1; TypeError when a sentence is not a list or tuple
    of tokens.
    """
    if len(sentences) < 2:
        raise ValueError(f"Self-BLEU needs at least 2 sentences, not {len(sentences)}")
    references = References(sentences, max(orders, default=1))
    scores = references._scores(sentences, orders, members=True)
    return {order: float(score.mean()) for order, score in scores.items()}


def distinct(sentences: Sequence[Sequence[Hashable]], n: int) -> float:
    """Distinct-n: the number of different n-grams over the number of n-grams, in all the sentences together.

    Li et al. (2016), "A Diversity-Promoting Objective Function for Neural Conversation Models". 0.0 where
    every sentence is shorter than n. The value falls as the number of sentences grows: compare equal numbers only.

    Raises ValueError when there is no sentence or n < 1; TypeError when a sentence is not a list or tuple of tokens.
    """
    kinds = len(References(sentences, n)._tables[-1].most)
    total = sum(max(len(sentence) - n + 1, 0) for sentence in sentences)
    return kinds / max(total, 1)


def repetition(sentences: Sequence[Sequence[Hashable]], n: int = 3) -> float:
    """The share of sentences that say some n-gram more than once. Raises ValueError where there is no sentence."""
    if not sentences:
        raise ValueError("there are no sentences: at least one is needed")
    return sum(max(ngrams([one], n).values(), default=0) > 1 for one in sentences) / len(sentences)


def novelty(
    sentences: Sequence[Sequence[Hashable]], training: References, orders: Sequence[int] = (2, 3, 4)
) -> dict[int, float]:
    """The share of the sentences' n-grams, counted as often as they stand there, that training lacks.

    0: every n-gram was read there. What held-out text scores is as new as text is; far less is copying. 0.0 where
    every sentence is shorter than n.

    Raises ValueError when there is no sentence, or an order is not in 1..training.max_n; TypeError when a sentence is
    not a list or tuple of tokens.
    """
    _check_sentences(sentences, "sentences")
    if not orders or min(orders) < 1 or max(orders) > training.max_n:
        raise ValueError(f"orders must be numbers from 1 to max_n={training.max_n}, not {tuple(orders)}")
    known = [len(at) for _, at, _ in training._known(training._read(sentences))]
    totals = {n: sum(max(len(sentence) - n + 1, 0) for sentence in sentences) for n in orders}
    return {n: (total - known[n - 1]) / max(total, 1) for n, total in totals.items()}


def new_sentences(sentences: Sequence[Sequence[Hashable]], training: Set[tuple[Hashable, ...]]) -> float:
    """The share of sentences that are not, as a whole, in the training set. Raises as `novelty` does."""
    _check_sentences(sentences, "sentences")
    return sum(tuple(sentence) not in training for sentence in sentences) / len(sentences)


def ngrams(sentences: Sequence[Sequence[Hashable]], n: int) -> Counter[tuple[Hashable, ...]]:
    """How often each n-gram stands in the sentences. Raises ValueError for n < 1 and as `novelty` does."""
    _check_sentences(sentences, "sentences")
    if n < 1:
        raise ValueError(f"n must be at least 1, not {n}")
    return Counter(tuple(one[i : i + n]) for one in sentences for i in range(len(one) - n + 1))


def jensen_shannon(p: Mapping[tuple[Hashable, ...], int], q: Mapping[tuple[Hashable, ...], int]) -> float:
    """Divergence of two distributions given as counts: KL(p || m) / 2 + KL(q || m) / 2, m = (p + q) / 2, in nats.

    Lin (1991), "Divergence Measures Based on the Shannon Entropy". 0: equal; log 2 = 0.693: nothing in common. It
    falls as the texts that were counted grow, so compare texts of equal length, with what real text scores beside.
    Where there are no counts on one side alone it is log 2, on both 0.
    """
    all_p, all_q = sum(p.values()), sum(q.values())
    if not all_p or not all_q:
        return log(2) if all_p or all_q else 0.0
    divergence, alone = 0.0, 1.0  # alone: the share of q that p lacks
    for gram, count in p.items():
        here, there = count / all_p, q.get(gram, 0) / all_q
        middle = (here + there) / 2
        divergence += here / 2 * log(here / middle)
        if there:
            divergence += there / 2 * log(there / middle)
            alone -= there
    return max(0.0, divergence + max(0.0, alone) / 2 * log(2))


def _sort_pairs(gram: Ints, count: Ints) -> tuple[Ints, Ints]:
    """The pairs sorted by n-gram, then by count."""
    base = int(count.max(initial=0)) + 1
    gram, count = np.divmod(np.sort(gram * base + count), base)
    return gram, count


def _check_sentences(sentences: Sequence[Sequence[Hashable]], name: str) -> None:
    if len(sentences) == 0:
        raise ValueError(f"there are no {name}: at least one sentence is needed")
    for sentence in sentences:
        if isinstance(sentence, str) or not isinstance(sentence, Sequence):
            raise TypeError(
                f"{name} must be lists or tuples of tokens, not {type(sentence).__name__}: split them first"
            )
