"""What every command knows of names: the tasks, where parts of earlier versions are today, the options of a command."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import functools
import re
import sys
from collections.abc import Iterable

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


_MOVED = {
    "algorithms": "objectives f_gan credit estimators trust_region distances",
    "game": "players trainer rewards replay",
    "tokens": "sampling decoding token_policy:policy token_credit:credit token_discriminator:discriminator "
    "soft_text:soft",
    "language": "text.pretrained text.tokenizers text.data text.encoders text.metrics text.mauve",
    "networks.text": "networks.cnn networks.class_head networks.hierarchical networks.histories "
    "networks.judge.Judge:generator_discriminator.GeneratorDiscriminator "
    "networks.language_models networks.lstm networks.minibatch networks.output networks.recurrent:lstm_discriminator "
    "networks.reply_encoder networks.residual_text networks.seq2seq networks.soft networks.value_head",
    "networks.pictures": "networks.picture_discriminator:discriminator networks.picture_features:features "
    "networks.picture_generator:generator networks.picture_layers:layers networks.picture_style:style "
    "networks.joint_embedding networks.upsampling",
    "text": "text.routes:differentiable",
    "networks.policies": "networks.actions networks.actor networks.transition networks.normaliser networks.layers",
}  # fmt: skip
OLD_NAMES = {
    f"seqgan_kit.{old}": f"seqgan_kit.{wing}.{new or old.rpartition('.')[2]}"
    for wing, names in _MOVED.items()
    for old, _, new in (name.partition(":") for name in names.split())
}
"""Where what stands in YAML files and run folders of earlier versions is today."""

_OLD_NAME = re.compile(
    rf"\b({'|'.join(re.escape(name) for name in sorted(OLD_NAMES, key=len, reverse=True))})\b(\.\w+)?"
)


def renamed(text: str) -> str:
    """The text with today's import paths in place of old ones; tells of each on stderr, once."""

    def new(found: re.Match[str]) -> str:
        now = OLD_NAMES[found[1]] + (found[2] or "")
        _tell_once(f"seqgan-kit: {found[0]} is now {now}")
        return now

    return _OLD_NAME.sub(new, text)


@functools.cache
def _tell_once(line: str) -> None:
    print(line, file=sys.stderr)


def arguments(parser: argparse.ArgumentParser, words: list[str]) -> argparse.Namespace:
    """The few options of a command on a run folder. Raises UserError, naming the nearest option."""
    parser.exit_on_error = False
    known = [word.removeprefix("--") for action in parser._actions for word in action.option_strings]
    try:
        options, rest = parser.parse_known_args(words)
    except argparse.ArgumentError as error:
        raise UserError(f"{parser.prog}: {error}") from error
    if rest:
        name = rest[0].removeprefix("--")
        raise UserError(f"{parser.prog}: unknown option {rest[0]}{nearest(name, known)}")
    return options


def nearest(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""
