"""Tokenizers made from a corpus, plain `transformers` ones that `AutoTokenizer.from_pretrained(folder)` loads.

One boundary token `</s>` is bos, eos and pad at once: a generator starts and ends with it, and it fills padding.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Literal

import sentencepiece
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from seqgan_kit.errors import UserError

Kind = Literal["word", "character", "sentencepiece"]

BOUNDARY = "</s>"
UNKNOWN = "<unk>"
SPECIAL = (BOUNDARY, UNKNOWN)  # ids 0 and 1
PIECES = 1000  # sentencepiece's vocabulary where none is given and the corpus has few characters


def train_tokenizer(kind: Kind, sentences: Sequence[str], vocabulary: int | None = None) -> PreTrainedTokenizerFast:
    """A tokenizer of the sentences with at most `vocabulary` entries, `</s>` (id 0) and `<unk>` (id 1) among them.

    word: what white space separates, most frequent first; decoding joins with one space. None takes every word.
    character: every character (code point), spaces too, most frequent first; decoding is lossless. None takes all.
    sentencepiece: a unigram model that keeps characters as they are, but makes one space of several. None takes 1000
    pieces, or twice the number of different characters if that is more.
    """
    if vocabulary is not None and vocabulary <= len(SPECIAL):
        raise UserError(
            f"--data.vocabulary {vocabulary} is too small: {BOUNDARY} and {UNKNOWN} take two entries, give 3 or more"
        )
    if kind == "word":
        tokenizer = _most_frequent(chain.from_iterable(map(str.split, sentences)), vocabulary)
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    elif kind == "character":
        tokenizer = _most_frequent(chain.from_iterable(sentences), vocabulary)
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
        tokenizer.decoder = decoders.Fuse()
    else:
        tokenizer = _unigram(train_sentencepiece(sentences, vocabulary))
    return _fast(tokenizer, unknown=UNKNOWN)


def token_id_tokenizer(vocabulary: int, names: Sequence[str] | None = None) -> PreTrainedTokenizerFast:
    """For files of integers: the words "0" to "vocabulary - 1" have those very ids, and `</s>` comes after them.

    names: the words in their place.
    """
    words = {word: token for token, word in enumerate(names or map(str, range(vocabulary)))}
    tokenizer = Tokenizer(models.WordLevel(words | {BOUNDARY: vocabulary}))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return _fast(tokenizer, unknown=None)


def train_sentencepiece(sentences: Sequence[str], vocabulary: int | None) -> sentencepiece.SentencePieceProcessor:
    """A unigram model with a piece for every character, trained in memory and silently."""
    characters = len(set().union({" "}, *sentences))
    if vocabulary is None:
        vocabulary = max(PIECES, 2 * characters)
    if vocabulary < characters + len(SPECIAL):
        raise UserError(
            f"--data.vocabulary {vocabulary} is too small for sentencepiece: the corpus has {characters} different "
            f"characters, give {characters + len(SPECIAL)} or more"
        )
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences),
        model_writer=model,
        model_type="unigram",
        vocab_size=vocabulary,
        hard_vocab_limit=False,
        character_coverage=1.0,
        normalization_rule_name="identity",
        max_sentence_length=2**30,  # the most it accepts: it would leave out longer ones without a word
        eos_id=0,
        unk_id=1,
        bos_id=-1,
        pad_id=-1,
        eos_piece=BOUNDARY,
        unk_piece=UNKNOWN,
        num_threads=1,
        minloglevel=2,
    )
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def _most_frequent(words: Iterable[str], vocabulary: int | None) -> Tokenizer:
    counts = Counter(words)
    ordered = sorted(counts.keys() - set(SPECIAL), key=lambda word: (-counts[word], word))
    entries = [*SPECIAL, *ordered][:vocabulary]
    return Tokenizer(models.WordLevel({word: token for token, word in enumerate(entries)}, unk_token=UNKNOWN))


def _unigram(processor: sentencepiece.SentencePieceProcessor) -> Tokenizer:
    """The same pieces, scores and treatment of spaces in a `tokenizers` model, so that the ids are the same."""
    pieces = [(processor.id_to_piece(i), processor.get_score(i)) for i in range(processor.get_piece_size())]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=SPECIAL.index(UNKNOWN)))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Replace(Regex(r"\A +| +\z"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    return tokenizer


def _fast(tokenizer: Tokenizer, unknown: str | None) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOUNDARY,
        eos_token=BOUNDARY,
        pad_token=BOUNDARY,
        unk_token=unknown,
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )
