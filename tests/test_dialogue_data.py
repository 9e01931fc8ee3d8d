"""Files of conversations, the tokens that they become, and the dialogues of the shapes world."""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from jsonargparse import ArgumentError, ArgumentParser
from transformers import PreTrainedTokenizerFast

from seqgan_kit.dialogue.columns import BY_NAME, Columns
from seqgan_kit.dialogue.conversations import Conversation, exchanges, read_conversations
from seqgan_kit.dialogue.sources import DataConfig, Source, load
from seqgan_kit.dialogue.template import EncodedHistory, Template, end_of, to_replies
from seqgan_kit.errors import UserError
from seqgan_kit.language.config import FileConfig
from seqgan_kit.language.data import plain_ids
from seqgan_kit.language.tokenizers import Kind, train_tokenizer
from seqgan_kit.worlds.dialogues import Message, answer_shares, read
from seqgan_kit.worlds.shapes import draw_scene

DATA = os.environ.get("SEQGAN_KIT_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="SEQGAN_KIT_DATA does not name the folder of real data")

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(contents: str | bytes, name: str = "train.jsonl") -> Path:
        path = tmp_path / name
        path.write_bytes(contents if isinstance(contents, bytes) else contents.encode())
        return path

    return write


def mistake(call: Callable[[], object]) -> str:
    """The one line that the user is told."""
    with pytest.raises(UserError) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


def said(*contents: str, system: str | None = None) -> list[Message]:
    """What user and assistant say in turn."""
    messages = [{"role": ("user", "assistant")[i % 2], "content": content} for i, content in enumerate(contents)]
    return messages if system is None else [{"role": "system", "content": system}, *messages]


def conversations(path: Path, columns: Columns = BY_NAME) -> list[Conversation]:
    """What is read, where every row is one."""
    found, intake = read_conversations(path, columns)
    assert (intake.read - intake.dropped["blank"], intake.used, intake.balanced) == (len(found), len(found), True)
    return found


def lines(*rows: object) -> str:
    return "".join(f"{json.dumps(row)}\n" for row in rows)


# Reading conversations


@pytest.mark.parametrize("name", ["train.jsonl", "train.ndjson", "TRAIN.JSONL"])
def test_json_lines(write: Write, name: str) -> None:
    """Contents are stripped, blank lines skipped, and other columns go along with the conversation."""
    rows = [{"messages": said(" a b\n", "c", "d"), "id": 7}, {"messages": said("e", "f", system="s"), "topic": ["x"]}]
    path = write(lines(rows[0]) + "\n" + lines(rows[1]), name)
    assert conversations(path) == [
        Conversation(said("a b", "c", "d"), f"{path} line 1", {"id": 7}),
        Conversation(said("e", "f", system="s"), f"{path} line 3", {"topic": ["x"]}),
    ]


def test_each_message_of_the_assistant_is_an_exchange() -> None:
    """The history of a reply is all before it; a last message of the user has no reply and makes none."""
    columns: dict[str, object] = {"id": 7}
    one = Conversation(said("a", "b", "c", "d", "e", system="s"), "x line 3", columns)
    first, second = exchanges([one, Conversation(said("a"), "x line 4")])
    assert (first.history, first.reply, first.place) == (said("a", system="s"), "b", "x line 3, message 3")
    assert (second.history, second.reply, second.place) == (said("a", "b", "c", system="s"), "d", "x line 3, message 5")
    assert first.columns == second.columns == columns


@pytest.mark.parametrize(
    "header", ["prompt reply id", "id Reply Prompt", "target id source", "id question answer"], ids=str.split
)
@pytest.mark.parametrize(("suffix", "separator"), [("csv", ","), ("tsv", "\t")])
def test_tables_of_pairs(write: Write, header: str, suffix: str, separator: str) -> None:
    """Columns are found by name, wherever they stand; in .csv, a field may go over lines."""
    names = header.split()
    values = {"id": "7", "prompt": "a b", "source": "a b", "question": "a b"}
    row = separator.join(values.get(name.lower(), "c") for name in names)
    long = row.replace("a b", '"a,\t\nb"') if suffix == "csv" else f"{row}\n"
    path = write("\n".join([separator.join(names), row, "", long, row]), f"t.{suffix}")
    assert conversations(path) == [
        Conversation(said("a b", "c"), f"{path} line 2", {"id": "7"}),
        Conversation(said("a,\t\nb" if suffix == "csv" else "a b", "c"), f"{path} line 4", {"id": "7"}),
        Conversation(said("a b", "c"), f"{path} line 6", {"id": "7"}),
    ]


def test_lines_of_pairs(write: Write) -> None:
    """A tab separates a prompt from its reply; quotes and commas are as they are."""
    path = write(b'\xef\xbb\xbfa, "b"\t c \r\n \n\xc3\xa9\td', "pairs.txt")
    assert conversations(path) == [
        Conversation(said('a, "b"', "c"), f"{path} line 1"),
        Conversation(said("é", "d"), f"{path} line 3"),
    ]


ROWS = [{"messages": said("a", "b"), "id": 1}, {"messages": said("c", "d", "e", "f", system="s"), "id": 2}]


def test_data_sets_of_hugging_face(tmp_path: Path) -> None:
    """A saved folder and a parquet file give the same conversations, and rows count from 1."""
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_list(ROWS)
    data.save_to_disk(str(tmp_path / "saved"))
    data.to_parquet(str(tmp_path / "rows.parquet"))
    for name in ("saved", "rows.parquet"):
        assert conversations(tmp_path / name) == [
            Conversation(row["messages"], f"{tmp_path / name} row {i}", {"id": row["id"]})  # type: ignore[arg-type]
            for i, row in enumerate(ROWS, start=1)
        ]


def test_a_data_set_of_several_splits(tmp_path: Path) -> None:
    """One of them has to be named, and can be."""
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_list(ROWS)
    datasets.DatasetDict(train=data, test=data).save_to_disk(str(tmp_path / "all"))
    told = mistake(lambda: conversations(tmp_path / "all"))
    assert told == f"{tmp_path}/all has several splits: give {tmp_path}/all/train or {tmp_path}/all/test"
    assert len(conversations(tmp_path / "all" / "test")) == 2


def test_a_mistake_in_a_data_set_is_told_with_its_row(tmp_path: Path) -> None:
    """As one in a file is with its line."""
    datasets = pytest.importorskip("datasets")
    rows = [{"messages": said("a", "b")}, {"messages": said("a", " ")}]
    datasets.Dataset.from_list(rows).to_parquet(str(tmp_path / "a.parquet"))
    told = mistake(lambda: conversations(tmp_path / "a.parquet"))
    assert told.startswith(f"{tmp_path}/a.parquet row 2, message 2 is empty, the assistant's")


@pytest.mark.parametrize(("package", "name"), [("datasets", "saved"), ("pyarrow.parquet", "a.parquet")])
def test_a_missing_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, name: str) -> None:
    """The extra that installs it is named."""
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "state.json").write_text("{}")
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, package, None)
    told = mistake(lambda: conversations(tmp_path / name))
    assert told.startswith(f"{package} cannot be imported (")
    assert told.endswith("): pip install 'seqgan_kit[datasets]'")


def test_a_parquet_file_that_is_none(write: Write) -> None:
    """The file is named."""
    pytest.importorskip("datasets")
    path = write(b"PAR1 and nothing", "a.parquet")
    assert mistake(lambda: conversations(path)).startswith(f"{path} cannot be read as a data set")


# Mistakes in files

U, A, S = ({"role": role, "content": "x"} for role in ("user", "assistant", "system"))
WRONG: list[tuple[object, str]] = [
    ({"dialog": [], "id": 1}, "line 3: no column 'messages', only 'dialog', 'id': give {"),
    ({}, "line 3: no column 'messages', only an empty record"),
    ({"messages": "hello"}, "line 3: 'messages' is 'hello', not a list: give {"),
    ({"messages": None}, "line 3: 'messages' is None, not a list"),
    ({"messages": []}, "line 3: 'messages' is empty"),
    ({"messages": [U, "hello"]}, "line 3, message 2: 'hello' is no message as {"),
    (
        {"messages": [U, {"by": "gpt", "value": "x"}]},
        "line 3, message 2: {'by': 'gpt', 'value': 'x'} is no message",
    ),
    (
        {"messages": [U, {"role": "tool", "content": "x"}]},
        "line 3, message 2: the role 'tool' is unknown: give user, a",
    ),
    ({"messages": [{"role": ["user"], "content": "x"}]}, "line 3, message 1: the role ['user'] is unknown"),
    ({"messages": [U, {**A, "content": None}]}, "line 3, message 2: there is no text, the assistant's is null"),
    ({"messages": [U, {**A, "content": ["x"]}]}, "line 3, message 2: 'content' is ['x'], not a string"),
    ({"messages": [U, {**A, "content": "a \ud83d"}]}, "line 3, message 2: 'content' has half a surrogate pair"),
    ({"messages": [U, {**A, "content": " \n"}]}, "line 3, message 2 is empty, the assistant's"),
    ({"messages": [{**U, "content": ""}, A]}, "line 3, message 1 is empty, the user's"),
    ({"messages": [U, A, U, U]}, "line 3: messages 3 and 4 are both the user's"),
    ({"messages": [S, U, A, A, U]}, "line 3: messages 3 and 4 are both the assistant's"),
    ({"messages": [A, U]}, "line 3: message 1 is the assistant's, but the user begins"),
    ({"messages": [S, A]}, "line 3: message 2 is the assistant's, but the user begins"),
    ({"messages": [U, A, S]}, "line 3: message 3 is the system's, which can only be the first"),
    ({"messages": [S, S, U, A]}, "line 3: message 2 is the system's, which can only be the first"),
    (["a"], "line 3: ['a'] is not a JSON object as {\"messages\": "),
]


@pytest.mark.parametrize(("row", "told"), WRONG, ids=[told[5:50] for _, told in WRONG])
def test_a_wrong_conversation(write: Write, row: object, told: str) -> None:
    """File, line and message are named, and what is wrong with it."""
    path = write(lines({"messages": said("a", "b")}) + "\n" + lines(row))
    assert mistake(lambda: conversations(path)).startswith(f"{path} {told}")


def test_a_line_that_is_not_json(write: Write) -> None:
    """The line and column of the syntax error are named."""
    path = write('{"messages": [}\n')
    assert f"{path} line 1: not JSON (Expecting value at column 15)" in mistake(lambda: conversations(path))


@pytest.mark.parametrize(
    ("contents", "name", "told"),
    [
        ("a\tb\nc", "a.txt", "line 2: no tab: give a prompt, one tab and its reply"),
        ("a\tb\nc\td\te", "a.txt", "line 2: 2 tabs: give a prompt"),
        ("a\tb\n\tc", "a.txt", "line 2, message 1 is empty, the user's"),
        ("a\tb\nc\t", "a.txt", "line 2, message 2 is empty, the assistant's"),
        ("prompt\tid\treply\na\t1\t", "a.tsv", "line 2, message 2 is empty, the assistant's"),
        ("prompt,reply\na\n", "a.csv", "line 2: 1 fields under a header of 2"),
        ("prompt\na\n", "a.csv", "has one column, 'prompt': give two, 'prompt', 'reply'"),
        ("prompt,reply\n", "a.csv", "has no conversation with a reply of the assistant"),
        ("\n \n", "a.jsonl", "has no conversation with a reply of the assistant"),
        (lines({"messages": [U]}, {"messages": [S]}), "a.jsonl", "has no conversation with a reply of the assistant"),
        ("", "a.jsonl", 'is empty: give a conversation a line, {"messages"'),
        ("[]", "a.json", "has no conversation with a reply of the assistant"),
        ('[{"messages": []}, 3]', "a.json", "row 2: 3 is not a JSON object"),
        ("a\tb\ncaf\u00e9\tb".encode("latin-1"), "a.txt", "line 2: not UTF-8 (byte 0xe9 at offset 7)"),
    ],
)
def test_a_wrong_file(write: Write, contents: str | bytes, name: str, told: str) -> None:
    """The file is named, and the line where there is one."""
    path = write(contents, name)
    assert mistake(lambda: conversations(path)).startswith(f"{path} {told}")


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_a_missing_file_is_guessed(write: Write, suffix: str) -> None:
    """The nearest names in the folder are offered."""
    path = write("a", f"train.{suffix}").with_name(f"trian.{suffix}")
    assert mistake(lambda: conversations(path)) == f"{path} does not exist: did you mean train.{suffix}?"


def test_a_folder_that_is_no_data_set(write: Write) -> None:
    """The files in it are offered."""
    folder = write("a").parent
    assert mistake(lambda: conversations(folder)).startswith(f"{folder} is a folder: give one of the files in it")


# Without a chat template

WORDS = [f"{letter}{i}" for letter in "uas" for i in range(10)]


def words(max_history: int = 100, more: Sequence[str] = ()) -> Template:
    tokenizer = train_tokenizer("word", [" ".join([*WORDS, *more])])
    return Template(tokenizer, end_of(tokenizer), max_history)


def split(template: Template, told: EncodedHistory) -> list[str]:
    """The tokens of each turn, as they are."""
    tokens: Any = template.tokenizer.convert_ids_to_tokens(told.ids)
    assert told.turns == sorted(told.turns)
    return [
        " ".join(token for token, turn in zip(tokens, told.turns, strict=True) if turn == each)
        for each in range(max(told.turns) + 1)
    ]


def test_an_utterance_is_its_tokens_and_an_end_token() -> None:
    """Each message is a turn, the system's too."""
    template = words()
    told = template.histories([said("u0 u1", "a0", "u2", system="s0")])[0]
    assert split(template, told) == ["s0 </s>", "u0 u1 </s>", "a0 </s>", "u2 </s>"]
    assert (told.turns, told.cut) == ([0, 0, 1, 1, 1, 2, 2, 3, 3], False)
    assert template.replies(["a0 a1"])[0] == [*template.tokenizer("a0 a1")["input_ids"], template.end]


@pytest.mark.parametrize(
    ("most", "kept", "cut"),
    [
        (7, ["u0 u1 </s>", "a0 </s>", "u2 </s>"], False),
        (6, ["a0 </s>", "u2 </s>"], True),
        (4, ["a0 </s>", "u2 </s>"], True),
        (3, ["u2 </s>"], True),
        (2, ["u2 </s>"], True),
        (1, ["</s>"], True),
    ],
)
def test_a_long_history_loses_whole_messages(most: int, kept: list[str], cut: bool) -> None:
    """The oldest leave; only a last message that is too long alone is cut inside, at its left."""
    template = words(most)
    told = template.histories([said("u0 u1", "a0", "u2")])[0]
    assert (split(template, told), told.cut) == (kept, cut)


@pytest.mark.parametrize(
    ("most", "kept"),
    [(9, ["s0", "u0 u1", "a0", "u2"]), (8, ["s0", "a0", "u2"]), (5, ["s0", "u2"]), (4, ["s0", "u2"]), (3, ["u2"])],
)
def test_a_systems_message_stays(most: int, kept: list[str]) -> None:
    """It leaves only before the last message would be cut."""
    template = words(most)
    told = template.histories([said("u0 u1", "a0", "u2", system="s0")])[0]
    assert ([turn.removesuffix(" </s>") for turn in split(template, told)], told.cut) == (kept, most < 9)


def test_the_last_tokens_of_a_long_message_stay() -> None:
    """And they are one turn, whatever was said before."""
    template = words(3)
    told = template.histories([said("u0", "a0", "u1 u2 u3 u4", system="s0")])[0]
    assert (split(template, told), told.turns, told.cut) == (["u3 u4 </s>"], [0, 0, 0], True)


def test_histories_together_are_those_one_by_one() -> None:
    """Batches change nothing."""
    template, rng = words(9), random.Random(0)
    many = [said(*(" ".join(rng.choices(WORDS, k=rng.randint(1, 5))) for _ in range(n))) for n in (1, 3, 5, 7) * 20]
    assert template.histories(many) == [template.histories([messages])[0] for messages in many]
    assert {told.cut for told in template.histories(many)} == {False, True}


# Chat templates

CHAT = (
    "{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }} <end> {% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
# some templates know no system, and want the user to begin
STRICT = "{% if messages[0]['role'] != 'user' %}{{ raise_exception('the user begins') }}{% endif %}" + CHAT
# and some write the last message otherwise, if it is the assistant's
THINKING = (
    "{% for m in messages %}<{{ m['role'] }}> {% if loop.last and m['role'] == 'assistant' %}<think> {% endif %}"
    "{{ m['content'] }} <end> {% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
NUMBERED = "{{ messages | length }} " + CHAT
SILENT = (
    "{% for m in messages %}{% if m['role'] != 'system' %}<{{ m['role'] }}> {{ m['content'] }} <end> {% endif %}"
    "{% endfor %}"
)


def chats(template: str = CHAT, max_history: int = 100) -> Template:
    """A chat model's: no padding token, and its end token is no eos_token."""
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words().tokenizer.backend_tokenizer, unk_token="<unk>")
    special = ["<user>", "<assistant>", "<system>", "<end>", "<think>"]
    tokenizer.add_tokens(special, special_tokens=True)
    tokenizer.chat_template = template
    assert tokenizer.pad_token is None
    return Template(tokenizer, end_of(tokenizer, "<end>"), max_history)


CONVERSATION = said("u0 u1", "a0", "u2", system="s0")


@pytest.mark.parametrize("messages", [CONVERSATION, CONVERSATION[1:], CONVERSATION[1:2]])
def test_a_chat_template_is_followed(messages: list[Message]) -> None:
    """The tokens are the tokenizer's own, up to where the assistant is to speak."""
    template = chats()
    rendered: Any = template.tokenizer.apply_chat_template(messages, add_generation_prompt=True)
    assert template.histories([messages])[0].ids == rendered["input_ids"]
    assert template.tokenizer.convert_ids_to_tokens(template.histories([messages])[0].ids)[-1] == "<assistant>"


def test_turns_of_a_chat() -> None:
    """Each message with what the template puts around it, the call for a reply with the last."""
    template = chats()
    turns = ["<system> s0 <end>", "<user> u0 u1 <end>", "<assistant> a0 <end>", "<user> u2 <end> <assistant>"]
    assert split(template, template.histories([CONVERSATION])[0]) == turns


def test_turns_that_a_template_writes_otherwise() -> None:
    """A message that is written otherwise when it is the last has no turn of its own, nor have any where the beginning
    tells how many there are."""
    template = chats(THINKING)
    assert split(template, template.histories([CONVERSATION[1:]])[0]) == [
        "<user> u0 u1 <end>", "<assistant> a0 <end> <user> u2 <end> <assistant>"
    ]  # fmt: skip
    assert set(chats(NUMBERED).histories([CONVERSATION])[0].turns) == {0}
    turns = ["<user> u0 u1 <end>", "<assistant> a0 <end>", "<user> u2 <end>"]
    assert split(chats(SILENT), chats(SILENT).histories([CONVERSATION])[0]) == turns


@pytest.mark.parametrize(
    ("most", "kept", "cut"),
    [
        (14, "<system> s0 <end> <user> u0 u1 <end> <assistant> a0 <end> <user> u2 <end> <assistant>", False),
        (13, "<system> s0 <end> <assistant> a0 <end> <user> u2 <end> <assistant>", True),
        (10, "<system> s0 <end> <assistant> a0 <end> <user> u2 <end> <assistant>", True),
        (9, "<system> s0 <end> <user> u2 <end> <assistant>", True),
        (7, "<system> s0 <end> <user> u2 <end> <assistant>", True),
        (6, "<user> u2 <end> <assistant>", True),
        (4, "<user> u2 <end> <assistant>", True),
        (3, "u2 <end> <assistant>", True),
    ],
)
def test_a_long_chat_loses_whole_messages(most: int, kept: str, cut: bool) -> None:
    """What is left is rendered again; the assistant is still to speak."""
    template = chats(max_history=most)
    told = template.histories([CONVERSATION])[0]
    assert (" ".join(split(template, told)), told.cut) == (kept, cut)


def test_a_long_chat_of_a_strict_template() -> None:
    """What is left must please the template too: here the assistant's message leaves with the user's before it."""
    assert chats(max_history=10).histories([CONVERSATION[1:]])[0].turns == [0, 0, 0, 1, 1, 1, 1]
    template = chats(STRICT, max_history=10)
    told = template.histories([CONVERSATION[1:]])[0]
    assert (split(template, told), told.cut) == (["<user> u2 <end> <assistant>"], True)


def test_chats_together_are_those_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches and their size change nothing."""
    monkeypatch.setattr("seqgan_kit.dialogue.template.CHUNK", 7)
    template, rng = chats(max_history=20), random.Random(0)
    many = [said(*(" ".join(rng.choices(WORDS, k=rng.randint(1, 5))) for _ in range(n))) for n in (1, 3, 5, 7) * 20]
    together = template.histories(many)
    assert together == [template.histories([messages])[0] for messages in many]
    assert {told.cut for told in together} == {False, True}
    assert max(len(told.ids) for told in together) <= 20


def test_a_chat_that_the_template_refuses() -> None:
    """Its place is named, and what the template said: nothing is left out in silence."""
    for most in (100, 3):
        template = chats(STRICT, most)
        told = mistake(lambda: template.histories([said("u0"), CONVERSATION], ["x line 1", "x line 2"]))  # noqa: B023
        assert told.startswith("x line 2: the tokenizer's chat template refuses the messages before the reply (the us")
    assert "the history: the tokenizer's" in mistake(lambda: template.ask([CONVERSATION]))


# The token that ends a reply


def test_the_end_token() -> None:
    """It is the tokenizer's eos_token, or what is named, which has to be one token."""
    tokenizer = words().tokenizer
    assert end_of(tokenizer) == tokenizer.eos_token_id
    assert end_of(tokenizer, "a1") == tokenizer.convert_tokens_to_ids("a1") != end_of(tokenizer)
    assert mistake(lambda: end_of(tokenizer, "a1 a2")) == (
        "--data.end 'a1 a2' is 2 tokens, not one. Name one of its tokens, --data.end TOKEN; special ones are </s>"
    )
    assert "'zebra' is unknown to the tokenizer" in mistake(lambda: end_of(tokenizer, "zebra"))


def test_a_tokenizer_without_an_end_token() -> None:
    """Its special tokens are offered."""
    tokenizer = chats().tokenizer
    assert mistake(lambda: end_of(tokenizer)) == (
        "the tokenizer has no eos_token, so what ends a reply? Name one of its tokens, --data.end TOKEN; special ones "
        "are </s>, <user>, <assistant>, <system>, <end>, <think>"
    )


def test_an_end_token_that_the_vocabulary_names_otherwise() -> None:
    """A line end has another name in a sentencepiece vocabulary, or in GPT-2's, but is still one token."""
    tokenizer = train_tokenizer("character", ["a\nb"])
    assert end_of(tokenizer, "\n") == tokenizer("\n", add_special_tokens=False)["input_ids"][0]


# Tokens of replies


def test_replies_are_what_was_told() -> None:
    """History, turns and reply of each row are those given, histories at the right and replies at the left; what else
    is there is padding."""
    rng = random.Random(0)
    rows = []
    for _ in range(200):
        turns = sorted(rng.choices(range(4), k=rng.randint(1, 12)))
        told = EncodedHistory([rng.randint(1, 50) for _ in turns], turns, cut=False)
        rows.append((told, [rng.randint(1, 50) for _ in range(rng.randint(0, 7))]))
    replies = to_replies(rows, end=0)
    longest = max(len(told.ids) for told, _ in rows), max(len(reply) for _, reply in rows)
    assert (replies.history.shape, replies.ids.shape) == ((200, longest[0]), (200, longest[1]))
    for i, (told, reply) in enumerate(rows):
        padding = longest[0] - len(told.ids)
        assert replies.history[i].tolist() == [0] * padding + told.ids
        assert replies.turns[i].tolist() == [-1] * padding + told.turns
        assert replies.ids[i].tolist() == reply + [0] * (longest[1] - len(reply))
        assert replies.mask[i].tolist() == [True] * len(reply) + [False] * (longest[1] - len(reply))
    assert {part.dtype for part in (replies.ids, replies.history, replies.turns)} == {torch.int64}


@pytest.mark.parametrize("template", [words(), chats()], ids=["words", "chat"])
def test_asking(template: Template) -> None:
    """Histories to be replied to, without a reply."""
    many = [said("u0"), said("u0 u1", "a0", "u2")]
    asked = template.ask(many)
    assert asked.ids.shape == asked.mask.shape == (2, 0)
    assert [row[row >= 0].tolist() for row in asked.turns] == [told.turns for told in template.histories(many)]
    assert template.ask([]).history.shape == (0, 0)


SENTENCES = ["hello there , who are you ?", "I'm Ann !", "naïve café 😀 — it's", "a"]


@pytest.mark.parametrize("kind", ["word", "character", "sentencepiece"])
def test_replies_come_back_as_text(kind: Kind) -> None:
    """Decoding gives back the very reply, whatever the padding."""
    tokenizer = train_tokenizer(kind, SENTENCES, 60 if kind == "sentencepiece" else None)
    template = Template(tokenizer, end_of(tokenizer), 10)
    rows = [(EncodedHistory([1], [0], cut=False), reply) for reply in template.replies(SENTENCES)]
    assert template.decode(to_replies(rows, template.end)) == SENTENCES
    assert template.decode(to_replies([(told, reply[:-1]) for told, reply in rows], template.end)) == SENTENCES


def test_special_tokens_are_not_shown() -> None:
    """But what is unknown is, so that no reply looks better than it is."""
    template = chats()
    rows = [
        (EncodedHistory([1], [0], cut=False), template.replies([text])[0])
        for text in ("<think> a0 <user> a1", "zebra a0", "")
    ]
    assert template.decode(to_replies(rows, template.end)) == ["a0 a1", "<unk> a0", ""]


# Sources


def source(path: Path, seed: int = 0, **options: Any) -> Source:
    return load(DataConfig(path=str(path), **options), seed)


def conversation(i: int, replies: int) -> dict[str, object]:
    return {"messages": said(*(f"{'ua'[n % 2]}{i} t{n}" for n in range(2 * replies))), "id": i}


@pytest.fixture
def some(write: Write) -> Path:
    """Ten conversations of one to four replies, 25 in all, of three tokens each with the end token."""
    return write(lines(*(conversation(i, 1 + i % 4) for i in range(10)), conversation(0, 1)))


def test_conversations_are_split_as_a_whole(some: Path) -> None:
    """No conversation has replies on both sides, not even one that stands twice in the file; all replies are on one."""
    for seed in range(20):
        found = source(some, seed, held_out=0.3)
        sides = [{one.columns["id"] for one in part} for part in (found.train_exchanges, found.held_out_exchanges)]
        assert not sides[0] & sides[1]
        assert sides[0] | sides[1] == set(range(10))
        assert len(found.train.ids) + len(found.held_out.ids) == 24
        assert sum(found.conversations) == 11
    assert len({str(source(some, seed, held_out=0.3).held_out_exchanges) for seed in range(5)}) > 1


def test_rows_are_those_of_the_exchanges(some: Path) -> None:
    """Replies and histories say what the exchanges do, row by row, and `origin` counts the rows."""
    found = source(some)
    for part, said_by in ((found.train, found.train_exchanges), (found.held_out, found.held_out_exchanges)):
        if part is found.train:  # held-out words may be unknown
            assert found.decode(part) == [one.reply for one in said_by]
            last = [row[turns == turns.max()].tolist() for row, turns in zip(part.history, part.turns, strict=True)]
            texts = [one.history[-1]["content"] for one in said_by]
            assert last == [[*ids, found.end] for ids in found.tokenizer(texts)["input_ids"]]
        assert [int(turns.max()) + 1 for turns in part.turns] == [len(one.history) for one in said_by]
        assert part.origin.tolist() == list(range(len(said_by)))
    replies = found.template.replies([one.reply for one in found.train_exchanges])
    assert found.ids(found.train) == [row[:-1] for row in replies]
    assert (found.length, found.vocabulary, found.kind) == (3, len(found.tokenizer), "messages")
    assert plain_ids(found.train, found.end) == found.ids(found.train)


def test_words_that_are_only_held_out_are_unknown(write: Write) -> None:
    """The tokenizer is made from the conversations to train on."""
    train, held_out = write("a\tb", "a.txt"), write("a\tc\nd", "b.txt")
    told = mistake(lambda: source(train, held_out_path=str(held_out)))
    assert told.startswith(f"{held_out} line 2: no tab")
    held_out.write_text("a\tc\nb\ta")
    found = source(train, held_out_path=str(held_out))
    assert (found.decode(found.train), found.decode(found.held_out)) == (["b"], ["<unk>", "a"])
    assert found.conversations == (1, 2)


def test_a_conversation_without_a_reply_is_not_held_out(write: Write) -> None:
    """It says nothing of replies, so it is not counted."""
    found = source(write(lines(*({"messages": [U]} for _ in range(50)), *(conversation(i, 1) for i in range(2)))))
    assert (found.conversations, len(found.train.ids), len(found.held_out.ids)) == ((1, 1), 1, 1)


def test_a_share_of_one_conversation(write: Write) -> None:
    """It cannot be both trained on and held out."""
    path = write("a\tb", "a.txt")
    assert "of 1 leaves nothing to train on" in mistake(lambda: source(path))


def test_cut_histories_are_counted(some: Path) -> None:
    """And the summary says so."""
    whole, short = source(some), source(some, max_history=6)
    assert whole.cut == 0
    assert "CUT" not in whole.summary()
    cut = [one for one in [*whole.train_exchanges, *whole.held_out_exchanges] if len(one.history) > 2]
    assert 0 < short.cut == len(cut)
    assert f"; {len(cut)} histories were CUT to 6 tokens (--data.max_history)" in short.summary()
    assert short.train.history.shape[1] == 6


def test_the_summary(some: Path) -> None:
    """One line with the counts, that of unknown words among them, where there are any."""
    found = source(some)
    train, held_out = found.conversations
    parts = [(part.ids[part.mask], part.history[part.told]) for part in (found.train, found.held_out)]
    tokens = [token for part in parts for ids in part for token in ids.tolist()]
    unknown = tokens.count(found.tokenizer.unk_token_id)
    assert unknown > 0
    line, told = found.summary().split("; ")
    assert told == f"{unknown} of {len(tokens)} tokens are UNKNOWN to the tokenizer (<unk>)"
    assert line == (
        f"train.jsonl: {train} conversations with {len(found.train.ids)} replies to train on, {held_out} with "
        f"{len(found.held_out.ids)} held out, {found.vocabulary} different tokens, at most 3 a reply"
    )


@pytest.fixture
def long(write: Write) -> dict[str, Any]:
    """Replies of 3, 6, 4 and 5 tokens with the end token, and those held out of 3 and 6."""
    train, held_out = (
        lines(*({"messages": said("u", "a " * tokens)} for tokens in part)) for part in ((2, 5, 3, 4), (2, 5))
    )
    return {"path": write(train), "held_out_path": str(write(held_out, "held_out.jsonl"))}


def test_a_long_reply_is_an_error(long: dict[str, Any]) -> None:
    """The message names the first one, its length, how many there are, and the limit that takes them all."""
    assert mistake(lambda: source(**long, max_reply=4)) == (
        f"{long['path']} line 2, message 2: 6 tokens with the end token, over the limit of 4 (2 of 4 replies are): "
        f"give --data.max_reply 6, or --data.too_long drop or cut"
    )
    assert source(**long, max_reply=6).length == 6


def test_long_replies_are_dropped(long: dict[str, Any]) -> None:
    """With their histories and exchanges, and counted."""
    found = source(**long, max_reply=4, too_long="drop")
    assert found.decode(found.train) == [one.reply for one in found.train_exchanges] == ["a a", "a a a"]
    assert found.decode(found.held_out) == [one.reply for one in found.held_out_exchanges] == ["a a"]
    assert found.train.origin.tolist() == [0, 1]
    assert (found.length, found.dropped, found.shortened) == (4, 3, 0)
    assert found.summary().endswith("; 3 longer replies were DROPPED (--data.too_long)")


def test_long_replies_are_cut(long: dict[str, Any]) -> None:
    """Their first tokens stay, without an end token: nobody learns to stop there. Held-out ones are dropped, so that
    evaluation is on whole ones. A run of an earlier version goes on as it began."""
    found = source(**long, max_reply=4, too_long="cut")
    whole = [one.reply.split() for one in found.train_exchanges]
    assert found.decode(found.train) == [" ".join(words[:4]) for words in whole]
    last = found.train.ids.gather(1, found.train.mask.sum(1, keepdim=True) - 1)[:, 0]
    assert (last == found.end).tolist() == [len(words) < 4 for words in whole]
    before = source(**long, max_reply=4, too_long="cut", reading=1)
    assert before.decode(before.train) == [" ".join(words[:3]) for words in whole]
    assert (before.train.ids.gather(1, before.train.mask.sum(1, keepdim=True) - 1) == found.end).all()
    assert (len(found.train.ids), len(found.held_out.ids)) == (4, 1)
    assert (found.length, found.dropped, found.shortened) == (4, 1, 2)
    assert "; 2 longer replies were CUT (--data.too_long cut)" in found.summary()


def test_dropping_every_reply_is_an_error(long: dict[str, Any]) -> None:
    """The least limit that leaves one is named."""
    told = mistake(lambda: source(**long, max_reply=2, too_long="drop"))
    assert told.startswith(f"{long['path']} line 1, message 2 and all others: none of 4 replies has at most 2 tokens")
    assert told.endswith("give --data.max_reply 3 or more")


def test_an_end_token_in_a_reply(write: Write) -> None:
    """Such a reply would end in the middle."""
    path = write("a\tb\nc\td </s> e", "a.txt")
    told = mistake(lambda: source(path))
    assert told.startswith(f"{path} line 2, message 2: contains </s>, which ends a reply")


def test_a_limit_of_replies(some: Path) -> None:
    """The first conversations are read up to so many replies."""
    found = source(some, limit=7, held_out=0.4)
    both = [*found.train_exchanges, *found.held_out_exchanges]
    assert sorted((one.columns["id"], len(one.history)) for one in both) == [
        (0, 1), (1, 1), (1, 3), (2, 1), (2, 3), (2, 5), (3, 1)
    ]  # fmt: skip
    assert len(source(some, limit=1000).train.ids) == len(source(some).train.ids)


def test_what_a_model_takes(some: Path) -> None:
    """Histories are as long as it leaves room beside the longest reply, but no longer than is asked."""
    template = words()
    config = DataConfig(path=str(some), max_history=20)
    assert load(config, 0, template.tokenizer, 12).template.max_history == 9
    assert load(config, 0, template.tokenizer, 12).train.history.shape[1] == 9
    assert load(config, 0, template.tokenizer, 1000).template.max_history == 20
    assert load(config, 0, template.tokenizer, 4).template.max_history == 1
    assert "the longest reply has 3 tokens, which leaves no room for a history in the 3 that the model takes" in (
        mistake(lambda: load(config, 0, template.tokenizer, 3))
    )
    assert mistake(lambda: load(DataConfig(path=str(some), max_reply=12), 0, template.tokenizer, 12)) == (
        "--data.max_reply 12 leaves no room for a history in the 12 tokens that the model takes: give 11 or less"
    )


def test_a_models_own_tokenizer(some: Path) -> None:
    """It is used as it is, with the end token that is named; a vocabulary for another one is a mistake."""
    tokenizer = chats().tokenizer
    found = load(DataConfig(path=str(some), end="<end>"), 0, tokenizer)
    assert found.tokenizer is tokenizer
    assert (found.end, found.vocabulary) == (tokenizer.convert_tokens_to_ids("<end>"), len(tokenizer))
    assert "no eos_token" in mistake(lambda: load(DataConfig(path=str(some)), 0, tokenizer))
    wrong = DataConfig(path=str(some), end="<end>", vocabulary=9)
    assert "--data.vocabulary 9: the model brings its own tokens" in mistake(lambda: load(wrong, 0, tokenizer))


def test_a_chat_that_is_refused_is_told_with_its_line(write: Write) -> None:
    """By way of the source, too."""
    path = write(lines({"messages": said("a", "b")}, {"messages": said("a", "b", system="s")}))
    config = DataConfig(path=str(path), held_out_path=str(path), end="<end>")
    told = mistake(lambda: load(config, 0, chats(STRICT).tokenizer))
    assert told.startswith(f"{path} line 2, message 3: the tokenizer's chat template refuses")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"held_out_path": "x"}, "--data.held_out_path is given without --data.path"),
        ({"held_out": 0.0}, "--data.held_out 0.0: give a share between 0 and 1"),
        ({"held_out": float("nan")}, "--data.held_out nan"),
        ({"dialogues": 1}, "--data.dialogues 1: give at least 2"),
        ({"max_history": 0}, "--data.max_history 0 leaves no tokens"),
        ({"max_reply": 1}, "--data.max_reply 1 leaves no tokens beside the end token"),
        ({"shapes": 4}, "--data.shapes 4: give 1 to 3"),
        ({"limit": 0}, "--data.limit 0: give 1 or more"),
        ({"vocabulary": 2}, "--data.vocabulary 2 is too small"),
        ({"path": "nowhere/x.jsonl"}, "nowhere/x.jsonl does not exist"),
    ],
)
def test_wrong_options(options: dict[str, Any], told: str) -> None:
    """The option is named."""
    assert mistake(lambda: load(DataConfig(**{"dialogues": 5, **options}), 0)).startswith(told)


def test_the_options_have_help() -> None:
    """Each is read by jsonargparse, with a line of help."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(DataConfig, "data")
    parsed = parser.parse_args(["--data.max_reply", "20", "--data.tokenizer", "character"])
    assert (parsed.data.max_reply, parsed.data.tokenizer) == (20, "character")
    for option in ("limit", "dialogues", "bad_rows", "too_long"):  # types that can't be resolved would take anything
        with pytest.raises(ArgumentError):
            parser.parse_args([f"--data.{option}", "many"])
    told = f"{DataConfig.__doc__}{FileConfig.__doc__}{Columns.__doc__}"
    assert all(f"        {name}: " in told for name in DataConfig.__dataclass_fields__)


# The shapes world


def scenes(exchanges_: Sequence[Any]) -> set[object]:
    found = [read(one.history) for one in exchanges_]
    assert all(found)
    return {scene_and_question[0] for scene_and_question in found if scene_and_question}


def test_held_out_scenes_are_unseen() -> None:
    """No dialogue to train on is about a scene that is held out, and all replies are right."""
    found = load(DataConfig(dialogues=400, held_out=0.25), seed=3)
    assert found.conversations == (400, 100)
    assert not scenes(found.train_exchanges) & scenes(found.held_out_exchanges)
    for part, said_by in ((found.train, found.train_exchanges), (found.held_out, found.held_out_exchanges)):
        assert answer_shares([one.history for one in said_by], found.decode(part)) == (1.0, 1.0)
    assert (found.kind, found.name, found.cut) == ("shapes", "shapes world", 0)


def test_scenes_can_be_smaller() -> None:
    """No scene then has more shapes."""
    found = load(DataConfig(dialogues=20, shapes=1), seed=0)
    told = [one.history[0]["content"].partition(" . ")[0] for one in found.train_exchanges]
    assert not any(" and " in scene for scene in told)


def test_no_scene_is_left_to_train_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is told, and not searched for ever."""
    scene = draw_scene(random.Random(0))
    monkeypatch.setattr("seqgan_kit.dialogue.sources.draw_scene", lambda rng: scene)
    assert "held out are about every scene" in mistake(lambda: load(DataConfig(dialogues=20), seed=0))


def test_the_shapes_world_depends_on_the_seed() -> None:
    """And on nothing else."""
    first, again, other = (load(DataConfig(dialogues=20), seed) for seed in (1, 1, 2))
    assert torch.equal(first.train.ids, again.train.ids)
    assert first.held_out_exchanges == again.held_out_exchanges
    assert first.train_exchanges != other.train_exchanges
    assert first.held_out_exchanges != other.held_out_exchanges


# Real data


@needs_data
@pytest.mark.slow
def test_real_dialogues() -> None:
    """Topical-Chat's file is read whole, in seconds of the processor."""
    path = Path(DATA or "", "dialogue/train.jsonl")
    start = time.process_time()
    found = source(path)
    assert time.process_time() - start < 15
    assert sum(found.conversations) == 1927
    assert len(found.train.ids) + len(found.held_out.ids) == 20276
    assert found.train.history.shape[1] <= 128
    texts = [" ".join(one.reply.split()) for one in found.train_exchanges]
    assert found.decode(found.train) == texts
    told = found.template.histories([one.history for one in found.held_out_exchanges])
    assert to_replies([(one, []) for one in told], found.end).turns.equal(found.held_out.turns)
    assert 0 < found.cut < 20276
