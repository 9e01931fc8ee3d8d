"""What is held out of a data set, so that nothing that it is scored on was trained on."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Hashable, Sequence
from itertools import chain

from seqgan_kit.errors import UserError
from seqgan_kit.files import short
from seqgan_kit.language.data import split


def alike(text: str) -> str:
    """What is the same of texts that look the same: blanks of another kind or number, and letters that are written with
    their accents in one character or two, make no difference."""
    return " ".join((text if text.isascii() else unicodedata.normalize("NFC", text)).split())


def divide(
    name: str,
    keys: Sequence[Hashable],
    held_out: float,
    seed: int,
    labels: Sequence[str] = (),
    every_label: bool = True,
) -> tuple[list[int], list[int]]:
    """The places to train on and those held out, ascending; where keys are equal, all are on one side.

    name: of the data, for messages. labels: of each place, where there are some. None is held out as a whole; and a key
    of every label is held out, if two keys are only of it. Raises UserError where nothing can be held out.
    """
    if not labels and len(set(keys)) == len(keys):  # the same division, without a list for each key
        return split(range(len(keys)), held_out, seed)
    groups: dict[Hashable, list[int]] = {}
    for place, key in enumerate(keys):
        groups.setdefault(key, []).append(place)
    if len(groups) == 1 < len(keys):
        raise UserError(
            f"{name}: all {len(keys)} are equal ({short(keys[0])}), so none can be held out that is not trained on: "
            "give others, or a file of others as --data.held_out_path"
        )
    train, other = split(list(groups.values()), held_out, seed)
    if labels:
        train, other = _with_labels(train, other, labels, seed, every_label)
    if not other:
        raise UserError(
            f"{name}: each of the {len(set(labels))} labels stands at one text only, so none can be held out: does "
            "each line begin with its label? Give more texts of each, or leave out --data.labelled"
        )
    return sorted(chain.from_iterable(train)), sorted(chain.from_iterable(other))


Groups = list[list[int]]


def _with_labels(train: Groups, other: Groups, labels: Sequence[str], seed: int, every: bool) -> tuple[Groups, Groups]:
    known = {labels[place] for group in train for place in group}
    back = [any(labels[place] not in known for place in group) for group in other]
    train = train + [group for group, returns in zip(other, back, strict=True) if returns]
    other = [group for group, returns in zip(other, back, strict=True) if not returns]
    if not every:
        return train, other
    seen = {labels[place] for group in other for place in group}
    own: dict[str, Groups] = {}
    for group in train:
        if len(found := {labels[place] for place in group}) == 1:
            own.setdefault(found.pop(), []).append(group)
    moved = [
        random.Random(f"{seed} {label}").choice(groups)
        for label, groups in sorted(own.items())
        if label not in seen and len(groups) > 1
    ]
    first = {group[0] for group in moved}
    return [group for group in train if group[0] not in first], other + moved
