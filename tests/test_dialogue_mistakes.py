"""What mistakes in data, models, options and rewards of a dialogue run are told as."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from transformers import AutoConfig

import runs
import tiny_models
from seqgan_kit.dialogue.sources import DataConfig, load
from seqgan_kit.errors import UserError
from seqgan_kit.language import pretrained
from test_dialogue_cli import ASKED, SHORT, refused, said
from tiny_models import BERT, GPT2


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def untrained(capsys: pytest.CaptureFixture[str], here: Path, *options: object) -> str:
    """What is said of a mistake that is seen before a folder is made."""
    told = refused(capsys, *runs.tiny_dialogue(here / "new", *map(str, options)))
    assert not (here / "new").exists()
    return told


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
        (row("a", "b", roles=("user", "tool")), ["line 2, message 2: the role 'tool' is unknown"]),
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
    assert "; 60 histories were CUT to 11 tokens (what the model's 15 places leave beside a reply of 4)" in first
    only = load(DataConfig("own.jsonl", max_history=10), 0, context=15)
    assert "; 60 histories were CUT to 10 tokens (--data.max_history)" in only.summary()
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
        (
            ["--generator.config", "gpt2"],
            ["--generator.config: give keys with values, such as", "not gpt2; a pretrained model is for --generator.m"],
        ),
        (
            ["--generator.config", '{"model_type": "gpt2", "n_layr": 1}'],
            ["--generator.config: gpt2 has no 'n_layr': did you mean 'n_layer'?"],
        ),
        (
            ["--discriminator.config", '{"model_type": "bert", "num_hiden_layers": 1}'],
            ["--discriminator.config: bert has no 'num_hiden_layers': did you mean 'num_hidden_layers'?"],
        ),
        (["--generator.config", BERT], ["--generator.config: bert is neither causal nor an encoder-decoder"]),
        (["--generator.config", '{"model_type": "vit"}'], ["vit is neither causal nor an encoder-decoder"]),
        (
            ["--generator.config", '{"model_type": "xlnet", "d_model": 8, "n_layer": 1, "n_head": 2, "d_inner": 8}'],
            ["--generator.config: ", "another"],
        ),
        (
            ["--generator.config", '{"model_type": "mamba", "hidden_size": 8, "num_hidden_layers": 1}'],
            ["--generator.config: ", "another"],
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
            ["--discriminator.network", "seqgan_kit.networks.text.cnn.TextCNN"],
            [
                "--discriminator.network: TextCNN.forward() takes from 3",
                "whose forward takes ids, mask, history and turns",
            ],
        ),
    ],
    ids=[
        *(
            "no type",
            "unknown type",
            "a string",
            "unknown key",
            "judge, unknown key",
            "encoder",
            "pictures",
            "both ways",
            "without a cache",
            "both given",
        ),
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


def test_a_name_that_is_no_folder_is_told_at_once(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the hub can't be reached, in seconds; what was downloaded before is found all the same."""
    asked, slept = [], []

    def unreachable(address: tuple[str, int], timeout: float) -> None:
        asked.append((address, timeout))
        raise OSError("no network")

    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("socket.create_connection", unreachable)
    pretrained._hub_answers.cache_clear()
    monkeypatch.setattr("time.sleep", slept.append)
    told = untrained(capsys, here, "--generator.model", "nope_folder")
    assert sum(slept) < 5, "however slow the machine is"
    pretrained._hub_answers.cache_clear()
    assert told.startswith("--generator.model nope_folder, which is no folder here, nor a model that was downloaded")
    assert asked == [(("huggingface.co", 443), 3)]


@pytest.mark.parametrize(
    "kind", ["gpt2", "llama", "t5", "bart", "opt", "gpt_neox", "qwen2", "mistral", "gemma2", "bert"]
)
def test_keys_that_a_configuration_knows_pass(kind: str) -> None:
    """All that it writes itself, other names for the same, and older ones that transformers still read."""
    default = AutoConfig.for_model(kind)
    old = {"torch_dtype": "float32", "attn_implementation": "eager", "num_labels": 2}
    old |= {"rope_theta": 5000.0} if kind in ("llama", "qwen2", "mistral", "gemma2") else {}
    same = {name: getattr(default, name) for name in default.attribute_map}
    for given in (default.to_dict(), same, old):
        pretrained._configured("--generator", {**given, "model_type": kind}, {})
    with pytest.raises(UserError, match="has no 'hiden_size': did you mean 'hidden_size'"):
        pretrained._configured("--generator", {"model_type": "bert", "hiden_size": 8}, {})


# -- a run's own model ---------------------------------------------------------------------------------------------


def test_a_run_s_own_lstm_is_trained_on(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It begins as the other ended, with its tokenizer; a text's LSTM, adapters and another end are refused."""
    first = said(capsys, *runs.tiny_dialogue(here / "first", *SHORT, "--generator.hidden", "12"))
    assert "learning rates" not in first[1]
    begin = ("--generator.model", "first/model")
    second = said(capsys, *runs.tiny_dialogue(here / "second", *SHORT, *begin, "--likelihood.optimizer.lr", "0"))
    assert second[1].startswith("first/model, fine-tuned: learning rates 0 (--likelihood.optimizer.lr), 0.001")
    ended, begun = (
        [
            line["eval/perplexity"]
            for line in runs.lines(here / run)
            if line["phase"] == phase and "eval/perplexity" in line
        ][-1]
        for run, phase in (("first", "adversarial"), ("second", "maximum_likelihood"))
    )
    assert begun == pytest.approx(ended, rel=1e-5)
    shutil.rmtree(here / "first")
    assert len(said(capsys, "evaluate", "second")) > 5
    assert len(said(capsys, "sample", "second", "--text", ASKED)) == 1
    begin = ("--generator.model", "second/model")
    assert "adapters are for Hugging Face models" in untrained(capsys, here, *begin, "--generator.lora", 2)
    told = untrained(capsys, here, *begin, "--data.end", "<unk>")
    assert "the model has" in told
    assert "give what was saved together, and no other end" in told
    told = refused(capsys, *runs.tiny(here / "new", *begin))
    assert "seqgan_seq2seq is not of a run of text: give a causal model, or one of such a run" in told


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
        (["--likelihood.steps", "0", "--adversarial.rounds", "0"], ["leave nothing to train: give one of them more"]),
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
        ("return [len(one['nothing']) for one in prompts]", ["raised TypeError", "fondness.py, line 4", "prompts"]),
        ("raise KeyError('nothing')", ["raised KeyError: 'nothing'", "fondness.py, line 4", "then resume"]),
    ],
    ids=["too few", "one number", "too few per token", "nan", "text", "wrong column", "raises"],
)
def test_a_wrong_own_reward_is_told_by_name(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, body: str, expected: list[str]
) -> None:
    """And the run goes on from its last checkpoint once it is mended. Of the two replies that it is tried with before
    there is a run, it makes no mistake."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # the mended file may be as long, in the same second
    tried = "if len(completions) == 2:\n        return [1.0, 1.0]"
    (here / "fondness.py").write_text(f"def brief(completions, prompts, references):\n    {tried}\n    {body}\n")
    monkeypatch.delitem(sys.modules, "fondness", raising=False)
    words = runs.tiny_dialogue(here / "run", *SHORT, "--adversarial.rewards", "[{function: fondness.brief}]")
    told = refused(capsys, *words)
    assert all(part in told for part in ["reward fondness.brief", *expected]), told
    (here / "fondness.py").write_text("def brief(completions):\n    return [1.0] * len(completions)\n")
    del sys.modules["fondness"]
    assert f"seqgan-kit chat {here / 'run'}" in "\n".join(said(capsys, "resume", here / "run"))
    del sys.modules["fondness"]
