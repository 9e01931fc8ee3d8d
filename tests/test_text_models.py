"""Hugging Face models in the game of text, and the recurrent discriminator: as generators, and as discriminators."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, BertConfig, BertModel, GPT2Config, GPT2LMHeadModel

import runs
from runs import InStep, Victim
from seqgan_kit.errors import UserError
from seqgan_kit.game.trainer import Turns
from seqgan_kit.language.tokenizers import train_tokenizer
from seqgan_kit.networks.text.language_models import LanguageModel, Unprompted
from seqgan_kit.networks.text.lstm_discriminator import TextLSTM
from seqgan_kit.networks.text.reply_encoder import ReplyEncoder, RetokenisedEncoder
from seqgan_kit.samples import Tokens
from seqgan_kit.text import config as configs
from seqgan_kit.text import sources
from seqgan_kit.text.models import load_generator
from seqgan_kit.text.train import train
from seqgan_kit.tokens import rollouts, sampling
from seqgan_kit.tokens.credit import MonteCarlo, Prefixes
from seqgan_kit.tokens.discriminator import call, call_prefixes

VOCABULARY, END, LENGTH = 7, 6, 5
GPT2 = ["--generator.config", "{model_type: gpt2, n_layer: 1, n_embd: 8, n_head: 2}"]
LLAMA = "{model_type: llama, hidden_size: 8, intermediate_size: 8, num_hidden_layers: 1, num_attention_heads: 2}"
BERT = "{model_type: bert, hidden_size: 8, intermediate_size: 8, num_hidden_layers: 1, num_attention_heads: 2}"
RECURRENT = ["--discriminator.network", "seqgan_kit.networks.text.lstm_discriminator.TextLSTM"]
SLOTS = {
    "gpt2 rolled out": GPT2,
    "gpt2 by prefixes": [*GPT2, *RECURRENT, "--adversarial.credit", "seqgan_kit.tokens.credit.Prefixes"],
    "llama against bert": [
        "--generator.config", LLAMA, "--discriminator.config", BERT, "--adversarial.credit",
        "seqgan_kit.tokens.credit.Terminal",
    ],
}  # fmt: skip


def far_from_uniform(network: nn.Module) -> Any:
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.7)
    return network.eval()


def gpt2() -> Unprompted:
    sizes = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 12}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, bos_token_id=END, eos_token_id=END, **sizes))
    return far_from_uniform(Unprompted(LanguageModel(model), END))


def some_tokens(count: int = 6) -> Tokens:
    ids = torch.randint(END, (count, LENGTH), generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([5, 1, 3, 2, 4, 5])[:count]
    return Tokens(ids, torch.arange(LENGTH) < lengths.unsqueeze(1))


# generators


@torch.no_grad()
def test_an_unprompted_model_reads_its_start_token_first() -> None:
    """Its log-probabilities are the model's own after the start token."""
    network, ids = gpt2(), some_tokens().ids
    model: Any = network.language.model
    logits = model(torch.cat([torch.full((len(ids), 1), END), ids[:, :-1]], dim=1)).logits
    expected = logits.log_softmax(-1).gather(2, ids.unsqueeze(2)).squeeze(2)
    torch.testing.assert_close(network(ids), expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_what_is_drawn_is_what_is_differentiated() -> None:
    """Token by token with its cache, the log-probabilities are those of the forward, to 1e-5."""
    network, drawn = gpt2(), []

    class Watched:
        """Keeps the logits from which tokens are drawn."""

        start, step = network.start, network.step

        def logits(self, features: Tensor) -> Tensor:
            drawn.append(network.logits(features))
            return drawn[-1]

    torch.manual_seed(0)
    sampled = sampling.sample(Watched(), 32, LENGTH, None)
    found = torch.stack([one.log_softmax(-1) for one in drawn], dim=1).gather(2, sampled.ids.unsqueeze(2)).squeeze(2)
    torch.testing.assert_close(found, network(sampled.ids), rtol=0, atol=1e-5)


def test_roll_outs_complete_the_very_prefixes() -> None:
    """Each completion begins as its sample does, up to its cell; none begins otherwise."""
    torch.manual_seed(0)
    sampled = sampling.sample(gpt2(), 8, LENGTH, END)
    done = rollouts.roll_out(gpt2(), sampled, 3, LENGTH, END)
    assert len(done.cells) == 3 * int((sampled.mask.sum(1) - 1).sum())
    time = sampled.ids.shape[1]
    for ids, cell in zip(done.tokens.ids, done.cells.tolist(), strict=True):
        row, place = divmod(cell, time)
        assert ids[: place + 1].equal(sampled.ids[row, : place + 1])


@pytest.mark.slow
def test_a_model_is_saved_for_transformers_and_fine_tuned(tmp_path: Path) -> None:
    """A run's model works without us, is loaded again as it was, and another run fine-tunes that folder."""
    first = tmp_path / "first"
    runs.finish(runs.tiny(first, *GPT2), tmp_path / "log")
    model, tokenizer = (kind.from_pretrained(first / "model") for kind in (AutoModelForCausalLM, AutoTokenizer))
    told = tokenizer("a red star .", return_tensors="pt")
    assert model.generate(**told, max_new_tokens=3, do_sample=True).shape == (1, 7)
    loaded = load_generator(first / "model")
    assert isinstance(loaded.network, Unprompted)
    assert loaded.network.first == loaded.end == tokenizer.eos_token_id
    second = tmp_path / "second"
    words = ["--generator.model", str(first / "game"), "--likelihood.optimizer.lr", "0"]
    runs.finish(runs.tiny(second, *words), tmp_path / "log2")
    kept, begun = (
        [line["eval/nll_gen"] for line in runs.lines(run) if line["phase"] == phase and "eval/nll_gen" in line]
        for run, phase in ((first, "adversarial"), (second, "maximum_likelihood"))
    )
    assert begun[0] == pytest.approx(kept[-1], rel=1e-5), "it begins as the other ended"
    found = runs.finish(["evaluate", str(second), "--samples", "16", "--model", "game"], tmp_path / "log3")
    last = [line for line in runs.lines(second) if line["phase"] == "adversarial"][-1]["eval/nll_gen"]
    assert ["nll_gen", f"{last:.4f}"] in [line.split()[:2] for line in found.splitlines()]
    words = runs.finish(["sample", str(second), "--count", "30"], tmp_path / "log4").split()
    assert set(words) & {"a", "is", "red", "square", "."}


@pytest.mark.slow
@pytest.mark.parametrize("slots", SLOTS)
def test_killed_in_every_phase_and_resumed_it_ends_equal(tmp_path: Path, slots: str) -> None:
    straight = tmp_path / "straight" / "run"
    runs.finish(runs.tiny(straight, *SLOTS[slots]), tmp_path / "log")
    victim = Victim(tmp_path / "run", runs.tiny(tmp_path / "run", *SLOTS[slots]))
    for phase in runs.PHASES:
        victim.kill(InStep(phase, 5, 0.5))
    victim.finish()
    runs.same(straight, victim.run)


@pytest.mark.slow
def test_bf16_learns(tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = [*SLOTS["gpt2 by prefixes"], "--run.precision", "bf16", "--likelihood.optimizer.lr", "0.03"]
    options += ["--likelihood.steps", "120"]  # with its dropout it learns more slowly
    runs.finish(runs.tiny(run, *options), tmp_path / "log")
    nll = [line["nll"] for line in runs.lines(run) if line["phase"] == "maximum_likelihood"]
    assert nll[-1] < 0.7 * nll[0]


# discriminators


def encoder(**others: Any) -> BertModel:
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    return BertModel(BertConfig(vocab_size=VOCABULARY, max_position_embeddings=12, **sizes, **others))


@pytest.fixture(params=["recurrent", "encoder"])
def judge(request: pytest.FixtureRequest) -> nn.Module:
    made = TextLSTM(VOCABULARY, 8, 12) if request.param == "recurrent" else ReplyEncoder(encoder())
    return far_from_uniform(made)


@torch.no_grad()
def test_padding_changes_no_logit(judge: nn.Module) -> None:
    """A sentence alone is judged as among longer ones, whatever stands on its padding."""
    tokens = some_tokens()
    found = call(judge, tokens)
    assert found.shape == (6,)
    assert found.std() > 0.05
    other = replace(tokens, ids=torch.where(tokens.mask, tokens.ids, END))
    torch.testing.assert_close(call(judge, other), found, rtol=1e-5, atol=1e-5)
    for row, length in enumerate(tokens.mask.sum(1).tolist()):
        alone = Tokens(tokens.ids[row : row + 1, :length], tokens.mask[row : row + 1, :length])
        torch.testing.assert_close(call(judge, alone)[0], found[row], rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_recurrent_network_judges_all_prefixes_at_once() -> None:
    network, tokens = far_from_uniform(TextLSTM(VOCABULARY, 8, 12)), some_tokens()
    found = call_prefixes(network, tokens)
    for t in range(LENGTH):
        expected = call(network, replace(tokens, mask=tokens.mask & (torch.arange(LENGTH) <= t)))
        there = tokens.mask[:, t]
        torch.testing.assert_close(found[there, t], expected[there], rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_an_encoder_reads_text_by_its_own_tokenizer() -> None:
    """What it judges is the text: between its special tokens, without a second part."""
    own = train_tokenizer("character", ["ab", "ba"])
    own.cls_token, own.sep_token = "a", "b"  # any two that it has
    vocabulary = len(own)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    bert = BertModel(BertConfig(vocab_size=vocabulary, max_position_embeddings=12, **sizes))
    network = far_from_uniform(RetokenisedEncoder(bert, own, lambda ids: "".join("ab"[i % 2] for i in ids), 12))
    tokens = some_tokens(3)
    text = ["".join("ab"[i % 2] for i in row[keep]) for row, keep in zip(tokens.ids, tokens.mask, strict=True)]
    cls, sep = own.cls_token_id, own.sep_token_id
    for found, words in zip(network(tokens.ids, tokens.mask), text, strict=True):
        read = torch.tensor([[cls, *own(words, add_special_tokens=False)["input_ids"], sep]])
        reply = torch.ones_like(read)
        reply[0, 0] = 0
        expected = network.judge.score(read, torch.ones_like(read, dtype=torch.bool), reply)[0]
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_by_prefixes_the_discriminator_learns_from_prefixes(tmp_path: Path) -> None:
    """With REGS's credit, and with no other: a run whose real sentences it sees cut says so."""
    seen: list[Tensor] = []

    class Spy(TextLSTM):
        def forward(self, ids: Tensor, mask: Tensor, prefixes: bool = False) -> Tensor:
            if self.training and torch.is_grad_enabled():
                seen.append(mask.sum(1))
            return super().forward(ids, mask, prefixes)

    for credit, cut in ((MonteCarlo, False), (Prefixes, True)):
        seen.clear()
        config = configs.TextConfig(
            run=configs.RunConfig(str(tmp_path / credit.__name__), threads=1),
            data=configs.DataConfig(sentences=40),
            likelihood=configs.LikelihoodConfig(steps=2, batch_size=8),
            discriminator=configs.DiscriminatorConfig(lambda count: Spy(count, 4, 4), steps=20, batch_size=16),
            adversarial=configs.AdversarialConfig(rounds=1, turns=Turns(discriminator=1), batch_size=8, credit=credit),
            control=configs.ControlConfig(enabled=False),
            evaluation=configs.EvaluationConfig(samples=8),
        )
        train(config)
        lengths = torch.cat([mask[:16] for mask in seen])  # of real sentences, of which none is shorter than 3 tokens
        assert bool((lengths < 3).any()) == cut


# mistakes


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--generator.config", "{model_type: t5, d_model: 8}"], "t5 is an encoder-decoder, and here is nothing to"),
        (["--generator.config", "{model_type: bert}"], "bert is neither causal nor an encoder-decoder: give a causal"),
        (["--generator.config", "{n_layer: 2}"], "name a model_type"),
        (["--generator.model", "nowhere", *GPT2], "--generator.model and --generator.config are both given"),
        (["--generator.lora", "2"], "adapters are for Hugging Face models: give --generator.model"),
        (["--generator.config", "{model_type: gpt2, n_positions: 9, n_embd: 8, n_head: 2}"], "takes 9 tokens, but"),
        (["--discriminator.config", "{model_type: t5}"], "give an encoder, such as a BERT"),
        (["--discriminator.config", BERT[:-1] + ", max_position_embeddings: 9}"], "takes 9 tokens, but texts have"),
        (["--discriminator.network", "torch.nn.Identity"], "a class whose forward takes ids and mask"),
    ],
)  # fmt: skip
def test_mistakes(tmp_path: Path, options: list[str], told: str) -> None:
    """One line that says what was wrong, before anything is written."""
    run, log = tmp_path / "run", tmp_path / "log"
    assert runs.Launched(runs.tiny(run, *options), log).wait() == 1
    (line,) = runs.errors(log.read_text())
    assert told in line
    assert not run.exists()


def test_a_pretrained_model_s_mistakes(tmp_path: Path) -> None:
    """Numbers have no text, its tokenizer is its own, and without an end token no text would end."""
    GPT2LMHeadModel(GPT2Config(vocab_size=40, n_embd=8, n_layer=1, n_head=2)).save_pretrained(tmp_path / "m")
    tokenizer = train_tokenizer("word", ["a red star ."])
    for options, told in (
        ({"world": "oracle"}, "has no text for the tokenizer of --generator.model"),
        ({"vocabulary": 9}, "brings its own tokenizer: leave out"),
    ):
        with pytest.raises(UserError, match=told):
            load(options, tokenizer)
    tokenizer.eos_token = None
    with pytest.raises(UserError, match="no eos_token, so what ends a text"):
        load({}, tokenizer)


def load(options: dict[str, Any], tokenizer: Any) -> sources.Source:
    return sources.load(sources.DataConfig(sentences=20, **options), 0, tokenizer)
