"""`make demo` prints what README says, to what another machine's rounding changes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from seqgan_kit.cli import main
from seqgan_kit.report.metrics import phase_title

ROOT = Path(__file__).parents[1]
COMMAND = "seqgan-kit train text --config recipes/shapes.yaml"
# of 2,000 samples: a share varies by .01, so that the next best model is told apart
WITHIN = {
    "nll_": 0.01,
    "self_bleu": 0.006,
    "distinct": 0.0005,
    "grammatical": 0.02,
    "consistent": 0.02,
    "length": 0.3,
}

Table = dict[str, dict[str, float]]


def table(text: str) -> Table:
    """The numbers of the first table of held metrics, by column and metric."""
    lines = text[text.index("held metric") :].splitlines()
    _, *columns = re.split(r"\s{2,}", lines[0].strip())
    found: Table = {column: {} for column in columns}
    for line in lines[1:]:
        name, *numbers = re.split(r"\s{2,}", line.strip())
        if len(numbers) != len(columns):
            break
        known = {column: number for column, number in zip(columns, numbers, strict=True) if number != "-"}
        for column, number in known.items():
            found[column][name] = float(number.partition(" ")[0])  # before its interval
    return found


def apart(one: Table, other: Table) -> list[str]:
    """Where the second table has other numbers than the first, as far as this goes, or lacks some."""
    return [
        f"{column}, {name}: {number} is {other[column].get(name)}"
        for column, numbers in one.items()
        for name, number in numbers.items()
        if abs(number - other[column].get(name, float("inf"))) > next(w for key, w in WITHIN.items() if key in name)
    ]


def readme() -> Table:
    return table((ROOT / "README.md").read_text("utf-8"))


def test_a_stale_table_is_found() -> None:
    """README's of an earlier commit, whose game left other numbers."""
    stale = {"adversarial": readme()["adversarial"] | {"consistent": 0.7420, "grammatical": 0.9380}}
    assert len(apart(stale, readme())) == 1
    assert apart(readme(), readme()) == []
    assert apart({"adversarial": {"length": 13.3, "nll_gen": 1.0}}, readme()) != []


def test_every_place_that_shows_the_demo_has_one_command() -> None:
    assert f"{COMMAND.replace('seqgan-kit', '$(BIN)/seqgan-kit')} $(ARGS)" in (ROOT / "Makefile").read_text()
    assert COMMAND in (ROOT / "README.md").read_text()
    assert f"# Command: {COMMAND}\n" in (ROOT / "recipes" / "shapes.yaml").read_text()


@pytest.mark.slow
@pytest.mark.timeout(900)  # a minute on a machine that does nothing else
def test_the_demo_prints_the_readme_s_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for its control, which takes as many steps as fit into the game's time on the machine at hand."""
    monkeypatch.chdir(ROOT)
    options = ["--run.folder", str(tmp_path / "run"), "--run.device", "cpu", "--control.enabled", "false"]
    options += ["--evaluation.every", "0", "--evaluation.rounds", "0"]  # once, at the end of either phase
    assert main([*COMMAND.split()[1:], *options]) == 0
    found, expected = table(capsys.readouterr().out), readme()
    assert list(expected) == [phase_title(phase) for phase in ("maximum_likelihood", "adversarial", "control")]
    assert all(len(numbers) >= 8 for numbers in expected.values())
    del expected[phase_title("control")]
    assert apart(expected, found) == []
