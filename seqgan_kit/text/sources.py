"""From a configuration to what text training needs: token tensors, a tokenizer, and what is known about the source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from transformers import PreTrainedTokenizerBase

from seqgan_kit.engine.provenance import fingerprint
from seqgan_kit.errors import UserError
from seqgan_kit.files import listed
from seqgan_kit.language import data as files
from seqgan_kit.language.config import FileConfig
from seqgan_kit.language.tokenizers import token_id_tokenizer, train_tokenizer
from seqgan_kit.language.words import AS_IT_STANDS, Words
from seqgan_kit.networks.text.lstm import LSTMGenerator
from seqgan_kit.samples import LabelledTokens, Tokens, rows
from seqgan_kit.worlds import captions
from seqgan_kit.worlds import oracle as oracles


@dataclass(frozen=True)
class DataConfig(FileConfig):
    """What to learn from: a file, or a world that the toolkit generates.

    Args:
        path: Text file with a sentence a line, or .jsonl, .csv or .tsv; unset generates data from `world`.
        column: Column of a .jsonl, .csv or .tsv file that holds the texts.
        labelled: Whether texts have labels, and are generated for each class. Each line of the text file then begins
            with its label and a blank, as in `1 a good film`; of the other files, the column `label` is meant.
        tokens: Whether the file holds integer tokens separated by spaces (music, molecules, DNA) in place of text.
        world: World that generates the data where no file is given: `shapes` writes captions of little scenes, `oracle`
            draws from a random LSTM.
        sentences: Number of sentences that the world generates.
        oracle: File (.npz) of the original oracle's parameters, for the world `oracle`. Unset draws an oracle from the
            seed.
        oracle_vocabulary: Number of different tokens of an oracle that is drawn from the seed.
        max_length: Greatest number of tokens of a sentence, without the end token. Unset takes the longest sentence.
    """

    column: str | None = None
    labelled: bool = False
    tokens: bool = False
    world: Literal["shapes", "oracle"] = "shapes"
    sentences: int = 10_000
    oracle: str | None = None
    oracle_vocabulary: int = 5000
    max_length: int | None = None


@dataclass(frozen=True)
class Source:
    """train, held_out: token sequences. start, end, length: of the generator. vocabulary: what it can emit.

    kind: what else is known, which decides the metrics. oracle: the true distribution, where there is one.
    dropped: sentences that were longer than the limit. labels: the classes, in order, if texts have any: `train` and
    `held_out` are then LabelledTokens. train_texts, held_out_texts: row by row what stood in the file, before it became
    tokens; empty where that was no text.
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

    def summary(self) -> str:
        """What was read, in one line."""
        text = (
            f"{self.name}: {len(self.train.ids)} sentences to train on, {len(self.held_out.ids)} held out, "
            f"{self.vocabulary} different tokens, at most {self.length} a sentence"
        )
        if isinstance(self.train, LabelledTokens):
            counts = Counter(self.labels[i] for i in self.train.labels.tolist())
            text += f"; labels {', '.join(f'{label} ({counts[label]})' for label in self.labels)}"
        dropped = f"{self.dropped} longer ones were DROPPED (--data.too_long drop)" if self.dropped else None
        unknown = files.unknown_share([part.ids[part.mask] for part in (self.train, self.held_out)], self.tokenizer)
        return "; ".join(filter(None, (text, dropped, unknown)))

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
    config: DataConfig, seed: int, tokenizer: PreTrainedTokenizerBase | None = None, vocabulary: int | None = None
) -> Source:
    """Reads or generates the data. Raises UserError for anything wrong with a file or an option.

    tokenizer: of a pretrained model; without one, it is made from the sentences to train on.
    vocabulary: how many tokens the model can emit, where these are more than the tokenizer has.
    """
    config.check_held_out()
    if config.labelled and (config.path is None or config.tokens):
        raise UserError("--data.labelled needs a file of text, --data.path: generated data and tokens have no labels")
    if config.path is None and config.sentences < 2:
        raise UserError(f"--data.sentences {config.sentences}: give at least 2")
    numbers = "--data.tokens true" if config.tokens else "--data.world oracle"
    if tokenizer is not None and (config.tokens or (config.path is None and config.world == "oracle")):
        raise UserError(f"{numbers} has no text for the tokenizer of --generator.model: give --generator.config")
    if tokenizer is not None and (config.vocabulary is not None or config.tokenizer != "word"):
        raise UserError("--generator.model brings its own tokenizer: leave out --data.tokenizer and --data.vocabulary")
    if config.path is None:
        return _oracle(config, seed) if config.world == "oracle" else _shapes(config, seed, tokenizer, vocabulary)
    return _token_file(config, seed) if config.tokens else _text_file(config, seed, tokenizer, vocabulary)


def _text_file(
    config: DataConfig, seed: int, tokenizer: PreTrainedTokenizerBase | None, vocabulary: int | None
) -> Source:
    assert config.path is not None
    corpus = files.read_sentences(config.path, config.column, config.labelled)
    if config.held_out_path is None:
        train, held_out = _divide(corpus, config.held_out, seed, files.labels_of(corpus) if config.labelled else [])
    else:
        train, held_out = corpus, files.read_sentences(config.held_out_path, config.column, config.labelled)
    train, held_out = (replace(part, texts=list(map(config.words.read, part.texts))) for part in (train, held_out))
    return _text(Path(config.path).name, "text", train, held_out, config, tokenizer, vocabulary)


def _shapes(config: DataConfig, seed: int, tokenizer: PreTrainedTokenizerBase | None, vocabulary: int | None) -> Source:
    texts = captions.captions(config.sentences, seed)
    corpus = files.Corpus(Path("the shapes world"), texts, list(range(1, len(texts) + 1)), {})
    return _text("shapes world", "shapes", *_divide(corpus, config.held_out, seed), config, tokenizer, vocabulary)


def _divide(
    corpus: files.Corpus, held_out: float, seed: int, labels: Sequence[str] = ()
) -> tuple[files.Corpus, files.Corpus]:
    """To train on, and held out. labels: of the texts, where they have some; none is held out as a whole."""
    first, second = files.split(range(len(corpus.texts)), held_out, seed)
    if labels:
        known = {labels[i] for i in first}
        first = sorted([*first, *(i for i in second if labels[i] not in known)])
        second = [i for i in second if labels[i] in known]
    return corpus.chosen(first), corpus.chosen(second)


def _text(
    name: str,
    kind: Literal["text", "shapes"],
    train: files.Corpus,
    held_out: files.Corpus,
    config: DataConfig,
    tokenizer: PreTrainedTokenizerBase | None,
    vocabulary: int | None,
) -> Source:
    if tokenizer is None:
        tokenizer = train_tokenizer(config.tokenizer, train.texts, config.vocabulary)
    boundary = tokenizer.eos_token_id
    if not isinstance(boundary, int):
        raise UserError(
            "the tokenizer of --generator.model has no eos_token, so what ends a text? Give it one: "
            "AutoTokenizer.from_pretrained(FOLDER, eos_token=TOKEN).save_pretrained(FOLDER)"
        )
    whole = len(train.texts) + len(held_out.texts)
    train, encoded = files.encode(train, tokenizer, config.max_length, config.too_long)
    # evaluation is on whole sentences that fit, never on what was cut
    too_long = "drop" if config.too_long == "cut" else config.too_long
    held_out, other = files.encode(held_out, tokenizer, config.max_length, too_long)
    tokens, others = (files.to_tokens(ids, boundary, boundary) for ids in (encoded, other))
    labels: tuple[str, ...] = ()
    if config.labelled:
        labels = _classes(train)
        tokens, others = _labelled(train, tokens, labels), _labelled(held_out, others, labels)
    return Source(
        name=name,
        kind=kind,
        train=tokens,
        held_out=others,
        tokenizer=tokenizer,
        vocabulary=max(len(tokenizer), vocabulary or 0),
        start=tokenizer.bos_token_id if isinstance(tokenizer.bos_token_id, int) else boundary,
        end=boundary,
        length=max(map(len, encoded)) + 1,
        dropped=whole - len(train.texts) - len(held_out.texts),
        labels=labels,
        train_texts=train.texts,
        held_out_texts=held_out.texts,
        words=config.words,
    )


def _classes(corpus: files.Corpus) -> tuple[str, ...]:
    """The different labels, in order."""
    labels = sorted(set(files.labels_of(corpus)))
    if len(labels) < 2:
        raise UserError(
            f"{corpus.path}: all sentences to train on have the label {labels[0]!r}: give two classes or more, or "
            "leave out --data.labelled"
        )
    return tuple(labels)


def _labelled(corpus: files.Corpus, tokens: Tokens, labels: tuple[str, ...]) -> LabelledTokens:
    """The corpus's tokens with its labels. Raises UserError for one that is none of `labels`."""
    number = {label: i for i, label in enumerate(labels)}
    found = files.labels_of(corpus)
    for line, label in zip(corpus.lines, found, strict=True):
        if label not in number:
            raise UserError(
                f"{corpus.path} line {line}: the label {label!r} is that of no sentence to train on, which have "
                f"{listed(labels[:8])}{', ...' if len(labels) > 8 else ''}"
            )
    return LabelledTokens(tokens.ids, tokens.mask, torch.tensor([number[label] for label in found]))


def _token_file(config: DataConfig, seed: int) -> Source:
    assert config.path is not None
    sequences, vocabulary = files.read_token_ids(config.path, config.vocabulary)
    if config.held_out_path is None:
        train, held_out = files.split(sequences, config.held_out, seed)
    else:
        train, held_out = sequences, files.read_token_ids(config.held_out_path, vocabulary)[0]
    longest = max(map(len, sequences))
    if config.max_length is not None and longest > config.max_length:
        raise UserError(f"{config.path}: a sequence has {longest} tokens: raise --data.max_length {config.max_length}")
    same_length = len({len(row) for row in [*train, *held_out]}) == 1
    # sequences of one length need no end token; the start is then an input that is never emitted
    end = None if same_length else vocabulary
    return Source(
        name=Path(config.path).name,
        kind="tokens",
        train=files.to_tokens(train, end, vocabulary),
        held_out=files.to_tokens(held_out, end, vocabulary),
        tokenizer=token_id_tokenizer(vocabulary),
        vocabulary=vocabulary + (end is not None),
        start=vocabulary,
        end=end,
        length=longest + (end is not None),
    )


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
