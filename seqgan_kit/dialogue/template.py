"""How messages become tokens, and tokens text again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

from jinja2 import TemplateError
from torch import Tensor
from transformers import BatchEncoding, PreTrainedTokenizerBase

from seqgan_kit.dialogue.conversations import SYSTEM
from seqgan_kit.dialogue.rendering import check_template, render
from seqgan_kit.errors import UserError
from seqgan_kit.language.data import plain_ids, to_tokens
from seqgan_kit.language.words import AS_IT_STANDS, Words
from seqgan_kit.samples import Replies, Tokens
from seqgan_kit.worlds.dialogues import Message

HISTORY = "the history"
CHUNK = 1000  # histories tokenised at a time
PLAIN: dict[str, Any] = {
    "add_special_tokens": False,
    "return_attention_mask": False,
    "return_token_type_ids": False,
    "verbose": False,  # of texts that are longer than the model takes: they are cut here
}


@dataclass(frozen=True)
class EncodedHistory:
    """A history as tokens.

    ids: the tokens.
    turns: which utterance each is of, from 0 without gaps.
    cut: something was left out at the left.
    """

    ids: list[int]
    turns: list[int]
    cut: bool


@dataclass(frozen=True, eq=False)
class Template:
    """How messages become tokens: as the tokenizer's chat template says; without one, each utterance and an end token.

    Args:
        tokenizer: of any model; it needs no padding token.
        end: id of the token that ends a reply.
        max_history: most tokens of a history. From a longer one the oldest messages leave, but for the system's; only
            where the last alone is still too long, its last tokens are kept.
        words: how what is said became the text that was learned.
    """

    tokenizer: PreTrainedTokenizerBase
    end: int
    max_history: int
    words: Words = AS_IT_STANDS

    def histories(self, many: Sequence[Sequence[Message]], places: Sequence[str] | None = None) -> list[EncodedHistory]:
        """Histories, tokenised together; `places` say where each stands, should the chat template refuse it."""
        texts = list(dict.fromkeys(message["content"] for messages in many for message in messages))
        contents = dict(zip(texts, self._encoded(texts), strict=True))
        if self.tokenizer.chat_template not in (None, self._own_chat_template):
            return self._as_chats(many, contents, places if places is not None else [HISTORY] * len(many))
        contents = {text: [*ids, self.end] for text, ids in contents.items()}
        return [self._joined(messages, contents) for messages in many]

    def replies(self, texts: Sequence[str]) -> list[list[int]]:
        """Replies, tokenised together."""
        return [[*ids, self.end] for ids in self._encoded(texts)]

    def ask(self, histories: Sequence[Sequence[Message]]) -> Replies:
        """The histories, as people write them, to be replied to: ids and mask are (batch, 0)."""
        return to_replies([(told, []) for told in self.histories(list(map(self.read, histories)))], self.end)

    def read(self, messages: Sequence[Message]) -> list[Message]:
        """Messages as people write them as the text that is learned."""
        return [{**message, "content": self.words.read(message["content"])} for message in messages]

    def written(self, messages: Sequence[Message]) -> list[Message]:
        """The way back."""
        return [{**message, "content": self.words.shown(message["content"])} for message in messages]

    def saved_tokenizer(self, examples: Sequence[Sequence[Message]]) -> PreTrainedTokenizerBase:
        """The tokenizer with a chat template, so that plain transformers make of messages what is made of them here; as
        it is where it has one, or where that would make other tokens of one of the examples."""
        if self.tokenizer.chat_template is not None:
            return self.tokenizer
        found = copy(self.tokenizer)
        found.chat_template = self._own_chat_template
        for messages, told in zip(examples, self.histories(examples), strict=True):
            text = found.apply_chat_template(list(messages), add_generation_prompt=True, tokenize=False)
            if not told.cut and found(text, **PLAIN)["input_ids"] != told.ids:
                return self.tokenizer
        return found

    @cached_property
    def _own_chat_template(self) -> str:
        """What is done without a chat template, as one."""
        end = json.dumps(self.tokenizer.convert_ids_to_tokens(self.end))
        return f"{{% for message in messages %}}{{{{ message['content'] + {end} }}}}{{% endfor %}}"

    def decode(self, tokens: Tokens) -> list[str]:
        """The replies as strings, without end token, padding and special tokens; what is unknown is shown."""
        return [self.text(row) for row in plain_ids(tokens, self.end)]

    def text(self, ids: Sequence[int]) -> str:
        """Tokens as a string, without special ones."""
        kept = [token for token in ids if token not in self._special]
        return str(self.tokenizer.decode(kept, clean_up_tokenization_spaces=False))

    def shown(self, ids: Sequence[int]) -> str:
        """Tokens as people write them."""
        return self.words.shown(self.text(ids))

    @cached_property
    def _special(self) -> set[int]:
        ids = (self.tokenizer.convert_tokens_to_ids(name) for name in _names(self.tokenizer))
        return {token for token in ids if isinstance(token, int)} - {self.tokenizer.unk_token_id}

    def _joined(self, messages: Sequence[Message], contents: dict[str, list[int]]) -> EncodedHistory:
        """contents: the tokens of each message."""
        for kept in self._ever_shorter(messages, contents):
            parts = [contents[message["content"]] for message in kept]
            if sum(map(len, parts)) <= self.max_history:
                turns = chain.from_iterable([turn] * len(part) for turn, part in enumerate(parts))
                return EncodedHistory(list(chain.from_iterable(parts)), list(turns), cut=len(kept) < len(messages))
        return self._end_of(contents[messages[-1]["content"]])

    def _as_chats(
        self, many: Sequence[Sequence[Message]], contents: dict[str, list[int]], places: Sequence[str]
    ) -> list[EncodedHistory]:
        """contents: the tokens of each message without what the template adds."""
        renderer = _Renderer(self.tokenizer)
        for messages, place in zip(many, places, strict=True):
            renderer(messages, asking=True, place=place)
        waiting = {row: self._renderings(renderer, messages, contents) for row, messages in enumerate(many)}
        found: dict[int, EncodedHistory] = {}
        while waiting:
            left = list(waiting)
            # so that what the tokenizer says of many long texts is not all held at once
            for rows in (left[start : start + CHUNK] for start in range(0, len(left), CHUNK)):
                tried = [next(waiting[row]) for row in rows]
                encoded = self.tokenizer([text for _, text in tried], **PLAIN)
                for i, (row, (kept, text)) in enumerate(zip(rows, tried, strict=True)):
                    ids: list[int] = encoded["input_ids"][i]
                    if kept is not None and len(ids) > self.max_history:
                        continue
                    if kept is None:
                        found[row] = self._end_of(ids)
                    else:
                        turns = _turns(encoded, i, renderer.starts(kept, text))
                        found[row] = EncodedHistory(ids, turns, cut=len(kept) < len(many[row]))
                    del waiting[row]
        return [found[row] for row in range(len(many))]

    def _renderings(
        self, render: _Renderer, messages: Sequence[Message], contents: dict[str, list[int]]
    ) -> Iterator[tuple[Sequence[Message] | None, str]]:
        """What may be kept, and its text; and at last, with None, what is cut whatever its length."""
        for kept in self._ever_shorter(messages, contents):
            text = render(kept, asking=True)
            if text is not None:  # some templates refuse a history that the assistant begins
                yield kept, text
        yield None, render(messages[-1:], asking=True) or render(messages, asking=True) or ""

    def _ever_shorter(self, messages: Sequence[Message], contents: dict[str, list[int]]) -> Iterator[Sequence[Message]]:
        """The messages, then without the oldest; the system's leaves last. It starts at what can fit."""
        system = int(messages[0]["role"] == SYSTEM)
        lengths = [len(contents[message["content"]]) for message in messages]
        left, start = self.max_history - sum(lengths[:system]), len(messages)
        while start > system and lengths[start - 1] <= left:
            start -= 1
            left -= lengths[start]
        for first in range(start, len(messages)):
            yield [*messages[:system], *messages[first:]]
        if system:
            yield messages[-1:]

    def _end_of(self, ids: list[int]) -> EncodedHistory:
        """The last tokens of one message, which is too long."""
        kept = ids[-self.max_history :]
        return EncodedHistory(kept, [0] * len(kept), cut=True)

    def _encoded(self, texts: Sequence[str]) -> list[list[int]]:
        if not texts:
            return []
        ids: list[list[int]] = self.tokenizer(list(texts), **PLAIN)["input_ids"]
        return ids


class _Renderer:
    """A tokenizer's chat template, which is asked for nothing twice."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        check_template(tokenizer)
        self.tokenizer = tokenizer
        self.known: dict[tuple[object, ...], str | None] = {}

    def __call__(self, messages: Sequence[Message], asking: bool, place: str | None = None) -> str | None:
        """The messages as text, None where they are refused. asking: up to where the reply begins.

        place: where they stand. Raises UserError where they are refused, if that is given.
        """
        key = asking, *((message["role"], message["content"]) for message in messages)
        if key not in self.known:
            try:
                self.known[key] = render(self.tokenizer, list(messages), asking)
            except TemplateError as error:
                if place is not None:
                    raise UserError(
                        f"{place}: the tokenizer's chat template refuses the messages before the reply ({error}): "
                        "change them, or the tokenizer's chat_template"
                    ) from error
                self.known[key] = None
        return self.known[key]

    def starts(self, messages: Sequence[Message], text: str) -> list[int]:
        """Where in their text the messages after the first one start: where the text of those before it ends, if that
        is how the whole begins. Some templates write a message otherwise if it is the last; then it is left out."""
        before = [self(messages[:i], asking=False) for i in range(1, len(messages))]
        return [len(begun) for begun in before if begun is not None and text.startswith(begun)]


def _turns(encoded: BatchEncoding, row: int, starts: Sequence[int]) -> list[int]:
    """The turn of each token of a row. starts: characters where turns but the first start, ascending."""
    first = [0]
    for start in starts if encoded.is_fast else []:  # others do not tell where their tokens stand
        token = encoded.char_to_token(row, start)
        if token is not None and token > first[-1]:
            first.append(token)
    stops = [*first[1:], len(encoded["input_ids"][row])]
    return [turn for turn, (begin, stop) in enumerate(zip(first, stops, strict=True)) for _ in range(begin, stop)]


def to_replies(rows: Sequence[tuple[EncodedHistory, Sequence[int]]], end: int) -> Replies:
    """Histories and the tokens of their replies, padded with `end`. No row makes (0, 0)."""
    tokens = to_tokens([reply for _, reply in rows], end=None, pad=end)
    history = _padded_left([told.ids for told, _ in rows], end)
    turns = _padded_left([told.turns for told, _ in rows], -1)
    return Replies(tokens.ids, tokens.mask, history, turns)


def end_of(tokenizer: PreTrainedTokenizerBase, given: str | None = None) -> int:
    """The id of the token that ends a reply: the `given` one, else the tokenizer's eos_token. Raises UserError."""
    if given is None:
        if isinstance(tokenizer.eos_token_id, int):
            return tokenizer.eos_token_id
        raise UserError(f"the tokenizer has no eos_token, so what ends a reply? {_candidates(tokenizer)}")
    if given in tokenizer.get_vocab():
        return tokenizer.get_vocab()[given]
    ids = tokenizer(given, add_special_tokens=False, verbose=False)["input_ids"]
    if len(ids) == 1 and ids[0] != tokenizer.unk_token_id:  # "\n" has another name in many vocabularies
        return int(ids[0])
    what = "unknown to the tokenizer" if tokenizer.unk_token_id in ids else f"{len(ids)} tokens, not one"
    raise UserError(f"--data.end {given!r} is {what}. {_candidates(tokenizer)}")


def _candidates(tokenizer: PreTrainedTokenizerBase) -> str:
    names = [token for token in _names(tokenizer) if token != tokenizer.unk_token]
    if not names:
        return "Name a token of its vocabulary, --data.end TOKEN"
    return f"Name one of its tokens, --data.end TOKEN; special ones are {', '.join(names[:10])}"


def _names(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The special tokens, named by the tokenizer or only marked as such."""
    marked = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
    return list(dict.fromkeys([*tokenizer.all_special_tokens, *marked]))


def _padded_left(sequences: Sequence[list[int]], fill: int) -> Tensor:
    return to_tokens([ids[::-1] for ids in sequences], end=None, pad=fill).ids.flip(1)
