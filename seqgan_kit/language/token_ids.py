"""From files of token ids to sequences: music, molecules, DNA, whatever has been numbered."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from seqgan_kit.errors import UserError
from seqgan_kit.files import LINE_END, listed, short
from seqgan_kit.language.data import BadRows
from seqgan_kit.language.tokenizers import BOUNDARY, token_id_tokenizer
from seqgan_kit.tables import Intake, counted_lines, is_table, records, text_of, value_at

INTEGER = re.compile(r"-?[0-9]{1,18}")  # that fits int64
BETWEEN = re.compile(r"[\s,\[\]]+")  # ids in a string: also a list, as pandas writes it
LARGEST = 1_000_000  # vocabulary that is built for few different ids: beyond, tokenizer and layers fill the memory


@dataclass(frozen=True)
class Sequences:
    """ids: of each sequence. places: where each stands. intake: what became of each line or row."""

    ids: list[list[int]]
    places: list[str]
    intake: Intake = field(compare=False)

    @property
    def occurring(self) -> list[int]:
        """The different ids, ascending."""
        return sorted({token for row in self.ids for token in row})


def read_token_ids(
    path: str | Path,
    vocabulary: int | None = None,
    column: str | None = None,
    header: bool = True,
    padding: int | None = None,
    bad_rows: BadRows = "error",
) -> Sequences:
    """The sequences of a file of integers, one sequence a line; of a table, lists or strings of them in `column`.

    vocabulary: ids must be below it. padding: an id that is taken off the end of each sequence. bad_rows: what becomes
    of a row that is no sequence: the first is an error, with their number, or they are dropped.
    """
    path = Path(path)
    intake = Intake(path.name, unit="rows" if is_table(path) else "lines")
    found, places = list[list[int]](), list[str]()
    for place, value in _values(path, column, header, intake):
        ids = _integers(place, value, intake)
        if ids is None:
            continue
        whole = len(ids)
        while padding is not None and ids and ids[-1] == padding:
            ids.pop()
        intake.repaired[f"padding {padding} taken off the end"] += len(ids) < whole
        if not ids:
            intake.dropped["blank" if not whole else "nothing but padding"] += 1
        elif min(ids) < 0:
            intake.reject(f"{place}: the token id {min(ids)} is negative: correct it, ids start at 0")
        elif vocabulary is not None and max(ids) >= vocabulary:
            intake.reject(
                f"{place}: the token id {max(ids)} is outside the vocabulary of {vocabulary} (0 to {vocabulary - 1}): "
                f"correct the line or give --data.vocabulary {max(ids) + 1} or more"
            )
        else:
            found.append(ids)
            places.append(place)
    intake.used = len(found)
    intake.settle(bad_rows == "drop")
    if not found:
        raise UserError(f"{path} has only blank lines: give one sequence of token ids a line")
    return Sequences(found, places, intake)


def vocabulary_of(path: Path, occurring: Sequence[int], given: int | None) -> int:
    """Largest id + 1, unless given. Raises UserError where it would fill the memory for few ids."""
    size = occurring[-1] + 1 if given is None else given
    if size > max(LARGEST, 10 * len(occurring)):
        raise UserError(
            f"{path}: {len(occurring)} different ids occur, the largest is {occurring[-1]}: a vocabulary of {size} "
            "would fill the memory, so number those that occur, --data.dense true"
        )
    return size


def read_names(path: str | Path, ids: Sequence[int]) -> list[str]:
    """What ids are called: a name a line, the first that of id 0; or lines of an id, a tab and its name. Those without
    one keep their number. Raises UserError where two would be the same, or a blank is in one."""
    path = Path(path)
    lines = LINE_END.split(text_of(path))
    pairs = [line.split("\t") for line in lines if line.strip()]
    if all(len(pair) == 2 and INTEGER.fullmatch(pair[0].strip()) for pair in pairs):
        names = {int(number): name.strip() for number, name in pairs}
    else:
        names = {number: line.strip() for number, line in enumerate(lines) if line.strip()}
    found = [names.get(number, str(number)) for number in ids]
    counts = Counter(found)
    for number, name in zip(ids, found, strict=True):
        if len(name.split()) != 1 or name == BOUNDARY or counts[name] > 1:
            raise UserError(f"{path}: the id {number} can't be called {short(name)}: give each one word of its own")
    return found


def is_of_ids(tokenizer: PreTrainedTokenizerBase | None) -> bool:
    """Whether a tokenizer is one of integer tokens, as `token_id_tokenizer` makes it."""
    if tokenizer is None or tokenizer.unk_token is not None:
        return False
    return bool(tokenizer.get_vocab().get(BOUNDARY) == len(tokenizer) - 1)


def numbered(
    occurring: Sequence[int], size: int, dense: bool, names: str | None, own: PreTrainedTokenizerBase | None
) -> tuple[PreTrainedTokenizerBase, dict[int, int] | None]:
    """A tokenizer of integer tokens, and the id of each that occurs, where that is another one.

    size: of the vocabulary. dense: only those that occur. names: file of what they are called. own: of a model that is
    trained on, which knows them by number or name. Raises UserError where it knows one of them not.
    """
    if own is not None:
        return own, _known(own, occurring, names)
    ids = occurring if dense else range(size)
    words = read_names(names, ids) if names is not None else list(map(str, ids)) if dense else None
    return token_id_tokenizer(len(ids), words), {token: i for i, token in enumerate(occurring)} if dense else None


def _known(own: PreTrainedTokenizerBase, ids: Sequence[int], names: str | None) -> dict[int, int]:
    words = list(map(str, ids)) if names is None else read_names(names, ids)
    known = {word: i for word, i in own.get_vocab().items() if word != BOUNDARY}
    if missing := [f"{one} ({word})" for one, word in zip(ids, words, strict=True) if word not in known]:
        raise UserError(
            f"{len(missing)} of {len(ids)} ids are no tokens of --generator.model, such as {', '.join(missing[:3])}: "
            "give those that it was trained on, with the same --data.names, or begin anew, without --generator.model"
        )
    return {one: known[word] for one, word in zip(ids, words, strict=True)}


def _values(path: Path, column: str | None, header: bool, intake: Intake) -> Iterator[tuple[str, object]]:
    if not is_table(path):
        if column is not None:
            raise UserError(f"--data.column {column}: {path} is no table, but one sequence of ids a line: leave it out")
        yield from ((f"{path} line {line}", text) for line, text in counted_lines(text_of(path), intake))
        return
    for place, record in records(path, '{"ids": [3, 1, 2]}', intake, header):
        try:
            if column is None:
                raise KeyError
            yield place, value_at(record, column)
        except KeyError:
            lacks = f"no column {column!r}, only" if column is not None else "it has the columns"
            wide = ""
            if ".csv" in place or ".tsv" in place:
                wide = (
                    "; if its first row is no names but data, --data.header false; if a row is a sequence, an id a "
                    "column, copy the file without names to one that ends in .txt"
                )
            intake.reject(f"{place}: {lacks} {listed(record)}: name the one with the ids, --data.column NAME{wide}")


def _integers(place: str, value: object, intake: Intake) -> list[int] | None:
    """A list of them; None, and the row is rejected, where it is none."""
    parts = [part for part in BETWEEN.split(value) if part] if isinstance(value, str) else value
    if not isinstance(parts, list):
        intake.reject(f"{place}: {short(value)} is no list of ids: give [3, 1, 2], or ids separated by spaces")
        return None
    for part in parts:
        if isinstance(part, bool) or not isinstance(part, int | str) or not INTEGER.fullmatch(str(part)):
            intake.reject(f"{place}: {short(part)} is not an integer: give token ids separated by spaces")
            return None
    return [int(part) for part in parts]
