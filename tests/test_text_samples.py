"""What `sample` prints of a run of text: beginnings that are given, truncated draws, no unknown words, a line each."""

from __future__ import annotations

import io
import json
import math
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from enumeration import every_sequence, tiny_lstm
from seqgan_kit.cli import main
from seqgan_kit.dialogue.chat import Chat
from seqgan_kit.files import record_line
from seqgan_kit.language.tokenizers import token_id_tokenizer, train_tokenizer
from seqgan_kit.language.words import AS_IT_STANDS
from seqgan_kit.networks.text.residual_text import NoiseToText, NoiseToTextConfig
from seqgan_kit.text.models import save_generator
from seqgan_kit.tokens import sampling
from seqgan_kit.tokens.decoding import beam_search
from test_dialogue_cli import refused
from test_sampler import saved
from test_sampling import assert_distributed
from test_truncation import kept_exactly

SENTENCES = ["a man rides a horse", "a man holds a dog", "the woman rides", "two dogs"] * 3


def run_of(folder: Path, tokenizer: Any, labels: tuple[str, ...] = ()) -> Path:
    saved(folder / "model", tokenizer, labels)
    (folder / "run.json").write_text('{"task": "text", "finished": true}')
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """An untrained LSTM that knows few of its words, and so writes <unk> as often as any other."""
    return run_of(tmp_path / "run", train_tokenizer("word", SENTENCES, 8))


def told(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[list[str], str]:
    """The lines that `sample` prints, and what it says beside them."""
    capsys.readouterr()
    assert main(["sample", *map(str, words)]) == 0
    out, err = capsys.readouterr()
    return out.split("\n")[:-1], err


def test_a_text_goes_on_from_its_beginning(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every sample begins so, and goes on in its own way; as the whole model, drawn by hand, does."""
    lines, _ = told(capsys, run, "--prefix", "a man", "--count", 40)
    assert all(line.startswith("a man") for line in lines)
    assert len(set(lines)) > 10
    assert lines == told(capsys, run, "--prefix", " a  man ", "--count", 40)[0]
    cold, _ = told(capsys, run, "--prefix", "a man", "--temperature", 0, "--count", 2)
    assert cold[0] == cold[1]
    assert told(capsys, run, "--top_k", 1, "--count", 2)[0] == told(capsys, run, "--temperature", 0, "--count", 2)[0]
    assert told(capsys, run, "--top_p", 1e-6, "--count", 2)[0] == told(capsys, run, "--temperature", 0, "--count", 2)[0]


def test_a_beginning_of_each_kind_of_tokens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Characters and pieces go on inside a word; numbers are tokens; with labels, each class goes on from it."""
    character = run_of(tmp_path / "c", train_tokenizer("character", SENTENCES))
    assert all(line.startswith("a ma") for line in told(capsys, character, "--prefix", "a ma")[0])
    integers = run_of(tmp_path / "i", token_id_tokenizer(12))
    assert all(line.startswith("3 11 3") for line in told(capsys, integers, "--prefix", "3 11 3")[0])
    message = refused(capsys, "sample", str(integers), "--prefix", "3 12")
    assert message.startswith("sample --prefix 3 12: no tokens of the model")
    labelled = run_of(tmp_path / "l", train_tokenizer("word", SENTENCES), ("good", "bad"))
    lines, _ = told(capsys, labelled, "--prefix", "a man", "--count", 4)
    assert [line.split()[:3] for line in lines] == [["good", "a", "man"], ["bad", "a", "man"]] * 2


def test_a_beginning_that_can_not_be(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Too long, with an end, not UTF-8: one line, and what it advises can be done. Unknown words are told."""
    message = refused(capsys, "sample", str(run), "--prefix", "a " * 9)
    assert message == "sample --prefix: it has 9 tokens: give at most 7, so that something can follow"
    assert all(line.startswith("a a a a a a a") for line in told(capsys, run, "--prefix", "a " * 7)[0])
    assert "contains </s>, which ends a text" in refused(capsys, "sample", str(run), "--prefix", "a </s> man")
    assert "--prefix is not UTF-8" in refused(capsys, "sample", str(run), "--prefix", "caf\udce9")
    lines, beside = told(capsys, run, "--prefix", "a zebra eats", "--count", 3)
    assert "2 words are unknown to the model, and read as <unk>: zebra, eats" in beside
    assert all(line.startswith("a <unk> <unk>") for line in lines)


def test_an_unknown_option_names_the_program_once(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of every command on a run."""
    assert refused(capsys, "sample", str(run), "--text", "a") == "sample RUN: unknown option --text"
    assert refused(capsys, "sample", str(run), "--count", "x").startswith("sample RUN: argument --count")


def test_no_unknown_word_is_drawn_unless_asked_for(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """How many would have been is told, and is about how many come where they are asked for."""
    lines, beside = told(capsys, run, "--count", 300)
    assert not any("<unk>" in line for line in lines)
    assert beside.endswith(" times <unk> would have been drawn, and was not; --unknown draws it\n")
    expected = int(beside.splitlines()[-1].split()[1])
    lines, beside = told(capsys, run, "--count", 300, "--unknown")
    drawn = sum(line.split().count("<unk>") for line in lines)
    assert "<unk>" not in beside
    assert expected / 2 < drawn < 2 * expected, "other words lead to other ones, so it is no more than about"


def test_without_draws_the_others_in_their_shares() -> None:
    """Whole sequences have the probabilities that the tokens have without the forbidden one, renormalised each time;
    beams are sorted by these, and the network itself is as it was."""
    network = tiny_lstm(4, 3, 1)
    known = sampling.Without(network, [2])
    every = every_sequence(4, 3, 1)
    exact = []
    for ids, mask in zip(every.ids.tolist(), every.mask.tolist(), strict=True):
        total = 0.0
        features, state = network.start(1)
        for token in [token for token, counts in zip(ids, mask, strict=True) if counts]:
            logits = network.logits(features)[0].detach()
            weights = logits.exp() * (torch.arange(4) != 2)
            total += math.log(weights[token] / weights.sum()) if token != 2 else -math.inf
            features, state = network.step(torch.tensor([token]), state)
        exact.append(math.exp(total))
    torch.manual_seed(0)
    drawn = sampling.sample(known, 20_000, 3, 1)
    counts = Counter(map(tuple, drawn.ids.tolist()))
    found = torch.tensor([counts.pop(tuple(row), 0) for row in every.ids.tolist()])
    assert not counts
    assert_distributed(found, torch.tensor(exact) * 20_000)
    beams = beam_search(known, 1, 3, 1, width=3)
    assert beams.log_probs[0].exp().tolist() == pytest.approx(sorted(exact)[:-4:-1], rel=1e-4)
    torch.manual_seed(3)
    of_network = sampling.sample(network, 50, 3, 1)
    assert bool((of_network.ids == 2).any())


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"), [(1.0, 0, 1.0), (2.5, 0, 1.0), (0.7, 3, 0.9), (0.0, 0, 1.0)]
)
def test_what_would_have_been_drawn_is_summed_exactly(temperature: float, top_k: int, top_p: float) -> None:
    """Over every place that was asked for, here the first ones of so many rows, and as they are drawn."""
    network = tiny_lstm(5)
    logits = network.logits(network.start(1)[0])[0].detach()
    never = logits.argsort()[[-1, 1]].tolist()
    known = sampling.Without(network, never, temperature, top_k, top_p)
    drawn = sampling.sample(known, 100, 1, None, temperature, top_k, top_p)
    assert not set(drawn.ids.flatten().tolist()) & set(never)
    kept = kept_exactly(logits / temperature, top_k, top_p) if temperature else torch.eye(5)[logits.argmax()]
    assert float(known.expected) == pytest.approx(100 * float(kept[never].sum()), rel=1e-5)


def test_contexts_share_one_sum() -> None:
    """Of what would have been drawn, however many there were."""
    network = tiny_lstm(5)
    first = network.logits(network.start(1)[0])[0].detach().softmax(0)
    context = SimpleNamespace(given=lambda labels: network, start=network.start, step=network.step)
    under = sampling.Without(context, [1])
    sampling.sample(under.given(torch.zeros(2)), 10, 1, None)
    sampling.sample(under.given(torch.ones(2)), 10, 1, None)
    assert float(under.expected) == pytest.approx(20 * float(first[1]), rel=1e-5)


@pytest.mark.parametrize("text", ["a\nb", "a\r\nb\x0bc\x0cd\x85e\u2028f\u2029g\x1ch", "a\tb", "no \\n break"])
def test_a_record_is_a_line(text: str) -> None:
    """Whatever a reader takes for a line break; with fields beside, a tab is one separator."""
    assert record_line(text).splitlines() == [record_line(text)]
    assert record_line("a\tb") == "a\tb"
    assert record_line(text, "x\ty").split("\t") == [record_line(text).replace("\t", "\\t"), "x\\ty"]
    assert record_line("a\nb") == "a\\nb"


def test_samples_with_line_breaks_are_a_line_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As in samples/*.txt; as JSON they are as they are."""
    run = run_of(tmp_path / "run", train_tokenizer("character", ["first\nsecond\r", "\u2028\n\n"] * 3))
    lines, _ = told(capsys, run, "--count", 30)
    exact, _ = told(capsys, run, "--count", 30, "--json")
    texts = [json.loads(line)["text"] for line in exact]
    assert len(lines) == len(texts) == 30
    assert any("\n" in text for text in texts)
    assert lines == [record_line(text) for text in texts]
    labelled = run_of(tmp_path / "labelled", train_tokenizer("word", SENTENCES), ("good", "bad"))
    exact, _ = told(capsys, labelled, "--count", 2, "--json")
    assert [json.loads(line)["label"] for line in exact] == ["good", "bad"]
    assert told(capsys, labelled, "--count", 2)[0][0] == f"good {json.loads(exact[0])['text']}"


def test_what_writes_a_text_at_once_takes_no_such_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They would change nothing, without a word; without them it writes."""
    tokenizer = train_tokenizer("word", SENTENCES, 8)
    network = NoiseToText(NoiseToTextConfig(vocabulary=8, length=5, end=0, noise=4, width=8, blocks=1))
    source: Any = SimpleNamespace(tokenizer=tokenizer, end=0, length=5, labels=(), words=AS_IT_STANDS, names=None)
    save_generator(network, source, tmp_path / "run" / "model")
    (tmp_path / "run" / "run.json").write_text('{"task": "text", "finished": true}')
    run = str(tmp_path / "run")
    for option in (["--prefix", "a"], ["--temperature", "0.5"], ["--top_k", "2"], ["--top_p", "0.5"]):
        message = refused(capsys, "sample", run, *option)
        assert message.startswith(f"sample {option[0]}: the generator of {run} writes a text at once")
    assert len(told(capsys, run, "--count", 3)[0]) == 3


def test_a_message_of_several_lines_is_kept_in_a_chat() -> None:
    """What was said is a line each in /history, too."""
    output = io.StringIO()
    chat = Chat(lambda messages, temperature: iter(["one\ntwo"]), input=io.StringIO("hi\n/history\n"), output=output)
    chat.run()
    assert output.getvalue() == "one\\ntwo\nyou> hi\nbot> one\\ntwo\n"
    assert chat.messages[1]["content"] == "one\ntwo"
