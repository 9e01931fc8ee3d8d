"""Drawing, sampling and rolling out, against exact distributions and against a naive implementation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor

from enumeration import every_sequence, probabilities, tiny_lstm
from seqgan_kit.networks.text.lstm import LSTMGenerator
from seqgan_kit.samples import Tokens
from seqgan_kit.tokens import rollouts, sampling

ALMOST_ONE = 1 - 2**-24
"""The greatest number that torch.rand gives."""


def assert_distributed(counts: Tensor, expected: Tensor) -> None:
    """A chi-square test that a right sampler fails once in 1,000 seeds; cells that expect less than 5 are joined."""
    rare = expected < 5
    counts = torch.cat([counts[~rare], counts[rare].sum(0, keepdim=True)]).double()
    expected = torch.cat([expected[~rare], expected[rare].sum(0, keepdim=True)]).double()
    keep = expected > 0
    assert (counts[~keep] == 0).all()
    result = chisquare(counts[keep], expected[keep] * counts.sum() / expected.sum())
    assert result.pvalue > 1e-3


class Counting:
    """A network that counts the calls and the rows of `step`."""

    def __init__(self, network: LSTMGenerator) -> None:
        self.network, self.rows, self.calls = network, 0, 0

    def start(self, batch: int) -> tuple[Tensor, sampling.State]:
        return self.network.start(batch)

    def step(self, tokens: Tensor, state: sampling.State) -> tuple[Tensor, sampling.State]:
        self.calls += 1
        self.rows += len(tokens)
        return self.network.step(tokens, state)

    def logits(self, features: Tensor) -> Tensor:
        return self.network.logits(features)


# around the size from which a token is drawn in two steps, whole blocks and not, and the paper's
@pytest.mark.parametrize("vocabulary", [2, 7, 511, 512, 513, 575, 576, 5000])
def test_draw_matches_the_softmax(vocabulary: int) -> None:
    """The frequencies of 40,000 draws fit the softmax."""
    torch.manual_seed(vocabulary)
    logits = 2 * torch.randn(vocabulary)
    draws = torch.cat([sampling.draw(logits.expand(2000, vocabulary)) for _ in range(20)])
    counts = draws.bincount(minlength=vocabulary)
    assert_distributed(counts, logits.double().softmax(0) * len(draws))


@pytest.mark.parametrize("block", [3, 5, 100])
def test_draw_matches_the_softmax_by_any_blocks(block: int, tune: Callable[..., None]) -> None:
    """Of 50 tokens: in two steps, the last block of 2 tokens or whole, and in one."""
    tune(cdf_block=block)
    test_draw_matches_the_softmax(50)


@pytest.mark.parametrize("vocabulary", [5, 512, 600])
def test_draw_treats_each_row_by_itself(vocabulary: int) -> None:
    """Rows with one possible token each give that token."""
    wanted = torch.arange(vocabulary).flip(0)
    logits = torch.full((vocabulary, vocabulary), -torch.inf)
    logits[torch.arange(vocabulary), wanted] = torch.linspace(-50, 50, vocabulary)
    assert sampling.draw(logits).equal(wanted)


@pytest.mark.parametrize("vocabulary", [5, 512, 600])
@pytest.mark.parametrize("point", [0.0, 0.5, ALMOST_ONE, None])
def test_impossible_tokens_are_never_drawn(
    vocabulary: int, point: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at either end of the random numbers, nor anywhere between; whole blocks and both ends may be impossible."""
    torch.manual_seed(0)
    logits = torch.randn(3000, vocabulary)
    possible = torch.rand(3000, vocabulary) < 0.3
    possible[:, [0, -1]] = possible[:, 64:192] = False
    possible[:, 2] = True
    if point is not None:
        monkeypatch.setattr(torch, "rand", lambda *shape, **_: torch.full(shape, point))
    drawn = sampling.draw(logits.masked_fill(~possible, -torch.inf))
    assert possible.gather(1, drawn.unsqueeze(1)).all()


def test_draw_from_does_not_depend_on_blocks(tune: Callable[..., None]) -> None:
    """Logits made a few rows at a time give the tokens of logits made at once, at any temperature."""
    network = tiny_lstm(7)
    features, _ = network.start(11)
    features = features + torch.arange(11).unsqueeze(1)
    asked: list[int] = []

    class Asked(Counting):
        def logits(self, features: Tensor) -> Tensor:
            asked.append(len(features))
            return self.network.logits(features)

    for temperature in (1.0, 1e-4):
        tune(first_rows=64, logit_block=10**6)
        torch.manual_seed(0)
        at_once = sampling.draw_from(Asked(network), features, temperature)
        tune(first_rows=2, logit_block=3 * 7)
        torch.manual_seed(0)
        assert sampling.draw_from(Asked(network), features, temperature).equal(at_once)
    assert asked == 2 * [11, 2, 3, 3, 3]
    assert at_once.equal(network.logits(features).argmax(1))  # nearly cold


def test_temperature_divides_the_logits() -> None:
    """At temperature 2, first tokens follow softmax(logits / 2)."""
    network = tiny_lstm(5)
    torch.manual_seed(0)
    first = sampling.sample(network, 20_000, 1, None, temperature=2.0).ids[:, 0]
    logits = network.logits(network.start(1)[0])[0].detach()
    assert_distributed(first.bincount(minlength=5), (logits / 2).softmax(0) * len(first))


def test_until_end_counts_the_end_token() -> None:
    """The mask is True up to and with the first end token, whatever follows it."""
    torch.manual_seed(0)
    ids = torch.randint(4, (200, 6))
    for row, mask in zip(ids.tolist(), sampling.until_end(ids, 2).tolist(), strict=True):
        count = row.index(2) + 1 if 2 in row else 6
        assert mask == [True] * count + [False] * (6 - count)
    assert sampling.until_end(ids, None).all()


@pytest.mark.parametrize("end", [None, 0, 1])
def test_samples_follow_the_network(end: int | None) -> None:
    """The frequencies of whole sequences are the products of the probabilities that `forward` gives."""
    network = tiny_lstm(3, 4, end)
    every = every_sequence(3, 4, end)
    torch.manual_seed(0)
    drawn = sampling.sample(network, 20_000, 4, end)
    counts = Counter(map(tuple, drawn.ids.tolist()))
    found = torch.tensor([counts.pop(tuple(row), 0) for row in every.ids.tolist()])
    assert not counts
    assert_distributed(found, probabilities(network, every).detach() * 20_000)
    if end is not None:
        assert drawn.mask.equal(sampling.until_end(drawn.ids, end))
        assert (drawn.ids[~drawn.mask] == end).all()


def test_steps_give_the_probabilities_of_forward() -> None:
    """One token at a time or all at once, a sample has the same log-probabilities."""
    network = tiny_lstm(6, 8, 1)
    torch.manual_seed(0)
    drawn = sampling.sample(network, 50, 8, 1)
    features, state = network.start(50)
    columns = []
    for token in drawn.ids.T:
        columns.append(network.logits(features).log_softmax(-1).gather(1, token.unsqueeze(1)))
        features, state = network.step(token, state)
    found = torch.cat(columns, dim=1)
    torch.testing.assert_close(found[drawn.mask], network(drawn.ids)[drawn.mask], rtol=1e-5, atol=1e-5)


def test_samples_stop_when_all_have_ended() -> None:
    """Rows that have ended cost nothing, and the table is as long as the longest of them."""
    network = Counting(tiny_lstm(3, 50, 1))
    torch.manual_seed(0)
    drawn = sampling.sample(network, 20, 50, 1)
    lengths = drawn.mask.sum(1)
    assert drawn.ids.shape == (20, lengths.max())
    assert lengths.max() < 50
    assert network.rows == (lengths - 1).sum()


def test_same_seed_same_samples() -> None:
    """Samples and completions depend on the seed and on nothing else."""
    network = tiny_lstm(5, 6, 1)

    def once(seed: int) -> list[Tensor]:
        torch.manual_seed(seed)
        drawn = sampling.sample(network, 30, 6, 1)
        done = rollouts.roll_out(network, drawn, 2, 6, 1)
        return [drawn.ids, drawn.mask, done.tokens.ids, done.tokens.mask, done.cells]

    assert all(map(torch.equal, once(3), once(3)))
    assert not torch.equal(once(3)[2], once(4)[2])


@pytest.mark.parametrize("end", [None, 1])
@pytest.mark.parametrize("repeats", [1, 3])
def test_roll_out_completes_exactly_the_open_prefixes(end: int | None, repeats: int) -> None:
    """Each proper prefix that has not ended has `repeats` completions, which begin with it."""
    network = tiny_lstm(4, 6, end)
    torch.manual_seed(0)
    drawn = sampling.sample(network, 40, 6, end)
    done = rollouts.roll_out(network, drawn, repeats, 6, end)
    time = drawn.ids.shape[1]
    lengths = drawn.mask.sum(1)
    expected = Counter({b * time + t: repeats for b in range(40) for t in range(int(lengths[b]) - 1)})
    assert Counter(done.cells.tolist()) == expected
    for ids, mask, cell in zip(done.tokens.ids, done.tokens.mask, done.cells.tolist(), strict=True):
        b, t = divmod(cell, time)
        assert ids[: t + 1].equal(drawn.ids[b, : t + 1])
        assert mask[: t + 2].all()
    assert done.tokens.ids.shape[1] == 6
    assert done.tokens.mask.equal(sampling.until_end(done.tokens.ids, end))
    if end is not None:
        assert (done.tokens.ids[~done.tokens.mask] == end).all()


@pytest.mark.parametrize("end", [None, 1])
def test_completions_follow_the_network(end: int | None) -> None:
    """The completions of each prefix have the frequencies of p(rest | prefix), by enumeration."""
    network, repeats = tiny_lstm(3, 3, end), 4000
    every = every_sequence(3, 3, end)
    weights = probabilities(network, every).detach()
    sampled = Tokens(torch.tensor([[0, 2, 0], [2, 0, 2]]), torch.ones(2, 3, dtype=torch.bool))
    torch.manual_seed(0)
    done = rollouts.roll_out(network, sampled, repeats, 3, end)
    for cell in done.cells.unique().tolist():
        b, t = divmod(cell, 3)
        same = (every.ids[:, : t + 1] == sampled.ids[b, : t + 1]).all(1)
        counts = Counter(map(tuple, done.tokens.ids[done.cells == cell].tolist()))
        found = torch.tensor([counts.pop(tuple(row), 0) for row in every.ids[same].tolist()])
        assert not counts
        assert_distributed(found, weights[same] / weights[same].sum() * repeats)


def test_roll_out_costs_one_pass_over_time() -> None:
    """`length` sequential steps at most, and each row of each completion is stepped once: no prefix is read twice."""
    batch, repeats, length = 5, 3, 9
    plain = tiny_lstm(4, length)
    sampled = sampling.sample(plain, batch, length, None)
    network = Counting(plain)
    rollouts.roll_out(network, sampled, repeats, length, None)
    prefixes = batch * (length - 1)
    # at step t, t prefixes of each sample have entered; the last token need not be read
    completions = sum(batch * repeats * t for t in range(1, length - 1))
    assert network.rows == prefixes + completions
    assert network.calls == (length - 1) + (length - 2)


def greedy(network: LSTMGenerator, prefix: list[int], length: int, end: int | None) -> list[int]:
    """The likeliest completion, each token found by reading the whole prefix from the start."""
    ids = list(prefix)
    while len(ids) < length:
        if end is not None and end in ids:
            ids.append(end)
            continue
        read = network.embedding(torch.tensor([[network.config.start, *ids]]))
        ids.append(int(network.output(network.lstm(read)[0][0, -1]).argmax()))
    return ids


@pytest.mark.parametrize("end", [None, 1])
def test_states_belong_to_their_rows(end: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the likeliest token in place of a draw, all completions equal those of a naive loop over prefixes."""
    network = tiny_lstm(6, 7, end, seed=9)
    torch.manual_seed(1)
    drawn = sampling.sample(network, 12, 7, end)
    for module in (sampling, rollouts):
        monkeypatch.setattr(module, "draw", lambda logits, *_: logits.argmax(1))
    done = rollouts.roll_out(network, drawn, 2, 7, end)
    rest = set()
    for ids, cell in zip(done.tokens.ids.tolist(), done.cells.tolist(), strict=True):
        b, t = divmod(cell, drawn.ids.shape[1])
        assert ids == greedy(network, drawn.ids[b, : t + 1].tolist(), 7, end)
        rest.add(tuple(ids[t + 1 :]))
    assert len(rest) > 3  # what follows does depend on the prefix
    first = sampling.sample(network, 1, 7, end).ids[0].tolist()
    assert first == greedy(network, [], 7, end)[: len(first)]


def test_nothing_to_complete() -> None:
    """Samples of one token, or that have all ended at once, have no completions."""
    network = tiny_lstm(3, 4, 1)
    ended = Tokens(torch.tensor([[1], [1]]), torch.ones(2, 1, dtype=torch.bool))
    done = rollouts.roll_out(network, ended, 3, 4, 1)
    assert done.tokens.ids.shape == (0, 4)
    assert done.cells.shape == (0,)


@pytest.mark.parametrize("chunk", [1, 4, 10, 100])
def test_chunks_change_nothing(chunk: int) -> None:
    """Scores come in the order of the rows, from at most `chunk` rows at a time."""
    every = every_sequence(3, 3, 1)
    sizes = []

    def score(tokens: Tokens) -> Tensor:
        sizes.append(len(tokens.ids))
        return (tokens.ids * tokens.mask).sum(1).float() + tokens.ids[:, 0] / 10

    assert sampling.in_chunks(score, every, chunk).equal(score(every))
    assert max(sizes[:-1]) <= chunk
