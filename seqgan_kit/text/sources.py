"""From a configuration to what text training needs: token tensors, a tokenizer, and what is known about the source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Literal

import torch
from transformers import PreTrainedTokenizerBase

from seqgan_kit.bounds import SAMPLE, check_fits
from seqgan_kit.engine.provenance import fingerprint
from seqgan_kit.errors import UserError
from seqgan_kit.files import listed
from seqgan_kit.language import data as files
from seqgan_kit.language import remarks
from seqgan_kit.language.encoding import collector_paused
from seqgan_kit.language.held_out import alike, divide
from seqgan_kit.language.lengths import TooLong, fitting
from seqgan_kit.language.token_ids import Sequences, is_of_ids, numbered, read_token_ids, vocabulary_of
from seqgan_kit.language.tokenizers import token_id_tokenizer, train_tokenizer
from seqgan_kit.language.words import AS_IT_STANDS, Words
from seqgan_kit.networks.text.lstm import LSTMGenerator
from seqgan_kit.samples import LabelledTokens, Tokens, rows
from seqgan_kit.tables import Intake
from seqgan_kit.text.data_config import DataConfig
from seqgan_kit.worlds import captions
from seqgan_kit.worlds import oracle as oracles


@dataclass(frozen=True)
class Source:
    """train, held_out: token sequences. start, end, length: of the generator. vocabulary: what it can emit.

    kind: what else is known, which decides the metrics. oracle: the true distribution, where there is one.
    dropped: sentences that were longer than the limit. labels: the classes, in order, if texts have any: `train` and
    `held_out` are then LabelledTokens. train_texts, held_out_texts: row by row what stood in the file, as `words` read
    it, before it became tokens; empty where that was no text. told: what became of each row, and what is odd.
    """

    name: str
    kind: Literal["text", "tokens", "shapes", "oracle"]
    train: Tokens
    held_out: Tokens
    tokenizer: PreTrainedTokenizerBase
    vocabulary: int
    start: int
    end: int | None
    length: int
    oracle: LSTMGenerator | None = None
    dropped: int = 0
    labels: tuple[str, ...] = ()
    train_texts: Sequence[str] = ()
    held_out_texts: Sequence[str] = ()
    words: Words = AS_IT_STANDS
    told: Sequence[str] = ()

    def first_lines(self) -> list[str]:
        """All that a user should know of the data before a model learns from them."""
        return [self.summary(), *self.told]

    def summary(self) -> str:
        """What was read, in one line."""
        text = (
            f"{self.name}: {len(self.train.ids)} sentences to train on, {len(self.held_out.ids)} held out, "
            f"{self.vocabulary} different tokens, at most {self.length} a sentence"
        )
        if isinstance(self.train, LabelledTokens):
            counts = Counter(self.labels[i] for i in self.train.labels.tolist())
            text += f"; labels {', '.join(f'{label} ({counts[label]})' for label in self.labels)}"
        unknown = files.unknown_share([part.ids[part.mask] for part in (self.train, self.held_out)], self.tokenizer)
        return "; ".join(filter(None, (text, unknown)))

    def fingerprint(self) -> str:
        """The same for the same data, tokenizer and options."""
        # another machine's rounding may draw another sequence from the same oracle
        samples = () if self.oracle is not None else (self.train, self.held_out)
        labels = {f"label {label}": i for i, label in enumerate(self.labels)}
        return fingerprint(self.tokenizer.get_vocab() | labels, *samples)

    def text(self, ids: list[int]) -> str:
        """One sentence as a string, without end token."""
        return str(self.tokenizer.decode([one for one in ids if one != self.end]))

    def decode(self, tokens: Tokens) -> list[str]:
        """The sentences as strings, without end token and padding."""
        return self.tokenizer.batch_decode(self.ids(tokens))

    def shown(self, tokens: Tokens) -> list[str]:
        """The sentences as people write them, after their labels, if they have any."""
        texts = list(map(self.words.shown, self.decode(tokens)))
        if not isinstance(tokens, LabelledTokens):
            return texts
        return [f"{label} {text}" for label, text in zip(self.labels_of(tokens), texts, strict=True)]

    def labels_of(self, tokens: LabelledTokens) -> list[str]:
        """The label of each sentence."""
        return [self.labels[i] for i in tokens.labels.tolist()]

    def ids(self, tokens: Tokens) -> list[list[int]]:
        """The sentences as lists of ids, without end token and padding."""
        return files.plain_ids(tokens, self.end)


def load(
    config: DataConfig,
    seed: int,
    tokenizer: PreTrainedTokenizerBase | None = None,
    vocabulary: int | None = None,
    ended: bool = True,
) -> Source:
    """Reads or generates the data. Raises UserError for anything wrong with a file or an option.

    tokenizer: of a pretrained model; without one, it is made from the sentences to train on.
    vocabulary: how many tokens the model can emit, where these are more than the tokenizer has.
    ended: whether it emits an end token, where it is one of integer tokens.
    """
    config.check()
    if config.labelled and (config.path is None or config.tokens):
        raise UserError("--data.labelled needs a file of text, --data.path: generated data and tokens have no labels")
    if config.path is None and config.sentences < 2:
        raise UserError(f"--data.sentences {config.sentences}: give at least 2")
    if config.path is None:
        check_fits("--data.sentences", config.sentences, SAMPLE)
    numbers = "--data.tokens true" if config.tokens else "--data.world oracle"
    without = config.tokens and not is_of_ids(tokenizer)
    if tokenizer is not None and (without or (config.path is None and config.world == "oracle")):
        raise UserError(f"{numbers} has no text for the tokenizer of --generator.model: give --generator.config")
    if tokenizer is not None and (config.vocabulary is not None or config.tokenizer != "word" or config.dense):
        others = "--data.dense" if config.dense else "--data.tokenizer and --data.vocabulary"
        raise UserError(f"--generator.model brings its own tokenizer: leave out {others}")
    if config.path is None:
        return _oracle(config, seed) if config.world == "oracle" else _shapes(config, seed, tokenizer, vocabulary)
    with collector_paused():
        if config.tokens:
            return _token_file(config, seed, tokenizer, ended)
        return _text_file(config, seed, tokenizer, vocabulary)


def _text_file(
    config: DataConfig, seed: int, tokenizer: PreTrainedTokenizerBase | None, vocabulary: int | None
) -> Source:
    assert config.path is not None

    def read(path: str) -> files.Corpus:
        corpus = files.read_sentences(path, config.column, config.labelled, config.header, config.bad_rows, config.unit)
        return replace(corpus, texts=list(map(config.words.read, corpus.texts)))

    corpus = read(config.path)
    other = None if config.held_out_path is None else read(config.held_out_path)
    return _text(Path(config.path).name, "text", corpus, other, config, seed, tokenizer, vocabulary)


def _shapes(config: DataConfig, seed: int, tokenizer: PreTrainedTokenizerBase | None, vocabulary: int | None) -> Source:
    texts = list(map(config.words.read, captions.captions(config.sentences, seed)))
    intake = Intake("shapes world", "captions", len(texts), len(texts))
    corpus = files.Corpus(Path("the shapes world"), texts, list(range(1, len(texts) + 1)), {}, intake)
    return _text("shapes world", "shapes", corpus, None, config, seed, tokenizer, vocabulary)


def _text(
    name: str,
    kind: Literal["text", "shapes"],
    corpus: files.Corpus,
    other: files.Corpus | None,
    config: DataConfig,
    seed: int,
    tokenizer: PreTrainedTokenizerBase | None,
    vocabulary: int | None,
) -> Source:
    """other: the corpus that is held out, where there is a file of its own."""
    labels = files.labels_of(corpus) if config.labelled else []
    keys = list(map(alike, corpus.texts))
    told = [remarks.repeats(keys, "texts")]
    if other is None:
        first, second = _divide(keys, config, seed, labels)
        train, held_out = corpus.chosen(first), corpus.chosen(second)
    else:
        train, held_out = corpus, _known_labels(other, set(labels), config) if labels else other
    if tokenizer is None:
        tokenizer = train_tokenizer(config.tokenizer, train.texts, config.vocabulary)
        if config.tokenizer == "word":
            told.append(remarks.single_words(train.texts))
    boundary = tokenizer.eos_token_id
    if not isinstance(boundary, int):
        raise UserError(
            "the tokenizer of --generator.model has no eos_token, so what ends a text? Give it one: "
            "AutoTokenizer.from_pretrained(FOLDER, eos_token=TOKEN).save_pretrained(FOLDER)"
        )
    whole = len(train.texts) + len(held_out.texts)
    train, rows = _rows(train, tokenizer, boundary, config, config.too_long, config.reading)
    held_out, unseen_rows = _rows(held_out, tokenizer, boundary, config, _of_held_out(config))
    tokens, unseen = files.to_tokens(rows, None, boundary), files.to_tokens(unseen_rows, None, boundary)
    classes = _classes(train) if config.labelled else ()
    if config.labelled:
        tokens, unseen = _labelled(train, tokens, classes), _labelled(held_out, unseen, classes)
        told += remarks.classes(files.labels_of(train), files.labels_of(held_out))
    seen, new = map(alike, train.texts), list(map(alike, held_out.texts))
    told.append(remarks.trained_on(seen, new, "sentences", other is not None))
    unknown = set(files.unknown_words(tokenizer, [*train.texts, *held_out.texts]))
    told.append(remarks.unknown(train.texts, held_out.texts, unknown))
    if not held_out.texts:
        raise UserError(f"{name}: nothing that is held out is left: give more, or --data.too_long cut")
    return Source(
        name=name,
        kind=kind,
        train=tokens,
        held_out=unseen,
        tokenizer=tokenizer,
        vocabulary=max(len(tokenizer), vocabulary or 0),
        start=tokenizer.bos_token_id if isinstance(tokenizer.bos_token_id, int) else boundary,
        end=boundary,
        length=max(map(len, rows)),
        dropped=whole - len(train.texts) - len(held_out.texts),
        labels=classes,
        train_texts=train.texts,
        held_out_texts=held_out.texts,
        words=config.words,
        told=_told([each.intake for each in (corpus, other) if each is not None], told),
    )


def _rows(
    corpus: files.Corpus,
    tokenizer: PreTrainedTokenizerBase,
    end: int,
    config: DataConfig,
    too_long: TooLong,
    reading: int = 2,
) -> tuple[files.Corpus, list[list[int]]]:
    """The texts that are left, as far as their rows go, and the rows: token ids with the end token, but for those that
    were cut; in reading 1 these end with it, too."""
    corpus, ids = files.encode(corpus, tokenizer, config.max_length, too_long, config.bad_rows)
    rows = files.ended(ids, end, config.max_length)
    corpus = replace(corpus, texts=_as_kept(corpus.texts, ids, rows, tokenizer))
    return corpus, rows if reading != 1 else [[*some[: config.max_length], end] for some in ids]


def _as_kept(
    texts: Sequence[str], ids: Sequence[list[int]], rows: Sequence[list[int]], tokenizer: PreTrainedTokenizerBase
) -> list[str]:
    """The texts as far as their rows go: ids are those of the whole text, which may have been cut. Words that the
    tokenizer does not know stay as they stood."""
    found = list(texts)
    for i, (whole, row) in enumerate(zip(ids, rows, strict=True)):
        if len(row) <= len(whole):  # else it has all of it, and the end token
            words, left = texts[i].split(), str(tokenizer.decode(row)).split()
            last = words[len(left) - 1]
            found[i] = " ".join([*words[: len(left) - 1], left[-1] if last.startswith(left[-1]) else last])
    return found


def _of_held_out(config: DataConfig) -> TooLong:
    """What becomes of held-out texts that are too long: the same, so that not only short ones are scored; runs of
    earlier versions drop them where others are cut."""
    return "drop" if config.too_long == "cut" and config.reading == 1 else config.too_long


def _told(intakes: Sequence[Intake], remarks: Sequence[str | None]) -> list[str]:
    return [line for intake in intakes for line in intake.lines()] + [remark for remark in remarks if remark]


def _divide(
    keys: Sequence[Hashable], config: DataConfig, seed: int, labels: Sequence[str] = ()
) -> tuple[list[int], list[int]]:
    """The places to train on, and those held out. Equal keys are on one side, unless data are read as in old runs."""
    anew = config.reading > 1
    name = str(config.path or f"the {config.world} world")
    return divide(name, keys if anew else range(len(keys)), config.held_out, seed, labels, anew)


def _classes(corpus: files.Corpus) -> tuple[str, ...]:
    """The different labels, in order."""
    labels = sorted(set(files.labels_of(corpus)))
    if len(labels) < 2:
        raise UserError(
            f"{corpus.path}: all sentences to train on have the label {labels[0]!r}: give two classes or more, or "
            "leave out --data.labelled"
        )
    return tuple(labels)


def _known_labels(corpus: files.Corpus, known: set[str], config: DataConfig) -> files.Corpus:
    """The texts of a held-out file whose label is one of `known`; the others are bad rows. Raises UserError."""
    kept = []
    for i, label in enumerate(files.labels_of(corpus)):
        if label in known:
            kept.append(i)
            continue
        some = f"{listed(sorted(known)[:8])}{', ...' if len(known) > 8 else ''}"
        corpus.intake.used -= 1
        corpus.intake.reject(
            f"{corpus.place(i)}: the label {label!r} is that of no sentence to train on, which have {some}"
        )
    corpus.intake.settle(config.bad_rows == "drop")
    return corpus.chosen(kept)


def _labelled(corpus: files.Corpus, tokens: Tokens, labels: tuple[str, ...]) -> LabelledTokens:
    """The corpus's tokens with its labels."""
    number = {label: i for i, label in enumerate(labels)}
    found = [number[label] for label in files.labels_of(corpus)]
    return LabelledTokens(tokens.ids, tokens.mask, torch.tensor(found))


def _token_file(config: DataConfig, seed: int, own: PreTrainedTokenizerBase | None, ended: bool) -> Source:
    assert config.path is not None
    path = Path(config.path)
    given = config.column, config.header, config.padding, config.bad_rows
    first = read_token_ids(path, config.vocabulary, *given)
    size = 0 if config.dense or own is not None else vocabulary_of(path, first.occurring, config.vocabulary)
    parts, told, intakes = [first], [remarks.repeats(list(map(tuple, first.ids)), "sequences")], [first.intake]
    if config.held_out_path is not None:
        parts.append(read_token_ids(config.held_out_path, size or None, *given))
        intakes.append(parts[1].intake)
    occurring = sorted(set().union(*(part.occurring for part in parts)))
    if config.padding is None:
        told.append(remarks.padding(first.ids))
    limited = [_limited(part, config, held_out=i > 0) for i, part in enumerate(parts)]
    if config.held_out_path is None:
        train, held_out = (
            [limited[0][i] for i in part] for part in _divide(list(map(tuple, limited[0])), config, seed)
        )
    else:
        train, held_out = limited
    given_both = config.held_out_path is not None
    kept = [[tuple(row[: config.max_length]) for row in part] for part in (train, held_out)]
    told.append(remarks.trained_on(kept[0], kept[1], "sequences", given_both))
    if config.dense:  # those that were dropped or cut away are not to be drawn
        occurring = sorted(set(chain.from_iterable(chain(*kept))))
    told += remarks.ids(kept[0], kept[1], size or len(occurring))
    tokenizer, number = numbered(occurring, size, config.dense, config.names, own)
    size = len(tokenizer) - 1
    if number is not None:
        train, held_out = ([[number.get(token, 0) for token in row] for row in part] for part in (train, held_out))
    same_length = len({len(row[: config.max_length]) for row in [*train, *held_out]}) == 1
    # sequences of one length need no end token; the start is then an input that is never emitted
    end = None if (same_length if own is None else not ended) else size
    if end is None and not same_length:
        raise UserError(f"{path}: --generator.model draws sequences of one length: give such, or begin anew")
    rows, unseen = (
        [row[: config.max_length] for row in part] if end is None else files.ended(part, end, config.max_length)
        for part in (train, held_out)
    )
    return Source(
        name=path.name,
        kind="tokens",
        train=files.to_tokens(rows, None, size),
        held_out=files.to_tokens(unseen, None, size),
        tokenizer=tokenizer,
        vocabulary=size + (end is not None),
        start=size,
        end=end,
        length=max(map(len, rows)),
        told=_told(intakes, told),
    )


def _limited(part: Sequences, config: DataConfig, held_out: bool) -> list[list[int]]:
    """Those that are not too long; what is to be cut is so later."""
    too_long = _of_held_out(config) if held_out else config.too_long
    kept = fitting(
        part.places.__getitem__,
        part.ids,
        config.max_length,
        too_long,
        "sequences",
        "ids",
        "--data.max_length",
        part.intake,
    )
    return [part.ids[i] for i in kept]


def _oracle(config: DataConfig, seed: int) -> Source:
    if config.oracle is not None:
        oracle = oracles.load_oracle(config.oracle)
    else:
        oracle = oracles.draw_oracle(seed, config.oracle_vocabulary)
    held_out = max(1, round(config.sentences * config.held_out))
    drawn = oracles.sequences(oracle, config.sentences + held_out, seed)
    return Source(
        name="random-LSTM oracle",
        kind="oracle",
        train=rows(drawn, slice(config.sentences)),
        held_out=rows(drawn, slice(config.sentences, None)),
        tokenizer=token_id_tokenizer(oracle.config.vocabulary),
        vocabulary=oracle.config.vocabulary,
        start=oracle.config.start,
        end=oracle.config.end,
        length=oracle.config.length,
        oracle=oracle,
    )
