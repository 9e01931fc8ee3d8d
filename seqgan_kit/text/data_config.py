"""The configuration of the data of a text run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from seqgan_kit.bounds import Count, Integer, Whole
from seqgan_kit.errors import UserError
from seqgan_kit.language.config import FileConfig
from seqgan_kit.language.data import BadRows
from seqgan_kit.language.words import Unit


@dataclass(frozen=True)
class DataConfig(FileConfig):
    """What to learn from: a file, or a world that the toolkit generates.

    Args:
        path: Text file with a sentence a line, or .jsonl, .json, .csv, .tsv, .parquet, .fasta, any of them as .gz, or a
            folder by `datasets.save_to_disk`; unset generates data from `world`.
        column: Column of a table that holds the texts; of the tokens, with --data.tokens. A dot leads into a nested
            one, as data.text.
        header: Whether the first row of a .csv or .tsv file names the columns. Without, their names are 1, 2, ...
        bad_rows: What becomes of a row that can't be used (no text, another number of fields, no JSON): stop with an
            error that tells how many there are, or drop them.
        unit: What a sample is: a line (or record) as it stands; or a paragraph, lines up to a blank one joined; or a
            sentence of it.
        labelled: Whether texts have labels, and are generated for each class. Each line of the text file then begins
            with its label and a blank, as in `1 a good film`; of the other files, the column `label` is meant.
        tokens: Whether the file holds integer tokens separated by spaces (music, molecules, DNA) in place of text.
        padding: Integer token that only fills sequences up to one length; it is taken off their ends.
        dense: Whether only integer tokens that occur are numbered, so that no other is ever drawn, and large ones cost
            nothing. Samples show them by their own numbers.
        names: File of what integer tokens are called in samples: a name a line, the first that of 0, or lines of a
            token, a tab and its name.
        world: World that generates the data where no file is given: `shapes` writes captions of little scenes, `oracle`
            draws from a random LSTM.
        sentences: Number of sentences that the world generates.
        oracle: File (.npz) of the original oracle's parameters, for the world `oracle`. Unset draws an oracle from the
            seed.
        oracle_vocabulary: Number of different tokens of an oracle that is drawn from the seed.
        max_length: Greatest number of tokens of a sentence, without the end token, in whose place a sentence that is
            cut has its next token. Unset takes the longest sentence.
    """

    column: str | None = None
    header: bool = True
    bad_rows: BadRows = "error"
    unit: Unit = "line"
    labelled: bool = False
    tokens: bool = False
    padding: Whole | None = None
    dense: bool = False
    names: str | None = None
    world: Literal["shapes", "oracle"] = "shapes"
    sentences: Whole = 10_000
    oracle: str | None = None
    oracle_vocabulary: Count = 5000
    max_length: Integer | None = None

    def check(self) -> None:
        """Raises UserError for options that do not go together, so that none is ignored in silence."""
        self.check_held_out()
        default = DataConfig()
        given = {name for name in FILE + TEXT + TOKENS if getattr(self, name) != getattr(default, name)}
        for names, without, wanted in (
            (FILE, self.path is None, "needs a file, --data.path"),
            (TOKENS, not self.tokens, "is for integer tokens: give --data.tokens true"),
            (TEXT, self.tokens, "is for text: leave out --data.tokens"),
        ):
            if without and (wrong := sorted(given & set(names))):
                raise UserError(f"--data.{wrong[0]} {wanted}, or leave it out")
        if self.dense and self.vocabulary is not None:
            raise UserError("--data.dense numbers the tokens that occur: leave out --data.vocabulary")


FILE = ("column", "header", "bad_rows", "unit")
TEXT = ("unit", "lower", "split")
TOKENS = ("padding", "dense", "names")
