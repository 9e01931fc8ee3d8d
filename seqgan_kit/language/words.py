"""Words, sentences and paragraphs of raw text, and the way back, by nltk; none of its data are downloaded."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from seqgan_kit.errors import UserError
from seqgan_kit.files import read_json

Split = Literal["none", "punctuation"]
Unit = Literal["line", "paragraph", "sentence"]

STRAIGHT = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"'})  # nltk keeps no word together
KEPT = re.compile(r"(?<!\S)(``|''|</?\w+>)(?!\S)")  # what has been split already, and tokens such as <unk>
DOTS = re.compile(r"(?<=\S) (\.{2,})(?!\S)")
# beside those that the text itself teaches, which may be short
ABBREVIATIONS = {"dr", "e.g", "etc", "fig", "i.e", "jr", "mr", "mrs", "ms", "no", "prof", "sr", "st", "vs"}


@dataclass(frozen=True)
class Words:
    """How raw text becomes the text that is learned, and that of samples raw text again.

    lower: to small letters. split: where words end beside white space; "punctuation" is the Penn Treebank's way.
    """

    lower: bool = False
    split: Split = "none"

    def read(self, text: str) -> str:
        """The text that is learned, a blank between words; one that was read already stays as it is."""
        text = _split(text) if self.split == "punctuation" else text  # before that: names and sentences begin large
        return text.lower() if self.lower else text

    def shown(self, text: str) -> str:
        """A text of samples as people write it."""
        if self.split != "punctuation":
            return text
        return _treebank().join(DOTS.sub(r"\1", text).split())

    def saved(self) -> dict[str, Any]:
        """What stands beside a model, for `words_of`; nothing where text stays as it is."""
        return {} if self == AS_IT_STANDS else {"words": asdict(self)}


AS_IT_STANDS = Words()


def words_of(settings: Mapping[str, Any]) -> Words:
    """What `saved` wrote beside a model; of one of an earlier version, text stays as it is."""
    return Words(**settings.get("words", {}))


def check_words(model: str | None, name: str, words: Words) -> None:
    """Raises UserError where a run's model that is trained on has learned from text that was read otherwise.

    name: of the file beside the model that says how.
    """
    if model is None or not (file := Path(model) / name).is_file():
        return
    if (then := words_of(read_json(file))) != words:
        options = f"--data.lower {str(then.lower).lower()} --data.split {then.split}"
        raise UserError(f"--generator.model {model} has learned from text read with {options}: give the same")


def units(lines: Sequence[tuple[int, str]], unit: Unit) -> list[tuple[int, str]]:
    """Lines with their numbers -> the paragraphs or sentences that they are, with the numbers of their first lines.

    A paragraph is lines without one missing between them, joined by blanks. Its sentences end where Punkt (Kiss and
    Strunk 2006) finds, trained on all the lines.
    """
    if unit == "line":
        return list(lines)
    paragraphs = list(_paragraphs(lines))
    if unit == "paragraph":
        return [(numbers[0], text) for numbers, _, text in paragraphs]
    divide = _sentences("\n\n".join(text for _, _, text in paragraphs))
    found = []
    for numbers, starts, text in paragraphs:
        for start, stop in divide(text):
            line = max(i for i, begun in enumerate(starts) if begun <= start)
            found.append((numbers[line], text[start:stop]))
    return found


class _Paragraph(NamedTuple):
    """numbers: of its lines. starts: where in the text each begins."""

    numbers: list[int]
    starts: list[int]
    text: str


def _paragraphs(lines: Sequence[tuple[int, str]]) -> Iterator[_Paragraph]:
    begun: list[tuple[int, str]] = []
    for number, line in [*lines, (-1, "")]:
        if begun and number != begun[-1][0] + 1:
            starts = [0]
            for _, before in begun[:-1]:
                starts.append(starts[-1] + len(before) + 1)
            yield _Paragraph([n for n, _ in begun], starts, " ".join(text for _, text in begun))
            begun = []
        begun.append((number, line))


def _sentences(text: str) -> Callable[[str], list[tuple[int, int]]]:
    """What finds where the sentences of a paragraph start and stop; its abbreviations are learned from the text."""
    from nltk.tokenize.punkt import PunktSentenceTokenizer, PunktTrainer

    parameters = PunktTrainer(text).get_params()
    parameters.abbrev_types.update(ABBREVIATIONS)
    tokenizer = PunktSentenceTokenizer(parameters)
    return lambda paragraph: list(tokenizer.span_tokenize(paragraph))


class _Treebank(NamedTuple):
    """sentences: of a text, each with its full stop at the end, where `words` looks for it."""

    sentences: Callable[[str], list[str]]
    words: Callable[[str], list[str]]
    join: Callable[[list[str]], str]


@cache
def _treebank() -> _Treebank:
    from nltk.tokenize.destructive import NLTKWordTokenizer
    from nltk.tokenize.punkt import PunktSentenceTokenizer
    from nltk.tokenize.treebank import TreebankWordDetokenizer

    return _Treebank(
        PunktSentenceTokenizer().tokenize, NLTKWordTokenizer().tokenize, TreebankWordDetokenizer().detokenize
    )


def _split(text: str) -> str:
    treebank = _treebank()
    words: list[str] = []
    for part in KEPT.split(text.translate(STRAIGHT)):
        kept = KEPT.fullmatch(part) is not None
        words += (
            [part] if kept else [word for sentence in treebank.sentences(part) for word in treebank.words(sentence)]
        )
    return " ".join(words)
