"""The command line end to end: training on everything that it reads, own parts, and what it says about mistakes."""

from __future__ import annotations

import importlib
import itertools
import json
import pkgutil
import random
import re
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoTokenizer

import runs
from seqgan_kit.cli import main, parse
from seqgan_kit.dialogue.config import DialogueConfig
from seqgan_kit.language.config import settled
from seqgan_kit.networks.text.lstm import LSTMGenerator
from seqgan_kit.old_names import OLD_NAMES, renamed
from seqgan_kit.report.spread import comparison
from seqgan_kit.text.config import TextConfig
from seqgan_kit.tokens.sampling import sample

SHORT = (
    "--likelihood.steps", "4", "--discriminator.steps", "2", "--adversarial.rounds", "2", "--control.steps", "2",
    "--evaluation.samples", "8", "--run.checkpoint_steps", "1000",
)  # fmt: skip
ODD = {"<unk>"}  # a hardly trained model may emit it too
WORDS = ["the", "a", "small", "large", "red", "blue", "star", "circle", "is", "near", "far", "on", "under", "left"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with parts given by import path looked for in it, as the command does."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def sentences(count: int = 60, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(3, 9))) for _ in range(count)]


def train(folder: Path, *options: str) -> Path:
    run = folder / "runs" / "run"
    assert main(runs.tiny(run, *SHORT, *options)) == 0
    return run


def drawn(capsys: pytest.CaptureFixture[str], run: Path, *options: str) -> list[str]:
    capsys.readouterr()
    assert main(["sample", str(run), *options]) == 0
    return capsys.readouterr().out.splitlines()


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line on stderr that a mistake ends with, at status 1."""
    capsys.readouterr()
    assert main(words) == 1
    told = runs.errors(capsys.readouterr().err)
    assert len(told) == 1, told
    assert told[0].startswith("seqgan-kit: ")
    return told[0].removeprefix("seqgan-kit: ")


# -- what it does --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("with_curves")
def test_train_sample_evaluate_and_report_on_an_own_text_file(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From a file of sentences to samples of its words, metrics on its held-out share, and one page."""
    (here / "own.txt").write_text("\n".join(sentences()) + "\n")
    run = train(here, "--data.path", "own.txt", "--run.trackers", "[tensorboard]")
    told = capsys.readouterr().out
    assert "held metric" in told
    assert str(run / "report.html") in told
    assert any(path.stat().st_size for path in run.rglob("events.out.tfevents.*")), "the tracker wrote"

    first = drawn(capsys, run, "--count", "20", "--seed", "5")
    assert len(first) == 20
    assert {word for line in first for word in line.split()} <= set(WORDS) | ODD
    assert drawn(capsys, run, "--count", "20", "--seed", "5") == first
    assert drawn(capsys, run, "--count", "20", "--seed", "6") != first
    cold = drawn(capsys, run, "--count", "20", "--temperature", "0.001")
    assert len(set(cold)) == 1, "near temperature 0 there is one likeliest sentence"

    assert main(["evaluate", str(run), "--samples", "20"]) == 0
    told = capsys.readouterr().out
    found = json.loads((run / "evaluation.json").read_text())["metrics"]
    assert {"nll_gen", "bleu2", "bleu5", "self_bleu2", "distinct1"} <= set(found)
    assert all(f"{name} " in told for name in found if not name.endswith("_interval"))
    (run / "report.html").unlink()
    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_text()
    assert "</html>" in page
    assert page.count("<svg") == page.count("<figure>") > 10, "the curves"


def test_a_saved_model_gives_the_command_s_samples_through_from_pretrained(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`from_pretrained` and AutoTokenizer on the model folder, and the same seed, give the same tokens."""
    run = train(here)
    lines = drawn(capsys, run, "--count", "7", "--seed", "11", "--unknown")
    network = LSTMGenerator.from_pretrained(run / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(run / "model")
    torch.manual_seed(11)
    made = sample(network, 7, network.config.length, network.config.end)
    texts = tokenizer.batch_decode(
        [
            [token for token, counts in zip(ids, mask, strict=True) if counts and token != network.config.end]
            for ids, mask in zip(made.ids.tolist(), made.mask.tolist(), strict=True)
        ]
    )
    assert texts == lines
    assert len(set(lines)) > 1


def test_a_run_s_own_lstm_is_trained_on(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It begins as the other ended, with its tokenizer, at the length of the new data; a reply's LSTM is refused."""
    first = train(here / "first", "--generator.hidden", "12")
    begin = ("--generator.model", str(first / "game"))
    second = train(here / "second", *begin, "--likelihood.optimizer.lr", "0")
    ended, begun = (
        [line["eval/nll_gen"] for line in runs.lines(run) if line["phase"] == phase and "eval/nll_gen" in line][-1]
        for run, phase in ((first, "adversarial"), (second, "maximum_likelihood"))
    )
    assert begun == pytest.approx(ended, rel=1e-5)
    config = yaml.safe_load((second / "config.yaml").read_text())
    assert config["adversarial"]["optimizer"]["lr"] == 0.001
    (here / "short.txt").write_text("a red star .\na blue star .\n" * 20)
    third = train(here / "third", *begin, "--data.path", "short.txt", "--control.enabled", "false")
    assert LSTMGenerator.from_pretrained(third / "model").config.length == 5
    assert all(len(line.split()) <= 5 for line in drawn(capsys, third))
    assert main(["evaluate", str(third)]) == 0
    told = refused(capsys, *runs.tiny_dialogue(here / "fourth", *begin))
    assert "seqgan_lstm is not of a run of dialogue" in told
    assert "or one of such a run" in told


def test_an_unfinished_run_says_so(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Beside its samples, not among them; a finished one only says which model it is."""
    run = train(here / "run")
    capsys.readouterr()
    assert main(["sample", str(run), "--count", "3", "--unknown"]) == 0
    (told,) = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"model: best, of [\w ]+, step \d+, by ngram_distance", told)
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {"finished": False}))
    assert main(["sample", str(run), "--count", "3"]) == 0
    heard = capsys.readouterr()
    assert len(heard.out.splitlines()) == 3
    assert f"{run} is not finished (seqgan-kit resume {run}): its model is the last one it saved" in heard.err


def test_maligan_with_all_that_steadies_it(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Weights by the likelihood ratio, among continuations of real prefixes, with every option of either player."""
    network = (
        "--discriminator.network",
        "seqgan_kit.networks.text.cnn.TextCNN",
        "--discriminator.network.kernels",
        "4",
    )
    credit = ("--adversarial.credit", "seqgan_kit.tokens.credit.LikelihoodRatio", "--adversarial.turns.repeats", "2")
    steady = ("--discriminator.real_target", "0.9", "--discriminator.clip_weights", "0.2")
    past = ("--discriminator.optimizer.history", "0.1", "--adversarial.optimizer.history", "0.1")
    others = ("--adversarial.prefix", "3", "--adversarial.critic.enabled", "true")
    run = train(here, *network, *credit, "--adversarial.credit.group", "2", *steady, *past, *others)
    assert all("critic_loss" in line for line in runs.lines(run) if line["phase"] == "adversarial" and "reward" in line)
    told = refused(capsys, *runs.tiny(here / "other", *credit, "--adversarial.credit.group", "4"))
    assert "--adversarial.credit.group 4" in told
    assert "--adversarial.turns.repeats 2" in told
    told = refused(capsys, *runs.tiny(here / "another", "--discriminator.network.kernels", "4"))
    assert "compares rows" in told
    assert "seqgan_kit.tokens.credit.Terminal" in told


def test_objectives_take_arguments_and_compare_pairs(here: Path) -> None:
    """From YAML, by init_args, and the run's own configuration reads back; sentences have distances."""
    for name, argument in (("ls_gan", "margin: 2.0"), ("ebgan", "margin: 3.0")):
        own = here / f"{name}.yaml"
        own.write_text(
            f"discriminator: {{objective: {{class_path: seqgan_kit.algorithms.objectives.{name}, "
            f"init_args: {{{argument}}}}}}}"
        )
        run = here / "runs" / name
        assert main(runs.tiny(run, *SHORT, "--config", str(own))) == 0
        assert argument in (run / "config.yaml").read_text()
        assert parse(["--config", str(run / "config.yaml")])[1] == (run / "config.yaml").read_text()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("own.jsonl", ["--data.column", "caption"]),
        ("own.csv", ["--data.column", "caption"]),
        ("ids.txt", ["--data.tokens", "true"]),
        ("equal.txt", ["--data.tokens", "true", "--data.vocabulary", "12"]),
        ("own.txt", ["--data.tokenizer", "character"]),
        ("own.txt", ["--data.tokenizer", "sentencepiece", "--data.vocabulary", "40"]),
        (None, ["--data.world", "oracle", "--data.oracle_vocabulary", "20", "--data.sentences", "40"]),
    ],
    ids=["jsonl", "csv", "ids", "ids of one length", "characters", "sentencepiece", "oracle"],
)
def test_it_trains_on_and_samples_from_every_kind_of_data(
    here: Path, capsys: pytest.CaptureFixture[str], name: str | None, options: list[str]
) -> None:
    """All phases run on each kind, and samples are made of what the data are made of."""
    rng = random.Random(1)
    written = sentences()
    (here / "own.txt").write_text("\n".join(written))
    (here / "own.jsonl").write_text("".join(json.dumps({"id": i, "caption": s}) + "\n" for i, s in enumerate(written)))
    (here / "own.csv").write_text("id,caption\n" + "".join(f'{i},"{s}"\n' for i, s in enumerate(written)))
    ids = [[rng.randrange(12) for _ in range(rng.randint(2, 8))] for _ in range(60)]
    (here / "ids.txt").write_text("\n".join(" ".join(map(str, row)) for row in ids))
    (here / "equal.txt").write_text("\n".join(" ".join(map(str, (row * 6)[:6])) for row in ids))
    run = train(here, *options, *(["--data.path", name] if name else []))
    assert [line["phase"] for line in runs.lines(run) if "eval/nll_gen" in line] == [
        "maximum_likelihood", "adversarial", "control",
    ]  # fmt: skip
    lines = drawn(capsys, run, "--count", "30")
    assert len(lines) == 30
    if name is None or name in ("ids.txt", "equal.txt"):
        assert {int(word) for line in lines for word in line.split()} <= set(range(20 if name is None else 12))
        lengths = {len(line.split()) for line in lines}
        assert lengths == {6} if name == "equal.txt" else lengths == {20} if name is None else len(lengths) > 1
    elif "--data.tokenizer" in options:
        assert set("".join(lines)) <= set("".join(WORDS) + " " + "".join(ODD))
    else:
        assert {word for line in lines for word in line.split()} <= set(WORDS) | ODD


@pytest.mark.slow
def test_an_own_reward_by_import_path_changes_what_is_made(here: Path) -> None:
    """A module in the current folder that rewards short sentences makes them shorter, at no weight of the other."""
    (here / "taste.py").write_text(
        "def brief(completions):\n    return [-float(len(text.split())) for text in completions]\n"
    )
    run = train(
        here, "--adversarial.rewards", "[{function: taste.brief, weight: 0.5}]", "--adversarial.discriminator_weight",
        "0", "--adversarial.rounds", "60", "--adversarial.optimizer.lr", "0.02", "--adversarial.batch_size", "32",
        "--adversarial.credit", "seqgan_kit.tokens.credit.Terminal", "--likelihood.steps", "20",
    )  # fmt: skip
    lengths = [line["length"] for line in runs.lines(run) if line["phase"] == "adversarial"]
    assert sum(lengths[-5:]) / 5 < 0.6 * sum(lengths[:5]) / 5
    assert all(-line["reward"] * 2 <= line["length"] for line in runs.lines(run) if "reward" in line)


def test_own_credit_and_discriminator_by_import_path(here: Path) -> None:
    """Classes in the current folder, with options of their own, take the place of the built-in ones."""
    (here / "parts.py").write_text(
        """
import torch
from seqgan_kit.tokens.credit import Credit

class Half(Credit):
    calls = 0

    def __init__(self, network, length, end, factor: float = 0.5):
        self.factor = factor

    def __call__(self, sampled, earned, reward):
        Half.calls += 1
        return self.factor * earned.unsqueeze(1) * sampled.mask

class Bag(torch.nn.Module):
    built = []

    def __init__(self, vocabulary: int, width: int = 3):
        super().__init__()
        self.embedding, self.output = torch.nn.Embedding(vocabulary, width), torch.nn.Linear(width, 1)
        Bag.built.append(width)

    def forward(self, ids, mask):
        return self.output((self.embedding(ids * mask) * mask.unsqueeze(-1)).sum(1)).squeeze(1)
"""
    )
    (here / "own.yaml").write_text(
        yaml.safe_dump(
            {
                "adversarial": {"credit": {"class_path": "parts.Half", "init_args": {"factor": 0.25}}},
                "discriminator": {"network": {"class_path": "parts.Bag", "init_args": {"width": 5}}},
            }
        )
    )
    run = train(here, "--config", "own.yaml", "--trust", "parts", "--discriminator.output_decay", "0.1")
    import parts  # type: ignore[import-not-found]

    assert parts.Half.calls == 1 + 2, "tried before there is a run, then once a round"
    assert parts.Bag.built == [5]
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["adversarial"]["credit"]["init_args"]["factor"] == 0.25


def test_the_written_configuration_is_complete_and_is_the_run(here: Path) -> None:
    """A run's config.yaml given to `train` again makes the same run."""
    first = train(here)
    second = here / "second"
    assert main(["train", "text", "--config", str(first / "config.yaml"), "--run.folder", str(second)]) == 0
    runs.same(first, second)


@pytest.mark.parametrize("recipe", sorted((runs.ROOT / "recipes").glob("*.yaml")), ids=lambda path: path.name)
def test_every_recipe_parses(recipe: Path) -> None:
    """Each recipe's keys and values are accepted by the task of its head, and what it writes is accepted again."""
    command = re.search(r"seqgan-kit train (\w+)", recipe.read_text())
    assert command is not None
    config, text = parse(["--config", str(recipe)], command[1])
    Path("again.yaml").write_text(text)
    again, same = parse(["--config", "again.yaml"], command[1])
    assert same == text
    assert again.run == config.run
    assert again.evaluation == config.evaluation


@pytest.mark.parametrize(
    ("task", "options", "rates"),
    [
        ("text", [], (0.01, 0.001, 0.0001)),
        ("text", ["--generator.model", "x"], (0.0001, 0.00002, 0.0001)),
        ("text", ["--generator.config", "{model_type: gpt2}"], (0.001, 0.0002, 0.0001)),
        ("dialogue", [], (0.01, 0.001, 0.001)),
        ("dialogue", ["--generator.model", "x"], (0.0001, 0.00002, 0.001)),
        ("dialogue", ["--generator.model", "x", "--generator.lora", "2"], (0.001, 0.0002, 0.001)),
        ("dialogue", ["--generator.config", "{model_type: t5}", "--discriminator.model", "x"], (0.001, 0.0002, 0.0001)),
        ("dialogue", ["--generator.model", "x", "--likelihood.optimizer.lr", "0.01"], (0.01, 0.00002, 0.001)),
        ("dialogue", ["--generator.model", "x", "--adversarial.optimizer.lr", "0.001"], (0.0001, 0.001, 0.001)),
    ],
    ids=str,
)
def test_learning_rates_that_are_not_given_suit_the_model(
    here: Path, task: str, options: list[str], rates: tuple[float, ...]
) -> None:
    """An LSTM's would ruin a pretrained model. They are written out, and read again they are as if they were given;
    from Python they are the same."""
    config, text = parse(options, task)
    phases = ("likelihood", "adversarial", "discriminator")
    assert tuple(getattr(config, phase).optimizer.lr for phase in phases) == rates
    assert tuple(yaml.safe_load(text)[phase]["optimizer"]["lr"] for phase in phases) == rates
    (here / "config.yaml").write_text(text)
    assert parse(["--config", "config.yaml"], task)[1] == text
    if "--likelihood.optimizer.lr" not in options and "--adversarial.optimizer.lr" not in options:
        begun: Any = TextConfig() if task == "text" else DialogueConfig()
        begun = replace(begun, generator=config.generator, discriminator=replace(begun.discriminator,
                        model=config.discriminator.model))  # fmt: skip
        assert tuple(getattr(settled(begun), phase).optimizer.lr for phase in phases) == rates


def test_help_names_the_commands_and_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` of the command and of training ends well, with what there is."""
    assert main(["--help"]) == 0
    told = capsys.readouterr().out
    assert all(name in told for name in ("train", "resume", "sample", "evaluate", "record", "watch", "report", "env"))
    assert main(["train", "text", "--help", "all"]) == 0
    told = capsys.readouterr().out
    assert all(name in told for name in ("--run.folder", "--data.path", "--adversarial.credit", "--control.steps"))
    assert "known subclasses" not in told


def test_help_of_a_command_needs_no_run(capsys: pytest.CaptureFixture[str]) -> None:
    """It shows the options of every task that has the command."""
    for command, tasks, options in (
        ("chat", ["dialogue"], ["--temperature", "--top_p"]),
        ("sample", ["text", "dialogue", "images"], ["--count", "--beams", "--file"]),
        ("evaluate", ["text", "dialogue", "imitation", "images"], ["--samples", "--evaluators", "--episodes"]),
        ("sweep", ["text"], ["--temperatures"]),
    ):
        assert main([command, "--help"]) == 0
        told = capsys.readouterr().out
        assert all(f"on a run of {task}:\nusage: seqgan-kit {command} RUN" in told for task in tasks)
        assert told.count("on a run of") >= len(tasks)
        assert all(option in told for option in options)


# -- what it says about mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "options", "expected"),
    [
        (None, [], ["bad.txt does not exist", "check the path"]),
        (b"", [], ["bad.txt", "is empty"]),
        (b"\n \n\t\n", [], ["bad.txt has no sentences", "blank"]),
        (bytes(range(256)) * 4, [], ["bad.txt", "binary"]),
        ("a line\nune \xe9toile\n".encode("latin-1"), [], ["bad.txt", "line 2", "UTF-8", "iconv"]),
        (b"a b c\n" * 40 + b"a b c d e f g\n" + b"a b\n" * 40, ["--data.max_length", "5"],
         ["bad.txt", "line 41", "--data.max_length"]),
        (b"a b c\na b\na c\nb c\nc b\n", [],
         ["bad.txt has 4 sentences", "--likelihood.batch_size 8", "give more, or lower these"]),
        (b"1 2 3\n4 5 9\n" * 30, ["--data.tokens", "true", "--data.vocabulary", "8"],
         ["bad.txt line 2", "9", "outside the vocabulary of 8", "--data.vocabulary 10"]),
        (b"1 2 3\n4 -5\n" * 30, ["--data.tokens", "true"], ["bad.txt line 2", "-5", "negative"]),
        (b"1 2 3\n4 five\n" * 30, ["--data.tokens", "true"], ["bad.txt line 2", "five"]),
        (b"a b\n" * 60, ["--data.column", "text"], ["--data.column text", "bad.txt"]),
        (b"a b\n" * 60, ["--data.held_out", "1.5"], ["--data.held_out 1.5"]),
    ],
    ids=["missing", "empty", "blank", "binary", "latin-1", "too long", "too few", "outside the vocabulary", "negative",
         "not a number", "column of a text file", "share"],
)  # fmt: skip
def test_bad_files_are_told_by_name_line_and_remedy(
    here: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, options: list[str], expected: list[str]
) -> None:
    """Each is refused in one line before anything is written."""
    if content is not None:
        (here / "bad.txt").write_bytes(content)
    told = refused(capsys, *runs.tiny(here / "run", "--data.path", "bad.txt", *options))
    assert all(part in told for part in expected), told
    assert not (here / "run").exists()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--likelihood.step", "3"], ["unknown option --likelihood.step", "likelihood.steps"]),
        (["--likelyhood.steps", "3"], ["unknown option --likelyhood.steps", "likelihood.steps"]),
        (["--run.chekpoint_steps=3"], ["unknown option --run.chekpoint_steps", "run.checkpoint_steps"]),
        (["--likelihood.steps", "many"], ["--likelihood.steps", "many", "a whole number"]),
        (["--likelihood.steps", "1.5"], ["--likelihood.steps", "1.5", "a whole number"]),
        (["--run.precision", "fp8"], ["--run.precision", "fp8", "fp32", "bf16"]),
        (["--data.tokenizer", "words"], ["--data.tokenizer", "words", "word"]),
        (["--adversarial.rewards", "[{function: nowhere.at_all}]"],
         ["--adversarial.rewards: can't import nowhere.at_all", "current folder"]),
        (["--adversarial.rewards", "[{function: seqgan_kit.game.rewards.nothing}]"],
         ["adversarial.rewards", "seqgan_kit.game.rewards.nothing"]),
        (["--adversarial.credit", "seqgan_kit.tokens.credit.MonteKarlo"], ["adversarial.credit", "MonteKarlo"]),
        (["--discriminator.objective", "seqgan_kit.algorithms.objectives.lsgan"],
         ["--discriminator.objective: can't import", "did you mean least_squares or ls_gan?"]),
        (["--discriminator.objective", "seqgan_kit.algorithms.objectives.wgan"], ["did you mean wasserstein?"]),
        (["--discriminator.real_target", "1.1"], ["--discriminator.real_target 1.1", "at most 1"]),
        (["--discriminator.real_target", "0.9", "--discriminator.objective", "seqgan_kit.algorithms.objectives.hinge"],
         ["--discriminator.real_target 0.9", "minimax"]),
        (["--discriminator.clip_weights", "-1"], ["--discriminator.clip_weights -1", "at least 0"]),
        (["--adversarial.turns.repeats", "3"], ["--adversarial.turns.repeats 3", "multiple"]),
        (["--adversarial.credit.rollout", "3"], ["adversarial.credit", "rollout"]),
        (["--discriminator.network", "nowhere.Net"],
         ["--discriminator.network: can't import nowhere.Net (No module named"]),
        (["--config", "none.yaml"], ["none.yaml"]),
        (["my.txt"], ["my.txt", "did you mean --data.path my.txt?", "train text --help"]),
        (["--run.trackers", "[tensorbord]"], ["--run.trackers tensorbord", "tensorboard"]),
        (["--run.device", "cuda"], ["--run.device cuda", "cpu"]),
        (["--run.processes", "2"], ["--run.processes 2", "torchrun"]),
        (["--likelihood.batch_size", "1"], ["--likelihood.batch_size 1", "at least 2"]),
    ],
    ids=lambda value: " ".join(value) if value[0].startswith("--") else "",
)  # fmt: skip
def test_bad_options_are_told_with_the_nearest_one(
    here: Path, capsys: pytest.CaptureFixture[str], options: list[str], expected: list[str]
) -> None:
    """Each is refused in one short line that names the option, before anything is written."""
    told = refused(capsys, *runs.tiny(here / "run", *options))
    assert all(part in told for part in expected), told
    assert len(told) < 400, told
    assert not (here / "run").exists()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("likelyhood: {steps: 3}", ["unknown key likelyhood", "likelihood"]),
        ("likelihood: {stepps: 3}", ["unknown key likelihood.stepps", "likelihood.steps"]),
        ("likelihood:\n  optimizer: {learning: 0.1, lr: 0.2}", ["unknown key likelihood.optimizer.learning"]),
        ("likelihood: {steps: many}", ["likelihood.steps", "many"]),
        ("likelihood: [1, 2]", ["likelihood is a group of options"]),
        ("likelihood: 3", ["likelihood is a group of options"]),
        ("likelihood:", ["likelihood is a group of options"]),
        ("likelihood: {steps: 3", ["line 1"]),
        ("- a\n- b", ["it holds no options"]),
        ("", ["it holds no options"]),
    ],
)
def test_bad_keys_of_a_yaml_file_are_told_with_the_file(
    here: Path, capsys: pytest.CaptureFixture[str], content: str, expected: list[str]
) -> None:
    """A misspelt key at any depth, a wrong value or broken YAML: one line that names the file, and the nearest key."""
    (here / "mine.yaml").write_text(content)
    told = refused(capsys, "train", "text", "--config", "mine.yaml", "--run.folder", "run")
    assert all(part in told for part in ["mine.yaml", *expected]), told
    assert len(told) < 400, told
    assert not (here / "run").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["trian"], ["unknown command 'trian'", "train"]),
        (["train"], ["no task given", "train text"]),
        (["train", "txt"], ["unknown task 'txt'", "text"]),
        (["sample"], ["seqgan-kit sample runs/NAME"]),
        (["sample", "empty"], ["empty is no run folder", "run.json"]),
        (["evaluate", "missing"], ["missing is no run folder"]),
        (["report", "empty"], ["empty is no run folder"]),
        (["resume", "empty"], ["empty is no run folder"]),
        (["sample", "begun"], ["begun/model holds no model", "resume begun"]),
        (
            ["watch", "begun"],
            ["watch is for runs of imitation", "begun is one of text", "sample, evaluate, sweep, report"],
        ),
        (["sample", "begun", "--cuont", "3"], ["--cuont", "count"]),
        (["sample", "begun", "--count", "x"], ["--count", "x"]),
        (["sample", "begun", "--count", "0"], ["--count"]),
    ],
    ids=lambda value: (
        " ".join(value) if value[0] in ("trian", "train", "sample", "evaluate", "watch", "report", "resume") else ""
    ),
)
def test_bad_commands_are_told_with_the_remedy(
    here: Path, capsys: pytest.CaptureFixture[str], words: list[str], expected: list[str]
) -> None:
    """A folder that is no run, a command or task that there is not: one line."""
    (here / "empty").mkdir()
    (here / "begun").mkdir()
    (here / "begun" / "run.json").write_text("{}")
    told = refused(capsys, *words)
    assert all(part in told for part in expected), told


def test_a_run_folder_that_exists_is_kept(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Training never writes into a folder that is there, nor names `resume`, which would refuse it, too."""
    run = here / "run"
    run.mkdir()
    (run / "precious").write_text("x")
    told = refused(capsys, *runs.tiny(run))
    assert f"{run} exists, and is no run folder" in told
    assert "--run.folder" in told
    told = refused(capsys, *runs.tiny(run), "--run.folder", "not/there/../../run")
    assert f"{run} exists" in told
    assert [path.name for path in run.iterdir()] == ["precious"]
    assert not (here / "not").exists()


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_before_the_step(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Phase, last good checkpoint and remedy are named, nothing of the step is saved, and the run can go on."""
    (here / "broken.py").write_text(
        """
import torch
from seqgan_kit.networks.text.cnn import TextCNN

class Breaks(TextCNN):
    calls = 0

    def forward(self, ids, mask):
        Breaks.calls += self.training
        return super().forward(ids, mask) * (float("nan") if Breaks.calls == 3 else 1.0)
"""
    )
    run = here / "run"
    (here / "own.txt").write_text("\n".join(sentences()))
    words = runs.tiny(run, *SHORT, "--run.checkpoint_steps", "1", "--data.path", "own.txt",
                      "--run.log_every", "1", "--discriminator.steps", "5",
                      "--discriminator.network", "broken.Breaks")  # fmt: skip
    told = refused(capsys, *words)
    assert told.startswith("discriminator: loss nan, gradient norm nan after steps ")
    assert "'discriminator': 2" in told
    assert f"the last good checkpoint is {run / 'checkpoints' / '00000006'}. Lower the learning rate" in told
    assert [path.name for path in runs.checkpoints.all_in(run / "checkpoints")][-1] == "00000006"
    assert len(runs.lines(run)) == 6
    assert main(["resume", str(run)]) == 0, "the third call was an accident: the run goes on from the checkpoint"


def test_weights_that_are_not_finite_are_never_saved(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A step that a huge learning rate makes infinite stops the run before it becomes the last good checkpoint."""
    run = here / "run"
    (here / "own.txt").write_text("\n".join(sentences()))
    words = runs.tiny(run, *SHORT, "--run.checkpoint_steps", "1", "--data.path", "own.txt",
                      "--adversarial.optimizer.lr", "1e39")  # fmt: skip
    told = refused(capsys, *words)
    assert told.startswith("generator: weights that are not finite after steps ")
    kept = runs.checkpoints.all_in(run / "checkpoints")
    assert f"the last good checkpoint is {kept[-1]}" in told
    assert "Lower the learning rate" in told
    network = runs.checkpoints.read(kept[-1], "shared")["networks"]["generator"]
    assert all(tensor.isfinite().all() for tensor in network.values())


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return [1.0]", ["reward taste.brief returned 1 values for", "return one for each"]),
        ("return 3.0", ["reward taste.brief returned a float"]),
        ("return [[0.0]] * len(completions)", ["reward taste.brief returned 1 for completion", "tokens"]),
        ("return [float('nan')] * len(completions)", ["reward taste.brief returned nan", "finite"]),
        ("return ['good'] * len(completions)", ["reward taste.brief returned 'good'", "number"]),
    ],
    ids=["too few", "one number", "too few per token", "nan", "text"],
)
def test_a_wrong_own_reward_is_told_by_name(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, body: str, expected: list[str]
) -> None:
    """Wrong lengths, types and numbers end the run with the function's name and what it should return."""
    (here / "taste.py").write_text(f"def brief(completions):\n    {body}\n")
    monkeypatch.delitem(__import__("sys").modules, "taste", raising=False)
    (here / "own.txt").write_text("\n".join(sentences()))
    options = ["--data.path", "own.txt", "--adversarial.rewards", "[{function: taste.brief}]"]
    told = refused(capsys, *runs.tiny(here / "run", *SHORT, *options))
    assert all(part in told for part in expected), told


def test_resume_with_another_shape_or_number_of_processes_is_refused(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A checkpoint of a network of another size, or an asked-for second process, is refused in one line."""
    run = train(here)
    record = (run / "run.json").read_bytes()
    told = refused(capsys, "resume", str(run), "--run.processes", "2")
    assert "--run.processes 2, but 1 run" in told
    told = refused(capsys, "resume", str(run), "--generator.hidden", "16")
    assert "generator" in told
    assert str(run) in told
    assert yaml.safe_load((run / "config.yaml").read_text())["generator"]["hidden"] == 8, "the run's own is kept"
    assert (run / "run.json").read_bytes() == record, "it is finished as it was"


@pytest.mark.parametrize("task", ["text", "dialogue"])
def test_resume_on_other_data_is_refused(here: Path, capsys: pytest.CaptureFixture[str], task: str) -> None:
    """As many words, but others: the tokens would mean others, in `evaluate` too. The same data elsewhere are fine."""
    data = here / ("own.txt" if task == "text" else "own.tsv")
    pairs = zip(sentences(), sentences(60, 1), strict=True)
    lines = sentences() if task == "text" else ["prompt\treply", *("\t".join(pair) for pair in pairs)]
    data.write_text("\n".join(lines))
    words = (runs.tiny if task == "text" else runs.tiny_dialogue)(here / "run", *SHORT, "--data.path", str(data))
    assert main(words) == 0
    kept = {name: (here / "run" / name).read_bytes() for name in ("run.json", "config.yaml")}
    data.write_text("\n".join(lines).replace("circle", "square"))
    for command in ("resume", "evaluate"):
        told = refused(capsys, command, "run")
        assert told.startswith("run: the data, or the tokenizer, have changed since this run began"), told
        assert "bring back what it was trained on, or train a new run" in told
    assert {name: (here / "run" / name).read_bytes() for name in kept} == kept
    data.write_text("\n".join(lines))
    moved = data.rename(data.with_name(f"moved{data.suffix}"))
    assert main(["resume", "run", "--data.path", str(moved)]) == 0


def test_warnings_are_errors_here() -> None:
    """The suite's settings hold in this module too, so a warning of the command would be seen."""
    with pytest.raises(UserWarning):
        warnings.warn("seen", stacklevel=1)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--likelihood.optimizer.lr", "-1"),
        ("--generator.hidden", "0"),
        ("--evaluation.samples", "1"),
        ("--likelihood.steps", "-5"),
    ],
)
def test_numbers_out_of_range_are_refused_before_a_folder_is_made(
    here: Path, capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    """A number that makes no sense is told in one line with the option and the least that does."""
    told = refused(capsys, *runs.tiny(here / "run", option, value))
    assert option in told
    assert "give at least" in told
    assert not (here / "run").exists()


def test_evaluate_repeats_the_last_numbers_of_the_training_run(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`evaluate` draws the samples of a model's evaluation again, of the last and of the best: the same numbers."""
    run = train(here / "run", "--control.enabled", "false")
    best = runs.told(run)["best"]
    for model, phase in (("game", "adversarial"), ("best", best["phase"])):
        assert main(["evaluate", str(run), "--model", model]) == 0
        found = json.loads((run / "evaluation.json").read_text())["metrics"]
        lines = [line for line in runs.lines(run) if "eval/nll_gen" in line and line["phase"] == phase]
        line = lines[-1] if model == "game" else next(line for line in lines if line["step"] == best["step"])
        assert {f"eval/{name}": value for name, value in found.items()} == {
            name: value for name, value in line.items() if name.startswith("eval/")
        }


def test_unknown_words_are_counted_aloud(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the vocabulary leaves out is said in the first line, and nothing where it has all."""
    (here / "own.txt").write_text("\n".join(map(" ".join, itertools.product("abc", repeat=3))))
    options = ("--data.path", "own.txt", "--control.enabled", "false")
    train(here / "all", *options)
    assert "UNKNOWN" not in capsys.readouterr().out
    train(here / "few", *options, "--data.vocabulary", "4")  # </s>, <unk>, and two of the three
    assert "; 27 of 108 tokens are UNKNOWN to the tokenizer (<unk>)" in capsys.readouterr().out.splitlines()[0]


def test_dropped_sentences_are_counted_aloud(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What --data.too_long drop leaves out is said in the first lines."""
    path = here / "long.txt"
    path.write_text("\n".join([*sentences(60), "word " * 50, "word " * 60]))
    options = ["--data.path", str(path), "--data.max_length", "40", "--data.too_long", "drop"]
    train(here / "run", *options, "--control.enabled", "false")
    assert "long.txt: 62 lines read, 60 used; 2 DROPPED (over 40 tokens)" in capsys.readouterr().out


def test_import_paths_of_earlier_versions_go_on_working(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In YAML files and options; each is told once by its new name, and what is written has the new ones."""
    file = tmp_path / "old.yaml"
    file.write_text(
        "discriminator: {network: {class_path: seqgan_kit.networks.cnn.TextCNN, init_args: {embedding: 8}}}\n"
        "adversarial: {estimator: seqgan_kit.estimators.ppo, baseline: seqgan_kit.credit.no_baseline}\n"
    )
    words = ["--config", str(file), "--adversarial.credit", "seqgan_kit.token_credit.Terminal"]
    _, text = parse(words)
    assert "seqgan_kit.networks.text.cnn.TextCNN" in text
    assert "seqgan_kit.tokens.credit.Terminal" in text
    assert renamed(text) == text
    told = capsys.readouterr().err.splitlines()
    assert sorted(told) == sorted(set(told))
    assert "seqgan-kit: seqgan_kit.token_credit.Terminal is now seqgan_kit.tokens.credit.Terminal" in told
    assert len(told) == 4
    # a run's own configuration is the kit's: its user can do nothing about it
    (tmp_path / "run.json").write_text("{}")
    file.write_text("adversarial: {estimator: seqgan_kit.estimators.reinforce}")
    assert "seqgan_kit.algorithms.estimators.reinforce" in parse(["--config", str(file)])[1]
    assert capsys.readouterr().err == ""


def test_a_part_that_imports_from_an_old_path_is_told_the_new_one(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In Python, old paths do not go on working; the message says where they lead today."""
    (here / "older.py").write_text("from seqgan_kit.token_credit import Terminal")
    told = refused(capsys, "train", "text", "--adversarial.credit", "older.Mine")
    assert "No module named 'seqgan_kit.token_credit'): what it imports is seqgan_kit.tokens.credit today" in told


def test_runs_of_earlier_versions_are_compared_with_those_of_today(tmp_path: Path) -> None:
    """The same options by old and by new names are the same options."""
    for seed, name in enumerate(("seqgan_kit.credit.leave_one_out", "seqgan_kit.algorithms.credit.leave_one_out")):
        run = tmp_path / f"run-{seed}"
        run.mkdir()
        (run / "config.yaml").write_text(f"run: {{seed: {seed}}}\nadversarial: {{baseline: {name}}}")
        line = {"phase": "adversarial", "step": 1, "total": 1, "seconds": 1, "eval/nll_gen": float(seed)}
        (run / "metrics.jsonl").write_text(json.dumps(line) + "\n")
        (run / "run.json").write_text(json.dumps({"task": "text", "seed": seed, "finished": True}))
    assert "nll_gen" in comparison([[tmp_path / "run-0", tmp_path / "run-1"]])


@pytest.mark.parametrize("old", sorted(OLD_NAMES))
def test_every_old_import_path_names_something_of_today(old: str) -> None:
    """The new path can be imported, a module or what is in one, and the old one can't: an entry that is needless would
    be a mistake."""
    pkgutil.resolve_name(OLD_NAMES[old])
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(old)
    with pytest.raises((ModuleNotFoundError, AttributeError)):
        pkgutil.resolve_name(old)
