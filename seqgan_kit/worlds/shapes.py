"""Captioned shapes: little scenes drawn from a seed, a grammar that describes them, and exact scores of a caption.

A caption tells of every shape of its scene: each noun phrase of its opening is another one, and what it leaves out may
be anything. So it denotes a set of scenes: `holds` asks whether one scene is in it, `consistent` whether any is.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations, product

SIZES = ("small", "large")
COLOURS = ("red", "green", "blue", "yellow", "purple", "orange")
KINDS = ("circle", "square", "triangle", "star")
VALUES = (SIZES, COLOURS, KINDS)
ATTRIBUTES = ("size", "colour", "shape")  # what captions call them; an attribute is an index into these two

Cell = tuple[int, int]  # row from the top, column from the left
CELLS: tuple[Cell, ...] = tuple((row, column) for row in range(3) for column in range(3))
SPOTS: dict[str, Callable[[Cell], bool]] = {
    "in the top left corner": lambda a: a == (0, 0),
    "in the top right corner": lambda a: a == (0, 2),
    "in the bottom left corner": lambda a: a == (2, 0),
    "in the bottom right corner": lambda a: a == (2, 2),
    "in the centre": lambda a: a == (1, 1),
    "at the top": lambda a: a[0] == 0,
    "at the bottom": lambda a: a[0] == 2,
    "on the left": lambda a: a[1] == 0,
    "on the right": lambda a: a[1] == 2,
}
RELATIONS: dict[str, Callable[[Cell, Cell], bool]] = {
    "above": lambda a, b: a[0] < b[0],
    "below": lambda a, b: a[0] > b[0],
    "to the left of": lambda a, b: a[1] < b[1],
    "left of": lambda a, b: a[1] < b[1],
    "to the right of": lambda a, b: a[1] > b[1],
    "right of": lambda a, b: a[1] > b[1],
    "next to": lambda a, b: abs(a[0] - b[0]) + abs(a[1] - b[1]) == 1,
    "in the same row as": lambda a, b: a[0] == b[0] and a != b,
    "in the same column as": lambda a, b: a[1] == b[1] and a != b,
}
MOST = 3  # shapes in a scene
NUMBERS = ("no", "one", "two", "three")
EVERYONE = {"both": 2, "all three": 3}
BE = ("is", "are")  # singular, plural
SHORTEST, LONGEST = 5, 20  # words of a caption, the full stop among them

Look = tuple[str | None, str | None, str | None]  # size, colour, kind; None is left open
Who = int | Look  # the shape of that mention, or the only shape of that look ("the red one")


@dataclass(frozen=True)
class Shape:
    """One shape. row: 0 (top) to 2; column: 0 (left) to 2."""

    kind: str
    colour: str
    size: str
    row: int
    column: int

    @property
    def look(self) -> Look:
        return self.size, self.colour, self.kind

    @property
    def cell(self) -> Cell:
        return self.row, self.column


@dataclass(frozen=True)
class Scene:
    """One to three shapes on a 3 x 3 grid, no two in one cell, in reading order."""

    shapes: tuple[Shape, ...]


@dataclass(frozen=True)
class Counts:
    """How often each value of an attribute occurs in the scene: these, so often, and no others. (value, 0) alone says
    that it is absent; None stands for some value, so ((None, 2),) is two alike, ((None, 1), (None, 1)) two unlike."""

    attribute: int
    parts: tuple[tuple[str | None, int], ...]

    def true_of(self, column: Sequence[str | None]) -> bool:
        """column: the value of the attribute for each shape."""
        found = Counter(column)
        value, number = self.parts[0]
        if number == 0:
            return found[value] == 0
        if value is None:
            return sorted(found.values()) == sorted(n for _, n in self.parts)
        # A value said twice equals no count: "one red shape and one red shape" does not add up to two.
        return sorted(self.parts, key=str) == sorted(found.items(), key=str)


@dataclass(frozen=True)
class Description:
    """What a caption says: how each shape of the scene looks, in order of mention; counts; further looks of some; and
    (who, words, whom): the spot of a shape (who = whom) or its relation to another."""

    mentions: tuple[Look, ...]
    counts: tuple[Counts, ...]
    looks: tuple[tuple[Who, Look], ...]
    places: tuple[tuple[Who, str, Who], ...]


Demand = tuple[str, int, int]  # the words of a place, and the shapes they are about


def _fits(told: Look, look: Look) -> bool:
    return all(mine is None or mine == its for mine, its in zip(told, look, strict=True))


def _demands(description: Description, looks: Sequence[Look]) -> frozenset[Demand] | None:
    """What the places of shapes that look so, in order of mention, must meet; None if the looks alone are wrong."""

    def find(who: Who) -> int:
        fitting = [who] if isinstance(who, int) else [i for i, look in enumerate(looks) if _fits(who, look)]
        return fitting[0] if len(fitting) == 1 else -1

    claims = [(find(who), told) for who, told in (*enumerate(description.mentions), *description.looks)]
    demands = frozenset((words, find(who), find(whom)) for who, words, whom in description.places)
    right = (
        all(counts.true_of([look[counts.attribute] for look in looks]) for counts in description.counts)
        and all(index >= 0 and _fits(told, looks[index]) for index, told in claims)
        and all(first >= 0 and second >= 0 for _, first, second in demands)
    )
    return demands if right else None


def _met(demands: frozenset[Demand], cells: Sequence[Cell]) -> bool:
    return all(SPOTS[w](cells[i]) if w in SPOTS else RELATIONS[w](cells[i], cells[j]) for w, i, j in demands)


@lru_cache(maxsize=1 << 16)
def _placeable(count: int, demands: frozenset[Demand]) -> bool:
    return any(_met(demands, cells) for cells in permutations(CELLS, count))


def holds(description: Description, scene: Scene) -> bool:
    """Whether the description is true of the scene, under some matching of its mentions to the shapes."""
    if len(description.mentions) != len(scene.shapes):
        return False
    for shapes in permutations(scene.shapes):
        demands = _demands(description, [shape.look for shape in shapes])
        if demands is not None and _met(demands, [shape.cell for shape in shapes]):
            return True
    return False


def _columns(description: Description, attribute: int) -> list[tuple[str | None, ...]]:
    """The values of one attribute, one for each mention, that are worth trying."""
    counts = [fact for fact in description.counts if fact.attribute == attribute]
    parts = [value for fact in counts for value, _ in fact.parts]
    whose = [who for who, _ in description.looks] + [who for a, _, b in description.places for who in (a, b)]
    looks = [
        *description.mentions,
        *(look for _, look in description.looks),
        *(w for w in whose if isinstance(w, tuple)),
    ]
    named = {*parts, *(look[attribute] for look in looks)}
    # Values that nobody names are exchangeable, and only a count of likeness can tell two of them apart.
    unnamed = [value for value in VALUES[attribute] if value not in named][: MOST if None in parts else 1]
    values = [value for value in VALUES[attribute] if value in named] + unnamed
    choices = [values if look[attribute] is None else [look[attribute]] for look in description.mentions]
    return [column for column in product(*choices) if all(fact.true_of(column) for fact in counts)]


@lru_cache(maxsize=1 << 16)
def consistent(description: Description) -> bool:
    """Whether the description is true of some scene of the world; exact."""
    count = len(description.mentions)
    if count > MOST:
        return False
    for columns in product(*(_columns(description, attribute) for attribute in range(3))):
        demands = _demands(description, list(zip(*columns, strict=True)))
        if demands is not None and _placeable(count, demands):
            return True
    return False


# The words. What the parser accepts is what these functions spell, looked up in tables, so the two cannot disagree.


def _noun(look: Look, number: int, pronoun: bool = False) -> str:
    size, colour, kind = look
    return " ".join(
        word for word in (size, colour, "one" if pronoun else (kind or "shape") + "s" * (number > 1)) if word
    )


def _quality(value: str, number: int) -> str:
    """What one says of a shape, or of several: "red", "a circle", "circles"."""
    return value if value not in KINDS else f"{value}s" if number > 1 else f"a {value}"


def _part(attribute: int, value: str, number: int, verb: bool) -> str:
    """ "two are red" (verb), "two red shapes"."""
    told = BE[number > 1] + " " + _quality(value, number) if verb else _noun(_only(attribute, value), number)
    return f"{NUMBERS[number]} {told}"


def _join(items: Sequence[str]) -> str:
    return " and ".join(part for part in (" , ".join(items[:-1]), items[-1]) if part)


def _only(attribute: int, value: str) -> Look:
    size, colour, kind = (value if attribute == i else None for i in range(3))
    return size, colour, kind


_LOOKS: list[Look] = list(product((None, *SIZES), (None, *COLOURS), (None, *KINDS)))
_VALUES = [(attribute, value) for attribute in range(3) for value in VALUES[attribute]]
_ARTICLES = {_noun(look, 1): "an" if _noun(look, 1)[0] in "aeiou" else "a" for look in _LOOKS}
_GROUPS = {f"{NUMBERS[n]} {_noun(look, n)}": (n, look) for look in _LOOKS for n in range(1, MOST + 1)}
_GROUPS |= {f"{_ARTICLES[_noun(look, 1)]} {_noun(look, 1)}": (1, look) for look in _LOOKS}
_DEFINITES = {"the " + _noun(look, 1): look for look in _LOOKS}
_ANAPHORS = _DEFINITES | {"the " + _noun(look, 1, True): look for look in _LOOKS if any(look) and not look[2]}
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


class _Ungrammatical(KeyError):
    """A phrase that is in no table."""


def _groups(pattern: str, text: str) -> tuple[str, ...]:
    match = re.fullmatch(pattern, text)
    if match is None:
        raise _Ungrammatical(text)
    return match.groups("")


def _items(text: str) -> list[str]:
    items = re.split(" , | and ", text)
    if _join(items) != text:
        raise _Ungrammatical(text)
    return items


class _Reader:
    """Reads the parts of a caption; what it has understood so far is in the four lists of a Description."""

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
            raise _Ungrammatical(text)
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
            raise _Ungrammatical(phrase)
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
            raise _Ungrammatical(text)
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


def draw_scene(rng: random.Random) -> Scene:
    """One to three shapes in distinct cells; later ones take after the first, so that there is something to count."""
    number = rng.choices((1, 2, 3), (2, 4, 5))[0]
    first = [rng.choice(values) for values in VALUES]
    shapes = []
    for row, column in sorted(rng.sample(CELLS, number)):
        size, colour, kind = (f if rng.random() < 0.4 else rng.choice(v) for f, v in zip(first, VALUES, strict=True))
        shapes.append(Shape(kind, colour, size, row, column))
    return Scene(tuple(shapes))


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
    noun = _noun(look, number)
    return f"{NUMBERS[number] if number > 1 or rng.random() < 0.1 else _ARTICLES[noun]} {noun}"


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
    return rng.choice([look for look in looks if sum(_fits(look, other.look) for other in shapes) == 1])


def _definite(shapes: Sequence[Shape], rng: random.Random) -> str:
    looks = [_known(shape, shapes, rng) for shape in shapes]
    names = ["the " + _noun(look, 1) for look in looks]
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
    name = "the " + _noun(look, 1, pronoun=bool(any(look) and not look[2]))
    if rng.random() < 0.5:
        return f"{name} is {_state(one, look, rng)}"
    return f"{name} is {_relation([one], [other], rng)} the {_noun(its, 1)}"
