"""Files of sentences and token ids, and what they become."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from seqgan_kit.errors import UserError
from seqgan_kit.language.data import Corpus, encode, ended, read_sentences, split, to_tokens
from seqgan_kit.language.token_ids import read_token_ids, vocabulary_of
from seqgan_kit.language.tokenizers import token_id_tokenizer, train_tokenizer

DATA = os.environ.get("SEQGAN_KIT_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="SEQGAN_KIT_DATA does not name the folder of real data")

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(contents: str | bytes, name: str = "train.txt") -> Path:
        path = tmp_path / name
        path.write_bytes(contents if isinstance(contents, bytes) else contents.encode())
        return path

    return write


def mistake(call: Callable[[], object]) -> str:
    """The one line that the user is told."""
    with pytest.raises(UserError) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


# Reading sentences


def test_lines_of_a_text_file(write: Write) -> None:
    """Byte order mark, line ends of any kind, outer white space and blank lines go; the line numbers stay true."""
    corpus = read_sentences(write(b"\xef\xbb\xbfa cat \r\n\r\n  \t\n caf\xc3\xa9\n\nlast"))
    assert (corpus.texts, corpus.lines, corpus.columns) == (["a cat", "café", "last"], [1, 4, 6], {})


def test_only_line_feeds_end_a_line(write: Write) -> None:
    """Unicode's other separators stay inside a sentence, so that line numbers are an editor's."""
    assert read_sentences(write("a\u2028b\x0cc\x85d\ne\n")).texts == ["a\u2028b\x0cc\x85d", "e"]


@pytest.mark.parametrize("name", ["train.jsonl", "train.ndjson", "TRAIN.JSONL"])
def test_json_lines(write: Write, name: str) -> None:
    """The sentence is in the column `text`; the others go along, None where a record lacks one."""
    corpus = read_sentences(write('{"text": " a ", "n": 1}\n\n{"text": "é\\n", "m": [2]}\n{"text": " "}\n', name))
    assert (corpus.texts, corpus.lines) == (["a", "é"], [1, 3])
    assert corpus.columns == {"n": [1, None], "m": [None, [2]]}


def test_the_column_can_be_named(write: Write) -> None:
    """Another column than `text` can hold the sentences, and `text` is then one of the others."""
    assert read_sentences(write('{"caption": "a", "text": "b"}', "t.jsonl"), "caption").columns == {"text": ["b"]}
    assert read_sentences(write("id,caption\n1,a\n", "t.csv"), "caption").texts == ["a"]


@pytest.mark.parametrize(("separator", "name"), [(",", "train.csv"), ("\t", "train.tsv")])
def test_separated_values(write: Write, separator: str, name: str) -> None:
    """Quoted fields may hold separators and line ends; `lines` says where each record starts."""
    rows = [["text", "label"], ['"one, two\t""x""\r\nthree"', "0"], [], ["four ", "1"], ["  ", "2"], ["five", ""]]
    corpus = read_sentences(write("\r\n".join(separator.join(row) for row in rows), name))
    assert corpus.texts == ['one, two\t"x"\r\nthree', "four", "five"]
    assert corpus.lines == [2, 5, 7]
    assert corpus.columns == {"label": ["0", "1", ""]}


# Mistakes in files


def test_a_missing_file_is_guessed(write: Write) -> None:
    """The nearest names in the folder are offered."""
    path = write("a").with_name("trian.txt")
    assert mistake(lambda: read_sentences(path)) == f"{path} does not exist: did you mean train.txt?"


def test_a_missing_file_with_no_near_name(write: Write) -> None:
    """What the folder has is listed."""
    path = write("a").with_name("zzz")
    assert mistake(lambda: read_sentences(path)).endswith(
        f"zzz does not exist: check the path ({path.parent} has train.txt)"
    )


def test_a_missing_folder(tmp_path: Path) -> None:
    """The folder is named as missing."""
    path = tmp_path / "no" / "train.txt"
    assert f"neither does the folder {path.parent}" in mistake(lambda: read_sentences(path))


def test_a_folder_instead_of_a_file(write: Write) -> None:
    """The files in the folder are offered."""
    folder = write("a").parent
    assert mistake(lambda: read_sentences(folder)) == (
        f"{folder} is a folder: give one of the files in it ({folder} has train.txt)"
    )


@pytest.mark.parametrize("read", [read_sentences, read_token_ids])
def test_an_empty_file(write: Write, read: Callable[[Path], object]) -> None:
    """An empty file is called empty."""
    path = write("")
    assert f"{path} is empty: give a file" in mistake(lambda: read(path))


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.csv"])
def test_a_file_with_only_blank_lines(write: Write, name: str) -> None:
    """Blank lines are no sentences."""
    path = write(" \n\r\n\t\n", name)
    assert f"{path} has no sentences (blank ones do not count)" in mistake(lambda: read_sentences(path))


def test_token_ids_with_only_blank_lines(write: Write) -> None:
    """Blank lines are no sequences either."""
    path = write(" \n\n")
    assert f"{path} has only blank lines" in mistake(lambda: read_token_ids(path))


def test_a_binary_file(write: Write) -> None:
    """A NUL byte gives a binary file away."""
    path = write(b"MZ\x90\x00\xff")
    assert mistake(lambda: read_sentences(path)) == (
        f"{path} is a binary file (NUL byte at offset 3): give a UTF-8 text file"
    )


def test_a_utf16_file(write: Write) -> None:
    """UTF-16 with its mark is told from a binary file."""
    path = write("a cat".encode("utf-16"))
    assert f"UTF-16, not UTF-8: convert it, `iconv -f utf-16 -t utf-8 {path} > " in mistake(
        lambda: read_sentences(path)
    )


def test_a_latin1_file(write: Write) -> None:
    """The line and the offset of the first wrong byte are named, and the command that converts the file."""
    path = write("ok\ncaf\u00e9\nna\u00efve\n".encode("latin-1"), "a b.txt")
    assert mistake(lambda: read_sentences(path)) == (
        f"{path} line 2: not UTF-8 (byte 0xe9 at offset 6): convert it, "
        f"`iconv -f latin1 -t utf-8 '{path}' > '{path.with_name('a b.utf8.txt')}'` if it is latin-1"
    )


@needs_data
def test_a_real_latin1_file() -> None:
    """The review corpora are latin-1: the line named is the first that does not decode."""
    path = Path(DATA or "", "text/mr_cr/rt-polarity.pos")
    lines = path.read_bytes().split(b"\n")
    first = next(
        i for i, line in enumerate(lines, start=1) if line.decode("utf-8", "replace") != line.decode("latin-1")
    )
    assert f"{path} line {first}: not UTF-8" in mistake(lambda: read_sentences(path))


def test_a_line_that_is_not_json(write: Write) -> None:
    """The line and column of the syntax error are named."""
    path = write('{"text": "a"}\n\n{"text": b}\n', "a.jsonl")
    assert mistake(lambda: read_sentences(path)) == (
        f"{path} line 3: not JSON (Expecting value at column 10): give one JSON object a line (1 of 3 rows can't be "
        "used; mend them, or leave them out with --data.bad_rows drop)"
    )


def test_a_line_that_is_not_an_object(write: Write) -> None:
    """JSON that has no columns is refused."""
    path = write('["a"]', "a.jsonl")
    assert f"{path} line 1: ['a'] is not a JSON object" in mistake(lambda: read_sentences(path))


def test_json_that_is_not_lines(write: Write) -> None:
    """A .json file is a list of objects, or an object a line; of an object of lists, one must be chosen."""
    path = write('["a"]', "a.json")
    assert f"{path} row 1: 'a' is not a JSON object" in mistake(lambda: read_sentences(path))
    assert read_sentences(write('[{"text": "a"},\n {"text": "b"}]', "a.json")).texts == ["a", "b"]
    assert read_sentences(write('{"text": "a"}\n{"text": "b"}\n', "a.json")).texts == ["a", "b"]
    path = write('{"version": 1,\n "data": [{"text": "a"}]}', "b.json")
    told = mistake(lambda: read_sentences(path))
    assert f"{path} is one object with the lists 'data': give one of these, as `jq .data {path} > list.json`" in told
    assert read_sentences(write(json.dumps(json.loads(path.read_text())["data"], indent=2), "list.json")).texts == ["a"]


@pytest.mark.parametrize(
    ("name", "contents"),
    [("a.jsonl", '\n{"caption": "x", "id": 1}'), ("a.csv", "caption,id\nx,1"), ("a.tsv", "caption\tid\nx\t1")],
)
def test_a_missing_column(write: Write, name: str, contents: str) -> None:
    """The columns that are there are listed."""
    path = write(contents, name)
    header = "" if "json" in name else "; if its first row is no names but data, --data.header false"
    assert mistake(lambda: read_sentences(path)) == (
        f"{path} line 2: no column 'text', only 'caption', 'id': name the one with the sentences, --data.column "
        f"NAME{header}"
    )
    assert read_sentences(path, "caption").texts == ["x"]


def test_a_column_of_a_plain_file(write: Write) -> None:
    """A plain file has no columns, so naming one is not silently ignored."""
    path = write("a")
    assert f"--data.column caption needs a .jsonl, .csv or .tsv file: {path}" in mistake(
        lambda: read_sentences(path, "caption")
    )


@pytest.mark.parametrize("value", [3, None, ["a"]])
def test_a_value_that_is_not_a_string(write: Write, value: object) -> None:
    """Numbers, nulls and lists are not turned into text."""
    path = write(json.dumps({"text": value}), "a.jsonl")
    what = "holds no text" if value is None else f"is {value!r}, not a string"
    assert f"{path} line 1: 'text' {what}" in mistake(lambda: read_sentences(path))


def test_half_a_surrogate_pair(write: Write) -> None:
    """JSON can spell a string that is no text, which no tokenizer takes."""
    path = write('{"text": "a \\ud83d"}', "a.jsonl")
    assert f"{path} line 1: 'text' has half a surrogate pair" in mistake(lambda: read_sentences(path))


def test_too_many_fields(write: Write) -> None:
    """A comma in an unquoted sentence does not cut it silently."""
    path = write("text,label\na,0\nb, c,1\n", "a.csv")
    assert f"{path} line 3: 3 fields under a header of 2 ('text', 'label')" in mistake(lambda: read_sentences(path))


def test_an_open_quote(write: Write) -> None:
    """A quote that is never closed is told with the line where its record starts."""
    path = write('text\na\n"b\nc\n', "a.csv")
    assert f"{path} line 3: a quote opens in this row and never closes" in mistake(lambda: read_sentences(path))
    assert read_sentences(path, bad_rows="drop").texts == ["a", "c"], "the rows after it are read"


# Token ids


def test_token_ids(write: Write) -> None:
    """Sequences may differ in length; the vocabulary is the largest id plus one, or what is given."""
    path = write("3 17  5\r\n\n0\n")
    found = read_token_ids(path)
    assert (found.ids, found.occurring) == ([[3, 17, 5], [0]], [0, 3, 5, 17])
    assert vocabulary_of(path, found.occurring, None) == 18
    assert vocabulary_of(path, found.occurring, 30) == 30


@pytest.mark.parametrize("word", ["x", "1.5", "1_0", "--1", "9" * 5000])
def test_a_token_that_is_not_an_integer(write: Write, word: str) -> None:
    """The line and the token are named."""
    path = write(f"1 2\n3 {word} 4\n")
    assert f"{path} line 2: {word[:30]!r}"[:-1] in mistake(lambda: read_token_ids(path))


def test_a_negative_id(write: Write) -> None:
    """Ids start at 0."""
    path = write("1\n\n2 -1\n")
    assert f"{path} line 3: the token id -1 is negative" in mistake(lambda: read_token_ids(path))


def test_an_id_outside_the_vocabulary(write: Write) -> None:
    """File, line and id are named, and the vocabulary that would do."""
    path = write("1 4\n2 5\n")
    assert mistake(lambda: read_token_ids(path, vocabulary=5)).startswith(
        f"{path} line 2: the token id 5 is outside the vocabulary of 5 (0 to 4): "
        f"correct the line or give --data.vocabulary 6 or more"
    )


@needs_data
def test_real_token_ids() -> None:
    """SeqGAN's poems are 5,000 quatrains of 20 characters, and the token id tokenizer reads the file the same way."""
    path = Path(DATA or "", "text/poems/seqgan_poem_train_ids.txt")
    sequences = read_token_ids(path).ids
    vocabulary = vocabulary_of(path, read_token_ids(path).occurring, None)
    assert (len(sequences), {len(sequence) for sequence in sequences}) == (5000, {20})
    assert encode(read_sentences(path), token_id_tokenizer(vocabulary), max_length=20)[1] == sequences


# Encoding


@pytest.fixture
def corpus(write: Write) -> Corpus:
    return read_sentences(write("a b\n\na b c d\na b c\na\na b c d e\n"))


def test_encode_adds_no_special_tokens(corpus: Corpus) -> None:
    """Each text becomes its own tokens and nothing else."""
    tokenizer = train_tokenizer("word", corpus.texts)
    left, ids = encode(corpus, tokenizer, max_length=5)
    assert tokenizer.batch_decode(ids) == corpus.texts
    assert encode(corpus, tokenizer, max_length=None) == (left, ids) == (corpus, ids)


def test_a_sentence_over_the_limit_is_an_error(corpus: Corpus) -> None:
    """The message names the first such line, its length, how many there are, and the limit that takes them all."""
    tokenizer = train_tokenizer("word", corpus.texts)
    assert mistake(lambda: encode(corpus, tokenizer, max_length=3)) == (
        f"{corpus.path} line 3: 4 tokens, over the limit of 3 (2 of 5 sentences are): "
        f"give --data.max_length 5, or --data.too_long drop or cut"
    )


def test_long_sentences_are_dropped_or_cut(corpus: Corpus) -> None:
    """Dropping leaves the sentences within the limit, cutting their first tokens; the intake counts both."""
    tokenizer = train_tokenizer("word", corpus.texts)
    dropped, cut = (encode(corpus, tokenizer, 3, too_long) for too_long in ("drop", "cut"))
    assert tokenizer.batch_decode(dropped[1]) == dropped[0].texts == ["a b", "a b c", "a"]
    assert dropped[0].lines == [1, 4, 5]
    assert cut[0] == corpus
    rows = ended(cut[1], 0, 3)
    assert tokenizer.batch_decode(rows) == ["a b </s>", "a b c d", "a b c </s>", "a </s>", "a b c d"]
    assert corpus.intake.dropped["over 3 tokens"] == corpus.intake.repaired["cut to 3 tokens"] == 2


def test_a_text_that_was_cut_has_no_end(corpus: Corpus) -> None:
    """Its end token would teach to stop in the middle: the next token stands in its place, as in what is drawn."""
    assert ended([[5, 6], [5], [5, 6, 7, 8]], 0, 2) == [[5, 6, 0], [5, 0], [5, 6, 7]]
    assert ended([[5, 6], [5]], 0, None) == [[5, 6, 0], [5, 0]]


def test_dropping_everything_is_an_error(write: Write) -> None:
    """A limit below the shortest sentence is told, and the least one that leaves something."""
    corpus = read_sentences(write("a b c\na b\n"))
    tokenizer = train_tokenizer("word", corpus.texts)
    message = mistake(lambda: encode(corpus, tokenizer, 1, "drop"))
    assert f"{corpus.path} line 1 and all others: none of 2 sentences has at most 1 tokens" in message
    assert message.endswith("give --data.max_length 2 or more")


def test_a_limit_below_one_is_an_error(corpus: Corpus) -> None:
    """No tokens at all are not a sentence."""
    tokenizer = train_tokenizer("word", corpus.texts)
    assert "--data.max_length 0 leaves no tokens" in mistake(lambda: encode(corpus, tokenizer, 0, "cut"))


def test_an_end_token_in_a_sentence_is_an_error(write: Write) -> None:
    """Text that holds the end token would end in the middle."""
    corpus = read_sentences(write("a\nb </s> c\n"))
    tokenizer = train_tokenizer("word", corpus.texts)
    assert f"{corpus.path} line 2: contains </s>" in mistake(lambda: encode(corpus, tokenizer, None))


# Tokens


def test_the_end_token_counts_and_padding_does_not() -> None:
    """Rows are as long as the longest one with its end token; pad and end may be the same id."""
    tokens = to_tokens([[3, 4], [5], []], end=0, pad=0)
    assert tokens.ids.tolist() == [[3, 4, 0], [5, 0, 0], [0, 0, 0]]
    assert tokens.mask.tolist() == [[True, True, True], [True, True, False], [True, False, False]]
    assert (tokens.ids.dtype, tokens.mask.dtype) == (torch.int64, torch.bool)


def test_without_an_end_token() -> None:
    """Only the padding is added."""
    tokens = to_tokens([[3, 4], [5]], end=None, pad=9)
    assert tokens.ids.tolist() == [[3, 4], [5, 9]]
    assert tokens.mask.tolist() == [[True, True], [True, False]]


def test_tokens_give_back_the_sequences() -> None:
    """For random lengths, what the mask shows is each sequence and its end, and all else is padding."""
    lengths = torch.randint(0, 12, (200,), generator=torch.Generator().manual_seed(0)).tolist()
    sequences = [list(range(1, length + 1)) for length in lengths]
    tokens = to_tokens(sequences, end=50, pad=60)
    shown = [row[mask].tolist() for row, mask in zip(tokens.ids, tokens.mask, strict=True)]
    assert shown == [[*sequence, 50] for sequence in sequences]
    assert set(tokens.ids[~tokens.mask].tolist()) == {60}


# Splitting


def test_split_keeps_every_item_and_the_order() -> None:
    """Each item is in one part, in its old order; the held-out ones are spread over the whole."""
    train, held_out = split(range(1000), held_out=0.02, seed=1)
    assert (len(train), len(held_out)) == (980, 20)
    assert sorted(train + held_out) == list(range(1000))
    assert (train, held_out) == (sorted(train), sorted(held_out))
    assert held_out[0] < 500 < held_out[-1]


def test_split_depends_on_the_seed() -> None:
    """The same seed holds out the same items, another one others."""
    assert split(range(100), 0.2, seed=1) == split(range(100), 0.2, seed=1) != split(range(100), 0.2, seed=2)


def test_split_holds_out_at_least_one() -> None:
    """A small share of few items is still one item, and no share is none."""
    assert [len(part) for part in split("abc", 0.01, seed=0)] == [2, 1]
    assert split("abc", 0, seed=0) == (["a", "b", "c"], [])


@pytest.mark.parametrize("share", [-0.1, 1, float("inf"), float("nan")])
def test_a_share_outside_0_to_1(share: float) -> None:
    """Shares are not percentages."""
    assert f"--data.held_out {share} is not a share" in mistake(lambda: split("abc", share, seed=0))


def test_nothing_left_to_train_on() -> None:
    """The only item cannot be held out."""
    assert "of 1 leaves nothing to train on" in mistake(lambda: split("a", 0.1, seed=0))
