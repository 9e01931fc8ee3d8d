"""Which columns of a table of conversations hold what, and who speaks: by known names, or as options tell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from seqgan_kit.errors import UserError
from seqgan_kit.files import Record, listed
from seqgan_kit.separators import undivided
from seqgan_kit.tables import value_at
from seqgan_kit.worlds.dialogues import ASSISTANT, USER

SYSTEM = "system"

# Names that need no option

LISTS = ("messages", "conversations", "conversation")  # columns of lists of messages
KEYS = (("role", "content"), ("from", "value"))  # of a message: who speaks, and what
PAIRS = (  # columns of what is said, and of the reply to it
    ("prompt", "reply"), ("prompt", "response"), ("prompt", "completion"), ("source", "target"), ("query", "response"),
    ("question", "answer"), ("question", "response"), ("input", "output"), ("instruction", "output"),
    ("instruction", "response"),
)  # fmt: skip
SPEAKERS = (
    dict.fromkeys(("user", "human", "prompter"), USER)
    | dict.fromkeys(("assistant", "gpt", "chatgpt", "bot", "model"), ASSISTANT)
    | dict.fromkeys(("system", "developer"), SYSTEM)
)


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Where conversations stand, and who speaks in them; what is unset has one of the known names.

    Args:
        messages: Column of the list of messages. Unset knows messages, conversations and conversation. `a.b` is the
            column b of what a holds. A list of plain texts is what user and assistant say in turn.
        role: Key of a message that says who speaks. Unset knows role and from.
        content: Key of a message that holds the text. Unset knows content and value.
        user: Name of the speaker who is replied to. Unset knows user, human and prompter.
        assistant: Name of the speaker whose replies are learned. Unset knows assistant, gpt, chatgpt, bot and model.
        prompt: Column of what is said, in a table of pairs. Unset knows prompt, source, question, query, input and
            instruction, each with its usual reply.
        reply: Column of the reply to it. Unset knows reply, response, completion, target, answer and output.
    """

    messages: str | None = None
    role: str | None = None
    content: str | None = None
    user: str | None = None
    assistant: str | None = None
    prompt: str | None = None
    reply: str | None = None


BY_NAME = Columns()


def all_names(rows: Iterable[Record]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def known(names: Sequence[str], wanted: Iterable[str]) -> list[str]:
    """Those of the columns that have a wanted name, in small or capital letters."""
    return [name for name in names if name.lower() in wanted]


def names_of(path: Path, rows: Sequence[Record], columns: Columns) -> tuple[str, ...]:
    """The column of the messages, or those of prompt and reply. Raises UserError where it would be a guess."""
    names = all_names(rows)
    there = f"{path} has the columns {shown(names)}"
    pair = [name for name in (columns.prompt, columns.reply) if name is not None]
    if columns.messages is not None and pair:
        raise UserError("--data.messages is given beside --data.prompt or --data.reply: leave out one or the other")
    if len(pair) == 1:
        other = "--data.reply" if columns.reply is None else "--data.prompt"
        raise UserError(f"{other} is not given: name both, what is said and the reply to it; {there}")
    given = pair or ([columns.messages] if columns.messages is not None else [])
    for name in given:
        if rows and not any(_has(row, name) for row in rows):
            raise UserError(f"no row has a column {name!r}: {there}")
    if given or not rows:
        return tuple(given) or LISTS[:1]
    lists = known(names, LISTS)
    if len(lists) > 1:
        raise UserError(f"{there}: name the one with the conversations, --data.messages {lists[0]}")
    return (lists[0],) if lists else _pair(path, names, there)


def _pair(path: Path, names: Sequence[str], there: str) -> tuple[str, str]:
    """The columns of prompt and reply, by known names."""
    named = {name.lower(): name for name in names}
    pairs = [(named[said], named[reply]) for said, reply in PAIRS if said in named and reply in named]
    if len(pairs) == 1:
        return pairs[0]
    if len(names) == 1:
        two = f"give two, {listed(PAIRS[0])}, or a list of {LISTS[0]!r}"
        raise UserError(f"{path} has one column, {names[0]!r}: {two}{undivided(names)}")
    said, reply = pairs[0] if pairs else ("NAME", "NAME")
    which = " or ".join(f"{reply!r} answers {said!r}" for said, reply in pairs)
    told = f"{which}? Name" if which else "which of them? Name"
    header = (
        "" if pairs or path.suffix.lower() not in (".csv", ".tsv") else "; should the first row be a pair, too, put "
    )
    header += "a row `prompt,reply` before it" if header else ""
    raise UserError(
        f"{there}: {told} what is said and the reply to it, --data.prompt {said} --data.reply {reply}, or a list of "
        f"messages, --data.messages NAME{header}"
    )


def _has(row: Record, name: str) -> bool:
    try:
        value_at(row, name)
    except KeyError:
        return False
    return True


def shown(names: Sequence[str]) -> str:
    """For a message."""
    return listed(names[:12]) + (", ..." if len(names) > 12 else "") if names else "no name"
