"""Draws from the likeliest tokens only, greedy ones, and streams, against exact distributions."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor

from enumeration import every_sequence, tiny_lstm
from seqgan_kit.networks.categorical import draw
from seqgan_kit.tokens import sampling
from test_sampling import Counting, assert_distributed


def assert_drawn(counts: Tensor, expected: Tensor) -> None:
    """As `assert_distributed`, and where only one thing is possible, it alone came."""
    if (expected > 0).sum() > 1:
        assert_distributed(counts, expected)
    else:
        assert counts[expected == 0].sum() == 0


def kept_exactly(logits: Tensor, top_k: int, top_p: float) -> Tensor:
    """The probabilities (vocabulary,) of what may be drawn, entry by entry."""
    weights = logits.double().softmax(0).tolist()
    order = sorted(range(len(weights)), key=lambda i: -weights[i])[: top_k or None]
    whole, reached, kept = sum(weights[i] for i in order), 0.0, []
    for i in order:
        if reached >= top_p:
            break
        kept.append(i)
        reached += weights[i] / whole
    found = torch.zeros(len(weights), dtype=torch.float64)
    found[kept] = torch.tensor([weights[i] for i in kept], dtype=torch.float64)
    return found / found.sum()


@pytest.mark.parametrize(("top_k", "top_p"), [(1, 1.0), (3, 1.0), (0, 0.5), (0, 0.95), (5, 0.8), (0, 1e-9)])
@pytest.mark.parametrize("vocabulary", [9, 600])
@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_truncated_draws_follow_what_is_kept(vocabulary: int, temperature: float, top_k: int, top_p: float) -> None:
    """First tokens have the renormalised probabilities of those kept, after the temperature, and no others come."""
    network = tiny_lstm(vocabulary)
    logits = network.logits(network.start(1)[0])[0].detach()
    expected = kept_exactly(logits / temperature, top_k, top_p)
    torch.manual_seed(1)
    drawn = sampling.sample(network, 20_000, 1, None, temperature, top_k, top_p).ids[:, 0]
    assert_drawn(drawn.bincount(minlength=vocabulary), expected * len(drawn))


@pytest.mark.parametrize(("top_k", "top_p"), [(2, 1.0), (0, 0.6), (2, 0.7)])
def test_truncated_sequences(top_k: int, top_p: float) -> None:
    """Every token of a sequence is drawn so, not the first alone: whole sequences have the right frequencies."""
    network = tiny_lstm(3, 3, 1)
    every = every_sequence(3, 3, 1)
    exact = []
    for ids, mask in zip(every.ids.tolist(), every.mask.tolist(), strict=True):
        probability = 1.0
        features, state = network.start(1)
        for token, counts in zip(ids, mask, strict=True):
            if counts:
                probability *= float(kept_exactly(network.logits(features)[0].detach(), top_k, top_p)[token])
                features, state = network.step(torch.tensor([token]), state)
        exact.append(probability)
    torch.manual_seed(0)
    counts = Counter(map(tuple, sampling.sample(network, 20_000, 3, 1, top_k=top_k, top_p=top_p).ids.tolist()))
    found = torch.tensor([counts.pop(tuple(row), 0) for row in every.ids.tolist()])
    assert not counts
    assert_drawn(found, torch.tensor(exact) * 20_000)


def test_likeliest_by_hand() -> None:
    """The token that crosses p is kept, one that only follows where p is reached is not, and rows are their own."""
    logits = torch.tensor([[0.5, 0.25, 0.125, 0.125], [0.125, 0.5, 0.125, 0.25]]).log()

    def kept(**options: Any) -> list[list[int]]:
        return [row.nonzero().flatten().tolist() for row in sampling.likeliest(logits, **options)]

    assert kept() == [[0, 1, 2, 3]] * 2
    assert kept(top_k=2) == kept(top_p=0.75) == kept(top_p=0.51) == [[0, 1], [1, 3]]
    assert kept(top_k=1) == kept(top_p=0.5) == kept(top_p=1e-30) == [[0], [1]]
    assert kept(top_k=9) == kept(top_p=0.99) == [[0, 1, 2, 3]] * 2
    assert kept(top_k=2, top_p=0.66) == [[0], [1]]  # of the two that are left, the first has 2/3
    assert [len(row) for row in kept(top_k=3) + kept(top_p=0.8)] == [3] * 4  # a tie is broken
    assert sampling.likeliest(torch.zeros(2, 8), top_p=0.5).sum(1).tolist() == [4, 4]


def test_impossible_tokens_stay_impossible() -> None:
    """Not even where k is above the number of possible ones."""
    logits = torch.tensor([[0.0, -torch.inf, 1.0, -torch.inf]]).expand(1000, 4)
    network = Fixed(logits)
    drawn = sampling.draw_from(network, torch.arange(1000), 1.0, 3, 0.999)
    assert set(drawn.tolist()) == {0, 2}


class Fixed:
    """Gives these logits (rows, vocabulary), whatever it reads; features are numbers of rows."""

    def __init__(self, table: Tensor) -> None:
        self.table = table

    def start(self, batch: int) -> tuple[Tensor, Tensor]:
        return torch.arange(batch), torch.arange(batch)

    def step(self, tokens: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return state, state

    def logits(self, features: Tensor) -> Tensor:
        return self.table[features]


def test_temperature_zero_is_the_likeliest_token() -> None:
    """Each is the argmax after those before it, and no random number is drawn."""
    network = tiny_lstm(6, 8, 1)
    before = torch.get_rng_state()
    drawn = sampling.sample(network, 2, 8, 1, temperature=0.0)
    assert torch.get_rng_state().equal(before)
    prefix: list[int] = []
    while len(prefix) < 8 and 1 not in prefix:
        following = [*prefix, 0]
        tried = torch.tensor([[*prefix, token] for token in range(6)])
        following[-1] = int(network(tried)[:, -1].argmax())
        prefix = following
    assert drawn.ids.tolist() == [prefix, prefix]


@pytest.mark.parametrize("vocabulary", [6, 600])
def test_the_default_draws_as_training_does(vocabulary: int) -> None:
    """Same seed, same tokens as `draw` from the bare logits; temperature 1, all k and p 1 said aloud are the same."""
    network = tiny_lstm(vocabulary, 5, None)
    torch.manual_seed(5)
    features, state = network.start(40)
    columns = []
    for _ in range(5):
        columns.append(draw(network.logits(features).detach()))
        features, state = network.step(columns[-1], state)
    expected = torch.stack(columns, dim=1)
    for options in ({}, {"temperature": 1.0, "top_k": 0, "top_p": 1.0}, {"top_k": vocabulary}):
        torch.manual_seed(5)
        assert sampling.sample(network, 40, 5, None, **options).ids.equal(expected)


BAD = [{"temperature": -0.1}, {"temperature": math.nan}, {"temperature": math.inf}, {"top_k": -1}]
BAD += [{"top_p": 0.0}, {"top_p": 1.1}, {"top_p": -1.0}, {"top_p": math.nan}]


@pytest.mark.parametrize("options", BAD, ids=str)
def test_bad_options_of_a_draw(options: dict[str, Any]) -> None:
    """Are refused before anything is drawn, by `stream` too, and named."""
    with pytest.raises(ValueError, match=next(iter(options))):
        sampling.sample(tiny_lstm(), 1, 3, None, **options)
    with pytest.raises(ValueError, match=next(iter(options))):
        next(sampling.stream(tiny_lstm(), 3, None, **options))


@pytest.mark.parametrize("options", [{}, {"temperature": 0.0}, {"temperature": 1.5, "top_k": 4, "top_p": 0.9}], ids=str)
def test_a_stream_is_a_sample(options: dict[str, Any]) -> None:
    """Same seed, same tokens; without the end, and drawn only when asked for. Gradients are as they were between."""
    network = Counting(tiny_lstm(6, 9, 1))
    for seed in range(20):
        torch.manual_seed(seed)
        row = sampling.sample(network, 1, 9, 1, **options)
        expected = [token for token in row.ids[0].tolist() if token != 1]
        torch.manual_seed(seed)
        assert list(sampling.stream(network, 9, 1, **options)) == expected
    network = Counting(tiny_lstm(6, 9, None))
    tokens = sampling.stream(network, 9, None, **options)
    for calls in range(9):
        next(tokens)
        assert network.calls == calls
        assert torch.is_grad_enabled()
    assert list(tokens) == []
