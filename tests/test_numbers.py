"""Numbers that no option takes: one line, whatever the option, before anything is read."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from seqgan_kit import cli
from seqgan_kit.cli import main, parse
from seqgan_kit.cli.numbers import MOST, OTHERS, SIGNED, check_numbers
from seqgan_kit.cli.parsing import parser_of
from seqgan_kit.errors import UserError
from seqgan_kit.options import TASKS


@pytest.mark.parametrize("task", TASKS)
def test_every_number_of_every_option_has_bounds(task: str) -> None:
    """No NaN, no infinity, none that no integer of the machine holds; and nothing negative but weights."""
    options = parser_of(task)[0].parse_args([])
    check_numbers(options)
    numbers = [key for key, value in options.items() if isinstance(value, int | float) and not isinstance(value, bool)]
    assert len(numbers) > 20
    for key in numbers:
        name = key.rpartition(".")[2]
        wrong = [math.nan, math.inf, -math.inf] + ([10 * MOST] if name != "lr" else [])
        wrong += [] if name in SIGNED | OTHERS else [-1]
        for value in wrong:
            given = options.clone()
            given[key] = value
            with pytest.raises(UserError, match=r"^--[\w.]+ [-\w.+]+: give ") as told:
                check_numbers(given)
            assert f"--{key.replace('.init_args', '')} " in str(told.value)


def test_numbers_of_parts_of_one_s_own_are_theirs() -> None:
    """As are those in mappings; the kit's own parts are checked."""
    parse(["--adversarial.baseline", "seqgan_kit.algorithms.credit.whiten"])
    parse(["--environment.arguments", '{"gravity": -9.8}'], "imitation")
    with pytest.raises(UserError, match=r"--adversarial\.credit\.rollouts 0: give at least 1"):
        parse(["--adversarial.credit", "seqgan_kit.tokens.credit.MonteCarlo", "--adversarial.credit.rollouts", "0"])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--likelihood.optimizer.lr", "nan"], "--likelihood.optimizer.lr: expected float or null. Got value: nan"),
        (["--data.world", "x"], "--data.world: expected shapes or oracle. Got value: x"),
        (["--data.max_length", "x"], "--data.max_length: expected int or null. Got value: x"),
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
