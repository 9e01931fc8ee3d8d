"""Dialogues about scenes of the shapes world: one speaker tells of a scene and asks about it, the other answers.

The first turn tells all of the scene, so every question has its right answers, which are few enough to be listed:
whether a reply is right needs no model and no reference.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

from seqgan_kit.worlds.captions import ARTICLES, NUMBERS, noun
from seqgan_kit.worlds.shapes import (
    CELLS,
    COLOURS,
    KINDS,
    MOST,
    RELATIONS,
    SIZES,
    SPOTS,
    Look,
    Scene,
    Shape,
    fits,
)

USER, ASSISTANT = "user", "assistant"
QUESTIONS = 3  # the most of a dialogue
PLACES = {cell: next(words for words, true in SPOTS.items() if true(cell)) for cell in CELLS}  # the narrowest
ANY: Look = (None, None, None)
TRIES = 50  # to find a question of a kind that the scene has an answer to

Message = dict[str, str]
"""role, content."""


@dataclass(frozen=True)
class Question:
    """What is asked.

    kind: "colour", "shape", "size" or "place" of the one shape that looks like `subject`; "count", how many do; "any",
    whether one does; "relation", whether the subject stands so to `other`; "who", which shape does.
    """

    kind: str
    subject: Look = ANY
    relation: str = ""
    other: Look = ANY

    def text(self) -> str:
        name, other = noun(self.subject, 1), noun(self.other, 1)
        return {
            "colour": f"what colour is the {name} ?",
            "shape": f"what shape is the {noun(self.subject, 1, pronoun=True)} ?",
            "size": f"how big is the {name} ?",
            "place": f"where is the {name} ?",
            "count": f"how many {noun(self.subject, 2)} are there ?",
            "any": f"is there {ARTICLES[name]} {name} ?",
            "relation": f"is the {name} {self.relation} the {other} ?",
            "who": f"what is {self.relation} the {other} ?",
        }[self.kind]


def _looks(*choices: Sequence[str | None]) -> list[Look]:
    return [look for look in product(*choices) if any(look)]  # type: ignore[misc]


_EVERY = _looks((None, *SIZES), (None, *COLOURS), (None, *KINDS))
_BRIEF = _looks((None,), (None, *COLOURS), (None, *KINDS))  # where two shapes are named


@lru_cache(maxsize=1)
def _questions() -> dict[str, Question]:
    """Every question by its text."""
    found = [
        *(Question("colour", look) for look in _looks((None, *SIZES), (None,), KINDS)),
        *(Question("shape", look) for look in _looks((None, *SIZES), COLOURS, (None,))),
        *(Question("size", look) for look in _BRIEF),
        *(Question("place", look) for look in _EVERY),
        *(Question("count", look) for look in (ANY, *_EVERY)),
        *(Question("any", look) for look in _EVERY),
        *(Question("relation", one, words, other) for one, words, other in product(_BRIEF, RELATIONS, _BRIEF)),
        *(Question("who", ANY, words, other) for words, other in product(RELATIONS, _BRIEF)),
    ]
    return {question.text(): question for question in found}


@lru_cache(maxsize=8)
def _of_kind(kind: str) -> list[Question]:
    return [question for question in _questions().values() if question.kind == kind]


def answers(scene: Scene, question: Question) -> list[str]:
    """All right answers; none where the question supposes what is not so."""
    shapes = scene.shapes
    fitting = [shape for shape in shapes if fits(question.subject, shape.look)]
    if question.kind == "count":
        number = NUMBERS[len(fitting)] if fitting else "none"
        return [f"{number} .", f"there {'is' if len(fitting) == 1 else 'are'} {number} ."]
    if question.kind == "any":
        return ["yes .", "yes , there is ."] if fitting else ["no .", "no , there is not ."]
    others = [shape for shape in shapes if fits(question.other, shape.look)]
    if question.kind == "who":
        if len(others) != 1:
            return []
        stands = RELATIONS[question.relation]
        who = [shape for shape in shapes if stands(shape.cell, others[0].cell)]
        names = [f"the {noun(look, 1)} ." for look in _EVERY if any(fits(look, shape.look) for shape in who)]
        return names or ["nothing ."]
    if len(fitting) != 1:
        return []
    shape = fitting[0]
    if question.kind == "relation":
        if len(others) != 1 or others == fitting:
            return []
        true = RELATIONS[question.relation](shape.cell, others[0].cell)
        return ["yes .", "yes , it is ."] if true else ["no .", "no , it is not ."]
    told = {
        "colour": [shape.colour],
        "size": [shape.size],
        "shape": [f"a {shape.kind}"],
        "place": [words for words, true in SPOTS.items() if true(shape.cell)],
    }[question.kind]
    return [f"{start}{words} ." for words in told for start in ("", "it is ")]


@lru_cache(maxsize=1)
def _sayable() -> frozenset[str]:
    """Every answer that is right to some question about some scene."""
    told = [*COLOURS, *SIZES, *(f"a {kind}" for kind in KINDS), *SPOTS]
    found = [f"{start}{words} ." for words in told for start in ("", "it is ")]
    numbers = {n: "there is" if n == "one" else "there are" for n in ("none", *NUMBERS[1 : MOST + 1])}
    found += [f"{start}{number} ." for number, be in numbers.items() for start in ("", f"{be} ")]
    for word, no in (("yes", ""), ("no", " not")):
        found += [f"{word} .", f"{word} , there is{no} .", f"{word} , it is{no} ."]
    found += ["nothing ."]
    return frozenset(found + [f"the {noun(look, 1)} ." for look in _EVERY])


def tell(scene: Scene) -> str:
    """All that there is to know: "there is a small red circle at the top and a large blue star in the centre"."""
    return "there is " + " and ".join(map(_told, scene.shapes))


def _told(shape: Shape) -> str:
    name = noun(shape.look, 1)
    return f"{ARTICLES[name]} {name} {PLACES[shape.cell]}"


@lru_cache(maxsize=1)
def _shapes() -> dict[str, Shape]:
    every = (Shape(kind, colour, size, *cell) for kind, colour, size, cell in product(KINDS, COLOURS, SIZES, CELLS))
    return {_told(shape): shape for shape in every}


def read(messages: Sequence[Message]) -> tuple[Scene, Question] | None:
    """The scene that the first message tells of, and the last question; None for any other dialogue."""
    if not messages or messages[0]["role"] != USER or messages[-1]["role"] != USER:
        return None
    told, stop, first = messages[0]["content"].partition(" . ")
    asked = first if len(messages) == 1 else messages[-1]["content"]
    shapes = [_shapes().get(part) for part in told.removeprefix("there is ").split(" and ")]
    question = _questions().get(asked)
    if not told.startswith("there is ") or not stop or question is None or not all(shapes):
        return None
    return Scene(tuple(shape for shape in shapes if shape is not None)), question


def ask(scene: Scene, rng: random.Random) -> Question:
    """A question that the scene has an answer to, each kind as often where it can be; yes as often as no."""
    while True:
        kind = rng.choice(["colour", "shape", "size", "place", "count", "any", "relation", "who"])
        some = _of_kind(kind)
        truth = rng.random() < 0.5
        for _ in range(TRIES):
            question = _relation(scene, rng) if kind == "relation" else rng.choice(some)
            right = answers(scene, question) if question is not None else []
            if not right or (kind in ("any", "relation") and right[0].startswith("yes") != truth):
                continue
            if question is not None:
                return question


def _relation(scene: Scene, rng: random.Random) -> Question | None:
    if len(scene.shapes) < 2:
        return None
    one, other = rng.sample(scene.shapes, 2)
    looks = [rng.choice([look for look in _BRIEF if fits(look, shape.look)]) for shape in (one, other)]
    return Question("relation", looks[0], rng.choice(list(RELATIONS)), looks[1])


def dialogue(scene: Scene, rng: random.Random) -> list[Message]:
    """One to three questions with right answers, the first after all is told: messages of user and assistant."""
    messages: list[Message] = []
    asked: list[Question] = []
    for _ in range(rng.randint(1, QUESTIONS)):
        question = ask(scene, rng)
        if question in asked:
            continue
        asked.append(question)
        text = question.text() if messages else f"{tell(scene)} . {question.text()}"
        messages.append({"role": USER, "content": text})
        messages.append({"role": ASSISTANT, "content": rng.choice(answers(scene, question))})
    return messages


def answer_shares(histories: Sequence[Sequence[Message]], replies: Sequence[str]) -> tuple[float, float]:
    """The share of replies that answer some question, and the share that answer this one rightly.

    histories: messages up to and with the question. Raises ValueError for one that is not of this world.
    """
    said = answered = 0
    for messages, reply in zip(histories, replies, strict=True):
        found = read(messages)
        if found is None:
            raise ValueError(f"no dialogue about a scene: {messages}")
        said += reply in _sayable()
        answered += reply in answers(*found)
    return said / max(1, len(replies)), answered / max(1, len(replies))
