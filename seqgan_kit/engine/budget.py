"""--run.budget: how many steps of each phase fit into a time, measured by short runs of all of them on this machine."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import re
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from seqgan_kit.errors import Stopped, UserError
from seqgan_kit.report.page import duration

SECONDS = {"s": 1, "m": 60, "h": 3600}
FIRST = 3  # steps of each phase in the first trial
SHARE = 0.12  # of the budget that the second trial may take, whose steps are many enough to be measured


@dataclass(frozen=True)
class Part:
    """A phase whose length an option says.

    option: "likelihood.steps"; "" where it has none of its own. value: of the option. unit: how much of it is a step.
    every: steps between two evaluations; 0: there is one at the end only, None: none at all. between: what one of them
    takes, where that at the end takes 1. same: a phase that has as many steps. as_long_as: phases whose updates take as
    long as its own, which are like those of the first one of `like`.
    """

    phase: str
    option: str = ""
    value: int = 0
    unit: int = 1
    every: int | None = 0
    between: float = 1.0
    same: str = ""
    as_long_as: tuple[str, ...] = ()
    like: str = ""


@dataclass(frozen=True)
class Taken:
    """Seconds that a step and the evaluation at the end took, and the first step more than others."""

    step: float
    evaluation: float
    once: float = 0.0


def parsed(budget: str) -> float:
    """Seconds. Raises UserError for what is no time."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([smh])", budget.strip())
    if found is None or float(found[1]) <= 0:
        raise UserError(f"--run.budget {budget} is no time: give seconds, minutes or hours, as 90s, 10m or 2h")
    return float(found[1]) * SECONDS[found[2]]


def budgeted(
    config: Any, config_text: str, resume: bool, parts: Sequence[Part], train: Callable[[Any], Path]
) -> tuple[Any, str, dict[str, Any]]:
    """The configuration, and its YAML, with steps that take --run.budget, all in all; and what run.json says of it.

    train: runs a configuration. Raises UserError where there is no time for a step of each phase.
    """
    run = config.run
    if run.budget is None:
        return config, config_text, {}
    if resume:
        raise UserError(
            "--run.budget: the steps of this run were chosen when it began: give other steps, or leave it out"
        )
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("--run.budget measures one process: leave out torchrun, or give steps")
    budget, began = parsed(run.budget), time.monotonic()
    print(f"trying all phases for a moment, to size the run for {duration(budget)}", flush=True)
    fixed, taken = _tried(config, parts, {part.phase: FIRST for part in parts}, train)
    trial = _largest(parts, taken, SHARE * budget - fixed)
    if trial > 0 and any(_steps(part, trial) > 2 * FIRST for part in parts if part.option):
        at_least = {part.phase: max(FIRST, _steps(part, trial)) for part in parts}
        fixed, taken = _tried(config, parts, at_least, train)
    left = budget - (time.monotonic() - began) - fixed
    scale = _largest(parts, taken, left)
    if scale <= 0:
        least = time.monotonic() - began + fixed + sum(predicted(parts, taken, 0.0).values())
        raise UserError(
            f"--run.budget {run.budget}: to start, to try one step of each phase and to evaluate takes "
            f"{duration(least)} here: give --run.budget {math.ceil(1.5 * least / 60)}m or more"
        )
    values = {part.option: _steps(part, scale) * part.unit for part in parts if part.option}
    expected = predicted(parts, taken, scale)
    options = " ".join(f"--{name} {value}" for name, value in values.items())
    phases = ", ".join(f"{phase} {duration(seconds)}" for phase, seconds in expected.items())
    print(f"--run.budget {run.budget} takes {options} ({phases}, all else {duration(fixed)})", flush=True)
    record = {"budget": {"asked": run.budget, "options": values, "expected": round(fixed + sum(expected.values()), 1)}}
    chosen = {**values, "run.budget": None}
    return _with(config, chosen), _text_with(config_text, chosen), record


def predicted(parts: Sequence[Part], taken: Mapping[str, Taken], scale: float) -> dict[str, float]:
    """Seconds of each phase, where all options are `scale` times what they are, and at least a step."""
    found: dict[str, float] = {}
    updates: dict[str, float] = {}
    steps: dict[str, int] = {}
    for part in parts:
        own = taken[part.phase]
        if part.as_long_as:
            seconds = sum(updates.get(phase, 0.0) for phase in part.as_long_as)
            count = max(1, round(seconds / max(taken[part.like].step, 1e-9)))
        else:
            count = steps[part.same] if part.same else _steps(part, scale)
            seconds = count * own.step
        steps[part.phase], updates[part.phase] = count, seconds
        between = (count - 1) // part.every if part.every else 0
        found[part.phase] = seconds + own.once + own.evaluation * (1 + part.between * between)
    return found


def afterwards(parts: Sequence[Part], phase: str, step: float, total: int, updating: Mapping[str, float]) -> str:
    """What comes after a phase of `total` steps, each of so many seconds, and how long that takes where it is known.

    updating: seconds that the updates of the phases before it took.
    """
    names = [part.phase for part in parts]
    later = parts[names.index(phase) + 1 :] if phase in names else []
    if not later:
        return ""
    known = {**updating, phase: step * total}
    for part in later:
        before = (part.same,) if part.same else part.as_long_as
        if before and all(one in known or one not in names for one in before):
            known[part.phase] = sum(known.get(one, 0.0) for one in before)
    timed = [f"{part.phase} (about {duration(known[part.phase])})" for part in later if part.phase in known]
    unknown = [part.phase for part in later if part.phase not in known]
    open_ = [f"{', '.join(unknown)} (not timed yet: --run.budget sizes all phases to a time)"] if unknown else []
    return f"; then {' and '.join([*timed, *open_])}"


def _steps(part: Part, scale: float) -> int:
    return max(1, round(scale * part.value / part.unit))


def _largest(parts: Sequence[Part], taken: Mapping[str, Taken], seconds: float) -> float:
    """The scale at which all phases take so many seconds, or as nearly as their steps let it; 0 where there is none."""
    if sum(predicted(parts, taken, 0.0).values()) > seconds:
        return 0.0
    low, high = 0.0, 1.0
    while sum(predicted(parts, taken, high).values()) < seconds and high < 1e9:
        low, high = high, 2 * high
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(predicted(parts, taken, middle).values()) <= seconds else (low, middle)
    above, below = (abs(sum(predicted(parts, taken, scale).values()) - seconds) for scale in (high, low))
    return high if above < below else low


def _tried(
    config: Any, parts: Sequence[Part], steps: Mapping[str, int], train: Callable[[Any], Path]
) -> tuple[float, dict[str, Taken]]:
    """What a short run takes beside its phases, and what these take. Its folder is left behind by nobody."""
    values: dict[str, Any] = {
        part.option: steps[part.phase] * part.unit for part in parts if part.option and part.value
    }
    values |= {"run.budget": None, "run.trackers": [], "run.checkpoint_seconds": 1e9, "run.checkpoint_steps": None}
    began, silence = time.monotonic(), io.StringIO()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "trial"
        try:
            with contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence):
                train(_with(config, {**values, "run.folder": str(run)}))
        except Stopped:
            raise Stopped("stopped before the run began: nothing was saved") from None
        found = json.loads((run / "run.json").read_text())["phases"]
    taken = {phase: _taken(one) for phase, one in found.items()}
    missing = {part.phase: Taken(0.0, 0.0) for part in parts}
    phases = sum(one["seconds"] for one in found.values())
    return max(0.0, time.monotonic() - began - phases), missing | taken


def _taken(one: Mapping[str, float]) -> Taken:
    steps, first = one["steps"], one.get("first", 0.0)
    step = (one["updating"] - first) / (steps - 1) if first and steps > 1 else one["updating"] / max(1, steps)
    return Taken(step, max(0.0, one["seconds"] - one["updating"]), max(0.0, first - step) if first else 0.0)


def _with(config: Any, values: Mapping[str, Any]) -> Any:
    """The configuration with other values, by their names with dots."""
    for name, value in values.items():
        config = _replaced(config, name.split("."), value)
    return config


def _replaced(config: Any, path: Sequence[str], value: Any) -> Any:
    first, *rest = path
    return replace(config, **{first: _replaced(getattr(config, first), rest, value) if rest else value})


def _text_with(text: str, values: Mapping[str, Any]) -> str:
    """The same of a configuration's YAML; none stays none."""
    if not text:
        return text
    content = yaml.safe_load(text)
    for name, value in values.items():
        *path, last = name.split(".")
        part = content
        for one in path:
            part = part.setdefault(one, {})
        part[last] = value
    return yaml.safe_dump(content, sort_keys=False)
