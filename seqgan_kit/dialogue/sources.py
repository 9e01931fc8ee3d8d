"""From a configuration to what dialogue training needs: replies to histories, and how they became tokens."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Literal

import torch
from transformers import PreTrainedTokenizerBase

from seqgan_kit.bounds import SAMPLE, Integer, Whole, check_fits
from seqgan_kit.dialogue.columns import Columns
from seqgan_kit.dialogue.conversations import BadRows, Conversation, Exchange, exchanges, read_conversations
from seqgan_kit.dialogue.template import EncodedHistory, Template, end_of, to_replies
from seqgan_kit.engine.provenance import fingerprint
from seqgan_kit.errors import UserError
from seqgan_kit.language import remarks
from seqgan_kit.language.config import FileConfig
from seqgan_kit.language.data import plain_ids, split, unknown_share
from seqgan_kit.language.held_out import alike
from seqgan_kit.language.lengths import TooLong, fitting
from seqgan_kit.language.tokenizers import train_tokenizer
from seqgan_kit.language.words import AS_IT_STANDS
from seqgan_kit.samples import Replies, Tokens
from seqgan_kit.worlds.dialogues import ASSISTANT, USER, Message, dialogue
from seqgan_kit.worlds.shapes import MOST, Scene, draw_scene

LONG = 64  # tokens of a history, on average, of which it is said that they take time
REFUSED = 10_000  # scenes in a row that are held out: then there are no others


@dataclass(frozen=True)
class DataConfig(FileConfig, Columns):
    """What to learn from: conversations, or question-answer dialogues that the toolkit generates.

    Args:
        path: File of conversations: a table (.jsonl, .json, .csv, .tsv, .parquet, also as .gz, or a folder by
            `datasets.save_to_disk`) with a list of messages in each row, or a prompt and a reply; or text with a tab
            between them. Unset generates dialogues about little scenes.
        bad_rows: What to do with a row that is no conversation: stop with an error, drop it, or repair it where that
            can be done: leave out messages without a text and those before the first of the user, and join those of
            one speaker in a row. What was dropped or repaired is counted.
        dialogues: Number of dialogues that are generated where no file is given.
        shapes: Greatest number of shapes in the scenes of generated dialogues, 1 to 3.
        max_history: Greatest number of tokens of a history that the model reads; of longer ones the oldest messages are
            left out. Time grows with it.
        max_reply: Greatest number of tokens of a reply, with the end token. Unset takes the longest reply.
        end: Token that ends a reply, where the tokenizer has no eos_token or another one is wanted.
        backward: Whether to learn what was said from the reply to it. Such a run is for `sample --backward`, replies of
            mutual information.
        limit: Number of replies of each file that are kept, the first ones, for trials. Unset keeps all.
    """

    bad_rows: BadRows = "error"
    dialogues: Whole = 3000
    shapes: Whole = 3
    max_history: Integer = 128
    max_reply: Integer | None = None
    end: str | None = None
    backward: bool = False
    limit: Whole | None = None


@dataclass(frozen=True)
class Source:
    """train, held_out: replies to histories; `origin` counts the rows of each. train_exchanges, held_out_exchanges:
    the messages that they were, row by row.

    kind: what else is known, which decides the metrics. end, length: of the generator; length counts the end token.
    vocabulary: what it can emit. conversations: to train on, and held out. dropped, shortened: replies that were longer
    than the limit. cut: histories that were; cut_by: what the limit is. notes: what became of the rows of the files,
    and what else the user must know, a line each.
    """

    name: str
    kind: Literal["messages", "shapes"]
    train: Replies
    held_out: Replies
    train_exchanges: list[Exchange]
    held_out_exchanges: list[Exchange]
    tokenizer: PreTrainedTokenizerBase
    template: Template
    end: int
    length: int
    vocabulary: int
    conversations: tuple[int, int]
    dropped: int = 0
    shortened: int = 0
    cut: int = 0
    cut_by: str = "--data.max_history"
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """All that the user is told first."""
        tokens = float(self.train.told.sum(1).double().mean())
        long = f"histories have {tokens:.0f} tokens on average, and time grows with them: --data.max_history "
        long += f"{round(tokens / 2)} would make it shorter"
        return [self.summary(), *self.notes, *([long] if tokens >= LONG else [])]

    def summary(self) -> str:
        """What was read, in one line."""
        train, held_out = self.conversations
        text = (
            f"{self.name}: {train} conversations with {len(self.train.ids)} replies to train on, {held_out} with "
            f"{len(self.held_out.ids)} held out, {self.vocabulary} different tokens, at most {self.length} a reply"
        )
        left_out = f"{self.cut} histories were CUT to {self.template.max_history} tokens ({self.cut_by})"
        dropped = f"{self.dropped} longer replies were DROPPED (--data.too_long)"
        shortened = f"{self.shortened} longer replies were CUT (--data.too_long cut)"
        told = ((self.cut, left_out), (self.dropped, dropped), (self.shortened, shortened))
        parts = (self.train, self.held_out)
        unknown = unknown_share(
            [*(part.ids[part.mask] for part in parts), *(part.history[part.told] for part in parts)], self.tokenizer
        )
        return "; ".join([text, *(words for count, words in told if count), *([unknown] if unknown else [])])

    def fingerprint(self) -> str:
        """The same for the same data, tokenizer and options."""
        return fingerprint(self.tokenizer.get_vocab(), self.train, self.held_out)

    def decode(self, tokens: Tokens) -> list[str]:
        """The replies as strings, without end token and padding."""
        return self.template.decode(tokens)

    def ids(self, tokens: Tokens) -> list[list[int]]:
        """The replies as lists of ids, without end token and padding."""
        return plain_ids(tokens, self.end)


def load(
    config: DataConfig,
    seed: int,
    tokenizer: PreTrainedTokenizerBase | None = None,
    context: int | None = None,
    vocabulary: int | None = None,
) -> Source:
    """Reads or generates the data.

    tokenizer: of a pretrained model; without one, it is made from the conversations to train on.
    context: the most tokens that the model takes, history and reply together; longer histories are cut.
    vocabulary: how many tokens the model can emit, where these are more than the tokenizer has.
    Raises UserError for anything wrong with a file or an option.
    """
    _check(config, tokenizer is not None)
    notes: list[str] = []
    conversations, held_out = _shapes(config, seed) if config.path is None else _files(config, seed, notes)
    conversations, held_out = _read(conversations, config), _read(held_out, config)
    if tokenizer is None:
        texts = [message["content"] for one in conversations for message in one.messages]
        tokenizer = train_tokenizer(config.tokenizer, texts, config.vocabulary)
    end = end_of(tokenizer, config.end)
    template = Template(tokenizer, end, config.max_history, config.words)
    turned = turned_round if config.backward else list
    cut_ends = config.reading == 1
    train = _replied(turned(exchanges(conversations)), template, config.max_reply, config.too_long, cut_ends)
    # evaluation is on whole replies that fit, never on what was cut
    too_long = "drop" if config.too_long == "cut" else config.too_long
    other = _replied(turned(exchanges(held_out)), template, config.max_reply, too_long)
    length = max(len(reply) for reply in [*train.replies, *other.replies])
    cut_by = "--data.max_history"
    if context is not None and (room := _room(config, context, length)) < config.max_history:
        template = replace(template, max_history=room)
        cut_by = f"what the model's {context} places leave beside a reply of {length}"
    histories = [
        template.histories([one.history for one in part.exchanges], [one.place for one in part.exchanges])
        for part in (train, other)
    ]
    what, files = "replies, to the same messages,", config.held_out_path is not None
    both = remarks.trained_on(_keys(train.exchanges), _keys(other.exchanges), what, files)
    return Source(
        name=Path(config.path).name if config.path is not None else "shapes world",
        kind="messages" if config.path is not None or config.backward else "shapes",
        train=_numbered(histories[0], train.replies, end),
        held_out=_numbered(histories[1], other.replies, end),
        train_exchanges=train.exchanges,
        held_out_exchanges=other.exchanges,
        tokenizer=tokenizer,
        template=template,
        end=end,
        length=length,
        vocabulary=max(len(tokenizer), vocabulary or 0),
        conversations=(len(conversations), len(held_out)),
        dropped=train.dropped + other.dropped,
        shortened=train.shortened,
        cut=sum(told.cut for part in histories for told in part),
        cut_by=cut_by,
        notes=(*notes, *([both] if both and not config.backward else [])),
    )


def _check(config: DataConfig, pretrained: bool) -> None:
    config.check_held_out()
    if config.path is None and config.dialogues < 2:
        raise UserError(f"--data.dialogues {config.dialogues}: give at least 2")
    if config.path is None:
        check_fits("--data.dialogues", config.dialogues, SAMPLE)
    if config.path is None and any(getattr(config, field.name) != field.default for field in fields(Columns)):
        raise UserError("--data.messages and what else names columns and speakers need a file, --data.path")
    if not 1 <= config.shapes <= MOST:
        raise UserError(f"--data.shapes {config.shapes}: give 1 to {MOST}")
    if config.max_history < 1:
        raise UserError(f"--data.max_history {config.max_history} leaves no tokens: give 1 or more")
    if config.max_reply is not None and config.max_reply < 2:
        raise UserError(
            f"--data.max_reply {config.max_reply} leaves no tokens beside the end token: leave it out, or "
            "give 2 or more"
        )
    if config.limit is not None and config.limit < 1:
        raise UserError(f"--data.limit {config.limit}: give 1 or more replies")
    if pretrained and config.vocabulary is not None:
        raise UserError(f"--data.vocabulary {config.vocabulary}: the model brings its own tokens, leave it out")


# Conversations


def _files(config: DataConfig, seed: int, notes: list[str]) -> tuple[list[Conversation], list[Conversation]]:
    found = _read_file(config.path, config, notes)
    if config.held_out_path is not None:
        return found, _read_file(config.held_out_path, config, notes)
    # the same words in two places are one conversation: both are held out, or none
    same: dict[tuple[str, ...], list[Conversation]] = {}
    plain = (lambda text: text) if config.reading == 1 else cache(lambda text: alike(config.words.read(text)))
    for one in found:
        same.setdefault(_key(one.messages, plain), []).append(one)
    several = [len(copies) for copies in same.values() if len(copies) > 1]
    if several:
        copies = f"{sum(several)} conversations are copies of {len(several)}"
        notes.append(f"{copies}: all copies of one are trained on, or all held out")
    train, held_out = split(list(same.values()), config.held_out, seed)
    return list(chain.from_iterable(train)), list(chain.from_iterable(held_out))


def _read(conversations: Sequence[Conversation], config: DataConfig) -> list[Conversation]:
    """The conversations as the text that is learned."""
    if config.words == AS_IT_STANDS:
        return list(conversations)
    read = cache(config.words.read)
    return [
        replace(one, messages=[{**message, "content": read(message["content"])} for message in one.messages])
        for one in conversations
    ]


def _read_file(path: str | None, config: DataConfig, notes: list[str]) -> list[Conversation]:
    """The conversations of a file; `notes` grows by what became of its rows."""
    assert path is not None
    found, intake = read_conversations(path, config, config.bad_rows)
    kept = _first(found, config.limit)
    beyond = len(found) - len(kept)
    intake.used -= beyond
    intake.dropped[f"beyond --data.limit {config.limit}"] += beyond
    notes += intake.lines()
    return kept


def _key(messages: Sequence[Message], text: Callable[[str], str] = alike) -> tuple[str, ...]:
    return tuple(f"{message['role']} {text(message['content'])}" for message in messages)


def _keys(found: Sequence[Exchange]) -> list[tuple[str, ...]]:
    return [(*_key(one.history), alike(one.reply)) for one in found]


def _first(conversations: Sequence[Conversation], limit: int | None) -> list[Conversation]:
    """Those with the first `limit` replies, of the last only up to there; none without a reply."""
    kept: list[Conversation] = []
    left = limit
    for one in conversations:
        places = [i for i, message in enumerate(one.messages, start=1) if message["role"] == ASSISTANT]
        if not places:
            continue
        if left is not None and len(places) >= left:
            return [*kept, replace(one, messages=one.messages[: places[left - 1]])]
        left = left if left is None else left - len(places)
        kept.append(one)
    return kept


def _shapes(config: DataConfig, seed: int) -> tuple[list[Conversation], list[Conversation]]:
    """The scenes held out are drawn as they come, and no other dialogue is about one of them."""
    count = max(1, round(config.held_out * config.dialogues))
    held_out = _told_scenes(random.Random(f"held out {seed}"), count, config.shapes, set())
    train = _told_scenes(random.Random(seed), config.dialogues, config.shapes, {scene for scene, _ in held_out})
    parts = [[one for _, one in part] for part in (train, held_out)]
    return _first(parts[0], config.limit), _first(parts[1], config.limit)


def _told_scenes(rng: random.Random, count: int, shapes: int, without: set[Scene]) -> list[tuple[Scene, Conversation]]:
    found: list[tuple[Scene, Conversation]] = []
    refused = 0  # in a row
    while len(found) < count:
        scene = draw_scene(rng)
        if len(scene.shapes) > shapes:
            continue
        if scene in without:
            refused += 1
            if refused == REFUSED:  # there are only 432 scenes of one shape
                raise UserError(
                    "the dialogues held out are about every scene: give less --data.dialogues or --data.held_out"
                )
            continue
        refused = 0
        place = f"the shapes world, dialogue {len(found) + 1}"
        found.append((scene, Conversation(dialogue(scene, rng), place)))
    return found


# Replies


@dataclass(frozen=True)
class _Replied:
    """The exchanges that are left, the tokens of their replies, and what became of the longer ones."""

    exchanges: list[Exchange]
    replies: list[list[int]]
    dropped: int = 0
    shortened: int = 0


def turned_round(found: Sequence[Exchange]) -> list[Exchange]:
    """The last message as what is to be said, and its reply as all that is known."""
    return [
        replace(one, history=[{"role": USER, "content": one.reply}], reply=one.history[-1]["content"]) for one in found
    ]


def _replied(
    found: list[Exchange], template: Template, limit: int | None, too_long: TooLong, cut_ends: bool = False
) -> _Replied:
    """cut_ends: whether what is cut has an end token; without one, nobody learns to stop there."""
    replies = template.replies([one.reply for one in found])
    for one, reply in zip(found, replies, strict=True):
        if template.end in reply[:-1]:
            name = template.tokenizer.convert_ids_to_tokens(template.end)
            raise UserError(
                f"{one.place}: contains {name}, which ends a reply: remove it there, or name another, --data.end TOKEN"
            )
    kept = fitting(
        lambda i: found[i].place, replies, limit, too_long, "replies", "tokens with the end token",
        "--data.max_reply",
    )  # fmt: skip
    whole = [replies[i] for i in kept]
    most = len(max(whole, key=len, default=[])) if limit is None else limit
    fit = [
        reply if len(reply) <= most else [*reply[: most - 1], template.end] if cut_ends else reply[:most]
        for reply in whole
    ]
    shortened = sum(ids is not reply for ids, reply in zip(fit, whole, strict=True))
    return _Replied([found[i] for i in kept], fit, dropped=len(found) - len(kept), shortened=shortened)


def _room(config: DataConfig, context: int, length: int) -> int:
    """The most tokens that the model takes beside a reply."""
    if config.max_reply is not None and config.max_reply >= context:
        raise UserError(
            f"--data.max_reply {config.max_reply} leaves no room for a history in the {context} tokens that the model "
            f"takes: give {context - 1} or less"
        )
    if length >= context:
        raise UserError(
            f"the longest reply has {length} tokens, which leaves no room for a history in the {context} that the "
            f"model takes: give --data.max_reply {context // 2} and --data.too_long drop or cut"
        )
    return context - length


def _numbered(histories: Sequence[EncodedHistory], replies: Sequence[list[int]], end: int) -> Replies:
    rows = to_replies(list(zip(histories, replies, strict=True)), end)
    return replace(rows, origin=torch.arange(len(rows.ids)))
