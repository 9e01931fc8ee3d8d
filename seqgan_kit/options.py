"""Options and YAML files -> the configuration of a task. Only here and in `cli` do names in strings become objects."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import functools
import importlib
import itertools
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jsonargparse._typehints
import yaml
from jsonargparse import ActionConfigFile, ArgumentParser, DefaultHelpFormatter, Namespace
from jsonargparse._loaders_dumpers import yaml_load

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
    "networks.language_models networks.lstm networks.minibatch networks.output networks.recurrent "
    "networks.reply_encoder networks.residual_text networks.seq2seq networks.soft networks.value_head",
    "networks.pictures": "networks.picture_discriminator:discriminator networks.picture_features:features "
    "networks.picture_generator:generator networks.picture_layers:layers networks.picture_style:style "
    "networks.joint_embedding networks.upsampling",
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


jsonargparse.set_loader("yaml", lambda text: yaml_load(renamed(text)), (yaml.YAMLError,))


class _Help(DefaultHelpFormatter):
    """Without the hundreds of torch modules that jsonargparse would list as known subclasses."""

    def _expand_help(self, action: argparse.Action) -> str:
        return re.sub(r", known subclasses: [^)]*", "", super()._expand_help(action))


def _forget(_: Any, before: Any, now: Any) -> None:
    """Where another class is chosen for a slot, it begins with its own defaults.

    jsonargparse would keep every option whose name both have: PPO would run with TRPO's epochs and learning rate.
    """
    if before and "init_args" in before and before["class_path"] != now["class_path"]:
        before["init_args"] = Namespace()


jsonargparse._typehints.discard_init_args_on_class_path_change = _forget


def parse(words: list[str], task: str = "text") -> tuple[Any, str]:
    """Options and YAML files -> (the task's configuration, its complete YAML).

    Raises UserError, naming the nearest option.
    """
    words = [renamed(word) for word in words]
    configuration = getattr(importlib.import_module(TASKS[task].module), TASKS[task].configuration)
    parser = ArgumentParser(
        prog=f"seqgan-kit train {task}", exit_on_error=False, formatter_class=_Help, allow_abbrev=False
    )
    parser.add_argument("--config", action=ActionConfigFile, help="YAML file of these options; later options win")
    # users' classes need no annotations
    parser.add_class_arguments(configuration, None, fail_untyped=False)
    for file in _files(words):
        _check_keys(file, list(_options(parser)), task)
    try:
        namespace = parser.parse_args(words)
        text = parser.dump(namespace, skip_unset=False)
        built = parser.instantiate(namespace)
    except argparse.ArgumentError as error:
        raise UserError(_explain(str(error), words, list(_options(parser)), task)) from error
    config = configuration(**{field.name: built[field.name] for field in dataclasses.fields(configuration)})
    # what the configuration was left to choose is an option like any other from here on
    chosen = [f"--{option}={value}" for option, value in getattr(config, "left_open", dict)().items()]
    return parse([*words, *chosen], task) if chosen else (config, text)


def _options(parser: ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        for word in action.option_strings:
            if word.startswith("--") and not word.endswith((".help", "+")):
                yield word.removeprefix("--")


def _files(words: list[str]) -> list[str]:
    """The files given by --config."""
    separate = [after for word, after in itertools.pairwise(words) if word == "--config"]
    return separate + [word.removeprefix("--config=") for word in words if word.startswith("--config=")]


def _check_keys(file: str, options: list[str], task: str) -> None:
    """Raises UserError for a key that there is not, and for a value where a group of options belongs."""
    try:
        content = yaml.safe_load(Path(file).read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return  # told by the parser

    def check(tree: Any, path: str) -> None:
        below = [option for option in options if option.startswith(f"{path}." if path else "")]
        if path and not below:
            if path not in options:
                raise UserError(f"{file}: unknown key {path}{nearest(path, options)}; {_see(task)}")
            return
        if not isinstance(tree, dict):
            name = f"{path} is a group of options" if path else "it holds no options"
            such = f"{below[0].removeprefix(f'{path}.')}: ..." if path else "run: {folder: runs/NAME}"
            raise UserError(f"{file}: {name}: give keys with values, such as `{such}`")
        for key, value in tree.items():
            check(value, f"{path}.{key}" if path else str(key))

    check(content, "")


def _explain(message: str, words: list[str], options: list[str], task: str) -> str:
    """jsonargparse's message as one line, with the file and the nearest option where a name is unknown."""
    message = " ".join(message.split()).removesuffix(".")
    message = re.sub(r"Expected a <class '([\w.]+)'>", r"expected \1", message)
    message = re.sub(
        r"(: ).*expects a function or a callable class: (.*)\. Got value: (.*)",
        _not_imported,
        message,
    )
    message = re.sub(r"Expected a dot import path string: (.*)", r"there is no part \1: give MODULE.NAME", message)
    files = _files(words)
    unknown = re.search(r"unrecognized arguments: --([\w.]+)", message)
    stray = re.search(r"unrecognized arguments: ([^-].*)", message)
    key = re.search(r"(?:Group '([\w.]+)' )?does not accept (?:option|nested key) '([\w.]+)'", message)
    if unknown:
        return f"unknown option --{unknown[1]}{nearest(unknown[1], options)}; {_see(task)}"
    if stray:
        option = "--config" if stray[1].endswith((".yaml", ".yml")) else TASKS[task].file
        return f"{stray[1]} stands behind no option (did you mean {option} {stray[1]}?); {_see(task)}"
    if key:
        name = f"{key[1]}.{key[2]}" if key[1] else key[2]
        where = f"{' '.join(files)}: " if files else ""
        return f"{where}unknown key {name}{nearest(name, options)}; {_see(task)}"
    inner = re.search(r'Parser key "([\w.]+)".*Option \'(\w+)\' is not accepted', message)
    if inner:
        return f"unknown option --{inner[1]}.{inner[2]}: what was chosen for {inner[1]} takes no {inner[2]}"
    text = re.search(r'Parser key "((\w+)\.config)": .*expected dict.* Given value: (.*)', message)
    if text:
        in_file = files and not any(word.startswith(f"--{text[1]}") for word in words)
        return (
            f"{f'{files[-1]}: {text[1]}' if in_file else f'--{text[1]}'}: give keys with values, such as "
            f'\'{{"model_type": "gpt2", "n_layer": 2}}\', not {text[3]}; a pretrained model is for --{text[2]}.model'
        )
    value = re.search(r'Parser key "([\w.]+)": (.*)', message)
    if value:
        in_file = files and not any(word.startswith(f"--{value[1]}") for word in words)
        return f"{' '.join(files)}: {value[1]}: {value[2]}" if in_file else f"--{value[1]}: {value[2]}"
    return f"{' '.join(files)}: {message}" if files else message


def _not_imported(found: re.Match[str]) -> str:
    before, why, path = found.groups()
    names = " or ".join(_alike(*path.rsplit(".", 1))) if "has no attribute" in why and "." in path else ""
    where = "give MODULE.NAME of a module that is installed or in the current folder"
    return f"{before}can't import {path} ({why}): {f'did you mean {names}?' if names else where}"


def _alike(module: str, word: str) -> list[str]:
    """What of a module may have been meant: what is described by that word, as LSGAN is, or has nearly that name."""
    try:
        parts = vars(importlib.import_module(module))
    except ImportError:
        return []
    own = {name: part for name, part in parts.items() if getattr(part, "__module__", None) == module and name[0] != "_"}
    described = [
        name
        for name, part in own.items()
        if not name.endswith("_loss") and _plain(word) in f" {_plain(name)} {_plain(part.__doc__ or '')} "
    ]
    return described or difflib.get_close_matches(word, list(own), n=1, cutoff=0.5)


def _plain(text: str) -> str:
    """Words in small letters, between spaces: LS-GAN as lsgan."""
    return f" {re.sub(r'[^a-z0-9]+', ' ', re.sub(r'[-_]', '', text.lower()))} "


def _see(task: str) -> str:
    return f"see seqgan-kit train {task} --help"


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
