"""The commands on a run of dialogue: sample, chat, evaluate, and what mistakes in them are told as."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

import runs
import tiny_models
from seqgan_kit.cli import main
from seqgan_kit.dialogue.config import DialogueConfig, DialogueGeneratorConfig, EvaluationConfig
from seqgan_kit.dialogue.evaluators import EvaluatorConfig
from seqgan_kit.dialogue.models import build_generator, load_generator, load_template, save_generator
from seqgan_kit.dialogue.sources import DataConfig, load
from seqgan_kit.dialogue.template import Template, to_replies
from seqgan_kit.engine.provenance import config_yaml
from seqgan_kit.language.data import unknown_id
from seqgan_kit.language.tokenizers import train_tokenizer
from seqgan_kit.tokens.decoding import beam_search
from seqgan_kit.tokens.sampling import Without, with_context
from seqgan_kit.worlds.dialogues import Message
from test_sampling import assert_distributed
from tiny_models import GPT2

CONFIG = DialogueConfig(
    data=DataConfig(dialogues=60, shapes=1),
    generator=DialogueGeneratorConfig(embedding=8, hidden=8, layers=1),
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
    unknown = unknown_id(template.tokenizer)
    known = network if unknown is None else Without(network, [unknown])
    found = {
        sibling: template.decode(
            beam_search(with_context(known, given), 1, length, template.end, width=6, sibling=sibling).tokens
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
        told = template.histories([[{"role": "user", "content": reply}]])[0]
        pair = to_replies([(told, template.replies([ASKED])[0])], template.end)
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
        (["--text", "a", "--count", "0"], ["sample --count 0: give at least 1"]),
        (["--text", "a", "--count", "3", "--beams", "2"], ["--count 3: with --beams 2 there are at most as many"]),
        (["--text", "a", "--beams", "-1"], ["--beams"]),
        (["--text", "a", "--beams", "2", "--sibling", "-1"], ["--sibling -1: give at least 0"]),
        (["--text", "a", "--beams", "2", "--sibling", "nan"], ["--sibling nan: give a finite number"]),
        (["--text", "a", "--weight", "1.5"], ["--weight 1.5: give a number from 0 to 1"]),
        (["--text", "a", "--beams", "2", "--temperature", "0.5"], ["a beam search has none, leave out --beams"]),
        (["--text", "a", "--beams", "2", "--top_p", "0.5"], ["--top_p are for drawing"]),
        (["--text", "a", "--sibling", "1"], ["--sibling is for a beam search: give --beams"]),
        (["--text", "caf\udce9"], ["--text is not UTF-8 (byte 0xe9 after 'caf')"]),
        (["--text", "a", "--top_p", "0"], ["--top_p 0: give a number above 0, at most 1"]),
        (["--text", "a", "--top_p", "1.1"], ["--top_p 1.1: give a number above 0, at most 1"]),
        (["--text", "a", "--top_k", "-1"], ["--top_k -1: give at least 0"]),
        (["--text", "a", "--temperature", "-0.1"], ["--temperature"]),
        (["--text", "a", "--temperature", "nan"], ["--temperature"]),
        (["--text", "a", "--seed", "-1"], ["--seed -1: give a number from 0"]),
        (["--txt", "a"], ["--txt", "did you mean 'text'"]),
    ],
    ids=lambda words: " ".join(words).encode("ascii", "replace").decode(),
)
def test_mistakes_in_what_is_asked(
    run: Path, capsys: pytest.CaptureFixture[str], words: list[str], expected: list[str]
) -> None:
    told = refused(capsys, "sample", run, *words)
    assert all(part in told for part in expected), told


def last_one(run: Path) -> str:
    """What is said of the model of a run that chose none."""
    return f"model: the last one of the run, {run / 'model'}: no best one was chosen\n"


def test_mistakes_in_the_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No model yet, one cut off, and one without what says how replies were made."""
    model = run / "model"
    (model / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes()[:500])
    assert f"resume {run} to write it anew" in refused(capsys, "chat", run)
    (model / "dialogue.json").unlink()
    assert f"{model} can't be loaded" in refused(capsys, "sample", run, "--text", "a")
    shutil.rmtree(model)
    assert f"{model} holds no model" in refused(capsys, "evaluate", run)


def test_unknown_words_are_told(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In one line beside the replies, and not where all are known."""
    assert main(["sample", str(run), "--text", ASKED]) == 0
    assert capsys.readouterr().err == last_one(run), "nor a bar of a library's"
    assert main(["sample", str(run), "--text", "where is the zebra ? yak", "--text", "zebra"]) == 0
    out, err = capsys.readouterr()
    assert err == f"2 words are unknown to the model, and read as <unk>: zebra, yak\n{last_one(run)}"
    assert len(out.splitlines()) == 2
    many = " ".join(f"new{i}" for i in range(20))
    assert main(["sample", str(run), "--text", many]) == 0
    assert capsys.readouterr().err.endswith(f"new6, new7, ...\n{last_one(run)}")


def test_nothing_but_replies_is_written(any_run: Path, tmp_path: Path) -> None:
    """No bar of a library about what it loads; only which model they are of."""
    words = ["sample", str(any_run), "--text", ASKED, "--count", "2"]
    first, *replies = runs.finish(words, tmp_path / "log").splitlines()
    assert f"{first}\n" == last_one(any_run)
    assert len(replies) == 2


@pytest.mark.slow
def test_a_process_writes_nothing_but_replies(here: Path) -> None:
    """Nor about what is imported."""
    run = make_run(here / "run", replace(CONFIG, generator=replace(CONFIG.generator, config=json.loads(GPT2))))
    done = subprocess.run(
        [sys.executable, "-m", "seqgan_kit.cli", "sample", str(run), "--text", ASKED, "--count", "2"],
        capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": str(runs.ROOT)},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, last_one(run))
    assert len(done.stdout.splitlines()) == 2


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
        assert ": give " in refused(capsys, "chat", run, *words)


def test_a_chat_stopped_while_it_loads(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Has nothing to say of what was saved."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("seqgan_kit.dialogue.commands._load", interrupted)
    assert main(["chat", str(run)]) == 130
    assert capsys.readouterr().err == "seqgan-kit: stopped\n"


def test_plain_transformers_talk_to_a_run_s_model(any_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The chat template that is saved makes the very tokens that the run's own does, of several messages, too; and the
    likeliest reply is that of `sample`."""
    tokenizer = AutoTokenizer.from_pretrained(any_run / "model")
    template, length = load_template(any_run)
    messages: list[Message] = [{"role": "user", "content": ASKED}]
    longer: list[Message] = [*messages, {"role": "assistant", "content": "in the centre ."}, *messages]
    for some in (messages, longer):
        made = tokenizer.apply_chat_template(some, add_generation_prompt=True, return_dict=True, return_tensors="pt")
        assert made["input_ids"][0].tolist() == template.histories([some])[0].ids
    told = template.histories([longer])[0]
    assert max(told.turns) == 2, "it is told as what it was before"
    network: Any = load_generator(any_run)
    if hasattr(network, "encodes"):
        kind: Any = AutoModelForSeq2SeqLM if network.encodes else AutoModelForCausalLM
        model = kind.from_pretrained(any_run / "model").eval()
        reply = model.generate(**made, max_new_tokens=length, do_sample=False)[0]
        reply = reply[1:] if network.encodes else reply[made["input_ids"].shape[1] :]
        tiny_models.write(any_run / "asked.jsonl", [longer])
        expected = said(capsys, "sample", any_run, "--file", any_run / "asked.jsonl", "--temperature", 0)
        assert [tokenizer.decode(reply, skip_special_tokens=True)] == expected


def test_a_chat_template_that_would_make_other_tokens_is_not_saved() -> None:
    """Where the end is no token of its own in a text, nothing is claimed."""
    tokenizer = train_tokenizer("character", ["ab.", "ba."])
    history: list[Message] = [{"role": "user", "content": "ab"}]
    for end, kept in ((tokenizer.eos_token_id, True), (tokenizer.convert_tokens_to_ids("."), True)):
        template = Template(tokenizer, end, 8)
        found = template.saved_tokenizer([history]).chat_template
        assert (found is not None) == kept
    words = train_tokenizer("word", ["a b .", "b a ."])  # "b." is one word, which is none of these
    template = Template(words, words.convert_tokens_to_ids("."), 8)
    assert template.saved_tokenizer([[{"role": "user", "content": "a b"}]]) is words
    assert words.chat_template is None


def test_a_run_is_scored(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On the held-out replies, with evaluators where they are asked for; the same again each time."""
    lines = said(capsys, "evaluate", run, "--evaluators", 8)
    found = json.loads((run / "evaluation.json").read_text())
    names = {"perplexity", "right", "said", "bleu2", "distinct1", "adversarial_success", "ere", "machine_versus_random"}
    assert names <= found["metrics"].keys()
    assert lines[1].split() == ["model"]
    printed = {line.split()[0]: float(line.split()[1]) for line in lines[2:] if len(line.split()) == 2}
    assert any(line.startswith("bleu4") or "BLEU-4" in line for line in lines[2:])
    assert printed == pytest.approx(found["metrics"], abs=1e-4)
    said(capsys, "evaluate", run, "--evaluators", 8)
    assert json.loads((run / "evaluation.json").read_text()) == found
    lines = said(capsys, "evaluate", run, "--samples", 5000, "--temperature", 0.5)
    count = json.loads((run / "evaluation.json").read_text())["samples"]
    assert lines[0].startswith(f"metrics of words, {count} samples")
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
        (["--samples", "1"], ["evaluate --samples 1: give at least 2"]),
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
        ("text", ["chat"], ["chat is for runs of dialogue", "one of text", "sample, evaluate, sweep, report"]),
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


@pytest.mark.parametrize("kind", ["gpt2", "t5"])
def test_plain_transformers_draw_what_the_kit_draws(here: Path, kind: str) -> None:
    """From all tokens but the unknown one, by the very probabilities; their own default is the 50 likeliest."""
    words = [f"w{i:03d}" for i in range(200)]
    (here / "own.txt").write_text("".join(f"{words[i]} {words[i + 1]}\t{words[i + 2]}\n" for i in range(0, 198)))
    given = json.loads({"gpt2": GPT2, "t5": tiny_models.T5}[kind])
    data = DataConfig(path=str(here / "own.txt"), vocabulary=190, max_reply=4)
    run = make_run(here / "run", replace(CONFIG, data=data, generator=replace(CONFIG.generator, config=given)))
    network: Any = load_generator(run)
    template, _ = load_template(run)
    tokenizer = AutoTokenizer.from_pretrained(run / "model")
    told = tokenizer.apply_chat_template(
        [{"role": "user", "content": "w003 w004"}], add_generation_prompt=True, return_dict=True, return_tensors="pt"
    )
    plain: Any = (AutoModelForSeq2SeqLM if network.encodes else AutoModelForCausalLM).from_pretrained(run / "model")
    assert (plain.generation_config.top_k, plain.generation_config.eos_token_id) == (0, template.end)
    torch.manual_seed(0)
    drawn = plain.generate(**told, max_new_tokens=1, num_return_sequences=20_000)[:, -1]
    features, _ = network.given(*template.ask([[{"role": "user", "content": "w003 w004"}]]).context).start(1)
    logits = network.logits(features)[0].detach().float()
    logits[tokenizer.unk_token_id] = -torch.inf
    expected = logits.softmax(0) * len(drawn)
    assert (expected > 5).sum() > 60, "more than 50 tokens matter"
    assert_distributed(drawn.bincount(minlength=len(logits)), expected)


def test_no_unknown_word_is_said_unless_asked_for(
    any_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by lot, not in a beam, not in a chat; of the untrained model, which would say it as any other word."""
    run = any_run
    words = ("sample", run, "--text", ASKED, "--temperature", 5, "--count", 60)
    assert any("<unk>" in line for line in said(capsys, *words, "--unknown"))
    assert not any("<unk>" in line for line in said(capsys, *words))
    capsys.readouterr()
    assert main([str(word) for word in words]) == 0
    assert "times <unk> would have been drawn, and was not; --unknown draws it" in capsys.readouterr().err
    assert not any("<unk>" in line for line in said(capsys, *words[:4], "--beams", 5, "--count", 5))
    for option in ([], ["--unknown"]):
        monkeypatch.setattr(sys, "stdin", io.StringIO(f"{ASKED}\n/reset\n" * 60))
        assert any("<unk>" in line for line in said(capsys, "chat", run, *words[4:6], *option)) == bool(option)
    assert "unknown option --unknown" in refused(capsys, "evaluate", run, "--unknown")


def test_replies_to_a_table_and_as_json(run: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A prompt a row, by the names that are known; a message with a line break has its reply on one line."""
    (here / "asked.csv").write_text(f'id,prompt\n1,"{ASKED}"\n2,"what\n\tnow ?"\n')
    lines = said(capsys, "sample", run, "--file", "asked.csv")
    exact = [json.loads(line) for line in said(capsys, "sample", run, "--file", "asked.csv", "--json")]
    assert [one["message"] for one in exact] == [ASKED, "what\n\tnow ?"]
    assert lines == [f"{ASKED}\t{exact[0]['reply']}", f"what\\n\\tnow ?\t{exact[1]['reply']}"]
    assert said(capsys, "sample", run, "--text", ASKED, "--json") == [json.dumps(exact[0])]
