"""The `seqgan-kit` command: the only place where names in strings become objects."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import itertools
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ActionConfigFile, ArgumentParser, DefaultHelpFormatter

from seqgan_kit.errors import UserError

TASKS = ("text",)
USAGE = """usage: seqgan-kit COMMAND ...

  train text [--config FILE.yaml] [--any.option VALUE ...]   train in a new run folder
  resume RUN [--any.option VALUE ...]                        continue a run that was stopped or killed
  sample RUN [--count 10] [--seed 0] [--temperature 1.0]     print samples of a run's model
  evaluate RUN [--samples 1000] [--temperature 1.0]          score a run's model on its held-out data
  report RUN                                                 write RUN/report.html

seqgan-kit train text --help lists all options."""


class _Help(DefaultHelpFormatter):
    """Without the hundreds of torch modules that jsonargparse would list as known subclasses."""

    def _expand_help(self, action: argparse.Action) -> str:
        return re.sub(r", known subclasses: [^)]*", "", super()._expand_help(action))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status: 0, 1 for a user's mistake, 130 where it was stopped and has saved."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    # parts given by import path are looked for where the user is
    sys.path.insert(0, os.getcwd())
    # transformers draws a bar of its own for every file that it writes or reads
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        return _command(words)
    except UserError as error:
        print(f"seqgan-kit: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("seqgan-kit: stopped at once; what was saved before stays", file=sys.stderr)
        return 130


def _command(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(USAGE)
        return 0 if words else 2
    commands = {"train": _train, "resume": _resume, "sample": _sample, "evaluate": _evaluate, "report": _report}
    if words[0] not in commands:
        raise UserError(f"unknown command {words[0]!r}{_nearest(words[0], commands)}; see seqgan-kit --help")
    return commands[words[0]](words[1:])


def _train(words: list[str]) -> int:
    if not words or words[0] not in TASKS:
        given = f"unknown task {words[0]!r}{_nearest(words[0], TASKS)}" if words else "no task given"
        raise UserError(f"{given}: seqgan-kit train {'|'.join(TASKS)} [--config FILE.yaml] [--any.option VALUE ...]")
    return _run(words[1:], resume=False)


def _resume(words: list[str]) -> int:
    run, rest = _run_folder(words, "resume")
    config = run / "config.yaml"
    if not config.is_file():
        raise UserError(f"{run} is no run folder (it has no config.yaml): give one that `train` made")
    return _run(["--config", str(config), *rest, "--run.folder", str(run)], resume=True)


def _run(words: list[str], resume: bool) -> int:
    from seqgan_kit.engine import Stopped
    from seqgan_kit.text import train as text

    config, config_text = parse(words)
    try:
        run = text.train(config, config_text, resume)
    except Stopped as stopped:
        print(f"seqgan-kit: {stopped}", file=sys.stderr)
        return 130
    if int(os.environ.get("RANK", "0")) == 0:
        _summarise(run)
    return 0


def _summarise(run: Path) -> None:
    """What the phases did to each held metric, samples, and where everything is."""
    from seqgan_kit.report import read_metrics
    from seqgan_kit.text.train import ADVERSARIAL, CONTROL, MLE

    last: dict[str, dict[str, float]] = {}
    for phase, lines in read_metrics(run / "metrics.jsonl").items():
        for line in lines:
            found = {k.removeprefix("eval/"): v for k, v in line.values.items() if k.startswith("eval/")}
            last.setdefault(phase, {}).update(found)
    phases = [phase for phase in (MLE, ADVERSARIAL, CONTROL) if last.get(phase)]
    titles = {MLE: "max. likelihood", ADVERSARIAL: "adversarial", CONTROL: "likelihood for as long"}
    print(f"\n{'held metric':<16}" + "".join(f"{titles[phase]:>24}" for phase in phases))
    for name in last[phases[0]]:
        print(f"{name:<16}" + "".join(f"{last[phase].get(name, float('nan')):>24.4f}" for phase in phases))
    newest = max((run / "samples").glob("adversarial-*.txt"), default=None) or max((run / "samples").glob("*.txt"))
    print(f"\nsamples ({newest}):")
    print("".join(f"  {line}\n" for line in newest.read_text("utf-8").splitlines()[:8]))
    print(f"model   {run / 'model'}    more samples: seqgan-kit sample {run}")
    print(f"report  {run / 'report.html'}")


def parse(words: list[str]) -> tuple[Any, str]:
    """Options and YAML files -> (TextConfig, its complete YAML). Raises UserError, naming the nearest option."""
    from seqgan_kit.text.train import TextConfig

    parser = ArgumentParser(
        prog="seqgan-kit train text", exit_on_error=False, formatter_class=_Help, allow_abbrev=False
    )
    parser.add_argument("--config", action=ActionConfigFile, help="YAML file of these options; later options win")
    # users' classes need no annotations
    parser.add_class_arguments(TextConfig, None, fail_untyped=False)
    for file in _files(words):
        _check_keys(file, list(_options(parser)))
    try:
        namespace = parser.parse_args(words)
        text = parser.dump(namespace, skip_unset=False)
        built = parser.instantiate(namespace)
    except argparse.ArgumentError as error:
        raise UserError(_explain(str(error), words, list(_options(parser)))) from error
    return TextConfig(**{field.name: built[field.name] for field in dataclasses.fields(TextConfig)}), text


def _options(parser: ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        for word in action.option_strings:
            if word.startswith("--") and not word.endswith((".help", "+")):
                yield word.removeprefix("--")


def _files(words: list[str]) -> list[str]:
    """The files given by --config."""
    separate = [after for word, after in itertools.pairwise(words) if word == "--config"]
    return separate + [word.removeprefix("--config=") for word in words if word.startswith("--config=")]


def _check_keys(file: str, options: list[str]) -> None:
    """Raises UserError for a key that there is not, and for a value where a group of options belongs."""
    try:
        content = yaml.safe_load(Path(file).read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return  # told by the parser

    def check(tree: Any, path: str) -> None:
        below = [option for option in options if option.startswith(f"{path}." if path else "")]
        if path and not below:
            if path not in options:
                near = _nearest(path, options)
                raise UserError(f"{file}: unknown key {path}{near}; see seqgan-kit train text --help")
            return
        if not isinstance(tree, dict):
            name = f"{path} is a group of options" if path else "it holds no options"
            such = f"{below[0].removeprefix(f'{path}.')}: ..." if path else "run: {folder: runs/NAME}"
            raise UserError(f"{file}: {name}: give keys with values, such as `{such}`")
        for key, value in tree.items():
            check(value, f"{path}.{key}" if path else str(key))

    check(content, "")


def _explain(message: str, words: list[str], options: list[str]) -> str:
    """jsonargparse's message as one line, with the file and the nearest option where a name is unknown."""
    message = " ".join(message.split()).removesuffix(".")
    message = re.sub(r"Expected a <class '([\w.]+)'>", r"expected \1", message)
    message = re.sub(
        r"(: ).*expects a function or a callable class: (.*)\. Got value: (.*)",
        r"\1can't import \3 (\2): give MODULE.NAME of a module that is installed or in the current folder",
        message,
    )
    files = _files(words)
    unknown = re.search(r"unrecognized arguments: --([\w.]+)", message)
    key = re.search(r"(?:Group '([\w.]+)' )?does not accept (?:option|nested key) '([\w.]+)'", message)
    if unknown:
        return f"unknown option --{unknown[1]}{_nearest(unknown[1], options)}; see seqgan-kit train text --help"
    if key:
        name = f"{key[1]}.{key[2]}" if key[1] else key[2]
        where = f"{' '.join(files)}: " if files else ""
        return f"{where}unknown key {name}{_nearest(name, options)}; see seqgan-kit train text --help"
    inner = re.search(r'Parser key "([\w.]+)".*Option \'(\w+)\' is not accepted', message)
    if inner:
        return f"unknown option --{inner[1]}.{inner[2]}: what was chosen for {inner[1]} takes no {inner[2]}"
    value = re.search(r'Parser key "([\w.]+)": (.*)', message)
    if value:
        in_file = files and not any(word.startswith(f"--{value[1]}") for word in words)
        return f"{' '.join(files)}: {value[1]}: {value[2]}" if in_file else f"--{value[1]}: {value[2]}"
    return f"{' '.join(files)}: {message}" if files else message


def _sample(words: list[str]) -> int:
    run, rest = _run_folder(words, "sample")
    parser = argparse.ArgumentParser(prog="seqgan-kit sample RUN", description="Prints samples of a run's model.")
    parser.add_argument("--count", type=int, default=10, help="how many (default 10)")
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers (default 0)")
    parser.add_argument("--temperature", type=float, default=1.0, help="below 1 likelier, above 1 more various")
    options = _arguments(parser, rest)
    if options.count < 1 or options.temperature <= 0:
        raise UserError("sample: --count and --temperature must be above 0")
    import torch

    from seqgan_kit.text.evaluation import draw

    network, tokenizer = _load_model(run)
    torch.manual_seed(options.seed)
    drawn = draw(network, options.count, options.temperature)
    end = network.config.end
    for row, mask in zip(drawn.ids.tolist(), drawn.mask.tolist(), strict=True):
        print(tokenizer.decode([token for token, counts in zip(row, mask, strict=True) if counts and token != end]))
    return 0


def _evaluate(words: list[str]) -> int:
    run, rest = _run_folder(words, "evaluate")
    parser = argparse.ArgumentParser(
        prog="seqgan-kit evaluate RUN", description="Scores a run's model on held-out data."
    )
    parser.add_argument("--samples", type=int, help="sequences drawn (default: as many as in training)")
    parser.add_argument("--seed", type=int, help="of the random numbers (default: as in training)")
    parser.add_argument("--temperature", type=float, default=1.0, help="of sampling (default 1)")
    options = _arguments(parser, rest)
    config, _ = parse(["--config", str(run / "config.yaml")])
    samples = config.evaluation.samples if options.samples is None else options.samples
    seed = config.evaluation.seed if options.seed is None else options.seed
    if samples < 2 or options.temperature <= 0:
        raise UserError("evaluate: --samples must be at least 2 and --temperature above 0")
    import torch

    from seqgan_kit.provenance import write_json
    from seqgan_kit.text.evaluation import Evaluation
    from seqgan_kit.text.sources import load

    network, _ = _load_model(run)
    evaluation = Evaluation(load(config.data, config.run.seed))
    torch.manual_seed(seed)
    found, _ = evaluation(network, samples, options.temperature)
    print(f"on {samples} samples, seed {seed}, temperature {options.temperature:g}")
    for name, value in found.items():
        print(f"{name:<16}{value:>10.4f}")
    write_json(
        run / "evaluation.json",
        {"samples": samples, "seed": seed, "temperature": options.temperature, "metrics": found},
    )
    return 0


def _report(words: list[str]) -> int:
    from seqgan_kit.report import write_report

    run, rest = _run_folder(words, "report")
    _arguments(argparse.ArgumentParser(prog="seqgan-kit report RUN", description="Writes RUN/report.html."), rest)
    print(write_report(run))
    return 0


def _load_model(run: Path) -> tuple[Any, Any]:
    from transformers import AutoTokenizer

    from seqgan_kit.networks.lstm import LSTMGenerator

    folder = run / "model"
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} holds no model: it is written at the end of each phase; train on, or resume {run}")
    try:
        return LSTMGenerator.from_pretrained(folder, local_files_only=True).eval(), AutoTokenizer.from_pretrained(
            folder
        )
    except Exception as error:
        raise UserError(
            f"{folder} can't be loaded ({' '.join(str(error).split())[:200]}); resume {run} to write it anew"
        ) from error


def _run_folder(words: list[str], command: str) -> tuple[Path, list[str]]:
    if words and words[0] in ("-h", "--help"):
        print(USAGE)
        raise SystemExit(0)
    if not words or words[0].startswith("-"):
        raise UserError(f"{command} needs the run's folder: seqgan-kit {command} runs/NAME")
    run = Path(words[0])
    if not (run / "run.json").is_file():
        parent = run.parent
        there = sorted(path.parent.name for path in parent.glob("*/run.json")) if parent.is_dir() else []
        found = f" (in {parent}: {', '.join(there[:8])})" if there else ""
        raise UserError(f"{run} is no run folder: it has no run.json{found}")
    return run, words[1:]


def _arguments(parser: argparse.ArgumentParser, words: list[str]) -> argparse.Namespace:
    parser.exit_on_error = False
    known = [word.removeprefix("--") for action in parser._actions for word in action.option_strings]
    try:
        options, rest = parser.parse_known_args(words)
    except argparse.ArgumentError as error:
        raise UserError(f"{parser.prog}: {error}") from error
    if rest:
        name = rest[0].removeprefix("--")
        raise UserError(f"{parser.prog}: unknown option {rest[0]}{_nearest(name, known)}")
    return options


def _nearest(word: str, known: Any) -> str:
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


if __name__ == "__main__":
    sys.exit(main())
