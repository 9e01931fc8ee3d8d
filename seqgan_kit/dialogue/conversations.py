"""From files of conversations to histories and replies. Every mistake in a file is told with its line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from seqgan_kit.errors import UserError
from seqgan_kit.files import (
    HALF_PAIR,
    Record,
    library,
    listed,
    names_there,
    read_text,
    short,
)
from seqgan_kit.tables import csv_records, data_set, json_records, told_as_data_set
from seqgan_kit.worlds.dialogues import ASSISTANT, USER, Message

SYSTEM = "system"
ROLES = (USER, ASSISTANT, SYSTEM)
PAIRS = (("prompt", "reply"), ("source", "target"))  # names of columns
EXAMPLE = '{"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}'


@dataclass(frozen=True)
class Conversation:
    """Messages of a user and an assistant in turn, the user first; one of the system may come before.

    place: where it stands, as "train.jsonl line 3".
    columns: what else stands there.
    """

    messages: list[Message]
    place: str
    columns: Record = field(default_factory=dict)


@dataclass(frozen=True)
class Exchange:
    """One reply of the assistant, all messages before it, its place, and the columns of its conversation."""

    history: list[Message]
    reply: str
    place: str
    columns: Record


def read_conversations(path: str | Path, replied: bool = True) -> list[Conversation]:
    """The conversations of a file or folder; contents are stripped of white space at the ends.

    replied: one at least must have a reply.

    .jsonl, .ndjson, .parquet, or a folder that `datasets.save_to_disk` wrote: rows with `messages`, each with `role`
    and `content`. .tsv, .csv: the first row names the columns, prompt and reply or source and target; else they are
    the first two. Any other file: a prompt, a tab and its reply on each line. Rows of tables count from 1, as lines do.

    Raises UserError for what cannot be read, what is no conversation, and where no conversation has a reply.
    """
    path = Path(path)
    conversations = []
    for place, messages, columns in _records(path):
        checked = [_message(f"{place}, message {i}", message) for i, message in enumerate(messages, start=1)]
        _check_turns(place, [message["role"] for message in checked])
        conversations.append(Conversation(checked, place, columns))
    if replied and not any(message["role"] == ASSISTANT for one in conversations for message in one.messages):
        raise UserError(f"{path} has no conversation with a reply of the {ASSISTANT}: give at least one")
    return conversations


def exchanges(conversations: Iterable[Conversation]) -> list[Exchange]:
    """One for each message of the assistant."""
    return [
        Exchange(one.messages[:i], message["content"], f"{one.place}, message {i + 1}", one.columns)
        for one in conversations
        for i, message in enumerate(one.messages)
        if message["role"] == ASSISTANT
    ]


Found = Iterator[tuple[str, Sequence[object], Record]]
"""place, messages, other columns."""


def _records(path: Path) -> Found:
    if any((path / name).is_file() for name in ("state.json", "dataset_dict.json")):
        return _rows(path, data_set(path).with_format(None))
    suffix = path.suffix.lower()
    if suffix == ".parquet" and not path.is_dir():
        return _rows(path, _parquet(path))
    if path.is_file() and not path.stat().st_size:
        raise UserError(f"{path} is empty: give a conversation a line, {EXAMPLE}")
    text = read_text(path)
    if suffix in (".jsonl", ".ndjson"):
        return _with_messages((f"{path} line {line}", row) for line, row in json_records(path, text, EXAMPLE))
    if suffix == ".json":
        raise UserError(f"{path} is JSON: give JSON lines (.jsonl), one object a line, as `jq -c '.[]'` makes them")
    if suffix in (".csv", ".tsv"):
        return _pairs(path, csv_records(path, text, suffix))
    return _tabbed(path, text)


def _with_messages(records: Iterable[tuple[str, Record]]) -> Found:
    for place, record in records:
        if "messages" not in record:
            there = listed(record) or "an empty record"
            raise UserError(f"{place}: no column 'messages', only {there}: give {EXAMPLE}")
        messages = record["messages"]
        if not isinstance(messages, list) or not messages:
            what = "is empty" if messages == [] else f"is {short(messages)}, not a list"
            raise UserError(f"{place}: 'messages' {what}: give {EXAMPLE}")
        yield place, messages, {name: value for name, value in record.items() if name != "messages"}


def _pairs(path: Path, records: Iterable[tuple[int, Record]]) -> Found:
    for line, record in records:
        names = _pair(path, record)
        others = {name: value for name, value in record.items() if name not in names}
        yield f"{path} line {line}", _both(*(record[name] for name in names)), others


def _pair(path: Path, record: Record) -> Sequence[str]:
    """The columns of prompt and reply."""
    if len(record) < 2:
        raise UserError(f"{path} has one column, {listed(record)}: give two, {listed(PAIRS[0])}")
    named = {name.lower(): name for name in record}
    for pair in PAIRS:
        if set(pair) <= set(named):
            return [named[name] for name in pair]
    return list(record)[:2]


def _tabbed(path: Path, text: str) -> Found:
    for line, pair in enumerate(text.split("\n"), start=1):
        parts = pair.rstrip("\r").split("\t")
        if len(parts) == 2:
            yield f"{path} line {line}", _both(*parts), {}
        elif pair.strip():
            count = f"{len(parts) - 1} tabs" if len(parts) > 2 else "no tab"
            raise UserError(
                f"{path} line {line}: {count}: give a prompt, one tab and its reply on each line, or a .jsonl, .tsv or "
                f".csv file"
            )


def _both(prompt: object, reply: object) -> list[object]:
    return [{"role": USER, "content": prompt}, {"role": ASSISTANT, "content": reply}]


def _message(place: str, message: object) -> Message:
    if not isinstance(message, dict) or not {"role", "content"} <= set(message):
        raise UserError(f'{place}: {short(message)} is no message as {{"role": "user", "content": "..."}}')
    role, content = message["role"], message["content"]
    if role not in ROLES:
        raise UserError(f"{place}: the role {short(role)} is unknown: give {', '.join(ROLES[:-1])} or {ROLES[-1]}")
    if not isinstance(content, str):
        raise UserError(f"{place}: 'content' is {short(content)}, not a string: put the text in quotes")
    if HALF_PAIR.search(content):
        raise UserError(f"{place}: 'content' has half a surrogate pair (\\ud800 to \\udfff): remove it")
    if not content.strip():
        raise UserError(f"{place} is empty, the {role}'s: give what was said, or remove it")
    return {"role": role, "content": content.strip()}


def _check_turns(place: str, roles: Sequence[str]) -> None:
    start = int(roles[0] == SYSTEM)
    for i, role in enumerate(roles[start:]):
        number = start + i + 1
        if role == SYSTEM:
            raise UserError(f"{place}: message {number} is the {SYSTEM}'s, which can only be the first: remove it")
        if i == 0 and role == ASSISTANT:
            raise UserError(f"{place}: message {number} is the {ASSISTANT}'s, but the {USER} begins: remove it")
        if i and role == roles[start + i - 1]:
            raise UserError(
                f"{place}: messages {number - 1} and {number} are both the {role}'s, but {USER} and {ASSISTANT} "
                f"alternate: join the two"
            )


# Data sets of Hugging Face


def _rows(path: Path, rows: Iterable[Record]) -> Found:
    return _with_messages((f"{path} row {number}", row) for number, row in enumerate(rows, start=1))


def _parquet(path: Path) -> Iterable[Record]:
    if not path.exists():
        raise UserError(f"{path} does not exist: {names_there(path)}")
    reader = library("pyarrow.parquet", "datasets")  # `datasets` itself would copy the file into its cache
    with told_as_data_set(path):
        rows: list[Record] = reader.read_table(str(path)).to_pylist()
    return rows
