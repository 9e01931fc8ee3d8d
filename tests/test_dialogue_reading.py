"""Files of conversations as others write them: every row is used, or it is told what became of it."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import runs
from seqgan_kit.dialogue.columns import Columns
from seqgan_kit.dialogue.conversations import read_conversations, read_histories
from seqgan_kit.dialogue.sources import DataConfig, Source, load
from seqgan_kit.errors import UserError
from test_dialogue_cli import SHORT
from test_dialogue_cli import said as told_by
from test_dialogue_data import lines, mistake, said

MANY: dict[str, Any] = {"messages": said("how are you ?", "fine .")}


def write(folder: Path, name: str, contents: str) -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(contents.encode()) if name.endswith(".gz") else contents.encode())
    return path


def texts(found: Sequence[Any]) -> list[list[str]]:
    return [[message["content"] for message in one.messages] for one in found]


# Containers and names


SHARE_GPT = (
    "conversations: in column 'conversations', by 'from' and 'value', 'human' is the user, 'gpt' is the assistant"
)
CHAT = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
FORMATS: dict[str, tuple[list[dict[str, Any]], Columns]] = {
    "messages": ([{"messages": said("a", "b")}], Columns()),
    "ShareGPT": ([{"id": "x", "conversations": CHAT}], Columns()),
    "prompt and completion": ([{"prompt": "a", "completion": "b"}], Columns()),
    "TRL": ([{"prompt": said("a"), "completion": [{"role": "assistant", "content": "b"}]}], Columns()),
    "own names": (
        [{"turns": [{"speaker": "Ann", "utterance": "a"}, {"speaker": "Bob", "utterance": "b"}]}],
        Columns(messages="turns", role="speaker", content="utterance", user="Ann", assistant="Bob"),
    ),
    "numbered speakers": (
        [{"log": {"turns": [{"who": 1, "content": "a"}, {"who": 0, "content": "b"}]}}],
        Columns(messages="log.turns", role="who", user="1", assistant="0"),
    ),
    "a system that replies": (
        [{"messages": [{"role": "USER", "content": "a"}, {"role": "SYSTEM", "content": "b"}]}],
        Columns(assistant="SYSTEM"),
    ),
    "plain texts": ([{"dialog": ["a", "b"]}], Columns(messages="dialog")),
    "own pair": ([{"n": 1, "chosen": "b", "prompt": "a"}], Columns(prompt="prompt", reply="chosen")),
}


@pytest.mark.parametrize("container", ["a.jsonl", "a.json", "a.json.gz", "a.jsonl.gz", "a.parquet", "saved"])
@pytest.mark.parametrize("name", FORMATS)
def test_the_neighbours_formats(tmp_path: Path, name: str, container: str) -> None:
    """Are read from any container, by their known names or by those that options give."""
    rows, columns = FORMATS[name]
    path = tmp_path / container
    if container in ("a.parquet", "saved"):
        data = pytest.importorskip("datasets").Dataset.from_list(rows * 2)
        data.to_parquet(str(path)) if container == "a.parquet" else data.save_to_disk(str(path))
    else:
        path = write(tmp_path, container, json.dumps(rows * 2) if ".jsonl" not in container else lines(*rows * 2))
    found, intake = read_conversations(path, columns)
    assert [one.messages for one in found] == [said("a", "b")] * 2
    assert (intake.read, intake.used, intake.balanced) == (2, 2, True)


@pytest.mark.parametrize(
    ("rows", "columns", "told"),
    [
        (
            [{"id": 1, "question": "a", "answer": "b"}],
            {},
            "column 'answer' answers column 'question'; not learned from: 'id'",
        ),
        (
            [{"context": "x", "prompt": "a", "completion": "b"}],
            {},
            "column 'completion' answers column 'prompt'; not learned from: 'context'",
        ),
        ([{"x": "a", "y": "b"}], {"prompt": "y", "reply": "x"}, "column 'x' answers column 'y'"),
        (
            [{"conversations": CHAT}],
            {},
            SHARE_GPT,
        ),
        (
            [{"dialog": ["a", "b"]}],
            {"messages": "dialog"},
            "conversations: in column 'dialog', 1 of plain texts, said in turn by user and assistant",
        ),
        ([{"messages": said("a", "b")}], {}, None),
    ],
)  # fmt: skip
def test_what_was_taken_for_what_is_told(
    tmp_path: Path, rows: list[dict[str, Any]], columns: dict[str, str], told: str | None
) -> None:
    """In the lines after the count of rows; nothing where nothing was chosen."""
    path = write(tmp_path, "a.jsonl", lines(*rows))
    count, *others = read_conversations(path, Columns(**columns)).intake.lines()
    assert count == "a.jsonl: 1 rows read, 1 used"
    assert others == ([] if told is None else [told])


def followed(told: str) -> dict[str, str]:
    """The options that a message names with values, as it says."""
    words = told.replace(",", " ").replace(";", " ").split()
    pairs = itertools.pairwise(words)
    return {word.removeprefix("--data."): value for word, value in pairs if word.startswith("--data.")}


@pytest.mark.parametrize(
    ("table", "told", "options"),
    [
        (
            "id,question text,answer text\n1,how ?,so .\n",
            "has the columns 'id', 'question text', 'answer text': which of them? Name what is said and the reply",
            {"prompt": "question text", "reply": "answer text"},
        ),
        ("how ?,so .\nwho ?,me .\n", "put a row `prompt,reply` before it", None),
        (
            "instruction,input,output\nhow ?,x,so .\n",
            "'output' answers 'input' or 'output' answers 'instruction'? Name what",
            {"prompt": "instruction", "reply": "output"},
        ),
        ("text\nhow ?\n", "has one column, 'text': give two, 'prompt', 'reply'", None),
    ],
)
def test_columns_are_never_guessed(tmp_path: Path, table: str, told: str, options: dict[str, str] | None) -> None:
    """Where no name or several tell what answers what, all are listed, and what the message advises is read right."""
    path = write(tmp_path, "t.csv", table)
    message = mistake(lambda: read_conversations(path))
    assert told in message
    if options is not None:
        assert followed(message).keys() == {"prompt", "reply", "messages"}
        assert texts(read_conversations(path, Columns(**options)).conversations) == [["how ?", "so ."]]
    elif "one column" in message:
        path.write_text(table.replace("text", "prompt,reply").replace("how ?", "how ?,so ."))
        assert texts(read_conversations(path).conversations) == [["how ?", "so ."]]
    else:
        path.write_text(f"prompt,reply\n{table}")
        assert texts(read_conversations(path).conversations) == [["how ?", "so ."], ["who ?", "me ."]]


@pytest.mark.parametrize(
    ("row", "columns", "told", "better"),
    [
        (
            {"messages": said("a", "b"), "conversations": CHAT},
            {},
            "name the one with the conversations, --data.messages messages",
            {"messages": "messages"},
        ),
        (
            {"messages": [{"role": "Ann", "content": "a"}, {"role": "Bob", "content": "b"}]},
            {},
            "message 1: the role 'Ann' is unknown: give user, assistant or system, or name the speakers, "
            "--data.user NAME --data.assistant NAME",
            {"user": "Ann", "assistant": "Bob"},
        ),
        (
            {"messages": [{"role": "Ann", "content": "a"}, {"role": "Bob", "content": "b"}]},
            {"user": "Ann", "assistant": "bob"},
            "--data.assistant bob: nobody in",
            {"user": "Ann", "assistant": "Bob"},
        ),
        (
            {"messages": [{"by": "user", "says": "a"}, {"by": "gpt", "says": "b"}]},
            {},
            "--data.role and --data.content name its keys",
            {"role": "by", "content": "says"},
        ),
        ({"a": "a", "b": "b"}, {"prompt": "a"}, "--data.reply is not given: name both", {"prompt": "a", "reply": "b"}),
        ({"turns": ["a", "b"]}, {"messages": "turn"}, "no row has a column 'turn'", {"messages": "turns"}),
        (
            {"turns": ["a", "b"]},
            {"messages": "turns", "prompt": "a"},
            "leave out one or the other",
            {"messages": "turns"},
        ),
        ({"prompt": "a", "reply": "b"}, {"user": "Ann"}, "has no messages with such keys and speakers", {}),
    ],
)  # fmt: skip
def test_names_that_are_missing_or_wrong(
    tmp_path: Path, row: dict[str, Any], columns: dict[str, str], told: str, better: dict[str, str]
) -> None:
    """Each refusal says what to give; given, the file is read."""
    path = write(tmp_path, "a.jsonl", lines(row, row))
    assert told in mistake(lambda: read_conversations(path, Columns(**columns)))
    assert texts(read_conversations(path, Columns(**better)).conversations) == [["a", "b"]] * 2


# Odd rows

A, U, S = "assistant", "user", "system"
ODD: list[tuple[list[tuple[str, Any]], list[str] | None]] = [  # what was said, what is left after repair
    ([(A, "welcome ."), (U, "hi"), (A, "yes ?")], ["hi", "yes ?"]),
    ([(U, "hi"), (A, None), (U, "so ?"), (A, "b")], ["hi so ?", "b"]),
    ([(U, "a"), (U, "b"), (A, "c")], ["a b", "c"]),
    ([(S, "s"), (A, "x"), (U, ""), (A, "y"), (U, "b"), (A, "c")], ["s", "b", "c"]),
    ([(S, "s"), (S, "t"), (U, "b"), (A, "c")], ["s t", "b", "c"]),
    ([(U, "hi"), ("tool", "x"), (A, "b")], None),
    ([(U, "hi"), (A, ["b"])], None),
    ([(U, "hi"), (A, "b"), (S, "s")], None),
    ([(U, None), (A, "")], None),
    ([(U, "hi"), (A, "\ud83d")], None),
]


def spoken(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": text} for role, text in pairs]}


@pytest.mark.parametrize(("odd", "left"), ODD, ids=[str(pairs)[:40] for pairs, _ in ODD])
def test_an_odd_conversation(tmp_path: Path, odd: list[tuple[str, Any]], left: list[str] | None) -> None:
    """Stops the reading, and how many there are is told with it; it can be dropped, or repaired where that can be."""
    path = write(tmp_path, "a.jsonl", lines(MANY, spoken(odd), MANY, spoken(odd)))
    told = mistake(lambda: read_conversations(path))
    assert told.startswith(f"{path} line 2")
    assert told.endswith("(2 of 4 rows are wrong: --data.bad_rows drop leaves such out, repair mends what it can)")
    found, intake = read_conversations(path, bad_rows="drop")
    assert (len(found), intake.read, intake.used, intake.dropped.total(), intake.balanced) == (2, 4, 2, 2, True)
    assert "2 DROPPED (" in intake.lines()[0]
    assert intake.lines()[1].startswith(f"the first row that was left out: {path} line 2")
    found, intake = read_conversations(path, bad_rows="repair")
    whole = ["how are you ?", "fine ."]
    assert texts(found) == ([whole, left, whole, left] if left is not None else [whole, whole])
    assert intake.balanced
    assert intake.dropped.total() == (0 if left is not None else 2)
    assert set(intake.repaired.values()) == ({2} if left is not None else set())


def test_rows_that_can_not_be_read(tmp_path: Path) -> None:
    """Broken JSON, a row of another length, a line without its tab: dropped and counted like all others."""
    for name, contents in {
        "a.jsonl": lines(MANY) + '{"messages": [\n3\n',
        "a.json": json.dumps([MANY, 3, "x"]),
        "a.csv": "prompt,reply\na,b\na\na,b,c\n",
        "a.txt": "a\tb\nno tab\nx\ty\tz\n",
    }.items():
        path = write(tmp_path, name, contents)
        assert "(2 of 3 rows are wrong: --data.bad_rows drop" in mistake(lambda path=path: read_conversations(path))
        for bad_rows in ("drop", "repair"):
            found, intake = read_conversations(path, bad_rows=bad_rows)  # type: ignore[arg-type]
            assert (len(found), intake.read, intake.dropped.total(), intake.balanced) == (1, 3, 2, True)


def test_where_all_rows_are_wrong(tmp_path: Path) -> None:
    """Nobody is told to drop them; and who does is told why nothing is left."""
    path = write(tmp_path, "a.jsonl", lines(*[spoken([(A, "x")])] * 3))
    told = mistake(lambda: read_conversations(path))
    assert told.endswith("remove it (all 3 rows are wrong)")
    assert "bad_rows" not in told
    told = mistake(lambda: read_conversations(path, bad_rows="drop"))
    assert "has no conversation with a reply of the assistant: give at least one; " in told
    assert "message 1 is the assistant's, but the user begins" in told


def odd_rows(rng: random.Random, count: int) -> list[object]:
    """Rows of messages, whole ones and what files hold beside them."""
    words = [
        "a",
        "it 's",
        '"so"',
        "x\ry",
        "two\nlines",
        "tab\there",
        " ",
        "",
        "long " * 400,
        "naïve 😀",
        None,
        5,
        "\ud83d",
    ]
    roles = [U, A, "human", "gpt", S, "tool", None, "USER"]
    found: list[object] = []
    for _ in range(count):
        turns = [(roles[i % 2], rng.choice(words[:6])) for i in range(rng.randrange(6))]
        if rng.random() < 0.4:
            turns.insert(rng.randrange(len(turns) + 1), (rng.choice(roles), rng.choice(words)))
        row: Any = spoken(turns)
        if rng.random() < 0.1:
            row = rng.choice([{}, {"messages": None}, {"messages": "x"}, 3, [], {"messages": [3]}, {"message": []}])
        found += [row] * rng.choice([1, 1, 1, 2])
    return found


@pytest.mark.parametrize("seed", range(40))
def test_rows_in_are_rows_used_and_rows_told(tmp_path: Path, seed: int) -> None:
    """Of generated files of every container; what is used is in turn, and no row without a fault is lost."""
    rng = random.Random(seed)
    rows = [MANY, *odd_rows(rng, 60)]
    kind = rng.choice(["jsonl", "json", "jsonl.gz", "json.gz"])
    broken = "" if kind.startswith("json.") or kind == "json" else "\n\r\n{broken\n"
    text = json.dumps(rows) if not broken else "\r\n".join(map(json.dumps, rows)) + broken
    path = write(tmp_path, f"a.{kind}", text)
    for bad_rows in ("drop", "repair"):
        found, intake = read_conversations(path, bad_rows=bad_rows)  # type: ignore[arg-type]
        assert intake.read == len(rows) + 2 * bool(broken), "a blank line is one, too"
        assert intake.balanced
        assert intake.used == len(found)
        assert all(number in intake.lines()[0] for number in (f"{intake.read} rows read", f"{intake.used} used"))
        for one in found:
            roles = [message["role"] for message in one.messages]
            spoken_in_turn = roles[roles[0] == S :]
            assert spoken_in_turn == ([U, A] * len(roles))[: len(spoken_in_turn)]
            assert all(message["content"].strip() == message["content"] != "" for message in one.messages)
        whole = [row for row in rows if _is_whole(row)]
        if bad_rows == "drop":
            assert [[m["content"].strip() for m in row["messages"]] for row in whole] == texts(found)


def _is_whole(row: Any) -> bool:
    """Whether a row is a conversation with a reply, as the kit's own words define it."""
    messages = row.get("messages") if isinstance(row, dict) else None
    if not isinstance(messages, list) or not all(isinstance(one, dict) for one in messages):
        return False
    known = {U: "u", "human": "u", "USER": "u", A: "a", "gpt": "a", S: "s"}
    roles = "".join(known.get(one["role"], "?") for one in messages)
    contents = [one["content"] for one in messages]
    if not all(isinstance(text, str) and text.strip() and "\ud83d" not in text for text in contents):
        return False
    turns = roles.removeprefix("s")
    return "a" in turns and turns == ("ua" * len(turns))[: len(turns)]


@pytest.mark.parametrize("seed", range(20))
def test_pairs_in_are_pairs_used_and_told(tmp_path: Path, seed: int) -> None:
    """Of .csv and of lines with a tab, with quotes, line breaks and blanks inside, and missing fields."""
    rng = random.Random(seed)
    words = ["a", 'he said "no"', "a, b", " x ", "", "long " * 500, "é"]
    rows = [(rng.choice(words), rng.choice(words)) for _ in range(50)]
    if seed % 2:
        stream = io.StringIO()
        csv.writer(stream).writerows([("reply", "id", "prompt"), *((reply, 1, said_) for said_, reply in rows)])
        path = write(tmp_path, "a.csv", stream.getvalue() + "one,field,too,many\r\n\r\n")
    else:
        path = write(
            tmp_path, "a.txt", "\r".join(f"{said_}\t{reply}" for said_, reply in rows) + "\r\n \n\ntwo\ttabs\t\n"
        )
    found, intake = read_conversations(path, bad_rows="drop")
    empty = sum(not said_.strip() and not reply.strip() for said_, reply in rows)  # a line of a tab alone is blank
    assert texts(found) == [[said_.strip(), reply.strip()] for said_, reply in rows if said_.strip() and reply.strip()]
    assert (intake.read - intake.dropped["blank"], intake.balanced) == (51 if seed % 2 else 51 - empty, True)


# What a run says first


def source(path: Path, **options: Any) -> Source:
    return load(DataConfig(path=str(path), **options), 0)


def test_the_first_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a run: rows read, dropped and repaired, what answers what, and copies that are kept on one side."""
    monkeypatch.chdir(tmp_path)
    rows = [
        {"conversations": [{"from": "human", "value": f"q{i}"}, {"from": "gpt", "value": "yes"}]} for i in range(30)
    ]
    odd = {"conversations": [{"from": "human", "value": "only me"}]}
    twice = {"conversations": [{"from": "human", "value": None}, *rows[0]["conversations"]]}
    write(tmp_path, "a.jsonl", lines(*rows, odd, twice, {"conversations": []}))
    options = ["--data.path", "a.jsonl", "--data.bad_rows", "repair", "--likelihood.batch_size", "4"]
    first = told_by(capsys, *runs.tiny_dialogue(tmp_path / "run", *SHORT, *options))[:5]
    assert first[0].startswith("a.jsonl: 28 conversations with 28 replies to train on, 3 with 3 held out")
    assert first[1:] == [
        "a.jsonl: 33 rows read, 31 used; 1 DROPPED (no reply of the assistant); 1 DROPPED (no list of messages); "
        "1 REPAIRED (messages without a text left out)",
        f"the first row that was left out: a.jsonl line 33: 'conversations' is empty: give {EXAMPLE}",
        SHARE_GPT,
        "2 conversations are copies of 1: all copies of one are trained on, or all held out",
    ]


EXAMPLE = '{"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}'


def test_held_out_replies_that_are_trained_on_are_told(tmp_path: Path) -> None:
    """Of a second file; the same reply to other messages is none of them. Each file has its own line of rows."""
    train = write(tmp_path, "a.jsonl", lines(*({"messages": said(f"q{i}", "yes", "so", "no")} for i in range(6))))
    rows = [{"messages": said("q1", "yes", "what", "no")}, {"messages": said("new", "yes")}]
    held_out = write(tmp_path, "b.jsonl", lines(*rows))
    found = source(train, held_out_path=str(held_out))
    assert found.notes == (
        "a.jsonl: 6 rows read, 6 used",
        "b.jsonl: 2 rows read, 2 used",
        "1 of 3 held-out replies, to the same messages, are ALSO TRAINED ON, so scores flatter what learns by heart: "
        "take them out of one of the files",
    )
    held_out.write_text(lines(rows[1]))
    assert "TRAINED" not in str(source(train, held_out_path=str(held_out)).notes)


def test_a_limit_and_long_histories_are_told(tmp_path: Path) -> None:
    """Rows beyond the limit are dropped ones; where histories take time, what to do."""
    path = write(tmp_path, "a.jsonl", lines(*({"messages": said(f"{'w ' * 70}{i}", "yes")} for i in range(10))))
    found = source(path, limit=4)
    assert found.lines()[1:] == [
        "a.jsonl: 10 rows read, 4 used; 6 DROPPED (beyond --data.limit 4)",
        "histories have 72 tokens on average, and time grows with them: --data.max_history 36 would make it shorter",
    ]
    assert len(source(path, limit=4, max_history=36).lines()) == 2


def test_options_of_columns_need_a_file() -> None:
    """They would be ignored without a word."""
    for option in ({"messages": "turns"}, {"user": "Ann"}):
        assert "need a file, --data.path" in mistake(lambda option=option: load(DataConfig(**option), 0))


# What `sample` replies to


def test_histories_of_any_table(tmp_path: Path) -> None:
    """Prompts by their known names, messages that end with the user's, and whatever the run's options name."""
    for name, contents in {
        "a.csv": "id,question\n1,how ?\n",
        "b.jsonl": lines({"text": "how ?"}),
        "c.json": json.dumps([{"messages": said("how ?")}]),
        "d.jsonl.gz": lines({"conversations": [{"from": "human", "value": "how ?"}]}),
        "e.tsv": "prompt\treply\nhow ?\t\n",
    }.items():
        assert texts(read_histories(write(tmp_path, name, contents))) == [["how ?"]]
    path = write(tmp_path, "f.csv", "what,id\nhow ?,1\n")
    told = mistake(lambda: read_histories(path))
    assert told == f"{path} has the columns 'what', 'id': call the one with what is said 'prompt'"
    path.write_text("prompt,id\nhow ?,1\n")
    assert texts(read_histories(path)) == [["how ?"]]
    path = write(tmp_path, "g.jsonl", lines({"turns": [{"by": "Ann", "content": "how ?"}]}))
    assert texts(read_histories(path, Columns(messages="turns", role="by", user="Ann"))) == [["how ?"]]
    with pytest.raises(UserError, match="the last message is not a user's"):
        read_histories(write(tmp_path, "h.jsonl", lines(MANY)))


def test_conversations_that_look_alike_are_on_one_side(tmp_path: Path) -> None:
    """By what is learned of them: capital letters, with --data.lower, and blanks make no other conversation."""
    pairs = [{"prompt": f"How are  you {i}", "reply": "fine"} for i in range(20)]
    again = [{"prompt": f"how are you {i}", "reply": "Fine"} for i in range(20)]
    path = write(tmp_path, "a.jsonl", lines(*pairs, *again))
    found = source(path, lower=True, held_out=0.2)
    said = [{one.history[0]["content"].split()[-1] for one in part} for part in (
        found.train_exchanges, found.held_out_exchanges,
    )]  # fmt: skip
    assert not said[0] & said[1]
    assert any("40 conversations are copies of 20" in note for note in found.notes)
    assert not any("ALSO TRAINED ON" in note for note in found.notes)


@pytest.mark.parametrize("header", ["prompt\treply", "Reply\tPrompt ", "answer\tquestion"])
def test_a_header_of_two_names_is_no_pair(tmp_path: Path, header: str) -> None:
    """It says which is which, and is told; another first line is a pair, and so is a header further down."""
    rows = ["a\tb", "prompt\treply", "c\td"]
    swapped = header.lower().startswith(("reply", "answer"))
    rest = ["\t".join(row.split("\t")[::-1]) for row in rows] if swapped else rows
    found = read_conversations(write(tmp_path, "a.txt", "\n".join([header, *rest])))
    assert texts(found.conversations) == [row.split("\t") for row in rows]
    assert (found.intake.read, found.intake.used, dict(found.intake.dropped)) == (4, 3, {"header": 1})
    assert texts(read_conversations(write(tmp_path, "b.txt", "\n".join(rows))).conversations)[0] == ["a", "b"]


def test_parts_of_a_message_are_one_text(tmp_path: Path) -> None:
    """As OpenAI's files have them; a picture among them is refused."""
    parts = [{"type": "text", "text": "how are"}, {"type": "text", "text": "you ?"}]
    rows = [{"messages": [{"role": "user", "content": parts}, {"role": "assistant", "content": parts[1:]}]}]
    path = write(tmp_path, "a.jsonl", lines(*rows))
    assert texts(read_conversations(path).conversations) == [["how are you ?", "you ?"]]
    parts.append({"type": "image_url", "image_url": {"url": "x.png"}})
    with pytest.raises(UserError, match=r"message 1: 'content' is .*, not a string"):
        read_conversations(write(tmp_path, "a.jsonl", lines(*rows)))
