"""The `seqgan-kit` command."""

from __future__ import annotations

import argparse
import gc
import importlib
import itertools
import os
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from seqgan_kit import __version__, bounds
from seqgan_kit.cli.failures import REFUSED, asked_for, leave_output, out_of_memory
from seqgan_kit.cli.terminal import plain_output
from seqgan_kit.commands import is_main_process
from seqgan_kit.errors import Stopped, UserError
from seqgan_kit.files import check_real, checked, read_record
from seqgan_kit.options import TASKS, arguments, nearest

HELP = ("-h", "--help")
OF_TASKS = ("sample", "chat", "evaluate", "record", "watch", "sweep")  # in seqgan_kit/TASK/commands.py
READING = ("evaluate", "sweep")  # those that read a run's data again
COMMANDS = ("train", "resume", *OF_TASKS, "compare", "report", "env")
USAGE = """usage: seqgan-kit COMMAND ...

  train text [--config FILE.yaml] [--any.option VALUE ...]   train a generator of texts in a new run folder
  train dialogue ...                                         train one of replies in conversations
  train imitation ...                                        train a policy in a Gymnasium environment
  train images ...                                           train a generator of pictures of captions
  train encoder ...                                          train a text encoder on captioned pictures, for images
  train TASK --run.folder NAME --seeds 0 1 2 ...             a run for each seed, NAME-0, NAME-1, ..., and their spread
  resume RUN [--any.option VALUE ...]                        continue a run that was stopped or killed
  sample RUN [--count 10] [--seed 0] [--temperature 1.0]     text: print samples of a run's model
  sample RUN --text "how are you ?" [--file prompts.jsonl]   dialogue: replies of a run's model
  chat RUN [--temperature 1.0] [--top_p 0.9]                 dialogue: talk with it in the terminal
  sample RUN --text "a red circle" [--file captions.txt]     images: PNG files of a run's model
  evaluate RUN [--samples 1000] [--temperature 1.0]          text: score a run's model on its held-out data
  sweep RUN [RUN ...] [--temperatures 0.5 1 1.5]             text: quality against diversity, beside likelihood alone
  evaluate RUN [--samples 500] [--evaluators 1000]           dialogue: score it on held-out dialogues
  evaluate RUN [--episodes 100] [--seed N] [--frozen]        imitation: a run's policy beside its baselines
  evaluate RUN [--samples N] [--features FOLDER]             images: scores on held-out captions and pictures
  watch RUN [--episodes 1] [--steps 500] [--sampled]         imitation: an animated GIF of a run's policy
  record RUN [--episodes 10] [--out FILE.npz] [--greedy]     imitation: demonstrations of a run's policy
  compare RUN RUN ... [-- RUN RUN ...]                       spread over runs of several seeds; groups side by side
  report RUN                                                 write RUN/report.html
  env                                                        print what a bug report needs: versions, machine, extras
  --version                                                  print the version of seqgan-kit

seqgan-kit train text --help shows ten options to know of text, --help all shows all of them;
seqgan-kit train text --discriminator.network.help lists the classes that there are for that option;
seqgan-kit watch --help shows the options of watch, and so on."""

SMALLER = "make batches, samples, networks or texts smaller"
COMPARE = """usage: seqgan-kit compare RUN RUN ... [-- RUN RUN ...] ...

What runs end with that repeat one another but for their seeds: mean, standard deviation and 95 % interval of each
metric in each phase; the game less what stands beside it, by pairs of one run. Groups of such runs have -- between them
and are compared with the first one, by Welch's interval. Where all were swept alike (seqgan-kit sweep), the quality of
each model at equal diversity, too, at the end: read that first, and `length` beside it, which no diversity tells.
Metrics of other units, numbers of samples or held-out texts are not put side by side."""


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status: 0, 1 for a user's mistake, 130 where it was stopped and has saved."""
    words = list(sys.argv[1:] if words is None else words)
    # transformers and datasets draw a bar of their own for every file that they write or read
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    if "transformers" in sys.modules:  # called from Python: it has read that already
        sys.modules["transformers"].utils.logging.disable_progress_bar()
    with plain_output():
        return _status(words)


def _status(words: list[str]) -> int:
    try:
        status = _command(words)
        sys.stdout.flush()
        return status
    except UserError as error:
        print(f"seqgan-kit: {error}", file=sys.stderr)
        return 1
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        saved = "; what was saved before stays" if _trains(words) else ""
        print(f"seqgan-kit: there is too little memory for it{asked_for(error)}{saved}: {SMALLER}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # whoever read the output, `head` for instance, has seen enough
        if _trains(words):  # which did not come to its end
            raise
        leave_output()
        return 0
    except OSError as error:  # a full or read-only disk, a folder that is gone
        if error.errno is None:
            raise
        if error.filename is None:  # what is printed has no place
            leave_output()
        place = "" if error.filename is None else f"{error.filename}: "
        print(f"seqgan-kit: {place}{error.strerror}: {REFUSED.get(error.errno, 'check the path')}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        saved = " at once; what was saved before stays" if _trains(words) else ""
        print(f"seqgan-kit: stopped{saved}", file=sys.stderr)
        return 130
    except Stopped as error:
        print(f"seqgan-kit: {error}", file=sys.stderr)
        return 130


def _trains(words: list[str]) -> bool:
    return words[:1] in (["train"], ["resume"]) and not any(word in HELP or ".help" in word for word in words)


def parse(words: list[str], task: str = "text") -> tuple[Any, str]:
    """Options and YAML files -> (the task's configuration, its complete YAML). Raises UserError."""
    from seqgan_kit.cli import parsing  # which takes its time, and not every command needs it

    return parsing.parse(words, task)


def _command(words: list[str]) -> int:
    if not words or words[0] in (*HELP, "help"):
        print(USAGE)
        return 0 if words else 2
    command, rest = words[0], words[1:]
    simple = {"train": _train, "resume": _resume, "report": _report, "compare": _compare, "env": _env}
    if command == "--version":
        print(f"seqgan-kit {__version__}")
    elif command in simple:
        simple[command](rest)
    elif command in OF_TASKS:
        _on_runs(command, rest)
    else:
        raise UserError(f"unknown command {command!r}{nearest(command, COMMANDS)}; see seqgan-kit --help")
    return 0


def _env(words: list[str]) -> None:
    arguments(argparse.ArgumentParser(prog="seqgan-kit env", description="Prints what a bug report needs."), words)
    from seqgan_kit.cli.environment import lines

    print("\n".join(lines()))


def _train(words: list[str]) -> None:
    if words and words[0] in HELP:
        print(USAGE)
        return
    if not words or words[0] not in TASKS:
        given = f"unknown task {words[0]!r}{nearest(words[0], TASKS)}" if words else "no task given"
        raise UserError(f"{given}: seqgan-kit train {'|'.join(TASKS)} [--config FILE.yaml] [--any.option VALUE ...]")
    told = _asked_help(words[0], words[1:])
    if told is not None:
        print(told)
        return
    if any(word.startswith("--seeds=") for word in words):
        raise UserError("--seeds takes numbers with blanks between them: --seeds 0 1 2")
    if "--seeds" in words:
        _train_seeds(words[0], words[1:])
    else:
        _run(words[0], words[1:], resume=False)


def _asked_help(task: str, words: list[str]) -> str | None:
    """What --help, --help all or --OPTION.help asks for; None where none of them is among the words."""
    for word, after in itertools.pairwise([*words, ""]):
        if word in HELP and after == "all":
            from seqgan_kit.cli.help import whole_help

            return whole_help(task)
        if word in HELP:
            from seqgan_kit.cli.help import short_help

            return short_help(task)
        asked = re.fullmatch(r"--([\w.]+)\.help(?:=(.*))?", word)
        if asked:
            from seqgan_kit.cli.slots import slot_help

            return slot_help(task, asked[1], asked[2] or ("" if after.startswith("-") else after))
    return None


def _train_seeds(task: str, words: list[str]) -> None:
    """A run for each seed, NAME-SEED, one after another; finished ones are kept, stopped ones resumed."""
    start = words.index("--seeds")
    given = list(itertools.takewhile(lambda word: not word.startswith("--"), words[start + 1 :]))
    words = words[:start] + words[start + 1 + len(given) :]
    seeds = [int(word) for word in given if word.isdecimal()]
    if len(seeds) < len(given) or len(set(seeds)) < len(seeds) or not seeds:
        raise UserError(f"--seeds {' '.join(given)}: give different whole numbers of at least 0, as --seeds 0 1 2")
    for seed in seeds:
        bounds.Bound(0, bounds.LARGEST_SEED).check("--seeds", seed)
    if len(seeds) < 2:
        raise UserError(f"--seeds {seeds[0]}: one run has no spread; give two seeds or more, or --run.seed {seeds[0]}")
    if any(word.partition("=")[0] == "--run.seed" for word in words):
        raise UserError("--run.seed and --seeds: give one of them")
    name = parse(words, task)[0].run.folder
    if name is None:
        raise UserError("--seeds needs --run.folder runs/NAME: the runs are then runs/NAME-SEED, found again there")
    runs = [Path(f"{Path(name)}-{seed}") for seed in seeds]
    plans = [[*words, "--run.seed", str(seed), "--run.folder", str(run)] for seed, run in zip(seeds, runs, strict=True)]
    states = [_begun(task, run, plan) for run, plan in zip(runs, plans, strict=True)]
    for run, plan, (begun, finished) in zip(runs, plans, states, strict=True):
        if finished:
            _say(f"{run} is finished: kept as it is")
            continue
        _say(f"\n{run}{': goes on' if begun else ''}")
        try:
            _run(task, plan, resume=begun)
        except Stopped as error:
            raise Stopped(f"{error}; or give the same command again, which does the other seeds, too") from error
        gc.collect()  # what a run held lies in cycles
    if is_main_process():
        from seqgan_kit.cli.source import default_of
        from seqgan_kit.report.spread import comparison

        print(f"\n{comparison([runs], partial(default_of, task))}")


def _begun(task: str, run: Path, plan: list[str]) -> tuple[bool, bool]:
    """Whether the run was begun, and finished.

    Raises UserError where that was with other options: it would be no repetition of the others.
    """
    if not (run / "run.json").is_file():
        return False, False
    check_real(run)
    if _task(run) != task:
        raise UserError(f"{run} is a run of {_task(run)}: choose another --run.folder")
    import yaml

    from seqgan_kit.cli.parts import trusted
    from seqgan_kit.report.changes import difference

    given = trusted(plan)[1]  # for the run's own file, too
    words = ["--config", str(run / "config.yaml"), *[f"--trust={module}" for module in given]]
    before = yaml.safe_load(parse([*words, "--run.folder", str(run)], task)[1])
    other = difference(before, yaml.safe_load(parse(plan, task)[1]))
    if other is not None:
        raise UserError(
            f"{run} was trained with another --{other[0]} ({other[1]}, now {other[2]}): give that, or choose another "
            "--run.folder"
        )
    return True, bool(read_record(run).get("finished"))


def _say(message: str) -> None:
    """For the user, from one of the processes."""
    if is_main_process():
        print(message, flush=True)


def _compare(words: list[str]) -> None:
    if not words or words[0] in HELP:
        if not words:
            raise UserError("compare needs runs: seqgan-kit compare runs/a-0 runs/a-1 [-- runs/b-0 runs/b-1]")
        print(COMPARE)
        return
    from seqgan_kit.report.spread import comparison

    groups: list[list[Path]] = [[]]
    for word in words:
        if word == "--":
            groups.append([])
        elif word.startswith("-"):
            raise UserError(f"compare: unknown option {word}: it takes run folders, and -- between groups")
        else:
            groups[-1].append(_run_folder([word], "compare")[0])
    tasks = {_task(run): run for group in groups for run in group}
    if len(tasks) > 1:
        raise UserError(f"compare: {' and '.join(f'{run} is of {task}' for task, run in tasks.items())}: give one task")
    from seqgan_kit.cli.source import default_of

    print(comparison(groups, partial(default_of, next(iter(tasks), "text"))))


def _resume(words: list[str]) -> None:
    run, rest = _run_folder(words, "resume")
    config = run / "config.yaml"
    if not config.is_file():
        raise UserError(f"{run} is no run folder (it has no config.yaml): give one that `train` made")
    told = _asked_help(_task(run), rest)
    if told is not None:
        print(told)
        return
    _run(_task(run), ["--config", str(config), *rest, "--run.folder", str(run)], resume=True)


def _run(task: str, words: list[str], resume: bool) -> None:
    config, config_text = parse(words, task)
    run = importlib.import_module(TASKS[task].module).train(config, config_text, resume)
    if is_main_process():
        _commands(task).summarise(run)


def _help(command: str) -> None:
    """What there is to say of it without a run: the options of each task that has it."""
    tasks = [task for task in TASKS if command in _commands(task).COMMANDS]
    if len(tasks) > 1:
        print(f"What {command} takes depends on the run; seqgan-kit {command} runs/NAME --help shows that of one.\n")
    for task in tasks:
        print(
            f"{'' if task == tasks[0] else chr(10)}on a run of {task}:\n{_parser(command, task).format_help()}", end=""
        )


def _parser(command: str, task: str) -> argparse.ArgumentParser:
    add_options, function = _commands(task).COMMANDS[command]
    parser = argparse.ArgumentParser(prog=f"seqgan-kit {command} RUN", description=function.__doc__.splitlines()[0])
    add_options(parser)
    if command in READING:
        text = "Where the data are now, if they have moved (default: where they were)"
        parser.add_argument(TASKS[task].file, dest="moved", metavar="PATH", help=text)
    text = "Module of your own that may be imported where the run names it (default: where the run was trained here)"
    parser.add_argument("--trust", action="append", default=[], metavar="MODULE", help=text)
    return parser


def _on_runs(command: str, words: list[str]) -> None:
    """A command that is the task's own, on a run; sweep also on several, one after another."""
    if words and words[0] in HELP:
        _help(command)
        return
    run, rest = _run_folder(words, command)
    runs = [run]
    while command == "sweep" and rest and not rest[0].startswith("-"):
        run, rest = _run_folder(rest, command)
        runs.append(run)
    calls = [_prepared(command, run, rest) for run in runs]  # a mistake in the last stops before the first
    for run, call in zip(runs, calls, strict=True):
        call()
        if not read_record(run).get("finished"):
            told = f"seqgan-kit: {run} is not finished (seqgan-kit resume {run}): its model is the last one it saved"
            print(told, file=sys.stderr)


def _prepared(command: str, run: Path, words: list[str]) -> Callable[[], None]:
    task = _task(run)
    known = _commands(task).COMMANDS
    if command not in known:
        others = " and ".join(other for other in TASKS if command in _commands(other).COMMANDS)
        raise UserError(
            f"{command} is for runs of {others}, but {run} is one of {task}, which has: {', '.join(known)}, report"
        )
    options = arguments(_parser(command, task), words)
    moved = [TASKS[task].file, options.moved] if command in READING and options.moved is not None else []
    trusted = [word for module in vars(options).pop("trust") for word in ("--trust", module)]

    def read(*more: str) -> tuple[Any, str]:
        """The run's configuration with further options, and its YAML."""
        return parse(["--config", str(run / "config.yaml"), *moved, *more, *trusted, "--run.folder", str(run)], task)

    return partial(known[command][1], run, options, read)


def _report(words: list[str]) -> None:
    from seqgan_kit.report import write_report

    run, rest = _run_folder(words, "report")
    arguments(argparse.ArgumentParser(prog="seqgan-kit report RUN", description="Writes RUN/report.html."), rest)
    print(write_report(run))


def _commands(task: str) -> Any:
    return importlib.import_module(TASKS[task].commands)


def _run_folder(words: list[str], command: str) -> tuple[Path, list[str]]:
    if words and words[0] in HELP:
        print(USAGE)
        raise SystemExit(0)
    if not words or words[0].startswith("-"):
        raise UserError(f"{command} needs the run's folder: seqgan-kit {command} runs/NAME")
    run = Path(checked(words[0], f"{command}: the folder"))
    if not (run / "run.json").is_file():
        there = sorted(path.parent.name for path in run.parent.glob("*/run.json"))
        found = f" (in {run.parent}: {', '.join(there[:8])})" if there else ""
        killed = "; it was killed as it began: delete it and train anew" if (run / "config.yaml").is_file() else ""
        raise UserError(f"{run} is no run folder: it has no run.json{killed or found}")
    check_real(run)
    return run, words[1:]


def _task(run: Path) -> str:
    """What the run was of, as its run.json says."""
    task = read_record(run).get("task", "text")
    if task not in TASKS:
        raise UserError(f"{run} is a run of {task!r}, but this version knows only {' and '.join(TASKS)}")
    return task
