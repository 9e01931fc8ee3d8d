"""Tokenizers trained on a corpus."""

from __future__ import annotations

import os
from pathlib import Path
from typing import get_args

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from seqgan_kit.errors import UserError
from seqgan_kit.language.data import read_sentences
from seqgan_kit.language.tokenizers import Kind, token_id_tokenizer, train_sentencepiece, train_tokenizer

DATA = os.environ.get("SEQGAN_KIT_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="SEQGAN_KIT_DATA does not name the folder of real data")
KINDS = get_args(Kind)

MADE = [
    "a black cat sat on the mat .",
    'the  naïve café   owner , he said \t "déjà vu" isn\'t new',  # precomposed accents, several spaces, a tab
    "cafe\u0301 au lait",  # an accent as a combining character
    "秦 川 雄 帝 宅 ， 函 谷 壮 皇 居 。",
    "日本語のテキスト\u3000です",  # ideographic space
    "🙂🙂 ok ﬁ ① Ω\u00a0x",  # emoji, ligature, circled digit, no-break space
    "two\n\nlines",
]
UNSEEN = ["zzz éø the  cat ", "  Ж Щ mat", "語 cat 龍龍", "x"]


def ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    found: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_one_boundary_token_with_id_0(kind: Kind) -> None:
    """`</s>` is bos, eos and pad with id 0, `<unk>` has id 1, and encoding adds neither."""
    tokenizer = train_tokenizer(kind, MADE)
    assert tokenizer.bos_token_id == tokenizer.eos_token_id == tokenizer.pad_token_id == 0
    assert tokenizer.unk_token_id == 1
    assert tokenizer.convert_ids_to_tokens([0, 1]) == ["</s>", "<unk>"]
    assert not {0, 1} & {token for text in MADE for token in tokenizer(text)["input_ids"]}


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_tokenizer_is_loaded_by_transformers_alone(kind: Kind, tmp_path: Path) -> None:
    """AutoTokenizer gives the same ids, texts and special tokens from the folder."""
    tokenizer = train_tokenizer(kind, MADE)
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert (len(loaded), loaded.bos_token_id, loaded.eos_token_id, loaded.pad_token_id) == (len(tokenizer), 0, 0, 0)
    for text in MADE + UNSEEN:
        assert ids(loaded, text) == ids(tokenizer, text)
        assert loaded.decode(ids(loaded, text)) == tokenizer.decode(ids(tokenizer, text))


@pytest.mark.parametrize("kind", KINDS)
def test_training_is_deterministic(kind: Kind) -> None:
    """Two trainings on the same sentences give the same vocabulary."""
    assert train_tokenizer(kind, MADE).get_vocab() == train_tokenizer(kind, MADE).get_vocab()


def test_words_are_ordered_by_frequency_then_alphabet() -> None:
    """The vocabulary keeps the most frequent words; of equally frequent ones the alphabetically first."""
    sentences = ["d c b", "c b a", "b é"]
    assert train_tokenizer("word", sentences).get_vocab() == {
        word: token for token, word in enumerate(["</s>", "<unk>", "b", "c", "a", "d", "é"])
    }
    small = train_tokenizer("word", sentences, vocabulary=5)
    assert len(small) == 5
    assert ids(small, "a b c d") == [4, 2, 3, 1]


def test_words_are_what_white_space_separates() -> None:
    """Punctuation stays with its word, case and accents are kept, and decoding joins with one space."""
    tokenizer = train_tokenizer("word", ["Isn't it\tnaïve,  is it?"])
    assert tokenizer.tokenize("Isn't  it\tnaïve, is it?") == ["Isn't", "it", "naïve,", "is", "it?"]
    assert tokenizer.decode(ids(tokenizer, "Isn't  it\tnaïve, is it?")) == "Isn't it naïve, is it?"


def test_special_words_in_the_corpus_are_the_special_tokens() -> None:
    """A corpus that already has `<unk>` (as Penn Treebank) does not get a second one."""
    tokenizer = train_tokenizer("word", ["the <unk> sat </s>", "<unk> <unk>"])
    assert ids(tokenizer, "the <unk> sat </s>")[1::2] == [1, 0]
    assert len(tokenizer) == 4


def test_characters_are_lossless() -> None:
    """Every character of the corpus, spaces and line ends too, is one token, and decoding gives back the text."""
    tokenizer = train_tokenizer("character", MADE)
    for text in MADE:
        assert len(ids(tokenizer, text)) == len(text)
        assert tokenizer.decode(ids(tokenizer, text)) == text


def test_characters_outside_the_vocabulary_are_unknown() -> None:
    """A limited vocabulary keeps the most frequent characters, one unknown token stands for each other one."""
    tokenizer = train_tokenizer("character", ["aaab", "bcd"], vocabulary=4)
    assert ids(tokenizer, "abcd") == [2, 3, 1, 1]


@pytest.mark.parametrize("vocabulary", [None, 100])
def test_sentencepiece_ids_are_those_of_sentencepiece(vocabulary: int | None) -> None:
    """The tokenizers model gives the library's own ids, of seen and unseen texts, unknown characters among them."""
    theirs, ours = train_sentencepiece(MADE, vocabulary), train_tokenizer("sentencepiece", MADE, vocabulary)
    assert len(ours) == theirs.get_piece_size()
    for text in MADE + UNSEEN:
        assert ids(ours, text) == theirs.encode(text)


def test_sentencepiece_keeps_all_but_repeated_spaces() -> None:
    """Decoding gives back the characters as they were, full-width and combining ones too."""
    tokenizer = train_tokenizer("sentencepiece", MADE)
    for text in MADE:
        assert tokenizer.decode(ids(tokenizer, text)) == " ".join(filter(None, text.split(" ")))


@pytest.mark.parametrize("sentences", [["a"], ["a b"] * 3, ["🙂"], ["", "a"], ["word " * 5000]])
def test_sentencepiece_takes_what_the_corpus_allows(sentences: list[str]) -> None:
    """A corpus too small for the default vocabulary, and very long sentences, train all the same."""
    tokenizer = train_tokenizer("sentencepiece", sentences)
    assert tokenizer.decode(ids(tokenizer, sentences[-1])) == sentences[-1].strip()


def test_sentencepiece_trains_silently(capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing is written to the terminal."""
    train_tokenizer("sentencepiece", MADE)
    assert capfd.readouterr() == ("", "")


@needs_data
@pytest.mark.parametrize("name", ["image_coco/train.txt", "poems/shi.txt"])
def test_sentencepiece_ids_on_real_data(name: str) -> None:
    """On English captions and Chinese poems the ids are the library's own, and decoding gives back the sentence."""
    sentences = read_sentences(Path(DATA or "", "text", name)).texts[:2000]
    theirs, ours = train_sentencepiece(sentences[:1000], None), train_tokenizer("sentencepiece", sentences[:1000])
    assert ours(sentences)["input_ids"] == theirs.encode(sentences)
    assert ours.batch_decode(ours(sentences[:1000])["input_ids"]) == [" ".join(s.split()) for s in sentences[:1000]]


def test_token_ids_are_their_own_words(tmp_path: Path) -> None:
    """The words are the ids, the boundary token comes after them, there is no unknown one, also when loaded again."""
    tokenizer = token_id_tokenizer(20)
    tokenizer.save_pretrained(tmp_path)
    for each in (tokenizer, AutoTokenizer.from_pretrained(tmp_path)):
        assert ids(each, "3 17 5") == [3, 17, 5]
        assert each.decode([3, 17, 5]) == "3 17 5"
        assert each.decode([3, 17, 20, 20], skip_special_tokens=True) == "3 17"
        assert each.bos_token_id == each.eos_token_id == each.pad_token_id == 20
        assert (len(each), each.unk_token) == (21, None)


@pytest.mark.parametrize("kind", KINDS)
def test_a_vocabulary_without_room_is_refused(kind: Kind) -> None:
    """The two special tokens need two entries, so two are too few for any text."""
    with pytest.raises(UserError, match=r"--data.vocabulary 2 is too small: .* give 3 or more"):
        train_tokenizer(kind, MADE, vocabulary=2)


def test_sentencepiece_needs_an_entry_for_each_character() -> None:
    """The message names the smallest vocabulary that would do, and that one does."""
    with pytest.raises(UserError, match=r"--data.vocabulary 5 .* 4 different characters, give 6 or more"):
        train_tokenizer("sentencepiece", ["ab c"], vocabulary=5)
    assert len(train_tokenizer("sentencepiece", ["ab c"], vocabulary=6)) == 6
