"""BLEU and Self-BLEU against nltk, sentence by sentence, and distinct-n against a count by hand."""

from __future__ import annotations

import os
import random
from collections.abc import Hashable, Sequence
from math import exp, fsum, log
from pathlib import Path

import numpy as np
import pytest
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu  # type: ignore[import-untyped]

from seqgan_kit.language.metrics import References, bleu, distinct, self_bleu

Corpus = list[list[str]]
ORDERS = (1, 2, 3, 4, 5)
DATA = os.environ.get("SEQGAN_KIT_DATA")


def nltk_bleu(hypotheses: Corpus, references: Sequence[Corpus]) -> dict[int, float]:
    """The mean of nltk's sentence scores; references[i] are those of hypotheses[i]."""
    method = SmoothingFunction().method1
    weights = [(1 / n,) * n for n in ORDERS]
    scores = [sentence_bleu(r, h, weights, method) for r, h in zip(references, hypotheses, strict=True)]
    return {n: fsum(score[i] for score in scores) / len(scores) for i, n in enumerate(ORDERS)}


def without(sentences: Corpus, i: int) -> Corpus:
    return sentences[:i] + sentences[i + 1 :]


def random_corpus(rng: random.Random, size: int, vocabulary: str, lengths: Sequence[int]) -> Corpus:
    return [rng.choices(vocabulary, k=rng.choice(lengths)) for _ in range(size)]


@pytest.fixture(scope="module")
def captions() -> Corpus:
    if DATA is None:
        pytest.skip("SEQGAN_KIT_DATA is not set: it names the folder that holds text/image_coco/test.txt")
    path = Path(DATA) / "text" / "image_coco" / "test.txt"
    if not path.is_file():
        pytest.skip(f"SEQGAN_KIT_DATA has no text/image_coco/test.txt: {path} is missing")
    return [line.split(" ") for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("seed", range(40))
def test_bleu_is_nltk_with_method_1(seed: int) -> None:
    """BLEU is nltk's, on sentences of 0 to 6 tokens, often repeated, some of them unknown to the references."""
    rng = random.Random(seed)
    references = random_corpus(rng, rng.randint(1, 12), "abc"[: rng.randint(1, 3)], range(7))
    hypotheses = [*random_corpus(rng, 10, "abcd", range(7)), [], ["a"], ["a"] * 6]
    expected = nltk_bleu(hypotheses, [references] * len(hypotheses))
    assert bleu(hypotheses, References(references), ORDERS) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", range(40))
def test_self_bleu_is_nltk_leaving_one_out(seed: int) -> None:
    """Self-BLEU is nltk's score of each sentence against the others, on sentences of 0 to 6 tokens, many equal."""
    rng = random.Random(seed)
    sentences = random_corpus(rng, rng.randint(2, 12), "abcd"[: rng.randint(1, 4)], range(7))
    expected = nltk_bleu(sentences, [without(sentences, i) for i in range(len(sentences))])
    assert self_bleu(sentences, ORDERS) == pytest.approx(expected, abs=1e-9)


def test_matches_are_clipped_by_the_largest_count_in_one_reference() -> None:
    """Of "the" seven times, against references with two, one and one "the", 2 words match (Papineni et al.)."""
    references = References([list("TcioTmx"), list("tiacoTm"), ["T"]])  # T for "the", 7 words as the hypothesis
    assert bleu([["T"] * 7], references, (1,)) == pytest.approx({1: 2 / 7}, abs=1e-12)


@pytest.mark.parametrize("around", [(3, 5), (5, 3), (2, 6), (3, 5, 9)])
def test_of_two_equally_close_references_the_shorter_counts(around: tuple[int, ...]) -> None:
    """Between a shorter and a longer reference, equally close, a hypothesis is not penalised for its length."""
    references = References([["a"] * min(n, 4) + ["b"] * (n - 4) for n in around])
    assert bleu([["a"] * 4], references, (1,)) == pytest.approx({1: 1.0}, abs=1e-12)


def test_leaving_a_sentence_out_takes_its_length_away() -> None:
    """A sentence alone with its length is penalised against the closest of the others, here 4 words against 6 and 1."""
    one, four, six = exp(1 - 4 / 1), exp(1 - 6 / 4), 4 / 6
    expected = {1: (one + four + six) / 3}
    assert self_bleu([["a"], ["a"] * 4, ["a"] * 6], (1,)) == pytest.approx(expected, abs=1e-12)


def test_no_match_counts_as_a_tenth() -> None:
    """Three known words in an unknown order have p2 = 0.1 / 2, and a word alone, with no pair, has p2 = 0.1 / 1."""
    references = References([["a", "b", "c"], ["a"]])
    assert bleu([["c", "b", "a"]], references, (2,))[2] == pytest.approx(exp(log(1 * 0.1 / 2) / 2), abs=1e-12)
    assert bleu([["b"]], references, (2,))[2] == pytest.approx(exp(log(1 * 0.1 / 1) / 2), abs=1e-12)


def test_hypotheses_without_a_known_word_score_zero() -> None:
    """An empty hypothesis, and one of unknown tokens, score 0 at every order, whatever the smoothing."""
    zero = dict.fromkeys(ORDERS, 0.0)
    assert bleu([[], ["x"], ["x"] * 9], References([["a", "b"], []]), ORDERS) == zero
    assert bleu([[], ["x"]], References([[], []]), ORDERS) == zero


def test_copies_score_one_and_strangers_zero() -> None:
    """Self-BLEU is 1 where every sentence has a copy, and 0 where no two sentences share a token."""
    sentences = [list("abcde"), list("fghij")]
    assert self_bleu(sentences * 2, ORDERS) == pytest.approx(dict.fromkeys(ORDERS, 1.0), abs=1e-12)
    assert self_bleu(sentences, ORDERS) == dict.fromkeys(ORDERS, 0.0)


def test_tokens_may_be_numbers_and_sentences_tuples() -> None:
    """Renaming the tokens, words or numbers, in lists or tuples, changes no score."""
    rng = random.Random(0)
    words = random_corpus(rng, 20, "abcde", range(1, 9))
    names: dict[str, Hashable] = {"a": 7, "b": -3, "c": 10**12, "d": ("x", 1), "e": None}
    renamed = [tuple(names[word] for word in sentence) for sentence in words]
    assert self_bleu(renamed) == self_bleu(words)
    assert bleu(renamed[:9], References(renamed[9:])) == bleu(words[:9], References(words[9:]))


def test_references_serve_every_order_up_to_max_n() -> None:
    """The score of an order does not depend on which other orders are asked for, nor on max_n."""
    rng = random.Random(1)
    hypotheses, corpus = random_corpus(rng, 9, "abc", range(8)), random_corpus(rng, 9, "abc", range(8))
    together = bleu(hypotheses, References(corpus, max_n=7), (5, 2, 4))
    assert list(together) == [5, 2, 4]
    for n in together:
        assert bleu(hypotheses, References(corpus, max_n=n), (n,)) == {n: together[n]}


def test_distinct_counts_ngrams_of_all_sentences_together() -> None:
    """In "abab", "ba", "" and "c" there are 7 words of 3 kinds, 4 pairs of 2 kinds and 2 triples of 2 kinds."""
    sentences = [list("abab"), list("ba"), [], ["c"]]
    assert distinct(sentences, 1) == 3 / 7
    assert distinct(sentences, 2) == 2 / 4
    assert distinct(sentences, 3) == 2 / 2
    assert distinct(sentences, 5) == 0.0
    assert distinct([[]], 1) == 0.0


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_distinct_is_a_set_over_a_list(n: int) -> None:
    """Distinct-n is the size of the set of n-grams over the length of the list of them."""
    sentences = random_corpus(random.Random(n), 30, "abcde", range(8))
    grams = [tuple(s[i : i + n]) for s in sentences for i in range(len(s) - n + 1)]
    assert distinct(sentences, n) == len(set(grams)) / len(grams)


def test_bleu_of_captions_is_nltk(captions: Corpus) -> None:
    """On the last 30 real captions against the first 200, BLEU is nltk's."""
    hypotheses, references = captions[-30:], captions[:200]
    expected = nltk_bleu(hypotheses, [references] * 30)
    assert bleu(hypotheses, References(references), ORDERS) == pytest.approx(expected, abs=1e-9)


def test_self_bleu_of_captions_is_nltk(captions: Corpus) -> None:
    """On 100 real captions Self-BLEU is nltk's score of each against the other 99."""
    sentences = captions[:100]
    expected = nltk_bleu(sentences, [without(sentences, i) for i in range(100)])
    assert self_bleu(sentences, ORDERS) == pytest.approx(expected, abs=1e-9)


def test_what_is_empty_raises() -> None:
    """No sentences, or a single one for Self-BLEU, is an error that says so."""
    with pytest.raises(ValueError, match="no references"):
        References([])
    with pytest.raises(ValueError, match="no hypotheses"):
        bleu([], References([["a"]]))
    with pytest.raises(ValueError, match="at least 2 sentences, not 0"):
        self_bleu([])
    with pytest.raises(ValueError, match="at least 2 sentences, not 1"):
        self_bleu([["a"]])
    with pytest.raises(ValueError, match="at least one sentence"):
        distinct([], 2)


@pytest.mark.parametrize("orders", [(), (0, 2), (2, 6)])
def test_orders_outside_the_table_raise(orders: tuple[int, ...]) -> None:
    """An order that the references did not count, or none at all, is an error."""
    with pytest.raises(ValueError, match="max_n=5"):
        bleu([["a"]], References([["a"]]), orders)


def test_orders_below_one_raise() -> None:
    """There are no 0-grams."""
    with pytest.raises(ValueError, match="at least 1"):
        distinct([["a"]], 0)
    with pytest.raises(ValueError, match="at least 1"):
        self_bleu([["a"], ["b"]], (0,))


def test_sentences_that_are_not_split_raise() -> None:
    """A string would be scored letter by letter and an array's rows are not lists of tokens: both are an error."""
    with pytest.raises(TypeError, match="not str"):
        References(["a man"])
    with pytest.raises(TypeError, match="not str"):
        bleu(["a man"], References([["a", "man"]]))
    with pytest.raises(TypeError, match="not ndarray"):
        self_bleu(np.zeros((3, 4)))  # type: ignore[arg-type]
