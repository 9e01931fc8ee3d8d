"""What runs of dialogue refuse, and what their refusals advise: see `advice.Case`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import runs
import tiny_models
from advice import Case
from advice_text import both, content
from tiny_models import BERT, GPT2, T5

SHORT = GPT2.replace("64", "12")


def talk(*more: str) -> Callable[[Path], object]:
    """Conversations of the shapes world, and further lines."""

    def write(folder: Path) -> None:
        tiny_models.write(folder / "own.jsonl", [one[-4:] for one in tiny_models.conversations()])
        with (folder / "own.jsonl").open("a") as file:
            file.writelines(f"{line}\n" for line in more)

    return write


def row(*contents: object, roles: tuple[str, ...] = ("user", "assistant")) -> str:
    return json.dumps({"messages": [{"role": roles[i % len(roles)], "content": c} for i, c in enumerate(contents)]})


def model(end: bool = True) -> Callable[[Path], object]:
    return lambda folder: tiny_models.save(folder / "model", "gpt2", tiny_models.conversations(), end=end)


def long(count: int) -> Callable[[Path], object]:
    """Conversations whose last reply has `count` words."""
    some = [row(f"how are you {i}", "fine thanks") for i in range(30)] + [
        row("x", " ".join("abcdefghijklmnopq"[:count]))
    ]
    return content("own.jsonl", "".join(f"{line}\n" for line in some))


TRAIN = "train dialogue"
FILE = f"{TRAIN} --data.path own.jsonl"
FEW = "--likelihood.batch_size 4 --discriminator.batch_size 4 --adversarial.batch_size 4"
DATA = [
    Case(f"{FILE} --data.messages messages --data.prompt x", "is given beside", ("no --data.prompt",), talk()),
    Case(f"{TRAIN} --data.messages x", "need a file, --data.path", ("no --data.messages",)),
    Case(
        f"{TRAIN} --data.path own.csv",
        "what is said and the reply to it",
        ("--data.prompt a --data.reply b",),
        content("own.csv", "a,b\n" + "".join(f"how are you {i},fine {i}\n" for i in range(40))),
    ),
    Case(f"{TRAIN} --data.held_out_path own.jsonl", "is given without --data.path", ("--data.path own.jsonl",), talk()),
    Case(f"{TRAIN} --data.held_out 0", "--data.held_out 0"),
    Case(f"{TRAIN} --data.dialogues 1", "--data.dialogues 1: give at least 2", ("--data.dialogues 40",)),
    Case(f"{TRAIN} --data.shapes 0", "--data.shapes 0: give 1 to 3"),
    Case(f"{TRAIN} --data.max_history 0", "--data.max_history 0 leaves no tokens"),
    Case(
        f"{TRAIN} --data.max_reply 1",
        "leaves no tokens beside the end token",
        ("no --data.max_reply", "--data.max_reply 2 also --data.too_long drop --data.max_reply 9"),
    ),
    Case(f"{TRAIN} --data.max_reply 3", "tokens with the end token, over the limit of 3"),
    Case(f"{TRAIN} --data.limit 0", "--data.limit 0: give 1 or more replies", ("--data.limit 40",)),
    Case(f"{FILE} --generator.model model --data.vocabulary 9", "brings its own tokens", files=both(talk(), model())),
    Case(
        f"{FILE} --generator.model model",
        "Name one of its tokens, --data.end TOKEN",
        ("--data.end '<|end|>'",),
        both(talk(), model(end=False)),
    ),
    Case(
        f"{FILE} --generator.model model --data.end nonsense",
        "is unknown to the tokenizer",
        ("--data.end '<|end|>'",),
        both(talk(), model(end=False)),
    ),
    Case(
        f"{FILE} --generator.config '{SHORT}' --data.max_reply 12 --data.too_long drop {FEW}",
        "takes: give 11 or less",
        ("--data.max_reply 11",),
        long(3),
    ),
    Case(f"{FILE} --generator.config '{SHORT}' {FEW}", "leaves no room for a history in the 12", files=long(14)),
    Case(f"{FILE} {FEW}", "contains </s>, which ends a reply", files=talk(row("a", "b </s> c")), mend=talk()),
    Case(f"{TRAIN} --data.path nowhere.jsonl", "does not exist", ("--data.path own.jsonl",), talk()),
]
NUMBERS = [
    Case(f"{TRAIN} --discriminator.mismatched 2", "--discriminator.mismatched 2: give a number from 0 to 1"),
    Case(
        f"{TRAIN} --evaluation.evaluators 3",
        "they need 4 replies",
        ("--evaluation.evaluators 4", "--evaluation.evaluators 0"),
    ),
    Case(
        f"{TRAIN} --discriminator.mismatched .5 --discriminator.objective seqgan_kit.algorithms.objectives.ls_gan",
        "takes no mismatched ones",
        ("--discriminator.mismatched 0",),
    ),
    Case(
        f"{TRAIN} --generator.model model --generator.config '{T5}'",
        "are both given",
        ("no --generator.model",),
        model(),
    ),
    Case(
        f"{TRAIN} --generator.config '{BERT}'",
        "neither causal nor",
        (f"--generator.config '{GPT2.replace('64', '200')}'", f"--generator.config '{T5}'"),
    ),
    Case(
        f"{TRAIN} --discriminator.from_generator true --discriminator.config '{BERT}'",
        "leave out all but one",
        ("no --discriminator.from_generator", "no --discriminator.config"),
    ),
    Case(
        f"""{TRAIN} --discriminator.config '{BERT.replace("200", "20")}'""",
        "max_position_embeddings",
        (f"--discriminator.config '{BERT}'",),
    ),
]
COMMANDS = [
    Case("sample RUN --text hello --beams 2 --count 3", "with --beams 2 there are at most as many", ("--count 2",)),
    Case("sample RUN --text hello --beams 2 --top_k 3", "leave out --beams", ("no --beams", "no --top_k")),
    Case("sample RUN --text hello --sibling 1", "give --beams, 10 for instance", ("--beams 10",)),
    Case("sample RUN --text hello --backward RUN", "give --beams, 10 for instance", ("no --backward",)),
    Case("sample RUN --text hello --beams 2 --weight 2", "--weight 2: give a number from 0 to 1", ("--weight 1",)),
    Case(
        "sample RUN --text hello --temperature nan",
        "--temperature nan: give a finite number",
        ("--temperature 0",),
    ),
    Case("sample RUN --text hello --top_p 0", "--top_p 0: give a number above 0", ("--top_p 1",)),
    Case("sample RUN", "sample needs messages to reply to", ("--text hello",)),
    Case("sample RUN --text hello --count 0", "sample --count 0: give at least 1"),
    Case("evaluate RUN --samples 2 --top_k -1", "--top_k -1: give at least 0", ("--top_k 0",)),
    Case("evaluate RUN --samples 1", "evaluate --samples 1: give at least 2"),
    Case("evaluate RUN --samples 2 --evaluators 3", "0 leaves them out", ("--evaluators 0",)),
    Case("evaluate RUN --samples 2 --seed -3", "--seed -3"),
    Case("sample RUN --text hello --beams 2 --backward RUN", "trained with --data.backward true", ("no --backward",)),
]
CASES = [*DATA, *NUMBERS, *COMMANDS]


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
    return runs.tiny_dialogue(run, *short, "--evaluation.samples", "4")
