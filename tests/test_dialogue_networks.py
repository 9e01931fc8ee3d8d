"""Generators and discriminators of replies: drawn as they are differentiated, with padding that nobody sees."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModel,
    BartConfig,
    BartForConditionalGeneration,
    BartModel,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPT2Model,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaModel,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
)

from replies import END, LENGTH, REPLIES, VOCABULARY, alone, far_from_uniform, stepped, with_other_padding
from seqgan_kit.networks.text.histories import each_once
from seqgan_kit.networks.text.language_models import LanguageModel
from seqgan_kit.networks.text.seq2seq import Seq2SeqConfig, Seq2SeqGenerator
from seqgan_kit.samples import Replies, rows
from seqgan_kit.tokens import rollouts, sampling

SMALL = {"vocab_size": VOCABULARY, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 2, "num_key_value_heads": 1, "attention_dropout": 0.1}
BART = {"vocab_size": VOCABULARY, "d_model": 16, "max_position_embeddings": 32}
BART |= {f"{part}_{name}": 2 for part in ("encoder", "decoder") for name in ("layers", "attention_heads", "ffn_dim")}
GPT2 = GPT2Config(
    vocab_size=VOCABULARY, n_embd=16, n_layer=2, n_head=2, n_positions=32, bos_token_id=END, eos_token_id=END
)
LLAMA = LlamaConfig(**SMALL, **HEADS)
OPT = {"word_embed_proj_dim": 8, "num_attention_heads": 2, "max_position_embeddings": 32}
MODELS: dict[str, Callable[[], PreTrainedModel]] = {
    "gpt2": lambda: GPT2LMHeadModel(GPT2),
    "llama": lambda: LlamaForCausalLM(LLAMA),
    # a window shorter than the histories, and a cap that is felt
    "gemma2": lambda: Gemma2ForCausalLM(
        Gemma2Config(**SMALL, **HEADS, head_dim=8, sliding_window=4, final_logit_softcapping=3.0)
    ),
    "opt": lambda: OPTForCausalLM(OPTConfig(**SMALL, **OPT, ffn_dim=16)),
    "t5": lambda: T5ForConditionalGeneration(
        T5Config(
            vocab_size=VOCABULARY, d_model=16, d_kv=8, d_ff=16, num_layers=2, num_heads=2, decoder_start_token_id=END
        )
    ),
    "bart": lambda: BartForConditionalGeneration(BartConfig(**BART)),
}


def seq2seq() -> Seq2SeqGenerator:
    config = Seq2SeqConfig(VOCABULARY, embedding=8, hidden=12, layers=2, start=5, end=END, dropout=0.1)
    return far_from_uniform(Seq2SeqGenerator(config)).eval()


def language_model(kind: str) -> LanguageModel:
    return LanguageModel(far_from_uniform(MODELS[kind]())).eval()


@pytest.fixture(params=["seq2seq", *MODELS])
def generator(request: pytest.FixtureRequest) -> Seq2SeqGenerator | LanguageModel:
    """Each kind, without dropout, though it has some in training."""
    torch.manual_seed(0)
    return seq2seq() if request.param == "seq2seq" else language_model(request.param)


def assert_close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_what_is_drawn_is_what_is_differentiated(generator: Any) -> None:
    """Token by token or all at once, a reply has the same log-probabilities."""
    found, expected = stepped(generator, REPLIES), generator(REPLIES.ids, *REPLIES.context)
    assert expected.dtype == torch.float32
    assert expected[REPLIES.mask].std() > 0.3  # far from uniform, or little would be shown
    assert_close(found[REPLIES.mask], expected[REPLIES.mask])


@torch.no_grad()
def test_padding_changes_no_log_probability(generator: Any) -> None:
    """A reply alone is as likely as in a batch of longer ones, whatever stands on their padding."""
    found = generator(REPLIES.ids, *REPLIES.context)
    other = with_other_padding(REPLIES)
    assert not other.history.equal(REPLIES.history)
    assert_close(generator(other.ids, *other.context)[REPLIES.mask], found[REPLIES.mask])
    for row, one in enumerate(alone(REPLIES)):
        assert_close(generator(one.ids, *one.context)[0], found[row, REPLIES.mask[row]])
        assert_close(stepped(generator, one)[0], found[row, REPLIES.mask[row]])


@torch.no_grad()
def test_the_history_is_read(generator: Any) -> None:
    """Its first word and its last one change what is likely next."""
    found = generator(REPLIES.ids, *REPLIES.context)[2]
    told = REPLIES.told[2].nonzero()
    for place in (told[0], told[-1]):
        history = REPLIES.history.clone()
        history[2, place] = 7
        assert (generator(REPLIES.ids, history, REPLIES.turns)[2] - found).abs().min() > 1e-4


@torch.no_grad()
def test_states_can_be_chosen_and_joined(generator: Any) -> None:
    """Prefixes that enter a batch that goes on are continued as if each were alone; their states stay as they were."""
    ids, entered = REPLIES.ids, torch.tensor([3, 0, 3, 2])
    view = generator.given(*REPLIES.context)
    features, state = view.start(len(ids))
    for t in range(3):
        before, (features, state) = state, view.step(ids[:, t], state)
    owner = torch.cat([torch.arange(len(ids)), entered])
    together = sampling.join((features, state), (features[entered], sampling.select(state, entered)))
    expected = generator(ids, *REPLIES.context)[owner]
    for t in range(3, LENGTH):
        found = view.logits(together[0]).log_softmax(-1).gather(1, ids[owner, t, None]).squeeze(1)
        assert_close(found, expected[:, t])
        together = view.step(ids[owner, t], together[1])
    assert view.step(ids[:, 2], before)[0].equal(features)


@torch.no_grad()
def greedy(generator: Any, one: Replies, prefix: list[int]) -> list[int]:
    """The likeliest completion, each token found by reading everything from the start."""
    ids = list(prefix)
    while len(ids) < LENGTH and END not in ids:
        features = generator.features(torch.tensor([[*ids, END]]), *one.context)[:, -1]
        ids.append(int(generator.given(*one.context).logits(features).argmax()))
    return ids + [END] * (LENGTH - len(ids))


@pytest.mark.parametrize("joined_states", [0, 1 << 30])
def test_completions_are_those_of_a_naive_loop(
    generator: Any, joined_states: int, monkeypatch: pytest.MonkeyPatch, tune: Callable[..., None]
) -> None:
    """With the likeliest token in place of a draw, each prefix is completed under its own history, in one growing batch
    or length by length."""
    tune(joined_states=joined_states)
    monkeypatch.setattr(rollouts, "draw", lambda logits, _: logits.argmax(1))
    done = rollouts.roll_out(sampling.with_context(generator, REPLIES), REPLIES, 1, LENGTH, END)
    rest = set()
    for ids, cell in zip(done.tokens.ids.tolist(), done.cells.tolist(), strict=True):
        row, t = divmod(cell, LENGTH)
        assert ids == greedy(generator, alone(REPLIES)[row], REPLIES.ids[row, : t + 1].tolist())
        rest.add(tuple(ids[t + 1 :]))
    assert len(rest) > 3


@torch.no_grad()
def test_features_know_nothing_of_what_comes(generator: Any) -> None:
    """Those at a place change with the tokens before it, and with no other."""
    before = generator.features(REPLIES.ids, *REPLIES.context)
    for t in range(LENGTH):
        ids = REPLIES.ids.clone()
        ids[:, t] = (ids[:, t] + 1) % VOCABULARY
        difference = (generator.features(ids, *REPLIES.context) - before).abs().amax(2)
        assert (difference[:, : t + 1] == 0).all()
        assert (difference[:, t + 1 : t + 2] > 1e-4).all()


@pytest.mark.parametrize("kind", MODELS)
def test_a_language_model_is_the_model_itself(kind: str) -> None:
    """Log-probabilities and their gradient are those of the logits that the model gives for an unpadded row."""
    torch.manual_seed(0)
    network = language_model(kind)
    (one,) = alone(rows(REPLIES, slice(2, 3)))
    if network.encodes:
        before = torch.cat([torch.tensor([[network.first]]), one.ids[:, :-1]], dim=1)
        logits = network.model(input_ids=one.history, decoder_input_ids=before).logits
    else:
        read = torch.cat([one.history, one.ids], dim=1)
        logits = network.model(input_ids=read).logits[:, one.history.shape[1] - 1 : -1]
    expected = logits.log_softmax(-1).gather(2, one.ids.unsqueeze(2)).squeeze(2)
    found = network(one.ids, *one.context)
    assert_close(found, expected)
    weights = [p for p in network.parameters() if p.requires_grad]
    slopes = [torch.autograd.grad(each.sum(), weights, allow_unused=True) for each in (found, expected)]
    assert sum(slope is not None for slope in slopes[0]) > 10
    for own, its in zip(*slopes, strict=True):
        torch.testing.assert_close(own, its, rtol=1e-4, atol=1e-4)


def wrong_bias() -> PreTrainedModel:
    """A model that adds to its logits what no other does."""
    model = MODELS["bart"]()
    model.final_logits_bias += torch.arange(VOCABULARY)
    return model


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: GPT2Model(GPT2), "GPT2Model has no language modelling head"),
        (lambda: LlamaModel(LLAMA), "LlamaModel has no language modelling head"),
        (lambda: BartModel(BartConfig(**BART)), "BartModel has no language modelling head"),
        (wrong_bias, "BartForConditionalGeneration computes its logits in a way"),
    ],
)
def test_other_models_are_refused(make: Callable[[], PreTrainedModel], why: str) -> None:
    """Without a head for words, or with one whose logits would be others."""
    with pytest.raises(ValueError, match=why):
        LanguageModel(make())


def test_a_batch_of_another_size_is_refused(generator: Any) -> None:
    """There is one reply to each history."""
    with pytest.raises(ValueError, match="3 samples under 5 contexts"):
        generator.given(*REPLIES.context).start(3)


@torch.no_grad()
def test_seq2seq_equals_its_equations() -> None:
    """LSTM cells, Luong's attention and a softmax, written for one reply and one step at a time."""
    torch.manual_seed(0)
    network = seq2seq()

    def run(name: str, tokens: list[int], states: list[tuple[Tensor, Tensor]]) -> list[Tensor]:
        """The top states of a stack of cells."""
        lstm, tops = getattr(network, name), []
        for token in tokens:
            read = network.embedding.weight[token]
            for layer, state in enumerate(states):
                kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
                weights = [getattr(lstm, f"{kind}_l{layer}") for kind in kinds]
                i, f, g, o = (weights[0] @ read + weights[1] @ state[0] + weights[2] + weights[3]).chunk(4)
                cell = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
                read = o.sigmoid() * cell.tanh()
                states[layer] = read, cell
            tops.append(read)
        return tops

    found = network(REPLIES.ids, *REPLIES.context)
    for row, one in enumerate(alone(REPLIES)):
        states = [(torch.zeros(12), torch.zeros(12)) for _ in range(2)]
        read = run("encoder", one.history[0].tolist(), states)
        reply = one.ids[0].tolist()
        for t, top in enumerate(run("decoder", [5, *reply[:-1]], states)):
            weights = torch.stack([top @ network.attend.weight.T @ each for each in read]).softmax(0)
            context = sum(weight * each for weight, each in zip(weights, read, strict=True))
            features = torch.tanh(network.join.weight @ torch.cat([context, top]))
            expected = network.output(features).log_softmax(0)[reply[t]]
            assert found[row, t].item() == pytest.approx(expected.item(), abs=1e-4)


def test_seq2seq_is_loaded_as_it_was_saved(tmp_path: Path) -> None:
    """`AutoModel` knows its folder: sizes, the tokens that begin and end, and weights."""
    torch.manual_seed(0)
    network = seq2seq()
    network.save_pretrained(tmp_path)
    again = AutoModel.from_pretrained(tmp_path)
    assert isinstance(again, Seq2SeqGenerator)
    assert (again.config.start, again.config.end, again.config.dropout) == (5, END, 0.1)
    found, expected = (each.eval()(REPLIES.ids, *REPLIES.context) for each in (again, network))
    assert found.equal(expected)


def test_a_history_is_read_once() -> None:
    """By all that are alike in both tensors; each row then has its own, in order."""
    history, told = (
        torch.tensor([[2, 1], [1, 2], [2, 1], [2, 1]]),
        torch.tensor([[1, 1], [1, 1], [0, 1], [1, 1]]).bool(),
    )
    sizes = []

    def read(history: Tensor, told: Tensor) -> tuple[Tensor, tuple[Tensor]]:
        assert told.dtype == torch.bool
        sizes.append(len(history))
        return history * 10 + told, (history.sum(1),)

    found, (sums,) = each_once(read, history, told)
    assert found.equal(history * 10 + told)
    assert sums.equal(history.sum(1))
    each_once(read, history[:3], told[:3])
    assert sizes == [3, 3]


def test_a_history_that_is_read_once_has_the_gradient_of_all_its_rows() -> None:
    history, told = torch.tensor([[2, 1], [1, 2], [2, 1], [2, 1]]), torch.ones(4, 2, dtype=torch.bool)
    table, weights = torch.randn(3, requires_grad=True), torch.randn(4)

    def read(history: Tensor, told: Tensor) -> Tensor:
        return (table[history] * torch.tensor([1.0, 3.0]) * told).sum(1).square()

    slopes = (
        torch.autograd.grad((weights * one).sum(), table)[0]
        for one in (each_once(read, history, told), read(history, told))
    )
    torch.testing.assert_close(*slopes)
