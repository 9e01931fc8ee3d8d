"""From files of sentences to padded tokens. Every mistake in a file is told with its line."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from seqgan_kit import progress
from seqgan_kit.errors import UserError
from seqgan_kit.files import HALF_PAIR, LINE_BREAK, LINE_END, Record, listed, numbered_lines, short
from seqgan_kit.language.encoding import token_ids
from seqgan_kit.language.lengths import TooLong, fitting
from seqgan_kit.language.remarks import hard_wrapped, marked
from seqgan_kit.language.words import Unit, units
from seqgan_kit.samples import Tokens
from seqgan_kit.separators import undivided
from seqgan_kit.tables import Intake, counted_lines, is_table, records, text_of, value_at

T = TypeVar("T")
BadRows = Literal["error", "drop"]

FASTA = (".fasta", ".fa", ".fna", ".faa")
LABEL = "label"  # the column of a table that holds a sentence's class


@dataclass(frozen=True)
class Corpus:
    """The sentences of a file.

    lines: the line of the file, from 1, where each text stands; its row, where that is no text file.
    columns: the other columns of a table, as long as `texts`; None where a record lacks one. What a line of a labelled
        file begins with is the column `label`, too.
    intake: what became of each line or row.
    """

    path: Path
    texts: list[str]
    lines: list[int]
    columns: dict[str, list[object]]
    intake: Intake = field(default_factory=lambda: Intake(""), compare=False)
    unit: str = "line"

    def chosen(self, places: Sequence[int]) -> Corpus:
        """The texts at these places, from 0."""
        if len(places) == len(self.texts):  # all of them, in order
            return self
        columns = {name: [values[i] for i in places] for name, values in self.columns.items()}
        texts, lines = [self.texts[i] for i in places], [self.lines[i] for i in places]
        return replace(self, texts=texts, lines=lines, columns=columns)

    def place(self, i: int) -> str:
        """Where the text at a place stands, for a message."""
        return f"{self.path} {self.unit} {self.lines[i]}"


def read_sentences(
    path: str | Path,
    column: str | None = None,
    labelled: bool = False,
    header: bool = True,
    bad_rows: BadRows = "error",
    unit: Unit = "line",
) -> Corpus:
    """The sentences of a UTF-8 file, stripped of white space at the ends; blank ones are skipped.

    A table (see `tables.records`): the sentence is in `column`, "text" unless told otherwise; without a header a single
    column is meant. .fasta, .fa, .fna, .faa: the sequences under the headers. Any other file: one sentence a line; if
    labelled, its label and a blank before it. Each may be gzipped.

    bad_rows: what becomes of a row that has no text: the first is an error, with their number, or they are dropped.
    unit: what a sentence is: see `words.units`; of a table, the lines of each text are meant.
    """
    path = Path(path)
    table = is_table(path)
    intake = Intake(path.name, unit="rows" if table else "lines")
    if table:
        corpus = _corpus(path, records(path, intake=intake, header=header), column, labelled, header, intake)
    elif column is not None:
        raise UserError(f"--data.column {column} needs a .jsonl, .csv or .tsv file: {path} has one sentence a line")
    elif {suffix.lower() for suffix in path.suffixes[-2:]} & set(FASTA):
        corpus = _corpus(path, _fasta(path, text_of(path), intake), column, labelled, header, intake)
    else:
        corpus = _plain(path, text_of(path), labelled, unit, intake)
    intake.settle(bad_rows == "drop")
    if not corpus.texts:
        raise UserError(f"{path} has no sentences (blank ones do not count): give at least one")
    return _divided(corpus, unit) if unit != "line" else corpus


def labels_of(corpus: Corpus) -> list[str]:
    """Each text's label, of a corpus that was read as labelled."""
    return [str(value).strip() for value in corpus.columns[LABEL]]


def encode(
    corpus: Corpus,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int | None,
    too_long: TooLong = "error",
    bad_rows: BadRows = "error",
) -> tuple[Corpus, list[list[int]]]:
    """The texts that are left, and the token ids of each, whole and without an end token; `too_long` says what becomes
    of those over `max_length`. What is to be cut is `ended` later. The corpus's intake counts what is dropped or cut.
    """
    intake = corpus.intake
    ids = token_ids(tokenizer, corpus.texts, f"tokenising {corpus.path.name}")
    if max_length is not None and max_length < 1:
        raise UserError(f"--data.max_length {max_length} leaves no tokens: give {max(map(len, ids))} or leave it out")
    whole, end = [], tokenizer.eos_token_id
    for i, sequence in enumerate(ids):
        if end in sequence:
            intake.reject(f"{corpus.place(i)}: contains {tokenizer.eos_token}, which ends a sentence: remove it there")
            intake.used -= 1
        else:
            whole.append(i)
    if ids and not whole:
        raise UserError(f"{intake.bad[-len(ids)]}, and from all others: none of {len(ids)} texts could be used")
    intake.settle(bad_rows == "drop")
    corpus, ids = corpus.chosen(whole), [ids[i] for i in whole]
    kept = fitting(corpus.place, ids, max_length, too_long, "sentences", "tokens", "--data.max_length", intake)
    return corpus.chosen(kept), [ids[i] for i in kept]


def ended(sequences: Sequence[Sequence[int]], end: int, limit: int | None) -> list[list[int]]:
    """Each with its end token; of one over the limit, the next token stands in the place of that: so nobody learns to
    stop in the middle, and what is drawn, up to the same number of tokens, looks alike."""
    return [[*sequence, end][: None if limit is None else limit + 1] for sequence in sequences]


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
    return [row[:length] for row, length in zip(tokens.ids.tolist(), plain_lengths(tokens, end), strict=True)]


def plain_lengths(tokens: Tokens, end: int | None) -> list[int]:
    """How many ids each row has, without end token and padding."""
    return (tokens.mask & (tokens.ids != (-1 if end is None else end))).sum(1).tolist()


def unknown_words(tokenizer: PreTrainedTokenizerBase, texts: Iterable[str]) -> list[str]:
    """The words, each once, that the tokenizer reads as its unknown token, or in part as it."""
    words = list(dict.fromkeys(chain.from_iterable(map(str.split, texts))))
    if tokenizer.unk_token_id is None or not words:
        return []
    ids = token_ids(tokenizer, words, "looking for unknown words")
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


Found = Iterator[tuple[str, Record]]


def _plain(path: Path, text: str, labelled: bool, unit: Unit, intake: Intake) -> Corpus:
    if labelled and unit != "line":
        raise UserError(f"--data.unit {unit}: a label stands before each line of {path}: give --data.unit line")
    lines = list(progress.bar(counted_lines(text, intake), f"reading {path.name}", unit=" lines", scale=True))
    if headers := sum(line.startswith(">") for _, line in lines):
        intake.notes.append(f"{headers} lines begin with >: if these are headers, name the file {path.stem}.fasta")
    if len(lines) == 1 and (others := LINE_BREAK.findall(lines[0][1])):
        raise UserError(
            f"{path} is one line: only \\n, \\r\\n and \\r end lines, and it has {len(others)} {others[0]!r} in their "
            "place: put \\n there"
        )
    if unit == "line" and not labelled:
        told = marked(lines)
        wrapped = None if told else hard_wrapped(lines)
        intake.notes += told + ([wrapped] if wrapped else [])
    if not labelled:
        intake.used = len(lines)
        return Corpus(path, [sentence for _, sentence in lines], [i for i, _ in lines], {}, intake)
    found, texts, labels = list[int](), list[str](), list[object]()
    for line, sentence in lines:
        label, *rest = sentence.split(None, 1)
        if rest:
            found.append(line)
            texts.append(rest[0])
            labels.append(label)
        else:
            intake.reject(
                f"{path} line {line}: {short(sentence)} is a label without a sentence, or the other way round: give "
                "both, as in `1 a good film`"
            )
    intake.used = len(texts)
    return Corpus(path, texts, found, {LABEL: labels} if texts else {}, intake)


def _fasta(path: Path, text: str, intake: Intake) -> Found:
    """The sequences, each of its lines joined; what stands behind > is the column `header`."""
    intake.unit = "records"
    place, header, parts = "", "", list[str]()
    for line, content in [*numbered_lines(text), (0, ">")]:
        if not content.startswith(">"):
            if not place:
                raise UserError(f"{path} line {line}: a sequence without a header: begin with a line as `> name`")
            parts.append(content)
            continue
        if place:
            intake.read += 1
            yield place, {"header": header, "text": "".join(parts)}
        place, header, parts = f"{path} line {line}", content[1:].strip(), []


def _corpus(path: Path, found: Found, column: str | None, labelled: bool, header: bool, intake: Intake) -> Corpus:
    lines: list[int] = []
    texts: list[str] = []
    kept: list[Record] = []
    unit, name = "line", column or "text"
    for place, record in found:
        if column is None and not header and len(record) == 1:
            name = next(iter(record))
        text = _text(place, record, name, intake)
        if text == "":
            intake.dropped["blank"] += 1
        elif text is not None and (not labelled or _has_label(place, record, intake)):
            _, unit, line = place.rsplit(" ", 2)
            lines.append(int(line))
            texts.append(text)
            kept.append(record)
    intake.used = len(texts)
    others = [one for one in dict.fromkeys(chain.from_iterable(kept)) if one != name]
    if is_table(path) and kept:
        intake.notes.insert(
            0, f"the texts are in the column {name!r}" + (f", beside {listed(others)}" if others else "")
        )
    columns = {one: [record.get(one) for record in kept] for one in others}
    return Corpus(path, texts, lines, columns, intake, unit)


def _divided(corpus: Corpus, unit: Unit) -> Corpus:
    """The paragraphs or sentences of the lines; those of a row of a table by themselves."""
    lines: list[tuple[int, str]] = []  # numbered so that none of one row follows one of another
    origin: dict[int, int] = {}
    number = 0
    for i, text in enumerate(corpus.texts):
        number = number + 1 if is_table(corpus.path) else corpus.lines[i] - 1
        for line in LINE_END.split(text):
            number += 1
            origin[number] = i
            lines += [(number, line.strip())] if line.strip() else []
    found = units(lines, unit)
    before = corpus.intake
    intake = Intake(before.name, f"{unit}s", len(found), len(found), notes=before.lines())
    chosen = corpus.chosen([origin[number] for number, _ in found])
    return replace(chosen, texts=[text for _, text in found], intake=intake)


def _text(place: str, record: Record, column: str, intake: Intake) -> str | None:
    """The text, "" where it is blank, None where it is none."""
    try:
        value = value_at(record, column)
    except KeyError:
        # a table of one column may be one sentence a line, and its first row no name
        rows = (
            "; if its first row is no names but data, --data.header false"
            if (".csv" in place or ".tsv" in place) and next(iter(record), "") != "1"  # that is what it is already
            else ""
        )
        intake.reject(
            f"{place}: no column {column!r}, only {listed(record) or 'an empty record'}: "
            f"name the one with the sentences, --data.column NAME{rows}{undivided(list(record)) if rows else ''}"
        )
        return None
    if not isinstance(value, str):
        wrong = f"{column!r} is {short(value)}, not a string: put the text in quotes"
        if value is None:
            wrong = f"{column!r} holds no text: give one"
        elif isinstance(value, bytes):
            wrong = f"{column!r} is bytes, {short(value)}: decode them to text"
        elif isinstance(value, list) and value and all(isinstance(one, str) for one in value):
            wrong = f"{column!r} is {short(value)}, not a string: give each of these texts a row of its own"
        elif isinstance(value, list) and all(isinstance(one, int) for one in value):
            wrong += ", or give --data.tokens true if these are token ids"
        elif isinstance(value, dict) and set(value) == set(map(str, range(len(value)))):
            wrong = f"{column!r} is a column by the numbers of its rows: write a row a line (pandas: orient='records')"
        elif isinstance(value, dict):
            one = f"--data.column {column}.{next(iter(value), '')}"
            wrong = f"{column!r} holds {listed(value)}: name one of these, as {one}"
        intake.reject(f"{place}: {wrong}")
        return None
    if HALF_PAIR.search(value):
        intake.reject(f"{place}: {column!r} has half a surrogate pair (\\ud800 to \\udfff): remove it")
        return None
    return value.strip()


def _has_label(place: str, record: Record, intake: Intake) -> bool:
    """Whether there is a word or a whole number as the label; else the row is rejected."""
    value = record.get(LABEL)
    if LABEL not in record:
        lacks = f"{place}: no column {LABEL!r}, only {listed(record)}"
        intake.reject(f"{lacks}: name that of the labels so, or leave out --data.labelled")
    elif isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        intake.reject(f"{place}: the {LABEL} is {short(value)}: give a word or a whole number")
    else:
        return True
    return False
