"""What runs of text refuse, and what their refusals advise: see `advice.Case`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import runs
import tiny_models
from advice import Case
from seqgan_kit.cli import main
from seqgan_kit.worlds import captions
from tiny_models import BERT, GPT2, T5

LINES = [f"{a} {b} {c}" for a in "abcd" for b in "efgh" for c in "ijkl"]
SOFT = "seqgan_kit.text.differentiable.GumbelSoftmax"
CONVOLUTIONS = "seqgan_kit.text.differentiable.Convolutions"
TEXT_CNN = "seqgan_kit.networks.text.cnn.TextCNN"


def lines(*more: str, name: str = "own.txt", first: int = 0) -> Callable[[Path], object]:
    """A file of 64 sentences of 3 words, and more of them; the first ones left out."""
    return lambda folder: (folder / name).write_text("\n".join([*LINES[first:], *more]) + "\n")


def content(name: str, data: str | bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())


def both(*some: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda folder: [one(folder) for one in some]


def model(kind: str = "gpt2", **others: bool) -> Callable[[Path], object]:
    """The folder `model` of a model that knows all words of `talk.txt`."""

    def make(folder: Path) -> None:
        some = tiny_models.conversations()
        texts = [message["content"] for one in some for message in one]
        (folder / "talk.txt").write_text("\n".join(texts) + "\n")
        tiny_models.save(folder / "model", kind, some, **others)

    return make


def named(folder: Path) -> None:
    """As the advice has it: an end for the tokenizer."""
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(folder / "model", eos_token=tiny_models.END).save_pretrained(folder / "model")


def shapes(path: Path) -> None:
    path.write_text("\n".join(captions.captions(60, 0)) + "\n")


def labelled(*labels: str) -> Callable[[Path], object]:
    return content("own.txt", "".join(f"{labels[i % len(labels)]} {line}\n" for i, line in enumerate(LINES)))


def table(name: str = "label", **row: object) -> str:
    """JSON lines of 64 sentences and their labels, in a column of that name, and one more."""
    some = [{"text": line, name: "ab"[i % 2]} for i, line in enumerate(LINES)]
    return "".join(json.dumps(one) + "\n" for one in [*some, *([row] if row else [])])


TRAIN = "train text"
FILE = f"{TRAIN} --data.path own.txt"
NUMBERED = "".join(f"1 {i}\n" for i in range(9))
IDS = "".join(f"1 {i}\n" for i in range(40))
TOKENS = f"{FILE} --data.tokens true"
READ = [
    Case(f"{TRAIN} --data.header false", "--data.header needs a file", ("no --data.header",)),
    Case(
        f"{FILE} --adversarial.prefix 4",
        "no text has more than 4 tokens: give at most 3",
        ("--adversarial.prefix 3",),
        lines(),
    ),
    Case(f"{FILE} --data.padding 0", "is for integer tokens", ("no --data.padding",), lines()),
    Case(f"{FILE} --data.reading 3", "--data.reading 3: ", ("--data.reading 2", "--data.reading 1"), lines()),
    Case(
        f"{FILE} --data.labelled true --data.unit sentence",
        "give --data.unit line",
        ("--data.unit line",),
        labelled("x", "y"),
    ),
    Case(
        FILE,
        "so none can be held out that is not trained on",
        ("--data.held_out_path other.txt",),
        both(content("own.txt", "a b\n" * 40), lines(name="other.txt")),
    ),
    Case(
        f"{FILE} --data.labelled true",
        "labels stands at one text only",
        ("no --data.labelled",),
        content("own.txt", "".join(f"w{i} {line}\n" for i, line in enumerate(LINES))),
    ),
    Case(
        f"{TOKENS} --data.dense true --data.vocabulary 50",
        "numbers the tokens that occur",
        ("no --data.vocabulary",),
        content("own.txt", IDS),
    ),
    Case(f"{TOKENS} --data.column x", "one sequence of ids a line", ("no --data.column",), content("own.txt", IDS)),
    Case(TOKENS, "would fill the memory", ("--data.dense true",), content("own.txt", f"{IDS}3000000000 1\n")),
    Case(
        f"{TOKENS} --evaluation.unit words",
        "holds numbers, no text",
        ("no --evaluation.unit", "--evaluation.unit tokens"),
        content("own.txt", IDS),
    ),
]
ROUTE = f"{TRAIN} --adversarial.route {SOFT}"
ALONE = f"--likelihood.steps 0 --control.enabled false --adversarial.route {CONVOLUTIONS}"

DATA = [
    Case(
        FILE,
        "all would take as much time and memory as the longest",
        ("--data.max_length 60 --data.too_long drop", "--data.max_length 60 --data.too_long cut"),
        lines("z " * 10_001),
    ),
    Case(f"{TRAIN} --run.budget 10", "--run.budget 10 is no time", ("--run.budget 90s", "--run.budget 10m")),
    Case(f"{TRAIN} --data.held_out_path own.txt", "is given without --data.path", ("--data.path own.txt",), lines()),
    Case(f"{TRAIN} --data.held_out 0", "--data.held_out 0"),
    Case(f"{TRAIN} --data.held_out 1", "--data.held_out 1"),
    Case(f"{FILE} --data.held_out .999", "leaves nothing to train on", ("--data.held_out 0.5",), lines()),
    Case(f"{TRAIN} --data.labelled true", "needs a file of text", ("--data.path own.txt",), labelled("x", "y")),
    Case(f"{TRAIN} --data.sentences 1", "--data.sentences 1: give at least 2", ("--data.sentences 40",)),
    Case(f"{FILE} --data.max_length 2", "over the limit of 2 (58 of 58", files=lines()),
    Case(f"{FILE} --data.max_length 3", "over the limit of 3", files=lines("a b c d e", "a b c d e f g h")),
    Case(f"{FILE} --data.max_length 0", "leaves no tokens", files=lines()),
    Case(f"{FILE} --data.max_length 1 --data.too_long drop", "none of 58", files=lines()),
    Case(f"{FILE} --data.column body", "--data.column body needs a", ("no --data.column",), files=lines()),
    Case(
        f"{TRAIN} --data.path own.jsonl --data.column body",
        "--data.column NAME",
        ("--data.column text",),
        content("own.jsonl", table()),
    ),
    Case(
        f"{TRAIN} --data.path own.jsonl --data.labelled true",
        "no column 'label'",
        ("no --data.labelled",),
        content("own.jsonl", table("class")),
    ),
    Case(f"{FILE} --data.labelled true", "all sentences to train on have the label 'x'", files=labelled("x")),
    Case(f"{FILE} --data.vocabulary 2", "take two entries", files=lines()),
    Case(f"{FILE} --data.tokenizer sentencepiece --data.vocabulary 3", "too small for sentencepiece", files=lines()),
    Case(
        f"{FILE} --data.tokens true --data.vocabulary 5",
        "outside the vocabulary of 5",
        ("--data.vocabulary 10",),
        content("own.txt", "4 9 2\n" + "".join(f"{i % 5} {i // 5}\n" for i in range(20))),
    ),
    Case(
        f"{FILE} --data.tokens true --data.max_length 2",
        "3 ids, over the limit of 2",
        ("--data.max_length 3",),
        content("own.txt", "".join(f"1 2 {i}\n4 {i}\n" for i in range(20))),
    ),
    Case(
        f"{TRAIN} --generator.model model --data.world oracle",
        "--data.world oracle has no text",
        (f"no --generator.model --generator.config '{GPT2}'",),
        model(),
    ),
    Case(
        f"{TRAIN} --generator.model model --data.path talk.txt --data.vocabulary 9 --data.tokenizer character",
        "brings its own tokenizer",
        ("no --data.tokenizer no --data.vocabulary",),
        model(),
    ),
    Case(
        f"{TRAIN} --generator.model model --data.path talk.txt",
        "no eos_token",
        files=model(end=False),
        mend=named,
    ),
]
FILES = [
    Case(f"{TRAIN} --data.path nowhere.txt", "does not exist: ", files=lines(), mend=lines(name="nowhere.txt")),
    Case(f"{TRAIN} --data.path .", "is a folder: give one of the files in it", ("--data.path own.txt",), lines()),
    Case(FILE, "is empty", files=content("own.txt", b""), mend=lines()),
    Case(FILE, "no sentences (blank ones do not count)", files=content("own.txt", b"\n \n"), mend=lines()),
    Case(
        f"{FILE} --data.tokens true",
        "blank lines",
        files=content("own.txt", b"\n \n"),
        mend=content("own.txt", NUMBERED),
    ),
    Case(FILE, "is UTF-16", files=content("own.txt", "\n".join(LINES).encode("utf-16")), mend=lines()),
    Case(FILE, "is a binary file", files=content("own.txt", b"a\0b\n"), mend=lines()),
    Case(FILE, "not UTF-8", files=content("own.txt", b"caf\xe9\n"), mend=lines()),
    Case(FILE, "contains </s>, which ends a sentence", files=lines("a </s> b"), mend=lines()),
    Case(
        f"{FILE} --data.tokens true",
        "is not an integer",
        files=content("own.txt", "1 2 x\n" * 9),
        mend=content("own.txt", NUMBERED),
    ),
    Case(
        f"{FILE} --data.tokens true",
        "is negative",
        files=content("own.txt", "1 2 -1\n" * 9),
        mend=content("own.txt", NUMBERED),
    ),
    Case(
        f"{TRAIN} --data.path own.jsonl --data.labelled true",
        "the label is None",
        files=content("own.jsonl", table(text="a b", label=None)),
        mend=content("own.jsonl", table(text="a b", label=0)),
    ),
    Case(
        f"{FILE} --data.labelled true --data.held_out_path other.txt",
        "the label 'z' is that of no sentence",
        files=both(labelled("x", "y"), content("other.txt", "z a b c\n")),
        mend=content("other.txt", "x a b c\n"),
    ),
    Case(
        f"{FILE} --data.labelled true",
        "is a label without a sentence",
        files=content("own.txt", "x a\ny\n" * 9),
        mend=labelled("x", "y"),
    ),
]
PRETRAINED = [
    Case(
        f"{TRAIN} --data.path talk.txt --generator.model model --generator.config '{GPT2}'",
        "are both given",
        ("no --generator.model", "no --generator.config"),
        model(),
    ),
    Case(f"{TRAIN} --generator.lora 2", "adapters are for Hugging Face", ("no --generator.lora",)),
    Case(
        f"{TRAIN} --generator.dtype bfloat16",
        "is for Hugging Face models",
        ("no --generator.dtype", f"--generator.config '{GPT2}'"),
    ),
    Case(
        f"{TRAIN} --generator.config '{GPT2}' --generator.attention best",
        "give eager or sdpa",
        ("--generator.attention eager", "--generator.attention sdpa"),
    ),
    Case(f"{TRAIN} --generator.lora 2 --generator.model RUN/model", "holds an LSTM", ("no --generator.lora",)),
    Case(
        f"{TRAIN} --data.path talk.txt --generator.model nowhere",
        "give the path of a folder",
        ("--generator.model model",),
        model(),
    ),
    Case(f"{TRAIN} --generator.config '{BERT}'", "neither causal nor", (f"--generator.config '{GPT2}'",)),
    Case(f"{TRAIN} --generator.config '{T5}'", "nothing to encode", (f"--generator.config '{GPT2}'",)),
    Case(f"{TRAIN} --generator.config '{{\"n_layer\": 2}}'", "name a model_type", (f"--generator.config '{GPT2}'",)),
    Case(
        f"""{TRAIN} --generator.config '{GPT2.replace("n_layer", "n_lair")}'""",
        "did you mean 'n_layer'?",
        (f"--generator.config '{GPT2}'",),
    ),
    Case(
        f"""{TRAIN} --generator.config '{GPT2.replace('"n_head": 2', '"n_head": 3')}'""",
        "--generator.config of gpt2",
        (f"--generator.config '{GPT2}'",),
    ),
    Case(f"""{TRAIN} --generator.config '{GPT2.replace("64", "8")}'""", "--generator.config takes 8 tokens"),
    Case(
        f"{TRAIN} --discriminator.model model --discriminator.config '{BERT}'",
        "leave out all but one",
        ("no --discriminator.model", "no --discriminator.config"),
        model("bert"),
    ),
    Case(
        f"""{TRAIN} --discriminator.config '{BERT.replace("200", "8")}'""",
        "max_position_embeddings",
        (f"--discriminator.config '{BERT}'",),
    ),
]
NUMBERS = [
    Case(
        f"{TRAIN} --evaluation.best mauve",
        "--evaluation.best mauve: give one of auto, ngram_distance",
        ("--evaluation.best auto", "--evaluation.best nll_gen", "--evaluation.best none"),
    ),
    Case(
        f"{TRAIN} --evaluation.best none --evaluation.patience 2",
        "goes by --evaluation.best",
        ("no --evaluation.patience", "--evaluation.best auto"),
    ),
    Case(f"{TRAIN} --adversarial.discriminator_weight 0", "leaves nothing to learn from: give 1"),
    Case(f"{TRAIN} --likelihood.optimizer.history 1e300", "give at most", ("--likelihood.optimizer.history 1",)),
    Case(
        f"{TRAIN} --adversarial.batch_size 6 --adversarial.turns.repeats 4",
        "give a multiple",
        ("--adversarial.batch_size 8", "--adversarial.batch_size 4"),
    ),
    Case(
        f"{TRAIN} --likelihood.steps 0 --adversarial.rounds 0",
        "leave nothing to train",
        ("--likelihood.steps 2", "--adversarial.rounds 2"),
    ),
    Case(
        f"{TRAIN} --control.steps 0",
        "--control.steps 0: give at least 1",
        ("--control.steps 1", "--control.enabled false"),
    ),
    Case(
        f"{TRAIN} --likelihood.steps 0 --control.steps null",
        "give the control a length",
        ("--control.steps 5", "--control.enabled false"),
    ),
    Case(
        f"{TRAIN} --likelihood.batch_size 100",
        "fewer than --likelihood.batch_size 100",
        ("--likelihood.batch_size 54", "also --data.sentences 200"),
    ),
    Case(f"{TRAIN} --likelihood.batch_size 1", "give at least 2"),
    Case(f"{TRAIN} --discriminator.real_target 0", "above 0"),
    Case(
        f"{TRAIN} --discriminator.real_target .9 "
        "--discriminator.objective seqgan_kit.algorithms.objectives.wasserstein",
        "--discriminator.real_target 0.9: ",
        ("--discriminator.real_target 1",),
    ),
    Case(
        f"{TRAIN} --adversarial.credit seqgan_kit.tokens.credit.LikelihoodRatio --adversarial.credit.group 3",
        "give the same",
        ("--adversarial.turns.repeats 3 also --adversarial.batch_size 9", "--adversarial.credit.group 1"),
    ),
    Case(
        f"{TRAIN} --discriminator.network {TEXT_CNN} --discriminator.network.kernels 4",
        "compares rows",
        (
            "--adversarial.credit seqgan_kit.tokens.credit.Terminal",
            "--adversarial.credit seqgan_kit.tokens.credit.LikelihoodRatio",
        ),
    ),
    Case(f"{TRAIN} --generator.hidden 0", "--generator.hidden 0: give at least 1"),
    Case(f"{TRAIN} --likelihood.optimizer.lr -1", "--likelihood.optimizer.lr -1"),
]
ROUTES = [
    Case(
        f"{ROUTE} --data.path own.txt --data.labelled true",
        "draws no texts of a class",
        ("no --adversarial.route", "no --data.labelled"),
        labelled("x", "y"),
    ),
    Case(f"{ROUTE} --adversarial.passes 2", "is for policy gradient"),
    Case(
        f"{ROUTE} --discriminator.config '{BERT}'",
        "reads no soft text",
        ("no --discriminator.config --discriminator.network seqgan_kit.networks.text.cnn.TextCNN",),
    ),
    Case(
        f"{ROUTE} --adversarial.route.matching seqgan_kit.tokens.soft.Means --adversarial.optimizer.accumulate 2",
        "matched over a whole batch",
        ("--adversarial.optimizer.accumulate 1 --adversarial.batch_size 4",),
    ),
    Case(f"{ROUTE} --adversarial.route.sharpness 0.5", "--adversarial.route.sharpness 0.5: give at least 1"),
    Case(f"{TRAIN} {ALONE} --likelihood.steps 3", "--likelihood.steps 3: the generator of this route"),
    Case(f"{TRAIN} {ALONE} --control.enabled true", "--control.enabled: the generator of this route"),
    Case(
        f"{TRAIN} {ALONE} --generator.config '{GPT2}'",
        "the route has a generator of its own",
        ("no --generator.config",),
    ),
    Case(f"{TRAIN} {ALONE} --adversarial.route.blocks 0", "--adversarial.route.blocks 0: give at least 1"),
    Case(
        f"{TRAIN} {ALONE} --discriminator.network seqgan_kit.networks.text.hierarchical.HierarchicalDiscriminator",
        "--discriminator.network: ",
        ("--discriminator.network seqgan_kit.networks.text.cnn.TextCNN",),
    ),
]
OWN = """
from torch import nn


class Own(nn.Module):
    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.layer = nn.Embedding(vocabulary, 1)

    def forward(self, ids, mask):
        return (self.layer(ids)[..., 0] * mask).sum(1)
"""
SOFT_OWN = """
from own import Own as Hard


class Own(Hard):
    def forward(self, ids, mask):
        return ((ids @ self.layer.weight if ids.dim() == 3 else self.layer(ids))[..., 0] * mask).sum(1)
"""
MEANS = "--adversarial.route.matching seqgan_kit.tokens.soft.Means"


def begun(*options: str, name: str = "one") -> Callable[[Path], object]:
    """Another finished run."""
    return lambda folder: main([*begin(folder / name), *options])


def without_tokenizer(folder: Path) -> None:
    model()(folder)
    for path in (folder / "model").glob("*token*"):
        path.unlink()


def larger_tokenizer(folder: Path) -> None:
    """The tokenizer of another model, of more words."""
    model()(folder)
    more = [[{"role": "user", "content": " ".join(f"w{i}" for i in range(99))}]]
    tiny_models.tokenizer([*tiny_models.conversations(), *more]).save_pretrained(folder / "model")


PARTS = [
    Case(
        f"{ROUTE} {MEANS} --discriminator.network soft.Own",
        "has no method `features`",
        ("--discriminator.network seqgan_kit.networks.text.cnn.TextCNN",),
        both(content("own.py", OWN), content("soft.py", SOFT_OWN)),
    ),
    Case(
        f"{ROUTE} --discriminator.network own.Own",
        "can't read soft text",
        (
            "--discriminator.network seqgan_kit.networks.text.cnn.TextCNN",
            "--discriminator.network seqgan_kit.networks.text.lstm_discriminator.TextLSTM",
        ),
        content("own.py", OWN),
    ),
    Case(
        f"{TRAIN} --data.path own.txt --data.labelled true --discriminator.network {TEXT_CNN} "
        "--discriminator.network.kernels 4",
        "leave out its kernels",
        (
            "no --discriminator.network.kernels",
            "no --data.labelled also --adversarial.credit seqgan_kit.tokens.credit.Terminal",
        ),
        labelled("x", "y"),
    ),
    Case(
        f"{FILE} --generator.model RUN/model --data.labelled true",
        "it has the labels none",
        ("no --data.labelled also --data.path shapes.txt",),
        both(labelled("x", "y"), lambda folder: shapes(folder / "shapes.txt")),
    ),
    Case(
        f"{TRAIN} --data.path talk.txt --generator.model model",
        "has no tokenizer",
        files=without_tokenizer,
        mend=model(),
    ),
    Case(
        f"{TRAIN} --data.path talk.txt --generator.model model",
        "its tokenizer has",
        files=larger_tokenizer,
        mend=model(),
    ),
    Case(
        f"{TRAIN} --data.path talk.txt --generator.model model",
        "--generator.model model: ",
        files=both(model(), content("model/config.json", "x")),
        mend=model(),
    ),
    Case(
        f"{TRAIN} --generator.config '{GPT2[:-1]}, \"n_inner\": -1}}'",
        "n_inner -1: give a number above 0",
        (f"--generator.config '{GPT2}'",),
    ),
    Case(
        f"""{TRAIN} --generator.config '{{"model_type": "gpt9"}}'""",
        "--generator.config {'model_type': 'gpt9'}",
        (f"--generator.config '{GPT2}'",),
    ),
    Case("train dialogue --generator.model RUN/model", "is not of a run of dialogue", ("no --generator.model",)),
    Case(f"{TRAIN} --discriminator.optimizer.lr null", "--discriminator.optimizer.lr null: give a number"),
    Case(f"{TRAIN} --likelihood.optimizer.lr .inf", "give a finite number", ("--likelihood.optimizer.lr 0.01",)),
    Case(
        f"{TRAIN} --likelihood.optimizer.betas [0.5,1]",
        "give a number from 0 to below 1",
        ("--likelihood.optimizer.betas [0.9,0.999]",),
    ),
    Case(f"{TRAIN} --likelihood.steps 99999999999999999999", "give at most 1000000000000"),
    Case(
        "evaluate one --embedder nowhere --samples 4",
        "holds numbers",
        ("no --embedder",),
        begun("--data.world", "oracle"),
    ),
    Case(
        "evaluate one --embedder nowhere --samples 4",
        "single held-out sentence",
        ("no --embedder",),
        begun("--data.held_out", "0.01"),
    ),
]
COMMANDS = [
    Case("resume RUN --run.budget 10m", "were chosen when it began", ("no --run.budget",)),
    Case("sample RUN --model cloning", "--model cloning: ", ("--model best", "--model likelihood")),
    Case("sample RUN --count 0", "sample --count 0: give at least 1"),
    Case("sample RUN --seed -1", "--seed -1: give a number from 0 to 4294967295"),
    Case("sample RUN --seed 99999999999999999999", "--seed 99999999999999999999"),
    Case("sample RUN --temperature nan", "--temperature nan: give a finite number", ("--temperature 0",)),
    Case("sample RUN --label x", "leave it out"),
    Case(f"{TRAIN} --run.shard true", "and one runs", ("no --run.shard",)),
    Case(f"{ROUTE} --run.shard true", "--adversarial.route differentiates", ("no --run.shard",)),
    Case("evaluate RUN --samples 1", "evaluate --samples 1: give at least 2"),
    Case("evaluate RUN --temperature 0 --samples 4", "--temperature 0: give a number above 0"),
    Case(
        "sweep RUN --samples 4 --temperatures 0 1", "--temperatures 0: give a number above 0", ("--temperatures 0.5 1",)
    ),
    Case("sweep RUN --samples 4 --temperatures 1", "give two or more --temperatures", ("--temperatures 0.5 1",)),
]
CASES = [*READ, *DATA, *FILES, *PRETRAINED, *NUMBERS, *ROUTES, *PARTS, *COMMANDS]


def begin(run: Path) -> list[str]:
    """The words that train the finished run."""
    short = [
        "--likelihood.steps",
        "1",
        "--discriminator.steps",
        "1",
        "--adversarial.rounds",
        "1",
        "--control.steps",
        "1",
    ]
    return runs.tiny(run, *short, "--evaluation.samples", "4")
