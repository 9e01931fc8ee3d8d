"""Beam search against enumeration and a search with plain loops; choosing among its beams."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, T5Config, T5ForConditionalGeneration

from enumeration import every_sequence, probabilities, tiny_lstm
from seqgan_kit.networks.text.language_models import LanguageModel
from seqgan_kit.networks.text.seq2seq import Seq2SeqConfig, Seq2SeqGenerator
from seqgan_kit.samples import Tokens, size
from seqgan_kit.tokens import sampling
from seqgan_kit.tokens.decoding import Beams, beam_search, mutual_information, rerank
from test_sampling import Counting

VOCABULARY, END = 7, 1
LogProbs = Callable[[Tensor], Tensor]  # ids (n, time), all of them replies to the same history -> (n, time)


def told() -> tuple[Tensor, Tensor]:
    """Three histories, two of them padded."""
    torch.manual_seed(0)
    turns = torch.tensor([[0, 0, 1, 1, 2], [-1, -1, 0, 1, 1], [-1, -1, -1, -1, 0]])
    return torch.randint(2, VOCABULARY, turns.shape).masked_fill(turns < 0, END), turns


def generator(kind: str) -> Any:
    """Tiny, with weights so large that it is far from uniform and heeds its history."""
    torch.manual_seed(3)
    if kind == "seq2seq":
        network: Any = Seq2SeqGenerator(Seq2SeqConfig(VOCABULARY, embedding=5, hidden=6, layers=2, end=END))
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter)
    elif kind == "gpt2":
        sizes = {"n_positions": 32, "n_embd": 8, "n_layer": 2, "n_head": 2}
        network = LanguageModel(GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, initializer_range=0.8, **sizes)))
    else:
        sizes = {"d_model": 8, "d_kv": 4, "d_ff": 16, "num_layers": 2, "num_heads": 2}
        ids = {"pad_token_id": 0, "eos_token_id": END, "decoder_start_token_id": 0}
        config = T5Config(vocab_size=VOCABULARY, initializer_factor=2.0, tie_word_embeddings=False, **sizes, **ids)
        network = LanguageModel(T5ForConditionalGeneration(config))
    return network.eval()


KINDS = ("seq2seq", "gpt2", "t5")


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def norm(tokens: Tensor | int, penalty: float) -> Any:
    return ((5 + tokens) / 6) ** penalty


def greedy(network: sampling.TokenNetwork, batch: int, length: int, end: int | None) -> Tokens:
    return sampling.sample(network, batch, length, end, temperature=0.0)


def plain_search(
    log_probs: LogProbs, vocabulary: int, length: int, end: int | None, width: int, sibling: float, penalty: float
) -> list[tuple[tuple[int, ...], float]]:
    """The rule of `beam_search` for one row, in loops, with every prefix read from its start: ids and log p."""
    live: list[tuple[tuple[int, ...], float]] = [((), 0.0)]
    done: list[tuple[tuple[int, ...], float]] = []

    def score(found: tuple[tuple[int, ...], float]) -> float:
        return found[1] / float(norm(len(found[0]), penalty))

    for t in range(1, length + 1):
        candidates = []
        for prefix, total in live:
            tried = torch.tensor([[*prefix, token] for token in range(vocabulary)])
            following = log_probs(tried)[:, -1].tolist()
            for rank, token in enumerate(sorted(range(vocabulary), key=lambda i: -following[i])):
                value = total + following[token]
                candidates.append((value - sibling * rank, (*prefix, token), value))
        candidates.sort(key=lambda found: -found[0])
        ended = [t == length or ids[-1] == end for _, ids, _ in candidates]
        done += [(ids, value) for (_, ids, value), over in zip(candidates[:width], ended, strict=False) if over]
        done = sorted(done, key=score, reverse=True)[:width]
        live = [(ids, value) for (_, ids, value), over in zip(candidates, ended, strict=True) if not over][:width]
        if len(done) == width:
            live = [found for found in live if found[1] / float(norm(length, penalty)) > score(done[-1])]
    return done


def sequences(beams: Beams, row: int) -> list[tuple[int, ...]]:
    """Those of probability above 0, without padding."""
    width = beams.log_probs.shape[1]
    part = slice(row * width, (row + 1) * width)
    pairs = zip(beams.tokens.ids[part], beams.tokens.mask[part], strict=True)
    return [tuple(ids[mask].tolist()) for ids, mask in pairs if mask.any()]


@pytest.mark.parametrize("penalty", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("end", [None, 1])
@pytest.mark.parametrize(("vocabulary", "length"), [(3, 1), (3, 3), (4, 4)])
def test_the_widest_search_is_exhaustive(vocabulary: int, length: int, end: int | None, penalty: float) -> None:
    """Width vocabulary**length: every sequence, by log p / ((5 + n) / 6)^penalty; places left over are empty."""
    network, width = tiny_lstm(vocabulary, length, end), vocabulary**length
    every = every_sequence(vocabulary, length, end)
    log_probs = probabilities(network, every).detach().log()
    scores = log_probs / norm(every.mask.sum(1), penalty)
    order = scores.argsort(descending=True)
    assert scores[order].diff().abs().min() > 1e-6  # no ties
    beams = beam_search(network, 2, length, end, width, length_penalty=penalty)
    count = len(order)
    for row in range(2):
        tokens = beams.tokens.ids[row * width : (row + 1) * width], beams.tokens.mask[row * width : (row + 1) * width]
        assert tokens[0][:count].equal(every.ids[order])
        assert tokens[1][:count].equal(every.mask[order])
        close(beams.log_probs[row, :count], log_probs[order].float())
        assert not tokens[1][count:].any()
        assert (beams.log_probs[row, count:] == -torch.inf).all()


@pytest.mark.parametrize("end", [None, END])
def test_width_one_is_greedy(end: int | None) -> None:
    """For all kinds of networks, whether sequences end or not."""
    for seed in range(10):
        network = tiny_lstm(VOCABULARY, 8, end, seed)
        assert beam_search(network, 3, 8, end, 1).tokens.ids.equal(greedy(network, 3, 8, end).ids)
    for kind in KINDS:
        given = generator(kind).given(*told())
        found, expected = beam_search(given, 3, 8, end, 1).tokens, greedy(given, 3, 8, end)
        assert found.ids.equal(expected.ids)
        assert found.mask.equal(expected.mask)


@pytest.mark.parametrize(("width", "sibling", "penalty"), [(5, 0.0, 0.0), (5, 0.7, 0.0), (3, 0.0, 0.8), (4, 0.5, 2.0)])
@pytest.mark.parametrize("kind", ["lstm", *KINDS])
def test_the_search_is_that_of_plain_loops(kind: str, width: int, sibling: float, penalty: float) -> None:
    """Sequences and log-probabilities of every row are those of a search by `forward`, one row and prefix at a time."""
    history, turns = told()
    network = tiny_lstm(VOCABULARY, 6, END) if kind == "lstm" else generator(kind)
    drawn = network if kind == "lstm" else network.given(history, turns)
    for end in (None, END):
        beams = beam_search(drawn, 3, 6, end, width, sibling, penalty)
        for row in range(3):

            def log_probs(ids: Tensor, row: int = row) -> Tensor:
                with torch.no_grad():
                    if kind == "lstm":
                        return network(ids)
                    return network(ids, history[row].expand(len(ids), -1), turns[row].expand(len(ids), -1))

            expected = plain_search(log_probs, VOCABULARY, 6, end, width, sibling, penalty)
            assert sequences(beams, row) == [ids for ids, _ in expected]
            close(beams.log_probs[row], torch.tensor([value for _, value in expected]))


@pytest.mark.parametrize("sibling", [0.0, 1.0])
@pytest.mark.parametrize("kind", ["lstm", *KINDS])
def test_log_probs_are_those_of_forward(kind: str, sibling: float) -> None:
    """Summed over each sequence and its end token, whatever the penalties."""
    history, turns = told()
    network = tiny_lstm(VOCABULARY, 10, END) if kind == "lstm" else generator(kind)
    drawn = network if kind == "lstm" else network.given(history, turns)
    beams = beam_search(drawn, 3, 10, END, 6, sibling, length_penalty=0.6)
    context = () if kind == "lstm" else (history.repeat_interleave(6, 0), turns.repeat_interleave(6, 0))
    with torch.no_grad():
        expected = (network(beams.tokens.ids, *context) * beams.tokens.mask).sum(1)
    close(beams.log_probs.flatten(), expected)
    if not sibling:
        assert len({len(ids) for row in range(3) for ids in sequences(beams, row)}) > 1  # some end before others


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_independent(kind: str) -> None:
    """A row's beams don't depend on the others, nor on padding before its history."""
    network = generator(kind)
    history, turns = told()
    together = beam_search(network.given(history, turns), 3, 8, END, 4, sibling=0.3, length_penalty=0.5)
    found = []
    for row in range(3):
        said = turns[row] >= 0
        alone = network.given(history[row : row + 1, said], turns[row : row + 1, said])
        beams = beam_search(alone, 1, 8, END, 4, sibling=0.3, length_penalty=0.5)
        assert sequences(together, row) == sequences(beams, 0)
        close(together.log_probs[row], beams.log_probs[0])
        found.append(tuple(sequences(beams, 0)))
    assert len(set(found)) == 3  # the history does matter


class Chain:
    """Log-probabilities of the next token by the token before, (vocabulary, vocabulary); 0 comes first."""

    def __init__(self, probabilities: list[list[float]]) -> None:
        self.table = torch.tensor(probabilities).log()

    def start(self, batch: int) -> tuple[Tensor, Tensor]:
        return torch.zeros(batch, dtype=torch.int64), torch.zeros(batch, 1)

    def step(self, tokens: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return tokens, state

    def logits(self, features: Tensor) -> Tensor:
        return self.table[features]


# from the start, 1 is likely; after it, three tokens are about as likely
FORKED = [[0.0, 0.6, 0.25, 0.15], [0.04, 0.33, 0.32, 0.31], [0.0, 0.1, 0.7, 0.2], [0.1, 0.1, 0.1, 0.7]]


def test_siblings_make_room_for_other_parents() -> None:
    """Three children of one parent are the best of FORKED; at a cost for siblings each has a parent of its own."""
    plain = beam_search(Chain(FORKED), 1, 2, None, 3)
    assert sequences(plain, 0) == [(1, 1), (1, 2), (1, 3)]
    diverse = beam_search(Chain(FORKED), 1, 2, None, 3, sibling=1.0)
    assert sequences(diverse, 0) == [(1, 1), (2, 2), (3, 3)]
    close(diverse.log_probs, torch.tensor([[0.6 * 0.33, 0.25 * 0.7, 0.15 * 0.7]]).log())
    # costs from which a child of 1 is behind another's: ln(0.186 / 0.175) / 2 = 0.0305, ln(0.192 / 0.105) = 0.6035
    for sibling, expected in ((0.03, (1, 3)), (0.031, (2, 2)), (0.603, (2, 2)), (0.604, (3, 3))):
        found = sequences(beam_search(Chain(FORKED), 1, 2, None, 3, sibling), 0)
        assert found[2] == expected
        assert ((1, 2) in found) == (sibling < 0.6035)


def test_siblings_raise_the_number_of_first_tokens() -> None:
    """Summed over networks, the beams begin in more ways, and never are the best ones better."""
    counts = {0.0: 0, 2.0: 0}
    for seed in range(20):
        network = tiny_lstm(12, 6, None, seed)
        best = []
        for sibling in counts:
            beams = beam_search(network, 1, 6, None, 7, sibling)
            counts[sibling] += len({ids[0] for ids in sequences(beams, 0)})
            best.append(float(beams.log_probs[0].sum()))
        assert best[1] <= best[0] + 1e-5
    assert counts[2.0] > 1.5 * counts[0.0]


def test_what_is_finished_is_kept() -> None:
    """A finished sequence stays although unfinished ones are likelier for a while and end up worse."""
    # 3 ends: alone it has 0.3, of "1 1" and "1 2" both have more, but "1 2 3" has 0.189, and those after it less
    table = [[0.0, 0.7, 0.0, 0.3], [0.0, 0.55, 0.45, 0.0], [0.0, 0.4, 0.0, 0.6], [0.0, 0.0, 0.0, 1.0]]
    for penalty, best in ((0.0, 0), (1.0, 0), (1.5, 1)):
        beams = beam_search(Chain(table), 1, 8, 3, 2, length_penalty=penalty)
        assert sequences(beams, 0) == [[(3,), (1, 2, 3)], [(1, 2, 3), (3,)]][best]
        close(beams.log_probs, torch.tensor([[[0.3, 0.189], [0.189, 0.3]][best]]).log())


def test_what_can_win_by_its_length_is_continued() -> None:
    """log p of "1 2 3" is -0.713, below that of "3", -0.673, but it has three tokens to share it."""
    table = [[0.0, 0.49, 0.0, 0.51], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 1.0]]
    for penalty, best in ((0.0, (3,)), (1.0, (1, 2, 3))):
        assert sequences(beam_search(Chain(table), 1, 8, 3, 1, length_penalty=penalty), 0) == [best]


def test_what_cannot_win_is_not_continued() -> None:
    """The search ends with its last hopeful sequence, and rows that are done cost nothing."""
    table = [[0.0, 0.04, 0.06, 0.9], [0.0, 0.5, 0.5, 0.0], [0.0, 0.5, 0.5, 0.0], [0.0, 0.0, 0.0, 1.0]]
    network = Counting(Chain(table))  # type: ignore[arg-type]
    beams = beam_search(network, 5, 50, 3, 1)
    assert network.calls == 0
    assert beams.tokens.ids.tolist() == [[3]] * 5
    network = Counting(tiny_lstm(8, 40, 1))
    beams = beam_search(network, 10, 40, 1, 4)
    assert beams.tokens.mask[:, -1].any()
    assert network.rows < 10 * 4 * 39 / 2


def test_fewer_sequences_than_places() -> None:
    """What has no probability is no sequence."""
    table = [[0.0, 1.0, 0.0], [0.0, 0.5, 0.5], [0.0, 0.0, 1.0]]
    beams = beam_search(Chain(table), 2, 3, 2, 5)
    for row in range(2):
        assert sequences(beams, row)[0] == (1, 2)
        assert set(sequences(beams, row)[1:]) == {(1, 1, 2), (1, 1, 1)}  # as likely as each other
        close(beams.log_probs[row].exp(), torch.tensor([0.5, 0.25, 0.25, 0.0, 0.0]))
    assert beams.tokens.mask.sum(1).tolist() == [2, 3, 3, 0, 0] * 2
    assert (beams.tokens.ids[~beams.tokens.mask] == 2).all()


def test_beams_do_not_depend_on_blocks(tune: Callable[..., None]) -> None:
    """Logits made a few rows at a time give the beams of logits made at once."""
    network = tiny_lstm(9, 7, 1)
    whole = beam_search(network, 3, 7, 1, 5)
    tune(logit_block=2 * 9)
    parts = beam_search(network, 3, 7, 1, 5)
    assert parts.tokens.ids.equal(whole.tokens.ids)
    close(parts.log_probs, whole.log_probs)


BAD_SEARCH: list[dict[str, Any]] = [{"width": 0}, {"length": 0}, {"sibling": -1.0}, {"sibling": math.nan}]
BAD_SEARCH += [{"length_penalty": -0.1}, {"length_penalty": math.nan}]


@pytest.mark.parametrize("options", BAD_SEARCH, ids=str)
def test_bad_options_of_a_search(options: dict[str, Any]) -> None:
    """Are named."""
    with pytest.raises(ValueError, match=next(iter(options))):
        beam_search(tiny_lstm(), **({"batch": 1, "length": 3, "end": None} | options))


# choosing among beams


def some_beams() -> Beams:
    """Two rows of three, of the sequences 0 to 5; the last of the second row is none."""
    ids = torch.arange(6).unsqueeze(1).repeat(1, 2)
    mask = torch.ones(6, 2, dtype=torch.bool)
    mask[5] = False
    return Beams(Tokens(ids, mask), torch.tensor([[-1.0, -2.0, -3.0], [-1.0, -4.0, -torch.inf]]))


def test_mutual_information_by_hand() -> None:
    """(1 - weight) log p(y|x) + weight log p(x|y); at 0 the forward model decides, at 1 the backward one."""
    forward, backward = torch.tensor([-1.0, -2.0, -torch.inf]), torch.tensor([-8.0, -4.0, -1.0])
    for weight, expected in ((0.0, [-1.0, -2.0]), (0.25, [-2.75, -2.5]), (1.0, [-8.0, -4.0])):
        close(mutual_information(forward, backward, weight), torch.tensor([*expected, -torch.inf]))
    for wrong in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="weight"):
            mutual_information(forward, backward, wrong)
    with pytest.raises(ValueError, match="same shape"):
        mutual_information(forward, backward.unsqueeze(0), 0.5)


def test_rerank_sorts_each_row() -> None:
    """Tokens and log-probabilities go together; equal scores keep their order; what is no sequence stays last."""
    beams = some_beams()
    found = rerank(beams, torch.tensor([[5.0, 7.0, 6.0], [0.0, 1.0, 9.0]]))
    assert found.tokens.ids[:, 0].tolist() == [1, 2, 0, 4, 3, 5]
    assert found.tokens.mask.all(1).tolist() == [True] * 5 + [False]
    assert found.log_probs.tolist() == [[-2.0, -3.0, -1.0], [-4.0, -1.0, -math.inf]]
    assert size(found.tokens) == 6
    same = rerank(beams, torch.zeros(2, 3))
    assert same.tokens.ids.equal(beams.tokens.ids)
    assert same.log_probs.equal(beams.log_probs)
    by_itself = rerank(found, found.log_probs)
    assert by_itself.tokens.ids.equal(beams.tokens.ids)
    with pytest.raises(ValueError, match="scores"):
        rerank(beams, torch.zeros(6))


def test_mutual_information_reranks_beams() -> None:
    """Of three likely replies, the one that tells of its history wins, which is not the likeliest."""
    history, turns = told()
    beams = beam_search(generator("seq2seq").given(history, turns), 3, 5, END, 4)
    backward = torch.tensor([[-9.0, -1.0, -9.0, -9.0], [-1.0, -9.0, -9.0, -9.0], [-9.0, -9.0, -9.0, 0.0]])
    found = rerank(beams, mutual_information(beams.log_probs, backward, 0.99))
    assert found.tokens.ids[::4].equal(beams.tokens.ids[torch.tensor([1, 4, 11])])
