"""What metrics of text count: words, whatever the tokenizer, so that the numbers of two models are of one quantity."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from transformers import PreTrainedTokenizerBase

from seqgan_kit.engine.engine import Engine
from seqgan_kit.errors import UserError
from seqgan_kit.language.data import plain_lengths, unknown_id
from seqgan_kit.language.encoding import token_ids
from seqgan_kit.report.measured import NUMBERS, Measured, notes, tokens_named
from seqgan_kit.samples import Tokens, rows

Unit = Literal["words", "characters", "tokens"]
Sentence = tuple[Hashable, ...]

UNKNOWN = ("unknown", "drawn")
"""Stands for an unknown token that a model drew. It equals no word, so it matches nothing in real text; two of them are
equal, so that it makes samples neither better nor more various."""
UNREAD = ("unknown", "real")
"""Stands for what is written as the unknown token in real text, which no sample matches either."""

HAN_AND_KANA = re.compile("[\u3040-\u30ff\u3400-\u9fff]+")  # scripts that are written without blanks
LOOKED_AT = 1000
LONG = 4  # characters of such a script: in the mean, words are shorter


@dataclass(frozen=True)
class Units:
    """Takes texts apart. unknown: how the tokenizer writes what it does not know; None where it knows everything."""

    unit: Unit
    unknown: str | None = None

    def drawn(self, texts: Sequence[str]) -> list[Sentence]:
        """The words (characters) of texts that a model drew."""
        return [self._split(text, UNKNOWN) for text in texts]

    def real(self, texts: Sequence[str]) -> list[Sentence]:
        """Those of real texts, unknown to a tokenizer or not; equal words of all texts are one object."""
        known: dict[Hashable, Hashable] = {}
        same = known.setdefault
        return [tuple([same(one, one) for one in self._split(text, UNREAD)]) for text in texts]

    def _split(self, text: str, unknown: Hashable) -> Sentence:
        if self.unknown is None or self.unknown not in text:
            return tuple(text) if self.unit == "characters" else tuple(text.split())
        if self.unit == "words":
            return tuple(unknown if self.unknown in word else word for word in text.split())
        first, *others = text.split(self.unknown)
        return (*first, *(one for part in others for one in (unknown, *part)))


def unit_of(asked: Unit | None, name: str, texts: Sequence[str]) -> Unit:
    """What is counted: what is asked for; else words, or characters where texts have no blanks between words.

    texts: of the data, none where these are numbers. name: of the data. Raises UserError for words of numbers.
    """
    if not texts:
        if asked not in (None, "tokens"):
            raise UserError(f"--evaluation.unit {asked}: {name} holds numbers, no text: leave it out, or give tokens")
        return "tokens"
    return asked or ("characters" if without_blanks(texts) else "words")


def without_blanks(texts: Sequence[str]) -> bool:
    """Whether most texts are one word, or most of them is written in Han or kana that no blanks divide."""
    if 2 * sum(len(text.split()) < 2 for text in texts) > len(texts):
        return True
    runs = [len(run) for text in texts for run in HAN_AND_KANA.findall(text)]
    return 2 * sum(runs) > sum(map(len, texts)) and sum(runs) > LONG * len(runs)


def counted(unit: Unit, tokenizer: PreTrainedTokenizerBase) -> Units:
    return Units(unit, None if unknown_id(tokenizer) is None else str(tokenizer.unk_token))


def drawn_sentences(source: Any, units: Units, tokens: Tokens, texts: Sequence[str]) -> list[Sentence]:
    """What a model drew as what metrics count. texts: what `source.decode` makes of the tokens."""
    return _ids(source, tokens) if units.unit == "tokens" else units.drawn(texts)


def real_sentences(source: Any, units: Units, tokens: Tokens, texts: Sequence[str]) -> list[Sentence]:
    """Real texts as what metrics count; of one that was cut before it was trained on, what is left of it.

    texts: row by row what stood in the file; none where that was no text.
    """
    if units.unit == "tokens" or not texts:
        return _ids(source, tokens)
    found = units.real(texts)
    cut = _cut(source, tokens, texts)
    for row, text in zip(cut, source.decode(rows(tokens, torch.tensor(cut))) if cut else [], strict=True):
        found[row] = units.real([text])[0]
    return found


def has_unknown(source: Any) -> bool:
    """Whether some tokens of the data are unknown to the tokenizer, so that a model may draw such."""
    known = unknown_id(source.tokenizer) is None
    return not known and any(unknown_rate(part, source.tokenizer) for part in (source.train, source.held_out))


def unknown_rate(tokens: Tokens, tokenizer: PreTrainedTokenizerBase) -> float:
    """The share of the tokens, padding left out, that are the unknown one."""
    return float(tokens.ids[tokens.mask].eq(unknown_id(tokenizer) or 0).double().mean())


def lossy(source: Any, units: Units, tokens: Tokens, real: Sequence[Sentence]) -> str | None:
    """That the tokenizer does not give real texts back as they were, if so: no sample can then equal them.

    Of the first `LOOKED_AT` texts; what is unknown to the tokenizer is another matter.
    """
    if units.unit == "tokens":
        return None
    back = units.drawn(source.decode(rows(tokens, slice(LOOKED_AT))))
    changed = [one != two for one, two in zip(back, real, strict=False) if UNKNOWN not in one]
    if not any(changed):
        return None
    return (
        f"the tokenizer changes {sum(changed)} of {len(changed)} held-out texts as it reads and writes them: samples "
        "can't match these"
    )


def ended(sentences: Sequence[Sentence]) -> int:
    """How many words (characters, tokens) there are, each sentence's end counted as one, as models do."""
    return sum(map(len, sentences)) + len(sentences)


def record(engine: Engine, config: Any, source: Any, evaluation: Any) -> None:
    """Writes what the metrics of a run of text or dialogue are of into its run.json, and tells it."""
    measured: Measured = evaluation.measured(config.evaluation.samples, tokenizer_name(config, source))
    engine.run_folder.measures(measured)
    guessed = measured.unit == "characters" and config.evaluation.unit is None
    why = "; there are no blanks between words" if guessed else ""
    if engine.is_main:
        print("\n".join([f"metrics of {measured.head()} (--evaluation.unit{why})", *notes(measured)]), flush=True)


def tokenizer_name(config: Any, source: Any) -> str:
    """Of what kind the tokens of a run are: likelihoods by token can be compared where this is the same."""
    if source.kind in ("tokens", "oracle"):
        return NUMBERS
    if config.generator.model is None:
        return tokens_named(config.data.tokenizer, config.data.vocabulary)
    return f"of a model, {fingerprint(source.tokenizer.get_vocab().items())}"


def per(unit: Unit) -> str | None:
    """The end of a likelihood's name: `_word`, `_character`; None for tokens, which it is of anyway."""
    return None if unit == "tokens" else f"_{unit.removesuffix('s')}"


def fingerprint(values: Iterable[Hashable]) -> str:
    """Of texts in any order, the same where they are the same."""
    return hashlib.sha256("\n".join(sorted(map(repr, values))).encode()).hexdigest()[:16]


def _ids(source: Any, tokens: Tokens) -> list[Sentence]:
    return [tuple(row) for row in source.ids(tokens)]


def _cut(source: Any, tokens: Tokens, texts: Sequence[str]) -> list[int]:
    """The rows that hold a part of their text alone. It can only be the longest."""
    lengths = plain_lengths(tokens, source.end)
    most = max(lengths)
    longest = [row for row, length in enumerate(lengths) if length == most]
    whole = token_ids(source.tokenizer, [texts[row] for row in longest], "preparing the evaluation")
    return [row for row, ids in zip(longest, whole, strict=True) if len(ids) > lengths[row]]
