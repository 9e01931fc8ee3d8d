"""From files of sentences or token ids to padded tokens. Every mistake in a file is told with its line."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from seqgan_kit.errors import UserError
from seqgan_kit.files import HALF_PAIR, Record, listed, numbered_lines, read_text, short
from seqgan_kit.samples import Tokens
from seqgan_kit.tables import csv_records, json_records

T = TypeVar("T")
TooLong = Literal["error", "drop", "cut"]

INTEGER = re.compile(r"-?[0-9]{1,18}")  # that fits int64
LABEL = "label"  # the column of a table that holds a sentence's class


@dataclass(frozen=True)
class Corpus:
    """The sentences of a file.

    lines: the line of the file, from 1, where each text stands.
    columns: the other columns of a JSONL or CSV file, as long as `texts`; None where a record lacks one. What a line
        of a labelled file begins with is the column `label`, too.
    """

    path: Path
    texts: list[str]
    lines: list[int]
    columns: dict[str, list[object]]

    def chosen(self, places: Sequence[int]) -> Corpus:
        """The texts at these places, from 0."""
        columns = {name: [values[i] for i in places] for name, values in self.columns.items()}
        return Corpus(self.path, [self.texts[i] for i in places], [self.lines[i] for i in places], columns)


def read_sentences(path: str | Path, column: str | None = None, labelled: bool = False) -> Corpus:
    """The sentences of a UTF-8 file, stripped of white space at the ends; blank ones are skipped.

    .jsonl, .ndjson: one JSON object a line. .csv, .tsv: the first row names the columns. The sentence is in `column`,
    "text" unless told otherwise. Any other file: one sentence a line; if labelled, its label and a blank before it.
    """
    path = Path(path)
    text = read_text(path)
    records: Iterable[tuple[int, Record]]
    match path.suffix.lower():
        case ".jsonl" | ".ndjson":
            records = json_records(path, text)
        case ".csv" | ".tsv" as suffix:
            records = csv_records(path, text, suffix)
        case ".json":
            raise UserError(f"{path} is JSON: give JSON lines (.jsonl), one object a line, as `jq -c '.[]'` makes them")
        case _ if column is not None:
            raise UserError(f"--data.column {column} needs a .jsonl, .csv or .tsv file: {path} has one sentence a line")
        case _ if labelled:
            records = ((line, _labelled(path, line, sentence)) for line, sentence in numbered_lines(text))
        case _:
            records = ((line, {"text": sentence}) for line, sentence in numbered_lines(text))
    return _corpus(path, records, column or "text")


def read_token_ids(path: str | Path, vocabulary: int | None = None) -> tuple[list[list[int]], int]:
    """The sequences of a file of integers, one sequence a line, and the vocabulary size (given, or largest id + 1)."""
    path = Path(path)
    sequences = []
    for line, text in numbered_lines(read_text(path)):
        ids = _integers(path, line, text)
        if min(ids) < 0:
            raise UserError(f"{path} line {line}: the token id {min(ids)} is negative: correct it, ids start at 0")
        if vocabulary is not None and max(ids) >= vocabulary:
            raise UserError(
                f"{path} line {line}: the token id {max(ids)} is outside the vocabulary of {vocabulary} "
                f"(0 to {vocabulary - 1}): correct the line or give --data.vocabulary {max(ids) + 1} or more"
            )
        sequences.append(ids)
    if not sequences:
        raise UserError(f"{path} has only blank lines: give one sequence of token ids a line")
    return sequences, vocabulary or max(map(max, sequences)) + 1


def labels_of(corpus: Corpus) -> list[str]:
    """Each text's label. Raises UserError where one is missing, or is no word or whole number."""
    if LABEL not in corpus.columns:
        raise UserError(
            f"{corpus.path} line {corpus.lines[0]}: no column {LABEL!r}: name that of the labels so, or leave out "
            "--data.labelled"
        )
    for line, value in zip(corpus.lines, corpus.columns[LABEL], strict=True):
        if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
            raise UserError(f"{corpus.path} line {line}: the {LABEL} is {short(value)}: give a word or a whole number")
    return [str(value).strip() for value in corpus.columns[LABEL]]


def encode(
    corpus: Corpus, tokenizer: PreTrainedTokenizerBase, max_length: int | None, too_long: TooLong = "error"
) -> tuple[Corpus, list[list[int]]]:
    """The texts that are left, and the token ids of each, without an end token; `too_long` says what becomes of those
    over `max_length`."""
    if max_length is not None and max_length < 1:
        raise UserError(f"--data.max_length {max_length} leaves no tokens: give 1 or more")
    ids: list[list[int]] = tokenizer(
        corpus.texts, add_special_tokens=False, return_attention_mask=False, return_token_type_ids=False, verbose=False
    )["input_ids"]
    places = [f"{corpus.path} line {line}" for line in corpus.lines]
    for place, sequence in zip(places, ids, strict=True):
        if tokenizer.eos_token_id in sequence:
            raise UserError(f"{place}: contains {tokenizer.eos_token}, which ends a sentence: remove it there")
    kept = fitting(places, ids, max_length, too_long, "sentences", "tokens", "--data.max_length")
    return corpus.chosen(kept), [ids[i][:max_length] for i in kept]


def fitting(
    places: Sequence[str],
    sequences: Sequence[Sequence[int]],
    limit: int | None,
    too_long: TooLong,
    unit: str,
    counted: str,
    option: str,
) -> list[int]:
    """Which of the sequences are left, some of them perhaps to be cut. Raises UserError for one over the limit, unless
    `too_long` says otherwise, and where none is left.

    places: where each stands. unit, counted, option: what they, their tokens and the limit are called in messages.
    """
    lengths = [len(sequence) for sequence in sequences]
    longer = [i for i, length in enumerate(lengths) if limit is not None and length > limit]
    if not longer or too_long == "cut":
        return list(range(len(lengths)))
    if too_long == "error":
        raise UserError(
            f"{places[longer[0]]}: {lengths[longer[0]]} {counted}, over the limit of {limit} ({len(longer)} of "
            f"{len(lengths)} {unit} are): give {option} {max(lengths)}, or --data.too_long drop or cut"
        )
    if len(longer) == len(lengths):
        raise UserError(
            f"{places[0]} and all others: none of {len(lengths)} {unit} has at most {limit} tokens: "
            f"give {option} {min(lengths)} or more"
        )
    return sorted(set(range(len(lengths))) - set(longer))


def to_tokens(sequences: Sequence[Sequence[int]], end: int | None, pad: int) -> Tokens:
    """The sequences as rows, each with the token `end` appended (None: nothing) and padded with `pad` on the right."""
    lengths = np.fromiter(map(len, sequences), np.int64, len(sequences))
    flat = np.fromiter(chain.from_iterable(sequences), np.int64, lengths.sum())
    longest = lengths.max(initial=0) + (end is not None)
    places = np.arange(longest)
    ids = np.full((len(sequences), longest), pad)
    mask = places < lengths[:, None]
    ids[mask] = flat
    if end is not None:
        at_end = places == lengths[:, None]
        ids[at_end] = end
        mask |= at_end
    return Tokens(torch.from_numpy(ids), torch.from_numpy(mask))


def plain_ids(tokens: Tokens, end: int | None) -> list[list[int]]:
    """The rows as lists of ids, without end token and padding."""
    lengths = (tokens.mask & (tokens.ids != (-1 if end is None else end))).sum(1).tolist()
    return [row[:length] for row, length in zip(tokens.ids.tolist(), lengths, strict=True)]


def unknown_words(tokenizer: PreTrainedTokenizerBase, texts: Iterable[str]) -> list[str]:
    """The words, each once, that the tokenizer reads as its unknown token, or in part as it."""
    words = list(dict.fromkeys(word for text in texts for word in text.split()))
    if tokenizer.unk_token_id is None or not words:
        return []
    ids = tokenizer(words, add_special_tokens=False, verbose=False)["input_ids"]
    return [word for word, found in zip(words, ids, strict=True) if tokenizer.unk_token_id in found]


def unknown_id(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The id of what a tokenizer does not know; None where it has none, or as the end, as GPT-2's, which knows all."""
    unknown: int | None = tokenizer.unk_token_id
    special = (tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id)
    return None if unknown in special else unknown


def unknown_share(tokens: Iterable[Tensor], tokenizer: PreTrainedTokenizerBase) -> str | None:
    """How much of a text its tokenizer does not know, in a few words; None where it knows all.

    tokens: ids that count, without padding.
    """
    unknown = unknown_id(tokenizer)
    if unknown is None:
        return None
    parts = list(tokens)
    count, total = sum(int((part == unknown).sum()) for part in parts), sum(part.numel() for part in parts)
    if not count:
        return None
    return f"{count} of {total} tokens are UNKNOWN to the tokenizer ({tokenizer.unk_token})"


def split(items: Sequence[T], held_out: float, seed: int) -> tuple[list[T], list[T]]:
    """The items to train on and those held out, a share `held_out` (at least one, unless 0) drawn by the seed."""
    if not 0 <= held_out < 1:
        raise UserError(f"--data.held_out {held_out} is not a share: give a number from 0 to below 1, as 0.1")
    count = max(1, round(held_out * len(items))) if held_out > 0 else 0
    if count >= len(items):
        raise UserError(
            f"--data.held_out {held_out} of {len(items)} leaves nothing to train on: give more data or a smaller share"
        )
    chosen = set(random.Random(seed).sample(range(len(items)), count))
    train = [item for place, item in enumerate(items) if place not in chosen]
    return train, [items[place] for place in sorted(chosen)]


def _labelled(path: Path, line: int, text: str) -> Record:
    label, *rest = text.split(None, 1)
    if not rest:
        raise UserError(
            f"{path} line {line}: {short(text)} is a label without a sentence, or the other way round: give both, "
            "as in `1 a good film`"
        )
    return {LABEL: label, "text": rest[0]}


def _corpus(path: Path, records: Iterable[tuple[int, Record]], column: str) -> Corpus:
    lines: list[int] = []
    texts: list[str] = []
    kept: list[Record] = []
    for line, record in records:
        if text := _text(path, line, record, column):
            lines.append(line)
            texts.append(text)
            kept.append(record)
    if not texts:
        raise UserError(f"{path} has no sentences (blank ones do not count): give at least one")
    others = [name for name in dict.fromkeys(chain.from_iterable(kept)) if name != column]
    return Corpus(path, texts, lines, {name: [record.get(name) for record in kept] for name in others})


def _text(path: Path, line: int, record: Record, column: str) -> str:
    if column not in record:
        raise UserError(
            f"{path} line {line}: no column {column!r}, only {listed(record) or 'an empty record'}: "
            f"name the one with the sentences, --data.column NAME"
        )
    value = record[column]
    if not isinstance(value, str):
        raise UserError(f"{path} line {line}: {column!r} is {short(value)}, not a string: put the text in quotes")
    if HALF_PAIR.search(value):
        raise UserError(f"{path} line {line}: {column!r} has half a surrogate pair (\\ud800 to \\udfff): remove it")
    return value.strip()


def _integers(path: Path, line: int, text: str) -> list[int]:
    words = text.split()
    for word in words:
        if not INTEGER.fullmatch(word):
            raise UserError(f"{path} line {line}: {short(word)} is not an integer: give token ids separated by spaces")
    return [int(word) for word in words]
