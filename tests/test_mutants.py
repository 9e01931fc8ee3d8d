"""The list of mutants is up to date, and a few of them are planted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import mutants


def test_every_mutant_can_be_planted() -> None:
    """Each old text stands in its file exactly once, and each new text differs."""
    assert [reason for reason in map(mutants.unplanted, mutants.MUTANTS) if reason] == []
    assert all(mutant.old != mutant.new for mutant in mutants.MUTANTS)


def test_every_function_has_a_mutant() -> None:
    """Whatever is public in objectives, credit, estimators and trust_region is altered by at least one mutant."""
    for file in (mutants.OBJECTIVES, mutants.F_GAN, mutants.CREDIT, mutants.ESTIMATORS, mutants.TRUST_REGION):
        source = (mutants.ROOT / "seqgan_kit" / file).read_text("utf-8")
        bodies = {part.split("(")[0]: part for part in ("\n" + source).split("\ndef ")[1:]}
        planted = [mutant.old for mutant in mutants.MUTANTS if mutant.file == file]
        untouched = {name for name, body in bodies.items() if not any(old in body for old in planted)}
        assert untouched <= {"no_baseline"} | {name for name in bodies if name.startswith("_")}


@pytest.mark.slow
def test_mutants_are_noticed() -> None:
    """The script, on its quickest mutants, finds that the tests kill each of them."""
    script = Path(mutants.__file__)
    found = subprocess.run([sys.executable, script, "--fast"], capture_output=True, text=True, timeout=250)
    assert found.returncode == 0, found.stdout + found.stderr
    assert found.stdout.count("killed  ") == sum(mutant.fast for mutant in mutants.MUTANTS)
