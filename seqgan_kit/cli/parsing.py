"""Options and YAML files -> the configuration of a task: here names in strings become objects."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import functools
import importlib
import itertools
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jsonargparse._typehints
import yaml
from jsonargparse import ActionConfigFile, ArgumentParser, Namespace
from jsonargparse._actions import _ActionConfigLoad, _HelpAction
from jsonargparse._loaders_dumpers import yaml_load
from jsonargparse._typehints import ActionTypeHint, type_to_str

from seqgan_kit.bounds import check_numbers
from seqgan_kit.cli.parts import Parts, only, read_files, trusted
from seqgan_kit.cli.source import Option, kind, shown
from seqgan_kit.errors import UserError, one_line
from seqgan_kit.files import check_file, checked, read_bytes, short
from seqgan_kit.old_names import AS_THEN, OLD_NAMES, moved, renamed
from seqgan_kit.options import TASKS, nearest
from seqgan_kit.report.changes import flattened

jsonargparse.set_loader("yaml", lambda text: yaml_load(renamed(text)), (yaml.YAMLError,))


def _forget(_: Any, before: Any, now: Any) -> None:
    """Where another class is chosen for a slot, it begins with its own defaults.

    jsonargparse would keep every option whose name both have: PPO would run with TRPO's epochs and learning rate.
    """
    if before and "init_args" in before and before["class_path"] != now["class_path"]:
        before["init_args"] = Namespace()


jsonargparse._typehints.discard_init_args_on_class_path_change = _forget


TRUST = (
    "Module of your own that may be imported where a file names it; else only the kit's parts are. Give it once for "
    "each module."
)


def parser_of(task: str) -> tuple[ArgumentParser, Any]:
    """The parser of a task's options, and the class of its configuration."""
    configuration = getattr(importlib.import_module(TASKS[task].module), TASKS[task].configuration)
    parser = ArgumentParser(prog=f"seqgan-kit train {task}", exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--config", action=ActionConfigFile, help="YAML file of options. Later options win over it.")
    parser.add_argument("--trust", metavar="MODULE", help=TRUST)
    # users' classes need no annotations
    parser.add_class_arguments(configuration, None, fail_untyped=False)
    return parser, configuration


def _tell_moved(words: list[str]) -> None:
    """What has moved of that which stands in the options and in the user's files, once; a run's own are the kit's."""
    files = [Path(file) for word in words if (file := word.rpartition("=")[2]).endswith((".yaml", ".yml"))]
    own = [file for file in files if file.is_file() and not file.with_name("run.json").is_file()]
    for text in [*words, *(file.read_text("utf-8", errors="replace") for file in own)]:
        for line in moved(text):
            _tell_once(f"seqgan-kit: {line}")


@functools.cache
def _tell_once(line: str) -> None:
    print(line, file=sys.stderr)


def parse(words: list[str], task: str = "text") -> tuple[Any, str]:
    """Options and YAML files -> (the task's configuration, its complete YAML).

    Raises UserError, naming the nearest option, or a part that may not be imported.
    """
    _tell_moved(words)
    words, modules = trusted([renamed(word) for word in words])
    parser, configuration = parser_of(task)
    _check_files(words)
    for file in _files(words):
        _check_yaml(Path(file))
        _check_keys(file, [option for option in _options(parser) if option not in ("config", "trust")], task)
        words = [*_as_then(file, list(_options(parser))), *words]
    parts = Parts(task, words, modules, read_files(_files(words)))

    def read(words: list[str]) -> tuple[Any, str]:
        try:
            namespace = _parsed(parser, words)
            namespace.pop("trust")
            check_numbers(namespace, configuration)
            text = parser.dump(_from_anywhere(namespace), skip_unset=False)
            built = parser.instantiate(namespace)
        except RecursionError:
            raise UserError("an option holds itself, or lists in lists too deep to be read: write it out") from None
        except argparse.ArgumentError as error:
            if parts.refused:
                raise parts.told() from error
            raise UserError(_explain(str(error), words, list(_options(parser)), task)) from error
        config = configuration(**{field.name: built[field.name] for field in dataclasses.fields(configuration)})
        # what the configuration was left to choose is an option like any other from here on
        chosen = [f"--{option}={value}" for option, value in getattr(config, "left_open", dict)().items()]
        if chosen:
            return read([*words, *chosen])
        check_rates(namespace)
        return config, text

    with only(parts):
        config, text = read(words)
    if hasattr(config, "environment"):
        parts.check_environment(config.environment.id)
    return config, text


def _parsed(parser: ArgumentParser, words: list[str]) -> Namespace:
    """Raises UserError where jsonargparse joins two mappings of one option, of which one looks like a class."""
    try:
        return parser.parse_args(words)
    except AttributeError as error:
        given = [word.partition("=")[0] for word in words if word.startswith("--")]
        twice = sorted({option for option in given if given.count(option) > 1})
        if not twice:
            raise
        raise UserError(f"{' and '.join(twice)}: given twice: give it once") from error


def check_rates(options: Namespace, path: str = "-") -> None:
    """Raises UserError for a learning rate that is null, and still is where all that may be left open is chosen."""
    for key, value in vars(options).items():
        here = f"{path}{'-' if path == '-' else '.'}{key}"
        if isinstance(value, Namespace):
            check_rates(value, path if key == "init_args" else here)
        elif key == "lr" and value is None:
            raise UserError(f"{here} null: give a number, as 0.001")


FILES = {"path", "held_out_path", "oracle", "model", "encoder", "features", "matcher", "clip"}
"""Last words of the options that hold a file or folder of the user's."""


def _from_anywhere(namespace: Namespace) -> Namespace:
    """With the absolute paths of files and folders that are there, so that a run finds them from any folder."""
    found = namespace.clone()
    for name, value in namespace.items():
        last = name.rpartition(".")[2]
        there = last == "cache" or (
            last in FILES and value != "learned" and isinstance(value, str) and Path(value).exists()
        )
        if there and isinstance(value, str):  # a cache is made where it is missing
            found[name] = str(Path(value).absolute())
    return found


class Group(NamedTuple):
    """Options that belong together, as adversarial.optimizer.lr and its like. name: "adversarial.optimizer"."""

    name: str
    title: str
    options: list[Option]


def groups(task: str) -> list[Group]:
    """All options of a task, as help shows them, in the order of the configuration."""
    found: list[Group] = []
    for group in parser_of(task)[0]._action_groups:
        options = [_option(action) for action in group._group_actions if _is_option(action)]
        if options:
            title = "What the command takes" if group.title == "options" else " ".join((group.title or "").split())
            found.append(Group(options[0].name.rpartition(".")[0], title.removesuffix("."), options))
    return found


def options_of(part: Any, name: str | None, given: tuple[str, ...]) -> list[Option]:
    """What a class or function takes but what is `given`, as options below a name."""
    parser = ArgumentParser()
    add = parser.add_class_arguments if isinstance(part, type) else parser.add_function_arguments
    add(part, name, skip=set(given), fail_untyped=False)
    return [_option(action) for action in parser._actions if _is_option(action)]


def _is_option(action: argparse.Action) -> bool:
    """Not a group, which may be a file, too, nor one that only prints something."""
    return not isinstance(action, _ActionConfigLoad | _HelpAction) and not action.option_strings[0].endswith(".help")


def _option(action: argparse.Action) -> Option:
    name = action.option_strings[0].removeprefix("--")
    text = " ".join((action.help or "").split())
    if not isinstance(action, ActionTypeHint):
        return Option(name, "FILE.yaml" if name == "config" else "", text, "")
    default = action.default.as_dict() if isinstance(action.default, Namespace) else action.default
    return Option(name, kind(type_to_str(action._typehint)), text, "" if action.required else shown(default))


def _options(parser: ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        for word in action.option_strings:
            if word.startswith("--") and not word.endswith((".help", "+")):
                yield word.removeprefix("--")


def _check_files(words: list[str]) -> None:
    """Raises UserError where what is given for an option is a pipe or a device: a group of options may be a file."""
    for before, word in itertools.pairwise(["", *words]):
        checked(word, before if before.startswith("--") else "an option")
        given = word.partition("=")[2] if word.startswith("--") else word
        try:
            if given and Path(given).is_file() is False and Path(given).exists():
                check_file(Path(given))
        except (OSError, ValueError):  # no name of a file
            continue


def _check_yaml(path: Path) -> None:
    """Raises UserError for a file of options that can't be read, and for one that says something twice."""
    try:
        root = yaml.compose(read_bytes(path).decode(), yaml.SafeLoader)  # that in C overflows its stack
        for line, key in _repeated(root, []):
            raise UserError(f"{path} line {line}: {key} stands there before: leave one of them out")
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        why = error.strerror if isinstance(error, OSError) else one_line(error)
        raise UserError(f"{path} can't be read ({why}): give a YAML file of options") from None


def _repeated(node: yaml.Node | None, path: list[str]) -> Iterator[tuple[int, str]]:
    """Lines and names of keys that a mapping has had before."""
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _repeated(item, path)
    if isinstance(node, yaml.MappingNode):
        known = set()
        for key, value in node.value:
            here = [*path, str(key.value)]
            if key.value in known:
                yield key.start_mark.line + 1, ".".join(here)
            if isinstance(key, yaml.ScalarNode):
                known.add(key.value)
            yield from _repeated(value, here)


def _files(words: list[str]) -> list[str]:
    """The files given by --config."""
    separate = [after for word, after in itertools.pairwise(words) if word == "--config"]
    return separate + [word.removeprefix("--config=") for word in words if word.startswith("--config=")]


def _as_then(file: str, options: list[str]) -> list[str]:
    """What a run of an earlier version did, which had no option for it: so the run goes on."""
    if not Path(file).with_name("run.json").is_file():
        return []
    try:
        known = yaml.safe_load(Path(file).read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return []  # told by the parser
    has = dict(flattened(known))
    return [f"--{name}={value}" for name, value in AS_THEN.items() if name in options and name not in has]


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
    message = _of_part(" ".join(message.split()).removesuffix("."))
    message = re.sub(r"Expected a <class '([\w.]+)'>", lambda found: f"expected {_either(found[1])}", message)
    message = re.sub(
        r"(: ).*expects a function or a callable class: (.*)\. Got value: (.*)",
        _not_imported,
        message,
    )
    # of "a number or nothing", which kinds there are, without what each of them said
    kinds = r"Does not validate against any of the Union subtypes Subtypes: \[(.*?)\] Errors: .* Given value: ?(.*)"
    message = re.sub(kinds, _of_kinds, message)
    message = re.sub(r"Expected a dot import path string: ?(.*)", r"there is no part \1: give MODULE.NAME", message)
    message = re.sub(r"Expected a typing.Literal\[(.*?)\]", lambda found: f"expected {_either(found[1])}", message)
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
    inner = re.search(r'Parser key "([\w.]+)".*Option \'([\w.]+)\' is not accepted', message)
    if inner:
        return f"unknown option --{inner[1]}.{inner[2]}: what was chosen for {inner[1]} takes no {inner[2]}"
    text = re.search(r'Parser key "((\w+)\.config)": .*expected keys with values.* Got value: (.*)', message)
    if text:
        in_file = files and not any(word.startswith(f"--{text[1]}") for word in words)
        return (
            f"{f'{files[-1]}: {text[1]}' if in_file else f'--{text[1]}'}: give keys with values, such as "
            f'\'{{"model_type": "gpt2", "n_layer": 2}}\', not {text[3]}; a pretrained model is for --{text[2]}.model'
        )
    value = re.search(r'Parser key "([\w.]+)": (.*)', message)
    if value:
        in_file = files and not any(word.startswith(f"--{value[1]}") for word in words)
        told = re.sub(
            r"\. Got value: (.*)", lambda found: f", not {'null' if found[1] == 'None' else short(found[1])}", value[2]
        )
        return f"{' '.join(files)}: {value[1]}: {told}" if in_file else f"--{value[1]}: {told}"
    return f"{' '.join(files)}: {message}" if files else message


PLAIN = {"int": "a whole number", "float": "a number", "str": "text", "bool": "true or false", "NoneType": "null"}
PLAIN |= {"dict": "keys with values", "list": "a list", "tuple": "a list", "collections.abc.Sequence": "a list"}


def _of_part(message: str) -> str:
    """Where what is wrong is an option of a part: of that one, not of the part as a whole."""
    message = re.sub(r'(Parser key "[\w.]+": ).*(Option \'[\w.]+\' is not accepted).*', r"\1\2", message)
    beside = r"\1it holds more than class_path and init_args: put what that part takes below init_args"
    message = re.sub(
        r'(Parser key "[\w.]+": ).*Dict must include a class_path and optionally init_args.*', beside, message
    )
    inner = (
        r'Parser key "([\w.]+)": .*Parser key "(\w+)": (.*?)(?:\. Got value: Namespace\(.*| - Expected a <class .*)$'
    )
    return re.sub(inner, r'Parser key "\1.\2": \3', message)


def _of_kinds(found: re.Match[str]) -> str:
    kinds = re.sub(r"typing\.Literal\[(.*?)\]", r"\1", found[1])
    kinds = re.sub(r"<class '([\w.]+)'>", r"\1", re.sub(r"\[.*?\]", "", kinds))
    return f"expected {_either(kinds)}. Got value: {found[2]}"


def _either(names: str) -> str:
    return " or ".join(PLAIN.get(name := each.strip().strip("'"), name) for each in names.split(","))


def _not_imported(found: re.Match[str]) -> str:
    before, why, path = found.groups()
    kind = re.search(r"Expected '([\w.]+)' to be a (function that returns|subclass of) <class '(\w+)'>", why)
    if kind:
        how = "derive it from that" if kind[2] == "subclass of" else f"write `-> {kind[3]}` behind its arguments"
        return f"{before}{kind[1]} is no {kind[2]} {kind[3]}: {how}"
    names = " or ".join(_alike(*path.rsplit(".", 1))) if "has no attribute" in why and "." in path else ""
    where = "give MODULE.NAME of a module that is installed or in the current folder"
    inner = re.search(r"No module named '([\w.]+)'", why)
    if inner and inner[1] in OLD_NAMES:
        where = f"what it imports is {OLD_NAMES[inner[1]]} today"
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
