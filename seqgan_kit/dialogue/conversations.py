"""From files of conversations to histories and replies. Every mistake in a file is told with its line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from seqgan_kit.dialogue.columns import (
    BY_NAME,
    KEYS,
    LISTS,
    PAIRS,
    SPEAKERS,
    SYSTEM,
    Columns,
    all_names,
    known,
    names_of,
    shown,
)
from seqgan_kit.errors import UserError
from seqgan_kit.files import HALF_PAIR, LINE_END, Record, listed, short
from seqgan_kit.tables import Intake, is_table, records, text_of, value_at
from seqgan_kit.worlds.dialogues import ASSISTANT, USER, Message

ROLES = (USER, ASSISTANT, SYSTEM)
EXAMPLE = '{"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}'
BadRows = Literal["error", "drop", "repair"]


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


class Read(NamedTuple):
    """The conversations of a file, and what became of each of its rows."""

    conversations: list[Conversation]
    intake: Intake


class _Wrong(UserError):
    """A row that is no conversation. why: in a few words, the same for all such rows."""

    def __init__(self, why: str, message: str) -> None:
        super().__init__(message)
        self.why = why


def read_conversations(path: str | Path, columns: Columns = BY_NAME, bad_rows: BadRows = "error") -> Read:
    """The conversations with a reply that a file or folder holds; contents are stripped of white space at the ends.

    A table, whatever its container (see `tables.records`), has a list of messages, or a prompt and a reply, which may
    be lists of messages, too, in each row; which columns these are is known by their names, or told by `columns`. Any
    other file: a prompt, a tab and its reply on each line, with or without a header of two such names.

    bad_rows: what becomes of a row that is no conversation: "error" raises, and tells how many there are; "drop" leaves
    it out; "repair" leaves out messages without a text and those before the first of the user, and joins those of one
    speaker in a row; what it can't mend is left out.

    Raises UserError for what can't be read or is ambiguous, and where no conversation has a reply.
    """
    path = Path(path)
    intake = Intake(path.name)
    rows = _rows(path, intake)
    wrong = list(map(UserError, intake.bad))
    intake.bad.clear()
    reader = _Reader(columns, names_of(path, [record for _, record in rows], columns), repairs=bad_rows == "repair")
    found: list[Conversation] = []
    for place, record in rows:
        try:
            one, repairs = reader.conversation(place, record)
        except UserError as error:
            wrong.append(error)
            continue
        if any(message["role"] == ASSISTANT for message in one.messages):
            intake.repaired.update(repairs)
            found.append(one)
        else:
            intake.dropped[f"no reply of the {ASSISTANT}"] += 1
    reader.check_options(path)
    if wrong and bad_rows == "error":
        raise UserError(f"{wrong[0]}{_advice(len(wrong), intake.read - intake.dropped['blank'])}")
    if not found:
        told = f"; {wrong[0]}" if wrong else ""
        raise UserError(f"{path} has no conversation with a reply of the {ASSISTANT}: give at least one{told}")
    intake.used = len(found)
    intake.dropped.update(error.why if isinstance(error, _Wrong) else "can't be read" for error in wrong)
    intake.notes += [f"the first row that was left out: {wrong[0]}"] if wrong else []
    if is_table(path):
        intake.notes += reader.told(all_names(record for _, record in rows))
    return Read(found, intake)


def read_histories(path: str | Path, columns: Columns = BY_NAME) -> list[Conversation]:
    """What is to be replied to, in a table: conversations whose last message is the user's, or rows with a prompt, in a
    column of a known name or `text`. Raises UserError for whatever else stands there."""
    path = Path(path)
    rows = _rows(path, Intake(path.name, strict=True))
    names = all_names(record for _, record in rows)
    prompts = [columns.prompt] if columns.prompt else known(names, {"text", *(said for said, _ in PAIRS)})
    lists = [columns.messages] if columns.messages else known(names, LISTS)
    if rows and len(lists or prompts) != 1:
        raise UserError(f"{path} has the columns {shown(names)}: call the one with what is said {PAIRS[0][0]!r}")
    reader = _Reader(columns, tuple(lists) or (*prompts, None), repairs=False)
    found = [reader.conversation(place, record)[0] for place, record in rows]
    for one in found:
        if one.messages[-1]["role"] != USER:
            raise UserError(f"{one.place}: the last message is not a {USER}'s, so there is nothing to reply to")
    return found


def exchanges(conversations: Iterable[Conversation]) -> list[Exchange]:
    """One for each message of the assistant."""
    return [
        Exchange(one.messages[:i], message["content"], f"{one.place}, message {i + 1}", one.columns)
        for one in conversations
        for i, message in enumerate(one.messages)
        if message["role"] == ASSISTANT
    ]


# Rows and columns


def _rows(path: Path, intake: Intake) -> list[tuple[str, Record]]:
    """Where each row stands, and what it holds; `intake` counts them, and takes those that can't be read."""
    if path.is_file() and not path.stat().st_size:
        raise UserError(f"{path} is empty: give a conversation a line, {EXAMPLE}")
    if is_table(path):
        return list(records(path, EXAMPLE, intake))
    found: list[tuple[str, Record]] = []
    names: Sequence[str] = PAIRS[0]
    lines = LINE_END.split(text_of(path))
    for line, text in enumerate(lines[:-1] if not lines[-1] else lines, start=1):
        intake.read += 1
        parts = text.split("\t")
        if not text.strip():
            intake.dropped["blank"] += 1
        elif not found and not intake.bad and (header := _header(parts)):
            names = header
            intake.dropped["header"] += 1
        elif len(parts) == 2:
            found.append((f"{path} line {line}", dict(zip(names, parts, strict=True))))
        else:
            count = f"{len(parts) - 1} tabs" if len(parts) > 2 else "no tab"
            advice = "give a prompt, one tab and its reply on each line, or a .jsonl, .tsv or .csv file"
            intake.reject(f"{path} line {line}: {count}: {advice}")
    return found


def _header(parts: Sequence[str]) -> list[str]:
    """The names of two columns, a prompt's and its reply's in either order; none where they are texts."""
    names = [part.strip().lower() for part in parts]
    return names if any(sorted(names) == sorted(pair) for pair in PAIRS) else []


def _advice(wrong: int, read: int) -> str:
    """How many rows are wrong, and what may be done where not all are, for the end of a message."""
    if wrong == read:
        return f" (all {read} rows are wrong)" if read > 1 else ""
    return (
        f" ({wrong} of {read} rows {'is' if wrong == 1 else 'are'} wrong: --data.bad_rows drop leaves such out, repair "
        "mends what it can)"
    )


# Conversations


class _Said(NamedTuple):
    """A text whose speaker is known without a key. column: where it stands."""

    role: str
    text: object
    column: str


class _Reader:
    """Reads rows one after another, and remembers who spoke. names: of the messages, or of prompt and reply."""

    def __init__(self, columns: Columns, names: tuple[str | None, ...], repairs: bool) -> None:
        self.columns, self.names, self.repairs = columns, names, repairs
        self.speakers: Counter[str] = Counter()
        self.keys: Counter[tuple[str, str]] = Counter()
        self.in_turn = 0  # lists of plain texts

    def conversation(self, place: str, record: Record) -> tuple[Conversation, list[str]]:
        """The row, and what was repaired. Raises UserError."""
        messages = self._pair(place, record) if len(self.names) > 1 else self._list(place, record)
        said = [self._message(f"{place}, message {i}", one) for i, one in enumerate(messages, start=1)]
        said, repairs = _repaired(said) if self.repairs else (said, [])
        _check_texts(place, said)
        _check_turns(place, [role for role, _ in said])
        others = {name: value for name, value in record.items() if name not in self.names}
        return Conversation([{"role": role, "content": str(text)} for role, text in said], place, others), repairs

    def _list(self, place: str, record: Record) -> list[object]:
        """The messages, as they stand."""
        name = str(self.names[0])
        messages = _value(place, record, name)
        if not isinstance(messages, list) or not messages:
            what = "is empty" if messages == [] else f"is {short(messages)}, not a list"
            raise _Wrong("no list of messages", f"{place}: {name!r} {what}: give {EXAMPLE}")
        if not all(isinstance(message, str) for message in messages):
            return messages
        self.in_turn += 1
        return [_Said(ROLES[i % 2], text, name) for i, text in enumerate(messages)]

    def _pair(self, place: str, record: Record) -> list[object]:
        """A prompt and its reply, each a text or a list of messages."""
        found: list[object] = []
        for role, name in zip(ROLES, self.names, strict=False):
            if name is not None:
                value = _value(place, record, name)
                found += value if isinstance(value, list) else [_Said(role, value, name)]
        return found

    def _message(self, place: str, message: object) -> tuple[str, str | None]:
        """Who speaks, and the stripped text, None where there is none."""
        role, text, key = message if isinstance(message, _Said) else self._by_keys(place, message)
        text = _joined(text)
        if text is not None and not isinstance(text, str):
            raise _Wrong("no text", f"{place}: {key!r} is {short(text)}, not a string: put the text in quotes")
        if text is not None and HALF_PAIR.search(text):
            told = f"{place}: {key!r} has half a surrogate pair (\\ud800 to \\udfff): remove it"
            raise _Wrong("half a character", told)
        return role, text if text is None else text.strip()

    def _by_keys(self, place: str, message: object) -> tuple[str, object, str]:
        """Who speaks, the text, and the key that holds it."""
        columns = self.columns
        pairs = [(columns.role or role, columns.content or content) for role, content in KEYS]
        keys = next((pair for pair in pairs if isinstance(message, dict) and set(pair) <= set(message)), None)
        if keys is None or not isinstance(message, dict):
            raise _Wrong(
                "a message without speaker and text",
                f'{place}: {short(message)} is no message as {{"{pairs[0][0]}": "user", "{pairs[0][1]}": "..."}}: '
                "--data.role and --data.content name its keys",
            )
        speaker, text = message[keys[0]], message[keys[1]]
        role = self._role(speaker)
        self.speakers[str(speaker)] += 1
        if role is None:
            raise _Wrong(
                "an unknown speaker",
                f"{place}: the role {short(speaker)} is unknown: give {', '.join(ROLES[:-1])} or {ROLES[-1]}, or name "
                "the speakers, --data.user NAME --data.assistant NAME",
            )
        self.keys[keys] += 1
        return role, text, keys[1]

    def _role(self, speaker: object) -> str | None:
        if str(speaker) in (self.columns.user, self.columns.assistant):
            return USER if str(speaker) == self.columns.user else ASSISTANT
        return SPEAKERS.get(speaker.lower()) if isinstance(speaker, str) else None

    def check_options(self, path: Path) -> None:
        """Raises UserError for an option that nothing in the file answers to."""
        columns = self.columns
        given = {"role": columns.role, "content": columns.content, "user": columns.user, "assistant": columns.assistant}
        for option, name in given.items():
            if name is not None and not self.speakers:
                raise UserError(f"--data.{option} {name}: {path} has no messages with such keys and speakers")
            if name is not None and option in ROLES and name not in self.speakers:
                there = listed(list(self.speakers)[:8])
                raise UserError(f"--data.{option} {name}: nobody in {path} has that name; there are {there}")

    def told(self, names: Sequence[str]) -> list[str]:
        """Which column answers which, and who is taken for whom, where that does not go without saying."""
        if len(self.names) > 1:
            others = [name for name in names if name not in self.names]
            told = f"column {self.names[1]!r} answers column {self.names[0]!r}"
            return [f"{told}; not learned from: {shown(others)}" if others else told]
        parts = [f"in column {self.names[0]!r}"] if self.names[0] != LISTS[0] else []
        parts += [f"by {role!r} and {text!r}" for role, text in self.keys if (role, text) != KEYS[0]]
        roles = {name: self._role(name) for name in self.speakers}
        parts += [f"{name!r} is the {role}" for name, role in roles.items() if role and name != role]
        parts += [f"{self.in_turn} of plain texts, said in turn by {USER} and {ASSISTANT}"] if self.in_turn else []
        return [f"conversations: {', '.join(parts)}"] if parts else []


def _value(place: str, record: Record, name: str) -> object:
    try:
        return value_at(record, name)
    except KeyError:
        there = listed(record) or "an empty record"
        raise _Wrong(f"no column {name!r}", f"{place}: no column {name!r}, only {there}: give {EXAMPLE}") from None


def _joined(text: object) -> object:
    """OpenAI's parts, `[{"type": "text", "text": ...}, ...]`, as one text; anything else as it is, pictures, too."""
    parts = text if isinstance(text, list) and text else [None]
    told = [one.get("text") if isinstance(one, dict) and one.get("type") == "text" else None for one in parts]
    return " ".join(map(str, told)) if all(isinstance(one, str) for one in told) else text


def _repaired(said: Sequence[tuple[str, str | None]]) -> tuple[list[tuple[str, str | None]], list[str]]:
    """Without messages that have no text, equal speakers joined, and from the first of the user on; and which of these
    there was to do."""
    kept: list[tuple[str, str | None]] = []
    repairs = []
    for role, text in said:
        if not text:
            repairs.append("messages without a text left out")
        elif kept and kept[-1][0] == role:
            repairs.append("messages of one speaker in a row joined")
            kept[-1] = role, f"{kept[-1][1]} {text}"
        else:
            kept.append((role, text))
    start = int(bool(kept) and kept[0][0] == SYSTEM)
    if len(kept) > start and kept[start][0] == ASSISTANT:
        repairs.append(f"begun at the first message of the {USER}")
        del kept[start]
    return kept, list(dict.fromkeys(repairs))


def _check_texts(place: str, said: Sequence[tuple[str, str | None]]) -> None:
    if not said:
        raise _Wrong("no text", f"{place}: no message has a text: give what was said")
    for i, (role, text) in enumerate(said, start=1):
        if text is None:
            raise _Wrong("no text", f"{place}, message {i}: there is no text, the {role}'s is null: remove the message")
        if not text:
            told = f"{place}, message {i} is empty, the {role}'s: give what was said, or remove it"
            raise _Wrong("no text", told)


def _check_turns(place: str, roles: Sequence[str]) -> None:
    start = int(roles[0] == SYSTEM)
    for i, role in enumerate(roles[start:]):
        number = start + i + 1
        if role == SYSTEM:
            raise _Wrong(
                f"a message of the {SYSTEM} that is not the first",
                f"{place}: message {number} is the {SYSTEM}'s, which can only be the first: remove it",
            )
        if i == 0 and role == ASSISTANT:
            told = f"{place}: message {number} is the {ASSISTANT}'s, but the {USER} begins: remove it"
            raise _Wrong(f"begun by the {ASSISTANT}", told)
        if i and role == roles[start + i - 1]:
            raise _Wrong(
                "two messages of one speaker in a row",
                f"{place}: messages {number - 1} and {number} are both the {role}'s, but {USER} and {ASSISTANT} "
                f"alternate: join the two",
            )
