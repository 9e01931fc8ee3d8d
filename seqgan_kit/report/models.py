"""The models that a run keeps: their folders, by the names that commands take."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from seqgan_kit.errors import UserError
from seqgan_kit.files import read_record
from seqgan_kit.report.metrics import phase_title

BEST = "best"
FOLDERS = {
    BEST: ["model"],
    "game": ["game"],
    "likelihood": ["maximum_likelihood"],
    "cloning": ["behaviour_cloning"],
    "control": ["control", "frozen_control"],
}
STEPS = "models"  # those of single evaluations, as PHASE-STEP
HELP = (
    "Which model of the run: best, game, likelihood, cloning, control, as far as it has them, or the step of an "
    "evaluation, 500 or adversarial-500, of a run with --evaluation.keep_models true (default: %(default)s)"
)


def add_model(parser: ArgumentParser) -> None:
    """--model: which of a run's models the command is for."""
    parser.add_argument("--model", default=BEST, help=HELP)


def model_folder(run: Path, name: str) -> Path:
    """The folder of a model by its name. Raises UserError, with those that there are, where it is not there."""
    there = kept(run)
    found = [there[name]] if name in there else _of_step(run, name)
    if len(found) != 1:
        both = " or ".join(f"--model {path.name}" for path in found)
        which = f"several phases have that step: give {both}" if found else f"{run} has {', '.join(there)}"
        steps = sorted(path.name for path in (run / STEPS).glob("*"))
        more = f", and of single steps {', '.join(steps)}" if steps and not found else ""
        raise UserError(f"--model {name}: {which}{more}")
    return found[0]


def tell_model(run: Path, name: str) -> None:
    """Which model the output is of, beside it; a command says so when nothing can be refused any more."""
    print(f"model: {told(run, name, model_folder(run, name))}", file=sys.stderr, flush=True)


def kept(run: Path) -> dict[str, Path]:
    """The folders of the models that a run has, by name; RUN/model always, of which commands say what is wrong."""
    found = {name: run / folder for name, folders in FOLDERS.items() for folder in folders if (run / folder).is_dir()}
    if "game" not in found and "best" not in _record(run) and _record(run).get("finished"):
        found["game"] = run / "model"  # of a version that kept no other
    return {BEST: run / "model", **found}


def told(run: Path, name: str, folder: Path) -> str:
    """A model, for the user: where it is from."""
    best: dict[str, Any] | None = _record(run).get("best")
    if folder.name != "model":
        return f"{name}, {folder}"
    if best is None:
        return f"the last one of the run, {folder}: no best one was chosen"
    return f"best, of {phase_title(best['phase'])}, step {best['step']:,}, by {best['score']}"


def _of_step(run: Path, name: str) -> list[Path]:
    """The models of single steps that are called so, PHASE-STEP or STEP."""
    found = sorted((run / STEPS).glob("*-*"))
    if name.isdecimal():
        return [path for path in found if int(path.name.rpartition("-")[2]) == int(name)]
    phase, _, step = name.rpartition("-")
    same = [path for path in found if path.name.rpartition("-")[0] == phase and step.isdecimal()]
    return [path for path in same if int(path.name.rpartition("-")[2]) == int(step)]


def _record(run: Path) -> dict[str, Any]:
    return read_record(run) if (run / "run.json").is_file() else {}
