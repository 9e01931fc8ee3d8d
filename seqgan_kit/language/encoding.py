"""Texts to token ids, millions of them: what a library does for each of them is too much for so many."""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerBase

from seqgan_kit import progress

AT_ONCE = 10_000  # texts that are tokenised at once: what a library keeps of them fills the memory
PLAIN = {
    "add_special_tokens": False, "return_attention_mask": False, "return_token_type_ids": False, "verbose": False,
}  # fmt: skip


@contextmanager
def collector_paused() -> Iterator[None]:
    """No search for garbage inside: there is none among millions of new lists, and it takes half of the time."""
    paused = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if paused:
            gc.enable()


def token_ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], what: str) -> list[list[int]]:
    """The token ids of each text, no special token added. what: the work, for its bar.

    A word-level tokenizer of the kit is a dictionary, and read as one: the library's way takes ten times as long.
    """
    words = _dictionary(tokenizer)
    found: list[list[int]] = []
    with progress.bar(None, what, len(texts), " texts", scale=True) as shown:
        for start in range(0, len(texts), AT_ONCE):
            some = list(texts[start : start + AT_ONCE])
            if words is not None and not words.others.search("\n".join(some)):
                known, unknown = words.known, words.unknown
                found += [[known.get(word, unknown) for word in text.split()] for text in some]
            else:
                found += tokenizer(some, **PLAIN)["input_ids"]
            shown.update(len(some))
    return found


class _Dictionary(NamedTuple):
    """known: words -> ids. unknown: the id of all others. others: what stands in texts that need the library."""

    known: dict[str, int]
    unknown: int
    others: re.Pattern[str]


def _dictionary(tokenizer: PreTrainedTokenizerBase) -> _Dictionary | None:
    """None where a tokenizer is more than a dictionary of what white space separates."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or backend.normalizer is not None or not isinstance(tokenizer.unk_token_id, int):
        return None
    if not isinstance(backend.model, WordLevel) or not isinstance(backend.pre_tokenizer, WhitespaceSplit):
        return None
    special = [re.escape(str(token)) for token in tokenizer.added_tokens_decoder.values()]
    others = re.compile("|".join([*special, "[\x1c-\x1f]"]))  # Python's white space that is none in Unicode
    return _Dictionary(tokenizer.get_vocab(), tokenizer.unk_token_id, others)
