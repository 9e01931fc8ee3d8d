"""Little scenes of coloured shapes, and what a caption may say of one: whether it is true, and whether it can be.

A caption tells of every shape of its scene: each noun phrase of its opening is another one, and what it leaves out may
be anything. So its description denotes a set of scenes: `holds` asks whether one scene is in it, `consistent` whether
any is. The words of captions are in `captions`.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations, product

SIZES = ("small", "large")
COLOURS = ("red", "green", "blue", "yellow", "purple", "orange")
KINDS = ("circle", "square", "triangle", "star")
VALUES = (SIZES, COLOURS, KINDS)  # an attribute is an index into these

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

Combination = tuple[str, str]  # colour, kind
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


def fits(told: Look, look: Look) -> bool:
    """Whether a shape of this look may be called so."""
    return all(mine is None or mine == its for mine, its in zip(told, look, strict=True))


def _demands(description: Description, looks: Sequence[Look]) -> frozenset[Demand] | None:
    """What the places of shapes that look so, in order of mention, must meet; None if the looks alone are wrong."""

    def find(who: Who) -> int:
        fitting = [who] if isinstance(who, int) else [i for i, look in enumerate(looks) if fits(who, look)]
        return fitting[0] if len(fitting) == 1 else -1

    claims = [(find(who), told) for who, told in (*enumerate(description.mentions), *description.looks)]
    demands = frozenset((words, find(who), find(whom)) for who, words, whom in description.places)
    right = (
        all(counts.true_of([look[counts.attribute] for look in looks]) for counts in description.counts)
        and all(index >= 0 and fits(told, looks[index]) for index, told in claims)
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


def draw_scene(rng: random.Random, most: int = MOST, without: Set[Combination] = frozenset()) -> Scene:
    """One to `most` shapes in distinct cells, none in a colour and kind of `without`.

    Later ones take after the first, so that there is something to count.
    """
    number = rng.choices(range(1, most + 1), (2, 4, 5)[:most])[0]
    first = [rng.choice(values) for values in VALUES]
    shapes: list[Shape] = []
    for row, column in sorted(rng.sample(CELLS, number)):
        while True:
            size, colour, kind = (
                f if rng.random() < 0.4 else rng.choice(v) for f, v in zip(first, VALUES, strict=True)
            )
            if (colour, kind) not in without:
                break
        shapes.append(Shape(kind, colour, size, row, column))
    return Scene(tuple(shapes))
