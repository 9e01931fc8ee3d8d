"""Discriminators of replies: each prefix by itself, padding that nobody sees, histories that are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    BartConfig,
    BartModel,
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
    RobertaConfig,
    RobertaModel,
)

from replies import END, LENGTH, REPLIES, VOCABULARY, alone, far_from_uniform, with_other_padding
from seqgan_kit.dialogue.comparison import compare, exchanged
from seqgan_kit.dialogue.template import EncodedHistory, to_replies
from seqgan_kit.language.tokenizers import train_tokenizer
from seqgan_kit.networks.text.generator_discriminator import GeneratorDiscriminator
from seqgan_kit.networks.text.hierarchical import HierarchicalDiscriminator
from seqgan_kit.networks.text.language_models import LanguageModel
from seqgan_kit.networks.text.reply_encoder import ReplyEncoder, RetokenisedEncoder
from seqgan_kit.networks.text.seq2seq import Seq2SeqConfig, Seq2SeqGenerator
from seqgan_kit.samples import Replies, concatenate, repeated, rows, size
from seqgan_kit.tokens.discriminator import call, call_prefixes, shortened
from test_sampling import assert_distributed

SMALL: dict[str, Any] = {"vocab_size": VOCABULARY, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2}
SMALL |= {"num_attention_heads": 2, "max_position_embeddings": 40}
ENCODERS: dict[str, Callable[..., PreTrainedModel]] = {
    "bert": lambda **others: BertModel(BertConfig(**SMALL, **others)),
    "roberta": lambda **others: RobertaModel(RobertaConfig(**SMALL, **others)),
    # as a run makes it from a configuration: no token of the generator's is padding
    "roberta without padding": lambda **others: RobertaModel(RobertaConfig(**SMALL, **others, pad_token_id=None)),
}


def hierarchical() -> HierarchicalDiscriminator:
    return far_from_uniform(HierarchicalDiscriminator(VOCABULARY, 8, 12, dropout=0.5), 1.0).eval()


def encoder(kind: str) -> ReplyEncoder:
    return far_from_uniform(ReplyEncoder(ENCODERS[kind]())).eval()


def from_generator(kind: str) -> GeneratorDiscriminator:
    if kind == "lstm":
        sizes = {"vocabulary": VOCABULARY, "embedding": 8, "hidden": 16, "start": END, "end": END}
        generator: Any = Seq2SeqGenerator(Seq2SeqConfig(**sizes))
    else:
        sizes = {"vocab_size": VOCABULARY, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 40}
        generator = LanguageModel(GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=END, eos_token_id=END)))
    return far_from_uniform(GeneratorDiscriminator(generator, 16)).eval()


OTHERS: dict[str, Callable[[], nn.Module]] = {
    "hierarchical": hierarchical,
    "from an LSTM": lambda: from_generator("lstm"),
    "from a GPT-2": lambda: from_generator("gpt2"),
}


@pytest.fixture(params=[*OTHERS, *ENCODERS])
def judge(request: pytest.FixtureRequest) -> nn.Module:
    """Each kind, without dropout, though it has some in training."""
    torch.manual_seed(0)
    return OTHERS[request.param]() if request.param in OTHERS else encoder(request.param)


@torch.no_grad()
def logits(judge: nn.Module, replies: Replies) -> Tensor:
    """Of what the mask shows, (batch,)."""
    found = call(judge, replies)
    assert found.dtype == torch.float32
    assert found.shape == (size(replies),)
    return found


@torch.no_grad()
@pytest.mark.parametrize("kind", OTHERS)
def test_all_prefixes_are_judged_at_once(kind: str) -> None:
    """As each is as a row of its own, also among rows with the same history."""
    torch.manual_seed(0)
    network, replies = OTHERS[kind](), concatenate([REPLIES, rows(REPLIES, slice(0, 2))])
    found = call_prefixes(network, replies)
    assert found.shape == replies.ids.shape
    for t in range(LENGTH):
        shown = replies.mask & (torch.arange(LENGTH) <= t)
        expected = logits(network, replace(replies, mask=shown))
        there = replies.mask[:, t]
        torch.testing.assert_close(found[there, t], expected[there], rtol=1e-5, atol=1e-5)


def test_padding_changes_no_logit(judge: nn.Module) -> None:
    """A reply alone has the logit that it has in a batch of longer ones, whatever stands on their padding."""
    found = logits(judge, REPLIES)
    assert found.std() > 0.1
    torch.testing.assert_close(logits(judge, with_other_padding(REPLIES)), found, rtol=1e-5, atol=1e-5)
    for one, logit in zip(alone(REPLIES), found, strict=True):
        torch.testing.assert_close(logits(judge, one)[0], logit, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("count", range(1, LENGTH + 1))
def test_a_prefix_is_a_cut_reply(judge: nn.Module, count: int) -> None:
    """What the mask hides is as if it was not there."""
    shown = replace(REPLIES, mask=REPLIES.mask & (torch.arange(LENGTH) < count))
    cut = replace(shown, ids=shown.ids[:, :count], mask=shown.mask[:, :count])
    torch.testing.assert_close(logits(judge, shown), logits(judge, cut), rtol=1e-5, atol=1e-5)
    if count < LENGTH:
        whole = REPLIES.mask.sum(1) > count
        assert (logits(judge, shown) - logits(judge, REPLIES))[whole].abs().min() > 1e-4


def test_the_history_is_read(judge: nn.Module) -> None:
    """From its first word to its last."""
    found = logits(judge, REPLIES)
    for row in range(size(REPLIES)):
        told = REPLIES.told[row].nonzero()
        for place in (told[0], told[-1]):
            history = REPLIES.history.clone()
            history[row, place] = (history[row, place] + 1) % VOCABULARY
            changed = (logits(judge, replace(REPLIES, history=history)) - found).abs() > 1e-4
            assert changed.nonzero().flatten().tolist() == [row]


# the hierarchical one


def test_hierarchical_equals_a_loop() -> None:
    """Each utterance of the history and each prefix of the reply is read by one LSTM, and they in turn by another: the
    logits, and their gradient."""
    torch.manual_seed(0)
    network = hierarchical()

    def read(ids: Tensor) -> Tensor:
        return network.words(network.embedding(ids).unsqueeze(0))[1][0][0, 0]

    found, slow = call_prefixes(network, REPLIES), []
    for row in range(size(REPLIES)):
        history, turns, reply = REPLIES.history[row], REPLIES.turns[row], REPLIES.ids[row, REPLIES.mask[row]]
        said = [read(history[turns == turn]) for turn in range(int(turns.max()) + 1)]
        for t in range(len(reply)):
            conversation = torch.stack([*said, read(reply[: t + 1])]).unsqueeze(0)
            expected = network.output(network.utterances(conversation)[0][0, -1])
            torch.testing.assert_close(found[row, t], expected[0], rtol=1e-5, atol=1e-5)
            slow.append(expected[0])
    totals = found[REPLIES.mask].square().sum(), torch.stack(slow).square().sum()
    slopes = (torch.autograd.grad(total, list(network.parameters())) for total in totals)
    for slope, reference in zip(*slopes, strict=True):
        torch.testing.assert_close(slope, reference, rtol=1e-4, atol=1e-5 * reference.abs().max().item())


def test_turns_matter() -> None:
    """The same words said in one turn, or in two, are another history."""
    torch.manual_seed(0)
    network = hierarchical()
    one_turn = REPLIES.turns.clamp_max(0)
    difference = logits(network, replace(REPLIES, turns=one_turn)) - logits(network, REPLIES)
    assert (difference.abs() > 1e-4).equal((REPLIES.turns != one_turn).any(1))


# encoders


@pytest.mark.parametrize("kind", ["bert", "roberta without padding"])
@torch.no_grad()
def test_an_encoder_equals_the_mean_over_the_reply(kind: str) -> None:
    """History and reply in one row, as two kinds of tokens; the logit is linear in the mean of the reply's outputs."""
    torch.manual_seed(0)
    judge = encoder(kind)
    for one in alone(REPLIES):
        count, time = one.history.shape[1], one.ids.shape[1]
        kinds = torch.tensor([[0] * count + [1] * time])
        places = torch.arange(count + time).unsqueeze(0)
        found = judge.encoder(torch.cat([one.history, one.ids], dim=1), token_type_ids=kinds, position_ids=places)
        expected = judge.output(found.last_hidden_state[0, count:].mean(0))
        torch.testing.assert_close(logits(judge, one), expected, rtol=1e-5, atol=1e-5)


def test_an_encoder_of_one_kind_of_tokens() -> None:
    """There are no two of it to tell history and reply apart, and it does without."""
    torch.manual_seed(0)
    judge = ReplyEncoder(ENCODERS["bert"](type_vocab_size=1)).eval()
    assert logits(judge, REPLIES).isfinite().all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: ENCODERS["bert"](is_decoder=True),
        lambda: BartModel(BartConfig(vocab_size=VOCABULARY, d_model=16, encoder_layers=1, decoder_layers=1)),
    ],
    ids=["decoder", "both"],
)
def test_decoders_are_refused(make: Callable[[], PreTrainedModel]) -> None:
    """Whether there is an encoder beside it or not."""
    with pytest.raises(ValueError, match="is no encoder"):
        ReplyEncoder(make())


WORDS = ["who", "is", "there", "it", "me", "again"]
TOKENIZER = train_tokenizer("word", [" ".join(WORDS)])
PAST, SAID = [["who", "is", "there"], ["is", "it"]], ["it", "is", "me"]


def spoken(vocabulary: list[str], past: list[list[str]], said: list[str]) -> Replies:
    """A reply, and its first word alone; ids are places in `vocabulary`."""
    ids = [vocabulary.index(word) for words in past for word in words]
    told = EncodedHistory(ids, [turn for turn, words in enumerate(past) for _ in words], cut=False)
    reply = [vocabulary.index(word) for word in said]
    return to_replies([(told, reply), (told, reply[:1])], 0)


def retokenised(vocabulary: list[str], length: int = 20, special: bool = False) -> RetokenisedEncoder:
    torch.manual_seed(0)
    tokenizer = train_tokenizer("word", [" ".join(WORDS)])
    if special:
        tokenizer.add_special_tokens({"cls_token": "[CLS]", "sep_token": "[SEP]"})
    bert = ENCODERS["bert"]()
    return far_from_uniform(
        RetokenisedEncoder(bert, tokenizer, lambda ids: " ".join(vocabulary[i] for i in ids), length)
    ).eval()


@pytest.mark.parametrize("special", [False, True])
def test_the_text_is_judged(special: bool) -> None:
    """Two generators that say the same with other ids have the same logit; who says something else, another."""
    first, second = WORDS, WORDS[::-1]
    found, again = (logits(retokenised(each, special=special), spoken(each, PAST, SAID)) for each in (first, second))
    assert again.equal(found)
    other = logits(retokenised(first, special=special), spoken(first, PAST, ["it", "is", "again"]))
    assert (other - found).abs()[0] > 1e-4
    assert other[1] == found[1]  # of both, "it" is shown


def shown_to(judge: RetokenisedEncoder, replies: Replies, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What the encoder reads, as words, and which kind each of them is."""
    seen = []

    def spy(ids: Tensor, shown: Tensor, reply: Tensor) -> Tensor:
        for row, keep, kind in zip(ids, shown, reply, strict=True):
            words = judge.tokenizer.convert_ids_to_tokens(row[keep].tolist())
            seen.append((" ".join(words), "".join(map(str, kind[keep].tolist()))))
            assert not kind[~keep].any()
        return torch.zeros(len(ids))

    monkeypatch.setattr(judge.judge, "score", spy)
    judge(replies.ids, replies.mask, *replies.context)
    return seen


@pytest.mark.parametrize(
    ("length", "special", "expected"),
    [
        (20, False, ("who is there is it it is me", "00000111")),
        (8, False, ("who is there is it it is me", "00000111")),
        (7, False, ("is there is it it is me", "0000111")),
        (4, False, ("it it is me", "0111")),
        (2, False, ("it is", "11")),
        (11, True, ("[CLS] who is there is it [SEP] it is me [SEP]", "00000001111")),
        (8, True, ("[CLS] is it [SEP] it is me [SEP]", "00001111")),
    ],
)
def test_long_histories_lose_their_beginning(
    length: int, special: bool, expected: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left is the history's end and the reply's beginning, between the tokenizer's own marks."""
    judge = retokenised(WORDS, length, special)
    shown = shown_to(judge, spoken(WORDS, PAST, SAID), monkeypatch)
    assert shown[0] == expected
    assert len(shown[1][0].split()) <= length


# how they are trained


def test_every_prefix_is_as_likely() -> None:
    """Of 1 token to all, never none; only the mask changes."""
    torch.manual_seed(0)
    count = 2000
    found = shortened(repeated(REPLIES, count))
    assert found.ids.equal(repeated(REPLIES, count).ids)
    assert found.mask.equal(torch.arange(LENGTH) < found.mask.sum(1, keepdim=True))
    for own, lengths in zip(REPLIES.mask.sum(1).tolist(), found.mask.sum(1).split(count), strict=True):
        assert (lengths.min(), lengths.max()) == (1, own)
        if own > 1:
            assert_distributed(lengths.bincount()[1:], torch.full((own,), count / own))


def test_the_greatest_random_number_shows_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounding can't show more tokens than there are."""
    monkeypatch.setattr(torch, "rand", lambda count, device: torch.full((count,), 1 - 2**-24))
    assert shortened(REPLIES).mask.equal(REPLIES.mask)


@pytest.mark.parametrize("prefixes", [False, True])
def test_what_is_compared(judge: nn.Module, prefixes: bool) -> None:
    """Real and fake rows of different lengths, each shown up to where it is judged: whole, or one prefix of each."""
    real, fake = REPLIES, rows(REPLIES, torch.tensor([1, 3]))
    fake = replace(fake, ids=fake.ids[:, :3], mask=fake.mask[:, :3])
    torch.manual_seed(1)
    (found,) = compare(judge, real, fake, prefixes)
    assert (found.name, found.weight) == ("accuracy", 1.0)
    torch.manual_seed(1)
    cut = torch.rand(7)
    for logit, row, share in zip(torch.cat([found.real, found.fake]), [*range(5), 1, 3], cut, strict=True):
        one = alone(REPLIES)[row]
        if prefixes:
            one = replace(one, mask=torch.arange(one.mask.shape[1]).unsqueeze(0) < int(share * one.mask.sum()) + 1)
        torch.testing.assert_close(logit, logits(judge, one)[0], rtol=1e-5, atol=1e-5)


def test_what_does_not_fit_is_compared_too() -> None:
    """By its share, and with the reply of another row; with 0 there is no such comparison."""
    judge = hierarchical()
    torch.manual_seed(3)
    found = compare(judge, REPLIES, REPLIES, prefixes=False, mismatched=0.25)
    assert [(one.name, one.weight) for one in found] == [("accuracy", 0.75), ("mismatched", 0.25)]
    torch.manual_seed(3)
    torch.testing.assert_close(found[1].real, logits(judge, REPLIES))
    torch.testing.assert_close(found[1].fake, logits(judge, exchanged(REPLIES)))
    assert [one.weight for one in compare(judge, REPLIES, REPLIES, prefixes=False)] == [1.0]


def test_the_nearest_message_s_reply_is_exchanged() -> None:
    """By the words of the last message, of a row with another reply; equally near ones are drawn by lot."""
    asked = {(1, 2, 3): (9,), (1, 2, 4): (8,), (1, 2, 3, 5): (9,), (6, 7): (7,), (6, 8): (6,), (6, 9): (5,)}
    # the message before the last is the same for all but one, and does not count
    told = [([6, 7, END] if i == 1 else [4, 4, END]) + [*words, END] for i, words in enumerate(asked)]
    turns = [[0] * 3 + [1] * (len(ids) - 3) for ids in told]
    rows_of = [
        (EncodedHistory(a, b, cut=False), [*reply, END])
        for a, b, reply in zip(told, turns, asked.values(), strict=True)
    ]
    replies = to_replies(rows_of, END)
    drawn = [exchanged(replies) for _ in range(40)]
    said = [{int(one.ids[row, 0]) for one in drawn} for row in range(6)]
    assert said[:3] == [{8}, {9}, {8}]
    assert said[3:] == [{6, 5}, {7, 5}, {7, 6}]
    assert all(torch.equal(one.history, replies.history) for one in drawn)


@pytest.mark.parametrize("kind", ["lstm", "gpt2"])
def test_a_judge_follows_its_generator(kind: str) -> None:
    """It takes all weights but the last layer's, is undecided at first, and trains nothing that no logit depends on."""
    judge, other = from_generator(kind), from_generator(kind)
    judge.follow(other.generator)
    own, theirs = judge.generator.state_dict(), other.generator.state_dict()
    assert all(torch.equal(own[name], theirs[name]) for name in theirs)
    call(judge, REPLIES).square().sum().backward()
    trained = {name: p.grad is not None for name, p in judge.named_parameters() if p.requires_grad}
    assert all(trained.values()), trained
    fresh = GeneratorDiscriminator(other.generator, 16)
    assert not call(fresh, REPLIES).any()
