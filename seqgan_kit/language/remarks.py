"""What a user should know of their data before a model learns from them: each a sentence, or None where all is well."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from itertools import pairwise

from seqgan_kit.files import listed

HANDFUL = 10  # texts of a class: fewer say little
ENDS = (*'.!?"\u201d\u3002\uff01\uff1f\u0964\u061f',)  # of sentences, also in Chinese, Hindi and Arabic
WIDTHS = range(40, 201)  # characters of hard-wrapped lines


def repeats(keys: Sequence[Hashable], what: str) -> str | None:
    """How many stand there more than once."""
    different = len(set(keys))
    if different == len(keys):
        return None
    return f"{different} of {len(keys)} {what} are different, the others equal one of these"


def trained_on(train: Iterable[Hashable], held_out: Sequence[Hashable], what: str, files: bool) -> str | None:
    """How many of what is held out are also trained on. files: whether each part has its own."""
    known = set(train)
    both = sum(key in known for key in held_out)
    if not both:
        return None
    advice = "take them out of one of the files" if files else "equal ones, or equal where they were cut"
    flatter = f"so scores flatter what learns by heart: {advice}"
    return f"{both} of {len(held_out)} held-out {what} are ALSO TRAINED ON, {flatter}"


def single_words(texts: Sequence[str]) -> str | None:
    """Whether white space, which separates words, is in fewer than half of the texts."""
    alone = sum(len(text.split()) < 2 for text in texts)
    if alone < 0.5 * len(texts):
        return None
    return (
        f"{alone} of {len(texts)} texts are ONE WORD to --data.tokenizer word, which separates at white space: "
        "if they are not, give --data.tokenizer character or sentencepiece"
    )


def hard_wrapped(lines: Sequence[tuple[int, str]]) -> str | None:
    """Whether lines, with their numbers, look like prose that was broken to a width: where the next line follows at
    once, its first word would not have fitted, and few lines end with a sentence."""
    if len(lines) < 10:
        return None
    width = sorted(len(line) for _, line in lines)[int(0.98 * (len(lines) - 1))]
    if width not in WIDTHS:
        return None
    following = [(a, b) for (i, a), (j, b) in pairwise(lines) if j == i + 1]
    if len(following) < 10:
        return None
    full = sum(len(a) + 1 + len(b.split(None, 1)[0]) > width for a, b in following)
    words = sum(len(line.split()) for _, line in lines) / len(lines)
    ended = sum(a.endswith(ENDS) for a, _ in following)
    if words < 4 or full < 0.6 * len(following) or ended > 0.6 * len(following):
        return None
    return (
        f"{full} of {len(lines)} lines end where the next word would not fit into {width} characters, as HARD-WRAPPED "
        "prose does: --data.unit sentence joins them and divides them into sentences, paragraph into paragraphs"
    )


LOOKED_AT = 20_000  # lines: many files are larger
MARKED = (  # what lines begin with, from which share of them on, and what is told
    (r"\d\d:\d\d:?.* --> ", 0.05, "are the times of SUBTITLES, which are learned like words: take them out"),
    (r"\[?\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4},? ", 0.5, "begin with a DATE, as those of chats do: take it off"),
    (r"X:\s*\d+$", 0.02, "begin an ABC TUNE, each of whose lines is a sample: --data.unit paragraph joins a tune"),
    (r"</?[a-zA-Z][^<>]*>.*</[a-zA-Z]+>$", 0.2, "have TAGS, as HTML, which are learned like words: take them off"),
    (r"[^\t]+\t", 0.9, "hold a TAB, which is a blank here: if it separates columns, name the file .tsv"),
)
INVISIBLE = re.compile("[\ufeff\u200b-\u200d\u2060\u00ad]")


def marked(lines: Sequence[tuple[int, str]]) -> list[str]:
    """What lines look like that are no texts, each a sample here, and how many hold what can't be seen."""
    told, first = [], [line for _, line in lines[:LOOKED_AT]]
    for pattern, share, what in MARKED:
        found = sum(re.match(pattern, line) is not None for line in first)
        if found > 1 and found >= share * len(first):
            told.append(f"{found} of {'the first ' * (len(lines) > len(first))}{len(first)} lines {what}")
    hidden = [line for _, line in lines if not line.isascii() and INVISIBLE.search(line)]
    if hidden:
        which = ", ".join(sorted({f"U+{ord(one):04X}" for line in hidden for one in INVISIBLE.findall(line)}))
        told.append(f"{len(hidden)} lines hold characters that CAN'T BE SEEN ({which}), which make other words of them")
    return told


def unknown(train: Sequence[str], held_out: Sequence[str], words: set[str]) -> str | None:
    """How many of the words in both parts are these, which the tokenizer does not know."""
    if not words:
        return None
    parts = []
    for texts, part in ((train, "to train on"), (held_out, "held out")):
        counts = Counter(word for text in texts for word in text.split())
        missing = {word: count for word, count in counts.items() if word in words}
        if missing:
            share = 100 * sum(missing.values()) / counts.total()
            parts.append(f"{share:.3g} % of the words {part} ({len(missing)} different ones)")
    return f"unknown to the tokenizer: {' and '.join(parts)}"


def classes(train: Sequence[str], held_out: Sequence[str]) -> list[str]:
    """What is odd about the labels of the texts in both parts."""
    counts, scored = Counter(train), set(held_out)
    told = []
    once = sum(count == 1 for count in counts.values())
    forms = Counter(label.lower() for label in counts)
    if like := [label for label in sorted(counts) if forms[label.lower()] > 1]:
        told.append(f"labels that differ in capital letters alone are classes of their own: {listed(like, 8)}")
    if len(counts) > 4 and once > len(counts) / 2:
        told.append(
            f"{once} of {len(counts)} labels stand at one text only: they look like WORDS. Does each line begin with "
            "its label?"
        )
    if few := [f"{label} ({counts[label]})" for label in sorted(counts) if counts[label] < HANDFUL]:
        told.append(f"few texts to train on have the labels {', '.join(few[:8])}{', ...' if len(few) > 8 else ''}")
    if without := [label for label in sorted(counts) if label not in scored]:
        more = ", ..." if len(without) > 8 else ""
        told.append(f"NO held-out text has the labels {listed(without[:8])}{more}: they are neither drawn nor scored")
    return told


def padding(sequences: Sequence[Sequence[int]]) -> str | None:
    """Whether sequences of one length, most of which end in runs of the same id, look padded."""
    lengths = {len(ids) for ids in sequences}
    if len(lengths) > 1 or min(lengths) < 3:
        return None
    length = lengths.pop()
    ends = Counter(ids[-1] for ids in sequences if ids[-1] == ids[-2])
    begins = Counter(ids[0] for ids in sequences if ids[0] == ids[1])
    for token, count in ends.most_common(1):
        if count >= 0.5 * len(sequences):
            return (
                f"all {len(sequences)} sequences have {length} ids, and {count} end in runs of {token}: if that is "
                f"PADDING, --data.padding {token} takes it off"
            )
    for token, count in begins.most_common(1):
        if count >= 0.5 * len(sequences):
            return (
                f"all {len(sequences)} sequences have {length} ids, and {count} begin with runs of {token}: if that is "
                "PADDING, as of Keras, take it off, or put it at the end"
            )
    return None


def ids(train: Sequence[Sequence[int]], held_out: Sequence[Sequence[int]], vocabulary: int) -> list[str]:
    """Which ids occur, and which of them only in what is held out."""
    known = {token for row in train for token in row}
    unseen = Counter(token for row in held_out for token in row if token not in known)
    occur = len(known | unseen.keys())
    told = [f"{occur} different ids occur, the largest is {max(known | unseen.keys())}"]
    if occur < vocabulary:
        told[0] += (
            f"; {vocabulary - occur} of the vocabulary never do, but can be drawn: --data.dense true leaves them out"
        )
    lengths = {len(row) for row in [*train, *held_out]}
    if lengths == {1}:
        told.append("every sequence is ONE ID, so there is no order to learn: a series goes into one row, not a column")
    elif len(lengths) == 1:
        told.append(f"every sequence has {lengths.pop()} ids, so no end is learnt, and samples have as many")
    if unseen:
        total = sum(map(len, held_out))
        told.append(
            f"{unseen.total()} of {total} held-out ids ({len(unseen)} different ones) are in no sequence to train on"
        )
    return told
