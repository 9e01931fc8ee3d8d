"""How messages become tokens, and tokens text again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

import numpy as np
import torch
from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from seqgan_kit.dialogue.conversations import SYSTEM
from seqgan_kit.errors import UserError
from seqgan_kit.samples import Replies, Tokens
from seqgan_kit.text.data import to_tokens
from seqgan_kit.worlds.dialogues import Message

HISTORY = "the history"


@dataclass(frozen=True)
class Told:
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
    """

    tokenizer: PreTrainedTokenizerBase
    end: int
    max_history: int

    def history(self, messages: Sequence[Message]) -> Told:
        """One history. Raises UserError where the chat template refuses it."""
        return self.histories([messages])[0]

    def histories(self, many: Sequence[Sequence[Message]], places: Sequence[str] | None = None) -> list[Told]:
        """Histories, tokenised together; `places` say where each stands, should the chat template refuse it."""
        texts = list(dict.fromkeys(message["content"] for messages in many for message in messages))
        contents = dict(zip(texts, self._encoded(texts), strict=True))
        if self.tokenizer.chat_template is None:
            contents = {text: [*ids, self.end] for text, ids in contents.items()}
        where = places if places is not None else [HISTORY] * len(many)
        return [self._told(messages, contents, place) for messages, place in zip(many, where, strict=True)]

    def reply(self, text: str) -> list[int]:
        """The tokens of a reply, the end token last."""
        return self.replies([text])[0]

    def replies(self, texts: Sequence[str]) -> list[list[int]]:
        """Replies, tokenised together."""
        return [[*ids, self.end] for ids in self._encoded(texts)]

    def ask(self, histories: Sequence[Sequence[Message]]) -> Replies:
        """The histories, to be replied to: ids and mask are (batch, 0)."""
        return to_replies([(told, []) for told in self.histories(histories)], self.end)

    def decode(self, tokens: Tokens) -> list[str]:
        """The replies as strings, without end token, padding and special tokens; what is unknown is shown."""
        special = _special(self.tokenizer)
        rows = [[token for token in row if token not in special] for row in plain_ids(tokens, self.end)]
        return self.tokenizer.batch_decode(rows, clean_up_tokenization_spaces=False)

    def _told(self, messages: Sequence[Message], contents: dict[str, list[int]], place: str) -> Told:
        """contents: the tokens of each message's content."""
        if self.tokenizer.chat_template is not None:
            self._check(messages, place)
        for kept in _ever_shorter(messages):
            if sum(len(contents[message["content"]]) for message in kept) > self.max_history:
                continue  # and a chat template adds to it
            parts = self._parts(kept, contents)
            if parts and sum(map(len, parts)) <= self.max_history:
                turns = chain.from_iterable([turn] * len(part) for turn, part in enumerate(parts))
                return Told(list(chain.from_iterable(parts)), list(turns), cut=len(kept) < len(messages))
        last = self._parts(messages[-1:], contents) or self._parts(messages, contents)
        ids = list(chain.from_iterable(last))[-self.max_history :]
        return Told(ids, [0] * len(ids), cut=True)

    def _check(self, messages: Sequence[Message], place: str) -> None:
        try:
            self._rendered(messages, asking=True)
        except TemplateError as error:
            raise UserError(
                f"{place}: the tokenizer's chat template refuses the messages before the reply ({error}): change them, "
                f"or the tokenizer's chat_template"
            ) from None

    def _parts(self, messages: Sequence[Message], contents: dict[str, list[int]]) -> list[list[int]]:
        """The tokens of each turn; none where the chat template refuses what is left, as some do if the assistant
        begins. One part is all where there is no telling, or where they are too many anyway."""
        if self.tokenizer.chat_template is None:
            return [contents[message["content"]] for message in messages]
        whole = self._accepted(messages, asking=True)
        if not whole:
            return []
        (ids,) = self._encoded(whole)
        if len(ids) > self.max_history:
            return [ids]
        # a turn starts where the rendering of the messages before it ends, if that is how the whole begins
        starts = [0]
        before = [text for i in range(1, len(messages)) for text in self._accepted(messages[:i], asking=False)]
        for begun in self._encoded(before):
            if starts[-1] < len(begun) < len(ids) and ids[: len(begun)] == begun:
                starts.append(len(begun))
        return [ids[start:stop] for start, stop in pairwise([*starts, len(ids)])]

    def _accepted(self, messages: Sequence[Message], asking: bool) -> list[str]:
        """One rendering, or none."""
        try:
            return [self._rendered(messages, asking)]
        except TemplateError:
            return []

    def _rendered(self, messages: Sequence[Message], asking: bool) -> str:
        """By the chat template; asking: up to where the reply begins."""
        text = self.tokenizer.apply_chat_template(list(messages), add_generation_prompt=asking, tokenize=False)
        assert isinstance(text, str)
        return text

    def _encoded(self, texts: Sequence[str]) -> list[list[int]]:
        if not texts:
            return []
        options = {"return_attention_mask": False, "return_token_type_ids": False, "verbose": False}
        ids: list[list[int]] = self.tokenizer(list(texts), add_special_tokens=False, **options)["input_ids"]
        return ids


def to_replies(rows: Sequence[tuple[Told, Sequence[int]]], end: int) -> Replies:
    """Histories and the tokens of their replies, padded with `end`. No row makes (0, 0)."""
    tokens = to_tokens([reply for _, reply in rows], end=None, pad=end)
    history = _padded_left([told.ids for told, _ in rows], end)
    turns = _padded_left([told.turns for told, _ in rows], -1)
    return Replies(tokens.ids, tokens.mask, torch.from_numpy(history), torch.from_numpy(turns))


def plain_ids(tokens: Tokens, end: int) -> list[list[int]]:
    """The rows as lists of ids, without end token and padding."""
    lengths = (tokens.mask & (tokens.ids != end)).sum(1).tolist()
    return [row[:length] for row, length in zip(tokens.ids.tolist(), lengths, strict=True)]


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


def _special(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    vocabulary = tokenizer.get_vocab()
    return {vocabulary[name] for name in _names(tokenizer)} - {tokenizer.unk_token_id}


def _ever_shorter(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    """All messages, then without the oldest; the system's leaves last."""
    system = [message for message in messages[:1] if message["role"] == SYSTEM]
    yield messages
    for start in range(len(system) + 1, len(messages)):
        yield [*system, *messages[start:]]
    if system:
        yield messages[-1:]


def _padded_left(sequences: Sequence[Sequence[int]], fill: int) -> np.ndarray:
    lengths = np.fromiter(map(len, sequences), np.int64, len(sequences))
    longest = int(lengths.max(initial=0))
    padded = np.full((len(sequences), longest), fill, np.int64)
    padded[np.arange(longest) >= longest - lengths[:, None]] = np.fromiter(
        chain.from_iterable(sequences), np.int64, lengths.sum()
    )
    return padded
