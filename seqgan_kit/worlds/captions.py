"""The captions of the shapes world: the grammar, which reads and writes them, and the exact scores of a caption.

What the parser accepts is what the writer's functions spell, looked up in tables, so the two cannot disagree.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence
from itertools import product

from seqgan_kit.worlds.shapes import (
    COLOURS,
    KINDS,
    MOST,
    RELATIONS,
    SIZES,
    SPOTS,
    VALUES,
    Counts,
    Description,
    Look,
    Scene,
    Shape,
    Who,
    consistent,
    draw_scene,
    fits,
)

ATTRIBUTES = ("size", "colour", "shape")  # the names of VALUES
NUMBERS = ("no", "one", "two", "three")
EVERYONE = {"both": 2, "all three": 3}
BE = ("is", "are")  # singular, plural
SHORTEST, LONGEST = 5, 20  # words of a caption, the full stop among them


def noun(look: Look, number: int, pronoun: bool = False) -> str:
    """ "small red circle", "red shapes"; with pronoun "red one"."""
    size, colour, kind = look
    return " ".join(
        word for word in (size, colour, "one" if pronoun else (kind or "shape") + "s" * (number > 1)) if word
    )


def _quality(value: str, number: int) -> str:
    """What one says of a shape, or of several: "red", "a circle", "circles"."""
    return value if value not in KINDS else f"{value}s" if number > 1 else f"a {value}"


def _part(attribute: int, value: str, number: int, verb: bool) -> str:
    """ "two are red" (verb), "two red shapes"."""
    told = BE[number > 1] + " " + _quality(value, number) if verb else noun(_only(attribute, value), number)
    return f"{NUMBERS[number]} {told}"


def _join(items: Sequence[str]) -> str:
    return " and ".join(part for part in (" , ".join(items[:-1]), items[-1]) if part)


def _only(attribute: int, value: str) -> Look:
    size, colour, kind = (value if attribute == i else None for i in range(3))
    return size, colour, kind


_LOOKS: list[Look] = list(product((None, *SIZES), (None, *COLOURS), (None, *KINDS)))
_VALUES = [(attribute, value) for attribute in range(3) for value in VALUES[attribute]]
ARTICLES = {noun(look, 1): "an" if noun(look, 1)[0] in "aeiou" else "a" for look in _LOOKS}
_GROUPS = {f"{NUMBERS[n]} {noun(look, n)}": (n, look) for look in _LOOKS for n in range(1, MOST + 1)}
_GROUPS |= {f"{ARTICLES[noun(look, 1)]} {noun(look, 1)}": (1, look) for look in _LOOKS}
_DEFINITES = {"the " + noun(look, 1): look for look in _LOOKS}
_ANAPHORS = _DEFINITES | {"the " + noun(look, 1, True): look for look in _LOOKS if any(look) and not look[2]}
_STATES = {_quality(value, 1): _only(attribute, value) for attribute, value in _VALUES}
_PARTS = {
    _part(attribute, value, n, verb): (verb, attribute, (value, n))
    for (attribute, value), n, verb in product(_VALUES, range(1, MOST + 1), (True, False))
}
_ABSENT = {f"none is {_quality(value, 1)}": Counts(attribute, ((value, 0),)) for attribute, value in _VALUES}
_EVERYONE = {
    f"{word} are {_quality(value, n)}": Counts(attribute, ((value, n),))
    for word, n in EVERYONE.items()
    for attribute, value in _VALUES
}
for _word, _n in EVERYONE.items():
    for _attribute, _name in enumerate(ATTRIBUTES):
        _EVERYONE[f"{_word} have the same {_name}"] = Counts(_attribute, ((None, _n),))
        _EVERYONE[f"{_word} have different {_name}s"] = Counts(_attribute, ((None, 1),) * _n)
_RELATION = "|".join(RELATIONS)
_SPOT = "|".join(SPOTS)


def _groups(pattern: str, text: str) -> tuple[str, ...]:
    match = re.fullmatch(pattern, text)
    if match is None:
        raise KeyError(text)
    return match.groups("")


def _items(text: str) -> list[str]:
    items = re.split(" , | and ", text)
    if _join(items) != text:
        raise KeyError(text)
    return items


class _Reader:
    """Reads the parts of a caption; what it has understood so far is in the four lists of a Description.

    Raises KeyError for a phrase that is in no table, or where no table would be.
    """

    def __init__(self) -> None:
        self.mentions: list[Look] = []
        self.counts: list[Counts] = []
        self.looks: list[tuple[Who, Look]] = []
        self.places: list[tuple[Who, str, Who]] = []

    def caption(self, text: str) -> None:
        opening, tally, remark, absent = _groups(r"(.+?)(?: : (.+?))?(?: , and (.+?))?(?: , but (.+?))? \.", text)
        self.opening(opening)
        if tally:
            self.tally(tally)
        if remark in _EVERYONE:
            self.counts.append(_EVERYONE[remark])
        elif remark.startswith("it is ") and len(self.mentions) == 1:
            self.state(0, remark.removeprefix("it is "))
        elif remark:
            self.clause(remark, _ANAPHORS)
        if absent:
            self.counts.append(_ABSENT[absent])

    def opening(self, text: str) -> None:
        shared = rf"of the (two|three) shapes (.+ (?:{'|'.join(BE)}) .+)"
        listed = rf"(?:there (is|are) )?(.+?)(?: (is|are))?(?: ((?:{_RELATION}) .+))?"
        number, tally, there, first, be, related = _groups(f"{shared}|{listed}", text)
        if number:
            self.mentions = [(None, None, None)] * NUMBERS.index(number)
            self.tally(tally)
        elif text.startswith("the "):
            for item in _items(text):
                self.clause(item, _DEFINITES, new=True)
        elif be and (there or not related):
            raise KeyError(text)
        elif related:
            group = self.group(first, there or be)
            for item in _items(related):
                words, others = _groups(rf"({_RELATION}) (.+)", item)
                self.places += [(who, words, whom) for who, whom in product(group, self.group(others))]
        else:
            for index, item in enumerate(_items(first)):
                phrase, spot = _groups(rf"(.+?)(?: ({_SPOT}))?", item)
                group = self.group(phrase, "" if index else there)
                self.places += [(who, spot, who) for who in group if spot]

    def group(self, phrase: str, be: str = "") -> range:
        """ "a red circle", "two stars": their places among the mentions."""
        number, look = _GROUPS[phrase]
        if be not in ("", BE[number > 1]):
            raise KeyError(phrase)
        self.mentions += [look] * number
        return range(len(self.mentions) - number, len(self.mentions))

    def clause(self, text: str, table: dict[str, Look], new: bool = False) -> None:
        """ "the red circle is small", "the star is below the square". What is said again is the same shape."""
        subject, words, other, state = _groups(rf"(.+?) is (?:({_RELATION}) (the .+)|(.+))", text)
        who, whom = table[subject], table[other] if other else None
        self.mentions += [look for look in dict.fromkeys((who, whom)) if new and look and look not in self.mentions]
        if whom:
            self.places.append((who, words, whom))
        else:
            self.state(who, state)

    def state(self, who: Who, text: str) -> None:
        if text in SPOTS:
            self.places.append((who, text, who))
        else:
            self.looks.append((who, _STATES[text]))

    def tally(self, text: str) -> None:
        parts = [_PARTS[item] for item in _items(text)]
        if len({part[:2] for part in parts}) > 1:  # "two red shapes and one circle" is no partition
            raise KeyError(text)
        self.counts.append(Counts(parts[0][1], tuple(part[2] for part in parts)))


def parse(caption: str) -> Description | None:
    """What a caption says, or None if it is ungrammatical."""
    reader = _Reader()
    try:
        reader.caption(caption)
    except KeyError:
        return None
    return Description(tuple(reader.mentions), tuple(reader.counts), tuple(reader.looks), tuple(reader.places))


def grammatical_and_consistent(captions: Sequence[str]) -> tuple[float, float]:
    """The share of captions that are grammatical, and the share that are that and consistent as well."""
    read = [description for description in map(parse, captions) if description is not None]
    return len(read) / max(1, len(captions)), sum(map(consistent, read)) / max(1, len(captions))


def describe(scene: Scene, rng: random.Random) -> str:
    """A caption that is true of the scene."""
    while True:
        shapes = rng.sample(scene.shapes, len(scene.shapes))
        try:
            opening = rng.choices((_list, _definite, _of_the), (6, 2, 1))[0](shapes, rng)
            counted = " : " + _tally(shapes, rng, rng.random() < 0.5) if rng.random() < 0.3 else ""
            remark = " , and " + _remark(shapes, rng) if rng.random() < 0.5 else ""
            absent = " , but " + _true(_ABSENT, shapes, rng) if rng.random() < 0.15 else ""
        except IndexError:  # rng.choice from nothing: this scene has nothing of the kind to tell
            continue
        caption = f"{opening}{counted}{remark}{absent} ."
        if SHORTEST <= caption.count(" ") + 1 <= LONGEST:
            return caption


def captions(count: int, seed: int) -> list[str]:
    """Captions of `count` scenes, the same for the same seed."""
    rng = random.Random(seed)
    return [describe(draw_scene(rng), rng) for _ in range(count)]


def _masked(look: Look, mask: Sequence[bool]) -> Look:
    size, colour, kind = (value if keep else None for value, keep in zip(look, mask, strict=True))
    return size, colour, kind


def _true(table: dict[str, Counts], shapes: Sequence[Shape], rng: random.Random) -> str:
    columns = list(zip(*(shape.look for shape in shapes), strict=True))
    return rng.choice([text for text, counts in table.items() if counts.true_of(columns[counts.attribute])])


def _relation(some: Sequence[Shape], others: Sequence[Shape], rng: random.Random) -> str:
    pairs = [(a.cell, b.cell) for a in some for b in others]
    return rng.choice([words for words, true in RELATIONS.items() if all(true(*pair) for pair in pairs)])


def _spot(shapes: Sequence[Shape], rng: random.Random) -> str:
    return rng.choice([words for words, true in SPOTS.items() if all(true(shape.cell) for shape in shapes)])


def _state(shape: Shape, told: Look, rng: random.Random) -> str:
    """Something of the shape that `told` leaves open."""
    facts = [_quality(value, 1) for value, known in zip(shape.look, told, strict=True) if value and not known]
    spots = [words for words, true in SPOTS.items() if true(shape.cell)]
    return rng.choice(facts + rng.sample(spots, min(1, len(spots))))


def _group(look: Look, number: int, rng: random.Random) -> str:
    name = noun(look, number)
    return f"{NUMBERS[number] if number > 1 or rng.random() < 0.1 else ARTICLES[name]} {name}"


def _list(shapes: Sequence[Shape], rng: random.Random) -> str:
    mask = [rng.random() < chance for chance in (0.5, 0.8, 0.85)]
    groups: dict[Look, list[Shape]] = {}
    for shape in shapes:
        groups.setdefault(_masked(shape.look, mask), []).append(shape)
    names = [_group(look, len(group), rng) for look, group in groups.items()]
    (first, *others), members = names, list(groups.values())
    be, there = BE[len(members[0]) > 1], rng.random() < 0.4
    if others and rng.random() < 0.5:
        verb = "" if there or rng.random() < 0.5 else f" {be}"
        related = [_relation(members[0], group, rng) for group in members[1:]]
        text = f"{first}{verb} {_join([f'{words} {name}' for words, name in zip(related, others, strict=True)])}"
    else:
        spots = [" " + _spot(group, rng) if rng.random() < 0.3 else "" for group in members]
        text = _join([name + spot for name, spot in zip(names, spots, strict=True)])
    return f"there {be} {text}" if there else text


def _known(shape: Shape, shapes: Sequence[Shape], rng: random.Random) -> Look:
    """A look that only this shape has."""
    looks = [_masked(shape.look, mask) for mask in product((True, False), repeat=3)]
    return rng.choice([look for look in looks if sum(fits(look, other.look) for other in shapes) == 1])


def _definite(shapes: Sequence[Shape], rng: random.Random) -> str:
    looks = [_known(shape, shapes, rng) for shape in shapes]
    names = ["the " + noun(look, 1) for look in looks]
    clauses = [f"{name} is {_state(shape, look, rng)}" for name, shape, look in zip(names, shapes, looks, strict=True)]
    if len(shapes) > 1 and rng.random() < 0.6:
        clauses[:2] = [f"{names[0]} is {_relation(shapes[:1], shapes[1:2], rng)} {names[1]}"]
    return _join(clauses)


def _of_the(shapes: Sequence[Shape], rng: random.Random) -> str:
    return f"of the {NUMBERS[len(shapes)]} shapes {_tally(shapes, rng, True)}"


def _tally(shapes: Sequence[Shape], rng: random.Random, verb: bool) -> str:
    columns = list(zip(*(shape.look for shape in shapes), strict=True))
    attribute = rng.choice([attribute for attribute in range(3) if len(set(columns[attribute])) > 1])
    return _join([_part(attribute, str(value), n, verb) for value, n in Counter(columns[attribute]).items()])


def _remark(shapes: Sequence[Shape], rng: random.Random) -> str:
    if len(shapes) == 1:
        return "it is " + _state(shapes[0], (None, None, None), rng)
    if rng.random() < 0.4:
        return _true(_EVERYONE, shapes, rng)
    one, other = rng.sample(list(shapes), 2)
    look, its = _known(one, shapes, rng), _known(other, shapes, rng)
    name = "the " + noun(look, 1, pronoun=bool(any(look) and not look[2]))
    if rng.random() < 0.5:
        return f"{name} is {_state(one, look, rng)}"
    return f"{name} is {_relation([one], [other], rng)} the {noun(its, 1)}"
