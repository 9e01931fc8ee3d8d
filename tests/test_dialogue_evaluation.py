"""What judges a generator of replies: evaluators on sources whose difference is known, and metrics computed twice."""

from __future__ import annotations

import random
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from nltk.translate.bleu_score import corpus_bleu
from torch import Tensor, nn
from torch.nn import functional as F

from seqgan_kit.dialogue import evaluators, metrics
from seqgan_kit.dialogue.evaluation import DialogueEvaluation, Drawing, draw, perplexity, table_of_replies
from seqgan_kit.dialogue.evaluators import (
    EvaluatorConfig,
    Split,
    accuracy,
    adversarial_success,
    evaluator_reliability_error,
    halves,
    machine_versus_random,
    shuffled,
)
from seqgan_kit.dialogue.sources import DataConfig, Source, load
from seqgan_kit.language.metrics import repetition
from seqgan_kit.networks.text.hierarchical import HierarchicalDiscriminator
from seqgan_kit.networks.text.seq2seq import Seq2SeqConfig, Seq2SeqGenerator
from seqgan_kit.report.metrics import about
from seqgan_kit.samples import Replies, rows, size, trimmed

END, WORDS = 2, range(3, 11)
VOCABULARY = 11
TINY = EvaluatorConfig(steps=300, batch_size=128, lr=1e-2, embedding=16, hidden=24, looks=10)


def replies_to(histories: Sequence[Sequence[Sequence[int]]], replies: Sequence[Sequence[int]]) -> Replies:
    """Of histories, each a list of utterances, and of replies without their end token."""
    past = max(sum(map(len, utterances)) for utterances in histories)
    time = max(map(len, replies)) + 1
    ids, history = torch.full((len(replies), time), END), torch.full((len(replies), past), END)
    mask, turns = torch.zeros(len(replies), time, dtype=torch.bool), torch.full((len(replies), past), -1)
    for row, (utterances, reply) in enumerate(zip(histories, replies, strict=True)):
        ids[row, : len(reply)] = torch.tensor(reply, dtype=torch.int64)
        mask[row, : len(reply) + 1] = True
        told = [(token, turn) for turn, utterance in enumerate(utterances) for token in utterance]
        history[row, past - len(told) :], turns[row, past - len(told) :] = torch.tensor(told).T
    return Replies(ids, mask, history, turns)


def asked(rng: random.Random, count: int) -> list[list[list[int]]]:
    """Histories of one or two utterances."""
    return [[rng.choices(WORDS, k=rng.randint(1, 2)) for _ in range(rng.randint(1, 2))] for _ in range(count)]


def fitting(rng: random.Random, count: int, by_chance: float = 0.0) -> Replies:
    """Replies that say the history's last word, and then any; a share of them says one by chance."""
    histories = asked(rng, count)
    first = [rng.choice(WORDS) if rng.random() < by_chance else utterances[-1][-1] for utterances in histories]
    return replies_to(histories, [[word, *rng.choices(WORDS, k=rng.randint(0, 2))] for word in first])


def noise(rng: random.Random, count: int, words: Sequence[int] = WORDS) -> Replies:
    return replies_to(asked(rng, count), [rng.choices(words, k=rng.randint(1, 5)) for _ in range(count)])


# -- evaluators ----------------------------------------------------------------------------------------------------


def test_what_differs_is_told_apart() -> None:
    """Replies of some words and of others: nearly every one is told; machines that differ so have no success."""
    rng = random.Random(0)
    sides = [Split(noise(rng, 400, words), noise(rng, 200, words)) for words in (WORDS[:5], WORDS[3:])]
    config = replace(TINY, steps=100)
    found = accuracy(*sides, config, 0, VOCABULARY)
    assert found > 0.9
    assert adversarial_success(*sides, config, 0, VOCABULARY) == pytest.approx(1 - found, abs=1e-9)


def test_noise_has_no_success_against_templates() -> None:
    """A machine that says anything, where humans say the same few things."""
    rng = random.Random(1)
    templates = [[3, 4, 5], [6, 7], [8, 9, 10, 3]]
    human = Split(*(replies_to(asked(rng, count), rng.choices(templates, k=count)) for count in (300, 200)))
    machine = Split(*(noise(rng, count) for count in (300, 200)))
    assert adversarial_success(human, machine, replace(TINY, steps=100), 0, VOCABULARY) < 0.1


@pytest.mark.parametrize("seed", [0, 1])
def test_what_is_alike_is_not_told_apart(seed: int) -> None:
    """Two samples of one source: half is right, 5 standard errors around; memory of those trained on does not help."""
    rng = random.Random(seed)
    trained, tested = ((fitting(rng, count), fitting(rng, count)) for count in (300, 500))
    sides = map(Split, trained, tested)
    assert accuracy(*sides, TINY, seed, VOCABULARY) == pytest.approx(0.5, abs=0.08)


@pytest.mark.learns
@pytest.mark.slow
def test_replies_that_fit_are_told_from_random_ones() -> None:
    """Where the replies fit their histories; where they are the humans' shuffled, nothing tells them apart."""
    rng = random.Random(0)
    human, machine = (Split(fitting(rng, 3000), fitting(rng, 400)) for _ in range(2))
    assert machine_versus_random(human, machine, TINY, 0, VOCABULARY) > 0.8
    generator = torch.Generator().manual_seed(1)
    unfit = Split(*(shuffled(side, generator) for side in machine))
    assert machine_versus_random(human, unfit, TINY, 0, VOCABULARY) == pytest.approx(0.5, abs=0.08)


@pytest.mark.learns
@pytest.mark.slow
def test_reliability_is_the_distance_from_what_is_known() -> None:
    """The mean over the four scenarios; small where each can be told."""
    rng = random.Random(0)
    human, machine = (Split(fitting(rng, 3000), fitting(rng, 400)) for _ in range(2))
    found = evaluator_reliability_error(human, machine, TINY, 0, VOCABULARY)
    distances = [abs(found.human_versus_human - 0.5), abs(found.machine_versus_machine - 0.5)]
    distances += [1 - found.human_versus_random, 1 - found.machine_versus_random]
    assert found.ere == pytest.approx(sum(distances) / 4, abs=1e-9)
    assert max(distances) < 0.2


def test_evaluators_are_deterministic_and_disturb_nothing() -> None:
    """The seed alone decides; the random numbers of who asks go on as if nobody had asked."""
    rng = random.Random(0)
    trained, tested = (noise(rng, 40), noise(rng, 30)), (noise(rng, 20), noise(rng, 10))
    config = replace(TINY, steps=5, dropout=0.5)
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    first = evaluators.train(*trained, config, 0, VOCABULARY).state_dict()
    torch.manual_seed(3)
    sides = list(map(Split, trained, tested))
    once = accuracy(*sides, config, 0, VOCABULARY)
    assert torch.equal(torch.rand(4), expected)
    assert accuracy(*sides, config, 0, VOCABULARY) == once
    other = evaluators.train(*trained, config, 1, VOCABULARY).state_dict()
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_accuracy_is_balanced_and_of_the_whole_reply() -> None:
    """All but the last prefix, and padding, mean nothing; few of one kind count as much as many of the other."""
    rng = random.Random(0)
    found, expected = noise(rng, 7), []
    network = HierarchicalDiscriminator(VOCABULARY, 8, 8).eval()
    for row in range(7):
        one = trimmed(rows(found, slice(row, row + 1)))
        expected.append(network(one.ids, one.mask, *one.context)[0])
    wide = replace(found, ids=F.pad(found.ids, (0, 3), value=5), mask=F.pad(found.mask, (0, 3)))
    torch.testing.assert_close(evaluators.judge(network, wide), torch.stack(expected))
    many, few = noise(rng, 90, WORDS[:4]), noise(rng, 10, WORDS[4:])
    assert accuracy(Split(many, many), Split(few, few), replace(TINY, steps=60), 0, VOCABULARY) > 0.95
    assert accuracy(Split(many, many), Split(few, many), replace(TINY, steps=60), 0, VOCABULARY) == pytest.approx(
        0.5, abs=1e-6
    )


def test_what_is_best_is_kept() -> None:
    """An evaluator ends as it judged what was kept back best, not as it was after its last step."""
    rng = random.Random(0)
    positive, negative = fitting(rng, 60), fitting(rng, 60)
    config = replace(TINY, steps=200, kept_back=0.5)

    def loss(steps: int) -> float:
        network = evaluators.train(positive, negative, replace(config, steps=steps, looks=steps // 10), 0, VOCABULARY)
        kept = [evaluators._divided(kind, 0.5, 0)[1] for kind in (positive, negative)]
        own = [evaluators.judge(network, kind) for kind in kept]
        return float(F.softplus(-own[0]).mean() + F.softplus(own[1]).mean())

    torch.manual_seed(0)
    short = loss(20)
    torch.manual_seed(0)
    assert loss(200) <= short + 1e-6


def test_what_is_kept_back_is_of_the_same_histories() -> None:
    """Of either kind, so that no history that is trained on is judged; nothing is lost."""
    rng = random.Random(0)
    human = fitting(rng, 50)
    machine = shuffled(human, torch.Generator().manual_seed(0))
    (trained, kept), (_, other) = (evaluators._divided(kind, 0.2, 3) for kind in (human, machine))
    assert torch.equal(kept.history, other.history)
    assert (size(trained), size(kept)) == (40, 10)
    both = torch.cat([trained.ids, kept.ids]).tolist()
    assert sorted(both) == sorted(human.ids.tolist())


@pytest.mark.parametrize("count", [2, 3, 7, 100])
def test_no_row_keeps_its_reply(count: int) -> None:
    """Every reply is another history's, each once, with its own mask; histories stay."""
    ids = torch.arange(count).unsqueeze(1).expand(-1, 2)
    mask = torch.stack([torch.ones(count, dtype=torch.bool), torch.arange(count) % 2 == 0], dim=1)
    replies = Replies(ids, mask, ids, ids * 0)
    for seed in range(20):
        found = shuffled(replies, torch.Generator().manual_seed(seed))
        assert torch.equal(found.history, replies.history)
        assert bool((found.ids[:, 0] != torch.arange(count)).all())
        assert found.ids[:, 0].sort().values.tolist() == list(range(count))
        assert torch.equal(found.mask, mask[found.ids[:, 0]])


def test_trimming_takes_padding_alone() -> None:
    """Of few rows, the columns that the others alone needed."""
    replies = replies_to([[[3, 4]], [[5], [6, 7, 8]]], [[3], [4, 5, 6]])
    found = trimmed(rows(replies, slice(1)))
    assert (found.ids.tolist(), found.mask.tolist()) == ([[3, END]], [[True, True]])
    assert (found.history.tolist(), found.turns.tolist()) == ([[3, 4]], [[0, 0]])


def test_halves_are_disjoint() -> None:
    ids = torch.arange(9).unsqueeze(1)
    first, second = halves(Replies(ids, ids >= 0, ids, ids * 0), torch.Generator().manual_seed(0))
    assert len(set(first.ids.flatten().tolist()) | set(second.ids.flatten().tolist())) == 8
    assert torch.equal(first.ids, first.history)


def test_too_few_replies_are_refused() -> None:
    one = noise(random.Random(0), 1)
    with pytest.raises(ValueError, match="at least 2"):
        shuffled(one, torch.Generator())
    with pytest.raises(ValueError, match="at least 2"):
        halves(one, torch.Generator())
    with pytest.raises(ValueError, match="at least two training replies"):
        accuracy(Split(one, one), Split(one, one), TINY, 0, VOCABULARY)


# -- metrics -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, 2, 4])
@pytest.mark.parametrize("seed", range(10))
def test_bleu_is_that_of_nltk(seed: int, order: int) -> None:
    """On replies of at least `order` tokens, alike and unlike, some without any match of an order."""
    rng = random.Random(seed)
    references = [rng.choices(range(4), k=rng.randint(1, 9)) for _ in range(rng.randint(1, 8))]
    hypotheses = [rng.choices(range(4), k=rng.randint(order, 9)) for _ in references]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of no matches
        expected = corpus_bleu([[one] for one in references], hypotheses, (1 / order,) * order)
    assert metrics.reply_bleu(hypotheses, references, order) == pytest.approx(expected, abs=1e-9)


def test_short_replies_count_for_nothing_in_long_n_grams() -> None:
    """So what says the same scores 1, however short some of it is."""
    same = [list("abcd"), list("ab"), []]
    assert metrics.reply_bleu(same, same, 4) == pytest.approx(1.0)
    assert metrics.reply_bleu([list("ab")], [list("ab")], 4) == 0.0
    assert metrics.reply_bleu([[]], [list("ab")], 2) == 0.0
    with pytest.raises(ValueError, match="1 hypotheses and 2 references"):
        metrics.reply_bleu(same[:1], same[:2], 2)
    with pytest.raises(ValueError, match="at least 1"):
        metrics.reply_bleu(same, same, 0)


def test_lengths_and_repetitions_by_hand() -> None:
    replies = [list("abcabc"), list("aaa"), list("aaaa"), [], list("aaa")]
    assert metrics.mean_length(replies) == 16 / 5
    assert repetition(replies) == 2 / 5  # abc, and aaa within aaaa
    assert metrics.most_frequent(replies) == 2 / 5
    for metric in (metrics.mean_length, repetition, metrics.most_frequent):
        with pytest.raises(ValueError, match=r"no (replies|sentences)"):
            metric([])


def test_every_metric_has_a_meaning() -> None:
    higher = {"adversarial_success", "machine_versus_random", "human_versus_random", "right", "said", "bleu2"}
    lower = {"perplexity", "ere", "repetition", "most_frequent"}
    for name in higher | lower | {"human_versus_human", "machine_versus_machine", "length"}:
        _, direction, meaning = about(f"eval/{name}")
        assert meaning
        assert direction == (name in higher) - (name in lower)


# -- evaluation ----------------------------------------------------------------------------------------------------


def tiny_network() -> Seq2SeqGenerator:
    torch.manual_seed(0)
    network = Seq2SeqGenerator(Seq2SeqConfig(VOCABULARY, 8, 8, dropout=0.5, start=1, end=END))
    for parameter in network.parameters():
        nn.init.normal_(parameter)  # far from uniform
    return network


@pytest.mark.parametrize("chunk", [1, 2, 3, 100])
def test_perplexity_is_that_of_every_token(chunk: int) -> None:
    """Step by step and reply by reply, without padding."""
    network, replies = tiny_network(), noise(random.Random(0), 7)
    total, count = 0.0, 0
    network.eval()
    for row in range(7):
        view = network.given(*(part[row : row + 1, replies.told[row]] for part in (replies.history, replies.turns)))
        features, state = view.start(1)
        for token in replies.ids[row, replies.mask[row]]:
            total -= float(view.logits(features).detach().log_softmax(-1)[0, token])
            features, state = view.step(token.view(1), state)
            count += 1
    network.train()
    expected = float(torch.tensor(total / count).exp())
    assert perplexity(network, replies, chunk) == pytest.approx(expected, rel=1e-5)


def shapes_source() -> Source:
    return load(DataConfig(dialogues=120, held_out=0.3), 0)


class Parrot(nn.Module):
    """Knows some replies by heart: it says the one that belongs to a history, for certain."""

    def __init__(self, known: Replies, words: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.words = words
        self.known = {
            tuple(history[told].tolist()): ids[mask].tolist()
            for history, told, ids, mask in zip(known.history, known.told, known.ids, known.mask, strict=True)
        }

    def forward(self, ids: Tensor, history: Tensor, turns: Tensor, mask: Tensor) -> Tensor:
        said = [self.known[tuple(row[turn >= 0].tolist())] for row, turn in zip(history, turns, strict=True)]
        right = [row.tolist()[: len(own)] == own for row, own in zip(ids, said, strict=True)]
        return torch.where(torch.tensor(right).unsqueeze(1) | ~mask, 0.0, -torch.inf)

    def given(self, history: Tensor, turns: Tensor) -> Parrot:
        self.said = torch.zeros(len(history), 20, dtype=torch.int64)
        for row, told in enumerate(zip(history, turns, strict=True)):
            own = self.known[tuple(told[0][told[1] >= 0].tolist())]
            self.said[row, : len(own)] = torch.tensor(own)
        return self

    def start(self, batch: int) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        return self.said[:, 0], (torch.arange(batch), torch.zeros(batch, dtype=torch.int64))

    def step(self, tokens: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        row, time = state
        return self.said[row, time + 1], (row, time + 1)

    def logits(self, features: Tensor) -> Tensor:
        return torch.where(F.one_hot(features, self.words).bool(), 0.0, -torch.inf)


@pytest.mark.parametrize("chunk", [7, 256])
def test_who_answers_as_humans_do_has_the_best_of_all(chunk: int) -> None:
    """Each reply is judged beside its own history and reference, whatever the chunks."""
    source = shapes_source()
    parrot: Any = Parrot(source.held_out, source.vocabulary)
    found, texts = DialogueEvaluation(source)(parrot, 40, chunk=chunk)
    assert texts == [exchange.reply for exchange in source.held_out_exchanges[:40]]
    best = {"right": 1.0, "said": 1.0, "bleu2": 1.0, "bleu4": 1.0, "perplexity": 1.0}
    assert {name: found[name] for name in best} == pytest.approx(best)
    assert found["length"] == pytest.approx(sum(len(text.split()) for text in texts) / 40)
    assert found["most_frequent"] == max(texts.count(text) for text in texts) / 40
    drawn = draw(parrot, source.held_out, source.length, source.end, chunk=chunk)
    assert torch.equal(drawn.mask, source.held_out.mask)
    assert torch.equal(drawn.turns, source.held_out.turns)
    assert torch.equal(drawn.history[drawn.told], source.held_out.history[drawn.told])


def test_replies_too_short_for_bleu4_are_told() -> None:
    """Where fewer than half of the human ones have four words, a 0 says little."""
    evaluation = DialogueEvaluation(shapes_source())
    evaluation.wanted = [(1, 2, 3), (1, 2, 3, 4), (1, 2), (1, 2, 3, 4)]
    assert not any("bleu4" in note for note in evaluation.measured(4).notes)
    assert "bleu4 is of replies of 4 words or more, which 1 of 3 human ones have" in evaluation.measured(3).notes


def test_what_others_would_hear_is_seldom_right() -> None:
    """Replies to other histories still answer some question."""
    source = shapes_source()
    parrot: Any = Parrot(shuffled(source.held_out, torch.Generator().manual_seed(0)), source.vocabulary)
    found, _ = DialogueEvaluation(source)(parrot, 100)
    assert found["said"] == 1
    assert found["right"] < 0.6
    assert found["bleu2"] < 0.6
    assert found["perplexity"] == float("inf")


def test_who_knows_nothing_scores_as_chance() -> None:
    """A network just made: as unlikely as uniform, about; the scene is asked about in the shapes world alone."""
    source = replace(shapes_source(), kind="messages")
    torch.manual_seed(0)
    network = Seq2SeqGenerator(Seq2SeqConfig(source.vocabulary, 8, 8, start=source.end, end=source.end))
    found, texts = DialogueEvaluation(source)(network, 30)
    assert len(texts) == 30
    assert found["perplexity"] == pytest.approx(source.vocabulary, rel=0.2)
    assert set(found) == {
        "perplexity", "perplexity_word", "bleu2", "bleu4", "distinct1", "distinct2", "length", "repetition",
        "most_frequent",
    }  # fmt: skip
    assert found["perplexity_word"] == pytest.approx(found["perplexity"], rel=1e-6), "tokens are words"
    assert all(about(name)[2] for name in found)
    greedy, said = DialogueEvaluation(source)(network, 30, Drawing(top_k=1))
    assert greedy["length"] > 0
    assert said == DialogueEvaluation(source)(network, 30, Drawing(top_k=1))[1]


@pytest.mark.slow
def test_evaluators_judge_a_network() -> None:
    """Noise has no success; each value is named, and is a share."""
    source = shapes_source()
    torch.manual_seed(0)
    network = Seq2SeqGenerator(Seq2SeqConfig(source.vocabulary, 8, 8, start=source.end, end=source.end))
    found = DialogueEvaluation(source).thorough(network, 60, replace(TINY, steps=60, batch_size=32, looks=3), 0)
    assert set(found) == {
        "adversarial_success", "machine_versus_random", "human_versus_random", "human_versus_human",
        "machine_versus_machine", "ere",
    }  # fmt: skip
    assert all(0 <= value <= 1 for value in found.values())
    assert found["adversarial_success"] < 0.2
    assert found["machine_versus_random"] > 0.8  # it is like nothing that humans say, to whatever history


def test_replies_stand_beside_the_last_turn() -> None:
    history = [{"role": "user", "content": "hello"}, {"role": "user", "content": "who\nis\tit ?"}]
    assert table_of_replies([history], ["me \n."]) == ["who\\nis\\tit ?\tme \\n."]
