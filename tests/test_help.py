"""Help: of every option one that makes sense alone, the ten to know, and what there is for an option."""

from __future__ import annotations

import argparse
import configparser
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from seqgan_kit import __version__
from seqgan_kit.cli import HELP, USAGE, main
from seqgan_kit.cli.environment import EXTRAS
from seqgan_kit.cli.help import TEN, sentence
from seqgan_kit.cli.parsing import groups, parse, parser_of
from seqgan_kit.cli.slots import SLOTS, parameters, parts
from seqgan_kit.cli.source import Option, described, kind, shown
from seqgan_kit.options import TASKS
from seqgan_kit.text.config import AdversarialConfig, DataConfig

KNOWN = (".npz",)  # what else than a capital letter a help may begin with


def wrong(help: str) -> str | None:
    """What is wrong with a help, as that it makes no sense alone."""
    words = help.split()
    if len(words) < 4:
        return "fewer than 4 words"
    if not (words[0][0].isupper() or words[0][0] == "`" or words[0].startswith(KNOWN)):
        return "no capital letter"
    if re.match(r"(Its own|How many|Of it|The same|That share|As many)\b", help):
        return "needs what stands before it"
    return None


def test_a_help_that_makes_no_sense_alone_is_found() -> None:
    """As those that there were."""
    for help in (
        "how many.",
        "its own",
        "of everything random.",
        "batches.",
        "How many of them there are.",
        "that share",
    ):
        assert wrong(help), help
    assert not wrong("Rounds of the adversarial phase.")


def of_commands() -> Iterator[tuple[str, argparse.Action]]:
    for task, about in TASKS.items():
        for name, (add_options, function) in import_module(about.commands).COMMANDS.items():
            assert (function.__doc__ or "").splitlines()[0].endswith("."), (name, task)
            parser = argparse.ArgumentParser(add_help=False)
            add_options(parser)
            yield from ((f"{name} of {task}", action) for action in parser._actions)


@pytest.mark.parametrize("task", TASKS)
def test_every_option_of_a_task_has_a_help_that_makes_sense_alone(task: str) -> None:
    """And every group of them a title; none is without."""
    found = groups(task)
    assert sum(len(group.options) for group in found) > 30
    for group in found:
        assert len(group.title.split()) >= 3, group
        assert group.title[0].isupper(), group
        for option in group.options:
            assert not wrong(option.help), f"--{option.name}: {option.help}: {wrong(option.help)}"


def test_every_option_of_a_command_has_a_help_that_makes_sense_alone() -> None:
    """And says its default, where it takes a value that may be left out."""
    checked = 0
    for name, action in of_commands():
        text = action.help or ""
        assert not wrong(text), f"{name} {action.option_strings}: {text}: {wrong(text)}"
        if action.nargs != 0 and action.default not in (None, []):
            assert "(default: " in text, f"{name} {action.option_strings}: {text}"
        checked += 1
    assert checked > 40


@pytest.mark.parametrize("task", TASKS)
def test_the_ten_are_what_the_parser_knows(task: str) -> None:
    """Read from the source without an import, they have the kind, help and default that --help all shows."""
    whole = {option.name: option for group in groups(task) for option in group.options}
    names = TEN[task].split()
    assert len(set(names)) == 10
    assert [described(task, name) for name in names] == [whole[name] for name in names]
    assert all(len(sentence(whole[name].help).split()) >= 4 for name in names)


@pytest.mark.parametrize("task", TASKS)
def test_any_option_can_be_read_from_the_source(task: str) -> None:
    """Not the ten alone: defaults of defaults, inherited ones, lists, classes."""
    for group in groups(task):
        for option in group.options:
            if option.name in ("config", "print_config", "trust"):
                continue
            assert described(task, option.name) == option
    with pytest.raises(KeyError):
        described(task, "run.nothing")
    with pytest.raises(KeyError):
        described(task, "run.seed.nothing")


def test_kinds_and_defaults_are_shown_as_they_are_written() -> None:
    """The types and values that configurations have."""
    kinds = {"int | None": "INT", "Optional[dict[str, Any]]": "MAPPING", "Literal['a', 'b']": "{a,b}"}
    kinds |= {"list[str]": "[ITEM,...]", "Callable[[int], Module]": "CLASS", "bool | null": "{true,false}"}
    kinds |= {"Literal['a'] | Literal['b']": "{a,b}", "list[Literal['a', 'b']]": "[ITEM,...]"}
    assert {text: kind(text) for text in kinds} == kinds
    values = {0.0: "0", 1e-5: "1e-05", 0.01: "0.01", 3: "3", "x": "x", (0.5, 2.0): "[0.5, 2]"}
    assert {value: shown(value) for value in values} == values
    assert [shown(value) for value in (None, True, False, {"class_path": "a.B", "init_args": {}})] == [
        "null", "true", "false", "a.B",
    ]  # fmt: skip


@pytest.mark.parametrize("task", TASKS)
def test_short_help_shows_ten_options_and_where_the_others_are(capsys: pytest.CaptureFixture[str], task: str) -> None:
    """With and without other options before it; --help all shows every option, with its default."""
    for words in (["--help"], ["-h"], ["--run.seed", "1", "--help"]):
        assert main(["train", task, *words]) == 0
        told = capsys.readouterr().out
        assert re.findall(r"^  --([\w.]+)", told, re.MULTILINE) == TEN[task].split()
        assert f"seqgan-kit train {task} --help all" in told
    assert main(["train", task, "--help", "all"]) == 0
    told = capsys.readouterr().out
    options = [option for group in groups(task) for option in group.options]
    assert re.findall(r"^  --([\w.]+)", told, re.MULTILINE) == [option.name for option in options]
    text = " ".join(told.split())
    assert all(f"(default: {option.default})" in text for option in options if option.default)


def test_help_of_a_run_that_is_resumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """That of its task; nothing is trained."""
    (tmp_path / "run.json").write_text('{"task": "encoder"}')
    (tmp_path / "config.yaml").write_text("")
    assert main(["resume", str(tmp_path), "--help"]) == 0
    assert "Ten options to know" in (told := capsys.readouterr().out)
    assert "--joint.steps" in told
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml", "run.json"]


def test_short_help_imports_no_torch() -> None:
    """Nor anything else that takes its time."""
    script = "import sys; from seqgan_kit.cli import main; main(['train', 'images', '--help'])"
    script += (
        "; print([name for name in ('torch', 'transformers', 'accelerate', 'jsonargparse') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "[]"


# -- what there is for an option ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_every_slot_of_the_parser_is_listed(task: str) -> None:
    """Every option that takes a class or function has a list; each class has a summary, each parameter a help."""
    actions = [word for action in parser_of(task)[0]._actions for word in action.option_strings]
    slots = [word.removeprefix("--").removesuffix(".help") for word in actions if word.endswith(".help")]
    assert set(slots) <= set(SLOTS[task])
    for name, slot in SLOTS[task].items():
        found = parts(slot)
        assert found, name
        for part in found:
            assert len((inspect.getdoc(part) or "").split()) >= 5, part
            for option in parameters(name, slot, part):
                assert not wrong(option.help), f"{part.__qualname__} {option}: {wrong(option.help)}"


LISTED = {
    ("text", "discriminator.network"): {"TextCNN", "TextLSTM", "ResidualCritic"},
    ("text", "adversarial.credit"): {"MonteCarlo", "Terminal", "LikelihoodRatio", "Prefixes"},
    ("text", "adversarial.estimator"): {"reinforce", "ppo"},
    ("text", "adversarial.baseline"): {"no_baseline", "leave_one_out", "whiten"},
    ("text", "adversarial.route"): {"GumbelSoftmax", "Convolutions"},
    ("text", "adversarial.route.matching"): {"Means", "Gaussians"},
    ("text", "adversarial.rewards"): {"Reward"},
    ("dialogue", "discriminator.network"): {"HierarchicalDiscriminator"},
    ("imitation", "discriminator.network"): {"TransitionNetwork", "ShapedNetwork"},
    ("imitation", "policy.improvement"): {"PPO", "TRPO"},
    ("images", "second.discriminator"): {"PictureDiscriminator"},
}


@pytest.mark.parametrize(("task", "name"), LISTED)
def test_what_there_is_for_an_option(capsys: pytest.CaptureFixture[str], task: str, name: str) -> None:
    """The classes and functions of the kit, and no others."""
    assert {part.__name__ for part in parts(SLOTS[task][name])} == LISTED[task, name]
    assert main(["train", task, f"--{name}.help"]) == 0
    told = capsys.readouterr().out
    assert all(re.search(rf"^seqgan_kit\.[\w.]+\.{part}$", told, re.MULTILINE) for part in LISTED[task, name])


def test_objectives_are_those_without_required_arguments() -> None:
    """Of both modules; what makes an objective of another one is none."""
    names = {part.__name__ for part in parts(SLOTS["images"]["discriminator.objective"])}
    assert {"seqgan", "minimax", "hinge", "ls_gan", "kl", "pearson"} <= names
    assert not {"with_entropy", "with_classes", "variational", "mmd", "logistic_loss", "Objective"} & names


TAKEN = {
    "discriminator.network": "seqgan_kit.networks.text.lstm_discriminator.TextLSTM",
    "adversarial.credit": "seqgan_kit.tokens.credit.MonteCarlo",
    "adversarial.route": "seqgan_kit.text.differentiable.GumbelSoftmax",
    "adversarial.baseline": "seqgan_kit.algorithms.credit.whiten",
    "adversarial.estimator": "seqgan_kit.algorithms.estimators.ppo",
}


@pytest.mark.parametrize("name", TAKEN)
def test_what_is_listed_is_taken(name: str) -> None:
    """The parser takes each part that is listed, and each of its options with the default that is shown."""
    for part in parts(SLOTS["text"][name]):
        path = f"{part.__module__}.{part.__qualname__}"
        options = parameters(name, SLOTS["text"][name], part)
        words = [f"--{option.name}={option.default}" for option in options]
        _, text = parse([f"--{name}", path, *words], "text")
        assert path in text
    assert TAKEN[name] in {f"{part.__module__}.{part.__qualname__}" for part in parts(SLOTS["text"][name])}


def test_help_of_one_class(capsys: pytest.CaptureFixture[str]) -> None:
    """By its name, its import path, an earlier version's path, and after an equals sign; of a user's own, too."""
    told = []
    for word in ("Terminal", "seqgan_kit.tokens.credit.Terminal", "seqgan_kit.token_credit.Terminal"):
        assert main(["train", "text", "--adversarial.credit.help", word]) == 0
        told.append(capsys.readouterr().out)
    assert main(["train", "text", "--adversarial.credit.help=Terminal"]) == 0
    told.append(capsys.readouterr().out)
    assert len(set(told)) == 1
    assert told[0].startswith("seqgan_kit.tokens.credit.Terminal\n")
    assert main(["train", "imitation", "--policy.improvement.help", "PPO"]) == 0
    assert "--policy.improvement.optimizer.lr NUMBER" in (text := capsys.readouterr().out)
    assert "(default: 0.0003)" in text, "PPO's own default, not the optimiser's"
    assert main(["train", "text", "--discriminator.objective.help", "ls_gan"]) == 0
    assert "init_args: {margin: 1.0}" in " ".join(capsys.readouterr().out.split())
    assert main(["train", "text", "--discriminator.network.help", "collections.Counter"]) == 0
    assert capsys.readouterr().out.startswith("collections.Counter\n")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["text", "--discriminator.networ.help"], ["did you mean 'discriminator.network'?", "adversarial.credit"]),
        (["text", "--adversarial.credit.help", "Terminl"], ["did you mean 'Terminal'?", "MonteCarlo"]),
        (["text", "--adversarial.credit.help", "nowhere.Credit"], ["nowhere.Credit", "MODULE.NAME"]),
        (["encoder", "--joint.help"], ["--joint takes no class or function", "none of encoder does"]),
    ],
)
def test_help_of_what_there_is_not(capsys: pytest.CaptureFixture[str], words: list[str], expected: list[str]) -> None:
    """One line, with what there is."""
    assert main(["train", *words]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert all(part in line for part in expected), line


# -- version and machine -----------------------------------------------------------------------------------------------


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    """That of the package."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"seqgan-kit {__version__}\n"
    assert "\n  --version " in USAGE
    assert "\n  env " in USAGE


def test_env_tells_what_a_bug_report_needs(capsys: pytest.CaptureFixture[str]) -> None:
    """Plain lines, and every package that setup.cfg asks for; it takes no options."""
    assert main(["env"]) == 0
    told = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    setup = configparser.ConfigParser()
    setup.read(Path(__file__).parents[1] / "setup.cfg")
    needed = [re.split(r"[^\w-]", line)[0] for line in setup["options"]["install_requires"].split()]
    assert set(needed) <= set(told)
    assert {"seqgan_kit", "python", "system", "processor", "threads", "memory", "bfloat16 on the processor"} <= set(
        told
    )
    assert any(name.startswith("GPU") for name in told)
    assert told["torch"] == import_module("importlib.metadata").version("torch")
    assert told["seqgan_kit"].startswith(__version__)
    extras = set(setup["options.extras_require"]) - {"dev"}
    assert set(EXTRAS) == extras
    assert {f"extra {name}" for name in extras} <= set(told)
    assert main(["env", "--all"]) == 1
    assert "unknown option --all" in capsys.readouterr().err
    assert HELP == ("-h", "--help")


def test_an_option_without_a_default_shows_none() -> None:
    """As --config, and what must be given."""
    assert Option("a.b", "INT", "Some help of it.", "").text() == "  --a.b INT\n      Some help of it."
    assert (AdversarialConfig().rounds, DataConfig().path) == (100, None)
    assert described("text", "adversarial.rounds").default == "100"
    assert described("text", "adversarial.turns.discriminator").default == "5", "this task's, not that of Turns"
