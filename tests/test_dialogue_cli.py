"""The commands on a run of dialogue, and what mistakes in data, models, options and rewards are told as."""

from __future__ import annotations

import io
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import runs
import tiny_models
from seqgan_kit.cli import main
from seqgan_kit.decoding import beam_search
from seqgan_kit.dialogue.config import DialogueConfig, EvaluationConfig, GeneratorConfig
from seqgan_kit.dialogue.evaluators import EvaluatorConfig
from seqgan_kit.dialogue.models import build_generator, load_generator, load_template, save_generator
from seqgan_kit.dialogue.sources import DataConfig, load
from seqgan_kit.dialogue.template import to_replies
from seqgan_kit.provenance import config_yaml
from seqgan_kit.sampling import under
from seqgan_kit.worlds.dialogues import Message
from tiny_models import BERT, GPT2

CONFIG = DialogueConfig(
    data=DataConfig(dialogues=60, shapes=1),
    generator=GeneratorConfig(embedding=8, hidden=8, layers=1),
    evaluation=EvaluationConfig(samples=8, evaluator=EvaluatorConfig(steps=4, embedding=4, hidden=4)),
)
ASKED = "there is a large red star in the centre . where is the star ?"
SHORT = (
    "--likelihood.steps", "2", "--discriminator.steps", "1", "--adversarial.rounds", "1", "--control.enabled", "false",
)  # fmt: skip


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.fixture
def run(here: Path) -> Path:
    """A run with a model, as training leaves it, without having trained."""
    return make_run(here / "run", CONFIG)


@pytest.fixture(params=["lstm", "gpt2", "t5"])
def any_run(here: Path, request: pytest.FixtureRequest) -> Path:
    """The same, of every generator."""
    given = {"lstm": None, "gpt2": json.loads(GPT2), "t5": json.loads(tiny_models.T5)}[request.param]
    return make_run(here / "run", replace(CONFIG, generator=replace(CONFIG.generator, config=given)))


def make_run(folder: Path, config: DialogueConfig, seed: int = 0) -> Path:
    folder.mkdir()
    (folder / "config.yaml").write_text(config_yaml(config))
    (folder / "run.json").write_text(json.dumps({"task": "dialogue", "finished": True}))
    source = load(config.data, config.run.seed)
    torch.manual_seed(seed)
    network = build_generator(config.generator, source)
    for parameter in network.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.8)
    save_generator(network, source, folder / "model")
    return folder


def said(capsys: pytest.CaptureFixture[str], *words: object) -> list[str]:
    """The lines that a command that ends well prints."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == 0
    return capsys.readouterr().out.splitlines()


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line on stderr that a mistake ends with, at status 1."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == 1
    told = runs.errors(capsys.readouterr().err)
    told = [line for line in told if not line.startswith("[transformers]")]
    assert len(told) == 1, told
    assert told[0].startswith("seqgan-kit: ")
    return told[0].removeprefix("seqgan-kit: ")


def untrained(capsys: pytest.CaptureFixture[str], here: Path, *options: object) -> str:
    """What is said of a mistake that is seen before a folder is made."""
    told = refused(capsys, *runs.tiny_dialogue(here / "new", *map(str, options)))
    assert not (here / "new").exists()
    return told


# -- sample --------------------------------------------------------------------------------------------------------


def test_replies_to_messages(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One message: replies alone. Several: each beside its own. A seed gives the same ones again."""
    (one,) = said(capsys, "sample", run, "--text", ASKED)
    assert "\t" not in one
    several = said(capsys, "sample", run, "--text", ASKED, "--text", "where is it ?", "--count", 3)
    assert [line.split("\t")[0] for line in several] == [ASKED] * 3 + ["where is it ?"] * 3
    assert len({line.split("\t")[1] for line in several}) > 3
    drawn = [said(capsys, "sample", run, "--text", ASKED, "--count", 4, "--seed", seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    for cold in (["--temperature", 0], ["--top_k", 1], ["--top_p", 1e-6]):
        assert len(set(said(capsys, "sample", run, "--text", ASKED, "--count", 5, *cold))) == 1


def test_replies_to_the_messages_of_a_file(run: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A message a line, blank lines skipped; .jsonl: whole histories, of which more than the last message counts."""
    (here / "asked.txt").write_text(f"{ASKED}\n\n  what is it ?  \n")
    lines = said(capsys, "sample", run, "--file", "asked.txt", "--text", "hello")
    assert [line.split("\t")[0] for line in lines] == ["hello", ASKED, "what is it ?"]
    last: Message = {"role": "user", "content": "where is it ?"}
    before: list[Message] = [{"role": "user", "content": ASKED}, {"role": "assistant", "content": "in the centre ."}]
    tiny_models.write(here / "asked.jsonl", [[last], [*before, last]])
    lines = said(capsys, "sample", run, "--file", "asked.jsonl", "--temperature", 0)
    assert [line.split("\t")[0] for line in lines] == ["where is it ?"] * 2
    assert lines[0] != lines[1]
    tiny_models.write(here / "asked.jsonl", [[last], before])
    told = refused(capsys, "sample", run, "--file", "asked.jsonl")
    assert "asked.jsonl line 2: the last message is not a user's" in told
    assert "nowhere.txt does not exist" in refused(capsys, "sample", run, "--file", "nowhere.txt")


def test_the_best_of_a_beam_search(any_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The likeliest first, as many as asked for; with a cost for siblings, others."""
    run = any_run
    network: Any = load_generator(run)
    template, length = load_template(run)
    given = template.ask([[{"role": "user", "content": ASKED}]])
    found = {
        sibling: template.decode(
            beam_search(under(network, given), 1, length, template.end, width=6, sibling=sibling).tokens
        )
        for sibling in (0.0, 5.0)
    }
    words = ("sample", run, "--text", ASKED, "--beams", 6, "--count", 4)
    assert said(capsys, *words) == found[0.0][:4]
    assert said(capsys, *words, "--sibling", 5) == found[5.0][:4]
    assert found[0.0] != found[5.0]
    assert said(capsys, "sample", run, "--text", ASKED, "--beams", 6) == found[0.0][:1]


def test_replies_that_tell_of_the_message(run: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--backward ranks beams by log p(reply) and log p(message | reply), by weight."""
    back = make_run(here / "back", replace(CONFIG, data=replace(CONFIG.data, backward=True)), seed=1)
    words = ("sample", run, "--text", ASKED, "--beams", 5, "--count", 5)
    forward = said(capsys, *words)
    template, _ = load_template(back)
    values = []
    for reply in forward:
        told = template.history([{"role": "user", "content": reply}])
        pair = to_replies([(told, template.reply(ASKED))], template.end)
        with torch.no_grad():
            values.append(load_generator(back)(pair.ids, *pair.context).sum().item())
    expected = [reply for _, reply in sorted(zip(values, forward, strict=True), reverse=True)]
    assert said(capsys, *words, "--backward", back, "--weight", 1) == expected != forward
    assert said(capsys, *words, "--backward", back, "--weight", 0) == forward
    assert "give --beams" in refused(capsys, "sample", run, "--text", ASKED, "--backward", back)
    for other in (run, here / "nowhere"):
        told = refused(capsys, *words, "--backward", other)
        assert f"--backward {other}: give a run that was trained with --data.backward true" in told


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ['give --text "hello"', "--file"]),
        (["--text", "  "], ["messages to reply to"]),
        (["--text", "a", "--count", "0"], ["--count must be at least 1"]),
        (["--text", "a", "--count", "3", "--beams", "2"], ["--count", "--beams at most as many"]),
        (["--text", "a", "--beams", "-1"], ["--beams"]),
        (["--text", "a", "--beams", "2", "--sibling", "-1"], ["--sibling at least 0"]),
        (["--text", "a", "--beams", "2", "--sibling", "nan"], ["--sibling at least 0"]),
        (["--text", "a", "--weight", "1.5"], ["--weight must be from 0 to 1"]),
        (["--text", "a", "--top_p", "0"], ["--top_p above 0 and at most 1"]),
        (["--text", "a", "--top_p", "1.1"], ["--top_p above 0 and at most 1"]),
        (["--text", "a", "--top_k", "-1"], ["--top_k must be at least 0"]),
        (["--text", "a", "--temperature", "-0.1"], ["--temperature"]),
        (["--text", "a", "--temperature", "nan"], ["--temperature"]),
        (["--text", "a", "--seed", "-1"], ["--seed -1: give a number from 0"]),
        (["--txt", "a"], ["--txt", "did you mean 'text'"]),
    ],
    ids=" ".join,
)
def test_mistakes_in_what_is_asked(
    run: Path, capsys: pytest.CaptureFixture[str], words: list[str], expected: list[str]
) -> None:
    told = refused(capsys, "sample", run, *words)
    assert all(part in told for part in expected), told


def test_mistakes_in_the_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No model yet, one cut off, and one without what says how replies were made."""
    model = run / "model"
    (model / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes()[:500])
    assert f"resume {run} to write it anew" in refused(capsys, "chat", run)
    (model / "dialogue.json").unlink()
    assert f"{model} can't be loaded" in refused(capsys, "sample", run, "--text", "a")
    shutil.rmtree(model)
    assert f"{model} holds no model" in refused(capsys, "evaluate", run)


# -- chat and evaluate ---------------------------------------------------------------------------------------------


def test_a_piped_chat(any_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A reply a line; the second depends on what was said before it, as in `sample` with the whole history."""
    run = any_run
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{ASKED}\nwhere is it ?\n/history\n/reset\n{ASKED}\n"))
    first, second, *rest = said(capsys, "chat", run, "--temperature", 0)
    assert [first] == said(capsys, "sample", run, "--text", ASKED, "--temperature", 0)
    history: list[Message] = [{"role": "user", "content": ASKED}, {"role": "assistant", "content": first}]
    tiny_models.write(run / "asked.jsonl", [[*history, {"role": "user", "content": "where is it ?"}]])
    assert [second] == said(capsys, "sample", run, "--file", run / "asked.jsonl", "--temperature", 0)
    assert rest == [
        f"you> {ASKED}", f"bot> {first}", "you> where is it ?", f"bot> {second}", "all forgotten", first,
    ]  # fmt: skip
    for words in (["--top_p", "0"], ["--temperature", "-1"]):
        assert "--top_p above 0" in refused(capsys, "chat", run, *words)


def test_a_run_is_scored(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On the held-out replies, with evaluators where they are asked for; the same again each time."""
    lines = said(capsys, "evaluate", run, "--evaluators", 8)
    found = json.loads((run / "evaluation.json").read_text())
    names = {"perplexity", "right", "said", "bleu2", "distinct1", "adversarial_success", "ere", "machine_versus_random"}
    assert names <= found["metrics"].keys()
    printed = {name: float(value) for name, value in (line.split() for line in lines[1:])}
    assert printed == pytest.approx(found["metrics"], abs=1e-4)
    said(capsys, "evaluate", run, "--evaluators", 8)
    assert json.loads((run / "evaluation.json").read_text()) == found
    lines = said(capsys, "evaluate", run, "--samples", 5000, "--temperature", 0.5)
    count = json.loads((run / "evaluation.json").read_text())["samples"]
    assert lines[0].startswith(f"on {count} replies")
    assert 2 < count < 50, "as many as there are"


def test_a_run_is_scored_without_what_it_began_with(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The folder that was fine-tuned is needed no more."""
    some = tiny_models.conversations()
    tiny_models.write(here / "own.jsonl", some)
    tiny_models.save(here / "model", "gpt2", some)
    words = runs.tiny_dialogue(here / "run", *SHORT, "--data.path", "own.jsonl", "--generator.model", "model")
    assert main(words) == 0
    last = [line for line in runs.lines(here / "run") if "eval/perplexity" in line][-1]
    shutil.rmtree(here / "model")
    said(capsys, "evaluate", "run", "--seed", 1234)
    found = json.loads((here / "run" / "evaluation.json").read_text())["metrics"]
    assert found["perplexity"] == pytest.approx(last["eval/perplexity"])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--samples", "1"], ["--samples must be at least 2"]),
        (["--evaluators", "2"], ["--evaluators 2", "need 4 replies"]),
        (["--evaluator", "x"], ["--evaluator"]),
        (["--top_p", "2"], ["--top_p"]),
    ],
    ids=" ".join,
)
def test_mistakes_in_what_is_scored(
    run: Path, capsys: pytest.CaptureFixture[str], words: list[str], expected: list[str]
) -> None:
    told = refused(capsys, "evaluate", run, *words)
    assert all(part in told for part in expected), told
    assert not (run / "evaluation.json").exists()


@pytest.mark.parametrize(
    ("task", "words", "expected"),
    [
        ("text", ["chat"], ["chat is for runs of dialogue", "one of text", "sample, evaluate, report"]),
        ("images", ["chat"], ["chat is for runs of dialogue", "one of images"]),
        ("dialogue", ["watch"], ["watch is for runs of imitation", "one of dialogue", "sample, chat, evaluate"]),
        ("text", ["evaluate", "--evaluators", "8"], ["unknown option --evaluators"]),
        ("text", ["sample", "--text", "hello"], ["unknown option --text"]),
    ],
)
def test_commands_of_another_use(
    here: Path, capsys: pytest.CaptureFixture[str], task: str, words: list[str], expected: list[str]
) -> None:
    """Are told with the use that has them."""
    (here / "other").mkdir()
    (here / "other" / "run.json").write_text(json.dumps({"task": task}))
    told = refused(capsys, words[0], "other", *words[1:])
    assert all(part in told for part in expected), told


# -- mistakes in data ----------------------------------------------------------------------------------------------


def row(*contents: str, roles: tuple[str, ...] = ("user", "assistant")) -> str:
    messages = [{"role": roles[i % len(roles)], "content": content} for i, content in enumerate(contents)]
    return json.dumps({"messages": messages})


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"prompt": "a"}', ["line 2: no column 'messages'", '"messages"']),
        ('{"messages": []}', ["line 2: 'messages' is empty"]),
        (row("a", "b", roles=("user", "user")), ["line 2: messages 1 and 2 are both the user's", "alternate"]),
        (row("a", "b", roles=("assistant", "user")), ["line 2: message 1 is the assistant's", "remove it"]),
        (row("a", " "), ["line 2, message 2 is empty, the assistant's"]),
        (row("a", "b", roles=("user", "bot")), ["line 2, message 2: the role 'bot' is unknown"]),
        (row("a", "b </s> c"), ["line 2, message 2: contains </s>, which ends a reply"]),
        ("{", ["line 2"]),
    ],
)
def test_mistakes_in_data(here: Path, capsys: pytest.CaptureFixture[str], line: str, expected: list[str]) -> None:
    """Are told with their line, before a folder is made."""
    (here / "own.jsonl").write_text(f"{row('a', 'b')}\n{line}\n")
    told = untrained(capsys, here, "--data.path", "own.jsonl")
    assert all(part in told for part in ["own.jsonl", *expected]), told


def test_histories_that_a_model_can_t_take_lose_whole_messages(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The oldest ones leave, and they are counted in the first line; a reply that leaves no room is told."""
    messages = [f"{word} {word} {word}" for word in "abcdefg"]
    (here / "own.jsonl").write_text("".join(f"{row(*messages, 'h h')}\n" for _ in range(20)) + f"{row('a', 'b c')}\n")
    config = GPT2.replace("64", "15")
    options = ["--data.path", "own.jsonl", "--generator.config", config, "--likelihood.batch_size", "8"]
    options += ["--discriminator.config", BERT]
    first = said(capsys, *runs.tiny_dialogue(here / "run", *SHORT, *options))[0]
    # with the longest reply of 4 tokens there are 11 for the history: two messages of 4, end tokens and all
    assert "; 60 histories were CUT to 11 tokens (--data.max_history)" in first
    known = load(DataConfig("own.jsonl"), 0, context=15)
    last = next(i for i, one in enumerate(known.train_exchanges) if len(one.history) == 7)
    tokens = known.tokenizer.convert_ids_to_tokens(known.train.history[last][known.train.told[last]].tolist())
    assert tokens == ["f", "f", "f", "</s>", "g", "g", "g", "</s>"]
    assert known.train.turns[last][known.train.told[last]].tolist() == [0] * 4 + [1] * 4
    told = untrained(capsys, here, *options, "--generator.config", GPT2.replace("64", "4"))
    assert "4 tokens, which leaves no room for a history in the 4" in told
    told = untrained(capsys, here, *options, "--data.max_reply", "3")
    assert "own.jsonl line" in told
    assert "--data.too_long drop or cut" in told


# -- mistakes in models --------------------------------------------------------------------------------------------


def test_a_tokenizer_needs_an_end_but_no_padding(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without an end token it says which ones may be named; then it trains."""
    some = tiny_models.conversations()
    tiny_models.write(here / "own.jsonl", some)
    tiny_models.save(here / "model", "gpt2", some, end=False)
    options = ["--data.path", "own.jsonl", "--generator.model", "model"]
    told = untrained(capsys, here, *options)
    assert "the tokenizer has no eos_token, so what ends a reply? Name one of its tokens, --data.end TOKEN" in told
    assert "<|user|>" in told
    told = untrained(capsys, here, *options, "--data.end", "nonsense")
    assert "--data.end 'nonsense' is unknown to the tokenizer" in told
    said(capsys, *runs.tiny_dialogue(here / "run", *SHORT, *options, "--data.end", tiny_models.END))
    assert json.loads((here / "run" / "model" / "dialogue.json").read_text())["end"] == 1
    assert len(said(capsys, "sample", "run", "--text", ASKED, "--count", 3)) == 3


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--generator.config", '{"n_layer": 1}'], ["--generator.config", "name a model_type, such as gpt2"]),
        (["--generator.config", '{"model_type": "gpt3"}'], ["Unrecognized model identifier: gpt3"]),
        (["--generator.config", "gpt2"], ["--generator.config", "gpt2"]),
        (["--generator.config", BERT], ["--generator.config: bert is neither causal nor an encoder-decoder"]),
        (["--generator.config", '{"model_type": "vit"}'], ["vit is neither causal nor an encoder-decoder"]),
        (
            ["--generator.config", '{"model_type": "xlnet", "d_model": 8, "n_layer": 1, "n_head": 2, "d_inner": 8}'],
            ["--generator.config: ", "give a causal model or an encoder-decoder"],
        ),
        (
            ["--generator.config", '{"model_type": "mamba", "hidden_size": 8, "num_hidden_layers": 1}'],
            ["--generator.config: ", "give a causal model or an encoder-decoder"],
        ),
        (["--generator.config", GPT2, "--generator.model", "x"], ["are both given: leave out one"]),
        (["--generator.model", "no/where/at/all"], ["--generator.model no/where/at/all, which is no folder here"]),
        (["--generator.model", "empty"], ["--generator.model empty: "]),
        (["--generator.lora", "2"], ["adapters are for Hugging Face models"]),
        (["--discriminator.model", "no/where/at/all"], ["--discriminator.model no/where/at/all"]),
        (["--discriminator.config", "{}"], ["--discriminator.config", "name a model_type, such as"]),
        (["--discriminator.config", tiny_models.T5], ["T5Model is no encoder: give an encoder, such as a BERT"]),
        (["--discriminator.config", BERT.replace("200", "20")], ["takes 20 tokens", "give max_position_embeddings"]),
        (["--discriminator.config", BERT, "--discriminator.model", "x"], ["leave out all but one"]),
        (
            ["--discriminator.network", "seqgan_kit.networks.cnn.TextCNN"],
            ["--discriminator.network: TextCNN.forward() takes 3", "whose forward takes ids, mask, history and turns"],
        ),
    ],
    ids=[
        *("no type", "unknown type", "a string", "encoder", "pictures", "both ways", "without a cache", "both given"),
        *("no folder", "empty folder", "adapters", "judge, no folder", "judge, no type", "judge, no encoder"),
        *("judge, too short", "judge, both given", "judge of sentences"),
    ],
)
def test_mistakes_in_models(
    here: Path, capsys: pytest.CaptureFixture[str], options: list[str], expected: list[str]
) -> None:
    """One line, no traceback, and no folder that would be in the way of the next try."""
    (here / "empty").mkdir()
    told = untrained(capsys, here, *options)
    assert all(part in told for part in expected), told
    assert len(told) < 600


def test_folders_of_models_that_do_not_fit(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An encoder, a model without a tokenizer, one that is smaller than its tokenizer."""
    some = tiny_models.conversations()
    tiny_models.save(here / "encoder", "bert", some)
    told = untrained(capsys, here, "--generator.model", "encoder")
    assert told == (
        "--generator.model encoder: bert is neither causal nor an encoder-decoder: give a causal model or an "
        "encoder-decoder"
    )
    for kind, option in (("t5", "--generator.model"), ("bert", "--discriminator.model"), ("gpt2", "--generator.model")):
        tiny_models.model(kind, 9).save_pretrained(here / "bare")
        assert untrained(capsys, here, option, "bare").startswith(f"{option} bare has no tokenizer: save one")
    tiny_models.tokenizer(some).save_pretrained(here / "bare")
    told = untrained(capsys, here, "--generator.model", "bare")
    assert "the model only 9: give a tokenizer and a model that belong together" in told
    told = untrained(capsys, here, "--generator.model", "bare", "--data.vocabulary", "9")
    assert "--data.vocabulary 9: the model brings its own tokens" in told


# -- mistakes in options and rewards -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--generator.hiden", "8"], ["unknown option --generator.hiden (did you mean 'generator.hidden'?)"]),
        (["--adversarial.critc.enabled", "false"], ["did you mean 'adversarial.critic.enabled'"]),
        (["own.jsonl"], ["did you mean --data.path own.jsonl"]),
        (["--adversarial.batch_size", "3000"], ["fewer than --adversarial.batch_size 3000", "replies"]),
        (["--likelihood.batch_size", "1"], ["--likelihood.batch_size 1: give at least 2"]),
        (["--adversarial.turns.repeats", "3"], ["--adversarial.turns.repeats 3: give a multiple"]),
        (["--adversarial.kl", "-1"], ["--adversarial.kl -1", "give at least 0"]),
        (["--discriminator.beams", "-1"], ["--discriminator.beams -1: give at least 0"]),
        (["--evaluation.shown", "-1"], ["--evaluation.shown -1: give at least 0"]),
        (["--evaluation.evaluators", "3"], ["--evaluation.evaluators 3: they need 4 replies"]),
        (["--control.steps", "0"], ["--control.steps 0: give at least 1"]),
        (["--likelihood.steps", "0", "--control.steps", "null"], ["--likelihood.steps 0", "--control.enabled false"]),
        (["--data.shapes", "4"], ["--data.shapes 4: give 1 to 3"]),
        (["--data.path", "nowhere.jsonl"], ["nowhere.jsonl"]),
        (["--data.tokenizer", "letters"], ["--data.tokenizer", "letters"]),
        (["--adversarial.credit", "nothing.Here"], ["--adversarial.credit", "nothing.Here"]),
    ],
    ids=lambda value: " ".join(value)[:40],
)
def test_mistakes_in_options(
    here: Path, capsys: pytest.CaptureFixture[str], options: list[str], expected: list[str]
) -> None:
    told = untrained(capsys, here, *options)
    assert all(part in told for part in expected), told


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return [1.0]", ["returned 1 values for 8 completions", "return one for each"]),
        ("return 3.0", ["returned a float"]),
        ("return [[0.0]] * len(completions)", ["returned 1 for completion", "tokens"]),
        ("return [float('nan')] * len(completions)", ["returned nan", "finite"]),
        ("return ['good'] * len(completions)", ["returned 'good'", "number"]),
        ("return [len(one['nothing']) for one in prompts]", ["raised TypeError", "taste.py, line 2", "prompts"]),
        ("raise KeyError('nothing')", ["raised KeyError: 'nothing'", "taste.py, line 2", "then resume"]),
    ],
    ids=["too few", "one number", "too few per token", "nan", "text", "wrong column", "raises"],
)
def test_a_wrong_own_reward_is_told_by_name(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, body: str, expected: list[str]
) -> None:
    """And the run goes on from its last checkpoint once it is mended."""
    (here / "taste.py").write_text(f"def brief(completions, prompts, references):\n    {body}\n")
    monkeypatch.delitem(sys.modules, "taste", raising=False)
    words = runs.tiny_dialogue(here / "run", *SHORT, "--adversarial.rewards", "[{function: taste.brief}]")
    told = refused(capsys, *words)
    assert all(part in told for part in ["reward taste.brief", *expected]), told
    (here / "taste.py").write_text("def brief(completions):\n    return [1.0] * len(completions)\n")
    del sys.modules["taste"]
    assert f"seqgan-kit chat {here / 'run'}" in "\n".join(said(capsys, "resume", here / "run"))
    del sys.modules["taste"]
