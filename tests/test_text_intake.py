"""What became of each row of a file of text or ids is told in a run's first lines, and nothing of it is a guess."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import datasets
import pandas
import pytest
import yaml

import runs
from seqgan_kit.cli import main
from seqgan_kit.engine import checks
from seqgan_kit.errors import UserError
from seqgan_kit.language import remarks
from seqgan_kit.language.data import read_sentences
from seqgan_kit.language.held_out import divide
from seqgan_kit.language.token_ids import read_token_ids
from seqgan_kit.language.tokenizers import token_id_tokenizer
from seqgan_kit.tables import Intake, records
from seqgan_kit.text.data_config import DataConfig
from seqgan_kit.text.models import check_length
from seqgan_kit.text.sources import Source, load

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str, name: str = "train.txt") -> Path:
        (tmp_path / name).write_bytes(text.encode())
        return tmp_path / name

    return write


def source(path: Path, seed: int = 0, **options: Any) -> Source:
    return load(DataConfig(str(path), **options), seed)


def told(path: Path, **options: Any) -> str:
    """The first lines of a run."""
    return "\n".join(source(path, **options).first_lines())


def mistake(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


# F1, F5: tables


ROWS = ["text\tlabel", '"so it began\t0', "a second line\t1", "a third line\t1", 'and he said so"\t0', ""]


def test_a_quote_in_tsv_is_a_character(write: Write) -> None:
    """Two that would swallow the rows between them, and one that never closes, do not: as many rows as lines."""
    corpus = read_sentences(write("\n".join(ROWS), "a.tsv"))
    assert corpus.texts == ['"so it began', "a second line", "a third line", 'and he said so"']
    assert corpus.columns == {"label": ["0", "1", "1", "0"]}
    assert '2 lines hold a ", which is a character of a .tsv file like any other' in corpus.intake.notes
    one = read_sentences(write("\n".join(ROWS).replace('so"', "so"), "a.tsv"))
    assert len(one.texts) == 4
    assert read_sentences(write('text\n"Hi," he said.\nit is 5" long\n', "a.tsv")).texts == [
        '"Hi," he said.',
        'it is 5" long',
    ]


@pytest.mark.parametrize("separator", ["\t", ","])
def test_tables_of_pandas_come_back(write: Write, separator: str) -> None:
    """Whatever it quotes: quotes, separators, line ends; how many fields go over lines is told."""
    texts = ['"', 'he said "hi"', "tab\there", "two\nlines", "plain", 'all "of\tit"\n', "a, b", '"begins', 'ends"']
    texts.append("one\rrow")  # which Python before 3.13 writes without quotes, and pandas reads back as two rows
    frame = pandas.DataFrame({"text": texts, "n": range(len(texts))})
    corpus = read_sentences(write(frame.to_csv(sep=separator, index=False), "a.tsv" if separator == "\t" else "a.csv"))
    assert corpus.texts == [text.strip().replace("\r", " ") for text in texts]
    assert "1 carriage returns inside a row, each read as a blank" in corpus.intake.notes
    assert re.search(r"2 rows have a field in quotes that goes over several lines \(the first: lines 5 to 6\)",
                     "\n".join(corpus.intake.lines()))  # fmt: skip


def test_a_field_in_quotes_of_tsv_on_one_line(write: Write) -> None:
    corpus = read_sentences(write('text\tn\n"a ""b"""\t1\nc\t2\n', "a.tsv"))
    assert corpus.texts == ['a "b"', "c"]
    assert corpus.intake.repaired == {"quotes round a field of .tsv taken off": 1}


def test_a_table_without_a_header(write: Write) -> None:
    """Its first row is read as names only where that is said; the advice of the error reads all three."""
    path = write("CCO\nCCN\nCCC\n", "a.csv")
    assert "if its first row is no names but data, --data.header false" in mistake(lambda: read_sentences(path))
    assert read_sentences(path, header=False).texts == ["CCO", "CCN", "CCC"]
    assert "a.csv: 3 rows read, 3 used" in told(path, header=False)
    path = write("1,a b\n2,c d\n", "b.csv")
    assert "only '1', '2': name the one" in mistake(lambda: read_sentences(path, header=False))
    assert read_sentences(path, "2", header=False).texts == ["a b", "c d"]
    named = read_sentences(path.with_name("a.csv"), "CCO")
    assert named.intake.lines() == ["a.csv: 2 rows read, 2 used", "the texts are in the column 'CCO'"]


def test_two_columns_of_one_name(write: Write) -> None:
    """The second would overwrite the first."""
    path = write("text,text\na,b\n", "a.csv")
    twice = f"{path} has several columns of the name 'text': give each its own, in a first row of names"
    assert mistake(lambda: read_sentences(path)) == twice
    path.write_text("a,b\n" + path.read_text())
    assert read_sentences(path, "a").texts == ["text", "a"]


def test_a_remark_above_the_names_of_columns(write: Write) -> None:
    """As matplotlib's Stocks.csv has it: then quotes are not what lacks; without that line the table is read."""
    path = write("# from: somewhere\nid,text\n1,a b\n", "a.csv")
    error = mistake(lambda: read_sentences(path))
    assert error.startswith(f"{path} line 2: 2 fields under a header of 1 ('# from: somewhere'): put fields")
    assert "or take out line 1 if it doesn't name the columns" in error
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    assert read_sentences(path).texts == ["a b"]


def test_a_wide_table_is_told_in_one_short_line(write: Write) -> None:
    """So many columns by name, the others by their number; a row of ids is read as the error advises."""
    path = write("\n".join(",".join(str(i + j) for i in range(60)) for j in range(3)) + "\n", "a.csv")
    assert "'24' and 36 others: name the one" in mistake(lambda: read_sentences(path, header=False))
    assert "beside '1', '3'" in told(path, column="2", header=False)
    assert "'25' and 35 others" in told(path, column="2", header=False)
    error = mistake(lambda: read_token_ids(path, header=False))
    assert "'24' and 36 others: name the one with the ids" in error
    assert "copy the file without names to one that ends in .txt" in error
    assert read_token_ids(path.rename(path.with_suffix(".txt"))).ids == [list(range(j, j + 60)) for j in range(3)]


def test_ids_of_one_length_are_told(write: Write) -> None:
    """There is no end token then; and a series that stands in a column is a mistake."""
    assert "every sequence is ONE ID" in told(write("1\n2\n3\n"), tokens=True)
    path = write("1 2\n2 2\n3 1\n")
    assert "every sequence has 2 ids, so no end is learnt, and samples have as many" in told(path, tokens=True)
    assert source(path, tokens=True).end is None
    assert "every sequence" not in told(write("1\n2 2\n3 1\n"), tokens=True)


def test_a_long_text_in_a_table(write: Write) -> None:
    """Python's csv module refuses fields of more than 131,072 characters, unless told otherwise."""
    assert read_sentences(write(f"text\n{'a ' * 100_000}\nb\n", "a.csv")).texts[0] == ("a " * 100_000).strip()


# F2, F4: lines


def test_line_ends_of_any_kind(write: Write) -> None:
    path = write("one two\rthree four\nfive six\rseven\r\n")
    assert read_sentences(path).texts == ["one two", "three four", "five six", "seven"]
    assert "2 carriage returns, each read as the end of a line" in told(path)
    table = write("text\rone two\rthree\r", "a.csv")
    assert read_sentences(table).texts == ["one two", "three"]


def test_lines_that_are_one_word(write: Write) -> None:
    """White space separates words: where there is none, that is said, and the tokenizers that help; they do."""
    path = write("".join(f"今日天氣很好我們去公園{i}\n" for i in range(100)))
    assert "90 of 90 texts are ONE WORD to --data.tokenizer word" in told(path)
    assert "give --data.tokenizer character or sentencepiece" in told(path)
    for kind in ("character", "sentencepiece"):
        assert "ONE WORD" not in told(path, tokenizer=kind)
    assert remarks.single_words(["a b", "c d", "e"]) is None
    assert str(remarks.single_words(["a remark", "0.1,0.2", "0.3,0.1"])).startswith("2 of 3 texts are ONE WORD")


PROSE = (
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness, "
    "it was the epoch of belief, it was the epoch of incredulity, it was the season of Light, it was the season of "
    "Darkness. We had everything before us, we had nothing before us. In short, the period was so far like the present "
    "period, that some of its noisiest authorities insisted on its being received, for good or for evil, in the "
    "superlative degree of comparison only. There were a king with a large jaw and a queen with a plain face."
)


def wrapped(text: str, width: int = 50) -> str:
    import textwrap

    return textwrap.fill(text, width) + "\n"


def test_hard_wrapped_prose_is_noticed(write: Write) -> None:
    """The options that it names join the lines; sentences one a line are none."""
    path = write(wrapped(PROSE) + "\n" + wrapped(PROSE[:300], 50))
    said = told(path)
    assert "as HARD-WRAPPED prose does: --data.unit sentence joins them" in said
    corpus = read_sentences(path, unit="sentence")
    assert corpus.texts[:3] == [part.strip() + "." for part in PROSE.split(".")[:3]]
    assert "HARD-WRAPPED" not in told(path, unit="sentence")
    assert read_sentences(path, unit="paragraph").texts == [PROSE, PROSE[:300]]
    lines = [(i, f"a man with a {'very ' * (i % 7)}long coat rides the horse number {i}") for i in range(60)]
    assert remarks.hard_wrapped(lines) is None
    assert remarks.hard_wrapped([(i, f"{'word ' * 12}.") for i in range(60)]) is None, "each line is a sentence"
    poems = [(i, "\u79e6 \u5ddd " * 12 + "\u3002") for i in range(60)]  # of one width, and each ends
    assert remarks.hard_wrapped(poems) is None


def test_sentences_of_a_table_and_what_is_counted(write: Write) -> None:
    """Each row's by themselves, with its columns."""
    rows = [{"text": "One is here. Two\nis there.", "n": 1}, {"text": "Three", "n": 2}, {"text": "follows it.", "n": 3}]
    corpus = read_sentences(write("\n".join(map(json.dumps, rows)), "a.jsonl"), unit="sentence")
    assert corpus.texts == ["One is here.", "Two is there.", "Three", "follows it."]
    assert corpus.columns["n"] == [1, 1, 2, 3]
    assert corpus.lines == [1, 1, 2, 3]
    assert corpus.intake.lines()[:2] == ["a.jsonl: 4 sentences read, 4 used", "a.jsonl: 3 rows read, 3 used"]
    path = write("1 A b. C d.\n0 e\n")
    assert "give --data.unit line" in mistake(lambda: read_sentences(path, labelled=True, unit="sentence"))


# F3, F6: ids


PADDED = "7 3 9 4 0 0 0 0\n7 5 0 0 0 0 0 0\n7 3 8 8 2 0 0 0\n"


def test_padding_is_noticed_and_taken_off(write: Write) -> None:
    path = write(PADDED)
    assert "all 3 sequences have 8 ids, and 3 end in runs of 0: if that is PADDING, --data.padding 0" in told(
        path, tokens=True
    )
    found = source(path, tokens=True, padding=0)
    assert "3 REPAIRED (padding 0 taken off the end)" in "\n".join(found.first_lines())
    assert "PADDING" not in "\n".join(found.first_lines())
    rows = [found.text(ids) for part in (found.train, found.held_out) for ids in found.ids(part)]
    assert sorted(rows) == ["7 3 8 8 2", "7 3 9 4", "7 5"]
    assert found.end is not None
    only = read_token_ids(write("1 0\n0 0\n0 1 0\n"), padding=0)
    assert only.ids == [[1], [0, 1]]
    assert only.intake.dropped == Counter({"nothing but padding": 1})
    assert remarks.padding([[1, 2, 3], [3, 2, 2], [1, 1, 2]]) is None
    assert remarks.padding([[1, 0, 0], [3, 0]]) is None


def test_ids_that_never_occur_are_told_and_can_be_left_out(write: Write) -> None:
    """Counted, not concluded from the largest; numbered densely, samples still show them as they stood."""
    path = write("5 17 90001\n5 17 17\n90001 5\n5\n")
    said = told(path, tokens=True)
    assert "3 different ids occur, the largest is 90001; 89999 of the vocabulary never do, but can be drawn" in said
    assert "--data.dense true leaves them out" in said
    found = source(path, tokens=True, dense=True)
    assert found.vocabulary == 3 + 1
    rows = [found.text(ids) for part in (found.train, found.held_out) for ids in found.ids(part)]
    assert sorted(rows) == ["5", "5 17 17", "5 17 90001", "90001 5"]


@pytest.mark.parametrize(("too_long", "rows"), [("drop", ["1 2", "1 7", "2 1"]), ("cut", ["1 2", "1 7", "2 1", "2 7"])])
def test_dense_ids_are_those_of_what_is_kept(write: Write, too_long: str, rows: list[str]) -> None:
    """An id that stands only in what is dropped or cut away is never drawn; advice that was followed isn't given."""
    path = write("1 2\n1 7\n2 1\n2 7 9 9\n")
    options = {"tokens": True, "dense": True, "max_length": 2, "too_long": too_long}
    found, said = source(path, **options), told(path, **options)
    assert sorted(found.text(ids) for part in (found.train, found.held_out) for ids in found.ids(part)) == rows
    assert found.vocabulary == 3 + (found.end is not None), "1, 2, 7 and perhaps an end"
    assert "3 different ids occur, the largest is 7" in said
    assert "--data.dense" not in said


def test_classes_of_a_data_set_are_read_by_name(tmp_path: Path) -> None:
    """`datasets` keeps a class as a number, and its name in the features, also those of parquet; -1 is no class."""
    kinds = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])})
    made = datasets.Dataset.from_dict({"text": ["a b", "c", "d", "e"], "label": [0, 1, -1, None]}, features=kinds)
    made.save_to_disk(str(tmp_path / "saved"))
    made.to_parquet(str(tmp_path / "saved.parquet"))
    pandas.DataFrame({"text": ["a"], "label": [1]}).to_parquet(tmp_path / "plain.parquet")
    for name in ("saved", "saved.parquet"):
        assert [row["label"] for _, row in records(tmp_path / name)] == ["neg", "pos", None, None]
    assert [row["label"] for _, row in records(tmp_path / "plain.parquet")] == [1]
    corpus = read_sentences(tmp_path / "saved", labelled=True, bad_rows="drop")
    assert corpus.columns["label"] == ["neg", "pos"]
    assert corpus.intake.balanced
    assert corpus.intake.dropped.total() == 2


def test_a_first_row_that_is_no_row_of_names(write: Write) -> None:
    """Comments above it, data instead of it: what to do is said, and works."""
    path = write("# from a site\nname,text\na,one two\nb,three four\n", "stocks.csv")
    error = mistake(lambda: read_sentences(path))
    assert "2 fields under a header of 1" in error
    assert "take out line 1 if it doesn't name the columns" in error
    path = write("name,text\na,one two\nb,three four\n", "stocks.csv")
    assert read_sentences(path).texts == ["one two", "three four"]
    path = write("0,0,5\n1,0,6\n", "digits.csv")
    error = mistake(lambda: read_sentences(path, "3"))
    assert "several columns of the name '0'" in error
    assert "give each its own, in a first row of names" in error
    assert read_sentences(path, "3", header=False).texts == ["5", "6"]
    error = mistake(lambda: read_sentences(path, header=False))
    assert "only '1', '2', '3': name the one" in error
    assert "--data.header" not in error, "it was given already"
    assert read_sentences(write("1,2,3\n0,0,5\n1,0,6\n", "digits.csv"), "3").texts == ["5", "6"]


def test_lists_of_ids_in_a_column_of_text(write: Write) -> None:
    path = write('{"pitch": [65, 67]}\n{"pitch": [60]}\n', "notes.jsonl")
    assert "give --data.tokens true if these are token ids" in mistake(lambda: read_sentences(path, "pitch"))
    assert source(path, column="pitch", tokens=True).vocabulary > 67


def test_all_batches_that_are_too_large_are_named_at_once() -> None:
    error = mistake(lambda: checks.batches("a.txt", 54, "sentences", ("--a", 64), ("--b", 54), ("--c", 55)))
    assert error == "a.txt has 54 sentences, fewer than --a 64, --c 55: give more, or lower these"
    checks.batches("a.txt", 54, "sentences", ("--a", 54), ("--b", 54), ("--c", 54))


def test_verse_of_another_script_is_not_hard_wrapped() -> None:
    """Where each line ends with a full stop of its script, none was broken: Tang poems are all of one length."""
    verse = "\u79e6 \u5ddd \u96c4 \u5e1d \u5b85 \uff0c " * 4 + "\u5c45"
    lines = [(number, f"{verse} \u96c9") for number in range(20)]
    assert "HARD-WRAPPED" in (remarks.hard_wrapped(lines) or "")
    for stop in "\u3002\uff01\uff1f\u0964\u061f":
        assert remarks.hard_wrapped([(number, f"{verse} {stop}") for number in range(20)]) is None


def test_a_vocabulary_beyond_memory_is_refused_at_once(write: Write) -> None:
    """Nothing is allocated, and the option that it names works."""
    path = write("1 2\n3000000000\n1 1\n")
    error = mistake(lambda: source(path, tokens=True))
    assert "3 different ids occur, the largest is 3000000000: a vocabulary of 3000000001 would fill the memory" in error
    assert "--data.dense true" in error
    assert source(path, tokens=True, dense=True).vocabulary == 4
    assert "leave out --data.vocabulary" in mistake(lambda: source(path, tokens=True, dense=True, vocabulary=9))


def test_held_out_ids_that_are_never_trained_on(write: Write) -> None:
    path, other = write("1 2\n2 1 1\n"), write("1 3\n3 3 1\n", "other.txt")
    options = {"tokens": True, "held_out_path": str(other)}
    assert "the token id 3 is outside the vocabulary of 3" in mistake(lambda: source(path, **options))
    said = "3 of 5 held-out ids (1 different ones) are in no sequence to train on"
    assert said in told(path, **options, vocabulary=4)
    assert said in told(path, **options, dense=True)


def test_ids_that_are_too_long(write: Write) -> None:
    """--data.too_long holds for them, too."""
    path = write("1 2 3 4\n1 2\n2 1\n2 2 1\n")
    error = mistake(lambda: source(path, tokens=True, max_length=2))
    assert "line 1: 4 ids, over the limit of 2 (2 of 4 sequences are): give --data.max_length 4" in error
    assert "or --data.too_long drop or cut" in error
    assert "2 DROPPED (over 2 ids)" in told(path, tokens=True, max_length=2, too_long="drop")
    cut = source(path, tokens=True, max_length=3, too_long="cut", held_out_path=str(write("1 2\n", "h.txt")))
    assert [cut.text(ids) for ids in cut.ids(cut.train)] == ["1 2 3 4", "1 2", "2 1", "2 2 1"]
    assert not (cut.train.ids[0] == cut.end).any()


def test_names_for_ids(write: Write) -> None:
    """A name a line, or an id, a tab and its name; samples show them."""
    path = write("0 2\n2 1 1\n1 0\n5\n")
    plain, pairs = write("c4\nd4\n\n", "names.txt"), write("0\tc4\n5\trest\n", "pairs.tsv")
    for names, expected in ((plain, ["5", "c4 2", "2 d4 d4", "d4 c4"]), (pairs, ["c4 2", "2 1 1", "1 c4", "rest"])):
        for dense in (False, True):
            found = source(path, tokens=True, names=str(names), dense=dense)
            shown = [*found.shown(found.train), *found.shown(found.held_out)]
            assert sorted(shown) == sorted(expected)
    for bad in ("a b\n", "a\na\na\n", "</s>\n"):
        assert "give each one word of its own" in mistake(
            lambda: source(path, tokens=True, names=str(write(bad, "bad.txt")))  # noqa: B023
        )


# F7, D5, F14: what is held out


def test_equal_texts_are_on_one_side(write: Write) -> None:
    """Whatever the seed; without equal texts the split is what it was."""
    texts = [f"text {i % 30} ." for i in range(90)]
    path = write("\n".join(texts))
    for seed in range(5):
        found = source(path, seed)
        assert not set(found.train_texts) & set(found.held_out_texts)
        assert sorted([*found.train_texts, *found.held_out_texts]) == sorted(texts)
    assert "30 of 90 texts are different, the others equal one of these" in told(path)
    ids = source(write("1 2\n1 2\n2 1\n2 1\n", "ids.txt"), tokens=True)
    assert len({str(part) for part in ids.ids(ids.train)} | {str(part) for part in ids.ids(ids.held_out)}) == 2
    assert not {str(part) for part in ids.ids(ids.train)} & {str(part) for part in ids.ids(ids.held_out)}
    anew, before = (source(write("\n".join(map(str, range(50))), "b.txt"), reading=reading) for reading in (2, 1))
    assert anew.held_out_texts == before.held_out_texts
    assert set(source(path, reading=1).train_texts) & set(source(path, reading=1).held_out_texts)


def test_nothing_but_one_text(write: Write) -> None:
    """There is nothing to hold out; with the file that it asks for, it goes on, and says what is wrong."""
    path = write("a cat sat .\n" * 200)
    error = mistake(lambda: source(path))
    assert f"{path}: all 200 are equal ('a cat sat .')" in error
    assert "--data.held_out_path" in error
    said = told(path, held_out_path=str(path))
    assert "200 of 200 held-out sentences are ALSO TRAINED ON" in said
    other = write("a cat sat .\nno cat\n", "other.txt")
    assert "1 of 2 held-out sentences are ALSO TRAINED ON" in told(path, held_out_path=str(other))


def test_each_class_is_held_out(write: Write) -> None:
    """Also one of three texts, whatever the seed; of one text a class is told not to be scored."""
    lines = [f"pos good film {i}" for i in range(270)] + [f"neg bad film {i}" for i in range(3)]
    path = write("\n".join([*lines, "rare only one"]))
    for seed in range(6):
        found = source(path, seed, labelled=True)
        assert {"neg", "pos"} == set(found.labels_of(found.held_out))  # type: ignore[arg-type]
    said = told(path, labelled=True)
    assert "few texts to train on have the labels neg (2), rare (1)" in said
    assert "NO held-out text has the labels 'rare': they are neither drawn nor scored" in said


def test_labels_that_are_words(write: Write) -> None:
    lines = [f"word{i} is said {i}" for i in range(20)]
    path = write("\n".join([*lines, "the cat", "the dog", "the end"]))
    assert "20 of 21 labels stand at one text only: they look like WORDS" in told(path, labelled=True)
    path = write("\n".join(lines))
    assert "each of the 20 labels stands at one text only" in mistake(lambda: source(path, labelled=True))
    assert len(source(path).train_texts) == 18, "without --data.labelled"


def test_texts_of_two_labels() -> None:
    """Equal texts stay together, also where their labels differ; no label is held out as a whole."""
    keys, labels = ["a", "a", "b", "c", "d", "e"], ["x", "y", "x", "x", "x", "x"]
    for seed in range(20):
        train, held_out = divide("it", keys, 0.3, seed, labels)
        assert sorted(train + held_out) == list(range(6))
        assert {0, 1} <= set(train), "y would be held out as a whole"


# F11: containers


SENTENCES = ["a cat sat .", 'she said "no" ,\tthen', "two\nlines", "déjà vu"]


def contained(folder: Path, kind: str) -> Path:
    rows = [{"id": i, "data": {"text": text}, "text": text} for i, text in enumerate(SENTENCES)]
    flat = pandas.DataFrame([{"id": row["id"], "text": row["text"]} for row in rows])
    path = folder / f"a{kind}"
    match kind.removesuffix(".gz"):
        case ".jsonl":
            content = "".join(json.dumps(row) + "\n" for row in rows)
        case ".json":
            content = json.dumps(rows, indent=1)
        case ".csv" | ".tsv" as suffix:
            content = flat.to_csv(index=False, sep="," if suffix == ".csv" else "\t")
        case ".parquet":
            pandas.DataFrame(rows).to_parquet(path)
            return path
        case "":
            datasets.Dataset.from_list(rows).save_to_disk(str(path))
            return path
    path.write_bytes(gzip.compress(content.encode()) if kind.endswith(".gz") else content.encode())
    return path


@pytest.mark.parametrize(
    "kind", [".jsonl", ".json", ".csv", ".tsv", ".parquet", "", ".jsonl.gz", ".json.gz", ".csv.gz", ".tsv.gz"]
)
def test_every_container_holds_the_same(tmp_path: Path, kind: str) -> None:
    path = contained(tmp_path, kind)
    corpus = read_sentences(path)
    assert corpus.texts == SENTENCES
    assert (corpus.intake.read, corpus.intake.used) == (4, 4)
    if ".csv" not in kind and ".tsv" not in kind:
        assert read_sentences(path, "data.text").texts == SENTENCES
        assert "'data' holds 'text': name one of these, as --data.column data.text" in mistake(
            lambda: read_sentences(path, "data")
        )


def test_a_gzipped_text_and_fasta(tmp_path: Path) -> None:
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"a b\n\nc\n", mtime=0))
    assert read_sentences(tmp_path / "a.txt.gz").texts == ["a b", "c"]
    fasta = ">one first\nACGT\nAC\n\n>two\nGG\n>three\n"
    (tmp_path / "a.fasta").write_text(fasta)
    corpus = read_sentences(tmp_path / "a.fasta")
    assert (corpus.texts, corpus.lines, corpus.columns) == (["ACGTAC", "GG"], [1, 5], {"header": ["one first", "two"]})
    assert corpus.intake.lines() == ["a.fasta: 3 records read, 2 used; 1 DROPPED (blank)"]
    (tmp_path / "a.txt").write_text(fasta)
    assert "3 lines begin with >: if these are headers, name the file a.fasta" in told(tmp_path / "a.txt")
    (tmp_path / "b.fa").write_text("ACGT\n>one\nAC\n")
    assert "line 1: a sequence without a header" in mistake(lambda: read_sentences(tmp_path / "b.fa"))


def test_ids_in_a_column(write: Write) -> None:
    """As lists or strings; which column is no guess."""
    path = write('{"ids": [3, 1, 2], "s": "3 1"}\n{"ids": [1], "s": "[1, 2]"}\n{"ids": [2], "s": "2"}\n', "a.jsonl")
    assert read_token_ids(path, column="ids").ids == [[3, 1, 2], [1], [2]]
    assert read_token_ids(path, column="s").ids == [[3, 1], [1, 2], [2]]
    assert "it has the columns 'ids', 's': name the one with the ids, --data.column NAME" in mistake(
        lambda: read_token_ids(path)
    )
    assert "3 rows read, 3 used" in told(path, tokens=True, column="ids")
    plain = write("1 2\n")
    assert "no table, but one sequence of ids a line" in mistake(lambda: read_token_ids(plain, column="ids"))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"path": None, "column": "a"}, "--data.column needs a file"),
        ({"padding": 0}, "--data.padding is for integer tokens: give --data.tokens true"),
        ({"dense": True}, "--data.dense is for integer tokens"),
        ({"names": "a"}, "--data.names is for integer tokens"),
        ({"tokens": True, "lower": True}, "--data.lower is for text"),
        ({"tokens": True, "unit": "sentence"}, "--data.unit is for text"),
        ({"reading": 3}, "--data.reading 3: give 2, or 1"),
    ],
)
def test_no_option_is_ignored_in_silence(write: Write, options: dict[str, Any], expected: str) -> None:
    assert expected in mistake(lambda: load(DataConfig(**{"path": str(write("1 2\n")), **options}), 0))


# bad rows


BAD = [
    ("a.jsonl", '{"text": "a b"}\n{"text": null}\n{"text": 3}\nno json\n[1]\n{"other": 1}\n{"text": "c"}\n', 5),
    ("a.csv", 'text,n\na b,1\nc,2,3\n"open,4\nc,5\n', 2),
    ("a.json", '[{"text": "a b"}, 3, {"text": ["x"]}, {"text": "c"}]', 2),
]


@pytest.mark.parametrize(("name", "content", "count"), BAD)
def test_bad_rows_are_all_counted_and_can_be_dropped(write: Write, name: str, content: str, count: int) -> None:
    path = write(content, name)
    error = mistake(lambda: read_sentences(path))
    read = count + 2
    assert f"({count} of {read} rows can't be used; mend them, or leave them out with --data.bad_rows drop)" in error
    corpus = read_sentences(path, bad_rows="drop")
    assert corpus.texts == ["a b", "c"]
    assert corpus.intake.lines()[0] == f"{name}: {read} rows read, 2 used; {count} DROPPED (bad, --data.bad_rows drop)"
    first = error.partition(" (")[0]
    assert any(line.startswith(f"the first one dropped: {first}") for line in corpus.intake.lines())


def test_bad_rows_further_on(write: Write) -> None:
    """A label that is missing, or unknown to training; an end token in a text; an id that is none."""
    path = write("1 a\n0 b\nalone\n1 c </s> d\n0 d\n1 e\n0 f\n")
    assert "'alone' is a label without a sentence" in mistake(lambda: source(path, labelled=True))
    assert "contains </s>" in mistake(
        lambda: source(write("1 a\n0 b\n1 c </s> d\n0 d\n1 e\n0 f\n", "b.txt"), labelled=True)
    )
    found = source(path, labelled=True, bad_rows="drop")
    assert sorted([*found.train_texts, *found.held_out_texts]) == ["a", "b", "d", "e", "f"]
    assert "7 lines read, 5 used; 2 DROPPED" in "\n".join(found.first_lines())
    other = write("1 g\n2 h\n", "h.txt")
    options: dict[str, Any] = {"labelled": True, "held_out_path": str(other), "bad_rows": "drop"}
    assert source(path, **options).held_out_texts == ["g"]
    ids = write("1 2\n1 x\n-1\n2\n")
    assert "'x' is not an integer: give token ids separated by spaces (2 of 4 lines" in mistake(
        lambda: read_token_ids(ids)
    )
    assert read_token_ids(ids, bad_rows="drop").ids == [[1, 2], [2]]


# D4


def test_a_held_out_text_that_the_model_cannot_read(write: Write) -> None:
    """Is refused before training; the advice works."""
    path, other = write("a b c d\nb c\n"), write("a " * 20 + "\nb\n", "h.txt")
    found = source(path, held_out_path=str(other))
    assert found.length == 5
    error = mistake(lambda: check_length("--generator.config", 8, found))
    assert "takes 8 tokens, but texts have up to 21 and 1 before them" in error
    assert error.endswith("--data.max_length 6 --data.too_long cut")
    cut = source(path, held_out_path=str(other), max_length=6, too_long="cut")
    check_length("--generator.config", 8, cut)
    assert cut.ids(cut.held_out)[0] == [cut.tokenizer.get_vocab()["a"]] * 7


@pytest.mark.parametrize("kind", ["word", "character", "sentencepiece"])
def test_texts_that_were_cut(write: Write, kind: Any) -> None:
    """On both sides alike, so that not only short ones are scored; their texts, which metrics count, go as far as their
    tokens, with unknown words as they stood. Those that are then equal are told."""
    path = write("".join(f"some words of a longer text {i}\n" for i in range(40)) + "a b\n")
    found = source(path, max_length=8, too_long="cut", tokenizer=kind, vocabulary=6 if kind == "word" else None)
    assert len(found.train_texts) + len(found.held_out_texts) == 41
    for texts, tokens in ((found.train_texts, found.train), (found.held_out_texts, found.held_out)):
        whole = [text for text in texts if text != "a b"]
        if kind == "word":
            assert all(text.startswith("some words of a longer text ") for text in whole)
            continue
        assert list(texts) == [" ".join(text.split()) for text in found.decode(tokens)]
        assert all(f"some words of a longer text {i}".startswith(whole[0]) for i in range(40)) or kind != "character"
    if kind == "character":
        assert (
            f"{len(found.held_out_texts)} of {len(found.held_out_texts)} held-out sentences are ALSO" in found.told[-1]
        )


def test_unknown_words_by_part(write: Write) -> None:
    path, other = write("a a a b\n" * 5), write("a c d d\n", "h.txt")
    said = told(path, held_out_path=str(other), vocabulary=3)
    assert (
        "unknown to the tokenizer: 25 % of the words to train on (1 different ones) and 75 % of the words held out (2"
        in said
    )
    assert "unknown" not in told(path, held_out_path=str(path))


# Rows in = rows used + rows told


PIECES = [
    "a",
    "b c",
    '"',
    '"quoted"',
    'half " quote',
    "'",
    ",",
    "\t",
    "\r",
    "\n",
    "\r\n",
    "  ",
    "é",
    "\u2028",
    "x" * 3000,
]


def random_text(rng: random.Random) -> str:
    return "".join(rng.choices(PIECES, k=rng.randint(0, 5)))


def file_of(rng: random.Random, kind: str) -> tuple[str, list[str]]:
    """A file of some container, with faults: its content, and the good texts that stand in it, as a list."""
    texts = [random_text(rng) for _ in range(rng.randint(3, 30))]
    texts += rng.choices(texts, k=3)
    end = rng.choice(["\n", "\r\n", "\r"])
    if kind == "txt":
        texts = [re.sub(r"[\r\n]", " ", text) for text in texts]
        return end.join(texts) + end * rng.randint(0, 2), texts
    if kind in ("csv", "tsv"):
        out = io.StringIO(newline="")
        # before Python 3.13 a writer leaves a line end in a field without quotes, unless it is its own
        quoting = csv.QUOTE_ALL if end == "\r" and "\n" in "".join(texts) else csv.QUOTE_MINIMAL
        writer = csv.writer(out, delimiter="," if kind == "csv" else "\t", lineterminator=end, quoting=quoting)
        writer.writerow(["id", "text"])
        for i, text in enumerate(texts):
            writer.writerow([i, text])
            if rng.random() < 0.1:
                out.write(rng.choice([end, f"1{end}", f"3,4,5\t6\t7{end}"]))
        return out.getvalue(), texts
    lines = [json.dumps({"text": text, "id": i}) for i, text in enumerate(texts)]
    if kind == "json":
        odd = ["3", '{"text": null}', '{"id": 1}']
        return f"[{', '.join([*lines, *rng.choices(odd, k=rng.randint(0, 3))])}]", texts
    for fault in ["", "no json", '{"text": 3}', "[]"]:
        if rng.random() < 0.5:
            lines.insert(rng.randint(0, len(lines)), fault)
    return end.join(lines) + end, texts


def assert_all_told(intake: Intake, used: int) -> None:
    assert intake.used == used
    assert intake.balanced, intake
    first = intake.lines()[0]
    counts = list(map(int, re.findall(r"(\d+) (?:DROPPED|MERGED)", first)))
    read, kept = map(int, re.findall(r": (\d+) \w+ read, (\d+) used", first)[0])
    assert read == kept + sum(counts)


@pytest.mark.parametrize("kind", ["txt", "csv", "tsv", "jsonl", "json", "parquet", "txt.gz", "csv.gz", "jsonl.gz"])
def test_rows_read_are_rows_used_and_rows_told(tmp_path: Path, kind: str) -> None:
    """On files at random, with quotes, carriage returns, blanks, missing fields, duplicates, long lines; what is good
    comes out as it went in, also where rows beside it are bad."""
    for seed in range(40):
        rng = random.Random(f"{kind} {seed}")
        path = tmp_path / f"{seed}.{kind}"
        if kind == "parquet":
            texts = [random_text(rng) for _ in range(20)]
            column: list[Any] = [None if rng.random() < 0.1 else text for text in texts]
            texts = [text for text in column if text is not None]
            pandas.DataFrame({"text": pandas.Series(column, dtype=object)}).to_parquet(path)
        else:
            content, texts = file_of(rng, kind.removesuffix(".gz"))
            path.write_bytes(gzip.compress(content.encode()) if kind.endswith(".gz") else content.encode())
        expected = [text.strip() for text in texts if text.strip()]
        if not expected:
            continue
        corpus = read_sentences(path, bad_rows="drop")
        assert_all_told(corpus.intake, len(corpus.texts))
        assert_texts(corpus.texts, expected, kind)
        if len(set(corpus.texts)) > 3:
            found = source(path, seed, bad_rows="drop", tokenizer="character")
            assert len(found.train_texts) + len(found.held_out_texts) == len(corpus.texts)
            read, used = map(int, re.findall(r": (\d+) \w+ read, (\d+) used", found.told[0])[0])
            assert used == len(found.train.ids) + len(found.held_out.ids)
            assert read == used + sum(map(int, re.findall(r"(\d+) DROPPED", found.told[0])))


def assert_texts(found: Sequence[str], expected: Sequence[str], kind: str) -> None:
    """Equal but, of .tsv, where a fault hides whether its quotes are characters; then no text is lost nor invented."""
    found, expected = ([" ".join(text.split()) for text in texts] for texts in (found, expected))
    if not kind.startswith("tsv") or found == expected:
        assert found == expected
        return
    letters = [re.sub(r"[^a-zé]", "", "".join(texts)) for texts in (found, expected)]
    assert set(letters[0]) <= set(letters[1])


def test_ids_read_are_ids_used_and_told(tmp_path: Path) -> None:
    for seed in range(40):
        rng = random.Random(seed)
        lines = [" ".join(str(rng.randint(0, 9)) for _ in range(rng.randint(0, 6))) for _ in range(20)]
        lines += rng.choices(["x", "-1", "", "1.5", " ", "0 0"], k=5)
        rng.shuffle(lines)
        path = tmp_path / f"{seed}.txt"
        path.write_text(rng.choice(["\n", "\r"]).join(lines) + "\n")
        found = read_token_ids(path, padding=rng.choice([None, 0]), bad_rows="drop")
        assert_all_told(found.intake, len(found.ids))


def test_records_without_an_intake_refuse_the_first(write: Write) -> None:
    """Of who counts nothing."""
    path = write('{"a": 1}\nno\n', "a.jsonl")
    assert "line 2: not JSON" in mistake(lambda: list(records(path)))


# Runs of earlier versions


def test_a_run_of_an_earlier_version_goes_on_with_its_data(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its config.yaml has none of the new options: equal texts are where they were, and cut ones end. Others are not
    read so."""
    path = write("".join(f"text {i % 9}{' more' * (i % 3)}\n" for i in range(40)))
    more = ["--data.path", str(path), "--data.max_length", "3", "--data.too_long", "cut"]
    run = tmp_path / "run"
    assert main(runs.tiny(run, *more, "--data.reading", "1", "--control.enabled", "false")) == 0
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["data"].pop("reading") == 1
    kept = {"path", "held_out_path", "held_out", "too_long", "max_length"}
    (run / "config.yaml").write_text(yaml.safe_dump(config | {"data": {k: config["data"][k] for k in kept}}))
    assert main(["resume", str(run), "--adversarial.rounds", "22"]) == 0
    assert main(["evaluate", str(run), "--samples", "4"]) == 0
    assert main(["sample", str(run)]) == 0
    assert yaml.safe_load((run / "config.yaml").read_text())["data"]["reading"] == 1
    capsys.readouterr()
    assert main(["resume", str(run), "--data.reading", "2"]) == 1
    assert "have changed since this run began" in capsys.readouterr().err


# Separators


SPREADSHEETS = {
    "decimal commas": ("a.csv", "\ufeffid;text;price\r\n1;a b;2,50\r\n2;c d;3,5\r\n", "semicolons"),
    "no comma": ("a.csv", "id;text\n1;a b\n2;c d\n", "semicolons"),
    "tabs": ("a.csv", "id\ttext\n1\ta b\n2\tc d\n", "tabs"),
    "bars": ("a.csv", "id|text\n1|a b\n2|c d\n", "bars"),
    "commas": ("a.tsv", "id,text\n1,a b\n2,c d\n", "commas"),
    "told": ("a.csv", "sep=;\r\ntext;n\r\na b;1\r\nc d;2\r\n", "semicolons"),
    "told, as usual": ("a.csv", "sep=,\r\ntext,n\r\na b,1\r\nc d,2\r\n", "commas"),
    "quoted": ("a.csv", 'id;text\n1;"a b"\n2;c d\n', "semicolons"),
}


@pytest.mark.parametrize("name", SPREADSHEETS)
def test_tables_that_a_spreadsheet_separates_otherwise(write: Write, name: str) -> None:
    """The first row shows it, all others agree, and it is told."""
    file, content, separated = SPREADSHEETS[name]
    corpus = read_sentences(write(content, file))
    assert corpus.texts == ["a b", "c d"]
    assert corpus.intake.balanced
    assert f"fields are separated by {separated}, as line 1 shows" in corpus.intake.notes


def test_a_separator_that_rows_do_not_agree_on(write: Write) -> None:
    """It is named, not guessed: a `;` may be a character of a text."""
    told = mistake(lambda: read_sentences(write("id;text;n\n1;a b\n2;c, d;5\n", "a.csv")))
    assert "line 1 looks divided by semicolons (';')" in told
    one = read_sentences(write("text\na; b\nc; d\n", "b.csv"))
    assert one.texts == ["a; b", "c; d"]
    bare = read_sentences(write("a;b\nc;d\n", "c.csv"), header=False)
    assert bare.texts == ["a;b", "c;d"]
    assert bare.intake.notes[1] == (
        "all rows hold as many semicolons: if these separate columns, name them in a first row"
    )


# What looks like something else


LINES = {
    "subtitles": ("1\n00:00:01,000 --> 00:00:02,500\na b c\n\n2\n00:00:03,000 --> 00:00:04,000\nd e f\n", "SUBTITLES"),
    "chat": ("[12/03/2024, 10:00:11] Anna: a\n[12/03/2024, 10:01:11] Bob: b\n12/03/2024, 10:02 - Bob: c\n", "a DATE"),
    "tunes": ("X:1\nT:one\nM:4/4\nK:G\n|: G2 A2 :|\n\nX:2\nT:two\nM:4/4\nK:G\n|: A2 B2 :|\n", "an ABC TUNE"),
    "html": ("<p>a b</p>\n<p>c d</p>\n<p>e f</p>\n", "TAGS"),
    "table": ("1\ta b\n2\tc d\n3\te f\n", "a TAB"),
    "invisible": ("a b\n\ufeffa c\nb\u200b c\n", "CAN'T BE SEEN (U+200B, U+FEFF)"),
}


@pytest.mark.parametrize("name", LINES)
def test_lines_that_are_no_texts_are_told(write: Write, name: str) -> None:
    """Once, with how many; none of it is said of the others, nor of plain sentences."""
    content, expected = LINES[name]
    notes = read_sentences(write(content)).intake.notes
    assert len(notes) == 1
    assert expected in notes[0]
    plain = "A: yes.\nX: no\nhe said so\n12 men -> 3\nsee a.b/c\na <unk> b\n" * 3
    assert read_sentences(write(plain)).intake.notes == []


@pytest.mark.parametrize("breaks", ["\f", "\u2028", "\x0b"])
def test_a_file_whose_lines_end_otherwise(write: Write, breaks: str) -> None:
    """It would be one sentence."""
    told = mistake(lambda: read_sentences(write(breaks.join(["a b", "c d", "e f"]))))
    assert f"is one line: only \\n, \\r\\n and \\r end lines, and it has 2 {breaks!r} in their place" in told


def test_texts_that_look_alike_are_on_one_side(write: Write) -> None:
    """Other blanks, and accents that are characters of their own: the words, or the looks, are the same."""
    lines = [f"caf\u00e9 {i}  is open" for i in range(20)] + [f"cafe\u0301\u00a0{i} is open" for i in range(20)]
    found = source(write("\n".join(lines)), held_out=0.2)
    numbers = [{text.split()[1] for text in part} for part in (found.train_texts, found.held_out_texts)]
    assert not numbers[0] & numbers[1]
    assert "20 of 40 texts are different, the others equal one of these" in found.told
    both = told(write("a  b\nc d\n"), held_out_path=str(write("a b\ne f\n", "other.txt")))
    assert "1 of 2 held-out sentences are ALSO TRAINED ON" in both


def test_tables_that_were_joined(write: Write) -> None:
    """The names of the columns stand in them again: it is told, since they may be words of a text."""
    corpus = read_sentences(write("id,text\n1,a b\nid,text\n2,c d\n", "a.csv"))
    assert corpus.texts == ["a b", "text", "c d"]
    assert "1 rows are the NAMES OF THE COLUMNS again, and read as data: take them out" in corpus.intake.notes


def test_a_list_over_lines_by_another_name(write: Write) -> None:
    rows = [{"text": "a b"}, {"text": "c d"}]
    assert read_sentences(write(json.dumps(rows, indent=1), "a.jsonl")).texts == ["a b", "c d"]
    assert read_sentences(write(json.dumps(rows), "b.ndjson")).texts == ["a b", "c d"]


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        (["a b", "c d"], "not a string: give each of these texts a row of its own"),
        ({"0": "a b", "1": "c d"}, "is a column by the numbers of its rows: write a row a line"),
        ({"en": "a b"}, "name one of these, as --data.column text.en"),
        (5, "not a string: put the text in quotes"),
        ([1, 2], "give --data.tokens true"),
    ],
)
def test_what_is_no_text_is_told_as_what_it_is(write: Write, value: Any, advice: str) -> None:
    assert advice in mistake(lambda: read_sentences(write(json.dumps({"text": value}) + "\n", "a.jsonl")))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (gzip.compress(b"a b", mtime=0), "a name that ends in .gz"),
        (b"PK\x03\x04\0", "as CSV"),
        (b"%PDF-1.4 \0", "a PDF"),
    ],
)
def test_files_that_are_packed_say_how(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    assert told in mistake(lambda: read_sentences(tmp_path / "a.txt"))


def test_texts_that_all_hold_the_end_token(write: Write) -> None:
    """No row could be left, so dropping is no advice."""
    told = mistake(lambda: source(write("<s> a b </s>\n<s> c </s>\n<s> d </s>\n")))
    assert "contains </s>, which ends a sentence: remove it there, and from all others" in told
    assert "drop" not in told


def test_padding_before_the_ids(write: Write) -> None:
    """As Keras pads by default: it is noticed, and so is it at the end, but not ids that begin alike."""
    path = write("0 0 7 3\n0 0 0 5\n0 7 3 8\n0 0 1 2\n")
    assert "all 4 sequences have 4 ids, and 3 begin with runs of 0: if that is PADDING" in told(path, tokens=True)
    assert "PADDING" not in told(write("0 1 7 3\n0 2 0 5\n0 7 3 8\n0 3 1 2\n"), tokens=True)


def test_labels_that_differ_in_capitals() -> None:
    told = remarks.classes(["pos", "Pos", "neg"] * 12, ["pos", "Pos", "neg"])
    assert told == ["labels that differ in capital letters alone are classes of their own: 'Pos', 'pos'"]


# Models of ids


NAMES = "zero\none\ntwo\nthree\n"


@pytest.mark.parametrize("kind", ["plain", "dense", "names", "dense names", "one length"])
def test_a_run_of_ids_is_trained_on(
    tmp_path: Path, write: Write, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """By a second run on other sequences of the same ids, whatever these are called inside; samples show them alike."""
    rows = ["1 3 2 1", "3 3 1 2", "2 1 1 3"] if kind == "one length" else ["1 3 2", "3 3 1 2", "2 1 1", "1 2"]
    first = write("\n".join(rows * 10 + ["2 2 1 1"]), "first.txt")
    second = write("3 1 1 2\n1 1 3 3\n" * 10 + "2 1 2 1\n", "second.txt")
    options = ["--data.tokens", "true"]
    named = ["--data.names", str(write(NAMES, "names.txt"))] if "names" in kind else []
    short = [
        "--likelihood.steps",
        "2",
        "--control.steps",
        "1",
        "--discriminator.steps",
        "1",
        "--adversarial.rounds",
        "1",
    ]
    sizes = "--likelihood.batch_size", "--discriminator.batch_size", "--adversarial.batch_size"
    words = [*options, *named, *short, "--evaluation.samples", "4", *(word for size in sizes for word in (size, "4"))]
    dense = ["--data.dense", "true"] if "dense" in kind else []
    old, new = tmp_path / "old", tmp_path / "new"
    assert main(["train", "text", "--run.folder", str(old), "--data.path", str(first), *dense, *words]) == 0
    given = ["train", "text", "--run.folder", str(new), "--generator.model", str(old / "model"), "--data.path"]
    assert main([*given, str(second), *words]) == 0
    capsys.readouterr()
    assert main(["sample", str(new), "--count", "8"]) == 0
    wanted = {"one", "two", "three", "zero"} if named else {"0", "1", "2", "3"}
    assert {word for line in capsys.readouterr().out.splitlines() for word in line.split()} <= wanted
    unknown = write("1 2 77\n2 1 2\n1 1\n" * 5, "unknown.txt")
    assert main([*given, str(unknown), "--run.folder", str(tmp_path / "no"), *options, *short]) == 1
    told = capsys.readouterr().err
    assert "77 (77)" in told
    assert "ids are no tokens of --generator.model" in told
    if kind == "one length":
        uneven = write("1 2 3\n2 1\n1 1\n" * 5, "uneven.txt")
        assert main([*given, str(uneven), "--run.folder", str(tmp_path / "no"), *words]) == 1
        assert "--generator.model draws sequences of one length: give such" in capsys.readouterr().err


def test_ids_of_a_model_are_its_own(write: Write) -> None:
    """By number or by name: the row of the model's tokens that has it, not the place in this file."""
    dense = token_id_tokenizer(3, ["2", "5", "9"])
    found = load(DataConfig(str(write("9 5\n5 9 9\n" * 5)), tokens=True), 0, dense)
    assert {tuple(row) for row in found.ids(found.train)} <= {(2, 1), (1, 2, 2)}
    assert (found.end, found.vocabulary) == (3, 4)
    named = token_id_tokenizer(2, ["low", "high"])
    names = str(write("7\tlow\n8\thigh\n", "names.txt"))
    found = load(DataConfig(str(write("8 7\n8 8 7\n" * 5)), tokens=True, names=names), 0, named)
    assert {tuple(row) for row in found.ids(found.train)} <= {(1, 0), (1, 1, 0)}
    assert "1 of 2 ids are no tokens" in mistake(
        lambda: load(DataConfig(str(write("2 4\n2 2\n")), tokens=True), 0, dense)
    )
