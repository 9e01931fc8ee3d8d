"""Numbers that no option takes: one line, whatever the option, before anything is read."""

from __future__ import annotations

import inspect
import math
import typing
from collections.abc import Iterator
from dataclasses import is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from seqgan_kit import bounds, cli
from seqgan_kit.cli import main, parse
from seqgan_kit.cli.parsing import parser_of
from seqgan_kit.cli.slots import SLOTS, parts
from seqgan_kit.errors import UserError
from seqgan_kit.imitation.config import ImitationConfig, PolicyConfig
from seqgan_kit.imitation.improvement import TRPO
from seqgan_kit.imitation.train import train
from seqgan_kit.options import TASKS


@pytest.mark.parametrize("task", TASKS)
def test_every_number_of_every_option_has_bounds(task: str) -> None:
    """And none takes NaN or infinity, nor what no integer of the machine holds, but a learning rate may be large."""
    parser, configuration = parser_of(task)
    options = parser.parse_args([])
    found = list(bounds.numbers(options, configuration, "-"))
    assert len(found) > 20
    for option, value, bound in found:
        assert bound is not None, option
        bound.check(option, value)
        for wrong in [
            math.nan,
            math.inf,
            -math.inf,
            -10 * bounds.MOST,
            *([10 * bounds.MOST] if bound.high < math.inf else []),
        ]:
            given = options.clone()
            _put(given, option.removeprefix("--"), wrong)
            with pytest.raises(UserError, match=r"^--[\w.]+ [-\w.+]+: give ") as told:
                bounds.check_numbers(given, configuration)
            assert str(told.value).startswith(f"{option} ")


@pytest.mark.parametrize("task", TASKS)
def test_every_number_that_a_configuration_or_a_part_may_have_has_bounds(task: str) -> None:
    """Those that are null as well, which no default shows: an option that is new is told here."""
    without = sorted(set(_without(getattr(import_module(TASKS[task].module), TASKS[task].configuration))))
    for name, slot in SLOTS[task].items():
        without += [f"{name} {part.__name__}.{one}" for part in parts(slot) for one in _without(part, set(slot.given))]
    assert not without


def _without(owner: Any, given: set[str] = frozenset()) -> Iterator[str]:  # type: ignore[assignment]
    """What takes a number without a bound."""
    plain = typing.get_type_hints(owner.__init__ if inspect.isclass(owner) and not is_dataclass(owner) else owner)
    for name, hint in bounds.types_of(owner).items():
        if name in given or name == "return":
            continue
        if _has_number(plain[name]) and "Bound(" not in str(hint):
            yield f"{owner.__name__}.{name}"
        for group in [hint, *typing.get_args(hint)]:
            if inspect.isclass(group) and is_dataclass(group):
                yield from _without(group)


def _has_number(hint: Any) -> bool:
    inner = [one for one in typing.get_args(hint) if not isinstance(one, list)]
    return hint in (int, float) or any(map(_has_number, inner))


def _put(options: Any, option: str, value: float) -> None:
    """Where it stands, also below a class that was chosen."""
    names = option.split(".")
    for name in names[:-1]:
        options = options[name]
        options = options.init_args if "init_args" in options else options
    before = options[names[-1]]
    options[names[-1]] = [value, *before[1:]] if isinstance(before, list | tuple) else value


@pytest.mark.parametrize(
    ("bound", "taken", "refused", "told"),
    [
        (bounds.Count, [1, 10**12], [0, -1], "give at least 1"),
        (bounds.Whole, [0], [-1], "give at least 0"),
        (bounds.Seed, [0, 2**32 - 1], [-1, 2**32], "give a number from 0 to 4294967295"),
        (bounds.Share, [0.0, 1.0], [-0.1, 1.1], "give a number from 0 to 1"),
        (bounds.PositiveShare, [0.1, 1.0], [0.0, 1.1], "give a number above 0, at most 1"),
        (bounds.BelowOne, [0.0, 0.9], [1.0, -1.0], "give a number from 0 to below 1"),
        (bounds.Positive, [0.1], [0.0, -1.0], "give a number above 0"),
        (bounds.NotNegative, [0.0, 3.0], [-1.0], "give at least 0"),
        (bounds.Number, [-3.0, 3.0], [1e13], "give at most 1000000000000"),
        (bounds.Rate, [0.0, 1e30], [-1.0], "give at least 0"),
    ],
)
def test_what_each_kind_of_number_takes(bound: Any, taken: list[float], refused: list[float], told: str) -> None:
    """The bounds themselves, and the words of a refusal."""
    (found,) = bound.__metadata__
    for value in taken:
        found.check("--x.y", value)
    for value in refused:
        with pytest.raises(UserError) as error:
            found.check("--x.y", value)
        assert str(error.value) == f"--x.y {value:g}: {told}".replace("4.29497e+09", "4294967296")


def test_a_configuration_of_python_is_checked_alike() -> None:
    """Also within a part that is a dataclass, and before any data are read."""
    config = ImitationConfig(policy=PolicyConfig(improvement=TRPO(divergence=-1.0)))
    with pytest.raises(UserError, match=r"--policy\.improvement\.divergence -1: give a number above 0"):
        train(config)


def test_numbers_of_parts_of_one_s_own_are_theirs() -> None:
    """As are those in mappings; the kit's own parts are checked."""
    parse(["--adversarial.baseline", "seqgan_kit.algorithms.credit.whiten"])
    parse(["--environment.arguments", '{"gravity": -9.8}'], "imitation")
    with pytest.raises(UserError, match=r"--adversarial\.credit\.rollouts 0: give at least 1"):
        parse(["--adversarial.credit", "seqgan_kit.tokens.credit.MonteCarlo", "--adversarial.credit.rollouts", "0"])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--likelihood.optimizer.lr", "nan"], "--likelihood.optimizer.lr: expected a number or null, not 'nan'"),
        (["--data.world", "x"], "--data.world: expected shapes or oracle, not 'x'"),
        (["--data.max_length", "x"], "--data.max_length: expected a whole number or null, not 'x'"),
        (["--discriminator.optimizer.lr", "null"], "--discriminator.optimizer.lr null: give a number, as 0.001"),
    ],
)
def test_values_of_another_kind_are_told_by_what_is_expected(words: list[str], told: str) -> None:
    """In a few words, not by what each part of a type hint says."""
    with pytest.raises(UserError) as error:
        parse(words)
    assert str(error.value) == told


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 7.45 GiB"),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_too_little_memory_is_one_line(
    error: Exception, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the processor or of a GPU; any other error stays what it is."""

    def fails(words: list[str]) -> int:
        raise error

    monkeypatch.setattr(cli, "_command", fails)
    assert main(["sample", str(tmp_path)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(cli.SMALLER)
    error.__init__("else")  # type: ignore[misc]
    if type(error) is RuntimeError:
        with pytest.raises(RuntimeError, match="else"):
            main(["sample", str(tmp_path)])
