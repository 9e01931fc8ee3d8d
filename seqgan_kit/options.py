"""What every command knows of names: the tasks, and the options of a command."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
from collections.abc import Iterable

from seqgan_kit import bounds
from seqgan_kit.errors import UserError


@dataclasses.dataclass(frozen=True)
class Task:
    """What `seqgan-kit train NAME` runs.

    module: has the function `train` and the class `configuration`. commands: the module of what is done with its runs.
    file: the option of what users have.
    """

    module: str
    configuration: str
    commands: str
    file: str


TASKS = {
    "text": Task("seqgan_kit.text.train", "TextConfig", "seqgan_kit.text.commands", "--data.path"),
    "dialogue": Task("seqgan_kit.dialogue.train", "DialogueConfig", "seqgan_kit.dialogue.commands", "--data.path"),
    "imitation": Task(
        "seqgan_kit.imitation.train", "ImitationConfig", "seqgan_kit.imitation.commands", "--demonstrations.path"
    ),
    "images": Task("seqgan_kit.images.train", "ImagesConfig", "seqgan_kit.images.commands", "--data.path"),
    "encoder": Task(
        "seqgan_kit.images.train_encoder", "EncoderConfig", "seqgan_kit.images.encoder_commands", "--data.path"
    ),
}


def arguments(parser: argparse.ArgumentParser, words: list[str]) -> argparse.Namespace:
    """The few options of a command on a run folder, whose types may have bounds. Raises UserError, naming the nearest
    option."""
    parser.exit_on_error = False
    name = parser.prog.removeprefix("seqgan-kit ")  # which a message has before it
    known = [word.removeprefix("--") for action in parser._actions for word in action.option_strings]
    try:
        options, rest = parser.parse_known_args(words)
    except argparse.ArgumentError as error:
        raise UserError(f"{name}: {error}") from error
    for action in parser._actions:
        for bound in bounds.of(action.type):
            values = getattr(options, action.dest)
            for value in values if isinstance(values, list) else [] if values is None else [values]:
                bound.check(f"{name.split()[0]} {action.option_strings[0]}", value)
    if rest:
        raise UserError(f"{name}: unknown option {rest[0]}{nearest(rest[0].removeprefix('--'), known)}")
    return options


def nearest(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""
